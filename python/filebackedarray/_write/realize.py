"""Delayed arrays computed once into a file."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from ..Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix
from ..Hdf5DenseArraySeed import Hdf5DenseArray
from .dense import write_array
from .sources import source_of
from .sparse import write_sparse

__all__ = ["realize"]


def realize(
    x: Any,
    path: str | os.PathLike[str] | None = None,
    name: str = "data",
    *,
    sparse: bool | None = None,
    **options: Any,
) -> Hdf5DenseArray | Hdf5CompressedSparseMatrix:
    """Compute a delayed array once, into a file.

    Args:
        x:
            A delayed array, or anything else that :py:func:`write_array` takes.

        path:
            Path to the HDF5 file, which is made or added to. If not given, a temporary file, in the folder for such
            (``TMPDIR``), which is removed when the array is no longer used or the process ends.

        name:
            Name of the dataset or group.

        sparse:
            Whether the file has a sparse matrix; as ``x`` is if not given.

        **options:
            Of :py:func:`write_array` or :py:func:`write_sparse`, as the array is.

    Returns:
        The array in the file, sparse if ``x`` is.

    Raises:
        OSError, ValueError, TypeError, KeyboardInterrupt: As :py:func:`write_array` and :py:func:`write_sparse`.
    """
    node = source_of(x)
    write = write_sparse if (node.sparse if sparse is None else sparse) else write_array
    if path is not None:
        return write(x, path, name, **options)
    folder = tempfile.mkdtemp(prefix="filebackedarray-")
    try:
        array = write(x, Path(folder) / "array.h5", name, **options)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # What is made of the array has its seed.
    weakref.finalize(array.seed, shutil.rmtree, folder, ignore_errors=True)
    return array
