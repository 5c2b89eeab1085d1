"""From the subsets of delayedarray's generics to the selections of the engine."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy
import numpy.typing

Subset: TypeAlias = Any
"""What is wanted of one axis: a ``range``, ``slice``, list, tuple or integer array."""

Axis: TypeAlias = "tuple[int, int, int] | numpy.typing.NDArray[numpy.uint64]"
"""One axis for the engine: ``(start, length, step)``, or strictly increasing indices."""


class Selection(NamedTuple):
    """A subset as the engine takes it, and how to get from its answer to what was asked for."""

    axes: tuple[Axis, ...]
    lengths: tuple[int, ...]
    """Extents of the engine's answer."""
    restore: "tuple[numpy.typing.NDArray[numpy.intp], ...] | None"
    """For each axis the positions in the engine's answer; None if that is the answer already."""


def select(subset: Sequence[Subset], shape: Sequence[int]) -> Selection:
    """Translate a subset.

    The engine reads each index once and in order. What delayedarray promises is such a subset already; indices in
    another order, or more than once, are put right afterwards.

    Args:
        subset: For each axis, what to take.
        shape: Extent of each axis.

    Returns:
        The selection.

    Raises:
        ValueError: If the number of axes differs.
        IndexError: If an index is too large, or negative unless it stands alone: then it counts from the end.
        TypeError: If a subset is not of integers.
    """
    if len(subset) != len(shape):
        raise ValueError(f"a subset of {len(subset)} axes for an array of {len(shape)} dimensions")
    axes: list[Axis] = []
    lengths: list[int] = []
    restores: list[numpy.typing.NDArray[numpy.intp] | None] = []
    for number, (indices, extent) in enumerate(zip(subset, shape, strict=True)):
        axis, length, restore = _select_axis(indices, int(extent), number)
        axes.append(axis)
        lengths.append(length)
        restores.append(restore)
    if all(restore is None for restore in restores):
        return Selection(tuple(axes), tuple(lengths), None)
    return Selection(
        tuple(axes),
        tuple(lengths),
        tuple(
            numpy.arange(length) if restore is None else restore
            for restore, length in zip(restores, lengths, strict=True)
        ),
    )


def positions(subset: Sequence[Subset], shape: Sequence[int]) -> "list[range | numpy.typing.NDArray[numpy.intp]]":
    """Translate a subset to positions that are known to be within an array.

    Args:
        subset: For each axis, what to take.
        shape: Extent of each axis.

    Returns:
        For each axis a range, or an array of indices in the order given.

    Raises:
        ValueError, IndexError, TypeError: As :py:func:`select`.
    """
    if len(subset) != len(shape):
        raise ValueError(f"a subset of {len(subset)} axes for an array of {len(shape)} dimensions")
    found: list[range | numpy.typing.NDArray[numpy.intp]] = []
    for number, (indices, extent) in enumerate(zip(subset, shape, strict=True)):
        axis, length, restore = _select_axis(indices, int(extent), number)
        if isinstance(indices, slice):
            found.append(range(*indices.indices(int(extent))))
        elif isinstance(indices, range):
            found.append(indices)
        elif isinstance(axis, tuple):
            found.append(range(axis[0], axis[0] + length))
        else:
            found.append((axis if restore is None else axis[restore]).astype(numpy.intp))
    return found


def _select_axis(
    indices: Subset, extent: int, number: int
) -> "tuple[Axis, int, numpy.typing.NDArray[numpy.intp] | None]":
    if isinstance(indices, slice):
        indices = range(*indices.indices(extent))
    if isinstance(indices, range):
        length = len(indices)
        if length == 0:
            return (0, 0, 1), 0, None
        _check(min(indices[0], indices[-1]), max(indices[0], indices[-1]), extent, number)
        if indices.step < 0:
            return (indices[-1], length, -indices.step), length, numpy.arange(length)[::-1]
        return (indices.start, length, indices.step), length, None
    if len(indices) == 1 and (type(indices[0]) is int or isinstance(indices[0], numpy.integer)):
        # By far the most frequent of small reads, which arrays would make twice as slow.
        index = int(indices[0])
        if -extent <= index < 0:
            # delayedarray hands `x[-1]` down like this, and numpy's and h5py's users expect the last element.
            index += extent
        _check(index, index, extent, number)
        return (index, 1, 1), 1, None
    array = numpy.asarray(indices)
    if array.ndim != 1:
        raise TypeError(f"the subset of axis {number} should be one-dimensional, not of shape {array.shape}")
    length = len(array)
    if length == 0:
        return (0, 0, 1), 0, None
    if array.dtype == object and all(isinstance(index, int) for index in indices):
        # Too large for any integer type.
        _check(min(indices), max(indices), extent, number)
    if array.dtype.kind not in "iu":
        raise TypeError(f"the subset of axis {number} should contain integers, not {array.dtype}")
    if bool((array[1:] > array[:-1]).all()):
        _check(int(array[0]), int(array[-1]), extent, number)
        return array.astype(numpy.uint64), length, None
    _check(int(array.min()), int(array.max()), extent, number)
    wide = array.astype(numpy.uint64)
    unique, restore = numpy.unique(wide, return_inverse=True)
    return unique, len(unique), restore


def _check(low: int, high: int, extent: int, number: int) -> None:
    outside = low if low < 0 else high
    if not 0 <= outside < extent:
        raise IndexError(f"index {outside} is out of bounds for axis {number} with extent {extent}")
