"""The formats of others: what tells each, where its arrays are, which way round, and where the names of their axes are.

Each is a row of :py:data:`FORMATS`, of which :py:func:`locate` and :py:func:`only_one` make one answer for all that
opens, lists or checks a file. The page "Formats" of the documentation has a section for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from .._engine.contents import Object, is_dataset
from .._seeds.axis_names import AxisNames
from .._seeds.missing import PLACEHOLDER
from .compressed import MEMBERS, extents, is_compressed, lacking, layout, stated_shape
from .file import File, listed

__all__ = ["ANNDATA", "FORMATS", "LOOM", "NOT_MATRICES", "TENX", "Compressed", "Format", "Stored"]

_LOOM_ROWS = ("Gene", "var_names", "Accession", "rownames", "gene_names", "ensembl_ids", "gene_ids")
"""Row attributes that name the rows: loompy's convention, scanpy's, loompy's again, R's LoomExperiment; loomR's, which
zUMIs has too, and that of the Human Cell Atlas."""

_LOOM_COLUMNS = ("CellID", "obs_names", "Cell", "colnames", "cell_names", "barcodes", "barcode")
"""Column attributes that name the columns."""

_TENX_NAMES = ("features", "genes", "barcodes")
_SEURAT_SLOTS = ("data", "counts", "scale.data")
"""Matrices of an assay, in the order in which one is chosen."""

_TAKANE_TYPES = ("integer", "boolean", "number", "string", "vls")
_MATLAB_TYPES = {"logical": numpy.dtype(bool), "single": numpy.dtype("f4")}
"""Types of MATLAB's arrays that the file does not tell by those of their datasets, or of matrices without elements,
which are of doubles otherwise."""


class Compressed(NamedTuple):
    """What makes a group a compressed sparse matrix."""

    by_column: bool
    data: str | None
    """Name of the dataset in the file; None, as ``indices``, if no elements are stored."""
    indices: str | None
    indptr: str


@dataclass(frozen=True)
class Stored:
    """An array in a file, its axes in the order in which the file has them.

    Attributes:
        format: Title of the format; empty for what is of none.
        name: Name of the dataset or group.
        shape: Extents.
        compressed: For a compressed sparse matrix, its datasets.
        names: Where the names along each axis are; None if the format says nothing of names.
        is_turned: Whether the axes of the array are those of the file in reverse order; None if nothing says it.
        dtype: Type of the values, where it is not that of the dataset.
    """

    format: str
    name: str
    shape: tuple[int, ...]
    compressed: Compressed | None = None
    names: tuple[AxisNames | None, ...] | None = None
    is_turned: bool | None = None
    dtype: numpy.dtype[Any] | None = None


Parts = Sequence[str]


@dataclass(frozen=True)
class Format:
    """A row of the registry.

    Attributes:
        title: Its name, as the documentation has it.
        is_file: Whether the root of a file is one, and no other group.
        holds: Whether a group is one.
        find: What a name that leads on from the group means, in parts; without parts what the group is made for.
            None if it is no array of the format.
    """

    title: str
    is_file: bool
    holds: Callable[[File, str, Mapping[str, Object]], bool]
    find: Callable[[File, str, Parts], Stored | None]


def split(name: str) -> list[str]:
    """The parts of a name in a file."""
    return [part for part in name.split("/") if part not in ("", ".")]


def join(*parts: str) -> str:
    """A name in a file from its parts, without a slash before it; ``"/"`` for the root."""
    return "/".join(one for part in parts for one in split(part)) or "/"


def _matrix(file: File, name: str) -> Object | None:
    """A member that may be a matrix: a group, or a dataset of two dimensions."""
    found = file.describe(name)
    return found if found.kind == "group" or (found.kind == "dataset" and len(found.shape or ()) == 2) else None


def _member(file: File, name: str) -> Object | None:
    try:
        return file.describe(name)
    except KeyError:
        return None


def _stored(
    file: File,
    format: str,
    name: str,
    names: Callable[[tuple[int, ...]], tuple[AxisNames | None, ...]] | None,
    is_turned: bool,
    **known: Any,
) -> Stored:
    """A member of an object of a format: a dataset, or a compressed group."""
    item = file.describe(name)
    if item.kind == "group":
        return _stored_sparse(file, format, name, names, is_turned, **known)
    if item.shape is None or len(item.shape) != 2:
        raise ValueError(f"{file.shown}, {item.kind} {item.name!r} is of shape {item.shape}, not a matrix")
    return Stored(format, name, item.shape, None, names and names(item.shape), is_turned)


def _stored_sparse(
    file: File,
    format: str,
    name: str,
    names: Callable[[tuple[int, ...]], tuple[AxisNames | None, ...]] | None = None,
    is_turned: bool = False,
    dtype: numpy.dtype[Any] | None = None,
    **known: Any,
) -> Stored:
    shape, by_column = layout(file, name, **known)
    members = Compressed(by_column, *(join(name, member) for member in MEMBERS))
    return Stored(format, name, shape, members, names and names(shape), is_turned, dtype)


# ---- anndata -------------------------------------------------------------------------------------

ANNDATA = "AnnData"


def is_anndata(file: File, group: str, members: Mapping[str, Object]) -> bool:
    if {"obs", "var"} <= members.keys() and ("X" in members or "layers" in members):
        return True
    return file.text(group, "encoding-type") == "anndata"


def layers(file: File, group: str) -> dict[str, Object]:
    """The layers of an AnnData object or a loom file.

    Args:
        file: The file.
        group: Name of the object's group.

    Returns:
        Each matrix in ``layers`` under its name, in which there are slashes if it is in groups within that.
    """
    if "layers" not in file.members(group):
        return {}
    where = join(group, "layers")

    def is_one(item: Object) -> bool:
        return is_compressed(file.members(item.name)) or file.text(item.name, "encoding-type") is not None

    found = file.walk(where, is_one)
    return {
        join(item.name)[len(where) + 1 :]: item
        for item in found
        if item.kind == "dataset" or (item.kind == "group" and is_one(item))
    }


def _layer(file: File, group: str, parts: Parts) -> str | None:
    """Which layer a name means; None if it leads into one, or to a group of several.

    Raises:
        KeyError: If there is no such layer.
    """
    found = layers(file, group)
    name = "/".join(parts)
    if name in found:
        return name
    inside = any(one.startswith(f"{name}/") or name.startswith(f"{one}/") for one in found)
    if inside or _member(file, join(group, "layers", name)) is not None:
        return None
    raise KeyError(f"{file.shown} has no layer {name!r}; its layers are {listed(found)}")


def anndata_matrix(file: File, group: str, *, layer: str | None = None, raw: bool = False) -> Stored:
    """A matrix of an AnnData object, cells x features.

    Args:
        file: The file.
        group: Name of the group with the object.
        layer: Name of a layer.
        raw: Whether the matrix of ``raw`` is meant.

    Raises:
        KeyError: If there is no such matrix.
        ValueError: If what is stored is none.
    """
    members = file.members(group)
    features: tuple[str, ...] = ("var",)
    if raw:
        # Before anndata 0.7, a dot stood where there is a group now.
        if "raw.X" in members:
            name, features = "raw.X", ("raw.var", "var")
        elif "raw" in members and "X" in file.members(join(group, "raw")):
            name, features = "raw/X", ("raw/var",)
        else:
            raise KeyError(f"{file.shown} has no 'raw'")
    elif layer is not None:
        found = layers(file, group)
        layer = "/".join(split(layer))
        if layer not in found:
            hint = "; the matrix of raw is had with 'raw=True'" if layer == "raw" else ""
            raise KeyError(f"{file.shown} has no layer {layer!r}; its layers are {listed(found)}{hint}")
        name = join("layers", layer)
    else:
        item = members.get("X")
        if item is None or (item.kind == "dataset" and item.shape is None):
            raise KeyError(f"{file.shown} has no 'X'; its layers are {listed(layers(file, group))}")
        name = "X"

    def names(shape: tuple[int, ...]) -> tuple[AxisNames, AxisNames]:
        of_cells = file.names("dataframe", (join(group, "obs"),), shape[0])
        return of_cells, file.names("dataframe", (join(group, one) for one in features), shape[1])

    return _stored(file, ANNDATA, join(group, name), names, is_turned=True)


def _find_anndata(file: File, group: str, parts: Parts) -> Stored | None:
    match list(parts):
        case [] | ["X"]:
            return anndata_matrix(file, group)
        case ["raw"] | ["raw", "X"] | ["raw.X"]:
            return anndata_matrix(file, group, raw=True)
        case ["layers", *rest] if rest:
            layer = _layer(file, group, rest)
            return None if layer is None else anndata_matrix(file, group, layer=layer)
    return None


# ---- loom ----------------------------------------------------------------------------------------

LOOM = "loom"


def is_loom(file: File, group: str, members: Mapping[str, Object]) -> bool:
    matrix = members.get("matrix")
    groups = (members.get("row_attrs"), members.get("col_attrs"))
    is_matrix = matrix is not None and is_dataset(matrix) and len(matrix.shape or ()) == 2
    return is_matrix and all(one is not None and one.kind == "group" for one in groups)


def loom_matrix(file: File, layer: str | None = None) -> Stored:
    """A matrix of a loom file.

    Args:
        file: The file.
        layer: Name of a layer; None for the main matrix.

    Raises:
        KeyError: If there is no such layer.
        ValueError: If it has another shape than the main matrix.
    """
    main, name = file.members("/")["matrix"], "matrix"
    if layer is not None:
        found = layers(file, "/")
        layer = "/".join(split(layer))
        if layer not in found:
            raise KeyError(f"{file.shown} has no layer {layer!r}; its layers are {listed(found)}")
        if found[layer].shape != main.shape:
            raise ValueError(f"{file.shown}, layer {layer!r} has another shape than the matrix: {found[layer].shape}")
        name = join("layers", layer)

    def names(shape: tuple[int, ...]) -> tuple[AxisNames, AxisNames]:
        return (
            file.names("vector", (f"row_attrs/{one}" for one in _LOOM_ROWS), shape[0]),
            file.names("vector", (f"col_attrs/{one}" for one in _LOOM_COLUMNS), shape[1]),
        )

    return _stored(file, LOOM, name, names, is_turned=False)


def _find_loom(file: File, group: str, parts: Parts) -> Stored | None:
    match list(parts):
        case [] | ["matrix"]:
            return loom_matrix(file)
        case ["layers", *rest] if rest:
            layer = _layer(file, group, rest)
            return None if layer is None else loom_matrix(file, layer)
    return None


# ---- Seurat --------------------------------------------------------------------------------------

SEURAT = "h5Seurat"


def _is_seurat(file: File, group: str, members: Mapping[str, Object]) -> bool:
    assays = members.get("assays")
    is_group = assays is not None and assays.kind == "group"
    return is_group and ("cell.names" in members or file.text(group, "active.assay") is not None)


def _find_seurat(file: File, group: str, parts: Parts) -> Stored | None:
    match list(parts):
        case []:
            assays = file.members("assays")
            assay = file.text("/", "active.assay")
            if assay is None and len(assays) == 1:
                (assay,) = assays
            if assay is None or assay not in assays:
                raise ValueError(
                    f"{file.shown} has several assays; 'name' should be one of {listed(map(_assay, assays))}"
                )
            return _find_seurat(file, group, ["assays", assay])
        case ["assays", assay]:
            members = file.members(_assay(assay))
            slot = next((slot for slot in _SEURAT_SLOTS if slot in members), None)
            if slot is None:
                raise ValueError(f"{file.shown}, assay {assay!r} has no matrix; in it are {listed(members)}")
            return _seurat_slot(file, assay, slot)
        case ["assays", assay, slot]:
            return _seurat_slot(file, assay, slot) if slot in _SEURAT_SLOTS else None
        case ["graphs", name]:
            cells = ("cell.names",)
            return _stored(
                file,
                SEURAT,
                join("graphs", name),
                lambda shape: (file.names("vector", cells, shape[0]), file.names("vector", cells, shape[1])),
                is_turned=False,
            )
    return None


def _assay(name: str) -> str:
    return join("assays", name)


def _seurat_slot(file: File, assay: str, slot: str) -> Stored | None:
    where = join(_assay(assay), slot)
    if _matrix(file, where) is None:
        return None
    features = tuple(
        join(_assay(assay), one) for one in (("scaled.features",) if slot == "scale.data" else ()) + ("features",)
    )
    # Dense matrices are written as R has them in memory, features changing fastest. So are the shapes of sparse ones in
    # `dims`; where there is none, they are as they were in an h5ad file.
    item = file.describe(where)
    is_turned = item.kind == "dataset"
    if item.kind == "group":
        stated = stated_shape(file, where, file.members(where))
        is_turned = stated is not None and stated[1] != "dims"

    def names(shape: tuple[int, ...]) -> tuple[AxisNames, AxisNames]:
        rows, columns = shape[::-1] if is_turned else shape
        found = file.names("vector", features, rows), file.names("vector", ("cell.names",), columns)
        return found[::-1] if is_turned else found

    return _stored(file, SEURAT, where, names, is_turned)


# ---- BIOM ----------------------------------------------------------------------------------------

BIOM = "BIOM"


def _is_biom(file: File, group: str, members: Mapping[str, Object]) -> bool:
    groups = (members.get("observation"), members.get("sample"))
    return all(one is not None and one.kind == "group" for one in groups) and "shape" in file.attributes("/", "shape")


def _find_biom(file: File, group: str, parts: Parts) -> Stored | None:
    match list(parts):
        case [] | ["observation"] | ["observation", "matrix"]:
            axis = "observation"
        case ["sample"] | ["sample", "matrix"]:
            axis = "sample"
        case _:
            return None
    shape = extents(f"{file.shown}, attribute 'shape'", file.attributes("/", "shape")["shape"])
    name = join(axis, "matrix") if "matrix" in file.members(axis) else axis
    # Both copies are of observations x samples.
    return _stored_sparse(
        file,
        BIOM,
        name,
        lambda shape: (
            file.names("vector", ("observation/ids",), shape[0]),
            file.names("vector", ("sample/ids",), shape[1]),
        ),
        shape=shape,
        by_column=axis == "sample",
    )


# ---- HiCExplorer ---------------------------------------------------------------------------------

HIC = "HiCExplorer"


def _is_hic(file: File, group: str, members: Mapping[str, Object]) -> bool:
    groups = (members.get("matrix"), members.get("intervals"))
    if not all(one is not None and one.kind == "group" for one in groups):
        return False
    return is_compressed(file.members("matrix")) and {"chr_list", "start_list"} <= file.members("intervals").keys()


def _find_hic(file: File, group: str, parts: Parts) -> Stored | None:
    return _stored_sparse(file, HIC, "matrix", by_column=False) if list(parts) in ([], ["matrix"]) else None


# ---- GCTX ----------------------------------------------------------------------------------------

GCTX = "GCTX"
_GCTX_MATRIX = "0/DATA/0/matrix"


def _is_gctx(file: File, group: str, members: Mapping[str, Object]) -> bool:
    return "0" in members and str(file.text("/", "version")).startswith("GCTX")


def _find_gctx(file: File, group: str, parts: Parts) -> Stored | None:
    if list(parts) not in ([], split(_GCTX_MATRIX)):
        return None

    def names(shape: tuple[int, ...]) -> tuple[AxisNames, AxisNames]:
        return (
            file.names("vector", ("0/META/COL/id",), shape[0]),
            file.names("vector", ("0/META/ROW/id",), shape[1]),
        )

    return _stored(file, GCTX, _GCTX_MATRIX, names, is_turned=True)


# ---- 10x Genomics --------------------------------------------------------------------------------

TENX = "10x Genomics"


def _is_tenx(file: File, group: str, members: Mapping[str, Object]) -> bool:
    named = any(name in members for name in _TENX_NAMES)
    return is_compressed(members) and is_dataset(members.get("shape")) and named


def tenx_matrix(file: File, group: str) -> Stored:
    """A matrix of 10x Genomics.

    Args:
        file: The file.
        group: Name of its group.

    Raises:
        KeyError: If there is no such group.
        ValueError: If it lacks something, or states what cannot be a shape.
    """
    members = file.members(group)
    lacks = lacking(members, (*MEMBERS, "shape"))
    if lacks:
        raise ValueError(f"{file.shown}, group {group!r} is no matrix of 10x Genomics: it lacks {', '.join(lacks)}")
    stated = stated_shape(file, group, {"shape": members["shape"]})

    def names(shape: tuple[int, ...]) -> tuple[AxisNames, AxisNames]:
        rows = (join(group, name) for name in ("features/id", "features/name", "genes", "gene_names"))
        return file.names("vector", rows, shape[0]), file.names("vector", (join(group, "barcodes"),), shape[1])

    return _stored_sparse(file, TENX, group, names, shape=stated and stated[0], by_column=True)


def tenx_groups(file: File) -> list[str]:
    """The root, and groups at the root, if they hold a matrix as 10x Genomics lays it out."""
    members = file.members("/")
    inside = (name for name, item in members.items() if item.kind == "group")
    return [
        *(["/"] if _is_tenx(file, "/", members) else []),
        *(name for name in inside if _is_tenx(file, name, file.members(name))),
    ]


# ---- takane --------------------------------------------------------------------------------------

TAKANE_SPARSE = "takane's compressed_sparse_matrix"
TAKANE_DENSE = "takane's dense_array"


def _takane_names(file: File, group: str, shape: tuple[int, ...]) -> tuple[AxisNames, ...]:
    return tuple(file.names("vector", (join(group, "names", str(i)),), extent) for i, extent in enumerate(shape))


def _takane_dtype(file: File, group: str, data: Object) -> numpy.dtype[Any] | None:
    """The type of an array, which may be stored in a smaller one. Booleans of which some are missing stay numbers."""
    kind, stored = file.text(group, "type"), data.dtype
    if kind == "number" and stored is not None and stored.kind in "iub":
        return numpy.dtype(numpy.float64)
    if kind == "boolean" and not file.attributes(data.name, PLACEHOLDER):
        return numpy.dtype(bool)
    return None


def _is_takane_sparse(file: File, group: str, members: Mapping[str, Object]) -> bool:
    return is_compressed(members) and file.text(group, "layout") in ("CSC", "CSR")


def _find_takane_sparse(file: File, group: str, parts: Parts) -> Stored | None:
    if parts:
        return None
    data = file.members(group)["data"]
    dtype = _takane_dtype(file, group, data) if is_dataset(data) else None
    return _stored_sparse(file, TAKANE_SPARSE, group, lambda shape: _takane_names(file, group, shape), dtype=dtype)


def _is_takane_dense(file: File, group: str, members: Mapping[str, Object]) -> bool:
    has_values = is_dataset(members.get("data")) or is_dataset(members.get("pointers"))
    if not has_values or is_compressed(members) or file.text(group, "type") not in _TAKANE_TYPES:
        return False
    return split(group)[-1:] == ["dense_array"] or "transposed" in file.attributes(group, "transposed")


def _find_takane_dense(file: File, group: str, parts: Parts) -> Stored | None:
    if list(parts) not in ([], ["data"]):
        return None
    data = file.members(group).get("data")
    if file.text(group, "type") == "vls" or data is None:
        raise TypeError(
            f"{file.shown}, group {group!r} is an array of strings that takane stores as pointers into a heap ('vls');"
            " these are not read here; save it with strings of fixed length (dense_array_string_vls=False in dolomite)"
        )
    if data.shape is None:
        raise ValueError(f"{file.shown}, dataset {data.name!r} has no values")
    transposed = numpy.asarray(file.attributes(group, "transposed").get("transposed", 0))
    if transposed.size != 1 or transposed.dtype.kind not in "biu":
        raise ValueError(f"{file.shown}, group {group!r}, attribute 'transposed' should be an integer")
    return Stored(
        TAKANE_DENSE,
        join(group, "data"),
        data.shape,
        None,
        _takane_names(file, group, data.shape),
        bool(transposed.any()),
        _takane_dtype(file, group, data),
    )


# ---- MATLAB --------------------------------------------------------------------------------------

MATLAB = "MATLAB"
_MATLAB_OWN = ("#refs#", "#subsystem#")
"""Groups of MATLAB's files that hold parts of other variables."""


