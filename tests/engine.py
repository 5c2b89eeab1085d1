"""What the engine's reductions must return, in numpy: the oracle of their contract, and a stand-in for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy

from helpers import convert

View = tuple[Sequence[Any], Collection[str]]


def positions(axis: Any) -> numpy.ndarray:
    if isinstance(axis, tuple):
        start, length, step = axis
        return start + step * numpy.arange(length)
    assert axis.dtype == numpy.uint64
    assert (axis[1:] > axis[:-1]).all()
    return axis.astype(numpy.int64)


def _parts(along: Any, extent: int) -> list[numpy.ndarray]:
    """For each element of the result along an axis, which positions go into it."""
    if along == "keep":
        return [numpy.asarray([i]) for i in range(extent)]
    if along == "reduce":
        return [numpy.arange(extent)]
    labels, number = along
    assert labels.dtype == numpy.uint32
    assert labels.shape == (extent,)
    assert (labels < number).all()
    return [numpy.flatnonzero(labels == group) for group in range(number)]


def reduce(
    data: numpy.ndarray,
    selection: Sequence[Any],
    dtype: str,
    views: Sequence[View],
    skip_nan: bool,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, numpy.ndarray]]:
    """The contract, for what a file holds in its order of axes."""
    assert numpy.dtype(dtype).isnative
    chosen = convert(data[numpy.ix_(*map(positions, selection))], dtype)
    results = []
    for axes, wanted in views:
        parts = [_parts(along, extent) for along, extent in zip(axes, chosen.shape, strict=True)]
        shape = tuple(map(len, parts))
        result: dict[str, numpy.ndarray] = {"count": numpy.zeros(shape, numpy.float64)}
        kind = chosen.dtype.kind
        if "sum" in wanted:
            if kind in "biu":
                result["sum"] = numpy.zeros(shape, "u8" if kind == "u" else "i8")
            result["high"] = numpy.zeros(shape)
            result["low"] = numpy.full(shape, numpy.nan)
        if "moments" in wanted:
            result["mean"], result["mean_low"], result["m2"] = (numpy.zeros(shape) for _ in range(3))
        if "extremes" in wanted:
            # Meaningless where nothing was counted.
            result["min"], result["max"] = (numpy.full(shape, 7).astype(chosen.dtype) for _ in range(2))
        if "nonzero" in wanted:
            result["nonzero"] = numpy.zeros(shape, numpy.uint64)
        with numpy.errstate(all="ignore"):
            for where in itertools.product(*map(range, shape)):
                values = chosen[numpy.ix_(*[part[i] for part, i in zip(parts, where, strict=True)])].reshape(-1)
                if "nonzero" in wanted:
                    result["nonzero"][where] = numpy.count_nonzero(values)
                if skip_nan and kind == "f":
                    values = values[~numpy.isnan(values)]
                result["count"][where] = len(values)
                wide = values.astype("f8")
                if "sum" in wanted:
                    if kind in "biu":
                        result["sum"][where] = values.sum(dtype=result["sum"].dtype)
                    result["high"][where] = wide.sum()
                    if numpy.isfinite(wide.sum()):
                        result["low"][where] = 0
                if len(values) == 0:
                    continue
                if "moments" in wanted:
                    result["mean"][where] = wide.mean()
                    result["m2"][where] = ((wide - wide.mean()) ** 2).sum()
                if "extremes" in wanted:
                    result["min"][where], result["max"][where] = values.min(), values.max()
        results.append(result)
    if progress is not None:
        progress(1, 2)
        progress(2, 2)
    return results
