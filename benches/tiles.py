"""Makes large datasets out of small ones, by repeating their chunks as they are, compressed.

What takes hours to compress takes seconds to copy, and a reader cannot tell the difference.
"""

from __future__ import annotations

import h5py


def tile(source: h5py.Dataset, target: h5py.Group, name: str, tiles: int) -> h5py.Dataset:
    """Write a dataset that is another one several times, one below the other.

    Args:
        source: A chunked dataset whose chunks fill its first axis exactly.
        target: Where the new dataset goes.
        name: Its name.
        tiles: How many times the source is in it.

    Returns:
        The new dataset.

    Raises:
        ValueError: The source has no chunks, or they reach over its end.
    """
    if source.chunks is None or source.shape[0] % source.chunks[0]:
        raise ValueError(f"the chunks of {source.name} do not fill its first axis")
    height, *rest = source.shape
    # A plain extent, or one without an end, where the source has none: with other kinds of chunk index.
    most = None if source.maxshape[0] is not None else (h5py.h5s.UNLIMITED, *rest)
    space = h5py.h5s.create_simple((height * tiles, *rest), most)
    properties = source.id.get_create_plist()
    created = h5py.h5d.create(target.id, name.encode(), source.id.get_type(), space, properties)
    chunks = []
    for number in range(source.id.get_num_chunks()):
        offset = source.id.get_chunk_info(number).chunk_offset
        chunks.append((offset, *source.id.read_direct_chunk(offset)))
    for copy in range(tiles):
        for (first, *others), mask, stored in chunks:
            created.write_direct_chunk((first + copy * height, *others), stored, mask)
    return h5py.Dataset(created)
