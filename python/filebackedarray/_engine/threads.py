"""How many threads, and how much memory for decoded chunks, the engine may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import _core

__all__ = ["get_num_threads", "limit_threads", "set_cache_budget", "set_num_threads"]


def get_num_threads() -> int:
    """Number of threads that read and decode for the calling thread.

    Returns:
        What the calling thread is limited to by :py:func:`limit_threads`, if that is fewer than what was set by
        :py:func:`set_num_threads`, or else by the environment variable ``FILEBACKEDARRAY_NUM_THREADS``, or else the
        number of cores that this process may use
        (its affinity and the limits of its control group are respected).

    Raises:
        ValueError: If the environment variable is not such a number.
    """
    return _core.get_num_threads()


def set_num_threads(threads: int) -> int:
    """Set the number of threads that read and decode, for all threads of this process.

    Args:
        threads: Between 1 and 1024.

    Returns:
        The number before.

    Raises:
        ValueError: If ``threads`` is 0 or too large.
        OverflowError: If ``threads`` is negative.
    """
    return _core.set_num_threads(threads)


def set_cache_budget(bytes: int) -> int:
    """Set how much memory decoded chunks may take from one read to the next, for all threads of this process.

    A read that takes a part of some chunks leaves them decoded, so that the next one finds them; the chunks that were
    not used for longest make room for others. Chunks that are wanted whole are not kept, nor are those of reads that
    go through more than an eighth of the budget, unless it is a single chunk.

    Args:
        bytes: The budget; 0 keeps no chunks and drops all. It is 512 MiB to begin with.

    Returns:
        The budget before.

    Raises:
        OverflowError: If ``bytes`` is negative or more than an address can count.
    """
    return _core.set_cache_budget(bytes)


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Limit how many threads read and decode for the calling thread, within a ``with`` statement.

    For work that runs beside other work in one process, such as the tasks of a Dask worker: each has its own limit,
    where :py:func:`set_num_threads` is for all threads of the process. With a limit of 1 everything is done by the
    thread that asks, and no other is woken up. A limit that is above the process's number of threads changes nothing.
    Results are the same with any limit.

    Args:
        threads: Between 1 and 1024; the calling thread is one of them.

    Yields:
        Nothing: the limit holds until the end of the statement.

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
