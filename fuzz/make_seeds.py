"""Write what fuzzing starts from: small sound files and encoded chunks.

Whole files go to rust/tests/data/seeds, where `fuzzing::files` includes them; chunks to fuzz/corpus, one folder a
target. Run with h5py and hdf5plugin installed: python fuzz/make_seeds.py
"""

import hashlib
import struct
from pathlib import Path

import h5py
import hdf5plugin
import numpy

HERE = Path(__file__).parent
SEEDS = HERE.parent / "rust/tests/data/seeds"
CORPUS = HERE / "corpus"

VALUES = (numpy.arange(60) // 3).reshape(10, 6).astype("<i4")
WORDS = ["", "a", "words", "of", "length", "that differs", "é"]


def matrix(file: h5py.File, **options: object) -> None:
    """Add a compressed sparse matrix of 6 columns and 8 rows."""
    pointers = numpy.array([0, 3, 3, 7, 12, 12, 15], "<u8")
    indices = numpy.array([0, 3, 7, 1, 2, 5, 6, 0, 1, 4, 6, 7, 2, 3, 4], "<i8")
    file.create_dataset("matrix/indptr", data=pointers, chunks=(4,), **options)
    file.create_dataset("matrix/indices", data=indices, chunks=(4,), **options)
    file.create_dataset("matrix/data", data=numpy.arange(1, 16, dtype="<i4"), chunks=(4,), **options)


def open_seed(name: str, libver: str | tuple[str, str], **options: object) -> h5py.File:
    """Make a new file of this name."""
    # Neither the attributes' nor the groups' own structures need room for more.
    return h5py.File(SEEDS / f"{name}.h5", "w", libver=libver, **options)


def files() -> None:
    """Write the whole files: all versions of the superblock, all chunk indexes, all layouts."""
    SEEDS.mkdir(exist_ok=True)
    with open_seed("earliest", "earliest") as file:
        file.create_dataset("tree", data=VALUES, chunks=(4, 5), compression="gzip", shuffle=True)
        file.create_dataset("contiguous", data=VALUES)
    with open_seed("userblock", ("v108", "v108"), userblock_size=512) as file:
        file.create_dataset("tree", data=VALUES, chunks=(4, 5), fletcher32=True)
        file.create_dataset("contiguous", data=VALUES)
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((10, 6))
        made = h5py.h5d.create(file.id, b"compact", h5py.h5t.STD_I32LE, space, compact)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, VALUES)
    with open_seed("indexes", "latest") as file:
        file.create_dataset("single", data=VALUES, chunks=(10, 6), compression="gzip")
        file.create_dataset("fixed", data=VALUES, chunks=(4, 5), compression="gzip")
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_chunk((4, 5))
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple((10, 6))
        made = h5py.h5d.create(file.id, b"implicit", h5py.h5t.STD_I32LE, space, early)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, VALUES)
        file.create_dataset("fill", (10, 6), "<i4", chunks=(4, 5), fillvalue=-7)
    with open_seed("growing", "latest") as file:
        file.create_dataset("extensible", data=VALUES, chunks=(2, 5), maxshape=(10, None), compression="lzf")
        file.create_dataset("tree2", data=VALUES, chunks=(4, 5), maxshape=(None, None), shuffle=True)
    with open_seed("paged", "latest") as file:
        # More chunks than a page of a fixed array, or than the first blocks of an extensible one, has room for.
        file.create_dataset("fixed", data=numpy.arange(1100, dtype="|u1"), chunks=(1,))
    with open_seed("extended", "latest") as file:
        file.create_dataset("extensible", data=numpy.arange(90, dtype="|u1"), chunks=(1,), maxshape=(None,))
    for libver in ("earliest", "latest"):
        with open_seed(f"strings-{libver}", libver) as file:
            file.create_dataset("variable", data=WORDS, dtype=h5py.string_dtype(), chunks=(4,))
            file.create_dataset("fixed", data=numpy.array(WORDS[:6], "S7"))
        with open_seed(f"matrix-{libver}", libver) as file:
            options = {"compression": "gzip", "shuffle": True} if libver == "latest" else {}
            matrix(file, **options)
    with open_seed("filters", "latest") as file:
        for name, options in FILTERS.items():
            file.create_dataset(name, data=VALUES, chunks=(10, 6), **options)
    with open_seed("library", "latest") as file:
        file.create_dataset("scaled", data=VALUES, chunks=(4, 5), scaleoffset=0)
        bits = h5py.h5t.STD_I32LE.copy()
        bits.set_precision(12)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 5))
        plist.set_filter(h5py.h5z.FILTER_NBIT)
        space = h5py.h5s.create_simple((10, 6))
        h5py.h5d.create(file.id, b"bits", bits, space, plist).write(h5py.h5s.ALL, h5py.h5s.ALL, VALUES)
        layout = h5py.VirtualLayout((10, 6), "<i4")
        layout[:5] = h5py.VirtualSource(".", "scaled", (10, 6))[5:]
        file.create_virtual_dataset("virtual", layout, fillvalue=9)


