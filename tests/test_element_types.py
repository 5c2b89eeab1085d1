"""Element types beyond plain numbers: complex numbers, strings, enumerations, bitfields, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from delayedarray import extract_dense_array

from filebackedarray import Hdf5CompressedSparseMatrixSeed, Hdf5DenseArray, Hdf5DenseArraySeed, _core

SHAPE = (7, 5)


def whole(seed: Hdf5DenseArraySeed) -> numpy.ndarray:
    return extract_dense_array(seed, tuple(range(extent) for extent in seed.shape))


def low_level(path: Path, name: str, datatype: h5py.h5t.TypeID, values: numpy.ndarray, **options: Any) -> None:
    """Write a dataset of a type that h5py's own interface does not make."""
    with h5py.File(path, "a") as handle:
        space = h5py.h5s.create_simple(values.shape)
        dataset = h5py.h5d.create(handle.id, name.encode(), datatype, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values, **options)


@pytest.mark.parametrize("dtype", ["<c8", ">c8", "<c16", ">c16"])
@pytest.mark.parametrize("options", [{}, {"chunks": (3, 2), "compression": "gzip", "shuffle": True}], ids=str)
@pytest.mark.parametrize("native_order", [True, False])
def test_complex(tmp_path: Path, dtype: str, options: dict[str, Any], native_order: bool) -> None:
    random = numpy.random.default_rng(1)
    values = (random.normal(size=SHAPE) + 1j * random.normal(size=SHAPE)).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=values, **options)
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x", native_order=native_order)
    assert seed.dtype == numpy.dtype(dtype)
    assert _core.read_path(tmp_path / "x.h5", b"x") == "direct"
    expected = values if native_order else values.T
    subset = ([1, 3, 4], range(0, 5, 2)) if native_order else (range(0, 5, 2), [1, 3, 4])
    numpy.testing.assert_array_equal(whole(seed), expected)
    numpy.testing.assert_array_equal(extract_dense_array(seed, subset), expected[numpy.ix_(*subset)])


def test_complex_of_another_width(tmp_path: Path) -> None:
    values = numpy.array([1 + 2j, numpy.nan - 1j])
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = values
        handle["real"] = values.real
    numpy.testing.assert_array_equal(whole(Hdf5DenseArraySeed(tmp_path / "x.h5", "x", "c8")), values.astype("c8"))
    numpy.testing.assert_array_equal(whole(Hdf5DenseArraySeed(tmp_path / "x.h5", "real", "c16")), values.real + 0j)


def test_complex_sparse_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["m/data"] = numpy.array([1j])
        handle["m/indices"] = numpy.array([0])
        handle["m/indptr"] = numpy.array([0, 1])
    with pytest.raises(TypeError, match="m/data"):
        Hdf5CompressedSparseMatrixSeed(tmp_path / "x.h5", "m", (1, 1), True)


@pytest.mark.parametrize("padding", ["NULLTERM", "NULLPAD", "SPACEPAD"])
@pytest.mark.parametrize("options", [{}, {"chunks": (2,), "compression": "gzip"}], ids=str)
def test_strings_of_fixed_length(tmp_path: Path, padding: str, options: dict[str, Any]) -> None:
    path = tmp_path / "x.h5"
    datatype = h5py.h5t.C_S1.copy()
    datatype.set_size(6)
    datatype.set_strpad(getattr(h5py.h5t, f"STR_{padding}"))
    values = numpy.array([b"ab c", b"", b"x", b"  y", b"12345"], "S6")
    with h5py.File(path, "w") as handle:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if options:
            plist.set_chunk(options["chunks"])
            plist.set_deflate(4)
        dataset = h5py.h5d.create(handle.id, b"x", datatype, h5py.h5s.create_simple(values.shape), plist)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
        expected = handle["x"][()]
    seed = Hdf5DenseArraySeed(path, "x")
    assert seed.dtype == numpy.dtype("S6")
    assert _core.read_path(path, b"x") == "direct"
    assert whole(seed).tolist() == expected.tolist() == values.tolist()
    assert extract_dense_array(seed, ([0, 3],)).tolist() == values[[0, 3]].tolist()