def _is_matlab_sparse(file: File, group: str, members: Mapping[str, Object]) -> bool:
    return "jc" in members and "MATLAB_sparse" in file.attributes(group, "MATLAB_sparse")


def _find_matlab_sparse(file: File, group: str, parts: Parts) -> Stored | None:
    if parts:
        return None
    members = file.members(group)
    where = f"{file.shown}, group {group!r}"
    rows = numpy.asarray(file.attributes(group, "MATLAB_sparse")["MATLAB_sparse"])
    pointers = members["jc"]
    if not is_dataset(pointers) or pointers.shape is None or len(pointers.shape) != 1 or pointers.shape[0] < 1:
        raise ValueError(f"{where} is no sparse matrix of MATLAB: 'jc' is not a vector of pointers")
    if rows.size != 1 or rows.dtype.kind not in "iuf":
        raise ValueError(f"{where}, attribute 'MATLAB_sparse' should be the number of rows, not {rows.tolist()!r}")
    columns = pointers.shape[0] - 1
    shape = extents(f"{where}, attribute 'MATLAB_sparse' with the number of columns", [rows.reshape(())[()], columns])
    has = [is_dataset(members.get(name)) for name in ("data", "ir")]
    if has[0] != has[1]:
        raise ValueError(f"{where} is no sparse matrix of MATLAB: it has only one of the datasets 'data' and 'ir'")
    data, indices = (join(group, name) if has[0] else None for name in ("data", "ir"))
    dtype = _matlab_dtype(file, group)
    if data is None and dtype is None:
        dtype = numpy.dtype(numpy.float64)
    return Stored(MATLAB, group, shape, Compressed(True, data, indices, join(group, "jc")), None, False, dtype)


