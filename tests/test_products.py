"""Products with matrices and vectors in memory, against numpy and scipy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import delayedarray
import h5py
import numpy
import pytest
import scipy.sparse
import scipy.sparse.linalg
from delayedarray import DelayedArray
from hypothesis import given
from hypothesis import strategies as st

import filebackedarray
from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArray, as_linear_operator
from filebackedarray._compute.chains import chain_of
from filebackedarray._compute.products import matmul, rmatmul
from filebackedarray._compute.tree import compiled
from helpers import Compressed, random_compressed, run_python, write_damaged
from strategies import SparseCase, sparse_cases, subsets

SHAPE = (53, 37)
NUMBERS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
OTHERS = [*NUMBERS, "c8", "c16", "g"]


def times(x: Any, other: Any) -> Any:
    """`x @ other`, of which delayedarray's own arrays know nothing."""
    return x @ other if hasattr(type(x), "__matmul__") else matmul(x, other)


def rtimes(other: Any, x: Any) -> Any:
    return other @ x if hasattr(type(x), "__matmul__") else rmatmul(x, other)


def some(shape: tuple[int, ...], dtype: Any, seed: int = 5) -> numpy.ndarray:
    """Small whole numbers, of which products are exact in any order, complex ones with an imaginary part."""
    rng = numpy.random.default_rng(seed)
    values = rng.integers(0, 4, shape).astype(dtype)
    return values + 1j * rng.integers(0, 3, shape).astype(dtype) if numpy.dtype(dtype).kind == "c" else values


def exact(got: Any, want: Any) -> None:
    assert type(got) is type(want) or numpy.ndim(want) == 0
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    numpy.testing.assert_array_equal(got, want)


def write_dense(path: Path, values: numpy.ndarray, **options: Any) -> None:
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, **options)


@pytest.fixture(params=["csc", "csr", "dense", "dense-reversed", "contiguous"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], tuple[DelayedArray, numpy.ndarray]]:
    """A matrix in a file, and what it means."""

    def made(dtype: Any) -> tuple[DelayedArray, numpy.ndarray]:
        path = tmp_path / f"{numpy.dtype(dtype).name}.h5"
        if request.param.startswith("cs"):
            matrix = random_compressed(SHAPE, request.param == "csc", dtype=dtype)
            matrix.data[...] = some(matrix.data.shape, dtype)
            matrix.write(path, chunks=(50,), compression="gzip")
            return Hdf5CompressedSparseMatrix(path, "m", SHAPE, request.param == "csc"), matrix.dense()
        values = some(SHAPE, dtype)
        options = {} if request.param == "contiguous" else {"chunks": (7, 10), "compression": "gzip"}
        reverse = request.param == "dense-reversed"
        write_dense(path, values.T if reverse else values, **options)
        return Hdf5DenseArray(path, "x", native_order=not reverse), values

    return made


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_element_types(make: Callable[[Any], Any], dtype: str, other: str) -> None:
    x, data = make(dtype)
    right, left = some((SHAPE[1], 5), other), some((4, SHAPE[0]), other, seed=6)
    exact(x @ right, data @ right)
    exact(left @ x, left @ data)
    exact(x @ right[:, 0], data @ right[:, 0])
    exact(left[0] @ x, left[0] @ data)
    exact(times(x.T, left.T), data.T @ left.T)


@pytest.mark.parametrize("kind", ["c8", "c16"])
def test_complex_matrices(tmp_path: Path, kind: str) -> None:
    values = some(SHAPE, kind)
    write_dense(tmp_path / "x.h5", values, chunks=(7, 10))
    x = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    exact(x @ some((SHAPE[1], 3), "f4"), values @ some((SHAPE[1], 3), "f4"))
    operator = scipy.sparse.linalg.aslinearoperator(x)
    vector = some((SHAPE[0],), "c16")
    numpy.testing.assert_allclose(operator.rmatvec(vector), values.conj().T @ vector)
    numpy.testing.assert_allclose(as_linear_operator(x).H @ vector, values.conj().T @ vector)


def test_shapes(make: Callable[[Any], Any]) -> None:
    x, data = make("f8")
    rows, columns = SHAPE
    for shape in [(columns,), (columns, 1), (columns, 0), (columns, 130), (2, columns, 3), (2, 3, columns, 4)]:
        exact(x @ some(shape, "f8"), data @ some(shape, "f8"))
    for shape in [(rows,), (1, rows), (0, rows), (2, 3, rows)]:
        exact(some(shape, "f8") @ x, some(shape, "f8") @ data)
    strided = some((2 * columns, 9), "f4")[::-2, ::3]
    exact(x @ strided, data @ strided)
    exact(x @ numpy.asfortranarray(strided), data @ strided)
    exact(x @ some((columns, 3), "f8").tolist(), data @ some((columns, 3), "f8"))
    exact(x @ scipy.sparse.csr_matrix(some((columns, 3), "f8")), data @ some((columns, 3), "f8"))
    exact(numpy.matmul(x, strided), data @ strided)


