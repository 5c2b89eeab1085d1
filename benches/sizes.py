"""The benchmark's files and work items, by size: plain data, which load no HDF5 library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Seed of everything random here: the files' contents and the rows and columns that are picked.
SEED = 20240229

DENSE_DATASET = "counts"
SPARSE_GROUP = "matrix"

#: Chunk shapes of the dense files, which otherwise hold the same array.
DENSE_CHUNKS = ((100, 100), (1000, 100))


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
    """

    name: str
    genes: int
    cells: int
    non_zeros: int
    dense: int
    dense_density: float
    picks: int


SIZES = {
    size.name: size
    for size in (
        Size("small", 6_000, 4_000, 2_000_000, 2_000, 0.08, 100),
        Size("large", 30_000, 20_000, 50_000_000, 10_000, 0.08, 500),
    )
}


@dataclass(frozen=True)
class Work:
    """One thing to read.

    Attributes:
        key: Name on the command line, in ``floors.toml`` and in the JSON output.
        label: What the table calls it.
        file: Stem of the file that is read, see :func:`file_path`.
        kind: Name of the method of the classes in ``peers.py`` that reads it; a peer without this
            method does not take part.
    """

    key: str
    label: str
    file: str
    kind: str


def work_items(size: Size) -> list[Work]:
    """List what is measured.

    Args:
        size: Size of the files.

    Returns:
        The work items, in the order of the table.
    """
    dense = [("x".join(map(str, chunks)), dense_file(chunks)) for chunks in DENSE_CHUNKS]
    rows = f"{size.picks} random rows"
    return [
        *(
            Work(f"dense-full-{chunks}", f"dense full read, chunks {chunks}", file, "dense_full")
            for chunks, file in dense
        ),
        *(Work(f"dense-rows-{chunks}", f"dense {rows}, chunks {chunks}", file, "dense_rows") for chunks, file in dense),
        Work("sparse-full", "sparse full load to scipy CSC", "sparse", "sparse_full"),
        Work("sparse-columns", f"CSC {size.picks} random columns", "sparse", "sparse_columns"),
        Work("sparse-rows", f"CSC {rows}, all columns", "sparse", "sparse_rows"),
    ]


def dense_file(chunks: tuple[int, int]) -> str:
    """Name the dense file with the given chunks.

    Args:
        chunks: Chunk shape.

    Returns:
        Stem of the file, see :func:`file_path`.
    """
    return f"dense-{chunks[0]}x{chunks[1]}"


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


def pick(extent: int, count: int) -> list[int]:
    """Pick random positions along an axis, the same ones in every process.

    Args:
        extent: Length of the axis.
        count: Number of positions.

    Returns:
        Positions in increasing order, without duplicates.
    """
    rng = np.random.default_rng([SEED, extent, count])
    picked: list[int] = np.sort(rng.choice(extent, count, replace=False)).tolist()
    return picked
