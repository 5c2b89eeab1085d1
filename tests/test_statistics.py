"""Statistics as methods and through numpy: values, types, warnings and errors are numpy's."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from delayedarray import DelayedArray, is_sparse, wrap
from numpy.exceptions import AxisError

from filebackedarray import (
    FileBackedArray,
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
    get_num_threads,
    set_num_threads,
)
from helpers import random_compressed
from strategies import NUMBERS

STATISTICS = [
    *("sum", "mean", "var", "std", "min", "max", "any", "all", "count_nonzero", "ptp"),
    *("nansum", "nanmean", "nanvar", "nanstd", "nanmin", "nanmax"),
]
WITH_DTYPE = ["sum", "mean", "var", "std", "nansum", "nanmean", "nanvar", "nanstd"]

#: Of the type of the result: float32 statistics are computed in float64 here, and numpy's are not.
TOLERANCE = {"float16": 4e-3, "float32": 2e-6, "complex64": 2e-6}


def of_numpy(statistic: str, data: numpy.ndarray, **arguments: Any) -> Any:
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return getattr(numpy, statistic)(data, **arguments)


def same(got: Any, want: Any, tolerance: float | None = None) -> None:
    """Of the same type, shape and dtype; the same values, NaN and infinities included."""
    if isinstance(want, int):  # numpy.count_nonzero
        want = numpy.int64(want)
    assert type(got) is type(want)
    assert got.dtype == want.dtype
    assert got.dtype.isnative
    assert got.shape == want.shape
    if tolerance is None:
        tolerance = TOLERANCE.get(got.dtype.name, 1e-12)
    with numpy.errstate(all="ignore"):
        numpy.testing.assert_allclose(got, want, rtol=tolerance, atol=0)


def write_dense(path: Path, data: numpy.ndarray, native: bool = True, **options: Any) -> Hdf5DenseArray:
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data if native else data.T, **options)
    return Hdf5DenseArray(path, "x", native_order=native)


def dense_values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> numpy.ndarray:
    """Small numbers with zeros, of which statistics overflow in no type."""
    rng = numpy.random.default_rng(seed)
    kind = numpy.dtype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.4
    values = rng.integers(0, 5, shape)
    if kind.kind in "fc":
        values = values * rng.random(shape)
    if kind.kind == "c":
        values = values + 1j * rng.random(shape)
    return values.astype(kind)


ALL_TYPES = ["?", *NUMBERS, ">i4", ">f8", ">u2", "c8", "c16"]
AXES_3D = [None, 0, 1, 2, -1, (0, 1), (0, 2), (2, 0), (-1, -2), (0, 1, 2), ()]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dtype", ALL_TYPES)
def test_dense(tmp_path: Path, dtype: str, native: bool) -> None:
    data = dense_values(dtype, (7, 12, 9), 1)
    array = write_dense(tmp_path / "x.h5", data, native, chunks=(3, 4, 5), compression="gzip")
    for statistic in STATISTICS:
        if statistic == "ptp" and dtype == "?":
            continue
        for number, axis in enumerate(AXES_3D):
            keepdims = bool((number + native) % 2)
            want = of_numpy(statistic, data, axis=axis, keepdims=keepdims)
            same(of_numpy(statistic, array, axis=axis, keepdims=keepdims), want)


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("dtype", ["?", *NUMBERS, ">i4", ">f4"])
def test_sparse(tmp_path: Path, dtype: str, by_column: bool) -> None:
    matrix = random_compressed((40, 30), by_column, seed=3, dtype=dtype)
    matrix.data[::7] = 0  # Zeros that are stored.
    if numpy.dtype(dtype).kind in "if":
        matrix.data[::3] *= -1
    matrix.write(tmp_path / "x.h5", chunks=(50,), compression="gzip")
    array, data = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", (40, 30), by_column), matrix.dense()
    for statistic in STATISTICS:
        if statistic == "ptp" and dtype == "?":
            continue
        for number, axis in enumerate((None, 0, 1, -1, (0, 1), ())):
            keepdims = bool((number + by_column) % 2)
            want = of_numpy(statistic, data, axis=axis, keepdims=keepdims)
            got = of_numpy(statistic, array, axis=axis, keepdims=keepdims)
            if want.dtype == numpy.float16:
                assert got.dtype == want.dtype
                wide = of_numpy(statistic, data.astype("f8"), axis=axis, keepdims=keepdims)
                numpy.testing.assert_allclose(got, wide.astype("f2"), rtol=2e-3)
            else:
                same(got, want)


@pytest.mark.parametrize("source", ["?", "i1", "u8", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("statistic", WITH_DTYPE)
def test_dtype_argument(tmp_path: Path, statistic: str, source: str) -> None:
    data = dense_values(source, (20, 6), 2)
    array = write_dense(tmp_path / "x.h5", data, chunks=(6, 6))
    for dtype in ("?", "i1", "u2", "i8", "u8", "f2", "f4", "f8", "c16"):
        kind = numpy.dtype(dtype).kind
        if statistic.endswith(("var", "std")) and kind not in "fc":
            with pytest.raises(TypeError, match=statistic):
                getattr(array, statistic)(axis=0, dtype=dtype)
            continue
        if statistic == "nanmean" and kind not in "fc" and numpy.dtype(source).kind == "f":
            with pytest.raises(TypeError, match="inexact"):
                array.nanmean(dtype=dtype)
            continue
        for axis in (None, 0, 1):
            want = of_numpy(statistic, data, axis=axis, dtype=dtype)
            got = of_numpy(statistic, array, axis=axis, dtype=numpy.dtype(dtype))
            # numpy adds up in the type itself, which is less accurate.
            same(got, want, 1e-2 if "f2" in (dtype, source) else 1e-5)


# NaN, infinities, nothing, overflow.


@pytest.fixture
def floats(tmp_path: Path) -> tuple[Hdf5DenseArray, numpy.ndarray]:
    data = numpy.random.default_rng(8).normal(size=(12, 9))
    data[3, :] = numpy.nan
    data[:, 2] = numpy.nan
    data[5, 5], data[6, 5], data[7, 6] = numpy.inf, -numpy.inf, numpy.inf
    return write_dense(tmp_path / "nan.h5", data, chunks=(5, 4)), data


@pytest.mark.parametrize("buffer_size", [None, 80])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_nan_and_infinity(
    floats: tuple[Hdf5DenseArray, numpy.ndarray], statistic: str, buffer_size: int | None
) -> None:
    array, data = floats
    for axis in (None, 0, 1):
        want = of_numpy(statistic, data, axis=axis)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same(getattr(array, statistic)(axis=axis, buffer_size=buffer_size), want)


def test_nan_in_sparse_matrices(tmp_path: Path) -> None:
    for by_column in (True, False):
        matrix = random_compressed((30, 20), by_column, seed=9, density=0.5)
        matrix.data[::9], matrix.data[1::20] = numpy.nan, numpy.inf
        path = tmp_path / f"{by_column}.h5"
        matrix.write(path)
        array, data = Hdf5CompressedSparseMatrix(path, "m", (30, 20), by_column), matrix.dense()
        for statistic in STATISTICS:
            for axis in (None, 0, 1):
                same(of_numpy(statistic, array, axis=axis), of_numpy(statistic, data, axis=axis))


WARNINGS = [
    ("mean", {"axis": 0}, (0, 3), "Mean of empty slice"),
    ("mean", {}, (0, 3), "Mean of empty slice"),
    ("var", {"axis": 1, "ddof": 3}, (2, 3), "Degrees of freedom <= 0 for slice"),
    ("std", {"ddof": 7}, (2, 3), "Degrees of freedom <= 0 for slice"),
    ("var", {"axis": 0}, (0, 3), "Degrees of freedom <= 0 for slice"),
    ("nanmin", {"axis": 0}, (2, 3), "All-NaN"),
    ("nanmax", {}, (2, 3), "All-NaN"),
    ("nanmean", {"axis": 1}, (2, 3), "Mean of empty slice"),
    ("nanvar", {"axis": 1}, (2, 3), "Degrees of freedom <= 0 for slice"),
]


@pytest.mark.parametrize(("statistic", "arguments", "shape", "message"), WARNINGS)
def test_warnings(tmp_path: Path, statistic: str, arguments: dict, shape: tuple[int, ...], message: str) -> None:
    data = numpy.full(shape, numpy.nan if statistic.startswith("nan") else 1.0)
    array = write_dense(tmp_path / "x.h5", data)
    with pytest.warns(RuntimeWarning, match=message):
        getattr(array, statistic)(**arguments)
    same(of_numpy(statistic, array, **arguments), of_numpy(statistic, data, **arguments))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (0,), (2, 0, 3), ()])
def test_nothing(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = numpy.ones(shape)
    array = write_dense(tmp_path / "x.h5", data)
    for statistic in STATISTICS:
        for axis in (None, *range(len(shape)), ()):
            try:
                want = of_numpy(statistic, data, axis=axis)
            except ValueError as error:
                with pytest.raises(ValueError, match=f"^{re.escape(str(error))}$"):
                    getattr(array, statistic)(axis=axis)
            else:
                same(of_numpy(statistic, array, axis=axis), want)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "i8", "u8"])
def test_integers_wrap_around(tmp_path: Path, dtype: str) -> None:
    limits = numpy.iinfo(dtype)
    data = numpy.random.default_rng(10).integers(limits.min, limits.max, (40, 30), dtype=dtype, endpoint=True)
    data[0, :] = limits.max
    data[1, :] = limits.min
    array = write_dense(tmp_path / "x.h5", data, chunks=(16, 16))
    for axis in (None, 0, 1):
        for name in ("sum", "min", "max", "ptp", "any", "all", "count_nonzero"):
            same(getattr(array, name)(axis=axis, buffer_size=1000), of_numpy(name, data, axis=axis))
        same(array.sum(axis=axis, dtype="i2"), data.sum(axis=axis, dtype="i2"))
        exact = data.astype(object).mean(axis=axis)
        numpy.testing.assert_allclose(array.mean(axis=axis), numpy.asarray(exact, dtype="f8"), rtol=1e-14)


def test_sums_are_more_accurate_than_numpys(tmp_path: Path) -> None:
    # Of each column, one huge value and many small ones that numpy's naive sum along rows loses.
    data = numpy.full((4000, 3), 1e-3, "f8")
    data[0, :] = 1e13
    data[-1, :] = -1e13
    array = write_dense(tmp_path / "x.h5", data, chunks=(100, 3))
    lost = numpy.abs(data.sum(axis=0) - 3.998).min()
    assert numpy.abs(array.sum(axis=0, buffer_size=4096) - 3.998).max() < 0.2 < lost
    single = write_dense(tmp_path / "y.h5", numpy.full((30_000, 2), 0.1, "f4"), chunks=(1000, 2))
    assert (single.sum(axis=0) == numpy.float32(30_000 * float(numpy.float32(0.1)))).all()


@pytest.mark.parametrize("offset", [0, 1e3, 1e6, 1e8])
def test_variance_is_stable(tmp_path: Path, offset: float) -> None:
    data = numpy.random.default_rng(11).normal(size=(1000, 40)) + offset
    array = write_dense(tmp_path / "x.h5", data, chunks=(50, 40))
    for axis in (None, 0, 1):
        want = data.astype(numpy.longdouble).var(axis=axis, ddof=1)
        got = array.var(axis=axis, ddof=1, buffer_size=8 * 50 * 40)
        numpy.testing.assert_allclose(got, want.astype("f8"), rtol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "csc", "csr", "tree", "sparse-tree"])
def test_the_same_bits_for_any_number_of_threads(tmp_path: Path, kind: str) -> None:
    rng = numpy.random.default_rng(12)
    array: Any
    if kind in ("dense", "tree"):
        array = write_dense(tmp_path / "x.h5", rng.normal(size=(300, 200)), chunks=(32, 64))
    else:
        matrix = random_compressed((300, 200), kind != "csr", seed=13)
        matrix.data[...] = rng.normal(size=len(matrix.data))
        matrix.write(tmp_path / "x.h5")
        array = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", (300, 200), kind != "csr")
    if kind.endswith("tree"):
        array = numpy.log1p(abs(array / rng.random(200)))[::-1, :]
        assert is_sparse(array) == (kind == "sparse-tree")
    before = get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5):
            set_num_threads(threads)
            found.append(
                [
                    numpy.asarray(getattr(array, name)(axis=axis, buffer_size=20_000)).tobytes()
                    for name in ("sum", "mean", "var", "max")
                    for axis in (None, 0, 1)
                ]
            )
        assert found[0] == found[1] == found[2]
    finally:
        set_num_threads(before)


# The ways to them.


@pytest.fixture(params=["dense", "sparse"])
def array(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, numpy.ndarray]:
    matrix = random_compressed((20, 10), True, seed=14)
    if request.param == "dense":
        return write_dense(tmp_path / "x.h5", matrix.dense(), chunks=(6, 6)), matrix.dense()
    matrix.write(tmp_path / "x.h5")
    return Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", (20, 10), True), matrix.dense()


def test_delayedarrays_own_calls_of_a_seed(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    plain = DelayedArray(ours.seed)
    for axis in (None, 0, 1):
        for name in ("sum", "mean", "var"):
            same(getattr(plain, name)(axis=axis), of_numpy(name, data, axis=axis))
        for name in ("any", "all"):
            # It converts to float64 whatever it is given.
            same(getattr(plain, name)(axis=axis), getattr(data, name)(axis=axis).astype("f8"))
            same(getattr(plain, name)(axis=axis, dtype=bool), getattr(data, name)(axis=axis))
    same(plain.var(axis=0, ddof=1), data.var(axis=0, ddof=1))
    same(numpy.sum(plain, axis=0, dtype="f4"), data.sum(axis=0, dtype="f4"))
    same(ours.seed.max(axis=1), data.max(axis=1))


def test_arguments_by_position(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    same(numpy.sum(ours, 0), data.sum(0))
    same(numpy.sum(ours, 0, "f4"), data.sum(0, "f4"))
    same(numpy.var(ours, 0, None, None, 1), data.var(0, ddof=1))
    same(numpy.max(ours, 1), data.max(1))
    same(numpy.amin(ours, -1), data.min(-1))
    same(numpy.any(ours, 0, None, True), data.any(0, keepdims=True))
    same(
        numpy.std(ours, correction=1) if numpy.lib.NumpyVersion(numpy.__version__) >= "2.0.0" else ours.std(ddof=1),
        data.std(ddof=1),
    )
    assert numpy.shape(ours) == (20, 10)
    numpy.testing.assert_array_equal(
        numpy.array(numpy.concatenate((ours, ours), 1)), numpy.concatenate((data, data), 1)
    )
    numpy.testing.assert_array_equal(
        numpy.array(numpy.concatenate((ours, ours), axis=-1)), numpy.concatenate((data, data), 1)
    )
    numpy.testing.assert_array_equal(numpy.array(numpy.round(ours / 7, 1)), numpy.round(data / 7, 1))
    numpy.testing.assert_array_equal(numpy.array(numpy.transpose(ours, (0, 1))), data)
    out = numpy.zeros(())
    assert numpy.sum(ours, out=out) is out
    same(out[()], data.sum())
    for call in (
        lambda: numpy.sum(ours, where=data > 0),
        lambda: numpy.max(ours, initial=3),
        lambda: numpy.median(ours),
        lambda: numpy.add.reduce(ours),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_operations_stay_delayed_arrays(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    plain = DelayedArray(data)
    for result, want in [
        (ours + 1, data + 1),
        (1 - ours, 1 - data),
        (plain + ours, data + data),
        (ours + plain, data + data),
        (plain - ours, data - data),
        (plain > ours, data > data),
        (data * ours, data * data),
        (numpy.float64(3) * ours, 3 * data),
        (-ours, -data),
        (abs(ours), data),
        (ours.T, data.T),
        (ours.T.T, data),
        (ours[2:5, :], data[2:5]),
        (numpy.log1p(ours), numpy.log1p(data)),
        (numpy.concatenate((plain, ours)), numpy.concatenate((data, data))),
        (numpy.round(ours), data),
        (numpy.transpose(ours), data.T),
        (ours.astype(numpy.dtype("f4")), data.astype("f4")),
    ]:
        assert type(result) is FileBackedArray
        assert isinstance(result, DelayedArray)
        numpy.testing.assert_array_equal(numpy.array(result), want)
        assert repr(result) == repr(DelayedArray(result.seed))
        assert "> sparse DelayedArray object" in repr(result) or "> DelayedArray object" in repr(result)
        for again in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
            assert type(again) is FileBackedArray
            same(again.sum(axis=0), want.sum(axis=0))
    assert type(ours).__name__ in repr(ours)
    assert wrap(ours) is ours
    assert isinstance(ours[2, :], numpy.ndarray)
    with pytest.raises(TypeError, match="unhashable"):
        hash(ours)


def test_masked_arrays_are_those_of_numpy(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    mask = numpy.zeros((20, 10), bool)
    mask[3, 4] = True
    tree = ours + numpy.ma.MaskedArray(data, mask)
    want = numpy.ma.MaskedArray(data * 2, mask)
    numpy.testing.assert_allclose(tree.sum(axis=0), want.sum(axis=0))
    numpy.testing.assert_allclose(tree.var(axis=1, ddof=1), want.var(axis=1, ddof=1))
    assert tree.max() == want.max()


# Errors.


def test_axes_that_are_not_there(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    for tree in (ours, ours + 1):
        for axis in (2, -3, (0, 2)):
            with pytest.raises(AxisError) as theirs:
                data.sum(axis=axis)
            with pytest.raises(AxisError) as caught:
                tree.sum(axis=axis)
            assert str(caught.value) == str(theirs.value)
        with pytest.raises(ValueError, match="duplicate value in 'axis'"):
            numpy.mean(tree, axis=(0, -2))
        with pytest.raises(TypeError):
            tree.sum(axis=1.5)
        with pytest.raises(TypeError, match="progress"):
            tree.sum(progress="yes")


def test_strings_have_no_statistics(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["fixed"] = numpy.array([b"a", b"b"])
        handle["variable"] = ["a", "b"]
    for name in ("fixed", "variable"):
        strings = Hdf5DenseArray(tmp_path / "x.h5", name)
        for statistic in STATISTICS:
            with pytest.raises(TypeError, match=statistic):
                getattr(strings, statistic)()
        with pytest.raises(TypeError):
            numpy.sum(strings, axis=0)


def test_booleans_have_no_range(tmp_path: Path) -> None:
    array = write_dense(tmp_path / "x.h5", numpy.ones((3, 2), bool))
    with pytest.raises(TypeError, match="boolean subtract"):
        array.ptp()


def test_untrusted_files(tmp_path: Path) -> None:
    data = dense_values("i4", (20, 10))
    write_dense(tmp_path / "x.h5", data, chunks=(7, 7))
    array = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True, untrusted=True)
    same(array.var(axis=0), data.var(axis=0))
    matrix = random_compressed((20, 10), False, seed=15)
    matrix.write(tmp_path / "m.h5")
    sparse = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", (20, 10), False, untrusted=True)
    same(sparse.sum(axis=0), matrix.dense().sum(axis=0))
    same(numpy.log1p(sparse).max(axis=1), numpy.log1p(matrix.dense()).max(axis=1))


def test_seeds_with_another_dtype(tmp_path: Path) -> None:
    data = numpy.random.default_rng(16).normal(size=(20, 10)) * 100
    write_dense(tmp_path / "x.h5", data, chunks=(7, 7))
    for dtype in ("i2", ">f4", "c8", "f2"):
        with numpy.errstate(all="ignore"):
            want = data.astype(dtype)
        array = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True, dtype=numpy.dtype(dtype))
        same(array.sum(axis=0), want.sum(axis=0), 0.1 if dtype == "f2" else 1e-5)
        same(array.max(axis=0), want.max(axis=0))


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("exponent", [59, 60, 61, 62])
@pytest.mark.parametrize("untrusted", [False, True])
def test_more_cells_than_an_integer_counts(tmp_path: Path, untrusted: bool, exponent: int, by_column: bool) -> None:
    """A file may state any shape for a sparse matrix: statistics are those of so many zeros, however many there are."""
    extent = 2**exponent
    with h5py.File(tmp_path / "m.h5", "w") as handle:
        handle["m/data"] = numpy.arange(1.0, 5.0)
        handle["m/indices"] = numpy.arange(4)
        handle["m/indptr"] = numpy.array([0, 1, 2, 3, 4, 4, 4, 4, 4])
    shape = (extent, 8) if by_column else (8, extent)
    array = Hdf5CompressedSparseMatrix(tmp_path / "m.h5", "m", shape, by_column, untrusted=untrusted)
    for x, scale in ((array, 1), (array * 2.0, 2), (array.T, 1)):
        mean = Fraction(10 * scale, 8 * extent)
        var = Fraction(30 * scale**2, 8 * extent) - mean**2
        for name, want in {"sum": 10 * scale, "mean": mean, "var": var, "max": 4 * scale, "min": 0}.items():
            for prefix in ("", "nan"):
                got = getattr(numpy, prefix + name)(x)
                assert got == pytest.approx(float(want), rel=1e-12, abs=0), (prefix + name, x)
        assert numpy.std(x) == pytest.approx(float(var) ** 0.5, rel=1e-12, abs=0)
        assert numpy.ptp(x) == 4 * scale
        assert (numpy.count_nonzero(x), numpy.any(x), numpy.all(x)) == (4, True, False)
        short = 0 if x.shape[0] > 8 else 1
        means = numpy.array([1, 2, 3, 4, 0, 0, 0, 0]) * float(scale) / extent
        same(x.mean(axis=short), means, 1e-12)
