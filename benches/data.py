"""Generates the benchmark files: a 10x-like sparse matrix and dense arrays of the same kind.

The dense array is there in several chunk shapes and filters, and in Zarr's format.

The contents depend on nothing but the seed, the size and the generator's version. A file that is
already there is kept if it carries the stamp of this very generator, and made anew otherwise.

    python benches/data.py --size small

`--filters FILE` makes the file of `rust/benches/decoders.rs` instead: a dataset for each filter.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from sizes import (
    DENSE_DATASET,
    SEED,
    SIZES,
    SPARSE_GROUP,
    TILES,
    TWIN_GROUP,
    ZARR_CODECS,
    DenseFile,
    Size,
    dense_files,
    file_path,
    tiled_file,
    zarr_path,
)
from tiles import tile

#: To be raised whenever the contents of a file change, so that old files are not used any more.
GENERATOR_VERSION = 2
STAMP_ATTRIBUTE = "filebackedarray_bench"

DATA_DIR_VARIABLE = "FILEBACKEDARRAY_BENCH_DATA"

#: Spread of the log-normal gene popularity: a few genes in every cell, most of them in hardly any.
POPULARITY_SIGMA = 1.5
#: Parameter of the geometric counts: 60% ones, 24% twos, 10% threes.
COUNT_P = 0.6
#: Uniform draws held at a time; bounds memory.
BLOCK_DRAWS = 8_000_000

SPARSE_CHUNK = 80_000
COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}

#: The filters of the dense files, as arguments of ``create_dataset``.
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": COMPRESSION,
    "lzf": {"compression": "lzf", "shuffle": True},
    "zstd": {"shuffle": True, **hdf5plugin.Zstd(clevel=3)},
    "blosc": dict(hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="lz4")),
}

#: The datasets of the decoders' file.
DECODERS: dict[str, dict[str, Any]] = {
    "shuffle": {"shuffle": True},
    "fletcher32": {"fletcher32": True},
    "gzip": {"compression": "gzip", "compression_opts": 4},
    "gzip+shuffle": COMPRESSION,
    "szip": {"compression": "szip"},
    "lzf": {"compression": "lzf"},
    "lzf+shuffle": FILTERS["lzf"],
    "bzip2": dict(hdf5plugin.BZip2()),
    "zstd": dict(hdf5plugin.Zstd(clevel=3)),
    "zstd+shuffle": FILTERS["zstd"],
    "lz4": dict(hdf5plugin.LZ4()),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="none")),
    **{f"bitshuffle+{codec}": dict(hdf5plugin.Bitshuffle(cname=codec)) for codec in ("lz4", "zstd")},
    **{f"blosc+{codec}": dict(hdf5plugin.Blosc(cname=codec)) for codec in ("blosclz", "lz4", "zlib", "zstd")},
    **{f"blosc2+{codec}": dict(hdf5plugin.Blosc2(cname=codec)) for codec in ("lz4", "zstd")},
}


def default_data_dir() -> Path:
    """Find the directory of the benchmark files.

    Returns:
        What the environment variable says, else ``.data`` beside this script.
    """
    override = os.environ.get(DATA_DIR_VARIABLE)
    return Path(override) if override else Path(__file__).resolve().parent / ".data"


def ensure(size: Size, directory: Path, only: Collection[str] | None = None) -> None:
    """Generate the files of one size, where they are missing or stale.

    Args:
        size: Size of the files.
        directory: Where the files go; created if needed.
        only: Stems of the files that are needed; all if None.
    """
    directory.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[h5py.File], None]] = {
        "sparse": partial(_write_sparse, size=size),
        **{kind.name: partial(_write_dense, size=size, kind=kind) for kind in dense_files(size)},
        **{
            tiled_file(tiles): partial(_write_tiled, source=file_path(directory, size, "dense-100x100"), tiles=tiles)
            for tiles in TILES
        },
    }
    for name, write in writers.items():
        if only is not None and name not in only:
            continue
        path = file_path(directory, size, name)
        made = make(path, {"seed": SEED, "file": name, **asdict(size)}, write)
        if made and name == "dense-1000x100" and find_spec("zarr") is not None:
            _write_zarr(path, _dense_values(size), (1000, 100))
    _dense_values.cache_clear()


def make(path: Path, parameters: dict[str, Any], write: Callable[[h5py.File], None]) -> bool:
    """Generate a file, where it is missing or stale.

    Args:
        path: The file.
        parameters: What its contents depend on besides this generator's version.
        write: Writes the contents.

    Returns:
        Whether it was generated now.
    """
    stamp = json.dumps({"version": GENERATOR_VERSION, **parameters})
    if _is_current(path, stamp):
        return False
    _write_atomically(path, stamp, write)
    return True


def ensure_filters(path: Path) -> None:
    """Write the file of the decoders' benchmark: four chunks of 400 kB for each filter.

    Args:
        path: The file.
    """
    values = _dense_values(SIZES["small"])[:, :200]

    def write(file: h5py.File) -> None:
        for name, filters in DECODERS.items():
            file.create_dataset(name, data=values, chunks=(1000, 100), **filters)

    make(path, {"decoders": list(DECODERS)}, write)


def _is_current(path: Path, stamp: str) -> bool:
    """Tell whether a file is there and was made by this generator with these parameters."""
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get(STAMP_ATTRIBUTE) == stamp)
    except OSError:
        return False


def _write_atomically(path: Path, stamp: str, write: Callable[[h5py.File], None]) -> None:
    """Write a file under a temporary name and rename it, so that no half of a file is ever used."""
    print(f"generating {path.name} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            write(file)
            file.attrs[STAMP_ATTRIBUTE] = stamp
        # Only pages that are on disk can be dropped from the page cache, for the cold run.
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    seconds = time.perf_counter() - start
    megabytes = path.stat().st_size / 1e6
    print(f"  {megabytes:.0f} MB in {seconds:.0f} s", file=sys.stderr, flush=True)


def _write_sparse(file: h5py.File, size: Size) -> None:
    """Write the sparse matrix in the layout of 10x Genomics' version 3 files."""
    rng = np.random.default_rng([SEED, 0])
    rates = gene_rates(rng, size.genes, size.non_zeros / (size.genes * size.cells))
    per_cell = np.zeros(size.cells, dtype=np.int64)
    genes, counts = [], []
    for start, cell, gene, count in draw_counts(rng, rates, size.cells):
        np.add.at(per_cell, start + cell, 1)
        genes.append(gene.astype(np.int32))
        counts.append(count)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(per_cell)])

    group = file.create_group(SPARSE_GROUP)
    for name, values in (
        ("data", np.concatenate(counts)),
        ("indices", np.concatenate(genes).astype(np.int64)),
        ("indptr", indptr),
    ):
        # Cell Ranger writes resizable datasets, so their chunks may be longer than they are.
        group.create_dataset(name, data=values, chunks=(SPARSE_CHUNK,), maxshape=(None,), **COMPRESSION)
    # The same datasets again, not copies of them.
    twin = file.create_group(TWIN_GROUP)
    twin.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [size.cells, size.genes]})
    for name in ("data", "indices", "indptr"):
        twin[name] = group[name]
    group.create_dataset("shape", data=np.array([size.genes, size.cells], dtype=np.int32))
    group.create_dataset("barcodes", data=_numbered("CELL{:012d}-1", size.cells), **COMPRESSION)
    features = group.create_group("features")
    features.create_dataset("id", data=_numbered("ENSG{:011d}", size.genes), **COMPRESSION)
    features.create_dataset("name", data=_numbered("GENE{}", size.genes), **COMPRESSION)
    features.create_dataset("feature_type", data=_numbered("Gene Expression", size.genes), **COMPRESSION)


