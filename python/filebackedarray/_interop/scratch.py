"""Matrices that are too large for memory, in temporary files without compression.

The files are this package's own, without a name where the system allows it: nobody else shortens them while they are
mapped. Their space is free again when the last array that is made of them is gone.
"""

from __future__ import annotations

import errno
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import IO, Any

import numpy
import numpy.typing

from .._compute.blocks import in_order, runs
from .._compute.tree import Compressed, Index, Node
from .._engine.memory import as_bytes

Array = numpy.typing.NDArray[Any]

_BLOCK_BYTES = 32 << 20
"""Number of bytes that are read and written at once."""

_LARGEST = 8
"""Maximum size of a chunk that is taken whole, in blocks."""


def folder(needed: int) -> str:
    """Where temporary files are made.

    Args:
        needed: Bytes that will be written.

    Returns:
        What ``TMPDIR`` says, or the system's own.

    Raises:
        OSError: If there is less space.
    """
    path = tempfile.gettempdir()
    free = shutil.disk_usage(path).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"a temporary file of {needed} bytes is needed, and there is space for {free};"
            " TMPDIR says where such files are made",
            path,
        )
    return path


class _Column:
    """An array that is written from its beginning to its end."""

    def __init__(self, path: str, dtype: numpy.dtype[Any]) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="filebackedarray-", dir=path)  # noqa: SIM115
        self._path = path
        self._dtype = dtype
        self._length = 0

    def append(self, values: Array) -> None:
        try:
            self._file.write(as_bytes(numpy.ascontiguousarray(values, dtype=self._dtype)).data)
            self._file.flush()
        except OSError as error:
            # Others may take the space that there was at first; and the system does not say of which file it speaks.
            raise OSError(
                error.errno,
                f"a temporary file cannot be written ({error.strerror}); TMPDIR says where such files are made",
                self._path,
            ) from error
        self._length += values.size

    def mapped(self) -> Array:
        """What was written; the file is closed with the array."""
        if self._length == 0:
            self._file.close()
            return numpy.empty(0, self._dtype)
        with self._file:
            # A plain array, for those who compare types.
            return numpy.asarray(numpy.memmap(self._file, self._dtype, "r"))


def dense(node: Node, dtype: numpy.dtype[Any], values: Callable[[tuple[Index, ...]], Array], path: str) -> Array:
    """Write a matrix.

    Args:
        node: The matrix.
        dtype: Type to write.
        values: Gives a part of it.
        path: Folder for the file.

    Returns:
        The matrix, in the memory order for which the least has to be read at a time.
    """
    ticks = node.ticks() if math.prod(node.shape) else [numpy.asarray([extent]) for extent in node.shape]
    thickest = [int(numpy.diff(ends, prepend=0).max()) for ends in ticks]
    axis = 0 if thickest[0] * node.shape[1] <= thickest[1] * node.shape[0] else 1
    length = max(1, _BLOCK_BYTES // max(1, node.shape[1 - axis] * dtype.itemsize))
    if length < thickest[axis] <= length * _LARGEST:
        length = thickest[axis]
    column = _Column(path, dtype)
    for block in in_order(values, list(_slabs(node, axis, runs(ticks[axis], length)))):
        column.append(block if axis == 0 else block.T)
    return column.mapped().reshape(node.shape, order="C" if axis == 0 else "F")


def compressed(
    node: Node,
    axis: int,
    parts: Callable[[tuple[Index, ...]], Compressed],
    dtype: numpy.dtype[Any],
    index_dtype: numpy.dtype[Any],
    path: str,
) -> Compressed:
    """Write a sparse matrix.

    Args:
        node: The matrix.
        axis: The one that is compressed: 1 for columns.
        parts: Gives a part of it, compressed along this axis.
        dtype: Type of the values to write.
        index_dtype: Of the indices.
        path: Folder for the files.

    Returns:
        The matrix, with pointers in memory.
    """
    stored = numpy.cumsum(node.stored(axis), dtype=numpy.float64)
    ends = numpy.arange(1, node.shape[axis] + 1)
    most = max(1, _BLOCK_BYTES // (dtype.itemsize + index_dtype.itemsize))
    # About as many elements in each.
    cuts = numpy.unique(numpy.searchsorted(stored, numpy.arange(most, stored[-1], most)) + 1) if len(ends) else ends
    edges = [0, *cuts[cuts < len(ends)].tolist(), len(ends)]
    indices, values = _Column(path, index_dtype), _Column(path, dtype)
    pointers = numpy.zeros(len(ends) + 1, numpy.int64)
    stretches = list(pairwise(edges))
    blocks = in_order(parts, list(_slabs(node, axis, stretches)))
    for (begin, end), block in zip(stretches, blocks, strict=True):
        pointers[begin + 1 : end + 1] = pointers[begin] + block.pointers[1:]
        indices.append(block.indices)
        values.append(block.values)
    return Compressed(
        pointers.astype(index_dtype), indices.mapped(), values.mapped(), axis == 1, (node.shape[0], node.shape[1])
    )


def _slabs(node: Node, axis: int, stretches: Iterable[tuple[int, int]]) -> Iterator[tuple[Index, ...]]:
    for begin, end in stretches:
        index: list[Index] = [range(extent) for extent in node.shape]
        index[axis] = range(begin, end)
        yield tuple(index)
