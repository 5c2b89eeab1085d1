"""How many threads a piece of work may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from . import _core

__all__ = ["limit_threads"]


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Limit how many threads read and decode for the calling thread, within a ``with`` statement.

    For work that runs beside other work in one process, such as the tasks of a Dask worker: each has its own limit,
    where :py:func:`set_num_threads` is for all threads of the process. With a limit of 1 everything is done by the
    thread that asks, and no other is woken up. A limit that is above the process's number of threads changes nothing.
    Results are the same with any limit.

    Args:
        threads: Between 1 and 1024; the calling thread is one of them.

    Raises:
        ValueError: If ``threads`` is 0 or too large.
        OverflowError: If ``threads`` is negative.
    """
    before = _core.limit_threads(threads)
    try:
        yield
    finally:
        _core.limit_threads(before)


def current_limit() -> int | None:
    """What the calling thread is limited to, for those that work on its behalf."""
    limit = _core.limit_threads(None)
    _core.limit_threads(limit)
    return limit
