"""What is in a file: groups, their members, attributes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy
import numpy.typing

from . import engine
from .names import engine_name, engine_path
from .types import Described

__all__ = ["Object", "attributes", "describe", "is_dataset", "members", "read_field", "walk"]

DEEPEST = 100
"""Groups within groups that a walk goes down; no file that makes sense has more."""


@dataclass(frozen=True)
class Object:
    """An object of a file, or what is left of one.

    Attributes:
        name: The path that led to it, from the root: ``"/"``, ``"/obs"``, ``"/obs/index"``.
        kind: ``"group"``, ``"dataset"``, ``"other"`` (a named datatype), ``"external link"`` (a link to another file,
            which is not followed), ``"dangling link"`` or ``"unreadable"``.
        identity: Equal for two names of one object; empty for what is none.
        shape: Extents of a dataset; None for all else, and for a dataset with a null dataspace.
        dtype: NumPy type of a dataset, ``object`` for strings of variable length; None if there is no equivalent here.
        fields: Members of the compounds that a dataset holds, each with its type or None.
        note: Why a dataset has no dtype, or what is the matter with what is unreadable.
        is_repeated: Set by :py:func:`walk`: it was met before by another name, and is not gone into again.
        is_external: Set by :py:class:`~filebackedarray._formats.file.File`: it is, or should be, in another file.
    """

    name: str
    kind: str
    identity: bytes = b""
    shape: tuple[int, ...] | None = None
    dtype: numpy.dtype[Any] | None = None
    fields: tuple[tuple[str, numpy.dtype[Any] | None], ...] = ()
    note: str = ""
    is_repeated: bool = False
    is_external: bool = False

    @property
    def basename(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


def is_dataset(item: Object | None) -> bool:
    """Whether a member is there and is a dataset."""
    return item is not None and item.kind == "dataset"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _dtype(code: str | None) -> numpy.dtype[Any] | None:
    return None if code is None else numpy.dtype(code)


def _object(name: str, described: Described) -> Object:
    kind, identity, shape, dtype, fields, note = described
    members = tuple((_text(field), _dtype(of)) for field, of in fields)
    return Object(name, kind, identity, shape, _dtype(dtype), members, note)


def _absolute(name: str) -> str:
    return "/" + "/".join(part for part in name.split("/") if part not in ("", "."))


def describe(path: str | os.PathLike[str], name: str, *, untrusted: bool = False) -> Object:
    """What an object of a file is.

    Args:
        path: Path to the HDF5 file.
        name: Name of the object; ``"/"`` for the root.
        untrusted: Whether the file may have been made to do damage.

    Returns:
        The object. An external link is followed here, since it was named, unless the file is not trusted.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file is not HDF5 or the object cannot be read.
        KeyError: If there is no such object.
    """
    return _object(_absolute(name), engine(untrusted).describe(engine_path(path), engine_name(_absolute(name))))


def members(path: str | os.PathLike[str], group: str = "/", *, untrusted: bool = False) -> dict[str, Object]:
    """The members of a group, in the order of their names.

    Args:
        path: Path to the HDF5 file.
        group: Name of the group.
        untrusted: Whether the file may have been made to do damage.

    Returns:
        An object for each member, what cannot be read and links that lead nowhere included.

    Raises:
        FileNotFoundError, OSError, KeyError: As :py:func:`describe`; KeyError also if it is not a group.
    """
    group = _absolute(group)
    prefix = group if group == "/" else group + "/"
    found = engine(untrusted).members(engine_path(path), engine_name(group))
    return {_text(name): _object(prefix + _text(name), described) for name, described in found}


def walk(
    path: str | os.PathLike[str],
    group: str = "/",
    *,
    untrusted: bool = False,
    list_members: Callable[[str], Mapping[str, Object]] | None = None,
    is_one: Callable[[Object], bool] | None = None,
) -> Iterator[tuple[int, Object]]:
    """Go through all that is in a group, each group followed by its members.

    Args:
        path: Path to the HDF5 file.
        group: Name of the group to begin with.
        untrusted: Whether the file may have been made to do damage.
        list_members: What lists a group, in the place of :py:func:`members`.
        is_one: Asked of each group below the first: whether it is one thing, whose members are not gone into.

    Yields:
        How deep an object is, 0 for the group itself, and the object. What was met before, by another link to it,
        is marked ``is_repeated`` and not gone into, so that a group which contains itself ends the walk there. Links
        to other files are not followed, nor are groups that are in one gone into.

    Raises:
        FileNotFoundError, OSError, KeyError: As :py:func:`members`; OSError also for groups more than 100 deep.
    """
    root = describe(path, group, untrusted=untrusted)
    seen: set[bytes] = set()
    # Of each group the members that are still to come; a walk by calls would be as deep as the file likes.
    waiting = [iter([root])]
    while waiting:
        item = next(waiting[-1], None)
        if item is None:
            waiting.pop()
            continue
        depth = len(waiting) - 1
        # An object of another file may have the identity of one of this.
        if item.identity in seen and not item.is_external:
            item = replace(item, is_repeated=True)
        elif item.identity and not item.is_external:
            seen.add(item.identity)
        yield depth, item
        if item.kind != "group" or item.is_repeated or item.is_external:
            continue
        if depth > 0 and is_one is not None and is_one(item):
            continue
        if depth >= DEEPEST:
            raise OSError(
                f"{engine_path(path)!r} has groups more than {DEEPEST} deep: {item.name!r}; it may be damaged"
            )
        found = list_members(item.name) if list_members else members(path, item.name, untrusted=untrusted)
        waiting.append(iter(found.values()))


def attributes(path: str | os.PathLike[str], name: str, *wanted: str, untrusted: bool = False) -> dict[str, Any]:
    """Attributes of an object.

    Args:
        path: Path to the HDF5 file.
        name: Name of the object.
        wanted: Names of the attributes.
        untrusted: Whether the file may have been made to do damage.

    Returns:
        Of those attributes that are there, each as a scalar or an array: of numbers as numpy has them, of strings
        (``str``, in an array of objects; one alone is no array, although R's packages write arrays of one), of
        references to objects (the names of those, or a list of names where there may be several, ``[]`` for one that
        leads nowhere). Attributes of other types are left out.

    Raises:
        FileNotFoundError, OSError, KeyError: As :py:func:`describe`.
    """
    found = engine(untrusted).attributes(engine_path(path), engine_name(_absolute(name)), [*map(engine_name, wanted)])
    result: dict[str, Any] = {}
    for attribute, kind, shape, dtype, values in found:
        if kind == "other":
            continue
        if kind == "numbers":
            assert isinstance(values, bytes)
            array = numpy.frombuffer(values, dtype).reshape(shape)
        else:
            array = numpy.empty(len(values), object)
            for i, value in enumerate(values):
                array[i] = [_text(one) for one in value] if isinstance(value, list) else _text(value)  # type: ignore[arg-type]
            if kind == "strings" and array.size == 1:
                shape = ()
            array = array.reshape(shape)
        result[_text(attribute)] = array if shape else array[()]
    return result


def read_field(
    path: str | os.PathLike[str], dataset: str, field: str, *, untrusted: bool = False
) -> numpy.typing.NDArray[Any]:
    """Read one member of a dataset of compounds.

    Args:
        path: Path to the HDF5 file.
        dataset: Name of the dataset.
        field: Name of the member.
        untrusted: Whether the file may have been made to do damage.

    Returns:
        Its values in C order, in one dimension: numbers and booleans in the type of the file, strings as ``U``.

    Raises:
        FileNotFoundError, OSError: As :py:func:`describe`.
        KeyError: If there is no such dataset, or no such member.
        TypeError: If the member holds neither numbers nor strings.
        MemoryError: If they are more than memory can hold.
    """
    name, member = engine_name(_absolute(dataset)), engine_name(field)
    dtype, values = engine(untrusted).read_field(engine_path(path), name, member)
    if isinstance(values, bytes):
        return numpy.frombuffer(values, dtype)
    return numpy.array([_text(value) for value in values], dtype=numpy.str_)
