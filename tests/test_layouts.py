"""Storage layouts, chunk indexes and paths through a file: direct where the engine can, else
through libhdf5, and the same result either way."""

from __future__ import annotations

import base64
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy
import pytest
from delayedarray import chunk_grid, extract_dense_array, to_dense_array

from filebackedarray import Hdf5DenseArraySeed, _core
from helpers import (
    assert_direct,
    assert_identical,
    assert_libhdf5,
    damaged_copies,
    error_naming,
    everything,
    mentions,
    read_path,
    take,
    write_damaged,
)

VALUES = numpy.random.default_rng(20).integers(-(2**31), 2**31, (60, 45)).astype("<i4")
CHOSEN = ([59, 0, 31, 30], range(44, 2, -3))


def create(
    handle: h5py.File,
    prepare: Callable[[h5py.h5p.PropDCID], object],
    values: numpy.ndarray = VALUES,
    maxshape: tuple[int, ...] | None = None,
    file_type: h5py.h5t.TypeID | None = None,
) -> None:
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    prepare(dcpl)
    space = h5py.h5s.create_simple(values.shape, maxshape or values.shape)
    kind = h5py.h5t.py_create(values.dtype, logical=True) if file_type is None else file_type
    dataset = h5py.Dataset(h5py.h5d.create(handle.id, b"x", kind, space, dcpl))
    dataset[...] = values


def check(path: Path, values: numpy.ndarray = VALUES, name: str = "x") -> None:
    for native_order in (True, False):
        want = values if native_order else values.T
        seed = Hdf5DenseArraySeed(path, name, native_order=native_order)
        assert seed.shape == want.shape
        assert_identical(to_dense_array(seed), want)
        if want.shape == VALUES.shape:
            assert_identical(extract_dense_array(seed, CHOSEN), take(want, CHOSEN))
        wide = Hdf5DenseArraySeed(path, name, dtype="f8", native_order=native_order)
        assert_identical(to_dense_array(wide), want.astype("f8"))


UNLIMITED = h5py.h5s.UNLIMITED


def chunked(*chunk: int, early: bool = False, gzip: bool = False) -> Callable:
    def prepare(dcpl: h5py.h5p.PropDCID) -> None:
        dcpl.set_chunk(chunk)
        if early:
            dcpl.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        if gzip:
            dcpl.set_shuffle()
            dcpl.set_deflate(4)

    return prepare


# With the newest file format libhdf5 picks an index by how the dataset may grow.
CHUNK_INDEXES = {
    "single-chunk": (chunked(60, 45), None),
    "single-chunk-filtered": (chunked(60, 45, gzip=True), None),
    "implicit": (chunked(7, 8, early=True), None),
    "fixed-array": (chunked(7, 8), None),
    "fixed-array-filtered": (chunked(7, 8, gzip=True), None),
    "fixed-array-paged": (chunked(1, 1), None),
    "extensible-array": (chunked(7, 8), (UNLIMITED, 45)),
    "extensible-array-filtered": (chunked(7, 8, gzip=True), (UNLIMITED, 45)),
    # libhdf5 keeps the axis that grows first in this index, wherever it stands in the dataset.
    "extensible-array-second-axis": (chunked(7, 8), (60, UNLIMITED)),
    "extensible-array-second-axis-filtered": (chunked(7, 8, gzip=True), (60, UNLIMITED)),
    "extensible-array-second-axis-with-room": (chunked(7, 8), (600, UNLIMITED)),
    "fixed-array-with-room": (chunked(7, 8), (61, 450)),
    "extensible-array-of-many": (chunked(1, 2), (UNLIMITED, 45)),
    "btree-2": (chunked(7, 8), (UNLIMITED, UNLIMITED)),
    "btree-2-filtered": (chunked(7, 8, gzip=True), (UNLIMITED, UNLIMITED)),
    "btree-2-of-many": (chunked(2, 1), (UNLIMITED, UNLIMITED)),
}


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
@pytest.mark.parametrize("index", CHUNK_INDEXES)
def test_every_chunk_index(tmp_path: Path, index: str, libver: str) -> None:
    path = tmp_path / "x.h5"
    prepare, maxshape = CHUNK_INDEXES[index]
    with h5py.File(path, "w", libver=libver) as handle:
        create(handle, prepare, maxshape=maxshape)
    assert_direct(path, "x")
    check(path)


def _integers_of_20_bits() -> h5py.h5t.TypeID:
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(20)
    return kind


