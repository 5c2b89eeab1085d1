"""Statistics of delayed operations: delayedarray's own evaluation of a tree is what they must be of."""

from __future__ import annotations

import os
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import (
    DelayedArray,
    apply_over_blocks,
    extract_dense_array,
    is_sparse,
    to_dense_array,
    to_scipy_sparse_matrix,
    to_sparse_array,
)
from hypothesis import given
from hypothesis import strategies as st

import real
from chunks import chunk_place, write_chunks
from filebackedarray import FileBackedArray, Hdf5CompressedSparseMatrix, Hdf5DenseArray
from filebackedarray._compute import tree as _trees
from filebackedarray._compute.blocks import dense_blocks, sparse_blocks
from filebackedarray._compute.tree import Compressed, compiled, joined_parts
from filebackedarray._engine.memory import scipy_dtype
from helpers import error_naming, random_compressed, run_python, write_damaged
from strategies import trees

SHAPE = (14, 11)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> list[FileBackedArray]:
    """Dense and sparse ones, of several types, all of the same shape."""
    folder = tmp_path_factory.mktemp("trees")
    rng = numpy.random.default_rng(41)
    made: list[FileBackedArray] = []
    for number, (dtype, native) in enumerate([("i4", True), ("f8", False), ("u1", True)]):
        path = folder / f"dense{number}.h5"
        data = (rng.integers(0, 6, SHAPE) * (rng.random(SHAPE) if dtype == "f8" else 1)).astype(dtype)
        with h5py.File(path, "w") as handle:
            handle.create_dataset("x", data=data if native else data.T, chunks=(5, 4))
        made.append(Hdf5DenseArray(path, "x", native_order=native))
    for number, (dtype, by_column) in enumerate([("i4", True), ("f4", False), ("f8", True), (">i2", False)]):
        path = folder / f"sparse{number}.h5"
        random_compressed(SHAPE, by_column, seed=number, dtype=dtype, density=0.4).write(path)
        made.append(Hdf5CompressedSparseMatrix(path, "m", SHAPE, by_column))
    return made


def quietly(function: Any, *arguments: Any, **named: Any) -> Any:
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*arguments, **named)
        except ValueError as error:  # The smallest of nothing.
            return str(error)


def dense_of(block: Compressed, dtype: Any) -> numpy.ndarray:
    values = numpy.zeros(block.shape, dtype)
    along = numpy.repeat(numpy.arange(len(block.pointers) - 1), numpy.diff(block.pointers))
    values[(block.indices, along) if block.by_column else (along, block.indices)] = block.values
    return values


def points(tree: Any) -> numpy.ndarray:
    """Element by element, as an array of indices for each axis."""
    return tree[tuple(numpy.indices(tree.shape))] if tree.size else numpy.asarray(tree)


def rows(tree: Any) -> numpy.ndarray:
    return numpy.asarray([*tree], tree.dtype).reshape(tree.shape)


WAYS: dict[str, Callable[[Any], Any]] = {
    "asarray": numpy.asarray,
    "index": lambda tree: tree[..., None][..., 0],
    "points": points,
    "iteration": rows,
    "extract_dense_array": lambda tree: extract_dense_array(tree, [range(extent) for extent in tree.shape]),
    "to_dense_array": to_dense_array,
    "part of it": lambda tree: numpy.asarray(tree[::-1, :])[::-1],
    "apply_over_blocks": lambda tree: in_blocks(tree, False),
    "dask": lambda tree: tree.to_dask(chunks=5).compute(),
    "out": lambda tree: (
        numpy.add(tree, 0, out=numpy.zeros(tree.shape, tree.dtype)) if tree.dtype != bool else numpy.asarray(tree)
    ),
}
"""All that makes the values of an array, beside statistics, products and mattress, which have tests of their own."""

SPARSE_WAYS: dict[str, Callable[[Any], Any]] = {
    **{
        f"scipy {format}": lambda tree, format=format: to_scipy_sparse_matrix(tree, format)
        for format in ("csc", "csr", "coo")
    },
    "to_sparse_array": lambda tree: numpy.asarray(to_sparse_array(tree)),
    "sparse apply_over_blocks": lambda tree: in_blocks(tree, True),
    "sparse dask": lambda tree: tree.to_dask(sparse=True).compute(),
}


