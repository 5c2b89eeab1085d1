"""Datasets with other dimensions, against numpy's reshape."""

from __future__ import annotations

import math
import pickle
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from delayedarray import (
    apply_over_blocks,
    chunk_grid,
    create_dask_array,
    extract_dense_array,
    extract_sparse_array,
    is_masked,
    is_sparse,
    to_dense_array,
    wrap,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import real
from filebackedarray import Hdf5DenseArray, Hdf5DenseArraySeed, ReshapedHdf5Array, ReshapedHdf5ArraySeed
from helpers import error_naming, everything, take

#: The class has the name of its module.
module: Any = sys.modules["filebackedarray.ReshapedHdf5ArraySeed"]

STORED: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "a": ((4, 6, 5, 10), (2, 4, 5, 3)),
    "b": ((4, 6, 5, 10), None),
    "c": ((24, 50), (7, 11)),
    "d": ((1200,), (100,)),
    "e": ((1, 12, 1, 100), (1, 5, 1, 7)),
    "f": ((4, 6, 50), (1, 1, 50)),
}
SHAPES: list[tuple[int, ...]] = [
    (24, 50),
    (4, 6, 5, 10),
    (4, 30, 10),
    (120, 10),
    (4, 300),
    (1200,),
    (2, 2, 6, 50),
    (8, 3, 50),
    (1, 1200, 1),
    (1200, 1),
    (48, 25),
    (5, 240),
]


def data(name: str) -> numpy.ndarray:
    return numpy.arange(1200, dtype="i4").reshape(STORED[name][0])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reshaped") / "x.h5"
    with h5py.File(path, "w") as handle:
        for name, (_, chunks) in STORED.items():
            handle.create_dataset(name, data=data(name), chunks=chunks, compression=None if chunks is None else 1)
        handle["scalar"] = 7
        handle["empty"] = numpy.zeros((3, 0, 4))
        handle["text"] = numpy.array([["a", "bcd"], ["ef", "g"]], dtype=h5py.string_dtype())
        missing = handle.create_dataset("missing", data=numpy.where(data("a") % 7, data("a"), -(2**31)).astype("i4"))
        missing.attrs["rhdf5-NA.OK"] = 1
    return path


def expected(name: str, shape: tuple[int, ...], native: bool) -> numpy.ndarray:
    return data(name).reshape(shape) if native else data(name).T.reshape(shape, order="F")


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", STORED)
def test_whole_arrays(path: Path, name: str, shape: tuple[int, ...], native: bool) -> None:
    x = ReshapedHdf5Array(path, name, shape, native_order=native)
    want = expected(name, shape, native)
    assert (x.shape, x.dtype) == (shape, want.dtype)
    got = to_dense_array(x)
    numpy.testing.assert_array_equal(got, want)
    assert got.flags["C_CONTIGUOUS" if native else "F_CONTIGUOUS"]
    covered = numpy.zeros(shape, bool)

    def visit(job: Any, block: numpy.ndarray) -> None:
        where = tuple(slice(*bounds) for bounds in job)
        covered[where] = True
        numpy.testing.assert_array_equal(block, want[where])

    apply_over_blocks(x, visit, buffer_size=200)
    assert covered.all()


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, tuple[int, ...], bool, tuple[Any, ...]]:
    name, shape = draw(st.sampled_from(sorted(STORED))), draw(st.sampled_from(SHAPES))
    subset: list[Any] = []
    for extent in shape:
        start, stop = sorted((draw(st.integers(0, extent)), draw(st.integers(0, extent))))
        subset.append(
            draw(
                st.one_of(
                    st.just(range(extent)),
                    st.just(range(start, stop)),
                    st.integers(1, 7).map(lambda step, start=start, extent=extent: range(start, extent, step)),
                    st.lists(st.integers(0, extent - 1), max_size=12).map(lambda x: numpy.array(x, int)),
                )
            )
        )
    return name, shape, draw(st.booleans()), tuple(subset)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(requests())
def test_any_part(path: Path, request_: tuple[str, tuple[int, ...], bool, tuple[Any, ...]]) -> None:
    name, shape, native, subset = request_
    seed = ReshapedHdf5ArraySeed(path, name, shape, native_order=native)
    got = extract_dense_array(seed, subset)
    numpy.testing.assert_array_equal(got, take(expected(name, shape, native), subset))


