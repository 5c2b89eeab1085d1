"""Indexing of arrays in files, as numpy indexes arrays in memory.

What keeps all dimensions, and takes each axis by itself, is delayed, as in delayedarray: slices, one index array or
mask among slices, what :py:func:`numpy.ix_` makes. All else is read.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy
import numpy.typing
from delayedarray import DelayedArray, Subset

from . import evaluate
from .tree import compiled, composed

Array = numpy.typing.NDArray[Any]

BLOCK_BYTES = 64 << 20
"""Bytes of rows that an iteration reads at once, unless a single row has more."""

_BLOCK_ELEMENTS = 1 << 23
"""Maximum number of elements of the block that is read to look single ones up."""

_WASTE = 4
"""Maximum size of a block in which single elements are looked up, in these elements, where that is more."""


class _Flag(NamedTuple):
    """``True`` or ``False`` as an index: a mask without axes."""

    value: bool


def _item(key: Any, before: int, shape: Sequence[int]) -> list[Any]:
    """One of the items between the brackets, as what it means for the axes from `before` on."""
    if key is None or key is Ellipsis or isinstance(key, slice):
        return [key]
    if isinstance(key, bool | numpy.bool_):
        return [_Flag(bool(key))]
    if not isinstance(key, numpy.ndarray):
        try:
            return [operator.index(key)]
        except TypeError:
            pass
    indices = numpy.asarray(key)
    if indices.size == 0 and not isinstance(key, numpy.ndarray | DelayedArray) and indices.ndim:
        indices = indices.astype(numpy.intp)
    if indices.dtype == bool:
        if indices.ndim == 0:
            return [_Flag(bool(indices))]
        for axis, length in enumerate(indices.shape, before):
            if axis < len(shape) and length != shape[axis]:
                raise IndexError(
                    f"boolean index did not match indexed array along axis {axis}; size of axis is {shape[axis]}"
                    f" but size of corresponding boolean axis is {length}"
                )
        return list(indices.nonzero())
    if indices.dtype.kind not in "iu":
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays are"
            " valid indices"
        )
    return [int(indices)] if indices.ndim == 0 else [indices]


def _axes_of(key: Any) -> int:
    """How many axes an item takes."""
    if key is None or isinstance(key, bool | numpy.bool_):
        return 0
    if isinstance(key, numpy.ndarray | DelayedArray) and key.dtype == numpy.dtype(bool):
        return len(key.shape)
    if isinstance(key, slice | numpy.ndarray | DelayedArray) or hasattr(key, "__index__"):
        return 1
    array = numpy.asarray(key)
    return array.ndim if array.dtype == bool and array.size else 1


def _within(index: int, extent: int, axis: int) -> int:
    if not -extent <= index < extent:
        raise IndexError(f"index {index} is out of bounds for axis {axis} with size {extent}")
    return index + extent if index < 0 else index


def _within_all(indices: Array, extent: int, axis: int) -> Array:
    if indices.size == 0:
        return indices.astype(numpy.intp)
    _within(int(indices.min()), extent, axis)
    _within(int(indices.max()), extent, axis)
    indices = indices.astype(numpy.intp)
    return numpy.where(indices < 0, indices + extent, indices)


def parse(key: Any, shape: Sequence[int]) -> list[Any]:
    """What is between the brackets, item by item, for all axes.

    Args:
        key: As ``__getitem__`` gets it.
        shape: That of the array.

    Returns:
        For each axis a range, an index or an array of indices, none of them negative, with None for new axes between,
        and an ellipsis that stands for no axis where there is one.

    Raises:
        IndexError: As numpy raises it.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    ellipses = [position for position, item in enumerate(keys) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    taken = sum(_axes_of(item) for item in keys if item is not Ellipsis)
    if taken > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but {taken} were indexed")
    position = ellipses[0] if ellipses else len(keys)
    # An ellipsis that stands for no axis still separates the arrays beside it.
    rest = [slice(None)] * (len(shape) - taken)
    keys[position : position + len(ellipses)] = rest if rest or not ellipses else [Ellipsis]
    items: list[Any] = []
    axis = 0
    for item in keys:
        for part in _item(item, axis, shape):
            if part is None or part is Ellipsis or isinstance(part, _Flag):
                items.append(part)
                continue
            extent = shape[axis]
            if isinstance(part, slice):
                items.append(range(*part.indices(extent)))
            elif isinstance(part, int):
                items.append(_within(part, extent, axis))
            else:
                items.append(_within_all(part, extent, axis))
            axis += 1
    return items


def delayable(items: Sequence[Any], shape: Sequence[int]) -> list[Any] | None:
    """What each axis keeps, if that says all; None if what is asked for has to be read."""
    items = [item for item in items if item is not Ellipsis]
    if len(items) != len(shape) or not all(isinstance(item, range | numpy.ndarray) for item in items):
        return None
    arrays = [item for item in items if isinstance(item, numpy.ndarray)]
    if len(arrays) <= 1 and all(array.ndim == 1 for array in arrays):
        return list(items)
    crossed = len(arrays) == len(shape) and all(
        array.ndim == len(shape) and all(length == 1 for other, length in enumerate(array.shape) if other != axis)
        for axis, array in enumerate(arrays)
    )
    return [array.reshape(-1) for array in arrays] if crossed else None


def delayed(seed: Any, subset: Sequence[Any]) -> Any:
    """The subset as a seed. Subsets of subsets are made one."""
    if type(seed) is not Subset:
        return Subset(seed, tuple(subset))
    below = seed.seed
    joined = tuple(composed(outer, inner) for outer, inner in zip(seed.subset, subset, strict=True))
    if all(isinstance(kept, range) and kept == range(n) for kept, n in zip(joined, below.shape, strict=True)):
        return below
    return Subset(below, joined)


class Source:
    """What is read for an index: an array's values, of the type that it states."""

    def __init__(self, array: Any) -> None:
        self._node = compiled(array)
        self.shape = self._node.shape
        self.dtype = numpy.dtype(array.dtype)

    def read(self, subset: Sequence[Any]) -> Array:
        """Read positions of each axis."""
        return evaluate.dense(self._node, subset, self.dtype)

    def points(self, indices: Mapping[int, Array], subset: Sequence[Any]) -> Array | None:
        """Read points, if nothing else has to be read for them; see ``evaluate.points``."""
        return evaluate.points(self._node, indices, subset, self.dtype)

    def empty(self, shape: tuple[int, ...]) -> Array:
        """A new array for what is read, masked if that is."""
        return (numpy.ma.empty if self._node.masked else numpy.empty)(shape, self.dtype)

    def ends(self) -> Array:
        """Where chunks end along the first axis."""
        return self._node.ticks()[0]


def _forward(positions: range) -> tuple[range, slice]:
    """A range upwards, and how to get from what it gives to what was asked for."""
    if positions.step > 0:
        return positions, slice(None)
    return positions[::-1], slice(None, None, -1)


def read(source: Source, items: Sequence[Any]) -> Any:
    """Read what numpy would return for these items.

    Args:
        source: The array.
        items: What :py:func:`parse` returned.

    Returns:
        A new array, or a scalar.

    Raises:
        IndexError: If arrays of indices cannot be broadcast to one shape.
        MemoryError: If it is more than memory can hold.
    """
    arrays = [item for item in items if isinstance(item, numpy.ndarray)]
    arrays += [numpy.zeros(int(item.value), numpy.intp) for item in items if isinstance(item, _Flag)]
    if arrays:
        return _Points(source, items, arrays).read()
    subset: list[Any] = []
    back: list[Any] = []
    for item in items:
        if item is Ellipsis:
            continue
        if item is None:
            back.append(None)
        elif isinstance(item, range):
            forward, order = _forward(item)
            subset.append(forward)
            back.append(order)
        else:
            subset.append(range(item, item + 1))
            back.append(0)
    return source.read(subset)[tuple(back)]


class _Points:
    """A selection by arrays of indices, which are broadcast to one shape: a list of points, along some of the axes."""

    def __init__(self, source: Source, items: Sequence[Any], arrays: Sequence[Array]) -> None:
        self._source = source
        try:
            self._shape = numpy.broadcast_shapes(*(array.shape for array in arrays))
        except ValueError:
            shapes = " ".join(str(array.shape) for array in arrays)
            raise IndexError(
                f"shape mismatch: indexing arrays could not be broadcast together with shapes {shapes};"
                " numpy.ix_ takes each axis by itself"
            ) from None
        self._items = items
        self._count = math.prod(self._shape)
        self._subset: list[Any] = []
        self._rest: list[Any] = []
        self._along: list[int] = []
        self._points: list[Array] = []
        for item in items:
            if item is Ellipsis:
                continue
            if item is None:
                self._rest.append(None)
            elif isinstance(item, range):
                forward, order = _forward(item)
                self._subset.append(forward)
                self._rest.append(order)
            elif not isinstance(item, _Flag):
                self._along.append(len(self._subset))
                self._subset.append(range(0))
                self._points.append(numpy.broadcast_to(item, self._shape).reshape(-1))
        self._inner = tuple(len(axis) for place, axis in enumerate(self._subset) if place not in self._along)

    def read(self) -> Array:
        out = self._source.empty((self._count, *self._inner))
        if out.size and not self._points:
            out[...] = self._source.read(self._subset)
        elif out.size:
            found = self._source.points(dict(zip(self._along, self._points, strict=True)), self._subset)
            if found is None:
                self._gather(out, numpy.lexsort(self._points[::-1]))
            else:
                out = found
        out = out[(slice(None), *self._rest)]
        result = out.reshape(self._shape + out.shape[1:])
        place, ndim = self._place(), len(self._shape)
        moved: Array = numpy.moveaxis(result, range(ndim), range(place, place + ndim))
        return moved

    def _gather(self, out: Array, chosen: Array) -> None:
        """Look up the points, which are in order, in blocks that are not too large for those in them."""
        inner = math.prod(self._inner)
        likely = len(chosen)
        while len(chosen):
            part = chosen[:likely]
            while True:
                axes = [numpy.unique(points[part], return_inverse=True) for points in self._points]
                elements = math.prod(len(unique) for unique, _ in axes) * inner
                if len(part) == 1 or elements <= max(_BLOCK_ELEMENTS, _WASTE * len(part) * inner):
                    break
                part = part[: len(part) // 2]
            subset = list(self._subset)
            index: list[Any] = [slice(None)] * len(subset)
            for place, (unique, inverse) in zip(self._along, axes, strict=True):
                subset[place] = unique
                index[place] = inverse.reshape(-1)
            block = numpy.moveaxis(self._source.read(subset), self._along, range(len(self._along)))
            out[part] = block[tuple(index[place] for place in self._along)]
            chosen = chosen[len(part) :]
            likely = 2 * len(part)

    def _place(self) -> int:
        """Where numpy puts the axes of the points: in the place of the first, or before all others."""
        ndim = len(self._subset)
        pair = numpy.zeros(2, numpy.intp)
        key = [
            item if item is None or item is Ellipsis else slice(None) if isinstance(item, range) else pair
            for item in self._items
        ]
        flags = sum(isinstance(item, _Flag) for item in self._items)
        # What has two elements along an axis where all others have one.
        return numpy.empty((1,) * (ndim + flags), bool)[tuple(key)].shape.index(2)


def blocks(source: Source) -> Iterator[Array]:
    """An array block by block along the first axis, each of whole chunks as far as :py:data:`BLOCK_BYTES` allows.

    Args:
        source: The array, of one dimension or more.

    Yields:
        Arrays with all the other axes.
    """
    _, *rest = (int(length) for length in source.shape)
    row_bytes = max(1, source.dtype.itemsize * math.prod(rest))
    most = max(1, BLOCK_BYTES // row_bytes)
    others = tuple(range(length) for length in rest)
    begin = 0
    for end in _ends(source.ends(), most):
        yield source.read((range(begin, end), *others))
        begin = end


def _ends(ends: Array, most: int) -> Iterator[int]:
    """Find where blocks of a maximum number of rows end: where chunks do, if these are not too large."""
    begin = last = 0
    for boundary in map(int, ends):
        if boundary - begin > most and last > begin:
            yield last
            begin = last
        while boundary - begin > most:
            begin += most
            yield begin
        last = boundary
    if last > begin:
        yield last


def rows(source: Source) -> Iterator[Any]:
    """What numpy gives for each index of the first axis; each a copy, that does not keep its block."""
    for block in blocks(source):
        if block.ndim == 1:
            yield from block
        else:
            for row in block:
                yield row.copy()
