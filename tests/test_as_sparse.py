"""Dense datasets as sparse arrays, and how many values are not zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import (
    SparseNdarray,
    extract_dense_array,
    extract_sparse_array,
    is_sparse,
    to_dense_array,
    to_scipy_sparse_matrix,
    to_sparse_array,
)

from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArray, Hdf5DenseArraySeed, summarize
from filebackedarray._seeds import as_sparse as _as_sparse
from helpers import assert_sparse, error_naming, everything, random_compressed, take

SHAPES = [(7,), (13, 9), (6, 7, 5), (4, 3, 5, 2), (1, 1), (0, 4), (5, 0)]


def zeros_and_few(shape: tuple[int, ...], dtype: str = "f8") -> numpy.ndarray:
    rng = numpy.random.default_rng(8)
    return numpy.where(rng.random(shape) < 0.15, rng.integers(1, 9, shape), 0).astype(dtype)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sparse") / "x.h5"
    with h5py.File(path, "w") as handle:
        for shape in SHAPES:
            name = "x".join(map(str, shape))
            if 0 in shape:
                handle[name] = zeros_and_few(shape)
            else:
                chunks = tuple(max(1, extent // 2) for extent in shape)
                handle.create_dataset(name, data=zeros_and_few(shape), chunks=chunks, compression=1)
        for dtype in ("i2", "u1", "f4", "c8", "?", ">f8"):
            handle[dtype] = zeros_and_few((13, 9), dtype)
        handle["nothing"] = numpy.zeros((3, 4, 5))
        handle["nan"] = numpy.array([[numpy.nan, 0], [0, numpy.inf]])
        handle["scalar"] = 1.0
        handle["text"] = numpy.array([b"a", b""])
    return path


def check(got: Any, want: numpy.ndarray) -> None:
    """Every vector along the first axis holds what is not zero, and nothing else."""
    assert isinstance(got, SparseNdarray)
    # Its own check of contents, which looks at each vector.
    SparseNdarray(got.shape, got.contents, dtype=got.dtype, index_dtype=got.index_dtype, is_masked=False, check=True)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert got.index_dtype == numpy.int32
    numpy.testing.assert_array_equal(extract_dense_array(got, everything(want.shape)), want)

    def count(contents: Any) -> int:
        if contents is None:
            return 0
        if isinstance(contents, tuple):
            return len(contents[1])
        return sum(map(count, contents))

    assert count(got.contents) == numpy.count_nonzero(want)
    assert (got.contents is None) == (numpy.count_nonzero(want) == 0)


@pytest.mark.parametrize("slab", [1, 100, 64 << 20])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_not_zero(
    path: Path, shape: tuple[int, ...], native: bool, slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_as_sparse, "_SLAB", slab)
    x = Hdf5DenseArray(path, "x".join(map(str, shape)), native_order=native, as_sparse=True)
    want = zeros_and_few(shape) if native else zeros_and_few(shape).T
    assert is_sparse(x)
    check(extract_sparse_array(x.seed, everything(want.shape)), want)
    subset = tuple(range(0, extent, 2) if axis % 2 else list(range(extent))[1:] for axis, extent in enumerate(x.shape))
    check(extract_sparse_array(x.seed, subset), take(want, subset))
    numpy.testing.assert_array_equal(to_dense_array(x), want)
    numpy.testing.assert_array_equal(to_dense_array(x * 2), want * 2)
    assert is_sparse(x * 2)


@pytest.mark.parametrize("dtype", ["i2", "u1", "f4", "c8", "?", ">f8"])
def test_types(path: Path, dtype: str) -> None:
    x = Hdf5DenseArraySeed(path, dtype, native_order=True, as_sparse=True)
    check(extract_sparse_array(x, everything((13, 9))), zeros_and_few((13, 9), dtype))
    wide = Hdf5DenseArraySeed(path, "u1", dtype="f4", native_order=True, as_sparse=True)
    assert_sparse(extract_sparse_array(wide, everything((13, 9))), zeros_and_few((13, 9), "f4"), "i4")


def test_nothing_and_what_is_no_number(path: Path) -> None:
    check(
        extract_sparse_array(Hdf5DenseArraySeed(path, "nothing", as_sparse=True), everything((5, 4, 3))),
        numpy.zeros((5, 4, 3)),
    )
    got = extract_sparse_array(Hdf5DenseArraySeed(path, "nan", as_sparse=True), everything((2, 2)))
    assert [numpy.isnan(content[1]).any() for content in got.contents] == [True, False]


@pytest.mark.parametrize("untrusted", [False, True])
def test_what_is_done_with_sparse_matrices(path: Path, untrusted: bool) -> None:
    x = Hdf5DenseArray(path, "13x9", native_order=True, as_sparse=True, untrusted=untrusted)
    want = zeros_and_few((13, 9))
    for format in ("csc", "csr", "coo"):
        got = to_scipy_sparse_matrix(x, format)
        assert scipy.sparse.issparse(got)
        assert got.nnz == numpy.count_nonzero(want)
        numpy.testing.assert_array_equal(got.toarray(), want)
    assert isinstance(to_sparse_array(x), SparseNdarray)
    trees: list[tuple[Any, numpy.ndarray]] = [
        (x, want),
        (x * 3, want * 3),
        (x.T, want.T),
        (x[2:9, [1, 5]], want[2:9, [1, 5]]),
        (numpy.log1p(x), numpy.log1p(want)),
        (x + 1, want + 1),
    ]
    for tree, values in trees:
        for name in ("sum", "mean", "var", "min", "max", "any", "all"):
            for axis in (None, 0, 1):
                numpy.testing.assert_allclose(getattr(tree, name)(axis=axis), getattr(values, name)(axis=axis))
        numpy.testing.assert_allclose(tree @ numpy.arange(values.shape[1]), values @ numpy.arange(values.shape[1]))
    both = summarize(x, [0, 1], ["mean", "count_nonzero"])
    numpy.testing.assert_array_equal(both[1]["count_nonzero"], numpy.count_nonzero(want, axis=1))


def test_values_of_each_column_and_row(path: Path, tmp_path: Path) -> None:
    want = zeros_and_few((13, 9))
    for x in (Hdf5DenseArray(path, "13x9", native_order=True), Hdf5DenseArraySeed(path, "13x9", native_order=True)):
        numpy.testing.assert_array_equal(x.nonzeros_by_column(), numpy.count_nonzero(want, axis=0))
        numpy.testing.assert_array_equal(x.nonzeros_by_row(progress=None), numpy.count_nonzero(want, axis=1))
    # Zeros that are stored do not count, and elements in one place count once.
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["m/data"], handle["m/indices"], handle["m/indptr"] = [1, 2, 0], [0, 0, 1], [0, 3, 3]
    sparse = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", (4, 2), True)
    assert sparse.nonzeros_by_column().tolist() == [1, 0]
    assert (sparse * 2).nonzeros_by_row().tolist() == [1, 0, 0, 0]
    with pytest.raises(ValueError, match="of 3 dimensions"):
        Hdf5DenseArray(path, "nothing").nonzeros_by_column()


def test_what_cannot_be_sparse(path: Path) -> None:
    with error_naming(TypeError, path, "text"):
        Hdf5DenseArray(path, "text", as_sparse=True)
    with error_naming(ValueError, path, "scalar"):
        Hdf5DenseArray(path, "scalar", as_sparse=True)
    plain = Hdf5DenseArraySeed(path, "13x9")
    assert not is_sparse(plain)
    with pytest.raises(NotImplementedError, match="as_sparse=True"):
        extract_sparse_array(plain, everything(plain.shape))
    x = Hdf5DenseArraySeed(path, "13x9", as_sparse=True)
    with pytest.raises(IndexError):
        extract_sparse_array(x, (range(9), range(14)))


# Transposes that are seeds.


@pytest.mark.parametrize("by_column", [False, True])
def test_sparse_transposes(tmp_path: Path, by_column: bool) -> None:
    matrix = random_compressed((20, 12), by_column, seed=9)
    matrix.write(tmp_path / "x.h5")
    x = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", (20, 12), by_column, dtype="f4")
    turned = x.transposed()
    assert type(turned) is Hdf5CompressedSparseMatrix
    assert (turned.shape, turned.by_column, turned.dtype) == ((12, 20), not by_column, numpy.dtype("f4"))
    numpy.testing.assert_array_equal(to_dense_array(turned), matrix.dense("f4").T)
    assert (x.shape, x.by_column) == ((20, 12), by_column)
    back = turned.transposed()
    assert (back.shape, back.by_column) == (x.shape, x.by_column)
    # As hdf5array's users know it.
    assert type(x.T.seed).__name__ == "Transpose"


@pytest.mark.parametrize("native", [True, False])
def test_dense_transposes(path: Path, native: bool) -> None:
    x = Hdf5DenseArray(path, "6x7x5", native_order=native, as_sparse=True)
    turned = x.transposed()
    assert type(turned) is Hdf5DenseArray
    assert turned.shape == x.shape[::-1]
    assert turned.chunk_shape == x.chunk_shape[::-1]
    assert is_sparse(turned)
    numpy.testing.assert_array_equal(to_dense_array(turned), to_dense_array(x).T)
    numpy.testing.assert_array_equal(turned.sum(axis=0), to_dense_array(x).sum(axis=2).T)
