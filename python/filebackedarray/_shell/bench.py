"""How fast an array is read, beside h5py where it is installed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from .. import _core
from .._engine.names import engine_name, engine_path

_SCATTERED = 100
"""So many rows (or columns) are read one here, one there."""


def bench(array: Any, rounds: int, limit: int) -> dict[str, Any]:
    """Measure reads of an array.

    Args:
        array: A pristine array of this package, of a dataset in native order or a sparse matrix.
        rounds: How often each task is done; by all readers in turns, of which the best time counts.
        limit: Bytes of a result, at most; of a larger array the first rows are read (or columns, of a matrix that is
            compressed by column).

    Returns:
        ``threads``, ``h5py`` (its version, or None), and ``tasks``: for each ``what`` is read, ``bytes`` of the result,
        ``seconds`` by reader, and the ``ratio`` of h5py's time to ours, or None. ``note`` says why there is none.

    Raises:
        ValueError: If the array has no elements, or h5py read something else.
        TypeError: If it is of strings.
    """
    try:
        import h5py
    except ImportError:
        h5py = None
    note = "" if h5py is not None else "h5py is not installed ('pip install h5py'): there is nothing to compare with"
    if array.size == 0:
        raise ValueError("there are no elements to read")
    if array.dtype.kind in "OSU":
        raise TypeError("reading strings is not measured")
    sparse = hasattr(array.seed, "by_column")
    tasks = _sparse_tasks(array, limit) if sparse else _dense_tasks(array, limit)
    kept = _core.set_cache_budget(0)
    try:
        measured = []
        for what, ours, theirs in tasks:
            readers = {"filebackedarray": ours}
            if h5py is not None:
                readers["h5py"] = partial(theirs, h5py)
            task, failure = _measure(what, readers, rounds)
            measured.append(task)
            note = note or failure
    finally:
        _core.set_cache_budget(kept)
    version = None if h5py is None else h5py.__version__
    return {"threads": _core.get_num_threads(), "rounds": rounds, "h5py": version, "tasks": measured, "note": note}


def _measure(what: str, readers: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, Any], str]:
    # The first time brings the file into memory, and shows whether all read the same.
    ours = _arrays(readers["filebackedarray"]())
    note = ""
    if "h5py" in readers:
        try:
            theirs = _arrays(readers["h5py"]())
        except (OSError, KeyError, TypeError, ValueError) as error:
            note = f"h5py cannot read it: {error}"
            del readers["h5py"]
        else:
            for got, want in zip(ours, theirs, strict=True):
                if not numpy.array_equal(got, want, equal_nan=got.dtype.kind in "fc"):
                    raise ValueError(f"h5py reads something else ({what}); please report it")
            del theirs, got, want
    size = sum(array.nbytes for array in ours)
    del ours
    best = dict.fromkeys(readers, math.inf)
    for _ in range(rounds):
        for reader, read in readers.items():
            begin = time.perf_counter()
            read()
            best[reader] = min(best[reader], time.perf_counter() - begin)
    ratio = best["h5py"] / best["filebackedarray"] if "h5py" in best else None
    return {"what": what, "bytes": size, "seconds": best, "ratio": ratio}, note


def _arrays(result: Any) -> list[Any]:
    if hasattr(result, "indptr"):
        result.sort_indices()
        return [result.data, result.indices, result.indptr]
    return [numpy.asarray(result)]


def _dense_tasks(array: Any, limit: int) -> list[tuple[str, Callable[[], Any], Callable[[Any], Any]]]:
    path, name = engine_path(array.path), array.name

    def by_h5py(h5py: Any, key: Any) -> Any:
        with h5py.File(path, "r") as handle:
            return handle[engine_name(name)][key]

    if array.ndim == 0:
        return [("the value", lambda: array[()].__array__(), lambda h5py: by_h5py(h5py, ()))]
    row = max(1, array.dtype.itemsize * math.prod(array.shape[1:]))
    rows = min(len(array), max(1, limit // row))
    what = "everything" if rows == len(array) else f"the first {rows} of {len(array)} rows"
    first = slice(rows)
    tasks: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
        (what, lambda: numpy.asarray(array[first]), lambda h5py: by_h5py(h5py, first))
    ]
    few = min(_SCATTERED, len(array) // 2, max(1, limit // row))
    if few > 1:
        chosen = numpy.sort(numpy.random.default_rng(0).choice(len(array), few, replace=False))
        tasks.append(
            (
                f"{few} scattered rows",
                lambda: numpy.asarray(array[chosen]),
                lambda h5py: by_h5py(h5py, chosen),
            )
        )
    return tasks


def _sparse_tasks(array: Any, limit: int) -> list[tuple[str, Callable[[], Any], Callable[[Any], Any]]]:
    import scipy.sparse
    from delayedarray import to_scipy_sparse_matrix

    seed = array.seed
    by_column = seed.by_column
    extent = array.shape[1 if by_column else 0]
    element = seed.dtype.itemsize + seed.index_dtype.itemsize
    count = min(extent, max(1, int(extent * limit / max(1, seed.nnz * element))))
    word, format_ = ("columns", "csc") if by_column else ("rows", "csr")
    part = array[:, :count] if by_column else array[:count]
    whole = count == extent
    what = "everything" if whole else f"the first {count} of {extent} {word}"

    def by_h5py(h5py: Any) -> Any:
        with h5py.File(engine_path(array.path), "r") as handle:
            data, indices, indptr = (
                handle[engine_name(name)] for name in (seed.data_name, seed.indices_name, seed.indptr_name)
            )
            pointers = indptr[: count + 1]
            end = int(pointers[-1])
            shape = (array.shape[0], count) if by_column else (count, array.shape[1])
            make = scipy.sparse.csc_matrix if by_column else scipy.sparse.csr_matrix
            return make((data[:end], indices[:end], pointers), shape=shape)

    return [
        (f"{what}, into scipy's {format_}", lambda: to_scipy_sparse_matrix(array if whole else part, format_), by_h5py)
    ]
