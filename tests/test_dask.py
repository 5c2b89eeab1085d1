"""create_dask_array, which fails on hdf5array's seeds, computes here."""

from __future__ import annotations

from pathlib import Path

import dask
import dask.array
import h5py
import numpy
import pytest
from delayedarray import create_dask_array

from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArray
from helpers import Compressed, dense_of, random_compressed

BOTH_ORDERS = pytest.mark.parametrize("native_order", [True, False], ids=["native", "reversed"])
BOTH_WAYS = pytest.mark.parametrize("by_column", [True, False], ids=["csc", "csr"])


@pytest.fixture
def dense(tmp_path: Path) -> tuple[Path, numpy.ndarray]:
    path = tmp_path / "x.h5"
    data = numpy.random.default_rng(21).random((40, 30, 5))
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data, chunks=(10, 7, 5), compression="gzip")
        handle.create_dataset("contiguous", data=data)
    return path, data


@pytest.fixture
def sparse(tmp_path: Path, by_column: bool) -> tuple[Path, Compressed]:
    matrix = random_compressed((40, 30), by_column, seed=22)
    matrix.write(tmp_path / "s.h5", compression="gzip", chunks=(50,))
    return tmp_path / "s.h5", matrix


@BOTH_ORDERS
@pytest.mark.parametrize("name", ["x", "contiguous"])
def test_dense(dense: tuple[Path, numpy.ndarray], name: str, native_order: bool) -> None:
    path, data = dense
    want = data if native_order else data.T
    array = Hdf5DenseArray(path, name, native_order=native_order)
    for source in (array, array.seed):
        lazy = create_dask_array(source)
        assert isinstance(lazy, dask.array.Array)
        assert lazy.shape == want.shape
        assert lazy.dtype == want.dtype
        numpy.testing.assert_array_equal(lazy.compute(), want)
        numpy.testing.assert_array_equal(lazy[3:20:2, ::-1].compute(), want[3:20:2, ::-1])
        numpy.testing.assert_array_equal(lazy[[4, 2, 2]].compute(), want[[4, 2, 2]])
        numpy.testing.assert_array_equal(lazy[4, :, 1].compute(), want[4, :, 1])
        numpy.testing.assert_allclose(lazy.sum(axis=0).compute(), want.sum(axis=0))


@BOTH_WAYS
def test_sparse(sparse: tuple[Path, Compressed], by_column: bool) -> None:
    path, matrix = sparse
    array = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, by_column)
    for source in (array, array.seed):
        lazy = create_dask_array(source)
        assert isinstance(lazy, dask.array.Array)
        assert lazy.shape == matrix.shape
        assert lazy.dtype == matrix.data.dtype
        numpy.testing.assert_array_equal(dense_of(lazy.compute()), matrix.dense())
        numpy.testing.assert_array_equal(dense_of(lazy[3:20, 4:9].compute()), matrix.dense()[3:20, 4:9])


@BOTH_ORDERS
def test_delayed_operations(dense: tuple[Path, numpy.ndarray], native_order: bool) -> None:
    path, data = dense
    want = data if native_order else data.T
    array = Hdf5DenseArray(path, "x", native_order=native_order)
    lazy = create_dask_array(numpy.log1p(array * 2)[1:30:3])
    numpy.testing.assert_allclose(lazy.compute(), numpy.log1p(want * 2)[1:30:3])


@BOTH_WAYS
def test_delayed_operations_on_sparse(sparse: tuple[Path, Compressed], by_column: bool) -> None:
    path, matrix = sparse
    array = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, by_column)
    lazy = create_dask_array(array * 2)
    numpy.testing.assert_array_equal(dense_of(lazy.compute()), matrix.dense() * 2)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_scheduler(dense: tuple[Path, numpy.ndarray], scheduler: str) -> None:
    path, data = dense
    lazy = create_dask_array(Hdf5DenseArray(path, "x", native_order=True))
    with dask.config.set(scheduler=scheduler, num_workers=2):
        numpy.testing.assert_array_equal(lazy.compute(), data)


def test_nothing_is_read_before_compute(dense: tuple[Path, numpy.ndarray]) -> None:
    path, _ = dense
    lazy = create_dask_array(Hdf5DenseArray(path, "x", native_order=True) + 1)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        lazy.compute()


def test_a_changed_file_is_another_array(dense: tuple[Path, numpy.ndarray]) -> None:
    # Dask takes what has the same name for the same thing, and would not read it again.
    path, data = dense
    array = Hdf5DenseArray(path, "x", native_order=True)
    before, again = create_dask_array(array), create_dask_array(array)
    assert before.name == again.name
    path.unlink()
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=-data, chunks=(10, 7, 5), compression="gzip")
    after = create_dask_array(array)
    assert after.name != before.name
    numpy.testing.assert_array_equal(after.compute(), -data)


def test_arrays_that_differ_have_names_that_differ(dense: tuple[Path, numpy.ndarray]) -> None:
    path, _ = dense
    arrays = [
        Hdf5DenseArray(path, "x"),
        Hdf5DenseArray(path, "x", native_order=True),
        Hdf5DenseArray(path, "x", dtype=numpy.dtype("f4")),
        Hdf5DenseArray(path, "contiguous"),
    ]
    assert len({create_dask_array(array).name for array in arrays}) == len(arrays)
