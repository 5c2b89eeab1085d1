"""The command ``filebackedarray``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._compute.summarize import summarize
from .._core import set_num_threads
from .._engine import engine
from .._engine.names import engine_name, engine_path, text_name
from .._engine.snapshot import one_state
from .._engine.types import EndedError
from .._engine.untrusted import patience
from .._formats import listing
from .._formats.file import File
from .._formats.listing import message
from .._formats.openers import open_stored
from .._formats.registry import locate, sparse_members
from .._show import html
from .._show import text as _display
from .._show.progress import reporting
from .._show.text import Column, print_json, print_table
from ..Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix
from . import check, convert

_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""As of a process that ended by SIGINT, or SIGPIPE."""

_MOST_ENDED = 5
"""Maximum number of processes that a file which is not trusted may end before the rest of it is left alone."""

_STATISTICS = ("count_nonzero", "sum", "mean", "std", "min", "max")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those of the command; None for those of the process.

    Returns:
        The exit status: 0 if all went well, 1 for an error (which is said on standard error) or a damaged file, 130
        after Ctrl-C. Wrong arguments end the process with 2.
    """
    # A process may be started without either.
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 (for as long as the process lives)
    if sys.stdout is None:
        sys.stderr.write("filebackedarray: standard output is closed\n")
        return 1
    # Names in files may be of bytes that are not text.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        if options.threads is not None:
            set_num_threads(options.threads)
        with warnings.catch_warnings():
            warnings.showwarning = _warning
            # One command is one operation.
            status: int = one_state(options.run)(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read this has enough. Python would complain again when it ends, and cannot write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:
        sys.stderr.write(f"filebackedarray: {_display.printable(message(error))}\n")
        return 1


def _warning(message: Warning | str, *_: Any, **__: Any) -> None:
    sys.stderr.write(f"filebackedarray: warning: {_display.printable(str(message))}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="filebackedarray",
        description="Look at arrays and sparse matrices in HDF5 files, check them, and convert them.",
    )
    parser.add_argument("--version", action="version", version=f"filebackedarray {version('filebackedarray')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def ready(added: argparse.ArgumentParser, run: Callable[[Any], int]) -> argparse.ArgumentParser:
        added.add_argument("--json", action="store_true", help="write JSON")
        added.add_argument("--threads", type=_positive, metavar="N", help="how many threads read and decode")
        added.add_argument(
            "--untrusted",
            action="store_true",
            help="read the file in a process of its own, for one that may have been made to do damage",
        )
        added.set_defaults(run=run)
        return added

    def command(name: str, run: Callable[[Any], int], what: str, with_name: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
        added.add_argument("file", metavar="FILE", help="an HDF5 file")
        if with_name:
            added.add_argument("name", metavar="NAME", help="name of a dataset, or of the group of a sparse matrix")
            added.add_argument(
                "--shape", type=_shape, metavar="ROWSxCOLUMNS", help="of a sparse matrix, if the file does not say it"
            )
            added.add_argument(
                "--by", choices=("column", "row"), help="along what a sparse matrix is compressed, likewise"
            )
        return ready(added, run)

    command("ls", _ls, "list the arrays and sparse matrices of a file, and how they are stored", with_name=False)
    command("info", _info, "tell what an array is and how it is stored")
    head = command("head", _head, "show the first rows and columns of an array")
    head.add_argument("-n", "--rows", type=_positive, default=10, metavar="N", help="how many rows (10)")
    head.add_argument("-c", "--columns", type=_positive, default=10, metavar="N", help="how many columns (10)")
    stats = command("stats", _stats, "write statistics of each row, or column, as CSV or TSV")
    stats.add_argument(
        "--axis",
        default="0",
        metavar="N",
        help="of what there is a line for each index: 0 for rows (the default), 1 for columns; all: one for the array",
    )
    stats.add_argument(
        "--statistics",
        default=",".join(_STATISTICS),
        metavar="NAMES",
        help="names of methods of the arrays, with commas between (%(default)s)",
    )
    stats.add_argument("-o", "--output", metavar="PATH", help="the file to write; standard output if not given")
    stats.add_argument(
        "--format", choices=("csv", "tsv"), help="by default what the name of the output ends with, or else csv"
    )
    stats.add_argument("--quiet", action="store_true", help="show no progress")
    check = command("check", _check, "decode every chunk of a file and tell what is damaged", with_name=False)
    check.add_argument("--strict", action="store_true", help="fail also if something could not be checked")
    check.add_argument("--quiet", action="store_true", help="show no progress")
    said = "write an array of one file into another, in some format"
    added = commands.add_parser("convert", help=said, description=said[0].upper() + said[1:] + ".")
    convert.add_arguments(added)
    ready(added, convert.convert)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it should be a number of at least 1, not {text!r}")
    return int(text)


def _shape(text: str) -> tuple[int, int]:
    extents = text.lower().split("x")
    if len(extents) != 2 or not all(extent.isdecimal() for extent in extents):
        raise argparse.ArgumentTypeError(f"it should be like 33538x1000, not {text!r}")
    return int(extents[0]), int(extents[1])


def _open(options: Any) -> Any:
    """The array of a command, in the shape that the file has it, with the names of its axes."""
    return _located(options)[0]


def _located(options: Any) -> tuple[Any, str]:
    """The array of a command, and the title of its format."""
    file, name = File(options.file, options.untrusted), text_name(options.name)
    group = file.describe(name).kind == "group"
    members = sparse_members(file, name) if group else None
    if options.shape is not None or options.by is not None:
        if members is None:
            raise ValueError(f"{options.name!r} is no group of a sparse matrix, which --shape and --by are for")
        if options.shape is not None and options.by is not None:
            called = {f"{member}_name": f"{name}/{own}" for member, own in members.items()}
            by_column = options.by == "column"
            return Hdf5CompressedSparseMatrix(
                options.file, name, options.shape, by_column, untrusted=options.untrusted, **called
            ), ""
    try:
        found = locate(file, name)
    except ValueError as error:
        if members is None:
            raise
        raise ValueError(f"{error}; give --shape and --by") from None
    if found is None:
        raise ValueError(
            f"{options.name!r} is a group, and not of a sparse matrix: it has no data, indices and indptr;"
            f" 'filebackedarray ls' shows what there is"
        )
    if found.compressed is not None:
        shape = found.shape if options.shape is None else options.shape
        by_column = found.compressed.by_column if options.by is None else options.by == "column"
        names = None if options.shape is not None or options.by is not None else found.names
        found = replace(found, shape=shape, compressed=found.compressed._replace(by_column=by_column), names=names)
    return open_stored(file, found, is_turned=False), found.format


@contextmanager
def _with_patience(options: Any) -> Iterator[Callable[[], int]]:
    """Go through a file, which, if it is not trusted, may end a few of the processes that read it.

    Yields:
        What gives, in the end, the exit status of this: 1 if it did, which it says on standard error.
    """
    if not options.untrusted:
        yield lambda: 0
        return
    with patience(_MOST_ENDED) as count:

        def status() -> int:
            if count.ended == 0:
                return 0
            left = "" if count.ended < count.most else "; what came after was not read"
            what = "the process that read it" if count.ended == 1 else f"{count.ended} processes that read it"
            sys.stderr.write(f"filebackedarray: {_display.printable(repr(options.file))} ended {what}{left}\n")
            return 1

        yield status


def _ls(options: Any) -> int:
    with _with_patience(options) as status:
        found = list(listing.entries(options.file, untrusted=options.untrusted))
    size = os.stat(options.file).st_size
    if options.json:
        print_json({"file": options.file, "size": size, "members": [entry.as_dict() for entry in found]})
        return status()
    print_table(
        (
            Column("name", folds=True),
            Column("shape"),
            Column("type", folds=True),
            Column("format", folds=True),
            Column("chunks"),
            Column("filters", folds=True),
            Column("size", right=True),
            Column("ratio", right=True),
            Column("read by", folds=True),
            Column("note", folds=True),
        ),
        [_row(entry) for entry in found],
    )
    return status()


def _row(entry: Any) -> list[str]:
    name = entry.name if entry.name == "/" else "  " * (entry.depth - 1) + entry.name.rpartition("/")[2]
    if entry.kind == "group" and entry.name != "/":
        name += "/"
    kind = entry.dtype or ""
    if entry.kind == "sparse":
        form = "" if entry.by_column is None else " by column" if entry.by_column else " by row"
        kind = f"{kind} sparse{form}".strip()
    note = entry.note
    if entry.repeats is not None:
        note = f"the same as {entry.repeats}"
    elif entry.kind not in ("group", "dense", "sparse", "dataset"):
        note = f"{entry.kind}: {note}" if note else entry.kind
    return [
        name,
        _display.shape(entry.shape),
        kind,
        entry.format or "",
        _chunks(entry),
        ", ".join(entry.filters),
        "" if entry.storage_size is None else _display.size(entry.storage_size),
        _display.ratio(entry.compression_ratio),
        entry.read_path or "",
        note,
    ]


def _chunks(entry: Any) -> str:
    if isinstance(entry.chunks, dict):
        return _display.shape(None if entry.chunks.get("data") is None else (entry.chunks["data"],))
    return _display.shape(entry.chunks)


def _info(options: Any) -> int:
    array, title = _located(options)
    if options.json:
        print_json({"file": options.file, "name": options.name, "format": title or None, **_facts(array)})
        return 0
    # What is said of an array leaves out what cannot be read.
    with _with_patience(options) as status:
        said = [*([("Format", title)] if title else []), *html.rows(array), ("Read by", _read_by(array))]
    print_table((Column(type(array).__name__), Column("", folds=True)), [list(row) for row in said])
    return status()


def _names(array: Any) -> list[str]:
    """Datasets that the array is in."""
    from delayedarray import SparseNdarray

    seed = array.seed
    if isinstance(seed, SparseNdarray):
        # A matrix without elements, for which the file has no datasets.
        return []
    return [seed.name] if hasattr(seed, "name") else [seed.data_name, seed.indices_name, seed.indptr_name]


def _read_by(array: Any) -> str:
    if not _names(array):
        return "direct"
    reader, path = engine(array.seed._untrusted), engine_path(array.path)
    paths = [reader.read_path(path, engine_name(name)) for name in _names(array)]
    return next((path for path in paths if path != "direct"), "direct")


def _facts(array: Any) -> dict[str, Any]:
    from delayedarray import is_sparse

    seed, sparse = array.seed, is_sparse(array.seed)
    if not _names(array):
        facts = {"kind": "sparse", "shape": array.shape, "dtype": array.dtype.str, "size": array.size, "nnz": 0}
        return {**facts, "read_path": _read_by(array)}
    facts = {
        "kind": "sparse" if sparse else "dense",
        "shape": array.shape,
        "dtype": array.dtype.str,
        "chunks": seed.chunk_shape._asdict() if sparse else seed.chunk_shape,
        "filters": {name: list(names) for name, names in seed.filters._asdict().items()} if sparse else seed.filters,
        "storage_size": seed.storage_size,
        "compression_ratio": seed.compression_ratio,
        "size": array.size,
        "read_path": _read_by(array),
    }
    if sparse:
        facts |= {"by_column": seed.by_column, "nnz": seed.nnz, "sparsity": seed.sparsity}
    return facts


def _head(options: Any) -> int:
    import numpy

    array = _open(options)
    shape = array.shape
    # Of more than two dimensions, the first of all but the last two.
    before = [0] * (len(shape) - 2)
    if 0 in shape[: len(before)]:
        values = numpy.empty((0, 0), array.dtype)
    else:
        limits = (options.rows, options.columns)
        kept = [slice(min(limit, extent)) for limit, extent in zip(limits, shape[len(before) :], strict=False)]
        values = numpy.asarray(array[(*before, *kept)])
    if options.json:
        print_json(
            {
                "file": options.file,
                "name": options.name,
                "shape": shape,
                "dtype": array.dtype.str,
                "at": before,
                "values": values,
            }
        )
        return 0
    title = f"{_display.shape(shape)} {array.dtype.name}"
    if before:
        title += " at " + ", ".join(["0"] * len(before))
    sys.stdout.write(title + "\n")
    if values.ndim == 0:
        print_table((Column(""), Column("value")), [["", _cell(values[()])]])
        return 0
    columns = ["value"] if values.ndim == 1 else [str(column) for column in range(values.shape[1])]
    rows: Any = values.reshape(len(values), -1) if values.size else []
    numbers = array.dtype.kind in "biufc"
    more = values.ndim == 2 and values.shape[1] < shape[-1]
    table = [[str(number), *map(_cell, row), *(["..."] if more else [])] for number, row in enumerate(rows)]
    if len(rows) and len(values) < shape[len(before)]:
        table.append(["..."] + [""] * (len(table[0]) - 1))
    print_table(
        [Column("", right=True), *(Column(column, right=numbers) for column in columns), *([Column("")] * more)], table
    )
    return 0


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return _display.plain(value) if isinstance(value, bytes) else str(value)


def _stats(options: Any) -> int:
    import numpy

    array = _open(options)
    names = [name.strip() for name in options.statistics.split(",") if name.strip()]
    if not names:
        raise ValueError("--statistics names none")
    axis = _axis(options.axis, array.ndim)
    reduced = None if axis is None else tuple(other for other in range(array.ndim) if other != axis)
    with reporting(not options.quiet and sys.stderr.isatty(), "stats") as report:
        results = summarize(array, reduced, names, progress=report)
    rows = 1 if axis is None else array.shape[axis]
    columns = {name: numpy.reshape(results[name], (rows,)) for name in names}
    labels = None if axis is None else _labels(array, axis)
    if options.json:
        document: dict[str, Any] = {"file": options.file, "name": options.name, "axis": axis, "length": rows}
        document |= {"names": labels, "statistics": columns}
        if options.output is None:
            print_json(document)
        else:
            import json

            with Path(options.output).open("w", encoding="ascii") as handle:
                json.dump(_display.plain(document), handle, indent=2, allow_nan=False)
                handle.write("\n")
        return 0
    ending = Path(options.output or "").suffix.lower()
    separator = "\t" if (options.format or ending.removeprefix(".")) == "tsv" else ","
    if options.output is None:
        _write_table(sys.stdout, separator, axis, labels, columns)
    else:
        # Names that are not UTF-8 are written as the bytes that they are.
        with Path(options.output).open("w", encoding="utf-8", errors="surrogateescape", newline="") as handle:
            _write_table(handle, separator, axis, labels, columns)
    return 0


def _axis(text: str, ndim: int) -> int | None:
    if text == "all":
        return None
    try:
        axis = int(text)
    except ValueError:
        raise ValueError(f"--axis should be a number or 'all', not {text!r}") from None
    if not 0 <= axis < ndim:
        raise ValueError(f"--axis {axis}: the array has {ndim} dimensions")
    return axis


def _labels(array: Any, axis: int) -> list[str] | None:
    """Names along an axis, where the openers know them."""
    if axis > 1:
        return None
    try:
        names = array.row_names if axis == 0 else array.column_names
    except EndedError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        warnings.warn(f"names are left out: {message(error)}", RuntimeWarning, stacklevel=1)
        return None
    return None if names is None else names.tolist()


def _write_table(
    handle: Any, separator: str, axis: int | None, labels: list[str] | None, columns: dict[str, Any]
) -> None:
    """Write numbers so that reading them gives the same: NaN as ``nan``, infinities as ``inf`` and ``-inf``."""
    import csv

    lists: dict[str, Any] = {name: values.tolist() for name, values in columns.items()}
    if labels is not None:
        lists = {"name": labels, **lists}
    if axis is not None:
        lists = {"index": range(len(next(iter(lists.values())))), **lists}
    handle.write(separator.join(lists) + "\n")
    # All that is text is quoted.
    writer = csv.writer(handle, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows(zip(*lists.values(), strict=True))


def _check(options: Any) -> int:
    from contextlib import ExitStack

    results = []
    shows = not options.quiet and sys.stderr.isatty()
    with _with_patience(options) as status, ExitStack() as bars:

        def report(name: str) -> Any:
            bars.close()
            return bars.enter_context(reporting(shows, _display.printable(name), stays=False))

        for checked in check.check(options.file, report, untrusted=options.untrusted):
            results.append(checked)
    faults = sum(len(checked.damaged) for checked in results)
    unchecked = [checked for checked in results if checked.unchecked]
    fails = bool(status() or faults or (options.strict and unchecked))
    if options.json:
        print_json(
            {
                "file": options.file,
                "ok": not fails,
                "chunks": sum(checked.chunks for checked in results),
                "faults": faults,
                "members": [vars(checked) for checked in results],
            }
        )
        return int(fails)
    rows: list[list[str]] = []
    for checked in results:
        rows.append([checked.name, str(checked.chunks), _verdict(checked), "; ".join(checked.notes)])
        for fault in checked.damaged:
            place = "" if fault["chunk"] is None else f" chunk at ({', '.join(map(str, fault['chunk']))}):"
            dataset = "" if fault["dataset"] == checked.name else f" {fault['dataset']}:"
            rows.append(["", "", f" {dataset}{place} {fault['message']}".replace("  ", " "), ""])
    if rows:
        print_table(
            (
                Column("name", folds=True),
                Column("chunks", right=True),
                Column("result", folds=True),
                Column("note", folds=True),
            ),
            rows,
        )
    total = sum(checked.chunks for checked in results)
    sys.stdout.write(f"{total} chunks decoded, {faults} faults, {len(unchecked)} not checked\n")
    return int(fails)


def _verdict(checked: Any) -> str:
    if checked.damaged:
        return "damaged"
    return f"not checked: {checked.unchecked}" if checked.unchecked else "ok"
