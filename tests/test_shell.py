"""The command: what it says, what it returns, and how it fails."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.sparse

import real
from filebackedarray import _core
from filebackedarray._engine import untrusted as _untrusted
from filebackedarray._formats import compressed as _compressed
from filebackedarray._formats import listing as _listing
from filebackedarray._shell import check as _check
from filebackedarray._shell import main
from helpers import Compressed


def spawn(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command as a shell runs it."""
    return subprocess.run(
        [sys.executable, "-m", "filebackedarray", *map(str, arguments)], capture_output=True, text=True, **options
    )


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    """The same in this process, which takes a hundredth of the time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def documented(*arguments: Any, status: int = 0) -> Any:
    """What a command writes as JSON."""
    done = run(*arguments, "--json")
    assert done.returncode == status, done.stderr
    assert done.stderr == ""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(done.stdout, parse_constant=refuse)


@pytest.fixture(scope="module")
def dense() -> numpy.ndarray:
    data = numpy.random.default_rng(1).integers(0, 9, (40, 30)).astype("f8")
    data[3, 4] = numpy.nan
    data[5, 6] = numpy.inf
    return data


@pytest.fixture(scope="module")
def sparse() -> scipy.sparse.csc_matrix:
    return scipy.sparse.random(50, 20, 0.2, rng=numpy.random.default_rng(2)).tocsc()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, dense: numpy.ndarray, sparse: scipy.sparse.csc_matrix) -> Path:
    path = tmp_path_factory.mktemp("shell") / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("dense", data=dense, chunks=(10, 7), compression="gzip", shuffle=True, fletcher32=True)
        handle.create_dataset("g/whole", data=numpy.arange(24, dtype="i2").reshape(2, 3, 4))
        handle["g/names"] = ["a", "b"]
        handle["g/scalar"] = 3
        handle["g/records"] = numpy.zeros(2, [("a", "i4"), ("b", "f4")])
        handle["g/again"] = handle["g"]
        handle["g/nowhere"] = h5py.SoftLink("/missing")
        handle["g/elsewhere"] = h5py.ExternalLink("other.h5", "/x")
        handle["g/\x1b[31modd\n<name>"] = [1.5]
        for group in ("tenx", "bare"):
            for name in ("data", "indices", "indptr"):
                handle[f"{group}/{name}"] = getattr(sparse, name)
        handle["tenx/shape"] = sparse.shape
        handle["tenx/barcodes"] = [f"c{i}" for i in range(20)]
        row = handle.create_group("h5ad")
        row.attrs["encoding-type"] = "csr_matrix"
        row.attrs["shape"] = sparse.shape
        for name in ("data", "indices", "indptr"):
            values = getattr(sparse.tocsr(), name)
            row.create_dataset(name, data=values, chunks=(50,) if len(values) > 50 else None)
    return path


def test_ls_as_json(path: Path, dense: numpy.ndarray, sparse: scipy.sparse.csc_matrix) -> None:
    said = documented("ls", path)
    assert said["file"] == str(path)
    assert said["size"] == path.stat().st_size
    members = {member["name"]: member for member in said["members"]}
    assert next(iter(members)) == "/"
    with h5py.File(path) as handle:
        stored = handle["dense"].id.get_storage_size()
    assert members["/dense"] == {
        "name": "/dense",
        "kind": "dense",
        "repeats": None,
        "shape": [40, 30],
        "dtype": "float64",
        "by_column": None,
        "nnz": None,
        "chunks": [10, 7],
        "filters": ["shuffle", "deflate 4", "fletcher32"],
        "storage_size": stored,
        "compression_ratio": pytest.approx(dense.nbytes / stored),
        "read_path": "direct",
        "format": None,
        "note": "",
    }
    assert members["/g/whole"]["chunks"] is None
    assert members["/g/names"]["dtype"] == "string"
    assert members["/g/names"]["compression_ratio"] is None
    assert members["/g/scalar"]["shape"] == []
    assert members["/g/records"]["kind"] == "dataset"
    assert "compound" in members["/g/records"]["note"]
    assert members["/g/again"]["repeats"] == "/g"
    assert members["/g/nowhere"]["kind"] == "dangling link"
    assert members["/g/elsewhere"]["kind"] == "external link"
    assert "/g/\x1b[31modd\n<name>" in members
    for name, by_column in (("/tenx", True), ("/h5ad", False)):
        assert members[name]["kind"] == "sparse"
        assert members[name]["shape"] == list(sparse.shape)
        assert members[name]["by_column"] is by_column
        assert members[name]["nnz"] == sparse.nnz
        assert set(members[name]["chunks"]) == {"data", "indices", "indptr"}
        assert not any(other.startswith(f"{name}/data") for other in members)
    assert "/tenx/barcodes" in members
    assert members["/bare"]["shape"] is None
    assert "shape" in members["/bare"]["note"]


def test_ls_of_groups_that_only_look_like_matrices(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        for group, values in (("scalars", 1), ("tables", numpy.ones((2, 2))), ("vectors", numpy.ones(3))):
            for name in _compressed.MEMBERS:
                handle[f"{group}/{name}"] = values
        for name in _compressed.MEMBERS:
            handle.create_group(f"groups/{name}")
    said = documented("ls", tmp_path / "x.h5")
    notes = {member["name"]: member["note"] for member in said["members"] if member["kind"] == "sparse"}
    assert notes.keys() == {"/scalars", "/tables", "/vectors"}
    assert "one dimension" in notes["/scalars"]
    assert "one dimension" in notes["/tables"]
    assert "it lacks a shape" in notes["/vectors"]
    for group in ("scalars", "tables", "vectors", "groups"):
        failed = run("info", tmp_path / "x.h5", group)
        assert failed.returncode == 1
        assert group in failed.stderr
        assert "Traceback" not in failed.stderr
    checked = {member["name"]: member for member in documented("check", tmp_path / "x.h5", status=1)["members"]}
    assert "no sparse matrix" in checked["/scalars"]["notes"][0]
    assert checked["/tables"]["damaged"] == []
    assert checked["/vectors"]["damaged"] != []


def test_ls_as_a_table(path: Path) -> None:
    done = run("ls", path)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        *("name", "shape", "type", "format", "chunks", "filters", "size", "ratio", "read", "by", "note")
    ]
    (line,) = [line for line in lines if line.startswith("dense")]
    for cell in ("40 x 30", "float64", "10 x 7", "shuffle, deflate 4, fletcher32", "direct"):
        assert cell in line
    # What is in a file cannot steer the terminal.
    assert "\x1b" not in done.stdout
    assert "  \\x1b[31modd\\n<name>" in done.stdout
    assert any("float64 sparse by row" in line for line in lines)


def on_a_terminal(*arguments: Any, columns: int = 200, **environment: str) -> str:
    """What the command writes to a terminal, on both streams."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "filebackedarray", *map(str, arguments)],
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **environment},
    )
    os.close(slave)
    output = b""
    while True:
        try:
            got = os.read(master, 1 << 16)
        except OSError:
            break
        if not got:
            break
        output += got
    os.close(master)
    assert process.wait() == 0
    return output.decode()