def sparse_members(file: File, group: str) -> dict[str, str] | None:
    """How the datasets of a compressed sparse matrix are called, if a group is one, be it damaged.

    Args:
        file: The file.
        group: Name of the group.

    Returns:
        The names, in the group, of those of ``data``, ``indices`` and ``indptr`` that it has.
    """
    members = file.members(group)
    if is_compressed(members):
        return {name: name for name in MEMBERS}
    if _is_matlab_sparse(file, group, members):
        return {name: own for name, own in zip(MEMBERS, ("data", "ir", "jc"), strict=True) if own in members}
    return None


def _matlab_dtype(file: File, name: str) -> numpy.dtype[Any] | None:
    return _MATLAB_TYPES.get(str(file.text(name, "MATLAB_class")))


def _dataset(file: File, item: Object) -> Stored:
    """A dataset that is no part of an object of any format; or MATLAB's, which says so itself."""
    name = join(item.name)
    known = file.attributes(name, "MATLAB_class", "MATLAB_empty")
    if "MATLAB_class" not in known:
        return Stored("", name, item.shape or ())
    if numpy.any(known.get("MATLAB_empty", 0)):
        shape = (
            " x ".join(str(extent) for extent in file.numbers(item).reshape(-1).tolist()) if item.dtype else "unknown"
        )
        raise ValueError(
            f"{file.shown}, {name!r} is an empty array of MATLAB of shape {shape}: the dataset holds only its shape"
        )
    return Stored(MATLAB, name, item.shape or (), dtype=_matlab_dtype(file, name))


