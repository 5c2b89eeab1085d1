"""hdf5array's own classes, read by this package."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import delayedarray
import h5py
import hdf5array
import mattress
import numpy
import pytest
import rds2py
from delayedarray import chunk_grid, create_dask_array, extract_dense_array, extract_sparse_array
from delayedarray.to_scipy_sparse_matrix import to_scipy_sparse_matrix

import filebackedarray
from helpers import assert_sparse, error_naming, everything, random_compressed, run_python, take

DENSE, SPARSE = hdf5array.Hdf5DenseArraySeed, hdf5array.Hdf5CompressedSparseMatrixSeed
SHAPE = (30, 20)
SUBSETS = [everything(SHAPE), (range(3, 20), [1, 5, 6]), ([0, 7, 29], range(20)), (range(0, 30, 7), [2]), ([], [3])]


def registered() -> list[Any]:
    """All that accelerate() may change."""
    generics = (extract_dense_array, chunk_grid, create_dask_array, mattress.initialize)
    found: list[Any] = [generic.dispatch(kind) for generic in generics for kind in (DENSE, SPARSE)]
    found += [extract_sparse_array.dispatch(SPARSE)]
    found += [to_scipy_sparse_matrix.dispatch(hdf5array.Hdf5CompressedSparseMatrix)]
    return found + [sorted(vars(kind)) for kind in (DENSE, SPARSE)]


ORIGINALS = registered()


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    assert registered() == ORIGINALS
    yield
    filebackedarray.decelerate()
    assert registered() == ORIGINALS


@pytest.fixture
def no_h5py(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on, hdf5array cannot read."""

    def forbid() -> None:
        def fail(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError("hdf5array has read")

        for kind in (DENSE, SPARSE):
            monkeypatch.setitem(kind.__init__.__globals__, "File", fail)

    return forbid


@pytest.fixture
def dense(tmp_path: Path) -> tuple[Path, numpy.ndarray]:
    values = numpy.random.default_rng(1).integers(-5, 5, SHAPE).astype("i2")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("d", data=values, chunks=(7, 6), compression="gzip")
    return tmp_path / "d.h5", values


@pytest.mark.parametrize("native_order", [True, False])
@pytest.mark.parametrize("dtype", [None, "f4"])
def test_dense(dense: Any, native_order: bool, dtype: Any, no_h5py: Any) -> None:
    path, values = dense
    array = hdf5array.Hdf5DenseArray(path, "d", native_order=native_order, dtype=dtype and numpy.dtype(dtype))
    values = (values if native_order else values.T).astype(dtype or values.dtype)
    before = chunk_grid(array.seed)
    no_h5py()
    with filebackedarray.accelerate():
        for subset in SUBSETS:
            subset = subset if native_order else subset[::-1]
            got = extract_dense_array(array.seed, subset)
            assert got.dtype == values.dtype
            numpy.testing.assert_array_equal(got, take(values, subset))
        assert [list(b) for b in chunk_grid(array.seed).boundaries] == [list(b) for b in before.boundaries]
        numpy.testing.assert_array_equal(create_dask_array(array.seed).compute(), values)
        for name in ("sum", "mean", "var"):
            numpy.testing.assert_allclose(getattr(array, name)(axis=0), getattr(values, name)(axis=0), rtol=1e-6)
        numpy.testing.assert_array_equal(array.any(axis=1), values.any(axis=1))
        numpy.testing.assert_array_equal(array.all(axis=1), values.all(axis=1))
        numpy.testing.assert_array_equal((array + 1)[2:4, :], (values + 1)[2:4])
        pointer = mattress.initialize(array, _unknown_action="error")
        numpy.testing.assert_allclose(pointer.row_sums(num_threads=2), values.sum(axis=1))
    with pytest.raises(AssertionError, match="hdf5array has read"):
        extract_dense_array(array.seed, everything(array.shape))


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_sparse(tmp_path: Path, by_column: bool, named: bool, no_h5py: Any) -> None:
    stored = random_compressed(SHAPE, by_column, dtype="i4")
    stored.write(tmp_path / "s.h5")
    names = {f"{name}_name": f"m/{name}" for name in ("data", "indices", "indptr")} if named else {}
    matrix = hdf5array.Hdf5CompressedSparseMatrix(
        str(tmp_path / "s.h5"), None if named else "m", SHAPE, by_column, index_dtype=numpy.dtype("u2"), **names
    )
    want = stored.dense()
    no_h5py()
    with filebackedarray.accelerate():
        for subset in SUBSETS:
            assert_sparse(extract_sparse_array(matrix.seed, subset), take(want, subset), "u2")
            numpy.testing.assert_array_equal(extract_dense_array(matrix.seed, subset), take(want, subset))
        for format in ("csc", "csr", "coo"):
            got = to_scipy_sparse_matrix(matrix, format)
            assert got.format == format
            numpy.testing.assert_array_equal(got.toarray(), want)
        numpy.testing.assert_array_equal(matrix.sum(axis=1), want.sum(axis=1))
        numpy.testing.assert_array_equal(create_dask_array(matrix.seed).compute(), want)
        for part, expected in ((matrix, want), (matrix[:, [4, 1]], want[:, [4, 1]]), (matrix.T, want.T)):
            pointer = mattress.initialize(part, _unknown_action="error")
            numpy.testing.assert_allclose(pointer.row_sums(num_threads=2), expected.sum(axis=1))


def test_what_is_not_numbers_is_left_to_hdf5array(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["s"] = numpy.array([b"one", b"three"])
        file["v"] = ["one", "three"]
    for name in ("s", "v"):
        array = hdf5array.Hdf5DenseArray(tmp_path / "a.h5", name)
        before = extract_dense_array(array.seed, (range(2),))
        with filebackedarray.accelerate():
            after = extract_dense_array(array.seed, (range(2),))
        assert after.dtype == before.dtype
        numpy.testing.assert_array_equal(after, before)


def test_errors_are_ours(dense: Any) -> None:
    path, _ = dense
    array = hdf5array.Hdf5DenseArray(path, "d")
    path.unlink()
    with filebackedarray.accelerate(), error_naming(FileNotFoundError, path):
        extract_dense_array(array.seed, everything(array.shape))


# ---- on and off ------------------------------------------------------------------------------


def test_idempotent_and_reversible() -> None:
    filebackedarray.accelerate()
    changed = registered()
    assert all(now != before for now, before in zip(changed, ORIGINALS, strict=True))
    filebackedarray.accelerate()
    assert registered() == changed
    filebackedarray.decelerate()
    assert registered() == ORIGINALS
    filebackedarray.decelerate()
    assert registered() == ORIGINALS


def test_blocks() -> None:
    with filebackedarray.accelerate():
        changed = registered()
        with filebackedarray.accelerate():
            assert registered() == changed
        assert registered() == changed
    assert registered() == ORIGINALS
    with pytest.raises(ZeroDivisionError), filebackedarray.accelerate():
        raise ZeroDivisionError
    assert registered() == ORIGINALS
    # Once for good: the end of a block does not undo it.
    filebackedarray.accelerate()
    with filebackedarray.accelerate():
        pass
    assert registered() != ORIGINALS


def test_a_block_can_be_entered_again() -> None:
    acceleration = filebackedarray.accelerate()
    for _ in range(2):
        with acceleration:
            assert all(now != before for now, before in zip(registered(), ORIGINALS, strict=True))
        assert registered() == ORIGINALS


def test_methods_of_others_come_back(dense: Any) -> None:
    """Not what hdf5array had registered once, but what was registered before."""
    original = extract_dense_array.dispatch(DENSE)

    def mine(x: Any, subset: Any) -> str:
        return "mine"

    extract_dense_array.register(DENSE, mine)
    try:
        with filebackedarray.accelerate():
            assert extract_dense_array.dispatch(DENSE) is not mine
        assert extract_dense_array.dispatch(DENSE) is mine
    finally:
        extract_dense_array.register(DENSE, original)


def test_threads(dense: Any) -> None:
    path, values = dense
    array = hdf5array.Hdf5DenseArray(path, "d", native_order=True)
    wrong: list[Any] = []

    def work() -> None:
        try:
            for _ in range(100):
                with filebackedarray.accelerate():
                    got = extract_dense_array(array.seed, everything(SHAPE))
                    if extract_dense_array.dispatch(DENSE) is ORIGINALS[0] or not (got == values).all():
                        wrong.append(got)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_without_hdf5array() -> None:
    code = """
        import sys
        sys.modules["hdf5array"] = None
        import filebackedarray
        try:
            filebackedarray.accelerate()
        except ImportError as error:
            print(error)
        filebackedarray.decelerate()
    """
    assert "pip install hdf5array" in run_python(code)


def test_ours_in_its_place() -> None:
    """docs/biocpy.md: this package under the name hdf5array has nothing to be accelerated."""
    code = """
        import sys, filebackedarray
        sys.modules["hdf5array"] = filebackedarray
        from delayedarray import extract_dense_array
        from hdf5array import Hdf5DenseArraySeed
        before = extract_dense_array.dispatch(Hdf5DenseArraySeed)
        with filebackedarray.accelerate():
            print(extract_dense_array.dispatch(Hdf5DenseArraySeed) is before)
    """
    assert run_python(code) == "True\n"


# ---- packages that construct hdf5array's classes -----------------------------------------------


def test_rds(tmp_path: Path) -> None:
    """rds2py writes and reads hdf5array's matrices, whichever package reads the file."""
    stored = random_compressed(SHAPE, True, dtype="f8")
    stored.write(tmp_path / "s.h5")
    matrix = hdf5array.Hdf5CompressedSparseMatrix(str(tmp_path / "s.h5"), "m", SHAPE, True)
    with filebackedarray.accelerate():
        rds2py.write_rds(matrix, str(tmp_path / "s.rds"))
        back = rds2py.read_rds(str(tmp_path / "s.rds"))
        assert type(back) is hdf5array.Hdf5CompressedSparseMatrix
        numpy.testing.assert_array_equal(delayedarray.to_dense_array(back), stored.dense())


def test_rds_of_ours(tmp_path: Path) -> None:
    """With ours under the name hdf5array, rds2py's methods are for our seeds."""
    random_compressed(SHAPE, True, dtype="f8").write(tmp_path / "s.h5")
    code = """
        import sys, filebackedarray
        sys.modules["hdf5array"] = filebackedarray
        import rds2py
        matrix = filebackedarray.Hdf5CompressedSparseMatrix(sys.argv[1], "m", (30, 20), True)
        rds2py.write_rds(matrix, sys.argv[2])
        back = rds2py.read_rds(sys.argv[2])
        print(type(back).__module__, back.shape, (back.sum(axis=0) == matrix.sum(axis=0)).all())
    """
    out = run_python(code, tmp_path / "s.h5", tmp_path / "s.rds")
    assert out.endswith("filebackedarray.Hdf5CompressedSparseMatrixSeed (30, 20) True\n")
