"""Dense datasets of every type, layout and filter, and any subset of them, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy
from delayedarray import chunk_grid, extract_dense_array, to_dense_array
from hypothesis import given
from hypothesis import strategies as st

from filebackedarray import Hdf5DenseArray, Hdf5DenseArraySeed
from helpers import assert_direct, assert_identical, assert_order, convert, everything, take
from strategies import FLOATS, NUMBERS, DenseCase, dense_cases, subsets


@given(data=st.data(), case=dense_cases(), native_order=st.booleans())
def test_whole_and_subset(
    fresh_path: Callable[[], Path], data: st.DataObject, case: DenseCase, native_order: bool
) -> None:
    path = fresh_path()
    truth = case.write(path)
    if not native_order:
        truth = truth.T
    order = "C" if native_order else "F"
    seed = Hdf5DenseArraySeed(path, "x", native_order=native_order)
    assert seed.shape == truth.shape
    assert seed.dtype.str == truth.dtype.str
    assert chunk_grid(seed).shape == truth.shape
    assert_direct(path, "x")

    got = to_dense_array(seed)
    assert_identical(got, truth, bits=True)
    assert_order(got, order)

    chosen = data.draw(subsets(truth.shape), label="subset")
    got = extract_dense_array(seed, chosen)
    assert_identical(got, take(truth, chosen), bits=True)
    assert_order(got, order)


def bring_into_range(values: numpy.ndarray, target: numpy.dtype) -> numpy.ndarray:
    """Replace the floats that no integer of the target type is near: C leaves those undefined.

    What numpy does with them on x86-64 has a test of its own.
    """
    if values.dtype.kind != "f" or target.kind not in "iu":
        return values
    limits = numpy.iinfo(target)
    with numpy.errstate(all="ignore"):
        wide = values.astype("f8")
        # The largest 64-bit integers round up to a float that is out of range.
        good = (wide >= float(limits.min)) & (wide < float(limits.max))
    return numpy.where(good, values, values.dtype.type(1)).astype(values.dtype)


@given(
    data=st.data(),
    case=dense_cases(),
    target=st.sampled_from([*NUMBERS, "?", ">i4", ">f8", ">u2", ">f2"]),
    native_order=st.booleans(),
)
def test_conversion_as_numpy_does(
    fresh_path: Callable[[], Path],
    data: st.DataObject,
    case: DenseCase,
    target: str,
    native_order: bool,
) -> None:
    path = fresh_path()
    dtype = numpy.dtype(target)
    truth = case.write(path)
    tame = bring_into_range(truth, dtype)
    if tame is not truth:
        path = fresh_path()
        write_values(path, tame, case)
    truth = tame if native_order else tame.T
    seed = Hdf5DenseArraySeed(path, "x", dtype=dtype, native_order=native_order)
    assert seed.dtype == dtype
    got = to_dense_array(seed)
    assert_identical(got, convert(truth, dtype))
    assert_order(got, "C" if native_order else "F")
    chosen = data.draw(subsets(truth.shape), label="subset")
    assert_identical(extract_dense_array(seed, chosen), convert(take(truth, chosen), dtype))


def write_values(path: Path, values: numpy.ndarray, case: DenseCase) -> None:
    """Write these values in the layout of a case, without what made it only partly written."""
    options: dict[str, Any] = {}
    if case.layout == "chunked":
        options["chunks"] = case.chunks
        options["maxshape"] = (None,) * values.ndim
        options["compression"] = "gzip" if "gzip" in case.filters else None
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, **options)


@given(
    case=dense_cases(dtypes=st.sampled_from([f"<{f}" for f in FLOATS] + ["<i4", "|u1", "|b1"])),
    native_order=st.booleans(),
)
def test_blocks_make_up_the_whole(fresh_path: Callable[[], Path], case: DenseCase, native_order: bool) -> None:
    # What delayedarray does for sums and the like: block after block along the chunk grid.
    path = fresh_path()
    truth = case.write(path)
    array = Hdf5DenseArray(path, "x", native_order=native_order)
    truth = truth if native_order else truth.T
    seen = numpy.zeros(truth.shape, dtype=truth.dtype)
    grid = chunk_grid(array)
    every_axis = tuple(range(truth.ndim))
    for block in grid.iterate(every_axis, buffer_elements=max(1, truth.size // 3)):
        where = tuple(slice(start, stop) for start, stop in block)
        seen[where] = extract_dense_array(array, tuple(range(*b) for b in block))
    assert_identical(seen, truth, bits=True)


@given(data=st.data(), case=dense_cases())
def test_subset_of_one_axis_at_a_time(fresh_path: Callable[[], Path], data: st.DataObject, case: DenseCase) -> None:
    # Where the planner merges runs along one axis, it must not across the others.
    path = fresh_path()
    truth = case.write(path)
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    for axis, extent in enumerate(truth.shape):
        chosen: list[Any] = list(everything(truth.shape))
        chosen[axis] = data.draw(subsets((extent,)), label=f"axis {axis}")[0]
        got = extract_dense_array(seed, tuple(chosen))
        assert_identical(got, take(truth, chosen), bits=True)
