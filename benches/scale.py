"""Reads from files of 1 GB and of 20 GB and more, and says what that takes: the same.

The cost of a read grows with the chunks that it touches, not with the file. The files are made of
a block whose compressed chunks are repeated (`tiles.py`): a sparse matrix like the 1.3 million
brain cells of 10x Genomics (1,306,127 cells, 27,998 genes, 2.6 billion non-zeros), and a dense
array of floats. Their pointers and the order of their indices are those of a valid matrix.

    python benches/scale.py --markdown docs/performance.md

needs about 7 GB on disk at a time, 11 GB with `--keep`, which leaves the files for later.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import h5py
import numpy as np

import data
import report
from memory import Peak
from sizes import DENSE_DATASET, SEED, SPARSE_GROUP, Selection, one, pick_apart
from tiles import tile

SECTION = "scale"
#: Cells that are read at once, far apart.
CELLS = 500
#: Shape of a chunk of the dense array; a cell's values are in four of them.
DENSE_CHUNK = (20, 2_500)
REPEATS = 5


@dataclass(frozen=True)
class Block:
    """What the files are made of.

    Attributes:
        genes: Genes of the sparse matrix.
        cells: Cells of its block.
        chunks: Chunks that the block's non-zeros fill.
        dense_genes: Genes of the dense array.
        dense_cells: Cells of its block.
    """

    genes: int
    cells: int
    chunks: int
    dense_genes: int
    dense_cells: int


#: ``full`` repeated a hundred times has the size of the published matrix; ``tiny`` is for trying this out.
BLOCKS = {"full": Block(27_998, 13_061, 328, 10_000, 5_000), "tiny": Block(2_000, 1_000, 2, 5_000, 1_000)}


@dataclass(frozen=True)
class Measured:
    """A file and the times of its reads, in seconds, each the least of several but for the first.

    Attributes:
        name: What the file is.
        shape: Genes and cells.
        stored: Number of values that are stored.
        uncompressed: Bytes that the datasets come to.
        on_disk: Bytes of the file.
        first_open: Making the array for the first time in the process.
        open: Making it again.
        first_cell: Reading a cell for the first time, when where the chunks are is not known yet.
        cell: Reading a cell again, its chunks decoded anew.
        cells: Reading many cells, far apart.
        chunks: Chunks that these are in.
        gene: Reading a gene of all cells.
        quality: Sums and numbers of detected of every gene and every cell, in one sweep.
        peaks: Bytes by which the process grew at its peak in each of these: opening, a cell, the cells, a gene, the
            sweep.
    """

    name: str
    shape: tuple[int, int]
    stored: int
    uncompressed: int
    on_disk: int
    first_open: float
    open: float
    first_cell: float
    cell: float
    cells: float
    chunks: int
    gene: float
    quality: float
    peaks: dict[str, int | None]


def write_sparse(file: h5py.File, block: Block, tiles: int) -> None:
    """Write the sparse matrix: its block into a file in memory, whose chunks are then repeated.

    Args:
        file: The file.
        block: What is repeated.
        tiles: How many times.
    """
    rng = np.random.default_rng([SEED, 2])
    wanted = block.chunks * data.SPARSE_CHUNK
    # A little more than wanted, so that what does not fill a chunk can be left out.
    rates = data.gene_rates(rng, block.genes, 1.01 * wanted / (block.genes * block.cells))
    drawn = [(start + cell, gene, count) for start, cell, gene, count in data.draw_counts(rng, rates, block.cells)]
    cell, gene, count = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    kept = np.sort(rng.choice(cell.size, wanted, replace=False))
    group = file.create_group(SPARSE_GROUP)
    with memory_file() as small:
        for name, values in (("data", count[kept]), ("indices", gene[kept].astype(np.int64))):
            source = small.create_dataset(
                name, data=values, chunks=(data.SPARSE_CHUNK,), maxshape=(None,), **data.COMPRESSION
            )
            tile(source, group, name, tiles)
    ends = np.cumsum(np.bincount(cell[kept], minlength=block.cells))
    indptr = np.concatenate([[0], (np.arange(tiles)[:, None] * wanted + ends).reshape(-1)])
    group.create_dataset("indptr", data=indptr, chunks=(data.SPARSE_CHUNK,), maxshape=(None,), **data.COMPRESSION)
    group.create_dataset("shape", data=np.array([block.genes, block.cells * tiles], dtype=np.int32))


def write_dense(file: h5py.File, block: Block, tiles: int) -> None:
    """Write the dense array, cells by genes: floats, half of them zero, that compress to a third or so.

    Args:
        file: The file.
        block: What is repeated.
        tiles: How many times.
    """
    rng = np.random.default_rng([SEED, 3])
    shape = (block.dense_cells, block.dense_genes)
    values = np.maximum(0, np.round(rng.standard_normal(shape, dtype=np.float32) * 256) / 256)
    with memory_file() as small:
        source = small.create_dataset(DENSE_DATASET, data=values, chunks=DENSE_CHUNK, **data.COMPRESSION)
        tile(source, file, DENSE_DATASET, tiles)


@contextmanager
def memory_file() -> Iterator[h5py.File]:
    """Open a file that is never written to disk.

    Yields:
        The file.
    """
    with h5py.File("block.h5", "w", driver="core", backing_store=False) as file:
        yield file


def measure(path: Path, name: str, threads: int) -> Measured:
    """Time reads from a file, in a process that has not read anything yet.

    Args:
        path: The file.
        name: What it is.
        threads: Number of threads.

    Returns:
        The times.
    """
    import delayedarray

    import filebackedarray

    filebackedarray.set_num_threads(threads)
    sparse = name == "sparse"
    extract = delayedarray.extract_sparse_array if sparse else delayedarray.extract_dense_array
    with h5py.File(path, "r") as file:
        datasets = [file[SPARSE_GROUP][part] for part in ("data", "indices", "indptr")] if sparse else []
        extents = file[SPARSE_GROUP]["shape"][...] if sparse else file[DENSE_DATASET].shape[::-1]
        shape = (int(extents[0]), int(extents[1]))
        datasets = datasets or [file[DENSE_DATASET]]
        stored = int(datasets[0].size)
        uncompressed = sum(dataset.size * dataset.dtype.itemsize for dataset in datasets)
        picked = pick_apart(shape[1], CELLS)
        chunks = _chunks_of_cells(datasets[-1][...], picked) if sparse else CELLS * (shape[0] // DENSE_CHUNK[1])

    def open_array() -> Any:
        if sparse:
            return filebackedarray.Hdf5CompressedSparseMatrix(str(path), SPARSE_GROUP, shape=shape, by_column=True)
        return filebackedarray.Hdf5DenseArray(str(path), DENSE_DATASET)

    def read(selection: Selection) -> Callable[[], Any]:
        subset = tuple(
            range(*index.indices(extent)) if isinstance(index, slice) else index
            for index, extent in zip(selection, shape, strict=True)
        )
        return lambda: extract(array, subset)

    every = slice(None)
    first_cell, cell, gene = (
        read((every, one(shape[1] // 2))),
        read((every, one(shape[1] // 3))),
        read((one(shape[0] // 3), every)),
    )
    peaks: dict[str, int | None] = {}
    peak = Peak()
    first_open, array = _time(open_array)
    opened = min(_time(open_array)[0] for _ in range(REPEATS))
    peaks["opening"] = peak.growth()
    peak = Peak()
    first_cell_seconds, _ = _time(first_cell)
    cell_seconds = _least(cell)
    peaks["cell"] = peak.growth()
    peak = Peak()
    cells_seconds = _least(read((every, picked)))
    peaks["cells"] = peak.growth()
    peak = Peak()
    gene_seconds = _least(gene, 2)
    peaks["gene"] = peak.growth()
    peak = Peak()
    quality_seconds, _ = _time(lambda: filebackedarray.summarize(array, [0, 1], ["sum", "count_nonzero"]))
    peaks["quality"] = peak.growth()
    return Measured(
        name,
        shape,
        stored,
        uncompressed,
        path.stat().st_size,
        first_open,
        opened,
        first_cell_seconds,
        cell_seconds,
        cells_seconds,
        chunks,
        gene_seconds,
        quality_seconds,
        peaks,
    )


def _chunks_of_cells(indptr: Any, cells: list[int]) -> int:
    """Count the chunks of data and indices that hold some cells."""
    starts, ends = indptr[cells] // data.SPARSE_CHUNK, (indptr[np.add(cells, 1)] - 1) // data.SPARSE_CHUNK
    return 2 * len({chunk for start, end in zip(starts, ends, strict=True) for chunk in range(start, end + 1)})


def _time(read: Callable[[], Any]) -> tuple[float, Any]:
    start = perf_counter()
    result = read()
    return perf_counter() - start, result


def _least(read: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Time a read several times, each without what is kept of decoded chunks."""
    import filebackedarray

    set_budget = getattr(filebackedarray, "set_cache_budget", None)
    seconds = []
    # The first one fills the page cache.
    for _ in range(repeats + 1):
        if set_budget is not None:
            set_budget(set_budget(0))
        seconds.append(_time(read)[0])
    return min(seconds[1:])