# ---- all others ----------------------------------------------------------------------------------

OTHER = "Other sparse matrices"


def _find_compressed(file: File, group: str, parts: Parts) -> Stored | None:
    return None if parts else _stored_sparse(file, "", group)


FORMATS = (
    Format(ANNDATA, False, is_anndata, _find_anndata),
    Format(LOOM, True, is_loom, _find_loom),
    Format(SEURAT, True, _is_seurat, _find_seurat),
    Format(BIOM, True, _is_biom, _find_biom),
    Format(HIC, True, _is_hic, _find_hic),
    Format(GCTX, True, _is_gctx, _find_gctx),
    Format(TENX, False, _is_tenx, lambda file, group, parts: None if parts else tenx_matrix(file, group)),
    Format(TAKANE_SPARSE, False, _is_takane_sparse, _find_takane_sparse),
    Format(TAKANE_DENSE, False, _is_takane_dense, _find_takane_dense),
    Format(MATLAB, False, _is_matlab_sparse, _find_matlab_sparse),
    Format(OTHER, False, lambda file, group, members: is_compressed(members), _find_compressed),
)
"""All formats, in the order in which a group is asked whether it is one."""


class NotMatrix(NamedTuple):
    """A kind of file that is often taken for one with a matrix."""

    what: str
    members: frozenset[str]
    """What its root holds, whatever else it does."""
    advice: str


