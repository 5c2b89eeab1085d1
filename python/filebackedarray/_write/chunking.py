"""How large chunks are: the rule, in ``docs/layouts.md``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["CHUNK_ELEMENTS", "Access", "Chunks", "chunk_shape"]

Access: TypeAlias = "Literal['rows', 'columns'] | None"
"""Along what an array will be read."""

Chunks: TypeAlias = "Sequence[int] | Literal['R'] | None"
"""What users say: lengths along the array's axes, R's rule, or this package's."""

CHUNK_BYTES = 1 << 20
"""About the bytes of a chunk of a dense array, decoded."""

CHUNK_ELEMENTS = 1 << 17
"""Elements of a chunk of the datasets of a sparse matrix."""

_R_ELEMENTS = 1_000_000
"""Maximum number of elements of a chunk by R's rule (``getHDF5DumpChunkLength`` of HDF5Array)."""


def chunk_shape(shape: Sequence[int], itemsize: int, chunks: Chunks = None, access: Access = None) -> tuple[int, ...]:
    """Choose the shape of chunks.

    Args:
        shape: Extents of the array; one axis at least.
        itemsize: Bytes of an element.
        chunks: What the user says.
        access: "rows" for chunks of whole rows (along all axes but the first), "columns" for whole columns (along all
            axes but the second).

    Returns:
        A length for each axis, 1 at least. About 1 MiB, in the proportions of the array if ``access`` is None.

    Raises:
        ValueError: If what the user says cannot be.
    """
    if chunks is not None and not isinstance(chunks, str):
        given = tuple(int(length) for length in chunks)
        if len(given) != len(shape) or any(length < 1 for length in given):
            raise ValueError(f"chunks of shape {given} for an array of shape {tuple(shape)}")
        return tuple(min(length, max(extent, 1)) for length, extent in zip(given, shape, strict=True))
    if chunks not in (None, "R"):
        raise ValueError(f"'chunks' should be a length for each axis or 'R', not {chunks!r}")
    if access not in (None, "rows", "columns"):
        raise ValueError(f"'access' should be 'rows' or 'columns', not {access!r}")
    size = _R_ELEMENTS if chunks == "R" else max(1, CHUNK_BYTES // itemsize)
    if access is None:
        return _scaled(shape, size)
    thin = 0 if access == "rows" or len(shape) == 1 else 1
    others = [axis for axis in range(len(shape)) if axis != thin]
    lengths = [1] * len(shape)
    for axis, length in zip(others, _scaled([shape[axis] for axis in others], size), strict=True):
        lengths[axis] = length
    lengths[thin] = min(max(1, size // math.prod(lengths)), max(1, shape[thin]))
    return tuple(lengths)


def _scaled(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """The shape of an array made smaller along all axes by one factor, to this many elements at most."""
    lengths = [max(1, extent) for extent in shape]
    free = [axis for axis, length in enumerate(lengths) if length > 1]
    while free and math.prod(lengths) > size:
        room = size / math.prod(lengths[axis] for axis in range(len(lengths)) if axis not in free)
        factor = (room / math.prod(shape[axis] for axis in free)) ** (1 / len(free))
        scaled = {axis: int(shape[axis] * factor) for axis in free}
        thin = [axis for axis in free if scaled[axis] < 1]
        for axis in thin or free:
            lengths[axis] = max(1, scaled[axis])
        free = [axis for axis in free if axis not in thin] if thin else []
    return tuple(lengths)