HEADER = (
    "file",
    "genes x cells",
    "uncompressed",
    "on disk",
    "first open",
    "open again",
    "first cell",
    "a cell",
    f"{CELLS} cells",
    "in chunks",
    "a gene",
    "sums and detected of all",
    "peak: open / cell / cells / gene / all",
)


def _cells(row: Measured) -> tuple[str, ...]:
    def milliseconds(seconds: float) -> str:
        return f"{seconds * 1e3:.3g} ms"

    peaks = (row.peaks[key] for key in ("opening", "cell", "cells", "gene", "quality"))
    return (
        row.name,
        f"{row.shape[0]:,} x {row.shape[1]:,}",
        f"{row.uncompressed / 1e9:.2f} GB",
        f"{row.on_disk / 1e9:.2f} GB",
        milliseconds(row.first_open),
        milliseconds(row.open),
        milliseconds(row.first_cell),
        milliseconds(row.cell),
        milliseconds(row.cells),
        f"{row.chunks:,}",
        f"{row.gene:.2f} s",
        f"{row.quality:.1f} s",
        " / ".join("-" if peak is None else f"{max(peak, 0) / 1e6:.0f}" for peak in peaks) + " MB",
    )


def main() -> int:
    """Make the files, read from them, and say what it took.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(description="Read from large files.")
    parser.add_argument("--block", choices=BLOCKS, default="full", help="what the files are made of")
    parser.add_argument("--only", choices=("sparse", "dense"), help="files to make")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--keep", action="store_true", help="leave the files, and use those that are there")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers to this file")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="put the table between the file's markers")
    parser.add_argument("--data-dir", type=Path, default=data.default_data_dir(), help="where the files go")
    arguments = parser.parse_args()
    if arguments.markdown is not None:
        if arguments.only is not None:
            parser.error("--markdown takes both kinds of files")
        report.check_section(arguments.markdown, SECTION)
    arguments.data_dir.mkdir(parents=True, exist_ok=True)
    block = BLOCKS[arguments.block]
    writers = {"sparse": (write_sparse, (3, 100)), "dense": (write_dense, (5, 100))}

    rows: list[Measured] = []
    for name, (write, counts) in writers.items():
        for tiles in counts if arguments.only in (None, name) else ():
            path = arguments.data_dir / f"scale-{arguments.block}-{name}-{tiles}.h5"
            try:
                data.make(path, {"tiles": tiles, **asdict(block)}, partial(write, block=block, tiles=tiles))
                print(f"reading {path.name} ...", file=sys.stderr, flush=True)
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    rows.append(pool.submit(measure, path, name, arguments.threads).result())
            finally:
                if not arguments.keep:
                    path.unlink(missing_ok=True)

    table = report.markdown_table(HEADER, 1, map(_cells, rows))
    print(table)
    machine = report.machine()
    command = f"python benches/scale.py --threads {arguments.threads}"
    if arguments.json is not None:
        about = {"command": command, "machine": machine, "threads": arguments.threads}
        text = json.dumps({**about, "results": [asdict(row) for row in rows]}, indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.markdown is not None:
        versions = {name: version(name) for name in ("filebackedarray", "delayedarray", "numpy")}
        description = report.describe(machine, arguments.threads, versions)
        provenance = f"Made by `{command}` on {report.today()}: {description}."
        report.write_section(arguments.markdown, SECTION, f"{provenance}\n\n{table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