FILTERS: dict[str, dict] = {
    "zstd": dict(hdf5plugin.Zstd()),
    "lz4": dict(hdf5plugin.LZ4()),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "bzip2": dict(hdf5plugin.BZip2(1)),
    "blosc": dict(hdf5plugin.Blosc(cname="lz4")),
    "blosc2": dict(hdf5plugin.Blosc2(cname="zstd")),
    "szip": {"compression": "szip", "compression_opts": ("nn", 8)},
}


def encoded(values: numpy.ndarray, **options: object) -> tuple[bytes, tuple[int, ...]]:
    """Return the only chunk of a dataset, and the filter's parameters."""
    with h5py.File("seed", "w", driver="core", backing_store=False) as file:
        made = file.create_dataset("d", data=values, chunks=values.shape, **options)
        _, chunk = made.id.read_direct_chunk((0,) * values.ndim)
        return chunk, made.id.get_create_plist().get_filter(0)[2]


def chunks() -> None:
    """Write chunks that are encoded in all the ways that the decoders tell apart."""

    def save(target: str, data: bytes) -> None:
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)

    noise = numpy.random.default_rng(1).integers(0, 255, 300).astype("|u1")
    samples = [
        VALUES,
        numpy.zeros((7, 40), "<u2"),
        numpy.arange(1000, dtype="<f8"),
        noise,
        (numpy.arange(1200) ** 2 // 9).reshape(20, 3, 20).astype("<i8"),
        numpy.arange(6000, dtype="<u2") // 7,
    ]
    plain = {
        "deflate": [{"compression": "gzip", "compression_opts": level} for level in (1, 9)],
        "lzf": [{"compression": "lzf"}],
        "fletcher32": [{"fletcher32": True}],
        "zstd": [dict(hdf5plugin.Zstd(clevel=level)) for level in (1, 19)],
        "lz4": [dict(hdf5plugin.LZ4(nbytes=size)) for size in (0, 128)],
        "bzip2": [dict(hdf5plugin.BZip2(1))],
        "blosc": [
            dict(hdf5plugin.Blosc(cname=codec, shuffle=shuffle, clevel=level))
            for codec in ("blosclz", "lz4", "lz4hc", "zlib", "zstd", "snappy")
            for shuffle in (0, 1, 2)
            for level in (5,)
            if codec != "snappy" or shuffle == 1
        ],
        "blosc2": [
            dict(hdf5plugin.Blosc2(cname=codec, filters=shuffle))
            for codec in ("blosclz", "lz4", "zlib", "zstd")
            for shuffle in (0, 1, 2, 4)
        ],
    }
    for target, ways in plain.items():
        for options in ways:
            for values in samples:
                try:
                    chunk, _ = encoded(values, **options)
                except ValueError:
                    continue
                save(target, struct.pack("<H", values.nbytes) + chunk)
    for values in samples:
        for codec, number in ((None, 0), ("lz4", 1), ("zstd", 2)):
            options = {"cname": codec or "none", "nelems": 0 if values.size > 500 else 16}
            chunk, _ = encoded(values, **hdf5plugin.Bitshuffle(**options))
            block = options["nelems"] // 8
            save("bitshuffle", struct.pack("<BHBH", values.itemsize, block, number, values.nbytes) + chunk)
        for kind in ("nn", "ec"):
            for block in (8, 32):
                if values.size < block:
                    continue
                chunk, (options, block, bits, scanline) = encoded(
                    values, compression="szip", compression_opts=(kind, block)
                )
                save("szip", struct.pack("<BBBHH", options, block, bits, scanline, values.nbytes) + chunk)
        save("shuffle", struct.pack("<I", values.itemsize) + values.tobytes()[:500])
        for codec in range(17):
            save("roundtrip", bytes([codec, values.itemsize, 5]) + values.tobytes()[:900])
    for files in SEEDS.glob("*.h5"):
        content = files.read_bytes()
        at = content.find(b"GCOL")
        if at >= 0:
            (size,) = struct.unpack_from("<Q", content, at + 8)
            save("heap", struct.pack("<IQI", 5, at, 2) + content[at : at + size])


if __name__ == "__main__":
    files()
    chunks()
