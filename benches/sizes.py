"""The benchmark's files and work items, by size: plain data, which load no HDF5 library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Seed of everything random here: the files' contents and the rows and columns that are picked.
SEED = 20240229

DENSE_DATASET = "counts"
SPARSE_GROUP = "matrix"
#: The same three datasets as anndata wants to see them: a cells x genes matrix, compressed by row.
TWIN_GROUP = "twin"

#: Names of who takes part, see ``peers.py``.
OURS = "filebackedarray"
OURS_ON_ONE = "filebackedarray on 1 thread"
#: Two reads one after the other, beside the same two at once.
OURS_ONE_BY_ONE = "filebackedarray, one by one"
H5PY = "h5py"
HDF5ARRAY = "hdf5array"
HIDEFIX = "hidefix"
ANNDATA = "anndata"
ZARR_CODECS = ("gzip", "zstd", "blosc")
#: delayedarray's own way over elements, which takes minutes: timed on a part, and scaled.
DELAYED = "delayedarray, of a part"
ZARRS = tuple(f"zarr+zarrs {codec}" for codec in ZARR_CODECS)
LIMIT = "limit"
LIMITS = (LIMIT, "limit: decoding", "limit: inflating", "limit: page faults")

#: Columns of the matrix that others are multiplied with.
PRODUCT_COLUMNS = 50

#: What is read along an axis: a slice, or increasing positions.
Index = slice | Sequence[int]
#: What is read: an index for each axis.
Selection = tuple[Index, ...]
ALL = slice(None)


@dataclass(frozen=True)
class Size:
    """How big the files are and how much of them the subsets take.

    Attributes:
        name: Name on the command line and in ``floors.toml``.
        genes: Rows of the sparse matrix.
        cells: Columns of the sparse matrix.
        non_zeros: Expected number of non-zeros of the sparse matrix.
        dense: Number of rows, and of columns, of the dense array.
        dense_density: Expected fraction of non-zeros of the dense array.
        picks: Number of random rows or columns that a subset takes.
        slab: Number of rows or columns of a contiguous subset.
        many: Number of reads where small ones are repeated.
    """

    name: str
    genes: int
    cells: int
    non_zeros: int
    dense: int
    dense_density: float
    picks: int
    slab: int
    many: int


SIZES = {
    size.name: size
    for size in (
        Size("small", 6_000, 4_000, 2_000_000, 2_000, 0.08, 100, 200, 50),
        Size("large", 30_000, 20_000, 50_000_000, 10_000, 0.08, 500, 1_000, 1_000),
    )
}


@dataclass(frozen=True)
class DenseFile:
    """A file with the dense array in it.

    Attributes:
        name: Stem of the file, see :func:`file_path`.
        chunks: Shape of a chunk, or none.
        filter: Name of what compresses it, see ``data.py``.
        rows: How many of the array's rows it holds, if not all.
    """

    name: str
    chunks: tuple[int, int] | None
    filter: str = "gzip"
    rows: int | None = None


#: Filters besides gzip that a full read is measured with.
OTHER_FILTERS = ("lzf", "zstd", "blosc", "bitshuffle")


def dense_files(size: Size) -> list[DenseFile]:
    """List the dense files, which all hold the same array.

    Args:
        size: Size of the files.

    Returns:
        What they are.
    """
    return [
        DenseFile("dense-100x100", (100, 100)),
        DenseFile("dense-1000x100", (1000, 100)),
        DenseFile("dense-contiguous", None, "none"),
        *(DenseFile(f"dense-{name}", (1000, 100), name) for name in OTHER_FILTERS),
        DenseFile("dense-giant", (size.slab, size.dense), rows=size.slab),
    ]


@dataclass(frozen=True)
class Work:
    """One thing to read.

    Attributes:
        key: Name on the command line, in ``floors.toml`` and in the JSON output.
        label: What the table calls it.
        file: Stem of the file that is read, see :func:`file_path`.
        kind: Name of the method of the classes in ``peers.py`` that reads it.
        peers: Who does it beside this package.
        reads: What is read, one selection after another; a sparse matrix's are of genes and cells.
        memory: Whether to measure our peak of memory too.
    """

    key: str
    label: str
    file: str
    kind: str
    peers: tuple[str, ...]
    reads: tuple[Selection, ...] = ((ALL, ALL),)
    memory: bool = False

    @property
    def everyone(self) -> tuple[str, ...]:
        """This package and its peers."""
        return (OURS, *self.peers)


def work_items(size: Size) -> list[Work]:
    """List what is measured.

    Args:
        size: Size of the files.

    Returns:
        The work items, in the order of the table.
    """
    return [
        *_compressed(size),
        *_contiguous(size),
        *_repeated(size),
        *_several(size),
        *_sparse(size),
        *_statistics(),
        *_products(),
    ]


def _subsets(size: Size) -> dict[str, tuple[str, Selection]]:
    """Key, label and selection of the subsets of the dense array."""
    start = size.dense // 3
    slab = slice(start, start + size.slab)
    return {
        "rows": (f"{size.picks} random rows", (pick(size.dense, size.picks), ALL)),
        "block": (
            f"{size.picks} x {size.picks} random",
            (pick(size.dense, size.picks), pick(size.dense, size.picks, stream=1)),
        ),
        "row-slab": (f"{size.slab} rows in a row", (slab, ALL)),
        "column-slab": (f"{size.slab} columns in a row", (ALL, slab)),
        "strided-rows": ("every 10th row", (slice(None, None, 10), ALL)),
        "strided": ("every 10th row and column", (slice(None, None, 10), slice(None, None, 10))),
        "element": ("one element", (slice(start, start + 1), slice(start, start + 1))),
    }


def _compressed(size: Size) -> list[Work]:
    """Work on the compressed dense files."""
    full = "dense full read"
    items = [
        Work(
            "dense-full-1000x100",
            f"{full}, chunks 1000x100",
            "dense-1000x100",
            "dense",
            (H5PY, HDF5ARRAY, HIDEFIX, *ZARRS, OURS_ON_ONE, *LIMITS),
            memory=True,
        ),
        Work(
            "dense-full-100x100",
            f"{full}, chunks 100x100",
            "dense-100x100",
            "dense",
            (H5PY, HDF5ARRAY, HIDEFIX, OURS_ON_ONE, *LIMITS),
            memory=True,
        ),
        *(Work(f"dense-full-{name}", f"{full}, {name}", f"dense-{name}", "dense", (H5PY,)) for name in OTHER_FILTERS),
    ]
    for key, (label, selection) in _subsets(size).items():
        chunks = ("100x100", "1000x100") if key in ("rows", "block") else ("100x100",)
        items += [
            Work(
                f"dense-{key}-{shape}",
                f"dense {label}, chunks {shape}",
                f"dense-{shape}",
                "dense",
                (H5PY, HDF5ARRAY),
                (selection,),
                memory=key == "rows",
            )
            for shape in chunks
        ]
    return items


def _contiguous(size: Size) -> list[Work]:
    """Work on the dense file without chunks."""
    subsets = {"full": ("full read", (ALL, ALL)), **_subsets(size)}
    return [
        Work(f"contiguous-{key}", f"uncompressed {label}", "dense-contiguous", "dense", (H5PY,), (selection,))
        for key, (label, selection) in subsets.items()
    ]


def _repeated(size: Size) -> list[Work]:
    """Many small reads of the dense files."""
    rows, columns = (pick(size.dense, size.many, stream=stream) for stream in (2, 3))
    single: dict[str, list[Selection]] = {
        "row": [(one(row), ALL) for row in rows],
        "column": [(ALL, one(column)) for column in columns],
        "element": [(one(row), one(column)) for row, column in zip(rows, columns, strict=True)],
    }
    items = [
        Work(
            f"dense-{size.many}-{key}s",
            f"dense {size.many} times one {key}, chunks 100x100",
            "dense-100x100",
            "dense",
            (H5PY, HDF5ARRAY),
            tuple(reads),
        )
        for key, reads in single.items()
    ]
    items += [
        Work(
            f"contiguous-{size.many}-{key}s",
            f"uncompressed {size.many} times one {key}",
            "dense-contiguous",
            "dense",
            (H5PY,),
            tuple(single[key]),
        )
        for key in ("row", "element")
    ]
    few = size.many // 10
    giant = tuple((one(row), ALL) for row in pick(size.slab, few))
    return [
        *items,
        Work(
            f"giant-{few}-rows",
            f"{few} times one row of one chunk {size.slab}x{size.dense}",
            "dense-giant",
            "dense",
            (H5PY, HDF5ARRAY),
            giant,
        ),
    ]


def _several(size: Size) -> list[Work]:
    """Reads of several Python threads at once."""
    rows = pick(size.dense, size.many, stream=4)
    small: tuple[Selection, ...] = tuple((one(row), ALL) for row in rows)
    file = "dense-100x100"
    return [
        Work(
            "longest-wait-beside-full",
            "dense longest wait for one row beside another thread's full reads",
            file,
            "beside",
            (H5PY,),
            ((ALL, ALL), *small),
        ),
        Work(
            "longest-wait-of-8-threads",
            "dense longest wait for one row, of 8 threads",
            file,
            "taking_turns",
            (H5PY,),
            small[:8],
        ),
        Work(
            "two-full-at-once",
            "dense two full reads at once",
            file,
            "at_once",
            (H5PY, OURS_ONE_BY_ONE),
            ((ALL, ALL), (ALL, ALL)),
        ),
    ]


def _sparse(size: Size) -> list[Work]:
    """Work on the sparse matrix, whose columns are cells."""
    genes, cells = pick(size.genes, size.picks), pick(size.cells, size.picks)
    both = (HDF5ARRAY, ANNDATA)
    gene, cell = size.genes // 3, size.cells // 3
    walk: tuple[Selection, ...] = tuple((ALL, one(column)) for column in range(cell, cell + size.many))
    times = f"{size.many} times"

    def extract(key: str, label: str, peers: tuple[str, ...], *reads: Selection, memory: bool = False) -> Work:
        return Work(f"sparse-{key}", f"CSC {label}", "sparse", "sparse", peers, reads, memory)

    return [
        Work(
            "sparse-full",
            "sparse full load to scipy CSC",
            "sparse",
            "load",
            (H5PY, HDF5ARRAY, OURS_ON_ONE, *LIMITS),
            memory=True,
        ),
        extract("columns", f"{size.picks} random columns", both, (ALL, cells), memory=True),
        extract("rows", f"{size.picks} random rows, all columns", both, (genes, ALL), memory=True),
        extract("block", f"{size.picks} x {size.picks} random", (HDF5ARRAY,), (genes, cells)),
        extract("column-slab", f"{size.slab} columns in a row", both, (ALL, slice(cell, cell + size.slab))),
        extract("column", "one column", both, (ALL, one(cell))),
        extract("row", "one row", (ANNDATA,), (one(gene), ALL)),
        extract("element", "one element", (HDF5ARRAY,), (one(gene), one(cell))),
        extract("walk", f"{size.many} columns, one by one", both, *walk, memory=True),
        extract("again", f"{times} the same column", both, *walk[:1] * size.many),
        extract(
            "many-columns",
            f"{times} one random column",
            both,
            *((ALL, one(column)) for column in pick(size.cells, size.many)),
        ),
    ]


def _statistics() -> list[Work]:
    """Sums and the like, in one sweep over the file each."""
    inflating = LIMITS[2]
    dense, sparse = "dense-100x100", "sparse"
    everyone, floats = (H5PY, DELAYED), (DELAYED,)
    log = "sum of columns of log1p(x / vector)"
    return [
        Work("dense-column-sums", "dense sums of columns", dense, "column_sums", (*everyone, inflating), memory=True),
        Work("dense-row-sums", "dense sums of rows", dense, "row_sums", (*everyone, inflating), memory=True),
        Work("dense-column-var", "dense variances of columns", dense, "column_var", floats),
        Work("dense-row-var", "dense variances of rows", dense, "row_var", floats),
        Work("dense-log", f"dense {log}", dense, "log_sums", floats, memory=True),
        Work("sparse-column-sums", "CSC sums of columns", sparse, "column_sums", everyone, memory=True),
        Work("sparse-row-sums", "CSC sums of rows", sparse, "row_sums", everyone, memory=True),
        Work("sparse-column-var", "CSC variances of columns", sparse, "column_var", floats),
        Work("sparse-row-var", "CSC variances of rows", sparse, "row_var", floats),
        Work("sparse-log", f"CSC {log}", sparse, "log_sums", floats, memory=True),
        Work("sparse-quality", "CSC sums and detected, of rows and columns", sparse, "quality", (H5PY,), memory=True),
    ]


def _products() -> list[Work]:
    """Products with a matrix, or a vector, in memory: out of core beside loading all and multiplying."""
    by = f"with {PRODUCT_COLUMNS} columns"
    return [
        Work("product-sparse", f"CSC product {by}", "sparse", "sparse_product", (H5PY,), memory=True),
        Work(
            "product-sparse-transposed",
            f"CSC transposed, product {by}",
            "sparse",
            "sparse_product_transposed",
            (H5PY,),
            memory=True,
        ),
        Work("product-sparse-vector", "CSC product with a vector", "sparse", "sparse_product_vector", (H5PY,)),
        Work("product-dense", f"dense product {by}", "dense-100x100", "dense_product", (H5PY,), memory=True),
    ]


@dataclass(frozen=True)
class Curve:
    """Times against something that grows.

    Attributes:
        key: Name of the plot and in the JSON output.
        title: What is read.
        axis: What grows.
        points: How much of it, and the work item of that much.
    """

    key: str
    title: str
    axis: str
    points: tuple[tuple[float, Work], ...]


#: Copies of the dense array in the files of the curve over file sizes.
TILES = (1, 4, 16)


def tiled_file(tiles: int) -> str:
    """Name the file with copies of the dense array below each other.

    Args:
        tiles: Number of copies.

    Returns:
        Stem of the file, see :func:`file_path`.
    """
    return f"tiled-{tiles}"


def curves(size: Size) -> list[Curve]:
    """List the curves that are plotted, besides those over the number of threads.

    Args:
        size: Size of the files.

    Returns:
        The curves.
    """

    def work(name: str, file: str, kind: str, peers: tuple[str, ...], selection: Selection) -> Work:
        return Work(f"curve-{name}", name, file, kind, peers, (selection,))

    def growing(key: str, title: str, axis: str, points: Iterable[tuple[float, Work]]) -> Curve:
        return Curve(key, title, axis, tuple(points))

    counts = [count for count in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000) if count <= size.dense]
    rows = [(count, (pick(size.dense, count), ALL)) for count in counts]
    cells = [(count, (ALL, pick(size.cells, count))) for count in counts if count <= size.cells]
    few = size.picks // 10
    files = [(tiles, (pick_apart(tiles * size.dense, few), ALL)) for tiles in TILES]
    gigabytes = size.dense**2 * 4 / 1e9
    return [
        growing(
            "rows",
            "random rows of a dense array, chunks 100x100",
            "rows",
            ((n, work(f"rows-{n}", "dense-100x100", "dense", (HDF5ARRAY,), what)) for n, what in rows),
        ),
        growing(
            "cells",
            "random columns of a CSC matrix",
            "columns",
            ((n, work(f"cells-{n}", "sparse", "sparse", (HDF5ARRAY, ANNDATA), what)) for n, what in cells),
        ),
        growing(
            "file",
            f"{few} rows, far apart, of a dense array, chunks 100x100",
            "size of the array (GB)",
            ((n * gigabytes, work(f"file-{n}", tiled_file(n), "dense", (HDF5ARRAY,), what)) for n, what in files),
        ),
    ]


def file_path(directory: Path, size: Size, file: str) -> Path:
    """Locate a benchmark file.

    Args:
        directory: Directory of the files.
        size: Size of the files.
        file: Stem, for example ``sparse``.

    Returns:
        Where the file is, or will be once generated.
    """
    return directory / f"{size.name}-{file}.h5"


def zarr_path(path: Path, codec: str) -> Path:
    """Locate the Zarr array with the contents of a dense file.

    Args:
        path: The HDF5 file.
        codec: Name of the codec.

    Returns:
        The array's directory.
    """
    return path.with_suffix(f".{codec}.zarr")


def one(position: int) -> slice:
    """Select one position, keeping the axis.

    Args:
        position: The position.

    Returns:
        The slice.
    """
    return slice(position, position + 1)


def pick(extent: int, count: int, stream: int = 0) -> list[int]:
    """Pick random positions along an axis, the same ones in every process.

    Args:
        extent: Length of the axis.
        count: Number of positions.
        stream: Number of an independent choice.

    Returns:
        Positions in increasing order, without duplicates.
    """
    rng = np.random.default_rng([SEED, extent, count, stream])
    picked: list[int] = np.sort(rng.choice(extent, count, replace=False)).tolist()
    return picked


def pick_apart(extent: int, count: int) -> list[int]:
    """Pick one random position in each of as many equal stretches of an axis.

    So that the number of chunks they touch does not depend on the extent, as soon as stretches are longer than chunks.

    Args:
        extent: Length of the axis.
        count: Number of positions.

    Returns:
        Positions in increasing order, without duplicates.
    """
    bounds = np.linspace(0, extent, count + 1).astype(np.int64)
    picked: list[int] = np.random.default_rng([SEED, extent, count]).integers(bounds[:-1], bounds[1:]).tolist()
    return picked
