"""What is said of a path that leads to no HDF5 file, by all that opens one: h5py's class and errno, and what to do."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import inspect
import io
import lzma
import os
import pickle
import shutil
import socket
import sqlite3
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.io

import filebackedarray
from filebackedarray import (
    H5adMatrix,
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArray,
    Hdf5DenseArraySeed,
    LoomMatrix,
    ReshapedHdf5Array,
    ReshapedHdf5ArraySeed,
    TenxMatrix,
    open_array,
)
from filebackedarray._engine import contents as _contents
from helpers import run_python

SHAPE = (6, 4)

OPENERS: dict[str, Callable[..., Any]] = {
    "H5adMatrix": H5adMatrix,
    "Hdf5CompressedSparseMatrix": lambda path, **o: Hdf5CompressedSparseMatrix(path, "m", SHAPE, True, **o),
    "Hdf5CompressedSparseMatrixSeed": lambda path, **o: Hdf5CompressedSparseMatrixSeed(path, "m", SHAPE, True, **o),
    "Hdf5DenseArray": lambda path, **o: Hdf5DenseArray(path, "x", **o),
    "Hdf5DenseArraySeed": lambda path, **o: Hdf5DenseArraySeed(path, "x", **o),
    "LoomMatrix": LoomMatrix,
    "ReshapedHdf5Array": lambda path, **o: ReshapedHdf5Array(path, "x", (3,), **o),
    "ReshapedHdf5ArraySeed": lambda path, **o: ReshapedHdf5ArraySeed(path, "x", (3,), **o),
    "TenxMatrix": TenxMatrix,
    "open_array": open_array,
}


WRITERS = {
    "DenseSink",
    "SparseSink",
    "realize",
    "write_array",
    "write_sparse",
    "write_anndata",
    "write_h5ad",
    "write_loom",
    "write_tenx",
}
"""What makes files: its messages are those of `test_write_whole.py`."""


def test_all_openers_are_here() -> None:
    take_paths = set()
    for name in filebackedarray.__all__:
        with contextlib.suppress(TypeError, ValueError):
            if "path" in inspect.signature(getattr(filebackedarray, name)).parameters:
                take_paths.add(name)
    assert set(OPENERS) | WRITERS == take_paths


def caught(opener: Callable[..., Any], path: Any, **options: Any) -> OSError:
    try:
        opener(path, **options)
    except OSError as error:
        return error
    raise AssertionError(f"{os.fspath(path)!r} was opened")


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x.h5"), io.BytesIO(b""))
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.h5", "x")
    return buffer.getvalue()


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def _sqlite() -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table t (x)")
        return database.serialize() if hasattr(database, "serialize") else b"SQLite format 3\0" + bytes(84)


with tempfile.TemporaryFile() as _file:
    with h5py.File(_file, "w") as _handle:
        _handle["x"] = [1, 2, 3]
    _file.seek(0)
    HDF5 = _file.read()

#: Contents, and words of what is said of them: what they are, and what to do.
CONTENTS: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["is empty"]),
    "zeros": (bytes(100_000), ["4096 zeros", "fetch it again"]),
    "gzip": (gzip.compress(HDF5), ["a gzip file", "decompress it first"]),
    "bzip2": (bz2.compress(HDF5), ["a bzip2 file", "decompress it first"]),
    "xz": (lzma.compress(HDF5), ["an xz file", "decompress it first"]),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(20), ["a Zstandard file", "decompress it first"]),
    "zip": (_zip(), ["a Zip archive", "decompress it first"]),
    "tar": (_tar(), ["a tar archive", "decompress it first"]),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", ["Git LFS", "git lfs pull"]),
    "git-annex": (b"/annex/objects/SHA256E-s5--00.h5\n", ["git-annex", "git annex get"]),
    "html": (b"<!DOCTYPE html><html><title>404</title></html>", ["an HTML page", "fetch the file again"]),
    "xml": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', ["an XML document", "server's message"]),
    "json": (b'{"message": "Not found"}', ["a JSON document", "Not found"]),
    "rds": (b"X\n\0\0\0\2", ["an RDS file", "readRDS()"]),
    "rdata": (b"RDX3\nX\n", ["an RData file", "load()"]),
    "parquet": (b"PAR1" + bytes(20), ["a Parquet file"]),
    "netcdf3": (b"CDF\x01" + bytes(28), ["a netCDF-3 file", "nccopy"]),
    "hdf4": (b"\x0e\x03\x13\x01" + bytes(20), ["an HDF4 file", "h4toh5"]),
    "matrix-market": (
        _saved(lambda out: scipy.io.mmwrite(out, numpy.eye(2))),
        ["a Matrix Market file", "scipy.io.mmread()"],
    ),
    "matlab5": (_saved(lambda out: scipy.io.savemat(out, {"x": 1})), ["a MAT file", "scipy.io.loadmat()"]),
    "numpy": (_saved(lambda out: numpy.save(out, numpy.eye(2))), ["a file of NumPy", "numpy.load()"]),
    "pickle": (pickle.dumps({"x": numpy.eye(2)}), ["a pickle"]),
    "sqlite": (_sqlite(), ["an SQLite database"]),
    "text": (b"gene,cell\n1,2\n", ["text: ", "gene,cell"]),
    "bytes": (b"\xde\xad\xbe\xef" * 3, ["12 bytes long", "de ad be ef"]),
    "sent-as-text": (HDF5.replace(b"\r\n", b"\n"), ["line ends were converted", "as binary data"]),
    "read-as-text": (HDF5.decode("latin-1").encode(), ["UTF-8", "as binary data"]),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messages")
    for name, (content, _) in CONTENTS.items():
        (folder / f"{name}.h5").write_bytes(content)
    (folder / "truncated.h5").write_bytes(HDF5[: len(HDF5) // 2])
    (folder / "good.h5").write_bytes(HDF5)
    (folder / "saved.RDS").write_bytes(CONTENTS["gzip"][0])
    return folder


@pytest.mark.parametrize("untrusted", [False, True], ids=["trusted", "untrusted"])
@pytest.mark.parametrize("opener", OPENERS)
def test_what_is_no_hdf5_file(files: Path, opener: str, untrusted: bool) -> None:
    for name, (_, words) in CONTENTS.items():
        path = files / f"{name}.h5"
        error = caught(OPENERS[opener], path, untrusted=untrusted)
        theirs = caught(h5py.File, path)
        assert (type(error), error.errno) == (type(theirs), theirs.errno) == (OSError, None)
        for word in [str(path), "HDF5", *words]:
            assert word in str(error).replace(f"{name}.h5", "") or word in str(error), (name, str(error))
        assert "HDF5" in str(error).replace(str(path), "")


def test_an_object_of_r_is_told_by_its_name(files: Path) -> None:
    assert "readRDS()" in str(caught(open_array, files / "saved.RDS"))


def test_a_file_that_was_cut(files: Path) -> None:
    theirs = caught(h5py.File, files / "truncated.h5")
    for untrusted in (False, True):
        error = caught(open_array, files / "truncated.h5", untrusted=untrusted)
        assert (type(error), error.errno) == (type(theirs), theirs.errno)
        assert "shorter than it says" in str(error)
        assert "truncated file" in str(error)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Paths that the operating system does not open as files."""
    # Not in pytest's folder, whose name is too long for a socket's.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_bytes(HDF5)
        paths: dict[str, Any] = {
            "missing": folder / "missing.h5",
            "in a missing folder": folder / "missing" / "x.h5",
            "below a file": folder / "file" / "x.h5",
            "directory": folder,
            "too long": folder / ("x" * 300),
            "zero character": f"{folder}/a\0b",
        }
        if hasattr(os, "mkfifo"):
            (folder / "loop").symlink_to(folder / "loop")
            (folder / "dangling").symlink_to(folder / "missing")
            paths |= {"loop": folder / "loop", "dangling": folder / "dangling"}
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(folder / "socket"))
            paths["socket"] = folder / "socket"
        yield paths


