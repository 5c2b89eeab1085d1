"""The command ``filebackedarray convert``: an array of one file, written into another in some format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy

from .._formats.openers import open_array
from .._show.text import print_json, shape
from .._write.dense import write_array
from .._write.files import COMPRESSIONS
from .._write.h5ad import write_h5ad
from .._write.loom import write_loom
from .._write.sparse import write_sparse
from .._write.tenx import write_tenx

__all__ = ["add_arguments", "convert"]

FORMATS = ("tenx", "tenx-v2", "h5ad", "loom", "array", "sparse")

_SEPARATOR = "::"
"""Between the path of a file and the name of what is in it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes beside what all commands do."""
    parser.add_argument("file", metavar="IN[::NAME]", help="an HDF5 file, and the name of an array in it")
    parser.add_argument("output", metavar="OUT[::NAME]", help="the file to write, and the name of the array in it")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the format to write")
    parser.add_argument(
        "--compression",
        default="gzip",
        choices=(*COMPRESSIONS, "none"),
        help="gzip (the default) is read everywhere, the others where their plugins are",
    )
    parser.add_argument("--level", type=int, metavar="N", help="how much to compress")
    parser.add_argument(
        "--chunks", metavar="N[xN...]", help="shape of a chunk, or number of stored elements of a sparse matrix"
    )
    parser.add_argument("--dtype", metavar="TYPE", help="type of the values, such as int32 or float64")
    parser.add_argument(
        "--rows", metavar="ROWS", help="a range such as 0:1000, or a file with a name or number in each line"
    )
    parser.add_argument("--columns", metavar="COLUMNS", help="likewise")
    parser.add_argument("--overwrite", action="store_true", help="replace what exists")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def convert(options: Any) -> int:
    """Run the command.

    Args:
        options: What :py:func:`add_arguments` takes.

    Returns:
        The exit status.
    """
    path, _, name = options.file.partition(_SEPARATOR)
    output, _, target = options.output.partition(_SEPARATOR)
    if target and options.to not in ("array", "sparse"):
        raise ValueError(f"the format {options.to!r} has a place for its matrix: give no name after {_SEPARATOR!r}")
    array = open_array(path, name or None, untrusted=options.untrusted)
    names: list[Any] = [getattr(array, axis, None) for axis in ("row_names", "column_names")]
    for axis, (chosen, argument) in enumerate(((options.rows, "--rows"), (options.columns, "--columns"))):
        if chosen is None:
            continue
        if array.ndim != 2:
            raise ValueError(f"{argument} is for matrices, and the array has {array.ndim} dimensions")
        kept = positions(chosen, array.shape[axis], names[axis], argument)
        array = array[kept, :] if axis == 0 else array[:, kept]
        known = names[axis]
        names[axis] = None if known is None else known[kept]
    given: dict[str, Any] = {
        "compression": None if options.compression == "none" else options.compression,
        "level": options.level,
        "chunks": _chunks(options.chunks),
        "dtype": options.dtype,
        "overwrite": options.overwrite,
        "progress": not options.quiet and sys.stderr.isatty(),
    }
    if options.to == "array":
        written = write_array(array, output, target or "data", **given)
    elif options.to == "sparse":
        written = write_sparse(array, output, target or "matrix", **given)
    else:
        if array.ndim != 2:
            raise ValueError(f"the format {options.to!r} holds matrices, and the array has {array.ndim} dimensions")
        row_names, column_names = (
            [f"{axis}{number}" for number in range(extent)] if found is None else found
            for axis, extent, found in zip(("row", "column"), array.shape, names, strict=True)
        )
        given |= {"row_names": row_names, "column_names": column_names}
        if options.to == "h5ad":
            written = write_h5ad(array, output, **given)
        elif options.to == "loom":
            written = write_loom(array, output, **given)
        else:
            written = write_tenx(array, output, version=2 if options.to == "tenx-v2" else 3, **given)
    size = Path(output).stat().st_size
    if options.json:
        document = {
            "file": output,
            "format": options.to,
            "shape": written.shape,
            "dtype": written.dtype.str,
            "size": size,
        }
        print_json(document)
    else:
        sys.stdout.write(f"{output}: {shape(written.shape)} {written.dtype.name} as {options.to}\n")
    return 0


def positions(chosen: str, extent: int, names: Any, argument: str) -> Any:
    """What is chosen of an axis.

    Args:
        chosen: A range ``BEGIN:END``, of which either may be left out; or the path of a file with a name or a number in
            each line.
        extent: Of the axis.
        names: Names along the axis; None if there are none.
        argument: What it is called in errors.

    Returns:
        A slice, or an array of positions, in the order of the file.

    Raises:
        ValueError: If a range is none, or is out of bounds.
        KeyError: If a name is not there; some of those that are not are listed.
    """
    if ":" in chosen and not Path(chosen).exists():
        bounds = chosen.split(":")
        if len(bounds) != 2 or not all(bound == "" or bound.isdecimal() for bound in bounds):
            raise ValueError(f"{argument} should be like 0:1000 or the path of a file, not {chosen!r}")
        begin, end = (int(bound) if bound else default for bound, default in zip(bounds, (0, extent), strict=True))
        if not begin <= end <= extent:
            raise ValueError(f"{argument} {chosen} is not within an axis of extent {extent}")
        return slice(begin, end)
    lines = [line for line in Path(chosen).read_text(encoding="utf-8").splitlines() if line]
    if names is not None:
        known = {str(name): number for number, name in reversed(list(enumerate(names.tolist())))}
        missing = [line for line in lines if line not in known]
        if missing and not all(line.isdecimal() for line in lines):
            raise KeyError(f"{argument}: {len(missing)} of {len(lines)} names are not there, such as {missing[:5]}")
        if not missing:
            return numpy.array([known[line] for line in lines], dtype=numpy.int64)
    elif not all(line.isdecimal() for line in lines):
        raise ValueError(f"{argument}: the file has no names along this axis; give numbers")
    numbers = numpy.array([int(line) for line in lines], dtype=numpy.int64)
    if numbers.size and int(numbers.max()) >= extent:
        raise ValueError(f"{argument}: position {int(numbers.max())} is outside of an axis of extent {extent}")
    return numbers


def _chunks(text: str | None) -> int | tuple[int, ...] | None:
    if text is None:
        return None
    lengths = text.lower().split("x")
    if not all(length.isdecimal() and int(length) > 0 for length in lengths):
        raise ValueError(f"--chunks should be like 1000x100 or 100000, not {text!r}")
    return int(lengths[0]) if len(lengths) == 1 else tuple(map(int, lengths))
