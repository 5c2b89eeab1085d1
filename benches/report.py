"""From times to what is shown: rows against floors, as a table, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from peers import OURS, peers_of
from sizes import Size, Work, work_items

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MARKDOWN_BEGIN = "<!-- bench:begin -->"
MARKDOWN_END = "<!-- bench:end -->"


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
        overhead: Bytes that an extraction may need beyond its result.
    """

    ratios: dict[str, dict[str, float]]
    overhead: float


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
    measured = {work.key: peers_of(work.kind) for work in work_items(size)}
    for work, ratios in section["ratios"].items():
        for peer in ratios:
            if peer == OURS or peer not in measured.get(work, ()):
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


def failures(rows: list[Row], floors: Floors) -> list[str]:
    """List what falls short.

    Args:
        rows: The rows of the table.
        floors: What the run is held to.

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
        f"{floors.overhead / 1e6:g} MB"
        for work, overhead in overheads.items()
        if overhead is not None and overhead > floors.overhead
    ]
    return slow + big


def machine() -> dict[str, Any]:
    """Describe the machine, as far as it bears on the times and no further.

    Returns:
        CPU model, number of cores that this process may use, system and Python version.
    """
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


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
        f"{min(row.theirs):.3f}",
        f"{min(row.ours):.3f}",
        f"{row.ratio:.1f}x",
        "-" if row.floor is None else f"{row.floor:g}x",
        row.verdict,
        f"{median(row.theirs):.3f} (n={len(row.theirs)})",
        f"{median(row.ours):.3f} (n={len(row.ours)})",
        "-" if overhead is None else f"{overhead / 1e6:.0f}",
    )


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


def check_markdown(path: Path) -> None:
    """Make sure that the table has a place in a Markdown file.

    Args:
        path: The file.

    Raises:
        ValueError: The markers are not both there once, the first one first.
    """
    text = path.read_text(encoding="utf-8")
    once = text.count(MARKDOWN_BEGIN) == 1 and text.count(MARKDOWN_END) == 1
    if not once or text.index(MARKDOWN_BEGIN) > text.index(MARKDOWN_END):
        raise ValueError(f"{path} needs a line {MARKDOWN_BEGIN} and, below, one {MARKDOWN_END}")


def write_markdown(path: Path, rows: list[Row], provenance: str) -> None:
    """Replace what is between the markers of a Markdown file by the table.

    Args:
        path: The file.
        rows: The rows of the table.
        provenance: Line above the table.
    """
    check_markdown(path)
    text = path.read_text(encoding="utf-8")
    before, _ = text.split(MARKDOWN_BEGIN)
    _, after = text.split(MARKDOWN_END)
    align = ["---" if column < TEXT_COLUMNS else "---:" for column in range(len(HEADER))]
    lines = [" | ".join(cells) for cells in (HEADER, align, *map(_cells, rows))]
    table = "\n".join(f"| {line} |" for line in lines)
    block = f"{MARKDOWN_BEGIN}\n{provenance}\n\n{table}\n{MARKDOWN_END}"
    path.write_text(before + block + after, encoding="utf-8")


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
    path.write_text(json.dumps({**about, "results": results}, indent=2) + "\n", encoding="utf-8")
