"""The packages that are compared: how each one reads each kind of work.

Each class is one peer. It imports its package when it is made, in a process of its own, because
the packages bring different copies of libhdf5. Its methods are named after ``Work.kind``: given a
file and what to read of it, they open what may stay open between reads and return a function
without arguments that reads it all, one selection after another, and returns the results.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import Event
from time import perf_counter, sleep
from typing import Any, ClassVar

import numpy as np

from sizes import (
    ANNDATA,
    DELAYED,
    DENSE_DATASET,
    H5PY,
    HDF5ARRAY,
    HIDEFIX,
    LIMITS,
    OURS,
    OURS_ON_ONE,
    OURS_ONE_BY_ONE,
    PRODUCT_COLUMNS,
    SEED,
    SPARSE_GROUP,
    TWIN_GROUP,
    ZARR_CODECS,
    ZARRS,
    Index,
    Selection,
    Size,
    zarr_path,
)

Selections = Sequence[Selection]
#: Reads everything that was asked for.
Read = Callable[[], list[Any]]

#: The program that decodes without an output, made by ``make bench``.
LIMIT_PROGRAM = "FILEBACKEDARRAY_BENCH_LIMIT"


class Timed(list[Any]):
    """Results of which only a part of the time counts.

    Attributes:
        seconds: That part.
    """

    def __init__(self, results: Sequence[Any], seconds: float) -> None:
        """Keep results and seconds."""
        super().__init__(results)
        self.seconds = seconds


class Peer:
    """What all peers have in common."""

    #: Packages whose versions belong to the results.
    packages: ClassVar[tuple[str, ...]] = ()
    #: Whether a read returns how many seconds it took, or would have taken, instead of a result.
    times_itself: ClassVar[bool] = False

    def __init__(self, size: Size, threads: int) -> None:
        """Import the package.

        Args:
            size: Size of the files.
            threads: Number of threads to read on, where the package can use several.
        """
        self.size = size
        self.threads = threads

    def versions(self) -> dict[str, str]:
        """Name the versions of what is measured."""
        return {name: version(name) for name in self.packages}

    def forget(self) -> None:
        """Drop what earlier reads left in memory and would make the next one another work."""

    def cache_budget(self) -> int:
        """Tell how many bytes the package keeps between reads on purpose."""
        return 0

    def dense(self, path: Path, selections: Selections) -> Read:
        """Read from the dense dataset."""
        raise NotImplementedError

    def beside(self, path: Path, selections: Selections) -> Read:
        """Read selections one by one while another thread reads the first of them again and again: the longest wait."""
        long = self.dense(path, selections[:1])
        small = [self.dense(path, [selection]) for selection in selections[1:]]

        def read() -> list[Any]:
            done, under_way = Event(), Event()

            def read_on() -> None:
                while not done.is_set():
                    under_way.set()
                    long()

            with ThreadPoolExecutor(1) as pool:
                other = pool.submit(read_on)
                under_way.wait()
                sleep(0.01)
                found = [_timed(one) for one in small]
                done.set()
                other.result()
            return Timed([result for results, _ in found for result in results], max(time for _, time in found))

        return read

    def taking_turns(self, path: Path, selections: Selections) -> Read:
        """Read selections on a thread each, again and again for a second: the longest wait of any for one read."""
        reads = [self.dense(path, [selection]) for selection in selections]

        def read() -> list[Any]:
            end = perf_counter() + 1

            def read_on(one: Read) -> tuple[list[Any], float]:
                results, longest = _timed(one)
                while perf_counter() < end:
                    longest = max(longest, _timed(one)[1])
                return results, longest

            with ThreadPoolExecutor(len(reads)) as pool:
                found = list(pool.map(read_on, reads))
            return Timed([result for results, _ in found for result in results], max(time for _, time in found))

        return read

    def at_once(self, path: Path, selections: Selections) -> Read:
        """Read selections at once, on a thread each."""
        reads = [self.dense(path, [selection]) for selection in selections]

        def read() -> list[Any]:
            with ThreadPoolExecutor(len(reads)) as pool:
                return [result for results in pool.map(lambda one: one(), reads) for result in results]

        return read

    def sparse(self, path: Path, selections: Selections) -> Read:
        """Read from the sparse matrix."""
        raise NotImplementedError

    def load(self, path: Path, selections: Selections) -> Read:
        """Load the sparse matrix whole, as scipy's CSC matrix."""
        raise NotImplementedError

    def column_sums(self, path: Path, selections: Selections) -> Read:
        """Add up each column."""
        return self._statistic(path, lambda x: x.sum(axis=0))

    def row_sums(self, path: Path, selections: Selections) -> Read:
        """Add up each row."""
        return self._statistic(path, lambda x: x.sum(axis=1))

    def column_var(self, path: Path, selections: Selections) -> Read:
        """Find the variance of each column."""
        return self._statistic(path, lambda x: x.var(axis=0))

    def row_var(self, path: Path, selections: Selections) -> Read:
        """Find the variance of each row."""
        return self._statistic(path, lambda x: x.var(axis=1))

    def log_sums(self, path: Path, selections: Selections) -> Read:
        """Add up each column after it was scaled and its logarithms were taken, both delayed."""

        def log_sums(x: Any) -> Any:
            scaling = np.random.default_rng(SEED).uniform(0.5, 2, x.shape[1])
            return np.log1p(x / scaling).sum(axis=0)

        return self._statistic(path, log_sums)

    def quality(self, path: Path, selections: Selections) -> Read:
        """Add up and count what is not zero, of each row and of each column."""
        raise NotImplementedError

    def _statistic(self, path: Path, compute: Callable[[Any], Any]) -> Read:
        raise NotImplementedError

    def sparse_product(self, path: Path, selections: Selections) -> Read:
        """Multiply the sparse matrix with some columns."""
        return self._multiply_sparse(path, transposed=False, right=_factor(self.size.cells, PRODUCT_COLUMNS))

    def sparse_product_transposed(self, path: Path, selections: Selections) -> Read:
        """Multiply the sparse matrix's transpose with some columns."""
        return self._multiply_sparse(path, transposed=True, right=_factor(self.size.genes, PRODUCT_COLUMNS))

    def sparse_product_vector(self, path: Path, selections: Selections) -> Read:
        """Multiply the sparse matrix with a vector."""
        return self._multiply_sparse(path, transposed=False, right=_factor(self.size.cells, 1)[:, 0])

    def dense_product(self, path: Path, selections: Selections) -> Read:
        """Multiply the dense dataset with some columns."""
        raise NotImplementedError

    def _multiply_sparse(self, path: Path, transposed: bool, right: Any) -> Read:
        raise NotImplementedError


