"""Damaged chunks: an OSError that names file, dataset and chunk, and the others stay readable."""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy
import pytest
from delayedarray import (
    extract_dense_array,
    extract_sparse_array,
    to_dense_array,
    to_scipy_sparse_matrix,
)

from chunks import chunk_place, shuffle, with_checksum, write_chunks
from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArraySeed,
)
from helpers import assert_identical, error_naming, everything, mentions, message, write_damaged

NAME = "inside/damaged"
CONTENT = numpy.arange(100, dtype="|u1")
RAW = CONTENT.tobytes()


@contextmanager
def damage_is_named(path: Path, name: str = NAME) -> Iterator[None]:
    with error_naming(OSError, path, name, "chunk") as caught:
        yield
    assert not isinstance(caught.value, FileNotFoundError)


def seed(path: Path) -> Hdf5DenseArraySeed:
    return Hdf5DenseArraySeed(path, NAME, native_order=True)


LZF = b"\x02abc\xe0\x07\x02"  # "abc" repeated to 19 bytes

BAD_CHUNKS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "deflate-truncated": (("gzip",), zlib.compress(RAW)[:-20]),
    "deflate-of-nothing-but-a-header": (("gzip",), zlib.compress(RAW)[:2]),
    "deflate-bad-header": (("gzip",), b"\xff\xff" + zlib.compress(RAW)[2:]),
    "deflate-bad-block-type": (("gzip",), b"\x78\x9c\x07" + zlib.compress(RAW)[3:]),
    "deflate-bad-adler32": (("gzip",), zlib.compress(RAW)[:-1] + b"\x00"),
    "deflate-too-short": (("gzip",), zlib.compress(RAW[:-1])),
    "deflate-too-long": (("gzip",), zlib.compress(RAW + b"!")),
    "deflate-to-nothing": (("gzip",), zlib.compress(b"")),
    "deflate-bomb": (("gzip",), zlib.compress(bytes(50_000_000), 9)),
    "deflate-inside-is-not-deflate": (("gzip", "gzip"), zlib.compress(RAW)),
    "fletcher32-mismatch": (("fletcher32",), with_checksum(RAW[::-1])[:100] + b"\1\2\3\4"),
    "fletcher32-missing": (("fletcher32",), RAW),
    "fletcher32-shorter-than-a-checksum": (("fletcher32",), b"abc"),
    "fletcher32-too-short": (("fletcher32",), with_checksum(RAW[:-1])),
    "fletcher32-too-long": (("fletcher32",), with_checksum(RAW + b"!")),
    "shuffle-too-short": (("shuffle",), RAW[:-1]),
    "shuffle-too-long": (("shuffle",), RAW + b"!"),
    "shuffle-gzip-too-short": (("shuffle", "gzip"), zlib.compress(shuffle(RAW[:50], 1))),
    "lzf-too-short": (("lzf",), LZF),
    "lzf-too-long": (("lzf",), LZF * 10),
    "lzf-literals-cut-off": (("lzf",), b"\x1fabc"),
    "lzf-match-cut-off": (("lzf",), b"\x02abc\xe0"),
    "lzf-match-before-the-beginning": (("lzf",), b"\x02abc\xe0\x57\x20"),
    "lzf-of-one-byte": (("lzf",), b"\x00"),
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_a_chunk_that_does_not_decode(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.h5"
    filters, content = BAD_CHUNKS[case]
    everything_skipped = (1 << len(filters)) - 1
    raw = [
        ((0,), RAW, everything_skipped),
        ((100,), content, 0),
        ((200,), RAW, everything_skipped),
    ]
    write_chunks(path, filters, "|u1", (300,), (100,), raw, name=NAME)
    array = seed(path)
    with damage_is_named(path):
        to_dense_array(array)
    with damage_is_named(path):
        extract_dense_array(array, ([199],))
    # What does not touch the chunk is read as ever, before and after.
    for start in (0, 200):
        assert_identical(extract_dense_array(array, (range(start, start + 100),)), CONTENT)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("stored", [50, 99, 101])
def test_an_unfiltered_chunk_of_another_length(tmp_path: Path, stored: int, libver: str) -> None:
    path = tmp_path / "x.h5"
    content = (RAW + RAW)[:stored]
    write_chunks(path, (), "|u1", (300,), (100,), [((100,), content, 0)], name=NAME, libver=libver)
    with h5py.File(path, "r") as handle:
        recorded = handle[NAME].id.get_chunk_info_by_coord((100,)).size
    if recorded == 100:
        # The newer chunk indexes do not keep the length of unfiltered chunks: those are whole.
        got = extract_outcome(path)
        assert got is None or got.shape == (300,)
    else:
        with damage_is_named(path):
            to_dense_array(seed(path))


def extract_outcome(path: Path) -> numpy.ndarray | None:
    try:
        return to_dense_array(seed(path))
    except OSError as error:
        mentions(error, path, NAME)
        return None


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"fletcher32": True},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
    ],
    ids=str,
)
def test_every_flipped_byte_is_noticed(tmp_path: Path, options: dict) -> None:
    # Both filters carry a checksum, so no change of a chunk's bytes may go through unnoticed.
    path = tmp_path / "x.h5"
    values = numpy.random.default_rng(17).poisson(3, 400).astype("<i4")
    with h5py.File(path, "w") as handle:
        handle.create_dataset(NAME, data=values, chunks=(100,), **options)
    place, size = chunk_place(path, (200,), NAME)
    good = path.read_bytes()
    for offset in range(0, size, max(1, size // 60)):
        broken = tmp_path / f"broken{offset}.h5"
        broken.write_bytes(good)
        write_damaged(broken, place + offset, bytes([good[place + offset] ^ 0x10]))
        try:
            got = to_dense_array(seed(broken))
        except OSError as error:
            mentions(error, broken, NAME)
        else:
            # A deflate header that lies about its window changes nothing.
            assert_identical(got, values)
        others = numpy.r_[0:200, 300:400]
        assert_identical(extract_dense_array(seed(broken), (others,)), values[others])


def test_the_chunk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset(NAME, data=numpy.arange(9000), chunks=(1000,), fletcher32=True)
    place, _ = chunk_place(path, (7000,), NAME)
    write_damaged(path, place, b"damage")
    with error_naming(OSError, path, NAME) as caught:
        to_dense_array(seed(path))
    # By its coordinates in the grid, its first element or its address: any of them finds it.
    numbers = {int(n) for n in re.findall(r"\d+", message(caught.value).split("chunk", 1)[1])}
    assert numbers & {7, 7000, place}, message(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(lambda size: size, id="end-of-file"),
        pytest.param(lambda size: size - 10, id="across-the-end"),
        pytest.param(lambda size: 1 << 40, id="far-past-the-end"),
        pytest.param(lambda size: (1 << 63) - 8, id="largest-signed"),
        pytest.param(lambda size: (1 << 64) - 200, id="wraps-around"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}], ids=["plain", "gzip"])
def test_a_chunk_address_outside_the_file(tmp_path: Path, address: Callable[[int], int], options: dict) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="earliest") as handle:
        handle.create_dataset(NAME, data=CONTENT.repeat(3), chunks=(100,), **options)
    place, _ = chunk_place(path, (100,), NAME)
    content = path.read_bytes()
    needle = place.to_bytes(8, "little")
    # The version 1 B-tree that holds the address has no checksums.
    assert content.count(needle) == 1, "the number to patch is not unique in the file"
    write_damaged(path, content.index(needle), address(len(content)).to_bytes(8, "little"))
    with damage_is_named(path):
        to_dense_array(seed(path))