TREES: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda x: x.T,
    "slice": lambda x: x[3:40, 5:],
    "steps": lambda x: x[::3, ::-2],
    "rows": lambda x: x[[5, 1, 1, 29], :],
    "columns": lambda x: x[:, numpy.array([19, 0])],
    "subset-of-subset": lambda x: x[::2, :][[3, 1, 9], 4:30][::-1, ::2],
    "transposed-subset": lambda x: x[4:30, [9, 3, 3]].T,
    "subset-of-transposed": lambda x: x.T[4:30:3, [9, 3]],
    "last": lambda x: x[-9:, [-1, 0, -5]],
    "none": lambda x: x[:0, :],
    "no-columns": lambda x: x[:, :0],
    "cast": lambda x: x.astype(numpy.dtype("f4")),
    "cast-to-integer": lambda x: (x[2:, :].astype(numpy.dtype("i2")).T).astype(numpy.dtype("f8")),
    "cast-to-bool": lambda x: x.astype(numpy.dtype("?")),
    "narrowed-and-rounded": lambda x: x.astype(numpy.dtype("f2")).astype(numpy.dtype("i1")),
    "scaled": lambda x: x / 4,
    "scaled-rows": lambda x: x * numpy.arange(1.0, SHAPE[0] + 1)[:, None],
    "scaled-columns": lambda x: x * numpy.arange(1.0, SHAPE[1] + 1),
    "scaled-transposed": lambda x: (x.T * numpy.arange(1.0, SHAPE[0] + 1)).T[:, ::2],
    "of-a-number": lambda x: 3 * x[1:, :],
    "added": lambda x: x + 1,
    "compared": lambda x: x > 1,
    "rounded": lambda x: numpy.round(x, decimals=0),
    "sign": lambda x: numpy.sign(x),
    "joined-rows": lambda x: numpy.concatenate((x, x * 2), axis=0),
    "joined-columns": lambda x: numpy.concatenate((x, x), axis=1),
    "sum": lambda x: x + x,
}
PUSHED = list(TREES)[: list(TREES).index("narrowed-and-rounded")]


@pytest.mark.parametrize("dtype", ["i4", "f8", "u1"])
@pytest.mark.parametrize("tree", TREES)
def test_trees(make: Callable[[Any], Any], tree: str, dtype: str) -> None:
    x, data = make(dtype)
    delayed, want = TREES[tree](x), TREES[tree](data)
    assert (chain_of(compiled(delayed)) is not None) == (tree in PUSHED or tree == "narrowed-and-rounded")
    right, left = some((want.shape[1], 5), "i4"), some((4, want.shape[0]), "f8")
    numpy.testing.assert_array_equal(times(delayed, right), want @ right)
    assert times(delayed, right).dtype == numpy.result_type(delayed.dtype, right.dtype)
    exact(rtimes(left, delayed), left @ want)
    exact(times(delayed, right[:, 0].astype("f8")), want @ right[:, 0].astype("f8"))


def test_logarithms(make: Callable[[Any], Any]) -> None:
    x, data = make("i4")
    sizes = numpy.arange(1.0, SHAPE[1] + 1)
    right = numpy.random.default_rng(2).standard_normal((SHAPE[1], 6))
    numpy.testing.assert_allclose(times(numpy.log1p(x / sizes), right), numpy.log1p(data / sizes) @ right, rtol=1e-12)
    numpy.testing.assert_allclose(times(numpy.exp(x), right), numpy.exp(data) @ right, rtol=1e-12)


@given(data=st.data(), case=sparse_cases())
def test_any_sparse_matrix(fresh_path: Callable[[], Path], data: st.DataObject, case: SparseCase) -> None:
    """Canonical or not, and any subset."""
    matrix = case.matrix
    if matrix.data.dtype.kind == "f":
        # Sums of anything are of another last bit in another order.
        matrix.data[...] = numpy.arange(len(matrix.data)) % 7
    path = fresh_path()
    matrix.write(path, **case.options)
    x = Hdf5CompressedSparseMatrix(path, "m", matrix.shape, matrix.by_column)
    truth = matrix.dense().astype(matrix.data.dtype.newbyteorder("="))
    chosen = data.draw(subsets(matrix.shape), label="subset")
    for delayed, dense in [(x, truth), _taken(x, truth, chosen)]:
        right = some((dense.shape[1], 3), data.draw(st.sampled_from(["i1", "f4", "f8"])))
        left = some((2, dense.shape[0]), "f8")
        with numpy.errstate(all="ignore"):
            numpy.testing.assert_allclose(times(delayed, right), dense @ right, rtol=1e-12)
            numpy.testing.assert_allclose(rtimes(left, delayed), left @ dense, rtol=1e-12)


