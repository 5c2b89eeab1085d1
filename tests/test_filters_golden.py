"""Each filter from known bytes: written by h5py, and written by hand chunk by chunk."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import h5py
import numpy
import pytest
from delayedarray import extract_dense_array, to_dense_array

from chunks import fletcher32, read_chunk, shuffle, with_checksum, write_chunks
from filebackedarray import Hdf5DenseArraySeed
from helpers import assert_direct, assert_identical
from strategies import FILTERS, make_dcpl


def seed(path: Path, name: str = "x") -> Hdf5DenseArraySeed:
    return Hdf5DenseArraySeed(path, name, native_order=True)


def text(length: int) -> bytes:
    """Bytes with repeats near and far, so that every kind of match occurs."""
    rng = numpy.random.default_rng(length)
    words = [rng.bytes(int(n)) for n in rng.integers(1, 40, 50)]
    picked: list[bytes] = []
    while sum(map(len, picked)) < length:
        picked.append(words[int(rng.integers(50))])
    return b"".join(picked)[:length]


def as_bytes(path: Path) -> bytes:
    assert_direct(path, "x")
    return to_dense_array(seed(path)).tobytes()


# ---- what h5py writes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "filters",
    [
        *[(f,) for f in FILTERS],
        *itertools.permutations(FILTERS, 2),
        *itertools.permutations(["shuffle", "gzip", "fletcher32"], 3),
        *itertools.permutations(["shuffle", "lzf", "fletcher32"], 3),
        ("fletcher32", "gzip", "fletcher32"),
        ("gzip", "gzip"),
        ("shuffle", "shuffle", "gzip"),
        ("lzf", "gzip"),
    ],
    ids="-".join,
)
def test_any_order_of_filters(tmp_path: Path, filters: tuple[str, ...]) -> None:
    path = tmp_path / "x.h5"
    values = numpy.random.default_rng(15).poisson(2, (53, 31)).astype("<i4")
    dcpl = make_dcpl(filters)
    dcpl.set_chunk((10, 7))
    with h5py.File(path, "w") as handle:
        dataset = h5py.h5d.create(handle.id, b"x", h5py.h5t.STD_I32LE, h5py.h5s.create_simple(values.shape), dcpl)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    if filters.count("shuffle") < 2:
        # libhdf5 gives the second of them no parameters; what to make of that may be left to it.
        assert_direct(path, "x")
    assert_identical(to_dense_array(seed(path)), values)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 1000, 1025])
def test_shuffle_of_every_length_and_width(tmp_path: Path, width: int, count: int) -> None:
    # The vector loops of an unshuffle begin and end at multiples of 16 and 32 elements.
    path = tmp_path / "x.h5"
    values = numpy.frombuffer(numpy.random.default_rng(count).bytes(count * width), dtype=f"<u{width}")
    content = shuffle(values.tobytes(), width)
    write_chunks(path, ("shuffle",), f"<u{width}", (count,), (count,), [((0,), content, 0)])
    assert_direct(path, "x")
    assert_identical(to_dense_array(seed(path)), values)
    with h5py.File(path, "r") as handle:
        assert_identical(handle["x"][()], values)


@pytest.mark.parametrize("length", [1, 2, 3, 719, 720, 721, 722, 4321, 65536])
def test_fletcher32_of_every_length(tmp_path: Path, length: int) -> None:
    # 360 words of 16 bits are as many as libhdf5 sums up before it folds.
    path = tmp_path / "x.h5"
    for content in (text(length), b"\xff" * length, bytes(length)):
        path.unlink(missing_ok=True)
        write_chunks(path, ("fletcher32",), "|u1", (length,), (length,), [((0,), with_checksum(content), 0)])
        assert as_bytes(path) == content
        with h5py.File(path, "r") as handle:
            assert handle["x"][()].tobytes() == content


def test_fletcher32_golden(tmp_path: Path) -> None:
    content = b"abcdefg"
    checksum = bytes.fromhex("2d9183e1")
    assert fletcher32(content).to_bytes(4, "little") == checksum
    path = tmp_path / "x.h5"
    write_chunks(path, ("fletcher32",), "|u1", (7,), (7,), [((0,), content + checksum, 0)])
    assert as_bytes(path) == content


def test_fletcher32_of_libhdf5_1_6_2(tmp_path: Path) -> None:
    # Its bug swapped the bytes of each half on little-endian machines; libhdf5 still takes it.
    content = b"abcdefg"
    path = tmp_path / "x.h5"
    swapped = content + bytes.fromhex("912de183")
    write_chunks(path, ("fletcher32",), "|u1", (7,), (7,), [((0,), swapped, 0)])
    with h5py.File(path, "r") as handle:
        assert handle["x"][()].tobytes() == content
    assert as_bytes(path) == content


# ---- deflate -------------------------------------------------------------------------------


def deflate(content: bytes, level: int, window: int, strategy: int) -> bytes:
    encoder = zlib.compressobj(level, zlib.DEFLATED, window, 8, strategy)
    return encoder.compress(content) + encoder.flush()


@pytest.mark.parametrize("length", [1, 100, 70_001])
@pytest.mark.parametrize(
    ("level", "window", "strategy"),
    [
        pytest.param(0, 15, zlib.Z_DEFAULT_STRATEGY, id="stored"),
        pytest.param(1, 15, zlib.Z_DEFAULT_STRATEGY, id="level-1"),
        pytest.param(9, 15, zlib.Z_DEFAULT_STRATEGY, id="level-9"),
        pytest.param(6, 9, zlib.Z_DEFAULT_STRATEGY, id="smallest-window"),
        pytest.param(6, 15, zlib.Z_FIXED, id="fixed-codes"),
        pytest.param(6, 15, zlib.Z_HUFFMAN_ONLY, id="literals-only"),
        pytest.param(6, 15, zlib.Z_RLE, id="run-lengths"),
    ],
)
def test_every_kind_of_deflate_stream(tmp_path: Path, length: int, level: int, window: int, strategy: int) -> None:
    path = tmp_path / "x.h5"
    content = text(length)
    stream = deflate(content, level, window, strategy)
    write_chunks(path, ("gzip",), "|u1", (length,), (length,), [((0,), stream, 0)])
    assert as_bytes(path) == content


def test_deflate_golden(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    stream = bytes.fromhex("78da4bcbcc4955484a4cce4e4dd1514843e6246794e6652b24554218001e670e1a")
    write_chunks(path, ("gzip",), "|u1", (40,), (40,), [((0,), stream, 0)])
    assert as_bytes(path) == b"file backed, file backed, chunk by chunk"


def test_flushed_deflate_stream(tmp_path: Path) -> None:
    # Writers that flush leave empty stored blocks in the middle of the stream.
    path = tmp_path / "x.h5"
    content = text(5000)
    encoder = zlib.compressobj()
    stream = b"".join(
        encoder.compress(content[i : i + 500]) + encoder.flush(zlib.Z_FULL_FLUSH) for i in range(0, 5000, 500)
    )
    stream += encoder.flush()
    write_chunks(path, ("gzip",), "|u1", (5000,), (5000,), [((0,), stream, 0)])
    assert as_bytes(path) == content


def test_bytes_after_the_deflate_stream_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    content = text(1000)
    stream = zlib.compress(content) + b"padding"
    write_chunks(path, ("gzip",), "|u1", (1000,), (1000,), [((0,), stream, 0)])
    with h5py.File(path, "r") as handle:
        assert handle["x"][()].tobytes() == content
    assert as_bytes(path) == content


# ---- lzf -----------------------------------------------------------------------------------

FAR = bytes(i // 32 for i in range(8192))
FAR_LITERALS = b"".join(b"\x1f" + FAR[i : i + 32] for i in range(0, 8192, 32))
LZF_STREAMS = {
    # A control byte below 32 is that many literals and one; else the high three bits are a
    # match's length less two (seven: a byte of more length follows), the rest its distance.
    "literals": (b"\x02abc", b"abc"),
    "longest-literals": (b"\x1f" + bytes(range(32)), bytes(range(32))),
    "short-match": (b"\x02abc\x20\x02", b"abcabc"),
    "overlapping-match": (b"\x00a\xe0\x05\x00", b"a" * 15),
    "long-overlapping-match": (b"\x02abc\xe0\x07\x02", b"abc" * 6 + b"a"),
    "longest-match": (b"\x00z\xe0\xff\x00", b"z" * 265),
    "farthest-match": (FAR_LITERALS + b"\xff\xff\xff", FAR + FAR[:264]),
}


@pytest.mark.parametrize("stream", LZF_STREAMS)
def test_lzf_golden(tmp_path: Path, stream: str) -> None:
    path = tmp_path / "x.h5"
    encoded, content = LZF_STREAMS[stream]
    length = len(content)
    write_chunks(path, ("lzf",), "|u1", (length,), (length,), [((0,), encoded, 0)])
    with h5py.File(path, "r") as handle:
        assert handle["x"][()].tobytes() == content
    assert as_bytes(path) == content


@pytest.mark.parametrize("length", [1, 2, 4, 31, 32, 33, 264, 8192, 8193, 100_000])
def test_lzf_of_h5py(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.h5"
    for content in (text(length), bytes(length)):
        with h5py.File(path, "w") as handle:
            handle.create_dataset("x", data=numpy.frombuffer(content, "u1"), chunks=(length,), compression="lzf")
        assert as_bytes(path) == content


# ---- filter masks --------------------------------------------------------------------------


def test_lzf_skips_what_it_cannot_make_smaller(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    noise = numpy.frombuffer(numpy.random.default_rng(16).bytes(3000), "u1")
    values = numpy.concatenate([noise, numpy.zeros(3000, "u1"), noise[::-1]])
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=(3000,), compression="lzf")
    masks = [read_chunk(path, (start,))[0] for start in (0, 3000, 6000)]
    assert masks == [1, 0, 1], "the file does not have what this test is about"
    assert as_bytes(path) == values.tobytes()


@pytest.mark.parametrize("mask", range(8))
def test_filter_mask_skips_each_filter(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "x.h5"
    values = numpy.arange(500, dtype="<i4")
    content = values.tobytes()
    if not mask & 1:
        content = shuffle(content, 4)
    if not mask & 2:
        content = zlib.compress(content)
    if not mask & 4:
        content = with_checksum(content)
    write_chunks(path, ("shuffle", "gzip", "fletcher32"), "<i4", (500,), (500,), [((0,), content, mask)])
    assert_direct(path, "x")
    assert_identical(to_dense_array(seed(path)), values)
    with h5py.File(path, "r") as handle:
        assert_identical(handle["x"][()], values)


def test_each_chunk_has_a_mask_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    values = numpy.arange(2000, dtype="<i4")
    parts = [values[i : i + 250].tobytes() for i in range(0, 2000, 250)]
    raw = []
    for i, part in enumerate(parts):
        shuffled = part if i & 1 else shuffle(part, 4)
        raw.append(((i * 250,), shuffled if i & 2 else zlib.compress(shuffled), i & 3))
    write_chunks(path, ("shuffle", "gzip"), "<i4", (2000,), (250,), raw)
    assert_identical(to_dense_array(seed(path)), values)
    chosen = numpy.array([1999, 0, 700, 701, 1250])
    assert_identical(extract_dense_array(seed(path), (chosen,)), values[chosen])


def test_the_same_filter_twice_has_a_bit_each(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    content = text(900)
    once = zlib.compress(content)
    raw = [
        ((0,), zlib.compress(once), 0b00),
        ((900,), once, 0b01),
        ((1800,), once, 0b10),
        ((2700,), content, 0b11),
    ]
    write_chunks(path, ("gzip", "gzip"), "|u1", (3600,), (900,), raw)
    assert as_bytes(path) == content * 4


# ---- chunks that are not there, and edges ---------------------------------------------------


@pytest.mark.parametrize("filters", [(), ("shuffle", "gzip"), ("fletcher32",)], ids=str)
def test_chunks_that_were_never_written(tmp_path: Path, filters: tuple[str, ...]) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        dataset = handle.create_dataset(
            "x",
            shape=(100, 100),
            dtype="<i2",
            chunks=(30, 30),
            fillvalue=-7,
            shuffle="shuffle" in filters or None,
            compression="gzip" if "gzip" in filters else None,
            fletcher32="fletcher32" in filters,
        )
        dataset[35, 95] = 1
        dataset[99, 99] = 2
        assert dataset.id.get_num_chunks() == 2
    want = numpy.full((100, 100), -7, "<i2")
    want[35, 95] = 1
    want[99, 99] = 2
    assert_direct(path, "x")
    assert_identical(to_dense_array(seed(path)), want)
    chosen = ([0, 35, 99], [99, 95, 0])
    assert_identical(extract_dense_array(seed(path), chosen), want[numpy.ix_(*chosen)])
    converted = Hdf5DenseArraySeed(path, "x", dtype=numpy.dtype("f4"), native_order=True)
    assert_identical(to_dense_array(converted), want.astype("f4"))


@pytest.mark.parametrize("fill", [numpy.nan, -0.0, numpy.inf])
def test_fill_value_bit_for_bit(tmp_path: Path, fill: float) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", shape=(7, 5), dtype=">f8", chunks=(2, 2), fillvalue=fill)
    assert_identical(to_dense_array(seed(path)), numpy.full((7, 5), fill, ">f8"), bits=True)


def test_what_an_edge_chunk_has_outside_the_dataset_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    whole = numpy.arange(1, 17, dtype="|u1").reshape(4, 4)
    write_chunks(path, ("gzip",), "|u1", (3, 3), (4, 4), [((0, 0), zlib.compress(whole.tobytes()), 0)])
    assert_identical(to_dense_array(seed(path)), whole[:3, :3])
