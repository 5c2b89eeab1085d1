"""Trees of delayed operations, evaluated block by block with numpy.

:py:func:`compiled` turns what :py:mod:`delayedarray` builds into nodes that do the same, vectorised and without copies
where none is needed: a subset goes down to the file, so that only the chunks that are wanted are read; operations are
done in place; and blocks of sparse trees stay compressed, as flat arrays of pointers, indices and values. An operation
that is not known here is left to delayedarray.
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy
import numpy.typing
import scipy.sparse
from delayedarray import (
    BinaryIsometricOp,
    Cast,
    Combine,
    DelayedArray,
    Round,
    Subset,
    Transpose,
    UnaryIsometricOpSimple,
    UnaryIsometricOpWithArgs,
    chunk_grid,
    extract_dense_array,
    extract_sparse_array,
    is_sparse,
)
from delayedarray.DelayedOp import DelayedOp

from .. import _core
from .._engine.names import engine_name, engine_path
from .._engine.selection import select
from .arguments import has_mask
from .elementwise import Elementwise, aligned, is_delayed
from .statistics import native

Array = numpy.typing.NDArray[Any]
DType = numpy.dtype[Any]

Index: TypeAlias = "range | Array"
"""Which positions of an axis."""

_LONG = 256
"""Mean number of stored elements per column (or row) above which they are computed one by one, which saves repeating
the vector."""

_MOST_TICKS = 1 << 20
"""Maximum number of ends of chunks that are kept per axis; of more only every k-th is, so that they take no more memory
than a block."""

_MANY = 1 << 23
"""Maximum number of columns (or rows) of which the pointers are read to choose blocks of equal size."""


class Compressed(NamedTuple):
    """A block of a sparse matrix."""

    pointers: Array
    """Where each column (or row) begins in the other two arrays; of the type of the indices."""
    indices: Array
    values: Array
    by_column: bool
    shape: tuple[int, int]
    canonical: bool = False
    """Whether indices are known to increase within each column (or row)."""

    def lengths(self) -> Array:
        """Number of elements of each column (or row)."""
        return numpy.diff(self.pointers)

    def extents(self) -> tuple[int, int]:
        """The extents of the axis that is compressed and of the other one."""
        rows, columns = self.shape
        return (columns, rows) if self.by_column else (rows, columns)

    def positions(self) -> scipy.sparse.csr_matrix:
        """A matrix with the compressed axis first, of positions in ``values``: for moving elements of any type."""
        order = numpy.arange(len(self.values), dtype=self.indices.dtype)
        return scipy.sparse.csr_matrix((order, self.indices, self.pointers), shape=self.extents())

    def moved(self, moved: Any, by_column: bool, shape: tuple[int, int], canonical: bool = False) -> Compressed:
        """From a matrix of positions, in which elements have moved."""
        return Compressed(
            moved.indptr.astype(moved.indices.dtype, copy=False),
            moved.indices,
            self.values[moved.data],
            by_column,
            shape,
            canonical,
        )

    def matrix(self, dtype: DType) -> scipy.sparse.csc_matrix | scipy.sparse.csr_matrix:
        """The same as a matrix of SciPy's, of values of a type."""
        make = scipy.sparse.csc_matrix if self.by_column else scipy.sparse.csr_matrix
        matrix = make((self.values.astype(dtype, copy=False), self.indices, self.pointers), shape=self.shape)
        if self.canonical:
            # Which SciPy would find out by going through all indices.
            matrix.has_canonical_format = True
        return matrix

    def turned(self) -> Compressed:
        """The same, compressed along the other axis."""
        return self.moved(self.positions().tocsc(), not self.by_column, self.shape, self.canonical)

    def ordered(self) -> Compressed:
        """The same in canonical format: indices increase, and what was there more than once is added up."""
        if self.canonical:
            return self
        matrix = self.positions()
        if matrix.has_canonical_format:
            return self._replace(canonical=True)
        matrix.sort_indices()
        sorted_block = self.moved(matrix, self.by_column, self.shape)
        pointers, indices, values = sorted_block[:3]
        starts = numpy.ones(len(indices), bool)
        starts[1:] = indices[1:] != indices[:-1]
        starts[pointers[:-1][numpy.diff(pointers) > 0]] = True
        if starts.all():
            return sorted_block._replace(canonical=True)
        kept = numpy.concatenate([numpy.zeros(1, pointers.dtype), numpy.cumsum(starts, dtype=pointers.dtype)])
        added = numpy.add.reduceat(values, numpy.flatnonzero(starts)).astype(values.dtype, copy=False)
        return Compressed(kept[pointers], indices[starts], added, self.by_column, self.shape, True)


class Layout(NamedTuple):
    """The dataset that an array is made of, and how it is cut into chunks."""

    shape: tuple[int, ...]
    """Extents of the dataset, in the order in which its elements are stored."""
    chunk: tuple[int, ...]
    axes: tuple[int, ...]
    """Which axis of the dataset each axis of the array is."""
    positions: tuple[Index, ...]
    """Positions for each axis of the dataset."""


