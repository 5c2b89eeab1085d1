"""The packages that are compared: how each one reads each kind of work.

Each class is one peer. It imports its package when it is made, in a process of its own, because
the packages bring different copies of libhdf5. Its public methods are named after ``Work.kind``:
given a file, they open what may stay open between reads and return a function without arguments
that does one read and returns the result.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from sizes import DENSE_DATASET, SPARSE_GROUP, Size, pick

Read = Callable[[], Any]


class H5py:
    """h5py, with scipy to make a sparse matrix of what it read."""

    name: ClassVar[str] = "h5py"

    def __init__(self, size: Size, threads: int) -> None:
        """Import the package.

        Args:
            size: Size of the files.
            threads: Number of threads; h5py reads on one whatever this says.
        """
        import h5py
        import scipy.sparse

        self._h5py = h5py
        self._sparse = scipy.sparse

    def versions(self) -> dict[str, str]:
        """Name the versions of what is measured."""
        return {
            "h5py": version("h5py"),
            "h5py's libhdf5": self._h5py.version.hdf5_version,
            "scipy": version("scipy"),
        }

    def dense_full(self, path: Path) -> Read:
        """Read a dense dataset whole."""

        def read() -> Any:
            with self._h5py.File(path, "r") as file:
                return file[DENSE_DATASET][...]

        return read

    def sparse_full(self, path: Path) -> Read:
        """Load a sparse matrix whole."""

        def read() -> Any:
            with self._h5py.File(path, "r") as file:
                group = file[SPARSE_GROUP]
                parts = (group["data"][...], group["indices"][...], group["indptr"][...])
                return self._sparse.csc_matrix(parts, shape=tuple(group["shape"][...]))

        return read


class Hdf5array:
    """hdf5array, through delayedarray's generics."""

    name: ClassVar[str] = "hdf5array"

    def __init__(self, size: Size, threads: int) -> None:
        """Import the package.

        Args:
            size: Size of the files.
            threads: Number of threads; hdf5array reads on one whatever this says.
        """
        import delayedarray

        self._delayedarray = delayedarray
        self._package = importlib.import_module(self.name)
        self._size = size

    def versions(self) -> dict[str, str]:
        """Name the versions of what is measured."""
        return {name: version(name) for name in (self.name, "delayedarray", "numpy")}

    def dense_full(self, path: Path) -> Read:
        """Read a dense dataset whole."""
        array = self._dense(path)
        subset = tuple(range(extent) for extent in array.shape)
        return lambda: self._delayedarray.extract_dense_array(array, subset)

    def dense_rows(self, path: Path) -> Read:
        """Read random rows of a dense dataset."""
        array = self._dense(path)
        subset = (pick(array.shape[0], self._size.picks), range(array.shape[1]))
        return lambda: self._delayedarray.extract_dense_array(array, subset)

    def sparse_full(self, path: Path) -> Read:
        """Load a sparse matrix whole."""
        array = self._sparse(path)
        return lambda: self._delayedarray.to_scipy_sparse_matrix(array, "csc")

    def sparse_columns(self, path: Path) -> Read:
        """Read random columns of a sparse matrix that is stored by column."""
        array = self._sparse(path)
        subset = (range(array.shape[0]), pick(array.shape[1], self._size.picks))
        return lambda: self._delayedarray.extract_sparse_array(array, subset)

    def sparse_rows(self, path: Path) -> Read:
        """Read random rows of a sparse matrix that is stored by column."""
        array = self._sparse(path)
        subset = (pick(array.shape[0], self._size.picks), range(array.shape[1]))
        return lambda: self._delayedarray.extract_sparse_array(array, subset)

    def _dense(self, path: Path) -> Any:
        return self._package.Hdf5DenseArray(str(path), DENSE_DATASET, native_order=True)

    def _sparse(self, path: Path) -> Any:
        shape = (self._size.genes, self._size.cells)
        return self._package.Hdf5CompressedSparseMatrix(str(path), SPARSE_GROUP, shape=shape, by_column=True)


class Filebackedarray(Hdf5array):
    """This package: called exactly as hdf5array is, on a stated number of threads."""

    name: ClassVar[str] = "filebackedarray"

    def __init__(self, size: Size, threads: int) -> None:
        """Import the package and set its number of threads.

        Args:
            size: Size of the files.
            threads: Number of threads to read on.

        Raises:
            RuntimeError: The package uses another number of threads than it was told to.
        """
        super().__init__(size, threads)
        self._package.set_num_threads(threads)
        if self._package.get_num_threads() != threads:
            raise RuntimeError(f"asked for {threads} threads, which the package did not take")


OURS = Filebackedarray.name
PEERS: dict[str, type[H5py | Hdf5array]] = {peer.name: peer for peer in (Filebackedarray, H5py, Hdf5array)}


def peers_of(kind: str) -> list[str]:
    """List who takes part in a kind of work.

    Args:
        kind: A ``Work.kind``.

    Returns:
        Names of the peers that can do it, this package first.
    """
    return [name for name, peer in PEERS.items() if hasattr(peer, kind)]
