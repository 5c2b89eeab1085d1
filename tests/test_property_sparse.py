"""CSC and CSR matrices, canonical or not, and any subset of them, against numpy and scipy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy
import scipy.sparse
from delayedarray import (
    extract_dense_array,
    extract_sparse_array,
    to_dense_array,
    to_scipy_sparse_matrix,
    to_sparse_array,
)
from hypothesis import given
from hypothesis import strategies as st

from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from helpers import Compressed, assert_identical, assert_order, assert_sparse, take
from strategies import NUMBERS, SparseCase, element_types, sparse_cases, subsets

SCIPY_NUMBERS = [n for n in NUMBERS if n != "f2"]


def as_scipy(matrix: Compressed) -> scipy.sparse.spmatrix:
    kind = scipy.sparse.csc_matrix if matrix.by_column else scipy.sparse.csr_matrix
    native = [
        a.astype(a.dtype.newbyteorder("="))
        for a in (matrix.data, matrix.indices.astype("i8"), matrix.indptr.astype("i8"))
    ]
    return kind(tuple(native), shape=matrix.shape)


@given(data=st.data(), case=sparse_cases())
def test_whole_and_subset(fresh_path: Callable[[], Path], data: st.DataObject, case: SparseCase) -> None:
    matrix = case.matrix
    path = fresh_path()
    matrix.write(path, **case.options)
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", matrix.shape, matrix.by_column)
    assert seed.dtype.str == matrix.data.dtype.str
    assert seed.index_dtype.str == matrix.indices.dtype.str
    truth, stored = matrix.dense(), matrix.stored()
    order = "F" if matrix.by_column else "C"

    got = to_dense_array(seed)
    assert_identical(got, truth)
    assert_order(got, order)
    assert_sparse(to_sparse_array(seed), truth, matrix.indices.dtype, stored=stored)

    chosen = data.draw(subsets(matrix.shape), label="subset")
    got = extract_dense_array(seed, chosen)
    assert_identical(got, take(truth, chosen))
    assert_order(got, order)
    assert_sparse(
        extract_sparse_array(seed, chosen),
        take(truth, chosen),
        matrix.indices.dtype,
        stored=take(stored, chosen),
    )


@given(
    data=st.data(),
    case=sparse_cases(),
    dtype=element_types(),
    index_dtype=st.sampled_from(["i1", "u1", "i4", "u4", "i8", "u8", ">i2", ">u4"]),
)
def test_conversion_of_values_and_indices(
    fresh_path: Callable[[], Path],
    data: st.DataObject,
    case: SparseCase,
    dtype: str,
    index_dtype: str,
) -> None:
    matrix = case.matrix
    if matrix.data.dtype.kind == "f" and numpy.dtype(dtype).kind == "u":
        # A negative float has no unsigned equivalent that C defines.
        matrix.data[...] = abs(matrix.data)
    path = fresh_path()
    matrix.write(path, **case.options)
    seed = Hdf5CompressedSparseMatrixSeed(
        path,
        "m",
        matrix.shape,
        matrix.by_column,
        dtype=numpy.dtype(dtype),
        index_dtype=numpy.dtype(index_dtype),
    )
    truth, stored = matrix.dense(dtype), matrix.stored()
    assert_identical(to_dense_array(seed), truth)
    chosen = data.draw(subsets(matrix.shape), label="subset")
    assert_identical(extract_dense_array(seed, chosen), take(truth, chosen))
    got = extract_sparse_array(seed, chosen)
    assert_sparse(got, take(truth, chosen), index_dtype, stored=take(stored, chosen))


@given(case=sparse_cases(values=element_types(SCIPY_NUMBERS)))
def test_to_scipy(fresh_path: Callable[[], Path], case: SparseCase) -> None:
    matrix = case.matrix
    path = fresh_path()
    matrix.write(path, **case.options)
    array = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, matrix.by_column)
    peer = as_scipy(matrix)
    native = matrix.data.dtype.newbyteorder("=")
    # The oracles agree with each other first.
    assert_identical(peer.toarray(), matrix.dense().astype(native))
    for kind in ("csc", "csr", "coo"):
        got = to_scipy_sparse_matrix(array, kind)
        assert type(got) is getattr(scipy.sparse, f"{kind}_matrix")
        assert got.dtype.isnative
        assert_identical(got.toarray(), peer.toarray())
        if kind != "coo":
            got.check_format(full_check=True)
        # Nothing is lost and nothing made up: the same entries, repeated ones summed or not.
        got.sum_duplicates()
        summed = peer.asformat(kind, copy=True)
        summed.sum_duplicates()
        assert got.nnz == summed.nnz


@given(
    case=sparse_cases(values=element_types(SCIPY_NUMBERS)),
    dtype=st.sampled_from(["i1", "i8", "f4", "f8", "?"]),
)
def test_to_scipy_converts(fresh_path: Callable[[], Path], case: SparseCase, dtype: str) -> None:
    matrix = case.matrix
    path = fresh_path()
    matrix.write(path, **case.options)
    array = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, matrix.by_column, dtype=numpy.dtype(dtype))
    for kind in ("csc", "csr", "coo"):
        assert_identical(to_scipy_sparse_matrix(array, kind).toarray(), matrix.dense(dtype))
