"""Chunks that reach over the end of an axis and went through no filter (H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS).

The mask of such a chunk says that it went through all filters; that it did not is to be told from its place.
h5py has no function that asks for it, so that libhdf5 is asked, as h5py has it loaded.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy
import pytest
from delayedarray import extract_dense_array, to_dense_array

from chunks import chunk_place
from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArray, Hdf5DenseArraySeed, _core
from helpers import (
    assert_direct,
    assert_identical,
    damaged_copies,
    dense_of,
    error_naming,
    random_compressed,
    take,
)

DONT_FILTER_PARTIAL_CHUNKS = 2
VALUES = numpy.random.default_rng(5).integers(0, 9, (50, 43)).astype("<i4")
CHUNK = (16, 10)

FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip"},
    "gzip of shuffled bytes, with a checksum": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "checksum": {"fletcher32": True},
    "blosc": dict(hdf5plugin.Blosc(cname="zstd")),
    "bitshuffle": dict(hdf5plugin.Bitshuffle()),
    "scale-offset, which libhdf5 undoes": {"scaleoffset": 0},
}


def set_chunk_opts() -> Callable[[int, int], int]:
    """`H5Pset_chunk_opts` of the libhdf5 that h5py calls."""
    package = Path(h5py.__file__).parent
    folders = [package.parent / "h5py.libs", package / ".dylibs", package]
    found = itertools.chain.from_iterable(folder.glob("*hdf5*") for folder in folders)
    libraries = [path for path in found if path.is_file() and "_hl" not in path.name and ".cpython" not in path.name]
    assert libraries, f"no libhdf5 in {folders}"
    function = ctypes.CDLL(str(libraries[0])).H5Pset_chunk_opts
    function.argtypes = [ctypes.c_int64, ctypes.c_uint]
    return function


def create(handle: h5py.File | h5py.Group, name: str, values: numpy.ndarray, chunk: tuple[int, ...], **options: Any):
    """A dataset whose chunks at the ends of its axes are not filtered."""
    like = handle.create_dataset("like", values.shape, values.dtype, chunks=chunk, **options)
    dcpl = like.id.get_create_plist()
    assert set_chunk_opts()(dcpl.id, DONT_FILTER_PARTIAL_CHUNKS) >= 0
    dataset = h5py.h5d.create(handle.id, name.encode(), like.id.get_type(), like.id.get_space(), dcpl)
    del handle["like"]
    h5py.Dataset(dataset)[...] = values


@pytest.fixture(params=FILTERS)
def partial(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        create(handle, "x", VALUES, CHUNK, **FILTERS[request.param])
        # The file is what it is meant to be: as long as in memory, and the mask says nothing of it.
        for at in itertools.product(range(0, 50, 16), range(0, 43, 10)):
            found = handle["x"].id.get_chunk_info_by_coord(at)
            is_partial = at[0] + 16 > 50 or at[1] + 10 > 43
            assert found.filter_mask == 0
            assert not is_partial or found.size == 16 * 10 * 4
    return path


def test_every_way_to_read(partial: Path) -> None:
    seed = Hdf5DenseArraySeed(partial, "x", native_order=True)
    assert_identical(to_dense_array(seed), VALUES)
    wide = Hdf5DenseArraySeed(partial, "x", dtype="f8", native_order=True)
    assert_identical(to_dense_array(wide), VALUES.astype("f8"))
    rows = [[49, 0, 31, 48], range(49, 2, -3), [49], range(32, 50), range(50)]
    columns = [[42, 0, 39, 40], range(42, 2, -5), [42], range(30, 43), range(43)]
    for subset in itertools.product(rows, columns):
        for each in (seed, wide):
            got = extract_dense_array(each, subset)
            numpy.testing.assert_array_equal(got, take(VALUES, subset))


def test_statistics_and_products(partial: Path) -> None:
    x = Hdf5DenseArray(partial, "x", native_order=True)
    for axis in (0, 1, None):
        numpy.testing.assert_array_equal(x.sum(axis=axis), VALUES.sum(axis=axis))
        numpy.testing.assert_array_equal(numpy.max(x, axis=axis), VALUES.max(axis=axis))
        numpy.testing.assert_allclose(x.var(axis=axis), VALUES.var(axis=axis))
    numpy.testing.assert_allclose(dense_of(x @ numpy.ones(43)), VALUES @ numpy.ones(43))
    assert _core.check_dense(str(partial), b"x") == (20, [])


@pytest.mark.parametrize("by_column", [True, False])
def test_members_of_a_sparse_matrix(tmp_path: Path, by_column: bool) -> None:
    path = tmp_path / "x.h5"
    matrix = random_compressed((90, 70), by_column, dtype="f4")
    with h5py.File(path, "w", libver="latest") as handle:
        group = handle.create_group("m")
        for name in ("data", "indices", "indptr"):
            create(group, name, getattr(matrix, name), (64,), compression="gzip", shuffle=True)
    for name in ("data", "indices"):
        assert_direct(path, f"m/{name}")
    x = Hdf5CompressedSparseMatrix(path, "m", shape=matrix.shape, by_column=by_column)
    want = matrix.dense()
    numpy.testing.assert_array_equal(to_dense_array(x), want)
    for subset in [([89, 0], range(70)), (range(90), [69, 68]), (range(89, 0, -7), [69, 3])]:
        numpy.testing.assert_array_equal(extract_dense_array(x, subset), take(want, subset))
    for axis in (0, 1):
        numpy.testing.assert_allclose(x.sum(axis=axis), want.sum(axis=axis))
    numpy.testing.assert_allclose(dense_of(x @ numpy.ones(70)), want @ numpy.ones(70), rtol=1e-6)


def test_a_chunk_that_is_looked_up_by_itself(tmp_path: Path) -> None:
    """The last of so many chunks that their index is not read for one of them."""
    path = tmp_path / "x.h5"
    values = numpy.arange(8 * 20_000 + 3, dtype="u4")
    with h5py.File(path, "w", libver="latest") as handle:
        create(handle, "x", values, (8,), compression="gzip")
    for subset in [[len(values) - 1], [len(values) - 1, 0], [len(values) - 9]]:
        got = extract_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True), (subset,))
        assert_identical(got, values[subset])


def test_one_that_is_too_short(tmp_path: Path) -> None:
    """Whatever the file has in its place, a chunk that was not filtered is not decoded."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        create(handle, "x", VALUES, CHUNK, compression="gzip")
    whole, at_the_end = chunk_place(path, (0, 0)), chunk_place(path, (48, 40))
    content = path.read_bytes()
    deflated = content[whole[0] : sum(whole)]
    copies = damaged_copies(path, [(at_the_end[0], deflated), (whole[0], b"\0" * whole[1])])
    seed = Hdf5DenseArraySeed(next(copies), "x", native_order=True)
    got = extract_dense_array(seed, (range(48, 50), range(40, 43)))
    stored = content[: at_the_end[0]] + deflated + content[at_the_end[0] + len(deflated) :]
    want = numpy.frombuffer(stored, "<i4", 160, at_the_end[0]).reshape(CHUNK)[:2, :3]
    assert_identical(got, want)
    damaged = next(copies)
    with error_naming(OSError, damaged, "x"):
        to_dense_array(Hdf5DenseArraySeed(damaged, "x", native_order=True))
