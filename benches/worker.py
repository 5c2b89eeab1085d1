"""A process that reads with one peer, and its controlling end.

Run as a script it is the process: it answers one line of JSON on standard output for each line of
JSON on standard input. The first line that it writes names the versions of what it measures.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from peers import PEERS, Read
from results import fingerprint, nbytes
from sizes import SIZES, Size, file_path, work_items

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


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
        )
        self.versions: dict[str, str] = self._receive()

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

    def fingerprint(self, work: str) -> str:
        """Read once, untimed, which also warms the page cache.

        Args:
            work: Key of the work item.

        Returns:
            Digest of the result.
        """
        return str(self._ask("fingerprint", work))

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
        self._paths = {work.key: (work.kind, file_path(data_dir, size, work.file)) for work in work_items(size)}
        self._reads: dict[str, Read] = {}

    def fingerprint(self, work: str) -> str:
        return fingerprint(self._read(work)())

    def seconds(self, work: str) -> float:
        read = self._read(work)
        gc.collect()
        start = time.perf_counter()
        result = read()
        seconds = time.perf_counter() - start
        del result  # Only now, so that giving the memory back is not part of the time.
        return seconds

    def overhead(self, work: str) -> int | None:
        read = self._read(work)
        if not STATUS.exists():
            return None
        gc.collect()
        # Where it is not allowed, the peak includes that of the imports, so that what is reported
        # may be too much, never too little.
        with suppress(OSError):
            CLEAR_REFS.write_text("5")
        before = _memory("VmRSS")
        result = read()
        return _memory("VmHWM") - before - nbytes(result)

    def _read(self, work: str) -> Read:
        """Open what the work item reads, once."""
        if work not in self._reads:
            kind, path = self._paths[work]
            self._reads[work] = getattr(self.peer, kind)(path)
        return self._reads[work]


def _memory(field: str) -> int:
    """Read one of the kernel's counts of this process's memory.

    Args:
        field: ``VmRSS`` for now, ``VmHWM`` for the peak. (The peak in ``getrusage`` would not do:
            it starts at that of the parent process.)

    Returns:
        Number of bytes.
    """
    lines = STATUS.read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


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
    print(json.dumps(server.peer.versions()), file=answers, flush=True)
    for line in sys.stdin:
        question, work = json.loads(line)
        print(json.dumps(getattr(server, question)(work)), file=answers, flush=True)


if __name__ == "__main__":
    main()
