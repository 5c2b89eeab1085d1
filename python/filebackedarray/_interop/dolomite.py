"""Saving arrays with dolomite, in takane's formats (https://artifactdb.github.io/takane), by our writer.

Imported once dolomite_base is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dolomite_base
import numpy
from delayedarray import DelayedArray, is_sparse

from .._compute.arguments import has_mask
from .._engine.snapshot import bound
from .._write.dense import put_array
from .._write.files import NewFile, Options
from .._write.sources import source_of
from .._write.sparse import put_sparse
from ..FileBackedArray import FileBackedArray

__all__ = ["save"]

_TYPES = {"b": "boolean", "i": "integer", "u": "integer", "f": "number"}


@dolomite_base.save_object.register  # type: ignore[untyped-decorator]
@dolomite_base.validate_saves  # type: ignore[untyped-decorator]
def save(x: FileBackedArray, path: str, **kwargs: Any) -> None:
    """Save an array into a directory: a ``dense_array``, or a ``compressed_sparse_matrix`` if it is sparse.

    Args:
        x: The array. It is read block by block.
        path: The directory, which is made.
        kwargs: What other methods of the generic take.

    Raises:
        FileExistsError: If there is something at ``path``.
        OSError: If it cannot be written.
    """
    dtype = numpy.dtype(x.dtype)
    if dtype.kind not in _TYPES or has_mask(x.seed) or 0 in x.shape:
        # dolomite's own choice of how missing values and strings are stored.
        import dolomite_matrix  # noqa: F401 (for what it registers)

        dolomite_base.save_object.dispatch(DelayedArray)(x, path, **kwargs)
        return
    sparse = len(x.shape) == 2 and bool(is_sparse(x))
    os.mkdir(path)  # noqa: PTH102 (as dolomite does)
    try:
        _write(x, path, sparse, _stored(dtype), _TYPES[dtype.kind])
    except ValueError:
        if dtype.kind not in "iu" or dtype.itemsize < 4:
            raise
        # Integers that do not fit into 32 bits are numbers to takane.
        _write(x, path, sparse, numpy.dtype(numpy.float64), "number")
    kind = "compressed_sparse_matrix" if sparse else "dense_array"
    dolomite_base.save_object_file(path, kind, {kind: {"version": "1.0"}})


def _stored(dtype: numpy.dtype[Any]) -> numpy.dtype[Any]:
    """The type in the file: integers have 32 bits at most and a sign, booleans are integers."""
    if dtype.kind == "b":
        return numpy.dtype(numpy.int8)
    if dtype.kind in "iu" and (dtype.itemsize > 4 or dtype == numpy.uint32):
        return numpy.dtype(numpy.int32)
    return dtype.newbyteorder("<")


def _write(x: FileBackedArray, path: str, sparse: bool, dtype: numpy.dtype[Any], kind: str) -> None:
    with bound() as state:
        node = source_of(x)
    options = Options()
    name = "compressed_sparse_matrix" if sparse else "dense_array"
    with NewFile(Path(path) / ("matrix.h5" if sparse else "array.h5"), "w") as file, bound(state):
        file.group(name)
        if not sparse:
            file.attributes(name, type=kind, transposed=numpy.int8(1))
            put_array(file, f"{name}/data", node, options, native_order=False, dtype=dtype)
            return
        put_sparse(
            file,
            name,
            node,
            options,
            by_column=True,
            dtype=dtype,
            index_dtype=numpy.uint32,
            pointer_dtype=numpy.uint64,
        )
        file.attributes(name, type=kind, layout="CSC")
        file.dataset(f"{name}/shape", numpy.array(node.shape, numpy.uint64))
