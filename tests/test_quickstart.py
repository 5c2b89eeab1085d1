"""The quick start of the original README, call for call."""

from __future__ import annotations

import re
from pathlib import Path

import delayedarray
import h5py
import numpy
import pytest
import scipy.sparse

import filebackedarray
from helpers import mentions, message


@pytest.fixture
def whee(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> numpy.ndarray:
    # The README names its files relative to the working directory.
    monkeypatch.chdir(tmp_path)
    data = numpy.random.default_rng(1).random((40, 50, 100))
    with h5py.File("whee.h5", "w") as handle:
        handle.create_dataset("yay", data=data)
    return data


@pytest.fixture
def mock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> scipy.sparse.csc_matrix:
    monkeypatch.chdir(tmp_path)
    mock = scipy.sparse.random(1000, 200, 0.1, rng=numpy.random.default_rng(2)).tocsc()
    with h5py.File("sparse_whee.h5", "w") as handle:
        handle.create_dataset("sparse_blah/data", data=mock.data, compression="gzip")
        handle.create_dataset("sparse_blah/indices", data=mock.indices, compression="gzip")
        handle.create_dataset("sparse_blah/indptr", data=mock.indptr, compression="gzip")
    return mock


def printed_values(data: numpy.ndarray) -> str:
    """The corner values as delayedarray prints them for an array in memory, without its header."""
    return repr(delayedarray.DelayedArray(data)).split("\n", 1)[1]


def test_dense(whee: numpy.ndarray) -> None:
    arr = filebackedarray.Hdf5DenseArray("whee.h5", "yay", native_order=True)
    header, values = repr(arr).split("\n", 1)
    assert header == "<40 x 50 x 100> Hdf5DenseArray object of type 'float64'"
    assert values == printed_values(whee)
    assert isinstance(arr, delayedarray.DelayedArray)


def test_dense_in_r_order(whee: numpy.ndarray) -> None:
    arr = filebackedarray.Hdf5DenseArray("whee.h5", "yay")
    header, values = repr(arr).split("\n", 1)
    assert header == "<100 x 50 x 40> Hdf5DenseArray object of type 'float64'"
    assert values == printed_values(whee.T)


def test_delayed_operations(whee: numpy.ndarray) -> None:
    arr = filebackedarray.Hdf5DenseArray("whee.h5", "yay", native_order=True)
    scaling = numpy.random.default_rng(3).random(100)
    transformed = numpy.log1p(arr / scaling)
    assert isinstance(transformed, delayedarray.DelayedArray)
    assert "DelayedArray object" in repr(transformed)
    header, values = repr(transformed).split("\n", 1)
    assert header == "<40 x 50 x 100> DelayedArray object of type 'float64'"
    assert values == printed_values(numpy.log1p(whee / scaling))
    numpy.testing.assert_array_equal(numpy.array(transformed), numpy.log1p(whee / scaling))


def test_delayed_operations_read_nothing(whee: numpy.ndarray) -> None:
    arr = filebackedarray.Hdf5DenseArray("whee.h5", "yay", native_order=True)
    Path("whee.h5").unlink()
    transformed = numpy.log1p(arr / numpy.ones(100))
    assert transformed.shape == (40, 50, 100)
    with pytest.raises(FileNotFoundError):
        numpy.array(transformed)


def test_sparse_with_its_true_shape(mock: scipy.sparse.csc_matrix) -> None:
    arr = filebackedarray.Hdf5CompressedSparseMatrix("sparse_whee.h5", "sparse_blah", shape=(1000, 200), by_column=True)
    header, values = repr(arr).split("\n", 1)
    assert header == "<1000 x 200> sparse Hdf5CompressedSparseMatrix object of type 'float64'"
    assert values == printed_values(mock.toarray())
    numpy.testing.assert_array_equal(delayedarray.to_dense_array(arr), mock.toarray())


def test_sparse_as_the_readme_has_it(mock: scipy.sparse.csc_matrix) -> None:
    # The README gives 100 rows to a matrix of 1000. A read of some rows looks only at those.
    arr = filebackedarray.Hdf5CompressedSparseMatrix("sparse_whee.h5", "sparse_blah", shape=(100, 200), by_column=True)
    header, values = repr(arr).split("\n", 1)
    assert header == "<100 x 200> sparse Hdf5CompressedSparseMatrix object of type 'float64'"
    assert values == printed_values(mock[:100].toarray())


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(delayedarray.to_dense_array, id="to_dense_array"),
        pytest.param(delayedarray.to_sparse_array, id="to_sparse_array"),
        pytest.param(lambda x: delayedarray.to_scipy_sparse_matrix(x, "csc"), id="to_scipy_sparse_matrix-csc"),
        pytest.param(lambda x: delayedarray.to_scipy_sparse_matrix(x, "csr"), id="to_scipy_sparse_matrix-csr"),
        pytest.param(lambda x: delayedarray.to_scipy_sparse_matrix(x, "coo"), id="to_scipy_sparse_matrix-coo"),
        pytest.param(lambda x: x.sum(), id="sum"),
        pytest.param(lambda x: x.sum(axis=0), id="column-sums"),
        pytest.param(numpy.array, id="numpy.array"),
    ],
)
def test_a_read_of_all_rows_says_that_the_shape_is_wrong(mock: scipy.sparse.csc_matrix, read) -> None:
    arr = filebackedarray.Hdf5CompressedSparseMatrix("sparse_whee.h5", "sparse_blah", shape=(100, 200), by_column=True)
    with pytest.raises(IndexError) as caught:
        read(arr)
    # Which index of which dataset lies outside which axis.
    mentions(caught.value, "sparse_whee.h5", "sparse_blah/indices")
    text = message(caught.value)
    assert re.search(r"\baxis 0\b|\brows?\b", text), text
    numbers = {int(n) for n in re.findall(r"\d+", text)}
    assert 100 in numbers, text
    assert numbers & {int(i) for i in mock.indices if i >= 100}, text
