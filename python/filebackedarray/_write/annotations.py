"""Elements of anndata's file format, written into a file that is being made.

The encodings and their attributes are those of https://anndata.readthedocs.io/en/stable/fileformat-prose.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
import scipy.sparse

from .frames import Array, Categorical, Column, Frame, Nullable, check_key, column_of, frame_of, names_of
from .target import Target

__all__ = ["write_element", "write_frame", "write_mapping"]


def encode(target: Target, name: str, encoding: str, version: str) -> None:
    """Say how an object is encoded."""
    target.attributes(name, encoding_type=encoding, encoding_version=version)


def _vector(target: Target, name: str, values: Array) -> None:
    if values.dtype.kind == "O":
        target.strings(name, values)
        encode(target, name, "string-array", "0.2.0")
    else:
        target.array(name, values)
        encode(target, name, "array", "0.2.0")


def write_column(target: Target, name: str, column: Column) -> None:
    """Write one column of a data frame, or an array by itself."""
    if isinstance(column, Categorical):
        target.group(name)
        encode(target, name, "categorical", "0.2.0")
        target.attributes(name, ordered=numpy.bool_(column.ordered))
        _vector(target, f"{name}/categories", column.categories)
        _vector(target, f"{name}/codes", column.codes)
    elif isinstance(column, Nullable):
        target.group(name)
        boolean = column.values.dtype.kind == "b"
        encode(target, name, "nullable-boolean" if boolean else "nullable-integer", "0.1.0")
        _vector(target, f"{name}/values", column.values)
        _vector(target, f"{name}/mask", column.mask)
    else:
        _vector(target, name, column)


def write_frame(target: Target, name: str, frame: Frame, index: Array) -> None:
    """Write a data frame.

    Args:
        target: The file.
        name: Of the group.
        frame: Its columns.
        index: Names of its rows.

    Raises:
        ValueError: If a column is called as the index is.
    """
    called = frame.index_name or "_index"
    if called in frame.columns and frame.index_name is None:
        raise ValueError(f"{name!r} has a column '_index', which is what the names of its rows are called")
    if called in frame.columns:
        called = "_index"
    target.group(name)
    encode(target, name, "dataframe", "0.2.0")
    target.file.attribute(name, "_index", called)
    target.attributes(name, column_order=numpy.array(list(frame.columns), object))
    _vector(target, f"{name}/{called}", index)
    for column, values in frame.columns.items():
        write_column(target, f"{name}/{column}", values)


def write_mapping(target: Target, name: str, mapping: Mapping[str, Any] | None, where: str) -> None:
    """Write a group of named elements, such as ``uns``."""
    target.group(name)
    encode(target, name, "dict", "0.1.0")
    for key, value in (mapping or {}).items():
        check_key(key, where)
        write_element(target, f"{name}/{key}", value, f"{where}[{key!r}]")


def write_element(target: Target, name: str, value: Any, where: str) -> None:
    """Write a value of any kind that anndata reads back: scalars, strings, arrays, tables, and mappings of these.

    Args:
        target: The file.
        name: Where to write it.
        value: The value.
        where: What it is called in errors.

    Raises:
        TypeError: If it is of a kind that is not stored.
    """
    if value is None:
        target.null(name)
        encode(target, name, "null", "0.1.0")
    elif isinstance(value, Mapping):
        write_mapping(target, name, value, where)
    elif isinstance(value, str):
        target.strings(name, value)
        encode(target, name, "string", "0.2.0")
    elif isinstance(value, bool | int | float | complex | numpy.number | numpy.bool_):
        target.array(name, numpy.asarray(value))
        encode(target, name, "numeric-scalar", "0.2.0")
    elif scipy.sparse.issparse(value):
        target.sparse(name, value, by_column=value.format == "csc", shape_as="attribute")
    elif _is_frame(value):
        extent = len(value)
        frame = frame_of(value, extent, where)
        index = names_of(range(extent), extent, where) if frame.index is None else frame.index
        write_frame(target, name, frame, index)
    elif isinstance(value, numpy.ndarray) and value.dtype.kind in "iufbc":
        target.dense(name, value)
        encode(target, name, "array", "0.2.0")
    elif isinstance(value, numpy.ndarray) and value.dtype.kind in "US" and value.ndim != 1:
        target.strings(name, value)
        encode(target, name, "string-array", "0.2.0")
    elif isinstance(value, numpy.ndarray | list | tuple) or hasattr(value, "codes") or hasattr(value, "to_numpy"):
        write_column(target, name, column_of(value, len(value), where))
    elif hasattr(value, "shape") and hasattr(value, "dtype"):
        target.dense(name, value)
        encode(target, name, "array", "0.2.0")
    else:
        raise TypeError(
            f"{where} is a {type(value).__name__}, which h5ad files do not hold; they hold numbers, strings, arrays,"
            " tables and mappings of these"
        )


def _is_frame(value: Any) -> bool:
    return hasattr(value, "get_column_names") or (hasattr(value, "columns") and hasattr(value, "index"))
