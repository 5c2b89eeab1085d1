"""The rooms of the Python package: who imports whom."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import layers

IMPORTS = list(layers.imports())
FLOOR = {room: number for number, floor in enumerate(layers.declared()["floors"]) for room in floor}


def test_every_room_is_declared() -> None:
    rooms = {layers.room(one) for found in IMPORTS for one in (found.source, found.target)}
    assert rooms == set(FLOOR) == set(layers.declared()["rooms"])
    assert len(IMPORTS) > 150


def test_nothing_is_imported_from_the_same_floor_or_above() -> None:
    upward = [
        f"{one.source} -> {one.target}"
        for one in IMPORTS
        if layers.room(one.source) != layers.room(one.target)
        and FLOOR[layers.room(one.source)] >= FLOOR[layers.room(one.target)]
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    below: dict[str, set[str]] = {}
    for one in IMPORTS:
        if not one.is_late:
            below.setdefault(one.source, set()).add(one.target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for target in below.get(module, ()):
                visit(target, (*path, module))
            done.add(module)

    for module in list(below):
        visit(module, ())


def test_imports_inside_functions_are_those_that_are_declared() -> None:
    late: dict[str, list[str]] = {}
    for one in IMPORTS:
        if one.is_late:
            late.setdefault(one.source, []).append(one.target)
    assert late == layers.declared()["late"]


def test_the_drawing_is_of_now() -> None:
    """python docs/layers.py draws it."""
    assert layers.PICTURE.read_text("utf-8") == layers.drawing()
