"""Statistics are the same to the last bit, whichever way the values come and however many threads there are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest

from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
    _core,
    get_num_threads,
    set_num_threads,
    summarize,
)
from filebackedarray._compute.statistics import STATISTICS
from helpers import random_compressed

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
SHAPE = (700, 900)
CHUNK = (130, 210)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


def numbers(dtype: str, shape: tuple[int, ...]) -> numpy.ndarray:
    rng = numpy.random.default_rng(17)
    if dtype == "?":
        return rng.random(shape) < 0.7
    if numpy.dtype(dtype).kind == "f":
        data = (rng.normal(3, 1, shape) * rng.choice([1, 100], shape)).astype(dtype)
        data[rng.random(shape) < 1e-3] = numpy.nan
        return data
    limits = numpy.iinfo(dtype)
    return rng.integers(max(limits.min, -(2**40)), min(limits.max, 2**40), shape, dtype=dtype)


def statistics(x: Any, axes: list[Any], groups: list[Any]) -> list[dict[str, Any]]:
    names = [name for name in STATISTICS if x.dtype != bool or name != "ptp"]
    with numpy.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return summarize(x, axes, names, groups=groups)


def same(got: list[dict[str, Any]], want: list[dict[str, Any]], what: str) -> None:
    for ours, theirs in zip(got, want, strict=True):
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            assert not numpy.ma.getmaskarray(values).any(), (what, name)
            twin = numpy.asarray(theirs[name])
            assert values.dtype == twin.dtype, (what, name)
            # NaN has several bits that mean the same.
            bits = [numpy.where(v != v, numpy.nan, v).tobytes() for v in (numpy.ma.getdata(values), twin)]
            assert bits[0] == bits[1], (what, name, numpy.abs(numpy.ma.getdata(values) - twin.astype("f8")).max())


@pytest.mark.parametrize("layout", ["chunked", "reversed", "contiguous", "unwritten"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_dense_arrays(tmp_path: Path, dtype: str, layout: str) -> None:
    data = numbers(dtype, SHAPE)
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        chunks = None if layout == "contiguous" else CHUNK
        stored = handle.create_dataset("x", SHAPE, dtype, chunks=chunks, fillvalue=data[0, 0])
        if layout == "unwritten":
            # Some chunks, and parts of others.
            stored[:200], data[200:] = data[:200], data[0, 0]
        else:
            stored[...] = data
    x = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=layout != "reversed")
    groups = [None, None, None, numpy.arange(x.shape[0]) % 5]
    axes = [None, 0, 1, 0]
    parts = {
        "whole": (slice(None), slice(None)),
        "part": (slice(3, 600, 7), slice(None)),
        "mixed": ([5, 90, 7], slice(2)),
    }
    for part, index in parts.items():
        ours = x[index]
        labels = [None if one is None else one[index[0]] for one in groups]
        want = statistics(ours, axes, labels)
        for number in (1, 7) if part == "whole" else (3,):
            set_num_threads(number)
            same(statistics(ours, axes, labels), want, f"{part} by {number} threads")
            tree = numpy.logical_or(ours, False) if dtype == "?" else numpy.multiply(ours, ours.dtype.type(1))
            assert tree.dtype == ours.dtype
            same(statistics(tree, axes, labels), want, f"operation on {part} by {number} threads")
            masked = numpy.ma.MaskedArray(numpy.zeros(ours.shape, ours.dtype), False)
            masked = (ours | masked) if dtype == "?" else (ours + masked)
            same(statistics(masked, axes, labels), want, f"masked {part} by {number} threads")
        if part == "whole":
            same(statistics(x.T.T, axes, labels), want, "transposed twice")


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "?"])
def test_of_sparse_matrices(tmp_path: Path, dtype: str, by_column: bool) -> None:
    matrix = random_compressed((900, 700), by_column, seed=3, dtype=dtype, density=0.3)
    matrix.write(tmp_path / "m.h5")
    x = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", (900, 700), by_column)
    labels = [None, None, None, numpy.arange(900) % 5]
    axes = [None, 0, 1, 0]
    whole = statistics(x, axes, labels)
    tree = numpy.multiply(x, x.dtype.type(1))
    assert tree.dtype == x.dtype
    want = statistics(tree, axes, labels)
    for ours, theirs in zip(want, whole, strict=True):
        for name, values in ours.items():
            # Sums of floats depend on where columns are cut, which is not the same in both.
            rounds = name.endswith(("var", "std")) or (x.dtype.kind == "f" and name.endswith(("sum", "mean")))
            tolerance = max(4 * float(numpy.finfo(values.dtype).eps), 1e-12) if rounds else 0
            numpy.testing.assert_allclose(values, theirs[name], rtol=tolerance)
    for number in (1, 2, 7):
        set_num_threads(number)
        same(statistics(x, axes, labels), whole, f"by {number} threads")
        same(statistics(tree, axes, labels), want, f"operation by {number} threads")


def test_of_joined_arrays(tmp_path: Path) -> None:
    data = numbers("f8", SHAPE)
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=data, chunks=CHUNK)
    x = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    joined = numpy.concatenate([x, numpy.multiply(x, 2.0), x.T.T], axis=0)
    want = None
    for number in (1, 2, 7):
        set_num_threads(number)
        got = statistics(joined, [None, 0, 1], [None] * 3)
        same(got, want or got, f"by {number} threads")
        want = want or got
    together = numpy.concatenate([data, data * 2, data])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for axis, found in zip([None, 0, 1], got, strict=True):
            for name in ("nansum", "nanvar", "nanmax", "sum", "count_nonzero"):
                numpy.testing.assert_allclose(found[name], getattr(numpy, name)(together, axis=axis), rtol=1e-12)


def test_blocks_that_are_not_what_was_asked_for_are_refused() -> None:
    sweep = _core.Sweep((4, 6), (2, 3), [(0, 4, 1), (0, 6, 1)], "<f8", [(("keep", "reduce"), ["sum"])], skip_nan=False)
    values = numpy.zeros(24).view("u1")
    with pytest.raises(IndexError, match="no unit 1 of 1"):
        sweep.unit(1)
    for number, region, given in [
        (0, [(0, 4), (0, 6)], values[8:]),
        (0, [(0, 4), (0, 7)], values),
        (0, [(0, 4)], values),
    ]:
        with pytest.raises(ValueError, match="no block of unit 0"):
            sweep.fold(number, region, given)
    with pytest.raises(ValueError, match="no block of unit 0"):
        sweep.fold(0, [(0, 4), (0, 6)], values, numpy.zeros(24, bool))
    folded = sweep.fold(0, [(0, 4), (0, 6)], values)
    sweep.merge(folded)
    with pytest.raises(ValueError, match="merged before"):
        sweep.merge(folded)
    stored = _core.Sweep.of_parts((4, 6), "<f8", [(("keep", "reduce"), ["sum"])], skip_nan=False, sparse=True)
    pointers, indices = numpy.array([0, 2, 2], "u8"), numpy.array([0, 4], "i4")
    for origin, shape, ends, places in [
        ((0, 0), (4, 2), pointers, indices),
        ((0, 5), (4, 2), pointers, indices - indices),
        ((0, 0), (4, 2), pointers[:2], indices[:1]),
        ((0, 0), (4, 2), numpy.array([0, 2, 1], "u8"), indices[:1]),
        ((0, 0), (4, 2), pointers, indices - 1),
    ]:
        with pytest.raises(ValueError, match="no compressed block"):
            stored.fold_sparse((origin, shape, True, ends, places, numpy.zeros(2).view("u1")))