def in_blocks(tree: Any, allow_sparse: bool) -> numpy.ndarray:
    made = numpy.empty(tree.shape, tree.dtype)

    def put(job: Any, block: Any) -> None:
        made[tuple(slice(*bounds) for bounds in job)] = numpy.asarray(block)

    if tree.size:
        apply_over_blocks(tree, put, allow_sparse=allow_sparse, buffer_size=200)
    return made


@given(data=st.data())
def test_random_trees(arrays: list[FileBackedArray], data: st.DataObject) -> None:
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tree = data.draw(trees(arrays))
    assert isinstance(tree, FileBackedArray)
    # delayedarray forgets the type of a part that is empty, when it joins some.
    oracle = quietly(numpy.array, DelayedArray(tree.seed)).astype(tree.dtype)
    node = compiled(tree)
    assert node.shape == oracle.shape
    assert node.dtype == oracle.dtype.newbyteorder("=")
    index = [range(extent) for extent in node.shape]
    ways = {**WAYS, **(SPARSE_WAYS if is_sparse(tree) else {})}
    name = data.draw(st.sampled_from(list(ways)))
    got = quietly(ways[name], tree)
    if scipy.sparse.issparse(got):
        assert got.dtype == scipy_dtype(tree.dtype)
        got = got.toarray().astype(tree.dtype)
    assert got.dtype == tree.dtype == oracle.dtype, name
    numpy.testing.assert_array_equal(got, oracle, name)
    if node.sparse:
        for by_column in (None, True, False):
            block = quietly(node.compressed, index, by_column)
            assert by_column in (None, block.by_column)
            numpy.testing.assert_array_equal(dense_of(block, node.dtype), oracle)
            if block.canonical:
                assert block._replace(canonical=False).matrix(numpy.dtype("f8")).has_canonical_format
    axis = data.draw(st.sampled_from([None, 0, 1, (0, 1), -1]))
    buffer_size = data.draw(st.sampled_from([None, 8, 200]))
    scale = float(numpy.abs(oracle[numpy.isfinite(oracle)].astype("f8")).max(initial=0))
    for name in ("sum", "var", "max", "all", "count_nonzero", "nanmean"):
        want = quietly(getattr(numpy, name), oracle, axis=axis)
        got = quietly(getattr(tree, name), axis=axis, buffer_size=buffer_size)
        if isinstance(want, str):
            assert got == want
            continue
        if oracle.dtype == numpy.float32 or oracle.dtype == numpy.float16:
            # Computed in the type itself by numpy.
            wide = quietly(getattr(numpy, name), oracle.astype("f8"), axis=axis)
            assert got.dtype == numpy.asarray(want).dtype.newbyteorder("=")
            want = quietly(numpy.asarray(wide).astype, got.dtype)
            tolerance = 1e-2 if oracle.dtype == numpy.float16 else 1e-5
        else:
            assert got.dtype == numpy.asarray(want).dtype.newbyteorder("=")
            tolerance = 1e-11
        power = min(scale, 1e151) ** 2 if name == "var" else scale
        if not power < 1e300 or (oracle.dtype == numpy.float32 and power > 1e38):
            continue  # Where it overflows depends on the order.
        numpy.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * power * max(oracle.size, 1) * 1e-3)


def test_blocks_cover_everything_once(arrays: list[FileBackedArray]) -> None:
    for array in arrays:
        for tree in (array, array.T, array[[5, 1, 5, 13], :], numpy.log1p(array)[:, ::-1]):
            node = compiled(tree)
            seen = numpy.zeros(tree.shape, int)
            blocks = sparse_blocks(node, 20) if node.sparse else dense_blocks(node, 20, [])
            for index in blocks:
                seen[numpy.ix_(*index)] += 1
            assert (seen == 1).all()


def test_a_shuffled_subset_is_walked_through_in_the_files_order(arrays: list[FileBackedArray]) -> None:
    columns = [7, 1, 10, 3, 0, 8]
    for array in arrays:
        node = compiled((array * 2)[:, columns])
        blocks = sparse_blocks(node, 5) if node.sparse else dense_blocks(node, 28, [])
        if node.sparse and not array.by_column:
            continue
        order = list(dict.fromkeys(int(column) for index in blocks for column in numpy.asarray(index[1])))
        assert order == numpy.argsort(columns).tolist()