#: Extents, maximum extents and chunks: chunks that reach far over an end are no reason to leave any of them out.
GROWN = {
    "all chunks inside": ((60, 45), (60, 45), (7, 8)),
    "first axis shorter than a chunk": ((5, 40), (UNLIMITED, 40), (10, 10)),
    "second axis shorter than a chunk": ((40, 5), (40, UNLIMITED), (10, 10)),
    "second axis, with room": ((40, 5), (400, UNLIMITED), (10, 10)),
    "both shorter than a chunk": ((5, 4), (UNLIMITED, UNLIMITED), (10, 10)),
    "second axis of three": ((20, 3, 12), (20, UNLIMITED, 12), (6, 8, 5)),
    "third axis of three": ((20, 12, 3), (25, 12, UNLIMITED), (6, 5, 8)),
}


@pytest.mark.parametrize("way", ["direct", "packed", "libhdf5"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("case", GROWN)
def test_every_chunk_is_checked(tmp_path: Path, case: str, libver: str, way: str) -> None:
    """Whichever way a dataset is read, a damaged chunk is found wherever it is."""
    path = tmp_path / "x.h5"
    shape, maxshape, chunk = GROWN[case]

    def prepare(dcpl: h5py.h5p.PropDCID) -> None:
        dcpl.set_chunk(chunk)
        if way == "libhdf5":
            dcpl.set_filter(5, h5py.h5z.FLAG_OPTIONAL, ())  # nbit
        dcpl.set_fletcher32()

    values = numpy.arange(math.prod(shape), dtype="i4").reshape(shape)
    with h5py.File(path, "w", libver=libver) as handle:
        create(handle, prepare, values, maxshape, None if way == "direct" else _integers_of_20_bits())
        dataset = handle["x"].id
        addresses = [dataset.get_chunk_info(number).byte_offset for number in range(dataset.get_num_chunks())]
    assert read_path(path, "x").startswith("libhdf5" if way == "libhdf5" else "direct")
    assert _core.check_dense(path, b"x") == (len(addresses), [])
    # The first and the last, and some between them.
    chosen = addresses[:: max(1, len(addresses) // 4)] + addresses[-1:]
    found = set()
    for copy in damaged_copies(path, [(address + 20, b"\x5a\xa5") for address in chosen]):
        count, damaged = _core.check_dense(copy, b"x")
        assert (count, len(damaged)) == (len(addresses), 1)
        found.add(damaged[0][0])
    assert len(found) == len(set(chosen))


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_compact(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as handle:
        create(handle, lambda dcpl: dcpl.set_layout(h5py.h5d.COMPACT))
    assert_direct(path, "x")
    check(path)


@pytest.mark.parametrize("early", [False, True], ids=["late", "early"])
def test_contiguous(tmp_path: Path, early: bool) -> None:
    path = tmp_path / "x.h5"

    def prepare(dcpl: h5py.h5p.PropDCID) -> None:
        dcpl.set_layout(h5py.h5d.CONTIGUOUS)
        if early:
            dcpl.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)

    with h5py.File(path, "w") as handle:
        create(handle, prepare)
    assert_direct(path, "x")
    check(path)


def test_contiguous_never_written(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", shape=VALUES.shape, dtype="<i4", fillvalue=-9)
        assert handle["x"].id.get_offset() is None
    check(path, numpy.full(VALUES.shape, -9, "<i4"))


@pytest.mark.parametrize("options", [{}, {"chunks": (7, 8)}], ids=["contiguous", "chunked"])
def test_never_written_behind_a_user_block(tmp_path: Path, options: dict) -> None:
    # "No address" is not an address that the user block would move.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", userblock_size=512) as handle:
        handle.create_dataset("x", shape=VALUES.shape, dtype="<i4", fillvalue=3, **options)
    check(path, numpy.full(VALUES.shape, 3, "<i4"))


@pytest.mark.parametrize("size", [512, 65536])
@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": (7, 8)}, {"chunks": (7, 8), "compression": "gzip"}],
    ids=["contiguous", "chunked", "gzip"],
)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_user_block(tmp_path: Path, size: int, options: dict, libver: str) -> None:
    # Addresses in the file count from behind the user block.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", userblock_size=size, libver=libver) as handle:
        handle.create_dataset("x", data=VALUES, **options)
    assert_direct(path, "x")
    check(path)


def test_four_byte_addresses(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plist.set_sizes(4, 4)
    with h5py.File(h5py.h5f.create(bytes(path), fcpl=plist)) as handle:
        handle.create_dataset("x", data=VALUES, chunks=(7, 8), compression="gzip")
    assert_direct(path, "x")
    check(path)


def test_paged_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", fs_strategy="page", fs_page_size=4096) as handle:
        handle.create_dataset("x", data=VALUES, chunks=(7, 8), compression="gzip")
    assert_direct(path, "x")
    check(path)


def test_many_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    values = numpy.arange(2 * 3 * 1 * 4 * 2 * 3, dtype="<i2").reshape(2, 3, 1, 4, 2, 3)
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=(1, 2, 1, 3, 2, 2), compression="gzip")
    check(path, values)


@pytest.mark.parametrize("early", [False, True], ids=["late", "early"])
@pytest.mark.parametrize("chunk", [(60, 45), (7, 8), (60, 8)], ids=str)
@pytest.mark.parametrize("shape", [(0, 45), (0, 0), (1, 1), (60, 1), (14, 45)], ids=str)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_shrunk(tmp_path: Path, libver: str, shape: tuple[int, int], chunk: tuple[int, int], early: bool) -> None:
    # Some chunk indexes keep the chunks that a shrunk dataset has no more elements in.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as handle:
        create(handle, chunked(*chunk, early=early))
        handle["x"].resize(shape)
    assert_direct(path, "x")
    check(path, VALUES[: shape[0], : shape[1]])


@pytest.mark.parametrize("growing", [0, 1, 2])
@pytest.mark.parametrize("room", [0, 9])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_one_growing_axis_of_three(tmp_path: Path, growing: int, room: int, libver: str) -> None:
    path = tmp_path / "x.h5"
    values = numpy.arange(5 * 6 * 7, dtype="<i2").reshape(5, 6, 7)
    limits = [n + room for n in values.shape]
    limits[growing] = UNLIMITED
    with h5py.File(path, "w", libver=libver) as handle:
        create(handle, chunked(2, 2, 3), values, maxshape=tuple(limits))
    assert_direct(path, "x")
    check(path, values)


def test_shrunk_and_grown_again(tmp_path: Path) -> None:
    # What a dataset lost by shrinking must not come back.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        dataset = handle.create_dataset("x", data=VALUES, chunks=(7, 8), maxshape=(None, None), fillvalue=5)
        dataset.resize((10, 10))
        dataset.resize((60, 45))
    want = numpy.full(VALUES.shape, 5, "<i4")
    want[:10, :10] = VALUES[:10, :10]
    check(path, want)


@pytest.mark.parametrize("swap", ["<", ">"])
@pytest.mark.parametrize("base", ["i1", "u2", "i4", "i8"])
def test_an_enumeration_is_its_integers(tmp_path: Path, base: str, swap: str) -> None:
    path = tmp_path / "x.h5"
    kind = h5py.enum_dtype({"NO": 0, "YES": 1, "MAYBE": 7}, basetype=swap + base)
    values = numpy.array([0, 1, 7, 7, 1], dtype=swap + base)
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, dtype=kind)
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    assert seed.dtype.str == values.dtype.str
    assert_identical(to_dense_array(seed), values)


# ---- what the engine leaves to libhdf5 -------------------------------------------------------


def test_scale_offset(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    values = VALUES % 1000
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=(7, 8), scaleoffset=0)
    assert_libhdf5(path, "x")
    check(path, values)


def test_scale_offset_below_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    values = VALUES % 1000
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=(7, 8), scaleoffset=0, compression="gzip")
    assert_libhdf5(path, "x")
    check(path, values)


def test_external_raw_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # libhdf5 looks for the raw file from the working directory.
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=VALUES, external=[("raw.bin", 0, VALUES.nbytes)])
    assert_direct(path, "x")
    check(path)


def test_virtual_dataset(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for i in range(3):
        with h5py.File(tmp_path / f"part{i}.h5", "w") as handle:
            handle["part"] = VALUES[i * 20 : (i + 1) * 20]
    layout = h5py.VirtualLayout(shape=VALUES.shape, dtype="<i4")
    for i in range(3):
        source = h5py.VirtualSource(str(tmp_path / f"part{i}.h5"), "part", shape=(20, 45))
        layout[i * 20 : (i + 1) * 20] = source
    with h5py.File(path, "w", libver="latest") as handle:
        handle.create_virtual_dataset("x", layout, fillvalue=0)
    assert read_path(path, "x") == "virtual"
    check(path)


def test_integers_of_three_bytes(tmp_path: Path) -> None:
    # numpy has no such type, and h5py refuses it: the right numbers or a TypeError, nothing else.
    path = tmp_path / "x.h5"
    values = VALUES >> 8
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(24)
    kind.set_size(3)
    with h5py.File(path, "w") as handle:
        space = h5py.h5s.create_simple(values.shape)
        dataset = h5py.h5d.create(handle.id, b"x", kind, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    try:
        got = to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True))
    except TypeError as error:
        mentions(error, "x")
    else:
        numpy.testing.assert_array_equal(got, values)


def test_integers_with_padding_bits(tmp_path: Path) -> None:
    # 12 significant bits within 16: the bytes as they stand are not the numbers.
    path = tmp_path / "x.h5"
    values = (VALUES % 2000).astype("<i2")
    kind = h5py.h5t.STD_I16LE.copy()
    kind.set_precision(12)
    kind.set_offset(4)
    with h5py.File(path, "w") as handle:
        create(handle, chunked(7, 8), values=values, file_type=kind)
        want = handle["x"][()]
    numpy.testing.assert_array_equal(want, values)
    check(path, want)


def test_floats_of_another_make(tmp_path: Path) -> None:
    # bfloat16: two bytes, but not numpy's float16.
    path = tmp_path / "x.h5"
    values = (VALUES % 128).astype("<f4")
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(127)
    with h5py.File(path, "w") as handle:
        create(handle, chunked(7, 8), values=values, file_type=kind)
        want = handle["x"][()]
    numpy.testing.assert_array_equal(want, values)
    check(path, want)


# ---- links -----------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as handle:
        # Something in front, so that an address read from the wrong file is a wrong one.
        handle.create_dataset("first", data=numpy.full(5000, 1.5))
        handle.create_dataset("a/x", data=VALUES, chunks=(7, 8), compression="gzip")
        handle.create_dataset("a/plain", data=VALUES)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("here", data=VALUES[::-1], chunks=(7, 8))
        handle["soft"] = h5py.SoftLink("/here")
        handle["hard"] = handle["here"]
        handle["outside"] = h5py.ExternalLink("other.h5", "/a/x")
        handle["outside plain"] = h5py.ExternalLink("other.h5", "/a/plain")
        handle["outside group"] = h5py.ExternalLink("other.h5", "/a")
        handle["nowhere"] = h5py.SoftLink("/not here")
        handle["no such file"] = h5py.ExternalLink("missing.h5", "/x")
    return path


@pytest.mark.parametrize("name", ["soft", "hard", "/here"])
def test_links_inside_the_file(linked: Path, name: str) -> None:
    check(linked, VALUES[::-1], name)


@pytest.mark.parametrize("name", ["outside", "outside plain", "outside group/x", "/outside group/plain"])
def test_links_into_another_file(linked: Path, name: str) -> None:
    check(linked, VALUES, name)


@pytest.mark.parametrize("name", ["nowhere", "no such file"])
def test_links_to_nothing(linked: Path, name: str) -> None:
    # h5py: KeyError for both.
    with pytest.raises(KeyError, match=name):
        Hdf5DenseArraySeed(linked, name)


def test_name_outside_ascii(tmp_path: Path) -> None:
    path = tmp_path / "ünïcode ファイル.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("gènes/数", data=VALUES, chunks=(7, 8))
    assert_direct(path, "gènes/数")
    check(path, VALUES, "gènes/数")


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        space = h5py.h5s.create_simple(VALUES.shape)
        dataset = h5py.h5d.create(handle.id, b"caf\xe9", h5py.h5t.STD_I32LE, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, VALUES)
    assert_identical(to_dense_array(Hdf5DenseArraySeed(path, b"caf\xe9", native_order=True)), VALUES)
    # As os.fsdecode and h5py's own listing spell it.
    assert_identical(to_dense_array(Hdf5DenseArraySeed(path, "caf\udce9", native_order=True)), VALUES)


def test_chunk_grid_of_a_chunk_larger_than_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=VALUES[:5], chunks=(16, 64), maxshape=(None, None))
    grid = chunk_grid(Hdf5DenseArraySeed(path, "x", native_order=True))
    assert [list(b) for b in grid.boundaries] == [[5], [45]]
    check(path, VALUES[:5])


