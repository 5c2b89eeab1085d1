"""A file that is looked through: what is in it, asked for once each, and as a name leads to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy
import numpy.typing

from .._engine import contents, engine
from .._engine.contents import Object
from .._engine.names import engine_name, engine_path
from .._seeds.axis_names import AxisNames

__all__ = ["File", "listed"]

_MOST_LISTED = 20
"""Maximum number of names in an error."""


class File:
    """A file, and what was found out about it, which is kept for as long as this object.

    Unlike :py:func:`contents.members`, links to other files are followed, unless the file is not trusted: whoever
    names a matrix means it wherever its datasets are.
    """

    def __init__(self, path: str | os.PathLike[str], untrusted: bool = False) -> None:
        """Remember which file it is; nothing is read.

        Args:
            path: Path to the HDF5 file.
            untrusted: Whether the file may have been made to do damage.
        """
        self.path, self.untrusted = path, untrusted
        self.shown = repr(engine_path(path))
        self._described: dict[str, Object] = {}
        self._members: dict[str, dict[str, Object]] = {}
        self._attributes: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}

    def members(self, group: str) -> dict[str, Object]:
        """The members of a group; those in other files have ``is_external`` set.

        Args:
            group: Name of the group.

        Raises:
            FileNotFoundError, OSError, KeyError: As :py:func:`contents.members`.
        """
        key = group.strip("/")
        if key not in self._members:
            found = contents.members(self.path, group, untrusted=self.untrusted)
            self._members[key] = {name: self._followed(item) for name, item in found.items()}
        return self._members[key]

    def _followed(self, item: Object) -> Object:
        if item.kind != "external link" or self.untrusted:
            return item
        try:
            return replace(self.describe(item.name), is_external=True)
        except KeyError:
            return replace(item, note="what it leads to is not there", is_external=True)
        except OSError as error:
            return replace(item, note=str(error), is_external=True)

    def describe(self, name: str) -> Object:
        """What an object is; see :py:func:`contents.describe`."""
        key = name.strip("/")
        if key not in self._described:
            self._described[key] = contents.describe(self.path, name, untrusted=self.untrusted)
        return self._described[key]

    def attributes(self, name: str, *wanted: str) -> dict[str, Any]:
        """Attributes of an object; see :py:func:`contents.attributes`."""
        key = name, wanted
        if key not in self._attributes:
            self._attributes[key] = contents.attributes(self.path, name, *wanted, untrusted=self.untrusted)
        return self._attributes[key]

    def text(self, name: str, attribute: str) -> str | None:
        """An attribute that is one string; None if there is none, or it is something else."""
        value = self.attributes(name, attribute).get(attribute)
        return value if isinstance(value, str) else None

    def numbers(self, dataset: Object) -> numpy.typing.NDArray[Any]:
        """All values of a small dataset of numbers."""
        assert dataset.shape is not None
        assert dataset.dtype is not None
        values = numpy.empty(dataset.shape, dataset.dtype)
        selection = [(0, extent, 1) for extent in dataset.shape]
        name = engine_name(dataset.name)
        engine(self.untrusted).read_dense(engine_path(self.path), name, selection, dataset.dtype.str, values)
        return values

    def names(self, kind: Literal["vector", "dataframe"], candidates: Iterable[str], extent: int) -> AxisNames:
        """Where the names along an axis are; see :py:class:`AxisNames`."""
        return AxisNames(self.path, kind, tuple(candidates), extent, self.untrusted)

    def walk(self, group: str, is_one: Callable[[Object], bool]) -> Iterator[Object]:
        """Go through all that is in a group, which is not given itself.

        Args:
            group: Name of the group to begin with.
            is_one: Asked of each group in it: whether it is one thing, whose members are not gone into.

        Yields:
            The objects, each once. Groups of other files are not gone into either.

        Raises:
            FileNotFoundError, OSError, KeyError: As :py:func:`contents.walk`.
        """
        found = contents.walk(self.path, group, untrusted=self.untrusted, list_members=self.members, is_one=is_one)
        for depth, item in found:
            if depth > 0 and not item.is_repeated:
                yield item


def listed(names: Iterable[str]) -> str:
    """Names in an error: the first of them, and how many more there are."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return shown + (f" and {more} more" if more > 0 else "") if names else "none"