def _write_dense(file: h5py.File, size: Size, kind: DenseFile) -> None:
    """Write the dense array, or its first rows."""
    values = _dense_values(size)[: kind.rows]
    file.create_dataset(DENSE_DATASET, data=values, chunks=kind.chunks, **FILTERS[kind.filter])


def _write_tiled(file: h5py.File, source: Path, tiles: int) -> None:
    """Write copies of the dense array below each other."""
    with h5py.File(source, "r") as original:
        tile(original[DENSE_DATASET], file, DENSE_DATASET, tiles)


def _write_zarr(path: Path, values: npt.NDArray[np.int32], chunks: tuple[int, int]) -> None:
    """Write the dense array in Zarr's format beside its HDF5 file, once for each codec."""
    import zarr
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    codecs = {
        "gzip": GzipCodec(level=4),
        "zstd": ZstdCodec(level=3),
        "blosc": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    }
    for name in ZARR_CODECS:
        directory = zarr_path(path, name)
        shutil.rmtree(directory, ignore_errors=True)
        array = zarr.create_array(
            directory, shape=values.shape, chunks=chunks, dtype=values.dtype, compressors=[codecs[name]]
        )
        array[...] = values
    os.sync()


@cache
def _dense_values(size: Size) -> npt.NDArray[np.int32]:
    """Draw the dense array: cells by genes, which is how dense expression matrices are stored."""
    rng = np.random.default_rng([SEED, 1])
    rates = gene_rates(rng, size.dense, size.dense_density)
    values = np.zeros((size.dense, size.dense), dtype=np.int32)
    for start, cell, gene, count in draw_counts(rng, rates, size.dense):
        values[start + cell, gene] = count
    return values