@pytest.mark.parametrize("with_rich", [True, False])
def test_a_table_on_a_terminal(path: Path, tmp_path: Path, with_rich: bool) -> None:
    """With rich if it is there; as plain text if it is not."""
    (tmp_path / "rich.py").write_text("raise ImportError('none')")
    text = on_a_terminal("ls", path, **({} if with_rich else {"PYTHONPATH": str(tmp_path)}))
    assert "dense" in text
    assert ("─" in text) == with_rich
    assert "\x1b[31modd" not in text


@pytest.mark.parametrize("columns", [1, 20, 60, 80, 200])
def test_a_table_on_a_narrow_terminal(path: Path, columns: int) -> None:
    """No number is cut in pieces, and no column left out."""
    text = on_a_terminal("ls", path, columns=columns)
    assert "40 x 30" in text
    assert "9.4 KiB" in on_a_terminal("info", path, "dense", columns=columns)
    lines = on_a_terminal("head", path, "dense", columns=columns).splitlines()
    (row,) = [line.split() for line in lines if line.split()[:1] == ["9"]]
    assert len(row) == 12


@pytest.mark.parametrize("with_tqdm", [True, False])
def test_a_check_leaves_no_bars_on_a_terminal(path: Path, tmp_path: Path, with_tqdm: bool) -> None:
    (tmp_path / "tqdm.py").write_text("raise ImportError('none')")
    text = on_a_terminal("check", path, **({} if with_tqdm else {"PYTHONPATH": str(tmp_path)}))
    assert "%" not in text


