"""Hdf5CompressedSparseMatrix and its seed beside those of hdf5array 0.5.0."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import delayedarray
import h5py
import hdf5array
import numpy
import pytest
import scipy.sparse
from delayedarray import (
    chunk_grid,
    extract_dense_array,
    extract_sparse_array,
    is_masked,
    is_sparse,
    to_dense_array,
    to_scipy_sparse_matrix,
    wrap,
)

import real
from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from helpers import (
    Compressed,
    assert_identical,
    assert_order,
    assert_same_parameters,
    assert_sparse,
    everything,
    random_compressed,
    take,
)

SHAPE = (40, 25)
BOTH_WAYS = pytest.mark.parametrize("by_column", [True, False], ids=["csc", "csr"])
PROPERTIES = [
    "dtype",
    "shape",
    "path",
    "index_dtype",
    "by_column",
    "group_name",
    "data_name",
    "indices_name",
    "indptr_name",
]
STORAGE: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "gzip": {"compression": "gzip", "chunks": (16,), "shuffle": True},
    "lzf": {"compression": "lzf", "chunks": (1000,), "maxshape": (None,), "fletcher32": True},
}


@pytest.fixture(scope="module", params=STORAGE)
def matrices(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[bool, tuple[Path, Compressed]]:
    folder = tmp_path_factory.mktemp("sparse")
    found = {}
    for by_column in (True, False):
        matrix = random_compressed(SHAPE, by_column, seed=5, dtype="i4")
        path = folder / f"{by_column}.h5"
        matrix.write(path, **STORAGE[request.param])
        found[by_column] = (path, matrix)
    return found


def pair(path: Path, matrix: Compressed, **options: Any) -> tuple[Any, Any]:
    arguments = (str(path), "m", matrix.shape, matrix.by_column)
    return (
        Hdf5CompressedSparseMatrixSeed(*arguments, **options),
        hdf5array.Hdf5CompressedSparseMatrixSeed(*arguments, **options),
    )


def same_sparse(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype.str == theirs.dtype.str
    assert ours.index_dtype.str == theirs.index_dtype.str
    assert ours.is_masked is False
    if theirs.contents is None:
        assert ours.contents is None
        return
    assert len(ours.contents) == len(theirs.contents)
    for mine, peer in zip(ours.contents, theirs.contents, strict=True):
        if peer is None:
            assert mine is None
        else:
            assert_identical(mine[0], peer[0])
            assert_identical(mine[1], peer[1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": numpy.dtype("f8")},
        {"index_dtype": numpy.dtype("i8")},
        {"dtype": numpy.dtype("u2"), "index_dtype": numpy.dtype("u1")},
    ],
    ids=["as-stored", "dtype", "index_dtype", "both"],
)
@BOTH_WAYS
def test_same_as_hdf5array(matrices: Any, by_column: bool, options: dict[str, Any]) -> None:
    path, matrix = matrices[by_column]
    ours, theirs = pair(path, matrix, **options)
    for name in PROPERTIES:
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.dtype.str == theirs.dtype.str
    assert ours.index_dtype.str == theirs.index_dtype.str
    assert is_sparse(ours) is is_sparse(theirs) is True
    assert is_masked(ours) is is_masked(theirs) is False
    grid, peer = chunk_grid(ours), chunk_grid(theirs)
    assert type(grid) is type(peer)
    assert (grid.shape, grid.cost) == (peer.shape, peer.cost)
    assert [list(b) for b in grid.boundaries] == [list(b) for b in peer.boundaries]

    whole = everything(SHAPE)
    got = extract_dense_array(ours, whole)
    assert_identical(got, extract_dense_array(theirs, whole))
    assert_order(got, "F" if by_column else "C")
    same_sparse(extract_sparse_array(ours, whole), extract_sparse_array(theirs, whole))


SUBSETS: dict[str, tuple[Any, Any]] = {
    "all": (range(40), range(25)),
    "some-columns": (range(40), [0, 1, 7, 24]),
    "some-rows": ([0, 3, 4, 39], range(25)),
    "both": ([0, 1, 20, 39], [2, 3, 4, 24]),
    "run-from-zero": (range(0, 11), range(0, 3)),
    "run": (range(5, 17), range(3, 20)),
    "run-to-the-end": (range(30, 40), range(20, 25)),
    "steps": (range(0, 40, 3), range(1, 25, 4)),
    "tuples": ((2, 5, 6), (0, 24)),
    "arrays": (numpy.array([2, 5, 6]), numpy.array([0, 24])),
    "one-row": ([7], range(25)),
    "one-column": (range(40), [7]),
    "one-element": ([2], [3]),
    "empty-column": (range(40), [1]),
    "no-rows": ([], range(25)),
    "no-columns": (range(40), []),
    "nothing": (range(3, 3), range(0)),
}


@BOTH_WAYS
@pytest.mark.parametrize("subset", SUBSETS)
def test_same_subset_as_hdf5array(matrices: Any, by_column: bool, subset: str) -> None:
    path, matrix = matrices[by_column]
    ours, theirs = pair(path, matrix)
    chosen = SUBSETS[subset]
    got = extract_dense_array(ours, chosen)
    assert_identical(got, extract_dense_array(theirs, chosen))
    assert_order(got, "F" if by_column else "C")
    same_sparse(extract_sparse_array(ours, chosen), extract_sparse_array(theirs, chosen))


BEYOND: dict[str, tuple[Any, Any]] = {
    "negative-steps": (range(39, -1, -1), range(24, 3, -5)),
    "unsorted": ([9, 2, 30, 3], [24, 0, 13]),
    "repeated": ([4, 4, 0, 4], [3, 3]),
    # Ends that lie as far apart as the list is long do not make a run of it.
    "unsorted-like-a-run": ([2, 0, 1, 3], range(25)),
    "repeated-like-a-run": ([4, 4, 4, 7], [10, 10, 12]),
    "slices": (slice(None), slice(2, 20, 3)),
    "slices-backwards": (slice(None, None, -1), slice(-2, None)),
    "empty-float-array": (numpy.array([]), range(25)),
    "numpy-scalars": ([numpy.uint8(3), numpy.int64(7)], range(25)),
    "big-endian": (numpy.array([0, 11], dtype=">i2"), range(25)),
    "strided": (numpy.arange(40)[::-7], numpy.arange(25)[1::3]),
}


@BOTH_WAYS
@pytest.mark.parametrize("subset", BEYOND)
def test_subset_that_hdf5array_cannot_take(matrices: Any, by_column: bool, subset: str) -> None:
    path, matrix = matrices[by_column]
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", SHAPE, by_column)
    chosen = BEYOND[subset]
    want = take(matrix.dense(), chosen)
    got = extract_dense_array(seed, chosen)
    assert_identical(got, want)
    assert_order(got, "F" if by_column else "C")
    assert_sparse(extract_sparse_array(seed, chosen), want, "i4")


@BOTH_WAYS
@pytest.mark.parametrize("width", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_subset_of_any_integer_width(matrices: Any, by_column: bool, width: str) -> None:
    path, matrix = matrices[by_column]
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", SHAPE, by_column)
    chosen = (numpy.array([1, 2, 3, 39], width), numpy.array([0, 24], width))
    want = take(matrix.dense(), chosen)
    assert_identical(extract_dense_array(seed, chosen), want)
    assert_sparse(extract_sparse_array(seed, chosen), want, "i4")


@BOTH_WAYS
@pytest.mark.parametrize("index_dtype", ["u1", "u2", "u4", "u8", ">u2"])
def test_unsigned_indices_and_a_run_from_the_middle(tmp_path: Path, by_column: bool, index_dtype: str) -> None:
    # hdf5array: UFuncTypeError.
    matrix = random_compressed(SHAPE, by_column, seed=6, index_dtype=index_dtype)
    matrix.write(tmp_path / "x.h5")
    seed = Hdf5CompressedSparseMatrixSeed(tmp_path / "x.h5", "m", SHAPE, by_column)
    chosen = (range(5, 30), range(3, 20))
    want = take(matrix.dense(), chosen)
    assert_identical(extract_dense_array(seed, chosen), want)
    assert_sparse(extract_sparse_array(seed, chosen), want, index_dtype)


@BOTH_WAYS
def test_unsorted_indices_are_sorted_on_the_way_out(tmp_path: Path, by_column: bool) -> None:
    # hdf5array: IndexError, or entries that are silently not found by its bisection.
    matrix = random_compressed(SHAPE, by_column, seed=7, density=0.5)
    rng = numpy.random.default_rng(8)
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        order = start + rng.permutation(stop - start)
        matrix.indices[start:stop] = matrix.indices[order]
        matrix.data[start:stop] = matrix.data[order]
    matrix.write(tmp_path / "x.h5", compression="gzip", chunks=(10,))
    array = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", SHAPE, by_column)
    for chosen in (everything(SHAPE), (range(5, 30), range(3, 20)), ([1, 7, 9], [0, 2, 24])):
        want = take(matrix.dense(), chosen)
        assert_identical(extract_dense_array(array.seed, chosen), want)
        assert_sparse(extract_sparse_array(array.seed, chosen), want, "i4")
    for kind in ("csc", "csr", "coo"):
        assert_identical(to_scipy_sparse_matrix(array, kind).toarray(), matrix.dense())


def test_rows_of_a_real_file_with_unsorted_indices() -> None:
    real.require()
    (path,) = real.location().glob("c1_10x/**/GSM4339772_C144_filtered_feature_bc_matrix.h5")
    with h5py.File(path) as file:
        group = file["matrix"]
        shape = tuple(map(int, group["shape"][()]))
        judge = scipy.sparse.csc_matrix(tuple(group[name][()] for name in ("data", "indices", "indptr")), shape)
    assert not judge.has_sorted_indices
    chosen = (range(0, shape[0], 111), range(60))
    want = judge[chosen[0]][:, chosen[1]].toarray()
    assert want.any()
    ours = Hdf5CompressedSparseMatrixSeed(path, "matrix", shape, True)
    assert_identical(extract_dense_array(ours, chosen), want)
    assert_sparse(extract_sparse_array(ours, chosen), want, "i8")
    # docs/from-hdf5array.md says so; where a later hdf5array finds them, it should not.
    theirs = hdf5array.Hdf5CompressedSparseMatrixSeed(path, "matrix", shape, True)
    assert not extract_dense_array(theirs, chosen).any()


@BOTH_WAYS
def test_explicit_zeros_stay_entries(tmp_path: Path, by_column: bool) -> None:
    matrix = random_compressed(SHAPE, by_column, seed=9)
    matrix.data[::3] = 0
    matrix.write(tmp_path / "x.h5")
    ours, theirs = pair(tmp_path / "x.h5", matrix)
    for chosen in (everything(SHAPE), ([1, 7, 9], [0, 2, 24])):
        same_sparse(extract_sparse_array(ours, chosen), extract_sparse_array(theirs, chosen))
    scipy_matrix = to_scipy_sparse_matrix(Hdf5CompressedSparseMatrix(ours, None, None, None))
    assert scipy_matrix.nnz == len(matrix.data)


@BOTH_WAYS
def test_repeated_entries_are_summed(tmp_path: Path, by_column: bool) -> None:
    matrix = Compressed(
        data=numpy.array([100, 100, 100, 1, 2, -2], dtype="i1"),
        indices=numpy.array([3, 3, 3, 0, 2, 2], dtype="i4"),
        indptr=numpy.array([0, 4, 4, 6], dtype="i4"),
        shape=(4, 3) if by_column else (3, 4),
        by_column=by_column,
    )
    matrix.write(tmp_path / "x.h5")
    for dtype in (None, numpy.dtype("i4"), numpy.dtype("f4")):
        array = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", matrix.shape, by_column, dtype=dtype)
        want = matrix.dense(dtype)
        # Converted first, summed after: int8 wraps, what is wider does not.
        assert want.max() == (44 if dtype is None else 300)
        assert_identical(extract_dense_array(array.seed, everything(matrix.shape)), want)
        got = extract_sparse_array(array.seed, everything(matrix.shape))
        assert_sparse(got, want, "i4", stored=matrix.stored())
        for kind in ("csc", "csr", "coo"):
            assert_identical(to_scipy_sparse_matrix(array, kind).toarray(), want)


@pytest.mark.parametrize("dtype", [None, numpy.dtype("f4")], ids=["as-stored", "float32"])
@pytest.mark.parametrize(
    ("kind", "matrix_class"),
    [
        ("csc", scipy.sparse.csc_matrix),
        ("csr", scipy.sparse.csr_matrix),
        ("coo", scipy.sparse.coo_matrix),
    ],
)
@BOTH_WAYS
def test_to_scipy_as_hdf5array_does(matrices: Any, by_column: bool, kind: str, matrix_class: type, dtype: Any) -> None:
    path, matrix = matrices[by_column]
    ours, theirs = pair(path, matrix, dtype=dtype)
    got = to_scipy_sparse_matrix(Hdf5CompressedSparseMatrix(ours, None, None, None), kind)
    want = to_scipy_sparse_matrix(hdf5array.Hdf5CompressedSparseMatrix(theirs, None, None, None), kind)
    assert type(got) is type(want) is matrix_class
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert got.nnz == want.nnz
    assert_identical(got.toarray(), want.toarray())
    if kind != "coo":
        got.check_format(full_check=True)


def test_to_scipy_is_csc_unless_asked_otherwise(matrices: Any) -> None:
    path, _matrix = matrices[False]
    array = Hdf5CompressedSparseMatrix(path, "m", SHAPE, False)
    assert to_scipy_sparse_matrix(array).format == "csc"


@BOTH_WAYS
def test_to_scipy_gives_native_byte_order(tmp_path: Path, by_column: bool) -> None:
    matrix = random_compressed(SHAPE, by_column, seed=10, dtype=">i4", index_dtype=">i8", indptr_dtype=">u4")
    matrix.write(tmp_path / "x.h5")
    array = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", SHAPE, by_column)
    assert array.dtype.str == ">i4"
    assert array.index_dtype.str == ">i8"
    for kind in ("csc", "csr", "coo"):
        got = to_scipy_sparse_matrix(array, kind)
        assert got.dtype.isnative
        assert_identical(got.toarray(), matrix.dense().astype("i4"))
    assert_identical(extract_dense_array(array.seed, everything(SHAPE)), matrix.dense())
    assert_sparse(extract_sparse_array(array.seed, everything(SHAPE)), matrix.dense(), ">i8")


@BOTH_WAYS
def test_group_name_none(tmp_path: Path, by_column: bool) -> None:
    matrix = random_compressed(SHAPE, by_column, seed=11)
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["a/values"] = matrix.data
        handle["b"] = matrix.indices
        handle["/c/d/pointers"] = matrix.indptr
    names = {"data_name": "a/values", "indices_name": "b", "indptr_name": "/c/d/pointers"}
    seed = Hdf5CompressedSparseMatrixSeed(tmp_path / "x.h5", None, SHAPE, by_column, **names)
    assert seed.group_name is None
    assert (seed.data_name, seed.indices_name, seed.indptr_name) == tuple(names.values())
    assert_identical(extract_dense_array(seed, everything(SHAPE)), matrix.dense())


def test_one_name_given_beside_a_group(tmp_path: Path) -> None:
    matrix = random_compressed(SHAPE, True, seed=12)
    matrix.write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "a") as handle:
        handle["doubled"] = matrix.data * 2
    array = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", SHAPE, True, data_name="doubled")
    assert (array.data_name, array.indices_name, array.indptr_name) == ("doubled", "m/indices", "m/indptr")
    assert_identical(numpy.array(array), matrix.dense() * 2)
    assert_identical(to_scipy_sparse_matrix(array).toarray(), matrix.dense() * 2)


@pytest.mark.parametrize("group", ["m", "/m", "m/", "/outer/m"])
def test_group_name_as_it_is_given(tmp_path: Path, group: str) -> None:
    matrix = random_compressed(SHAPE, True, seed=13)
    matrix.write(tmp_path / "x.h5", group=group)
    ours, theirs = pair_of_group(tmp_path / "x.h5", group)
    for name in PROPERTIES:
        assert getattr(ours, name) == getattr(theirs, name)
    assert_identical(extract_dense_array(ours, everything(SHAPE)), matrix.dense())


def pair_of_group(path: Path, group: str) -> tuple[Any, Any]:
    arguments = (str(path), group, SHAPE, True)
    return (
        Hdf5CompressedSparseMatrixSeed(*arguments),
        hdf5array.Hdf5CompressedSparseMatrixSeed(*arguments),
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Hdf5CompressedSparseMatrixSeed, hdf5array.Hdf5CompressedSparseMatrixSeed),
        (Hdf5CompressedSparseMatrix, hdf5array.Hdf5CompressedSparseMatrix),
    ],
)
def test_same_signature(ours: type, theirs: type) -> None:
    assert_same_parameters(ours, theirs)
    assert ours.__name__ == theirs.__name__


def test_array_from_a_path(matrices: Any) -> None:
    path, matrix = matrices[True]
    array = Hdf5CompressedSparseMatrix(path, "m", SHAPE, True, dtype=numpy.dtype("f4"), index_dtype=numpy.dtype("i8"))
    assert isinstance(array, delayedarray.DelayedArray)
    for name in PROPERTIES:
        assert getattr(array, name) == getattr(array.seed, name)
    assert array.path is path
    assert array.dtype == numpy.dtype("f4")
    assert is_sparse(array)
    assert_identical(numpy.array(array), matrix.dense("f4"))


def test_array_from_a_seed(matrices: Any) -> None:
    path, _ = matrices[False]
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", SHAPE, False)
    for array in (Hdf5CompressedSparseMatrix(seed, None, None, None), wrap(seed)):
        assert type(array) is Hdf5CompressedSparseMatrix
        assert array.seed is seed


@BOTH_WAYS
def test_prints_as_hdf5array_does(matrices: Any, by_column: bool) -> None:
    path, _ = matrices[by_column]
    arguments = (path, "m", SHAPE, by_column)
    ours = Hdf5CompressedSparseMatrix(*arguments)
    assert repr(ours) == repr(hdf5array.Hdf5CompressedSparseMatrix(*arguments))


@pytest.mark.parametrize("shape", [(numpy.int64(40), numpy.int32(25)), (numpy.uint64(40), numpy.uint8(25))])
@BOTH_WAYS
def test_shape_of_numpy_integers(matrices: Any, by_column: bool, shape: tuple) -> None:
    path, matrix = matrices[by_column]
    array = Hdf5CompressedSparseMatrix(path, "m", shape, by_column)
    assert tuple(array.shape) == SHAPE
    assert_identical(numpy.array(array), matrix.dense())
    assert_identical(to_scipy_sparse_matrix(array).toarray(), matrix.dense())
    assert array.sum() == matrix.dense().sum()


def test_shape_of_a_dataset(tmp_path: Path) -> None:
    # As a 10x file has it: an array, not a tuple.
    matrix = random_compressed(SHAPE, True, seed=14)
    matrix.write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "a") as handle:
        handle["m/shape"] = numpy.array(SHAPE, dtype="i4")
        shape = tuple(handle["m/shape"][:])
    array = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", shape, True)
    assert_identical(numpy.array(array), matrix.dense())


@pytest.mark.parametrize("dtype", ["float32", numpy.float32, float, ">i2"], ids=repr)
def test_any_way_to_say_a_type(matrices: Any, dtype: Any) -> None:
    path, matrix = matrices[True]
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", SHAPE, True, dtype=dtype, index_dtype="u2")
    assert isinstance(seed.dtype, numpy.dtype)
    assert seed.dtype == numpy.dtype(dtype)
    assert isinstance(seed.index_dtype, numpy.dtype)
    assert seed.index_dtype == numpy.dtype("u2")
    want = matrix.dense(dtype)
    assert_identical(extract_dense_array(seed, everything(SHAPE)), want)
    assert_sparse(extract_sparse_array(seed, everything(SHAPE)), want, "u2")


@pytest.mark.parametrize("kind", [str, Path])
def test_path_is_returned_unchanged(matrices: Any, kind: type) -> None:
    given = kind(matrices[True][0])
    seed = Hdf5CompressedSparseMatrixSeed(given, "m", SHAPE, True)
    assert seed.path is given
    assert wrap(seed).path is given


def test_properties_are_read_only(matrices: Any) -> None:
    seed = Hdf5CompressedSparseMatrixSeed(matrices[True][0], "m", SHAPE, True)
    for attribute in PROPERTIES:
        with pytest.raises(AttributeError):
            setattr(seed, attribute, None)


def test_instances_take_new_attributes(matrices: Any) -> None:
    seed = Hdf5CompressedSparseMatrixSeed(matrices[True][0], "m", SHAPE, True)
    array = wrap(seed)
    seed.note = "mine"
    array.note = "mine too"
    assert (seed.note, array.note) == ("mine", "mine too")


@pytest.mark.parametrize(
    "duplicate",
    [
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        *[
            pytest.param(lambda x, p=p: pickle.loads(pickle.dumps(x, p)), id=f"pickle-{p}")
            for p in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ],
    ],
)
@BOTH_WAYS
def test_copies_are_alike(matrices: Any, by_column: bool, duplicate: Any) -> None:
    path, matrix = matrices[by_column]
    seed = Hdf5CompressedSparseMatrixSeed(
        path, "m", SHAPE, by_column, dtype=numpy.dtype("f4"), index_dtype=numpy.dtype("i8")
    )
    seed.note = ["mine"]
    twin = duplicate(seed)
    assert type(twin) is Hdf5CompressedSparseMatrixSeed
    assert twin.note == ["mine"]
    for name in PROPERTIES:
        assert getattr(twin, name) == getattr(seed, name)
    want = matrix.dense("f4")
    assert_identical(extract_dense_array(twin, everything(SHAPE)), want)
    assert_sparse(extract_sparse_array(twin, everything(SHAPE)), want, "i8")
    array = duplicate(wrap(seed))
    assert type(array) is Hdf5CompressedSparseMatrix
    assert_identical(to_scipy_sparse_matrix(array).toarray(), want)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (5, 4), (1, 1)], ids=str)
@BOTH_WAYS
def test_a_matrix_without_entries(tmp_path: Path, shape: tuple[int, int], by_column: bool) -> None:
    empty = Compressed(
        data=numpy.zeros(0, "f4"),
        indices=numpy.zeros(0, "u4"),
        indptr=numpy.zeros(shape[1 if by_column else 0] + 1, "u4"),
        shape=shape,
        by_column=by_column,
    )
    empty.write(tmp_path / "x.h5")
    array = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", shape, by_column)
    assert_identical(extract_dense_array(array.seed, everything(shape)), empty.dense())
    assert_sparse(extract_sparse_array(array.seed, everything(shape)), empty.dense(), "u4")
    if 0 not in shape:
        assert array.sum() == 0
    for kind in ("csc", "csr", "coo"):
        got = to_scipy_sparse_matrix(array, kind)
        assert got.format == kind
        assert_identical(got.toarray(), empty.dense())


def test_every_result_is_the_callers_own(matrices: Any) -> None:
    path, matrix = matrices[True]
    array = Hdf5CompressedSparseMatrix(path, "m", SHAPE, True)
    whole = everything(SHAPE)
    extract_dense_array(array.seed, whole)[...] = 0
    for content in extract_sparse_array(array.seed, whole).contents:
        if content is not None:
            content[0][...] = 0
            content[1][...] = 0
    to_scipy_sparse_matrix(array).data[...] = 0
    assert_identical(extract_dense_array(array.seed, whole), matrix.dense())
    assert_sparse(extract_sparse_array(array.seed, whole), matrix.dense(), "i4")
    assert_identical(to_scipy_sparse_matrix(array).toarray(), matrix.dense())


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("format", ["csc", "csr", "coo"])
@pytest.mark.parametrize(
    "subset",
    [
        (slice(2, 20, 3), slice(None)),
        (slice(None), [1, 5, 6]),
        ([9, 3, 3, 0], slice(4, 12)),
        (slice(None, None, -1), [7, 2, 2]),
        (slice(0, 0), slice(None)),
    ],
)
def test_subsets_are_read_into_scipy_matrices(matrices: Any, by_column: bool, format: str, subset: Any) -> None:
    path, _ = matrices[by_column]
    array = Hdf5CompressedSparseMatrix(path, "m", SHAPE, by_column)
    expected = to_dense_array(array)[subset[0], :][:, subset[1]]
    found = to_scipy_sparse_matrix(array[subset], format)
    assert found.format == format
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    numpy.testing.assert_array_equal(found.toarray(), expected)


def test_other_operations_are_delayedarrays_own(matrices: Any) -> None:
    path, _ = matrices[True]
    array = Hdf5CompressedSparseMatrix(path, "m", SHAPE, True) * 2
    found = to_scipy_sparse_matrix(array, "csc")
    numpy.testing.assert_array_equal(found.toarray(), to_dense_array(array))
