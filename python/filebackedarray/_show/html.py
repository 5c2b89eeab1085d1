"""What a notebook shows of an array: a table of facts, and a drawing of its chunks."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from delayedarray import is_sparse

from . import text as _display

_LONGEST = 120.0
"""Length of the longest side of a drawing."""

_SHORTEST = 0.25
"""Minimum length of a side in a drawing, as a share of the longest, so that one sees it."""

_MOST_LINES = 20
"""Maximum number of edges of chunks that are drawn along an axis."""

_DEPTH = 0.5
"""How far the third axis goes to the side, for each unit of its length."""


def rows(array: Any) -> list[tuple[str, str]]:
    """What is said of an array, of which no value is read.

    Args:
        array: A :py:class:`~filebackedarray.FileBackedArray`.

    Returns:
        Titles and texts, not escaped.
    """
    seed = array.seed
    said = [
        ("Shape", _display.shape(array.shape)),
        ("Type", str(_dtype(seed))),
        ("Kind", "sparse" if is_sparse(seed) else "dense"),
    ]
    count = math.prod(int(extent) for extent in array.shape)
    if not getattr(seed, "_needs_width", False):
        said.append(("In memory", _display.size(count * array.dtype.itemsize)))
    path = getattr(seed, "path", None)
    if path is None:
        said.append(("Operation", type(seed).__name__))
        return said
    said += _stored(seed)
    said.append(("File", os.fsdecode(path)))
    name = getattr(seed, "name", None) or getattr(seed, "group_name", None) or getattr(seed, "data_name", None)
    if name is not None:
        said.append(("Name", str(name)))
    return said


def _dtype(seed: Any) -> Any:
    # That of strings is known when they have been read, which is not done for a look at an array.
    return "strings" if getattr(seed, "_needs_width", False) else seed.dtype


def _stored(seed: Any) -> list[tuple[str, str]]:
    """How it is stored, as far as the file can be asked now."""
    try:
        chunks, filters, stored, ratio = seed.chunk_shape, seed.filters, seed.storage_size, seed.compression_ratio
    except (OSError, KeyError, ValueError):
        return [("Stored", "the file cannot be read now")]
    by_member = hasattr(chunks, "_fields")
    said = []
    if by_member:
        said.append(("Chunks", ", ".join(f"{name} {length or 'none'}" for name, length in chunks._asdict().items())))
        filters = filters.data
        said.append(("Compressed by", "column" if seed.by_column else "row"))
        said.append(("Stored elements", f"{seed.nnz}"))
    else:
        said.append(("Chunks", "none" if chunks is None else _display.shape(chunks)))
    said.append(("Filters", ", ".join(filters) or "none"))
    smaller = _display.ratio(ratio)
    said.append(("In the file", _display.size(stored) + (f", {smaller} times smaller" if smaller else "")))
    return said


def to_html(array: Any, edges: Callable[[], Sequence[Any]]) -> str:
    """An array for a notebook.

    Args:
        array: A :py:class:`~filebackedarray.FileBackedArray`.
        edges: Returns where its chunks end along each axis. Called after the table is made, which shows an array
            of strings as it is before anything was read of it.

    Returns:
        HTML, in which everything that comes from the file is escaped.
    """
    table = "".join(
        f'<tr><th style="text-align: left">{html.escape(title)}</th>'
        f'<td style="text-align: left">{html.escape(_display.printable(text))}</td></tr>'
        for title, text in rows(array)
    )
    title = f"<strong>{html.escape(type(array).__name__)}</strong>"
    drawing = svg(array.shape, edges())
    return (
        f"<div>{title}<table><tr><td><table><tbody>{table}</tbody></table></td>"
        f'<td style="vertical-align: middle">{drawing}</td></tr></table></div>'
    )


def svg(shape: Sequence[int], edges: Sequence[Any]) -> str:
    """Draw the grid of chunks.

    Args:
        shape: Extents.
        edges: Along each axis, where the chunks end.

    Returns:
        An SVG of a line of one, a rectangle of two and a box of three dimensions, with the last axis to the right and
        the one before it down; empty for others, and where there are no elements.
    """
    if not 1 <= len(shape) <= 3 or 0 in shape:
        return ""
    lengths = _lengths(shape)
    lines = [_lines(int(extent), length, ends) for extent, length, ends in zip(shape, lengths, edges, strict=True)]
    if len(shape) == 1:
        lengths, lines, shown = [_LONGEST * _SHORTEST / 2, *lengths], [[], *lines], [None, *shape]
    else:
        shown = list(shape)
    width, height = lengths[-1], lengths[-2]
    depth = _DEPTH * lengths[0] if len(shape) == 3 else 0.0
    parts: list[str] = []
    front = [
        *(((depth, depth + y), (depth + width, depth + y)) for y in _closed(lines[-2], height)),
        *(((depth + x, depth), (depth + x, depth + height)) for x in _closed(lines[-1], width)),
    ]
    parts.append(
        _face([(depth, depth), (depth + width, depth), (depth + width, depth + height), (depth, depth + height)])
    )
    if depth:
        parts.append(_face([(0, 0), (width, 0), (depth + width, depth), (depth, depth)]))
        parts.append(_face([(0, 0), (depth, depth), (depth, depth + height), (0, height)]))
        for d in _closed([_DEPTH * line for line in lines[0]], depth):
            front += [((d, d), (d + width, d)), ((d, d), (d, d + height))]
        front += [((x, 0), (x + depth, depth)) for x in _closed(lines[-1], width)]
        front += [((0, y), (depth, y + depth)) for y in _closed(lines[-2], height)]
    parts += [_line(*line) for line in front]
    parts.append(_text(depth + width / 2, depth + height + 15, shown[-1]))
    if shown[-2] is not None:
        parts.append(_text(depth + width + 15, depth + height / 2, shown[-2], turned=True))
    if depth:
        parts.append(_text(depth / 2 - 10, height + depth / 2 + 15, shown[0]))
    # Room for the numbers.
    left = 20 if depth else 5
    box = (-left, -5, width + depth + left + 30, height + depth + 30)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{box[2]:.0f}" height="{box[3]:.0f}" '
        f'viewBox="{box[0]:.0f} {box[1]:.0f} {box[2]:.0f} {box[3]:.0f}" role="img" '
        f'aria-label="chunks of an array of {_display.shape(shape)}">{"".join(parts)}</svg>'
    )


def _lengths(shape: Sequence[int]) -> list[float]:
    """Lengths of the sides, the shorter ones longer than they are."""
    longest = max(shape)
    return [_LONGEST * max(_SHORTEST, math.sqrt(extent / longest)) for extent in shape]


def _lines(extent: int, length: float, ends: Any) -> list[float]:
    """Places of the edges of chunks between both ends of a side."""
    count = len(ends) - 1
    if count <= 0:
        return []
    step = max(1, math.ceil(count / _MOST_LINES))
    return [length * int(ends[number]) / extent for number in range(step - 1, count, step)]


def _closed(lines: Sequence[float], length: float) -> list[float]:
    return [0.0, *lines, length]


def _face(points: Sequence[tuple[float, float]]) -> str:
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon points="{corners}" style="fill: #8fb7d9; fill-opacity: 0.6"/>'


def _line(begin: tuple[float, float], end: tuple[float, float]) -> str:
    return (
        f'<line x1="{begin[0]:.1f}" y1="{begin[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        'style="stroke: #2b4b66; stroke-width: 0.7"/>'
    )


def _text(x: float, y: float, number: int | None, turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}"{turn} style="font-size: 11px; text-anchor: middle; fill: currentColor">'
        f"{number}</text>"
    )
