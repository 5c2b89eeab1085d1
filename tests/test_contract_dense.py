"""Hdf5DenseArray and its seed beside those of hdf5array 0.5.0."""

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
from delayedarray import chunk_grid, extract_dense_array, is_masked, is_sparse, wrap

from filebackedarray import Hdf5DenseArray, Hdf5DenseArraySeed
from helpers import assert_identical, assert_order, assert_same_parameters, everything, take

DATASETS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (5, 7, 4)},
    "chunks-as-large-as-the-array": {"chunks": (12, 20, 9)},
    "gzip": {"chunks": (5, 7, 4), "compression": "gzip"},
    "gzip-shuffle": {"chunks": (3, 20, 2), "compression": "gzip", "shuffle": True},
    "lzf-fletcher32": {"chunks": (12, 3, 9), "compression": "lzf", "fletcher32": True},
    "resizable": {"chunks": (5, 32, 4), "maxshape": (None, 64, 9)},
}
SHAPE = (12, 20, 9)
BOTH_ORDERS = pytest.mark.parametrize("native_order", [True, False], ids=["native", "reversed"])


@pytest.fixture(scope="module")
def data() -> numpy.ndarray:
    return numpy.random.default_rng(4).integers(-1000, 1000, SHAPE).astype("i4")


@pytest.fixture(scope="module")
def path(data: numpy.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dense") / "contract.h5"
    with h5py.File(path, "w") as handle:
        for name, options in DATASETS.items():
            handle.create_dataset(name, data=data, **options)
        handle.create_dataset("one", data=data[0, :, 0], chunks=(6,))
        handle.create_dataset("two", data=data[:, :, 0].astype(">f8"), chunks=(5, 6))
        handle.create_dataset("four", data=data.reshape(3, 4, 20, 9), chunks=(2, 3, 8, 9))
        handle.create_dataset("flag", data=data[:, :, 0] > 0, compression="gzip")
        handle.create_dataset("no-rows", shape=(0, 5), dtype="f4")
        handle.create_dataset("no-rows-yet", shape=(0, 5), maxshape=(None, 5), dtype="f4")
        handle.create_dataset("group/in a group/x", data=data)
    return path


ALL = [*DATASETS, "one", "two", "four", "flag", "no-rows", "no-rows-yet", "group/in a group/x"]


def same_grid(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    assert ours.shape == theirs.shape
    assert ours.cost == theirs.cost
    assert [list(b) for b in ours.boundaries] == [list(b) for b in theirs.boundaries]


@pytest.mark.parametrize("dtype", [None, numpy.dtype("f8")], ids=["as-stored", "float64"])
@BOTH_ORDERS
@pytest.mark.parametrize("name", ALL)
def test_same_as_hdf5array(path: Path, name: str, native_order: bool, dtype: Any) -> None:
    ours = Hdf5DenseArraySeed(str(path), name, dtype=dtype, native_order=native_order)
    theirs = hdf5array.Hdf5DenseArraySeed(str(path), name, dtype=dtype, native_order=native_order)
    assert ours.shape == theirs.shape
    assert type(ours.shape) is tuple
    assert {type(n) for n in ours.shape} <= {int}
    assert ours.dtype == theirs.dtype
    assert ours.dtype.str == theirs.dtype.str
    assert ours.path == theirs.path
    assert ours.name == theirs.name
    same_grid(chunk_grid(ours), chunk_grid(theirs))
    assert is_sparse(ours) is is_sparse(theirs) is False
    assert is_masked(ours) is is_masked(theirs) is False
    whole = everything(ours.shape)
    got = extract_dense_array(ours, whole)
    assert_identical(got, extract_dense_array(theirs, whole))
    assert_order(got, "C" if native_order else "F")


SUBSETS: dict[str, tuple[Any, ...]] = {
    "all": (range(12), range(20), range(9)),
    "ranges": (range(2, 7), range(3, 19), range(0, 9)),
    "steps": (range(1, 12, 3), range(0, 20, 2), range(8, 9, 5)),
    "list": (range(12), [1, 4, 5, 19], range(9)),
    "lists": ([0, 3, 4, 11], [2, 3, 4, 5, 17], [0, 2, 8]),
    "tuple": ((0, 5), range(3, 5), range(9)),
    "consecutive-lists": (list(range(2, 9)), list(range(20)), list(range(1, 5))),
    "numpy-int64": (numpy.array([1, 3, 8]), range(20), range(9)),
    "empty-range": (range(12), range(4, 4), range(9)),
    "empty-list": (range(12), [], range(9)),
    "one-list": ([7], range(20), range(9)),
}


@BOTH_ORDERS
@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("subset", SUBSETS)
def test_same_subset_as_hdf5array(path: Path, name: str, subset: str, native_order: bool) -> None:
    chosen = SUBSETS[subset] if native_order else SUBSETS[subset][::-1]
    ours = Hdf5DenseArraySeed(str(path), name, native_order=native_order)
    theirs = hdf5array.Hdf5DenseArraySeed(str(path), name, native_order=native_order)
    got = extract_dense_array(ours, chosen)
    assert_identical(got, extract_dense_array(theirs, chosen))
    assert_order(got, "C" if native_order else "F")


BEYOND: dict[str, tuple[Any, ...]] = {
    # hdf5array fails with an IndexError: a list of length 0 or 1 beside another list.
    "list-and-empty-list": ([1, 2, 5], [], range(9)),
    "list-and-list-of-one": ([1, 2, 5], [3], range(9)),
    "lists-of-one": ([1], [19], [0]),
    "empty-lists": ([], [], []),
    # h5py takes neither of these.
    "negative-steps": (range(11, -1, -1), range(18, 2, -4), range(9)),
    "unsorted": ([5, 2, 9], range(20), [8, 0]),
    "repeated": ([5, 5, 5], [0, 19, 0], range(9)),
    "repeated-run": ([3, 4, 5, 3, 4, 5], range(20), range(9)),
    "slices": (slice(None), slice(2, 18, 3), slice(-3, None)),
    "slices-backwards": (slice(None, None, -1), slice(15, 2, -2), slice(100)),
    "empty-range-past-the-end": (range(12, 12), range(20), range(9)),
    "empty-array": (numpy.array([], dtype="i8"), range(20), range(9)),
    "empty-float-array": (numpy.array([]), range(20), range(9)),
    "numpy-scalars": ([numpy.int32(3), numpy.uint8(7)], range(20), range(9)),
    "read-only": (numpy.broadcast_to(numpy.int64(2), (3,)), range(20), range(9)),
    "big-endian": (numpy.array([0, 11], dtype=">i2"), range(20), range(9)),
    "strided": (numpy.arange(12)[::-5], range(20), numpy.arange(9)[1::3]),
}


@BOTH_ORDERS
@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("subset", BEYOND)
def test_subset_that_hdf5array_cannot_take(
    path: Path, data: numpy.ndarray, name: str, subset: str, native_order: bool
) -> None:
    chosen = BEYOND[subset] if native_order else BEYOND[subset][::-1]
    got = extract_dense_array(Hdf5DenseArraySeed(path, name, native_order=native_order), chosen)
    assert_identical(got, take(data if native_order else data.T, chosen))
    assert_order(got, "C" if native_order else "F")


@pytest.mark.parametrize("width", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_subset_of_any_integer_width(path: Path, data: numpy.ndarray, width: str) -> None:
    chosen = tuple(numpy.array(s, dtype=width) for s in ([1, 2, 3, 11], [0, 19], [4]))
    got = extract_dense_array(Hdf5DenseArraySeed(path, "gzip", native_order=True), chosen)
    assert_identical(got, take(data, chosen))


def test_subset_may_be_a_list(path: Path, data: numpy.ndarray) -> None:
    # delayedarray's own __getitem__ passes a list of axes, not a tuple.
    chosen = [[1, 2], range(20), range(9)]
    got = extract_dense_array(Hdf5DenseArraySeed(path, "gzip", native_order=True), chosen)
    assert_identical(got, take(data, chosen))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Hdf5DenseArraySeed, hdf5array.Hdf5DenseArraySeed),
        (Hdf5DenseArray, hdf5array.Hdf5DenseArray),
    ],
)
def test_same_signature(ours: type, theirs: type) -> None:
    assert_same_parameters(ours, theirs)
    assert ours.__name__ == theirs.__name__


