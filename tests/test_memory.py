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


def test_descriptions_count_with_what_they_hold(tmp_path: Path) -> None:
    # Compact values, of up to 64 KiB, are part of a description; 64 MiB of descriptions are kept.
    path = tmp_path / "compact.h5"
    count, size = 4000, 60_000
    space, layout = h5py.h5s.create_simple((size,)), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    with h5py.File(path, "w", libver="latest") as handle:
        for number in range(count):
            h5py.h5d.create(handle.id, str(number).encode(), h5py.h5t.NATIVE_UINT8, space, layout)
    opening = f"""
def look():
    for number in range({count}):
        filebackedarray._core.inspect(path, str(number).encode())
    return numpy.zeros(1)
filebackedarray._core.inspect(path, b"0")
"""
    above, _ = peak(path, opening, "look()")
    assert count * size > 2 * ALLOWANCE
    assert above < ALLOWANCE


#: Of a matrix of a few elements whose other axis is very long: what is read, and what should come of it.
TALL = {
    "two-rows": ("extract_dense_array(seed, ([0, 5], range(3)))", [[1, 0, 4], [0, 0, 5]]),
    "steps": ("extract_dense_array(seed, (range(0, 12, 5), range(3)))", [[1, 0, 4], [0, 0, 5], [0, 0, 0]]),
    "product": ("numpy.ones((1, 2)) @ wrapped(seed)[[0, 5], :]", [[1, 0, 9]]),
    "sums": ("numpy.asarray(wrapped(seed)[[0, 5], :].sum(axis=0))[None]", [[1, 0, 9]]),
}


@pytest.mark.parametrize("read", TALL)
@pytest.mark.parametrize("rows", [2**28, 2**40], ids=["2^28", "2^40"])
def test_few_rows_make_no_table_of_all(tmp_path: Path, read: str, rows: int) -> None:
    path = tmp_path / "tall.h5"
    with h5py.File(path, "w") as handle:
        handle["m/data"] = numpy.arange(1.0, 7.0)
        handle["m/indices"] = numpy.array([0, 1, 2, 0, 5, rows - 1])
        handle["m/indptr"] = numpy.array([0, 3, 3, 6])
    reading, expected = TALL[read]
    opening = f"""
ROWS, COLUMNS = {rows}, 3
seed = sparse(True)
def attempt():
    result = {reading}
    assert result.tolist() == {expected}, result
    return result
"""
    above, _ = peak(path, opening, "attempt()")
    assert above < 30e6


#: What asks for more than any machine has, because a file or a selection says so.
IMPOSSIBLE = {
    "other-orientation": "to_scipy_sparse_matrix(wrapped(seed), 'csr')",
    "one-column-of-all-rows": "extract_dense_array(seed, (range(ROWS), [0]))",
    "names": "filebackedarray._core.read_strings(path, b'names', [(0, 2**40, 1)])",
    "all-of-a-dataset": "numpy.asarray(filebackedarray.Hdf5DenseArray(path, 'x', native_order=True))",
}


@pytest.mark.parametrize("read", IMPOSSIBLE)
def test_what_there_is_no_memory_for_is_an_error(claims: Path, read: str) -> None:
    out = run_python(
        f"""
ROWS, COLUMNS = 2**40, 3
{PROLOGUE}
seed = sparse(True)
try:
    {IMPOSSIBLE[read]}
except MemoryError as error:
    print("memory", "bytes" in str(error))
""",
        claims,
    )
    assert out == "memory True\n"


def test_what_was_never_written_is_not_gone_through(claims: Path) -> None:
    # 2^37 elements, each in a chunk of its own; and all of them.
    out = run_python(
        f"""
{PROLOGUE}
x = filebackedarray.Hdf5DenseArray(path, "x", native_order=True)
def attempt():
    some, all_ = x[::8], x
    return numpy.array([some.sum(), some.mean(), some.var(), all_.sum(), all_.min(), all_.max()])
print(attempt().tolist())
""",
        claims,
        timeout=120,
    )
    assert out == f"{[1.5 * 2**37, 1.5, 0.0, 1.5 * 2**40, 1.5, 1.5]}\n"


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of some kilobytes that says there is a terabyte."""
    path = tmp_path_factory.mktemp("claims") / "claims.h5"
    with h5py.File(path, "w") as handle:
        handle["m/data"], handle["m/indices"], handle["m/indptr"] = numpy.arange(3.0), numpy.arange(3), numpy.arange(4)
        handle.create_dataset("x", (2**40,), "f8", chunks=(4,), fillvalue=1.5)
        handle.create_dataset("names", (2**40,), h5py.string_dtype(), chunks=(1024,))
    return path
