"""Indexing, iteration and lengths of arrays in files, against numpy on the same data."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import delayedarray
import h5py
import numpy
import pytest
from delayedarray import wrap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import filebackedarray
from filebackedarray import FileBackedArray, Hdf5CompressedSparseMatrix, Hdf5DenseArray, Hdf5DenseArraySeed
from filebackedarray._compute import indexing as _indexing
from filebackedarray._compute.tree import compiled
from helpers import random_compressed

SHAPES = [(7,), (5, 6), (4, 3, 5), ()]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, numpy.ndarray]]:
    """Arrays of several dimensions, dense and sparse, plain and with operations, and what they hold."""
    folder = tmp_path_factory.mktemp("indexing")
    made: list[tuple[Any, numpy.ndarray]] = []
    rng = numpy.random.default_rng(5)
    values = {f"x{len(shape)}": rng.integers(0, 99, shape) for shape in SHAPES}
    with h5py.File(folder / "x.h5", "w") as handle:
        for name, data in values.items():
            options = {"chunks": tuple(min(2, n) for n in data.shape)} if data.ndim else {}
            handle.create_dataset(name, data=data, **options)
    for by_column in (True, False):
        matrix = random_compressed((6, 8), by_column, seed=3)
        path = folder / f"{by_column}.h5"
        matrix.write(path)
        made.append((Hdf5CompressedSparseMatrix(path, "m", (6, 8), by_column), matrix.dense()))
    for name, data in values.items():
        made.append((Hdf5DenseArray(folder / "x.h5", name, native_order=True), data))
        made.append((Hdf5DenseArray(folder / "x.h5", name), data.T))
    array, data = made[-4]
    made.append((array * 2 + 1, data * 2 + 1))
    made.append((array[:, [2, 0, 0]], data[:, [2, 0, 0]]))
    return made


def items(extents: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Anything that may stand between brackets, most of it right for one of the axes."""
    extent = st.sampled_from(extents or (3,))

    def of_axis(n: int) -> st.SearchStrategy[Any]:
        index = st.integers(-n, n - 1) if n else st.integers(-1, 1)
        arrays = st.sampled_from([(3,), (1,), (2, 3), (2, 1), (0,)]).flatmap(
            lambda shape: st.lists(index, min_size=int(numpy.prod(shape)), max_size=int(numpy.prod(shape))).map(
                lambda chosen: numpy.array(chosen, dtype=int).reshape(shape)
            )
        )
        return st.one_of(
            index,
            index.map(numpy.int16),
            st.slices(n),
            st.lists(index, max_size=4),
            arrays,
            arrays.map(lambda array: array.astype("i2")),
            st.lists(st.booleans(), min_size=n, max_size=n),
            st.lists(st.booleans(), min_size=n, max_size=n).map(numpy.array),
            st.just(range(n)),
        )

    odd = st.sampled_from([None, Ellipsis, True, False, 99, -99, 1.5, "x", [0, 99], [0.5], numpy.array(1)])
    return st.one_of(extent.flatmap(of_axis), extent.flatmap(of_axis), odd)


@given(data=st.data())
def test_indexing_is_numpys(arrays: list[tuple[Any, numpy.ndarray]], data: st.DataObject) -> None:
    ours, theirs = data.draw(st.sampled_from(arrays), label="array")
    key: Any = tuple(data.draw(st.lists(items(theirs.shape), max_size=theirs.ndim + 1), label="key"))
    if len(key) == 1 and data.draw(st.booleans()):
        (key,) = key
    assert_same(ours, theirs, key)


@given(data=st.data())
def test_masks_of_several_axes(arrays: list[tuple[Any, numpy.ndarray]], data: st.DataObject) -> None:
    ours, theirs = data.draw(st.sampled_from(arrays), label="array")
    axes = data.draw(st.integers(0, theirs.ndim))
    seed = data.draw(st.integers(0, 99))
    mask = numpy.random.default_rng(seed).random(theirs.shape[:axes]) < 0.4
    assert_same(ours, theirs, mask)
    assert_same(ours, theirs, (mask, *([slice(None, None, -1)] * (theirs.ndim - axes))))


