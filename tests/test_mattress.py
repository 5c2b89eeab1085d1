"""What mattress, and with it scranpy's C++ code, gets of our arrays."""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import delayedarray
import h5py
import mattress
import numpy
import pytest
import scipy.sparse
import scranpy
from hypothesis import given
from hypothesis import strategies as st

import filebackedarray
import real
from filebackedarray import _core
from filebackedarray._interop import mattress as _mattress
from helpers import error_naming, random_compressed, run_python
from strategies import trees

SHAPE = (30, 20)
SOME = numpy.array([3, 1, 12, 7])


@pytest.fixture
def budget() -> Iterator[Callable[[int | None], int | None]]:
    yield filebackedarray.set_memory_budget
    filebackedarray.set_memory_budget(None)


def initialized(x: Any, **kwargs: Any) -> mattress.InitializedMatrix:
    """What mattress makes of it, without a fallback and without a message."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return mattress.initialize(x, _unknown_action="error", **kwargs)


def assert_matrix(got: mattress.InitializedMatrix, want: numpy.ndarray) -> None:
    want = want.astype(numpy.float64)
    assert got.shape == want.shape
    numpy.testing.assert_array_equal(numpy.asarray(got), want)
    numpy.testing.assert_allclose(got.row_sums(num_threads=2), want.sum(axis=1), rtol=1e-12)
    numpy.testing.assert_allclose(got.column_sums(num_threads=2), want.sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i4", ">f8"])
def test_dtypes(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.h5"
    dense = (numpy.arange(600).reshape(SHAPE) % 7).astype(dtype)
    with h5py.File(path, "w") as file:
        file["d"] = dense
    assert_matrix(initialized(filebackedarray.Hdf5DenseArray(path, "d", native_order=True)), dense)
    assert_matrix(initialized(filebackedarray.Hdf5DenseArray(path, "d")), dense.T)
    for by_column in (True, False):
        stored = random_compressed(SHAPE, by_column, dtype=dtype)
        stored.write(path)
        got = initialized(filebackedarray.Hdf5CompressedSparseMatrix(path, "m", SHAPE, by_column))
        assert got.sparse()
        assert_matrix(got, stored.dense())


@pytest.fixture(params=["csc", "csr", "dense"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[filebackedarray.FileBackedArray, numpy.ndarray]:
    path = tmp_path / "a.h5"
    if request.param == "dense":
        values = numpy.random.default_rng(3).integers(0, 5, SHAPE).astype("i4")
        with h5py.File(path, "w") as file:
            file.create_dataset("d", data=values.T, chunks=(7, 7), compression="gzip")
        return filebackedarray.Hdf5DenseArray(path, "d"), values
    by_column = request.param == "csc"
    stored = random_compressed(SHAPE, by_column, dtype="i4")
    stored.write(path)
    return filebackedarray.Hdf5CompressedSparseMatrix(path, "m", SHAPE, by_column), stored.dense()


TREES: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda x: x,
    "columns": lambda x: x[:, SOME],
    "rows": lambda x: x[SOME, :],
    "both": lambda x: x[2:9, :][:, SOME],
    "repeated": lambda x: x[:, numpy.array([4, 4, 0])],
    "none": lambda x: x[:, 0:0],
    "transposed": lambda x: x.T,
    "part of the transposed": lambda x: x.T[SOME, :],
    "cast": lambda x: x.astype("f4"),
    "cast of a part": lambda x: (x[:, SOME]).astype("?"),
    "part of a cast": lambda x: x.astype("f8")[SOME, :],
    "scaled": lambda x: x[:, SOME] / numpy.array([1.0, 2.0, 4.0, 8.0]),
    "part of a sum": lambda x: (x + 1)[SOME, :],
    "product": lambda x: x * x,
    "joined": lambda x: numpy.concatenate([x, x], axis=1),
    # Half to even, which is not how mattress does it.
    "rounded": lambda x: numpy.round(x / 2),
    "part of the rounded": lambda x: numpy.round(x[SOME, :] / 2) * 3,
    "floored": lambda x: x // 2,
}


@pytest.mark.parametrize("tree", TREES)
def test_trees(pair: tuple[Any, numpy.ndarray], tree: str) -> None:
    x, dense = pair
    delayed = TREES[tree](x)
    assert isinstance(delayed, filebackedarray.FileBackedArray)
    assert_matrix(initialized(delayed), TREES[tree](dense))
    # scranpy.normalize_counts wraps what it gets.
    assert_matrix(initialized(delayedarray.DelayedArray(delayed)), TREES[tree](dense))


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> list[filebackedarray.FileBackedArray]:
    """Of double precision, in which mattress computes whatever the type: dense, compressed either way, and both."""
    path = tmp_path_factory.mktemp("mattress") / "a.h5"
    values = numpy.random.default_rng(9).integers(0, 5, SHAPE).astype("f8")
    with h5py.File(path, "w") as file:
        file.create_dataset("dense", data=values.T, chunks=(7, 7))
        for name, matrix in (("csc", scipy.sparse.csc_matrix(values)), ("csr", scipy.sparse.csr_matrix(values))):
            for member in ("data", "indices", "indptr"):
                file[f"{name}/{member}"] = getattr(matrix, member)
    csc = filebackedarray.Hdf5CompressedSparseMatrix(path, "csc", SHAPE, True)
    csr = filebackedarray.Hdf5CompressedSparseMatrix(path, "csr", SHAPE, False)
    return [csc, csr, filebackedarray.Hdf5DualSparseMatrix(csc, csr), filebackedarray.Hdf5DenseArray(path, "dense")]


@given(data=st.data())
def test_random_trees(doubles: list[filebackedarray.FileBackedArray], data: st.DataObject) -> None:
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tree = data.draw(trees(doubles))
        want = numpy.asarray(tree).astype("f8")
        got = mattress.initialize(tree, _unknown_action="warn", memory_budget=data.draw(st.sampled_from([None, -1])))
        assert got.shape == want.shape
        numpy.testing.assert_allclose(numpy.asarray(got), want, rtol=1e-12)
        for threads in (1, 2):
            sums = got.row_sums(num_threads=threads)
            numpy.testing.assert_allclose(sums, want.sum(axis=1), rtol=1e-9, atol=1e-9)


def test_seeds(pair: tuple[Any, numpy.ndarray]) -> None:
    x, dense = pair
    assert_matrix(initialized(x.seed), dense)


def test_matrices_of_others_are_as_before() -> None:
    dense = numpy.arange(12.0).reshape(3, 4)
    delayed = delayedarray.DelayedArray(dense)
    assert_matrix(initialized(delayed[[2, 0], :]), dense[[2, 0]])
    assert_matrix(initialized(numpy.round(delayed)), dense)
    with pytest.raises(NotImplementedError, match="Cast"):
        initialized(delayed.astype("f4"))


def test_log_normalised(pair: tuple[Any, numpy.ndarray]) -> None:
    x, dense = pair
    factors = numpy.linspace(0.5, 2, SHAPE[1])
    got = initialized(scranpy.normalize_counts(x, factors))
    numpy.testing.assert_allclose(numpy.asarray(got), numpy.log1p(dense / factors) / numpy.log(2), rtol=1e-12)


# ---- the budget ------------------------------------------------------------------------------


def test_too_large(pair: tuple[Any, numpy.ndarray], budget: Callable[[int | None], int | None]) -> None:
    x, dense = pair
    assert budget(100) is None
    assert filebackedarray.get_memory_budget() == 100
    with pytest.warns(RuntimeWarning, match=r"30 x 20 takes \d+ bytes, more than the budget of 100 .*temporary file"):
        got = mattress.initialize(x)
    assert_matrix(got, dense)
    with pytest.warns(RuntimeWarning, match="budget"):
        got = mattress.initialize(numpy.log1p(x[SOME, :]) + 1)
    numpy.testing.assert_allclose(numpy.asarray(got), numpy.log1p(dense[SOME]) + 1)
    with pytest.raises(NotImplementedError, match="budget of 100"):
        mattress.initialize(x, _unknown_action="error")
    assert budget(None) == 100
    assert_matrix(initialized(x), dense)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("block", [1, 1000])
def test_over_temporary_files(
    pair: tuple[Any, numpy.ndarray], tree: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filebackedarray._interop import scratch as _scratch

    monkeypatch.setattr(_scratch, "_BLOCK_BYTES", block)
    x, dense = pair
    with pytest.warns(RuntimeWarning, match="temporary file"):
        # What is empty takes no bytes.
        got = mattress.initialize(TREES[tree](x), memory_budget=-1)
    assert_matrix(got, TREES[tree](dense))


def test_temporary_files_are_gone_with_the_matrix(
    pair: tuple[Any, numpy.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    x, dense = pair
    with pytest.warns(RuntimeWarning, match=re.escape(str(folder))):
        got = mattress.initialize(x, memory_budget=0)
    assert_matrix(got, dense)
    del got
    assert not list(folder.iterdir())


def test_no_space_for_temporary_files(pair: tuple[Any, numpy.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    from filebackedarray._interop import scratch as _scratch

    monkeypatch.setattr(_scratch.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 0, 10))
    with error_naming(OSError, "there is space for 10", "TMPDIR", tempfile.gettempdir()) as caught:
        mattress.initialize(pair[0], memory_budget=20)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_space_for_temporary_files_that_others_take(
    pair: tuple[Any, numpy.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    from filebackedarray._interop import scratch as _scratch

    monkeypatch.setattr(_scratch.tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb"))  # noqa: SIM115
    for tree in (pair[0], numpy.log1p(pair[0])):
        with error_naming(OSError, "cannot be written", "TMPDIR", tempfile.gettempdir()) as caught:
            mattress.initialize(tree, memory_budget=20)
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == errno.ENOSPC


def test_a_part_counts_as_what_it_takes(pair: tuple[Any, numpy.ndarray], budget: Any) -> None:
    x, dense = pair
    budget(700)
    with pytest.raises(NotImplementedError, match="30 x 20"):
        initialized(x)
    assert_matrix(initialized(x[:5, :][:, SOME]), dense[:5, SOME])
    budget(None)


def test_budget_of_a_call(pair: tuple[Any, numpy.ndarray]) -> None:
    x, dense = pair
    with pytest.raises(NotImplementedError, match="budget of 10 "):
        initialized(x, memory_budget=10)
    with pytest.raises(NotImplementedError, match="budget of 10 "):
        initialized(numpy.log1p(x), memory_budget=10)
    assert_matrix(initialized(x, memory_budget=1 << 20), dense)


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("tree", [t for t in TREES if t != "part of a sum"])
def test_estimate_is_not_exceeded(tmp_path: Path, by_column: bool, tree: str) -> None:
    stored = random_compressed(SHAPE, by_column, dtype="i4")
    stored.write(tmp_path / "a.h5")
    x = TREES[tree](filebackedarray.Hdf5CompressedSparseMatrix(tmp_path / "a.h5", "m", SHAPE, by_column))
    plan = _mattress._planned(x.seed)
    loaded = plan.loaded()
    taken = loaded.data.nbytes + loaded.indices.nbytes + loaded.indptr.nbytes + 8 * len(loaded.indptr)
    assert taken <= plan.needed
    if tree in ("as it is", "transposed", "cast"):
        assert taken == plan.needed


def test_default_budget(budget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from filebackedarray._interop import memory_budget as _budget

    monkeypatch.setattr(_budget, "available_memory", lambda: 1000)
    assert filebackedarray.get_memory_budget() == 500
    monkeypatch.setattr(_budget, "available_memory", lambda: None)
    assert filebackedarray.get_memory_budget() == 2 << 30
    with pytest.raises(ValueError, match="negative"):
        budget(-1)
    with pytest.raises(TypeError):
        budget(1.5)
    assert filebackedarray.get_memory_budget() == 2 << 30


def test_available_memory() -> None:
    available, machine = _core.available_memory(), _core.memory_limit()
    assert available is not None
    assert machine is not None
    assert 0 < available <= machine


# ---- bad input -------------------------------------------------------------------------------


def test_not_matrices_of_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["complex"] = numpy.ones((2, 3), "c16")
        file["string"] = numpy.array([[b"a", b"b"]])
        file["cube"] = numpy.ones((2, 3, 4))
    for name, error in (("complex", TypeError), ("string", TypeError), ("cube", ValueError)):
        with pytest.raises(error, match="mattress takes matrices"):
            mattress.initialize(filebackedarray.Hdf5DenseArray(tmp_path / "a.h5", name).seed)


def test_file_is_gone(pair: tuple[Any, numpy.ndarray]) -> None:
    x, _ = pair
    Path(x.path).unlink()
    # mattress makes a fallback of any error in a delayed array; not in one of ours.
    for tree in (x.seed, x, numpy.log1p(x), numpy.round(x, 2), delayedarray.DelayedArray(x)):
        with error_naming(FileNotFoundError, x.path):
            mattress.initialize(tree)


# ---- what would be read through Python, and hang ---------------------------------------------


class Derived(filebackedarray.Hdf5DenseArraySeed):
    """Somebody's own class of seeds."""