class Node:
    """An array that can be evaluated for a part of it."""

    shape: tuple[int, ...]
    dtype: DType
    """In native byte order."""
    sparse: bool = False
    """Whether it has implicit zeros, and :py:meth:`compressed` gives what is stored besides."""
    masked: bool = False
    """Whether values may be masked; a masked array is not sparse."""
    unsigned: bool = False
    """Whether it is sparse and numpy has no -0.0 where nothing is stored."""

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        """Evaluate a part.

        Args:
            index: Positions for each axis.

        Returns:
            The values, and whether the caller may write to them.
        """
        raise NotImplementedError

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        """Evaluate a part of a sparse matrix.

        Args:
            index: Positions of rows and columns.
            by_column: Whether to compress it by column; None for the way that takes the least.

        Returns:
            A block whose arrays the caller may write to.
        """
        raise NotImplementedError

    def ticks(self) -> list[Array]:
        """For each axis, where its chunks end; where there are very many, some of those places."""
        raise NotImplementedError

    def layout(self) -> Layout | None:
        """The dataset whose chunks matter; None if there is none."""
        return None

    def stored(self, axis: int) -> Array:
        """For each position of an axis of a sparse matrix, about how many elements are stored."""
        raise NotImplementedError

    def compressed_along(self, axis: int) -> float:
        """How many elements are stored in matrices that are compressed along an axis."""
        raise NotImplementedError

    def file_index(self, axis: int) -> Array | None:
        """Which position in the file each one of an axis comes from, if a subset is in between."""
        return None

    def of_file(self) -> bool:
        """Whether a file is read for it."""
        return True


class Leaf(Node):
    """What is evaluated by delayedarray's generics: seeds and operations of others, and masked arrays."""

    def __init__(self, seed: Any, masked: bool = False, structure: Node | None = None) -> None:
        """Take a seed or an operation for a leaf.

        Args:
            seed: What is evaluated.
            masked: Whether values may be masked.
            structure: A node of the same chunks, which saves a walk through a grid of delayedarray's.
        """
        self._seed = seed
        self.structure = structure
        self.shape = tuple(seed.shape)
        self.dtype = native(seed.dtype)
        self.masked = masked
        self.sparse = len(self.shape) == 2 and not masked and bool(is_sparse(seed))

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        increasing, restore = _increasing(index)
        block: Array = extract_dense_array(self._seed, increasing)
        if restore is not None:
            block = block[numpy.ix_(*restore)]
        # Others' seeds may give parts of what they hold.
        return block.astype(self.dtype, copy=False), restore is not None

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        increasing, restore = _increasing(index)
        columns = extract_sparse_array(self._seed, increasing)
        rows, width = map(int, columns.shape)
        contents = columns.contents or []
        lengths = [0 if content is None else len(content[0]) for content in contents] or [0] * width
        index_dtype = _index_dtype(rows, sum(lengths))
        pointers = numpy.zeros(width + 1, index_dtype)
        numpy.cumsum(lengths, out=pointers[1:])
        stored = [content for content in contents if content is not None]
        indices = numpy.concatenate([numpy.empty(0, index_dtype), *(content[0] for content in stored)])
        values = numpy.concatenate([numpy.empty(0, self.dtype), *(content[1] for content in stored)])
        # Others may have elements in any order and more than once, which operations would take one by one.
        block = Compressed(
            pointers,
            indices.astype(index_dtype, copy=False),
            values.astype(self.dtype, copy=False),
            True,
            (rows, width),
        ).ordered()
        for axis, positions in enumerate(restore or []):
            block = _taken(block, axis, positions)
        return block.turned() if by_column is False else block

    def ticks(self) -> list[Array]:
        if self.structure is not None:
            return self.structure.ticks()
        chunks = getattr(self._seed, "_chunks", None)
        if chunks is not None:
            # A grid of delayedarray's goes through all ends.
            return [_regular(chunk, extent) for chunk, extent in zip(chunks, self.shape, strict=True)]
        ends = [numpy.asarray(list(boundary), dtype=numpy.int64) for boundary in chunk_grid(self._seed).boundaries]
        return [
            end if len(end) and end[-1] == extent else _whole(extent)
            for end, extent in zip(ends, self.shape, strict=True)
        ]

    def layout(self) -> Layout | None:
        return None if self.structure is None else self.structure.layout()

    def stored(self, axis: int) -> Array:
        extent, other = self.shape[axis], self.shape[1 - axis]
        return numpy.full(extent, 0.1 * other, numpy.float32)

    def compressed_along(self, axis: int) -> float:
        # SparseNdarray has columns.
        return 0.1 * self.shape[0] * self.shape[1] if axis == 1 else 0.0


