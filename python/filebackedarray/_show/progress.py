"""How far a sweep over a file is, for whoever waits for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Report: TypeAlias = "Callable[[int, int], object]"
"""Called with what is done and what there is to do, in the same unit; in the end both are the same."""

Progress: TypeAlias = "bool | Report | None"
"""What users say: whether to show a bar, or whom to call instead."""

_SECONDS = 0.2
"""Between two lines, where there is no tqdm."""


@contextmanager
def reporting(progress: Progress, title: str, *, stays: bool = True) -> Iterator[Report | None]:
    """Show progress while the body runs.

    Args:
        progress: True for a bar (of tqdm, if it is installed; a plain line on standard error otherwise), a function
            to call, or nothing.
        title: What goes on.
        stays: Whether a bar stays on the terminal in the end. If not, there is none of what takes no time.

    Yields:
        What to call in the body; None if nobody wants to know.

    Raises:
        TypeError: If ``progress`` is neither.
    """
    if progress is None or progress is False:
        yield None
        return
    if progress is not True:
        if not callable(progress):
            raise TypeError(f"'progress' should be True, False or a function, not {type(progress).__name__}")
        yield progress
        return
    bar = _bar(title, stays)
    try:
        yield bar.report
    finally:
        bar.close()


class _Line:
    """A line on standard error that is written anew."""

    def __init__(self, title: str, stays: bool) -> None:
        self._title = title
        self._stays = stays
        self._last = -1.0 if stays else time.monotonic()
        self._width = 0

    def report(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < _SECONDS and (done < total or not self._stays):
            return
        self._last = now
        line = f"{self._title}: {100 if total == 0 else 100 * done // total:3d} %"
        self._width = len(line)
        sys.stderr.write("\r" + line)
        sys.stderr.flush()

    def close(self) -> None:
        if self._width:
            sys.stderr.write("\n" if self._stays else "\r" + " " * self._width + "\r")
            sys.stderr.flush()


class _Bar:
    """tqdm's."""

    def __init__(self, title: str, stays: bool, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._title = title
        self._options = {} if stays else {"leave": False, "delay": _SECONDS}
        self._bar: Any = None

    def report(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = self._tqdm(total=total, desc=self._title, unit="", unit_scale=True, **self._options)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _bar(title: str, stays: bool) -> _Bar | _Line:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Line(title, stays)
    return _Bar(title, stays, tqdm)


def share(report: Report | None, before: int, part: int, total: int) -> Report | None:
    """A report for one part of the work, which does not know of the others.

    Args:
        report: That of the whole.
        before: What was done before.
        part: How much of the whole this part is.
        total: The whole.

    Returns:
        What the part calls, in any unit.
    """
    if report is None:
        return None
    whole = report

    def inner(done: int, of: int) -> None:
        whole(before + (part if of == 0 else part * done // of), total)

    return inner
