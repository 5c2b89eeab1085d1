"""Calls in child processes with limits on memory and time, which may die without taking the tests along.

One process imports everything and then forks for each call: a call costs milliseconds, starts from the same
state as every other, and whatever kills it is known by its argument.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

#: Characters of a dead child's standard error that are worth reading.
_LAST_WORDS = 3000


@dataclass(frozen=True)
class Ending:
    """How a call ended: with an answer, or by the death of its process."""

    answer: Any
    death: str | None
    #: What the process wrote to standard error, by the end of it: the traces of faulthandler among it.
    last_words: str


class Isolated:
    """A function of a module of the tests, called as `isolated(argument, seconds=10, memory=2 << 30)`.

    Its argument and its answer travel as JSON.
    """

    def __init__(self, module: str, function: str) -> None:
        # Threads cost address space, which is what is limited.
        environment = {**os.environ, "FILEBACKEDARRAY_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, module, function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __call__(self, argument: Any, *, seconds: float, memory: int | None = None) -> Ending:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([argument, seconds, memory]) + "\n")
        self._process.stdin.flush()
        return Ending(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _limit(memory: int | None) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Elsewhere than on Linux this limit is refused or has no effect.
    if memory is not None and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _child(call: Any, argument: Any, memory: int | None, answers: int, words: IO[bytes]) -> None:
    """Never returns."""
    code = 1
    try:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
        faulthandler.enable(file=2)
        _limit(memory)
        content = json.dumps(call(argument)).encode()
        while content:
            content = content[os.write(answers, content) :]
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(code)


def _receive(answers: int, seconds: float) -> bytes | None:
    """What the child writes until its end; None if that takes too long."""
    deadline = time.monotonic() + seconds
    content = b""
    while True:
        ready, _, _ = select.select([answers], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return None
        piece = os.read(answers, 1 << 16)
        if not piece:
            return content
        content += piece


def _run(call: Any, argument: Any, seconds: float, memory: int | None) -> Ending:
    with tempfile.TemporaryFile() as words:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(call, argument, memory, writing, words)
        os.close(writing)
        content = _receive(reading, seconds)
        os.close(reading)
        if content is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        words.seek(0)
        last_words = words.read().decode("utf-8", "replace")[-_LAST_WORDS:]
    if content is None:
        return Ending(None, f"no answer within {seconds} s", last_words)
    if code < 0:
        return Ending(None, f"killed by {signal.Signals(-code).name}", last_words)
    if code > 0:
        return Ending(None, f"exit code {code}", last_words)
    return Ending(json.loads(content), None, "")


def _serve(module: str, function: str) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    call = getattr(importlib.import_module(module), function)
    for line in sys.stdin:
        argument, seconds, memory = json.loads(line)
        ending = _run(call, argument, seconds, memory)
        print(json.dumps([ending.answer, ending.death, ending.last_words]), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
