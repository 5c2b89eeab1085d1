"""From times to what is shown: rows against floors, as tables in the terminal and in Markdown, and as JSON."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from sizes import LIMITS, OURS, OURS_ON_ONE, OURS_ONE_BY_ONE, Size, Work, work_items

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Names of the places in Markdown files that are filled in.
SECTION = "bench"
COLD_SECTION = "bench-cold"


@dataclass(frozen=True)
class Measurement:
    """What was measured of one work item.

    Attributes:
        work: The work item.
        seconds: For each peer the times of its runs, this package included.
        overhead: Bytes that this package needed at its peak beyond the result, if known.
    """

    work: Work
    seconds: dict[str, list[float]]
    overhead: int | None


@dataclass(frozen=True)
class Floors:
    """What a run is held to.

    Attributes:
        ratios: For each work item and peer the least ratio.
        overhead: Bytes that a read may need beyond its result and what is kept between reads.
    """

    ratios: dict[str, dict[str, float]]
    overhead: float


NO_FLOORS = Floors({}, float("inf"))


@dataclass(frozen=True)
class Row:
    """This package beside one peer at one work item; a line of the table.

    Attributes:
        measurement: What was measured.
        peer: Name of the peer.
        floor: Least ratio, if there is one.
    """

    measurement: Measurement
    peer: str
    floor: float | None

    @property
    def theirs(self) -> list[float]:
        """Times of the peer."""
        return self.measurement.seconds[self.peer]

    @property
    def ours(self) -> list[float]:
        """Times of this package."""
        return self.measurement.seconds[OURS]

    @property
    def ratio(self) -> float:
        """How many times faster than the peer this package is."""
        return min(self.theirs) / min(self.ours)

    @property
    def below(self) -> bool:
        """Whether the ratio is less than it has to be."""
        return self.floor is not None and self.ratio < self.floor

    @property
    def verdict(self) -> str:
        """What the table says about the floor."""
        if self.floor is None:
            return "-"
        return "below" if self.below else "ok"


def load_floors(path: Path, size: Size) -> Floors:
    """Read the floors of one size.

    Args:
        path: The TOML file.
        size: Size of the files.

    Returns:
        The floors.

    Raises:
        ValueError: A floor is for something that is not measured, such as a misspelt work item,
            and would never fail.
    """
    with path.open("rb") as file:
        section = tomllib.load(file)[size.name]
    measured = {work.key: work.peers for work in work_items(size)}
    for work, ratios in section["ratios"].items():
        for peer in ratios:
            if peer not in measured.get(work, ()):
                raise ValueError(f"{path.name}: {work} against {peer} is not measured")
    return Floors(section["ratios"], section["peak_over_result_mb"] * 1e6)


def make_rows(measurements: list[Measurement], floors: Floors) -> list[Row]:
    """Set this package beside each peer.

    Args:
        measurements: What was measured.
        floors: What the ratios are held to.

    Returns:
        One row per work item and peer.
    """
    return [
        Row(measurement, peer, floors.ratios.get(measurement.work.key, {}).get(peer))
        for measurement in measurements
        for peer in measurement.seconds
        if peer != OURS
    ]


def failures(rows: list[Row], floors: Floors, kept: int) -> list[str]:
    """List what falls short.

    Args:
        rows: The rows of the table.
        floors: What the run is held to.
        kept: Bytes that this package may keep between reads besides.

    Returns:
        One sentence for each ratio below its floor and each extraction above the memory bound.
    """
    slow = [
        f"{row.measurement.work.key}: {row.ratio:.2f}x {row.peer} is below the floor {row.floor:g}x"
        for row in rows
        if row.below
    ]
    # A work item has a row for each peer, but only one peak.
    overheads = {row.measurement.work.key: row.measurement.overhead for row in rows}
    big = [
        f"{work}: a peak of {overhead / 1e6:.0f} MB beyond the result is above the bound of "
        f"{(floors.overhead + kept) / 1e6:g} MB"
        for work, overhead in overheads.items()
        if overhead is not None and overhead > floors.overhead + kept
    ]
    return slow + big


def machine() -> dict[str, Any]:
    """Describe the machine, as far as it bears on the times and no further.

    Returns:
        CPU model, number of cores that this process may use, system and Python version.
    """
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def today() -> str:
    """Name the day."""
    return datetime.date.today().isoformat()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown CPU")


def describe(machine: dict[str, Any], threads: int, versions: dict[str, str]) -> str:
    """Say in a line what the times depend on.

    Args:
        machine: What :func:`machine` returned.
        threads: Number of threads of this package.
        versions: Versions of the packages.

    Returns:
        The line.
    """
    packages = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; "
        f"{threads} thread{'' if threads == 1 else 's'}; Python {machine['python']}, {packages}"
    )


HEADER = (
    "work",
    "peer",
    "peer (s)",
    "ours (s)",
    "ratio",
    "floor",
    "",
    "peer median",
    "ours median",
    "peak - result (MB)",
)
#: The first columns are text, the others numbers.
TEXT_COLUMNS = 2


def _cells(row: Row) -> tuple[str, ...]:
    overhead = row.measurement.overhead
    return (
        row.measurement.work.label,
        row.peer,
        _seconds(min(row.theirs)),
        _seconds(min(row.ours)),
        _ratio(row.ratio),
        "-" if row.floor is None else f"{row.floor:g}x",
        row.verdict,
        f"{_seconds(median(row.theirs))} (n={len(row.theirs)})",
        f"{_seconds(median(row.ours))} (n={len(row.ours)})",
        "-" if overhead is None else f"{overhead / 1e6:.0f}",
    )


def _seconds(seconds: float) -> str:
    """Format a time: to the millisecond, or what is left of less."""
    return f"{seconds:.3f}" if seconds >= 0.01 else f"{seconds:.2g}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio >= 3 else f"{ratio:.2f}x"


def print_table(rows: list[Row], caption: str) -> None:
    """Print the table to standard output.

    Args:
        rows: The rows of the table.
        caption: Line below the table.
    """
    table = Table(caption=caption, caption_justify="left")
    for column, title in enumerate(HEADER):
        table.add_column(title, justify="left" if column < TEXT_COLUMNS else "right")
    for row in rows:
        table.add_row(*_cells(row), style="red" if row.below else None)
    # A log has no width of its own; rich would assume 80 columns and break every line.
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def _markers(section: str) -> tuple[str, str]:
    return f"<!-- {section}:begin -->", f"<!-- {section}:end -->"


def check_section(path: Path, section: str) -> None:
    """Make sure that a section has its place in a Markdown file.

    Args:
        path: The file.
        section: Name of the section.

    Raises:
        ValueError: The markers are not both there once, the first one first.
    """
    text = path.read_text(encoding="utf-8")
    begin, end = _markers(section)
    once = text.count(begin) == 1 and text.count(end) == 1
    if not once or text.index(begin) > text.index(end):
        raise ValueError(f"{path} needs a line {begin} and, below, one {end}")


def write_section(path: Path, section: str, contents: str) -> None:
    """Replace what is between the markers of a Markdown file.

    Args:
        path: The file.
        section: Name of the section.
        contents: What goes there.
    """
    check_section(path, section)
    begin, end = _markers(section)
    text = path.read_text(encoding="utf-8")
    before, _ = text.split(begin)
    _, after = text.split(end)
    path.write_text(f"{before}{begin}\n{contents}\n{end}{after}", encoding="utf-8")


def markdown_table(header: Sequence[str], text_columns: int, lines: Iterable[Sequence[str]]) -> str:
    """Make a Markdown table.

    Args:
        header: Titles of the columns.
        text_columns: How many of the first columns are text; the others are numbers.
        lines: The cells of each line.

    Returns:
        The table.
    """
    align = ["---" if column < text_columns else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, align, *lines))


def markdown(rows: list[Row]) -> str:
    """Make a Markdown table of everything that was measured.

    Args:
        rows: The rows of the table.

    Returns:
        The table.
    """
    return markdown_table(HEADER, TEXT_COLUMNS, map(_cells, rows))


def summary(rows: list[Row]) -> str:
    """Make a Markdown table with a line for each work item that has a floor, and a column for each peer.

    Args:
        rows: The rows of the table.

    Returns:
        The table.
    """
    held = [row for row in rows if row.floor is not None and row.peer not in (OURS_ON_ONE, OURS_ONE_BY_ONE, *LIMITS)]
    peers = list(dict.fromkeys(row.peer for row in held))
    works = dict.fromkeys(row.measurement.work.key for row in held)
    lines = []
    for work in works:
        mine = {row.peer: row for row in rows if row.measurement.work.key == work}
        any_row = next(iter(mine.values()))
        ratios = [_ratio(mine[peer].ratio) if peer in mine else "" for peer in peers]
        lines.append([any_row.measurement.work.label, _seconds(min(any_row.ours)), *ratios])
    return markdown_table(["work", "ours (s)", *peers], 1, lines)


def write_json(path: Path, rows: list[Row], about: dict[str, Any]) -> None:
    """Write everything that was measured.

    Args:
        path: The file.
        rows: The rows of the table.
        about: What the times depend on.
    """
    results = [
        {
            "work": row.measurement.work.key,
            "label": row.measurement.work.label,
            "peer": row.peer,
            "peer_seconds": row.theirs,
            "ours_seconds": row.ours,
            "ratio": row.ratio,
            "floor": row.floor,
            "ours_peak_over_result_bytes": row.measurement.overhead,
        }
        for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "results": results}, indent=2) + "\n", encoding="utf-8")
