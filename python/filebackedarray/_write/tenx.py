"""Files of 10x Genomics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy
import numpy.typing

from .._engine.snapshot import bound
from .._formats.openers import TenxMatrix
from .._show.progress import Progress
from .files import Compression
from .frames import Array, axis_names, names_of
from .narrowing import Casting
from .target import Settings, Target

__all__ = ["write_tenx"]

_LONGEST = 255
"""Maximum number of characters of a string: Cell Ranger reads them into places of 256 bytes."""


def write_tenx(
    x: Any,
    path: str | os.PathLike[str],
    *,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    gene_names: Sequence[str] | None = None,
    feature_types: str | Sequence[str] = "Gene Expression",
    genome: str | Sequence[str] = "",
    version: Literal[2, 3] = 3,
    compression: Compression = "gzip",
    level: int | None = None,
    shuffle: bool = True,
    chunks: int | None = None,
    dtype: numpy.typing.DTypeLike | None = None,
    casting: Casting = "exact",
    overwrite: bool = False,
    progress: Progress = False,
    memory: int | None = None,
) -> TenxMatrix:
    """Write a matrix in the format of 10x Genomics, which Cell Ranger, scanpy, Seurat and R's TENxMatrix read.

    See https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices.

    Args:
        x: The matrix, of any kind that :py:func:`write_array` takes: features in rows, barcodes in columns.
        path: Path to the file.
        row_names: Identifiers of the features. Defaults to the names that ``x`` has.
        column_names: Barcodes. Defaults to the names that ``x`` has.
        gene_names: Names of the features. Defaults to ``row_names``.
        feature_types: One for all features, or one for each: "Gene Expression", "Antibody Capture", "Peaks", ...
            Version 2 has none.
        genome: One for all features, or one for each. In version 2 it is the name of the group; if it is empty, that
            is "matrix".
        version: 3 for the format of Cell Ranger 3 and later; 2 for the one before, which is also that of R's
            ``writeTENxMatrix``.
        compression: See :py:func:`write_array`, as for all that follows.
        level: How hard the compression tries.
        shuffle: Whether to sort the bytes of the values by their place before compressing.
        chunks: Number of stored elements in a chunk.
        dtype: NumPy type of the values in the file. Defaults to ``int32`` for integers, which all readers take, and
            to the type of ``x`` for others.
        casting: Whether a value that ``dtype`` does not have is an error ("exact"), or is converted as numpy does
            ("unsafe").
        overwrite: Whether to replace a file that exists.
        progress: Whether to show a progress bar.
        memory: Bytes of incomplete chunks that may wait in memory.

    Returns:
        The :py:class:`TenxMatrix` of the file.

    Raises:
        FileExistsError: If there is a file and ``overwrite`` is false.
        ValueError: If there are no names and ``x`` has none, they are another number than the rows or columns, or one
            is longer than 255 characters.
        TypeError: If a name is no string, or the values are no real numbers.
        OSError: If the file cannot be written. What was there before is as it was.
    """
    if version not in (2, 3):
        raise ValueError(f"'version' should be 2 or 3, not {version!r}")
    if len(x.shape) != 2:
        raise ValueError(f"a 10x file holds a matrix, and the array has {len(x.shape)} dimensions")
    features, barcodes = int(x.shape[0]), int(x.shape[1])
    with bound() as state:
        for axis, given, argument in ((0, row_names, "row_names"), (1, column_names, "column_names")):
            if given is None and getattr(x, argument, None) is None:
                raise ValueError(f"the format has names of {('features', 'barcodes')[axis]}: give them as '{argument}'")
        ids = axis_names(row_names, None, x, 0, features, "'row_names'")
        cells = axis_names(column_names, None, x, 1, barcodes, "'column_names'")
    names = ids if gene_names is None else names_of(gene_names, features, "'gene_names'")
    kinds = _repeated(feature_types, features, "'feature_types'")
    if dtype is None:
        dtype = numpy.int32 if numpy.dtype(x.dtype).kind in "iub" else x.dtype
    if version == 2:
        if not isinstance(genome, str):
            raise ValueError("in version 2 a matrix is of one genome: 'genome' should be one string")
        group = genome or "matrix"
        if "/" in group:
            raise ValueError(f"'genome' is the name of the group, which has no '/': {genome!r}")
    else:
        group = "matrix"
        genomes = _repeated(genome, features, "'genome'")
    settings = Settings(compression, level, shuffle, chunks, casting, progress, memory)
    with Target(path, settings, overwrite=overwrite, state=state) as target:
        if version == 3:
            target.attributes("/", filetype="matrix", version=numpy.int64(2))
        target.group(group)
        _fixed(target, f"{group}/barcodes", cells, "'column_names'")
        target.sparse(
            group,
            x,
            by_column=True,
            shape_as="dataset",
            dtype=dtype,
            index_dtype=numpy.int64,
            shape_dtype=numpy.int32,
        )
        if version == 3:
            target.group(f"{group}/features")
            _fixed(target, f"{group}/features/_all_tag_keys", numpy.array(["genome"], object), "")
            for member, values, where in (
                ("feature_type", kinds, "'feature_types'"),
                ("genome", genomes, "'genome'"),
                ("id", ids, "'row_names'"),
                ("name", names, "'gene_names'"),
            ):
                _fixed(target, f"{group}/features/{member}", values, where)
        else:
            _fixed(target, f"{group}/genes", ids, "'row_names'")
            _fixed(target, f"{group}/gene_names", names, "'gene_names'")
    return TenxMatrix(path)


def _repeated(value: str | Sequence[str], extent: int, where: str) -> Array:
    """One string for each feature."""
    if isinstance(value, str):
        made = numpy.empty(extent, object)
        made[:] = value
        return made
    return names_of(value, extent, where)


def _fixed(target: Target, name: str, values: Array, where: str) -> None:
    """Write strings of one length, in ASCII as Cell Ranger does: other characters as ``&#294;``."""
    encoded = [value.encode("ascii", "xmlcharrefreplace") for value in values]
    for value, text in zip(encoded, values, strict=True):
        if len(value) > _LONGEST:
            raise ValueError(f"{where}: {text!r} is longer than {_LONGEST} characters")
    target.array(name, numpy.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}"))
