"""Statistics of masked arrays, by blocks: of what is not masked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import numpy.typing
from delayedarray import apply_over_blocks

from ._progress import Progress, reporting
from ._statistics import STATISTICS, accumulator, element_dtype, lowest_and_highest, native, result_dtype

Array = numpy.typing.NDArray[Any]


class _Totals:
    """Accumulators of one statistic, for each position that stays."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: numpy.dtype[Any]) -> None:
        self._wanted = STATISTICS[name].wanted
        self.count = numpy.zeros(shape, numpy.int64)
        """How many values are not masked."""
        # Integers are added up modulo 2 to the 64, as numpy does.
        exact = numpy.dtype(numpy.uint64 if dtype.kind == "u" else numpy.int64)
        is_exact = dtype.kind in "biu" and name in ("sum", "nansum")
        self._sum_dtype = exact if is_exact else accumulator(dtype)
        self.sum = numpy.zeros(shape, self._sum_dtype)
        self.mean = numpy.zeros(shape, accumulator(dtype))
        self.squares = numpy.zeros(shape, accumulator(dtype))
        """Sums of squared deviations from the mean."""
        self.nonzero = numpy.zeros(shape, numpy.int64)
        self._lowest, self._highest = lowest_and_highest(dtype)
        self.min = numpy.full(shape, self._highest, dtype)
        self.max = numpy.full(shape, self._lowest, dtype)

    def add(self, where: tuple[slice, ...], values: Array, kept: Array, axes: tuple[int, ...]) -> None:
        """Merge a block.

        Args:
            where: Of the accumulators.
            values: The block.
            kept: Where it is not masked.
            axes: Over which to sum up.
        """
        count = kept.sum(axis=axes, keepdims=True)
        before = self.count[where]
        if self._wanted == "sum":
            self.sum[where] += values.sum(axis=axes, dtype=self._sum_dtype, keepdims=True, where=kept)
        elif self._wanted == "moments":
            # Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances".
            wide = values.astype(self.mean.dtype)
            mean = wide.sum(axis=axes, keepdims=True, where=kept) / numpy.maximum(count, 1)
            squares = ((wide - mean) ** 2).sum(axis=axes, keepdims=True, where=kept)
            delta, total = mean - self.mean[where], numpy.maximum(before + count, 1)
            self.mean[where] += delta * (count / total)
            self.squares[where] += squares + delta**2 * (before * (count / total))
        elif self._wanted == "extremes":
            low = values.min(axis=axes, keepdims=True, where=kept, initial=self._highest)
            high = values.max(axis=axes, keepdims=True, where=kept, initial=self._lowest)
            self.min[where] = numpy.minimum(self.min[where], low)
            self.max[where] = numpy.maximum(self.max[where], high)
        else:
            self.nonzero[where] += ((values != 0) & kept).sum(axis=axes, keepdims=True)
        self.count[where] += count

    def finish(self, name: str, dtype: numpy.dtype[Any], wished: numpy.dtype[Any] | None, ddof: float) -> Array:
        """The statistic; masked where nothing was counted."""
        plain = name.removeprefix("nan")
        if plain == "count_nonzero":
            return self.nonzero
        empty = self.count == 0
        result: Array
        if plain == "sum":
            result = self.sum.astype(result_dtype(name, dtype, wished))
        elif plain == "mean":
            result = (self.sum / numpy.maximum(self.count, 1)).astype(result_dtype(name, dtype, wished))
        elif plain in ("var", "std"):
            freedom = self.count - ddof
            empty = freedom <= 0
            variance = self.squares / numpy.where(empty, 1, freedom)
            result = (numpy.sqrt(variance) if plain == "std" else variance).astype(result_dtype(name, dtype, wished))
        elif plain == "any":
            result = self.nonzero > 0
        elif plain == "all":
            result = self.nonzero == self.count
        elif plain == "ptp":
            result = self.max - self.min
        else:
            result = self.min if plain == "min" else self.max
        return numpy.ma.MaskedArray(result, empty)


def masked_statistic(
    tree: Any,
    name: str,
    axes: tuple[int, ...],
    *,
    dtype: Any = None,
    ddof: float = 0,
    buffer_size: int | None = None,
    progress: Progress = None,
) -> Array:
    """A statistic of what is not masked, as the functions of :py:mod:`numpy.ma` compute it.

    Unlike some of those, it is NaN, and not masked, where a value that is not masked is NaN.

    Args:
        tree: A seed or a delayed operation that is masked.
        name: Of the statistic; those that skip NaN do so besides.
        axes: Over which.
        dtype: Of sums, means and variances.
        ddof: Of variances.
        buffer_size: Bytes of a block.
        progress: See :py:func:`reporting`.

    Returns:
        A masked array, in which axes that were reduced have an extent of 1; masked where there is nothing that is not.
        A plain array of counts for ``count_nonzero``.

    Raises:
        TypeError: If the array is not of real numbers or booleans, or cannot be of the ``dtype``.
    """
    element, wished = native(tree.dtype), None if dtype is None else native(dtype)
    if element.kind not in "biuf":
        raise TypeError(f"there is no {name} of a masked array of type {element}: it should be of real numbers")
    if name.endswith("ptp") and element.kind == "b":
        raise TypeError("numpy boolean subtract, the `-` operator, is not supported")
    if STATISTICS[name].has_dtype:
        result_dtype(name, element, wished)
    summed = element_dtype(name, element, wished)
    shape = tuple(tree.shape)
    totals = _Totals(name, tuple(1 if axis in axes else extent for axis, extent in enumerate(shape)), summed)
    done, total = 0, math.prod(shape)
    with reporting(progress, name) as report, numpy.errstate(all="ignore"):

        def add(job: Sequence[tuple[int, int]], block: Array) -> None:
            nonlocal done
            values = numpy.ma.getdata(block)
            kept = ~numpy.ma.getmaskarray(block)
            if STATISTICS[name].skips_nan and values.dtype.kind == "f":
                kept &= ~numpy.isnan(values)
            where = tuple(slice(0, 1) if axis in axes else slice(*bounds) for axis, bounds in enumerate(job))
            totals.add(where, values.astype(summed, copy=False), kept, axes)
            done += values.size
            if report is not None:
                report(done, total)

        if total:
            apply_over_blocks(tree, add, buffer_size=buffer_size)
        return totals.finish(name, element, wished, ddof)
