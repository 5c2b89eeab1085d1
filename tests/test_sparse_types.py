"""Sparse results of every element type, by every way there is: of types that SciPy has, with the values of the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import mattress
import numpy
import pytest
import scipy.sparse
from delayedarray import extract_sparse_array, is_sparse, to_scipy_sparse_matrix, to_sparse_array

from filebackedarray import (
    FileBackedArray,
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
    Hdf5DualSparseMatrix,
    ReshapedHdf5Array,
    to_anndata,
)

SHAPE = (12, 8)
DTYPES = (
    *("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"),
    *(">i2", ">u2", ">i4", ">u4", ">i8", ">u8", ">f2", ">f4", ">f8", ">c8", ">c16"),
)
WAYS: dict[str, Callable[[FileBackedArray], Any]] = {
    **{
        f"to_scipy_sparse_matrix {format}": lambda x, format=format: to_scipy_sparse_matrix(x, format)
        for format in ("csc", "csr", "coo")
    },
    **{
        f"to_dask {format}": lambda x, format=format: x.to_dask(sparse=format).compute()
        for format in (True, "csc", "csr")
    },
    "to_anndata": lambda x: to_anndata(x, cell_axis=0).to_memory().X,
}


def scipys(dtype: numpy.dtype) -> numpy.dtype:
    """What SciPy has in place of what it lacks: other byte orders, and numbers of 16 bits."""
    native = dtype.newbyteorder("=")
    return numpy.dtype("f4") if native == numpy.float16 else native


def values_of(dtype: str) -> numpy.ndarray:
    """Small numbers among zeros, which no operation of this module makes too large for their type."""
    rng = numpy.random.default_rng(5)
    data = rng.integers(1, 5, SHAPE) * (rng.random(SHAPE) < 0.4)
    return data.astype(dtype)


@pytest.fixture(scope="module", params=DTYPES)
def arrays(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """For each way to store a sparse array and each operation that keeps it sparse: the array, and its values."""
    dtype: str = request.param
    path = tmp_path_factory.mktemp("sparse-types") / "x.h5"
    data = values_of(dtype)
    positions = scipy.sparse.csc_matrix(numpy.where(data != 0, numpy.arange(1, data.size + 1).reshape(SHAPE), 0))
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data, chunks=(5, 3))
        handle["cube"] = data.reshape(3, 4, 8)
        for name, matrix in (("csc", positions), ("csr", positions.tocsr())):
            handle[f"{name}/data"] = data.reshape(-1)[matrix.data - 1]
            handle[f"{name}/indices"], handle[f"{name}/indptr"] = matrix.indices, matrix.indptr
    rows, columns = [7, 1, 1, 9, 0], [3, 2, 6]
    dense = Hdf5DenseArray(path, "x", native_order=True, as_sparse=True)
    made: dict[str, tuple[FileBackedArray, numpy.ndarray]] = {
        "dense": (dense, data),
        "reshaped": (ReshapedHdf5Array(path, "cube", SHAPE, native_order=True, as_sparse=True), data),
    }
    # Compressed matrices are of real numbers.
    if data.dtype.kind != "c":
        csc = Hdf5CompressedSparseMatrix(path, "csc", SHAPE, True)
        csr = Hdf5CompressedSparseMatrix(path, "csr", SHAPE, False)
        made |= {"csc": (csc, data), "csr": (csr, data), "dual": (Hdf5DualSparseMatrix(csc, csr), data)}
    second, _ = made.get("csr", made["dense"])
    other = numpy.dtype(">c8" if data.dtype.kind == "c" else ">f2")
    widest = numpy.dtype("G" if data.dtype.kind == "c" else "g")
    for name, (x, _) in list(made.items()):
        made |= {
            f"{name}.T": (x.T, data.T),
            f"{name}[...]": (x[rows, :][:, columns], data[rows][:, columns]),
            f"{name} * 1": (x * 1, data * 1),
            f"sqrt {name}": (numpy.sqrt(x), numpy.sqrt(data)),
            f"{name} + another": (x + second, data + data),
            f"{name} joined": (numpy.concatenate([x, second * 2]), numpy.concatenate([data, data * 2])),
            f"{name} cast": (x.astype(other), data.astype(other)),
            f"{name} widened": (x.astype(widest), data.astype(widest)),
        }
    return made


def usable(got: Any, want: numpy.ndarray) -> None:
    """A matrix of SciPy's that can do what its own can."""
    expected = scipys(want.dtype)
    assert scipy.sparse.issparse(got)
    assert got.dtype.str == expected.str
    numpy.testing.assert_array_equal(got.toarray(), want)
    got.copy().sum_duplicates()
    numpy.testing.assert_array_equal(got.tocsr()[[0, 1]].toarray(), want[:2])
    numpy.testing.assert_array_equal((got + got).toarray(), want.astype(expected) + want.astype(expected))
    if want.dtype.kind != "c":
        numpy.testing.assert_array_equal(got.max(0).toarray()[0], want.max(0))


@pytest.mark.parametrize("way", WAYS)
def test_scipy_gets_what_it_can_use(arrays: Any, way: str) -> None:
    for x, want in arrays.values():
        assert is_sparse(x)
        usable(WAYS[way](x), want)


def test_dask_states_the_type_of_its_blocks(arrays: Any) -> None:
    for x, want in arrays.values():
        array = x.to_dask(sparse=True)
        blocks = array.compute()
        assert array.dtype == blocks.dtype == array._meta.dtype
        assert array.dtype == scipys(want.dtype)


def test_indices_are_sorted_and_once(arrays: Any) -> None:
    for x, _ in arrays.values():
        for format in ("csc", "csr"):
            matrix = to_scipy_sparse_matrix(x, format)
            again = type(matrix)((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
            assert again.has_canonical_format
            assert matrix.indices.dtype == matrix.indptr.dtype == numpy.int32


def test_seeds(arrays: Any) -> None:
    for name in {"csc", "csr", "dual", "dense", "reshaped"} & set(arrays):
        x, want = arrays[name]
        usable(to_scipy_sparse_matrix(x.seed, "csr"), want)


def test_delayedarrays_sparse_arrays_have_the_type_that_is_stated(arrays: Any) -> None:
    for x, want in arrays.values():
        for got in (to_sparse_array(x), extract_sparse_array(x, [range(extent) for extent in want.shape])):
            assert got.dtype.str == x.dtype.str
            assert got.dtype == want.dtype
            numpy.testing.assert_array_equal(numpy.asarray(got), want)
            for indices, values in filter(None, got.contents):
                assert values.dtype.str == got.dtype.str
                assert indices.dtype == got.index_dtype
                assert (numpy.diff(indices.astype("i8")) > 0).all()


def test_products(arrays: Any) -> None:
    rng = numpy.random.default_rng(6)
    for x, want in arrays.values():
        right, left = (rng.integers(0, 3, (extent, 2)).astype("f8") for extent in want.shape[::-1])
        for got, product in ((x @ right, want @ right), (left.T @ x, left.T @ want)):
            assert got.dtype == product.dtype
            numpy.testing.assert_allclose(got, product)


def test_mattress(arrays: Any) -> None:
    for x, want in arrays.values():
        if want.dtype.kind == "c":
            with pytest.raises(TypeError, match="real numbers"):
                mattress.initialize(x)
            continue
        matrix = mattress.initialize(x)
        for column in range(want.shape[1]):
            numpy.testing.assert_allclose(matrix.column(column), want[:, column].astype("f8"), rtol=1e-6)
