"""Groups that are compressed sparse matrices: what they consist of, and what files say of their shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy

from .._engine.contents import Object, is_dataset
from .file import File

__all__ = ["MEMBERS", "extents", "is_compressed", "lacking", "layout", "stated_shape"]

MEMBERS = ("data", "indices", "indptr")
"""The datasets of a compressed sparse matrix."""

_SHAPES = ("shape", "h5sparse_shape", "dims")
"""Attributes that hold a shape: anndata since 0.7, anndata before, SeuratDisk."""

_OF_ANNDATA = ("encoding-type", "h5sparse_format")
"""Attributes that say along which axis a matrix is compressed: anndata since 0.7, anndata before."""

_ORIENTATIONS = (*_OF_ANNDATA, "layout")
"""The same, and takane's."""

_LARGEST = (1 << 63) - 1
"""Maximum extent of an axis, which libhdf5 has too."""


def is_compressed(members: Mapping[str, Object]) -> bool:
    """Whether the members of a group are those of a compressed sparse matrix, by their names.

    They may be links that lead nowhere, or to other files: then it is one that cannot be read.
    """
    return all(name in members and members[name].kind != "group" for name in MEMBERS)


def extents(where: str, value: Any) -> tuple[int, int]:
    """The two numbers of a shape, of whatever type: R and others write floating-point numbers where those are large.

    Args:
        where: What holds the value, for the error.
        value: The value.

    Returns:
        Number of rows and columns.

    Raises:
        ValueError: If it is not two whole numbers from 0 to 2^63 - 1.
    """
    numbers = numpy.asarray(value)
    if numbers.size == 2 and numbers.dtype.kind in "iuf":
        rows, columns = numbers.reshape(2).tolist()
        if all(0 <= extent <= _LARGEST and extent == int(extent) for extent in (rows, columns)):
            return int(rows), int(columns)
    shown = numbers.tolist() if numbers.size <= 4 else f"an array of shape {numbers.shape}"
    raise ValueError(f"{where} should be two whole numbers that are not negative, not {shown}")


def stated_shape(file: File, group: str, members: Mapping[str, Object]) -> tuple[tuple[int, int], str] | None:
    """The shape that a group states.

    Args:
        file: The file.
        group: Name of the group.
        members: Its members.

    Returns:
        Number of rows and columns, and which attribute says so (``"dataset"``: a dataset ``shape``); None if nothing
        does.

    Raises:
        ValueError: If what should be a shape cannot be one.
    """
    found = file.attributes(group, *_SHAPES)
    for name in _SHAPES:
        if name in found:
            return extents(f"{file.shown}, group {group!r}, attribute {name!r}", found[name]), name
    dataset = members.get("shape")
    if dataset is None or not is_dataset(dataset):
        return None
    where = f"{file.shown}, dataset {dataset.name!r}"
    if dataset.shape is None or dataset.dtype is None or dataset.dtype.kind not in "iuf":
        raise ValueError(f"{where} should be two whole numbers that are not negative, not {dataset.dtype or 'others'}")
    if numpy.prod(dataset.shape) != 2:
        raise ValueError(f"{where} should be two whole numbers, not an array of shape {dataset.shape}")
    return extents(where, file.numbers(dataset)), "dataset"


def _orientation(file: File, group: str, members: Mapping[str, Object], shape: Any, source: str) -> bool | None:
    """Whether a matrix is compressed by column; None if nothing says it."""
    found = file.attributes(group, *_ORIENTATIONS)
    name = next((name for name in _ORIENTATIONS if name in found), None)
    stated = {"csc": True, "csr": False}.get(str(found.get(name or "", "")).lower().removesuffix("_matrix"))
    turned = source == "dims" and name in _OF_ANNDATA
    if name is not None and not turned:
        return stated
    if shape is not None and is_dataset(members.get("indptr")):
        by_row, by_column = (members["indptr"].shape == (extent + 1,) for extent in shape)
        if by_row != by_column:
            return by_column
        if by_row:
            # SeuratDisk, which turns the shape of an AnnData object's matrix around, leaves its encoding as it was.
            return not stated if turned and stated is not None else True
    return None


def layout(
    file: File, group: str, *, shape: tuple[int, int] | None = None, by_column: bool | None = None
) -> tuple[tuple[int, int], bool]:
    """Shape and orientation of a compressed group, as far as the file says them.

    They are attributes of the group in h5ad files (``encoding-type`` and ``shape``; ``h5sparse_format`` and
    ``h5sparse_shape`` before anndata 0.7: https://anndata.readthedocs.io/en/stable/fileformat-prose.html), an attribute
    ``layout`` and a dataset ``shape`` in those of takane (https://github.com/ArtifactDB/takane). Those of 10x Genomics
    have a dataset ``shape``, those of SeuratDisk an attribute ``dims``; neither says the orientation, which the length
    of ``indptr`` tells then: by column, as both write them, if it may be either. SeuratDisk's conversion of h5ad files
    leaves an ``encoding-type`` of cells x features beside ``dims`` of features x cells
    (https://github.com/mojaveazure/seurat-disk, ``R/Convert.R``).

    Args:
        file: The file.
        group: Name of the group.
        shape: Number of rows and columns, where the format keeps it elsewhere.
        by_column: Whether the matrix is compressed by column, where the format says so.

    Returns:
        Number of rows and columns, and whether the matrix is compressed by column.

    Raises:
        FileNotFoundError, OSError, KeyError: If the group cannot be read.
        ValueError: If it lacks something, which is listed, or states what cannot be a shape.
    """
    members = file.members(group)
    lacks = [f"the dataset {one}" for one in lacking(members, MEMBERS)]
    source = ""
    if shape is None:
        stated = stated_shape(file, group, members)
        if stated is None:
            lacks.append(
                "a shape (two numbers in the attribute 'shape', 'h5sparse_shape' or 'dims', or a dataset 'shape')"
            )
        else:
            shape, source = stated
    if by_column is None:
        by_column = _orientation(file, group, members, shape, source)
    if by_column is None:
        lacks.append(
            "an orientation (the attribute 'encoding-type', 'h5sparse_format' or 'layout', or an 'indptr' that is"
            " longer by one than an axis)"
        )
    if lacks or shape is None or by_column is None:
        raise ValueError(f"{file.shown}, group {group!r} is no compressed sparse matrix: it lacks {', '.join(lacks)}")
    return shape, by_column


def lacking(members: Mapping[str, Object], names: Iterable[str]) -> list[str]:
    """Which datasets a group lacks, and what is there in their place, for an error."""
    return [f"{name!r}{_elsewhere(members.get(name))}" for name in names if not is_dataset(members.get(name))]


def _elsewhere(item: Object | None) -> str:
    """What to say of a link that could not be followed."""
    if item is None or item.kind not in ("external link", "dangling link", "unreadable"):
        return ""
    if item.kind == "external link" and not item.is_external:
        return " (a link to another file, which a file that is not trusted may not lead to)"
    return f" ({item.kind}{': ' * bool(item.note)}{item.note})"