def assert_same(ours: Any, theirs: numpy.ndarray, key: Any) -> None:
    try:
        want = theirs[key]
    except IndexError:
        with pytest.raises(IndexError):
            ours[key]
        return
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            ours[key]
        return
    try:
        got = ours[key]
    except IndexError as error:
        # Arrays of indices that come to nothing are not looked at by numpy; a wrong one is wrong here all the same.
        assert want.size == 0
        assert "out of bounds" in str(error)  # noqa: PT017
        return
    assert isinstance(got, FileBackedArray | numpy.ndarray | numpy.generic)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    numpy.testing.assert_array_equal(numpy.asarray(got), want)


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 3),
        [2, 0],
        (slice(None), [True, False, True, True, False, False]),
        (numpy.array([1, 1]), slice(None, None, -2)),
        numpy.ix_([4, -1], [0, 5]),
        Ellipsis,
        (),
        (Ellipsis, [1]),
    ],
    ids=repr,
)
def test_what_takes_each_axis_by_itself_is_delayed(tmp_path: Path, key: Any) -> None:
    data = numpy.arange(30).reshape(5, 6)
    array = write(tmp_path, data)
    got = array[key]
    assert isinstance(got, FileBackedArray)
    # Subsets of subsets are one.
    again = got[::-1]
    assert not isinstance(getattr(again.seed, "seed", None), delayedarray.Subset)
    numpy.testing.assert_array_equal(numpy.asarray(again), data[key][::-1])


def write(folder: Path, data: numpy.ndarray, **options: Any) -> Any:
    with h5py.File(folder / "x.h5", "w") as handle:
        handle.create_dataset("x", data=data, **options)
    return Hdf5DenseArray(folder / "x.h5", "x", native_order=True)


def test_a_subset_that_undoes_another_is_none(tmp_path: Path) -> None:
    array = write(tmp_path, numpy.arange(30).reshape(5, 6))
    assert array[::-1][::-1].seed is array.seed


def test_as_delayedarray(arrays: list[tuple[Any, numpy.ndarray]]) -> None:
    """What works there is the same here: whether it is delayed, and its values."""
    for ours, theirs in arrays:
        if theirs.ndim != 2:
            continue
        plain = delayedarray.DelayedArray(ours.seed)
        for key in [
            3,
            (3, 2),
            (slice(None), 1),
            (slice(1, 4), slice(None, None, 2)),
            ([0, 2], slice(None)),
            [1, 1],
            (),
        ]:
            want, got = plain[key], ours[key]
            assert isinstance(got, numpy.ndarray) == isinstance(want, numpy.ndarray), key
            numpy.testing.assert_array_equal(numpy.asarray(got), numpy.asarray(want))


@st.composite
def points_of_datasets(draw: st.DrawFn) -> tuple[numpy.ndarray, tuple[int, ...], dict[int, Any], list[Any]]:
    shape = tuple(draw(st.lists(st.integers(1, 8), min_size=1, max_size=4)))
    chunks = tuple(draw(st.integers(1, extent)) for extent in shape)
    count = draw(st.integers(1, 12))
    along = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    points = {
        axis: numpy.array(draw(st.lists(st.integers(0, shape[axis] - 1), min_size=count, max_size=count)))
        for axis in sorted(along)
    }
    subset = [sorted(draw(st.sets(st.integers(0, extent - 1), min_size=1))) for extent in shape]
    return numpy.arange(math.prod(shape)).reshape(shape), chunks, points, subset