def test_a_part_is_one_request(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which decodes each chunk that has any of it once, and no other."""
    requests: list[str] = []

    def spied(read: Any) -> Any:
        return lambda *arguments: requests.append(read.__name__) or read(*arguments)

    monkeypatch.setattr(module, "extract_dense_array", spied(extract_dense_array))
    monkeypatch.setattr(Hdf5DenseArraySeed, "_points", spied(Hdf5DenseArraySeed._points))
    rng = numpy.random.default_rng(3)
    for shape in SHAPES:
        for count in (1, 2, 4, 1000):
            subset = [numpy.unique(rng.integers(0, extent, count)) for extent in shape]
            requests.clear()
            seed = ReshapedHdf5ArraySeed(path, "a", shape, native_order=True)
            got = module.extract_dense_array_ReshapedHdf5ArraySeed(seed, subset)
            numpy.testing.assert_array_equal(got, take(data("a").reshape(shape), subset))
            assert len(requests) == 1


def test_blocks_go_through_whole_chunks() -> None:
    def chunk_shape(stored: Any, chunks: Any, shown: Any) -> tuple[int, ...]:
        return module._chunk_shape(stored, chunks, shown, module._groups(stored, shown))

    assert chunk_shape((100, 30, 20), (10, 30, 20), (100, 600)) == (10, 600)
    assert chunk_shape((100, 30, 20), (10, 30, 20), (60000,)) == (6000,)
    assert chunk_shape((100, 30, 20), (1, 15, 20), (3000, 20)) == (15, 20)
    assert chunk_shape((100, 30, 20), (1, 16, 20), (3000, 20)) == (30, 20)
    assert chunk_shape((1000,), (100,), (10, 10, 10)) == (1, 10, 10)
    assert chunk_shape((1000,), (250,), (10, 10, 10)) == (2, 10, 10)
    assert chunk_shape((6, 4), (6, 1), (6, 4)) == (6, 1)


def test_groups_are_the_smallest() -> None:
    def groups(stored: tuple[int, ...], shown: tuple[int, ...]) -> list[tuple[Any, ...]]:
        return [(stored[group.stored], shown[group.shown]) for group in module._groups(stored, shown)]

    assert groups((10, 3, 5, 1000), (10, 15, 1000)) == [((10,), (10,)), ((3, 5), (15,)), ((1000,), (1000,))]
    assert groups((6, 4), (8, 3)) == [((6, 4), (8, 3))]
    assert groups((6,), (1, 2, 3, 1)) == [((6,), (1, 2, 3)), ((), (1,))]
    assert groups((), (1, 1)) == [((), (1,)), ((), (1,))]
    assert groups((1, 6), (6,)) == [((1, 6), (6,))]


def test_statistics_subsets_and_operations(path: Path) -> None:
    x = ReshapedHdf5Array(path, "a", (24, 50), native_order=True)
    want = data("a").reshape(24, 50)
    for axis in (None, 0, 1):
        numpy.testing.assert_array_equal(x.sum(axis=axis), want.sum(axis=axis))
        numpy.testing.assert_allclose((x * 2 + 1).var(axis=axis), (want * 2 + 1).var(axis=axis))
    numpy.testing.assert_array_equal(to_dense_array(x[3:20:2, [5, 1]]), want[3:20:2, [5, 1]])
    numpy.testing.assert_array_equal(x @ numpy.arange(50), want @ numpy.arange(50))
    numpy.testing.assert_array_equal(x.nonzeros_by_row(), numpy.count_nonzero(want, axis=1))


def test_the_rest_of_an_array(path: Path) -> None:
    x = ReshapedHdf5Array(path, "a", (24, -1), dtype="f4")
    assert (x.shape, x.dtype, x.path, x.name) == ((24, 50), numpy.dtype("f4"), path, "a")
    assert repr(x).startswith("<24 x 50> ReshapedHdf5Array object of type 'float32'")
    assert type(wrap(x.seed)) is ReshapedHdf5Array
    again = pickle.loads(pickle.dumps(x.seed))
    numpy.testing.assert_array_equal(to_dense_array(wrap(again)), to_dense_array(x))
    turned = x.transposed()
    assert type(turned) is ReshapedHdf5Array
    numpy.testing.assert_array_equal(to_dense_array(turned), to_dense_array(x).T)
    stored = Hdf5DenseArray(path, "a")
    assert (x.filters, x.storage_size, x.compression_ratio) == (
        stored.filters,
        stored.storage_size,
        stored.compression_ratio,
    )
    assert x.chunk_shape == stored.chunk_shape
    assert chunk_grid(x.seed).shape == (24, 50)


def test_dask(path: Path) -> None:
    seed = ReshapedHdf5ArraySeed(path, "a", (24, 50))
    array = create_dask_array(seed)
    numpy.testing.assert_array_equal(array.compute(), extract_dense_array(seed, everything((24, 50))))
    again = create_dask_array(pickle.loads(pickle.dumps(seed)))
    assert array.name == again.name
    assert array.name != create_dask_array(ReshapedHdf5ArraySeed(path, "a", (50, 24))).name


def test_scalars_and_nothing(path: Path) -> None:
    for shape in ((), (1,), (1, 1)):
        numpy.testing.assert_array_equal(to_dense_array(ReshapedHdf5Array(path, "scalar", shape)), numpy.full(shape, 7))
    x = ReshapedHdf5Array(path, "scalar", (1, 1))
    assert extract_dense_array(x.seed, ([0], [])).shape == (1, 0)
    for shape in ((0,), (5, 0), (0, 2, 3)):
        empty = ReshapedHdf5Array(path, "empty", shape)
        assert to_dense_array(empty).shape == shape
        assert empty.sum() == 0


def test_text_missing_values_and_sparse(path: Path) -> None:
    text = ReshapedHdf5Array(path, "text", (4,), native_order=True)
    assert to_dense_array(text).tolist() == ["a", "bcd", "ef", "g"]
    x = ReshapedHdf5Array(path, "missing", (24, 50), native_order=True, mask_missing=True, as_sparse=True)
    assert is_masked(x)
    assert is_sparse(x)
    want = numpy.ma.MaskedArray(data("a"), data("a") % 7 == 0).reshape(24, 50)
    for subset in (everything((24, 50)), (numpy.array([1, 5, 20]), range(0, 50, 3)), ([], range(50))):
        part = extract_dense_array(x.seed, subset)
        assert isinstance(part, numpy.ma.MaskedArray)
        numpy.testing.assert_array_equal(part.mask, take(want.mask, subset))
    numpy.testing.assert_array_equal(x.sum(axis=0), want.sum(axis=0))
    assert extract_sparse_array(x.seed, everything((24, 50))).is_masked
    with pytest.raises(NotImplementedError, match="as_sparse=True"):
        extract_sparse_array(text.seed, everything((4,)))


def test_shapes_that_do_not_fit(path: Path) -> None:
    for shape in ((24, 51), (7, -1), (-1, -1), (-24, -50), (0, -1), (24,)):
        with error_naming(ValueError, path, "a"):
            ReshapedHdf5Array(path, "a", shape)
    with error_naming(KeyError, path, "z"):
        ReshapedHdf5Array(path, "z", (1,))
    with pytest.raises(FileNotFoundError):
        ReshapedHdf5Array(path.with_name("none.h5"), "a", (1,))
    x = ReshapedHdf5ArraySeed(path, "a", (24, 50))
    for subset in ((range(25), range(50)), ([-25], range(50))):
        with pytest.raises(IndexError):
            extract_dense_array(x, subset)
    with pytest.raises(ValueError, match="3 axes"):
        extract_dense_array(x, (range(1), range(1), range(1)))


def test_a_file_from_r() -> None:
    real.require()
    path = real.location() / "c4_r" / "made-with-bioconductor" / "dense.h5"
    # R: dim(array3) is 24 10 7; collapsed as ReshapedHDF5Array(..., dim=c(240, 7)) and c(24, 70).
    whole = to_dense_array(Hdf5DenseArray(path, "array3"))
    assert whole.shape == (24, 10, 7)
    for shape in ((240, 7), (24, 70), (1680,)):
        x = ReshapedHdf5Array(path, "array3", shape)
        assert math.prod(x.shape) == 1680
        numpy.testing.assert_array_equal(to_dense_array(x), whole.reshape(shape, order="F"))
