"""The imports of the Python package, room by room, and a drawing of them for docs/architecture.md.

`python docs/layers.py` draws it anew, from layers.toml and the sources; tests/test_layers.py fails where it is stale.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "python" / "filebackedarray"
PICTURE = DOCS / "images" / "layers.svg"


@dataclass(frozen=True)
class Import:
    """A module of the package imports another one.

    Attributes:
        source: Dotted name of the module that imports, within the package.
        target: Dotted name of the module that is imported.
        is_late: Whether it is imported inside a function.
    """

    source: str
    target: str
    is_late: bool


def declared() -> dict[str, Any]:
    """What layers.toml says."""
    with (DOCS / "layers.toml").open("rb") as handle:
        return tomllib.load(handle)


def room(module: str) -> str:
    """The room that a module is in."""
    first = module.split(".")[0]
    if first == "__main__":
        return "_shell"
    return "seeds" if first.endswith("Seed") else first


def imports() -> Iterator[Import]:
    """All imports of the package's own modules, but those that only type checkers see."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        package = list(parts[:-1])
        source = ".".join(package if parts[-1] == "__init__" and package else parts)
        yield from _of_body(ast.parse(path.read_text("utf-8")), source, package, False)


def _of_body(node: ast.AST, source: str, package: list[str], is_late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.level:
            base = package[: len(package) - child.level + 1] + (child.module.split(".") if child.module else [])
            for name in child.names:
                whole = [*base, name.name]
                target = ".".join(whole if _is_module(whole) else base) or "__init__"
                if target != source:
                    yield Import(source, target, is_late)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _of_body(child, source, package, is_late or inside)


def _is_module(parts: list[str]) -> bool:
    path = PACKAGE.joinpath(*parts)
    return parts == ["_core"] or path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def drawing() -> str:
    """An SVG: a row for each floor, a line to each room that another one imports."""
    said = declared()
    floors: list[list[str]] = said["floors"]
    height, step, width = 44, 76, 760
    places = {}
    for number, floor in enumerate(floors):
        share = width / len(floor)
        for place, one in enumerate(floor):
            places[one] = (place * share + 8, number * step + 8, share - 16)
    arrows = {(room(one.source), room(one.target)) for one in imports()}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {len(floors) * step}" font-family="sans-serif">',
        "<title>Rooms of the Python package, and which of those below it each imports</title>",
    ]
    # A line that two others make up together says nothing new.
    for source, target in sorted(arrows):
        through = any((source, other) in arrows and (other, target) in arrows for other in places if other != source)
        if source == target or (through and target not in (source, "__init__")):
            continue
        (left, top, wide), (to_left, to_top, to_wide) = places[source], places[target]
        parts.append(
            f'<line x1="{left + wide / 2:.0f}" y1="{top + height}" x2="{to_left + to_wide / 2:.0f}" y2="{to_top}"'
            ' stroke="#888" stroke-width="1.5"/>'
        )
    for one, (left, top, wide) in places.items():
        middle = left + wide / 2
        parts += [
            f'<rect x="{left:.0f}" y="{top}" width="{wide:.0f}" height="{height}" rx="6" fill="#eef3f8"/>',
            f'<text x="{middle:.0f}" y="{top + 18}" text-anchor="middle" font-size="14">{one}</text>',
            f'<text x="{middle:.0f}" y="{top + 34}" text-anchor="middle" font-size="11">{said["rooms"][one]}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(drawing(), "utf-8")
