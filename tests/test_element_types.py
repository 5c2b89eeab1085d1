"""Element types beyond plain numbers: complex numbers, strings, enumerations, bitfields, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import extract_dense_array, to_dense_array

from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArray,
    Hdf5DenseArraySeed,
    _core,
)
from helpers import assert_direct, assert_identical

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
    assert _core.read_path(tmp_path / "x.h5", b"x") == "direct"
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


def test_strings_of_other_ways(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("filled", (3,), h5py.string_dtype(), chunks=(2,), fillvalue=b"none")[1] = "one"
        handle["source"] = ["a", "bc"]
        layout = h5py.VirtualLayout((2,), h5py.string_dtype())
        layout[:] = h5py.VirtualSource(handle["source"])
        handle.create_virtual_dataset("virtual", layout)
    for name, way, expected in [("filled", "libhdf5", ["none", "one", "none"]), ("virtual", "virtual", ["a", "bc"])]:
        assert _core.read_path(path, name.encode()).startswith(way)
        assert whole(Hdf5DenseArraySeed(path, name)).tolist() == expected


def test_strings_behind_a_user_block(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=1024) as handle:
        handle["x"] = ["abc", "de"]
    assert whole(Hdf5DenseArraySeed(tmp_path / "x.h5", "x")).tolist() == ["abc", "de"]


def test_strings_of_a_damaged_heap(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = ["abc", "de"]
    content = path.read_bytes()
    assert content.count(b"GCOL") == 1
    path.write_bytes(content.replace(b"GCOL", b"GCOX"))
    with pytest.raises(OSError, match="heap"):
        whole(Hdf5DenseArraySeed(path, "x", dtype="U3"))


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


def _packed(size: int, precision: int, offset: int, signed: bool, order: int) -> h5py.h5t.TypeIntegerID:
    kind = {(True, 0): "STD_I64LE", (True, 1): "STD_I64BE", (False, 0): "STD_U64LE", (False, 1): "STD_U64BE"}
    kind = getattr(h5py.h5t, kind[signed, order]).copy()
    kind.set_precision(precision)
    kind.set_offset(offset)
    kind.set_size(size)
    return kind


@pytest.mark.parametrize("order", [h5py.h5t.ORDER_LE, h5py.h5t.ORDER_BE], ids=["little", "big"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("size", range(1, 9))
def test_integers_of_every_precision(tmp_path: Path, size: int, signed: bool, order: int) -> None:
    """Whatever bits stand around them: the values are those of libhdf5, of one chunk never written its fill value."""
    path, random = tmp_path / "x.h5", numpy.random.default_rng(size)
    bits, wide = size * 8, numpy.dtype("<i8" if signed else "<u8")
    offsets = {0, 1, 3, bits // 2, bits - 1}
    cases = [(precision, offset) for offset in sorted(offsets) for precision in range(1, bits - offset + 1)]
    # libhdf5 takes more unused bits than these for damage.
    cases = [(precision, offset) for precision, offset in cases if size == 1 or 2 * (precision + offset) >= bits]
    if size > 2:
        cases = sorted({*cases[::7], (bits, 0), (bits // 2 + 1, 0), (bits - 1, 1)})
    want = {}
    with h5py.File(path, "w") as handle:
        for precision, offset in cases:
            kind = _packed(size, precision, offset, signed, order)
            for layout in ("contiguous", "chunked", "compact"):
                name = f"{precision}-{offset}-{layout}"
                dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                # The fill value of a chunk that is never written, or of a contiguous dataset.
                dcpl.set_fill_value(numpy.array(-1 if signed else 1, wide))
                if layout == "chunked":
                    dcpl.set_chunk((16,))
                    dcpl.set_deflate(1)
                elif layout == "compact":
                    dcpl.set_layout(h5py.h5d.COMPACT)
                space = h5py.h5s.create_simple((40,))
                dataset = h5py.h5d.create(handle.id, name.encode(), kind, space, dcpl)
                part = h5py.h5s.create_simple((40,))
                part.select_hyperslab((0,), (16 if layout == "chunked" else 40,))
                # The bytes as they are, padding and all: nothing is converted between equal types.
                dataset.write(part, part, random.integers(0, 256, (40, size), "u1"), kind)
                # In the order of the file: to the other one, libhdf5 only swaps the bytes of some.
                want[name] = numpy.empty(40, wide.newbyteorder("<" if order == h5py.h5t.ORDER_LE else ">"))
                dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, want[name])
    for name, values in want.items():
        x = Hdf5DenseArraySeed(path, name)
        assert_direct(path, name)
        assert x.dtype.kind == wide.kind, name
        assert x.dtype.itemsize == 1 << (size - 1).bit_length(), name
        numpy.testing.assert_array_equal(whole(x), values, name)
        numpy.testing.assert_array_equal(extract_dense_array(x, (range(3, 40, 5),)), values[3::5], name)


def test_packed_integers_in_sparse_matrices_and_sums(tmp_path: Path) -> None:
    path, random = tmp_path / "x.h5", numpy.random.default_rng(1)
    dense = scipy.sparse.random(60, 40, 0.2, "csc", rng=2, data_rvs=lambda n: random.integers(-2000, 2000, n))
    members = {"data": dense.data.astype("i8"), "indices": dense.indices, "indptr": dense.indptr}
    with h5py.File(path, "w") as handle:
        handle.create_group("m")
        for number, (name, values) in enumerate(members.items()):
            kind = _packed((2, 4, 8)[number], (13, 20, 40)[number], number, name == "data", number % 2)
            dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            dcpl.set_chunk((30,))
            dcpl.set_shuffle()
            dcpl.set_deflate(1)
            space = h5py.h5s.create_simple(values.shape)
            dataset = h5py.h5d.create(handle["m"].id, name.encode(), kind, space, dcpl)
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values.astype("i8"))
        values = dense.toarray()
        for name, chunk in (("chunked", (7, 9)), ("contiguous", None)):
            dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            if chunk is not None:
                dcpl.set_chunk(chunk)
            space = h5py.h5s.create_simple(values.shape)
            kind = _packed(2, 12, 4, True, h5py.h5t.ORDER_BE)
            h5py.h5d.create(handle.id, name.encode(), kind, space, dcpl).write(
                h5py.h5s.ALL, h5py.h5s.ALL, numpy.ascontiguousarray(values, "i8")
            )
    matrix = Hdf5CompressedSparseMatrix(path, "m", dense.shape, True)
    for array in (matrix, *(Hdf5DenseArray(path, name, native_order=True) for name in ("chunked", "contiguous"))):
        assert array.dtype == numpy.dtype("i2")
        numpy.testing.assert_array_equal(to_dense_array(array), values)
        numpy.testing.assert_array_equal(to_dense_array(array[5:50:9, [1, 2, 30]]), values[5:50:9, [1, 2, 30]])
        numpy.testing.assert_array_equal(array.sum(axis=0), values.sum(axis=0))
        numpy.testing.assert_allclose(array.var(axis=1), values.var(axis=1))
        numpy.testing.assert_array_equal(array @ numpy.arange(40), values @ numpy.arange(40))


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


@pytest.mark.parametrize("order", ["LE", "BE"])
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("kind", ["I", "U", "B"])
@pytest.mark.parametrize("chunk", [None, (3,)], ids=["contiguous", "chunked"])
def test_every_integer_and_bitfield(tmp_path: Path, kind: str, bits: int, order: str, chunk: tuple[int] | None) -> None:
    path = tmp_path / "x.h5"
    datatype = getattr(h5py.h5t, f"STD_{kind}{bits}{order}")
    dtype = numpy.dtype(f"{'<' if order == 'LE' else '>'}{'i' if kind == 'I' else 'u'}{bits // 8}")
    limits = numpy.iinfo(dtype)
    values = numpy.array([limits.min, limits.max, 0, 1, 2 ** (bits - 2), 7, limits.min + 1], dtype)
    with h5py.File(path, "w") as handle:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if chunk is not None:
            plist.set_chunk(chunk)
        space = h5py.h5s.create_simple(values.shape)
        dataset = h5py.h5d.create(handle.id, b"x", datatype, space, plist)
        # In its own type: nothing is converted on the way into the file.
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values, datatype)
    seed = Hdf5DenseArraySeed(path, "x")
    assert _core.read_path(path, b"x") == "direct"
    assert seed.dtype.str == dtype.str
    assert whole(seed).dtype.str == dtype.str
    assert whole(seed).tolist() == values.tolist()


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("options", [{}, {"chunks": (3,), "compression": "gzip", "shuffle": True}], ids=str)
def test_every_float(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    limits = numpy.finfo(dtype)
    special = [0.0, -0.0, numpy.inf, -numpy.inf, numpy.nan, limits.max, limits.min, limits.tiny]
    values = numpy.array([*special, limits.smallest_subnormal, 1 / 3], dtype)
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=values, **options)
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    assert seed.dtype.str == numpy.dtype(dtype).str
    # Bits: the sign of zero, and NaN as it stands.
    assert whole(seed).tobytes() == values.tobytes()


@pytest.mark.parametrize("base", ["<i1", "<i2", ">i4", "<u8"])
def test_booleans_of_any_width(tmp_path: Path, base: str) -> None:
    # h5py writes booleans as an enumeration over 8 bits; the same over others is of no bool's width.
    datatype = h5py.h5t.enum_create(h5py.h5t.py_create(numpy.dtype(base)))
    datatype.enum_insert(b"FALSE", 0)
    datatype.enum_insert(b"TRUE", 1)
    values = numpy.array([0, 1, 1, 0], base)
    low_level(tmp_path / "x.h5", "x", datatype, values, mtype=datatype)
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    assert seed.dtype.str == ("|b1" if base.endswith("1") else numpy.dtype(base).str)
    assert whole(seed).tolist() == values.tolist()


@pytest.mark.parametrize(("name", "dtype"), [("F32LE", "<c8"), ("F32BE", ">c8"), ("F64LE", "<c16"), ("F64BE", ">c16")])
def test_complex_numbers_of_hdf5_itself(tmp_path: Path, name: str, dtype: str) -> None:
    datatype = getattr(h5py.h5t, f"COMPLEX_IEEE_{name}")
    values = numpy.array([1 + 2j, -0.5j, complex(numpy.inf, -3), 0], dtype)
    low_level(tmp_path / "x.h5", "x", datatype, values, mtype=datatype)
    with h5py.File(tmp_path / "x.h5", "r") as handle:
        assert handle["x"].id.get_type().get_class() == h5py.h5t.COMPLEX
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    assert seed.dtype.str == numpy.dtype(dtype).str
    numpy.testing.assert_array_equal(whole(seed), values)


PADDED = {
    # Bytes of a string of six, and what it is by its padding.
    "NULLTERM": {b"ab\0\0\0\0": "ab", b"ab\0cd\0": "ab", b"12345\0": "12345", b"\0" * 6: "", b" a b \0": " a b "},
    "NULLPAD": {b"ab\0\0\0\0": "ab", b"a\0b\0\0\0": "a\0b", b"123456": "123456", b"\0" * 6: "", b" a   \0": " a   "},
    "SPACEPAD": {b"ab    ": "ab", b"a b   ": "a b", b"123456": "123456", b"      ": "", b"  a   ": "  a"},
}
PADDED["NULLPAD"]["日é".encode() + b"\0"] = "日é"
PADDED["SPACEPAD"]["日é".encode() + b" "] = "日é"
PADDED["NULLTERM"]["日é".encode() + b"\0"] = "日é"


@pytest.mark.parametrize("encoding", ["ASCII", "UTF8"])
@pytest.mark.parametrize("padding", PADDED)
def test_padding_of_strings_as_bytes_and_as_text(tmp_path: Path, padding: str, encoding: str) -> None:
    path = tmp_path / "x.h5"
    datatype = h5py.h5t.C_S1.copy()
    datatype.set_size(6)
    datatype.set_strpad(getattr(h5py.h5t, f"STR_{padding}"))
    datatype.set_cset(getattr(h5py.h5t, f"CSET_{encoding}"))
    stored = PADDED[padding]
    raw = numpy.array([numpy.void(key) for key in stored], "V6")
    low_level(path, "x", datatype, raw, mtype=datatype)
    with h5py.File(path, "r") as handle:
        assert handle["x"].id.get_type().get_strpad() == getattr(h5py.h5t, f"STR_{padding}")
    seed = Hdf5DenseArraySeed(path, "x")
    assert seed.dtype == numpy.dtype("S6")
    assert whole(seed).tolist() == [text.encode() for text in stored.values()]
    for dtype in ("U", "U6"):
        text = Hdf5DenseArraySeed(path, "x", dtype=dtype)
        assert text.dtype == numpy.dtype("U6")
        assert whole(text).tolist() == list(stored.values())
    assert whole(Hdf5DenseArraySeed(path, "x", dtype="U2")).tolist() == [
        text[:2].rstrip("\0") for text in stored.values()
    ]


@pytest.mark.parametrize("kind", ["U", "S", str, bytes])
def test_types_without_a_width_have_one(tmp_path: Path, kind: Any) -> None:
    letter = numpy.dtype(kind).kind
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["fixed"] = numpy.array([b"abc", b"de"], "S5")
        handle["variable"] = ["abc", "defg"]
        handle["numbers"] = numpy.array([1, -20], "i2")
    expected = {"fixed": (5, ["abc", "de"]), "variable": (4, ["abc", "defg"]), "numbers": (6, ["1", "-20"])}
    for name, (width, values) in expected.items():
        seed = Hdf5DenseArraySeed(tmp_path / "x.h5", name, dtype=kind)
        assert seed.dtype == numpy.dtype(f"{letter}{width}")
        assert whole(seed).dtype == seed.dtype
        assert whole(seed).astype("U").tolist() == values
        # Of one element as of all: the seed has said what comes.
        assert extract_dense_array(seed, ([0],)).dtype == seed.dtype
    seed = Hdf5DenseArraySeed(tmp_path / "x.h5", "variable", dtype=kind)
    assert seed.dtype.kind == letter
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["variable"] = ["much longer", ""]
    with pytest.raises(ValueError, match="changed"):
        extract_dense_array(seed, ([0],))


def test_times_are_named(tmp_path: Path) -> None:
    low_level_time = h5py.h5t.UNIX_D32LE
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        h5py.h5d.create(handle.id, b"x", low_level_time, h5py.h5s.create_simple((2,)))
    with pytest.raises(TypeError, match="times") as caught:
        Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    assert "x" in str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
def test_long_doubles_are_refused(tmp_path: Path, order: str) -> None:
    # x86's 80 bits in 16 bytes: no dtype holds them on every machine, and none is taken in their place.
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = numpy.array([1.5, -2], numpy.dtype("longdouble").newbyteorder(order))
    with pytest.raises(TypeError, match=r"floats of [0-9]+ bits"):
        Hdf5DenseArraySeed(tmp_path / "x.h5", "x")
    with pytest.raises(TypeError, match=r"floats of [0-9]+ bits"):
        Hdf5DenseArraySeed(tmp_path / "x.h5", "x", dtype="f8")


@pytest.mark.parametrize("dtype", ["f8", "i4", "S4", "U4", "O"])
@pytest.mark.parametrize("case", ["compound", "array", "opaque", "reference"])
def test_a_requested_type_does_not_make_a_dtype_of_a_compound(tmp_path: Path, case: str, dtype: str) -> None:
    kind, word = REFUSED[case]
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", (2,), kind)
    with pytest.raises(TypeError, match=word):
        Hdf5DenseArraySeed(tmp_path / "x.h5", "x", dtype=dtype)


def _narrow(size: int, exponent: int, mantissa: int, order: int, bias: int | None = None) -> h5py.h5t.TypeFloatID:
    """A float with its sign in front of the exponent and that in front of the mantissa, from the lowest bit on."""
    kind = (h5py.h5t.IEEE_F64LE if order == h5py.h5t.ORDER_LE else h5py.h5t.IEEE_F64BE).copy()
    kind.set_fields(mantissa + exponent, mantissa, exponent, 0, mantissa)
    kind.set_ebias((1 << (exponent - 1)) - 1 if bias is None else bias)
    kind.set_precision(1 + exponent + mantissa)
    kind.set_size(size)
    return kind


#: Bytes, bits of exponent and mantissa: those of machine learning that HDF5 2 has types of, and others.
NARROW_FLOATS = {
    "E4M3": (1, 4, 3),
    "E5M2": (1, 5, 2),
    "bfloat16": (2, 8, 7),
    "E2M3 (FP6)": (1, 2, 3),
    "E3M2 (FP6)": (1, 3, 2),
    "E2M1 (FP4)": (1, 2, 1),
    "E5M9": (2, 5, 9),
    "E6M9": (2, 6, 9),
    "E4M11": (2, 4, 11),
    "TF32": (4, 8, 10),
    "24 bits": (3, 7, 16),
    "E11M20": (4, 11, 20),
    "40 bits": (5, 8, 31),
}


@pytest.mark.parametrize("chunk", [None, (10,)], ids=["contiguous", "chunked"])
@pytest.mark.parametrize("order", [h5py.h5t.ORDER_LE, h5py.h5t.ORDER_BE], ids=["little", "big"])
@pytest.mark.parametrize("name", NARROW_FLOATS)
def test_narrow_floats(tmp_path: Path, name: str, order: int, chunk: tuple[int] | None) -> None:
    """Their type is that which h5py gives them, and every value is exactly the same."""
    size, exponent, mantissa = NARROW_FLOATS[name]
    path = tmp_path / "x.h5"
    bits = 1 + exponent + mantissa
    patterns = numpy.arange(2**bits) if bits <= 16 else numpy.random.default_rng(7).integers(0, 2**bits, 5000)
    stored = patterns.astype("<u8").view("u1").reshape(-1, 8)[:, :size]
    stored = stored if order == h5py.h5t.ORDER_LE else stored[:, ::-1]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunk is not None:
        plist.set_chunk(chunk)
        plist.set_deflate(1)
    with h5py.File(path, "w") as handle:
        kind = _narrow(size, exponent, mantissa, order)
        space = h5py.h5s.create_simple((len(patterns),))
        dataset = h5py.h5d.create(handle.id, b"x", kind, space, plist)
        # The bytes as they are: nothing is converted between equal types.
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, numpy.ascontiguousarray(stored), kind)
        handle["s/data"] = handle["x"]
        handle["s/indices"] = numpy.arange(len(patterns)) % 64
        handle["s/indptr"] = numpy.arange(0, len(patterns) + 1, len(patterns) if len(patterns) < 64 else 8)
        want = handle["x"][()]
    x = Hdf5DenseArraySeed(path, "x")
    assert x.dtype == want.dtype
    assert_identical(to_dense_array(x), want, bits=True)
    chosen = numpy.arange(1, len(patterns), 3)
    assert_identical(extract_dense_array(x, (chosen,)), want[chosen], bits=True)
    assert_identical(to_dense_array(Hdf5DenseArraySeed(path, "x", dtype="f8")), want.astype("f8"))
    columns = (len(patterns) // 8) if len(patterns) >= 64 else 1
    matrix = Hdf5CompressedSparseMatrixSeed(path, "s", (64, columns), True)
    assert matrix.dtype == want.dtype
    values = numpy.zeros((64, columns), want.dtype)
    values[numpy.arange(len(patterns)) % 64, numpy.arange(len(patterns)) // (8 if columns > 1 else 64)] = want
    assert_identical(extract_dense_array(matrix, (range(64), range(columns))), values)
