"""Reading files that may have been made to do damage: in another process, which may crash without harm.

The engine's own code checks what it reads; libhdf5, which parses the metadata of a file, has crashed on damaged
ones, and some of its faults are known as ways to run code. So for a file that is not trusted, all of that runs in a
worker process with limits on memory and time, which follows no link to another file, and which the system keeps from
all other files where it can (see ``rust/src/confine.rs``). Each file has workers of its own, so that what one file does
to a worker cannot get into what is read of another. Arrays come back over a pipe.

The functions here have the signatures of :py:mod:`filebackedarray._core`.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import numpy.typing

from .. import _core
from . import frames
from .types import Attribute, Described, EndedError, Facts, LateError

SECONDS = 30.0
"""How long a call may take, beside the time for its bytes."""

BYTES_PER_SECOND = 1 << 24
"""Minimum number of bytes per second that a worker reads, decodes or returns; any machine does more."""

SMALLEST = 1024
"""Maximum size of decoded values, in sizes of the file; a file that says more is not believed."""

MEMORY = 4 << 30
"""Bytes that a call may take beside its result."""

MOST_WORKERS = 8
"""Maximum number of worker processes; each takes about 40 MB, and an idle one makes room for another file's."""

_PRIVATE = (
    "HDF5_DRIVER",
    "HDF5_DRIVER_CONFIG",
    "HDF5_VOL_CONNECTOR",
    "HDF5_PLUGIN_PATH",
    "HDF5_PLUGIN_PRELOAD",
    "HDF5_EXTFILE_PREFIX",
    "HDF5_VDS_PREFIX",
    "HDF5_EXT_PREFIX",
)
"""Environment variables with which libhdf5 opens other files or loads other code."""

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that keep numpy's libraries from starting threads, which confinement would not reach."""

_ATTEMPTS = 3
"""How many times a worker is started for a file that is replaced meanwhile."""

_LOCKING = "HDF5_USE_FILE_LOCKING"
"""The environment variable by which users have files read without locks. It may change at any time."""

_START = """
import json, sys, types
sys.path[:] = json.loads(sys.argv[1])
package = types.ModuleType("filebackedarray")
package.__path__ = [sys.argv[2]]
sys.modules["filebackedarray"] = package
from filebackedarray._engine import worker
worker.serve()
"""

_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not UnicodeDecodeError
}

_Array = numpy.typing.NDArray[Any]


class Confined(NamedTuple):
    """What the system keeps a worker from."""

    files: bool
    """All files but the one that it reads."""
    calls: bool
    """The network, other programs, other processes, and changes to files."""


class _Worker:
    """A process that reads one file, one call at a time. It lives until a call kills it, or its parent ends."""

    def __init__(self, path: str) -> None:
        self._owner = os.getpid()
        environment = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path), str(Path(__file__).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, **dict.fromkeys(_ONE_THREAD, "1")},
        )
        answer, _ = self.call(path, SECONDS, {"path": path}, (), ())
        if "error" in answer:
            self.kill()
            raise _error(answer)
        self.confined = Confined(bool(answer["files"]), bool(answer["calls"]))
        device, inode = answer["file"]
        self.file = (int(device), int(inode))
        """Device and number of the file that it can read; the path may lead to another one later."""

    def usable(self) -> bool:
        """Not of another process that forked this one, and alive."""
        return self._owner == os.getpid() and self._process.poll() is None

    def kill(self) -> None:
        """End it, whatever it does, and let go of its pipes."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()

    def call(
        self, path: str, seconds: float, message: dict[str, Any], arrays: Sequence[_Array], outputs: Sequence[_Array]
    ) -> tuple[dict[str, Any], list[_Array]]:
        """Send a call and wait for its answer. Where `outputs` are given, the answer's arrays go into them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            frames.write(self._process.stdin, message, arrays)  # type: ignore[arg-type]
            answer = frames.read(self._process.stdout)  # type: ignore[arg-type]
            if "error" in answer:
                return answer, []
            results = list(outputs)
            announced = [(numpy.dtype(dtype), int(size)) for dtype, size in answer["arrays"]]
            if not outputs:
                results = [numpy.empty(size, dtype) for dtype, size in announced]
            elif announced != [(output.dtype, output.size) for output in outputs]:
                raise ValueError("other arrays than were asked for")
            for result in results:
                frames.read_array(self._process.stdout, result)  # type: ignore[arg-type]
            return answer, results
        except (EOFError, BrokenPipeError):
            self.kill()
            if late.is_set():
                raise LateError(
                    f"reading {path!r} took more than {seconds:.0f} s in a process of its own;"
                    " the file may be damaged, or made to do damage"
                ) from None
            raise EndedError(
                f"the process that read {path!r} was ended by {_ending(self._process.returncode)};"
                " the file may be damaged, or made to do damage"
            ) from None
        except BaseException:
            # Ctrl-C, or an answer that is none: what comes next over the pipe cannot be told.
            self.kill()
            raise
        finally:
            timer.cancel()


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit status {code}"


