"""Conversions that C leaves undefined: numpy's answer on x86-64 is the one to give."""

from __future__ import annotations

import platform
from pathlib import Path

import h5py
import numpy
import pytest
from delayedarray import extract_dense_array, to_dense_array

from filebackedarray import Hdf5CompressedSparseMatrixSeed, Hdf5DenseArraySeed
from helpers import assert_identical, convert, everything

on_x86_64 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="numpy itself gives other numbers on other processors",
)

ODD = [
    numpy.nan,
    numpy.inf,
    -numpy.inf,
    -0.0,
    0.9,
    -0.9,
    -1.5,
    127.9,
    128.0,
    255.9,
    256.0,
    -129.0,
    300.7,
    -300.2,
    32768.0,
    65535.9,
    65536.0,
    70000.9,
    -70000.5,
    2147483648.0,
    -2147483649.0,
    3e9,
    -3e9,
    1e10,
    -1e10,
    9.2e18,
    9.3e18,
    1.8e19,
    -9.3e18,
    1e19,
    -1e19,
    2e19,
    1e30,
    -1e30,
]


@on_x86_64
@pytest.mark.parametrize("target", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
@pytest.mark.parametrize("source", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("repeat", [1, 37])
def test_floats_that_no_integer_equals(tmp_path: Path, source: str, target: str, repeat: int) -> None:
    with numpy.errstate(over="ignore"):
        values = numpy.array(ODD * repeat).astype(source)
    if target == "u4" and source[1:] != "f2":
        # Here numpy disagrees with itself: its vector loop and its scalar tail differ.
        wide = values.astype("f8")
        values = values[(wide > -(2.0**31)) & (wide < 2.0**32)]
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=(10,), compression="gzip")
    seed = Hdf5DenseArraySeed(path, "x", dtype=numpy.dtype(target), native_order=True)
    assert_identical(to_dense_array(seed), convert(values, target))
    chosen = numpy.arange(0, len(values), 3)
    assert_identical(extract_dense_array(seed, (chosen,)), convert(values[chosen], target))


@pytest.mark.parametrize("target", ["i1", "i2", "i4", "u1", "u2", "u4", "f2", "f4", "?"])
@pytest.mark.parametrize("source", ["<i8", ">i8", "<u8", ">u8"])
def test_integers_wrap_around(tmp_path: Path, source: str, target: str) -> None:
    limits = numpy.iinfo(source)
    numbers = [0, 1, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**53 + 1, limits.max, limits.min]
    values = numpy.array(numbers, dtype=source)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = values
    seed = Hdf5DenseArraySeed(path, "x", dtype=numpy.dtype(target), native_order=True)
    assert_identical(to_dense_array(seed), convert(values, target))


@pytest.mark.parametrize("source", ["<f4", "<f8", ">f8"])
def test_rounding_to_half(tmp_path: Path, source: str) -> None:
    # Ties to even, subnormals, the last finite number and what rounds past it, and no double
    # rounding from float64 by way of float32.
    halves = numpy.arange(0x7C00, dtype="u2").view("f2").astype("f8")
    middles = (halves[1:] + halves[:-1]) / 2
    values = numpy.concatenate(
        [
            middles,
            numpy.nextafter(middles, numpy.inf),
            numpy.nextafter(middles, 0),
            [65504.0, 65519.999, 65520.0, 1e-8, 2.0**-25, 2.0**-24, numpy.nan, numpy.inf, -numpy.inf],
        ]
    )
    values = numpy.concatenate([values, -values]).astype(source)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = values
    seed = Hdf5DenseArraySeed(path, "x", dtype=numpy.dtype("f2"), native_order=True)
    assert_identical(to_dense_array(seed), convert(values, "f2"))


def test_every_half_widens_exactly(tmp_path: Path) -> None:
    values = numpy.arange(2**16, dtype="u2").view("f2")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = values
    for target in ("f4", "f8"):
        seed = Hdf5DenseArraySeed(path, "x", dtype=numpy.dtype(target), native_order=True)
        assert_identical(to_dense_array(seed), convert(values, target))


@pytest.mark.parametrize("target", ["i1", "u8", "f2", "f8", "?"])
def test_booleans_become_zeros_and_ones(tmp_path: Path, target: str) -> None:
    values = numpy.array([True, False, False, True])
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = values
    seed = Hdf5DenseArraySeed(path, "x", dtype=numpy.dtype(target), native_order=True)
    assert_identical(to_dense_array(seed), values.astype(target))


@pytest.mark.parametrize("target", ["c16", "g", "O", "S5", "M8[s]"])
def test_types_that_hdf5_datasets_here_do_not_have(tmp_path: Path, target: str) -> None:
    # hdf5array leaves these to numpy's astype.
    values = numpy.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = values
    for native_order, want in ((True, values), (False, values.T)):
        seed = Hdf5DenseArraySeed(path, "x", dtype=target, native_order=native_order)
        got = to_dense_array(seed)
        assert got.dtype == numpy.dtype(target)
        numpy.testing.assert_array_equal(got, want.astype(target))


@pytest.mark.parametrize("target", ["f8", "i4", "?", ">f4"])
def test_sparse_values_are_converted_alike(tmp_path: Path, target: str) -> None:
    path = tmp_path / "x.h5"
    values = numpy.array([0.4, -1.5, 3.0, 1e6, 0.0], dtype="f4")
    with h5py.File(path, "w") as handle:
        handle["m/data"] = values
        handle["m/indices"] = numpy.arange(5)
        handle["m/indptr"] = numpy.array([0, 5])
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", (5, 1), True, dtype=numpy.dtype(target))
    got = extract_dense_array(seed, everything((5, 1)))
    assert_identical(got[:, 0], convert(values, target))
