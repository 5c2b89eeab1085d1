"""No handle outlives a call: files may be open elsewhere, replaced, changed, deleted."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from delayedarray import (
    extract_dense_array,
    extract_sparse_array,
    to_dense_array,
    to_scipy_sparse_matrix,
    to_sparse_array,
)

from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArraySeed,
)
from helpers import (
    Compressed,
    assert_identical,
    assert_sparse,
    error_naming,
    mentions,
    random_compressed,
)

LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (10, 10)},
    "gzip": {"chunks": (10, 10), "compression": "gzip"},
}
each_layout = pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)


def values(seed: int) -> numpy.ndarray:
    return numpy.random.default_rng(seed).integers(0, 1000, (50, 30))


def write(path: Path, data: numpy.ndarray, **options: Any) -> Hdf5DenseArraySeed:
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data, **options)
    return Hdf5DenseArraySeed(path, "x", native_order=True)


def let_the_clock_tick() -> None:
    """A file's times have the granularity of the kernel's clock: let it move on."""
    time.sleep(0.05)


@each_layout
def test_the_file_may_be_open_in_h5py(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "x.h5"
    write(path, values(1), **options)
    with h5py.File(path, "r") as handle:
        seed = Hdf5DenseArraySeed(path, "x", native_order=True)
        assert_identical(to_dense_array(seed), values(1))
        assert_identical(handle["x"][:], values(1))
        assert_identical(to_dense_array(seed), values(1))
    with h5py.File(path, "r") as handle:
        assert_identical(handle["x"][:], values(1))


@each_layout
def test_a_deleted_file(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "x.h5"
    read = write(path, values(1), **options)
    never_read = Hdf5DenseArraySeed(path, "x", native_order=True)
    to_dense_array(read)
    path.unlink()
    for seed in (read, never_read):
        # Its description stays.
        assert seed.shape == (50, 30)
        with error_naming(FileNotFoundError, path):
            to_dense_array(seed)
    # And when it comes back, so do its values.
    write(path, values(1), **options)
    for seed in (read, never_read):
        assert_identical(to_dense_array(seed), values(1))


def test_a_deleted_file_of_a_sparse_matrix(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    matrix = random_compressed((40, 25), True)
    matrix.write(path)
    array = Hdf5CompressedSparseMatrix(path, "m", (40, 25), True)
    to_dense_array(array)
    path.unlink()
    reads = (to_dense_array, to_sparse_array, to_scipy_sparse_matrix, repr, lambda x: x.sum())
    for read in reads:
        with pytest.raises(FileNotFoundError):
            read(array)


@each_layout
def test_nothing_stays_open(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "x.h5"
    seed = write(path, values(1), **options)
    to_dense_array(seed)
    opened = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    assert os.path.realpath(path) not in opened
    # Nor locked: HDF5 refuses to open a file for writing that anyone has open.
    with h5py.File(path, "a") as handle:
        handle["x"][0, 0] = -1
    assert extract_dense_array(seed, ([0], [0]))[0, 0] in (-1, values(1)[0, 0])


@pytest.mark.parametrize("failing", ["missing", "group", "data"])
def test_nothing_stays_open_after_an_error(tmp_path: Path, failing: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_group("group")
        handle.create_dataset("data", data=numpy.zeros(3, [("a", "i4"), ("b", "f8")]))
    for _ in range(3):
        with pytest.raises((KeyError, TypeError)):
            to_dense_array(Hdf5DenseArraySeed(path, failing))
    with h5py.File(path, "a") as handle:
        handle["new"] = 1


@each_layout
def test_a_renamed_file(tmp_path: Path, options: dict[str, Any]) -> None:
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    seed = write(first, values(1), **options)
    to_dense_array(seed)
    first.rename(second)
    with pytest.raises(FileNotFoundError):
        to_dense_array(seed)
    moved = Hdf5DenseArraySeed(second, "x", native_order=True)
    assert_identical(to_dense_array(moved), values(1))


@each_layout
def test_two_files_that_change_places(tmp_path: Path, options: dict[str, Any]) -> None:
    a, b, c = (tmp_path / f"{n}.h5" for n in "abc")
    first, second = write(a, values(1), **options), write(b, values(2), **options)
    assert_identical(to_dense_array(first), values(1))
    assert_identical(to_dense_array(second), values(2))
    a.rename(c)
    b.rename(a)
    c.rename(b)
    assert_identical(to_dense_array(first), values(2))
    assert_identical(to_dense_array(second), values(1))


@each_layout
@pytest.mark.parametrize("new_options", LAYOUTS.values(), ids=LAYOUTS)
def test_a_replaced_file(tmp_path: Path, options: dict[str, Any], new_options: dict[str, Any]) -> None:
    path, other = tmp_path / "x.h5", tmp_path / "y.h5"
    seed = write(path, values(1), **options)
    to_dense_array(seed)
    write(other, values(2), **new_options)
    os.replace(other, path)
    assert_identical(to_dense_array(seed), values(2))


@each_layout
def test_a_file_written_anew(tmp_path: Path, options: dict[str, Any]) -> None:
    # The same inode and, uncompressed, the same size.
    path = tmp_path / "x.h5"
    seed = write(path, values(1), **options)
    assert_identical(to_dense_array(seed), values(1))
    let_the_clock_tick()
    write(path, values(2), **options)
    assert_identical(to_dense_array(seed), values(2))


@each_layout
def test_a_file_changed_in_place(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "x.h5"
    seed = write(path, values(1), **options)
    assert_identical(to_dense_array(seed), values(1))
    for number in range(2, 5):
        let_the_clock_tick()
        with h5py.File(path, "r+") as handle:
            handle["x"][...] = values(number)
        assert_identical(to_dense_array(seed), values(number))


def test_a_copy_with_the_same_times(tmp_path: Path) -> None:
    # Size and modification time alike, as rsync and backups leave them; the inode differs.
    a, b = tmp_path / "a.h5", tmp_path / "b.h5"
    seed = write(a, values(1))
    write(b, values(2))
    assert a.stat().st_size == b.stat().st_size
    to_dense_array(seed)
    shutil.copystat(a, b)
    os.replace(b, a)
    assert_identical(to_dense_array(seed), values(2))


@pytest.mark.parametrize("shape", [(20, 30), (50,), (50, 30, 2)], ids=str)
def test_a_file_replaced_by_one_that_the_shape_does_not_fit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "x.h5"
    seed = write(path, values(1), chunks=(10, 10))
    to_dense_array(seed)
    path.unlink()
    write(path, numpy.ones(shape))
    # Nobody gave a wrong subset here: without the file's name the message would puzzle.
    with error_naming((ValueError, IndexError, OSError), path):
        to_dense_array(seed)


def test_a_file_replaced_by_a_larger_one(tmp_path: Path) -> None:
    # What the seed says is there, or an error; nothing of the old file.
    path = tmp_path / "x.h5"
    seed = write(path, values(1), chunks=(10, 10))
    to_dense_array(seed)
    path.unlink()
    larger = numpy.arange(70 * 40).reshape(70, 40)
    write(path, larger, chunks=(7, 9))
    try:
        got = to_dense_array(seed)
    except (ValueError, IndexError, OSError) as error:
        mentions(error, path)
    else:
        assert_identical(got, larger[:50, :30])


def test_a_file_replaced_by_one_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    seed = write(path, values(1).astype("i4"))
    to_dense_array(seed)
    path.unlink()
    write(path, values(2).astype("i8"))
    # The seed has promised int32, and gives it.
    try:
        assert_identical(to_dense_array(seed), values(2).astype("i4"))
    except (ValueError, TypeError, OSError) as error:
        mentions(error, path)


@pytest.mark.parametrize("by_column", [True, False], ids=["csc", "csr"])
def test_a_replaced_sparse_matrix(tmp_path: Path, by_column: bool) -> None:
    # Another number of entries in each column: pointers and entries must be of the same file.
    path = tmp_path / "x.h5"
    old = random_compressed((40, 25), by_column, seed=1)
    new = random_compressed((40, 25), by_column, seed=2, density=0.5)
    old.write(path)
    array = Hdf5CompressedSparseMatrix(path, "m", (40, 25), by_column)
    assert_identical(to_dense_array(array), old.dense())
    path.unlink()
    let_the_clock_tick()
    new.write(path)
    for read in (to_dense_array, to_sparse_array, to_scipy_sparse_matrix):
        try:
            got = read(array)
        except (ValueError, OSError) as error:
            mentions(error, path)
        else:
            dense = got.toarray() if hasattr(got, "toarray") else numpy.asarray(got)
            assert_identical(dense, new.dense())


def test_many_objects_over_one_file(tmp_path: Path) -> None:
    # One entry in whatever is remembered per file must not serve another dataset.
    path = tmp_path / "x.h5"
    stored: dict[str, Any] = {}
    with h5py.File(path, "w") as handle:
        for i in range(40):
            stored[f"d{i}"] = numpy.arange(i, i + 60).reshape(6, 10).astype(["i4", "f8"][i % 2])
            handle.create_dataset(f"d{i}", data=stored[f"d{i}"], chunks=(2 + i % 4, 3), compression="gzip")
    seeds = {name: Hdf5DenseArraySeed(path, name, native_order=True) for name in stored}
    for _ in range(2):
        for name, seed in seeds.items():
            assert_identical(to_dense_array(seed), stored[name])


def test_seeds_that_differ_in_all_but_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    data = values(3).astype("i4")
    write(path, data, chunks=(10, 10), compression="gzip")
    for _ in range(2):
        for native_order in (True, False):
            for dtype in (None, "f4", "u1", ">i8"):
                seed = Hdf5DenseArraySeed(path, "x", dtype=dtype, native_order=native_order)
                want = data if native_order else data.T
                assert_identical(to_dense_array(seed), want.astype(dtype or "i4"))


def test_one_matrix_read_as_csc_and_as_csr(tmp_path: Path) -> None:
    # The members of a square matrix fit both ways.
    path = tmp_path / "x.h5"
    matrix = random_compressed((30, 30), True, seed=3)
    matrix.write(path)
    transposed = Compressed(matrix.data, matrix.indices, matrix.indptr, (30, 30), False)
    for _ in range(2):
        for by_column, want in ((True, matrix.dense()), (False, transposed.dense())):
            seed = Hdf5CompressedSparseMatrixSeed(path, "m", (30, 30), by_column)
            assert_identical(to_dense_array(seed), want)
            got = extract_sparse_array(seed, (range(5, 20), [0, 7, 8]))
            assert_sparse(got, want[5:20][:, [0, 7, 8]], "i4")


def test_swmr_reader_beside_a_writer(tmp_path: Path) -> None:
    # A writer in SWMR mode takes no lock that would keep readers out.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        dataset = handle.create_dataset("x", data=values(1), chunks=(10, 10), maxshape=(None, 30))
        handle.swmr_mode = True
        dataset.flush()
        try:
            got = to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True))
        except OSError as error:
            # libhdf5 may refuse a file that is open for writing; it must say so.
            mentions(error, path)
        else:
            assert_identical(got, values(1))
