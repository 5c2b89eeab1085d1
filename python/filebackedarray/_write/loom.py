"""Files of loom."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import numpy.typing

from .. import _core
from .._engine.snapshot import bound
from .._formats.openers import LoomMatrix
from .._show.progress import Progress
from .files import Compression
from .frames import Array, Categorical, Nullable, axis_names, check_key, check_layers, check_unique, column_of
from .narrowing import Casting
from .target import Settings, Target

__all__ = ["write_loom"]


def write_loom(
    x: Any,
    path: str | os.PathLike[str],
    *,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    row_attributes: Mapping[str, Any] | None = None,
    column_attributes: Mapping[str, Any] | None = None,
    layers: Mapping[str, Any] | None = None,
    compression: Compression = "gzip",
    level: int | None = None,
    shuffle: bool = True,
    chunks: Any = None,
    dtype: numpy.typing.DTypeLike | None = None,
    casting: Casting = "exact",
    overwrite: bool = False,
    progress: Progress = False,
    memory: int | None = None,
) -> LoomMatrix:
    """Write a matrix as a loom file, of version 3.0.0 of the format.

    See https://linnarssonlab.org/loompy/format/index.html.

    Args:
        x: The matrix, of any kind that :py:func:`write_array` takes: features in rows, cells in columns. The format is
            dense.
        path: Path to the file.
        row_names: Names of the features, the attribute "Gene". Defaults to the names that ``x`` has.
        column_names: Names of the cells, the attribute "CellID". Defaults to the names that ``x`` has.
        row_attributes: More attributes of the features: arrays of numbers or strings, by name. Booleans become
            numbers, as the format has it.
        column_attributes: More attributes of the cells.
        layers: More matrices of the shape of ``x``, by name.
        compression: See :py:func:`write_array`, as for all that follows.
        level: How hard the compression tries.
        shuffle: Whether to sort the bytes of the values by their place before compressing.
        chunks: Shape of a chunk.
        dtype: NumPy type of the values of ``x`` in the file. Defaults to that of ``x``.
        casting: Whether a value that ``dtype`` does not have is an error ("exact"), or is converted as numpy does
            ("unsafe").
        overwrite: Whether to replace a file that exists.
        progress: Whether to show a progress bar.
        memory: Bytes of incomplete chunks that may wait in memory.

    Returns:
        The :py:class:`LoomMatrix` of the file.

    Raises:
        FileExistsError: If there is a file and ``overwrite`` is false.
        ValueError: If the matrix is empty, which the format does not allow; if names or attributes do not go with its
            shape; or a name has a slash or is there twice.
        TypeError: If a value is of a kind that the format does not store.
        OSError: If the file cannot be written. What was there before is as it was.
    """
    if len(x.shape) != 2 or 0 in x.shape:
        raise ValueError(f"a loom file holds a matrix that is not empty, and the array is of shape {tuple(x.shape)}")
    attributes: list[tuple[str, dict[str, Array]]] = []
    state = _core.Snapshot()
    for axis, given, more, called, argument, group in (
        (0, row_names, row_attributes, "Gene", "row_names", "row_attrs"),
        (1, column_names, column_attributes, "CellID", "column_names", "col_attrs"),
    ):
        extent, found = int(x.shape[axis]), {}
        for name, values in (more or {}).items():
            check_key(name, f"'{('row', 'column')[axis]}_attributes'")
            found[name] = _attribute(values, extent, f"attribute {name!r}")
        if given is not None or called not in found:
            with bound(state):
                names = axis_names(given, None, x, axis, extent, f"'{argument}'")
            check_unique(names, f"'{argument}'")
            found = {called: names, **{name: values for name, values in found.items() if name != called}}
        attributes.append((group, found))
    check_layers(layers, x)
    settings = Settings(compression, level, shuffle, chunks, casting, progress, memory)
    with Target(path, settings, overwrite=overwrite, state=state) as target:
        target.group("attrs")
        target.strings("attrs/LOOM_SPEC_VERSION", "3.0.0")
        for group in ("layers", "row_attrs", "col_attrs", "row_graphs", "col_graphs"):
            target.group(group)
        target.dense("matrix", x, dtype=_number(x if dtype is None else dtype), chunks=chunks)
        for name, layer in (layers or {}).items():
            target.dense(f"layers/{name}", layer, dtype=_number(layer), chunks=chunks)
        for group, found in attributes:
            for name, values in found.items():
                if values.dtype.kind == "O":
                    target.strings(f"{group}/{name}", values)
                else:
                    target.array(f"{group}/{name}", numpy.ascontiguousarray(values))
    return LoomMatrix(path)


def _number(of: Any) -> numpy.dtype[Any]:
    dtype = numpy.dtype(getattr(of, "dtype", of))
    return numpy.dtype(numpy.uint8) if dtype.kind == "b" else dtype


def _attribute(values: Any, extent: int, where: str) -> Array:
    """An attribute as the format stores it: numbers, or strings."""
    if isinstance(values, numpy.ndarray) and values.ndim > 1:
        if values.dtype.kind not in "iufb" or values.shape[0] != extent:
            raise ValueError(f"{where} should have {extent} rows of numbers")
        return values.astype(_number(values), copy=False)
    column = column_of(values, extent, where)
    if isinstance(column, Nullable):
        raise TypeError(f"{where} has missing values, which the format does not have; fill them in first")
    if isinstance(column, Categorical):
        if (column.codes < 0).any():
            raise TypeError(f"{where} has missing values, which the format does not have; fill them in first")
        column = column.categories[column.codes]
    return column.astype(numpy.uint8) if column.dtype.kind == "b" else column
