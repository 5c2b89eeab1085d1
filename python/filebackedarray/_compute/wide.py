"""Statistics of complex numbers and of long doubles, which the engine has no accumulators for: by numpy, in blocks.

They are added up in the widest type that numpy has, so that it hardly matters how blocks were cut. Variances are merged
as means and sums of squared deviations: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for
computing sample variances, Stanford STAN-CS-79-773, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy
import numpy.typing

from .._show.progress import Report
from .blocks import BLOCK_BYTES, Groups, View, dense_blocks, in_order, index_of, result_shape
from .tree import Index, Node

Array = numpy.typing.NDArray[Any]
DType = numpy.dtype[Any]
Fields = dict[str, Array]


class _Piece(NamedTuple):
    view: int
    where: tuple[Any, ...]
    """Where in the view's result it belongs."""
    fields: Fields


def is_wide(dtype: DType) -> bool:
    """Whether values of a type are summed up here."""
    return dtype.kind == "c" or (dtype.kind == "f" and dtype.itemsize > 8)


def wide_sweep(
    node: Node, views: Sequence[View], skip_nan: bool, report: Report | None, block_bytes: int | None = None
) -> list[Fields]:
    """Sum up an array, as :py:func:`~filebackedarray._compute.blocks.block_sweep` does.

    Args:
        node: The array, of complex numbers or long doubles, perhaps masked.
        views: The results that are wanted.
        skip_nan: Whether not to count NaN.
        report: Called after each block.
        block_bytes: Size of a block.

    Returns:
        Arrays for each view.

    Raises:
        OSError, ...: What the evaluation of a block raises; of the first such block.
    """
    totals = [_nothing(result_shape(view, node.shape), node.dtype, view.wanted) for view in views]

    def pieces(index: tuple[Index, ...]) -> list[_Piece]:
        block = node.dense(index)[0]
        values, kept = numpy.ma.getdata(block), ~numpy.ma.getmaskarray(block)
        if skip_nan:
            kept &= ~numpy.isnan(values)
        found = []
        for number, view in enumerate(views):
            axes = tuple(axis for axis, along in enumerate(view.axes) if along != "keep")
            for part, where in _parts(index, view):
                taken = numpy.ix_(*part)
                found.append(_Piece(number, where, _summed(values[taken], kept[taken], axes, view.wanted)))
        return found

    size = max(1, (BLOCK_BYTES if block_bytes is None else block_bytes) // 8)
    blocks = list(dense_blocks(node, size, views)) if math.prod(node.shape) else []
    with numpy.errstate(all="ignore"), closing(in_order(pieces, blocks)) as results:
        for done, found in enumerate(results, 1):
            for piece in found:
                _merge(totals[piece.view], piece.where, piece.fields)
            if report is not None:
                report(done, len(blocks))
    for total in totals:
        if "high" in total:
            total["low"] = numpy.zeros_like(total["high"])
    return totals


def _nothing(shape: tuple[int, ...], dtype: DType, wanted: frozenset[str]) -> Fields:
    """The fields of no values."""
    wide = numpy.result_type(dtype, numpy.longdouble)
    fields: Fields = {"count": numpy.zeros(shape, numpy.int64)}
    if "sum" in wanted:
        fields["high"] = numpy.zeros(shape, wide)
    if "moments" in wanted:
        fields["mean"], fields["m2"] = numpy.zeros(shape, wide), numpy.zeros(shape, numpy.longdouble)
    if "extremes" in wanted:
        fields["min"], fields["max"] = numpy.full(shape, _infinity(dtype)), numpy.full(shape, -_infinity(dtype))
    if "nonzero" in wanted:
        fields["nonzero"] = numpy.zeros(shape, numpy.int64)
    return fields


def _infinity(dtype: DType) -> Any:
    return dtype.type(complex(math.inf, math.inf) if dtype.kind == "c" else math.inf)


def _parts(index: Sequence[Index], view: View) -> Iterator[tuple[list[Array], tuple[Any, ...]]]:
    """The positions of a block that belong to the same groups, and where in the result."""
    found: list[tuple[list[Array], tuple[Any, ...]]] = [([], ())]
    for along, positions in zip(view.axes, index, strict=True):
        every = numpy.arange(len(positions))
        if isinstance(along, Groups):
            labels = along.labels[numpy.asarray(positions, dtype=numpy.intp)]
            choices = [(numpy.flatnonzero(labels == group), group) for group in numpy.unique(labels).tolist()]
            found = [([*part, own], (*where, [group])) for part, where in found for own, group in choices]
            continue
        place = [0] if along == "reduce" else index_of(positions)
        found = [([*part, every], (*where, place)) for part, where in found]
    for part, where in found:
        places = [numpy.arange(one.start, one.stop) if isinstance(one, slice) else one for one in where]
        yield part, numpy.ix_(*places)


def _summed(values: Array, kept: Array, axes: tuple[int, ...], wanted: frozenset[str]) -> Fields:
    """The fields of a part of a block."""
    count = kept.sum(axis=axes, keepdims=True, dtype=numpy.int64)
    fields: Fields = {"count": count}
    wide = numpy.result_type(values.dtype, numpy.longdouble)
    if "sum" in wanted or "moments" in wanted:
        total = values.sum(axis=axes, dtype=wide, keepdims=True, where=kept)
    if "sum" in wanted:
        fields["high"] = total
    if "moments" in wanted:
        fields["mean"] = total / numpy.maximum(count, 1)
        deviation = values - fields["mean"]
        fields["m2"] = _square(deviation).sum(axis=axes, keepdims=True, where=kept)
    if "extremes" in wanted:
        highest = _infinity(values.dtype)
        fields["min"] = values.min(axis=axes, keepdims=True, where=kept, initial=highest)
        fields["max"] = values.max(axis=axes, keepdims=True, where=kept, initial=-highest)
    if "nonzero" in wanted:
        fields["nonzero"] = ((values != 0) & kept).sum(axis=axes, keepdims=True, dtype=numpy.int64)
    return fields


def _merge(totals: Fields, where: tuple[Any, ...], fields: Fields) -> None:
    """Take the fields of a part in, at some places of the totals."""
    before, count = totals["count"][where], fields["count"]
    if "mean" in fields:
        share = count / numpy.maximum(before + count, 1).astype(numpy.longdouble)
        difference = fields["mean"] - totals["mean"][where]
        totals["mean"][where] += difference * share
        totals["m2"][where] += fields["m2"] + _square(difference) * (before * share)
    for name in ("count", "high", "nonzero"):
        if name in fields:
            totals[name][where] += fields[name]
    if "min" in fields:
        totals["min"][where] = numpy.minimum(totals["min"][where], fields["min"])
        totals["max"][where] = numpy.maximum(totals["max"][where], fields["max"])


def _square(values: Array) -> Array:
    """The squares of absolute values, as long doubles."""
    real, imaginary = values.real.astype(numpy.longdouble), values.imag.astype(numpy.longdouble)
    return real * real + imaginary * imaginary