def test_info(path: Path, sparse: scipy.sparse.csc_matrix) -> None:
    said = documented("info", path, "dense")
    assert (said["kind"], said["shape"], said["dtype"]) == ("dense", [40, 30], "<f8")
    assert (said["chunks"], said["filters"]) == ([10, 7], ["shuffle", "deflate 4", "fletcher32"])
    assert said["read_path"] == "direct"
    said = documented("info", path, "/tenx")
    assert (said["kind"], said["nnz"], said["by_column"]) == ("sparse", sparse.nnz, True)
    assert said["sparsity"] == pytest.approx(1 - sparse.nnz / 1000)
    done = run("info", path, "dense")
    assert "40 x 30" in done.stdout
    assert "direct" in done.stdout


def test_head(path: Path, dense: numpy.ndarray, sparse: scipy.sparse.csc_matrix) -> None:
    said = documented("head", path, "dense", "-n", 6, "-c", 7)
    want = dense[:6, :7].tolist()
    want[3][4] = "NaN"
    want[5][6] = "Infinity"
    assert said["values"] == want
    assert said["shape"] == [40, 30]
    assert documented("head", path, "h5ad", "-n", 50, "-c", 20)["values"] == sparse.toarray().tolist()
    said = documented("head", path, "g/whole", "-n", 2)
    assert (said["at"], said["values"]) == ([0], numpy.arange(24).reshape(2, 3, 4)[0, :2].tolist())
    assert documented("head", path, "g/names")["values"] == ["a", "b"]
    assert documented("head", path, "g/scalar")["values"] == 3
    done = run("head", path, "dense", "-n", 2, "-c", 2)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines == [
        ["40", "x", "30", "float64"],
        ["0", "1"],
        ["0", *(f"{value:g}" for value in dense[0, :2]), "..."],
        ["1", *(f"{value:g}" for value in dense[1, :2]), "..."],
        ["..."],
    ]
    for name in ("g/whole", "g/names", "g/scalar", "tenx"):
        assert run("head", path, name).returncode == 0


def test_a_bare_group(path: Path, sparse: scipy.sparse.csc_matrix) -> None:
    done = run("head", path, "bare")
    assert done.returncode == 1
    assert "--shape" in done.stderr
    said = documented("head", path, "bare", "--shape", "50x20", "--by", "column", "-n", 50, "-c", 20)
    assert said["values"] == sparse.toarray().tolist()