def _taken(x: DelayedArray, truth: numpy.ndarray, chosen: Any) -> tuple[DelayedArray, numpy.ndarray]:
    lists = [
        list(range(n))[part] if isinstance(part, slice) else list(part)
        for part, n in zip(chosen, truth.shape, strict=True)
    ]
    return DelayedArray(delayedarray.Subset(x.seed, tuple(lists))), truth[numpy.ix_(*map(_integers, lists))]


def _integers(positions: Any) -> numpy.ndarray:
    return numpy.asarray(positions, dtype=numpy.intp)


@pytest.mark.parametrize("dtype", ["i1", "?", "u2", "i8"])
def test_duplicates_are_added_up_before_they_are_multiplied(tmp_path: Path, dtype: str) -> None:
    # 100 + 100 is -56 in 8 bits, and true is no more true for being there twice.
    matrix = Compressed(
        numpy.array([100, 100, 3]).astype(dtype), numpy.array([1, 1, 0]), numpy.array([0, 2, 3]), (2, 2), True
    )
    matrix.write(tmp_path / "m.h5")
    x = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", (2, 2), True)
    for other in ("f8", "i8", dtype):
        right = numpy.array([[1, 0], [2, 1]]).astype(other)
        exact(x @ right, matrix.dense() @ right)
        exact(right @ x, right @ matrix.dense())


def test_integers_wrap(make: Callable[[Any], Any]) -> None:
    for dtype in ("i1", "u4", "i8", "u8"):
        x, data = make(dtype)
        right = numpy.full((SHAPE[1], 2), numpy.iinfo(dtype).max, dtype) - some((SHAPE[1], 2), dtype)
        exact(x @ right, data @ right)


def test_what_is_not_stored_is_not_multiplied(tmp_path: Path) -> None:
    # A dense product has NaN wherever zero meets infinity; scipy's sparse one only where that zero is stored.
    matrix = random_compressed((6, 5), True)
    matrix.data[0] = 0
    matrix.data[1] = numpy.nan
    matrix.write(tmp_path / "m.h5")
    x = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", (6, 5), True)
    right = numpy.full((5, 2), numpy.inf)
    stored = scipy.sparse.csc_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(6, 5))
    with numpy.errstate(all="ignore"):
        want = stored @ right
    assert numpy.isnan(want).any()
    assert not numpy.isnan(want).all()
    exact(x @ right, want)
    exact(times(x * 1.0, right), want)

    write_dense(tmp_path / "x.h5", matrix.dense())
    dense = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    with numpy.errstate(all="ignore"):
        exact(dense @ right, matrix.dense() @ right)


@pytest.fixture
def threads() -> Iterator[None]:
    before = filebackedarray.get_num_threads()
    yield
    filebackedarray.set_num_threads(before)


def test_bits_do_not_depend_on_threads(tmp_path: Path, threads: None) -> None:
    rng = numpy.random.default_rng(8)
    shape = (700, 600)
    matrix = random_compressed(shape, True, density=0.6)
    matrix.data[...] = rng.standard_normal(len(matrix.data))
    matrix.write(tmp_path / "m.h5", chunks=(10_000,), compression="gzip")
    write_dense(tmp_path / "x.h5", rng.standard_normal(shape), chunks=(64, 100), compression="gzip")
    arrays = [
        Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", shape, True),
        Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True),
        numpy.log1p(abs(Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", shape, True))),
    ]
    for x in arrays:
        for width in (1, 3, 50):
            right, left = rng.standard_normal((shape[1], width)), rng.standard_normal((width, shape[0]))
            results = []
            for count in (1, 2, 5, 5):
                filebackedarray.set_num_threads(count)
                results.append((times(x, right).tobytes(), rtimes(left, x).tobytes()))
            assert len(set(results)) == 1


def test_single_precision_is_added_up_in_double(tmp_path: Path) -> None:
    rng = numpy.random.default_rng(3)
    values = rng.standard_normal((20, 30_000)).astype("f4")
    right = rng.standard_normal((30_000, 2)).astype("f4")
    write_dense(tmp_path / "x.h5", values, chunks=(20, 1000))
    scipy_values = scipy.sparse.csr_matrix(values)
    Compressed(scipy_values.data, scipy_values.indices, scipy_values.indptr, values.shape, False).write(
        tmp_path / "m.h5"
    )
    want = (values.astype("f8") @ right.astype("f8")).astype("f4")
    for x in (
        Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True),
        Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", values.shape, False),
    ):
        got = x @ right
        assert got.dtype == want.dtype
        numpy.testing.assert_array_max_ulp(got, want, maxulp=1)