_MOLECULES = "a molecule_info.h5 of Cell Ranger, which lists molecules"
_IN_ITS_PLACE = "the matrix of counts is in filtered_feature_bc_matrix.h5 or raw_feature_bc_matrix.h5 beside it"

NOT_MATRICES = (
    NotMatrix(_MOLECULES, frozenset(("barcode_idx", "feature_idx", "umi", "count")), _IN_ITS_PLACE),
    NotMatrix(_MOLECULES, frozenset(("barcode", "gene", "umi", "reads")), _IN_ITS_PLACE),
    NotMatrix(
        "a feature_slice.h5 of Space Ranger, which holds images of features",
        frozenset(("feature_slices", "features")),
        "matrices of counts are in binned_outputs/square_*um/filtered_feature_bc_matrix.h5",
    ),
    NotMatrix(
        "a cooler file, which lists pixels of a contact matrix",
        frozenset(("bins", "chroms", "indexes", "pixels")),
        "the package cooler makes a matrix of it",
    ),
    NotMatrix(
        "a cooler file of several resolutions, each of which lists pixels of a contact matrix",
        frozenset(("resolutions",)),
        "the package cooler makes a matrix of one of them",
    ),
    NotMatrix(
        "an abundance.h5 of kallisto, which holds estimates of one sample",
        frozenset(("aux", "est_counts")),
        "its vectors are opened by name: 'est_counts'",
    ),
)
"""Files without a matrix, told by what is at their root."""


