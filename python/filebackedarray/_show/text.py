"""How sizes, names and tables are written for people to read."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

_NARROWEST = 8
"""Letters in a line of a column that may go on in the next."""


def size(count: int) -> str:
    """A number of bytes in the largest unit of which there is at least one."""
    value, unit = float(count), 0
    while value >= 1024 and unit + 1 < len(_UNITS):
        value, unit = value / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def shape(extents: Sequence[int] | None) -> str:
    """Extents with a multiplication sign between; nothing of nothing, and a scalar by name."""
    if extents is None:
        return ""
    return " x ".join(str(extent) for extent in extents) if len(extents) else "scalar"


def ratio(value: float | None) -> str:
    """How many times smaller the file is than what is in it."""
    return "" if value is None or not math.isfinite(value) else f"{value:.2f}"


def printable(text: str) -> str:
    """Text from a file, of which nothing can steer a terminal: what is not printed is written as an escape."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode("ascii")
        for letter in text
    )


def plain(value: Any) -> Any:
    """A value as JSON has it. What JSON has no numbers for is a string: "NaN", "Infinity", "-Infinity", complex
    numbers; bytes are decoded as UTF-8.
    """
    if value is numpy.ma.masked:
        return None
    if isinstance(value, numpy.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, numpy.ndarray):
        return [plain(element) for element in value]
    if isinstance(value, numpy.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, complex):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {key: plain(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [plain(element) for element in value]
    return value


def print_json(value: Any) -> None:
    """Write a document on standard output, in ASCII."""
    sys.stdout.write(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


class Column(NamedTuple):
    """A column of a table."""

    title: str
    right: bool = False
    """Whether it is aligned on the right: numbers."""
    folds: bool = False
    """Whether it may go on in the next line where a terminal is narrow: no number may."""


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Write a table on standard output: with rich if it is installed and somebody looks at it through a window that is
    wide enough, else as plain text.
    """
    safe = [[printable(cell) for cell in row] for row in rows]
    # What is empty in all rows says nothing.
    shown = [number for number in range(len(columns)) if any(row[number] for row in safe) or not safe]
    if sys.stdout.isatty():
        try:
            if _print_rich([columns[number] for number in shown], [[row[number] for number in shown] for row in safe]):
                return
        except ImportError:
            pass
    widths = {number: max(len(columns[number].title), *(len(row[number]) for row in safe), 0) for number in shown}
    for row in [[column.title for column in columns], *safe]:
        cells = [
            row[number].rjust(widths[number]) if columns[number].right else row[number].ljust(widths[number])
            for number in shown
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _print_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> bool:
    """Whether there was room. rich would cut numbers in pieces, and leave columns out in the end."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    # Two spaces between columns, one at each edge.
    needed = 2 * len(columns)
    for number, column in enumerate(columns):
        width = max([len(column.title), *(len(row[number]) for row in rows)])
        least = min(width, _NARROWEST) if column.folds else width
        needed += least
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            min_width=least,
            no_wrap=not column.folds,
            overflow="fold",
        )
    if needed > console.width:
        return False
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    return True
