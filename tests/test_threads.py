"""Threads of the engine and of Python, forks, and Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
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
)

from chunks import chunk_place, write_chunks
from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArraySeed,
    get_num_threads,
    limit_threads,
    set_num_threads,
)
from helpers import (
    Compressed,
    assert_identical,
    assert_sparse,
    error_naming,
    random_compressed,
    run_python,
)

# Signals sent, times taken and threads counted here mean little while other tests run.
pytestmark = pytest.mark.alone

SHAPE = (400, 300)
has_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
has_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")


@dataclass
class Arrays:
    """A dense and a sparse seed over many chunks, and what they hold."""

    dense: Hdf5DenseArraySeed
    values: numpy.ndarray
    sparse: Hdf5CompressedSparseMatrixSeed
    matrix: Compressed

    def read_all(self) -> None:
        """Read in every way, and compare."""
        rows, columns = [0, 7, 8, 399, 120], range(299, 3, -7)
        assert_identical(to_dense_array(self.dense), self.values)
        want = self.values[numpy.ix_(rows, columns)]
        assert_identical(extract_dense_array(self.dense, (rows, columns)), want)
        truth = self.matrix.dense()
        assert_identical(to_dense_array(self.sparse), truth)
        want = truth[numpy.ix_(rows, columns)]
        assert_sparse(extract_sparse_array(self.sparse, (rows, columns)), want, "i4")
        array = Hdf5CompressedSparseMatrix(self.sparse, None, None, None)
        assert_identical(to_scipy_sparse_matrix(array, "csr").toarray(), truth)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    folder = tmp_path_factory.mktemp("threads")
    values = numpy.random.default_rng(26).poisson(1, SHAPE).astype("i4")
    with h5py.File(folder / "dense.h5", "w") as handle:
        handle.create_dataset("x", data=values, chunks=(23, 17), compression="gzip", shuffle=True)
    matrix = random_compressed(SHAPE, True, seed=27)
    matrix.write(folder / "sparse.h5", compression="gzip", chunks=(500,))
    return Arrays(
        Hdf5DenseArraySeed(folder / "dense.h5", "x", native_order=True),
        values,
        Hdf5CompressedSparseMatrixSeed(folder / "sparse.h5", "m", SHAPE, True),
        matrix,
    )


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    """More threads than this machine may have cores: what they share must hold all the same."""
    before = set_num_threads(4)
    yield
    set_num_threads(before)


# ---- how many --------------------------------------------------------------------------------


def test_setting_returns_what_was() -> None:
    assert get_num_threads() == 4
    assert set_num_threads(2) == 4
    assert get_num_threads() == 2
    assert set_num_threads(numpy.int64(3)) == 2
    assert get_num_threads() == 3


@pytest.mark.parametrize("number", [0, -1, -(2**40)])
def test_a_number_that_makes_no_sense(number: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        set_num_threads(number)
    assert get_num_threads() == 4


@pytest.mark.parametrize("number", [1.5, "2", None, [1]], ids=repr)
def test_what_is_no_number(number: Any) -> None:
    with pytest.raises(TypeError):
        set_num_threads(number)
    assert get_num_threads() == 4


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("number", [10**6, 2**31, 2**64])
def test_absurdly_many(number: int, arrays: Arrays) -> None:
    # Refused or capped: no read may try to start a million threads.
    out = run_python(
        """
        import sys
        from delayedarray import to_dense_array
        from filebackedarray import Hdf5DenseArraySeed, set_num_threads
        try:
            set_num_threads(int(sys.argv[2]))
        except (ValueError, OverflowError):
            pass
        to_dense_array(Hdf5DenseArraySeed(sys.argv[1], "x"))
        with open("/proc/self/status") as handle:
            threads = [line.split()[1] for line in handle if line.startswith("Threads:")]
        print(threads[0])
        """,
        arrays.dense.path,
        str(number),
        timeout=15,
    )
    assert int(out) < 5000


SHOW = "import filebackedarray as f; print(f.get_num_threads())"


@pytest.mark.parametrize("number", [1, 3])
def test_environment_variable(number: int) -> None:
    out = run_python(SHOW, env={"FILEBACKEDARRAY_NUM_THREADS": str(number)})
    assert int(out) == number


@pytest.mark.parametrize("value", ["0", "-2", "many", "1.5", " "])
def test_environment_variable_that_makes_no_sense(value: str) -> None:
    # Whether it is refused or passed over: the user hears of it, or gets the default.
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        env={**os.environ, "FILEBACKEDARRAY_NUM_THREADS": value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        assert "FILEBACKEDARRAY_NUM_THREADS" in done.stderr
        assert "panicked" not in done.stderr
    else:
        assert int(done.stdout) >= 1


@has_affinity
def test_default_is_what_this_process_may_use() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FILEBACKEDARRAY_NUM_THREADS"}
    code = f"import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); {SHOW}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) == 1
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # A cgroup may allow less than the affinity.
    assert 1 <= int(done.stdout) <= len(os.sched_getaffinity(0))


# ---- the same results ------------------------------------------------------------------------


def test_results_do_not_depend_on_the_number_of_threads(arrays: Arrays) -> None:
    found = []
    for number in (1, 2, 3, 8):
        set_num_threads(number)
        arrays.read_all()
        array = Hdf5CompressedSparseMatrix(arrays.sparse, None, None, None)
        matrix = to_scipy_sparse_matrix(array)
        found.append(
            (
                to_dense_array(arrays.dense).tobytes(),
                to_dense_array(arrays.sparse).tobytes("K"),
                matrix.data.tobytes(),
                matrix.indices.tobytes(),
                matrix.indptr.tobytes(),
            )
        )
    assert all(one == found[0] for one in found)


def test_an_error_names_a_chunk_that_is_damaged(tmp_path: Path) -> None:
    # With several threads any of them may be met first, but never one that is whole.
    damaged = (11, 12, 30, 49)
    raw = [((i * 100,), zlib.compress(bytes(100)), 0) for i in range(50)]
    for i in damaged:
        raw[i] = ((i * 100,), b"damage", 0)
    path = tmp_path / "x.h5"
    write_chunks(path, ("gzip",), "|u1", (5000,), (100,), raw)
    places = {i: chunk_place(path, (i * 100,))[0] for i in damaged}
    known = {number for i in damaged for number in (i, i * 100, places[i])}
    seed = Hdf5DenseArraySeed(path, "x")
    for number in (1, 2, 8):
        set_num_threads(number)
        for _ in range(5):
            with error_naming(OSError, path, "chunk") as caught:
                to_dense_array(seed)
            after = str(caught.value).split(str(path))[-1].split("chunk", 1)[1]
            assert known & {int(n) for n in re.findall(r"\d+", after)}, str(caught.value)


def test_eight_python_threads(arrays: Arrays) -> None:
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(timeout=30)
        for _ in range(5):
            arrays.read_all()

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work) for _ in range(8)]:
            future.result(timeout=100)


def test_eight_python_threads_over_eight_files(tmp_path: Path) -> None:
    def work(number: int) -> None:
        path = tmp_path / f"{number}.h5"
        values = numpy.full((200, 100), number)
        for i in range(10):
            values[i] = i
            with h5py.File(path, "w") as handle:
                handle.create_dataset("x", data=values, chunks=(9, 9), compression="gzip")
            seed = Hdf5DenseArraySeed(path, "x", native_order=True)
            assert_identical(to_dense_array(seed), values)
            path.unlink()

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, n) for n in range(8)]:
            future.result(timeout=100)


def test_the_number_changes_while_others_read(arrays: Arrays) -> None:
    done = threading.Event()

    def change() -> None:
        number = 1
        while not done.is_set():
            set_num_threads(number)
            number = number % 5 + 1

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(10):
            arrays.read_all()
    finally:
        done.set()
        changer.join()


def test_python_goes_on_while_the_engine_reads(slow_file: Path) -> None:
    # With the interpreter lock held, this thread would not count at all until the read is over.
    set_num_threads(1)
    seed = Hdf5DenseArraySeed(slow_file, "x")
    spans: list[float] = []
    began = threading.Event()

    def read() -> None:
        began.set()
        start = time.perf_counter()
        extract_dense_array(seed, (range(0, SLOW_CHUNKS * CHUNK, CHUNK),))
        spans.append(time.perf_counter() - start)

    reader = threading.Thread(target=read)
    reader.start()
    began.wait(timeout=30)
    longest = 0.0
    last = time.perf_counter()
    while reader.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        longest = max(longest, now - last)
        last = now
    reader.join()
    assert longest < max(0.25, spans[0] / 4)


# ---- forks -----------------------------------------------------------------------------------


def in_a_child(work: Callable[[], None], seconds: float = 60) -> None:
    """Fork, do the work in the child, and fail rather than wait for ever if it hangs there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"the child of a fork still hung after {seconds} s")


