"""Dense datasets that are full of zeros, as sparse arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy
import numpy.typing
from delayedarray import SparseNdarray

from .._engine.selection import Subset

Array = numpy.typing.NDArray[Any]

_SLAB = 64 << 20
"""Bytes of zeros and other values that are in memory at a time, unless a chunk takes more."""


def nonzeros(
    read: Callable[[Sequence[Subset]], Array],
    subset: Sequence[Subset],
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: numpy.dtype[Any],
    is_masked: bool,
) -> SparseNdarray:
    """Read what is not zero of a dense array, by slabs along the last axis, of which only the values are kept.

    Args:
        read: Gives a dense part, masked or not.
        subset: For each dimension a range, slice, sequence or integer array of indices.
        shape: Extents of the whole.
        chunks: Shape of its chunks, none of which is read for two slabs.
        dtype: Of the values.
        is_masked: Whether values may be masked. Those that are, are not zero.

    Returns:
        The elements, in vectors along the first axis.
    """
    positions = [_positions(indices, extent) for indices, extent in zip(subset, shape, strict=True)]
    lengths = tuple(map(len, positions))
    index_dtype = numpy.dtype(numpy.int32 if lengths[0] <= numpy.iinfo(numpy.int32).max else numpy.int64)
    contents: Any = None
    if 0 not in lengths:
        room = max(1, _SLAB // max(1, math.prod(lengths[:-1]) * dtype.itemsize))
        parts = [
            (start, _vectors(read((*positions[:-1], slab)), index_dtype, is_masked))
            for start, slab in _slabs(positions[-1], chunks[-1], room)
        ]
        contents = _joined_vector(parts) if len(lengths) == 1 else _joined(parts)
    return SparseNdarray(
        shape=lengths, contents=contents, dtype=dtype, index_dtype=index_dtype, is_masked=is_masked, check=False
    )


def _positions(indices: Subset, extent: int) -> Array | range:
    if isinstance(indices, slice):
        return range(*indices.indices(extent))
    return indices if isinstance(indices, range) else numpy.asarray(indices)


def _slabs(positions: Array | range, chunk: int, room: int) -> Iterator[tuple[int, Array | range]]:
    """Parts of the positions, and where they start: no longer than there is room for, ending where a chunk does."""
    chunk_of = numpy.asarray(positions) // max(chunk, 1)
    ends = numpy.append(numpy.flatnonzero(chunk_of[1:] != chunk_of[:-1]) + 1, len(positions))
    start = 0
    while start < len(positions):
        # The last end that there is room for, or else the next.
        fitting = ends[ends <= start + room]
        end = int(fitting[-1]) if len(fitting) and fitting[-1] > start else int(ends[ends > start][0])
        yield start, positions[start:end]
        start = end


def _vectors(block: Array, index_dtype: numpy.dtype[Any], is_masked: bool) -> Any:
    """The contents of a ``SparseNdarray``: for each axis from the last on a list, of vectors along the first."""
    values = numpy.ma.getdata(block).T
    rows = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    stored = rows != numpy.zeros((), rows.dtype)
    if is_masked:
        mask = numpy.ma.getmaskarray(block).T.reshape(rows.shape)
        stored |= mask
    row, column = numpy.nonzero(stored)
    found: Any = rows[row, column]
    if is_masked:
        found = numpy.ma.MaskedArray(found, mask[row, column])
    ends = numpy.searchsorted(row, numpy.arange(len(rows) + 1)).tolist()
    indices = column.astype(index_dtype)
    vectors: list[Any] = [(indices[a:b], found[a:b]) if b > a else None for a, b in pairwise(ends)]
    for extent in values.shape[1:-1][::-1]:
        vectors = [vectors[start : start + extent] for start in range(0, len(vectors), extent)]
        vectors = [None if all(vector is None for vector in group) else group for group in vectors]
    return vectors if values.ndim > 1 else vectors[0]


def _joined(parts: Sequence[tuple[int, Any]]) -> Any:
    """The contents of slabs one after the other; None if there is nothing in them."""
    whole = [content for _, part in parts for content in part]
    return None if all(content is None for content in whole) else whole


def _joined_vector(parts: Sequence[tuple[int, Any]]) -> Any:
    """The same of slabs of a vector."""
    stored = [(start, *part) for start, part in parts if part is not None]
    if not stored:
        return None
    indices = numpy.concatenate([indices + indices.dtype.type(start) for start, indices, _ in stored])
    values = [values for _, _, values in stored]
    masked = isinstance(values[0], numpy.ma.MaskedArray)
    return indices, (numpy.ma.concatenate if masked else numpy.concatenate)(values)
