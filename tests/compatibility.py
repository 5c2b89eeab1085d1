"""What the package makes of every dataset in the real files, compared with their inventory.

`python tests/compatibility.py` prints a table of it; `--write FILE` puts it between the markers in a file.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (registers filters, for what h5py has to read here)
import numpy
from delayedarray import extract_dense_array

import real
from filebackedarray import Hdf5DenseArraySeed, _core
from isolated import Isolated

#: Filters that are left to plugins of libhdf5, and raise NotImplementedError where there are none.
BY_PLUGIN: dict[int, str] = {
    32002: "a zlib plugin of the HDF Group's examples",
    32013: "zfp",
    32017: "sz",
    32018: "fcidecomp",
}

#: What a dataset that cannot be read raises; see the table in docs/architecture.md.
DOCUMENTED: tuple[type[BaseException], ...] = (
    FileNotFoundError,
    PermissionError,
    OSError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    NotImplementedError,
    MemoryError,
)

#: Datasets that are read here and by h5py not, with the sha256 of what is right, by the end of their path.
MORE_THAN_H5PY: dict[str, str] = {
    # VAX floats: the sums of row and column.
    "h5dump/testfiles/tvms.h5:/Array": "14bbb23159ad2eb3e544713b24af5e2107041d6e560b19d64d3702df55181c0b",
    # A big-endian bitfield of one byte, whose bytes in the file are the values.
    "data/hdf5/bitfield_dset.h5:/DS1": "f18d892d5c6097208690cb98dcae33c1af6262c8448263055e032b2c15cce334",
}

#: Datasets of which the inventory's hash says nothing, by the end of their path.
NO_TRUTH: dict[str, str] = {
    "cve-2025-2308.h5:/Scale_offset_long_long_data_le": "h5py returns memory that was never written",
}

#: The folder whose files are damaged on purpose.
HOSTILE = "c6_malformed"
HOSTILE_MEMORY = 4 << 30
HOSTILE_SECONDS = 10.0
#: For ordinary files: a deadlock shall not stop the tests.
SECONDS = 100.0

#: Name under which test_inventory.py hands a file's outcomes to conftest.py, from whichever process it runs in.
PROPERTY = "compatibility"

Row = dict[str, Any]


def documented(error: BaseException) -> str | None:
    """The name of the documented exception that this is; None if it is none of them."""
    if type(error) in DOCUMENTED:
        return type(error).__name__
    # Subclasses: of OSError those by errno, of MemoryError numpy's. A KeyError is no mere LookupError.
    for kind in (OSError, MemoryError):
        if isinstance(error, kind):
            return kind.__name__
    return None


@functools.cache
def files() -> dict[str, list[Row]]:
    """The rows of the inventory by file; none if the files are not there."""
    if not real.is_there():
        return {}
    found: dict[str, list[Row]] = {}
    with open(real.location() / "inventory.jsonl", encoding="utf-8") as handle:
        for line in handle:
            row = json.loads(line)
            found.setdefault(row["file"], []).append(row)
    return found


def is_hostile(rows: Iterable[Row]) -> bool:
    return any(row["file"].startswith(f"{HOSTILE}/") or row["kind"] == "crash" for row in rows)


def name_of(row: Row) -> str | bytes:
    """A dataset's name. The inventory writes names that are not UTF-8 as `bytes:` and escapes."""
    if "/bytes:" not in row["name"]:
        return str(row["name"])
    parts = [
        part[len("bytes:") :].encode().decode("unicode_escape").encode("latin-1")
        if part.startswith("bytes:")
        else part.encode()
        for part in row["name"].split("/")
    ]
    return b"/".join(parts)


