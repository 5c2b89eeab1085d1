"""No handle outlives a call: files may be open elsewhere, replaced, changed, deleted."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    run_python,
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


# ---- changes while others read ---------------------------------------------------------------


def test_replaced_again_and_again_at_once(tmp_path: Path) -> None:
    # The same length, within one tick of the clock that stamps files, and chunks in other places.
    path = tmp_path / "x.h5"
    array = None
    for number in range(60):
        with h5py.File(path, "w") as handle:
            names = ("x", "other")[:: 1 if number % 2 else -1]
            for name in names:
                handle.create_dataset(name, data=values(number if name == "x" else -1 % 97), chunks=(10, 10))
        if array is None:
            array = Hdf5DenseArraySeed(path, "x", native_order=True)
        assert_identical(to_dense_array(array), values(number))


def test_a_change_that_hides_its_time(tmp_path: Path) -> None:
    # Same inode, same size, same time of modification: the time of the status change tells.
    path = tmp_path / "x.h5"
    seed = write(path, values(1), chunks=(10, 10))
    before = path.stat()
    assert_identical(to_dense_array(seed), values(1))
    content = tmp_path / "y.h5"
    with h5py.File(content, "w") as handle:
        handle.create_dataset("before", data=numpy.zeros(7))
        handle.create_dataset("x", data=values(2), chunks=(10, 10))
    data = content.read_bytes()
    assert len(data) >= before.st_size
    with open(path, "r+b") as raw:
        raw.write(data)
        raw.truncate(max(len(data), before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert_identical(to_dense_array(seed), values(2))


def test_bytes_behind_the_end(tmp_path: Path) -> None:
    # HDF5 does not mind: the superblock says where the file ends.
    path = tmp_path / "x.h5"
    seed = write(path, values(1), chunks=(10, 10))
    assert_identical(to_dense_array(seed), values(1))
    with open(path, "ab") as raw:
        raw.write(b"\xff" * 5000)
    assert_identical(to_dense_array(seed), values(1))


@contextmanager
def in_the_background(work: Callable[[], None]) -> Iterator[None]:
    """Does something again and again until the block is done; a failure of it fails the test."""
    done = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not done.is_set():
                work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not failures, failures


def two_matrices(tmp_path: Path) -> tuple[list[Path], list[Compressed]]:
    """Two files of the same length whose matrices have all three members different."""
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    matrices = []
    for number, path in enumerate(paths):
        matrix = random_compressed((3000, 200), True, seed=number, density=0.3 + 0.2 * number)
        matrix.data[:] = number + 1
        matrix.write(path, chunks=(5000,))
        matrices.append(matrix)
    longest = max(path.stat().st_size for path in paths)
    for path in paths:
        os.truncate(path, longest)
    return paths, matrices


READS = {
    "dense": to_dense_array,
    "scipy": lambda array: to_scipy_sparse_matrix(array).toarray(),
    "rows": lambda array: extract_dense_array(array.seed, ([3, 77, 2999], range(200))),
}


@pytest.mark.alone
@pytest.mark.parametrize("way", ["replaced", "rewritten", "deleted"])
@pytest.mark.parametrize("read", READS)
def test_no_mixture_of_two_states(tmp_path: Path, read: str, way: str) -> None:
    # Pointers of the one with values of the other would be a matrix of neither.
    contents, matrices = two_matrices(tmp_path)
    wanted = [matrix.dense() for matrix in matrices]
    if read == "rows":
        wanted = [want[[3, 77, 2999]] for want in wanted]
    path = tmp_path / "x.h5"
    shutil.copy(contents[0], path)
    array = Hdf5CompressedSparseMatrix(path, "m", (3000, 200), True)
    states = itertools.cycle([1, 0])

    def change() -> None:
        data = contents[next(states)].read_bytes()
        if way == "rewritten":
            # Half and half, as a slow writer leaves it for a while.
            with open(path, "r+b", buffering=0) as raw:
                raw.write(data[: len(data) // 2])
                time.sleep(0.002)
                raw.write(data[len(data) // 2 :])
            time.sleep(0.03)
            return
        (tmp_path / "new.h5").write_bytes(data)
        if way == "deleted":
            path.unlink()
            time.sleep(0.002)
        os.replace(tmp_path / "new.h5", path)
        time.sleep(0.03)

    seen = set()
    deadline = time.monotonic() + 20
    rounds = 0
    with in_the_background(change):
        while rounds < 15 or (len(seen) < 2 and time.monotonic() < deadline):
            rounds += 1
            try:
                got = READS[read](array)
            except (OSError, ValueError, IndexError) as error:
                # Half of each is damaged; what does not keep still is refused; what is gone is not there.
                mentions(error, path, "chang" if way == "replaced" else "")
                continue
            which = [number for number, want in enumerate(wanted) if numpy.array_equal(got, want)]
            assert which, "a mixture"
            seen.update(which)
    assert seen == {0, 1}


# ---- writers ---------------------------------------------------------------------------------


def sums_in_another_process(paths: list[Path], locking: str | None) -> list[str]:
    """libhdf5 looks at the environment when it is loaded."""
    out = run_python(
        """
        import sys
        from delayedarray import to_dense_array
        from filebackedarray import Hdf5DenseArraySeed
        for path in sys.argv[1:]:
            try:
                print(to_dense_array(Hdf5DenseArraySeed(path, "x")).sum())
            except OSError as error:
                print("OSError", error)
        """,
        *paths,
        env={} if locking is None else {"HDF5_USE_FILE_LOCKING": locking},
    )
    lines = out.splitlines()
    assert len(lines) == len(paths)
    return lines


@pytest.mark.parametrize("reader", ["TRUE", "FALSE", "BEST_EFFORT", None])
def test_files_that_are_open_for_writing(tmp_path: Path, reader: str | None) -> None:
    ways = [(libver, locks, swmr) for libver in ("earliest", "latest") for locks in (True, False) for swmr in (0, 1)]
    ways = [way for way in ways if way[0] == "latest" or not way[2]]
    paths = [tmp_path / f"{number}.h5" for number in range(len(ways))]
    right = str(values(1).sum())
    with ExitStack() as stack:
        for path, (libver, locks, swmr) in zip(paths, ways, strict=True):
            handle = stack.enter_context(h5py.File(path, "w", libver=libver, locking=locks))
            handle.create_dataset("x", data=values(1), chunks=(10, 10))
            handle.flush()
            if swmr:
                handle.swmr_mode = True
        while_open = sums_in_another_process(paths, reader)
    assert sums_in_another_process(paths, reader) == [right] * len(paths)
    for (libver, locks, swmr), got in zip(ways, while_open, strict=True):
        if swmr:
            # A writer of this kind holds no lock, and orders its writes for readers beside it.
            assert got == right
        elif locks and reader != "FALSE":
            # Its writer holds a lock, and nobody has said that it does not matter.
            assert got.startswith("OSError")
            assert "lock" in got
        elif libver == "latest":
            # The newer superblocks say that somebody writes.
            assert got.startswith("OSError")
            assert "already open for write" in got
        else:
            # There is nothing to tell it by: as it stood in the file when its writer last flushed it.
            assert got == right


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}], ids=["plain", "gzip"])
def test_beside_a_swmr_writer(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        dataset = handle.create_dataset("x", data=values(1), chunks=(10, 10), maxshape=(None, 30), **options)
        handle.swmr_mode = True
        old = Hdf5DenseArraySeed(path, "x", native_order=True)
        assert_identical(to_dense_array(old), values(1))
        dataset.resize((70, 30))
        dataset[50:] = 7
        dataset.flush()
        new = Hdf5DenseArraySeed(path, "x", native_order=True)
        assert new.shape == (70, 30)
        assert_identical(to_dense_array(new), numpy.concatenate([values(1), numpy.full((20, 30), 7)]))
        # A seed keeps its shape, and is of that part of what there is now.
        assert_identical(to_dense_array(old), values(1))
        dataset[0] = -1
        dataset.flush()
        assert_identical(to_dense_array(old)[0], numpy.full(30, -1))
    assert_identical(to_dense_array(new)[50:], numpy.full((20, 30), 7))


@pytest.mark.alone
def test_beside_a_swmr_writer_that_appends(tmp_path: Path) -> None:
    # What a read gives is what some flush left: rows that number themselves, and all of those that there were.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        dataset = handle.create_dataset("x", (0, 100), "i8", chunks=(8, 100), maxshape=(None, 100), compression="gzip")
        handle.swmr_mode = True

        def append() -> None:
            rows = len(dataset)
            dataset.resize((rows + 5, 100))
            dataset[rows:] = numpy.arange(rows, rows + 5)[:, None]
            dataset.flush()
            time.sleep(0.1)

        lengths = set()
        deadline = time.monotonic() + 30
        with in_the_background(append):
            while len(lengths) < 4 and time.monotonic() < deadline:
                try:
                    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
                    got = to_dense_array(seed)
                except (OSError, ValueError) as error:
                    mentions(error, path, "chang")
                    continue
                assert_identical(got, numpy.repeat(numpy.arange(len(got))[:, None], 100, axis=1))
                lengths.add(len(got))
    assert len(lengths) == 4


def test_a_file_that_a_swmr_writer_left_behind(tmp_path: Path) -> None:
    # Killed, it leaves its mark in the file; what it flushed is there.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        handle.create_dataset("x", data=values(1), chunks=(10, 10), maxshape=(None, 30))
        handle.swmr_mode = True
        left = path.read_bytes()
    path.write_bytes(left)
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(path, "r")
    assert_identical(to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True)), values(1))


@pytest.mark.parametrize("block", [b"OHDR", b"FAHD", b"EAHD", b"FADB", b"EADB", b"EAIB"])
def test_a_damaged_file_that_a_swmr_writer_left_behind(tmp_path: Path, block: bytes) -> None:
    # libhdf5 takes a wrong checksum for a write that is under way, and would wait for its end for ever.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        limit = (100, 30) if block.startswith(b"FA") else (None, 30)
        handle.create_dataset("x", data=values(1), chunks=(10, 10), maxshape=limit)
        handle.swmr_mode = True
        left = bytearray(path.read_bytes())
    assert left.count(block) >= 1
    start = left.rindex(block)
    left[start + 12] ^= 0x40
    path.write_bytes(left)
    out = run_python(
        """
        import sys
        from delayedarray import to_dense_array
        from filebackedarray import Hdf5DenseArraySeed
        try:
            to_dense_array(Hdf5DenseArraySeed(sys.argv[1], "x"))
        except OSError as error:
            print("OSError", error)
        """,
        path,
        timeout=20,
    )
    assert out.startswith("OSError")
    assert str(path) in out


# ---- what is no file -------------------------------------------------------------------------


def test_endless_devices(tmp_path: Path) -> None:
    link = tmp_path / "zero.h5"
    link.symlink_to("/dev/zero")
    for path in (Path("/dev/zero"), link):
        with error_naming(OSError, path, "not a regular file"):
            Hdf5DenseArraySeed(path, "x")


def test_links_that_go_round(tmp_path: Path) -> None:
    (tmp_path / "a.h5").symlink_to(tmp_path / "b.h5")
    (tmp_path / "b.h5").symlink_to(tmp_path / "a.h5")
    with error_naming(OSError, tmp_path / "a.h5"):
        Hdf5DenseArraySeed(tmp_path / "a.h5", "x")


@pytest.mark.parametrize("mode", [0o000, 0o644, 0o311], ids=oct)
def test_folders_that_may_not_be_entered(mode: int) -> None:
    # Who may go through a folder may open a file in it, also without the right to list it.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        inside = Path(folder) / "inside"
        inside.mkdir()
        path = inside / "x.h5"
        write(path, values(1))
        inside.chmod(mode)
        out = run_python(
            """
            import codecs, os, sys
            from delayedarray import to_dense_array
            from filebackedarray import Hdf5DenseArraySeed
            # Nobody may not be able to read Python's own modules either.
            codecs.lookup("ascii")
            if os.geteuid() == 0:
                # root may enter anything; nobody may not.
                os.seteuid(65534)
            try:
                print(to_dense_array(Hdf5DenseArraySeed(sys.argv[1], "x")).sum())
            except PermissionError as error:
                print("PermissionError", error)
            """,
            path,
        ).strip()
        inside.chmod(0o755)
    if mode == 0o311:
        assert out == str(values(1).sum())
    else:
        assert out.startswith("PermissionError")
        assert str(path) in out
