"""How fast an array of a file is read, beside h5py: all of it (or what fits into --limit), and scattered rows.

`python examples/bench.py FILE [NAME]`. The times are the least of some rounds, in turns, with the file in the system's
cache and no chunk in ours. `benches/` measures what docs/performance.md shows.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from delayedarray import is_sparse, to_scipy_sparse_matrix

import filebackedarray as fba


def dense_tasks(array: Any, limit: int) -> list[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """What is read of a dense array: its name, and how it is read by us and by h5py."""

    def by_h5py(key: Any) -> list[Any]:
        with h5py.File(array.path) as handle:
            return [handle[array.name][key]]

    fitting = max(1, limit // max(1, array.dtype.itemsize * math.prod(array.shape[1:])))
    first = slice(min(len(array), fitting))
    tasks = [("the first rows", lambda: [np.asarray(array[first])], lambda: by_h5py(first))]
    few = min(100, len(array) // 2, fitting)
    if few > 1:
        rows = np.sort(np.random.default_rng(0).choice(len(array), few, replace=False))
        tasks.append((f"{few} scattered rows", lambda: [np.asarray(array[rows])], lambda: by_h5py(rows)))
    return tasks


def sparse_tasks(array: Any, limit: int) -> list[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """What is read of a sparse matrix, into one of SciPy's."""
    seed = array.seed
    extent = array.shape[1 if seed.by_column else 0]
    bytes_of_one = seed.dtype.itemsize + seed.index_dtype.itemsize
    count = min(extent, max(1, int(extent * limit / max(1, seed.nnz * bytes_of_one))))
    part = array[:, :count] if seed.by_column else array[:count, :]

    def by_h5py() -> list[Any]:
        with h5py.File(array.path) as handle:
            pointers = handle[seed.indptr_name][: count + 1]
            return [handle[name][: pointers[-1]] for name in (seed.data_name, seed.indices_name)]

    def ours() -> list[Any]:
        matrix = to_scipy_sparse_matrix(part, "csc" if seed.by_column else "csr")
        return [matrix.data, matrix.indices]

    return [(f"the first {count} of {extent} columns or rows", ours, by_h5py)]


def seconds(read: Callable[[], Any]) -> float:
    """How long one read takes."""
    begin = time.perf_counter()
    read()
    return time.perf_counter() - begin


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=512, help="megabytes that are read of a larger array")
    arguments = parser.parse_args()
    array = fba.open_array(arguments.file, arguments.name, native_order=True)
    if array.size == 0 or array.dtype.kind not in "biufc":
        sys.exit("there are no numbers to read")
    if getattr(array.seed, "_native_order", True) is False:
        # As the file has it, which is what h5py reads.
        array = array.transposed()
    tasks = (sparse_tasks if is_sparse(array) else dense_tasks)(array, arguments.limit << 20)
    fba.set_cache_budget(0)
    for what, ours, theirs in tasks:
        for mine, other in zip(ours(), theirs(), strict=True):
            if not np.array_equal(mine, other, equal_nan=mine.dtype.kind in "fc"):
                sys.exit(f"h5py reads something else ({what}); please report it")
        times = [(seconds(ours), seconds(theirs)) for _ in range(arguments.rounds)]
        ours_best, theirs_best = map(min, zip(*times, strict=True))
        print(
            f"{what}: filebackedarray {ours_best * 1e3:.2f} ms, h5py {theirs_best * 1e3:.2f} ms,"
            f" ratio {theirs_best / ours_best:.2f} ({fba.get_num_threads()} threads)"
        )


if __name__ == "__main__":
    main()
