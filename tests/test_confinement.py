"""Files that are not trusted lead to no other file, and what reads them can reach nothing else."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy
import pytest
from delayedarray import extract_dense_array, to_dense_array

from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
    Hdf5DenseArraySeed,
    _core,
    _shell,
)
from filebackedarray._engine import untrusted as _untrusted
from helpers import assert_identical, everything, run_python

linux = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")

SECRET = b"TOPSECRET-0123456789"


@contextmanager
def opened(*paths: Path) -> Iterator[Callable[[], bool]]:
    """Whether any process has opened one of the files since; see inotify(7)."""
    if sys.platform != "linux":
        yield lambda: False
        return
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0
    for path in paths:
        assert libc.inotify_add_watch(descriptor, bytes(path), 0x20) >= 0  # IN_OPEN
    try:
        yield lambda: bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


def virtual(handle: h5py.File, name: str, file: str, source: str) -> None:
    layout = h5py.VirtualLayout((20,), "u1")
    layout[:] = h5py.VirtualSource(file, source, (20,))
    handle.create_virtual_dataset(name, layout)


def external_link(handle: h5py.File, name: str, folder: Path) -> None:
    handle[name] = h5py.ExternalLink("other.h5", "x")


def external_link_by_an_absolute_path(handle: h5py.File, name: str, folder: Path) -> None:
    handle[name] = h5py.ExternalLink(str(folder / "other.h5"), "x")


def member_of_a_linked_group(handle: h5py.File, name: str, folder: Path) -> None:
    handle[f"{name} group"] = h5py.ExternalLink("other.h5", "/")
    handle[name] = h5py.SoftLink(f"/{name} group/x")


def external_storage(handle: h5py.File, name: str, folder: Path) -> None:
    handle.create_dataset(name, (20,), "u1", external=[("secret", 0, 20)])


def external_storage_by_an_absolute_path(handle: h5py.File, name: str, folder: Path) -> None:
    handle.create_dataset(name, (20,), "u1", external=[(str(folder / "secret"), 0, 20)])


def virtual_of_another(handle: h5py.File, name: str, folder: Path) -> None:
    virtual(handle, name, "other.h5", "x")


def virtual_of_others_with_a_pattern(handle: h5py.File, name: str, folder: Path) -> None:
    space, source = h5py.h5s.create_simple((10,), (h5py.h5s.UNLIMITED,)), h5py.h5s.create_simple((10,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), stride=(10,), block=(10,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(space, b"other%b.h5", b"x", source)
    h5py.h5d.create(handle.id, name.encode(), h5py.h5t.STD_U8LE, space, plist)


#: Everything in a file that can name another one.
WAYS = [
    external_link,
    external_link_by_an_absolute_path,
    member_of_a_linked_group,
    external_storage,
    external_storage_by_an_absolute_path,
    virtual_of_another,
    virtual_of_others_with_a_pattern,
]


def itself(handle: h5py.File, name: str, inner: str) -> None:
    handle[name] = h5py.SoftLink(f"/{inner}")


def virtual_of(handle: h5py.File, name: str, inner: str) -> None:
    virtual(handle, name, ".", f"/{inner}")


def virtual_of_virtual(handle: h5py.File, name: str, inner: str) -> None:
    virtual(handle, f"{name} within", ".", f"/{inner}")
    virtual(handle, name, ".", f"{name} within")


def virtual_of_a_link(handle: h5py.File, name: str, inner: str) -> None:
    handle[f"{name} link"] = h5py.SoftLink(f"/{inner}")
    virtual(handle, name, ".", f"{name} link")


#: What may stand between a dataset that is asked for and what names another file.
AROUND = [itself, virtual_of, virtual_of_virtual, virtual_of_a_link]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    for name in ("other.h5", "other0.h5"):
        with h5py.File(tmp_path / name, "w") as handle:
            handle["x"] = numpy.frombuffer(SECRET, "u1")
    return tmp_path


def write_sparse(handle: h5py.File, group: str, member: str, target: str) -> None:
    for name, dtype in (("data", "u1"), ("indices", "i4"), ("indptr", "i8")):
        if name == member:
            handle[f"{group}/{name}"] = h5py.SoftLink(target)
        else:
            handle[f"{group}/{name}"] = (
                numpy.array([0, 20], dtype) if name == "indptr" else numpy.arange(20, dtype=dtype)
            )


#: Reads of the dataset "x" of a file, and of the matrices "data", "indices", "indptr" of which that is a member.
READS: dict[str, Callable[[Path], Any]] = {
    "dense": lambda path: to_dense_array(Hdf5DenseArray(path, "x", native_order=True, untrusted=True)),
    "part": lambda path: extract_dense_array(Hdf5DenseArraySeed(path, "x", untrusted=True), ([3, 5],)),
    "sum": lambda path: Hdf5DenseArray(path, "x", untrusted=True).sum(),
    "log": lambda path: numpy.asarray(numpy.log1p(Hdf5DenseArray(path, "x", untrusted=True))),
    "head": lambda path: shell("head", path, "x"),
    "stats": lambda path: shell("stats", path, "x"),
    **{
        member: lambda path, member=member: to_dense_array(
            Hdf5CompressedSparseMatrix(path, member, (256, 1), True, untrusted=True)
        )
        for member in ("data", "indices", "indptr")
    },
}


def shell(command: str, path: Path, *names: str) -> None:
    status = _shell.main([command, "--untrusted", str(path), *names])
    if status != 0:
        raise OSError(f"exit status {status}")


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("way", WAYS)
def test_no_other_file_is_opened(
    folder: Path, way: Any, around: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # They would lead there, too.
    for name in ("HDF5_EXTFILE_PREFIX", "HDF5_VDS_PREFIX", "HDF5_EXT_PREFIX"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.chdir(folder)
    path = folder / "file.h5"
    with h5py.File(path, "w") as handle:
        way(handle, "out", folder)
        around(handle, "x", "out")
        for member in ("data", "indices", "indptr"):
            write_sparse(handle, member, member, "/x")
    if not way.__name__.endswith("pattern"):
        # It does lead there.
        assert to_dense_array(Hdf5DenseArray(path, "x", native_order=True)).tobytes() == SECRET
    secrets = [folder / name for name in ("secret", "other.h5", "other0.h5")]
    with opened(*secrets) as is_opened:
        for name, read in READS.items():
            with pytest.raises(OSError, match=r"leads to another file|pattern|exit status 1") as error:
                read(path)
            assert not isinstance(error.value, _untrusted.EndedError), name
        for command in (["ls"], ["check"], ["info", "x"]):
            _shell.main([command[0], "--untrusted", str(path), *command[1:]])
        assert not is_opened()
    printed = "".join(capfd.readouterr())
    assert SECRET.decode() not in printed
    assert str(SECRET[0]) + " " + str(SECRET[1]) not in printed


def test_the_watch_sees_what_is_opened(folder: Path) -> None:
    if sys.platform == "linux":
        with opened(folder / "secret") as is_opened:
            assert not is_opened()
            (folder / "secret").read_bytes()
            assert is_opened()


@pytest.mark.parametrize("length", [1, 2])
def test_a_virtual_dataset_of_itself(folder: Path, length: int) -> None:
    path = folder / "file.h5"
    with h5py.File(path, "w") as handle:
        for number in range(length):
            virtual(handle, f"x{number}", ".", f"x{(number + 1) % length}")
    with pytest.raises(OSError, match="source of itself"):
        Hdf5DenseArraySeed(path, "x0", untrusted=True)


def test_virtual_datasets_of_the_file_are_read(folder: Path) -> None:
    path = folder / "file.h5"
    with h5py.File(path, "w") as handle:
        handle["values"] = numpy.arange(20, dtype="u1")
        virtual_of_virtual(handle, "x", "values")
        virtual(handle, "lacks a source", ".", "not there")
        for number in range(30):
            virtual(handle, f"deep{number}", ".", f"deep{number - 1}" if number else "values")
    for name, expected in (("x", numpy.arange(20)), ("lacks a source", numpy.zeros(20))):
        found = to_dense_array(Hdf5DenseArray(path, name, untrusted=True))
        assert_identical(found, expected.astype("u1"))
    with pytest.raises(OSError, match="deep"):
        Hdf5DenseArraySeed(path, "deep29", untrusted=True)


def test_no_plugin_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDF5_PLUGIN_PATH", hdf5plugin.PLUGIN_PATH)
    path = tmp_path / "zfp.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=numpy.arange(100.0), chunks=(50,), compression=hdf5plugin.Zfp(reversible=True))
    with pytest.raises(NotImplementedError, match=r"32013|zfp"):
        to_dense_array(Hdf5DenseArraySeed(path, "x", untrusted=True))


CONFINED = """
import ctypes, os, signal, socket, sys, threading
from pathlib import Path
from filebackedarray import _core
path, other = map(Path, sys.argv[1:])
resource = __import__("resource")
_, files, calls = _core.confine(path)
assert (files, calls) == (True, True), (files, calls)