def numpys(operation: Callable[[], Any]) -> str:
    with pytest.raises(ValueError, match="matmul") as raised:
        operation()
    return str(raised.value)


def test_shapes_that_do_not_match(make: Callable[[Any], Any]) -> None:
    x, data = make("f8")
    for other in (numpy.ones((5, 2)), numpy.ones(SHAPE[0]), numpy.float64(2), numpy.ones((2, 3, 4))):
        assert numpys(lambda other=other: x @ other) == numpys(lambda other=other: data @ other)
    for other in (numpy.ones((5, 2)), numpy.ones(SHAPE[1]), numpy.float64(2), numpy.ones((2, 3, 4))):
        assert numpys(lambda other=other: rmatmul(x, other)) == numpys(lambda other=other: numpy.matmul(other, data))


def test_what_is_no_number(make: Callable[[Any], Any], tmp_path: Path) -> None:
    x, _ = make("f8")
    with pytest.raises(TypeError):
        x @ numpy.full(SHAPE[1], "a")
    with pytest.raises(TypeError):
        x @ numpy.full(SHAPE[1], object())
    with pytest.raises(NotImplementedError, match="two delayed arrays"):
        x @ x.T
    with pytest.raises(NotImplementedError, match="masked"):
        x @ numpy.ma.masked_equal(numpy.ones(SHAPE[1]), 0)
    write_dense(tmp_path / "s.h5", numpy.full((3, 3), b"a"))
    with pytest.raises(TypeError):
        Hdf5DenseArray(tmp_path / "s.h5", "x") @ numpy.ones(3)
    write_dense(tmp_path / "cube.h5", numpy.ones((3, 3, 3)))
    with pytest.raises(NotImplementedError, match="3 dimensions"):
        Hdf5DenseArray(tmp_path / "cube.h5", "x") @ numpy.ones(3)


@pytest.mark.parametrize("kind", ["sparse", "dense", "tree"])
def test_a_damaged_chunk_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.h5"
    matrix = random_compressed((60, 50), True, density=0.5)
    if kind == "dense":
        write_dense(path, numpy.arange(3000.0).reshape(60, 50), chunks=(10, 50), compression="gzip")
        name, x = "x", Hdf5DenseArray(path, "x", native_order=True)
    else:
        matrix.write(path, chunks=(200,), compression="gzip")
        name, x = "m/data", Hdf5CompressedSparseMatrix(path, "m", (60, 50), True)
    with h5py.File(path) as handle:
        chunk = handle[name].id.get_chunk_info(3)
    write_damaged(path, chunk.byte_offset, b"\xff" * 8)
    with pytest.raises(OSError, match=rf"damaged data in .*{name}.*chunk at \[{chunk.chunk_offset[0]}"):
        matmul(x * 2 if kind == "tree" else x, numpy.ones((50, 3)))


def test_an_index_outside_of_the_matrix(tmp_path: Path) -> None:
    matrix = random_compressed((60, 50), True)
    matrix.indices[7] = 60
    matrix.write(tmp_path / "m.h5")
    x = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", (60, 50), True)
    with pytest.raises(IndexError, match="index 60 at position 7"):
        x @ numpy.ones(50)
    with pytest.raises(IndexError, match="index 60 at position 7"):
        matmul(x[3:9, :], numpy.ones(50))


@pytest.mark.parametrize("kind", ["sparse", "dense", "tree"])
def test_progress(tmp_path: Path, kind: str) -> None:
    write_dense(tmp_path / "x.h5", numpy.ones((3000, 2000), "i1"), chunks=(100, 2000))
    random_compressed((300, 200), True).write(tmp_path / "m.h5")
    x: Any = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", (300, 200), True)
    if kind == "dense":
        x = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    elif kind == "tree":
        x = x + 1
    told: list[tuple[int, int]] = []
    matmul(x, numpy.ones((x.shape[1], 2)), progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    matmul(x, numpy.ones((x.shape[1], 2)), progress=True)

    class EnoughError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        matmul(x, numpy.ones((x.shape[1], 2)), progress=stop)


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy
import filebackedarray
x = filebackedarray.Hdf5CompressedSparseMatrix(sys.argv[1], "m", (20_000, 3_000), True)
right = numpy.ones((3_000, 2_000))
sent = []
def send():
    sent.append(time.process_time())  # not the time that others take
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.3, send).start()
try:
    x @ right
