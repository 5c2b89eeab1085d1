"""Every 10x and h5ad file of the collection, whole and by subsets, against h5py and scipy."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import (
    extract_dense_array,
    extract_sparse_array,
    to_scipy_sparse_matrix,
    to_sparse_array,
)

import real
from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArraySeed
from helpers import (
    Compressed,
    assert_direct,
    assert_identical,
    assert_order,
    assert_sparse,
    convert,
    everything,
    take,
)

ARRAYS = [
    line
    for line in real.lines("inventory.jsonl")
    if line["kind"] in ("dense", "sparse-member") and line["read"] == "ok"
]
MATRICES = real.lines("sparse.jsonl")

#: As many elements as a dense form may have here: a matrix of millions of rows stays sparse.
LARGEST_DENSE = 5_000_000


@pytest.fixture(autouse=True)
def real_files() -> None:
    real.require()


def test_the_inventory_is_what_these_tests_were_written_for() -> None:
    # Should the reading of the inventory go wrong, nothing below would run and all would pass.
    assert len({line["file"] for line in ARRAYS}) >= 30
    assert len(ARRAYS) >= 500
    assert len(MATRICES) >= 51
    assert {line["file"].split("/")[0] for line in MATRICES} == set(real.FOLDERS)


def test_every_numeric_dataset_is_read_directly() -> None:
    # Element types, layouts and filters that need libhdf5 would be listed here; there are none.
    others = []
    for line in ARRAYS:
        try:
            assert_direct(real.location() / line["file"], line["name"])
        except AssertionError:
            others.append((line["file"], line["name"]))
    assert others == []


def seed_of(line: dict[str, Any]) -> int:
    """The same random subsets at each run, others for each dataset."""
    return zlib.crc32(f"{line['file']}{line.get('name', line.get('group'))}".encode())


def random_subset(rng: numpy.random.Generator, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Per axis: everything, a range, a sorted or an unsorted list, a single index, nothing."""
    chosen: list[Any] = []
    for extent in shape:
        kind = rng.integers(6) if extent else 0
        start, stop = sorted(rng.integers(0, extent + 1, 2).tolist())
        count = int(rng.integers(1, min(extent, 50) + 1)) if extent else 0
        if kind == 0:
            chosen.append(range(extent))
        elif kind == 1:
            chosen.append(range(start, stop, int(rng.integers(1, 4))))
        elif kind == 2:
            chosen.append(numpy.sort(rng.choice(extent, count, replace=False)))
        elif kind == 3:
            chosen.append(rng.integers(0, extent, count).tolist())
        elif kind == 4:
            chosen.append([int(rng.integers(extent))])
        else:
            chosen.append(list(range(start, stop)))
    return tuple(chosen)


@pytest.mark.parametrize("line", ARRAYS, ids=[real.identifier(a, "name") for a in ARRAYS])
def test_dense(line: dict[str, Any]) -> None:
    path = real.location() / line["file"]
    with h5py.File(path, "r") as handle:
        # As an array of no dimensions, should it be a single number.
        truth = numpy.asarray(handle[line["name"]][()])
    rng = numpy.random.default_rng(seed_of(line))
    for native_order in (True, False):
        want = truth if native_order else truth.T
        seed = Hdf5DenseArraySeed(path, line["name"], native_order=native_order)
        assert seed.shape == want.shape
        got = extract_dense_array(seed, everything(want.shape))
        assert_identical(got, want, bits=True)
        assert_order(got, "C" if native_order else "F")
        for _ in range(3):
            chosen = random_subset(rng, want.shape)
            assert_identical(extract_dense_array(seed, chosen), take(want, chosen), bits=True)
    # Against the inventory too, which was made by another reader on another day.
    whole = extract_dense_array(Hdf5DenseArraySeed(path, line["name"], native_order=True), everything(truth.shape))
    assert whole.dtype.str == line["numpy_dtype"]
    digest = hashlib.sha256(numpy.ascontiguousarray(whole).tobytes()).hexdigest()
    assert digest == line["sha256"]
    wide = Hdf5DenseArraySeed(path, line["name"], dtype=numpy.dtype("f4"), native_order=True)
    got = extract_dense_array(wide, everything(truth.shape))
    assert_identical(got, convert(truth, "f4"))


