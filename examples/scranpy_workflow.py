"""From counts in a file to clusters of cells with scranpy, on several threads.

python examples/scranpy_workflow.py                       # a matrix made up, with groups of cells
python examples/scranpy_workflow.py FILE GROUP            # one from Cell Ranger, or any in compressed columns

The steps are those of scranpy's own guide: quality control, filtering, normalisation, variances, principal components,
clusters. scranpy's C++ code takes matrices through mattress, for which this package loads what each step asks for, in
one parallel read and within a memory budget (`filebackedarray.set_memory_budget`).

With --compare, the same is done with the counts in memory, read by h5py into a matrix of scipy, which is the judge: our
results have to be the same, but for the last bits of logarithms, which numpy computes here and mattress there. And with
hdf5array, on one thread since scranpy hangs with more. It is said whether its results are those in memory: hdf5array
reads subsets of rows wrongly where row numbers are not sorted within columns, as in some files of Cell Ranger. The
times of all are printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy
import scipy.sparse
import scranpy

import filebackedarray


class Results(NamedTuple):
    """What the workflow finds."""

    sums: numpy.ndarray
    keep: numpy.ndarray
    variances: numpy.ndarray
    genes: numpy.ndarray
    components: numpy.ndarray
    clusters: numpy.ndarray

    def differences(self, other: Results) -> list[str]:
        """The names of what differs by more than last bits make of it."""
        found = []
        for name, mine, theirs in zip(self._fields, self, other, strict=True):
            same = mine.shape == theirs.shape and (
                numpy.allclose(mine, theirs, rtol=1e-9, atol=1e-9)
                if mine.dtype.kind == "f"
                else numpy.array_equal(mine, theirs)
            )
            if not same:
                found.append(name)
        return found


def workflow(counts: Any, mitochondrial: Sequence[int], num_threads: int, top: int = 1000, number: int = 20) -> Results:
    """Find clusters of cells.

    Args:
        counts: Genes x cells: a delayed array, or a scipy matrix.
        mitochondrial: Which genes are mitochondrial.
        num_threads: Threads for scranpy.
        top: How many genes to use, of those that vary most.
        number: How many principal components.

    Returns:
        The results of each step.
    """
    metrics = scranpy.compute_rna_qc_metrics(counts, {"mitochondrial": mitochondrial}, num_threads=num_threads)
    thresholds = scranpy.suggest_rna_qc_thresholds(metrics)
    keep = numpy.asarray(scranpy.filter_rna_qc_metrics(thresholds, metrics), dtype=bool)
    filtered = counts[:, numpy.flatnonzero(keep)]
    factors = scranpy.center_size_factors(metrics["sum"][keep])
    normalized = scranpy.normalize_counts(filtered, factors)
    model = scranpy.model_gene_variances(normalized, num_threads=num_threads)["statistics"]
    genes = scranpy.choose_highly_variable_genes(model["residual"], top=top)
    found = scranpy.run_pca(normalized[genes, :], number=number, num_threads=num_threads)
    graph = scranpy.build_snn_graph(found["components"], num_threads=num_threads)
    clusters = scranpy.cluster_graph(graph)
    return Results(
        numpy.asarray(metrics["sum"]),
        keep,
        numpy.asarray(model["variance"]),
        numpy.asarray(genes),
        numpy.asarray(found["components"]),
        numpy.asarray(clusters["membership"]),
    )


def write(path: Path, genes: int, cells: int, groups: int = 5) -> None:
    """Write counts of some groups of cells, each with genes that are its own, as Cell Ranger does."""
    random = numpy.random.default_rng(1)
    popularity = random.lognormal(0, 1.5, genes)
    columns = []
    for cell in range(cells):
        own = popularity.copy()
        own[cell % groups :: 10 * groups] *= 8
        # One cell in thirty is damaged, and has counts of its mitochondria mostly.
        if cell % 30 == 7:
            own[:10] += own.sum() / 10
        columns.append(random.poisson(own / own.sum() * random.lognormal(8, 0.2)).astype(numpy.int32))
    matrix = scipy.sparse.csc_matrix(numpy.column_stack(columns))
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            values = getattr(matrix, name)
            dtype = numpy.int32 if name == "data" else numpy.int64
            group.create_dataset(
                name, data=values.astype(dtype), chunks=(min(80_000, len(values)),), maxshape=(None,), **options
            )
        group.create_dataset("shape", data=matrix.shape)


def timed(what: str, run: Callable[[], Results]) -> tuple[Results, float]:
    """Run, and print how long it took."""
    start, cpu = time.perf_counter(), time.process_time()
    results = run()
    elapsed = time.perf_counter() - start
    print(f"{what}: {elapsed:.2f} s, {time.process_time() - cpu:.2f} s of CPU time")
    sys.stdout.flush()
    return results, elapsed


def main() -> None:
    """Read the arguments, find clusters, print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("group", nargs="?", default="matrix")
    parser.add_argument("--mitochondrial", type=int, nargs="*", default=list(range(10)), help="indices of these genes")
    parser.add_argument("--genes", type=int, default=5_000, help="of the matrix that is made up")
    parser.add_argument("--cells", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compare", action="store_true", help="with counts in memory, and with hdf5array")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file
        if path is None:
            path = Path(folder) / "counts.h5"
            write(path, arguments.genes, arguments.cells)
        with h5py.File(path) as file:
            rows, columns = (int(extent) for extent in file[f"{arguments.group}/shape"][:])
        place = (str(path), arguments.group, (rows, columns), True)
        counts = filebackedarray.Hdf5CompressedSparseMatrix(*place)
        print(counts)
        results, ours = timed(
            f"filebackedarray, {arguments.threads} threads",
            lambda: workflow(counts, arguments.mitochondrial, arguments.threads),
        )
        sizes = numpy.bincount(results.clusters).tolist()
        print(f"{int(results.keep.sum())} of {columns} cells kept, in {len(sizes)} clusters of {sizes} cells")
        if arguments.compare:
            compare(place, results, ours, arguments)


def compare(place: tuple[Any, ...], results: Results, ours: float, arguments: argparse.Namespace) -> None:
    """The same in memory, which is right, and with hdf5array."""
    import hdf5array

    path, group, shape, _ = place

    def in_memory() -> Results:
        with h5py.File(path) as file:
            parts = [file[f"{group}/{name}"][:] for name in ("data", "indices", "indptr")]
        loaded = scipy.sparse.csc_matrix(tuple(parts), shape)
        # Not all files have it so, and scranpy needs it.
        loaded.sort_indices()
        return workflow(loaded, arguments.mitochondrial, arguments.threads)

    expected, _ = timed(f"loaded into memory first, {arguments.threads} threads", in_memory)
    if ours_differ := results.differences(expected):
        raise SystemExit(f"the results differ from those in memory: {', '.join(ours_differ)}")
    print("the results are those in memory")
    theirs, slow = timed(
        "hdf5array, 1 thread",
        lambda: workflow(hdf5array.Hdf5CompressedSparseMatrix(*place), arguments.mitochondrial, 1),
    )
    print(f"hdf5array takes {slow / ours:.1f} times as long")
    wrong = theirs.differences(expected)
    if wrong:
        print(f"hdf5array's results differ from those in memory: {', '.join(wrong)}")
    else:
        print("hdf5array's results are those in memory")


if __name__ == "__main__":
    main()