except KeyboardInterrupt:
    print(time.process_time() - sent[0])
"""


def test_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as handle:
        indices = numpy.tile(numpy.arange(1000) * 20, 3_000)
        handle.create_dataset("m/indices", data=indices.astype("i4"), chunks=(100_000,))
        handle.create_dataset("m/data", data=numpy.ones(len(indices), "i4"), chunks=(100_000,))
        handle["m/indptr"] = numpy.arange(3_001) * 1000
    assert float(run_python(INTERRUPTED, path)) < 2


def test_untrusted_files(tmp_path: Path) -> None:
    matrix = random_compressed((60, 50), True)
    matrix.write(tmp_path / "m.h5")
    x = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", (60, 50), True, untrusted=True)
    exact(x @ some((50, 3), "f8"), matrix.dense() @ some((50, 3), "f8"))


def test_linear_operators(make: Callable[[Any], Any]) -> None:
    x, data = make("f8")
    right, left = some((SHAPE[1], 4), "f8"), some((SHAPE[0], 4), "f8")
    for operator in (scipy.sparse.linalg.aslinearoperator(x), as_linear_operator(x)):
        assert operator.dtype == data.dtype
        exact(operator @ right, data @ right)
        exact(operator.matvec(right[:, :1]), data @ right[:, :1])
        exact(operator.rmatmat(left), data.T @ left)
        exact(operator.T @ left[:, 0], data.T @ left[:, 0])
    got = scipy.sparse.linalg.svds(x, k=4, random_state=1, return_singular_vectors=False)
    want = numpy.linalg.svd(data, compute_uv=False)[:4]
    numpy.testing.assert_allclose(numpy.sort(got)[::-1], want, rtol=1e-10)
    tree = as_linear_operator(numpy.log1p(x[:, 5:]))
    got = scipy.sparse.linalg.svds(tree, k=3, random_state=1, return_singular_vectors=False)
    want = numpy.linalg.svd(numpy.log1p(data[:, 5:]), compute_uv=False)[:3]
    numpy.testing.assert_allclose(numpy.sort(got)[::-1], want, rtol=1e-10)


MEMORY = """
import json, re, sys
import numpy, scipy.sparse
import filebackedarray
from filebackedarray._compute.products import matmul, rmatmul
filebackedarray.set_num_threads(2)
rows, columns, width = 20_000, 9_000, 40
path, kind = sys.argv[1:]
if kind == "dense":
    x = filebackedarray.Hdf5DenseArray(path, "x", native_order=True)
else:
    x = filebackedarray.Hdf5CompressedSparseMatrix(path, "m", (rows, columns), True)
    if kind == "tree":
        x = numpy.log1p(x / numpy.arange(1.0, columns + 1))
right, left = numpy.ones((x.shape[1], width)), numpy.ones((x.shape[0], width))
matmul(x[:9, :9], right[:9])

def status(field):
    with open("/proc/self/status") as handle:
        return int(re.search(field + r":\\s+(\\d+)", handle.read()).group(1)) * 1024

growth = []
for product in (lambda: matmul(x, right), lambda: rmatmul(x, left.T)):
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as handle:
        handle.write("5")
    result = product()
    growth.append(status("VmHWM") - before - result.nbytes - left.nbytes)
    del result
print(json.dumps(growth))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["sparse", "tree", "dense"])
def test_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "large.h5"
    rows, columns, per_column = 20_000, 9_000, 1000
    with h5py.File(path, "w") as handle:
        if kind == "dense":
            handle.create_dataset("x", (rows, 3000), "f8", chunks=(500, 500), fillvalue=1)
        else:
            indices = numpy.tile(numpy.arange(per_column) * 20, columns)
            options = {"chunks": (100_000,), "compression": "gzip", "compression_opts": 1}
            handle.create_dataset("m/indices", data=indices.astype("i4"), **options)
            handle.create_dataset("m/data", data=numpy.ones(len(indices), "i4"), **options)
            handle["m/indptr"] = numpy.arange(columns + 1) * per_column
    # 64 MiB and a chunk for each of two threads, before and after it is decoded.
    allowance = (64 << 20) + 4 * (2 << 20)
    assert max(json.loads(run_python(MEMORY, path, kind))) < allowance


def test_principal_components() -> None:
    """The example, on a matrix of its own making."""
    script = Path(__file__).resolve().parents[1] / "examples" / "pca.py"
    done = subprocess.run([sys.executable, script, "--small"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "largest angle" in done.stdout