def test_array_from_a_path(path: Path, data: numpy.ndarray) -> None:
    array = Hdf5DenseArray(str(path), "gzip", dtype=numpy.dtype("f4"), native_order=True)
    assert isinstance(array, delayedarray.DelayedArray)
    assert type(array.seed) is Hdf5DenseArraySeed
    assert array.path == str(path)
    assert array.name == "gzip"
    assert array.shape == SHAPE
    assert array.dtype == numpy.dtype("f4")
    assert_identical(numpy.array(array), data.astype("f4"))


def test_array_from_a_seed(path: Path) -> None:
    seed = Hdf5DenseArraySeed(path, "gzip")
    for array in (Hdf5DenseArray(seed, None), wrap(seed)):
        assert type(array) is Hdf5DenseArray
        assert array.seed is seed
        assert array.path is path
        assert array.name == "gzip"


def test_an_unknown_argument_is_refused(path: Path) -> None:
    with pytest.raises(TypeError):
        Hdf5DenseArray(path, "gzip", order="C")


@pytest.mark.parametrize("name", ["gzip", "flag", "two", "one"])
@BOTH_ORDERS
def test_prints_as_hdf5array_does(path: Path, name: str, native_order: bool) -> None:
    ours = Hdf5DenseArray(path, name, native_order=native_order)
    theirs = hdf5array.Hdf5DenseArray(path, name, native_order=native_order)
    assert repr(ours) == repr(theirs)
    assert str(ours) == str(theirs)


