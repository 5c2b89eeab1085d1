"""Statistics of each gene over the cells of many files, by the workers of a Dask cluster.

python examples/dask_statistics.py             # files made up, two worker processes on this machine
python examples/dask_statistics.py FILE...     # from Cell Ranger, or any genes x cells in compressed columns
python examples/dask_statistics.py FILE... --scheduler tcp://host:8786    # a cluster that is there

A task is a run of cells of one file. It holds a path and two numbers; the worker that gets it opens the file, goes
through these cells once with one thread, and sends back three numbers for each gene. They are merged here, by the
formulae of Chan, Golub and LeVeque (1979) for means and variances. Nothing of a matrix goes over the network but where
a file system does that.

With --kill, one of the workers on this machine is killed when the first results are in: Dask gives its tasks to the
others and starts a new one, and the result is the same. With --check, all is done again without Dask and compared.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy
import scipy.sparse
from dask.distributed import Client, LocalCluster, as_completed

import filebackedarray

#: Cells of a task.
CELLS = 500


class Piece(NamedTuple):
    """Some columns of a matrix."""

    path: str
    group: str
    shape: tuple[int, int]
    begin: int
    end: int


class Moments(NamedTuple):
    """Of each gene, over so many cells."""

    cells: int
    mean: numpy.ndarray
    squares: numpy.ndarray  # the sum of squared deviations from the mean
    detected: numpy.ndarray  # the number of cells in which it is not 0

    def merged(self, other: Moments) -> Moments:
        """Over the cells of both."""
        cells = self.cells + other.cells
        difference = other.mean - self.mean
        return Moments(
            cells,
            self.mean + difference * (other.cells / cells),
            self.squares + other.squares + difference**2 * (self.cells * other.cells / cells),
            self.detected + other.detected,
        )


def pieces(paths: list[str], group: str, cells: int) -> Iterator[Piece]:
    """Cut the matrices into tasks."""
    for path in paths:
        shape = numpy.asarray(filebackedarray.Hdf5DenseArray(path, f"{group}/shape", native_order=True)[:])
        genes, columns = map(int, shape)
        for begin in range(0, columns, cells):
            yield Piece(os.path.abspath(path), group, (genes, columns), begin, min(begin + cells, columns))


def moments(piece: Piece) -> Moments:
    """What a worker does."""
    counts = filebackedarray.Hdf5CompressedSparseMatrix(piece.path, piece.group, piece.shape, by_column=True)
    cells = piece.end - piece.begin
    # The worker has a task for each of its cores.
    with filebackedarray.limit_threads(1):
        found = filebackedarray.summarize(
            counts[:, piece.begin : piece.end], axis=1, statistics=["mean", "var", "count_nonzero"]
        )
    return Moments(cells, found["mean"], found["var"] * cells, found["count_nonzero"])


def kill_one(client: Client) -> int:
    """Kill a worker as the system does when memory is short; its process id."""
    process = next(iter(client.run(os.getpid).values()))
    os.kill(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    return int(process)


def gathered(client: Client, tasks: list[Piece], kill: bool) -> Moments:
    """Have the cluster do all tasks, and merge what comes back in the order of the tasks."""
    futures = client.map(moments, tasks, pure=False)
    numbers = {future.key: number for number, future in enumerate(futures)}
    early: dict[int, Moments] = {}
    total: Moments | None = None
    merged = 0
    for done, (future, found) in enumerate(as_completed(futures, with_results=True), 1):
        early[numbers[future.key]] = found
        # In order, so that sums have the same last bits whoever is quicker.
        while merged in early:
            part = early.pop(merged)
            total = part if total is None else total.merged(part)
            merged += 1
        if done == 1 and kill:
            print(f"killed worker {kill_one(client)} after {done} of {len(tasks)} tasks")
    assert total is not None
    return total


def made_up(folder: Path, files: int, genes: int, cells: int) -> list[str]:
    """Files as from Cell Ranger."""
    generator = numpy.random.default_rng(0)
    rates = generator.gamma(0.3, 1.0, genes)
    paths = []
    for number in range(files):
        dense = generator.poisson(rates[:, None] * generator.gamma(2.0, 0.5, cells))
        matrix = scipy.sparse.csc_matrix(dense.astype(numpy.int32))
        path = folder / f"sample{number}.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            group["shape"] = numpy.asarray(matrix.shape)
            for name in ("data", "indices", "indptr"):
                group.create_dataset(name, data=getattr(matrix, name), compression="gzip", chunks=True)
        paths.append(str(path))
    return paths


def main() -> int:
    """Run; 1 if --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="matrices of the same genes")
    parser.add_argument("--group", default="matrix", help="where the matrix is in each file")
    parser.add_argument("--scheduler", help="address of a cluster; without it, one is made on this machine")
    parser.add_argument("--workers", type=int, default=2, help="worker processes on this machine")
    parser.add_argument("--cells", type=int, default=CELLS, help="cells of a task")
    parser.add_argument("--kill", action="store_true", help="kill a worker in the middle")
    parser.add_argument("--check", action="store_true", help="compare with the same without Dask")
    arguments = parser.parse_args()
    if arguments.kill and arguments.scheduler:
        parser.error("--kill is for workers on this machine, not for a cluster that others may be using")

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths = arguments.files or made_up(scratch, files=4, genes=2000, cells=3000)
        tasks = list(pieces(paths, arguments.group, arguments.cells))
        if len({task.shape[0] for task in tasks}) != 1:
            parser.error("the files have different numbers of genes, or no cells")
        address = arguments.scheduler
        if address is None:
            address = stack.enter_context(
                LocalCluster(
                    n_workers=arguments.workers,
                    threads_per_worker=1,
                    dashboard_address=None,
                    local_directory=str(scratch),
                )
            )
        client = stack.enter_context(Client(address))
        total = gathered(client, tasks, arguments.kill)

        variance = total.squares / max(total.cells - 1, 1)
        print(f"{len(total.mean)} genes over {total.cells} cells of {len(paths)} files, in {len(tasks)} tasks")
        print("gene      mean  variance  detected")
        for gene in numpy.argsort(-variance)[:5]:
            print(f"{gene:4d} {total.mean[gene]:9.4f} {variance[gene]:9.4f} {total.detected[gene] / total.cells:9.1%}")
        if not arguments.check:
            return 0
        alone = moments(tasks[0])
        for task in tasks[1:]:
            alone = alone.merged(moments(task))
        same = all(numpy.array_equal(mine, theirs) for mine, theirs in zip(total, alone, strict=True))
        print("the same as without Dask" if same else "NOT the same as without Dask")
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
