"""Storage layouts, chunk indexes and paths through a file: direct where the engine can, else
through libhdf5, and the same result either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy
import pytest
from delayedarray import chunk_grid, extract_dense_array, to_dense_array

from filebackedarray import Hdf5DenseArraySeed
from helpers import assert_direct, assert_identical, assert_libhdf5, mentions, take

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
    assert_libhdf5(path, "x")
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
    assert_libhdf5(path, "x")
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
