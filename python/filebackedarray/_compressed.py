"""Groups that are compressed sparse matrices: what they consist of, and what files say of their shape."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy

from . import _contents
from ._contents import Object, is_dataset
from ._engine import engine
from ._names import engine_name, engine_path

__all__ = ["MEMBERS", "is_compressed", "layout", "two_integers"]

MEMBERS = ("data", "indices", "indptr")
"""The datasets of a compressed sparse matrix."""

_SHAPES = ("shape", "h5sparse_shape", "dims")
"""Attributes that hold a shape: anndata since 0.7, anndata before, SeuratDisk."""

_ORIENTATIONS = ("encoding-type", "h5sparse_format", "layout")
"""Attributes that say along which axis a matrix is compressed: anndata since 0.7, anndata before, takane."""


def is_compressed(members: Mapping[str, Object]) -> bool:
    """Whether the members of a group are those of a compressed sparse matrix, by their names."""
    return all(is_dataset(members.get(name)) for name in MEMBERS)


def two_integers(path: str | os.PathLike[str], dataset: Object, *, untrusted: bool = False) -> tuple[int, int] | None:
    """What a dataset holds that can be the shape of a matrix; None if it cannot."""
    if dataset.shape != (2,) or dataset.dtype is None or dataset.dtype.kind not in "iu":
        return None
    values = numpy.empty(2, dataset.dtype)
    name = engine_name(dataset.name)
    engine(untrusted).read_dense(engine_path(path), name, [(0, 2, 1)], dataset.dtype.str, values)
    return int(values[0]), int(values[1])


def layout(
    path: str | os.PathLike[str], group: str, members: Mapping[str, Object], *, untrusted: bool = False
) -> tuple[tuple[int, int], bool]:
    """Shape and orientation of a compressed group, as far as the file says them.

    They are attributes of the group in h5ad files (``encoding-type`` and ``shape``; ``h5sparse_format`` and
    ``h5sparse_shape`` before anndata 0.7: https://anndata.readthedocs.io/en/stable/fileformat-prose.html), an attribute
    ``layout`` and a dataset ``shape`` in those of takane (https://github.com/ArtifactDB/takane). Those of 10x Genomics
    have a dataset ``shape``, those of SeuratDisk an attribute ``dims``; neither says the orientation, which the length
    of ``indptr`` tells then: by column, as both write them, if it may be either.

    Args:
        path: Path to the HDF5 file.
        group: Name of the group.
        members: Its members.
        untrusted: Whether the file may have been made to do damage.

    Returns:
        Number of rows and columns, and whether the matrix is compressed by column.

    Raises:
        FileNotFoundError, OSError, KeyError: If the group cannot be read.
        ValueError: If it lacks something, which is listed.
    """
    lacks = [f"the dataset {name!r}" for name in MEMBERS if not is_dataset(members.get(name))]
    found = _contents.attributes(path, group, *_SHAPES, *_ORIENTATIONS, untrusted=untrusted)
    shape = None
    for name in _SHAPES:
        value = found.get(name)
        if isinstance(value, numpy.ndarray) and value.shape == (2,) and value.dtype.kind in "iu":
            shape = (int(value[0]), int(value[1]))
            break
    if shape is None and "shape" in members:
        shape = two_integers(path, members["shape"], untrusted=untrusted)
    if shape is None:
        lacks.append(
            "a shape (two integers in the attribute 'shape', 'h5sparse_shape' or 'dims', or a dataset 'shape')"
        )
    stated = str(next((found[name] for name in _ORIENTATIONS if name in found), "")).lower()
    by_column: bool | None = {"csc": True, "csr": False}.get(stated.removesuffix("_matrix"))
    if by_column is None and not stated and shape is not None and is_dataset(members.get("indptr")):
        fits = [members["indptr"].shape == (extent + 1,) for extent in shape]
        by_column = {(True, False): False, (False, True): True, (True, True): True}.get((fits[0], fits[1]))
    if by_column is None:
        lacks.append(
            "an orientation (the attribute 'encoding-type', 'h5sparse_format' or 'layout', or an 'indptr' that is"
            " longer by one than an axis)"
        )
    if lacks or shape is None or by_column is None:
        raise ValueError(
            f"{engine_path(path)!r}, group {group!r} is no compressed sparse matrix: it lacks {', and '.join(lacks)}"
        )
    return shape, by_column