def kinds(path: Path) -> dict[str, tuple[Any, numpy.ndarray]]:
    """Seeds and trees of which mattress knows nothing, and their values."""
    csc = random_compressed(SHAPE, True, dtype="i4", seed=5)
    values = csc.dense()
    missing = values.copy()
    missing[3, 4] = missing[0, 0] = numpy.iinfo("i4").min
    as_nan = numpy.where(missing == missing.min(), numpy.nan, missing)
    csc.write(path)
    with h5py.File(path, "a") as file:
        rows = scipy.sparse.csr_matrix(values)
        for name in ("data", "indices", "indptr"):
            file[f"rows/{name}"] = getattr(rows, name)
        file.create_dataset("dense", data=values, chunks=(7, 7))
        file.create_dataset("cube", data=values.reshape(30, 4, 5), chunks=(7, 4, 2))
        file["missing"] = missing
        file["missing"].attrs["rhdf5-NA.OK"] = 1
    x = filebackedarray.Hdf5CompressedSparseMatrix(path, "m", SHAPE, True)
    y = filebackedarray.Hdf5CompressedSparseMatrix(path, "rows", SHAPE, False)
    dual = filebackedarray.Hdf5DualSparseMatrix(x, y)
    masked = filebackedarray.Hdf5DenseArray(path, "missing", native_order=True, mask_missing=True)
    return {
        "dual": (dual, values),
        "part of dual": (dual[SOME, :], values[SOME]),
        "reshaped": (filebackedarray.ReshapedHdf5Array(path, "cube", SHAPE, native_order=True), values),
        "masked": (masked, as_nan),
        "part of masked": (masked[SOME, :].T, as_nan[SOME].T),
        "as_sparse": (filebackedarray.Hdf5DenseArray(path, "dense", native_order=True, as_sparse=True), values),
        "untrusted": (filebackedarray.Hdf5DenseArray(path, "dense", native_order=True, untrusted=True), values),
        "derived": (filebackedarray.FileBackedArray(Derived(path, "dense", native_order=True)), values),
        "rounded": (numpy.round(x / 3, 2) * 2, numpy.round(values / 3, 2) * 2),
        "isnan": (numpy.isnan(x / 3), numpy.isnan(values / 3)),
        "cast of operations": ((x * 0.5).astype("i4").T + 1, (values * 0.5).astype("i4").T + 1),
    }


