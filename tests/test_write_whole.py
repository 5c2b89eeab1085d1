"""A file is written whole or not at all, whatever happens in the midst of it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest

import filebackedarray as fba
from filebackedarray import _core

X = numpy.random.default_rng(0).poisson(0.3, (600, 500)).astype("i4")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that is there before."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["kept"] = numpy.arange(10)
        file["kept"].attrs["unit"] = "m"
        file["x"] = numpy.ones(3)
    return path


def is_old(path: Path) -> bool:
    with h5py.File(path) as file:
        return set(file) == {"kept", "x"} and bool((file["x"][()] == 1).all())


def alone(path: Path) -> bool:
    """Whether nothing was left beside the file."""
    return os.listdir(path.parent) == [path.name]


def test_what_else_is_in_a_file_is_kept(old: Path) -> None:
    with pytest.raises(FileExistsError, match="overwrite=True"):
        fba.write_array(X, old, "x")
    assert is_old(old)
    fba.write_array(X, old, "x", overwrite=True)
    fba.write_sparse(X, old, "group/m")
    with h5py.File(old) as file:
        assert file["kept"][()].tolist() == list(range(10))
        assert file["kept"].attrs["unit"] == "m"
        assert numpy.array_equal(file["x"][()].T, X)
    with pytest.raises(FileExistsError):
        fba.write_array(X, old, "group")
    with pytest.raises(FileExistsError):
        fba.write_array(X, old, "x/below")
    assert alone(old)


def test_an_array_is_written_over_the_file_that_it_is_read_from(old: Path) -> None:
    array = fba.write_array(X, old, "x", overwrite=True)
    again = fba.write_array(array + 1, old, "x", overwrite=True)
    assert numpy.array_equal(numpy.asarray(again), X + 1)


def test_mode_owner_and_symbolic_links_are_kept(old: Path) -> None:
    os.chmod(old, 0o640)
    (old.parent / "links").mkdir()
    link, second = old.parent / "links" / "a.h5", old.parent / "links" / "b.h5"
    link.symlink_to("../x.h5")
    second.symlink_to(link)
    fba.write_array(X, second, "y")
    assert link.is_symlink()
    assert second.is_symlink()
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    with h5py.File(old) as file:
        assert "y" in file
    dangling = old.parent / "links" / "c.h5"
    dangling.symlink_to("../new.h5")
    fba.write_array(X, dangling, "y")
    assert (old.parent / "new.h5").is_file()
    assert sorted(os.listdir(old.parent / "links")) == ["a.h5", "b.h5", "c.h5"]


def test_readers_of_the_old_file_go_on(old: Path) -> None:
    with h5py.File(old) as file, open(old, "rb") as handle:
        fba.write_array(X, old, "x", overwrite=True)
        assert (file["x"][()] == 1).all()
        handle.seek(1)
        assert handle.read(3) == b"HDF"


def test_what_is_cached_of_the_old_file_is_not_taken_for_the_new(old: Path) -> None:
    for number in range(4):
        array = fba.write_array(X + number, old, "x", overwrite=True, chunks=(50, 50))
        # A part of some chunks, which stay in the cache.
        assert numpy.array_equal(numpy.asarray(array[3:7]), (X + number)[3:7])


class StoppedError(Exception):
    pass


def test_an_exception_leaves_the_old_file(old: Path) -> None:
    def raising(done: int, total: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        fba.write_array(X, old, "x", overwrite=True, progress=raising)

    def begin(make: Any, write: Any) -> None:
        with make(old, "y", X.shape, "i4") as sink:
            write(sink)
            raise StoppedError

    with pytest.raises(StoppedError):
        begin(fba.DenseSink, lambda sink: sink.__setitem__(slice(0, 100), X[:100]))
    with pytest.raises(StoppedError):
        begin(fba.SparseSink, lambda sink: sink.append(X[:, :100]))
    assert is_old(old)
    assert alone(old)


def test_after_a_failure_there_is_nothing_to_finish(old: Path) -> None:
    sink = fba.DenseSink(old, "y", X.shape, "i4")
    sink[:10] = X[:10]
    with pytest.raises(ValueError, match="none of dtype"):
        sink[10:20] = 0.5
    # What the caller got wrong is not written, and the rest can go on.
    sink[10:20] = X[10:20]
    sink.close()
    with pytest.raises(ValueError, match="written already"):
        sink.close()
    with pytest.raises(ValueError, match="written already"):
        sink[0] = 1


def test_a_second_writer_is_refused(old: Path) -> None:
    with fba.DenseSink(old, "y", X.shape, "i4") as sink:
        with pytest.raises(BlockingIOError, match="another writer"):
            fba.write_array(X, old, "z")
        with pytest.raises(BlockingIOError, match="another writer"):
            fba.DenseSink(old.parent / "." / "x.h5", "z", X.shape, "i4")
        fba.write_array(X, old.parent / "other.h5", "z")
        sink[...] = X
    fba.write_array(X, old, "z")
    with h5py.File(old) as file:
        assert {"y", "z"} <= set(file)


def test_a_change_by_another_program_is_not_lost(old: Path) -> None:
    sink = fba.DenseSink(old, "y", X.shape, "i4")
    sink[...] = X
    with h5py.File(old, "a") as file:
        file["theirs"] = 1
    with pytest.raises(OSError, match="changed while a new version"):
        sink.close()
    with h5py.File(old) as file:
        assert set(file) == {"kept", "x", "theirs"}
    assert alone(old)
    with h5py.File(old, "a"), pytest.raises(BlockingIOError, match="open for writing"):
        fba.write_array(X, old, "y")
    assert alone(old)


def run(code: str, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
    begin = """
        import sys, os, numpy, filebackedarray as fba
        X = numpy.random.default_rng(0).poisson(0.3, (600, 500)).astype("i4")
        """
    program = textwrap.dedent(begin) + textwrap.dedent(code)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("point", ["begun", "written", "closing"])
def test_a_killed_writer_leaves_the_old_file(old: Path, point: str) -> None:
    child = run(
        """
        sink = fba.DenseSink(sys.argv[1], "x", X.shape, "i4", overwrite=True, chunks=(10, 10), memory=0)
        def tell():
            print("here", flush=True)
            sys.stdin.read()
        if sys.argv[2] == "begun":
            tell()
        sink[:300] = X[:300]
        if sys.argv[2] == "written":
            tell()
        sink[300:] = X[300:]
        tell()
        """,
        old,
        point,
        stdin=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    with pytest.raises(BlockingIOError):
        fba.write_array(X, old, "z")
    child.kill()
    child.communicate()
    assert is_old(old)
    assert len(os.listdir(old.parent)) == 3, "its temporary file, which does not show in listings, and its lock"
    fba.write_array(X, old, "z")
    assert alone(old)
    with h5py.File(old) as file:
        assert (file["x"][()] == 1).all()


def test_killed_at_any_moment(old: Path) -> None:
    # Until it has ended by itself: from before anything is made to after the new file is in place.
    delay = 0.0
    while True:
        child = run(
            """
            print("ready", flush=True)
            sys.stdin.readline()
            fba.write_array(X + 1, sys.argv[1], "x", overwrite=True, chunks=(20, 20))
            """,
            old,
            stdin=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        child.stdin.write("\n")
        child.stdin.flush()
        time.sleep(delay)
        child.kill()
        child.communicate()
        with h5py.File(old) as file:
            found = file["x"][()]
            assert (found.shape == (3,) and (found == 1).all()) or numpy.array_equal(found.T, X + 1)
            assert file["kept"][()].tolist() == list(range(10))
            is_new = found.shape != (3,)
        if is_new or delay > 5:
            break
        delay = delay * 1.5 + 0.002
    fba.write_array(X, old, "last", overwrite=True)
    assert alone(old)


def test_ctrl_c(old: Path) -> None:
    child = run(
        """
        class Slow:
            def __init__(self): self.number = 0
            def __call__(self, done, total):
                print("block", flush=True)
        x = numpy.random.default_rng(0).random((4000, 4000))
        try:
            fba.write_array(x, sys.argv[1], "x", overwrite=True, level=9, progress=Slow())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """,
        old,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "block\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert out.endswith("interrupted\n"), err
    assert is_old(old)
    assert alone(old)


@pytest.mark.parametrize("kilobytes", [1, 20, 100, 400])
def test_a_full_disk(old: Path, kilobytes: int) -> None:
    # A limit on the size of files: the system refuses the bytes beyond it, as a full disk does.
    child = run(
        """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = int(sys.argv[2]) << 10
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        for name in ("x", "y"):
            try:
                fba.write_array(X, sys.argv[1], name, overwrite=True, compression=None, chunks=(50, 50))
            except OSError as error:
                print(type(error).__name__, error.errno, error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        fba.write_array(X, sys.argv[1] + ".other", "x")
        fba.write_array(X, sys.argv[1], "z")
        """,
        old,
        kilobytes,
    )
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    lines = out.splitlines()
    assert len(lines) == 2, out
    for line in lines:
        assert line.startswith("OSError 27 "), line  # EFBIG
        assert str(old) in line
    with h5py.File(old) as file:
        assert (file["x"][()] == 1).all()
        assert numpy.array_equal(file["z"][()].T, X)
    assert sorted(os.listdir(old.parent)) == ["x.h5", "x.h5.other"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_permission(old: Path) -> None:
    os.chmod(old.parent, 0o555)
    try:
        with pytest.raises(PermissionError):
            fba.write_array(X, old, "y")
    finally:
        os.chmod(old.parent, 0o755)
    os.chmod(old, 0o444)
    with pytest.raises(PermissionError):
        fba.write_array(X, old, "y")
    assert is_old(old)
    assert alone(old)


def test_places_where_no_file_can_be(old: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fba.write_array(X, old.parent / "none" / "x.h5", "x")
    with pytest.raises(IsADirectoryError):
        fba.write_array(X, old.parent, "x")
    with pytest.raises(NotADirectoryError):
        fba.write_array(X, old / "x.h5", "x")
    with pytest.raises(OSError, match="regular file"):
        fba.write_array(X, "/dev/null", "x")
    text = old.parent / "text.h5"
    text.write_text("nothing of HDF5's")
    with pytest.raises(OSError, match=r"text\.h5"):
        fba.write_array(X, text, "x")
    assert text.read_text() == "nothing of HDF5's"
    assert sorted(os.listdir(old.parent)) == ["text.h5", "x.h5"]


def test_long_names(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 120 + ".h5")
    fba.write_array(X, path, "x")
    assert alone(path)


def test_what_is_not_in_the_file_as_it_was_written_is_found(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Somebody else writes into the temporary file: its chunks are not what they were.
    sink = fba.DenseSink(old, "y", X.shape, "i4", compression=None, chunks=(100, 100))
    sink[...] = X
    (temporary,) = (name for name in os.listdir(old.parent) if name.endswith("-new"))
    content = (old.parent / temporary).read_bytes()
    at = content.index(X[:100, :100].T.tobytes()[:400])
    with open(old.parent / temporary, "r+b") as handle:
        handle.seek(at + 100)
        handle.write(b"\xff")
    with pytest.raises(OSError, match="not what was written"):
        sink.close()
    assert is_old(old)
    assert alone(old)


def test_a_child_process_leaves_its_parents_file_alone(old: Path) -> None:
    with fba.DenseSink(old, "y", X.shape, "i4") as sink:
        sink[:10] = X[:10]
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                sink.discard()
            os._exit(0)
        os.waitpid(child, 0)
        sink[10:] = X[10:]
    assert numpy.array_equal(numpy.asarray(fba.Hdf5DenseArray(old, "y")), X)


# ---- what files are made of --------------------------------------------------------------------


def test_files_are_those_of_hdf5_1_8(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    fba.write_array(X, path, "g/x", chunks=(50, 50))
    content = path.read_bytes()
    assert content[8] == 2, "version of the superblock"
    assert content.count(b"TREE") > 0, "chunks are found by B-trees of version 1"
    with h5py.File(path) as file:
        for name in ("/", "g", "g/x"):
            info = h5py.h5o.get_info(file[name].id)
            assert (info.mtime, info.ctime) == (0, 0), "objects have no times"


def test_pages_and_user_blocks(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    array = fba.write_array(X, path, "x", paged=True)
    assert numpy.array_equal(numpy.asarray(array), X)
    with h5py.File(path) as file:
        strategy, *_ = file.id.get_create_plist().get_file_space_strategy()
        assert strategy == h5py.h5f.FSPACE_STRATEGY_PAGE
    writer = _core.Writer(os.fspath(tmp_path / "u.h5"), "x", 512, b"MuData")
    number = writer.create_dataset(b"x", [600, 500], "<i4", [50, 50], None, "gzip")
    writer.write_block(number, [0, 0], X)
    writer.finish()
    assert (tmp_path / "u.h5").read_bytes()[:8] == b"MuData\0\0"
    assert numpy.array_equal(numpy.asarray(fba.Hdf5DenseArray(tmp_path / "u.h5", "x", native_order=True)), X)
    with h5py.File(tmp_path / "u.h5") as file:
        assert file.userblock_size == 512
        assert numpy.array_equal(file["x"][()], X)


def test_attributes_and_small_datasets(tmp_path: Path) -> None:
    from filebackedarray._write.files import NewFile
    from filebackedarray._write.values import fixed_strings, variable_strings

    path = tmp_path / "x.h5"
    many = [f"column {number}" for number in range(20_000)]
    with NewFile(path, "x") as file:
        file.attributes("/", encoding_type="anndata", flag=numpy.True_, number=numpy.int8(-3), many=many)
        file.attribute("/", "empty", ("null", "<f4"))
        file.attribute("/", "ascii", variable_strings("matrix", utf8=False))
        file.attribute("/", "number", 7)
        file.dataset("g/texts", variable_strings(["a", "ü", ""]))
        file.dataset("g/fixed", fixed_strings(["ab", "c"], utf8=False))
        file.dataset("g/none", fixed_strings([]))
        file.dataset("g/complex", numpy.array([1 + 2j]))
        with pytest.raises(ValueError, match="ends with a NUL"):
            fixed_strings(["a\0"])
        with pytest.raises(UnicodeEncodeError):
            fixed_strings(["ü"], utf8=False)
        with pytest.raises(TypeError, match="not a string"):
            variable_strings(numpy.array([1, None], dtype=object))
    with h5py.File(path) as file:
        attributes = dict(file.attrs)
        assert attributes["encoding-type"] == "anndata"
        assert attributes["flag"] is numpy.True_
        assert attributes["number"] == 7, "a later value takes the place of an earlier one"
        assert list(attributes["many"]) == many, "more than 64 KB"
        assert attributes["empty"] == h5py.Empty("f4")
        assert attributes["ascii"] == "matrix"
        assert file.attrs.get_id("encoding-type").get_type().get_cset() == h5py.h5t.CSET_UTF8
        assert file.attrs.get_id("ascii").get_type().get_cset() == h5py.h5t.CSET_ASCII
        assert list(file["g/texts"].asstr()[()]) == ["a", "ü", ""]
        assert file["g/fixed"][()].tolist() == [b"ab", b"c"]
        assert file["g/fixed"].id.get_type().get_strpad() == h5py.h5t.STR_NULLPAD
        assert file["g/none"].shape == (0,)
        assert file["g/none"].dtype == "S1"
        assert file["g/complex"][0] == 1 + 2j


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_CHILDREN"), reason="the system does not tell")
def test_memory_is_bounded(tmp_path: Path) -> None:
    # 800 MB of which each block is made when it is wanted.
    program = """
        import resource
        fba.set_num_threads(2)
        small = fba.write_array(X, sys.argv[1] + ".small", "x")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        big = numpy.broadcast_to(numpy.float64(1.5), (10_000, 10_000))
        fba.write_array(big, sys.argv[1], "x", chunks=(1000, 100))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
    child = run(program, tmp_path / "x.h5")
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert int(out) < 200 << 10, f"{int(out) >> 10} MB more"
