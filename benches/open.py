"""How long it takes to open a dataset of more than a million chunks, and how much memory.

`python benches/open.py` prints a table; `--write docs/files.md` puts it there, between its marks. The file of each
index of chunks is written first (a few seconds each) and is in the operating system's cache when it is read. A read is
of one element, by a process of its own: the *first* makes the seed and looks the chunk up, the *next* does the same
again and finds the dataset's description in memory. Peak memory is that of both, above what the process took with all
its modules loaded. h5py opens the file, reads the same element and closes the file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py

BEGIN = "<!-- begin of the open table: python benches/open.py --write docs/files.md -->"
END = "<!-- end of the open table -->"
CHUNK = 8
PROCESSES = 5


def write_chunk_by_chunk(shape: tuple[int, ...], maxshape: tuple[int | None, ...] | None, libver: str) -> Callable:
    """A writer of a dataset of this shape that goes past h5py's selections: chunks as they are."""

    def write(path: Path) -> int:
        chunk = (*(1 for _ in shape[1:]), CHUNK)
        content = b"\1" * CHUNK
        with h5py.File(path, "w", libver=libver) as handle:
            dataset = handle.create_dataset("x", shape, "u1", chunks=chunk, maxshape=maxshape)
            put = dataset.id.write_direct_chunk
            if len(shape) == 1:
                for start in range(0, shape[0], CHUNK):
                    put((start,), content)
            else:
                for row in range(shape[0]):
                    for start in range(0, shape[1], CHUNK):
                        put((row, start), content)
            return int(dataset.id.get_num_chunks())

    return write


def write_at_once(shape: tuple[int, ...]) -> Callable:
    """A writer that lets libhdf5 allocate all chunks itself, which gives an implicit index."""

    def write(path: Path) -> int:
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_chunk((CHUNK,))
        dcpl.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        with h5py.File(path, "w", libver="latest") as handle:
            space = h5py.h5s.create_simple(shape)
            return int(h5py.h5d.create(handle.id, b"x", h5py.h5t.STD_U8LE, space, dcpl).get_num_chunks())

    return write


def indexes(count: int) -> dict[str, Callable[[Path], int]]:
    """For each kind of index what writes a dataset that has it."""
    line, plane = (count * CHUNK,), (-(-count // 1000), 1000 * CHUNK)
    return {
        "B-tree, version 1": write_chunk_by_chunk(line, None, "earliest"),
        "implicit": write_at_once(line),
        "fixed array": write_chunk_by_chunk(line, None, "latest"),
        "extensible array": write_chunk_by_chunk(line, (None,), "latest"),
        "B-tree, version 2": write_chunk_by_chunk(plane, (None, None), "latest"),
    }


def read_once(path: str) -> None:
    """In a process of its own: seconds of the first and the next read, bytes at the peak, seconds of h5py."""
    from delayedarray import extract_dense_array

    from filebackedarray import Hdf5DenseArraySeed, _core

    def status(field: str) -> int:
        found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found.group(1)) * 1024

    assert _core.read_path(path, b"x") == "direct"
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        seed = Hdf5DenseArraySeed(path, "x", native_order=True)
        extract_dense_array(seed, tuple([extent - 1] for extent in seed.shape))
        seconds.append(time.perf_counter() - start)
    peak = status("VmHWM") - before
    start = time.perf_counter()
    with h5py.File(path, "r") as handle:
        dataset = handle["x"]
        assert dataset[tuple(extent - 1 for extent in dataset.shape)] in (0, 1)
    print(json.dumps([*seconds, peak, time.perf_counter() - start]))


def measure(path: Path) -> tuple[float, ...]:
    """The least of the seconds, the bytes and the seconds of h5py, each of some processes."""
    runs = []
    for _ in range(PROCESSES):
        done = subprocess.run(
            [sys.executable, __file__, "--read", os.fspath(path)], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout))
    return tuple(map(min, zip(*runs, strict=True)))


def table(count: int) -> str:
    """The table in Markdown."""
    lines = [
        "| index of chunks | chunks | size of the file | first read | next read | peak memory | h5py |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, write in indexes(count).items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.h5"
            chunks = write(path)
            first, following, peak, peer = measure(path)
            lines.append(
                f"| {name} | {chunks:,} | {path.stat().st_size / 1e6:.0f} MB | {first * 1e3:.0f} ms"
                f" | {following * 1e3:.1f} ms | {peak / 1e6:.0f} MB | {peer * 1e3:.1f} ms |"
            )
            print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1_200_000, help="how many chunks each dataset has")
    parser.add_argument("--write", type=Path, help="a page to put the table into")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read_once(arguments.read)
        return
    made = table(arguments.chunks)
    if arguments.write is None:
        print(made)
        return
    before, rest = arguments.write.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    arguments.write.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
