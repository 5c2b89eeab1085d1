"""Compressed sparse matrices as they stand in files: any index types, billions of entries, any history of formats."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import extract_dense_array, extract_sparse_array, to_scipy_sparse_matrix

from chunks import write_chunks
from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from helpers import (
    Compressed,
    assert_direct,
    assert_identical,
    assert_sparse,
    error_naming,
    everything,
    random_compressed,
    take,
)

SHAPE = (40, 25)
BOTH_WAYS = pytest.mark.parametrize("by_column", [True, False], ids=["csc", "csr"])
INTEGERS = ["|i1", "|u1", *(f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8))]


def scipy_of(matrix: Compressed) -> scipy.sparse.spmatrix:
    kind = scipy.sparse.csc_matrix if matrix.by_column else scipy.sparse.csr_matrix
    data = matrix.data.astype(matrix.data.dtype.newbyteorder("="))
    indices, indptr = matrix.indices.astype("i8"), matrix.indptr.astype("i8")
    return kind((data, indices, indptr), shape=matrix.shape)


def check(path: Path, matrix: Compressed, group: str = "m", stored: numpy.ndarray | None = None) -> None:
    """All ways of reading it, against scipy."""
    array = Hdf5CompressedSparseMatrix(path, group, matrix.shape, matrix.by_column)
    want = scipy_of(matrix).toarray()
    native = matrix.data.dtype.newbyteorder("=")
    stored = matrix.stored() if stored is None else stored
    for chosen in (everything(matrix.shape), tuple([0, n - 1] for n in matrix.shape)):
        part = take(want, chosen).astype(matrix.data.dtype)
        assert_identical(extract_dense_array(array.seed, chosen), part)
        got = extract_sparse_array(array.seed, chosen)
        assert_sparse(got, part, matrix.indices.dtype, stored=take(stored, chosen))
    for kind in ("csc", "csr", "coo"):
        got = to_scipy_sparse_matrix(array, kind)
        assert got.dtype == native
        assert_identical(got.toarray(), want)


@BOTH_WAYS
@pytest.mark.parametrize("indptr", INTEGERS)
@pytest.mark.parametrize("indices", INTEGERS)
def test_any_type_of_indices_with_any_of_pointers(tmp_path: Path, indices: str, indptr: str, by_column: bool) -> None:
    # 8 bits hold 127 entries.
    matrix = random_compressed(SHAPE, by_column, density=0.1, index_dtype=indices, indptr_dtype=indptr)
    assert 0 < len(matrix.data) < 127
    matrix.write(tmp_path / "x.h5", chunks=(30,))
    seed = Hdf5CompressedSparseMatrixSeed(tmp_path / "x.h5", "m", SHAPE, by_column)
    assert seed.index_dtype.str == numpy.dtype(indices).str
    check(tmp_path / "x.h5", matrix)


@BOTH_WAYS
@pytest.mark.parametrize("dtype", ["|b1", *INTEGERS, "<f4", ">f4", "<f8", ">f8"])
def test_any_type_of_values_unsorted_repeated_and_zero(tmp_path: Path, dtype: str, by_column: bool) -> None:
    rng = numpy.random.default_rng(3)
    matrix = random_compressed(SHAPE, by_column, density=0.3, index_dtype="u2", indptr_dtype="i4")
    matrix.indices[:] = rng.integers(0, SHAPE[0 if by_column else 1], len(matrix.indices))
    # Some are explicit zeros; sums wrap around in small types, and are exact in floats.
    matrix.data = (rng.integers(0, 100, len(matrix.data)) * (rng.random(len(matrix.data)) < 0.7)).astype(dtype)
    matrix.write(tmp_path / "x.h5", chunks=(30,), compression="gzip")
    check(tmp_path / "x.h5", matrix)


def test_sums_are_made_in_the_order_of_the_file(tmp_path: Path) -> None:
    # 1e16 + 1 - 1e16 is 0, and in another order 1: scipy adds as they stand.
    values = [1e16, 1.0, -1e16, 1.0, 1e16, 1.0, -1e16]
    matrix = Compressed(
        data=numpy.array(values + values[::-1]),
        indices=numpy.array([2, 2, 2, 0, 0, 0, 0] * 2),
        indptr=numpy.array([0, 7, 14]),
        shape=(3, 2),
        by_column=True,
    )
    matrix.write(tmp_path / "x.h5")
    check(tmp_path / "x.h5", matrix)


@BOTH_WAYS
@pytest.mark.parametrize("filled", ["first", "last", "one", "none"])
def test_empty_rows_and_columns(tmp_path: Path, filled: str, by_column: bool) -> None:
    dense = numpy.zeros((30, 20), "i4")
    if filled != "none":
        dense[{"first": 0, "last": -1, "one": 17}[filled], {"first": 0, "last": -1, "one": slice(3, 19)}[filled]] = 5
    kind = scipy.sparse.csc_matrix if by_column else scipy.sparse.csr_matrix
    scipys = kind(dense)
    matrix = Compressed(scipys.data, scipys.indices, scipys.indptr, dense.shape, by_column)
    matrix.write(tmp_path / "x.h5", chunks=(4,))
    assert_identical(scipy_of(matrix).toarray(), dense)
    check(tmp_path / "x.h5", matrix)


# ---- billions of entries ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=[2**31 + 12_345, 2**32 + 2**31 + 7], ids=["beyond-2**31", "beyond-2**32"])
def billions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A matrix of which nearly all entries are in one column, of chunks that were never written; its end is."""
    path = tmp_path_factory.mktemp("billions") / "x.h5"
    count: int = request.param
    rng = numpy.random.default_rng(4)
    lengths = [3, 0, count - 1003, 500, 0, 500]
    chunk = 2**16
    indptr = numpy.concatenate([[0], numpy.cumsum(lengths)])
    assert indptr[-1] == count
    rows = numpy.concatenate([numpy.sort(rng.choice(10**6, 500, replace=False)) for _ in range(2)])
    values = rng.integers(1, 1000, 1000)
    for name, dtype, first, last in (
        ("m/indices", "<i4", numpy.array([5, 6, 7]), rows),
        ("m/data", "<i2", numpy.array([11, 12, 13]), values),
    ):
        written: dict[int, numpy.ndarray] = {}
        for start, part in ((0, first), (count - 1000, last)):
            for position, value in enumerate(part, start):
                block = written.setdefault(position // chunk, numpy.zeros(chunk, dtype))
                block[position % chunk] = value
        raw = [((number * chunk,), zlib.compress(block.tobytes(), 1), 0) for number, block in written.items()]
        write_chunks(path, ("gzip",), dtype, (count,), (chunk,), raw, name=name, libver="latest")
    with h5py.File(path, "a") as handle:
        handle["m/indptr"] = indptr
        assert handle["m/indices"].shape == (count,)
    assert path.stat().st_size < 10e6
    want = numpy.zeros((10**6, 6), "<i2")
    want[[5, 6, 7], 0] = [11, 12, 13]
    for column, part in ((3, slice(500)), (5, slice(500, None))):
        want[rows[part], column] = values[part]
    return path, want


def test_columns_beyond_billions_of_entries(billions: Any) -> None:
    path, want = billions
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", want.shape, True)
    for name in ("m/data", "m/indices"):
        assert_direct(path, name)
    # All columns but that of the billions.
    others = [0, 1, 3, 4, 5]
    rows = numpy.flatnonzero(want[:, others].any(axis=1))
    for chosen in ((range(10**6), others), (rows, others), (rows[::7], [5]), (range(10**6), [3])):
        part = take(want, chosen)
        assert_sparse(extract_sparse_array(seed, chosen), part, "<i4")
        assert_identical(numpy.asarray(extract_dense_array(seed, chosen)), part)
    with h5py.File(path, "r") as handle:
        begin, end = handle["m/indptr"][5:7]
        assert begin > 2**31
        numpy.testing.assert_array_equal(want[handle["m/indices"][begin:end], 5], handle["m/data"][begin:end])


def test_rows_beyond_billions_of_entries(billions: Any) -> None:
    # The same compressed by row: the other axis's selection goes through windows.
    path, want = billions
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", want.shape[::-1], False)
    rows = [0, 3, 5]
    columns = numpy.flatnonzero(want[:, rows].any(axis=1))
    part = want.T[rows][:, columns]
    assert_identical(extract_dense_array(seed, (rows, columns)), part)
    assert_sparse(extract_sparse_array(seed, (rows, columns)), part, "<i4")


@pytest.mark.parametrize("wrong", [2**31, 2**32, 2**32 + 5, 2**62])
def test_pointers_past_the_end_of_the_indices(tmp_path: Path, wrong: int) -> None:
    # None of them may come out as a smaller number.
    matrix = random_compressed(SHAPE, True)
    matrix.indptr[-1] = wrong
    matrix.write(tmp_path / "x.h5")
    with error_naming(ValueError, tmp_path / "x.h5", str(wrong)):
        Hdf5CompressedSparseMatrixSeed(tmp_path / "x.h5", "m", SHAPE, True)


# ---- formats ---------------------------------------------------------------------------------


def test_ten_x_with_several_genomes(tmp_path: Path) -> None:
    # Version 2 of Cell Ranger: a group for each genome, each a matrix of its own genes and of the same cells.
    path = tmp_path / "x.h5"
    matrices = {
        genome: random_compressed((genes, 30), True, seed=genes, dtype="i4", index_dtype="i8")
        for genome, genes in (("GRCh38", 60), ("mm10", 45))
    }
    with h5py.File(path, "w") as handle:
        for genome, matrix in matrices.items():
            group = handle.create_group(genome)
            for name in ("data", "indices", "indptr"):
                group.create_dataset(name, data=getattr(matrix, name), chunks=(16,), compression="gzip", shuffle=True)
            group["shape"] = numpy.array(matrix.shape, "i4")
            group["barcodes"] = numpy.array([b"ACGT-1"] * 30)
            group["genes"] = numpy.array([b"ENSG"] * matrix.shape[0])
    for genome, matrix in matrices.items():
        with h5py.File(path, "r") as handle:
            assert tuple(handle[genome]["shape"]) == matrix.shape
        check(path, matrix, genome)
    # The genes of the one are not those of the other.
    with error_naming(IndexError, path, "GRCh38/indices"):
        to_scipy_sparse_matrix(Hdf5CompressedSparseMatrix(path, "GRCh38", (45, 30), True))


def test_ten_x_version_3(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    matrix = random_compressed((60, 30), True, dtype="i4", index_dtype="i8")
    matrix.write(path, group="matrix", chunks=(16,), compression="gzip", shuffle=True)
    with h5py.File(path, "a") as handle:
        handle["matrix/shape"] = numpy.array(matrix.shape, "i4")
        handle["matrix/features/id"] = numpy.array([b"ENSG"] * 60)
        shape = tuple(handle["matrix/shape"][()])
    array = Hdf5CompressedSparseMatrix(path, "matrix", shape, True)
    assert_identical(to_scipy_sparse_matrix(array).toarray(), matrix.dense())
    check(path, matrix, "matrix")


#: How h5ad files say what a group is, and where they keep the matrix of all genes.
ANNOTATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "0.5": ({"h5sparse_format": "csr", "h5sparse_shape": numpy.array([40, 25])}, "raw.X"),
    "0.6": ({"h5sparse_format": b"csr", "h5sparse_shape": numpy.array([40, 25])}, "raw.X"),
    "0.7": ({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": numpy.array([40, 25])}, "raw/X"),
    "0.8": ({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": numpy.array([40, 25])}, "raw/X"),
    "0.11": (
        {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": numpy.array([40, 25], "i8")},
        "raw/X",
    ),
}


@pytest.mark.parametrize("version", ANNOTATIONS)
@BOTH_WAYS
def test_h5ad_of_every_version(tmp_path: Path, version: str, by_column: bool) -> None:
    path = tmp_path / "x.h5ad"
    attributes, raw = ANNOTATIONS[version]
    groups = ["X", raw, "layers/counts", "layers/log 1p", "obsp/distances", "uns/neighbors/connectivities"]
    kind = "csc" if by_column else "csr"
    matrices = {}
    with h5py.File(path, "w") as handle:
        handle.create_dataset("layers/dense", data=numpy.arange(1000.0).reshape(SHAPE))
        for seed, name in enumerate(groups):
            shape = (40, 40) if name.startswith("obsp") else SHAPE
            matrices[name] = random_compressed(shape, by_column, seed=seed, dtype="f4", indptr_dtype="i4")
            group = handle.create_group(name)
            for member in ("data", "indices", "indptr"):
                group.create_dataset(member, data=getattr(matrices[name], member), maxshape=(None,), chunks=(32,))
            for key, value in attributes.items():
                if "shape" in key:
                    value = numpy.array(shape, value.dtype)
                elif value in ("csr", "csr_matrix"):
                    value = value.replace("csr", kind)
                elif value == b"csr":
                    value = kind.encode()
                group.attrs[key] = value
    for name, matrix in matrices.items():
        with h5py.File(path, "r") as handle:
            found = handle[name].attrs
            shape = tuple(found["h5sparse_shape"] if "h5sparse_shape" in found else found["shape"])
            told = found["h5sparse_format"] if "h5sparse_format" in found else found["encoding-type"]
            told = told.decode() if isinstance(told, bytes) else told
        array = Hdf5CompressedSparseMatrix(path, name, shape, told.startswith("csc"))
        assert array.shape == matrix.shape
        assert_identical(to_scipy_sparse_matrix(array).toarray(), matrix.dense())
        check(path, matrix, name)
