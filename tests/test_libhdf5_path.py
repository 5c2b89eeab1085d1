"""What libhdf5 reads: sweeps over it in constant memory, that Ctrl-C ends."""

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


WAYS = ["scale-offset", "nbit", "external", "another shape"]
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
    assert read_path(folder / "x.h5", name).startswith("libhdf5")
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