def test_stats(path: Path, dense: numpy.ndarray, sparse: scipy.sparse.csc_matrix, tmp_path: Path) -> None:
    done = run("stats", path, "dense", "--statistics", "sum,nanmax,count_nonzero")
    assert done.returncode == 0
    assert done.stderr == ""
    header, *lines = csv.reader(done.stdout.splitlines())
    assert header == ["index", "sum", "nanmax", "count_nonzero"]
    assert [line[0] for line in lines] == [str(row) for row in range(40)]
    numpy.testing.assert_array_equal([float(line[1]) for line in lines], dense.sum(axis=1))
    numpy.testing.assert_array_equal([float(line[2]) for line in lines], numpy.nanmax(dense, axis=1))
    out = tmp_path / "out.tsv"
    assert run("stats", path, "tenx", "--axis", "1", "-o", out).returncode == 0
    header, *lines = csv.reader(out.read_text().splitlines(), delimiter="\t")
    assert header == ["index", "name", "count_nonzero", "sum", "mean", "std", "min", "max"]
    numpy.testing.assert_allclose([float(line[3]) for line in lines], sparse.toarray().sum(axis=0))
    said = documented("stats", path, "tenx", "--axis", "all", "--statistics", "mean")
    assert (said["axis"], said["length"]) == (None, 1)
    assert said["statistics"]["mean"] == [pytest.approx(sparse.mean())]
    assert said["names"] is None
    assert run("stats", path, "tenx", "--json", "-o", out).stdout == ""
    assert len(json.loads(out.read_text())["statistics"]["mean"]) == 50


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--axis", "2"], "2 dimensions"),
        (["--axis", "x"], "'x'"),
        (["--statistics", "median"], "median"),
        (["--statistics", ","], "names none"),
        (["-o", "/missing/folder/x.csv"], "/missing/folder/x.csv"),
        (["-o", "/dev/full"], "No space left"),
    ],
)
def test_stats_that_cannot_be(path: Path, arguments: list[str], says: str) -> None:
    done = run("stats", path, "dense", *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 10x matrix with names that need quotes, one of which is not UTF-8, and an h5ad file."""
    folder = tmp_path_factory.mktemp("named")
    matrix = scipy.sparse.csc_matrix([[1, 0], [0, 2], [3, 4]])
    with h5py.File(folder / "x.h5", "w") as handle:
        for group in ("matrix", "wrong"):
            for member in _compressed.MEMBERS:
                handle[f"{group}/{member}"] = getattr(matrix, member)
            handle[f"{group}/shape"] = matrix.shape
        handle["matrix/features/id"] = numpy.array([b'a,"b"', b"t\tab\nline", b"\xff"])
        handle["matrix/barcodes"] = numpy.array([b"c0", b"c1"])
        handle["wrong/barcodes"] = numpy.array([b"c0", b"c1", b"c2"])
    with h5py.File(folder / "x.h5ad", "w") as handle:
        handle["X"] = numpy.arange(6.0).reshape(2, 3)
        for frame, names in (("obs", [b"c0", b"c1"]), ("var", [b"g0", b"g1", b"g2"])):
            handle[f"{frame}/_index"] = numpy.array(names)
            handle[frame].attrs["_index"] = "_index"
    return folder


def test_names_in_stats(named: Path) -> None:
    """As the file has the matrix: cells are the rows of an h5ad file's."""
    for suffix, separator in (("csv", ","), ("tsv", "\t")):
        out = named / f"out.{suffix}"
        assert run("stats", named / "x.h5", "matrix", "--statistics", "sum", "-o", out).returncode == 0
        with out.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
            header, *lines = csv.reader(handle, delimiter=separator)
        assert header == ["index", "name", "sum"]
        assert lines == [["0", 'a,"b"', "1"], ["1", "t\tab\nline", "2"], ["2", "\udcff", "7"]]
    assert documented("stats", named / "x.h5", "matrix", "--axis", "1")["names"] == ["c0", "c1"]
    assert documented("stats", named / "x.h5ad", "X")["names"] == ["c0", "c1"]
    assert documented("stats", named / "x.h5ad", "X", "--axis", "1")["names"] == ["g0", "g1", "g2"]
    # Said to be something else than the file says.
    said = documented("stats", named / "x.h5", "matrix", "--shape", "3x2", "--by", "column")
    assert said["names"] is None


def test_names_that_do_not_fit_are_left_out(named: Path) -> None:
    done = run("stats", named / "x.h5", "wrong", "--axis", "1", "--statistics", "sum")
    assert (done.returncode, done.stdout) == (0, "index,sum\n0,4\n1,6\n")
    assert done.stderr.startswith("filebackedarray: warning: names are left out: ")
    assert len(done.stderr.splitlines()) == 1


def test_warnings_are_one_line(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = numpy.zeros((2, 0))
    done = run("stats", tmp_path / "x.h5", "x", "--statistics", "mean")
    assert (done.returncode, done.stdout) == (0, "index,mean\n0,nan\n1,nan\n")
    assert done.stderr == "filebackedarray: warning: Mean of empty slice\n"


def test_the_example_compares_with_h5py(path: Path) -> None:
    script = Path(__file__).parents[1] / "examples" / "bench.py"
    for name in ("dense", "tenx"):
        done = subprocess.run(
            [sys.executable, script, path, name, "--rounds", "1"], capture_output=True, text=True, check=True
        )
        assert "ratio" in done.stdout


# ---- check -----------------------------------------------------------------------------------


def test_check_of_a_good_file(path: Path) -> None:
    said = documented("check", path)
    assert said["ok"] is True
    assert said["faults"] == 0
    members = {member["name"]: member for member in said["members"]}
    assert members["/dense"]["chunks"] == 20
    assert members["/tenx"]["chunks"] == 3
    assert "/g/again" not in members
    unchecked = {name for name, member in members.items() if member["unchecked"]}
    assert unchecked == {"/g/records", "/g/nowhere", "/g/elsewhere"}
    done = run("check", path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith("0 faults, 3 not checked")
    assert run("check", path, "--strict").returncode == 1


def flip(path: Path, name: str, *numbers: int) -> list[list[int]]:
    """Damage some of the chunks of a dataset; where they begin."""
    with h5py.File(path) as handle:
        infos = [handle[name].id.get_chunk_info(number) for number in numbers]
    with path.open("r+b") as handle:
        for info in infos:
            handle.seek(info.byte_offset + info.size // 2)
            byte = handle.read(1)
            handle.seek(-1, os.SEEK_CUR)
            handle.write(bytes([byte[0] ^ 0xFF]))
    return [list(info.chunk_offset) for info in infos]


def test_check_names_each_damaged_chunk(path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.h5"
    shutil.copy(path, damaged)
    offsets = flip(damaged, "dense", 2, 11, 19)
    said = documented("check", damaged, status=1)
    assert said["ok"] is False
    assert said["faults"] == 3
    (member,) = [member for member in said["members"] if member["damaged"]]
    assert member["name"] == "/dense"
    assert member["chunks"] == 20
    assert [fault["chunk"] for fault in member["damaged"]] == sorted(offsets)
    assert all("checksum" in fault["message"] for fault in member["damaged"])
    done = run("check", damaged)
    assert done.returncode == 1
    for offset in offsets:
        assert f"chunk at ({offset[0]}, {offset[1]}): its Fletcher-32 checksum" in done.stdout
    assert done.stderr == ""


def sparse_file(path: Path, matrix: Compressed, **options: Any) -> None:
    matrix.write(path, **options)
    with h5py.File(path, "r+") as handle:
        handle["m"].attrs["encoding-type"] = "csc_matrix" if matrix.by_column else "csr_matrix"
        handle["m"].attrs["shape"] = matrix.shape


def good_matrix(by_column: bool = True) -> Compressed:
    rng = numpy.random.default_rng(4)
    columns = [numpy.sort(rng.choice(200, rng.integers(0, 90), replace=False)) for _ in range(60)]
    columns[7] = numpy.arange(0, 100)
    indices = numpy.concatenate(columns)
    indptr = numpy.concatenate([[0], numpy.cumsum([len(column) for column in columns])])
    shape = (200, 60) if by_column else (60, 200)
    return Compressed(rng.random(len(indices)), indices.astype("i4"), indptr, shape, by_column)


STRUCTURES = {
    "outside": (lambda m: m.indices.__setitem__(m.indptr[8] - 1, 200), "outside of 0 to 199 in 1 columns (7)"),
    "negative": (lambda m: m.indices.__setitem__(m.indptr[7], -1), "outside of 0 to 199 in 1 columns (7)"),
    "begins": (lambda m: m.indptr.__setitem__(0, 1), "begins with 1, not 0"),
    "decreases": (lambda m: m.indptr.__setitem__(8, 0), "decreases at 7"),
    "ends": (lambda m: m.indptr.__setitem__(-1, m.indptr[-1] + 5), "elements are stored"),
    "length": (lambda m: setattr(m, "indptr", m.indptr[[*range(60), 60, 60]]), "62 pointers for 60 columns"),
}


@pytest.mark.parametrize("window", [1, 64, 1 << 21])
@pytest.mark.parametrize("what", STRUCTURES)
def test_check_of_sparse_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, window: int) -> None:
    spoil, says = STRUCTURES[what]
    matrix = good_matrix()
    spoil(matrix)
    sparse_file(tmp_path / "x.h5", matrix, chunks=(37,), maxshape=(None,))
    monkeypatch.setattr(_check, "WINDOW", window)
    (checked,) = [one for one in _check.check(str(tmp_path / "x.h5"), lambda _: None) if one.kind == "sparse"]
    (fault,) = checked.damaged
    assert says in fault["message"]
    assert fault["chunk"] is None
    assert checked.notes == []


@pytest.mark.parametrize("window", [1, 64, 1 << 21])
@pytest.mark.parametrize("by_column", [True, False])
def test_check_of_indices_that_are_not_canonical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, by_column: bool
) -> None:
    """No fault, since such matrices are read right; but they take longer."""
    matrix = good_matrix(by_column)
    at = matrix.indptr[7]
    matrix.indices[at + 10 : at + 12] = matrix.indices[at + 10 : at + 12][::-1].copy()
    matrix.indices[at + 50] = matrix.indices[at + 49]
    sparse_file(tmp_path / "x.h5", matrix, chunks=(37,), maxshape=(None,))
    monkeypatch.setattr(_check, "WINDOW", window)
    (checked,) = [one for one in _check.check(str(tmp_path / "x.h5"), lambda _: None) if one.kind == "sparse"]
    assert checked.damaged == []
    word = "columns" if by_column else "rows"
    assert checked.notes[0] == f"indices are not sorted in 1 {word} (7)"
    assert f"in 1 {word} (7)" in checked.notes[1]
    assert documented("check", tmp_path / "x.h5")["ok"] is True


def test_check_of_values_that_are_not_as_many_as_indices(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["m/data"], handle["m/indices"], handle["m/indptr"] = numpy.ones(3), numpy.arange(4), [0, 4]
    said = documented("check", tmp_path / "x.h5", status=1)
    ((fault,),) = [member["damaged"] for member in said["members"] if member["name"] == "/m"]
    assert fault["message"] == "a sparse matrix has as many data as indices, not 3 and 4"


@pytest.mark.parametrize("member", ["indices", "indptr"])
def test_check_of_indices_that_are_no_integers(tmp_path: Path, member: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        for name, values in (("data", numpy.ones(3)), ("indices", numpy.arange(3)), ("indptr", numpy.array([0, 3]))):
            handle[f"m/{name}"] = values.astype("f8") if name == member else values
    said = documented("check", tmp_path / "x.h5", status=1)
    assert [fault["message"] for fault in said["members"][0]["damaged"]] == ["it should contain integers"]


def test_check_goes_on_after_a_damaged_chunk_of_indices(tmp_path: Path) -> None:
    matrix = good_matrix()
    matrix.indices[matrix.indptr[7] + 3] = 999
    sparse_file(tmp_path / "x.h5", matrix, chunks=(37,), maxshape=(None,), compression="gzip", fletcher32=True)
    (offset,) = flip(tmp_path / "x.h5", "m/indices", 1)
    said = documented("check", tmp_path / "x.h5", status=1)
    (member,) = [member for member in said["members"] if member["kind"] == "sparse"]
    assert [fault["chunk"] for fault in member["damaged"]] == [offset, None]
    assert "(7)" in member["damaged"][1]["message"]


def test_check_of_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        handle["first"] = numpy.arange(10)
        handle["long"] = numpy.arange(10**6)
    with h5py.File(path) as handle:
        begin = handle["long"].id.get_offset()
    # What comes after the values is not needed to find them; libhdf5 wants to have it all the same.
    content = path.read_bytes()
    os.truncate(path, begin + 4 * 10**6)
    done = run("check", path)
    assert done.returncode == 1
    assert done.stderr or "damaged" in done.stdout
    path.write_bytes(content)
    assert run("check", path).returncode == 0


def test_check_of_strings(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=["some string"] * 30, chunks=(10,))
    assert documented("check", path)["chunks"] == 3
    content = path.read_bytes()
    path.write_bytes(content.replace(b"GCOL", b"XXXX"))
    said = documented("check", path, status=1)
    assert len(said["members"][0]["damaged"]) == 3


def test_check_reads_what_was_written_only(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        x = handle.create_dataset("x", shape=(10**9, 10**8), chunks=(100, 100), dtype="u1")
        x[5, 5] = x[10**8, 10**7] = 1
    assert documented("check", path)["chunks"] == 2


def test_check_believes_no_cache(tmp_path: Path) -> None:
    path = str(tmp_path / "x.h5")
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=numpy.arange(1000), chunks=(100,), compression="gzip")
    reports: list[tuple[int, int]] = []
    assert _core.check_dense(path, b"x", lambda *done: reports.append(done)) == (10, [])
    assert reports[-1] == (10, 10)


def test_check_of_a_filter_that_nothing_decodes(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        x = handle.create_dataset("x", shape=(10,), chunks=(10,), dtype="i4", compression="gzip")
        x.id.write_direct_chunk((0,), b"\0" * 40)
    content = bytearray(path.read_bytes())
    # The filter's number in the pipeline message: version 1, one filter, six reserved bytes.
    at = content.index(b"\x01\x01" + bytes(6) + b"\x01\x00")
    content[at + 8 : at + 10] = (40000).to_bytes(2, "little")
    path.write_bytes(content)
    said = documented("check", path)
    assert "40000" in said["members"][0]["unchecked"]
    assert run("check", path, "--strict").returncode == 1


def test_as_a_process(path: Path, tmp_path: Path) -> None:
    """What it writes, and the exit status, come out of the process."""
    for arguments in (["ls", path], ["check", path, "--json"], ["check", path, "--strict"], ["info", path, "none"]):
        want, got = run(*arguments), spawn(*arguments, cwd=tmp_path)
        assert (got.returncode, got.stdout, got.stderr) == (want.returncode, want.stdout, want.stderr)
    assert spawn("nothing").returncode == 2


# ---- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ls", "missing.h5"], "missing.h5"),
        (["check", "missing.h5"], "missing.h5"),
        (["info", "missing.h5", "x"], "missing.h5"),
        (["info", "X", "nothing"], "nothing"),
        (["info", "X", "g"], "no data, indices and indptr"),
        (["head", "X", "g/records"], "compound"),
        (["head", "X", "g/nowhere"], "nowhere"),
        (["head", "X", "dense", "--shape", "2x2"], "--shape"),
        (["stats", "X", "g/names"], "should be of numbers"),
        (["ls", "X", "--threads", "100000"], "threads"),
    ],
)
def test_errors_are_one_line(path: Path, arguments: list[str], says: str) -> None:
    arguments = [str(path) if argument == "X" else argument for argument in arguments]
    for extra in ([], ["--json"]):
        done = run(*arguments, *extra)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("filebackedarray: ")
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("not HDF5")
    for command in (["ls"], ["check"]):
        done = run(*command, tmp_path / "x.h5")
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["ls"],
        ["head", "x", "y", "-n", "0"],
        ["ls", "x", "--threads", "a"],
        ["head", "x", "y", "--shape", "3x"],
        ["head", "x", "y", "--shape", "3xa"],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: filebackedarray")
    assert " _" not in done.stderr


def test_help_and_version() -> None:
    assert run("--version").stdout.startswith("filebackedarray ")
    for command in ("ls", "info", "head", "stats", "check", "convert"):
        assert command in run("--help").stdout
        assert run(command, "--help").returncode == 0


def test_closed_streams(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "filebackedarray"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command, "ls", path], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "filebackedarray: standard output is closed\n")
    out = tmp_path / "out.csv"
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *command, "stats", path, "dense", "-o", out], text=True)
    assert done.returncode == 0
    assert len(out.read_text().splitlines()) == 41


def test_a_closed_pipe(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "filebackedarray", "ls", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


@pytest.mark.alone
def test_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        options = {"chunks": (1, 1 << 22), "compression": "gzip", "compression_opts": 1}
        dataset = handle.create_dataset("x", shape=(3000, 1 << 22), dtype="f8", **options)
        dataset[0] = 0
        mask, chunk = dataset.id.read_direct_chunk((0, 0))
        for row in range(1, 3000):
            dataset.id.write_direct_chunk((row, 0), chunk, mask)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, filebackedarray._shell as s; print(1, flush=True); sys.exit(s.main())",
            "check",
            str(path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_the_installed_script(path: Path) -> None:
    script = Path(sys.executable).parent / "filebackedarray"
    done = subprocess.run([script, "ls", path], capture_output=True, text=True, check=True)
    assert done.stdout == run("ls", path).stdout


# ---- files that are not trusted --------------------------------------------------------------

HOSTILE = Path(__file__).parent / "data" / "libhdf5"


def test_untrusted_is_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [
        ["ls", path],
        ["check", path],
        *(["info", path, name] for name in ("dense", "tenx", "g/names")),
        *(["head", path, name] for name in ("dense", "tenx", "g/names", "g/scalar")),
        *(["stats", path, name] for name in ("dense", "tenx", "h5ad")),
        ["head", path, "bare", "--shape", "50x20", "--by", "column"],
        ["stats", path, "tenx", "--axis", "1"],
    ]
    wanted = [(run(*command), documented(*command)) for command in commands]

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("it is read in this process")

    class Refused:
        __init__ = refused

    for name in ("inspect", "facts", "describe", "members", "attributes", "read_field", "read_path", "read_dense"):
        monkeypatch.setattr(_core, name, refused)
    for name in ("multiply_dense", "read_strings", "reduce_dense", "check_dense"):
        monkeypatch.setattr(_core, name, refused)
    monkeypatch.setattr(_core, "SparseMatrix", Refused)
    for command, (text, document) in zip(commands, wanted, strict=True):
        done = run(*command, "--untrusted")
        found = documented(*command, "--untrusted")
        assert (done.returncode, done.stderr) == (text.returncode, text.stderr)
        if command[0] == "stats":
            # Sums are of other blocks, and rounded otherwise.
            for name, values in found.pop("statistics").items():
                want = [float(value) for value in document["statistics"][name]]
                numpy.testing.assert_allclose([float(value) for value in values], want, rtol=1e-12)
            del document["statistics"]
        else:
            assert done.stdout == text.stdout
        assert found == document


def test_untrusted_structure_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    matrix = good_matrix()
    matrix.indices[3] = 10**6
    sparse_file(path, matrix)
    said = documented("check", path, "--untrusted", status=1)
    assert said == documented("check", path, status=1)
    assert "outside" in said["members"][0]["damaged"][0]["message"]


@pytest.mark.parametrize(
    ("case", "bad", "good"),
    [
        ("btree2-leaf-checksum-overflow", "/tree2", "/extensible"),
        ("extensible-array-endless-iteration", "/extensible", "/tree2"),
        ("fixed-array-endless-iteration", "/matrix/data", "/matrix/indptr"),
    ],
)
def test_what_ends_the_process_is_reported(case: str, bad: str, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_untrusted, "SECONDS", 2)
    path = HOSTILE / f"{case}.h5"
    for command in ("ls", "check"):
        done = run(command, path, "--untrusted", "--json")
        assert done.returncode == 1
        assert "ended" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        members = {member["name"]: member for member in json.loads(done.stdout)["members"]}
        assert members[bad]["kind"] == "unreadable"
        assert members[good]["kind"] == "dense"
        if command == "check":
            assert members[bad]["damaged"]
            assert members[good]["damaged"] == []
    for command in ("info", "head", "stats"):
        done = run(command, path, bad, "--untrusted")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert command == "info" or done.stdout == ""


def test_a_file_of_which_everything_ends_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        for number in range(30):
            handle[f"x{number:02}"] = numpy.arange(3)
    # A worker that crashes whenever it is asked about a dataset.
    monkeypatch.setattr(
        _untrusted,
        "_START",
        _untrusted._START.replace("worker.serve()", "worker._CALLS['facts'] = lambda *_: os.abort()\nworker.serve()")
        + "",
    )
    monkeypatch.setattr(_untrusted, "_idle", [])
    monkeypatch.setattr(_untrusted, "_START", "import os" + _untrusted._START)
    for command in ("ls", "check"):
        done = run(command, path, "--untrusted", "--json")
        assert done.returncode == 1
        assert "ended 5 processes" in done.stderr
        assert "was not read" in done.stderr
        members = json.loads(done.stdout)["members"]
        unreadable = [member for member in members if member["kind"] == "unreadable"]
        assert len(unreadable) == 30
        notes = [member["note"] if command == "ls" else member["damaged"][0]["message"] for member in unreadable]
        assert ["SIGABRT" in note for note in notes] == [True] * 5 + [False] * 25
        assert all("not read" in note for note in notes[5:])


def test_progress_of_an_untrusted_check(path: Path) -> None:
    told: list[Any] = []

    def report(title: str) -> Any:
        told.append(title)
        return lambda *done: told.append(done)

    count = len(list(_check.check(str(path), report, untrusted=True)))
    assert told == [str(path), *((number, count) for number in range(1, count + 1))]


def test_real_files_that_crash_libhdf5() -> None:
    real.require()
    path = real.location() / "c6_malformed/HDFGroup+cve_hdf5/cvefiles/cve-2024-32609.h5"
    for command in ("ls", "check"):
        done = run(command, path, "--untrusted")
        assert done.returncode == 1
        assert "uint" in done.stdout
        assert "SIG" in done.stdout
        assert len(done.stderr.splitlines()) == 1


# ---- real files ------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", real.FOLDERS)
def test_real_files(folder: str) -> None:
    """What is listed is what the inventory has; and nothing is damaged."""
    real.require()
    known: dict[str, dict[str, Any]] = {}
    for line in real.lines("inventory.jsonl"):
        if line["file"].split("/")[0] == folder and not line["name"].startswith("bytes:"):
            known.setdefault(line["file"], {})[line["name"].strip("/")] = line
    assert known
    for file, datasets in known.items():
        path = str(real.location() / file)
        entries = {entry.name.strip("/"): entry for entry in _listing.entries(path)}
        for name, line in datasets.items():
            group, _, member = name.rpartition("/")
            if name not in entries:
                assert member in _compressed.MEMBERS
                assert entries[group].kind == "sparse"
            elif line["kind"] == "dense" and entries[name].repeats is None:
                assert entries[name].kind == "dense"
                assert list(entries[name].shape) == line["shape"]
        for checked in _check.check(path, lambda _: None):
            assert checked.damaged == [], file
