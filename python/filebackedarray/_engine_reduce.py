"""Sweeps in the engine: for arrays that are subsets, transposes and conversions of what is in a file.

The rest of the package knows of the engine's reductions by :py:func:`engine_sweep` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import numpy.typing

from . import _core
from ._blocks import Groups, View
from ._chains import chain_of
from ._names import engine_name, engine_path
from ._progress import Report
from ._statistics import Summary
from ._subset import Axis, select
from ._trees import DenseLeaf, Node, SparseLeaf

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
    matrix = seed._matrix()
    return matrix.reduce if isinstance(matrix, _core.SparseMatrix) else None


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
    chain = chain_of(node)
    # The engine converts elements once, to what they are at last.
    if chain is None or chain.conversion() != node.dtype:
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
