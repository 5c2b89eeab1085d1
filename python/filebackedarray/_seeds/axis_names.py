"""Names of rows and columns, read from where each format keeps them when they are asked for."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy
import numpy.typing

from .._engine import contents, engine
from .._engine.names import engine_name, engine_path
from .._engine.snapshot import Operations

__all__ = ["AxisNames", "NamedArray", "NamedSeed", "r_dimnames"]

Strings = numpy.typing.NDArray[numpy.str_]


@dataclass(frozen=True)
class AxisNames:
    """Where the names along an axis are.

    Attributes:
        path: Path to the HDF5 file.
        kind: ``"vector"``, a dataset of strings; or ``"dataframe"``, of which the index is meant, as anndata
            stores it (https://anndata.readthedocs.io/en/stable/fileformat-prose.html).
        candidates: Names of datasets or groups, of which the first that exists is read.
        extent: How many names there should be.
        untrusted: Whether the file may have been made to do damage.
        otherwise: Where the names are if none of the candidates exists.
    """

    path: str | os.PathLike[str]
    kind: Literal["vector", "dataframe"]
    candidates: tuple[str, ...]
    extent: int
    untrusted: bool = False
    otherwise: AxisNames | None = None

    def read(self) -> Strings | None:
        """Read the names.

        Returns:
            An array of ``extent`` strings; an empty string where a name is missing. None if the file has no names.

        Raises:
            FileNotFoundError, OSError: If the file is gone or cannot be read.
            ValueError: If the names are another number than ``extent``, or are not where the file says.
            TypeError: If what stands in their place has no equivalent here.
        """
        reader = _Reader(self.path, self.untrusted)
        for name in self.candidates:
            found = reader.find(name)
            if found is None:
                continue
            names = reader.index(found) if self.kind == "dataframe" else reader.column(found)
            if names is not None and names.shape != (self.extent,):
                raise ValueError(
                    f"{engine_path(self.path)!r}, {name!r} has names of shape {names.shape} for an axis of extent"
                    f" {self.extent}"
                )
            return names
        return None if self.otherwise is None else self.otherwise.read()


class _Reader:
    """Strings of one file."""

    def __init__(self, path: str | os.PathLike[str], untrusted: bool) -> None:
        self._path, self._untrusted = path, untrusted

    def find(self, name: str) -> contents.Object | None:
        try:
            return contents.describe(self._path, name, untrusted=self._untrusted)
        except KeyError:
            return None

    def attributes(self, name: str, *wanted: str) -> dict[str, Any]:
        return contents.attributes(self._path, name, *wanted, untrusted=self._untrusted)

    def index(self, frame: contents.Object) -> Strings | None:
        """The index of a data frame: the first member of compounds, or the member that a group names."""
        if frame.kind == "dataset":
            if not frame.fields:
                return None
            first = frame.fields[0][0]
            return _as_text(contents.read_field(self._path, frame.name, first, untrusted=self._untrusted))
        named = self.attributes(frame.name, "_index").get("_index")
        # Which member it is has been said since anndata 0.7.
        for name in [named] if isinstance(named, str) else ["_index", "index"]:
            column = self.find(f"{frame.name}/{name}")
            if column is not None:
                return self.column(column)
        if isinstance(named, str):
            raise ValueError(
                f"{engine_path(self._path)!r}, {frame.name!r} has no member {named!r}, which its attribute '_index'"
                " names"
            )
        return None

    def column(self, column: contents.Object) -> Strings:
        """A vector of strings, in any of anndata's encodings."""
        name = column.name
        if column.kind == "dataset":
            # References to categories: anndata 0.7, as `cat.categories` of pandas.
            categories = self.attributes(name, "categories").get("categories")
            values = self._vector(column)
            if categories and column.dtype is not None and column.dtype.kind in "iu":
                return self._categorical(values, categories[0])
            return _as_text(values)
        parts = {
            part: found for part in ("codes", "categories", "values", "mask") if (found := self.find(f"{name}/{part}"))
        }
        if "codes" in parts and "categories" in parts:
            return self._categorical(self._vector(parts["codes"]), parts["categories"].name)
        if "values" in parts:
            values = self.column(parts["values"])
            missing = self._vector(parts["mask"]).astype(bool) if "mask" in parts else None
            return values if missing is None else numpy.where(missing, "", values)
        encoding = self.attributes(name, "encoding-type").get("encoding-type")
        raise TypeError(f"{engine_path(self._path)!r}, {name!r}: no strings are known in the encoding {encoding!r}")

    def _categorical(self, codes: numpy.typing.NDArray[Any], categories: str) -> Strings:
        found = self.find(categories)
        if found is None:
            raise ValueError(f"{engine_path(self._path)!r} has no categories {categories!r}")
        names = self.column(found)
        codes = codes.astype(numpy.int64)
        if codes.size and int(codes.max()) >= names.size:
            raise ValueError(
                f"{engine_path(self._path)!r} has code {int(codes.max())} of the {names.size} categories {categories!r}"
            )
        # A code of -1 is a missing value: the empty name at the end.
        picked: Strings = numpy.append(names, "")[numpy.maximum(codes, -1)]
        return picked

    def _vector(self, dataset: contents.Object) -> numpy.typing.NDArray[Any]:
        """A dataset of one dimension: strings as ``U``, numbers as they are."""
        where = f"{engine_path(self._path)!r}, {dataset.name!r}"
        if dataset.dtype is None or dataset.shape is None:
            raise TypeError(f"{where} holds no strings: {dataset.note or dataset.kind}")
        if len(dataset.shape) != 1:
            raise ValueError(f"{where} is of shape {dataset.shape}, where names are in one dimension")
        selection = [(0, dataset.shape[0], 1)]
        path, name, reader = engine_path(self._path), engine_name(dataset.name), engine(self._untrusted)
        if dataset.dtype.kind == "O":
            return _strings([_text(value) for value in reader.read_strings(path, name, selection)])
        values = numpy.empty(dataset.shape, dataset.dtype)
        reader.read_dense(path, name, selection, dataset.dtype.str, values)
        return _strings([_text(value) for value in values.tolist()]) if dataset.dtype.kind == "S" else values


def _as_text(values: numpy.typing.NDArray[Any]) -> Strings:
    """Names as pandas makes them of an index that is not of strings."""
    return values if values.dtype.kind == "U" else values.astype(numpy.str_)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


Seed = TypeVar("Seed", bound="NamedSeed")


class NamedSeed(Operations):
    """A seed whose rows and columns may have names."""

    _axis_names: tuple[AxisNames | None, ...] | None = None
    """Where the names along each axis are, if whoever made the seed knows the format."""

    def _names_of(self, axis: int) -> Strings | None:
        found = None if self._axis_names is None else self._axis_names[axis]
        return None if found is None else found.read()

    def _turned(self: Seed) -> Seed:
        """A copy that is to become the transpose: what is known of its axes has changed places."""
        other = copy.copy(self)
        if self._axis_names is not None:
            other._axis_names = self._axis_names[::-1]
        return other

    @property
    def row_names(self) -> Strings | None:
        """Names along the first dimension, read when they are asked for; None if the file has none.

        They are what the format of the file has, if :py:class:`~filebackedarray.TenxMatrix`,
        :py:class:`~filebackedarray.H5adMatrix`, :py:class:`~filebackedarray.LoomMatrix` or
        :py:func:`~filebackedarray.open_array` opened it; or those that R's HDF5Array attached to a dataset.
        """
        return self._names_of(0)

    @property
    def column_names(self) -> Strings | None:
        """Names along the second dimension, as :py:attr:`row_names`."""
        return self._names_of(1)


class NamedArray(Operations):
    """An array of such a seed."""

    seed: Any

    @property
    def row_names(self) -> Strings | None:
        """Names of the rows, read when they are asked for; see the seed's."""
        names: Strings | None = self.seed.row_names
        return names

    @property
    def column_names(self) -> Strings | None:
        """Names of the columns, read when they are asked for; see the seed's."""
        names: Strings | None = self.seed.column_names
        return names


def _strings(values: list[str]) -> Strings:
    return numpy.array(values, dtype=numpy.str_)


def r_dimnames(
    path: str | os.PathLike[str], name: str, shape: tuple[int, ...], axis: int, *, untrusted: bool = False
) -> Strings | None:
    """The names that R gave an axis of a dataset.

    R's HDF5Array (``writeHDF5Array(with.dimnames=TRUE)``) and h5mread (``h5writeDimnames``) write them as datasets,
    by default into a group ``.NAME_dimnames`` beside the dataset, and attach them as dimension scales that are called
    "dimnames" (https://support.hdfgroup.org/documentation/hdf5/latest/_h5_d_s__s_p_e_c.html). They number dimensions
    as R does, so that the scales of the file's last axis are the first.

    Args:
        path: Path to the HDF5 file.
        name: Name of the dataset.
        shape: Its shape in the file.
        axis: Number of the axis in the file.
        untrusted: Whether the file may have been made to do damage.

    Returns:
        The names, or None if there are none.

    Raises:
        FileNotFoundError, OSError, KeyError, ValueError, TypeError: As :py:meth:`AxisNames.read`.
    """
    scales = contents.attributes(path, name, "DIMENSION_LIST", untrusted=untrusted).get("DIMENSION_LIST")
    if not isinstance(scales, numpy.ndarray) or scales.shape != (len(shape),) or scales.dtype != object:
        return None
    for scale in scales[len(shape) - 1 - axis]:
        called = contents.attributes(path, scale, "NAME", untrusted=untrusted).get("NAME")
        if called == "dimnames":
            return AxisNames(path, "vector", (scale,), shape[axis], untrusted).read()
    return None
