"""Writing chunks byte for byte, past the encoders of h5py."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy

from strategies import make_dcpl

#: Offset of a chunk, its bytes as they shall stand in the file, and its filter mask.
RawChunk = tuple[tuple[int, ...], bytes, int]


def write_chunks(
    path: str | os.PathLike[str],
    filters: tuple[str, ...],
    dtype: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    raw: Sequence[RawChunk],
    *,
    name: str = "x",
    fill: int = 0,
    libver: str = "earliest",
) -> None:
    dcpl = make_dcpl(filters)
    dcpl.set_chunk(chunks)
    dcpl.set_fill_value(numpy.array(fill, dtype=dtype))
    with h5py.File(path, "a", libver=libver) as handle:
        create = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        create.set_create_intermediate_group(True)
        dataset = h5py.h5d.create(
            handle.id,
            name.encode(),
            h5py.h5t.py_create(numpy.dtype(dtype), logical=True),
            h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED,) * len(shape)),
            dcpl,
            lcpl=create,
        )
        for offset, content, mask in raw:
            dataset.write_direct_chunk(offset, content, mask)


def read_chunk(path: Path, offset: tuple[int, ...], name: str = "x") -> tuple[int, bytes]:
    """Filter mask and bytes of a chunk as they stand in the file."""
    with h5py.File(path, "r") as handle:
        return handle[name].id.read_direct_chunk(offset)


def chunk_place(path: Path, offset: tuple[int, ...], name: str = "x") -> tuple[int, int]:
    """Where a chunk's bytes stand in the file, and how many."""
    with h5py.File(path, "r") as handle:
        info = handle[name].id.get_chunk_info_by_coord(offset)
    return info.byte_offset, info.size


def shuffle(content: bytes, width: int) -> bytes:
    """HDF5's shuffle filter: all first bytes of the elements, all second bytes, and so on.

    What does not make up an element at the end stays as it is.
    """
    whole = len(content) // width * width
    planes = numpy.frombuffer(content[:whole], "u1").reshape(-1, width).T
    return planes.tobytes() + content[whole:]


def fletcher32(content: bytes) -> int:
    """HDF5's variant: big-endian 16-bit words, an odd last byte in the high half of its word."""
    first = second = 0
    padded = content + b"\0" if len(content) % 2 else content
    for word in numpy.frombuffer(padded, ">u2").tolist():
        first += word
        second += first
    # A sum is folded to 16 bits, which unlike a remainder never turns 65535 into 0.
    return _fold(second) << 16 | _fold(first)


def _fold(number: int) -> int:
    return (number - 1) % 65535 + 1 if number else 0


def with_checksum(content: bytes) -> bytes:
    return content + fletcher32(content).to_bytes(4, "little")