@pytest.mark.parametrize("untrusted", [False, True])
@pytest.mark.parametrize("native", [False, True])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(case=points_of_datasets())
def test_points_of_datasets(
    fresh_path: Callable[[], Path], native: bool, untrusted: bool, case: tuple[Any, ...]
) -> None:
    data, chunks, points, subset = case
    path = fresh_path()
    with h5py.File(path, "w") as handle:
        order = slice(None) if native else slice(None, None, -1)
        handle.create_dataset("x", data=data if native else data.T, chunks=chunks[order])
    seed = Hdf5DenseArraySeed(path, "x", native_order=native, untrusted=untrusted)
    count = len(next(iter(points.values())))
    one = [
        numpy.ix_(*[[points[a][n]] if a in points else taken for a, taken in enumerate(subset)]) for n in range(count)
    ]
    want = numpy.stack([data[index].squeeze(tuple(points)) for index in one])
    numpy.testing.assert_array_equal(seed._points(points, subset), want)
    # A selection of a dataset's elements for which nothing is computed, turned and in another order.
    turned = wrap(seed).T[::-1] if data.ndim == 1 else wrap(seed).T[::-1, ...]
    axes = range(data.ndim)[::-1]
    key = [points.get(axis, slice(None)) for axis in axes]
    numpy.testing.assert_array_equal(turned[tuple(key)], data.T[::-1][tuple(key)])
    wrong = {**points, 0: numpy.full(count, data.shape[0])}
    with pytest.raises(IndexError, match="out of bounds for axis"):
        seed._points(wrong, subset)


