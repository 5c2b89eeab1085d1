"""How long it takes to write arrays, beside h5py, how large the files are, and how long it takes to read them.

`python benches/write.py` prints a table; `--check` fails below the floors of `floors.toml`. The arrays are those of the
other benchmarks, in memory; each time is the least of several, of both in turns, warm, and ends when the file is closed
(ours also has the system write it to the disk, and reads it back to check it). Two threads, unless said otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse
import tomllib

import data
import filebackedarray as fba
from sizes import DENSE_DATASET, SIZES, SPARSE_GROUP, file_path

GZIP = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def in_turns(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of the fastest of some runs of each."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def dense(folder: Path, values: np.ndarray, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds and bytes of a dense array."""
    chunks = (min(1000, values.shape[0]), min(100, values.shape[1]))

    def peer() -> None:
        with h5py.File(folder / "h5py.h5", "w") as file:
            file.create_dataset("x", data=values, chunks=chunks, **GZIP)

    def ours(name: str, compression: Any) -> None:
        (folder / name).unlink(missing_ok=True)
        fba.write_array(values, folder / name, "x", native_order=True, chunks=chunks, compression=compression)

    return _measured(
        folder, peer, ours, lambda name: fba.Hdf5DenseArray(folder / name, "x", native_order=True), repeats
    )


def sparse(folder: Path, matrix: scipy.sparse.csc_matrix, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds and bytes of a compressed sparse matrix."""
    length = min(80_000, max(1, matrix.nnz))

    def peer() -> None:
        with h5py.File(folder / "h5py.h5", "w") as file:
            for name in ("data", "indices"):
                file.create_dataset(f"x/{name}", data=getattr(matrix, name), chunks=(length,), **GZIP)
            file["x/indptr"] = matrix.indptr

    def ours(name: str, compression: Any) -> None:
        (folder / name).unlink(missing_ok=True)
        fba.write_sparse(
            matrix, folder / name, "x", chunks=length, index_dtype=matrix.indices.dtype, compression=compression
        )

    return _measured(
        folder,
        peer,
        ours,
        lambda name: fba.Hdf5CompressedSparseMatrix(folder / name, "x", matrix.shape, True),
        repeats,
    )


def _measured(
    folder: Path,
    peer: Callable[[], None],
    ours: Callable[[str, Any], None],
    opened: Callable[[str], Any],
    repeats: int,
) -> dict[str, dict[str, float]]:
    kinds = {"gzip": "gzip", "zstd": "zstd", "none": None}
    works: dict[str, Callable[[], object]] = {"h5py": peer}
    works |= {kind: lambda kind=kind, value=value: ours(f"{kind}.h5", value) for kind, value in kinds.items()}
    seconds = in_turns(works, repeats)
    if not np.array_equal(opened("gzip.h5").sum(axis=0), opened("h5py.h5").sum(axis=0)):
        raise SystemExit("the two files have different values")
    reads = in_turns({kind: lambda kind=kind: opened(f"{kind}.h5").sum() for kind in ("h5py", "gzip")}, repeats)
    size = {name: (folder / f"{name}.h5").stat().st_size for name in works}
    return {name: {"seconds": seconds[name], "bytes": size[name], "read": reads.get(name, 0.0)} for name in works}


def main() -> None:
    """Measure, and print or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--data", type=Path, default=data.default_data_dir())
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if not given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    fba.set_num_threads(arguments.threads)
    size = SIZES[arguments.size]
    data.ensure(size, arguments.data, {"dense-1000x100", "sparse"})
    with h5py.File(file_path(arguments.data, size, "dense-1000x100")) as file:
        values = file[DENSE_DATASET][()]
    with h5py.File(file_path(arguments.data, size, "sparse")) as file:
        group = file[SPARSE_GROUP]
        parts = [group[name][()] for name in ("data", "indices", "indptr")]
        matrix = scipy.sparse.csc_matrix(tuple(parts), shape=tuple(group["shape"][()]))
        matrix.has_canonical_format = True
    floors = tomllib.loads((Path(__file__).parent / "floors.toml").read_text())["write"]
    print("| written | h5py, gzip 4 | gzip | zstd | not compressed | size of h5py's | read again |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    failed = []
    for name, measure, what in (("dense", dense, values), ("sparse", sparse, matrix)):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            found = measure(Path(folder), what, arguments.repeats)
        peer, own = found["h5py"], found["gzip"]
        ratios = {
            "seconds": peer["seconds"] / own["seconds"],
            "bytes": peer["bytes"] / own["bytes"],
            "read": peer["read"] / own["read"],
        }
        shown = [f"{found[kind]['seconds'] * 1e3:.0f} ms" for kind in ("h5py", "gzip", "zstd", "none")]
        print(f"| {name} | {' | '.join(shown)} | {1 / ratios['bytes']:.2f} | {ratios['read']:.2f} times as fast |")
        for quantity, ratio in ratios.items():
            if ratio < floors[name][quantity]:
                failed.append(f"{name}, {quantity}: {ratio:.2f} where it should be {floors[name][quantity]}")
    if arguments.check and failed:
        print("\n".join(failed), file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
