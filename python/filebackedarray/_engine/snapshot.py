"""One state of each file for all that one operation reads.

A request to the engine is of one state of its file by itself. Where a result is put together from several, each has to
find the files as those before it did: the engine notes the states that it found in the snapshot which is bound to the
calling thread, and fails where it finds another. What is public binds one, by :py:func:`one_state`, and those that work
for it on other threads, in other processes or on other machines take it along.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, TracebackType
from typing import Any, TypeAlias, TypeVar

from .. import _core

__all__ = ["Operations", "States", "bound", "one_state", "within"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Item = TypeVar("_Item")

States: TypeAlias = "Sequence[tuple[str, tuple[int, int] | None]]"
"""Absolute paths of files, with size in bytes and time of modification in nanoseconds (None where there is no file):
what is the same on every machine that shares them."""


_PLAIN = frozenset({"__init_subclass__", "__class_getitem__", "__reduce__", "__reduce_ex__", "__getstate__", "shape"})
"""Names of what never makes a request: none that does is called so."""


class bound:  # noqa: N801 (used as a function is)
    """Bind a snapshot to the calling thread, within a ``with`` statement."""

    __slots__ = ("_before", "_bound", "_snapshot")

    def __init__(self, snapshot: _core.Snapshot | None = None) -> None:
        """Do nothing yet.

        Args:
            snapshot: That of the operation this thread works for. If None, that of the operation which this thread is
                in already, or else a new one: the statement is an operation by itself unless it is a part of one.
        """
        self._snapshot = snapshot

    def __enter__(self) -> _core.Snapshot:
        """Bind it.

        Returns:
            The snapshot that is bound now.
        """
        self._before = _core.current_snapshot()
        self._bound = self._snapshot or self._before or _core.Snapshot()
        _core.bind_snapshot(self._bound)
        return self._bound

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Bind the one from before.

        Raises:
            OSError: If an operation ends with this that has met a file in two states, whatever was done about it.
        """
        _core.bind_snapshot(self._before)
        if kind is None and self._before is None:
            self._bound.verify()


def one_state(function: _Function) -> _Function:
    """Have a function's results be of one state of each file, or be an error.

    Args:
        function: What makes requests, by whatever it calls. If another such function calls it, the outermost counts.

    Returns:
        The function. It raises an :py:class:`OSError` where a file is not as an earlier request of the operation found
        it.
    """

    @functools.wraps(function)
    def operation(*args: Any, **kwargs: Any) -> Any:
        if _core.current_snapshot() is not None:
            return function(*args, **kwargs)
        snapshot = _core.Snapshot()
        _core.bind_snapshot(snapshot)
        try:
            result = function(*args, **kwargs)
        finally:
            _core.bind_snapshot(None)
        # An error may have been taken for that of one dataset among others.
        snapshot.verify()
        return result

    return operation  # type: ignore[return-value]


class Operations:
    """A class whose public methods and properties are operations, each with results of one state of each file."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make operations of what the class defines itself."""
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            if name in _PLAIN or (name.startswith("_") and not name.endswith("_")):
                continue
            if isinstance(value, FunctionType):
                setattr(cls, name, one_state(value))
            elif isinstance(value, staticmethod | classmethod):
                setattr(cls, name, type(value)(one_state(value.__func__)))
            elif isinstance(value, property) and value.fget is not None:
                setattr(cls, name, property(one_state(value.fget), value.fset, value.fdel, value.__doc__))


def within(items: Iterator[_Item]) -> Iterator[_Item]:
    """Iterate as one operation: between two items the caller is in none, or in its own.

    Args:
        items: Makes requests when it is asked for the next item.

    Yields:
        The items.

    Raises:
        OSError: Where a file is not as it was for the items before.
    """
    snapshot = _core.current_snapshot() or _core.Snapshot()
    while True:
        with bound(snapshot):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