class H5py(Peer):
    """h5py, with scipy to make a sparse matrix of what it read. It opens the file once per run."""

    packages = ("h5py", "scipy")

    def __init__(self, size: Size, threads: int) -> None:
        """Import the package and the filters that it lacks."""
        super().__init__(size, threads)
        import h5py
        import hdf5plugin  # noqa: F401
        import scipy.sparse

        self._h5py = h5py
        self._sparse = scipy.sparse

    def versions(self) -> dict[str, str]:
        """Name the versions of what is measured."""
        return {**super().versions(), "h5py's libhdf5": self._h5py.version.hdf5_version}

    def dense(self, path: Path, selections: Selections) -> Read:
        """Read from the dense dataset."""
        parts = [_one_list(selection) for selection in selections]

        def read() -> list[Any]:
            with self._h5py.File(path, "r") as file:
                dataset = file[DENSE_DATASET]
                return [dataset[first] if rest is None else dataset[first][rest] for first, rest in parts]

        return read

    def load(self, path: Path, selections: Selections) -> Read:
        """Load the sparse matrix whole."""

        def read() -> list[Any]:
            with self._h5py.File(path, "r") as file:
                group = file[SPARSE_GROUP]
                parts = (group["data"][...], group["indices"][...], group["indptr"][...])
                return [self._sparse.csc_matrix(parts, shape=tuple(group["shape"][...]))]

        return read

    def quality(self, path: Path, selections: Selections) -> Read:
        """Load all, and sum up twice."""
        read = self.load(path, ())

        def quality() -> list[Any]:
            (matrix,) = read()
            sums = [np.asarray(matrix.sum(axis=axis)).ravel() for axis in (0, 1)]
            return [*sums, *(matrix.count_nonzero(axis=axis).astype(np.int64) for axis in (0, 1))]

        return quality

    def _statistic(self, path: Path, compute: Callable[[Any], Any]) -> Read:
        dense = _is_dense(path)
        read = self.dense(path, [(slice(None), slice(None))]) if dense else self.load(path, ())
        return lambda: [np.asarray(compute(x)).ravel() for x in read()]

    def dense_product(self, path: Path, selections: Selections) -> Read:
        """Read all and multiply."""
        read, right = self.dense(path, [(slice(None), slice(None))]), _factor(self.size.dense, PRODUCT_COLUMNS)
        return lambda: [matrix @ right for matrix in read()]

    def _multiply_sparse(self, path: Path, transposed: bool, right: Any) -> Read:
        read = self.load(path, ())
        return lambda: [(matrix.T if transposed else matrix) @ right for matrix in read()]


