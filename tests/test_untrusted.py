"""Files that are not trusted: the same results, from a process that may die."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import (
    create_dask_array,
    extract_dense_array,
    extract_sparse_array,
    to_dense_array,
    to_scipy_sparse_matrix,
)

from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArray,
    Hdf5DenseArraySeed,
    _core,
    get_num_threads,
    set_num_threads,
)
from filebackedarray._engine import untrusted as _untrusted
from helpers import assert_identical, everything

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks are those of POSIX")

SHAPE = (60, 50)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a bit of everything, and one beside it that it leads to."""
    rng = numpy.random.default_rng(0)
    values = rng.poisson(3, SHAPE).astype("i4")
    with h5py.File(tmp_path / "other.h5", "w") as handle:
        handle["x"] = values
    (tmp_path / "secret").write_bytes(b"12345678")
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=(16, 16), compression="gzip", shuffle=True)
        handle["numbers"] = numpy.arange(7, dtype=">f8")
        handle["strings"] = ["a", "bé", ""]
        handle["fixed"] = numpy.array([b"abc", b"d"])
        handle["scalar"] = numpy.float32(3.5)
        handle["nothing"] = numpy.zeros((0, 3))
        handle["na\xefve name"] = numpy.arange(3)
        handle["out"] = h5py.ExternalLink("other.h5", "x")
        handle["through"] = h5py.SoftLink("/out")
        handle.create_dataset("stored outside", (8,), "u1", external=[(str(tmp_path / "secret"), 0, 8)])
        for name, source in (("virtual, of another", "other.h5"), ("virtual", ".")):
            layout = h5py.VirtualLayout(SHAPE, "i4")
            layout[:] = h5py.VirtualSource(source, "x", SHAPE)
            handle.create_virtual_dataset(name, layout)
        matrix = scipy.sparse.random(*SHAPE, 0.2, format="csc", random_state=rng)
        for name in ("data", "indices", "indptr"):
            handle[f"matrix/{name}"] = getattr(matrix, name)
    return path


@pytest.fixture
def worker(path: Path) -> Iterator[Callable[[], Any]]:
    """The worker's process, which is there after the first call."""
    Hdf5DenseArraySeed(path, "x", untrusted=True)

    def process() -> Any:
        assert _untrusted._idle
        return _untrusted._idle[-1]._process

    yield process
    # Those that a test stopped must not wait for ever.
    process().kill()
    process().wait()


@pytest.mark.parametrize("name", ["x", "numbers", "strings", "fixed", "scalar", "nothing", "na\xefve name", "virtual"])
@pytest.mark.parametrize("native_order", [True, False])
def test_dense_datasets_are_the_same(path: Path, name: str, native_order: bool) -> None:
    trusted = Hdf5DenseArraySeed(path, name, native_order=native_order)
    seed = Hdf5DenseArraySeed(path, name, native_order=native_order, untrusted=True)
    assert (seed.shape, seed.dtype) == (trusted.shape, trusted.dtype)
    assert_identical(
        extract_dense_array(seed, everything(seed.shape)), extract_dense_array(trusted, everything(trusted.shape))
    )


@pytest.mark.parametrize("subset", [(range(5, 50, 3), [9, 3, 3]), ([4, 40], range(2)), (range(0), range(4))])
def test_subsets_are_the_same(path: Path, subset: tuple[Any, Any]) -> None:
    for make in (
        lambda untrusted: Hdf5DenseArraySeed(path, "x", "f4", native_order=True, untrusted=untrusted),
        lambda untrusted: Hdf5CompressedSparseMatrixSeed(path, "matrix", SHAPE, True, untrusted=untrusted),
    ):
        assert_identical(extract_dense_array(make(True), subset), extract_dense_array(make(False), subset))
    found, expected = (extract_sparse_array(make(untrusted), subset) for untrusted in (True, False))
    assert found.shape == expected.shape
    assert_identical(to_dense_array(found), to_dense_array(expected))


@pytest.mark.parametrize("format", ["csc", "csr", "coo"])
def test_sparse_matrices_are_the_same(path: Path, format: str) -> None:
    trusted, untrusted = (
        to_scipy_sparse_matrix(
            Hdf5CompressedSparseMatrix(path, "matrix", SHAPE, True, dtype="f4", untrusted=untrusted), format
        )
        for untrusted in (False, True)
    )
    assert untrusted.nnz > 0
    assert (trusted != untrusted).nnz == 0
    assert untrusted.dtype == numpy.float32


