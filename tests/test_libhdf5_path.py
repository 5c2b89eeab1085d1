"""What libhdf5 reads, and external storage: no more than is wanted, sweeps in constant memory, that Ctrl-C ends."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy
import pytest

from helpers import read_path, run_python

SHAPE = (8000, 4000)
#: A sweep may take this many bytes beyond what there was before; the dataset is of 256 MB.
ALLOWANCE = 64e6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of which most was never written, so that the files are small, each read by libhdf5 in its own way."""
    folder = tmp_path_factory.mktemp("libhdf5")
    with h5py.File(folder / "x.h5", "w", libver="latest") as handle:
        values = numpy.ones((1000, 500))
        handle.create_dataset("scale-offset", SHAPE, "<i8", chunks=(1000, 500), scaleoffset=0)[:1000, :500] = values
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_chunk((1000, 500))
        dcpl.set_filter(5, h5py.h5z.FLAG_OPTIONAL, ())  # nbit
        kind = h5py.h5t.STD_I64LE.copy()
        kind.set_precision(40)
        space = h5py.h5s.create_simple(SHAPE)
        h5py.Dataset(h5py.h5d.create(handle.id, b"nbit", kind, space, dcpl))[:1000, :500] = values
        (folder / "raw").write_bytes(bytes(8 * SHAPE[0] * SHAPE[1]))
        handle.create_dataset("external", SHAPE, "<i8", external=[(str(folder / "raw"), 0, h5py.h5f.UNLIMITED)])[
            :1000, :500
        ] = 1
        layout = h5py.VirtualLayout((SHAPE[0] * SHAPE[1] // 1000, 1000), "<i8")
        source = handle.create_dataset("source", SHAPE, "<i8", chunks=(1000, 500), compression="gzip")
        source[:1000, :500] = values
        layout[:, :] = h5py.VirtualSource(".", "source", SHAPE)[: SHAPE[0], : SHAPE[1]]
        handle.create_virtual_dataset("another shape", layout)
    return folder


#: Datasets, and which path reads them.
WAYS = {"scale-offset": "libhdf5", "nbit": "libhdf5", "external": "direct", "another shape": "libhdf5"}
PROLOGUE = """
import os, re, signal, sys, threading, time
import numpy
from filebackedarray import Hdf5DenseArray

def status(field):
    with open("/proc/self/status") as handle:
        return int(re.search(field + r":\\s+(\\d+)", handle.read()).group(1)) * 1024

x = Hdf5DenseArray(sys.argv[1], sys.argv[2], native_order=True)
x[:1, :1]
"""


@pytest.mark.alone
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_sweeps_take_constant_memory(folder: Path, name: str) -> None:
    assert read_path(folder / "x.h5", name).startswith(WAYS[name])
    code = """
before = status("VmRSS")
with open("/proc/self/clear_refs", "w") as handle:
    handle.write("5")
assert x.sum() == 500_000
assert x.sum(axis=0)[:500].tolist() == [1000] * 500 or x.shape[1] == 1000
print(status("VmHWM") - before)
"""
    above = float(run_python(PROLOGUE + code, folder / "x.h5", name, timeout=100))
    print(f"{name}: {above / 1e6:.0f} MB")
    assert above < ALLOWANCE


@pytest.mark.alone
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("sweep", ["x.sum()", "numpy.asarray(x)", "x @ numpy.ones(x.shape[1])"])
def test_ctrl_c_ends_them(folder: Path, name: str, sweep: str) -> None:
    code = f"""
sent = []
def interrupt():
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.1, interrupt).start()
try:
    while True:
        {sweep}
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0])
"""
    # A chunk of 4 MB is read in one go; a machine that is busy with other things gets a margin.
    assert float(run_python(PROLOGUE + code, folder / "x.h5", name, timeout=100)) < 0.5


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="what is read is counted by Linux's /proc")
def test_no_more_is_read_than_is_wanted(tmp_path: Path) -> None:
    """Parts of chunks that libhdf5 decodes are read once; of a box without filters, rows that are far apart alone."""
    values = numpy.random.default_rng(1).integers(0, 2**31, (400, 4096), "i4")
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as handle:
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_chunk((400, 512))
        dcpl.set_filter(5, h5py.h5z.FLAG_OPTIONAL, ())  # nbit
        space = h5py.h5s.create_simple(values.shape)
        h5py.h5d.create(handle.id, b"nbit", h5py.h5t.STD_I32LE, space, dcpl).write(space, space, values)
        handle["source"] = values
        layout = h5py.VirtualLayout((values.size // 2048, 2048), "i4")
        layout[:, :] = h5py.VirtualSource(".", "source", values.shape)[:400, :4096]
        handle.create_virtual_dataset("another shape", layout)
    numpy.save(tmp_path / "values.npy", values)
    code = """
import re, sys
import numpy
from filebackedarray import Hdf5DenseArray, _core

values = numpy.load(sys.argv[2])

def count_bytes(name, expected, subset):
    x = Hdf5DenseArray(sys.argv[1], name, native_order=True)
    before = int(re.search("rchar: ([0-9]+)", open("/proc/self/io").read()).group(1))
    got = numpy.asarray(x[subset])
    after = int(re.search("rchar: ([0-9]+)", open("/proc/self/io").read()).group(1))
    numpy.testing.assert_array_equal(got, expected[subset])
    return after - before

row, chunk = 4096 * 4, 400 * 512 * 4
for part in range(3):
    read = count_bytes("nbit", values, numpy.s_[part * 9 : part * 9 + 7, 5:500])
    assert (chunk if part == 0 else 0) <= read < chunk * (part == 0) + 100_000, (part, read)
reshaped = values.reshape(-1, 2048)
_core.set_cache_budget(0)
for subset in (numpy.s_[::50], numpy.s_[[3, 4, 100, 555]], numpy.s_[7:800:200, 100:300]):
    wanted = len(range(800)[subset]) if isinstance(subset, slice) else 4
    read = count_bytes("another shape", reshaped, subset)
    # libhdf5 reads 64 KiB at a time, of a dataset of 6.5 MB.
    assert read < wanted * 2**16 + 150_000, (subset, read)
# What is wanted of each row leaves out less than is worth another read.
read = count_bytes("another shape", reshaped, numpy.s_[:, ::50])
assert read < 2 * values.nbytes, read
"""
    run_python(code, tmp_path / "x.h5", tmp_path / "values.npy", timeout=100)