def test_strings_of_fixed_length_as_text(tmp_path: Path) -> None:
    values = [text.encode() for text in ("é", "ab", "日本")]
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=values, dtype=h5py.string_dtype("utf-8", 6))
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x", dtype="U4")
    assert seed.dtype == numpy.dtype("U4")
    assert whole(seed).tolist() == ["é", "ab", "日本"]


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = numpy.array([b"\xff\xfe"], "S2")
    assert whole(Hdf5DenseArraySeed(tmp_path / "x.h5", "x")).tolist() == [b"\xff\xfe"]
    with pytest.raises(UnicodeDecodeError):
        whole(Hdf5DenseArraySeed(tmp_path / "x.h5", "x", dtype="U2"))


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("options", [{}, {"chunks": (2, 3), "compression": "gzip"}], ids=str)
@pytest.mark.parametrize("native_order", [True, False])
def test_strings_of_variable_length(tmp_path: Path, encoding: str, options: dict[str, Any], native_order: bool) -> None:
    texts = ["", "a", "bc", "def" * 20, "x y"] if encoding == "ascii" else ["", "é", "日本語", "ab", "ß" * 30]
    values = numpy.array([texts[i % 5] for i in range(35)], object).reshape(SHAPE)
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=values, dtype=h5py.string_dtype(encoding), **options)
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x", native_order=native_order)
    expected = values.astype("U") if native_order else values.astype("U").T
    assert seed.dtype == expected.dtype
    assert _core.read_path(tmp_path / "x.h5", b"x").startswith("libhdf5")
    numpy.testing.assert_array_equal(whole(seed), expected)
    subset = ([1, 3, 4], range(0, 5, 2)) if native_order else (range(0, 5, 2), [1, 3, 4])
    found = extract_dense_array(seed, subset)
    assert found.dtype == seed.dtype
    numpy.testing.assert_array_equal(found, expected[numpy.ix_(*subset)])
    backwards = (slice(None, None, -1), [2, 2, 0])
    numpy.testing.assert_array_equal(extract_dense_array(seed, backwards), expected[::-1][:, [2, 2, 0]])
    assert f"type '{expected.dtype.name}'" in repr(Hdf5DenseArray(seed, None))


def test_strings_of_variable_length_to_a_width(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = ["abc", "defgh"]
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x", dtype="U4")
    assert whole(seed).tolist() == ["abc", "defg"]
    assert whole(Hdf5DenseArraySeed(tmp_path / "x.h5", "x", dtype="O")).tolist() == ["abc", "defgh"]


def test_never_written_strings(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", (3,), h5py.string_dtype(), chunks=(2,))
    assert whole(Hdf5DenseArraySeed(tmp_path / "x.h5", "x")).tolist() == ["", "", ""]


def test_longer_strings_than_before(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = ["a", "b"]
    seed = Hdf5DenseArraySeed(path, "x")
    assert seed.dtype == numpy.dtype("U1")
    with h5py.File(path, "w") as handle:
        handle["x"] = ["abc", "b"]
    with pytest.raises(ValueError, match="changed"):
        whole(seed)


def test_enumerations_are_their_integers(tmp_path: Path) -> None:
    values = numpy.array([0, 7, -3], "<i2")
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=values, dtype=h5py.enum_dtype({"A": 0, "B": 7, "C": -3}, basetype="<i2"))
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    assert seed.dtype == numpy.dtype("<i2")
    numpy.testing.assert_array_equal(whole(seed), values)


@pytest.mark.parametrize(("stored", "memory"), [("STD_B8LE", "u1"), ("STD_B16BE", ">u2"), ("STD_B64LE", "<u8")])
def test_bitfields_are_unsigned_integers(tmp_path: Path, stored: str, memory: str) -> None:
    datatype = getattr(h5py.h5t, stored)
    values = numpy.array([0, 1, 200], memory)
    low_level(tmp_path / "x.h5", "x", datatype, values, mtype=datatype)
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    assert seed.dtype == numpy.dtype(memory)
    numpy.testing.assert_array_equal(whole(seed), values)


@pytest.mark.parametrize(("size", "precision", "offset"), [(2, 12, 0), (4, 20, 4), (3, 24, 0), (8, 40, 8)])
@pytest.mark.parametrize("signed", [True, False])
def test_odd_precisions_through_libhdf5(tmp_path: Path, size: int, precision: int, offset: int, signed: bool) -> None:
    datatype = (h5py.h5t.STD_I64LE if signed else h5py.h5t.STD_U64LE).copy()
    datatype.set_precision(precision)
    datatype.set_offset(offset)
    datatype.set_size(size)
    low = -(2 ** (precision - 1)) if signed else 0
    high = 2 ** (precision - 1) - 1 if signed else 2**precision - 1
    values = numpy.array([low, -1 if signed else 1, 0, 5, high], "i8" if signed else "u8")
    low_level(tmp_path / "x.h5", "x", datatype, values)
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    assert _core.read_path(tmp_path / "x.h5", b"x").startswith("libhdf5")
    assert seed.dtype.kind == ("i" if signed else "u")
    assert whole(seed).tolist() == values.tolist()


REFUSED = {
    "compound": (numpy.dtype([("alpha", "i4"), ("beta", "f8")]), "alpha, beta"),
    "almost-complex": (numpy.dtype([("r", "f4"), ("i", "f8")]), "r, i"),
    "array": (numpy.dtype(("i4", (3,))), "array"),
    "opaque": (numpy.dtype("V7"), "opaque"),
    "reference": (h5py.ref_dtype, "reference"),
    "long-double": (numpy.dtype("longdouble"), "float"),
    "ragged": (h5py.vlen_dtype("i4"), "variable length"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_types_without_a_dtype_are_named(tmp_path: Path, case: str) -> None:
    dtype, word = REFUSED[case]
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", (2,), dtype)
    with pytest.raises(TypeError, match=word) as caught:
        Hdf5DenseArraySeed(path, "x")
    assert str(path) in str(caught.value)