@dataclass
class Patience:
    """How many calls may end the worker before no more are made."""

    most: int
    ended: int = 0
    """How many did."""


_free = threading.Condition()
_idle: list[_Worker] = []
"""Workers that have nothing to do; the last one was used last."""
_busy = 0
"""Number of workers that are used, or being started."""
_patience: Patience | None = None


@contextlib.contextmanager
def _worker(path: str, file: tuple[int, int]) -> Iterator[_Worker]:
    """Have a worker for a file, as long as the body runs."""
    global _busy
    found: _Worker | None = None
    while found is None:
        surplus: _Worker | None = None
        with _free:
            _idle[:] = [worker for worker in _idle if worker.usable()]
            found = next((worker for worker in reversed(_idle) if worker.file == file), None)
            if found is not None:
                _idle.remove(found)
            elif _busy >= MOST_WORKERS:
                _free.wait()
                continue
            elif _busy + len(_idle) >= MOST_WORKERS:
                surplus = _idle.pop(0)
            _busy += 1
        try:
            if surplus is not None:
                surplus.kill()
            if found is None:
                found = _Worker(path)
        except BaseException:
            _finished(None)
            raise
    try:
        yield found
    finally:
        _finished(found)


def _finished(worker: _Worker | None) -> None:
    """Count a worker as no longer busy, and keep it if there is one that works still."""
    global _busy
    with _free:
        _busy -= 1
        if worker is not None and worker.usable():
            _idle.append(worker)
        _free.notify()


@contextlib.contextmanager
def patience(most: int) -> Iterator[Patience]:
    """Stop reading, within a ``with`` statement, after a maximum number of calls that ended the worker.

    Args:
        most: The maximum; the next call raises an :py:class:`EndedError` at once, as long as the body runs.

    Yields:
        The count.
    """
    global _patience
    before, _patience = _patience, Patience(most)
    try:
        yield _patience
    finally:
        _patience = before


def _after_fork() -> None:
    # Another thread may have held the lock; and the workers are the parent's.
    global _free, _idle, _busy
    _free, _idle, _busy = threading.Condition(), [], 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _call(
    call: str,
    path: str,
    *,
    arrays: Sequence[_Array] = (),
    outputs: Sequence[_Array] = (),
    expected: int = 0,
    decoded: int = 0,
    **arguments: Any,
) -> tuple[dict[str, Any], list[_Array]]:
    """Have the worker do something.

    It has memory and time for a result of `expected` bytes, and time to go through `decoded` ones.
    """
    # The worker stays in the folder in which it was started. No path is no file, and not this folder.
    path = os.path.abspath(path) if path else path
    expected = min(expected, _core.memory_limit() or expected)
    size = expected
    with contextlib.suppress(OSError, ValueError):
        stored = os.stat(path).st_size
        size += stored + min(decoded, SMALLEST * stored)
    message = {
        "call": call,
        "path": path,
        "threads": _core.get_num_threads(),
        "locking": os.environ.get(_LOCKING),
        # The result, and what it is made from or copied to on its way.
        "memory": MEMORY + 3 * expected,
        **arguments,
    }
    if _patience is not None and _patience.ended >= _patience.most:
        raise EndedError(f"not read, since {path!r} ended {_patience.ended} processes that read it")
    for attempt in range(_ATTEMPTS):
        # Its errors are those of a file that cannot be opened, for which no process is needed.
        file = _core.file_of(path)
        try:
            with _worker(path, file) as worker:
                answer, results = worker.call(path, SECONDS + size / BYTES_PER_SECOND, message, arrays, outputs)
        except EndedError:
            if _patience is not None:
                _patience.ended += 1
            raise
        # A worker cannot open the file that has been put in the place of its own.
        if answer.get("error") != "PermissionError" or attempt == _ATTEMPTS - 1 or _core.file_of(path) == file:
            break
    snapshot, state = _core.current_snapshot(), answer["state"]
    if snapshot is not None and state is not None:
        snapshot.note(path, [int(number) for number in state])
    if "error" in answer:
        raise _error(answer)
    return answer, results