def refused(what, *arguments):
    try:
        what(*arguments)
    except OSError:
        return
    sys.exit(f"not refused: {what} {arguments}")

assert path.read_bytes()
for file in (other, "/etc/passwd", "/proc/self/environ", f"/proc/{os.getppid()}/environ", f"/proc/{os.getppid()}/mem"):
    refused(lambda: open(file, "rb"))
refused(lambda: open(path, "r+b"))
refused(lambda: open(other.with_name("new"), "wb"))
refused(os.truncate, path, 0)
refused(os.listdir, path.parent)
refused(os.unlink, path)
refused(os.rename, path, other)
refused(os.symlink, path, other.with_name("new"))
refused(os.link, other, other.with_name("new"))
refused(os.chmod, path, 0o777)
refused(os.utime, path)
refused(os.mkfifo, other.with_name("new"))
refused(os.fork)
refused(os.execv, "/bin/true", ["true"])
refused(os.kill, os.getppid(), 0)
refused(socket.socket, socket.AF_INET)
refused(socket.socket, socket.AF_UNIX)
refused(socket.socketpair)
refused(resource.prlimit, os.getppid(), resource.RLIMIT_CORE)
# Threads are needed, and may do no more.
found = []
def in_a_thread():
    try:
        open(other, "rb")
    except OSError:
        found.append("refused")
thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
assert found == ["refused"]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print("confined")
"""


@linux
def test_what_reads_can_reach_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    path, other = tmp_path / "file.h5", tmp_path / "other"
    for file in (path, other):
        file.write_bytes(SECRET)
    assert run_python(CONFINED, str(path), str(other)).strip() == "confined"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file.h5", "other"]
    assert path.read_bytes() == other.read_bytes() == SECRET


@linux
def test_workers_are_confined(folder: Path) -> None:
    Hdf5DenseArraySeed(folder / "other.h5", "x", untrusted=True)
    assert _untrusted._idle[-1].confined == (True, True)


@linux
def test_it_starts_under_a_hard_limit_of_memory(folder: Path) -> None:
    code = """
import resource, sys
import numpy
from filebackedarray import Hdf5DenseArray
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
print(numpy.asarray(Hdf5DenseArray(sys.argv[1], "x", untrusted=True)).tobytes().decode())
"""
    assert run_python(code, str(folder / "other.h5")).strip() == SECRET.decode()


@linux
@pytest.mark.alone
def test_files_do_not_wait_for_each_other(folder: Path) -> None:
    slow, quick = (Hdf5DenseArraySeed(folder / name, "x", untrusted=True) for name in ("other.h5", "other0.h5"))
    stopped = next(worker for worker in _untrusted._idle if worker.file == _core.file_of(folder / "other.h5"))
    os.kill(stopped._process.pid, signal.SIGSTOP)
    reader = threading.Thread(target=lambda: extract_dense_array(slow, everything(slow.shape)))
    reader.start()
    try:
        started = time.monotonic()
        assert_identical(extract_dense_array(quick, everything(quick.shape)), numpy.frombuffer(SECRET, "u1"))
        # Nor do requests to the same file.
        assert Hdf5DenseArraySeed(folder / "other.h5", "x", untrusted=True).shape == (20,)
        assert time.monotonic() - started < _untrusted.SECONDS / 3
        assert reader.is_alive()
    finally:
        os.kill(stopped._process.pid, signal.SIGCONT)
        reader.join()


def test_there_are_not_too_many_workers(folder: Path) -> None:
    def alive() -> int:
        return sum(worker.usable() for worker in _untrusted._idle)

    seeds = []
    for number in range(_untrusted.MOST_WORKERS + 2):
        path = folder / f"{number}.h5"
        path.write_bytes((folder / "other.h5").read_bytes())
        seeds.append(Hdf5DenseArraySeed(path, "x", untrusted=True))
        assert alive() <= _untrusted.MOST_WORKERS
    for seed in seeds:
        assert_identical(extract_dense_array(seed, everything(seed.shape)), numpy.frombuffer(SECRET, "u1"))
    assert alive() == _untrusted.MOST_WORKERS


def test_a_file_that_is_replaced_has_another_worker(folder: Path) -> None:
    path = folder / "other.h5"
    seed = Hdf5DenseArraySeed(path, "x", untrusted=True)
    for number in range(3):
        with h5py.File(folder / "new.h5", "w") as handle:
            handle["x"] = numpy.full(20, number, "u1")
        (folder / "new.h5").replace(path)
        assert_identical(extract_dense_array(seed, everything(seed.shape)), numpy.full(20, number, "u1"))


def test_links_between_files_that_both_are_given(folder: Path) -> None:
    """Having read one file opens no way to it from another."""
    path = folder / "file.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = h5py.ExternalLink("other.h5", "x")
    Hdf5DenseArraySeed(folder / "other.h5", "x", untrusted=True)
    with pytest.raises(OSError, match="leads to another file"):
        Hdf5DenseArraySeed(path, "x", untrusted=True)
