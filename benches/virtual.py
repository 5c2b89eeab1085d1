"""How long it takes to read virtual datasets, beside the same values read from their sources, and beside h5py.

`python benches/virtual.py` prints a table; `--write docs/performance.md` puts it there, between its marks; `--check`
fails below the floors of `floors.toml`. Each time is the least of several, all in one process, warm: of a virtual
dataset, of a link to another file, and of the sources one after another into one array.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import tomllib
from delayedarray import extract_dense_array

import filebackedarray as fba

BEGIN = "<!-- begin of the virtual table: python benches/virtual.py --write docs/performance.md -->"
END = "<!-- end of the virtual table -->"


def write(folder: Path, layout: str, sources: int, rows: int) -> tuple[Path, list[Path]]:
    """Sources of some layout, and a file in which they are stacked; a link to the first is in it, too."""
    values = np.random.default_rng(0).poisson(0.5, (rows, 2000)).astype("<f4")
    settings: dict[str, object] = {
        "gzip": {"chunks": (100, 2000), "compression": "gzip", "compression_opts": 1, "shuffle": True},
        "gzip in tiles": {"chunks": (500, 500), "compression": "gzip", "compression_opts": 1, "shuffle": True},
        "gzip, not aligned": {"chunks": (300, 500), "compression": "gzip", "compression_opts": 1, "shuffle": True},
        "contiguous": {},
    }[layout]
    paths = [folder / f"{layout.replace(' ', '_')}-{number}.h5" for number in range(sources)]
    virtual = h5py.VirtualLayout((sources * rows, 2000), "<f4")
    for number, path in enumerate(paths):
        with h5py.File(path, "w") as handle:
            handle.create_dataset("x", data=values, **settings)
        virtual[number * rows : (number + 1) * rows] = h5py.VirtualSource(path.name, "x", values.shape)
    main = folder / f"{layout.replace(' ', '_')}.h5"
    with h5py.File(main, "w", libver="latest") as handle:
        handle.create_virtual_dataset("x", virtual)
        handle["link"] = h5py.ExternalLink(paths[0].name, "x")
    return main, paths


def least(read: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        read()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(main: Path, paths: list[Path], repeats: int) -> dict[str, float]:
    """Seconds of each way to read the same values."""
    seeds = [fba.Hdf5DenseArraySeed(path, "x", native_order=True) for path in paths]
    virtual = fba.Hdf5DenseArraySeed(main, "x", native_order=True)
    link = fba.Hdf5DenseArraySeed(main, "link", native_order=True)

    def whole(seed: fba.Hdf5DenseArraySeed) -> np.ndarray:
        return extract_dense_array(seed, tuple(range(extent) for extent in seed.shape))

    def by_h5py() -> np.ndarray:
        with h5py.File(main) as handle:
            return handle["x"][()]

    def direct() -> np.ndarray:
        result, begin = np.empty(virtual.shape, virtual.dtype), 0
        for seed in seeds:
            result[begin : begin + seed.shape[0]] = whole(seed)
            begin += seed.shape[0]
        return result

    if not np.array_equal(whole(virtual), by_h5py()):
        raise SystemExit(f"{main}: not what h5py reads")
    total = fba.Hdf5DenseArray(main, "x", native_order=True)
    return {
        "virtual": least(lambda: whole(virtual), repeats),
        "sources": least(direct, repeats),
        "h5py": least(by_h5py, min(repeats, 3)),
        "sum": least(lambda: total.sum(), repeats),
        "link": least(lambda: whole(link), repeats) * len(paths),
    }


def main() -> None:
    """Measure, and print, check or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000, help="rows of each source, of 8,000 bytes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path, help="a page to put the table into")
    arguments = parser.parse_args()
    floors = tomllib.loads((Path(__file__).parent / "floors.toml").read_text())["virtual"]
    lines = [
        f"| {arguments.sources} sources of {arguments.rows * 8e-3:.0f} MB"
        " | virtual dataset | its sources | sum of the virtual dataset | h5py |",
        "| --- | --- | --- | --- | --- |",
    ]
    failed = []
    for layout in ("gzip", "gzip in tiles", "gzip, not aligned", "contiguous"):
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(*write(Path(folder), layout, arguments.sources, arguments.rows), arguments.repeats)
        shown = {name: f"{value * 1e3:.0f} ms" for name, value in seconds.items()}
        lines.append(f"| {layout} | {shown['virtual']} | {shown['sources']} | {shown['sum']} | {shown['h5py']} |")
        print(lines[-1], f"(links: {shown['link']})", file=sys.stderr)
        for peer in ("h5py", "sources"):
            ratio = seconds[peer] / seconds["virtual"]
            if ratio < floors[layout][peer]:
                failed.append(
                    f"{layout}: {ratio:.2f} times as fast as {peer}, where it should be {floors[layout][peer]}"
                )
    text = "\n".join(lines)
    if arguments.write:
        before, rest = arguments.write.read_text().split(BEGIN)
        arguments.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    print(text)
    if arguments.check and failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