@pytest.mark.parametrize("dtype", ["float32", "f4", numpy.float32, numpy.dtype("f4"), ">f4", float, bool], ids=repr)
def test_any_way_to_say_a_type(path: Path, data: numpy.ndarray, dtype: Any) -> None:
    seed = Hdf5DenseArraySeed(path, "gzip", dtype=dtype, native_order=True)
    # The seed contract of delayedarray asks for what numpy's arrays have here.
    assert isinstance(seed.dtype, numpy.dtype)
    assert seed.dtype == numpy.dtype(dtype)
    assert_identical(extract_dense_array(seed, everything(SHAPE)), data.astype(dtype))


@pytest.mark.parametrize("kind", [str, Path, bytes])
def test_path_is_returned_unchanged(path: Path, data: numpy.ndarray, kind: type) -> None:
    given: Any = bytes(path) if kind is bytes else kind(path)
    seed = Hdf5DenseArraySeed(given, "gzip", native_order=True)
    assert seed.path is given
    assert Hdf5DenseArray(seed, None).path is given
    assert_identical(extract_dense_array(seed, everything(SHAPE)), data)


@pytest.mark.parametrize("name", ["/group/in a group/x", "group/in a group/x", "group//in a group/./x", b"gzip"])
def test_name_is_returned_unchanged(path: Path, data: numpy.ndarray, name: Any) -> None:
    seed = Hdf5DenseArraySeed(path, name, native_order=True)
    assert seed.name is name
    assert_identical(extract_dense_array(seed, everything(SHAPE)), data)


def test_relative_path_follows_the_working_directory(
    path: Path, data: numpy.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    seed = Hdf5DenseArraySeed(path.name, "gzip", native_order=True)
    assert seed.path == path.name
    assert_identical(extract_dense_array(seed, everything(SHAPE)), data)


def test_properties_are_read_only(path: Path) -> None:
    seed = Hdf5DenseArraySeed(path, "gzip")
    for attribute in ("shape", "dtype", "path", "name"):
        with pytest.raises(AttributeError):
            setattr(seed, attribute, None)


def test_instances_take_new_attributes(path: Path) -> None:
    seed = Hdf5DenseArraySeed(path, "gzip")
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
@BOTH_ORDERS
def test_copies_are_alike(path: Path, duplicate: Any, native_order: bool) -> None:
    seed = Hdf5DenseArraySeed(path, "gzip", dtype=numpy.dtype("f4"), native_order=native_order)
    seed.note = ["mine"]
    twin = duplicate(seed)
    assert type(twin) is Hdf5DenseArraySeed
    assert twin.note == ["mine"]
    assert (twin.path, twin.name, twin.shape, twin.dtype) == (seed.path, seed.name, seed.shape, seed.dtype)
    same_grid(chunk_grid(twin), chunk_grid(seed))
    whole = everything(seed.shape)
    assert_identical(extract_dense_array(twin, whole), extract_dense_array(seed, whole))
    array = duplicate(wrap(seed))
    assert type(array) is Hdf5DenseArray
    assert_identical(numpy.array(array), extract_dense_array(seed, whole))


def test_a_pickle_is_small(path: Path) -> None:
    seed = Hdf5DenseArraySeed(path, "gzip")
    extract_dense_array(seed, everything(seed.shape))
    assert len(pickle.dumps(seed)) < 2000


def test_a_subclass_is_a_seed_too(path: Path, data: numpy.ndarray) -> None:
    class Mine(Hdf5DenseArraySeed):
        pass

    seed = Mine(path, "gzip", native_order=True)
    assert_identical(extract_dense_array(seed, everything(SHAPE)), data)
    assert type(wrap(seed)) is Hdf5DenseArray


@BOTH_ORDERS
def test_a_scalar_has_no_dimensions(tmp_path: Path, native_order: bool) -> None:
    # hdf5array: IndexError from inside.
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = 5.0
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x", native_order=native_order)
    assert seed.shape == ()
    assert_identical(extract_dense_array(seed, ()), numpy.array(5.0))


def test_every_result_is_the_callers_own(path: Path, data: numpy.ndarray) -> None:
    for name in ("contiguous", "gzip", "chunks-as-large-as-the-array"):
        seed = Hdf5DenseArraySeed(path, name, native_order=True)
        extract_dense_array(seed, everything(SHAPE))[...] = 0
        assert_identical(extract_dense_array(seed, everything(SHAPE)), data)