@has_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_reads(arrays: Arrays) -> None:
    arrays.read_all()
    in_a_child(arrays.read_all)
    # The parent has lost nothing, and a child's child is a child too.
    arrays.read_all()
    in_a_child(lambda: in_a_child(arrays.read_all))


@has_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_the_number_of_threads(arrays: Arrays) -> None:
    arrays.read_all()
    set_num_threads(3)

    def check() -> None:
        assert get_num_threads() == 3
        assert set_num_threads(2) == 3
        arrays.read_all()

    in_a_child(check)
    assert get_num_threads() == 3


@has_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_while_other_threads_read(arrays: Arrays) -> None:
    # Whatever lock a thread holds at the moment of the fork, nobody in the child lets go of it.
    done = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                arrays.read_all()
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(15):
            in_a_child(arrays.read_all, seconds=30)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not failures


WORKER = """
import numpy
from delayedarray import extract_dense_array
def column_sums(job):
    seed, columns = job
    return extract_dense_array(seed, (range(seed.shape[0]), columns)).sum(axis=0)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_multiprocessing(arrays: Arrays, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot start processes by {method}")
    arrays.read_all()
    # The workers import their function by name, and not from a module of tests.
    (tmp_path / "worker_of_test_threads.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    from worker_of_test_threads import column_sums

    jobs = [range(i, i + 30) for i in range(0, 300, 30)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        for seed, truth in (
            (arrays.dense, arrays.values),
            (arrays.sparse, arrays.matrix.dense()),
        ):
            futures = [pool.submit(column_sums, (seed, job)) for job in jobs]
            sums = numpy.concatenate([future.result(timeout=90) for future in futures])
            numpy.testing.assert_array_equal(sums, truth.sum(axis=0))


def test_reading_when_the_interpreter_shuts_down(arrays: Arrays) -> None:
    # A daemon thread in the middle of a read must not bring the process down as it ends.
    out = run_python(
        """
        import sys, threading, time
        from delayedarray import to_dense_array
        from filebackedarray import Hdf5DenseArraySeed
        seed = Hdf5DenseArraySeed(sys.argv[1], "x")
        def read():
            while True:
                to_dense_array(seed)
        threading.Thread(target=read, daemon=True).start()
        time.sleep(0.3)
        print("bye")
        """,
        arrays.dense.path,
    )
    assert out == "bye\n"


# ---- Ctrl-C ----------------------------------------------------------------------------------

CHUNK = 2_000_000
SLOW_CHUNKS = 250
SLOW_LIBRARY_CHUNK = 64_000_000


@pytest.fixture(scope="module")
def slow_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of 4 GB, once decoded, of which one number per chunk may be asked for.

    So a read takes seconds of decoding and hardly any memory. Each chunk is the same, compressed
    once. It is deleted at the end, being large for a temporary folder that pytest keeps.
    """
    path = tmp_path_factory.mktemp("slow") / "slow.h5"
    noise = numpy.random.default_rng(28).integers(0, 4, CHUNK).astype("<i8")
    content = zlib.compress(noise.tobytes(), 1)
    raw = [((i * CHUNK,), content, 0) for i in range(SLOW_CHUNKS)]
    write_chunks(path, ("gzip",), "<i8", (SLOW_CHUNKS * CHUNK,), (CHUNK,), raw)
    yield path
    path.unlink()


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_a_long_read(slow_file: Path, threads: int) -> None:
    code = """
    import sys, time
    import numpy
    import filebackedarray
    from delayedarray import extract_dense_array
    filebackedarray.set_num_threads(int(sys.argv[2]))
    seed = filebackedarray.Hdf5DenseArraySeed(sys.argv[1], "x")
    size, chunk = seed.shape[0], int(sys.argv[3])
    first = extract_dense_array(seed, (range(5),))
    reads = 0
    print("reading", flush=True)
    try:
        while True:
            extract_dense_array(seed, (range(0, size, chunk),))
            reads += 1
    except KeyboardInterrupt:
        print("interrupted", time.monotonic(), reads, flush=True)
    # The process goes on, and what it reads is right.
    for start in (0, size - chunk):
        again = extract_dense_array(seed, (range(start, start + 5),))
        assert numpy.array_equal(again, first), (again, first)
    print("went on", flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(slow_file), str(threads), str(CHUNK)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        killer = threading.Timer(60, child.kill)
        killer.start()
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "reading\n"
            time.sleep(0.3)
            sent = time.monotonic()
            child.send_signal(signal.SIGINT)
            out, err = child.communicate()
        finally:
            killer.cancel()
    assert child.returncode == 0, err
    first, second = out.splitlines()
    word, when, _ = first.split()
    assert word == "interrupted"
    # The clock is the same for all processes of a machine.
    assert float(when) - sent < 0.5
    assert second == "went on"


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_a_signal_handler_that_returns_does_not_end_the_read(slow_file: Path) -> None:
    out = run_python(
        """
        import signal, sys
        import filebackedarray
        from delayedarray import extract_dense_array
        filebackedarray.set_num_threads(2)
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
        seed = filebackedarray.Hdf5DenseArraySeed(sys.argv[1], "x")
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        got = extract_dense_array(seed, (range(0, seed.shape[0], int(sys.argv[2])),))
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(len(got), len(set(got.tolist())), bool(seen))
        """,
        slow_file,
        str(CHUNK),
        timeout=90,
    )
    # One number per chunk, and every chunk is the same.
    assert out.split() == [str(SLOW_CHUNKS), "1", "True"]


# ---- several requests at once ----------------------------------------------------------------


@pytest.fixture
def small_seed(tmp_path: Path) -> tuple[Hdf5DenseArraySeed, numpy.ndarray]:
    """A dataset of 60 chunks, which a read decodes in about a millisecond, and its values."""
    values = numpy.arange(60_000, dtype="i4").reshape(600, 100)
    with h5py.File(tmp_path / "small.h5", "w") as handle:
        handle.create_dataset("x", data=values, chunks=(10, 100), compression="gzip")
    return Hdf5DenseArraySeed(tmp_path / "small.h5", "x", native_order=True), values


class LongRead:
    """A read by another thread that begins anew until this context ends."""

    def __init__(self, path: Path) -> None:
        """Prepare a read of one number of each chunk of the file."""
        self.seed = Hdf5DenseArraySeed(path, "x")
        self.subset = (range(0, SLOW_CHUNKS * CHUNK, CHUNK),)
        self.done = threading.Event()
        self.results: list[numpy.ndarray] = []
        self.thread = threading.Thread(target=self.read)

    def read(self) -> None:
        """Read until told to end."""
        while not self.done.is_set():
            self.results.append(extract_dense_array(self.seed, self.subset))

    def __enter__(self) -> LongRead:
        """Begin."""
        self.thread.start()
        time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        """End after the read that is under way."""
        self.done.set()
        self.thread.join()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_small_read_does_not_wait_for_another_threads_long_one(
    slow_file: Path, small_seed: tuple[Hdf5DenseArraySeed, numpy.ndarray], threads: int
) -> None:
    seed, values = small_seed
    set_num_threads(threads)
    with LongRead(slow_file) as long:
        waits = []
        for _ in range(20):
            started = time.perf_counter()
            got = to_dense_array(seed)
            waits.append(time.perf_counter() - started)
            assert_identical(got, values)
        # None was held up by a whole read of the other thread, which takes seconds, nor by many of its chunks.
        assert long.thread.is_alive()
        assert sorted(waits)[10] < 0.1, waits
        assert max(waits) < 0.5, waits
    assert all(len(result) == SLOW_CHUNKS for result in long.results)


def test_a_limit_of_one_thread_holds_beside_another_threads_long_read(
    slow_file: Path, small_seed: tuple[Hdf5DenseArraySeed, numpy.ndarray]
) -> None:
    seed, values = small_seed
    set_num_threads(2)
    with LongRead(slow_file), limit_threads(1):
        started = time.perf_counter()
        assert get_num_threads() == 1
        assert_identical(to_dense_array(seed), values)
        assert time.perf_counter() - started < 0.5


def test_an_error_is_nobody_elses(slow_file: Path, tmp_path: Path) -> None:
    raw = [((i * 100,), b"damage" if i == 30 else zlib.compress(bytes(100)), 0) for i in range(50)]
    write_chunks(tmp_path / "x.h5", ("gzip",), "|u1", (5000,), (100,), raw)
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    set_num_threads(2)
    with LongRead(slow_file) as long:
        for _ in range(5):
            with pytest.raises(OSError, match="chunk"):
                to_dense_array(seed)
    assert long.results
    assert all(len(set(result.tolist())) == 1 for result in long.results)


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_a_read_beside_another_threads(slow_file: Path, threads: int) -> None:
    out = run_python(
        """
        import os, signal, sys, threading, time
        import filebackedarray
        from delayedarray import extract_dense_array
        filebackedarray.set_num_threads(int(sys.argv[3]))
        seed = filebackedarray.Hdf5DenseArraySeed(sys.argv[1], "x")
        subset = (range(0, seed.shape[0], int(sys.argv[2])),)
        thread = threading.Thread(target=lambda: extract_dense_array(seed, subset), daemon=True)
        thread.start()
        time.sleep(0.2)
        sent = []
        def send():
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.1, send).start()
        try:
            while True:
                extract_dense_array(seed, subset)
        except KeyboardInterrupt:
            print(time.monotonic() - sent[0], thread.is_alive(), flush=True)
        os._exit(0)
        """,
        slow_file,
        str(CHUNK),
        str(threads),
    )
    waited, other_goes_on = out.split()
    # The time of a chunk of 16 MB, on a machine whose cores all have something to do.
    assert float(waited) < 0.5
    assert other_goes_on == "True"


@has_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_in_the_midst_of_a_request(slow_file: Path) -> None:
    # A signal's handler runs on the thread that reads, and may fork. The helpers of that read are the parent's alone:
    # the child's copy of it ends, with all its values or by saying why not, and the child reads on.
    out = run_python(
        """
        import os, signal, sys
        import filebackedarray
        from delayedarray import extract_dense_array
        filebackedarray.set_num_threads(3)
        seed = filebackedarray.Hdf5DenseArraySeed(sys.argv[1], "x")
        chunk = int(sys.argv[2])
        first = extract_dense_array(seed, (range(5),))
        children = []
        def fork(*_):
            if not children:
                children.append(os.fork())
        signal.signal(signal.SIGALRM, fork)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            got = extract_dense_array(seed, (range(0, seed.shape[0], chunk),))
            assert len(set(got.tolist())) == 1
        except RuntimeError as error:
            assert children[0] == 0 and "forked" in str(error), error
        assert (extract_dense_array(seed, (range(5),)) == first).all()
        assert len(extract_dense_array(seed, (range(0, 40 * chunk, chunk),))) == 40
        if children[0] == 0:
            os._exit(0)
        assert os.waitpid(children[0], 0)[1] == 0
        print("both went on")
        """,
        slow_file,
        str(CHUNK),
        timeout=90,
    )
    assert out == "both went on\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the number of threads as Linux does")
def test_where_the_system_has_no_threads_the_caller_works_alone(arrays: Arrays) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The limit does not hold for root, so that the process becomes somebody else, who has to find the file.
        Path(folder).chmod(0o755)
        shutil.copy(arrays.dense.path, Path(folder) / "x.h5")
        out = run_python(
            """
            import os, resource, sys, threading
            import filebackedarray
            from delayedarray import to_dense_array
            x = filebackedarray.Hdf5DenseArray(sys.argv[1], "x", native_order=True)
            # Somebody else may not find Python's modules, of which these load the last.
            filebackedarray.set_num_threads(1)
            totals = to_dense_array(x).sum(), x.sum()
            filebackedarray.set_num_threads(4)
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            if os.getuid() == 0:
                os.setuid(65534)
            try:
                threading.Thread(target=print).start()
                print("there are threads")
            except RuntimeError:
                pass
            assert (to_dense_array(x).sum(), x.sum()) == totals
            print(*totals)
            """,
            Path(folder) / "x.h5",
        )
    total = str(arrays.values.sum())
    assert out.split() == [total, total]


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_ends_a_wait_for_libhdf5(tmp_path: Path) -> None:
    # Chunks that libhdf5 takes long to decode: it is given one at a time, and nobody else can call it meanwhile.
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        slow = handle.create_dataset(
            "slow", (4 * SLOW_LIBRARY_CHUNK,), "u1", chunks=(2 * SLOW_LIBRARY_CHUNK,), scaleoffset=7
        )
        slow[:] = numpy.random.default_rng(5).integers(0, 100, slow.shape, dtype="u1")
        handle["small"] = numpy.arange(10)
    out = run_python(
        """
        import os, signal, sys, threading, time
        import numpy
        import filebackedarray
        from delayedarray import extract_dense_array, to_dense_array
        slow = filebackedarray.Hdf5DenseArraySeed(sys.argv[1], "slow")
        # No chunk is kept, so that each call decodes one.
        filebackedarray.set_cache_budget(0)
        calls = []
        def read():
            while True:
                started = time.monotonic()
                extract_dense_array(slow, (range(1),))
                calls.append(time.monotonic() - started)
        # Two of them, so that one is always at it.
        for _ in range(2):
            threading.Thread(target=read, daemon=True).start()
        while not calls:
            time.sleep(0.01)
        # A request that needs libhdf5 waits for one call, and not until the other thread has none to make.
        started = time.monotonic()
        small = filebackedarray.Hdf5DenseArraySeed(sys.argv[1], "small")
        assert to_dense_array(small)[3] == 3
        once = time.monotonic() - started
        waits, turns = [], 0
        for _ in range(5):
            sent = []
            def send():
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)
            threading.Timer(0.05, send).start()
            try:
                while True:
                    small.storage_size
                    turns += 1
            except KeyboardInterrupt:
                waits.append(time.monotonic() - sent[0])
        assert turns < 20, "libhdf5 was free"
        print(max(waits), once, min(calls), flush=True)
        os._exit(0)
        """,
        tmp_path / "x.h5",
    )
    waited, once, call = map(float, out.split())
    assert call > 0.3, "the calls are too short for this test"
    # Opening, describing and reading it are a few turns each.
    assert once < 16 * call
    assert waited < 0.2


def test_the_first_call_needs_nothing_of_numpys_modules(tmp_path: Path) -> None:
    """numpy's C interface is looked up at import: an exception of a signal in the midst of that would be a panic."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = numpy.arange(6)
    out = run_python(
        """
        import sys
        import numpy
        from filebackedarray import _core

        out = numpy.empty(6, "i8")
        for name in [name for name in sys.modules if name.endswith("multiarray") or name == "numpy.lib"]:
            sys.modules[name] = None
        _core.read_dense(sys.argv[1], b"x", [(0, 6, 1)], "<i8", out)
        print(out.sum())
        """,
        path,
    )
    assert out.split() == ["15"]