@pytest.mark.parametrize("budget", ["", "0"])
def test_nothing_hangs(tmp_path: Path, budget: str) -> None:
    code = """
        import sys, numpy, scranpy
        sys.path.insert(0, sys.argv[1])
        import filebackedarray, test_mattress
        from pathlib import Path
        if sys.argv[3]:
            filebackedarray.set_memory_budget(int(sys.argv[3]))
        for name, (x, values) in test_mattress.kinds(Path(sys.argv[2])).items():
            print(name, flush=True)
            values = values.astype("f8")
            numpy.testing.assert_allclose(numpy.asarray(test_mattress.mattress.initialize(x)), values)
            found = scranpy.compute_rna_qc_metrics(x, {"first": range(2)}, num_threads=2)
            numpy.testing.assert_allclose(found["sum"], values.sum(axis=0))
    """
    arguments = [Path(__file__).parent, tmp_path / "a.h5", budget]
    names = run_python(code, *arguments, timeout=60, env={"PYTHONWARNINGS": "ignore"}).splitlines()
    # And no message of mattress about a fallback.
    assert len(names) == 11
    assert not any("unknown" in name for name in names)


# ---- when it is registered -------------------------------------------------------------------

ORDER = """
    import sys, numpy, h5py
    {}
    with h5py.File(sys.argv[1], "w") as file:
        file["d"] = numpy.eye(3)
    print(mattress.initialize(filebackedarray.Hdf5DenseArray(sys.argv[1], "d"), _unknown_action="error").shape)
"""


