"""The cache of decoded chunks: what it is for, what it must not do, and its budget."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import extract_dense_array, extract_sparse_array, to_dense_array

from filebackedarray import Hdf5CompressedSparseMatrixSeed, Hdf5DenseArraySeed, set_cache_budget
from helpers import assert_identical, everything, run_python, take

DEFAULT = 512 << 20


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    before = set_cache_budget(0)
    set_cache_budget(before)
    yield
    set_cache_budget(before)


def seconds(seed: Hdf5DenseArraySeed, subset: tuple[range, ...]) -> float:
    start = time.perf_counter()
    extract_dense_array(seed, subset)
    return time.perf_counter() - start


@pytest.fixture(scope="module")
def giant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One chunk of 80 MB."""
    path = tmp_path_factory.mktemp("giant") / "giant.h5"
    values = numpy.random.default_rng(0).poisson(3, 20_000_000).astype("i4")
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=values.shape, compression=1, shuffle=True)
    return path


def test_the_default_budget_is_the_documented_one() -> None:
    assert run_python("import filebackedarray; print(filebackedarray.set_cache_budget(0))").strip() == str(DEFAULT)


def test_the_budget_before_is_returned() -> None:
    before = set_cache_budget(12345)
    assert set_cache_budget(0) == 12345
    assert set_cache_budget(before) == 0


@pytest.mark.parametrize("budget", [-1, 1 << 64])
def test_impossible_budgets_are_refused(budget: int) -> None:
    before = set_cache_budget(777)
    with pytest.raises(OverflowError):
        set_cache_budget(budget)
    assert set_cache_budget(before) == 777


@pytest.mark.parametrize("budget", ["1", None, 1.5])
def test_budgets_are_integers(budget: object) -> None:
    with pytest.raises(TypeError):
        set_cache_budget(budget)  # type: ignore[arg-type]


@pytest.mark.alone
def test_a_giant_chunk_is_inflated_once(giant: Path) -> None:
    seed = Hdf5DenseArraySeed(giant, "x")
    first = seconds(seed, (range(10),))
    others = [seconds(seed, (range(i * 1000, i * 1000 + 10),)) for i in range(10)]
    assert sum(others) < first
    set_cache_budget(0)
    assert seconds(seed, (range(10),)) > 10 * min(others)


@pytest.mark.alone
def test_a_chunk_larger_than_the_budget_is_not_kept(giant: Path) -> None:
    set_cache_budget(70 << 20)
    seed = Hdf5DenseArraySeed(giant, "x")
    first = min(seconds(seed, (range(10),)) for _ in range(3))
    assert seconds(seed, (range(10),)) > first / 4