class MemoryLeaf(Node):
    """An array in memory."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = native(array.dtype)

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        slices = [slice(p.start, p.stop, p.step) for p in index if isinstance(p, range) and p.step > 0]
        if len(slices) == len(index):
            part = self._array[tuple(slices)]
            return part.astype(self.dtype, copy=False), part.dtype != self.dtype
        part = self._array[numpy.ix_(*index)]
        return part.astype(self.dtype, copy=False), True

    def ticks(self) -> list[Array]:
        return [_whole(extent) for extent in self.shape]

    def of_file(self) -> bool:
        return False


class DenseLeaf(Node):
    """A dense dataset of this package."""

    def __init__(self, seed: Any) -> None:
        self.shape = seed.shape
        self.dtype = native(seed.dtype)
        self.seed = seed
        if seed.dtype != self.dtype:
            self.seed = copy.copy(seed)
            self.seed._dtype = self.dtype
        self.sparse = seed._as_sparse and len(self.shape) == 2

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        block: Array = extract_dense_array(self.seed, tuple(index))
        return block, True

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        return Leaf(self.seed).compressed(index, by_column)

    def ticks(self) -> list[Array]:
        return [_regular(chunk, extent) for chunk, extent in zip(self.seed._chunks, self.shape, strict=True)]

    def layout(self) -> Layout:
        seed, axes = self.seed, tuple(range(len(self.shape)))
        order = slice(None) if seed._native_order else slice(None, None, -1)
        chunk = seed._chunks[order]
        if not seed._untrusted:
            # The blocks in which the engine reads it, where it has no chunks.
            chunk = _core.read_blocks(engine_path(seed.path), engine_name(seed.name))
        shape = self.shape[order]
        return Layout(shape, tuple(chunk), axes[order], tuple(map(range, shape)))

    def stored(self, axis: int) -> Array:
        return Leaf(self.seed).stored(axis)

    def compressed_along(self, axis: int) -> float:
        # Chunks are cut through the least by blocks along the axis on which they are thin.
        rows, columns = (chunk / max(extent, 1) for chunk, extent in zip(self.seed._chunks, self.shape, strict=True))
        return 0.1 * self.shape[0] * self.shape[1] if axis == (0 if rows < columns else 1) else 0.0


class SparseLeaf(Node):
    """A compressed sparse matrix of this package."""

    sparse = True
    unsigned = True

    def __init__(self, seed: Any) -> None:
        self.shape = seed.shape
        self.dtype = native(seed.dtype)
        self.seed = seed
        if seed.dtype != self.dtype:
            self.seed = copy.copy(seed)
            self.seed._dtype = self.dtype
        self._axis = 1 if seed.by_column else 0
        self._lengths: Array | None = None
        self._count: int | None = None

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        block: Array = extract_dense_array(self.seed, tuple(index))
        return block, True

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        selection = select(index, self.shape)
        if by_column is None:
            by_column = self.seed.by_column
        index_dtype = _index_dtype(max(selection.lengths), self.count())
        pointers, indices, values = self.seed._compressed(selection.axes, index_dtype, by_column)
        rows, columns = selection.lengths
        block = Compressed(pointers.astype(index_dtype), indices, values, by_column, (rows, columns), True)
        if selection.restore is None:
            return block
        for axis, positions in enumerate(selection.restore):
            block = _taken(block, axis, positions)
        return block

    def count(self) -> int:
        """Number of elements that are stored."""
        if self._count is None:
            self._count = self.seed._matrix().inspect()[2]
        return self._count

    def ticks(self) -> list[Array]:
        ends = [_whole(extent) for extent in self.shape]
        ends[self._axis] = _regular(1, self.shape[self._axis])
        return ends

    def layout(self) -> Layout:
        # A dense block of it has whole columns (or rows), one after the other.
        order = slice(None) if self._axis == 0 else slice(None, None, -1)
        shape = self.shape[order]
        return Layout(shape, (1, shape[1]), (self._axis, 1 - self._axis), tuple(map(range, shape)))

    def stored(self, axis: int) -> Array:
        if axis == self._axis and self.shape[axis] <= _MANY:
            if self._lengths is None:
                self._lengths = numpy.diff(self.seed._pointers()).astype(numpy.float32)
            return self._lengths
        return numpy.full(self.shape[axis], self.count() / max(self.shape[axis], 1), numpy.float32)

    def compressed_along(self, axis: int) -> float:
        return float(self.count()) if axis == self._axis else 0.0


class DualLeaf(Node):
    """A sparse matrix with a copy for columns and one for rows."""

    sparse = True
    unsigned = True

    def __init__(self, seed: Any) -> None:
        self.shape = seed.shape
        self.dtype = native(seed.dtype)
        self.seed = seed
        self._by_row, self._by_column = SparseLeaf(seed.csr), SparseLeaf(seed.csc)

    def chosen(self, index: Sequence[Index]) -> SparseLeaf:
        """The copy from which a part is read."""
        return self._by_column if self.seed.chosen(index).by_column else self._by_row

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        return self.chosen(index).dense(index)

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        if by_column is None or 0 in self.shape or tuple(map(len, index)) != self.shape:
            return self.chosen(index).compressed(index, by_column)
        # All of it, for which no copy is better than the one that is compressed the right way.
        return (self._by_column if by_column else self._by_row).compressed(index)

    def ticks(self) -> list[Array]:
        return [self._by_row.ticks()[0], self._by_column.ticks()[1]]

    def layout(self) -> Layout:
        return self._by_row.layout()

    def stored(self, axis: int) -> Array:
        return (self._by_row, self._by_column)[axis].stored(axis)

    def compressed_along(self, axis: int) -> float:
        return (self._by_row, self._by_column)[axis].compressed_along(axis)


def _ticks_of_range(ends: Array, positions: range) -> Array:
    """Where the chunks that end there do so among the positions; these may be many, and are not gone through."""
    count = len(positions)
    if count == 0:
        return numpy.zeros(1, numpy.int64)
    if positions.step < 0:
        turned = _ticks_of_range(ends, positions[::-1])
        return numpy.append(count - turned[-2::-1], count)
    before = numpy.clip(-((positions.start - ends) // positions.step), 0, count)
    return numpy.unique(before[before > 0])


class SubsetNode(Node):
    """Some positions of each axis."""

    def __init__(self, child: Node, subset: Sequence[Any]) -> None:
        self.child = child
        self.index: list[Index] = [
            positions if isinstance(positions, range) else numpy.asarray(positions, dtype=numpy.intp)
            for positions in subset
        ]
        self.shape = tuple(map(len, self.index))
        self.dtype = child.dtype
        self.sparse = child.sparse
        self.unsigned = child.unsigned

    def _down(self, index: Sequence[Index]) -> list[Index]:
        return [composed(mine, positions) for mine, positions in zip(self.index, index, strict=True)]

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        return self.child.dense(self._down(index))

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        return self.child.compressed(self._down(index), by_column)

    def ticks(self) -> list[Array]:
        found = []
        for ends, positions in zip(self.child.ticks(), self.index, strict=True):
            if isinstance(positions, range) and positions == range(int(ends[-1]) if len(ends) else 0):
                found.append(ends)
                continue
            if isinstance(positions, range):
                found.append(_ticks_of_range(ends, positions))
                continue
            chunk = numpy.searchsorted(ends, numpy.asarray(positions), side="right")
            changes = numpy.flatnonzero(chunk[1:] != chunk[:-1]) + 1
            found.append(numpy.append(changes, len(positions)).astype(numpy.int64))
        return found

    def layout(self) -> Layout | None:
        below = self.child.layout()
        if below is None:
            return None
        positions = list(below.positions)
        for axis, taken in zip(below.axes, self.index, strict=True):
            positions[axis] = composed(positions[axis], taken)
        return below._replace(positions=tuple(positions))

    def stored(self, axis: int) -> Array:
        share = len(self.index[1 - axis]) / max(self.child.shape[1 - axis], 1)
        return self.child.stored(axis)[numpy.asarray(self.index[axis], dtype=numpy.intp)] * numpy.float32(share)

    def compressed_along(self, axis: int) -> float:
        return self.child.compressed_along(axis)

    def file_index(self, axis: int) -> Array | None:
        below, positions = self.child.file_index(axis), numpy.asarray(self.index[axis], dtype=numpy.intp)
        return positions if below is None else below[positions]

    def of_file(self) -> bool:
        return self.child.of_file()


class TransposeNode(Node):
    """Axes in another order."""

    def __init__(self, child: Node, axes: Sequence[int]) -> None:
        self.child = child
        self.axes = tuple(axis % len(child.shape) for axis in axes)
        self.shape = tuple(child.shape[axis] for axis in self.axes)
        self.dtype = child.dtype
        self.sparse = child.sparse
        self.unsigned = child.unsigned

    def _down(self, index: Sequence[Index]) -> list[Index]:
        down: list[Index] = [range(0)] * len(index)
        for axis, positions in zip(self.axes, index, strict=True):
            down[axis] = positions
        return down

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        block, owned = self.child.dense(self._down(index))
        return numpy.transpose(block, self.axes), owned

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        if self.axes == (0, 1):
            return self.child.compressed(self._down(index), by_column)
        block = self.child.compressed(self._down(index), None if by_column is None else not by_column)
        return block._replace(by_column=not block.by_column, shape=block.shape[::-1])

    def ticks(self) -> list[Array]:
        ends = self.child.ticks()
        return [ends[axis] for axis in self.axes]

    def layout(self) -> Layout | None:
        below = self.child.layout()
        return None if below is None else below._replace(axes=tuple(below.axes[axis] for axis in self.axes))

    def stored(self, axis: int) -> Array:
        return self.child.stored(self.axes[axis])

    def compressed_along(self, axis: int) -> float:
        return self.child.compressed_along(self.axes[axis])

    def file_index(self, axis: int) -> Array | None:
        return self.child.file_index(self.axes[axis])

    def of_file(self) -> bool:
        return self.child.of_file()


class _Isometric(Node):
    """Element by element of one array."""

    child: Node

    def ticks(self) -> list[Array]:
        return self.child.ticks()

    def layout(self) -> Layout | None:
        return self.child.layout()

    def stored(self, axis: int) -> Array:
        return self.child.stored(axis)

    def compressed_along(self, axis: int) -> float:
        return self.child.compressed_along(axis)

    def file_index(self, axis: int) -> Array | None:
        return self.child.file_index(axis)

    def of_file(self) -> bool:
        return self.child.of_file()


class CastNode(_Isometric):
    """Another type of elements."""

    def __init__(self, child: Node, dtype: Any) -> None:
        self.child = child
        self.shape = child.shape
        self.dtype = native(dtype)
        self.sparse = child.sparse
        self.unsigned = child.unsigned or (child.sparse and self.dtype.kind not in "fc")

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        block, owned = self.child.dense(index)
        return block.astype(self.dtype, copy=False), owned or block.dtype != self.dtype

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        block = self.child.compressed(index, by_column)
        return block._replace(values=block.values.astype(self.dtype, copy=False))


class UnaryNode(_Isometric):
    """A function of one argument."""

    def __init__(self, child: Node, function: Callable[..., Any]) -> None:
        self.child = child
        self.shape = child.shape
        self._function = function
        zero = _of_zeros(function, numpy.zeros(1, child.dtype))
        self.dtype = zero.dtype
        self.sparse = child.sparse and bool(zero[0] == 0)
        self.unsigned = self.sparse and _has_no_sign(zero, child.unsigned)

    def of(self, child: Node) -> UnaryNode:
        """The same of another array."""
        return UnaryNode(child, self._function)

    def _apply(self, values: Array, owned: bool) -> Array:
        result: Array = self._function(values, out=values if owned and values.dtype == self.dtype else None)
        return result

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        block, owned = self.child.dense(index)
        return self._apply(block, owned), True

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        block = self.child.compressed(index, by_column)
        return block._replace(values=self._apply(block.values, True))


class ArgumentNode(_Isometric):
    """An operation with a number, or with a vector along an axis."""

    def __init__(self, child: Node, value: Any, along: int | None, name: str, right: bool) -> None:
        self.child = child
        self.shape = child.shape
        self._along = along
        self._value = value
        self._name = name
        self._right = right
        if along is not None:
            self._value = numpy.reshape(value, -1)
        zeros = numpy.zeros(self._value.shape if along is not None else 1, child.dtype)
        # delayedarray's own judgement forgets which one is on the left: of 1 / 0 it takes 0 / 1.
        zero = _of_zeros(lambda values: self._apply(values, self._value, False), zeros)
        self.dtype = zero.dtype
        self.sparse = child.sparse and bool((zero == 0).all())
        self.unsigned = self.sparse and _has_no_sign(zero, child.unsigned)

    def of(self, child: Node, positions: range, axis: int) -> ArgumentNode:
        """The same of a part: some positions of an axis."""
        value = taken(self._value, positions) if self._along == axis else self._value
        return ArgumentNode(child, value, self._along, self._name, self._right)

    def _apply(self, values: Array, value: Any, owned: bool) -> Array:
        left, right = (values, value) if self._right else (value, values)
        if self._name == "power":
            # The operator knows squares and roots.
            result: Array = operator.pow(left, right)
            return result
        function = getattr(numpy, self._name)
        result = function(left, right, out=values if owned and values.dtype == self.dtype else None)
        return numpy.asarray(result)

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        block, owned = self.child.dense(index)
        value = self._value
        if self._along is not None:
            value = taken(value, index[self._along])
            value = value.reshape([-1 if axis == self._along else 1 for axis in range(block.ndim)])
        return self._apply(block, value, owned), True

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        block = self.child.compressed(index, by_column)
        value = self._value
        if self._along is not None:
            value = taken(value, index[self._along])
            if self._along == (1 if block.by_column else 0):
                if self._name != "power" and len(block.values) > _LONG * len(value):
                    return block._replace(values=self._by_stretch(block, value))
                value = numpy.repeat(value, block.lengths())
            else:
                value = value[block.indices]
        return block._replace(values=self._apply(block.values, value, True))

    def _by_stretch(self, block: Compressed, value: Array) -> Array:
        """Column by column (or row by row), which saves a copy of the vector as long as the values."""
        values = block.values
        result = values if values.dtype == self.dtype else numpy.empty(values.shape, self.dtype)
        function = getattr(numpy, self._name)
        for number, (begin, end) in enumerate(pairwise(block.pointers.tolist())):
            stretch, one = values[begin:end], value[number : number + 1]
            left, right = (stretch, one) if self._right else (one, stretch)
            function(left, right, out=result[begin:end])
        return result


class BinaryNode(Node):
    """An operation of two arrays of the same shape."""

    def __init__(self, left: Node, right: Node, name: str) -> None:
        self._children = (left, right)
        self.shape = left.shape
        self._name = name
        zeros = (numpy.zeros(1, left.dtype), numpy.zeros(1, right.dtype))
        zero = _of_zeros(lambda values: self._apply(values, zeros[1], False, False), zeros[0])
        self.dtype = zero.dtype
        self.sparse = left.sparse and right.sparse and bool(zero[0] == 0)
        # A product of what is stored in one of them only has a sign.
        known = left.unsigned and right.unsigned and name in ("add", "subtract")
        self.unsigned = self.sparse and _has_no_sign(zero, known)

    def _apply(self, left: Array, right: Array, owns_left: bool, owns_right: bool) -> Array:
        if self._name == "power":
            powers: Array = operator.pow(left, right)
            return powers
        out = None
        if owns_left and left.dtype == self.dtype:
            out = left
        elif owns_right and right.dtype == self.dtype:
            out = right
        result: Array = getattr(numpy, self._name)(left, right, out=out)
        return result

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        (left, owns_left), (right, owns_right) = (child.dense(index) for child in self._children)
        return self._apply(left, right, owns_left, owns_right), True

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        left = self._children[0].compressed(index, by_column)
        right = self._children[1].compressed(index, left.by_column)
        if numpy.array_equal(left.pointers, right.pointers) and numpy.array_equal(left.indices, right.indices):
            return left._replace(values=self._apply(left.values, right.values, True, True))
        # Positions from 1 on, of which the sum tells both.
        pairs = left.positions().astype(numpy.int64), right.positions().astype(numpy.int64)
        factor = len(left.values) + 1
        pairs[0].data += 1
        pairs[1].data += 1
        pairs[1].data *= factor
        both = (pairs[0] + pairs[1]).tocsr()
        second, first = numpy.divmod(both.data, factor)
        values = self._apply(_or_zero(left.values, first), _or_zero(right.values, second), True, True)
        index_dtype = both.indices.dtype
        ordered = left.canonical and right.canonical
        return Compressed(both.indptr.astype(index_dtype), both.indices, values, left.by_column, left.shape, ordered)

    def _main(self) -> Node:
        """The one whose chunks matter."""
        left, right = self._children
        return left if left.of_file() or not right.of_file() else right

    def ticks(self) -> list[Array]:
        return self._main().ticks()

    def layout(self) -> Layout | None:
        return self._main().layout()

    def stored(self, axis: int) -> Array:
        left, right = self._children
        return left.stored(axis) + right.stored(axis)

    def compressed_along(self, axis: int) -> float:
        return sum(child.compressed_along(axis) for child in self._children)

    def file_index(self, axis: int) -> Array | None:
        return self._main().file_index(axis)

    def of_file(self) -> bool:
        return any(child.of_file() for child in self._children)


class ElementwiseNode(Node):
    """A function of several arrays, which are broadcast against each other."""

    def __init__(self, tree: Elementwise) -> None:
        self._tree = tree
        self.shape = tree.shape
        self.dtype = native(tree.dtype)
        self._operands = [
            _compiled(one) if is_delayed(one) else MemoryLeaf(numpy.asarray(one)) if numpy.ndim(one) else one
            for one in tree.operands
        ]

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        blocks = [
            one.dense(aligned(one.shape, self.shape, index))[0] if isinstance(one, Node) else one
            for one in self._operands
        ]
        result = numpy.asarray(self._tree.apply(blocks)).astype(self.dtype, copy=False)
        return result, not any(numpy.may_share_memory(result, block) for block in blocks)

    def _main(self) -> Node | None:
        """The one whose chunks matter."""
        whole = [one for one in self._operands if isinstance(one, Node) and one.shape == self.shape]
        return next((one for one in whole if one.of_file()), whole[0] if whole else None)

    def ticks(self) -> list[Array]:
        main = self._main()
        return [_whole(extent) for extent in self.shape] if main is None else main.ticks()

    def layout(self) -> Layout | None:
        main = self._main()
        return None if main is None else main.layout()

    def file_index(self, axis: int) -> Array | None:
        main = self._main()
        return None if main is None else main.file_index(axis)

    def of_file(self) -> bool:
        return any(one.of_file() for one in self._operands if isinstance(one, Node))


def _elementwise(tree: Elementwise) -> Node:
    """The node of a function: one that knows sparse blocks, if it is of one array and scalars."""
    seeds = tree.seeds
    if len(seeds) != 1 or any(numpy.ndim(one) for one in tree.operands if not is_delayed(one)):
        return ElementwiseNode(tree)

    def function(values: Array, out: Array | None = None) -> Any:
        return numpy.asarray(tree.apply([values if one is seeds[0] else one for one in tree.operands]))

    return UnaryNode(_compiled(seeds[0]), function)


class CombineNode(Node):
    """Arrays one behind the other along an axis."""

    def __init__(self, parts: Sequence[Node], along: int, dtype: Any) -> None:
        first = parts[0].shape
        self.along = along % len(first)
        self.dtype = native(dtype)
        self.parts = [part if part.dtype == self.dtype else CastNode(part, self.dtype) for part in parts]
        ends = numpy.cumsum([part.shape[self.along] for part in self.parts])
        self.starts = [0, *ends[:-1].tolist()]
        self.shape = tuple(int(ends[-1]) if axis == self.along else extent for axis, extent in enumerate(first))
        self.sparse = all(part.sparse for part in self.parts)
        self.unsigned = all(part.unsigned for part in self.parts)

    def _split(self, positions: Index) -> list[tuple[Node, Array, Index]]:
        """Which parts, where their values go, and their positions."""
        wanted = numpy.asarray(positions, dtype=numpy.intp)
        found: list[tuple[Node, Array, Index]] = []
        for part, start in zip(self.parts, self.starts, strict=True):
            places = numpy.flatnonzero((wanted >= start) & (wanted < start + part.shape[self.along]))
            if len(places):
                found.append((part, places, simplest(wanted[places] - start)))
        return found

    def dense(self, index: Sequence[Index]) -> tuple[Array, bool]:
        split = self._split(index[self.along])
        down = list(index)
        if len(split) == 1:
            part, _, down[self.along] = split[0]
            return part.dense(down)
        block = numpy.empty([len(positions) for positions in index], self.dtype)
        for part, places, positions in split:
            down[self.along] = positions
            block[(slice(None),) * self.along + (as_slice(places),)] = part.dense(down)[0]
        return block, True

    def compressed(self, index: Sequence[Index], by_column: bool | None = None) -> Compressed:
        split = self._split(index[self.along])
        down = list(index)
        if len(split) == 1:
            part, _, down[self.along] = split[0]
            return part.compressed(down, by_column)
        blocks: list[Compressed] = []
        order = []
        for part, places, positions in split:
            down[self.along] = positions
            blocks.append(part.compressed(down, by_column))
            by_column = blocks[0].by_column
            order.append(places)
        if not blocks:
            if by_column is None:
                by_column = self.compressed_along(1) >= self.compressed_along(0)
            rows, columns = (len(positions) for positions in index)
            pointers = numpy.zeros((columns if by_column else rows) + 1, numpy.int32)
            return Compressed(pointers, pointers[:0], numpy.empty(0, self.dtype), by_column, (rows, columns), True)
        block = _joined(blocks, self.along)
        placed = numpy.concatenate(order)
        if bool((placed[1:] > placed[:-1]).all()):
            return block
        return _taken(block, self.along, numpy.argsort(placed))

    def ticks(self) -> list[Array]:
        ends = [part.ticks() for part in self.parts]
        largest = max(range(len(ends)), key=lambda number: self.parts[number].shape[self.along])
        joined = list(ends[largest])
        joined[self.along] = numpy.concatenate(
            [own[self.along] + start for own, start in zip(ends, self.starts, strict=True)]
        )
        return joined

    def stored(self, axis: int) -> Array:
        each = [part.stored(axis) for part in self.parts]
        if axis == self.along:
            return numpy.concatenate(each)
        return numpy.asarray(numpy.sum(each, axis=0, dtype=numpy.float32))

    def compressed_along(self, axis: int) -> float:
        return sum(part.compressed_along(axis) for part in self.parts)

    def of_file(self) -> bool:
        return any(part.of_file() for part in self.parts)


def compiled(tree: Any) -> Node:
    """Make nodes of a tree: what all that reads a delayed array evaluates.

    Args:
        tree: A delayed array, a delayed operation, or a seed.

    Returns:
        The node at its root. A masked array is a :py:class:`Leaf`: the nodes know no masks.
    """
    if isinstance(tree, DelayedArray):
        return compiled(tree.seed)
    node = _compiled(tree)
    return Leaf(tree, masked=True, structure=node) if has_mask(tree) else node


def children(tree: Any) -> list[Any]:
    """What a delayed array or operation is made of; nothing of a seed."""
    if not isinstance(tree, DelayedArray | DelayedOp):
        return []
    if isinstance(tree, BinaryIsometricOp):
        return [tree.left, tree.right]
    return list(tree.seeds) if hasattr(tree, "seeds") else [tree.seed] if hasattr(tree, "seed") else []


_NODES: dict[type, Callable[[Any], Node]] = {}
"""What makes the node of each kind of seed and operation. Looked up by the very type: a class that derives from one of
these may compute something else, and is a :py:class:`Leaf`."""


def register(kind: type, make: Callable[[Any], Node]) -> None:
    """Say how nodes of a kind of seed are made.

    Args:
        kind: The class of the seeds, of which those of a derived class are not meant.
        make: Makes the node of one.
    """
    _NODES[kind] = make


def _compiled(tree: Any) -> Node:
    if isinstance(tree, DelayedArray):
        return _compiled(tree.seed)
    return _NODES.get(type(tree), Leaf)(tree)


def _with_argument(tree: UnaryIsometricOpWithArgs) -> Node:
    if not _is_value(tree.value):
        return Leaf(tree)
    along = tree.along if isinstance(tree.value, numpy.ndarray) and tree.value.ndim else None
    return ArgumentNode(_compiled(tree.seed), tree.value, along, tree.operation, tree.right)


def _is_value(value: Any) -> bool:
    """Whether it is a number or an array of numpy's, with which a node computes."""
    return type(value) is numpy.ndarray or (numpy.isscalar(value) and not isinstance(value, str | bytes))