def gene_rates(rng: np.random.Generator, genes: int, density: float) -> npt.NDArray[np.float32]:
    """Draw for each gene the probability of being seen in a cell.

    Args:
        rng: Source of randomness.
        genes: Number of genes.
        density: Mean of the probabilities.

    Returns:
        One probability per gene.
    """
    popularity = rng.lognormal(sigma=POPULARITY_SIGMA, size=genes)
    low, high = 0.0, 1.0
    while np.mean(-np.expm1(-high * popularity)) < density:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if np.mean(-np.expm1(-middle * popularity)) < density:
            low = middle
        else:
            high = middle
    rates: npt.NDArray[np.float32] = -np.expm1(-high * popularity).astype(np.float32)
    return rates


def draw_counts(
    rng: np.random.Generator, rates: npt.NDArray[np.float32], cells: int
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]]:
    """Draw the non-zero counts, a block of cells at a time.

    Args:
        rng: Source of randomness.
        rates: For each gene the probability of being seen in a cell.
        cells: Number of cells.

    Yields:
        The block's first cell; then for each of its non-zeros the cell (counted from the block's
        first), the gene and the count, ordered by cell and within a cell by gene.
    """
    block = max(1, BLOCK_DRAWS // rates.size)
    for start in range(0, cells, block):
        shape = (min(block, cells - start), rates.size)
        cell, gene = np.nonzero(rng.random(shape, dtype=np.float32) < rates)
        yield start, cell, gene, rng.geometric(COUNT_P, gene.size).astype(np.int32)


def _numbered(template: str, count: int) -> npt.NDArray[np.bytes_]:
    """Format the numbers from 1 as fixed-length strings."""
    return np.array([template.format(number) for number in range(1, count + 1)], dtype=np.bytes_)


def main() -> None:
    """Generate the files of one size from the command line."""
    parser = argparse.ArgumentParser(description="Generate the benchmark files.")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--data-dir", type=Path, default=default_data_dir())
    parser.add_argument("--filters", type=Path, metavar="FILE", help="make the file of the decoders' benchmark")
    arguments = parser.parse_args()
    if arguments.filters is not None:
        ensure_filters(arguments.filters)
        return
    ensure(SIZES[arguments.size], arguments.data_dir)


if __name__ == "__main__":
    main()