# ---- extremes --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"chunks": True}], ids=["contiguous", "chunked"])
@pytest.mark.parametrize("rank", range(33))
def test_every_rank(tmp_path: Path, rank: int, options: dict) -> None:
    if rank == 0 and options:
        options = {}
    path = tmp_path / "x.h5"
    # Two axes that are longer than 1, wherever they stand.
    shape = tuple(5 if axis == rank // 2 else 3 if axis == rank - 1 else 1 for axis in range(rank))
    values = numpy.arange(int(numpy.prod(shape)), dtype="<i4").reshape(shape)
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, **options)
    assert_direct(path, "x")
    for native_order in (True, False):
        seed = Hdf5DenseArraySeed(path, "x", native_order=native_order)
        want = values if native_order else values.T
        assert seed.shape == want.shape
        assert_identical(extract_dense_array(seed, tuple(range(n) for n in want.shape)), want)
        some = tuple([n - 1] for n in want.shape)
        assert_identical(extract_dense_array(seed, some), take(want, some) if rank else want)


@pytest.mark.parametrize("maxshape", [None, "unlimited"])
@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (0, 0), (3, 0, 4)], ids=str)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_no_elements(tmp_path: Path, libver: str, shape: tuple[int, ...], maxshape: str | None) -> None:
    path = tmp_path / "x.h5"
    options = {"maxshape": (None,) * len(shape), "chunks": (2,) * len(shape)} if maxshape else {}
    with h5py.File(path, "w", libver=libver) as handle:
        handle.create_dataset("x", shape, ">f4", **options)
    assert_direct(path, "x")
    check(path, numpy.zeros(shape, ">f4"))


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_more_than_four_billion_elements(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "x.h5"
    extent = 2**33 + 3
    written = {0: 1, 2**31 - 1: 2, 2**31: 3, 2**32 - 1: 4, 2**32: 5, 2**32 + 1: 6, extent - 1: 7}
    with h5py.File(path, "w", libver=libver) as handle:
        line = handle.create_dataset("line", (extent,), "<i2", chunks=(2**16,), fillvalue=-1)
        plane = handle.create_dataset("plane", (2**17, 2**16 + 3), "<i2", chunks=(64, 2**10), fillvalue=-1)
        for index, value in written.items():
            line[index] = value
            if index < 2**33:
                plane[divmod(index, 2**16)] = value
    for name in ("line", "plane"):
        assert_direct(path, name)
    line = Hdf5DenseArraySeed(path, "line", native_order=True)
    chosen = sorted({*written, *(index + 1 for index in written if index + 1 < extent), 2**32 + 2**20})
    want = numpy.array([written.get(index, -1) for index in chosen], "<i2")
    assert_identical(extract_dense_array(line, (chosen,)), want)
    around = range(2**32 - 70_000, 2**32 + 70_000)
    want = numpy.array([written.get(index, -1) for index in around], "<i2")
    assert_identical(extract_dense_array(line, (around,)), want)
    assert_identical(extract_dense_array(line, (range(1, extent, 2**32),)), numpy.array([-1, 6, -1], "<i2"))
    plane = Hdf5DenseArraySeed(path, "plane", native_order=True)
    rows = sorted({index // 2**16 for index in written if index < 2**33})
    got = extract_dense_array(plane, (rows, range(2**16 + 3)))
    want = numpy.full((len(rows), 2**16 + 3), -1, "<i2")
    for index, value in written.items():
        if index < 2**33:
            row, column = divmod(index, 2**16)
            want[rows.index(row), column] = value
    assert_identical(got, want)


def test_a_contiguous_dataset_longer_than_four_gigabytes(tmp_path: Path) -> None:
    # A file with a hole in it: most of its bytes take no space on the disk.
    path = tmp_path / "x.h5"
    extent = 2**32 + 2**20
    with h5py.File(path, "w") as handle:
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((extent,))
        dataset = h5py.Dataset(h5py.h5d.create(handle.id, b"x", h5py.h5t.STD_U8LE, space, dcpl))
        dataset[[5, 2**32 + 7, extent - 1]] = [1, 2, 3]
    assert path.stat().st_size > 2**32
    assert path.stat().st_blocks * 512 < 2**30, "this file system has no holes"
    assert_direct(path, "x")
    seed = Hdf5DenseArraySeed(path, "x")
    chosen = [4, 5, 2**32 + 6, 2**32 + 7, extent - 1]
    assert_identical(extract_dense_array(seed, (chosen,)), numpy.array([0, 1, 0, 2, 3], "u1"))


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_more_than_a_million_chunks(tmp_path: Path, libver: str) -> None:
    # A v1 B-tree, and an implicit index; benches/open.py measures these and others.
    path = tmp_path / "x.h5"
    count = 2**20 + 5
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dcpl.set_chunk((4,))
    dcpl.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    with h5py.File(path, "w", libver=libver) as handle:
        space = h5py.h5s.create_simple((4 * count,))
        dataset = h5py.Dataset(h5py.h5d.create(handle.id, b"x", h5py.h5t.STD_U8LE, space, dcpl))
        dataset[-6:] = [1, 2, 3, 4, 5, 6]
        dataset[4 * 2**19 + 1] = 7
        assert dataset.id.get_num_chunks() == count
    assert_direct(path, "x")
    seed = Hdf5DenseArraySeed(path, "x")
    want = numpy.zeros(4 * count, "u1")
    want[-6:] = [1, 2, 3, 4, 5, 6]
    want[4 * 2**19 + 1] = 7
    assert_identical(extract_dense_array(seed, (range(4 * count),)), want)
    assert_identical(extract_dense_array(seed, ([4 * 2**19 + 1, 4 * count - 1],)), numpy.array([7, 6], "u1"))


@pytest.mark.parametrize("fill", [None, 0, -3])
@pytest.mark.parametrize("fill_time", ["ALLOC", "NEVER", "IFSET"])
@pytest.mark.parametrize("alloc_time", ["EARLY", "LATE", "INCR"])
@pytest.mark.parametrize("chunk", [None, (7, 8)], ids=["contiguous", "chunked"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_every_time_of_allocation(
    tmp_path: Path, libver: str, chunk: tuple[int, int] | None, alloc_time: str, fill_time: str, fill: int | None
) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as handle:
        for name, part in (("all", slice(None)), ("some", slice(8, 21)), ("none", slice(0))):
            dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            if chunk is not None:
                dcpl.set_chunk(chunk)
            dcpl.set_alloc_time(getattr(h5py.h5d, f"ALLOC_TIME_{alloc_time}"))
            dcpl.set_fill_time(getattr(h5py.h5d, f"FILL_TIME_{fill_time}"))
            if fill is not None:
                dcpl.set_fill_value(numpy.array(fill, "<i4"))
            space = h5py.h5s.create_simple(VALUES.shape)
            dataset = h5py.Dataset(h5py.h5d.create(handle.id, name.encode(), h5py.h5t.STD_I32LE, space, dcpl))
            dataset[part] = VALUES[part]
    with h5py.File(path, "r") as handle:
        want = {name: handle[name][()] for name in ("all", "some", "none")}
    assert_identical(want["all"], VALUES)
    assert_identical(want["some"][8:21], VALUES[8:21])
    for name, values in want.items():
        assert_direct(path, name)
        if fill_time == "NEVER" and name != "all":
            # Neither writes a fill value, so that what stands there is anything: only what was written counts.
            rows = range(8, 21) if name == "some" else range(0)
            seed = Hdf5DenseArraySeed(path, name, native_order=True)
            assert_identical(extract_dense_array(seed, (rows, range(45))), take(values, (rows, range(45))))
        else:
            check(path, values, name)


# ---- more of what the engine leaves to libhdf5 -----------------------------------------------


def test_raw_files_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.h5"
    first, second = 4000, VALUES.nbytes - 4000
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=VALUES, external=[("a.bin", 100, first), ("b.bin", 7, second)])
    assert (tmp_path / "a.bin").read_bytes()[100:] == VALUES.tobytes()[:first]
    assert_direct(path, "x")
    check(path)
    # Others write them: what is read is what stands there now, whatever was read before.
    (tmp_path / "b.bin").write_bytes(bytes(7) + (VALUES + 1).tobytes()[first:])
    want = VALUES.copy()
    want.ravel()[first // 4 :] += 1
    check(path, want)
    # What is past the end of a file is zeros.
    (tmp_path / "b.bin").write_bytes(bytes(7) + VALUES.tobytes()[first:][:2000])
    want = VALUES.copy()
    want.ravel()[(first + 2000) // 4 :] = 0
    with h5py.File(path) as handle:
        numpy.testing.assert_array_equal(handle["x"][()], want)
    check(path, want)
    (tmp_path / "a.bin").unlink()
    with error_naming(OSError, path, "x", "a.bin"):
        to_dense_array(Hdf5DenseArraySeed(path, "x"))
    os.mkfifo(tmp_path / "a.bin")
    with error_naming(OSError, "a.bin", "not a regular file"):
        to_dense_array(Hdf5DenseArraySeed(path, "x"))


def test_packed_numbers_in_raw_files(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    values = VALUES % 2000 - 1000
    kind = h5py.h5t.STD_I16BE.copy()
    kind.set_precision(12)

    def prepare(dcpl: h5py.h5p.PropDCID) -> None:
        dcpl.set_external(os.fsencode(tmp_path / "raw"), 3, h5py.h5f.UNLIMITED)

    with h5py.File(path, "w") as handle:
        create(handle, prepare, values, file_type=kind)
    assert_direct(path, "x")
    check(path, values.astype("i2"))


def test_virtual_datasets_of_all_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    path = tmp_path / "x.h5"
    with h5py.File(folder / "part0.h5", "w") as handle:
        handle.create_dataset("x", data=VALUES[:20], chunks=(7, 8), compression="gzip")
    with h5py.File(path, "w", libver="latest") as handle:
        handle.create_dataset("inner", data=VALUES[20:40], chunks=(5, 45), maxshape=(None, 45))
        layout = h5py.VirtualLayout(VALUES.shape, "<i4")
        # Beside this file, in this file, and not there at all.
        layout[:20] = h5py.VirtualSource("parts/part0.h5", "x", (20, 45))
        layout[20:40] = h5py.VirtualSource(".", "inner", (20, 45))
        layout[40:] = h5py.VirtualSource("parts/missing.h5", "x", (20, 45))
        handle.create_virtual_dataset("x", layout, fillvalue=-5)
        layout = h5py.VirtualLayout((30, 45), "<f8")
        layout[...] = h5py.VirtualSource(path, "x", VALUES.shape)[::2]
        handle.create_virtual_dataset("converted", layout)
        layout = h5py.VirtualLayout((20, 45), "<i4", maxshape=(None, 45))
        source = h5py.VirtualSource(handle["inner"])
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        handle.create_virtual_dataset("growing", layout)
    want = VALUES.copy()
    want[40:] = -5
    for name, values in {"x": want, "converted": want[::2].astype("<f8"), "growing": VALUES[20:40]}.items():
        with h5py.File(path, "r") as handle:
            assert_identical(handle[name][()], values)
        assert read_path(path, name) == "virtual"
        check(path, values, name)
    # Its sources are other files, or other states: none of them is remembered.
    with h5py.File(folder / "missing.h5", "w") as handle:
        handle["x"] = VALUES[40:]
    check(path, VALUES)
    with h5py.File(path, "a") as handle:
        handle["inner"].resize((25, 45))
        handle["inner"][20:] = 9
    check(path, numpy.concatenate([VALUES[20:40], numpy.full((5, 45), 9, "<i4")]), "growing")


# ---- names, types and formats of files -------------------------------------------------------


SPELLINGS = {
    "a group/x y": ["a group/x y", "/a group/x y", "a group//x y", "./a group/x y", "a group/./x y", "a group/x y/"],
    "dots.in/..x.": ["dots.in/..x.", "dots.in/./..x."],
    " ": [" ", "/ ", " /"],
    "tab\tand\nline": ["tab\tand\nline"],
    "数/é/🧬": ["数/é/🧬", "/数/é/🧬/"],
    "e\u0301": ["e\u0301"],
    "%2F\\\"'*?[0]": ["%2F\\\"'*?[0]"],
    "...": ["...", "/..."],
    "x" * 5000: ["x" * 5000],
}


@pytest.mark.parametrize("name", SPELLINGS, ids=lambda name: ascii(name[:20]))
def test_spellings_of_a_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset(name, data=VALUES, chunks=(7, 8))
    for spelling in SPELLINGS[name]:
        with h5py.File(path, "r") as handle:
            assert_identical(handle[spelling][()], VALUES)
        check(path, VALUES, spelling)
        assert Hdf5DenseArraySeed(path, spelling).name == spelling


@pytest.mark.parametrize("name", ["../x", "g/../x", "X", "x/y", "", "/", ".", "x\0y", "e\u0301", "é "])
def test_names_that_are_others(tmp_path: Path, name: str) -> None:
    # HDF5 knows no "..", and does not look past a NUL, fold case or normalise Unicode.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = VALUES
        handle["é"] = VALUES
        handle.create_group("g")
    with pytest.raises((KeyError, ValueError)):
        Hdf5DenseArraySeed(path, name)


def test_groups_and_files_that_are_not_utf8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.h5"
    with h5py.File(path, "w") as handle:
        group = h5py.h5g.create(handle.id, b"\xff group")
        dataset = h5py.h5d.create(group, b"\x80", h5py.h5t.STD_I32LE, h5py.h5s.create_simple(VALUES.shape))
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, VALUES)
    for spelling in (path, os.fsdecode(path), Path(os.fsdecode(path))):
        for name in (b"\xff group/\x80", "\udcff group/\udc80", b"/\xff group/./\x80/"):
            seed = Hdf5DenseArraySeed(spelling, name, native_order=True)
            assert_identical(to_dense_array(seed), VALUES)


@pytest.mark.parametrize("case", ["number", "enumeration", "complex", "string", "array member"])
def test_committed_types(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.h5"
    dtype, values = {
        "number": ("<i4", VALUES),
        "enumeration": (h5py.enum_dtype({"A": 0, "B": 7}, basetype="<i4"), VALUES % 2 * 7),
        "complex": ("<c16", VALUES + 1j),
        "string": ("S3", numpy.array([b"abc", b"", b"z"])),
        "array member": (h5py.enum_dtype({"FALSE": 0, "TRUE": 1}, basetype="i1"), (VALUES % 2).astype(bool)),
    }[case]
    with h5py.File(path, "w") as handle:
        handle["type"] = numpy.dtype(dtype)
        handle.create_dataset("x", data=values, dtype=handle["type"], chunks=True)
        assert handle["x"].id.get_type().committed()
    assert_direct(path, "x")
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    assert_identical(to_dense_array(seed), values)
    with pytest.raises(KeyError, match="type"):
        Hdf5DenseArraySeed(path, "type")


# What a version 1 is for: nodes of B-trees of chunks that have a size of their own, here of 3. h5py has no setter
# for it; made with H5Pset_istore_k of the same library.
SUPERBLOCK_1 = (
    "eNrtl0tSAjEQhjvJDAYcdMAXoqLo+ChXLixXbrTAYoWWuvAALj2ACy9AlQsP4lE8hEfgBthxEmR+SrS0tCjNv2mSL5NMJ92TptNq"
    "nBQL1YIgltYUUGx+kaI39ayeS9m249fWCmvvrX2Url+8sortL9k1cNzlebNpRvdAbp39ILWavP6jWs2jM2OvbDu29klmx91CPLa+"
    "ua6gMJ1LuHYayUKkHTt2nLOK38yQmANVDrxpyJFr+qWSabrZeZSUdyH1027Am4exPIeL9mnDZLTLw0T52PyKzPdOCDX0vcu994AN"
    "eMenAd/ksrwGvBtn29vWyt/0l7PA+dH9wJ+azvIy8AT4HPBd4BXge8CXgB/o0fv5NyT4/BXf+yH7OcE5nacCTVJERZriE4n5ti7T"
    "DM3y7s7TAu/hIlV5p5ZphfdjldaoTuu0QQlt0lY/ory8vLy8vLzGvgblu9/VnlhDDglqIiz9c8Bxngh4HngZeAS8okfXjJ/zN+jX"
    "ylhzY413COvVgR8DT/A/K3CskNr6Z2vyF9SUXY4="
)


def test_superblock_1(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(zlib.decompress(base64.b64decode(SUPERBLOCK_1)))
    assert path.read_bytes()[8] == 1
    with h5py.File(path, "r") as handle:
        want = handle["x"][()]
    assert_identical(want, numpy.arange(40, dtype="<i2"))
    assert_direct(path, "x")
    check(path, want)


@pytest.mark.parametrize(("version", "low"), [(0, "EARLIEST"), (2, "V18"), (3, "V110"), (3, "V200")])
def test_every_other_superblock(tmp_path: Path, version: int, low: str) -> None:
    path = tmp_path / "x.h5"
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(getattr(h5py.h5f, f"LIBVER_{low}"), h5py.h5f.LIBVER_LATEST)
    with h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, fapl=access)) as handle:
        handle.create_dataset("plain", data=VALUES)
        handle.create_dataset("g/x", data=VALUES, chunks=(1, 3), compression="gzip", maxshape=(None, None))
    assert path.read_bytes()[8] == version
    for name in ("plain", "g/x"):
        assert_direct(path, name)
        check(path, VALUES, name)


@pytest.mark.parametrize("name", ["x.h5", "x.h5ad", "x.loom", "x.mat", "x.nc", "x.csv.gz", "x", ".hidden", "a b.é"])
def test_names_of_files_do_not_matter(tmp_path: Path, name: str) -> None:
    # A file of MATLAB begins with a header of 512 bytes, netCDF's with what HDF5's do.
    path = tmp_path / name
    with h5py.File(path, "w", userblock_size=512 if name.endswith(".mat") else 0) as handle:
        handle.create_dataset("x", data=VALUES, chunks=(7, 8), compression="gzip")
    if name.endswith(".mat"):
        with open(path, "r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    assert_direct(path, "x")
    check(path)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True}, {"fletcher32": True}])
def test_chunks_that_are_read_together(tmp_path: Path, options: dict) -> None:
    path = tmp_path / "neighbours.h5"
    values = numpy.random.default_rng(1).integers(0, 9, (200, 90)).astype("i4")
    with h5py.File(path, "w") as handle:
        dataset = handle.create_dataset("x", shape=values.shape, dtype="i4", chunks=(2, 9), fillvalue=3, **options)
        other = handle.create_dataset("y", shape=(100 * 500,), dtype="u1", chunks=(500,))
        # Neighbours in the grid that lie side by side, apart by a little, far apart, and in the other order; one in
        # three is never written.
        for row in [*range(0, 100, 2), *range(198, 98, -2)]:
            other[row * 250 : row * 250 + 500] = 1
            for column in range(0, 90, 9):
                if (row + column) % 3:
                    dataset[row : row + 2, column : column + 9] = values[row : row + 2, column : column + 9]
        values = dataset[()]
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    for subset in (
        everything(values.shape),
        (range(0, 200, 3), range(90)),
        (range(200), [0, 17, 18, 80]),
        (range(150, 170), range(5, 80)),
    ):
        assert_identical(extract_dense_array(seed, subset), take(values, subset))


def test_a_damaged_chunk_among_those_that_are_read_together(tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    values = numpy.arange(4000, dtype="i4")
    with h5py.File(path, "w") as handle:
        dataset = handle.create_dataset("x", data=values, chunks=(10,), fletcher32=True)
        offset = dataset.id.get_chunk_info(205).byte_offset
    write_damaged(path, offset, b"\xff")
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    with error_naming(OSError, path, "x", "2050"):
        extract_dense_array(seed, (range(4000),))
    for intact in (range(2050), range(2060, 4000)):
        assert_identical(extract_dense_array(seed, (intact,)), values[intact])
