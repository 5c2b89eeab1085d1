"""How much memory this process takes, as far as the operating system tells."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


class Peak:
    """The peak of this process's memory from when this is made."""

    def __init__(self) -> None:
        """Begin anew."""
        gc.collect()
        # Where it is not allowed, the peak includes that of the imports, so that what is reported
        # may be too much, never too little.
        with suppress(OSError):
            CLEAR_REFS.write_text("5")
        self._before = _count("VmRSS")

    def growth(self) -> int | None:
        """By how many bytes the process grew at its peak; None where the system does not tell."""
        peak = _count("VmHWM")
        return None if peak is None or self._before is None else peak - self._before


def _count(field: str) -> int | None:
    """Read one of the kernel's counts of this process's memory.

    Args:
        field: ``VmRSS`` for now, ``VmHWM`` for the peak. (The peak in ``getrusage`` would not do:
            it starts at that of the parent process.)

    Returns:
        Number of bytes, if known.
    """
    if not STATUS.exists():
        return None
    lines = STATUS.read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