@pytest.mark.parametrize(
    "call",
    [
        lambda path, **kwargs: Hdf5DenseArraySeed(path, "not there", **kwargs),
        lambda path, **kwargs: Hdf5DenseArraySeed(path.with_name("not there"), "x", **kwargs),
        lambda path, **kwargs: Hdf5DenseArraySeed(path.with_name("secret"), "x", **kwargs),
        lambda path, **kwargs: Hdf5DenseArraySeed(path.parent, "x", **kwargs),
        lambda path, **kwargs: Hdf5CompressedSparseMatrixSeed(path, "matrix", (3, 50), False, **kwargs),
        lambda path, **kwargs: extract_dense_array(Hdf5DenseArraySeed(path, "strings", "f4", **kwargs), ([0],)),
        lambda path, **kwargs: extract_dense_array(Hdf5DenseArraySeed(path, "x", **kwargs), ([99], [0])),
    ],
)
def test_errors_are_the_same(path: Path, call: Callable[..., Any]) -> None:
    with pytest.raises((OSError, LookupError, ValueError, TypeError)) as expected:
        call(path)
    with pytest.raises(type(expected.value)) as found:
        call(path, untrusted=True)
    assert str(found.value) == str(expected.value)
    assert vars(found.value) == vars(expected.value)


@pytest.mark.parametrize("name", ["out", "through", "stored outside", "virtual, of another"])
def test_other_files_are_not_read(path: Path, name: str) -> None:
    trusted = Hdf5DenseArraySeed(path, name)
    assert extract_dense_array(trusted, everything(trusted.shape)).size > 0
    with pytest.raises(OSError, match="leads to another file") as error:
        Hdf5DenseArraySeed(path, name, untrusted=True)
    assert path.name in str(error.value)
    assert name in str(error.value)


def test_the_name_of_a_fifo_behind_a_link_is_not_opened(path: Path) -> None:
    os.mkfifo(path.with_name("fifo.h5"))
    with h5py.File(path, "a") as handle:
        handle["to a fifo"] = h5py.ExternalLink("fifo.h5", "x")
    with pytest.raises(OSError, match="leads to another file"):
        Hdf5DenseArraySeed(path, "to a fifo", untrusted=True)


@posix
@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_an_error_and_the_next_call_works(path: Path, worker: Callable[[], Any], number: int) -> None:
    seed = Hdf5DenseArraySeed(path, "x", untrusted=True)
    process = worker()
    os.kill(process.pid, signal.SIGSTOP)

    def crash() -> None:
        time.sleep(0.2)
        os.kill(process.pid, number)
        os.kill(process.pid, signal.SIGCONT)

    thread = threading.Thread(target=crash)
    thread.start()
    with pytest.raises(OSError, match=signal.Signals(number).name) as error:
        extract_dense_array(seed, everything(seed.shape))
    thread.join()
    assert str(path) in str(error.value)
    expected = extract_dense_array(Hdf5DenseArraySeed(path, "x"), everything(seed.shape))
    assert_identical(extract_dense_array(seed, everything(seed.shape)), expected)
    assert worker().pid != process.pid


@posix
@pytest.mark.alone
def test_what_hangs_is_ended(path: Path, worker: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_untrusted, "SECONDS", 0.3)
    process = worker()
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match="took more than") as error:
        Hdf5DenseArraySeed(path, "x", untrusted=True)
    assert isinstance(error.value, OSError)
    assert process.poll() == -signal.SIGKILL
    monkeypatch.undo()
    assert Hdf5DenseArraySeed(path, "x", untrusted=True).shape == SHAPE[::-1]


@posix
@pytest.mark.alone
def test_an_interruption_ends_the_worker(path: Path, worker: Callable[[], Any]) -> None:
    class StoppedError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StoppedError

    process = worker()
    os.kill(process.pid, signal.SIGSTOP)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(StoppedError):
            Hdf5DenseArraySeed(path, "x", untrusted=True)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert process.poll() == -signal.SIGKILL
    assert Hdf5DenseArraySeed(path, "x", untrusted=True).shape == SHAPE[::-1]


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_memory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", (1 << 29,), "u1", chunks=(1 << 29,), compression=9)[0] = 1
    assert path.stat().st_size < 1 << 20
    seed = Hdf5DenseArraySeed(path, "x", untrusted=True)
    assert extract_dense_array(seed, ([0],)).tolist() == [1]
    monkeypatch.setattr(_untrusted, "MEMORY", 1 << 28)
    with pytest.raises((MemoryError, OSError)):
        extract_dense_array(seed, ([0],))


