"""HDF5 datasets and compressed sparse matrices as delayed arrays, read by a parallel engine in Rust."""

import os as _os
import warnings as _warnings
from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from . import _core
from ._core import get_num_threads, set_cache_budget, set_num_threads
from ._delayed import FileBackedArray
from ._products import as_linear_operator
from ._summarize import QualityControl, Statistics, quality_control, summarize
from .Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from .Hdf5DenseArraySeed import Hdf5DenseArray, Hdf5DenseArraySeed
from .Hdf5DualSparseMatrixSeed import Hdf5DualSparseMatrix, Hdf5DualSparseMatrixSeed
from .ReshapedHdf5ArraySeed import ReshapedHdf5Array, ReshapedHdf5ArraySeed

try:
    __version__ = _version("filebackedarray")
except _PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "FileBackedArray",
    "Hdf5CompressedSparseMatrix",
    "Hdf5CompressedSparseMatrixSeed",
    "Hdf5DenseArray",
    "Hdf5DenseArraySeed",
    "Hdf5DualSparseMatrix",
    "Hdf5DualSparseMatrixSeed",
    "QualityControl",
    "ReshapedHdf5Array",
    "ReshapedHdf5ArraySeed",
    "Statistics",
    "__version__",
    "as_linear_operator",
    "get_num_threads",
    "quality_control",
    "set_cache_budget",
    "set_num_threads",
    "summarize",
]

if not _core.OPTIMISED:
    _warnings.warn(
        "filebackedarray was built without optimisation and is many times slower than it should be;"
        " build it with 'pip install .' or 'maturin develop --release'",
        RuntimeWarning,
        stacklevel=2,
    )

if hasattr(_os, "register_at_fork"):
    # A child process must find no lock held by a thread that it does not have.
    _os.register_at_fork(
        before=_core.before_fork,
        after_in_parent=_core.after_fork,
        after_in_child=_core.after_fork,
    )
