"""Filters that hdf5plugin brings, and szip, on the direct path: each parameter, element size and odd length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy
import pytest
from delayedarray import to_dense_array

from chunks import chunk_place, read_chunk
from filebackedarray import Hdf5DenseArraySeed, limit_threads, set_num_threads
from helpers import (
    assert_direct,
    assert_identical,
    damaged_copies,
    error_naming,
    read_path,
    run_python,
    write_damaged,
)

Filter = Mapping[str, Any]


def blosc(cname: str, shuffle: int, clevel: int = 5) -> Filter:
    return hdf5plugin.Blosc(cname=cname, clevel=clevel, shuffle=shuffle)


FILTERS: dict[str, Filter] = {
    "zstd": hdf5plugin.Zstd(),
    "zstd-1": hdf5plugin.Zstd(clevel=1),
    "zstd-22": hdf5plugin.Zstd(clevel=22),
    "lz4": hdf5plugin.LZ4(),
    "lz4-blocks-of-100": hdf5plugin.LZ4(nbytes=100),
    "lz4-blocks-of-1024": hdf5plugin.LZ4(nbytes=1024),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle-blocks-of-8": hdf5plugin.Bitshuffle(nelems=8, cname="none"),
    "bitshuffle-lz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "bitshuffle-lz4-blocks-of-16": hdf5plugin.Bitshuffle(nelems=16, cname="lz4"),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "bitshuffle-zstd-blocks-of-24": hdf5plugin.Bitshuffle(nelems=24, cname="zstd", clevel=9),
    "bzip2": hdf5plugin.BZip2(),
    "bzip2-1": hdf5plugin.BZip2(blocksize=1),
    **{
        f"blosc-{cname}-{('plain', 'bytes', 'bits')[shuffle]}": blosc(cname, shuffle)
        for cname in ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
        for shuffle in (0, 1, 2)
    },
    **{
        f"blosc2-{cname}-{name}": hdf5plugin.Blosc2(cname=cname, filters=filters)
        for cname in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
        for name, filters in (("plain", 0), ("bytes", 1), ("bits", 2))
    },
    "blosc2-stored": hdf5plugin.Blosc2(clevel=0),
    **{
        f"szip-{method}-{block}": {"compression": "szip", "compression_opts": (method, block)}
        for method in ("nn", "ec")
        for block in (2, 8, 10, 32)
    },
    "blosc-blosclz-9": blosc("blosclz", 1, 9),
    "blosc-blosclz-1": blosc("blosclz", 0, 1),
    "blosc-stored": blosc("lz4", 1, 0),
}

DTYPES = ["|i1", "<i2", ">u2", "<f4", "<i8", ">f8"]

#: Of a chunk: nothing that a block or a vector is a multiple of, one element, one block and some, many blocks.
LENGTHS = [1, 7, 8, 129, 1000, 4099, 70_001]


def contents(dtype: str, length: int) -> dict[str, numpy.ndarray]:
    rng = numpy.random.default_rng(length)
    kind = numpy.dtype(dtype)
    walk = numpy.cumsum(rng.integers(-2, 3, length)) // 3
    return {
        "constant": numpy.full(length, 3, kind),
        "zeros": numpy.zeros(length, kind),
        "counts": (rng.poisson(0.4, length) % 100).astype(kind),
        "walk": (walk % 120).astype(kind),
        # All patterns but those of floats whose comparison would need care.
        "noise": rng.integers(0, 256, length * kind.itemsize, "u1").view(kind)
        if kind.kind != "f"
        else rng.standard_normal(length).astype(kind),
    }


def check(path: Path, values: numpy.ndarray) -> None:
    """Read directly, to what was written and to what h5py reads."""
    check_all(path, {"x": values})


def check_all(path: Path, datasets: dict[str, numpy.ndarray]) -> None:
    """The same of several datasets. In one file: each that is read at once after it is written takes some ms."""
    assert datasets
    for name, values in datasets.items():
        assert_direct(path, name)
        got = to_dense_array(Hdf5DenseArraySeed(path, name, native_order=True))
        assert_identical(got, values, bits=True)
    with h5py.File(path, "r") as handle:
        assert handle.keys() == datasets.keys()
        for name, values in datasets.items():
            assert_identical(handle[name][()], values, bits=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FILTERS)
def test_every_element_size_and_length(tmp_path: Path, name: str, dtype: str) -> None:
    path = tmp_path / "x.h5"
    datasets = {}
    with h5py.File(path, "w") as handle:
        for length in LENGTHS:
            if name.startswith("szip") and length < FILTERS[name]["compression_opts"][1]:
                continue  # libhdf5 does not take chunks that are shorter than a block
            for kind, values in contents(dtype, length).items():
                handle.create_dataset(f"{kind} {length}", data=values, chunks=(length,), **FILTERS[name])
                datasets[f"{kind} {length}"] = values
    check_all(path, datasets)


@pytest.mark.parametrize("dtype", ["|S3", "|S7", "|S12", "|S40", "|S300", "<c16"])
@pytest.mark.parametrize("name", [name for name in FILTERS if not name.startswith("szip")])
def test_elements_of_odd_sizes(tmp_path: Path, name: str, dtype: str) -> None:
    kind = numpy.dtype(dtype)
    path = tmp_path / "x.h5"
    datasets = {}
    with h5py.File(path, "w") as handle:
        for length in (1, 9, 137, 2003):
            numbers = contents("<i8", length)
            for dataset, values in (("walk", numbers["walk"]), ("counts", numbers["counts"] * 1_000_003)):
                datasets[f"{dataset} {length}"] = values.astype(kind)
                handle.create_dataset(
                    f"{dataset} {length}", data=values.astype(kind), chunks=(length,), **FILTERS[name]
                )
    for dataset, values in datasets.items():
        assert_direct(path, dataset)
        got = to_dense_array(Hdf5DenseArraySeed(path, dataset, native_order=True))
        assert_identical(got, values)


@pytest.mark.parametrize("before", ["shuffle", "fletcher32", "shuffle-fletcher32"])
@pytest.mark.parametrize("name", FILTERS)
def test_with_filters_of_hdf5(tmp_path: Path, name: str, before: str) -> None:
    path = tmp_path / "x.h5"
    datasets = {}
    with h5py.File(path, "w") as handle:
        for dtype in ("<i2", "<f8"):
            for kind, values in contents(dtype, 5003).items():
                datasets[f"{kind} {dtype}"] = values.reshape(-1, 1)
                handle.create_dataset(
                    f"{kind} {dtype}",
                    data=values.reshape(-1, 1),
                    chunks=(701, 1),
                    shuffle="shuffle" in before,
                    fletcher32="fletcher32" in before,
                    **FILTERS[name],
                )
    check_all(path, datasets)


@pytest.mark.parametrize(
    "shape", [(5, 6), (37, 1001), (1, 300), (7, 11, 13), (3, 1, 40, 70), (2, 3, 2, 3, 2, 3)], ids=str
)
@pytest.mark.parametrize("name", [name for name in FILTERS if not name.startswith("szip")])
def test_chunks_of_several_axes(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    # Blosc2 cuts these into tiles.
    path = tmp_path / "x.h5"
    datasets = {}
    with h5py.File(path, "w") as handle:
        for dtype in ("|u1", "<i4", "<f8"):
            for kind, values in contents(dtype, math.prod(shape)).items():
                datasets[f"{kind} {dtype}"] = values.reshape(shape)
                handle.create_dataset(f"{kind} {dtype}", data=values.reshape(shape), chunks=shape, **FILTERS[name])
    check_all(path, datasets)


# A checksum or a compressor makes the length odd for what comes after it; these take whole elements only.
ANY_LENGTH = [name for name in FILTERS if not name.startswith(("bitshuffle", "szip"))]


@pytest.mark.parametrize("order", ["first", "last", "twice"])
@pytest.mark.parametrize("name", ANY_LENGTH)
def test_a_checksum_before_and_two_compressors(tmp_path: Path, name: str, order: str) -> None:
    number, options = FILTERS[name]["compression"], tuple(FILTERS[name]["compression_opts"])
    values = contents("<i4", 3001)["counts"]
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dcpl.set_chunk((1000,))
    if order == "first":
        dcpl.set_fletcher32()
    elif order == "last":
        dcpl.set_deflate(1)
    dcpl.set_filter(number, h5py.h5z.FLAG_OPTIONAL, options)
    if order == "twice":
        dcpl.set_deflate(1)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        space = h5py.h5s.create_simple(values.shape)
        dataset = h5py.h5d.create(handle.id, b"x", h5py.h5t.STD_I32LE, space, dcpl)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    check(path, values)


@pytest.mark.parametrize("name", FILTERS)
def test_a_mask_that_skips_the_filter(tmp_path: Path, name: str) -> None:
    values = contents("<i4", 300)["walk"]
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        dataset = handle.create_dataset("x", shape=(600,), dtype="<i4", chunks=(300,), **FILTERS[name])
        dataset[:300] = values
        dataset.id.write_direct_chunk((300,), values[::-1].tobytes(), 1)
    check(path, numpy.concatenate([values, values[::-1]]))


# The filters whose blocks several threads decode; tiles of Blosc2 have axes of odd lengths.
BLOCKS = [
    *("lz4", "lz4-blocks-of-1024", "bitshuffle", "bitshuffle-lz4", "bitshuffle-zstd"),
    *(name for name in FILTERS if name.startswith("blosc") and "stored" not in name and "zlib" not in name),
]


@pytest.mark.parametrize("name", BLOCKS)
def test_threads_decode_a_large_chunk_as_one_does(tmp_path: Path, name: str) -> None:
    """Blocks of a single chunk of several MB have the same values, or the same error, with any number of threads."""
    path = tmp_path / "x.h5"
    rng = numpy.random.default_rng(3)
    values = rng.poisson(3, (1203, 1001)).astype("<i4")
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=values.shape, **FILTERS[name])
    start, stored = chunk_place(path, (0, 0))
    assert_direct(path, "x")

    def read(path: Path, threads: int) -> numpy.ndarray | str:
        with limit_threads(threads):
            try:
                return to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True))
            except OSError as error:
                return str(error)

    before = set_num_threads(5)
    try:
        for threads in (1, 2, 5):
            assert_identical(read(path, threads), values)
        places = sorted(int(at) for at in rng.integers(1000, stored, 6))
        damages = [(start + at, rng.bytes(3)) for at in places]
        for damaged in damaged_copies(path, damages):
            one, *others = (read(damaged, threads) for threads in (1, 2, 5))
            for other in others:
                numpy.testing.assert_array_equal(other, one)
    finally:
        set_num_threads(before)


# Blosc that only stores makes nothing smaller, and is left out of every chunk.
@pytest.mark.parametrize("name", [name for name in FILTERS if name != "blosc-stored"])
def test_damaged_chunks(tmp_path: Path, name: str) -> None:
    """Cut off, they are errors; with flipped bits, errors or other values, as there is no checksum."""
    path = tmp_path / "x.h5"
    for values in (contents("<i4", 2001)["counts"], numpy.zeros(2001, "<i4")):
        with h5py.File(path, "w") as handle:
            handle.create_dataset("x", data=values, chunks=(2001,), **FILTERS[name])
        mask, stored = read_chunk(path, (0,))
        if not mask:
            break  # otherwise the filter did not make these values smaller, and was left out
    assert not mask
    if name.startswith("blosc2"):
        stored = stored[:-35]  # a trailer that does not matter
    cut = tmp_path / "cut.h5"
    for length in {0, 1, 3, 11, 12, 15, 16, 20, len(stored) // 2, len(stored) - 1}:
        with h5py.File(cut, "w") as handle:
            dataset = handle.create_dataset("x", shape=(2001,), dtype="<i4", chunks=(2001,), **FILTERS[name])
            dataset.id.write_direct_chunk((0,), stored[:length] or b"\0", 0)
        if name.startswith("szip") and length == len(stored) - 1:
            continue  # it may only have filled up the last block
        with error_naming(OSError, cut, "x", "chunk"):
            to_dense_array(Hdf5DenseArraySeed(cut, "x", native_order=True))

    start, _ = chunk_place(path, (0,))
    length = len(stored)
    rng = numpy.random.default_rng(5)
    flips = [*((byte, 1 << int(rng.integers(8))) for byte in range(min(48, length)))]
    flips += [(int(rng.integers(length)), 1 << int(rng.integers(8))) for _ in range(100)]
    damages = [(start + byte, bytes([stored[byte] ^ bit])) for byte, bit in flips]
    for damaged in damaged_copies(path, damages):
        try:
            got = to_dense_array(Hdf5DenseArraySeed(damaged, "x", native_order=True))
        except (OSError, NotImplementedError) as error:
            # The latter of versions and codecs of Blosc that there are none of yet.
            # The path has the name of this test in it.
            assert "chunk" in str(error).replace(str(damaged), "")  # noqa: PT017
            assert isinstance(error, OSError) or name.startswith("blosc")  # noqa: PT017
        else:
            assert got.shape == values.shape
    check(path, values)


@pytest.mark.parametrize(
    ("name", "at"),
    [("lz4", 0), ("bitshuffle-lz4", 0), ("bitshuffle-zstd", 0), ("blosc-lz4-bytes", 4), ("szip-nn-8", 0)],
)
def test_a_declared_length_that_is_not_the_chunks(tmp_path: Path, name: str, at: int) -> None:
    path = tmp_path / "x.h5"
    values = contents("<i4", 2001)["counts"]
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=(2001,), **FILTERS[name])
    start, _ = chunk_place(path, (0,))
    for declared in (b"\x7f" * 4, b"\xff" * 4, bytes(4)):
        write_damaged(path, start + at, declared)
        if declared == bytes(4) and at == 0 and name != "szip-nn-8":
            continue  # the upper half of 64 bits is zero anyway
        with error_naming(OSError, path, "x", "8004"):
            to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True))


def test_what_blosc2_alone_can_undo_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        delta = hdf5plugin.Blosc2(filters=hdf5plugin.Blosc2.DELTA)
        handle.create_dataset("x", data=numpy.arange(1000), chunks=(1000,), **delta)
    assert read_path(path, "x") != "direct"


@pytest.mark.parametrize("before", ["deflate", "lzf", "lz4", "zstd", "shuffle", "nothing"])
def test_a_plugin_reads_what_only_it_can_undo_on_every_way(tmp_path: Path, before: str) -> None:
    """A chunk of Blosc2's delta, of which its parameters say nothing: whole, in parts, converted, summed up."""
    path = tmp_path / "x.h5"
    values = (numpy.arange(10_000) // 300).astype("i4").reshape(100, 100)
    identifiers = {"deflate": (1, (0,)), "lzf": (32000, (4, 261, 40000)), "lz4": (32004, (0,)), "zstd": (32015, (1,))}
    with h5py.File(path, "w") as handle:
        # What the first filter makes of the chunk is compressed by Blosc2 in a dataset of its own.
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((100, 100))
        if before == "shuffle":
            plist.set_shuffle()
        elif before != "nothing":
            plist.set_filter(identifiers[before][0], h5py.h5z.FLAG_MANDATORY, identifiers[before][1])
        space = h5py.h5s.create_simple((100, 100))
        first = h5py.Dataset(h5py.h5d.create(handle.id, b"first", h5py.h5t.STD_I32LE, space, plist))
        first[...] = values
        made = numpy.frombuffer(first.id.read_direct_chunk((0, 0))[1], "u1")
        delta = hdf5plugin.Blosc2(filters=hdf5plugin.Blosc2.DELTA)
        second = handle.create_dataset("second", data=made, chunks=made.shape, **delta)
        plist.set_filter(32026, h5py.h5z.FLAG_OPTIONAL, (1, 0, 1, 0, 5, 1, 0))
        x = h5py.Dataset(h5py.h5d.create(handle.id, b"x", h5py.h5t.STD_I32LE, space, plist))
        x.id.write_direct_chunk((0, 0), second.id.read_direct_chunk((0,))[1])
        numpy.testing.assert_array_equal(x[...], values)
    done = run_python(
        """
        import sys
        import numpy
        from delayedarray import extract_dense_array
        from filebackedarray import Hdf5DenseArray, _core, set_cache_budget

        set_cache_budget(0)
        path, values = sys.argv[1], (numpy.arange(10_000) // 300).astype("i4").reshape(100, 100)
        x, same = Hdf5DenseArray(path, "x", native_order=True), numpy.testing.assert_array_equal
        for budget in (0, 1 << 20):
            set_cache_budget(budget)
            same(numpy.asarray(x), values)
            same(extract_dense_array(x, (range(3, 90), range(50))), values[3:90, :50])
            same(extract_dense_array(x, ([1, 7, 90], [0, 5])), values[numpy.ix_([1, 7, 90], [0, 5])])
            same(numpy.asarray(Hdf5DenseArray(path, "x", dtype="f8", native_order=True)), values)
            assert (x.sum(), x.max()) == (values.sum(), values.max())
        assert _core.check_dense(path, b"x") == (1, [])
        print("right", _core.read_path(path, b"x"))
        """,
        path,
        env={"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH},
    )
    assert done.split() == ["right", "direct"]
