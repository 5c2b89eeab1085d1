"""How much memory a matrix may take that others want to have in memory as a whole."""

import operator
import threading

from .._core import available_memory

_UNKNOWN = 2 << 30
"""The budget on a system that does not tell how much memory is available."""

_lock = threading.Lock()
_budget: int | None = None


def get_memory_budget() -> int:
    """How much memory a matrix may take that is loaded for :py:func:`mattress.initialize`, and with that for scranpy.

    Returns:
        Bytes: what was set by :py:func:`set_memory_budget`, or else half of the memory that is available now (within
        the limits of the control group), or else, where the system does not tell, 2 GiB.
    """
    with _lock:
        if _budget is not None:
            return _budget
    available = available_memory()
    return _UNKNOWN if available is None else available // 2


def set_memory_budget(bytes: int | None) -> int | None:
    """Set how much memory a matrix may take that is loaded for :py:func:`mattress.initialize`.

    A matrix that takes more is written to a temporary file without compression, with a warning, and read from there.

    Args:
        bytes: The budget for one matrix; None for half of the memory that is available when it is needed.

    Returns:
        What was set before.

    Raises:
        ValueError: If it is negative.
        TypeError: If it is not an integer.
    """
    global _budget
    if bytes is not None:
        bytes = operator.index(bytes)
        if bytes < 0:
            raise ValueError(f"a memory budget should not be negative: {bytes}")
    with _lock:
        before, _budget = _budget, bytes
    return before