def load(line: dict[str, Any]) -> tuple[Path, Compressed]:
    path = real.location() / line["file"]
    with h5py.File(path, "r") as handle:
        group = handle[line["group"]]
        members = [group[name][()] for name in ("data", "indices", "indptr")]
    by_column = line["orientation"].startswith("csc")
    return path, Compressed(*members, tuple(line["shape"]), by_column)


@pytest.mark.parametrize("line", MATRICES, ids=[real.identifier(m, "group") for m in MATRICES])
def test_sparse(line: dict[str, Any]) -> None:
    path, matrix = load(line)
    shape, by_column = matrix.shape, matrix.by_column
    kind = scipy.sparse.csc_matrix if by_column else scipy.sparse.csr_matrix
    truth = kind((matrix.data, matrix.indices, matrix.indptr), shape=shape)
    array = Hdf5CompressedSparseMatrix(path, line["group"], shape, by_column)
    assert array.dtype.str == matrix.data.dtype.str
    assert array.index_dtype.str == matrix.indices.dtype.str

    for name in ("csc", "csr", "coo"):
        got = to_scipy_sparse_matrix(array, name)
        assert got.format == name
        assert got.dtype == truth.dtype
        assert got.shape == shape
        assert got.nnz == truth.nnz
        assert (got != truth).nnz == 0
        if name != "coo":
            got.check_format(full_check=True)

    same_columns(to_sparse_array(array), truth)
    rng = numpy.random.default_rng(seed_of(line))
    for _ in range(8):
        check_subset(array, truth, random_subset(rng, shape))
    for rows, columns in (
        (numpy.sort(rng.choice(shape[0], min(shape[0], 200), replace=False)), range(shape[1])),
        (range(shape[0]), numpy.sort(rng.choice(shape[1], min(shape[1], 200), replace=False))),
    ):
        check_subset(array, truth, (rows, columns))
    if shape[0] * shape[1] <= LARGEST_DENSE:
        got = extract_dense_array(array.seed, everything(shape))
        assert_identical(got, matrix.dense())
        assert_order(got, "F" if by_column else "C")


def same_columns(got: Any, truth: scipy.sparse.spmatrix) -> None:
    """A SparseNdarray of a whole matrix, without ever making it dense."""
    columns = truth.tocsc(copy=True)
    columns.sum_duplicates()
    if columns.nnz == 0:
        assert got.contents is None
        return
    assert len(got.contents) == columns.shape[1]
    for i, content in enumerate(got.contents):
        where = slice(columns.indptr[i], columns.indptr[i + 1])
        if where.start == where.stop:
            assert content is None
            continue
        assert content[0].dtype == got.index_dtype
        assert content[1].dtype == got.dtype
        numpy.testing.assert_array_equal(content[0], columns.indices[where])
        numpy.testing.assert_array_equal(content[1], columns.data[where])


def check_subset(array: Hdf5CompressedSparseMatrix, truth: scipy.sparse.spmatrix, chosen: tuple[Any, ...]) -> None:
    rows, columns = (numpy.asarray(list(c), dtype=int) for c in chosen)
    part = truth[rows][:, columns]
    if part.shape[0] * part.shape[1] > LARGEST_DENSE:
        same_columns(extract_sparse_array(array.seed, chosen), part)
        return
    want = numpy.ascontiguousarray(part.toarray())
    assert_identical(extract_dense_array(array.seed, chosen), want)
    # Entries that are explicit zeros are entries.
    mark = part.copy()
    mark.data = numpy.ones(len(mark.data), bool)
    got = extract_sparse_array(array.seed, chosen)
    assert_sparse(got, want, array.index_dtype, stored=mark.toarray())
