"""All that is in a file, in the order of a tree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy

from .._engine import engine
from .._engine.contents import Object
from .._engine.names import engine_name, engine_path
from .._engine.types import EndedError
from .._seeds import storage
from .file import File
from .registry import OTHER, format_of, locate, sparse_members

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
    """Whether a sparse matrix is compressed by column."""
    nnz: int | None = None
    """Number of stored elements of a sparse matrix."""
    format: str | None = None
    """Title of the format, of an object of one and of its arrays; None where none is known."""
    members: dict[str, str] = field(default_factory=dict)
    """Names of the datasets ``data``, ``indices`` and ``indptr`` of a sparse matrix."""
    chunks: Any = None
    """Shape of a chunk; of sparse matrices lengths by member."""
    filters: list[str] = field(default_factory=list)
    """Those of ``data``, for a sparse matrix."""
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
        del said["members"]
        if self.kind in ("dense", "sparse") and self.repeats is None:
            return said
        keep = ("name", "kind", "repeats", "shape", "format", "note")
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
    file = File(path, untrusted)
    seen: dict[bytes, str] = {}
    waiting = [file.describe("/")]
    while waiting:
        about = waiting.pop()
        if about.is_external:
            yield Entry(about.name, "external link")
            continue
        if about.identity and about.identity in seen:
            yield Entry(about.name, about.kind, seen[about.identity])
            continue
        if about.identity:
            seen[about.identity] = about.name
        if about.kind == "dataset":
            yield dataset(file, about)
            continue
        if about.kind != "group":
            yield Entry(about.name, about.kind, note=about.note)
            continue
        try:
            members = file.members(about.name)
            names = sparse_members(file, about.name)
            entry = Entry(about.name, "group") if names is None else sparse(file, about.name, names)
            known = format_of(file, about.name)
        except _FAULTS as error:
            if about.name == "/":
                raise
            yield Entry(about.name, "unreadable", note=message(error))
            continue
        if known is not None and known.title != OTHER:
            entry.format = entry.format or known.title
        yield entry
        hidden: tuple[str, ...] = ()
        # Of a matrix that cannot be read, a dataset may be.
        if entry.kind == "sparse" and names is not None:
            hidden = tuple(names.values())
            for member in hidden:
                if not members[member].is_external:
                    seen.setdefault(members[member].identity, members[member].name)
        waiting += [member for name, member in reversed(members.items()) if name not in hidden]


def dataset(file: File, about: Object) -> Entry:
    """A dataset, as far as it can be described."""
    entry = Entry(about.name, "dense", shape=about.shape, dtype=type_name(about.dtype), note=about.note)
    if about.dtype is None:
        entry.kind = "dataset"
        return entry
    path, name, reader = engine_path(file.path), engine_name(about.name), engine(file.untrusted)
    try:
        facts, entry.read_path = reader.facts(path, name), reader.read_path(path, name)
    except _FAULTS as error:
        _failed(entry, error)
        return entry
    entry.chunks = facts["chunks"]
    entry.filters = list(storage.filter_names(facts["filters"]))
    entry.storage_size = facts["storage_size"]
    # References to strings, and virtual datasets, are not what the values take.
    if entry.dtype != "string" and entry.read_path not in ("virtual", "libhdf5: a virtual dataset"):
        entry.compression_ratio = _ratio(math.prod(entry.shape or ()) * facts["value_size"], entry.storage_size)
    try:
        found = locate(file, about.name)
        entry.format = (found and found.format) or None
    except _FAULTS as error:
        _failed(entry, error)
    return entry


def type_name(dtype: numpy.dtype[Any] | None) -> str | None:
    """A numpy type as people write it; ``string`` for strings of variable length."""
    if dtype is None:
        return None
    if dtype.kind == "O":
        return "string"
    return dtype.name if dtype.isnative and dtype.kind in "biufc" else dtype.str


def sparse(file: File, name: str, members: Mapping[str, str]) -> Entry:
    """A group that is a compressed sparse matrix, as far as it can be described."""
    entry, path, reader = Entry(name, "sparse"), engine_path(file.path), engine(file.untrusted)
    entry.members = {member: f"{name.rstrip('/')}/{own}" for member, own in members.items()}
    names = {member: engine_name(own) for member, own in entry.members.items()}
    try:
        facts = {member: reader.facts(path, own) for member, own in names.items()}
        described = {member: reader.inspect(path, own) for member, own in names.items()}
        if any(len(shape) != 1 for shape, _, _ in described.values()):
            shapes = ", ".join(str(shape) for shape, _, _ in described.values())
            raise ValueError(f"{', '.join(members)} should have one dimension; their shapes are {shapes}")
        paths = [reader.read_path(path, own) for own in names.values()]
        entry.nnz = 0
        if "data" in described:
            (entry.nnz,), dtype, _ = described["data"]
            entry.dtype = type_name(numpy.dtype(dtype))
            entry.filters = list(storage.filter_names(facts["data"]["filters"]))
        entry.chunks = {member: fact["chunks"] and fact["chunks"][0] for member, fact in facts.items()}
        entry.storage_size = sum(fact["storage_size"] for fact in facts.values())
        values = sum(described[member][0][0] * fact["value_size"] for member, fact in facts.items())
        entry.compression_ratio = _ratio(values, entry.storage_size)
        entry.read_path = next((path for path in paths if path != "direct"), "direct")
        found = locate(file, name)
        if found is not None and found.compressed is not None:
            rows, columns = found.shape
            entry.shape, entry.by_column, entry.format = (
                (rows, columns),
                found.compressed.by_column,
                found.format or None,
            )
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