@posix
@pytest.mark.alone
def test_a_fork_has_a_worker_of_its_own(path: Path, worker: Callable[[], Any]) -> None:
    seed = Hdf5DenseArraySeed(path, "x", untrusted=True)
    expected = extract_dense_array(seed, everything(seed.shape))
    before = worker().pid
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.starmap(extract_dense_array, [(seed, everything(seed.shape))] * 4):
            assert_identical(found, expected)
    assert_identical(extract_dense_array(seed, everything(seed.shape)), expected)
    assert worker().pid == before


def test_threads_share_the_worker(path: Path) -> None:
    seed = Hdf5DenseArraySeed(path, "x", untrusted=True)
    expected = extract_dense_array(seed, everything(seed.shape))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: extract_dense_array(seed, everything(seed.shape)), range(40)):
            assert_identical(found, expected)


def test_it_reads_with_as_many_threads(path: Path) -> None:
    before = set_num_threads(1)
    try:
        seed = Hdf5DenseArraySeed(path, "x", untrusted=True)
        extract_dense_array(seed, everything(seed.shape))
        assert get_num_threads() == 1
    finally:
        set_num_threads(before)


def test_a_relative_path_is_that_of_the_caller(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hdf5DenseArraySeed(path, "x", untrusted=True)
    monkeypatch.chdir(path.parent)
    assert Hdf5DenseArraySeed("file.h5", "x", untrusted=True).shape == SHAPE[::-1]


def test_pickles_and_dask_keep_it(path: Path) -> None:
    array = Hdf5DenseArray(path, "x", untrusted=True)
    seed = pickle.loads(pickle.dumps(array)).seed
    assert seed._untrusted
    expected = extract_dense_array(seed, everything(seed.shape))
    assert_identical(create_dask_array(seed).compute(), expected)


#: Files of `docs/fuzzing.md` that libhdf5 does not survive, and what is read of them: a dataset, or the matrix.
DEADLY = {
    "btree2-internal-node-checksum-overflow": "tree2",
    "btree2-leaf-checksum-overflow": "tree2",
    "extensible-array-endless-iteration": "extensible",
    "fixed-array-endless-iteration": None,
    "fixed-array-get-out-of-bounds": "bits",
    "huge-object-btree-null-file": "tree2",
}


FOLDER = Path(__file__).parent / "data" / "libhdf5"


def read_untrusted(path: Path, name: str | None) -> None:
    if name is None:
        seed = Hdf5CompressedSparseMatrixSeed(path, "matrix", (8, 6), True, untrusted=True)
    else:
        seed = Hdf5DenseArraySeed(path, name, untrusted=True)
    extract_dense_array(seed, everything(seed.shape))


@pytest.mark.parametrize("case", DEADLY)
def test_what_libhdf5_dies_of_is_an_error(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_untrusted, "SECONDS", 2)
    with pytest.raises(OSError, match=case):
        read_untrusted(FOLDER / f"{case}.h5", DEADLY[case])


def test_checks_are_the_same(path: Path) -> None:
    for name in (b"x", b"numbers", b"strings", b"virtual"):
        assert _untrusted.read_path(str(path), name) == _core.read_path(path, name)
        assert _untrusted.check_dense(str(path), name) == _core.check_dense(path, name)
    with h5py.File(path) as handle:
        info = handle["x"].id.get_chunk_info(3)
    with path.open("r+b") as file:
        file.seek(info.byte_offset)
        file.write(bytes(info.size))
    chunks, damaged = _untrusted.check_dense(str(path), b"x")
    assert (chunks, damaged) == _core.check_dense(path, b"x")
    assert [place for place, _ in damaged] == [info.chunk_offset]


def test_patience_ends() -> None:
    path = str(FOLDER / "btree2-leaf-checksum-overflow.h5")
    with _untrusted.patience(2) as count:
        for _ in range(2):
            with pytest.raises(OSError, match="SIG"):
                _untrusted.facts(path, b"tree2")
        with pytest.raises(OSError, match="ended 2 processes"):
            _untrusted.facts(path, b"extensible")
        assert count.ended == 2
    assert _untrusted.facts(path, b"extensible")["chunks"] == (2, 5)
