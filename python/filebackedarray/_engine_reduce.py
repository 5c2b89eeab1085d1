"""Sweeps in the engine: for arrays that are subsets, transposes and conversions of what is in a file.

The rest of the package knows of the engine's reductions by :py:func:`engine_sweep` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy
import numpy.typing

from . import _core
from ._blocks import Groups, View
from ._names import engine_name, engine_path
from ._progress import Report
from ._statistics import DType, Summary
from ._subset import Axis, select
from ._trees import CastNode, DenseLeaf, Index, Node, SparseLeaf, SubsetNode, TransposeNode, composed

Array = numpy.typing.NDArray[Any]

Reduce = Callable[[Sequence[Axis], str, Sequence[Any], bool, "Report | None"], "list[dict[str, Array]]"]
"""Selection, dtype, views, whether to skip NaN, and whom to tell of progress: a dict of arrays for each view."""


def dense_reduction(leaf: DenseLeaf) -> Reduce | None:
    """The engine's function for a dense dataset, if it has one for it."""
    seed = leaf.seed
    if seed._untrusted:
        return None
    return lambda *arguments: _core.reduce_dense(engine_path(seed.path), engine_name(seed.name), *arguments)


def sparse_reduction(leaf: SparseLeaf) -> Reduce | None:
    """The engine's function for a sparse matrix, if it has one for it."""
    seed = leaf.seed
    if seed._untrusted:
        return None
    return seed._matrix().reduce  # type: ignore[attr-defined, no-any-return]


class _Chain(NamedTuple):
    """An array that is a part of what is in a file."""

    leaf: DenseLeaf | SparseLeaf
    positions: tuple[Index, ...]
    """Positions for each axis of the leaf."""
    axes: tuple[int, ...]
    """Which axis of the leaf each axis of the array is."""
    dtypes: tuple[DType, ...]
    """What elements are converted to one after the other, from what the file has on."""


def _chain(node: Node) -> _Chain | None:
    if isinstance(node, DenseLeaf | SparseLeaf):
        stored = node.seed._stored_dtype.newbyteorder("=")
        index: tuple[Index, ...] = tuple(range(extent) for extent in node.shape)
        return _Chain(node, index, tuple(range(len(node.shape))), (stored, node.dtype))
    if not isinstance(node, SubsetNode | TransposeNode | CastNode):
        return None
    below = _chain(node.child)
    if below is None:
        return None
    if isinstance(node, CastNode):
        return below._replace(dtypes=(*below.dtypes, node.dtype))
    if isinstance(node, TransposeNode):
        return below._replace(axes=tuple(below.axes[axis] for axis in node.axes))
    narrowed = list(below.positions)
    for axis, positions in zip(below.axes, node.index, strict=True):
        narrowed[axis] = composed(narrowed[axis], positions)
    return below._replace(positions=tuple(narrowed))


def engine_sweep(node: Node, views: Sequence[View], skip_nan: bool, report: Report | None) -> list[Summary] | None:
    """Sum up an array in the engine.

    Args:
        node: The array, not empty.
        views: The results that are wanted.
        skip_nan: Whether not to count NaN.
        report: Called now and then.

    Returns:
        A summary for each view; None if the engine cannot do it.
    """
    chain = _chain(node)
    if chain is None or not _collapse(chain.dtypes):
        return None
    leaf = chain.leaf
    reduce = dense_reduction(leaf) if isinstance(leaf, DenseLeaf) else sparse_reduction(leaf)
    if reduce is None:
        return None
    selection = select(chain.positions, leaf.shape)
    if math.prod(selection.lengths) == 0:
        return None
    restore: list[Array | None] = [None] * len(leaf.shape)
    if selection.restore is not None:
        # What is in order needs nothing.
        for axis, back in enumerate(selection.restore):
            if not numpy.array_equal(back, numpy.arange(selection.lengths[axis])):
                restore[axis] = back
    in_leaf = [_in_leaf(view, chain.axes, restore, selection.lengths) for view in views]
    asked: list[tuple[list[Any], frozenset[str]]] = []
    for axes, view in zip(in_leaf, views, strict=True):
        if axes is None:
            return None
        asked.append((axes, view.wanted))
    file_order = isinstance(leaf, SparseLeaf) or leaf.seed._native_order
    order = slice(None) if file_order else slice(None, None, -1)
    results = reduce(
        selection.axes[order],
        node.dtype.str,
        [(tuple(axes[order]), sorted(wanted)) for axes, wanted in asked],
        skip_nan,
        report,
    )
    summaries = []
    for view, result in zip(views, results, strict=True):
        summary = Summary.from_engine(result, node.dtype, view.wanted, skip_nan)
        if not file_order:
            summary = summary.transposed(range(len(leaf.shape))[::-1])
        summary = summary.transposed(chain.axes)
        for axis, along in enumerate(view.axes):
            order_back = restore[chain.axes[axis]]
            if along == "keep" and order_back is not None:
                taken = {name: numpy.take(field, order_back, axis=axis) for name, field in summary.fields.items()}
                summary = Summary(summary.dtype, skip_nan, taken)
        summaries.append(summary)
    return summaries


def _in_leaf(
    view: View, axes: Sequence[int], restore: Sequence[Array | None], lengths: Sequence[int]
) -> list[Any] | None:
    """What becomes of the leaf's axes, as the engine takes it; None if positions repeat where they are summed up."""
    found: list[Any] = [None] * len(axes)
    for along, axis in zip(view.axes, axes, strict=True):
        back = restore[axis]
        if isinstance(along, Groups):
            labels = along.labels
            if back is not None:
                if len(back) != lengths[axis]:
                    return None
                labels = numpy.empty_like(along.labels)
                labels[back] = along.labels
            found[axis] = (numpy.ascontiguousarray(labels, dtype=numpy.uint32), along.number)
            continue
        if along == "reduce" and back is not None and len(back) != lengths[axis]:
            return None
        found[axis] = along
    return found


def _collapse(dtypes: Sequence[DType]) -> bool:
    """Whether to convert elements step by step is to convert them at once, between types that the engine has."""
    if any(dtype.kind not in "biuf" or dtype.itemsize > 8 for dtype in dtypes):
        return False
    steps = [(a, b) for a, b in pairwise(dtypes) if a != b]
    return all(_keeps_values(a, b) for a, b in steps[:-1])


def _keeps_values(a: DType, b: DType) -> bool:
    """Whether every value of a type is one of another."""
    if a.kind in "iu" and b.kind == "f":
        return numpy.iinfo(a).bits - (a.kind == "i") <= numpy.finfo(b).nmant + 1 and a.itemsize < 8
    return numpy.can_cast(a, b, "safe")