def _error(answer: dict[str, Any]) -> Exception:
    """The exception that a worker had."""
    return _ERRORS.get(answer["error"], OSError)(*answer["message"])


def _split(axes: Sequence[Any]) -> tuple[list[Any], list[_Array]]:
    """A selection for JSON, and the indices in it."""
    indices = [axis for axis in axes if isinstance(axis, numpy.ndarray)]
    return [None if isinstance(axis, numpy.ndarray) else list(axis) for axis in axes], indices


def inspect(path: str, name: bytes) -> tuple[tuple[int, ...], str, tuple[int, ...] | None]:
    """See ``_core``."""
    answer, _ = _call("inspect", path, name=name.decode("latin-1"))
    chunks = answer["chunks"]
    return tuple(map(int, answer["shape"])), str(answer["dtype"]), None if chunks is None else tuple(map(int, chunks))


def facts(path: str, name: bytes) -> Facts:
    """See ``_core``."""
    answer, _ = _call("facts", path, name=name.decode("latin-1"))
    chunks = answer["chunks"]
    return {
        "chunks": None if chunks is None else tuple(map(int, chunks)),
        "filters": [(int(number), str(name), [int(value) for value in v]) for number, name, v in answer["filters"]],
        "storage_size": int(answer["storage_size"]),
        "value_size": int(answer["value_size"]),
        "from_r": bool(answer["from_r"]),
        "logical": bool(answer["logical"]),
        "missing_strings": bool(answer["missing_strings"]),
    }


def read_path(path: str, name: bytes) -> str:
    """See ``_core``."""
    answer, _ = _call("read_path", path, name=name.decode("latin-1"))
    return str(answer["path"])


def check_dense(path: str, name: bytes) -> tuple[int, list[tuple[tuple[int, ...], str]]]:
    """See ``_core``. How far it is cannot be told meanwhile: a call has one answer."""
    shape = describe(path, name)[2] or ()
    size = math.prod(shape) * facts(path, name)["value_size"]
    answer, _ = _call("check_dense", path, decoded=size, name=name.decode("latin-1"))
    return int(answer["chunks"]), [(tuple(map(int, chunk)), str(what)) for chunk, what in answer["damaged"]]


def read_dense(path: str, name: bytes, selection: Sequence[Any], dtype: str, out: _Array) -> None:
    """See ``_core``."""
    _read("read_dense", path, name, selection, dtype, out)


def read_points(path: str, name: bytes, along: Sequence[Any], dtype: str, out: _Array) -> None:
    """See ``_core``."""
    _read("read_points", path, name, along, dtype, out)


def _read(call: str, path: str, name: bytes, selection: Sequence[Any], dtype: str, out: _Array) -> None:
    axes, indices = _split(selection)
    _call(
        call,
        path,
        arrays=indices,
        outputs=[out],
        expected=out.nbytes,
        name=name.decode("latin-1"),
        axes=axes,
        dtype=dtype,
        shape=out.shape,
        out=out.dtype.str,
    )


def read_strings(path: str, name: bytes, selection: Sequence[Any]) -> list[bytes]:
    """See ``_core``."""
    axes, indices = _split(selection)
    _, answer = _call("read_strings", path, arrays=indices, name=name.decode("latin-1"), axes=axes)
    return _strings(*answer)