def engine_name(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode()


def little_endian(values: numpy.ndarray) -> bytes:
    return values.astype(values.dtype.newbyteorder("<"), order="C", copy=False).tobytes()


def digest(values: numpy.ndarray) -> str:
    return hashlib.sha256(little_endian(values)).hexdigest()


def listed(row: Row, datasets: dict[str, str]) -> str | None:
    """What such a list says of a dataset."""
    place = f"{row['file']}:{row['name']}"
    return next((value for end, value in datasets.items() if place.endswith("/" + end)), None)


def texts(values: Any) -> list[bytes]:
    """Strings of any kind as their bytes, without padding."""
    flat = numpy.asarray(values).ravel().tolist()
    encoded = [value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value for value in flat]
    return [value.rstrip(b"\0") for value in encoded]


def same_as_h5py(path: str, name: str | bytes, values: numpy.ndarray) -> str | None:
    """What is different from what h5py reads, for what the inventory has no hash of."""
    with h5py.File(path, "r") as handle:
        truth = numpy.asarray(handle[name][()])
    if values.shape != truth.shape:
        return f"shape {values.shape}, h5py's {truth.shape}"
    if values.dtype.kind in "SU":
        return None if texts(values) == texts(truth) else "strings differ from h5py's"
    if values.dtype.kind == "f" and truth.dtype.kind == "f":
        # Long doubles, whose padding is arbitrary.
        return None if numpy.array_equal(values, truth, equal_nan=True) else "values differ from h5py's"
    if values.dtype != truth.dtype:
        return f"type {values.dtype.str}, h5py's {truth.dtype.str}"
    return None if little_endian(values) == little_endian(truth) else "values differ from h5py's"


def compare(path: str, row: Row, name: str | bytes, values: numpy.ndarray, hostile: bool) -> tuple[str, str]:
    """Whether values are what the inventory says."""
    if listed(row, NO_TRUTH) is not None:
        return "not comparable", ""
    right = listed(row, MORE_THAN_H5PY)
    if right is not None:
        return ("equal", "") if digest(values) == right else ("different", "values")
    if "sha256" in row and "hash_note" not in row:
        # What h5py returns of a single number is a numpy scalar, which is always in native byte order.
        expected = numpy.dtype(row["numpy_dtype"] if row["shape"] else row["dtype"])
        if values.dtype.str != expected.str:
            return "different", f"type {values.dtype.str}, not {expected.str}"
        if list(values.shape) != row["shape"]:
            return "different", f"shape {list(values.shape)}, not {row['shape']}"
        return ("equal", "") if digest(values) == row["sha256"] else ("different", "values")
    more = is_text_or_complex(row)
    if row["kind"] == "crash" or (hostile and row.get("read") == "ok" and more):
        return "not comparable", "h5py cannot be asked"
    if row["kind"] == "unreadable-object" or row["read"] != "ok":
        return "different", "values where h5py reads none"
    if not (more or "hash_note" in row):
        return "different", f"values of type {values.dtype.str} of a {row['h5class']} dataset"
    difference = same_as_h5py(path, name, values)
    return ("equal", "") if difference is None else ("different", difference)


def is_text_or_complex(row: Row) -> bool:
    """Whether a dataset is one that is read, although the inventory has no hash of it."""
    return row.get("h5class") == "string" or row.get("dtype") in ("<c8", ">c8", "<c16", ">c16")


def look_at_corners(path: str, row: Row, name: str | bytes) -> tuple[str, str]:
    """Of a dataset too large for the inventory: its shape, and its first and last element."""
    seed = Hdf5DenseArraySeed(path, name, native_order=True)  # type: ignore[arg-type]
    if list(seed.shape) != row["shape"] or seed.dtype.str != numpy.dtype(row["dtype"]).str:
        return "different", f"{seed.dtype.str} {seed.shape}"
    corner = tuple([0, extent - 1] if extent > 1 else [0] for extent in seed.shape)
    values = extract_dense_array(seed, corner)
    with h5py.File(path, "r") as handle:
        truth = handle[name][corner[0]]
    return ("not comparable", "too large") if numpy.array_equal(values, truth) else ("different", "corners")


def read(path: str, row: Row, hostile: bool) -> tuple[str, str, str, str]:
    """State, detail, read path and documented exception of a dataset."""
    name = name_of(row)
    try:
        if row.get("read") == "skipped":
            return *look_at_corners(path, row, name), "", ""
        seed = Hdf5DenseArraySeed(path, name, native_order=True)  # type: ignore[arg-type]
        values = extract_dense_array(seed, tuple(range(extent) for extent in seed.shape))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # A panic of the engine is a BaseException.
        text = f"{type(error).__name__}: {error}"
        kind = documented(error)
        return ("different", text, "", "") if kind is None else ("refused", text, "", kind)
    way = _core.read_path(path, engine_name(name))
    return *compare(path, row, name, values, hostile), way, ""


def read_file(rows: list[Row]) -> list[tuple[str, str, str, str]]:
    """`read` of every dataset of a file, in the folder that its external files are relative to."""
    path = real.location() / rows[0]["file"]
    hostile = is_hostile(rows)
    os.chdir(path.parent)
    return [read(path.name, row, hostile) for row in rows]


def problem(row: Row, state: str, detail: str, exception: str) -> str | None:
    """Why an outcome is not what should come of a dataset."""
    if state == "different":
        return detail
    if state != "refused" or row.get("read") != "ok":
        return None
    filters = {*row.get("filters", ())}
    if exception == "NotImplementedError" and filters & BY_PLUGIN.keys():
        return None
    unreadable = "hash_note" in row or (row["kind"] == "other" and not is_text_or_complex(row))
    return None if unreadable and exception == "TypeError" else f"refused: {detail}"


def isolated() -> Isolated:
    return Isolated("compatibility", "read_file")


def check(file: str, call: Isolated) -> tuple[Counter[str], list[str]]:
    """The outcomes of a file's datasets for the table, and what is wrong with them."""
    rows = files()[file]
    hostile = is_hostile(rows)
    ending = call(rows, seconds=HOSTILE_SECONDS, memory=HOSTILE_MEMORY) if hostile else call(rows, seconds=SECONDS)
    if ending.death is not None:
        return Counter({"died": len(rows)}), [f"{file}: {ending.death}\n{ending.last_words}"]
    counts: Counter[str] = Counter()
    problems = []
    for row, (state, detail, way, exception) in zip(rows, ending.answer, strict=True):
        complaint = problem(row, state, detail, exception)
        if complaint is not None:
            problems.append(f"{row['name']} ({row.get('dtype')}, filters {row.get('filters')}): {complaint}")
            counts["wrong"] += 1
        elif state == "equal":
            counts[f"equal {way.split(':')[0]}"] += 1
        elif state == "refused":
            text = " of strings" if row.get("h5class") == "string" else ""
            counts[f"refused {exception}{text}"] += 1
        else:
            counts[state] += 1
    return counts, problems


def folder_of(file: str) -> str:
    return file.split("/")[0]


def table(outcomes: dict[str, Counter[str]]) -> list[str]:
    """Lines of Markdown: the outcomes of each folder, and of all."""
    heading = ("folder", "datasets", "equal, direct", "equal, libhdf5", "refused", "not comparable", "wrong")
    rows = [heading]
    for folder in [*sorted(outcomes), "all"]:
        counts = sum(outcomes.values(), Counter()) if folder == "all" else outcomes[folder]
        refused = sorted(key for key in counts if key.startswith("refused"))
        numbers = (
            counts.total(),
            counts["equal direct"],
            counts["equal libhdf5"],
            ", ".join(f"{key.removeprefix('refused ')} {counts[key]}" for key in refused),
            counts["not comparable"],
            counts["wrong"] + counts["died"],
        )
        rows.append((folder, *(str(number or "") for number in numbers)))  # type: ignore[arg-type]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return lines


BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"


def write(page: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the markers of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"{page} lacks the markers {BEGIN} and {END}")
    page.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="page to put the table into")
    arguments = parser.parse_args()
    if not real.is_there():
        print(f"no real files in {real.location()} (see tests/real.py)", file=sys.stderr)
        return 1
    outcomes: dict[str, Counter[str]] = {}
    with isolated() as call:
        for file in files():
            counts, problems = check(file, call)
            outcomes.setdefault(folder_of(file), Counter()).update(counts)
            for text in problems:
                print(f"{file}: {text}", file=sys.stderr)
    lines = table(outcomes)
    print("\n".join(lines))
    if arguments.write:
        write(arguments.write, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
