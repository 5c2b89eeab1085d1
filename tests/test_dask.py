"""Dask arrays of delayed trees: on one machine here, over processes in test_distributed.py."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import dask
import dask.array
import h5py
import numpy
import pytest
import scipy.sparse
from dask.array.core import PerformanceWarning
from delayedarray import DelayedArray, create_dask_array, wrap
from hypothesis import given, settings
from hypothesis import strategies as st

from filebackedarray import FileBackedArray, Hdf5CompressedSparseMatrix, Hdf5DenseArray
from helpers import Compressed, dense_of, error_naming, random_compressed, run_python, write_damaged
from strategies import trees

BOTH_ORDERS = pytest.mark.parametrize("native_order", [True, False], ids=["native", "reversed"])
BOTH_WAYS = pytest.mark.parametrize("by_column", [True, False], ids=["csc", "csr"])


@pytest.fixture
def dense(tmp_path: Path) -> tuple[Path, numpy.ndarray]:
    path = tmp_path / "x.h5"
    data = numpy.random.default_rng(21).random((40, 30, 5))
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data, chunks=(10, 7, 5), compression="gzip")
        handle.create_dataset("contiguous", data=data)
    return path, data


@pytest.fixture
def sparse(tmp_path: Path, by_column: bool) -> tuple[Path, Compressed]:
    matrix = random_compressed((40, 30), by_column, seed=22)
    matrix.write(tmp_path / "s.h5", compression="gzip", chunks=(50,))
    return tmp_path / "s.h5", matrix


@BOTH_ORDERS
@pytest.mark.parametrize("name", ["x", "contiguous"])
def test_dense(dense: tuple[Path, numpy.ndarray], name: str, native_order: bool) -> None:
    path, data = dense
    want = data if native_order else data.T
    array = Hdf5DenseArray(path, name, native_order=native_order)
    for source in (array, array.seed):
        lazy = create_dask_array(source)
        assert isinstance(lazy, dask.array.Array)
        assert lazy.shape == want.shape
        assert lazy.dtype == want.dtype
        numpy.testing.assert_array_equal(lazy.compute(), want)
        numpy.testing.assert_array_equal(lazy[3:20:2, ::-1].compute(), want[3:20:2, ::-1])
        numpy.testing.assert_array_equal(lazy[[4, 2, 2]].compute(), want[[4, 2, 2]])
        numpy.testing.assert_array_equal(lazy[4, :, 1].compute(), want[4, :, 1])
        numpy.testing.assert_allclose(lazy.sum(axis=0).compute(), want.sum(axis=0))


@BOTH_WAYS
def test_sparse(sparse: tuple[Path, Compressed], by_column: bool) -> None:
    path, matrix = sparse
    array = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, by_column)
    for source in (array, array.seed):
        lazy = create_dask_array(source)
        assert isinstance(lazy, dask.array.Array)
        assert lazy.shape == matrix.shape
        assert lazy.dtype == matrix.data.dtype
        numpy.testing.assert_array_equal(dense_of(lazy.compute()), matrix.dense())
        numpy.testing.assert_array_equal(dense_of(lazy[3:20, 4:9].compute()), matrix.dense()[3:20, 4:9])


@BOTH_ORDERS
def test_delayed_operations(dense: tuple[Path, numpy.ndarray], native_order: bool) -> None:
    path, data = dense
    want = data if native_order else data.T
    array = Hdf5DenseArray(path, "x", native_order=native_order)
    lazy = create_dask_array(numpy.log1p(array * 2)[1:30:3])
    numpy.testing.assert_allclose(lazy.compute(), numpy.log1p(want * 2)[1:30:3])


@BOTH_WAYS
def test_delayed_operations_on_sparse(sparse: tuple[Path, Compressed], by_column: bool) -> None:
    path, matrix = sparse
    array = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, by_column)
    lazy = create_dask_array(array * 2)
    numpy.testing.assert_array_equal(dense_of(lazy.compute()), matrix.dense() * 2)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_scheduler(dense: tuple[Path, numpy.ndarray], scheduler: str) -> None:
    path, data = dense
    lazy = create_dask_array(Hdf5DenseArray(path, "x", native_order=True))
    with dask.config.set(scheduler=scheduler, num_workers=2):
        numpy.testing.assert_array_equal(lazy.compute(), data)


def test_nothing_is_read_before_compute(dense: tuple[Path, numpy.ndarray]) -> None:
    path, _ = dense
    lazy = create_dask_array(Hdf5DenseArray(path, "x", native_order=True) + 1)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        lazy.compute()


def test_a_changed_file_is_another_array(dense: tuple[Path, numpy.ndarray]) -> None:
    # Dask takes what has the same name for the same thing, and would not read it again.
    path, data = dense
    array = Hdf5DenseArray(path, "x", native_order=True)
    before, again = create_dask_array(array), create_dask_array(array)
    assert before.name == again.name
    path.unlink()
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=-data, chunks=(10, 7, 5), compression="gzip")
    after = create_dask_array(array)
    assert after.name != before.name
    numpy.testing.assert_array_equal(after.compute(), -data)


def test_arrays_that_differ_have_names_that_differ(dense: tuple[Path, numpy.ndarray]) -> None:
    path, _ = dense
    arrays = [
        Hdf5DenseArray(path, "x"),
        Hdf5DenseArray(path, "x", native_order=True),
        Hdf5DenseArray(path, "x", dtype=numpy.dtype("f4")),
        Hdf5DenseArray(path, "contiguous"),
    ]
    assert len({create_dask_array(array).name for array in arrays}) == len(arrays)


def test_operations_are_one_task_for_each_block(dense: tuple[Path, numpy.ndarray]) -> None:
    path, data = dense
    array = Hdf5DenseArray(path, "x", native_order=True)
    lazy = numpy.sqrt(numpy.log1p(array * 2) + 1).to_dask((20, 14, 5))
    assert lazy.numblocks == (2, 3, 1)
    assert len(dict(lazy.dask)) == 6
    numpy.testing.assert_allclose(lazy.compute(), numpy.sqrt(numpy.log1p(data * 2) + 1))


SHAPE = (14, 11)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> list[FileBackedArray]:
    folder = tmp_path_factory.mktemp("dask")
    data = numpy.random.default_rng(41).integers(0, 6, SHAPE).astype("f8")
    with h5py.File(folder / "dense.h5", "w") as handle:
        handle.create_dataset("x", data=data, chunks=(5, 4))
    made: list[FileBackedArray] = [Hdf5DenseArray(folder / "dense.h5", "x", native_order=True)]
    for by_column, dtype in ((True, "i4"), (False, ">f8")):
        path = folder / f"sparse{int(by_column)}.h5"
        random_compressed(SHAPE, by_column, dtype=dtype, density=0.4).write(path)
        made.append(Hdf5CompressedSparseMatrix(path, "m", SHAPE, by_column))
    return made


@settings(max_examples=80)
@given(data=st.data())
def test_random_trees_are_as_numpy_has_them(arrays: list[FileBackedArray], data: st.DataObject) -> None:
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tree = data.draw(trees(arrays))
        want = numpy.array(DelayedArray(tree.seed)).astype(tree.dtype)
        chunks = data.draw(st.sampled_from([None, "200 B", (3, 4), {1: 5}, -1]))
        lazy = tree.to_dask(chunks)
        assert lazy.shape == want.shape
        got = lazy.compute(scheduler="synchronous")
        assert type(got) is numpy.ndarray
        assert got.dtype == lazy.dtype == lazy._meta.dtype
        numpy.testing.assert_array_equal(got, want)
        try:
            sparse = tree.to_dask(chunks, sparse=True)
        except ValueError:
            return
        block = sparse.compute(scheduler="synchronous")
        assert scipy.sparse.issparse(block)
        assert type(block) is type(sparse._meta)
        numpy.testing.assert_array_equal(block.toarray(), want)


@BOTH_WAYS
def test_sparse_blocks(sparse: tuple[Path, Compressed], by_column: bool) -> None:
    path, matrix = sparse
    array = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, by_column)
    want = numpy.log1p(matrix.dense() * 2)
    for tree, dense, as_csc in ((array, matrix.dense(), by_column), (numpy.log1p(array * 2).T, want.T, not by_column)):
        lazy = tree.to_dask({int(as_csc): 9}, sparse=True)
        kind = scipy.sparse.csc_matrix if as_csc else scipy.sparse.csr_matrix
        assert type(lazy._meta) is kind
        assert lazy.dtype == lazy._meta.dtype == dense.dtype
        computed = [block.compute() for block in lazy.to_delayed().ravel()]
        assert len(computed) > 1
        for block in computed:
            assert type(block) is kind
            assert block.dtype == lazy.dtype
            assert block.indices.dtype == numpy.int32
            assert block.has_canonical_format
        numpy.testing.assert_array_equal(lazy.compute().toarray(), dense)
        numpy.testing.assert_array_equal(lazy[3:9, 2:20].compute().toarray(), dense[3:9, 2:20])
    for name, kind in (("csc", scipy.sparse.csc_matrix), ("csr", scipy.sparse.csr_matrix)):
        converted = array.to_dask(sparse=name)
        assert type(converted._meta) is kind
        assert type(converted.compute()) is kind
        numpy.testing.assert_array_equal(converted.compute().toarray(), matrix.dense())


def test_blocks_are_made_of_whole_chunks(tmp_path: Path) -> None:
    data = numpy.random.default_rng(1).random((210, 130))
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=data, chunks=(20, 30))
    array = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)

    def edges(along: tuple[int, ...]) -> list[int]:
        return numpy.cumsum(along)[:-1].tolist()

    assert array.to_dask().chunks == ((210,), (130,))
    for size in ("5 kB", "10 kB", "40 kB"):
        rows, columns = array.to_dask(size).chunks
        assert all(edge % 20 == 0 for edge in edges(rows))
        assert all(edge % 30 == 0 for edge in edges(columns))
        assert max(rows) * max(columns) * 8 <= dask.utils.parse_bytes(size)
        assert 4 * max(rows) * max(columns) * 8 > dask.utils.parse_bytes(size)
    # Not a byte fits, but chunks are not cut unless they are much larger.
    assert array.to_dask("2 kB").chunksize == (20, 30)
    assert array.to_dask("100 B").chunksize < (20, 30)
    with dask.config.set({"array.chunk-size": "10 kB"}):
        assert array.to_dask().chunks == array.to_dask("auto").chunks == array.to_dask("10 kB").chunks
    # What follows each other in the file begins in the middle of a chunk.
    rows, columns = array[7:, :].T.to_dask("10 kB").chunks[::-1]
    assert all((edge + 7) % 20 == 0 for edge in edges(rows))
    assert all(edge % 30 == 0 for edge in edges(columns))
    joined = numpy.concatenate([array, array[:50, :]])
    assert 210 in edges(joined.to_dask("5 kB").chunks[0])
    numpy.testing.assert_array_equal(joined.to_dask("5 kB").compute(), numpy.concatenate([data, data[:50]]))


@BOTH_WAYS
def test_sparse_blocks_are_of_whole_columns_or_rows(sparse: tuple[Path, Compressed], by_column: bool) -> None:
    path, matrix = sparse
    array = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, by_column)
    axis = 1 if by_column else 0
    for kind in (False, True):
        chunks = array.to_dask("1 kB", sparse=kind).chunks
        assert chunks[1 - axis] == (matrix.shape[1 - axis],)
        assert len(chunks[axis]) > 2
        assert len(set(chunks[axis][:-1])) == 1
    stored = [block.compute().nnz for block in array.to_dask("1 kB", sparse=True).to_delayed().ravel()]
    assert max(stored) * 12 <= 1000


def test_blocks_that_cut_chunks_are_warned_of(dense: tuple[Path, numpy.ndarray]) -> None:
    path, data = dense
    array = Hdf5DenseArray(path, "x", native_order=True)
    with pytest.warns(PerformanceWarning, match=r"about 5\.0 times") as caught:
        lazy = array.to_dask((10, 7, 1))
    # Five blocks of chunks of five; the warning is of the line that asked.
    assert caught[0].filename == __file__
    numpy.testing.assert_array_equal(lazy.compute(), data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array.to_dask((20, 14, -1))


@pytest.mark.parametrize(
    "chunks",
    [0, -2, (1, 2), ((10,), (30,), (5,)), "abc", "10", {7: 3}, (5.5, 30, 5), ((40, 0), 30, 5), object(), (10, "x", 5)],
)
def test_wrong_chunks(dense: tuple[Path, numpy.ndarray], chunks: Any) -> None:
    array = Hdf5DenseArray(dense[0], "x", native_order=True)
    if chunks == "10":
        # Bytes: Dask reads sizes without a unit so.
        assert array.to_dask(chunks).chunksize
        return
    with pytest.raises(ValueError, match=r"'chunks'.*array of shape"):
        array.to_dask(chunks)


def test_negative_axes_of_chunks(dense: tuple[Path, numpy.ndarray]) -> None:
    array = Hdf5DenseArray(dense[0], "x", native_order=True)
    assert array.to_dask({-3: 20, 1: 14}).chunks == ((20, 20), (14, 14, 2), (5,))


def test_wrong_arguments(dense: tuple[Path, numpy.ndarray], arrays: list[FileBackedArray]) -> None:
    array = Hdf5DenseArray(dense[0], "x", native_order=True)
    for threads in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="'threads'"):
            array.to_dask(threads=threads)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'sparse' should be"):
        array.to_dask(sparse="coo")  # type: ignore[arg-type]
    for tree in (array, arrays[1] + 1, arrays[1] + arrays[0]):
        with pytest.raises(ValueError, match="not sparse"):
            tree.to_dask(sparse=True)


def test_without_dask(dense: tuple[Path, numpy.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    array = Hdf5DenseArray(dense[0], "x")
    for name in [name for name in sys.modules if name.partition(".")[0] == "dask"]:
        monkeypatch.setitem(sys.modules, name, None)
    for ask in (array.to_dask, lambda: create_dask_array(array), lambda: create_dask_array(array.seed)):
        with pytest.raises(ImportError, match=r"pip install 'filebackedarray\[dask\]'"):
            ask()


def test_dask_is_imported_when_it_is_needed() -> None:
    run_python(
        """
        import sys
        import filebackedarray
        assert not {"dask", "distributed", "anndata"} & set(sys.modules)
        """
    )


def test_scalars_empty_arrays_strings_and_byte_orders(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["scalar"] = 5.0
        handle["empty"] = numpy.zeros((0, 4), "i2")
        handle["big"] = numpy.arange(6, dtype=">i4")
        handle["strings"] = numpy.asarray(["a", "bcd"], dtype=object)
    for name in ("scalar", "empty", "big", "strings"):
        array = Hdf5DenseArray(tmp_path / "x.h5", name, native_order=True)
        lazy = array.to_dask()
        assert lazy.shape == array.shape
        assert lazy.dtype.str == array.dtype.str
        got = lazy.compute()
        assert got.dtype.str == array.dtype.str
        numpy.testing.assert_array_equal(got, numpy.asarray(array[()] if name == "scalar" else array))
    none = random_compressed((5, 0), True)
    none.write(tmp_path / "none.h5")
    lazy = Hdf5CompressedSparseMatrix(tmp_path / "none.h5", "m", (5, 0), True).to_dask(sparse=True)
    assert lazy.compute().shape == (5, 0)


def test_masked_arrays_keep_their_masks(dense: tuple[Path, numpy.ndarray]) -> None:
    path, data = dense
    masked = numpy.ma.array(numpy.arange(40 * 30 * 5).reshape(40, 30, 5), mask=data > 0.5)
    tree = Hdf5DenseArray(path, "x", native_order=True) + wrap(masked)
    got = tree.to_dask((20, 14, 5)).compute()
    assert isinstance(got, numpy.ma.MaskedArray)
    numpy.testing.assert_array_equal(got.mask, masked.mask)
    numpy.testing.assert_array_equal(got.filled(0), (data + masked).filled(0))
    with pytest.raises(ValueError, match="not sparse"):
        tree.to_dask(sparse=True)


def test_dask_arrays_as_seeds(dense: tuple[Path, numpy.ndarray]) -> None:
    path, data = dense
    array = Hdf5DenseArray(path, "x", native_order=True)
    tree = FileBackedArray((array + DelayedArray(dask.array.from_array(data))).seed)
    numpy.testing.assert_array_equal(tree.to_dask((20, 30, 5)).compute(), data + data)
    assert tree.to_dask((20, 30, 5)).chunksize == (20, 30, 5)
    with pytest.raises(ValueError, match="Dask array"):
        tree.to_dask(sparse=True)


def test_graphs_hold_paths_not_values(dense: tuple[Path, numpy.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = dense
    monkeypatch.chdir(path.parent)
    array = Hdf5DenseArray("x.h5", "x", native_order=True)
    small = (numpy.log1p(array) * 2).to_dask("1 kB")
    assert small.npartitions == 20
    assert len(pickle.dumps(small.dask)) < 10_000
    # Each task is small by itself, too.
    assert max(len(pickle.dumps(task)) for task in dict(small.dask).values()) < 4000
    assert os.fspath(path.parent).encode() in pickle.dumps(small.dask)
    # An array in memory is sent once, not with every task.
    large = Hdf5DenseArray("x.h5", "contiguous", native_order=True) + wrap(data)
    tasks = large.to_dask((1, 30, 5))
    assert len(pickle.dumps(tasks.dask)) < 2 * data.nbytes
    assert sum(len(pickle.dumps(task)) > 4000 for task in dict(tasks.dask).values()) == 1
    # A worker runs in another folder.
    monkeypatch.chdir(path.parent.parent)
    numpy.testing.assert_array_equal(tasks.compute(), data + data)


def test_a_large_array_has_a_small_graph(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", shape=(1 << 20, 1 << 14), dtype="f4", chunks=(1024, 1024))
    lazy = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True).to_dask()
    assert 500 <= lazy.npartitions <= 1100
    assert lazy.chunksize[0] % 1024 == 0
    assert len(pickle.dumps(lazy.dask)) < 20_000


@pytest.mark.parametrize("change", ["grown", "shrunk", "replaced", "rewritten"])
@pytest.mark.parametrize("tree", ["plain", "masked"])
def test_a_file_that_changes_before_it_is_computed(tmp_path: Path, change: str, tree: str) -> None:
    path, data = tmp_path / "x.h5", numpy.arange(800.0).reshape(40, 20)
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data, chunks=(10, 20), maxshape=(None, 20))
    array = numpy.log1p(Hdf5DenseArray(path, "x", native_order=True))
    if tree == "masked":
        array = array + wrap(numpy.ma.array(data, mask=data > 50))
    lazy = array.to_dask({0: 10})
    first = lazy[:10].compute()
    if change == "replaced":
        with h5py.File(tmp_path / "y.h5", "w") as handle:
            handle.create_dataset("x", data=data + 1, chunks=(10, 20), maxshape=(None, 20))
        (tmp_path / "y.h5").replace(path)
    else:
        with h5py.File(path, "a") as handle:
            if change == "rewritten":
                handle["x"][5] = 0
            else:
                handle["x"].resize(20 if change == "shrunk" else 60, axis=0)
    for part in (lazy, lazy[30:], lazy[:10]):
        with error_naming(OSError, path, "changed after the array that reads it was made"):
            part.compute()
    again = Hdf5DenseArray(path, "x", native_order=True)
    assert len(again.to_dask({0: 10}).compute()) == {"grown": 60, "shrunk": 20}.get(change, 40)
    assert first.shape == (10, 20)


def test_a_damaged_chunk(dense: tuple[Path, numpy.ndarray]) -> None:
    path, _ = dense
    with h5py.File(path) as handle:
        place = handle["x"].id.get_chunk_info(3)
    write_damaged(path, place.byte_offset, b"damage")
    lazy = Hdf5DenseArray(path, "x", native_order=True).to_dask("3 kB")
    with error_naming(OSError, path, "x"):
        lazy.compute()


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="names of threads are read from /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_tasks_take_no_more_threads_than_they_may(dense: tuple[Path, numpy.ndarray], threads: int) -> None:
    out = run_python(
        """
        import os, sys, time
        import dask
        from filebackedarray import Hdf5DenseArray, set_num_threads

        set_num_threads(3)
        array = (Hdf5DenseArray(sys.argv[1], "x", native_order=True) * 2).to_dask({0: 20}, threads=int(sys.argv[2]))
        with dask.config.set(scheduler="threads", num_workers=2):
            array.compute()
        # A thread names itself when it first runs, which may be later than the work was done by others.
        for _ in range(1 if sys.argv[2] == "1" else 100):
            names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
            count = sum(name.startswith("filebacked") for name in names)
            if count == 2:
                break
            time.sleep(0.05)
        print(count)
        """,
        dense[0],
        str(threads),
    )
    # Beside those that ask: one for each task, and so a second one where both were at work at once. None is begun where
    # a task is one thread's.
    assert int(out) in ((0,) if threads == 1 else (1, 2))


def test_untrusted_files(dense: tuple[Path, numpy.ndarray]) -> None:
    path, data = dense
    array = Hdf5DenseArray(path, "x", native_order=True, untrusted=True)
    numpy.testing.assert_array_equal(array.to_dask("20 kB").compute(num_workers=2), data)


def test_blocks_are_not_what_the_tree_holds(dense: tuple[Path, numpy.ndarray]) -> None:
    held = numpy.ones((3, 30, 5))
    tree = numpy.concatenate([Hdf5DenseArray(dense[0], "x", native_order=True), wrap(held)])
    block = tree.to_dask((40, 30, 5)).blocks[1].compute(scheduler="synchronous")
    block[:] = 7
    assert (held == 1).all()
