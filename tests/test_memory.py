"""Peak memory of an extraction: its result and 100 MB, whatever the selection."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy
import pytest

from chunks import write_chunks
from helpers import run_python

pytestmark = [
    # Also for the sake of the others: together these need more than a gigabyte.
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc"),
]

ALLOWANCE = 100e6

#: Measures the peak of the resident set over one call, above what there was before it.
PROLOGUE = """
import json, re, sys
import numpy
import filebackedarray
from delayedarray import extract_dense_array, extract_sparse_array, to_scipy_sparse_matrix
filebackedarray.set_num_threads(2)

def status(field):
    with open("/proc/self/status") as handle:
        return int(re.search(field + r":\\s+(\\d+)", handle.read()).group(1)) * 1024

def size_of(result):
    if isinstance(result, numpy.ndarray):
        return result.nbytes
    if hasattr(result, "indptr"):
        return result.data.nbytes + result.indices.nbytes + result.indptr.nbytes
    # The arrays of a SparseNdarray are objects too, of some hundred bytes each.
    return sum(i.nbytes + v.nbytes + 300 for i, v in filter(None, result.contents or []))

def measure(read):
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as handle:
        handle.write("5")
    result = read()
    print(json.dumps([status("VmHWM") - before, size_of(result)]))

path = sys.argv[1]
def dense(**options):
    return filebackedarray.Hdf5DenseArraySeed(path, "dense", native_order=True, **options)
def sparse(by_column, **options):
    shape = (ROWS, COLUMNS) if by_column else (COLUMNS, ROWS)
    return filebackedarray.Hdf5CompressedSparseMatrixSeed(path, "m", shape, by_column, **options)
def wrapped(seed):
    return filebackedarray.Hdf5CompressedSparseMatrix(seed, None, None, None)
"""

ROWS, COLUMNS, ENTRIES = 30_000, 6_000, 15_000_000
DENSE = (6000, 10_000)


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """240 MB dense and 180 MB sparse, and so large that a second copy of either is noticed."""
    path = tmp_path_factory.mktemp("memory") / "large.h5"
    rng = numpy.random.default_rng(29)
    per_column = ENTRIES // COLUMNS
    with h5py.File(path, "w") as handle:
        # One chunk in bytes again and again: to compress noise would take most of the test.
        values = numpy.zeros((500, 1000), "<i4")
        values[rng.random(values.shape) < 0.08] = 3
    raw = [
        ((i, j), zlib.compress(values.tobytes(), 1), 0)
        for i in range(0, DENSE[0], 500)
        for j in range(0, DENSE[1], 1000)
    ]
    write_chunks(path, ("gzip",), "<i4", DENSE, (500, 1000), raw, name="dense")
    # Every column has the same rows, evenly spread.
    rows = numpy.sort(rng.choice(ROWS, per_column, replace=False)).astype("<i8")
    indices = numpy.tile(rows, 10)
    data = rng.integers(1, 9, len(indices)).astype("<i4")
    chunk = len(indices)
    for name, piece in (("m/indices", indices), ("m/data", data)):
        content = zlib.compress(piece.tobytes(), 1)
        raw_1d = [((start,), content, 0) for start in range(0, ENTRIES, chunk)]
        write_chunks(path, ("gzip",), piece.dtype.str, (ENTRIES,), (chunk,), raw_1d, name=name)
    with h5py.File(path, "a") as handle:
        handle["m/indptr"] = numpy.arange(COLUMNS + 1) * per_column
    yield path
    path.unlink()


READS = {
    "dense-full": "extract_dense_array(seed, (range(6000), range(10000)))",
    "dense-500-rows": "extract_dense_array(seed, (rows(6000), range(10000)))",
    "dense-500-columns": "extract_dense_array(seed, (range(6000), rows(10000)))",
    "sparse-full-to-scipy": "to_scipy_sparse_matrix(array, 'csc')",
    "sparse-full": "extract_sparse_array(seed, (range(ROWS), range(COLUMNS)))",
    "sparse-500-rows": "extract_sparse_array(seed, (rows(ROWS), range(COLUMNS)))",
    "sparse-500-columns": "extract_sparse_array(seed, (range(ROWS), rows(COLUMNS)))",
    "sparse-500-rows-dense": "extract_dense_array(seed, (rows(ROWS), range(COLUMNS)))",
    "csr-full-to-scipy": "to_scipy_sparse_matrix(array, 'csr')",
    "csr-full": "extract_sparse_array(seed, (range(COLUMNS), range(ROWS)))",
    "csr-500-columns": "extract_sparse_array(seed, (range(COLUMNS), rows(ROWS)))",
}
OPENS = {
    "dense": "seed = dense()",
    "sparse": "seed = sparse(True); array = wrapped(seed)",
    "csr": "seed = sparse(False); array = wrapped(seed)",
}


def peak(path: Path, opening: str, reading: str) -> tuple[float, float]:
    out = run_python(
        f"""
ROWS, COLUMNS = {ROWS}, {COLUMNS}
{PROLOGUE}
def rows(n):
    return numpy.sort(numpy.random.default_rng(30).choice(n, 500, replace=False))
{opening}
measure(lambda: {reading})
""",
        path,
        timeout=100,
    )
    above, result = out.strip("[] \n").split(",")
    return float(above), float(result)


@pytest.mark.parametrize("read", READS)
def test_peak_memory(large_file: Path, read: str) -> None:
    above, result = peak(large_file, OPENS[read.split("-", 1)[0]], READS[read])
    print(f"{read}: result {result / 1e6:.0f} MB, peak {above / 1e6:.0f} MB above the start")
    assert result > 1e6, "the extraction is too small to say anything"
    assert above < result + ALLOWANCE


@pytest.mark.parametrize("dtype", ["f8", "i2"])
def test_peak_memory_with_conversion(large_file: Path, dtype: str) -> None:
    # It happens on the way, not in another copy.
    above, result = peak(large_file, f"seed = dense(dtype='{dtype}')", READS["dense-full"])
    assert result == 6000 * 10_000 * numpy.dtype(dtype).itemsize
    assert above < result + ALLOWANCE


def test_a_sweep_runs_in_constant_memory(large_file: Path) -> None:
    sweep = """sum(
        extract_dense_array(seed, (range(i, i + 500), range(10000)))[0] for i in range(0, 6000, 500)
    )"""
    above, _ = peak(large_file, OPENS["dense"], sweep)
    assert above < 2 * 500 * 10_000 * 4 + ALLOWANCE


def test_a_chunk_that_inflates_to_more_than_it_is(tmp_path: Path) -> None:
    # 400 MB of zeros where the dataset declares a hundred bytes.
    path = tmp_path / "bomb.h5"
    encoder = zlib.compressobj(9)
    zeros = bytes(10_000_000)
    bomb = b"".join(encoder.compress(zeros) for _ in range(40)) + encoder.flush()
    write_chunks(path, ("gzip",), "|u1", (100,), (100,), [((0,), bomb, 0)], name="dense")
    reading = """attempt()"""
    opening = """
seed = dense()
def attempt():
    try:
        extract_dense_array(seed, (range(100),))
    except OSError:
        return numpy.zeros(1)
    raise SystemExit("read what it should not have")
"""
    above, _ = peak(path, opening, reading)
    assert above < ALLOWANCE
