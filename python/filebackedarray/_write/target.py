"""A file in somebody's format that is being made: its small objects, and its matrices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy

from .. import _core
from .._engine.snapshot import bound
from .._show.progress import Progress, Report, reporting, share
from .dense import put_array
from .files import Compression, NewFile, Options
from .narrowing import Casting
from .sources import source_of
from .sparse import put_sparse
from .values import variable_strings

__all__ = ["Settings", "Target"]


@dataclass(frozen=True)
class Settings:
    """What the user says of how matrices are stored; see :py:func:`write_array`."""

    compression: Compression
    level: int | None
    shuffle: bool
    chunks: Any
    casting: Casting
    progress: Progress
    memory: int | None


class Target:
    """A new file: a context manager, which puts it in place, or gives it up if the body raises."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Settings,
        *,
        overwrite: bool,
        matrices: int = 1,
        state: _core.Snapshot | None = None,
    ) -> None:
        """Check what the user says; the file is begun when the body is entered.

        Args:
            path: The file.
            settings: How matrices are stored.
            overwrite: Whether a file that is there is replaced.
            matrices: How many matrices will be written, for the progress.
            state: The states of the files that the matrices read, as far as they are known.

        Raises:
            ValueError: If there is no such compression.
        """
        self._path, self._settings, self._overwrite = path, settings, overwrite
        self._options = Options(settings.compression, settings.level, settings.shuffle, settings.memory)
        self._matrices, self._written, self._state = matrices, 0, state
        self._stack = ExitStack()

    def __enter__(self) -> Target:
        """Begin the file.

        Raises:
            FileExistsError, BlockingIOError, OSError: As :py:class:`NewFile`.
        """
        with ExitStack() as stack:
            self.file = stack.enter_context(NewFile(self._path, "w" if self._overwrite else "x"))
            self._report = stack.enter_context(reporting(self._settings.progress, "write"))
            # Checked before the file is put in place, which may be one that a matrix reads.
            stack.enter_context(bound(self._state))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the file in place, or give it up."""
        self._stack.__exit__(kind, error, traceback)

    def group(self, name: str) -> None:
        """Make a group."""
        self.file.group(name)

    def attributes(self, name: str, **attributes: Any) -> None:
        """Write attributes of an object, of whose names hyphens are underscores here."""
        self.file.attributes(name, **attributes)

    def strings(self, name: str, values: Any) -> None:
        """Write a string, or an array of some, as strings of variable length in UTF-8."""
        self.file.dataset(name, variable_strings(values))

    def array(self, name: str, values: Any) -> None:
        """Write a small array of numbers or of byte strings, or a number."""
        self.file.dataset(name, values)

    def null(self, name: str) -> None:
        """Write a dataset that has no value."""
        self.file.dataset(name, ("null", "<f4"))

    def copy(self, source: str | os.PathLike[str], name: str) -> None:
        """Copy an object of another file, with all that is in it."""
        self.file.copy(source, name)

    def replace(self, name: str) -> None:
        """Take an object away, if there is one, to write another in its place."""
        self.file.make_room(name, overwrite=True)

    def dense(self, name: str, x: Any, *, is_turned: bool = False, dtype: Any = None, chunks: Any = None) -> None:
        """Write a dense array.

        Args:
            name: Of the dataset.
            x: The array.
            is_turned: Whether the file has its axes in reverse order.
            dtype: Of its elements in the file.
            chunks: Shape of a chunk of ``x``.
        """
        put_array(
            self.file,
            name,
            source_of(x),
            self._options,
            native_order=not is_turned,
            dtype=dtype,
            casting=self._settings.casting,
            chunks=chunks,
            report=self._next(),
        )

    def sparse(
        self,
        name: str,
        x: Any,
        *,
        by_column: bool,
        shape_as: Literal["attribute", "dataset"],
        is_turned: bool = False,
        dtype: Any = None,
        index_dtype: Any = None,
        pointer_dtype: Any = numpy.int64,
        shape_dtype: Any = numpy.int64,
    ) -> None:
        """Write a compressed sparse matrix, and its shape.

        Args:
            name: Of the group.
            x: The matrix.
            by_column: Whether ``x`` is compressed by column.
            shape_as: Where the shape stands: as anndata has it, with the encoding, or as 10x Genomics has it.
            is_turned: Whether the file has the axes of ``x`` in reverse order.
            dtype: Of its elements in the file.
            index_dtype: Of its indices.
            pointer_dtype: Of its pointers.
            shape_dtype: Of its shape.
        """
        chunks = self._settings.chunks
        node = source_of(x)
        put_sparse(
            self.file,
            name,
            node,
            self._options,
            by_column=by_column,
            dtype=dtype,
            index_dtype=index_dtype,
            pointer_dtype=pointer_dtype,
            casting=self._settings.casting,
            chunks=chunks,
            report=self._next(),
        )
        shape: Sequence[int] = node.shape[::-1] if is_turned else node.shape
        if shape_as == "dataset":
            self.file.dataset(f"{name}/shape", numpy.array(shape, shape_dtype))
            return
        layout = "csc_matrix" if by_column != is_turned else "csr_matrix"
        self.attributes(name, encoding_type=layout, encoding_version="0.1.0", shape=numpy.array(shape, shape_dtype))

    def _next(self) -> Report | None:
        """The progress of one matrix more."""
        report = share(self._report, self._written, 1, max(self._matrices, self._written + 1))
        self._written += 1
        return report
