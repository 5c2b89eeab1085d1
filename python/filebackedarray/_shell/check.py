"""Decoding all of a file to find what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy
import numpy.typing

from .. import _core
from .._engine import contents, engine
from .._engine.names import engine_name
from .._engine.types import EndedError
from .._formats import listing
from .._formats.compressed import MEMBERS
from .._formats.listing import Entry, message
from .._show.progress import Report

Array = numpy.typing.NDArray[Any]

WINDOW = 1 << 21
"""Indices of a sparse matrix that are looked at at once."""

_NAMED = 10
"""Maximum number of columns (or rows) with the same fault that are named."""

_FAULTS = (OSError, KeyError, ValueError, TypeError, IndexError, NotImplementedError, MemoryError)


@dataclass
class Checked:
    """What came of checking a dataset or a sparse matrix."""

    name: str
    kind: str
    """``dense`` or ``sparse``, or what else it is."""
    chunks: int = 0
    """How many chunks (or blocks, where there are no chunks) were decoded."""
    damaged: list[dict[str, Any]] = field(default_factory=list)
    """Where each damaged chunk begins (``chunk``), of which ``dataset``, and what is the matter (``message``); faults
    of structure have no chunk."""
    notes: list[str] = field(default_factory=list)
    """What is no fault, but costs time: indices that are not sorted, or repeated."""
    unchecked: str = ""
    """Why it could not be checked; empty if it was."""

    def fault(self, dataset: str, message: str, chunk: tuple[int, ...] | None = None) -> None:
        """Remember a fault."""
        self.damaged.append({"dataset": dataset, "chunk": chunk, "message": message})


def check(path: str, report: Callable[[str], Report | None], *, untrusted: bool = False) -> Iterator[Checked]:
    """Check all datasets and sparse matrices of a file.

    Every chunk is decoded on all cores, by which its checksum is verified if it has one; of sparse matrices the
    pointers have to begin with 0, never decrease and end with the number of elements, and indices have to be inside
    of the matrix. Takes memory for the pointers of one matrix, and a few MiB for each thread.

    Args:
        path: Path to the file.
        report: Called with the name of each dataset; what it returns is told how far its check is. If the file is not
            trusted, called once, with the path; what it returns is told how many of all have been checked.
        untrusted: Whether the file may have been made to do damage. What ends the process that reads it is damaged,
            and the check goes on.

    Yields:
        What came of each, in the order of the tree.

    Raises:
        FileNotFoundError, OSError: If the file cannot be read at all.
    """
    found = (
        entry
        for entry in listing.entries(path, untrusted=untrusted)
        if entry.repeats is None and entry.kind not in ("group", "other")
    )
    file = _File(path, report, untrusted)
    if not untrusted:
        yield from (_checked(file, entry) for entry in found)
        return
    everything = list(found)
    told = report(path)
    for number, entry in enumerate(everything, 1):
        yield _checked(file, entry)
        if told is not None:
            told(number, len(everything))


@dataclass(frozen=True)
class _File:
    """A file that is checked."""

    path: str
    report: Callable[[str], Report | None]
    untrusted: bool

    def chunks(self, name: str) -> tuple[int, list[tuple[tuple[int, ...], str]]]:
        """Decode the chunks of a dataset: how many there are, and the damaged ones."""
        if self.untrusted:
            return engine(True).check_dense(self.path, engine_name(name))
        return _core.check_dense(self.path, engine_name(name), self.report(name))


def _checked(file: _File, entry: Entry) -> Checked:
    checked = Checked(entry.name, entry.kind)
    if entry.kind == "sparse":
        _sparse(file, entry, checked)
    elif entry.kind == "dense":
        _chunks(file, entry.name, checked)
    elif entry.kind == "unreadable":
        checked.fault(entry.name, entry.note)
    else:
        checked.unchecked = entry.note or entry.kind
    return checked


def _chunks(file: _File, name: str, checked: Checked) -> bool:
    """Decode the chunks of a dataset. Whether all are as they should be."""
    try:
        count, damaged = file.chunks(name)
    except (NotImplementedError, TypeError) as error:
        checked.unchecked = message(error)
        return False
    except _FAULTS as error:
        checked.fault(name, message(error))
        return False
    checked.chunks += count
    for chunk, what in damaged:
        checked.fault(name, what, chunk)
    return not damaged


def _sparse(file: _File, entry: Entry, checked: Checked) -> None:
    members = entry.members
    good = [_chunks(file, name, checked) for name in members.values()]
    try:
        shapes = [contents.describe(file.path, name, untrusted=file.untrusted).shape or () for name in members.values()]
    except _FAULTS as error:
        checked.fault(entry.name, message(error))
        return
    if any(len(shape) != 1 for shape in shapes):
        checked.notes.append(f"it is no sparse matrix: {entry.note}")
        return
    if len(shapes) == len(MEMBERS) and shapes[0] != shapes[1]:
        checked.fault(entry.name, f"a sparse matrix has as many data as indices, not {shapes[0][0]} and {shapes[1][0]}")
        return
    if entry.shape is None:
        checked.notes.append(f"indices cannot be compared with its shape: {entry.note}")
    # Indices that cannot be read are reported, and those around them looked at; without pointers they mean nothing.
    if good[-1]:
        try:
            _Structure(file, members, entry, checked).check()
        except (NotImplementedError, TypeError) as error:
            checked.unchecked = checked.unchecked or message(error)
        except _FAULTS as error:
            checked.fault(entry.name, message(error))


class _Structure:
    """Pointers and indices of a compressed matrix."""

    def __init__(self, file: _File, members: dict[str, str], entry: Entry, checked: Checked) -> None:
        self._path, self._reader = file.path, engine(file.untrusted)
        self._members = members
        self._checked = checked
        self._primary = self._secondary = None
        self._word = "columns or rows"
        if entry.shape is not None:
            rows, columns = entry.shape
            self._primary, self._secondary = (columns, rows) if entry.by_column else (rows, columns)
            self._word = "columns" if entry.by_column else "rows"

    def _fault(self, member: str, message: str) -> None:
        self._checked.fault(self._members[member], message)

    def _read(self, member: str, begin: int, end: int) -> Array:
        output = numpy.empty(end - begin, numpy.int64)
        name = engine_name(self._members[member])
        self._reader.read_dense(self._path, name, [(begin, end - begin, 1)], "<i8", output)
        return output

    def check(self) -> None:
        inspected = {
            member: self._reader.inspect(self._path, engine_name(name)) for member, name in self._members.items()
        }
        for member in ("indices", "indptr"):
            if member in inspected and numpy.dtype(inspected[member][1]).kind not in "iu":
                self._fault(member, "it should contain integers")
                return
        (length,) = inspected["indptr"][0]
        # A matrix without elements may lack the datasets for them.
        (count,), _, self._chunk = inspected.get("indices", ((0,), "", None))
        if self._primary is not None and length != self._primary + 1:
            self._fault("indptr", f"it has {length} pointers for {self._primary} {self._word}")
            return
        pointers = self._read("indptr", 0, length)
        steps = numpy.diff(pointers)
        if pointers[0] != 0:
            self._fault("indptr", f"it begins with {pointers[0]}, not 0")
        elif bool((steps < 0).any()):
            self._fault("indptr", f"it decreases at {self._named(numpy.flatnonzero(steps < 0))}")
        elif pointers[-1] != count:
            self._fault("indptr", f"it ends with {pointers[-1]}, and {count} elements are stored")
        else:
            self._indices(pointers, count)

    def _indices(self, pointers: Array, count: int) -> None:
        # For each column, whether it has the fault.
        outside, unsorted, repeated = (numpy.zeros(len(pointers) - 1, bool) for _ in range(3))
        previous: int | None = None
        begin = 0
        for end in self._windows(count):
            try:
                indices = self._read("indices", begin, end)
            except EndedError:
                raise
            except _FAULTS:
                # A damaged chunk, which has been reported.
                previous, begin = None, end
                continue
            positions = numpy.arange(begin, end)
            bad = indices < 0
            if self._secondary is not None:
                bad |= indices >= self._secondary
            self._note(outside, pointers, positions[bad])
            # The first of each column has nothing before it.
            first = numpy.zeros(end - begin, bool)
            low, high = numpy.searchsorted(pointers, (begin, end))
            first[pointers[low:high] - begin] = True
            before = numpy.empty_like(indices)
            before[1:] = indices[:-1]
            before[0] = -1 if previous is None else previous
            first[0] |= previous is None
            self._note(unsorted, pointers, positions[~first & (indices < before)])
            self._note(repeated, pointers, positions[~first & (indices == before)])
            previous, begin = int(indices[-1]), end
        if outside.any():
            bounds = "below 0" if self._secondary is None else f"outside of 0 to {self._secondary - 1}"
            self._fault("indices", f"indices {bounds} in {self._several(outside)}")
        if unsorted.any():
            self._checked.notes.append(f"indices are not sorted in {self._several(unsorted)}")
        if repeated.any():
            self._checked.notes.append(f"indices are repeated, and their values added up, in {self._several(repeated)}")

    def _windows(self, count: int) -> Iterator[int]:
        """Where windows end: where a chunk does, so that a damaged one takes no others with it."""
        chunk = WINDOW if self._chunk is None else self._chunk[0]
        step = chunk * max(1, WINDOW // chunk)
        damaged = [
            int(each["chunk"][0])
            for each in self._checked.damaged
            if each["chunk"] is not None and each["dataset"] == self._members["indices"]
        ]
        edges = {*range(step, count, step), count, *damaged, *(begin + chunk for begin in damaged)}
        yield from sorted(edge for edge in edges if 0 < edge <= count)

    def _note(self, found: Array, pointers: Array, positions: Array) -> None:
        """Remember in which columns these elements are."""
        found[numpy.searchsorted(pointers, positions, side="right") - 1] = True

    def _several(self, found: Array) -> str:
        numbers = numpy.flatnonzero(found)
        return f"{len(numbers)} {self._word} ({self._named(numbers)})"

    def _named(self, numbers: Array) -> str:
        names = ", ".join(str(number) for number in numbers[:_NAMED].tolist())
        return names if len(numbers) <= _NAMED else f"{names}, ..."