class Hdf5array(Peer):
    """hdf5array, through delayedarray's generics."""

    name: ClassVar[str] = HDF5ARRAY
    packages = ("hdf5array", "delayedarray", "numpy")

    def __init__(self, size: Size, threads: int) -> None:
        """Import the package."""
        super().__init__(size, threads)
        import delayedarray

        self._delayedarray = delayedarray
        self._package = importlib.import_module(self.name)

    def dense(self, path: Path, selections: Selections) -> Read:
        """Read from the dense dataset."""
        array = self._package.Hdf5DenseArray(str(path), DENSE_DATASET, native_order=True)
        return self._extract(self._delayedarray.extract_dense_array, array, selections)

    def sparse(self, path: Path, selections: Selections) -> Read:
        """Read from the sparse matrix."""
        return self._extract(self._delayedarray.extract_sparse_array, self._matrix(path), selections)

    def load(self, path: Path, selections: Selections) -> Read:
        """Load the sparse matrix whole."""
        array = self._matrix(path)
        return lambda: [self._delayedarray.to_scipy_sparse_matrix(array, "csc")]

    def _array(self, path: Path) -> Any:
        if _is_dense(path):
            return self._package.Hdf5DenseArray(str(path), DENSE_DATASET, native_order=True)
        return self._matrix(path)

    def _matrix(self, path: Path) -> Any:
        shape = (self.size.genes, self.size.cells)
        return self._package.Hdf5CompressedSparseMatrix(str(path), SPARSE_GROUP, shape=shape, by_column=True)

    def _extract(self, extract: Callable[[Any, Any], Any], array: Any, selections: Selections) -> Read:
        subsets = [_subset(selection, array.shape) for selection in selections]
        return lambda: [extract(array, subset) for subset in subsets]


