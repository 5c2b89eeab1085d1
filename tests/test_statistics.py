"""Statistics as methods and through numpy: values, types, warnings and errors are numpy's."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest

from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
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
