"""What this package was to be, and what a run of the benchmark says of it; a section of docs/performance.md.

python benches/goals.py benches/results/large.json docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import report
from sizes import LIMITS

#: Name of the place in the Markdown file that is filled in.
SECTION = "goals"

HDF5ARRAY, H5PY, DELAYEDARRAY = "hdf5array", "h5py", "delayedarray, of a part"
LIMIT, INFLATING = LIMITS[0], LIMITS[2]


@dataclass(frozen=True)
class Goal:
    """One of them.

    Attributes:
        title: What is done.
        works: Work items, all of which are to get there.
        peer: Beside whom; a limit, or ``ours``, of which `than` says what.
        factor: How many times faster than a peer at least; of a limit, or of other work of ours, how many times as
            long at most.
        why: What there is to say if it is missed.
        than: For each work item the other one of ours that it is compared with.
    """

    title: str
    works: tuple[str, ...]
    peer: str
    factor: float
    why: str = ""
    than: tuple[str, ...] = ()

    @property
    def is_bound(self) -> bool:
        """Whether less is better."""
        return bool(self.than) or self.peer in LIMITS

    @property
    def text(self) -> str:
        """What was aimed at."""
        what = {LIMIT: "the limit", INFLATING: "inflating alone"}.get(self.peer, self.peer)
        return f"{self.factor:g} times {what}" if self.is_bound else f"{self.factor:g}x {what}"


_BOTH = ("dense-full-1000x100", "dense-full-100x100")
_SUMS = ("dense-column-sums", "dense-row-sums")
_VARIANCES = ("dense-column-var", "dense-row-var")
_SPARSE_SUMS = ("sparse-column-sums", "sparse-row-sums")
_SPARSE_VARIANCES = ("sparse-column-var", "sparse-row-var")

_LIMIT = "the limit itself is not that much faster than h5py"
_NEAR_LIMIT = "the limit is hardly that much faster than hdf5array"
_BLOSC = "Blosc decodes several times faster than gzip does"
_TOUCHED = "they touch more than half of all chunks, which have to be decoded"
_ONE_STREAM = "one deflate stream, and cold caches: see below"
_ADDING = "to put elements together and to add them up is the rest: see below"
_SQUARES = "a sum of squares besides"
_DIVISION = "a division for each element, where values of a row are met one by one"

GOALS = (
    Goal("dense full, 1000x100", _BOTH[:1], H5PY, 12, _LIMIT),
    Goal("dense full, 1000x100", _BOTH[:1], HDF5ARRAY, 30, _NEAR_LIMIT),
    Goal("dense full, 1000x100", _BOTH[:1], "hidefix", 2),
    Goal("dense full, 1000x100", _BOTH[:1], "zarr+zarrs gzip", 2.5),
    Goal("dense full, 1000x100", _BOTH[:1], "zarr+zarrs zstd", 2.5),
    Goal("dense full, 1000x100", _BOTH[:1], "zarr+zarrs blosc", 2.5, _BLOSC),
    Goal("dense full, 100x100", _BOTH[1:], H5PY, 5),
    Goal("dense full, 100x100", _BOTH[1:], "hidefix", 1.5),
    Goal("full reads: dense, dense, sparse", (*_BOTH, "sparse-full"), LIMIT, 1.3),
    Goal("uncompressed full", ("contiguous-full",), H5PY, 1.5),
    Goal("uncompressed, 1000 rows in a row", ("contiguous-row-slab",), H5PY, 1.5),
    Goal("dense 500 rows", ("dense-rows-100x100", "dense-rows-1000x100"), HDF5ARRAY, 6),
    Goal("dense 500 x 500", ("dense-block-100x100", "dense-block-1000x100"), HDF5ARRAY, 10),
    Goal("sparse full", ("sparse-full",), H5PY, 10),
    Goal("CSC 500 columns", ("sparse-columns",), HDF5ARRAY, 10, _TOUCHED),
    Goal("CSC 500 columns", ("sparse-columns",), "anndata", 4),
    Goal("CSC 500 rows", ("sparse-rows",), HDF5ARRAY, 50),
    Goal("CSC 500 rows", ("sparse-rows",), "anndata", 5),
    Goal("CSC one column", ("sparse-column",), HDF5ARRAY, 8, _ONE_STREAM),
    Goal("CSC 1000 random columns, each by itself", ("sparse-many-columns",), HDF5ARRAY, 8, "as for one column"),
    Goal("CSC 1000 columns, one by one", ("sparse-walk",), HDF5ARRAY, 20),
    Goal("dense sums of columns, of rows", _SUMS, DELAYEDARRAY, 100),
    Goal("dense sums of columns, of rows", _SUMS, INFLATING, 1.3, _ADDING),
    Goal("dense variances of columns, of rows", _VARIANCES, "the sums", 1.3, _SQUARES, _SUMS),
    Goal("CSC sums of columns, of rows", _SPARSE_SUMS, DELAYEDARRAY, 100),
    Goal(
        "CSC variances of columns, of rows",
        ("sparse-column-var", "sparse-row-var"),
        "the sums",
        1.3,
        _DIVISION,
        _SPARSE_SUMS,
    ),
    Goal("dense sum of columns of `log1p(x / vector)`", ("dense-log",), DELAYEDARRAY, 50),
    Goal("CSC sum of columns of `log1p(x / vector)`", ("sparse-log",), DELAYEDARRAY, 50),
    Goal("CSC product with 50 columns", ("product-sparse",), H5PY, 1),
)


def table(results: Sequence[dict[str, object]]) -> str:
    """Put goals beside results.

    Args:
        results: The rows of a run's JSON file.

    Returns:
        A table in Markdown.

    Raises:
        KeyError: A goal is about something that was not measured.
    """
    ours: dict[str, float] = {}
    theirs: dict[tuple[str, str], float] = {}
    for row in results:
        work = str(row["work"])
        ours[work] = min(row["ours_seconds"])  # type: ignore[call-overload]
        theirs[work, str(row["peer"])] = min(row["peer_seconds"])  # type: ignore[call-overload]
    lines = ["| work | aimed at | reached | of what is missed, why |", "| --- | --- | --- | --- |"]
    for goal in GOALS:
        if goal.than:
            times = [ours[work] / ours[than] for work, than in zip(goal.works, goal.than, strict=True)]
        elif goal.is_bound:
            times = [ours[work] / theirs[work, goal.peer] for work in goal.works]
        else:
            times = [theirs[work, goal.peer] / ours[work] for work in goal.works]
        missed = any(time > goal.factor if goal.is_bound else time < goal.factor for time in times)
        reached = ", ".join(f"{time:.2f}" if goal.is_bound else f"{time:.3g}x" for time in times)
        shown, why = (f"**{reached}**", goal.why) if missed else (reached, "")
        lines.append(f"| {goal.title} | {goal.text} | {shown} | {why} |")
    return "\n".join(lines)


def main() -> int:
    """Fill in the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what bench.py --json wrote")
    parser.add_argument("markdown", type=Path, help="the file to fill in")
    arguments = parser.parse_args()
    run = json.loads(arguments.results.read_text(encoding="utf-8"))
    report.check_section(arguments.markdown, SECTION)
    provenance = "Made by `python benches/goals.py` of the run above. What is missed is bold."
    report.write_section(arguments.markdown, SECTION, f"{provenance}\n\n{table(run['results'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