def format_of(file: File, group: str) -> Format | None:
    """The format that a group is an object of.

    Args:
        file: The file.
        group: Name of the group.
    """
    members = file.members(group)
    is_root = not split(group)
    return next((row for row in FORMATS if (is_root or not row.is_file) and row.holds(file, group, members)), None)


def locate(file: File, name: str) -> Stored | None:
    """What a name means: itself, or as a part of the object of a format that it leads through.

    Args:
        file: The file.
        name: Name of a dataset or group; empty for what the file is made for.

    Returns:
        The array; None for a group that is none.

    Raises:
        FileNotFoundError, OSError, KeyError: If there is no such file, dataset or group.
        ValueError: If it lacks something, or the object that it names has several arrays.
        TypeError: If its values are stored in a way that is not read here.
    """
    parts = split(name)
    for depth in range(len(parts) + 1):
        group = join(*parts[:depth])
        if depth > 0:
            item = file.describe(group)
            if item.kind != "group":
                # What is no dataset, or goes on below one, the engine refuses with the name.
                return _dataset(file, file.describe(join(*parts)))
        members = file.members(group)
        for row in FORMATS:
            if (depth == 0 or not row.is_file) and row.holds(file, group, members):
                found = row.find(file, group, parts[depth:])
                if found is not None:
                    return found
    # A group that has some of the members of a matrix is meant as one, and what it lacks is said.
    if parts and any(one in members for one in MEMBERS[1:]):
        layout(file, join(*parts))
    return None