@pytest.mark.alone
def test_what_is_kept_stays_within_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", (1 << 26,), "i4", chunks=(1 << 20,), compression=1, fillvalue=None)
        for start in range(0, 1 << 26, 1 << 20):
            handle["x"][start] = start + 1
    code = f"""
import resource, filebackedarray
from delayedarray import extract_dense_array
budget = 32 << 20
filebackedarray.set_cache_budget(budget)
filebackedarray.set_num_threads(2)
seed = filebackedarray.Hdf5DenseArraySeed({str(path)!r}, "x")
extract_dense_array(seed, (range(1),))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, 1 << 26, 1 << 20):
    assert extract_dense_array(seed, (range(start, start + 1),))[0] == start + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    # Chunks come to 256 MB, in KiB here; besides the budget a worker's buffers may grow.
    assert int(run_python(code)) < (32 + 24) << 10


@pytest.mark.parametrize("chunks", [(7, 9), (40, 3), (60, 50)])
@pytest.mark.parametrize("filters", [{}, {"compression": "gzip", "shuffle": True}, {"fletcher32": True}])
def test_reads_in_parts_are_right(tmp_path: Path, chunks: tuple[int, int], filters: dict[str, object]) -> None:
    data = numpy.random.default_rng(1).integers(-99, 99, (60, 50)).astype("i2")
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data, chunks=chunks, **filters)
    seeds = [Hdf5DenseArraySeed(path, "x", dtype, native_order=True) for dtype in ("i2", "f8")]
    for _ in range(2):
        for column in range(50):
            subset = (range(60), [column])
            for seed in seeds:
                assert_identical(extract_dense_array(seed, subset), take(data, subset).astype(seed.dtype))
        for rows in (range(3, 50, 7), [1, 58]):
            assert_identical(extract_dense_array(seeds[0], (rows, range(50))), take(data, (rows, range(50))))


@pytest.mark.parametrize("index_dtype", ["i4", "u8", "i8"])
@pytest.mark.parametrize("large", [False, True])
def test_matrices_in_parts_are_right(tmp_path: Path, index_dtype: str, large: bool) -> None:
    """Indices are kept as 32-bit integers where they fit, which a dense read of them must not see."""
    matrix = scipy.sparse.random(200, 300, 0.1, "csc", random_state=numpy.random.default_rng(2))
    shape = (1 << 40 if large and index_dtype != "i4" else 200, 300)
    path = tmp_path / "file.h5"
    indices = matrix.indices.astype(index_dtype)
    with h5py.File(path, "w") as handle:
        for name, data in (("data", matrix.data), ("indices", indices), ("indptr", matrix.indptr)):
            handle.create_dataset(
                f"m/{name}", data=data, chunks=(min(512, data.size),), compression="gzip", shuffle=True
            )
        if shape[0] > 200:
            handle["m/indices"][-1] = indices[-1] = shape[0] - 1
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", shape, True)
    stored = Hdf5DenseArraySeed(path, "m/indices")
    columns = [300 - 1, *range(0, 300, 17)]
    expected = matrix.toarray()
    for _ in range(2):
        for column in columns:
            found = extract_sparse_array(seed, (range(100), [column]))
            assert_identical(to_dense_array(found), expected[:100, [column]])
        for start in range(0, indices.size, 400):
            part = range(start, min(start + 400, indices.size))
            assert_identical(extract_dense_array(stored, (part,)), take(indices, (part,)))


def test_another_file_of_the_name_is_another(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    seed = None
    for round_ in range(5):
        data = numpy.full((40, 40), round_)
        data[0] = numpy.arange(40)
        new = tmp_path / "new.h5"
        with h5py.File(new, "w") as handle:
            handle.create_dataset("x", data=data, chunks=(20, 20), compression="gzip")
        os.replace(new, path)
        seed = seed or Hdf5DenseArraySeed(path, "x", native_order=True)
        for column in range(40):
            assert_identical(extract_dense_array(seed, (range(40), [column])), data[:, [column]])


def test_datasets_of_a_file_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as handle:
        for name in ("a", "b"):
            handle.create_dataset(name, data=numpy.full(100, ord(name)), chunks=(100,), compression="gzip")
    for _ in range(2):
        for name in ("a", "b"):
            assert extract_dense_array(Hdf5DenseArraySeed(path, name), ([5],)).tolist() == [ord(name)]


def test_a_damaged_chunk_is_an_error_each_time(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as handle:
        dataset = handle.create_dataset("x", data=numpy.arange(1000), chunks=(500,), compression="gzip")
        damaged = dataset.id.get_chunk_info(1)
    with open(path, "r+b") as handle:
        handle.seek(damaged.byte_offset + damaged.size // 2)
        handle.write(b"\xff" * 8)
    seed = Hdf5DenseArraySeed(path, "x")
    for _ in range(3):
        assert extract_dense_array(seed, ([5],)).tolist() == [5]
        with pytest.raises(OSError, match=r"chunk at \[500\]"):
            extract_dense_array(seed, ([505],))


def test_results_are_copies(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    data = numpy.arange(1000)
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data, chunks=(1000,), compression="gzip")
    seed = Hdf5DenseArraySeed(path, "x")
    found = extract_dense_array(seed, (range(500),))
    found[:] = -1
    assert_identical(extract_dense_array(seed, (range(500),)), data[:500])
    assert_identical(extract_dense_array(seed, everything((1000,))), data)


@pytest.mark.alone
def test_a_sweep_of_a_matrix_keeps_nothing(tmp_path: Path) -> None:
    """A gene out of many cells goes through all chunks, window by window; only few of them would stay."""
    path = tmp_path / "file.h5"
    count = 3_000_000
    with h5py.File(path, "w") as handle:
        for name, data in (
            ("data", numpy.ones(count, "i4")),
            ("indices", numpy.tile(numpy.arange(1000), count // 1000)),
            ("indptr", numpy.arange(0, count + 1, 1000)),
        ):
            handle.create_dataset(f"m/{name}", data=data, chunks=(min(20_000, data.size),), compression=1, shuffle=True)
    code = f"""
