"""Statistics as methods of arrays and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy
import numpy.typing
from delayedarray import DelayedArray

from .._engine.snapshot import Operations
from .._show.progress import Progress, Report, reporting, share
from .arguments import has_mask, normalized_axes
from .blocks import Along, Groups, View, block_sweep, sizes, sweep_of_parts
from .engine_sweep import engine_sweep
from .statistics import STATISTICS, Summary, element_dtype, native, result_dtype
from .tree import CastNode, Node, UnaryNode, compiled, joined_parts
from .wide import is_wide, wide_sweep

Array = numpy.typing.NDArray[Any]
Axes = "int | Sequence[int] | None"


class Request(NamedTuple):
    """Several statistics over the same axes."""

    along: tuple[Along, ...]
    """What becomes of each axis."""
    names: tuple[str, ...]


def compute(
    tree: Any,
    requests: Sequence[Request],
    *,
    dtype: Any = None,
    ddof: float = 0,
    progress: Progress = None,
    buffer_size: int | None = None,
) -> list[dict[str, Array]]:
    """Statistics of an array, in as few sweeps over it as can be: one, unless NaN is skipped for some only.

    Args:
        tree: A seed or a delayed operation.
        requests: What is wanted.
        dtype: Of sums, means and variances.
        ddof: Of variances.
        progress: See :py:func:`reporting`.
        buffer_size: Bytes of a block.

    Returns:
        For each request, an array for each statistic; axes that were reduced have an extent of 1.

    Raises:
        TypeError: If the array is not of numbers.
    """
    wished = None if dtype is None else native(dtype)
    names = [name for request in requests for name in request.names]
    kind = numpy.dtype(tree.dtype)
    masked = has_mask(tree)
    if not masked and kind.kind not in "biufc":
        raise TypeError(f"there is no {names[0]} of an array of type {kind}: it should be of numbers or booleans")
    if masked and kind.kind not in "biuf":
        raise TypeError(f"there is no {names[0]} of a masked array of type {kind}: it should be of real numbers")
    node = compiled(tree)
    # What is converted how, and with or without NaN: each takes a sweep of its own.
    sweeps: dict[tuple[Any, bool], list[tuple[int, str]]] = {}
    for number, request in enumerate(requests):
        for name in request.names:
            statistic = STATISTICS[name]
            if statistic.has_dtype:
                result_dtype(name, node.dtype, wished)
            elements = element_dtype(name, node.dtype, wished)
            skip_nan = statistic.skips_nan and node.dtype.kind in "fc"
            sweeps.setdefault((elements, skip_nan), []).append((number, name))
    results: list[dict[str, Array]] = [{} for _ in requests]
    with reporting(progress, names[0] if len(set(names)) == 1 else "statistics") as report:
        for turn, ((elements, skip_nan), wanted) in enumerate(sweeps.items()):
            swept = node if elements == node.dtype else CastNode(_without_nan(node, skip_nan, elements), elements)
            numbers = sorted({number for number, _ in wanted})
            views = [_view(requests[number], [name for n, name in wanted if n == number]) for number in numbers]
            part = share(report, turn, 1, len(sweeps)) if len(sweeps) > 1 else report
            # What is masked may be any value.
            with numpy.errstate(all="ignore") if masked else nullcontext():
                swept_up = sweep(swept, views, skip_nan, part, buffer_size, masked)
            for number, view, fields in zip(numbers, views, swept_up, strict=True):
                summary = Summary(fields, swept.dtype, skip_nan, masked)
                counts = _sizes(view, node.shape)
                for n, name in wanted:
                    if n == number:
                        results[number][name] = summary.finish(name, wished, ddof, counts)
    return [{name: result[name] for name in request.names} for request, result in zip(requests, results, strict=True)]


def _view(request: Request, names: Sequence[str]) -> View:
    return View(request.along, frozenset(STATISTICS[name].wanted for name in names))


def _sizes(view: View, shape: Sequence[int]) -> Array:
    return sizes(view, shape)


def _without_nan(node: Node, skip_nan: bool, dtype: Any) -> Node:
    """With zeros instead of NaN, where NaN would become any integer."""
    if not skip_nan or dtype.kind in "fc":
        return node

    def zeroed(values: Array, out: Array | None = None) -> Array:
        missing = numpy.isnan(numpy.ma.getdata(values))
        filled = numpy.where(missing, numpy.zeros((), values.dtype), numpy.ma.getdata(values))
        if not numpy.ma.isMaskedArray(values):
            return filled
        return numpy.ma.MaskedArray(filled, numpy.ma.getmaskarray(values) | missing)

    return UnaryNode(node, zeroed)


def sweep(
    node: Node,
    views: Sequence[View],
    skip_nan: bool,
    report: Report | None,
    buffer_size: int | None = None,
    masked: bool = False,
) -> list[dict[str, Array]]:
    """Sum up an array, in the engine where that can do it, and by blocks otherwise.

    Args:
        node: The array.
        views: The results that are wanted.
        skip_nan: Whether not to count NaN.
        report: Called now and then.
        buffer_size: Bytes of a block.
        masked: Whether values may be masked.

    Returns:
        Arrays for each view, as the engine's reductions return them.
    """
    if is_wide(node.dtype):
        return wide_sweep(node, views, skip_nan, report, buffer_size)
    if 0 in node.shape:
        return block_sweep(node, views, skip_nan, report, buffer_size, masked)
    joined = joined_parts(node)
    if joined is not None and len(joined[0]) > 1:
        return _joined_sweep(node, *joined, views, skip_nan, report, buffer_size)
    swept = engine_sweep(node, views, skip_nan, report)
    return block_sweep(node, views, skip_nan, report, buffer_size, masked) if swept is None else swept


def _joined_sweep(
    node: Node,
    parts: Sequence[Node],
    axis: int,
    views: Sequence[View],
    skip_nan: bool,
    report: Report | None,
    buffer_size: int | None,
) -> list[dict[str, Array]]:
    """Sum up arrays that follow each other along an axis: each has chunks of its own."""
    total = sweep_of_parts(node, views, skip_nan)
    start = 0
    for part in parts:
        length = part.shape[axis]
        within, origins = [], []
        for view in views:
            axes, origin = list(view.axes), [0] * len(node.shape)
            groups = axes[axis]
            if isinstance(groups, Groups):
                axes[axis] = groups._replace(labels=groups.labels[start : start + length])
            elif groups == "keep":
                origin[axis] = start
            within.append(view._replace(axes=tuple(axes)))
            origins.append(origin)
        inner = share(report, start, length, node.shape[axis])
        total.take_statistics(list(zip(origins, sweep(part, within, skip_nan, inner, buffer_size), strict=True)))
        start += length
    return total.finish()


def reduce(
    x: Any,
    name: str,
    axis: Any,
    *,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    buffer_size: int | None = None,
    progress: Progress = None,
) -> Any:
    """A statistic over some axes.

    Args:
        x: A delayed array, or a seed.
        name: Of the statistic.
        axis: Over which; None for all.
        dtype: Of the result.
        ddof: Delta degrees of freedom.
        keepdims: Whether axes that are reduced stay, with an extent of 1.
        buffer_size: Bytes of a block.
        progress: Whether to show how far it is.

    Returns:
        An array; a scalar if no axis is left.
    """
    tree = x.seed if isinstance(x, DelayedArray) else x
    shape = tuple(tree.shape)
    axes = normalized_axes(axis, len(shape))
    result: Any
    along: tuple[Along, ...] = tuple("reduce" if number in axes else "keep" for number in range(len(shape)))
    request = Request(along, (name,))
    result = compute(tree, [request], dtype=dtype, ddof=ddof, progress=progress, buffer_size=buffer_size)[0][name]
    return _without(result, () if keepdims else axes)


def _without(result: Any, axes: tuple[int, ...]) -> Any:
    """A statistic without the axes that were reduced."""
    result = result.squeeze(axis=axes)
    return result if result.ndim else result[()]


def _nonzeros(x: Any, axis: int, progress: Progress) -> Array:
    if len(x.shape) != 2:
        raise ValueError(f"columns and rows are of a matrix, not of an array of {len(x.shape)} dimensions")
    counts: Array = reduce(x, "count_nonzero", axis, progress=progress)
    return counts


class Reductions(Operations):
    """Statistics of an array, computed along its chunks.

    Nothing is read before a method is called; then the file is gone through once, in constant memory. Where the array
    is a file's, or a subset, transpose or conversion of it, the engine does it all; otherwise numpy computes the values
    of blocks, which the engine sums up.
    Results have the types that numpy gives them, and the same bits whatever the number of threads. Of masked arrays,
    they are of what is not masked, as those of :py:mod:`numpy.ma`.
    """

    def nonzeros_by_column(self, *, progress: Progress = None) -> Array:
        """Number of values of each column that are not zero: ``count_nonzero(axis=0)`` of a matrix.

        Zeros that a sparse matrix stores are not counted, nor is what is masked.

        Args:
            progress: As for :py:meth:`sum`.

        Returns:
            A vector with an integer for each column.

        Raises:
            ValueError: If the array has not two dimensions.
            TypeError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for :py:meth:`sum`.
        """
        return _nonzeros(self, 0, progress)

    def nonzeros_by_row(self, *, progress: Progress = None) -> Array:
        """Number of values of each row that are not zero. See :py:meth:`nonzeros_by_column`."""
        return _nonzeros(self, 1, progress)

    def sum(
        self,
        axis: Any = None,
        dtype: Any = None,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Sum over some axes, as :py:meth:`numpy.ndarray.sum`.

        Args:
            axis: One axis or several, which may be negative; None for all.
            dtype: Type of the result. Integers are added up modulo two to the power of their bits.
            buffer_size: Size of a block in bytes, where blocks are used.
            keepdims: Whether the axes stay in the result, with an extent of 1.
            progress: True to show a bar, or a function to call with what is done and what there is to do.

        Returns:
            An array; a scalar if no axis is left.

        Raises:
            numpy.exceptions.AxisError: If there is no such axis.
            ValueError: If an axis is given twice.
            TypeError: If the array is of strings.
            FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
        """
        return reduce(self, "sum", axis, dtype=dtype, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def mean(
        self,
        axis: Any = None,
        dtype: Any = None,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Mean over some axes, as :py:meth:`numpy.ndarray.mean`. For arguments and errors see :py:meth:`sum`."""
        return reduce(self, "mean", axis, dtype=dtype, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def var(
        self,
        axis: Any = None,
        dtype: Any = None,
        ddof: float = 0,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Variance over some axes, as :py:meth:`numpy.ndarray.var`, in one sweep that is as accurate as numpy's two.

        For other arguments and errors see :py:meth:`sum`.

        Args:
            axis: One axis or several; None for all.
            dtype: Type of the result, a floating-point one.
            ddof: What to subtract from the number of elements in the divisor.
            buffer_size: Size of a block in bytes.
            keepdims: Whether the axes stay.
            progress: Whether to show it.

        Returns:
            An array; a scalar if no axis is left.
        """
        return reduce(
            self, "var", axis, dtype=dtype, ddof=ddof, keepdims=keepdims, buffer_size=buffer_size, progress=progress
        )

    def std(
        self,
        axis: Any = None,
        dtype: Any = None,
        ddof: float = 0,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Standard deviation over some axes, as :py:meth:`numpy.ndarray.std`. See :py:meth:`var`."""
        return reduce(
            self, "std", axis, dtype=dtype, ddof=ddof, keepdims=keepdims, buffer_size=buffer_size, progress=progress
        )

    def min(
        self, axis: Any = None, buffer_size: int | None = None, *, keepdims: bool = False, progress: Progress = None
    ) -> Any:
        """Smallest value over some axes, as :py:meth:`numpy.ndarray.min`: NaN where there is one.

        For arguments and errors see :py:meth:`sum`; there is a ValueError for axes without elements.
        """
        return reduce(self, "min", axis, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def max(
        self, axis: Any = None, buffer_size: int | None = None, *, keepdims: bool = False, progress: Progress = None
    ) -> Any:
        """Largest value over some axes, as :py:meth:`numpy.ndarray.max`. See :py:meth:`min`."""
        return reduce(self, "max", axis, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def ptp(
        self, axis: Any = None, buffer_size: int | None = None, *, keepdims: bool = False, progress: Progress = None
    ) -> Any:
        """Difference of largest and smallest value, as :py:func:`numpy.ptp`. See :py:meth:`min`."""
        return reduce(self, "ptp", axis, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def any(
        self,
        axis: Any = None,
        dtype: Any = None,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Whether any value is not zero, as :py:meth:`numpy.ndarray.any`.

        For arguments and errors see :py:meth:`sum`; the result is of booleans, unless ``dtype`` says otherwise.
        """
        result = reduce(self, "any", axis, keepdims=keepdims, buffer_size=buffer_size, progress=progress)
        return result if dtype is None else result.astype(dtype)

    def all(
        self,
        axis: Any = None,
        dtype: Any = None,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Whether no value is zero, as :py:meth:`numpy.ndarray.all`; implicit zeros count. See :py:meth:`any`."""
        result = reduce(self, "all", axis, keepdims=keepdims, buffer_size=buffer_size, progress=progress)
        return result if dtype is None else result.astype(dtype)

    def count_nonzero(
        self, axis: Any = None, buffer_size: int | None = None, *, keepdims: bool = False, progress: Progress = None
    ) -> Any:
        """How many values are not zero, as :py:func:`numpy.count_nonzero`. For arguments see :py:meth:`sum`."""
        return reduce(self, "count_nonzero", axis, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def nansum(
        self,
        axis: Any = None,
        dtype: Any = None,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Sum of what is not NaN, as :py:func:`numpy.nansum`. See :py:meth:`sum`."""
        return reduce(self, "nansum", axis, dtype=dtype, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def nanmean(
        self,
        axis: Any = None,
        dtype: Any = None,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Mean of what is not NaN, as :py:func:`numpy.nanmean`. See :py:meth:`sum`."""
        return reduce(self, "nanmean", axis, dtype=dtype, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def nanvar(
        self,
        axis: Any = None,
        dtype: Any = None,
        ddof: float = 0,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Variance of what is not NaN, as :py:func:`numpy.nanvar`. See :py:meth:`var`."""
        return reduce(
            self, "nanvar", axis, dtype=dtype, ddof=ddof, keepdims=keepdims, buffer_size=buffer_size, progress=progress
        )

    def nanstd(
        self,
        axis: Any = None,
        dtype: Any = None,
        ddof: float = 0,
        buffer_size: int | None = None,
        *,
        keepdims: bool = False,
        progress: Progress = None,
    ) -> Any:
        """Standard deviation of what is not NaN, as :py:func:`numpy.nanstd`. See :py:meth:`var`."""
        return reduce(
            self, "nanstd", axis, dtype=dtype, ddof=ddof, keepdims=keepdims, buffer_size=buffer_size, progress=progress
        )

    def nanmin(
        self, axis: Any = None, buffer_size: int | None = None, *, keepdims: bool = False, progress: Progress = None
    ) -> Any:
        """Smallest of what is not NaN, as :py:func:`numpy.nanmin`. See :py:meth:`min`."""
        return reduce(self, "nanmin", axis, keepdims=keepdims, buffer_size=buffer_size, progress=progress)

    def nanmax(
        self, axis: Any = None, buffer_size: int | None = None, *, keepdims: bool = False, progress: Progress = None
    ) -> Any:
        """Largest of what is not NaN, as :py:func:`numpy.nanmax`. See :py:meth:`min`."""
        return reduce(self, "nanmax", axis, keepdims=keepdims, buffer_size=buffer_size, progress=progress)