@pytest.mark.parametrize("untrusted", [False, True], ids=["trusted", "untrusted"])
@pytest.mark.parametrize("opener", OPENERS)
def test_what_the_system_does_not_open(places: dict[str, Any], opener: str, untrusted: bool) -> None:
    for name, path in places.items():
        error = caught(OPENERS[opener], path, untrusted=untrusted)
        theirs = caught(h5py.File, path)
        assert (type(error), error.errno) == (type(theirs), theirs.errno), name
        assert error.filename == os.fspath(path), name
        assert error.strerror
        # What was raised in another process is raised here as it was.
        assert pickle.loads(pickle.dumps(error)).args == error.args


def test_no_name_is_not_this_folder() -> None:
    for untrusted in (False, True):
        error = caught(open_array, "", untrusted=untrusted)
        assert (type(error), error.errno, error.filename) == (FileNotFoundError, 2, "")


@pytest.mark.parametrize("untrusted", [False, True], ids=["trusted", "untrusted"])
@pytest.mark.parametrize("marker", ["zarr.json", ".zgroup", ".zarray", "matrix.mtx.gz", "OBJECT"])
def test_folders_that_are_formats(tmp_path: Path, marker: str, untrusted: bool) -> None:
    (tmp_path / marker).touch()
    # What names a dataset: open_array has folders of takane for what they are.
    error = caught(OPENERS["Hdf5DenseArray"], tmp_path, untrusted=untrusted)
    assert isinstance(error, IsADirectoryError)
    words = {"matrix.mtx.gz": "Matrix Market", "OBJECT": "takane"}
    assert words.get(marker, "Zarr store") in str(error)


