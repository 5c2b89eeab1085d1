"""AnnData objects: all that is small by anndata's own writer, matrices by ours."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import scipy.sparse
from delayedarray import DelayedArray, is_sparse

from .._engine.contents import members
from .._show.progress import Progress
from ..Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix
from .annotations import encode
from .files import Compression
from .target import Settings, Target

__all__ = ["write_anndata"]

_SMALL = 1 << 16
"""Maximum number of elements of a dense array that is left to anndata's writer: it takes no time there."""


def write_anndata(
    adata: Any,
    path: str | os.PathLike[str],
    *,
    compression: Compression = "gzip",
    level: int | None = None,
    shuffle: bool = True,
    chunks: int | None = None,
    overwrite: bool = True,
    progress: Progress = False,
    memory: int | None = None,
) -> None:
    """Write an AnnData object as ``adata.write_h5ad(path, compression="gzip")`` does, on all cores.

    What is in the file is the same, element by element; only chunks and compressed bytes differ. The file is whole or
    as it was before, whatever happens meanwhile; it may be the one that ``adata`` is backed by, or that a lazy matrix
    in it reads. An object that is backed by the file which is replaced goes on to read what it was.

    Args:
        adata: The object. ``X``, layers and the like may be arrays, SciPy's matrices, backed, Dask's, or ours.
        path: Path to the file.
        compression: See :py:func:`write_array`, as for all that follows.
        level: How hard the compression tries.
        shuffle: Whether to sort the bytes of the values by their place before compressing.
        chunks: Number of stored elements of a sparse matrix in a chunk.
        overwrite: Whether to replace a file that exists.
        progress: Whether to show a progress bar.
        memory: Bytes of incomplete chunks that may wait in memory.

    Raises:
        ImportError: If anndata is not installed.
        FileExistsError: If there is a file and ``overwrite`` is false.
        TypeError: If ``adata`` is no AnnData object, or has something that anndata does not write.
        OSError: If the file cannot be written. What was there before is as it was.
    """
    import anndata

    if not isinstance(adata, anndata.AnnData):
        raise TypeError(f"'adata' should be an AnnData object, not a {type(adata).__name__}")
    large: dict[str, Any] = {}
    skeleton = anndata.AnnData(obs=adata.obs.copy(), var=adata.var.copy(), uns=dict(adata.uns))
    for name in ("obsm", "varm", "obsp", "varp", "layers"):
        for key, value in _items(adata, name):
            if is_large(value):
                large[f"{name}/{key}"] = value
            else:
                getattr(skeleton, name)[key] = value
    if adata.X is not None:
        large["X"] = adata.X
    if adata.raw is not None:
        large["raw/X"] = adata.raw.X
        nothing = scipy.sparse.csr_matrix(adata.raw.shape, dtype=numpy.float32)
        raw = anndata.AnnData(nothing, obs=skeleton.obs, var=adata.raw.var.copy(), varm=dict(adata.raw.varm))
        skeleton.raw = raw
    settings = Settings(compression, level, shuffle, chunks, "exact", progress, memory)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.h5ad"
        skeleton.write_h5ad(small, compression="gzip" if compression else None)
        with Target(path, settings, overwrite=overwrite, matrices=len(large)) as target:
            encode(target, "/", "anndata", "0.1.0")
            for name in members(small, "/"):
                target.copy(small, name)
            for name, value in large.items():
                target.replace(name)
                _write_matrix(target, name, value)


def _items(adata: Any, name: str) -> Iterator[tuple[str, Any]]:
    mapping: Mapping[str, Any] = getattr(adata, name)
    for key in mapping:
        yield key, mapping[key]


def is_large(value: Any) -> bool:
    """Whether an element is written by us: matrices of numbers, in memory, backed or lazy."""
    if isinstance(value, numpy.ndarray):
        return value.dtype.kind in "iufb" and value.size > _SMALL
    return scipy.sparse.issparse(value) or _backed_sparse(value) or _lazy(value)


def _lazy(value: Any) -> bool:
    """Arrays that are no tables: Dask's, h5py's, delayed ones."""
    dtype = getattr(value, "dtype", None)
    return isinstance(dtype, numpy.dtype) and len(getattr(value, "shape", ())) > 0


def _backed_sparse(value: Any) -> bool:
    return hasattr(value, "to_memory") and hasattr(value, "format") and hasattr(value, "group")


def _write_matrix(target: Target, name: str, value: Any) -> None:
    layout = _layout(value)
    if layout is None:
        target.dense(name, value)
        encode(target, name, "array", "0.2.0")
        return
    if layout not in ("csr", "csc"):
        raise TypeError(f"{name} is a sparse matrix of the format {layout!r}, and h5ad files hold 'csr' and 'csc'")
    is_backed = _backed_sparse(value)
    indices, pointers = (value._indices, value._indptr) if is_backed else (None, None)
    if scipy.sparse.issparse(value):
        indices, pointers = value.indices, value.indptr
    target.sparse(
        name,
        _opened(value) if is_backed else value,
        by_column=layout == "csc",
        shape_as="attribute",
        index_dtype=None if indices is None else indices.dtype,
        pointer_dtype=numpy.int64 if pointers is None else pointers.dtype,
    )


def _layout(value: Any) -> str | None:
    """How a matrix is compressed; None if it is dense."""
    if isinstance(value, DelayedArray):
        if not is_sparse(value):
            return None
        return "csc" if getattr(value.seed, "by_column", False) else "csr"
    # A Dask array of sparse blocks has an empty one of them.
    layout: str | None = getattr(getattr(value, "_meta", value), "format", None)
    return layout


def _opened(value: Any) -> Any:
    """A matrix that is backed by a file, read by our engine where the file is not open for writing."""
    file = value.group.file
    if file.mode != "r":
        return value.to_memory()
    return Hdf5CompressedSparseMatrix(file.filename, value.group.name, value.shape, value.format == "csc")
