"""Arrays that are a part of what is in a file: what the engine can go through while it decodes."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy

from .statistics import DType
from .tree import CastNode, DenseLeaf, DualLeaf, Index, Node, SparseLeaf, SubsetNode, TransposeNode, composed

__all__ = ["Chain", "chain_of"]


class Chain(NamedTuple):
    """Subsets, transposes and conversions of what is in a file, taken together."""

    leaf: DenseLeaf | SparseLeaf
    positions: tuple[Index, ...]
    """Positions for each axis of the leaf."""
    axes: tuple[int, ...]
    """Which axis of the leaf each axis of the array is."""
    dtypes: tuple[DType, ...]
    """What elements are converted to one after the other, from what the file has on."""

    def conversion(self) -> DType | None:
        """What elements have to be converted to: nothing that is done to them before or after it changes a value.

        Returns:
            The type; None if values are rounded more than once, or not of types that the engine has.
        """
        if any(dtype.kind not in "biuf" or dtype.itemsize > 8 for dtype in self.dtypes):
            return None
        rounding = [after for before, after in pairwise(self.dtypes) if not _keeps_values(before, after)]
        if len(rounding) > 1:
            return None
        return rounding[0] if rounding else self.dtypes[-1]


def chain_of(node: Node) -> Chain | None:
    """See through operations that move elements and convert them.

    Args:
        node: An array.

    Returns:
        What it is a part of, of two copies the one that is to be read; None if there is anything else in it.
    """
    operations: list[SubsetNode | TransposeNode | CastNode] = []
    while isinstance(node, SubsetNode | TransposeNode | CastNode):
        operations.append(node)
        node = node.child
    if not isinstance(node, DenseLeaf | SparseLeaf | DualLeaf):
        return None
    positions: list[Index] = [range(extent) for extent in node.shape]
    axes = tuple(range(len(node.shape)))
    dtypes = [node.dtype]
    for operation in reversed(operations):
        if isinstance(operation, CastNode):
            dtypes.append(operation.dtype)
        elif isinstance(operation, TransposeNode):
            axes = tuple(axes[axis] for axis in operation.axes)
        else:
            for axis, taken in zip(axes, operation.index, strict=True):
                positions[axis] = composed(positions[axis], taken)
    leaf = node.chosen(positions) if isinstance(node, DualLeaf) else node
    stored = leaf.seed._stored_dtype.newbyteorder("=")
    return Chain(leaf, tuple(positions), axes, (stored, *dtypes))


def _keeps_values(a: DType, b: DType) -> bool:
    """Whether every value of a type is one of another."""
    if a.kind in "iu" and b.kind == "f":
        return numpy.iinfo(a).bits - (a.kind == "i") <= numpy.finfo(b).nmant + 1 and a.itemsize < 8
    return numpy.can_cast(a, b, "safe")
