"""Directories that hold an object with arrays, each in an HDF5 file of its own: where an array of them is.

Those of takane (https://github.com/ArtifactDB/takane, ``docs/specifications``), which BiocPy's dolomite and R's
alabaster write, say in a file ``OBJECT`` what they are; R's ``saveHDF5SummarizedExperiment`` writes all assays into
``assays.h5``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._engine.names import engine_path
from .._seeds.axis_names import AxisNames
from .file import listed

__all__ = ["TITLE", "Place", "in_directory"]

TITLE = "Directories of experiments"
"""Its section in the documentation."""

_ARRAYS = {"dense_array": "array.h5", "compressed_sparse_matrix": "matrix.h5"}
"""Types of takane's objects that are arrays, and the files that they are in."""

_MOST_JSON = 1 << 20
"""Maximum number of bytes of a file of JSON; those that are read have a few lines."""

_FRAMES = ("row_data", "column_data")
"""Data frames of an experiment, whose row names are those of the assays' rows and columns."""


@dataclass(frozen=True)
class Place:
    """Where an array is.

    Attributes:
        path: Path to the HDF5 file.
        name: Name in the file; empty for what the file is made for.
        experiment: The directory of the experiment of which it is an assay.
    """

    path: str | os.PathLike[str]
    name: str
    experiment: Path | None = None

    def names(self, axis: int, extent: int, untrusted: bool) -> AxisNames | None:
        """Where the experiment keeps the names along an axis of its assays.

        Args:
            axis: Number of the axis.
            extent: How many names there should be.
            untrusted: Whether the files may have been made to do damage.

        Returns:
            None if it keeps none.
        """
        if self.experiment is None or axis >= len(_FRAMES):
            return None
        frame = self.experiment / _FRAMES[axis] / "basic_columns.h5"
        if not frame.is_file():
            return None
        return AxisNames(frame, "vector", ("data_frame/row_names",), extent, untrusted)


def in_directory(path: str | os.PathLike[str], name: str) -> Place:
    """Find an array of an object that was saved as a directory.

    Args:
        path: Path to a directory, or to an HDF5 file.
        name: Name of an assay of an experiment, or of a dataset or group in the file of the directory.

    Returns:
        Where it is; of a path that is no directory, nothing but this path and name.

    Raises:
        KeyError: If an experiment has no such assay; those that there are are listed.
        ValueError: If the directory holds no array of a kind that is known here, or several assays and no name is
            given; or if its files of JSON are damaged.
        OSError: If they cannot be read.
    """
    directory = Path(engine_path(path))
    if not directory.is_dir():
        return Place(path, name)
    shown = repr(str(directory))
    if not (directory / "OBJECT").is_file():
        assays = directory / "assays.h5"
        return Place(assays if assays.is_file() else path, name)
    kind = _kind(directory)
    if kind in _ARRAYS:
        return Place(directory / _ARRAYS[kind], name or kind)
    listing = directory / "assays" / "names.json"
    if not listing.is_file():
        raise ValueError(f"{shown} is a {kind!r}, in which no arrays are known; opened are {listed(_ARRAYS)}")
    names = _json(listing)
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise ValueError(f"{str(listing)!r} should be a list of names")
    if not name and len(names) == 1:
        (name,) = names
    if not name:
        raise ValueError(f"{shown} has several assays; 'name' should be one of {listed(names)}")
    if name not in names:
        raise KeyError(f"{shown} has no assay {name!r}; its assays are {listed(names)}")
    assay = directory / "assays" / str(names.index(name))
    kind = _kind(assay)
    if kind not in _ARRAYS:
        raise ValueError(f"{shown}, assay {name!r} is a {kind!r}; opened are {listed(_ARRAYS)}")
    return Place(assay / _ARRAYS[kind], kind, directory)


def _kind(directory: Path) -> str:
    said = _json(directory / "OBJECT")
    kind = said.get("type") if isinstance(said, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"{str(directory / 'OBJECT')!r} does not say what the directory holds: it has no 'type'")
    return kind


def _json(path: Path) -> Any:
    with path.open("rb") as handle:
        content = handle.read(_MOST_JSON + 1)
    try:
        if len(content) > _MOST_JSON:
            raise ValueError(f"it has more than {_MOST_JSON} bytes")
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is no file of JSON as takane has it: {error}") from None
