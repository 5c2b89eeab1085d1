"""Matrices of 10x Genomics, anndata and loom, and arrays of which the file itself says what they are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy
from delayedarray import DelayedArray

from . import _contents
from ._axis_names import AxisNames
from ._compressed import MEMBERS, is_compressed, layout, two_integers
from ._contents import is_dataset
from ._delayed import FileBackedArray
from ._names import engine_path, text_name
from .Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from .Hdf5DenseArraySeed import Hdf5DenseArray, Hdf5DenseArraySeed

if TYPE_CHECKING:
    import numpy.typing

__all__ = ["H5adMatrix", "LoomMatrix", "TenxMatrix", "open_array"]

Path = str | os.PathLike[str]

_LOOM_ROWS = ("Gene", "var_names", "Accession", "rownames")
"""Row attributes that name the rows: loompy's convention, scanpy's, and what is left."""

_LOOM_COLUMNS = ("CellID", "obs_names", "Cell", "colnames")
"""Column attributes that name the columns."""

_MOST_LISTED = 20
"""So many candidates an error lists."""


class _File:
    """A file that is being looked through, and whether it is trusted."""

    def __init__(self, path: Path, untrusted: bool) -> None:
        self.path, self.untrusted = path, untrusted
        self.shown = repr(engine_path(path))

    def members(self, group: str) -> dict[str, _contents.Object]:
        return _contents.members(self.path, group, untrusted=self.untrusted)

    def describe(self, name: str) -> _contents.Object:
        return _contents.describe(self.path, name, untrusted=self.untrusted)

    def attributes(self, name: str, *wanted: str) -> dict[str, Any]:
        return _contents.attributes(self.path, name, *wanted, untrusted=self.untrusted)

    def names(self, kind: Any, candidates: tuple[str, ...], extent: int) -> AxisNames:
        return AxisNames(self.path, kind, candidates, extent, self.untrusted)

    def is_anndata(self, group: str, members: dict[str, _contents.Object]) -> bool:
        if {"obs", "var"} <= members.keys() and ("X" in members or "layers" in members):
            return True
        return bool(self.attributes(group, "encoding-type").get("encoding-type") == "anndata")

    def is_loom(self, members: dict[str, _contents.Object]) -> bool:
        groups = (members.get("row_attrs"), members.get("col_attrs"))
        return is_dataset(members.get("matrix")) and all(one is not None and one.kind == "group" for one in groups)

    def tenx_groups(self) -> list[str]:
        """The root, and groups at the root, if they hold a matrix as 10x Genomics lays it out."""
        members = self.members("/")
        return [
            *(["/"] if self.is_tenx(members) else []),
            *(name for name, item in members.items() if item.kind == "group" and self.is_tenx(self.members(item.name))),
        ]

    def is_tenx(self, members: dict[str, _contents.Object]) -> bool:
        named = any(name in members for name in ("features", "genes", "barcodes"))
        return is_compressed(members) and is_dataset(members.get("shape")) and named


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return shown + (f" and {more} more" if more > 0 else "") if names else "none"


class TenxMatrix(Hdf5CompressedSparseMatrix):
    """A matrix of 10x Genomics: features in rows, barcodes in columns, compressed by column.

    Cell Ranger 3 and later write a group ``matrix`` with the features in a group of their own
    (https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices); Cell
    Ranger 2 wrote a group for each genome, with ``genes``. R's ``writeTENxMatrix`` writes the latter.
    """

    def __init__(
        self,
        path: Path,
        group: str | None = None,
        *,
        dtype: numpy.typing.DTypeLike | None = None,
        untrusted: bool = False,
    ) -> None:
        """Find the matrix in the file.

        Args:
            path: Path to the HDF5 file.
            group: Name of the group, ``"/"`` for the root. May be None if the file has one matrix only.
            dtype: NumPy type of the values. Defaults to the type in the file.
            untrusted: Whether the file may have been made to do damage; see :py:class:`Hdf5DenseArraySeed`.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the file is not HDF5 or cannot be read.
            KeyError: If the file has no such group.
            ValueError: If it has no such matrix; if it has several and ``group`` is None: they are listed; or if the
                group lacks something, or cannot be this matrix.
        """
        file = _File(path, untrusted)
        if group is None:
            groups = file.tenx_groups()
            if not groups:
                raise ValueError(
                    f"{file.shown} has no matrix of 10x Genomics: neither its root nor a group has 'data', 'indices',"
                    " 'indptr', 'shape' and 'features', 'genes' or 'barcodes'."
                    f" At its root are {_listed(file.members('/'))}"
                )
            if len(groups) > 1:
                raise ValueError(f"{file.shown} has several matrices; 'group' should be one of {_listed(groups)}")
            group = groups[0]
        group = text_name(group)
        members = file.members(group)
        lacks = [name for name in (*MEMBERS, "shape") if not is_dataset(members.get(name))]
        if lacks:
            raise ValueError(f"{file.shown}, group {group!r} is no matrix of 10x Genomics: it lacks {_listed(lacks)}")
        shape = two_integers(path, members["shape"], untrusted=untrusted)
        if shape is None:
            raise ValueError(f"{file.shown}, dataset {group + '/shape'!r} should be two integers")
        seed = Hdf5CompressedSparseMatrixSeed(path, group, shape, True, dtype, untrusted=untrusted)
        rows = tuple(f"{group}/{name}" for name in ("features/id", "features/name", "genes", "gene_names"))
        seed._axis_names = (
            file.names("vector", rows, seed.shape[0]),
            file.names("vector", (f"{group}/barcodes",), seed.shape[1]),
        )
        super().__init__(seed, None, None, None)

    def __reduce__(self) -> Any:
        return _of_seed, (type(self), self.seed)


class H5adMatrix(FileBackedArray):
    """A matrix of an AnnData object, features in rows and cells in columns as in BiocPy.

    It is a :py:class:`Hdf5CompressedSparseMatrix` or a :py:class:`Hdf5DenseArray`, whichever the file has. Nothing is
    transposed for that: a matrix that is compressed by row is compressed by column when seen from the other side.
    All versions of the format are read (https://anndata.readthedocs.io/en/stable/fileformat-prose.html); before
    anndata 0.7, attributes ``h5sparse_format`` and ``h5sparse_shape`` said what is a matrix, and ``obs`` and ``var``
    were compounds.
    """

    def __new__(
        cls,
        path: Path,
        layer: str | None = None,
        *,
        raw: bool = False,
        transpose: bool = True,
        group: str = "/",
        dtype: numpy.typing.DTypeLike | None = None,
        untrusted: bool = False,
    ) -> H5adMatrix:
        """Which class it is depends on what is in the file; see :py:meth:`__init__`."""
        file = _File(path, untrusted)
        group = text_name(group).strip("/")
        layer = None if layer is None else text_name(layer)
        prefix = f"{group}/" if group else ""
        members = file.members(group or "/")
        if not file.is_anndata(group or "/", members):
            raise ValueError(
                f"{file.shown} has no AnnData object at {'/' + group!r}: no 'obs', 'var' and 'X'. There are"
                f" {_listed(members)}"
            )
        name, features = _h5ad_name(file, prefix, members, layer, raw)
        item = file.describe(prefix + name)
        seed: Any
        if item.kind == "dataset":
            if item.shape is None or len(item.shape) != 2:
                raise ValueError(f"{file.shown}, dataset {item.name!r} is of shape {item.shape}, not a matrix")
            seed = Hdf5DenseArraySeed(path, prefix + name, dtype, native_order=not transpose, untrusted=untrusted)
            made: type[H5adMatrix] = DenseH5adMatrix
        else:
            shape, by_column = layout(path, item.name, file.members(item.name), untrusted=untrusted)
            cells, variables = shape
            shape = (variables, cells) if transpose else shape
            seed = Hdf5CompressedSparseMatrixSeed(
                path, prefix + name, shape, by_column != transpose, dtype, untrusted=untrusted
            )
            made = SparseH5adMatrix
        cells, variables = seed.shape[::-1] if transpose else seed.shape
        of_cells = file.names("dataframe", (f"{prefix}obs",), cells)
        of_features = file.names("dataframe", tuple(prefix + one for one in features), variables)
        seed._axis_names = (of_features, of_cells) if transpose else (of_cells, of_features)
        matrix: H5adMatrix = _of_seed(made, seed)
        return matrix

    def __init__(
        self,
        path: Path,
        layer: str | None = None,
        *,
        raw: bool = False,
        transpose: bool = True,
        group: str = "/",
        dtype: numpy.typing.DTypeLike | None = None,
        untrusted: bool = False,
    ) -> None:
        """Find the matrix in the file.

        Args:
            path: Path to the h5ad file.
            layer: Name of a layer. Defaults to ``X``.
            raw: Whether the matrix of ``raw`` is meant, which may have other features.
            transpose: Whether features are in rows. Otherwise cells are, as in anndata.
            group: Name of the group with the AnnData object: in an h5mu file, ``"mod/rna"`` or the like.
            dtype: NumPy type of the values. Defaults to the type in the file.
            untrusted: Whether the file may have been made to do damage; see :py:class:`Hdf5DenseArraySeed`.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the file is not HDF5 or cannot be read.
            KeyError: If there is no such group or layer (those that there are are listed), or no ``raw``.
            TypeError: If the values are no numbers, booleans or strings.
            ValueError: If there is no AnnData object, both ``layer`` and ``raw`` are given, or what is stored is no
                matrix.
        """
        # All of it has been done by __new__.

    def __reduce__(self) -> Any:
        return _of_seed, (type(self), self.seed)


class DenseH5adMatrix(H5adMatrix, Hdf5DenseArray):
    """A dense matrix of an AnnData object. Made by :py:class:`H5adMatrix`."""


class SparseH5adMatrix(H5adMatrix, Hdf5CompressedSparseMatrix):
    """A sparse matrix of an AnnData object. Made by :py:class:`H5adMatrix`."""


def _h5ad_name(
    file: _File, prefix: str, members: dict[str, _contents.Object], layer: str | None, raw: bool
) -> tuple[str, tuple[str, ...]]:
    """Which matrix of an AnnData object is meant, and the data frames that may have its features."""
    if raw and layer is not None:
        raise ValueError("either 'layer' or 'raw' can be given: raw has no layers")
    if raw:
        # Before anndata 0.7, a dot stood where there is a group now.
        if "raw.X" in members:
            return "raw.X", ("raw.var", "var")
        if "raw" not in members or "X" not in file.members(f"{prefix}raw"):
            raise KeyError(f"{file.shown} has no 'raw'")
        return "raw/X", ("raw/var",)
    layers = file.members(f"{prefix}layers") if "layers" in members else {}
    if layer is not None:
        if layer not in layers:
            hint = "; the matrix of raw is had with 'raw=True'" if layer == "raw" else ""
            raise KeyError(f"{file.shown} has no layer {layer!r}; its layers are {_listed(layers)}{hint}")
        return f"layers/{layer}", ("var",)
    found = members.get("X")
    if found is None or (found.kind == "dataset" and found.shape is None):
        raise KeyError(f"{file.shown} has no 'X'; its layers are {_listed(layers)}")
    return "X", ("var",)


class LoomMatrix(Hdf5DenseArray):
    """A matrix of a loom file: features in rows, cells in columns.

    See https://linnarssonlab.org/loompy/format/index.html.
    """

    def __init__(
        self,
        path: Path,
        layer: str | None = None,
        *,
        dtype: numpy.typing.DTypeLike | None = None,
        untrusted: bool = False,
    ) -> None:
        """Find the matrix in the file.

        Args:
            path: Path to the loom file.
            layer: Name of a layer. Defaults to the main matrix, which loompy calls ``""``.
            dtype: NumPy type of the values. Defaults to the type in the file.
            untrusted: Whether the file may have been made to do damage; see :py:class:`Hdf5DenseArraySeed`.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the file is not HDF5 or cannot be read.
            KeyError: If there is no such layer; those that there are are listed.
            ValueError: If the file is no loom file.
        """
        file = _File(path, untrusted)
        members = file.members("/")
        if not file.is_loom(members) or len(members["matrix"].shape or ()) != 2:
            raise ValueError(
                f"{file.shown} is no loom file: no matrix 'matrix' with groups 'row_attrs' and 'col_attrs'. At its"
                f" root are {_listed(members)}"
            )
        name = "matrix"
        if layer:
            layer = text_name(layer)
            layers = file.members("layers") if "layers" in members else {}
            if layer not in layers:
                raise KeyError(f"{file.shown} has no layer {layer!r}; its layers are {_listed(layers)}")
            if layers[layer].shape != members["matrix"].shape:
                raise ValueError(
                    f"{file.shown}, layer {layer!r} has another shape than the matrix: {layers[layer].shape}"
                )
            name = f"layers/{layer}"
        seed = Hdf5DenseArraySeed(path, name, dtype, native_order=True, untrusted=untrusted)
        seed._axis_names = (
            file.names("vector", tuple(f"row_attrs/{one}" for one in _LOOM_ROWS), seed.shape[0]),
            file.names("vector", tuple(f"col_attrs/{one}" for one in _LOOM_COLUMNS), seed.shape[1]),
        )
        super().__init__(seed, None)

    def __reduce__(self) -> Any:
        return _of_seed, (type(self), self.seed)


def _of_seed(kind: type[Any], seed: Any) -> Any:
    """An array of a class whose constructor looks into a file, of a seed that is there already."""
    made: Any = object.__new__(kind)
    DelayedArray.__init__(made, seed)
    return made


def open_array(
    path: Path,
    name: str | None = None,
    *,
    native_order: bool = False,
    dtype: numpy.typing.DTypeLike | None = None,
    untrusted: bool = False,
) -> FileBackedArray:
    """Open an array or a matrix as what the file says that it is.

    Args:
        path:
            Path to the HDF5 file.

        name:
            Name of a dataset or group. Without it, what the file is made for is opened: the matrix of a 10x file, ``X``
            of an h5ad file, the matrix of a loom file; or of any other file the only array or compressed sparse matrix
            that is in it.

        native_order:
            For a plain dataset, whether to keep HDF5's order of dimensions; see :py:class:`Hdf5DenseArraySeed`.

        dtype:
            NumPy type of the values. Defaults to the type in the file.

        untrusted:
            Whether the file may have been made to do damage; see :py:class:`Hdf5DenseArraySeed`.

    Returns:
        A :py:class:`TenxMatrix`, :py:class:`H5adMatrix` or :py:class:`LoomMatrix`;
        a :py:class:`Hdf5CompressedSparseMatrix` for another group, as the file says its shape; a
        :py:class:`Hdf5DenseArray` for another dataset.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file is not HDF5 or cannot be read.
        KeyError: If there is no such dataset or group.
        TypeError: If the values are no numbers, booleans or strings.
        ValueError: If there is nothing that can be opened, or more than one thing: what was found is listed; or if a
            group lacks what makes it a compressed sparse matrix, which is listed.
    """
    file = _File(path, untrusted)
    options: dict[str, Any] = {"dtype": dtype, "untrusted": untrusted}
    parts = [part for part in text_name(name or "").split("/") if part not in ("", ".")]
    known = _of_a_format(file, parts, options)
    if known is not None:
        return known
    group = "/".join(parts)
    if parts and file.describe(group).kind == "dataset":
        return Hdf5DenseArray(path, group, native_order=native_order, **options)
    members, group = file.members(group), group or "/"
    if file.is_tenx(members):
        return TenxMatrix(path, group, **options)
    # Of a group that is named, what it lacks is said; a file may well have a dataset "data".
    if is_compressed(members) or (parts and any(is_dataset(members.get(one)) for one in MEMBERS)):
        found = layout(path, group, members, untrusted=untrusted)
        return Hdf5CompressedSparseMatrix(path, group, *found, **options)
    groups = [] if parts else file.tenx_groups()
    only = groups[0] if len(groups) == 1 else _only_one(file, group)
    return open_array(path, only, native_order=native_order, **options)


def _of_a_format(file: _File, parts: list[str], options: dict[str, Any]) -> FileBackedArray | None:
    """What a name means in a loom file, or in an AnnData object: the file, or a group that the name leads through."""
    for depth in range(len(parts) + 1):
        group = "/" + "/".join(parts[:depth])
        if depth and file.describe(group).kind != "group":
            return None
        members = file.members(group)
        if file.is_anndata(group, members):
            known = _in_anndata(parts[depth:])
            if known is not None:
                return H5adMatrix(file.path, group=group, **known, **options)
        elif not depth and file.is_loom(members):
            match parts:
                case [] | ["matrix"]:
                    return LoomMatrix(file.path, **options)
                case ["layers", layer]:
                    return LoomMatrix(file.path, layer, **options)
    return None


def _in_anndata(parts: list[str]) -> dict[str, Any] | None:
    """What a name means in an AnnData object, for :py:class:`H5adMatrix`; None if it is none of its matrices."""
    match parts:
        case [] | ["X"]:
            return {}
        case ["layers", layer]:
            return {"layer": layer}
        case ["raw"] | ["raw", "X"] | ["raw.X"]:
            return {"raw": True}
        case _:
            return None


def _only_one(file: _File, group: str) -> str:
    """The name of the only array in a group, which is none itself, and the groups in it."""
    matrices: list[str] = []
    objects: list[str] = []
    arrays: dict[str, int] = {}
    # Members of what is one thing already are no candidates.
    inside: list[str] = []
    for _, item in _contents.walk(file.path, group, untrusted=file.untrusted):
        name = item.name
        if item.is_repeated or any(name.startswith(one) for one in inside):
            continue
        if item.kind == "group":
            members = file.members(name)
            if file.is_anndata(name, members):
                objects.append(name)
            elif is_compressed(members):
                matrices.append(name)
            elif not (item.basename.startswith(".") and item.basename.endswith("_dimnames")):
                continue
            inside.append(name + "/")
        elif item.dtype is not None and item.shape and item.dtype.kind in "biufc":
            arrays[name] = len(item.shape)
    if any(ndim > 1 for ndim in arrays.values()) or matrices or objects:
        # Vectors beside matrices describe them.
        arrays = {name: ndim for name, ndim in arrays.items() if ndim > 1}
    found = [*objects, *matrices, *arrays]
    where = f"{file.shown}, group {group!r}"
    if not found:
        listed = _listed(file.members(group))
        raise ValueError(f"{where} has no array of numbers and no compressed sparse matrix; in it are {listed}")
    if len(found) > 1:
        raise ValueError(f"{where} has several arrays; 'name' should be one of {_listed(one[1:] for one in found)}")
    return found[0]