def test_long_columns_are_computed_one_by_one(arrays: list[FileBackedArray], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for long in (0, 1000):
        monkeypatch.setattr(_trees, "_LONG", long)
        for array in arrays[3:]:
            for vector in (numpy.arange(1, 12), numpy.linspace(0.1, 2, 14).reshape(14, 1)):
                for tree in (array / vector, vector * array, array > vector):
                    node = compiled(tree)
                    assert node.sparse
                    got = node.compressed([range(14), range(11)]).values
                    assert got.dtype == node.dtype
                    found.append(got.tobytes())
    assert found[: len(found) // 2] == found[len(found) // 2 :]


def test_of_one_over_zero(arrays: list[FileBackedArray]) -> None:
    # delayedarray takes 1 / x for sparse where x is, since 0 / 1 is 0.
    for array in arrays:
        with numpy.errstate(divide="ignore"):
            assert (1 / array).max() == numpy.inf
            numpy.testing.assert_array_equal(numpy.asarray(1 / array), 1 / numpy.asarray(array))
        for dense in (1 / array, 2**array):
            assert not is_sparse(dense)
            for refused in (to_scipy_sparse_matrix, to_sparse_array, lambda x: x.to_dask(sparse=True)):
                with pytest.raises(ValueError, match="not sparse"):
                    refused(dense)
            want = 2.0 ** numpy.asarray(array, dtype="f8")
            numpy.testing.assert_allclose((2.0**array).sum(axis=0), want.sum(axis=0), rtol=1e-6)


def test_joined_arrays_are_done_one_after_the_other(arrays: list[FileBackedArray]) -> None:
    for first, second in [(arrays[0], arrays[1]), (arrays[3], arrays[4]), (arrays[2], arrays[5])]:
        data = numpy.concatenate((numpy.asarray(first), numpy.asarray(second)), axis=1)
        joined = numpy.concatenate((first, second), axis=1)
        scaling = numpy.arange(1, 23)
        rows = numpy.arange(1, 15).reshape(14, 1)
        for tree, want in [
            (numpy.log1p(joined / scaling), numpy.log1p(data / scaling)),
            (numpy.sqrt(joined * rows).T, numpy.sqrt(data * rows).T),
            (numpy.round(joined.T / 3, 1).astype(numpy.dtype("f4")), numpy.round(data.T / 3, 1).astype("f4")),
        ]:
            parts, axis = joined_parts(compiled(tree)) or ([], -1)
            assert axis == (1 if tree.shape == (14, 22) else 0)
            assert len(parts) == 2
            for over in (None, 0, 1):
                numpy.testing.assert_allclose(tree.sum(axis=over), want.sum(axis=over), rtol=1e-5)
                numpy.testing.assert_allclose(tree.max(axis=over), want.max(axis=over), rtol=1e-5)
    assert joined_parts(compiled(arrays[0] + 1)) is None


def test_seeds_of_others(arrays: list[FileBackedArray]) -> None:
    matrix = scipy.sparse.random(*SHAPE, density=0.3, format="csc", rng=numpy.random.default_rng(4))
    for array in arrays:
        data = numpy.asarray(array)
        for tree, want in [
            (array * DelayedArray(matrix), data * matrix.toarray()),
            (
                numpy.concatenate((DelayedArray(matrix), array))[[20, 3, 3], :],
                numpy.concatenate((matrix.toarray(), data))[[20, 3, 3]],
            ),
            (array - DelayedArray(data), data - data),
        ]:
            assert isinstance(tree, FileBackedArray)
            assert compiled(tree).sparse == is_sparse(tree)
            for axis in (None, 0, 1):
                numpy.testing.assert_allclose(tree.sum(axis=axis), want.sum(axis=axis), rtol=1e-6)
                numpy.testing.assert_allclose(tree.var(axis=axis), want.var(axis=axis), rtol=1e-6)


def test_what_a_matrix_of_others_has_more_than_once(arrays: list[FileBackedArray]) -> None:
    indices = numpy.asarray([5, 2, 5, 5, 0])
    matrix = scipy.sparse.csc_matrix((numpy.asarray([1.0, 2, 3, 4, 5]), indices, numpy.asarray([0, 4, 5])), (14, 2))
    repeated = scipy.sparse.hstack([matrix] * 5 + [scipy.sparse.csc_matrix((14, 1))], format="csc")
    dense = repeated.toarray()
    assert not repeated.has_canonical_format
    for array in arrays[3:]:
        data = numpy.asarray(array)
        for tree, want in (
            (numpy.sqrt(array + DelayedArray(repeated)), numpy.sqrt(data + dense)),
            (array * DelayedArray(repeated).T.T, data * dense),
        ):
            numpy.testing.assert_allclose(numpy.asarray(tree), want, rtol=1e-6)
            numpy.testing.assert_allclose(to_scipy_sparse_matrix(tree).toarray(), want, rtol=1e-6)
            numpy.testing.assert_allclose(tree.sum(axis=0), want.sum(axis=0), rtol=1e-6)


def test_the_error_state_of_the_caller_holds(arrays: list[FileBackedArray]) -> None:
    tree = numpy.log(arrays[1] * 0)
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        tree.sum(buffer_size=100)
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("error")
        tree.sum(buffer_size=100)
    with pytest.raises(FloatingPointError), numpy.errstate(all="raise"):
        tree.sum(buffer_size=100)


def test_delayedarrays_own_statistics(arrays: list[FileBackedArray]) -> None:
    for array in arrays:
        for tree in (array * 1.5, numpy.sqrt(array)[2:9, :], (array / 3).T):
            plain = DelayedArray(tree.seed)
            for name in ("sum", "mean", "var"):
                for axis in (None, 0, 1):
                    want = getattr(plain, name)(axis=axis)
                    # The square root of a byte is a float16.
                    tolerance = 5e-2 if tree.dtype == numpy.float16 else 1e-4
                    numpy.testing.assert_allclose(getattr(tree, name)(axis=axis), want, rtol=tolerance)


def test_progress(arrays: list[FileBackedArray], capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    for array in (arrays[0], arrays[3]):
        seen.clear()
        (array + 1).sum(buffer_size=100, progress=lambda done, total: seen.append((done, total)))
        assert len(seen) > 2
        assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))
        assert len({total for _, total in seen}) == 1
        (array + 1).sum(progress=True)
        assert "sum" in capsys.readouterr().err
        (array + 1).sum(progress=False)
        assert capsys.readouterr().err == ""

    class StopHereError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StopHereError

    threads = threading.active_count()
    with pytest.raises(StopHereError):
        (arrays[0] + 1).sum(buffer_size=100, progress=stop)
    assert threading.active_count() == threads


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_damaged_chunk_in_the_middle(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.h5"
    if kind == "dense":
        with h5py.File(path, "w") as handle:
            handle.create_dataset("x", data=numpy.arange(40_000).reshape(200, 200), chunks=(20, 20), compression="gzip")
        array: Any = Hdf5DenseArray(path, "x", native_order=True)
        place, name = chunk_place(path, (100, 100)), "x"
    else:
        random_compressed((200, 200), True, seed=1).write(path, compression="gzip", chunks=(500,))
        array = Hdf5CompressedSparseMatrix(path, "m", (200, 200), True)
        place, name = chunk_place(path, (2000,), "m/data"), "m/data"
    write_damaged(path, place[0] + place[1] // 2, b"\xff" * 8)
    threads = threading.active_count()
    for tree in (array, numpy.log1p(array / 2), array[:, ::-1]):
        for buffer_size in (None, 10_000):
            with error_naming(OSError, path, name, "chunk"):
                tree.sum(axis=0, buffer_size=buffer_size)
    assert threading.active_count() == threads
    # What does not need the chunk is there.
    assert array[:, :20].sum() > 0


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        # Never written: nothing to read, and much to compute.
        handle.create_dataset("x", (200_000, 20_000), "f8", chunks=(100, 1000), fillvalue=0.5)
    out = run_python(
        """
        import os, signal, sys, threading, time
        import numpy, filebackedarray
        filebackedarray.set_num_threads(2)
        tree = numpy.exp(filebackedarray.Hdf5DenseArray(sys.argv[1], "x") / 3)
        sent = []
        def interrupt():
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.5, interrupt).start()
        try:
            tree.sum(axis=0)
        except KeyboardInterrupt:
            print(time.monotonic() - sent[0], threading.active_count())
        print(tree[:5, :5].sum())
        """,
        path,
    )
    first, second = out.splitlines()
    seconds, threads = first.split()
    assert float(seconds) < 1
    assert threads == "1"
    assert float(second) == pytest.approx(25 * numpy.exp(0.5 / 3))


MEMORY = """
import re, sys
import numpy, filebackedarray
filebackedarray.set_num_threads(2)
# What is kept for the next read has a budget of its own.
filebackedarray.set_cache_budget(0)

def status(field):
    with open("/proc/self/status") as handle:
        return int(re.search(field + r":\\s+(\\d+)", handle.read()).group(1)) * 1024

path, kind = sys.argv[1:]
x = (
    filebackedarray.Hdf5DenseArray(path, "dense", native_order=True)
    if kind == "dense"
    else filebackedarray.Hdf5CompressedSparseMatrix(path, "m", (20_000, 4000), True)
)
trees = [x, numpy.log1p(x / numpy.arange(1, x.shape[1] + 1)), (x > 1)[:, ::-1]]
[(tree[:, :50]).sum(axis=0) for tree in trees]
before = status("VmRSS")
with open("/proc/self/clear_refs", "w") as handle:
    handle.write("5")
for tree in trees:
    for axis in (0, 1):
        tree.sum(axis=axis)
        tree.var(axis=axis)
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_memory_is_bounded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.h5"
    rng = numpy.random.default_rng(3)
    if kind == "dense":
        # 160 MB as int32, one chunk again and again.
        content = zlib.compress(rng.poisson(0.2, (250, 500)).astype("<i4").tobytes(), 1)
        raw = [((i, j), content, 0) for i in range(0, 4000, 250) for j in range(0, 10_000, 500)]
        write_chunks(path, ("gzip",), "<i4", (4000, 10_000), (250, 500), raw, name="dense")
    else:
        rows = numpy.sort(rng.choice(20_000, 2000, replace=False)).astype("<i4")
        for name, piece in (("indices", numpy.tile(rows, 20)), ("data", rng.integers(1, 9, 40_000).astype("<i4"))):
            content = zlib.compress(piece.tobytes(), 1)
            raw_1d = [((start,), content, 0) for start in range(0, 8_000_000, 40_000)]
            write_chunks(path, ("gzip",), "<i4", (8_000_000,), (40_000,), raw_1d, name=f"m/{name}")
        with h5py.File(path, "a") as handle:
            handle["m/indptr"] = numpy.arange(4001) * 2000
    above = float(run_python(MEMORY, path, kind))
    print(f"{kind}: peak {above / 1e6:.0f} MB above the start")
    assert above < 64e6


MATRICES = [line for line in real.lines("sparse.jsonl") if 1000 < line["nnz"] < 1_500_000]


@pytest.mark.skipif(not real.is_there(), reason="no real files (see tests/real.py)")
@pytest.mark.parametrize("line", MATRICES, ids=[real.identifier(line, "group") for line in MATRICES])
def test_real_files(line: dict[str, Any]) -> None:
    path, shape = real.location() / line["file"], tuple(line["shape"])
    by_column = line["orientation"].startswith("csc")
    array = Hdf5CompressedSparseMatrix(path, line["group"], shape, by_column)
    with h5py.File(path, "r") as handle:
        members = [handle[line["group"]][name][()] for name in ("data", "indices", "indptr")]
    make = scipy.sparse.csc_matrix if by_column else scipy.sparse.csr_matrix
    matrix = make(tuple(members), shape=shape)
    wide = matrix.astype("f8")
    for axis in (0, 1):
        want = numpy.asarray(wide.sum(axis=axis)).reshape(-1)
        numpy.testing.assert_allclose(array.sum(axis=axis), want, rtol=1e-5, atol=1e-9)
        mean, square = wide.mean(axis=axis), wide.multiply(wide).mean(axis=axis)
        variance = numpy.asarray(square - numpy.square(mean)).reshape(-1)
        numpy.testing.assert_allclose(array.var(axis=axis, dtype="f8"), variance, rtol=1e-6, atol=1e-9)
        numpy.testing.assert_array_equal(array.count_nonzero(axis=axis), (matrix != 0).sum(axis=axis).A1)
        numpy.testing.assert_array_equal(array.max(axis=axis), matrix.max(axis=axis).toarray().reshape(-1))
    if matrix.data.min() < 0:
        return
    total = numpy.maximum(wide.sum(axis=0).A1, 1)
    normalized = numpy.log1p(wide.multiply(1 / total[None, :]))
    got = numpy.log1p(array / total).sum(axis=1)
    numpy.testing.assert_allclose(got, normalized.sum(axis=1).A1, rtol=1e-6)