def joined_parts(node: Node) -> tuple[list[Node], int] | None:
    """The parts of an array that was joined of some, with what was done to the whole done to each.

    Args:
        node: An array.

    Returns:
        The parts, and the axis along which they follow each other; None if there are none.
    """
    if isinstance(node, CombineNode):
        return node.parts, node.along
    if not isinstance(node, CastNode | TransposeNode | UnaryNode | ArgumentNode):
        return None
    below = joined_parts(node.child)
    if below is None:
        return None
    parts, along = below
    if isinstance(node, CastNode):
        return [CastNode(part, node.dtype) for part in parts], along
    if isinstance(node, TransposeNode):
        return [TransposeNode(part, node.axes) for part in parts], node.axes.index(along)
    if isinstance(node, UnaryNode):
        return [node.of(part) for part in parts], along
    starts = numpy.cumsum([0, *(part.shape[along] for part in parts)]).tolist()
    return [node.of(part, range(a, b), along) for part, (a, b) in zip(parts, pairwise(starts), strict=True)], along


def _rounding(decimals: int) -> Callable[..., Any]:
    def rounded(values: Array, out: Array | None = None) -> Any:
        # Integers are divided by a power of ten, which gives other numbers at first.
        return numpy.round(values, decimals, out=out if values.dtype.kind in "fc" else None)

    return rounded