import resource, filebackedarray
from delayedarray import extract_sparse_array
filebackedarray.set_num_threads(2)
seed = filebackedarray.Hdf5CompressedSparseMatrixSeed({str(path)!r}, "m", (1000, {count // 1000}), True)
budgets = []
for budget in (0, 64 << 20):
    filebackedarray.set_cache_budget(budget)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    extract_sparse_array(seed, ([7], range({count // 1000})))
    budgets.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(budgets[1])
"""
    # In KiB. All chunks come to 24 MB, with narrow indices.
    assert int(run_python(code)) < 6 << 10


# ---- few chunks of very many -------------------------------------------------------------------------------------

#: Kinds of indexes: version of the file, shape, most extents, chunk, and options of the dataset.
MANY = {
    "btree1": ("earliest", (20_001, 3), None, (1, 2), {}),
    "fixed-array": ("latest", (20_001, 3), None, (1, 2), {"compression": "gzip", "shuffle": True}),
    "extensible-array": ("latest", (20_001, 3), (None, 3), (1, 2), {"compression": "lzf", "fletcher32": True}),
    "growing-second-axis": ("latest", (3, 20_001), (3, None), (2, 1), {}),
    "btree2": ("latest", (20_001, 3), (None, None), (1, 2), {"compression": "gzip"}),
    "implicit": ("latest", (20_001, 3), None, (1, 2), {"fillvalue": 7}),
}


@pytest.mark.parametrize("index", MANY)
def test_the_first_small_reads_of_very_many_chunks(tmp_path: Path, index: str) -> None:
    # Each chunk is looked for by itself at first, as libhdf5 numbers them; later the index of all is read.
    version, shape, most, chunks, options = MANY[index]
    data = numpy.arange(60_003, dtype="i4").reshape(shape)
    path = tmp_path / "many.h5"
    with h5py.File(path, "w", libver=version) as handle:
        if index == "implicit":
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_chunk(chunks)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            space = h5py.h5s.create_simple(shape)
            dataset = h5py.Dataset(h5py.h5d.create(handle.id, b"x", h5py.h5t.STD_I32LE, space, layout))
        else:
            dataset = handle.create_dataset("x", shape, "i4", maxshape=most, chunks=chunks, **options)
        dataset[...] = data
    rng = numpy.random.default_rng(5)
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    for _ in range(40):
        subset = tuple(
            range(start, min(start + int(rng.integers(1, 3)), extent))
            for start, extent in zip((int(rng.integers(0, n)) for n in shape), shape, strict=True)
        )
        for _ in range(2):
            assert_identical(extract_dense_array(seed, subset), take(data, subset))
    corner = tuple(range(n - 1, n) for n in shape)
    assert_identical(extract_dense_array(seed, corner), take(data, corner))
    assert_identical(extract_dense_array(seed, everything(shape)), data)


def test_chunks_that_were_never_written_are_fill_value_among_very_many(tmp_path: Path) -> None:
    path = tmp_path / "many.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        dataset = handle.create_dataset("x", (40_000, 4), "i4", chunks=(1, 4), fillvalue=9)
        dataset[:20_000] = 3
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    for row, value in ((19_999, 3), (20_000, 9), (39_999, 9), (0, 3)):
        assert extract_dense_array(seed, (range(row, row + 1), range(4))).tolist() == [[value] * 4]
    across = extract_dense_array(seed, (range(19_999, 20_001), range(4)))
    assert across.tolist() == [[3] * 4, [9] * 4]


def test_a_damaged_chunk_among_very_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        dataset = handle.create_dataset("x", (20_000, 64), "i4", chunks=(1, 64), compression="gzip", fletcher32=True)
        dataset[...] = numpy.arange(64)
        address = dataset.id.get_chunk_info(1234).byte_offset
    with path.open("r+b") as handle:
        handle.seek(address + 10)
        handle.write(b"damaged")
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    with pytest.raises(OSError, match=r"chunk at \[1234, 0\]"):
        extract_dense_array(seed, (range(1234, 1235), range(64)))
    assert extract_dense_array(seed, (range(1235, 1236), range(64))).tolist() == [list(range(64))]


@pytest.mark.alone
def test_the_first_small_read_does_not_read_the_whole_index(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.h5" for number in range(6)]
    for path in paths:
        with h5py.File(path, "w", libver="latest") as handle:
            handle.create_dataset("x", (100_000, 4), "i4", chunks=(1, 4))[...] = 1
    seeds = [Hdf5DenseArraySeed(path, "x", native_order=True) for path in paths]
    first = min(seconds(seed, (range(500, 501), range(4))) for seed in seeds[:3])
    # More chunks than are looked for one by one.
    whole = min(seconds(seed, (range(500, 600), range(4))) for seed in seeds[3:])
    assert first < whole / 3