def _strings(lengths: _Array, content: _Array) -> list[bytes]:
    ends = numpy.cumsum(lengths).tolist()
    joined = content.tobytes()
    return [joined[end - int(length) : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def _described(sent: Any) -> Described:
    kind, identity, shape, dtype, fields, note = sent
    return (
        str(kind),
        identity.encode("latin-1"),
        None if shape is None else tuple(map(int, shape)),
        None if dtype is None else str(dtype),
        [(name.encode("latin-1"), None if of is None else str(of)) for name, of in fields],
        str(note),
    )


def describe(path: str, name: bytes) -> Described:
    """See ``_core``."""
    answer, _ = _call("describe", path, name=name.decode("latin-1"))
    return _described(answer["object"])


def members(path: str, group: bytes) -> list[tuple[bytes, Described]]:
    """See ``_core``."""
    answer, _ = _call("members", path, name=group.decode("latin-1"))
    return [(name.encode("latin-1"), _described(sent)) for name, sent in answer["members"]]


def attributes(path: str, name: bytes, wanted: Sequence[bytes]) -> list[Attribute]:
    """See ``_core``."""
    names = [one.decode("latin-1") for one in wanted]
    answer, _ = _call("attributes", path, name=name.decode("latin-1"), wanted=names)

    def received(kind: str, sent: Any) -> Any:
        if kind == "other":
            return str(sent)
        if isinstance(sent, list):
            return [received(kind, one) for one in sent]
        return sent.encode("latin-1")

    return [
        (one.encode("latin-1"), str(kind), tuple(map(int, shape)), str(dtype), received(kind, sent))
        for one, kind, shape, dtype, sent in answer["attributes"]
    ]


def read_field(path: str, dataset: bytes, field: bytes) -> tuple[str, bytes | list[bytes]]:
    """See ``_core``."""
    answer, arrays = _call("read_field", path, name=dataset.decode("latin-1"), field=field.decode("latin-1"))
    dtype = str(answer["dtype"])
    return dtype, arrays[0].tobytes() if dtype else _strings(*arrays)


class SparseMatrix:
    """See ``_core``."""

    def __init__(
        self, path: str, data: bytes, indices: bytes, indptr: bytes, shape: tuple[int, int], by_column: bool
    ) -> None:
        """See ``_core``."""
        self._path = path
        names = (name.decode("latin-1") for name in (data, indices, indptr))
        self._matrix = (*names, shape, by_column)

    def inspect(self) -> tuple[str, str, int]:
        """See ``_core``."""
        answer, _ = _call("sparse_inspect", self._path, matrix=self._matrix)
        return str(answer["dtype"]), str(answer["index_dtype"]), int(answer["count"])

    def read(
        self, selection: Sequence[Any], dtype: str, index_dtype: str, by_column: bool
    ) -> tuple[numpy.typing.NDArray[numpy.uint64], _Array, _Array]:
        """See ``_core``."""
        axes, indices = _split(selection)
        types = (numpy.dtype(numpy.uint64), numpy.dtype(index_dtype), numpy.dtype(dtype))
        count = self.inspect()[2]
        _, results = _call(
            "sparse_read",
            self._path,
            arrays=indices,
            expected=count * sum(kind.itemsize for kind in types),
            matrix=self._matrix,
            axes=axes,
            dtype=dtype,
            index_dtype=index_dtype,
            by_column=by_column,
        )
        pointers, positions, values = results
        if (pointers.dtype, positions.dtype, values.dtype) != types or not (
            pointers.size > 0 and int(pointers[-1]) <= min(positions.size, values.size)
        ):
            raise OSError(f"the process that read {self._path!r} gave an answer that cannot be right")
        return pointers, positions, values

    def read_dense(self, selection: Sequence[Any], dtype: str, out: numpy.typing.NDArray[numpy.uint8]) -> None:
        """See ``_core``."""
        axes, indices = _split(selection)
        _call(
            "sparse_read_dense",
            self._path,
            arrays=indices,
            outputs=[out],
            expected=out.nbytes,
            matrix=self._matrix,
            axes=axes,
            dtype=dtype,
            size=out.size,
        )
