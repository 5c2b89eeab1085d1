"""What is written: arrays of any kind as nodes that are evaluated block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy
import numpy.typing
import scipy.sparse
from delayedarray import DelayedArray

from .._compute.blocks import block_lengths, runs
from .._compute.statistics import native
from .._compute.tree import Compressed, Index, MemoryLeaf, Node, SparseLeaf, _whole, compiled

__all__ = ["ScipyLeaf", "dense_blocks", "primary_blocks", "source_of", "stored_count"]

Array = numpy.typing.NDArray[Any]


class ScipyLeaf(Node):
    """A compressed sparse matrix of SciPy's."""

    sparse = True
    unsigned = True

    def __init__(self, matrix: Any) -> None:
        """Take a matrix.

        Args:
            matrix: Of any format of SciPy's; what is not compressed by row or column is made such first.
        """
        if matrix.format not in ("csc", "csr"):
            matrix = matrix.tocsc()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        self.matrix = matrix
        self.shape = tuple(map(int, matrix.shape))
        self.dtype = native(matrix.dtype)
        self.by_column = matrix.format == "csc"

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        rows, columns = map(_plain, index)
        part = self.matrix[:, columns][rows] if self.by_column else self.matrix[rows][:, columns]
        return part.toarray(), True

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        rows, columns = map(_plain, index)
        part = self.matrix[:, columns][rows] if self.by_column else self.matrix[rows][:, columns]
        if by_column is not None and by_column != self.by_column:
            part = part.tocsc() if by_column else part.tocsr()
        else:
            by_column = self.by_column
        part.sort_indices()
        pointers = part.indptr.astype(part.indices.dtype, copy=False)
        return Compressed(pointers, part.indices, part.data, by_column, part.shape, True)

    def ticks(self) -> list[Array]:
        return [_whole(extent) for extent in self.shape]

    def stored(self, axis: int) -> Array:
        if axis == (1 if self.by_column else 0):
            return numpy.diff(self.matrix.indptr)
        return numpy.bincount(self.matrix.indices, minlength=self.shape[axis])

    def compressed_along(self, axis: int) -> float:
        return float(self.matrix.nnz) if axis == (1 if self.by_column else 0) else 0.0

    def of_file(self) -> bool:
        return False


class DaskLeaf(Node):
    """A Dask array, of which the blocks that are wanted are computed."""

    def __init__(self, array: Any) -> None:
        """Take an array.

        Args:
            array: Of known shape.

        Raises:
            ValueError: If Dask does not know how large it is.
        """
        if any(math.isnan(extent) for extent in array.shape):
            raise ValueError("Dask does not know the shape of the array; call its 'compute_chunk_sizes' first")
        self._array = array
        self.shape = tuple(map(int, array.shape))
        self.dtype = native(array.dtype)

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        block = self._array[tuple(map(_plain, index))].compute()
        block = block.toarray() if scipy.sparse.issparse(block) else numpy.ma.asanyarray(block)
        if isinstance(block, numpy.ma.MaskedArray) and numpy.ma.is_masked(block):
            return block, True
        return numpy.asarray(block).astype(self.dtype, copy=False), True

    def ticks(self) -> list[Array]:
        return [numpy.cumsum(lengths, dtype=numpy.int64) for lengths in self._array.chunks]


def _plain(positions: Index) -> Any:
    return slice(positions.start, positions.stop, positions.step) if isinstance(positions, range) else positions


def source_of(x: Any) -> Node:
    """Take what is to be written.

    Args:
        x: A numpy array or what can be made one, a matrix or array of SciPy's, a delayed array, a Dask array.

    Returns:
        A node.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(x, DelayedArray):
        seed = x.seed
        return source_of(seed) if isinstance(seed, numpy.ndarray) or scipy.sparse.issparse(seed) else compiled(x)
    if scipy.sparse.issparse(x):
        if len(x.shape) != 2:
            return MemoryLeaf(x.toarray())
        return ScipyLeaf(x)
    if type(x).__module__.partition(".")[0] == "dask" and hasattr(x, "chunks"):
        return DaskLeaf(x)
    if isinstance(x, numpy.ma.MaskedArray):
        node = MemoryLeaf(x)
        node.masked = True
        return node
    if not isinstance(x, numpy.ndarray) and hasattr(x, "seed") and hasattr(x, "shape"):
        return compiled(x)
    array = numpy.asarray(x)
    if array.dtype.kind == "O" and not isinstance(x, numpy.ndarray) and not numpy.isscalar(x) and hasattr(x, "shape"):
        return compiled(x)
    return MemoryLeaf(array)


def dense_blocks(node: Node, chunks: Sequence[int], size: int) -> Iterator[tuple[range, ...]]:
    """Blocks of whole chunks of the new dataset, and of whole chunks of the old one where both fit.

    Args:
        node: The array, not empty.
        chunks: Of the new dataset.
        size: About how many elements a block should have.

    Yields:
        Positions for each axis, in the order of rows of the blocks.
    """
    ticks = []
    for ends, length, extent in zip(node.ticks(), chunks, node.shape, strict=True):
        new = numpy.append(numpy.arange(length, extent, length, dtype=numpy.int64), extent)
        # The coarser of the two.
        ticks.append(new if len(new) <= len(ends) else ends)
    lengths = block_lengths(ticks, node.shape, size)
    parts = [
        [range(begin, end) for begin, end in runs(ends, length)] for ends, length in zip(ticks, lengths, strict=True)
    ]
    return product(*parts)


def stored_count(node: Node) -> int | None:
    """How many elements of a matrix are stored, where that is known."""
    if isinstance(node, ScipyLeaf):
        return int(node.matrix.nnz)
    return node.count() if isinstance(node, SparseLeaf) else None


def primary_blocks(node: Node, by_column: bool, size: int) -> list[tuple[range, ...]]:
    """Runs of whole columns or rows, with about as many elements to read.

    Args:
        node: A matrix, not empty.
        by_column: Whether of columns.
        size: About how many elements a block should have, stored ones of a sparse matrix.

    Returns:
        Positions of rows and columns.
    """
    axis = 1 if by_column else 0
    extent, other = node.shape[axis], node.shape[1 - axis]
    if node.sparse:
        along = node.compressed_along(axis) >= node.compressed_along(1 - axis)
        stored = numpy.cumsum(node.stored(axis), dtype=numpy.float64)
        # Across the way in which it is compressed, each block goes through the whole file.
        size = size if along else 16 * size
    else:
        stored = numpy.arange(1, extent + 1, dtype=numpy.float64) * other
    ends = node.ticks()[axis] if not node.sparse else None
    blocks = []
    begin = 0
    while begin < extent:
        done = stored[begin - 1] if begin else 0.0
        end = min(max(int(numpy.searchsorted(stored, done + size, side="right")), begin + 1), extent)
        if ends is not None:
            last = int(numpy.searchsorted(ends, end, side="right")) - 1
            if last >= 0 and ends[last] > begin:
                end = int(ends[last])
        positions = [range(node.shape[0]), range(node.shape[1])]
        positions[axis] = range(begin, end)
        blocks.append(tuple(positions))
        begin = end
    return blocks
