"""From trees of delayed operations to arrays in memory: the way that indexing, iteration and conversions take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import numpy.typing

from ._trees import Index, Node

Array = numpy.typing.NDArray[Any]


def dense(node: Node, index: Sequence[Index] | None = None, dtype: Any = None) -> Array:
    """Evaluate an array, or a part of it.

    Args:
        node: The array.
        index: Positions for each axis; None for all.
        dtype: What to convert values to, as :py:meth:`numpy.ndarray.astype` does; in any byte order.

    Returns:
        An array of the caller's own, masked if the node is.

    Raises:
        IndexError: If a position is out of bounds.
        FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    index = [range(extent) for extent in node.shape] if index is None else index
    lengths = tuple(map(len, index))
    target = node.dtype if dtype is None else numpy.dtype(dtype)
    if 0 in lengths:
        # Nothing is asked of the file.
        return (numpy.ma.empty if node.masked else numpy.empty)(lengths, target)
    block, owned = node.dense(index)
    if block.dtype == target:
        return block if owned else block.copy(order="K")
    if owned and block.dtype == target.newbyteorder("=") and not node.masked:
        # The same in the other byte order takes no more memory.
        return block.byteswap(inplace=True).view(target)
    return block.astype(target)
