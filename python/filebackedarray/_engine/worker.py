"""The other side of :py:mod:`filebackedarray._engine.untrusted`: a process that reads one file for its parent.

It is started without the package's ``__init__``, and needs numpy only. Whatever it needs it imports and opens before it
reads the file: afterwards it can open nothing else (``confine`` in ``rust/src/confine.rs``).
"""

from __future__ import annotations

import builtins
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from .. import _core
from . import frames

if sys.platform != "win32":
    import resource

Answer = tuple[dict[str, Any], Sequence[frames.Array]]


def _axes(axes: Sequence[Any], arrays: Sequence[frames.Array]) -> list[Any]:
    """A selection, of which indices came as arrays."""
    indices = iter(arrays)
    return [next(indices) if axis is None else tuple(axis) for axis in axes]


def _name(name: str) -> bytes:
    return name.encode("latin-1")


def _matrix(message: dict[str, Any]) -> _core.SparseMatrix:
    data, indices, indptr, shape, by_column = message["matrix"]
    return _core.SparseMatrix(message["path"], _name(data), _name(indices), _name(indptr), tuple(shape), by_column)


def _inspect(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    shape, dtype, chunks = _core.inspect(message["path"], _name(message["name"]))
    return {"shape": shape, "dtype": dtype, "chunks": chunks}, ()


def _facts(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    return {**_core.facts(message["path"], _name(message["name"]))}, ()


def _read_path(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    return {"path": _core.read_path(message["path"], _name(message["name"]))}, ()


def _check_dense(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    chunks, damaged = _core.check_dense(message["path"], _name(message["name"]))
    return {"chunks": chunks, "damaged": damaged}, ()


def _read_dense(message: dict[str, Any], arrays: Sequence[frames.Array]) -> Answer:
    output = numpy.empty(message["shape"], message["out"])
    axes = _axes(message["axes"], arrays)
    _core.read_dense(message["path"], _name(message["name"]), axes, message["dtype"], output)
    return {}, (output,)


def _read_points(message: dict[str, Any], arrays: Sequence[frames.Array]) -> Answer:
    output = numpy.empty(message["shape"], message["out"])
    along = _axes(message["axes"], arrays)
    _core.read_points(message["path"], _name(message["name"]), along, message["dtype"], output)
    return {}, (output,)


def _read_strings(message: dict[str, Any], arrays: Sequence[frames.Array]) -> Answer:
    return _strings(_core.read_strings(message["path"], _name(message["name"]), _axes(message["axes"], arrays)))


def _text(name: bytes) -> str:
    return name.decode("latin-1")


def _described(described: Any) -> list[Any]:
    kind, identity, shape, dtype, fields, note = described
    return [kind, _text(identity), shape, dtype, [[_text(name), of] for name, of in fields], note]


def _describe(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    return {"object": _described(_core.describe(message["path"], _name(message["name"])))}, ()


def _members(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    members = _core.members(message["path"], _name(message["name"]))
    return {"members": [[_text(name), _described(described)] for name, described in members]}, ()


def _attributes(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    found = _core.attributes(message["path"], _name(message["name"]), [_name(name) for name in message["wanted"]])
    attributes = []
    for name, kind, shape, dtype, values in found:
        # Bytes are text of JSON, one character each, however deep in lists.
        sent: Any = values
        if isinstance(values, bytes):
            sent = _text(values)
        elif isinstance(values, list):
            sent = [list(map(_text, value)) if isinstance(value, list) else _text(value) for value in values]
        attributes.append([_text(name), kind, shape, dtype, sent])
    return {"attributes": attributes}, ()


def _strings(strings: Sequence[bytes]) -> Answer:
    lengths = numpy.fromiter(map(len, strings), numpy.uint64, len(strings))
    return {}, (lengths, numpy.frombuffer(b"".join(strings), numpy.uint8))


def _read_field(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    dtype, values = _core.read_field(message["path"], _name(message["name"]), _name(message["field"]))
    if isinstance(values, bytes):
        return {"dtype": dtype}, (numpy.frombuffer(values, numpy.uint8),)
    return {"dtype": dtype}, _strings(values)[1]


def _sparse_inspect(message: dict[str, Any], _: Sequence[frames.Array]) -> Answer:
    dtype, index_dtype, count = _matrix(message).inspect()
    return {"dtype": dtype, "index_dtype": index_dtype, "count": count}, ()


def _sparse_read(message: dict[str, Any], arrays: Sequence[frames.Array]) -> Answer:
    matrix, axes = _matrix(message), _axes(message["axes"], arrays)
    return {}, matrix.read(axes, message["dtype"], message["index_dtype"], message["by_column"])


def _sparse_read_dense(message: dict[str, Any], arrays: Sequence[frames.Array]) -> Answer:
    output = numpy.zeros(message["size"], numpy.uint8)
    _matrix(message).read_dense(_axes(message["axes"], arrays), message["dtype"], output)
    return {}, (output,)


_CALLS: dict[str, Callable[[dict[str, Any], Sequence[frames.Array]], Answer]] = {
    "inspect": _inspect,
    "facts": _facts,
    "read_path": _read_path,
    "check_dense": _check_dense,
    "read_dense": _read_dense,
    "read_points": _read_points,
    "read_strings": _read_strings,
    "describe": _describe,
    "members": _members,
    "attributes": _attributes,
    "read_field": _read_field,
    "sparse_inspect": _sparse_inspect,
    "sparse_read": _sparse_read,
    "sparse_read_dense": _sparse_read_dense,
}


class _Memory:
    """The limit on how much memory a call may take beyond what the process has now. Linux only."""

    def __init__(self) -> None:
        self._used = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None

    def limit(self, memory: int) -> None:
        """Set the maximum of memory that a call may take, in bytes."""
        if self._used is None:
            return
        used = int(os.pread(self._used, 1024, 0).split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = used + memory
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _give_up_rights(path: str) -> dict[str, Any]:
    """Keep what happens in this process from everything but a file."""
    # The parent decides what Ctrl-C means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    _core.only_this_file()
    # Looks for the limits of the control group, in files that cannot be opened afterwards.
    _core.get_num_threads()
    file, files, calls = _core.confine(path)
    return {"file": file, "files": files, "calls": calls}


def serve() -> None:
    """Answer calls from standard input until it ends."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    calls = sys.stdin.buffer
    memory = _Memory()
    try:
        confined = _give_up_rights(frames.read(calls)["path"])
    except Exception as error:
        frames.write(answers, {"error": _exception(error), "message": _arguments(error)})
        return
    frames.write(answers, confined)
    while True:
        try:
            message = frames.read(calls)
            arrays = [numpy.empty(size, dtype) for dtype, size in message["arrays"]]
            for array in arrays:
                frames.read_array(calls, array)
        except EOFError:
            return
        # In which state the file was found: whether it is that of the operation, the parent knows.
        snapshot = _core.Snapshot()
        _core.bind_snapshot(snapshot)
        results: Sequence[frames.Array] = ()
        try:
            _core.set_num_threads(message["threads"])
            if message["locking"] is None:
                os.environ.pop("HDF5_USE_FILE_LOCKING", None)
            else:
                os.environ["HDF5_USE_FILE_LOCKING"] = message["locking"]
            memory.limit(message["memory"])
            answer, results = _CALLS[message["call"]](message, arrays)
        except Exception as error:
            answer = {"error": _exception(error), "message": _arguments(error)}
        frames.write(answers, {**answer, "state": snapshot.identity(message["path"])}, results)


def _exception(error: Exception) -> str:
    """The name of the first class of an exception that is Python's own."""
    names: list[str] = [kind.__name__ for kind in type(error).__mro__ if vars(builtins).get(kind.__name__) is kind]
    return names[0]


def _arguments(error: Exception) -> list[Any]:
    if isinstance(error, OSError) and error.errno is not None:
        return [error.errno, error.strerror, error.filename]
    return [str(argument) for argument in error.args]