class Delayed(Hdf5array):
    """delayedarray's statistics, which walk over elements in Python, on hdf5array's arrays: of a part, scaled."""

    times_itself = True
    #: What part of the columns is done.
    part = 200

    def _statistic(self, path: Path, compute: Callable[[Any], Any]) -> Read:
        array = self._array(path)
        columns = max(1, array.shape[1] // self.part)
        part = array[:, slice(0, columns)]

        def statistic() -> list[Any]:
            start = perf_counter()
            compute(part)
            return [(perf_counter() - start) * array.shape[1] / columns]

        return statistic


class Filebackedarray(Hdf5array):
    """This package: called exactly as hdf5array is, on a stated number of threads."""

    name = OURS
    packages = (OURS, "delayedarray", "numpy")

    def __init__(self, size: Size, threads: int) -> None:
        """Import the package and set its number of threads.

        Raises:
            RuntimeError: The package uses another number of threads than it was told to.
        """
        super().__init__(size, threads)
        self._package.set_num_threads(threads)
        if self._package.get_num_threads() != threads:
            raise RuntimeError(f"asked for {threads} threads, which the package did not take")

    def quality(self, path: Path, selections: Selections) -> Read:
        """Go through the file once."""
        matrix, wanted = self._matrix(path), ["sum", "count_nonzero"]

        def quality() -> list[Any]:
            found = self._package.summarize(matrix, [0, 1], wanted)
            return [part[name].astype(np.int64, copy=False) for name in wanted for part in found]

        return quality

    def _statistic(self, path: Path, compute: Callable[[Any], Any]) -> Read:
        array = self._array(path)
        return lambda: [compute(array)]

    def dense_product(self, path: Path, selections: Selections) -> Read:
        """Multiply block by block."""
        array = self._package.Hdf5DenseArray(str(path), DENSE_DATASET, native_order=True)
        right = _factor(self.size.dense, PRODUCT_COLUMNS)
        return lambda: [array @ right]

    def _multiply_sparse(self, path: Path, transposed: bool, right: Any) -> Read:
        matrix = self._matrix(path)
        return lambda: [matrix.rmatmat(right) if transposed else matrix @ right]

    def forget(self) -> None:
        """Drop decoded chunks."""
        self.cache_budget()

    def cache_budget(self) -> int:
        """Tell the budget of decoded chunks. Looking drops them: only what sets it tells it."""
        set_budget = getattr(self._package, "set_cache_budget", None)
        if set_budget is None:
            return 0
        budget: int = set_budget(0)
        set_budget(budget)
        return budget


class OnOneThread(Filebackedarray):
    """This package without parallelism."""

    def __init__(self, size: Size, threads: int) -> None:
        """Import the package for one thread."""
        super().__init__(size, 1)


class OneByOne(Filebackedarray):
    """This package, asked for one thing after another."""

    def at_once(self, path: Path, selections: Selections) -> Read:
        """Read selections one after another."""
        return self.dense(path, selections)


class Hidefix(Peer):
    """hidefix, whose index is made before. It reads whole datasets here; lists it does not know."""

    packages = ("hidefix",)

    def dense(self, path: Path, selections: Selections) -> Read:
        """Read from the dense dataset."""
        import hidefix

        # The dataset does not keep the index alive by itself.
        index = hidefix.Index(str(path))
        dataset = index.dataset(DENSE_DATASET)
        # It takes bounds only, no open slices.
        bounds = [tuple(slice(*part.indices(n)[:2]) for part, n in _slices(s, dataset.shape())) for s in selections]
        return lambda: [(index, dataset)[1][selection] for selection in bounds]


class Anndata(Peer):
    """anndata's backed sparse matrix, on the row-major twin: cells x genes."""

    packages = ("anndata",)

    def sparse(self, path: Path, selections: Selections) -> Read:
        """Read from the sparse matrix."""
        import h5py
        from anndata.io import sparse_dataset

        matrix = sparse_dataset(h5py.File(path, "r")[TWIN_GROUP])
        # A full slice for the second axis makes anndata go the long way for the first.
        subsets = [(_array(cells), _array(genes)) for genes, cells in selections]
        keys = [cells if _is_all(genes) else (cells, genes) for cells, genes in subsets]
        return lambda: [matrix[key] for key in keys]


class Zarrs(Peer):
    """zarr with the zarrs pipeline, on the same array in Zarr's format."""

    packages = ("zarr", "zarrs")
    codec: ClassVar[str]

    def dense(self, path: Path, selections: Selections) -> Read:
        """Read from the dense array."""
        import zarr

        zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": self.threads})
        array = zarr.open_array(zarr_path(path, self.codec), mode="r")
        keys: list[Any] = list(selections)
        return lambda: [array[key] for key in keys]


class Limit(Peer):
    """What no reader of gzip can be faster than: decoding into nothing, and touching a result's memory."""

    times_itself = True
    #: Which of the two are counted, and how much of the decoding.
    decoding: ClassVar[str | None] = "decode"
    faults: ClassVar[bool] = True

    def dense(self, path: Path, selections: Selections) -> Read:
        """Decode all chunks, and write to as much fresh memory as they take."""
        import h5py

        with h5py.File(path, "r") as file:
            size = file[DENSE_DATASET].size * file[DENSE_DATASET].dtype.itemsize
        return self._read(path, [DENSE_DATASET], size)

    def column_sums(self, path: Path, selections: Selections) -> Read:
        """Decode all chunks."""
        return self.dense(path, selections)

    def row_sums(self, path: Path, selections: Selections) -> Read:
        """Decode all chunks."""
        return self.dense(path, selections)

    def load(self, path: Path, selections: Selections) -> Read:
        """Decode values and indices, and write to as much fresh memory as scipy's matrix takes."""
        import h5py

        names = [f"{SPARSE_GROUP}/{name}" for name in ("data", "indices")]
        with h5py.File(path, "r") as file:
            # Indices of 32 bits, as we and scipy have them.
            size = file[names[0]].size * (file[names[0]].dtype.itemsize + 4)
        return self._read(path, names, size)

    def _read(self, path: Path, names: Sequence[str], size: int) -> Read:
        program = os.environ.get(LIMIT_PROGRAM)
        if self.decoding is not None and program is None:
            raise RuntimeError(f"{LIMIT_PROGRAM} should name the program that `make bench` builds")

        def read() -> list[Any]:
            seconds = _fault_in(size, self.threads) if self.faults else 0.0
            if self.decoding is not None:
                for name in names:
                    command = [str(program), self.decoding, str(path), name, str(self.threads)]
                    seconds += float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            return [seconds]

        return read


def _fault_in(size: int, threads: int) -> float:
    """Time writing to fresh memory, on several threads."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(abs, range(threads)))
        start = perf_counter()
        memory = np.empty(size, np.uint8)
        share = -(-size // threads)
        # ctypes lets go of the GIL.
        pieces = [memory[at : at + share] for at in range(0, size, share)]
        list(pool.map(lambda piece: ctypes.memset(piece.ctypes.data, 1, piece.size), pieces))
        return perf_counter() - start


def _timed(read: Read) -> tuple[list[Any], float]:
    """Read, and tell how many seconds that took."""
    start = perf_counter()
    results = read()
    return results, perf_counter() - start


def _is_dense(path: Path) -> bool:
    """Whether this is a file with the dense array in it."""
    return "-dense-" in path.name


def _factor(rows: int, columns: int) -> Any:
    """Make what matrices are multiplied with: whole numbers, whose products are the same bits in any order."""
    return np.random.default_rng([SEED, rows, columns]).integers(-8, 9, (rows, columns)).astype(np.float64)


def _one_list(selection: Selection) -> tuple[Selection, Selection | None]:
    """Split a selection in one that h5py takes, with at most one list, and the rest, for numpy."""
    lists = [axis for axis, index in enumerate(selection) if not isinstance(index, slice)]
    if len(lists) < 2:
        return selection, None
    first = tuple(index if axis not in lists[1:] else slice(None) for axis, index in enumerate(selection))
    rest = tuple(index if axis in lists[1:] else slice(None) for axis, index in enumerate(selection))
    return first, rest


def _slices(selection: Selection, shape: Sequence[int]) -> list[tuple[slice, int]]:
    """Pair the slices of a selection with the extents of their axes."""
    slices = [(index, extent) for index, extent in zip(selection, shape, strict=True) if isinstance(index, slice)]
    if len(slices) != len(selection):
        raise NotImplementedError("only slices")
    return slices


def _subset(selection: Selection, shape: Sequence[int]) -> tuple[Sequence[int], ...]:
    """Say a selection in delayedarray's words."""
    return tuple(
        range(*index.indices(extent)) if isinstance(index, slice) else index
        for index, extent in zip(selection, shape, strict=True)
    )


def _array(index: Index) -> Any:
    return index if isinstance(index, slice) else np.asarray(index)


def _is_all(index: Any) -> bool:
    return isinstance(index, slice) and index == slice(None)


PEERS: dict[str, type[Peer]] = {
    OURS: Filebackedarray,
    H5PY: H5py,
    HDF5ARRAY: Hdf5array,
    HIDEFIX: Hidefix,
    ANNDATA: Anndata,
    DELAYED: Delayed,
    **{
        name: type(f"Zarrs_{codec}", (Zarrs,), {"codec": codec}) for name, codec in zip(ZARRS, ZARR_CODECS, strict=True)
    },
    OURS_ON_ONE: OnOneThread,
    OURS_ONE_BY_ONE: OneByOne,
    **{
        name: type(f"Limit_{number}", (Limit,), {"decoding": decoding, "faults": faults})
        for number, (name, (decoding, faults)) in enumerate(
            zip(LIMITS, (("decode", True), ("decode", False), ("inflate", False), (None, True)), strict=True)
        )
    },
}
