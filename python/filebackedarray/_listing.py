"""All that is in a file, in the order of a tree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy

from . import _contents, _facts
from ._compressed import MEMBERS, is_compressed, layout
from ._contents import Object
from ._engine import EndedError, engine
from ._names import engine_name

_FAULTS = (OSError, KeyError, ValueError, TypeError, NotImplementedError, MemoryError)
"""What may be the matter with a part of a file."""


@dataclass
class Entry:
    """A group, a dataset, a sparse matrix, or a link that leads to none of them."""

    name: str
    """From the root of the file on."""
    kind: str
    """``group``, ``dense``, ``sparse``, ``dataset`` (of values that are no arrays here), ``other`` (a named type), or
    what is the matter: ``external link``, ``dangling link``, ``unreadable``."""
    repeats: str | None = None
    """Under which name it was met before."""
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    by_column: bool | None = None
    """Of sparse matrices, whether they are compressed by column."""
    nnz: int | None = None
    """Of sparse matrices, how many elements are stored."""
    chunks: Any = None
    """Shape of a chunk; of sparse matrices lengths by member."""
    filters: list[str] = field(default_factory=list)
    """Of sparse matrices those of ``data``."""
    storage_size: int | None = None
    """Bytes in the file."""
    compression_ratio: float | None = None
    """Bytes of the values for each byte in the file."""
    read_path: str | None = None
    """Which path reads it."""
    note: str = ""
    """What else there is to say."""

    @property
    def depth(self) -> int:
        """How many groups it is in; the root is in none."""
        return 0 if self.name == "/" else self.name.count("/")

    def as_dict(self) -> dict[str, Any]:
        """For JSON: of what is no array, no more than there is to say."""
        said = asdict(self)
        if self.kind in ("dense", "sparse") and self.repeats is None:
            return said
        keep = ("name", "kind", "repeats", "shape", "note")
        return {key: said[key] for key in keep}


def entries(path: str, *, untrusted: bool = False) -> Iterator[Entry]:
    """Walk through a file. What is met again, under another name, is not entered again.

    Args:
        path: Path to the file.
        untrusted: Whether the file may have been made to do damage. What ends the process that reads it is
            ``unreadable``, and the walk goes on.

    Yields:
        What is there; the members of a group after it.

    Raises:
        FileNotFoundError, OSError: If the file cannot be read. What is wrong with a part of it is in its entry's note.
    """
    seen: dict[bytes, str] = {}
    waiting = [_contents.describe(path, "/", untrusted=untrusted)]
    while waiting:
        about = waiting.pop()
        if about.identity and about.identity in seen:
            yield Entry(about.name, about.kind, seen[about.identity])
            continue
        if about.identity:
            seen[about.identity] = about.name
        if about.kind == "dataset":
            yield dataset(path, about, untrusted=untrusted)
            continue
        if about.kind != "group":
            yield Entry(about.name, about.kind, note=about.note)
            continue
        try:
            members = _contents.members(path, about.name, untrusted=untrusted)
        except _FAULTS as error:
            if about.name == "/":
                raise
            yield Entry(about.name, "unreadable", note=message(error))
            continue
        hidden: tuple[str, ...] = ()
        entry = Entry(about.name, "group")
        if is_compressed(members):
            entry = sparse(path, about.name, members, untrusted=untrusted)
        yield entry
        # Of a matrix that cannot be read, a dataset may be.
        if entry.kind == "sparse":
            hidden = MEMBERS
            for member in MEMBERS:
                seen.setdefault(members[member].identity, members[member].name)
        waiting += [member for name, member in reversed(members.items()) if name not in hidden]


def dataset(path: str, about: Object, *, untrusted: bool = False) -> Entry:
    """A dataset, as far as it can be described."""
    entry = Entry(about.name, "dense", shape=about.shape, dtype=type_name(about.dtype), note=about.note)
    if about.dtype is None:
        entry.kind = "dataset"
        return entry
    name, reader = engine_name(about.name), engine(untrusted)
    try:
        facts, entry.read_path = reader.facts(path, name), reader.read_path(path, name)
    except _FAULTS as error:
        _failed(entry, error)
        return entry
    entry.chunks = facts["chunks"]
    entry.filters = list(_facts.filter_names(facts["filters"]))
    entry.storage_size = facts["storage_size"]
    # References to strings, and virtual datasets, are not what the values take.
    if entry.dtype != "string" and not entry.read_path.startswith("libhdf5: virtual"):
        entry.compression_ratio = _ratio(math.prod(entry.shape or ()) * facts["value_size"], entry.storage_size)
    return entry


def type_name(dtype: numpy.dtype[Any] | None) -> str | None:
    """A numpy type as people write it; ``string`` for strings of variable length."""
    if dtype is None:
        return None
    if dtype.kind == "O":
        return "string"
    return dtype.name if dtype.isnative and dtype.kind in "biufc" else dtype.str


def sparse(path: str, name: str, members: Mapping[str, Object], *, untrusted: bool = False) -> Entry:
    """A group that is a compressed sparse matrix, as far as it can be described."""
    entry, reader = Entry(name, "sparse"), engine(untrusted)
    names = [engine_name(f"{name.rstrip('/')}/{member}") for member in MEMBERS]
    try:
        facts = [reader.facts(path, member) for member in names]
        described = [reader.inspect(path, member) for member in names]
        if any(len(shape) != 1 for shape, _, _ in described):
            shapes = ", ".join(str(shape) for shape, _, _ in described)
            raise ValueError(f"data, indices and indptr should have one dimension; their shapes are {shapes}")
        paths = [reader.read_path(path, member) for member in names]
        entry.dtype = type_name(numpy.dtype(described[0][1]))
        entry.nnz = described[0][0][0]
        chunks = [fact["chunks"] for fact in facts]
        entry.chunks = {name: chunk and chunk[0] for name, chunk in zip(MEMBERS, chunks, strict=True)}
        entry.filters = list(_facts.filter_names(facts[0]["filters"]))
        entry.storage_size = sum(fact["storage_size"] for fact in facts)
        lengths = (shape[0] for shape, _, _ in described)
        values = sum(length * fact["value_size"] for length, fact in zip(lengths, facts, strict=True))
        entry.compression_ratio = _ratio(values, entry.storage_size)
        entry.read_path = next((path for path in paths if path != "direct"), "direct")
        entry.shape, entry.by_column = layout(path, name, members, untrusted=untrusted)
    except _FAULTS as error:
        _failed(entry, error)
    return entry


def _failed(entry: Entry, error: Exception) -> None:
    """Have an entry say why it could not be described."""
    entry.note = message(error)
    if isinstance(error, EndedError):
        entry.kind = "unreadable"


def _ratio(decoded: int, stored: int) -> float | None:
    return decoded / stored if stored else None


def message(error: BaseException) -> str:
    """What an exception says."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return f"{error.strerror}: {error.filename!r}"
    return str(error) or type(error).__name__
