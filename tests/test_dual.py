"""Two copies of a sparse matrix, of which the better one is read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import anndata
import numpy
import pandas
import pytest
import scipy.sparse
from delayedarray import (
    apply_over_dimension,
    create_dask_array,
    extract_dense_array,
    extract_sparse_array,
    is_masked,
    is_sparse,
    to_dense_array,
    to_scipy_sparse_matrix,
    wrap,
)

from filebackedarray import (
    H5adMatrix,
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArray,
    Hdf5DualSparseMatrix,
    Hdf5DualSparseMatrixSeed,
    quality_control,
    summarize,
)
from helpers import Compressed, assert_sparse, everything, random_compressed, take

SHAPE = (40, 25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dual")
    csc = random_compressed(SHAPE, True, seed=12)
    csc.write(folder / "csc.h5", chunks=(32,), compression=1)
    rows, columns = numpy.nonzero(csc.dense())
    pointers = numpy.concatenate([[0], numpy.cumsum(numpy.bincount(rows, minlength=SHAPE[0]))])
    csr = Compressed(csc.dense()[rows, columns], columns.astype("i8"), pointers, SHAPE, False)
    csr.write(folder / "csr.h5", chunks=(32,), compression=1)
    return folder


@pytest.fixture
def parts(folder: Path) -> tuple[Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrix]:
    return (
        Hdf5CompressedSparseMatrix(folder / "csc.h5", "m", SHAPE, True),
        Hdf5CompressedSparseMatrix(folder / "csr.h5", "m", SHAPE, False),
    )


@pytest.fixture
def want() -> numpy.ndarray:
    return random_compressed(SHAPE, True, seed=12).dense()


SUBSETS: dict[str, tuple[Any, bool]] = {
    "all": (everything(SHAPE), True),
    "columns": ((range(40), range(3, 7)), True),
    "rows": (([4, 9, 30], range(25)), False),
    "a row": ((range(5, 6), range(25)), False),
    "a column": ((range(40), [24]), True),
    "some of both": ((range(0, 40, 2), [3]), True),
    "slices": ((slice(2, 4), slice(None)), False),
    "out of order": (([9, 3, 3], range(25)), False),
    "nothing": (([], range(25)), False),
}


@pytest.mark.parametrize("name", SUBSETS)
def test_parts_are_read_along_the_fast_axis(parts: Any, want: numpy.ndarray, name: str) -> None:
    subset, by_column = SUBSETS[name]
    seed = Hdf5DualSparseMatrixSeed(*parts)
    assert seed.chosen(subset).by_column is by_column
    numpy.testing.assert_array_equal(extract_dense_array(seed, subset), take(want, subset))
    got = extract_sparse_array(seed, subset)
    if name != "out of order":
        assert_sparse(got, take(want, subset), parts[0].index_dtype)


def test_files_that_are_not_needed_are_not_touched(folder: Path, want: numpy.ndarray, tmp_path: Path) -> None:
    """Each of the copies in turn is gone once the matrix is made."""
    for missing, kept in ((0, (range(40), [2, 5])), (1, ([2, 5], range(25)))):
        paths = [tmp_path / f"{missing}-{name}.h5" for name in ("csr", "csc")]
        for path in paths:
            path.write_bytes((folder / path.name.split("-")[1]).read_bytes())
        x = Hdf5DualSparseMatrix(
            Hdf5CompressedSparseMatrixSeed(paths[1], "m", SHAPE, True),
            Hdf5CompressedSparseMatrixSeed(paths[0], "m", SHAPE, False),
        )
        paths[missing].unlink()
        numpy.testing.assert_array_equal(to_dense_array(x[numpy.ix_(*kept)]), take(want, kept))
        part = x[numpy.ix_(*kept)]
        numpy.testing.assert_array_equal(part.sum(axis=0), take(want, kept).sum(axis=0))
        numpy.testing.assert_array_equal(part @ numpy.ones(part.shape[1]), take(want, kept) @ numpy.ones(part.shape[1]))
        numpy.testing.assert_array_equal(to_scipy_sparse_matrix(part).toarray(), take(want, kept))
        # The other half of the requests says which file is gone.
        with pytest.raises(FileNotFoundError, match=paths[missing].name):
            to_dense_array(x[[2], :] if missing == 0 else x[:, [2]])


OPERATIONS: dict[str, Any] = {
    "itself": lambda x: x,
    "times": lambda x: x * 2,
    "rows": lambda x: x[[5, 1, 1, 30], :],
    "columns": lambda x: x[:, 3:9],
    "both": lambda x: x[10:20, ::2] / 3,
    "transposed": lambda x: x.T[2:5, :],
    "cast": lambda x: x.astype(numpy.dtype("f4"))[4:6, :],
    "dense": lambda x: x + 1,
    "joined": lambda x: numpy.concatenate((x, x * 2), axis=0),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_statistics_and_products(parts: Any, want: numpy.ndarray, operation: str) -> None:
    x, values = OPERATIONS[operation](Hdf5DualSparseMatrix(*parts)), OPERATIONS[operation](want)
    for name in ("sum", "mean", "var", "min", "max", "any", "count_nonzero"):
        for axis in (None, 0, 1):
            there = getattr(numpy, name)(values, axis=axis)
            numpy.testing.assert_allclose(getattr(x, name)(axis=axis), there, rtol=1e-6)
    right = numpy.arange(values.shape[1] * 2.0).reshape(-1, 2)
    numpy.testing.assert_allclose(x @ right, values @ right, rtol=1e-6)
    left = numpy.arange(values.shape[0] * 2.0).reshape(2, -1)
    numpy.testing.assert_allclose(left @ x, left @ values, rtol=1e-6)
    numpy.testing.assert_allclose(to_dense_array(x), values, rtol=1e-6)


def test_the_rest_of_a_matrix(parts: Any, want: numpy.ndarray) -> None:
    csc, csr = parts
    for x in (Hdf5DualSparseMatrix(csc, csr), Hdf5DualSparseMatrix(csc.seed, csr.seed)):
        assert (x.shape, x.dtype, x.index_dtype) == (SHAPE, csc.dtype, csc.index_dtype)
        assert is_sparse(x)
        assert not is_masked(x)
        assert repr(x).startswith("<40 x 25> sparse Hdf5DualSparseMatrix object of type 'float64'")
    assert type(wrap(x.seed)) is Hdf5DualSparseMatrix
    assert (x.csc, x.csr.by_column) == (csc.seed, False)
    assert (x.nnz, x.sparsity) == (csc.nnz, csc.sparsity)
    assert x.storage_size == csc.storage_size + csr.storage_size
    for format in ("csc", "csr", "coo"):
        got = to_scipy_sparse_matrix(x, format)
        assert got.format == format
        numpy.testing.assert_array_equal(got.toarray(), want)
    again = pickle.loads(pickle.dumps(x.seed))
    numpy.testing.assert_array_equal(to_dense_array(wrap(again)), want)
    turned = x.transposed()
    assert type(turned) is Hdf5DualSparseMatrix
    numpy.testing.assert_array_equal(to_dense_array(turned), want.T)
    numpy.testing.assert_array_equal(
        summarize(x, 0, ["sum"], groups=numpy.arange(40) % 3)["sum"][:, 1], want[1::3].sum(axis=0)
    )
    numpy.testing.assert_array_equal(quality_control(x).sum, want.sum(axis=0))
    numpy.testing.assert_array_equal(x.nonzeros_by_row(), numpy.count_nonzero(want, axis=1))


@pytest.mark.parametrize("named", ["csc", "csr"])
def test_names_are_of_the_copy_that_has_them(folder: Path, tmp_path: Path, named: str) -> None:
    path = tmp_path / "named.h5ad"
    rows, columns = ([f"{axis}{i}" for i in range(extent)] for axis, extent in zip("rc", SHAPE, strict=True))
    matrix = scipy.sparse.csc_matrix(random_compressed(SHAPE, True, seed=12).dense())
    # Seen as features x cells, anndata's CSR is compressed by column.
    stored = matrix.T.tocsr() if named == "csc" else matrix.T.tocsc()
    anndata.AnnData(stored, obs=pandas.DataFrame(index=columns), var=pandas.DataFrame(index=rows)).write_h5ad(path)
    by_column = Hdf5CompressedSparseMatrix(folder / "csc.h5", "m", SHAPE, True)
    by_row = Hdf5CompressedSparseMatrix(folder / "csr.h5", "m", SHAPE, False)
    dual = (
        Hdf5DualSparseMatrix(H5adMatrix(path), by_row)
        if named == "csc"
        else Hdf5DualSparseMatrix(by_column, H5adMatrix(path))
    )
    assert dual.row_names is not None
    assert dual.column_names is not None
    assert dual.row_names.tolist() == dual.seed.transposed().column_names.tolist() == rows
    assert dual.column_names.tolist() == dual.transposed().row_names.tolist() == columns
    assert Hdf5DualSparseMatrix(by_column, by_row).row_names is None


def test_rows_one_after_the_other(parts: Any, want: numpy.ndarray) -> None:
    x = Hdf5DualSparseMatrix(*parts)
    for axis in (0, 1):
        found = apply_over_dimension(x, axis, lambda _, block, axis=axis: block.sum(axis=1 - axis), buffer_size=2000)
        numpy.testing.assert_array_equal(numpy.concatenate(found), want.sum(axis=1 - axis))


def test_dask(parts: Any, want: numpy.ndarray) -> None:
    numpy.testing.assert_array_equal(create_dask_array(Hdf5DualSparseMatrix(*parts).seed).compute(), want)


def test_other_types_in_the_copies(folder: Path, want: numpy.ndarray, tmp_path: Path) -> None:
    csc = Hdf5CompressedSparseMatrixSeed(folder / "csc.h5", "m", SHAPE, True, dtype="f4")
    x = random_compressed(SHAPE, True, seed=12)
    rows, columns = numpy.nonzero(x.dense())
    pointers = numpy.concatenate([[0], numpy.cumsum(numpy.bincount(rows, minlength=SHAPE[0]))])
    Compressed(x.dense()[rows, columns].astype("i2"), columns, pointers, SHAPE, False).write(tmp_path / "x.h5")
    csr = Hdf5CompressedSparseMatrixSeed(tmp_path / "x.h5", "m", SHAPE, False, dtype="f4", untrusted=True)
    dual = Hdf5DualSparseMatrix(csc, csr)
    for part, values in ((dual[[3, 4], :], want[[3, 4]]), (dual[:, [3, 4]], want[:, [3, 4]])):
        numpy.testing.assert_array_equal(part.sum(axis=0), values.sum(axis=0))
        numpy.testing.assert_array_equal(part @ numpy.ones(part.shape[1]), values.sum(axis=1))
    with pytest.raises(ValueError, match="float64 and 'csr' float32"):
        Hdf5DualSparseMatrix(Hdf5CompressedSparseMatrixSeed(folder / "csc.h5", "m", SHAPE, True), csr)


def test_what_is_not_the_same_matrix(parts: Any, folder: Path) -> None:
    csc, csr = parts
    with pytest.raises(ValueError, match="'csc' is compressed by row"):
        Hdf5DualSparseMatrix(csr, csc)
    with pytest.raises(ValueError, match="'csr' is compressed by column"):
        Hdf5DualSparseMatrix(csc, csc)
    taller = Hdf5CompressedSparseMatrix(folder / "csr.h5", "m", (40, 26), False)
    with pytest.raises(ValueError, match="not the same matrix"):
        Hdf5DualSparseMatrix(csc, taller)
    for wrong in (None, numpy.zeros(SHAPE), csc * 2, Hdf5DenseArray(folder / "csc.h5", "m/data")):
        with pytest.raises(TypeError, match="'csr' should be"):
            Hdf5DualSparseMatrix(csc, wrong)
