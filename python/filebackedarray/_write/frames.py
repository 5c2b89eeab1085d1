"""Tables of annotations, whoever made them, as columns that a writer can store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import numpy.typing

__all__ = ["Categorical", "Column", "Frame", "Nullable", "column_of", "frame_of", "names_of"]

Array = numpy.typing.NDArray[Any]


@dataclass(frozen=True)
class Categorical:
    """Values that are few different ones.

    Attributes:
        codes: Position of each value in ``categories``; -1 where it is missing.
        categories: The different values: strings or numbers.
        ordered: Whether their order means something.
    """

    codes: Array
    categories: Array
    ordered: bool


@dataclass(frozen=True)
class Nullable:
    """Integers or booleans of which some are missing.

    Attributes:
        values: All values; what stands where one is missing means nothing.
        mask: Whether each is missing.
    """

    values: Array
    mask: Array


Column = Array | Categorical | Nullable
"""Numbers, booleans, or strings (as objects of type ``str``); or one of the two classes."""


@dataclass(frozen=True)
class Frame:
    """A table.

    Attributes:
        index: Names of its rows; None if whoever made it gave none.
        columns: Columns by their names, in their order.
        index_name: How the index is called, if it has a name.
    """

    index: Array | None
    columns: dict[str, Column]
    index_name: str | None = None


def frame_of(table: Any, extent: int, where: str) -> Frame:
    """Take a table apart.

    Args:
        table: A mapping of columns, a pandas or polars data frame, a BiocFrame, or None for a table without columns.
        extent: How many rows it should have.
        where: What it is called in errors.

    Raises:
        TypeError: If it is no table, or a column is of a kind that cannot be stored.
        ValueError: If a column is of another length, or a name is not a string, is there twice, or has a slash.
    """
    index, index_name = None, None
    if table is None:
        names: list[Any] = []
    elif isinstance(table, Mapping):
        names = list(table)
    elif hasattr(table, "get_column_names") and hasattr(table, "get_row_names"):  # BiocFrame
        names, index = list(table.get_column_names()), table.get_row_names()
    elif hasattr(table, "columns") and hasattr(table, "__getitem__"):  # pandas, polars
        names = list(table.columns)
        labels = getattr(table, "index", None)
        if labels is not None:
            index = labels
            index_name = labels.name if isinstance(labels.name, str) else None
    else:
        raise TypeError(
            f"{where} should be a mapping of columns, a pandas or polars data frame or a BiocFrame, not a"
            f" {type(table).__name__}"
        )
    columns: dict[str, Column] = {}
    for name in names:
        check_key(name, where)
        if name in columns:
            raise ValueError(f"{where} has two columns {name!r}")
        column = table.get_column(name) if hasattr(table, "get_column_names") else table[name]
        columns[name] = column_of(column, extent, f"column {name!r} of {where}")
    labels = None if index is None else names_of(index, extent, f"the row names of {where}")
    return Frame(labels, columns, index_name)


def check_key(name: Any, where: str) -> None:
    """Refuse what cannot be the name of a member of a group."""
    if not isinstance(name, str):
        raise ValueError(f"{where} has the name {name!r}, which is no string")
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError(f"{where} has the name {name!r}: names in an HDF5 file are not empty and have no '/'")


def names_of(names: Any, extent: int, where: str) -> Array:
    """Names along an axis, as an array of objects of type ``str``.

    Args:
        names: A sequence of strings; numbers become what ``str`` makes of them.
        extent: How many there should be.
        where: What they are called in errors.

    Raises:
        ValueError: If they are another number, or one is missing.
        TypeError: If one is something else.
    """
    values = _objects(names)
    if len(values) != extent:
        raise ValueError(f"{where}: there are {len(values)} names for an axis of extent {extent}")
    made = numpy.empty(extent, object)
    for number, value in enumerate(values):
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        if isinstance(value, numpy.generic):
            value = value.item()
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise TypeError(f"{where}: name {number} is {value!r}, not a string")
        made[number] = str(value)
    return made


def axis_names(given: Any, frame: Array | None, x: Any, axis: int, extent: int, where: str) -> Array:
    """Names along an axis: those that were given, or else the table's, or the array's own, or numbers."""
    if given is None:
        given = frame
    if given is None:
        given = getattr(x, ("row_names", "column_names")[axis], None)
    return names_of(range(extent) if given is None else given, extent, where)


def check_unique(names: Array, where: str) -> None:
    """Refuse names that are there twice, of which readers make something else."""
    found, counts = numpy.unique(names.astype(numpy.str_), return_counts=True) if len(names) else (names, names)
    if len(found) != len(names):
        raise ValueError(f"{where} are there more than once: {found[counts > 1][:3].tolist()}; make them unique first")


def check_layers(layers: Mapping[str, Any] | None, x: Any) -> None:
    """Refuse matrices that are not of the shape of the first one, or that have no name in a file."""
    for name, layer in (layers or {}).items():
        check_key(name, "'layers'")
        if tuple(layer.shape) != tuple(x.shape):
            raise ValueError(f"layer {name!r} is of shape {tuple(layer.shape)}, and 'x' of {tuple(x.shape)}")


def _objects(values: Any) -> list[Any]:
    if isinstance(values, str | bytes):
        raise TypeError(f"a sequence of strings is needed, not the one string {values!r}")
    return list(values.tolist() if hasattr(values, "tolist") else values)


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, pandas' NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def column_of(column: Any, extent: int, where: str) -> Column:
    """A column in a form that can be stored.

    Args:
        column: An array, a pandas or polars series, a biocutils ``Factor``, or a sequence.
        extent: How many values it should have.
        where: What it is called in errors.

    Raises:
        TypeError: If its values are of a kind that cannot be stored.
        ValueError: If it is of another length.
    """
    made = _column(column, where)
    length = len(made.codes if isinstance(made, Categorical) else made.values if isinstance(made, Nullable) else made)
    if length != extent:
        raise ValueError(f"{where} has {length} values, where there should be {extent}")
    return made


def _column(column: Any, where: str) -> Column:
    if hasattr(column, "get_codes") and hasattr(column, "get_levels"):  # biocutils.Factor
        codes = numpy.ma.filled(numpy.ma.asarray(column.get_codes()), -1)
        return _categorical(codes, _objects(column.get_levels()), bool(column.get_ordered()), where)
    values = getattr(column, "array", column)  # that of a pandas series
    if hasattr(values, "codes") and hasattr(values, "categories"):
        return _categorical(numpy.asarray(values.codes), _objects(values.categories), bool(values.ordered), where)
    if hasattr(values, "_mask") and hasattr(values, "isna"):  # pandas' nullable arrays
        missing, data = numpy.asarray(values.isna()), values._data
        if data.dtype.kind == "f":
            return numpy.where(missing, numpy.nan, data).astype(data.dtype)
        return Nullable(numpy.where(missing, data.dtype.type(0), data), missing) if missing.any() else data.copy()
    if isinstance(values, numpy.ma.MaskedArray):
        missing = numpy.ma.getmaskarray(values)
        if values.dtype.kind in "iub" and values.ndim == 1:
            return Nullable(values.filled(0), missing) if missing.any() else values.data
        if values.dtype.kind == "f":
            return values.filled(numpy.nan)
        values = [None if gone else value for value, gone in zip(values.tolist(), missing, strict=True)]
    if type(column).__module__.startswith("polars"):
        values = column.to_list()
    array = _array(values)
    if array.ndim != 1:
        raise TypeError(f"{where} has {array.ndim} dimensions, where a column has one")
    if array.dtype.kind in "iub" or (array.dtype.kind == "f" and array.dtype.itemsize <= 8):
        return array
    if array.dtype.kind in "US":
        array = array.astype(numpy.str_).astype(object)
    if array.dtype.kind == "O":
        return _of_objects(array.tolist(), where)
    raise TypeError(
        f"{where} is of dtype {array.dtype}, which this format does not store; convert it to numbers or strings first"
    )


def _array(values: Any) -> Array:
    if isinstance(values, numpy.ndarray):
        return values
    if hasattr(values, "to_numpy"):
        return numpy.asarray(values.to_numpy())
    objects = list(values)
    # NumPy would make strings of numbers that stand beside strings.
    if any(isinstance(value, str | bytes) or is_missing(value) for value in objects):
        made = numpy.empty(len(objects), object)
        made[:] = objects
        return made
    return numpy.asarray(objects) if objects else numpy.empty(0, numpy.float64)


def _of_objects(values: Sequence[Any], where: str) -> Column:
    """Strings, or Python's own numbers, of which some may be missing."""
    missing = numpy.fromiter((is_missing(value) for value in values), bool, len(values))
    present = [value for value, gone in zip(values, missing, strict=True) if not gone]
    if all(isinstance(value, str) for value in present):
        if missing.any():
            # Readers before anndata 0.11 know no missing strings, but all know missing categories.
            levels, codes = numpy.unique(numpy.array(present, numpy.str_), return_inverse=True)
            all_codes = numpy.full(len(values), -1, numpy.int64)
            all_codes[~missing] = codes
            return _categorical(all_codes, levels.tolist(), False, where)
        made = numpy.empty(len(values), object)
        made[:] = [str(value) for value in values]
        return made
    truths = [isinstance(value, bool | numpy.bool_) for value in present]
    if all(truths) or (not any(truths) and all(isinstance(value, int | numpy.integer) for value in present)):
        fill = False if all(truths) else 0
        filled = numpy.array([fill if gone else value for value, gone in zip(values, missing, strict=True)])
        return Nullable(filled, missing) if missing.any() else filled
    if all(isinstance(value, int | float | numpy.integer | numpy.floating) for value in present):
        return numpy.array([numpy.nan if gone else value for value, gone in zip(values, missing, strict=True)], float)
    odd = next(value for value in present if not isinstance(value, str))
    raise TypeError(
        f"{where} has values such as {odd!r} of type {type(odd).__name__}, which this format does not store; convert"
        " them to numbers or strings first"
    )


def _categorical(codes: Array, categories: list[Any], ordered: bool, where: str) -> Categorical:
    levels = _column(categories, f"the categories of {where}")
    if not isinstance(levels, numpy.ndarray):
        raise TypeError(f"the categories of {where} have missing values")
    if codes.size and (int(codes.max()) >= len(levels) or int(codes.min()) < -1):
        raise ValueError(f"{where} has codes that are no positions in its {len(levels)} categories")
    # As pandas chooses.
    dtype = next(
        kind for kind in (numpy.int8, numpy.int16, numpy.int32, numpy.int64) if len(levels) <= numpy.iinfo(kind).max
    )
    return Categorical(codes.astype(dtype), levels, ordered)
