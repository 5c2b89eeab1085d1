"""Times filebackedarray beside its peers, end to end from Python.

Each peer reads in a process of its own, and the peers take turns, so that a machine which slows
down slows them all. A first read of each, untimed, fills the page cache, and their results have
to be equal to the last bit. The ratio in the table is the peer's fastest time by ours. The last
column is what our read needed at its peak beyond the memory of its result, measured as the first
read of a fresh process.

    python benches/bench.py --size large --check
"""

from __future__ import annotations

import argparse
import datetime
import sys
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path

import data
import report
from peers import OURS, PEERS, peers_of
from report import Measurement
from sizes import SIZES, Size, Work, work_items
from worker import Worker, WorkerError

FLOORS = Path(__file__).resolve().with_name("floors.toml")


class ResultsDifferError(RuntimeError):
    """Two peers read different values."""


def measure(work: Work, workers: dict[str, Worker], repeats: int, budget: float) -> dict[str, list[float]]:
    """Time a work item with each peer that can do it.

    Args:
        work: The work item.
        workers: A process for each peer.
        repeats: Number of timed runs of each peer.
        budget: Seconds after which a peer is not run again.

    Returns:
        For each peer the times of its runs, at least one.

    Raises:
        ResultsDifferError: The peers do not agree on the result.
    """
    peers = peers_of(work.kind)
    results = {peer: workers[peer].fingerprint(work.key) for peer in peers}
    if len(set(results.values())) > 1:
        listing = "\n".join(f"  {peer}: {result}" for peer, result in results.items())
        raise ResultsDifferError(f"{work.key}: the results differ\n{listing}")

    seconds: dict[str, list[float]] = {peer: [] for peer in peers}
    for turn in range(repeats):
        first = turn % len(peers)
        for peer in peers[first:] + peers[:first]:
            if sum(seconds[peer]) < budget:
                seconds[peer].append(workers[peer].seconds(work.key))
    return seconds


def measure_overhead(work: Work, size: Size, data_dir: Path, threads: int) -> int | None:
    """Measure what our read of a work item needs at its peak beyond its result.

    Args:
        work: The work item.
        size: Size of the files.
        data_dir: Directory of the files.
        threads: Number of threads.

    Returns:
        Number of bytes, if known.
    """
    with Worker(OURS, size, data_dir, threads) as worker:
        return worker.overhead(work.key)


def parse_arguments() -> argparse.Namespace:
    """Read the command line.

    Returns:
        The arguments, consistent with each other.
    """
    parser = argparse.ArgumentParser(description="Time filebackedarray beside its peers.")
    parser.add_argument("--size", choices=SIZES, default="small", help="size of the files")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timed runs per peer")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="our threads; the floors are for 2")
    parser.add_argument(
        "--budget",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="time in one work item after which a slow peer is not run again",
    )
    parser.add_argument("--only", metavar="PATTERN", help="work items to run: part of a key, or a glob")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is below its floor")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every time to this file")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="put the table between the file's markers")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=data.default_data_dir(),
        help=f"where the files are generated (default: ${data.DATA_DIR_VARIABLE} or benches/.data)",
    )
    arguments = parser.parse_args()
    if arguments.repeats < 1 or arguments.threads < 1:
        parser.error("--repeats and --threads start at 1")
    if arguments.markdown is not None:
        if arguments.only is not None:
            parser.error("--markdown takes the whole table, so it does not go with --only")
        try:
            report.check_markdown(arguments.markdown)
        except (OSError, ValueError) as error:
            parser.error(str(error))
    return arguments


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

    measurements = []
    try:
        with ExitStack() as stack:
            workers = {
                peer: stack.enter_context(Worker(peer, size, arguments.data_dir, arguments.threads)) for peer in PEERS
            }
            versions = {k: v for worker in workers.values() for k, v in worker.versions.items()}
            for work in items:
                print(f"{work.label} ...", file=sys.stderr, flush=True)
                seconds = measure(work, workers, arguments.repeats, arguments.budget)
                overhead = measure_overhead(work, size, arguments.data_dir, arguments.threads)
                measurements.append(Measurement(work, seconds, overhead))
    except (ResultsDifferError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    rows = report.make_rows(measurements, floors)
    machine = report.machine()
    description = report.describe(machine, arguments.threads, versions)
    report.print_table(rows, description)

    # Not sys.argv, whose paths are nobody else's.
    command = f"python benches/bench.py --size {size.name} --threads {arguments.threads} --repeats {arguments.repeats}"
    today = datetime.date.today().isoformat()
    if arguments.markdown is not None:
        provenance = f"Made by `{command}` on {today}: {description}."
        report.write_markdown(arguments.markdown, rows, provenance)
    if arguments.json is not None:
        about = {
            "command": command,
            "date": today,
            "machine": machine,
            "threads": arguments.threads,
            "versions": versions,
        }
        report.write_json(arguments.json, rows, about)

    shortfalls = report.failures(rows, floors)
    for shortfall in shortfalls:
        print(shortfall, file=sys.stderr)
    return 1 if arguments.check and shortfalls else 0


if __name__ == "__main__":
    sys.exit(main())
