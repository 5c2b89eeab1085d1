"""HDF5 datasets and compressed sparse matrices as delayed arrays, read by a parallel engine in Rust."""

import os as _os
import warnings as _warnings
from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

from . import _core
from ._compute.products import as_linear_operator
from ._compute.summarize import QualityControl, Statistics, quality_control, summarize
from ._engine.threads import get_num_threads, limit_threads, set_cache_budget, set_num_threads
from ._formats.openers import H5adMatrix, LoomMatrix, TenxMatrix, open_array
from ._interop.anndata import to_anndata
from ._interop.hdf5array import accelerate, decelerate
from ._interop.imports import when_imported as _when_imported
from ._interop.memory_budget import get_memory_budget, set_memory_budget
from ._write.anndata import write_anndata
from ._write.dense import DenseSink, write_array
from ._write.h5ad import write_h5ad
from ._write.loom import write_loom
from ._write.realize import realize
from ._write.sparse import SparseSink, write_sparse
from ._write.tenx import write_tenx
from .FileBackedArray import FileBackedArray
from .Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from .Hdf5DenseArraySeed import Hdf5DenseArray, Hdf5DenseArraySeed
from .Hdf5DualSparseMatrixSeed import Hdf5DualSparseMatrix, Hdf5DualSparseMatrixSeed
from .ReshapedHdf5ArraySeed import ReshapedHdf5Array, ReshapedHdf5ArraySeed

try:
    __version__ = _version("filebackedarray")
except _PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "unknown"

# The plugins of hdf5plugin decode what libhdf5 and the engine do not, unless the user names others.
_plugins = None if "HDF5_PLUGIN_PATH" in _os.environ else _find_spec("hdf5plugin")
for _folder in (_plugins and _plugins.submodule_search_locations) or ():
    _core.add_plugins(_Path(_folder) / "plugins")

__all__ = [
    "DenseSink",
    "FileBackedArray",
    "H5adMatrix",
    "Hdf5CompressedSparseMatrix",
    "Hdf5CompressedSparseMatrixSeed",
    "Hdf5DenseArray",
    "Hdf5DenseArraySeed",
    "Hdf5DualSparseMatrix",
    "Hdf5DualSparseMatrixSeed",
    "LoomMatrix",
    "QualityControl",
    "ReshapedHdf5Array",
    "ReshapedHdf5ArraySeed",
    "SparseSink",
    "Statistics",
    "TenxMatrix",
    "__version__",
    "accelerate",
    "as_linear_operator",
    "decelerate",
    "get_memory_budget",
    "get_num_threads",
    "limit_threads",
    "open_array",
    "quality_control",
    "realize",
    "set_cache_budget",
    "set_memory_budget",
    "set_num_threads",
    "summarize",
    "to_anndata",
    "write_anndata",
    "write_array",
    "write_h5ad",
    "write_loom",
    "write_sparse",
    "write_tenx",
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

# As delayedarray does for scipy: a generic of a package that is installed gets its methods now, so that it does not
# matter which of the two is imported first. It takes 3 ms, and looking for one that is not installed 0.1 ms.
if _find_spec("mattress") is not None:
    try:
        from ._interop import mattress as _mattress  # noqa: F401 (for what it registers)
    except ImportError as _error:
        _warnings.warn(f"mattress is installed but cannot be imported: {_error}", RuntimeWarning, stacklevel=2)


def _register_with_dolomite() -> None:
    from ._interop import dolomite  # noqa: F401 (for what it registers)


_when_imported("dolomite_base", _register_with_dolomite)
