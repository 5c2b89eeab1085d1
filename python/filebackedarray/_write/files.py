"""A new version of a file, with numpy's values and names as strings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy
import numpy.typing

from .. import _core
from .._engine.names import engine_name, engine_path
from .values import Described, described, stored_dtype

__all__ = ["COMPRESSIONS", "Compression", "FileSink", "NewFile", "Options"]

Array = numpy.typing.NDArray[Any]

Compression = Literal["gzip", "zstd", "lz4", "blosc", "blosc-zstd"] | None
"""What chunks are compressed with."""

COMPRESSIONS = ("gzip", "zstd", "lz4", "blosc", "blosc-zstd")

_WAITING_BYTES = 1 << 26
"""Bytes of chunks that may wait for the rest of their elements, unless said otherwise."""


class Options:
    """How the datasets of an array are stored."""

    def __init__(
        self,
        compression: Compression = "gzip",
        level: int | None = None,
        shuffle: bool = True,
        memory: int | None = None,
    ) -> None:
        """Check what the user says.

        Args:
            compression: One of `COMPRESSIONS`, or None for none.
            level: How hard it tries; None for what is usual.
            shuffle: Whether bytes are shuffled first.
            memory: Bytes of incomplete chunks that may wait in memory.

        Raises:
            ValueError: If there is no such compression, or the memory is not a number of bytes.
        """
        if compression is not None and compression not in COMPRESSIONS:
            known = ", ".join(map(repr, COMPRESSIONS))
            raise ValueError(f"compression={compression!r}; there are {known} and None")
        if memory is not None and memory < 0:
            raise ValueError(f"'memory' should be a number of bytes, not {memory}")
        self.compression = compression
        self.level = level
        self.shuffle = bool(shuffle)
        self.memory = _WAITING_BYTES if memory is None else int(memory)


class NewFile:
    """A new version of a file: a context manager, which puts it in place, or gives it up if the body raises."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Literal["x", "w", "a"],
        *,
        user_block: tuple[int, bytes] | None = None,
        paged: bool = False,
    ) -> None:
        """Begin.

        Args:
            path: The target.
            mode: What becomes of a file that is there: "x", it is an error; "w", it is replaced; "a", it is added to.
            user_block: Its size, a power of two from 512 on, and what stands in it.
            paged: Whether the file has pages of 8 MiB, in which all index nodes stand side by side.

        Raises:
            FileExistsError, BlockingIOError, OSError: As :py:class:`_core.Writer`.
        """
        size, bytes_before = user_block or (0, None)
        self._writer = _core.Writer(engine_path(path), mode, size, bytes_before, PAGE_BYTES if paged else None)

    def __enter__(self) -> NewFile:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put it in place, or give it up."""
        if kind is None:
            self.finish()
        else:
            self.discard()

    def finish(self) -> None:
        """Check it and put it in place.

        Raises:
            OSError: If that cannot be done. Then the target is what it was.
        """
        self._writer.finish()

    def discard(self) -> None:
        """Give it up. The target is what it was."""
        self._writer.discard()

    def make_room(self, name: str, overwrite: bool) -> None:
        """See to it that there is nothing of a name.

        Args:
            name: Of an object.
            overwrite: Whether what is there is taken away, with all that it has.

        Raises:
            FileExistsError: If something is there and should stay.
            ValueError: If it is the root group.
        """
        key = engine_name(name)
        kind = self._writer.kind(key)
        if kind is None:
            return
        if not key.strip(b"/"):
            raise ValueError("the root group of a file is always there; give the name of a dataset or group in it")
        if not overwrite:
            message = f"there is a {kind} {name!r} already; give another name, or overwrite=True to replace it"
            raise FileExistsError(message.replace("a other", "something"))
        self._writer.delete(key)

    def copy(self, source: str | os.PathLike[str], name: str) -> None:
        """Copy an object of another file to the same name here, with all that is in it."""
        self._writer.copy(engine_path(source), engine_name(name))

    def group(self, name: str) -> None:
        """Make a group, unless it is there."""
        self._writer.create_group(engine_name(name))

    def attribute(self, owner: str, name: str, value: Any) -> None:
        """Write an attribute.

        Args:
            owner: Name of the object, "/" for the file's own attributes.
            name: Of the attribute.
            value: As :py:func:`described`, or what that and its relatives return.
        """
        self._writer.write_attribute(engine_name(owner), engine_name(name), _taken(value))

    def attributes(self, owner: str, **values: Any) -> None:
        """Write attributes, of whose names hyphens are underscores here."""
        for name, value in values.items():
            self.attribute(owner, name.replace("_", "-"), value)

    def dataset(self, name: str, value: Any) -> None:
        """Write a small dataset in one piece, not compressed; the value as for :py:meth:`attribute`."""
        self._writer.write_dataset(engine_name(name), _taken(value))

    def sink(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        chunks: Sequence[int],
        options: Options,
        *,
        maxshape: Sequence[int | None] | None = None,
        utf8: bool = False,
    ) -> Sink:
        """Make a dataset of chunks.

        Args:
            name: Of the dataset.
            shape: Its extents in the file; one axis at least.
            dtype: Of its elements.
            chunks: Shape of a chunk.
            options: How it is stored.
            maxshape: Maximum extents; None for an axis without one.
            utf8: Whether byte strings are UTF-8.

        Returns:
            What takes its blocks.
        """
        code = stored_dtype(dtype)
        number = self._writer.create_dataset(
            engine_name(name),
            tuple(map(int, shape)),
            code.str,
            tuple(map(int, chunks)),
            maxshape,
            options.compression,
            options.level,
            options.shuffle,
            None,
            utf8,
            options.memory,
        )
        return Sink(self._writer, number, code)

    def dimension_scales(self, dataset: str, rank: int, scales: Sequence[tuple[int, str]], label: str) -> None:
        """Make datasets dimension scales and attach them.

        Args:
            dataset: Whose dimensions they describe.
            rank: How many it has.
            scales: Numbers of dimensions, and names of the datasets that describe them.
            label: What the scales are called.
        """
        for _, scale in scales:
            self._writer.set_scale(engine_name(scale), engine_name(label))
        attached = [(axis, engine_name(scale)) for axis, scale in scales]
        self._writer.attach_scales(engine_name(dataset), rank, attached)


_Sink = TypeVar("_Sink", bound="FileSink")


class FileSink:
    """What is written part by part: a context manager, which completes the file, or gives it up if the body raises."""

    _file: NewFile

    def _complete(self) -> None:
        """Put the file in place."""
        self._file.finish()

    def discard(self) -> None:
        """Give up what was written. The file is what it was."""
        self._file.discard()

    def __enter__(self: _Sink) -> _Sink:
        """Return the sink."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        """Complete the file, or give it up."""
        if kind is None:
            self._complete()
        else:
            self.discard()
        return False


PAGE_BYTES = 8 << 20
"""Bytes of a page of a file that is read over a network."""


class Sink:
    """A dataset of chunks that is being written."""

    def __init__(self, writer: _core.Writer, number: int, dtype: numpy.dtype[Any]) -> None:
        """Take the number that the engine gave it."""
        self._writer = writer
        self._number = number
        self.dtype = dtype

    def write(self, start: Sequence[int], block: Array) -> None:
        """Write a block.

        Args:
            start: Position of its first element.
            block: Values of the dataset's type.
        """
        self._writer.write_block(self._number, tuple(map(int, start)), self._ready(block))

    def append(self, block: Array) -> None:
        """Write a block behind the last index of the first axis."""
        self._writer.append(self._number, self._ready(block))

    def _ready(self, block: Array) -> Array:
        block = numpy.asarray(block)
        if block.dtype != self.dtype or any(stride < 0 for stride in block.strides):
            block = numpy.ascontiguousarray(block, self.dtype)
        return block


def _taken(value: Any) -> Described:
    is_described = isinstance(value, tuple) and bool(value) and value[0] in ("null", "array", "strings")
    return value if is_described else described(value)