def test_what_may_not_be_read() -> None:
    # Not below pytest's folder, which other users cannot enter: this is about the file itself.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "x.h5"
        path.write_bytes(HDF5)
        path.chmod(0o000)
        out = run_python(
            """
            import os, sys
            import h5py
            from filebackedarray import Hdf5DenseArray, open_array
            if os.geteuid() == 0:
                # root may read anything; nobody may not.
                os.seteuid(65534)
            for opener in (lambda path: h5py.File(path, "r"), open_array, lambda path: Hdf5DenseArray(path, "x")):
                try:
                    opener(sys.argv[1])
                except OSError as error:
                    print(type(error).__name__, error.errno)
            """,
            path,
        )
    assert out.splitlines() == ["PermissionError 13"] * 3


# ---- locks -----------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A file that somebody has open for writing, with all that was written in it."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = [1, 2, 3]
        handle.flush()
        yield path


@pytest.mark.parametrize("untrusted", [False, True], ids=["trusted", "untrusted"])
@pytest.mark.parametrize("opener", ["Hdf5DenseArray", "ReshapedHdf5Array", "open_array"])
def test_a_file_that_is_locked(written: Path, opener: str, untrusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = run_python(
        "import h5py, sys\ntry: h5py.File(sys.argv[1])\nexcept OSError as e: print(type(e).__name__, e.errno)", written
    )
    error = caught(OPENERS[opener], written, untrusted=untrusted)
    assert theirs.split() == [type(error).__name__, str(error.errno)] == ["BlockingIOError", str(error.errno)]
    assert error.filename == str(written)
    assert "close it there, or set the environment variable HDF5_USE_FILE_LOCKING to FALSE" in str(error)
    for value in ("TRUE", "BEST_EFFORT", ""):
        monkeypatch.setenv("HDF5_USE_FILE_LOCKING", value)
        assert isinstance(caught(OPENERS[opener], written, untrusted=untrusted), BlockingIOError)
    # It is enough to do what is said, in the process that is running.
    for value in ("FALSE", "0"):
        monkeypatch.setenv("HDF5_USE_FILE_LOCKING", value)
        assert OPENERS[opener](written, untrusted=untrusted).sum() == 6


def test_a_file_that_was_locked_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(HDF5)
    array = Hdf5DenseArray(path, "x")
    assert array.sum() == 6
    with h5py.File(path, "r+"):
        with pytest.raises(BlockingIOError):
            _contents.members(path)
        with pytest.raises(BlockingIOError):
            array.storage_size  # noqa: B018
    assert array.sum() == 6


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize(("error", "number"), [("ENOLCK", 37), ("EOPNOTSUPP", 95), ("ENOSYS", 38)])
def test_a_file_system_without_locks(tmp_path: Path, error: str, number: int) -> None:
    """Nobody can lock anything there, so that no lock is missed."""
    path = tmp_path / "x.h5"
    path.write_bytes(HDF5)
    source, library = tmp_path / "lock.c", tmp_path / "lock.so"
    source.write_text(
        f"#include <errno.h>\nint flock(int fd, int operation) {{ errno = {error}; return -1; }}\n"
        "int fcntl_lock(void) { return 0; }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    code = """
        import sys
        from filebackedarray import Hdf5DenseArray

        for untrusted in (False, True):
            try:
                print(Hdf5DenseArray(sys.argv[1], "x", untrusted=untrusted).sum())
            except OSError as error:
                print(error.errno, error.filename == sys.argv[1], "HDF5_USE_FILE_LOCKING" in str(error))
        """
    preloaded = {"LD_PRELOAD": str(library)}
    assert run_python(code, path, env=preloaded).split() == ["6", "6"]
    if error != "ENOSYS":
        # Who asks for locks gets none there.
        out = run_python(code, path, env={**preloaded, "HDF5_USE_FILE_LOCKING": "TRUE"})
        assert out.splitlines() == [f"{number} True True"] * 2


def test_a_file_that_is_being_written_without_a_lock(tmp_path: Path) -> None:
    """Newer files say in themselves that they are being written: h5py refuses them as well."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest", locking=False) as handle:
        handle["x"] = [1, 2, 3]
        handle.flush()
        theirs = run_python(
            "import h5py, sys\ntry: h5py.File(sys.argv[1])\nexcept OSError as e: print(type(e).__name__, e.errno)", path
        )
        error = caught(open_array, path)
        assert theirs.split() == [type(error).__name__, str(error.errno)]
        assert "h5clear -s" in str(error)