@pytest.mark.parametrize("names", ["filebackedarray, mattress", "mattress, filebackedarray"])
def test_import_in_any_order(tmp_path: Path, names: str) -> None:
    assert run_python(ORDER.format(f"import {names}"), tmp_path / "a.h5") == "(3, 3)\n"


def test_without_mattress() -> None:
    code = """
        import sys
        sys.modules["mattress"] = None
        import filebackedarray
        print([name for name in sys.modules if "mattress" in name])
    """
    assert run_python(code) == "['mattress']\n"


def test_mattress_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "mattress.py").write_text("raise ImportError('no such symbol')\n")
    code = """
        import sys, warnings
        sys.path.insert(0, sys.argv[1])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import filebackedarray
        print([str(warning.message) for warning in caught if warning.category is RuntimeWarning])
    """
    assert run_python(code, tmp_path) == "['mattress is installed but cannot be imported: no such symbol']\n"


# ---- scranpy ---------------------------------------------------------------------------------

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "scranpy_workflow.py"


def run_example(*arguments: str) -> str:
    """Quality control to clusters on 2 threads, in a process of its own: a hang is a failure."""
    command = [sys.executable, str(EXAMPLE), *arguments, "--threads", "2", "--compare"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nthe results are those in memory\n" in done.stdout
    assert "clusters of" in done.stdout
    return done.stdout


def test_scranpy_workflow() -> None:
    assert "hdf5array's results are those in memory" in run_example("--genes", "1200", "--cells", "300")


def test_scranpy_workflow_on_a_real_file() -> None:
    real.require()
    (path,) = real.location().glob("c1_10x/**/GSM4339772_C144_filtered_feature_bc_matrix.h5")
    # Its row numbers are not sorted within columns: see test_contract_sparse.py.
    assert "hdf5array's results differ from those in memory: components, clusters" in run_example(str(path))


@pytest.mark.parametrize("layout", ["csr", "dense"])
def test_scranpy_on_other_layouts(tmp_path: Path, layout: str) -> None:
    code = """
        import sys, h5py, numpy, scipy.sparse
        sys.path.insert(0, sys.argv[1])
        import filebackedarray, scranpy_workflow
        path, layout = sys.argv[2:]
        scranpy_workflow.write(path, 800, 250)
        with h5py.File(path, "a") as file:
            parts = [file["matrix"][name][()] for name in ("data", "indices", "indptr")]
            counts = scipy.sparse.csc_matrix(tuple(parts), shape=(800, 250))
            if layout == "csr":
                counts = counts.tocsr()
                for name in ("data", "indices", "indptr"):
                    file["csr/" + name] = getattr(counts, name)
            else:
                file.create_dataset("dense", data=counts.toarray(), chunks=(100, 100), compression="gzip")
        if layout == "csr":
            x = filebackedarray.Hdf5CompressedSparseMatrix(path, "csr", counts.shape, False)
        else:
            counts = counts.toarray()
            x = filebackedarray.Hdf5DenseArray(path, "dense", native_order=True)
        expected, found = [scranpy_workflow.workflow(matrix, range(10), 2, top=300) for matrix in (counts, x)]
        print(found.differences(expected))
    """
    assert run_python(code, EXAMPLE.parent, tmp_path / "a.h5", layout, timeout=60).endswith("[]\n")


def test_scranpy_on_a_real_file() -> None:
    real.require()
    code = """
        import sys, h5py, scipy.sparse
        import filebackedarray, scranpy
        with h5py.File(sys.argv[1]) as file:
            group = file["matrix"]
            shape = tuple(map(int, group["shape"][()]))
            parts = tuple(group[name][()] for name in ("data", "indices", "indptr"))
        for x in scipy.sparse.csc_matrix(parts, shape), filebackedarray.Hdf5CompressedSparseMatrix(
                sys.argv[1], "matrix", shape, True):
            metrics = scranpy.compute_rna_qc_metrics(x, {"first": range(10)}, num_threads=2)
            print(shape, metrics["sum"].tolist(), metrics["detected"].tolist())
    """
    path = real.location() / "c1_10x" / "BiocPy+SingleCellExperiment" / "tenx.sub.h5"
    in_memory, of_file = run_python(code, path, timeout=60).splitlines()
    assert in_memory == of_file
