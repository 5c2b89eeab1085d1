"""Times filebackedarray beside its peers, end to end from Python.

Each peer reads in a process of its own, and the peers take turns, so that a machine which slows
down slows them all. A first read of each, untimed, fills the page cache, and their results have
to be equal to the last bit. The ratio in the table is the peer's fastest time by ours. What this
package keeps of decoded chunks is dropped before each timed run. The last column is what our read
needed at its peak beyond the memory of its result, measured as the first read of a fresh process.

    python benches/bench.py --size large --check

With `--cold` the file is dropped from the page cache before each timed run. With `--limit PROGRAM`
the table also says how far from the limit we are: the time in which PROGRAM (the engine's example
`limit`) decodes all chunks into nothing, and fresh memory for the result is written to.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import data
import plots
import report
from peers import LIMIT_PROGRAM, PEERS
from report import Measurement
from sizes import HIDEFIX, LIMITS, OURS, SIZES, ZARRS, Size, Work, curves, work_items
from worker import Worker, WorkerError

FLOORS = Path(__file__).resolve().with_name("floors.toml")

#: What is read on several numbers of threads, and by whom.
THREADED = {"dense-full-1000x100": (OURS, HIDEFIX, *ZARRS, LIMITS[1]), "sparse-full": (OURS,)}


class ResultsDifferError(RuntimeError):
    """Two peers read different values."""


class NotColdError(RuntimeError):
    """The page cache does not let go of a file."""


def measure(
    work: Work, workers: dict[str, Worker], repeats: int, budget: float, cold: bool = False
) -> dict[str, list[float]]:
    """Time a work item with each peer that can do it.

    Args:
        work: The work item.
        workers: A process for each peer.
        repeats: Number of timed runs of each peer.
        budget: Seconds after which a peer is not run again.
        cold: Whether to drop the file from the page cache before each run.

    Returns:
        For each peer the times of its runs, at least one.

    Raises:
        ResultsDifferError: The peers do not agree on the result.
        NotColdError: The file stays in the page cache.
    """
    peers = [peer for peer in work.everyone if peer in workers]
    results = {peer: workers[peer].fingerprint(work.key) for peer in peers}
    if len({result for result in results.values() if result is not None}) > 1:
        listing = "\n".join(f"  {peer}: {result}" for peer, result in results.items())
        raise ResultsDifferError(f"{work.key}: the results differ\n{listing}")

    seconds: dict[str, list[float]] = {peer: [] for peer in peers}
    for turn in range(repeats):
        first = turn % len(peers)
        for peer in peers[first:] + peers[:first]:
            if sum(seconds[peer]) < budget:
                if cold and not workers[peer].chill(work.key):
                    raise NotColdError(f"{work.file}.h5 cannot be dropped from the page cache here")
                seconds[peer].append(workers[peer].seconds(work.key))
    return seconds


def measure_curves(size: Size, open_worker: Any, peers: set[str], repeats: int, budget: float) -> list[dict[str, Any]]:
    """Time what the plots show: growing selections and files, and numbers of threads.

    Args:
        size: Size of the files.
        open_worker: Called with a peer and a number of threads (None for the usual), starts a worker.
        peers: Names of those that take part.
        repeats: Number of timed runs of each point.
        budget: Seconds after which a peer is not run again.

    Returns:
        For each plot its texts, and for each peer the points and times.
    """
    plotted = []
    for curve in curves(size):
        print(f"curve: {curve.title} ...", file=sys.stderr, flush=True)
        times: dict[str, list[tuple[float, float]]] = {}
        needed = {peer for _, work in curve.points for peer in work.everyone} & peers
        with ExitStack() as stack:
            workers = {peer: stack.enter_context(open_worker(peer, None)) for peer in PEERS if peer in needed}
            for x, work in curve.points:
                for peer, seconds in measure(work, workers, repeats, budget).items():
                    times.setdefault(peer, []).append((x, min(seconds)))
        plotted.append({"key": curve.key, "title": curve.title, "axis": curve.axis, "times": times})
    labels = {work.key: work.label for work in work_items(size)}
    for key, readers in THREADED.items():
        print(f"curve: {labels[key]} on several threads ...", file=sys.stderr, flush=True)
        times = {}
        for threads in _thread_counts():
            for peer in [peer for peer in readers if peer in peers]:
                with open_worker(peer, threads) as worker:
                    worker.fingerprint(key)
                    times.setdefault(peer, []).append((threads, min(worker.seconds(key) for _ in range(repeats))))
        plotted.append({"key": f"threads-{key}", "title": labels[key], "axis": "threads", "times": times})
    return plotted


def _thread_counts() -> list[int]:
    """List powers of two up to the number of cores, and that number."""
    cores = report.cores()
    return sorted({1, *(1 << power for power in range(cores.bit_length()) if 1 << power <= cores), cores})


def find_peers(items: Iterable[Work], limit: bool) -> list[str]:
    """List who takes part: who is installed, and for limits, whether they are asked for.

    Args:
        items: What is measured.
        limit: Whether limits are asked for.

    Returns:
        Names of peers.
    """
    needed = {peer for work in items for peer in work.everyone}
    found = []
    for name, peer in PEERS.items():
        missing = [package for package in peer.packages if find_spec(package) is None]
        if name in needed and missing:
            print(f"{name} does not take part: not installed: {', '.join(missing)}", file=sys.stderr)
        elif name in needed and (limit or name not in LIMITS):
            found.append(name)
    return found


def parse_arguments() -> argparse.Namespace:
    """Read the command line.

    Returns:
        The arguments, consistent with each other.
    """
    parser = argparse.ArgumentParser(description="Time filebackedarray beside its peers.")
    parser.add_argument("--size", choices=SIZES, default="small", help="size of the files")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timed runs per peer")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads; the floors are for 2")
    parser.add_argument(
        "--budget",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="time in one work item after which a slow peer is not run again",
    )
    parser.add_argument("--only", metavar="PATTERN", help="work items to run: part of a key, or a glob")
    parser.add_argument("--cold", action="store_true", help="drop files from the page cache before each run")
    parser.add_argument("--limit", type=Path, metavar="PROGRAM", help="measure the limit with this program")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is below its floor")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every time to this file")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="measure curves, and draw all plots into DIR")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="put the table between the file's markers")
    parser.add_argument("--summary", type=Path, metavar="OUT", help="put a line per work item with floors there")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=data.default_data_dir(),
        help=f"where the files are generated (default: ${data.DATA_DIR_VARIABLE} or benches/.data)",
    )
    arguments = parser.parse_args()
    if arguments.repeats < 1 or arguments.threads < 1:
        parser.error("--repeats and --threads start at 1")
    if arguments.cold and (arguments.check or arguments.plots or arguments.summary):
        parser.error("--cold goes without --check, --plots and --summary: floors are for a warm page cache")
    if arguments.only is not None and (arguments.summary or (arguments.markdown and not arguments.cold)):
        parser.error("--markdown and --summary take the whole table, so they do not go with --only")
    try:
        if arguments.markdown is not None:
            report.check_section(arguments.markdown, _section(arguments))
        if arguments.summary is not None:
            report.check_section(arguments.summary, report.SECTION)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if arguments.limit is not None:
        os.environ[LIMIT_PROGRAM] = str(arguments.limit.resolve())
    return arguments


def _section(arguments: argparse.Namespace) -> str:
    return report.COLD_SECTION if arguments.cold else report.SECTION


def main() -> int:
    """Run the benchmark.

    Returns:
        Exit status.
    """
    arguments = parse_arguments()
    size: Size = SIZES[arguments.size]
    pattern = f"*{arguments.only or ''}*"
    items = [work for work in work_items(size) if fnmatch(work.key, pattern)]
    if not items:
        keys = ", ".join(work.key for work in work_items(size))
        print(f"no work item matches {arguments.only!r}; there are {keys}", file=sys.stderr)
        return 2
    floors = report.load_floors(FLOORS, size)
    data.ensure(size, arguments.data_dir)
    peers = find_peers(items, arguments.limit is not None)

    def open_worker(peer: str, threads: int | None = None) -> Worker:
        return Worker(peer, size, arguments.data_dir, threads or arguments.threads)

    measurements, plotted = [], []
    try:
        with ExitStack() as stack:
            workers = {peer: stack.enter_context(open_worker(peer)) for peer in peers}
            versions = {k: v for worker in workers.values() for k, v in worker.versions.items()}
            kept = workers[OURS].cache_budget
            for work in items:
                print(f"{work.label} ...", file=sys.stderr, flush=True)
                seconds = measure(work, workers, arguments.repeats, arguments.budget, arguments.cold)
                overhead = None
                if work.memory and not arguments.cold:
                    with open_worker(OURS) as worker:
                        overhead = worker.overhead(work.key)
                measurements.append(Measurement(work, seconds, overhead))
        if arguments.plots is not None:
            plotted = measure_curves(size, open_worker, set(peers), arguments.repeats, arguments.budget)
    except (ResultsDifferError, NotColdError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    rows = report.make_rows(measurements, floors if not arguments.cold else report.NO_FLOORS)
    machine = report.machine()
    description = report.describe(machine, arguments.threads, versions)
    report.print_table(rows, description)

    # Not sys.argv, whose paths are nobody else's.
    command = f"python benches/bench.py --size {size.name} --threads {arguments.threads} --repeats {arguments.repeats}"
    if arguments.cold:
        command += " --cold"
    if arguments.only is not None:
        command += f" --only '{arguments.only}'"
    about = {
        "command": command,
        "date": report.today(),
        "machine": machine,
        "threads": arguments.threads,
        "page cache": "cold" if arguments.cold else "warm",
        "versions": versions,
    }
    provenance = f"Made by `{command}` on {about['date']}, {about['page cache']} page cache: {description}."
    if arguments.json is not None:
        report.write_json(arguments.json, rows, {**about, "curves": plotted})
    pictures = ""
    if arguments.plots is not None:
        pictures = plots.draw(arguments.plots, rows, plotted)
    if arguments.markdown is not None:
        text = "\n\n".join(part for part in (provenance, pictures, report.markdown(rows)) if part)
        report.write_section(arguments.markdown, _section(arguments), text)
    if arguments.summary is not None:
        report.write_section(arguments.summary, report.SECTION, f"{provenance}\n\n{report.summary(rows)}")

    shortfalls = report.failures(rows, floors, kept)
    for shortfall in shortfalls:
        print(shortfall, file=sys.stderr)
    return 1 if arguments.check and shortfalls else 0


if __name__ == "__main__":
    sys.exit(main())
