"""Files of anndata."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy
import numpy.typing

from .._engine.snapshot import bound
from .._formats.openers import H5adMatrix
from .._show.progress import Progress
from .annotations import encode, write_frame, write_mapping
from .files import Compression
from .frames import axis_names, check_key, check_layers, check_unique, frame_of
from .narrowing import Casting
from .target import Settings, Target

__all__ = ["write_h5ad"]

LAYOUTS = ("csr", "csc", "dense")


def write_h5ad(
    x: Any,
    path: str | os.PathLike[str],
    *,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    obs: Any = None,
    var: Any = None,
    layers: Mapping[str, Any] | None = None,
    obsm: Mapping[str, Any] | None = None,
    varm: Mapping[str, Any] | None = None,
    uns: Mapping[str, Any] | None = None,
    layout: Literal["csr", "csc", "dense"] = "csr",
    transpose: bool = True,
    compression: Compression = "gzip",
    level: int | None = None,
    shuffle: bool = True,
    chunks: Any = None,
    dtype: numpy.typing.DTypeLike | None = None,
    casting: Casting = "exact",
    overwrite: bool = False,
    progress: Progress = False,
    memory: int | None = None,
) -> H5adMatrix:
    """Write a matrix with its annotations as an h5ad file, which anndata, scanpy and R's zellkonverter read.

    Args:
        x: The matrix, of any kind that :py:func:`write_array` takes: features in rows and cells in columns, as
            :py:class:`H5adMatrix` gives it.
        path: Path to the file.
        row_names: Names of the rows of ``x``. Defaults to the index of ``var``, or the names that ``x`` has, or
            "0", "1", ...
        column_names: Names of the columns of ``x``, likewise, with ``obs``.
        obs: Annotations of the cells: a mapping of columns, a pandas or polars data frame, or a BiocFrame. Columns
            hold strings, categories (pandas' categoricals, biocutils' factors), numbers or booleans; of integers,
            booleans and categories some may be missing. A column of strings of which some are missing becomes one of
            categories, which all versions of anndata read.
        var: Annotations of the features.
        layers: More matrices of the shape of ``x``, by name.
        obsm: Arrays with a row for each cell, such as embeddings, by name.
        varm: Arrays with a row for each feature, by name.
        uns: Anything else: mappings of numbers, strings, arrays, tables and mappings of these.
        layout: How ``x`` and ``layers`` are stored, of which rows are cells: ``"csr"`` compressed by cell, which is
            what most tools expect; ``"csc"`` compressed by feature; or ``"dense"``.
        transpose: Whether features are in the rows of ``x``. Otherwise cells are, and ``row_names`` names these.
        compression: See :py:func:`write_array`, as for all that follows.
        level: How hard the compression tries.
        shuffle: Whether to sort the bytes of the values by their place before compressing.
        chunks: Number of stored elements in a chunk; for ``layout="dense"``, the shape of a chunk of ``x``.
        dtype: NumPy type of the values of ``x`` in the file. Defaults to that of ``x``.
        casting: Whether a value that ``dtype`` does not have is an error ("exact"), or is converted as numpy does
            ("unsafe").
        overwrite: Whether to replace a file that exists.
        progress: Whether to show a progress bar.
        memory: Bytes of incomplete chunks that may wait in memory.

    Returns:
        The :py:class:`H5adMatrix` of the file, of the orientation of ``x``.

    Raises:
        FileExistsError: If there is a file and ``overwrite`` is false.
        ValueError: If names or annotations do not go with the shape of ``x``, a name has a slash, or the names of
            cells or features are there twice.
        TypeError: If a value is of a kind that the format does not store.
        OSError: If the file cannot be written. What was there before is as it was.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"'layout' should be one of {LAYOUTS}, not {layout!r}")
    if len(x.shape) != 2:
        raise ValueError(f"an h5ad file holds matrices, and the array has {len(x.shape)} dimensions")
    settings = Settings(compression, level, shuffle, chunks, casting, progress, memory)
    cells, features = (1, 0) if transpose else (0, 1)
    n_cells, n_features = int(x.shape[cells]), int(x.shape[features])
    given = {0: row_names, 1: column_names}
    tables = []
    with bound() as state:
        for axis, table, extent, called in ((cells, obs, n_cells, "obs"), (features, var, n_features, "var")):
            frame = frame_of(table, extent, f"'{called}'")
            names = axis_names(given[axis], frame.index, x, axis, extent, f"the names of '{called}'")
            check_unique(names, f"the names of '{called}'")
            tables.append((called, frame, names))
    check_layers(layers, x)
    for called, arrays, extent in (("obsm", obsm, n_cells), ("varm", varm, n_features)):
        for name, array in (arrays or {}).items():
            check_key(name, f"'{called}'")
            if len(array) != extent if not hasattr(array, "shape") else int(array.shape[0]) != extent:
                raise ValueError(f"{called}[{name!r}] should have {extent} rows")
    matrices = {"X": x, **{f"layers/{name}": layer for name, layer in (layers or {}).items()}}
    with Target(path, settings, overwrite=overwrite, matrices=len(matrices), state=state) as target:
        encode(target, "/", "anndata", "0.1.0")
        write_mapping(target, "layers", None, "'layers'")
        for name, matrix in matrices.items():
            wanted = dtype if name == "X" else None
            if layout == "dense":
                target.dense(name, matrix, is_turned=transpose, dtype=wanted, chunks=chunks)
                encode(target, name, "array", "0.2.0")
            else:
                by_column = (layout == "csr") == transpose
                target.sparse(
                    name, matrix, by_column=by_column, is_turned=transpose, shape_as="attribute", dtype=wanted
                )
        for called, frame, names in tables:
            write_frame(target, called, frame, names)
        for called, mapping in (("obsm", obsm), ("varm", varm), ("obsp", None), ("varp", None), ("uns", uns)):
            write_mapping(target, called, mapping, f"'{called}'")
    return H5adMatrix(path, transpose=transpose)
