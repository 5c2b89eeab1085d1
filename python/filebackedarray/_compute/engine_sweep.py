"""Sweeps in the engine: for arrays that are subsets, transposes and conversions of what is in a file.

The rest of the package knows of the engine's reductions by :py:func:`engine_sweep` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import numpy.typing

from .. import _core
from .._engine.names import engine_name, engine_path
from .._engine.selection import Axis, select
from .._show.progress import Report
from .blocks import View, engine_view, of_array
from .chains import chain_of
from .tree import DenseLeaf, Node, SparseLeaf

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


def engine_sweep(
    node: Node, views: Sequence[View], skip_nan: bool, report: Report | None
) -> list[dict[str, Array]] | None:
    """Sum up an array in the engine.

    Args:
        node: The array, not empty.
        views: The results that are wanted.
        skip_nan: Whether not to count NaN.
        report: Called now and then.

    Returns:
        Arrays for each view; None if the engine cannot do it.
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
    file_order = isinstance(leaf, SparseLeaf) or leaf.seed._native_order
    order = slice(None) if file_order else slice(None, None, -1)
    last = len(leaf.shape) - 1
    axes = [axis if file_order else last - axis for axis in chain.axes]
    backs: list[Array | None] = [None] * len(leaf.shape)
    orders: list[Array | None] = [None] * len(leaf.shape)
    for axis, back in enumerate((selection.restore or ())[order]):
        length = selection.lengths[order][axis]
        # What is in order needs nothing.
        if numpy.array_equal(back, numpy.arange(length)):
            continue
        if len(back) != length and any(view.axes[axes.index(axis)] != "keep" for view in views):
            # Positions repeat where they are summed up.
            return None
        backs[axis], orders[axis] = back, numpy.argsort(back)
    results = reduce(
        selection.axes[order], node.dtype.str, [engine_view(view, axes, orders) for view in views], skip_nan, report
    )
    return [of_array(result, view, axes, backs) for view, result in zip(views, results, strict=True)]