def only_one(file: File, group: str) -> Stored:
    """The only array in a group that is none itself, and in the groups in it.

    Args:
        file: The file.
        group: Name of the group; empty for the root.

    Raises:
        FileNotFoundError, OSError, KeyError: If the file cannot be read.
        ValueError: If there is none, or several: they are listed.
    """
    where = f"{file.shown}, group {join(group)!r}"
    if not split(group):
        root = file.members("/").keys()
        known = next((one for one in NOT_MATRICES if one.members <= root), None)
        if known is not None:
            raise ValueError(
                f"{file.shown} is {known.what}, not a matrix: {known.advice}. Its datasets are opened by name:"
                f" {listed(root)}"
            )
        groups = tenx_groups(file)
        if len(groups) == 1:
            return tenx_matrix(file, groups[0])
    objects: list[str] = []
    arrays: dict[str, int] = {}

    def is_one(item: Object) -> bool:
        if split(item.name)[0] in _MATLAB_OWN or _is_dimnames(item):
            return True
        found = format_of(file, item.name)
        if found is not None:
            objects.append(item.name)
        return found is not None

    for item in file.walk(join(group), is_one):
        if item.kind == "group" and item.is_external:
            is_one(item)
        elif item.dtype is not None and item.shape and item.dtype.kind in "biufc":
            arrays[item.name] = len(item.shape)
    if objects or any(ndim > 1 for ndim in arrays.values()):
        # Vectors beside matrices describe them.
        arrays = {name: ndim for name, ndim in arrays.items() if ndim > 1}
    found = [*objects, *arrays]
    if len(found) > 1:
        raise ValueError(f"{where} has several arrays; 'name' should be one of {listed(map(join, found))}")
    only = locate(file, found[0]) if found else None
    if only is None:
        raise ValueError(
            f"{where} has no array of numbers and no compressed sparse matrix; in it are"
            f" {listed(file.members(join(group)))}"
        )
    return only


def _is_dimnames(item: Object) -> bool:
    """Whether a group is that in which R keeps the dimnames of the dataset beside it."""
    return item.basename.startswith(".") and item.basename.endswith("_dimnames")
