"""HDF5 datasets and compressed sparse matrices as delayed arrays, read by a parallel engine in Rust."""

import os as _os
import warnings as _warnings
from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from . import _core
from ._core import get_num_threads, set_cache_budget, set_num_threads
from ._delayed import FileBackedArray
from ._openers import H5adMatrix, LoomMatrix, TenxMatrix, open_array
from ._products import as_linear_operator
from ._summarize import QualityControl, Statistics, quality_control, summarize
from .Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from .Hdf5DenseArraySeed import Hdf5DenseArray, Hdf5DenseArraySeed

try:
    __version__ = _version("filebackedarray")
except _PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "FileBackedArray",
    "H5adMatrix",
    "Hdf5CompressedSparseMatrix",
    "Hdf5CompressedSparseMatrixSeed",
    "Hdf5DenseArray",
    "Hdf5DenseArraySeed",
    "LoomMatrix",
    "QualityControl",
    "Statistics",
    "TenxMatrix",
    "__version__",
    "as_linear_operator",
    "get_num_threads",
    "open_array",
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
