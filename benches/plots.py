"""Draws what was measured: bars of ratios, and times against threads, selections and file sizes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from sizes import LIMITS, OURS, OURS_ON_ONE, OURS_ONE_BY_ONE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from report import Row

#: The same file for the same numbers: names of parts of the picture are not random.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "filebackedarray",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def draw(directory: Path, rows: list[Row], curves: list[dict[str, Any]]) -> str:
    """Draw all plots, as SVG.

    Args:
        directory: Where they go, beside the Markdown file that shows them.
        rows: The rows of the table.
        curves: What was measured for the curves, see ``bench.measure_curves``.

    Returns:
        Markdown that shows them.
    """
    import matplotlib as mpl

    mpl.use("svg")
    directory.mkdir(parents=True, exist_ok=True)
    threads = [curve for curve in curves if curve["axis"] == "threads"]
    selections = [curve for curve in curves if curve["key"] in ("rows", "cells")]
    files = [curve for curve in curves if curve["key"] == "file"]
    with mpl.rc_context(STYLE):
        _ratios(directory / "ratios.svg", rows)
        _lines(directory / "threads.svg", threads, logarithmic=False)
        _lines(directory / "selection.svg", selections, logarithmic=True)
        _lines(directory / "file-size.svg", files, logarithmic=False)
    texts = {
        "ratios": "How many times faster than each peer",
        "threads": "Time against the number of threads",
        "selection": "Time against the size of the selection",
        "file-size": "Time against the size of the file",
    }
    return "\n\n".join(f"![{text}]({directory.name}/{name}.svg)" for name, text in texts.items())


def _ratios(path: Path, rows: list[Row]) -> None:
    """Draw a bar for each ratio that has a floor, with the floor as a line across it."""
    from matplotlib import pyplot

    shown = [row for row in rows if row.floor is not None and row.peer not in (OURS_ON_ONE, OURS_ONE_BY_ONE, *LIMITS)]
    if not shown:
        return
    peers = list(dict.fromkeys(row.peer for row in shown))
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.2 * len(shown)), layout="constrained")
    for number, peer in enumerate(peers):
        places = [place for place, row in enumerate(shown) if row.peer == peer]
        axes.barh(places, [shown[place].ratio for place in places], color=f"C{number}", label=peer)
    for place, row in enumerate(shown):
        axes.plot([row.floor or 1] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1)
        axes.annotate(f" {row.ratio:.1f}x", (row.ratio, place), va="center", fontsize=7)
    # A label only where the work item is another than the one above.
    labels = [row.measurement.work.label for row in shown]
    firsts = [place for place, label in enumerate(labels) if place == 0 or labels[place - 1] != label]
    axes.set_yticks(firsts, [labels[place] for place in firsts])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color="grey", linewidth=0.5)
    axes.margins(y=0.01)
    axes.set_xlabel("times faster than the peer (black: the floor)")
    figure.legend(loc="outside upper center", ncols=4)
    _save(path, figure)


def _lines(path: Path, curves: list[dict[str, Any]], logarithmic: bool) -> None:
    """Draw a panel for each curve, with a line for each peer."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(4.2 * len(curves), 3.2), layout="constrained", squeeze=False
    )
    peers = list(dict.fromkeys(peer for curve in curves for peer in curve["times"]))
    for axes, curve in zip(panels[0], curves, strict=True):
        _panel(axes, curve, peers, logarithmic)
    _save(path, figure)


def _panel(axes: Axes, curve: dict[str, Any], peers: list[str], logarithmic: bool) -> None:
    for peer, points in curve["times"].items():
        xs, seconds = zip(*points, strict=True)
        width = 2 if peer == OURS else 1
        axes.plot(xs, seconds, marker="o", markersize=3, linewidth=width, color=f"C{peers.index(peer)}", label=peer)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_xticks(_all_xs(curve))
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:,.4g}")
    axes.set_xlabel(curve["axis"])
    axes.set_ylabel("seconds")
    axes.set_title(fill(curve["title"], 42), fontsize=9)
    axes.legend(fontsize=7)


def _all_xs(curve: dict[str, Any]) -> list[float]:
    points: Iterable[list[tuple[float, float]]] = curve["times"].values()
    return sorted({x for line in points for x, _ in line})


def _save(path: Path, figure: Any) -> None:
    from matplotlib import pyplot

    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