@pytest.mark.parametrize("by_column", [True, False])
def test_points_of_sparse_matrices(tmp_path: Path, by_column: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filebackedarray._compute.evaluate._STORED", 50)
    matrix = random_compressed((60, 50), by_column, seed=3, dtype="f4", density=0.2)
    matrix.write(tmp_path / "m.h5")
    x, data = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", (60, 50), by_column), matrix.dense()
    rng = numpy.random.default_rng(3)
    rows, columns = rng.integers(-60, 60, (4, 250)), rng.integers(-50, 50, (1, 250))
    for ours, theirs in ((x, data), (x * 2, data * 2), (x[::-1, :], data[::-1])):
        numpy.testing.assert_array_equal(ours[rows, columns], theirs[rows, columns])
        numpy.testing.assert_array_equal(ours[[3], [7]], theirs[[3], [7]])
        assert ours[rows, columns].dtype == theirs.dtype


def test_points_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scattered elements of what is computed are looked up in blocks of bounded size, each of which is read once."""
    data = numpy.random.default_rng(2).random((60, 50, 3))
    array = write(tmp_path, data, chunks=(10, 10, 3)) * 1
    monkeypatch.setattr(_indexing, "_BLOCK_ELEMENTS", 300)
    read, sizes = _indexing.Source.read, []
    monkeypatch.setattr(_indexing.Source, "read", lambda *a: sizes.append(read(*a).size) or read(*a))
    rng = numpy.random.default_rng(3)
    rows, columns = rng.integers(-60, 60, (4, 25)), rng.integers(-50, 50, (1, 25))
    numpy.testing.assert_array_equal(array[rows, :, columns % 3], data[rows, :, columns % 3])
    numpy.testing.assert_array_equal(array[rows, columns], data[rows, columns])
    numpy.testing.assert_array_equal(array[rows, columns, ::-2], data[rows, columns, ::-2])
    diagonal = numpy.arange(50)
    sizes.clear()
    numpy.testing.assert_array_equal(array[diagonal, diagonal], data[diagonal, diagonal])
    # Never the 2500 rows of the square that they are the diagonal of.
    assert max(sizes) <= _indexing._WASTE * 50 * 3
    assert sum(sizes) < 2500


def test_arrays_that_do_not_fit_together(tmp_path: Path) -> None:
    array = write(tmp_path, numpy.zeros((5, 6)))
    with pytest.raises(IndexError, match=r"numpy\.ix_"):
        array[[0, 1], [0, 1, 2]]


def test_lengths_and_truth(arrays: list[tuple[Any, numpy.ndarray]]) -> None:
    for ours, theirs in arrays:
        assert (ours.ndim, ours.size) == (theirs.ndim, theirs.size)
        if theirs.ndim:
            assert len(ours) == len(theirs)
            with pytest.raises(ValueError, match="ambiguous"):
                bool(ours)
            with pytest.raises(ValueError, match="ambiguous"):
                bool(ours[:0])
            one = (slice(1, 2),) * theirs.ndim
            assert bool(ours[one]) == bool(theirs[one])
        else:
            with pytest.raises(TypeError, match="unsized"):
                len(ours)
            with pytest.raises(TypeError, match="0-d"):
                iter(ours)
            assert bool(ours) == bool(theirs)


def test_iteration(arrays: list[tuple[Any, numpy.ndarray]], monkeypatch: pytest.MonkeyPatch) -> None:
    for most in (1, 200, 1 << 26):
        monkeypatch.setattr(_indexing, "BLOCK_BYTES", most)
        for ours, theirs in arrays:
            if theirs.ndim == 0:
                continue
            rows = list(ours)
            assert len(rows) == len(theirs)
            for row, want in zip(rows, theirs, strict=True):
                assert type(row) is type(want)
                numpy.testing.assert_array_equal(row, want)
            numpy.testing.assert_array_equal(numpy.array(list(reversed(ours))), theirs[::-1])


def test_iteration_reads_blocks_of_whole_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = numpy.arange(1000 * 8).reshape(1000, 8)
    array = write(tmp_path, data, chunks=(30, 8))
    monkeypatch.setattr(_indexing, "BLOCK_BYTES", 100 * 8 * 8)
    read, asked = _indexing.Source.read, []
    monkeypatch.setattr(_indexing.Source, "read", lambda self, subset: asked.append(subset[0]) or read(self, subset))
    iterator = iter(array)
    next(iterator)
    assert asked == [range(90)]
    first, *_ = iterator
    assert asked == [*(range(begin, begin + 90) for begin in range(0, 900, 90)), range(900, 1000)]
    # A row that is kept does not keep its block.
    assert first.base is None


def test_membership(arrays: list[tuple[Any, numpy.ndarray]]) -> None:
    for ours, theirs in arrays:
        value = theirs.reshape(-1)[-1]
        assert value in ours
        assert -7 not in ours
        if theirs.ndim == 2:
            assert theirs[2] in ours
            with pytest.raises(TypeError, match="fewer than 2"):
                assert theirs in ours


def test_membership_of_strings(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = ["ENSG1", "ENSG22"]
    array = Hdf5DenseArray(tmp_path / "x.h5", "x")
    assert "ENSG22" in array
    assert "ENSG3" not in array


def test_as_a_numpy_array(arrays: list[tuple[Any, numpy.ndarray]]) -> None:
    for ours, theirs in arrays:
        for convert in (numpy.asarray, numpy.array, numpy.ascontiguousarray):
            want = convert(theirs)
            numpy.testing.assert_array_equal(convert(ours), want)
        single = numpy.asarray(ours, dtype="f4")
        assert single.dtype == numpy.float32
        numpy.testing.assert_array_equal(single, theirs.astype("f4"))
        with pytest.raises(ValueError, match="without a copy"):
            ours.__array__(copy=False)


def test_rows_of_a_file_that_is_gone(tmp_path: Path) -> None:
    array = write(tmp_path, numpy.zeros((5, 6)))
    (tmp_path / "x.h5").unlink()
    for read in (lambda: array[0], lambda: next(iter(array)), lambda: 3 in array, lambda: array[[0, 1], [0, 1]]):
        with pytest.raises(FileNotFoundError):
            read()
    # Of what has no elements, nothing is read.
    assert array[0:0, 3].shape == (0,)


def test_large_extents_cost_nothing(fresh_path: Callable[[], Path]) -> None:
    path = fresh_path()
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", shape=(10**12, 10**6), dtype="u1", chunks=(1000, 1000))
    array = filebackedarray.Hdf5DenseArray(path, "x", native_order=True)
    assert array[10**11 :, -2:][[3, 5]].shape == (2, 2)
    assert array[-1, -1] == 0
    assert next(iter(array)).shape == (10**6,)


@pytest.mark.parametrize("key", [slice(3, 40), slice(0, 47, 3), slice(None, None, -1), slice(40, 2, -7), slice(5, 5)])
@pytest.mark.parametrize("chunk", [1, 5, 50])
def test_boundaries_of_parts(tmp_path: Path, key: slice, chunk: int) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", shape=(50,), chunks=(chunk,), dtype="i4")
    part = Hdf5DenseArray(path, "x")[key]
    positions = numpy.arange(50)[key]
    changes = numpy.flatnonzero(numpy.diff(positions // chunk)) + 1
    for array in (part, numpy.sqrt(part), numpy.concatenate([part])):
        assert [int(end) for end in compiled(array).ticks()[0]] == [*changes, len(positions)]


def test_parts_of_many_chunks_are_shown_at_once(fresh_path: Callable[[], Path]) -> None:
    path = fresh_path()
    columns = 1_000_000
    with h5py.File(path, "w") as handle:
        handle["m/data"], handle["m/indices"] = numpy.ones(1, "f4"), numpy.zeros(1, "i4")
        handle["m/indptr"] = numpy.minimum(numpy.arange(columns + 1), 1)
        handle.create_dataset("x", shape=(10**9,), chunks=(10_000,), dtype="i1")
    matrix, vector = Hdf5CompressedSparseMatrix(path, "m", (3, columns), True), Hdf5DenseArray(path, "x")
    before = time.process_time()
    for part in (matrix[:, 1:], numpy.log1p(matrix[:, numpy.arange(columns) % 3 > 0]), vector[1:], vector[::-2]):
        assert "<svg" in part._repr_html_()
    next(iter(matrix[:, 1:]))
    next(iter(vector[1:]))
    # Many times as long as it takes, and a fraction of what going through all indices would.
    assert time.process_time() - before < 5


@pytest.mark.parametrize("chunk", [1, 7])
def test_so_many_chunks_take_little_memory(fresh_path: Callable[[], Path], chunk: int) -> None:
    path = fresh_path()
    extent = chunk * 10**9 - chunk // 2
    with h5py.File(path, "w") as handle:
        # A row is a megabyte, so that a block has few.
        handle.create_dataset("x", shape=(extent, 10**6), dtype="u1", chunks=(chunk, 10**6))
        handle.create_dataset("y", shape=(extent, 1000, 1000), dtype="u1", chunks=(chunk, 1000, 1000))
        handle["x"][1, 1] = handle["y"][1, 0, 1] = 5
    whole = Hdf5DenseArray(path, "x", native_order=True)
    reshaped = filebackedarray.ReshapedHdf5Array(path, "y", (extent, 10**6), native_order=True)
    for array in (whole[1:], whole[1::3], whole[extent::-1], numpy.sqrt(whole)[1:], reshaped[1:]):
        tracemalloc.start()
        ends = compiled(array).ticks()[0]
        assert int(ends[-1]) == len(array)
        assert "<svg" in array._repr_html_()
        assert f"<{len(array)} x 1000000>" in repr(array)
        first = next(iter(array))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (first[1] > 0) == (array[0, 1] > 0)
        assert most < 300 << 20


def test_the_ends_that_are_known_of_many_chunks(
    monkeypatch: pytest.MonkeyPatch, fresh_path: Callable[[], Path]
) -> None:
    monkeypatch.setattr("filebackedarray._compute.tree._MOST_TICKS", 10)
    path = fresh_path()
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=numpy.arange(500), chunks=(3,))
    array = Hdf5DenseArray(path, "x")
    # There are 167 chunks, of which every 17th is known.
    assert [int(end) for end in compiled(array + 0).ticks()[0]] == [*range(51, 500, 51), 500]
    assert numpy.sum(array[1:]) == numpy.arange(1, 500).sum()
    assert list(array[1:]) == list(range(1, 500))