@pytest.mark.parametrize("claimed", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_chunk_that_claims_a_wrong_size(tmp_path: Path, claimed: int) -> None:
    path = tmp_path / "x.h5"
    noise = numpy.random.default_rng(18).integers(0, 256, 30_000).astype("|u1")
    with h5py.File(path, "w", libver="earliest") as handle:
        handle.create_dataset(NAME, data=noise, chunks=(10_000,), compression="gzip")
    place, size = chunk_place(path, (10_000,), NAME)
    # The sizes of noise are all alike, so find the record by its address behind it.
    content = path.read_bytes()
    address_at = content.index(place.to_bytes(8, "little"))
    size_at = content.rindex(size.to_bytes(4, "little"), 0, address_at)
    write_damaged(path, size_at, claimed.to_bytes(4, "little"))
    with damage_is_named(path):
        to_dense_array(seed(path))


@pytest.mark.parametrize("layout", ["chunked", "gzip", "contiguous"])
@pytest.mark.parametrize("when", ["before it is opened", "after it is opened"])
def test_a_file_that_was_cut_off(tmp_path: Path, layout: str, when: str) -> None:
    path = tmp_path / "x.h5"
    options: dict = {"contiguous": {}, "chunked": {"chunks": (1000,)}}.get(
        layout, {"chunks": (1000,), "compression": "gzip"}
    )
    with h5py.File(path, "w") as handle:
        handle.create_dataset(NAME, data=numpy.random.default_rng(19).random(20_000), **options)
    array = seed(path)
    if when == "before it is opened":
        to_dense_array(array)
    with open(path, "r+b") as handle:
        handle.truncate(path.stat().st_size - 5000)
    for _ in range(2):
        with error_naming(OSError, path):
            to_dense_array(array if when == "after it is opened" else seed(path))


@pytest.fixture
def sparse_file(tmp_path: Path) -> Path:
    path = tmp_path / "sparse.h5"
    with h5py.File(path, "w") as handle:
        options = {"chunks": (50,), "compression": "gzip", "fletcher32": True}
        handle.create_dataset("m/data", data=numpy.ones(200, "i4"), **options)
        handle.create_dataset("m/indices", data=numpy.tile(numpy.arange(20), 10), **options)
        handle.create_dataset("m/indptr", data=numpy.arange(0, 201, 20), fletcher32=True)
    return path


READS = {
    "dense": lambda s: extract_dense_array(s, everything(s.shape)),
    "sparse": lambda s: extract_sparse_array(s, everything(s.shape)),
    "scipy": lambda s: to_scipy_sparse_matrix(Hdf5CompressedSparseMatrix(s, None, None, None), "csc"),
    "some-rows": lambda s: extract_sparse_array(s, ([3, 8], range(s.shape[1]))),
    "some-columns": lambda s: extract_dense_array(s, (range(s.shape[0]), [0, 4, 5])),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("name", ["m/data", "m/indices"])
@pytest.mark.parametrize("by_column", [True, False], ids=["csc", "csr"])
def test_a_damaged_sparse_matrix(sparse_file: Path, name: str, read: str, by_column: bool) -> None:
    shape = (20, 10) if by_column else (10, 20)
    array = Hdf5CompressedSparseMatrixSeed(sparse_file, "m", shape, by_column)
    place, _ = chunk_place(sparse_file, (100,), name)
    write_damaged(sparse_file, place, b"damage")
    if not by_column and read == "some-rows":
        # Rows 3 and 8 of a CSR matrix lie outside the damaged chunk.
        want = numpy.ones((2, 20), "i4")
        assert_identical(numpy.asarray(READS[read](array)), want)
        return
    with damage_is_named(sparse_file, name):
        READS[read](array)


def test_damaged_indptr(sparse_file: Path) -> None:
    place, _ = chunk_place(sparse_file, (0,), "m/indptr")
    write_damaged(sparse_file, place, b"damage")
    with damage_is_named(sparse_file, "m/indptr"):
        Hdf5CompressedSparseMatrixSeed(sparse_file, "m", (20, 10), True)


def test_the_file_may_be_mended(tmp_path: Path) -> None:
    # A failed read leaves nothing behind that would spoil the next one.
    path = tmp_path / "x.h5"
    values = numpy.arange(400, dtype="<i4")
    with h5py.File(path, "w") as handle:
        handle.create_dataset(NAME, data=values, chunks=(100,), compression="gzip")
    good = tmp_path / "good.h5"
    shutil.copy(path, good)
    array = seed(path)
    place, _ = chunk_place(path, (100,), NAME)
    write_damaged(path, place, b"damage")
    with damage_is_named(path):
        to_dense_array(array)
    path.unlink()
    shutil.copy(good, path)
    assert_identical(to_dense_array(array), values)