def _of_zeros(function: Callable[[Array], Array], zeros: Array) -> Array:
    """What a function makes of zeros, by which its type is known and whether implicit zeros stay."""
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return numpy.asarray(function(zeros))


def _has_no_sign(zeros: Array, known: bool) -> bool:
    """Whether zeros are of a type without -0.0, or are known to be what numpy has, and are none."""
    if zeros.dtype.kind not in "fc":
        return True
    parts = (zeros.real, zeros.imag) if zeros.dtype.kind == "c" else (zeros,)
    return known and not any(numpy.signbit(part).any() for part in parts)


def _or_zero(values: Array, positions: Array) -> Array:
    """Values at positions that count from 1, and 0 where there is none."""
    return numpy.concatenate([numpy.zeros(1, values.dtype), values])[positions]


def _whole(extent: int) -> Array:
    return numpy.asarray([extent], dtype=numpy.int64)


def _regular(spacing: int, extent: int) -> Array:
    """Where chunks of a length end; of very many, where every so manyth does."""
    if extent == 0:
        return _whole(0)
    spacing *= -(-extent // (spacing * _MOST_TICKS))
    ends = numpy.arange(1, -(-extent // spacing) + 1, dtype=numpy.int64) * spacing
    ends[-1] = extent
    return ends


def _index_dtype(extent: int, count: int) -> numpy.dtype[Any]:
    """For the indices and pointers of a block; scipy wants them of one type."""
    return numpy.dtype(numpy.int32 if max(extent, count) <= numpy.iinfo(numpy.int32).max else numpy.int64)


def taken(vector: Array, positions: Index) -> Array:
    """Elements of a vector; a view if they follow each other."""
    if isinstance(positions, range) and positions.step > 0:
        if len(positions) and positions[-1] >= len(vector):
            raise IndexError(f"index {positions[-1]} is out of bounds for a vector of {len(vector)} elements")
        return vector[positions.start : positions.stop : positions.step]
    return vector[numpy.asarray(positions, dtype=numpy.intp)]


def composed(outer: Index, inner: Index) -> Index:
    """Positions of positions."""
    if isinstance(outer, range) and isinstance(inner, range):
        if len(inner) == 0:
            return range(0)
        # Not by a slice, whose end before the first element would count from the end.
        first, step = outer[inner[0]], outer.step * inner.step
        return range(first, first + step * len(inner), step)
    if isinstance(outer, range):
        # Which may be longer than memory.
        return outer.start + outer.step * numpy.asarray(inner, dtype=numpy.intp)
    return numpy.asarray(outer, dtype=numpy.intp)[numpy.asarray(inner, dtype=numpy.intp)]


def simplest(positions: Array) -> Index:
    """A range, if positions follow each other."""
    if (
        len(positions)
        and positions[-1] - positions[0] == len(positions) - 1
        and bool((numpy.diff(positions) == 1).all())
    ):
        return range(int(positions[0]), int(positions[-1]) + 1)
    return positions


def as_slice(positions: Array) -> Any:
    """A slice, if positions follow each other."""
    simple = simplest(positions)
    return slice(simple.start, simple.stop) if isinstance(simple, range) else simple


def _increasing(index: Sequence[Index]) -> tuple[tuple[Index, ...], list[Array] | None]:
    """Strictly increasing positions, as delayedarray promises them to seeds, and how to get back."""
    increasing: list[Index] = []
    restore: list[Array] = []
    changed = False
    for positions in index:
        if isinstance(positions, range):
            fine = positions.step > 0
        else:
            fine = bool((positions[1:] > positions[:-1]).all())
        if fine:
            increasing.append(positions)
            restore.append(numpy.arange(len(positions)))
        else:
            unique, back = numpy.unique(numpy.asarray(positions), return_inverse=True)
            increasing.append(unique)
            restore.append(back)
            changed = True
    return tuple(increasing), restore if changed else None


def _taken(block: Compressed, axis: int, positions: Array) -> Compressed:
    """Some rows or columns of a block, in any order."""
    if len(positions) == block.shape[axis] and bool((positions == numpy.arange(len(positions))).all()):
        return block
    along_compressed = axis == (1 if block.by_column else 0)
    matrix = block.positions()
    moved = matrix[positions, :] if along_compressed else matrix[:, positions]
    shape = list(block.shape)
    shape[axis] = len(positions)
    canonical = block.canonical and (along_compressed or bool((positions[1:] > positions[:-1]).all()))
    return block.moved(moved.tocsr(), block.by_column, (shape[0], shape[1]), canonical)


def _joined(blocks: Sequence[Compressed], along: int) -> Compressed:
    """Blocks one behind the other, along an axis, all compressed along the same one."""
    by_column = blocks[0].by_column
    matrices, before = [], 0
    for block in blocks:
        matrix = block.positions().astype(numpy.int64)
        matrix.data += before
        before += len(block.values)
        matrices.append(matrix)
    stack = scipy.sparse.vstack if along == (1 if by_column else 0) else scipy.sparse.hstack
    joined = stack(matrices, format="csr")
    shape = list(blocks[0].shape)
    shape[along] = sum(block.shape[along] for block in blocks)
    values = numpy.concatenate([block.values for block in blocks])[joined.data]
    index_dtype = joined.indices.dtype
    canonical = all(block.canonical for block in blocks)
    return Compressed(
        joined.indptr.astype(index_dtype), joined.indices, values, by_column, (shape[0], shape[1]), canonical
    )


_NODES |= {
    numpy.ndarray: MemoryLeaf,
    Subset: lambda tree: SubsetNode(_compiled(tree.seed), tree.subset),
    Transpose: lambda tree: TransposeNode(_compiled(tree.seed), tree.perm),
    Cast: lambda tree: CastNode(_compiled(tree.seed), tree.dtype),
    Round: lambda tree: UnaryNode(_compiled(tree.seed), _rounding(tree.decimals)),
    UnaryIsometricOpSimple: lambda tree: UnaryNode(_compiled(tree.seed), getattr(numpy, tree.operation)),
    UnaryIsometricOpWithArgs: _with_argument,
    BinaryIsometricOp: lambda tree: BinaryNode(_compiled(tree.left), _compiled(tree.right), tree.operation),
    Elementwise: _elementwise,
    Combine: lambda tree: CombineNode([_compiled(seed) for seed in tree.seeds], tree.along, tree.dtype),
}
