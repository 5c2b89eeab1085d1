"""A process that reads with one peer, and its controlling end.

Run as a script it is the process: it answers one line of JSON on standard output for each line of
JSON on standard input. The first line that it writes names the versions of what it measures.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import mmap
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from memory import Peak
from peers import PEERS, Read, Timed
from results import fingerprint, nbytes
from sizes import SIZES, ZARR_CODECS, Size, curves, file_path, work_items, zarr_path

#: What tells the peers' thread pools how large to be.
THREAD_VARIABLES = ("RAYON_NUM_THREADS", "BLOSC_NTHREADS", "OMP_NUM_THREADS")

ATTEMPTS_TO_DROP = 20


class WorkerError(RuntimeError):
    """A worker ended before it answered; its own traceback is on standard error."""


class Worker:
    """The controlling end of a worker process. A context manager, which ends the process."""

    def __init__(self, peer: str, size: Size, data_dir: Path, threads: int) -> None:
        """Start the process.

        Args:
            peer: Name of the peer to read with.
            size: Size of the files.
            data_dir: Directory of the files.
            threads: Number of threads that the peer may use.
        """
        self._peer = peer
        self._process = subprocess.Popen(
            [sys.executable, __file__, peer, size.name, str(data_dir), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)),
        )
        about = self._receive()
        self.versions: dict[str, str] = about["versions"]
        #: Bytes that the package keeps between reads on purpose.
        self.cache_budget: int = about["cache_budget"]

    def __enter__(self) -> Worker:
        """Return the worker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def fingerprint(self, work: str) -> str | None:
        """Read once, untimed, which also warms the page cache.

        Args:
            work: Key of the work item.

        Returns:
            Digest of the result; None for a limit, which has no result.
        """
        answer = self._ask("fingerprint", work)
        return None if answer is None else str(answer)

    def chill(self, work: str) -> bool:
        """Drop the file of a work item from the page cache.

        Args:
            work: Key of the work item.

        Returns:
            Whether it is gone from there.
        """
        return bool(self._ask("chill", work))

    def seconds(self, work: str) -> float:
        """Read once.

        Args:
            work: Key of the work item.

        Returns:
            How long it took.
        """
        return float(self._ask("seconds", work))

    def overhead(self, work: str) -> int | None:
        """Read once, which has to be the first read of this process.

        Args:
            work: Key of the work item.

        Returns:
            By how many bytes the process grew at its peak, less those of the result; None where
            the operating system does not tell.
        """
        answer = self._ask("overhead", work)
        return None if answer is None else int(answer)

    def _ask(self, question: str, work: str) -> Any:
        assert self._process.stdin is not None
        # A broken pipe means that it has ended, which the missing answer tells too.
        with suppress(BrokenPipeError):
            print(json.dumps([question, work]), file=self._process.stdin, flush=True)
        return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self._peer}'s process ended with {self._process.wait()}")
        return json.loads(line)


class _Server:
    """The process's end."""

    def __init__(self, peer: str, size: Size, data_dir: Path, threads: int) -> None:
        self.peer = PEERS[peer](size, threads)
        works = [*work_items(size), *(work for curve in curves(size) for _, work in curve.points)]
        self._works = {work.key: (work, file_path(data_dir, size, work.file)) for work in works}
        self._reads: dict[str, Read] = {}

    def fingerprint(self, work: str) -> str | None:
        result = self._read(work)()
        return None if self.peer.times_itself else fingerprint(result)

    def chill(self, work: str) -> bool:
        _, path = self._works[work]
        # All of them, so that the same is done for all peers.
        directories = (zarr_path(path, codec) for codec in ZARR_CODECS)
        files = [path, *(file for directory in directories for file in directory.rglob("*") if file.is_file())]
        # Pages that another core has only just used are let go of a little later.
        for _ in range(ATTEMPTS_TO_DROP):
            files = [file for file in files if not _drop(file)]
            if not files:
                return True
            time.sleep(0.05)
        return False

    def seconds(self, work: str) -> float:
        read = self._read(work)
        self.peer.forget()
        gc.collect()
        start = time.perf_counter()
        result = read()
        seconds = time.perf_counter() - start
        if self.peer.times_itself:
            seconds = result[0]
        elif isinstance(result, Timed):
            seconds = result.seconds
        del result  # Only now, so that giving the memory back is not part of the time.
        return seconds

    def overhead(self, work: str) -> int | None:
        read = self._read(work)
        peak = Peak()
        result = read()
        growth = peak.growth()
        return None if growth is None else growth - nbytes(result)

    def _read(self, key: str) -> Read:
        """Open what the work item reads, once."""
        if key not in self._reads:
            work, path = self._works[key]
            self._reads[key] = getattr(self.peer, work.kind)(path, work.reads)
        return self._reads[key]


def _drop(path: Path) -> bool:
    """Drop a file from the page cache, and tell whether that worked: whether all its bytes are to be waited for."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb", buffering=0) as file:
        # What is not on the disk yet is not dropped.
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _pages_in_cache(file.fileno()) == 0


def _pages_in_cache(file: int) -> int:
    """Count the pages of a file in the page cache.

    Not by reading: a read that does not wait for bytes has them brought in nevertheless.
    """
    size = os.fstat(file).st_size
    if size == 0:
        return 0
    with mmap.mmap(file, size, prot=mmap.PROT_READ) as mapped:
        pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
        address = np.frombuffer(mapped, np.uint8).ctypes.data
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data)):
            raise OSError(ctypes.get_errno(), "mincore failed")
    return int(np.count_nonzero(pages & 1))


def main() -> None:
    """Serve one peer until standard input ends."""
    parser = argparse.ArgumentParser(description="Read with one peer, as bench.py asks.")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()

    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    server = _Server(arguments.peer, SIZES[arguments.size], arguments.data_dir, arguments.threads)
    about = {"versions": server.peer.versions(), "cache_budget": server.peer.cache_budget()}
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        question, work = json.loads(line)
        print(json.dumps(getattr(server, question)(work)), file=answers, flush=True)


if __name__ == "__main__":
    main()
