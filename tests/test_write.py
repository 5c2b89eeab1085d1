"""What is written is what there was: read back by h5py and by this package."""

from __future__ import annotations

import itertools
import math
import os
import threading
from pathlib import Path
from typing import Any

import delayedarray
import h5py
import numpy
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import filebackedarray as fba
from filebackedarray._write import dense as dense_module
from filebackedarray._write.chunking import chunk_shape
from filebackedarray._write.narrowing import converted
from helpers import assert_direct

SPECIAL = {
    "f": [0.0, -0.0, 1.5, math.inf, -math.inf, math.nan],
    "c": [0.0, complex(-0.0, 1), complex(math.nan, math.inf), 1.5 - 2j],
}


def values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> numpy.ndarray:
    """Values over all of what a type has."""
    kind = numpy.dtype(dtype)
    rng = numpy.random.default_rng(seed)
    count = math.prod(shape)
    if kind.kind in "fc":
        made = numpy.resize(numpy.array(SPECIAL[kind.kind], kind), count)
    elif kind.kind == "S":
        made = numpy.array([b"ab"[: i % 3] for i in range(count)], kind)
    elif kind.kind == "b":
        made = rng.random(count) < 0.5
    else:
        info = numpy.iinfo(kind)
        made = rng.integers(info.min, info.max, count, kind, endpoint=True)
    return made.reshape(shape)


def identical(left: numpy.ndarray, right: numpy.ndarray) -> bool:
    """To the last bit, as NaN and -0.0 are."""
    left, right = numpy.ascontiguousarray(left), numpy.ascontiguousarray(right)
    return left.shape == right.shape and left.dtype == right.dtype and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("native_order", [False, True])
@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16", "S3"])
def test_every_type_is_kept(tmp_path: Path, dtype: str, native_order: bool) -> None:
    x = values(dtype, (23, 17))
    path = tmp_path / "x.h5"
    array = fba.write_array(x, path, "a/b", native_order=native_order, chunks=(10, 4))
    assert array.shape == x.shape
    assert identical(numpy.asarray(array), x)
    assert_direct(path, "a/b")
    with h5py.File(path) as file:
        dataset = file["a/b"]
        assert dataset.dtype == x.dtype, "booleans are h5py's"
        assert dataset.chunks == ((10, 4) if native_order else (4, 10))
        assert dataset.compression == "gzip"
        assert dataset.shuffle == (x.dtype.itemsize > 1)
        assert identical(dataset[()] if native_order else dataset[()].T, x)


_FILTERS = {"gzip": 1, "zstd": 32015, "lz4": 32004, "blosc": 32001, "blosc-zstd": 32001}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "lz4", "blosc", "blosc-zstd", None])
def test_compressions_are_read_by_others(tmp_path: Path, compression: Any, shuffle: bool) -> None:
    import hdf5plugin  # noqa: F401 (h5py's plugins)

    rng = numpy.random.default_rng(3)
    arrays = {
        "counts": rng.poisson(0.3, (300, 200)).astype("i4"),
        "indices": numpy.sort(rng.integers(0, 30_000, (4, 20_000)), axis=1),
        "noise": rng.random((100, 300)),
        "wide": rng.integers(0, 2**62, (50, 60)),
        "steps": numpy.repeat(numpy.arange(600), 100).reshape(200, 300).astype("u2"),
        "text": numpy.tile(numpy.array([b"a word that comes again", b"and another one"], "S24"), 500),
    }
    for level in (None, 1, 6, 9):
        path = tmp_path / f"{level}.h5"
        for name, x in arrays.items():
            chunks = tuple(max(1, extent // 3) for extent in x.shape)
            options = {"compression": compression, "shuffle": shuffle, "level": level, "chunks": chunks}
            array = fba.write_array(x, path, name, native_order=True, **options)
            assert identical(numpy.asarray(array), x), name
            assert_direct(path, name)
            with h5py.File(path) as file:
                assert identical(file[name][()], x), (name, level)
                # Blosc shuffles by itself.
                filters = [] if compression is None else [_FILTERS[compression]]
                filters = [2, *filters] if shuffle and filters not in ([], [32001]) else filters
                pipeline = file[name].id.get_create_plist()
                assert [pipeline.get_filter(i)[0] for i in range(pipeline.get_nfilters())] == filters


def test_gzip_is_no_larger_than_others_make_it(tmp_path: Path) -> None:
    rng = numpy.random.default_rng(3)
    counts = rng.negative_binomial(0.6, 0.4, (2000, 700)).astype("i4")
    # As cells x genes are: one of twenty is stored, and most of these are small.
    sparse = scipy.sparse.random(
        300, 20_000, 0.05, "csr", "i4", random_state=1, data_rvs=lambda n: rng.geometric(0.5, n)
    )
    sparse.sort_indices()
    fba.write_array(counts, tmp_path / "x.h5", "dense", native_order=True, chunks=(1000, 100))
    fba.write_sparse(sparse, tmp_path / "x.h5", "sparse", by_column=False, chunks=80_000)
    with h5py.File(tmp_path / "x.h5") as file, h5py.File(tmp_path / "h5py.h5", "w") as other:
        options = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        other.create_dataset("dense", data=counts, chunks=(1000, 100), **options)
        for name in ("data", "indices"):
            other.create_dataset(f"sparse/{name}", data=getattr(sparse, name), chunks=(80_000,), **options)

        def stored(of: h5py.File, *names: str) -> int:
            return sum(of[name].id.get_storage_size() for name in names)

        assert stored(file, "dense") < stored(other, "dense")
        both = ("sparse/data", "sparse/indices")
        assert stored(file, *both) <= 1.02 * stored(other, *both)


@pytest.mark.parametrize("decoder", ["zlib", "zlib_ng.zlib_ng", "isal.isal_zlib"])
def test_gzip_is_a_zlib_stream_for_all_decoders(tmp_path: Path, decoder: str) -> None:
    # libdeflate decodes what the engine reads.
    decompress = pytest.importorskip(decoder).decompress
    rng = numpy.random.default_rng(5)
    kinds = {
        "counts": rng.negative_binomial(0.6, 0.4, 300_000),
        "rare": rng.random(300_000) > 0.99,
        "indices": numpy.sort(rng.integers(0, 30_000, (100, 3_000)), axis=1).ravel(),
        "noise": rng.integers(0, 2**62, 300_000),
        "same": numpy.full(300_000, 77),
        "runs": numpy.repeat(rng.integers(0, 99, 300_000), rng.integers(1, 400, 300_000))[:300_000],
        "again": numpy.resize(rng.integers(0, 2**31, 999), 300_000),
    }
    levels, types = (0, 1, 4, 7, 9), ("u1", "i2", "i4", "i8", "f4")
    for level, dtype in itertools.product(levels, types):
        arrays = {name: values.astype(dtype) for name, values in kinds.items()}
        path = tmp_path / f"{level}-{dtype}.h5"
        for name, x in arrays.items():
            fba.write_array(x, path, name, chunks=(131_072,), compression="gzip", level=level)
        with h5py.File(path) as file:
            for name, x in arrays.items():
                _, stored = file[name].id.read_direct_chunk((131_072,))
                planes = numpy.frombuffer(decompress(stored), "u1").reshape(x.itemsize, -1)
                bytes_ = planes.T.tobytes()
                assert bytes_ == x[131_072:262_144].tobytes(), (level, dtype, name)


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 7, 32])
@pytest.mark.parametrize("extent", [0, 1, 2])
def test_all_numbers_of_dimensions(tmp_path: Path, rank: int, extent: int) -> None:
    shape = ((extent,) * min(rank, 5) + (1,) * rank)[:rank]
    x = numpy.arange(math.prod(shape), dtype="i4").reshape(shape)
    array = fba.write_array(x, tmp_path / "x.h5", "x")
    assert array.shape == shape
    with h5py.File(tmp_path / "x.h5") as file:
        assert identical(file["x"][()].T, x)


def test_numbers_in_other_byte_orders_and_strides(tmp_path: Path) -> None:
    base = values("i4", (40, 30, 3)).astype(">i4")
    for number, x in enumerate([base, base[::-1, ::2, 1], base.T[1], base[:, :, 0][::3, ::-2]]):
        array = fba.write_array(x, tmp_path / "x.h5", f"x{number}", chunks=(7,) * x.ndim)
        assert numpy.array_equal(numpy.asarray(array), x)
        assert array.dtype == numpy.dtype("<i4")


def test_strings(tmp_path: Path) -> None:
    texts = numpy.array([["a", "", "äöü"], ["é€", "longest", "x"]])
    path = tmp_path / "x.h5"
    array = fba.write_array(texts, path, "x")
    assert array.dtype == numpy.dtype("S7")
    with h5py.File(path) as file:
        assert tuple(h5py.check_string_dtype(file["x"].dtype)) == ("utf-8", 7)
        assert numpy.array_equal(file["x"].asstr()[()].T, texts)
    as_objects = fba.write_array(texts.astype(object), path, "objects")
    assert numpy.array_equal(numpy.asarray(as_objects), numpy.asarray(array))
    with pytest.raises(ValueError, match="is none of dtype"):
        fba.write_array(texts, path, "short", dtype="S3")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(TypeError, match="datetime64"):
        fba.write_array(numpy.zeros(3, "M8[s]"), path, "x")
    with pytest.raises(TypeError, match=r"float128|longdouble"):
        fba.write_array(numpy.zeros(3, numpy.longdouble), path, "x")
    with pytest.raises(TypeError, match="not a string"):
        fba.write_array(numpy.array([1, "a", None], dtype=object), path, "x")
    masked = numpy.ma.array([1, 2, 3], mask=[False, True, False])
    with pytest.raises(ValueError, match="masked values"):
        fba.write_array(masked, path, "x")
    with pytest.raises(ValueError, match="two dimensions"):
        fba.write_sparse(numpy.zeros((2, 2, 2)), path, "x")
    with pytest.raises(ValueError, match="compression='bzip3'"):
        fba.write_array(numpy.zeros(3), path, "x", compression="bzip3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level 10"):
        fba.write_array(numpy.zeros(3), path, "x", level=10)
    with pytest.raises(ValueError, match="chunks of shape"):
        fba.write_array(numpy.zeros((3, 3)), path, "x", chunks=(1,))
    with pytest.raises(ValueError, match="'casting'"):
        fba.write_array(numpy.zeros(3), path, "x", casting="same_kind")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="root group"):
        fba.write_array(numpy.zeros(3), path, "/", overwrite=True)
    assert os.listdir(tmp_path) == []


# ---- narrower types ----------------------------------------------------------------------------

EDGES = [0, 1, -1, 127, 128, 255, 256, -128, -129, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]
NUMBERS = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]


def exactly(value: Any, dtype: numpy.dtype[Any]) -> bool:
    """Whether a type has this value, by Python's numbers, which have all."""
    real, imaginary = value.real, value.imag
    if imaginary != 0 and dtype.kind != "c":
        return False
    real = real.item()
    if isinstance(real, float) and not math.isfinite(real):
        return dtype.kind in "fc"
    if dtype.kind == "b":
        return real in (0, 1)
    if dtype.kind in "iu":
        info = numpy.iinfo(dtype)
        return real == int(real) and info.min <= int(real) <= info.max
    with numpy.errstate(all="ignore"):
        back = numpy.array(real).astype(dtype).real.item()
    return math.isfinite(back) and int(back) == int(real) and back == real


@pytest.mark.parametrize("source", NUMBERS)
@pytest.mark.parametrize("target", NUMBERS)
def test_values_are_the_same_or_refused(source: str, target: str) -> None:
    kind, of = numpy.dtype(target), numpy.dtype(source)
    candidates = [float(edge) for edge in EDGES] if of.kind in "fc" else EDGES
    candidates = [*candidates, 0.5, math.nan, math.inf, 1e300, 1e-300] if of.kind in "fc" else candidates
    for candidate in candidates:
        try:
            with numpy.errstate(all="ignore"):
                block = numpy.array([candidate], of)
        except OverflowError:
            continue
        try:
            made = converted(block, kind, "exact", [0])
        except ValueError:
            assert not exactly(block[0], kind), f"{block[0]} of {of} is one of {kind}"
        else:
            assert exactly(block[0], kind), f"{block[0]} of {of} became {made[0]} of {kind}"
            same = made[0] == block[0] or (numpy.isnan(made[0]) and numpy.isnan(block[0]))
            assert same


def test_the_first_value_that_does_not_fit_is_told(tmp_path: Path) -> None:
    x = numpy.zeros((300, 200), "i4")
    x[270, 50] = 256
    x[290, 3] = -1
    with pytest.raises(ValueError, match=r"256 at \(270, 50\) is none of dtype uint8"):
        fba.write_array(x, tmp_path / "x.h5", "x", dtype="u1", chunks=(100, 100))
    with pytest.raises(ValueError, match=r"256 at \(270, 50\) is none of dtype uint8"):
        fba.write_sparse(scipy.sparse.csr_matrix(x), tmp_path / "x.h5", "x", dtype="u1", by_column=False)
    with pytest.raises(ValueError, match=r"256 at \(270, 50\) is none of dtype uint8"):
        fba.write_sparse(x, tmp_path / "x.h5", "x", dtype="u1", by_column=False)
    assert os.listdir(tmp_path) == []
    array = fba.write_array(x, tmp_path / "x.h5", "x", dtype="u1", casting="unsafe")
    assert numpy.array_equal(numpy.asarray(array), x.astype("u1"))


# ---- sources -----------------------------------------------------------------------------------


def sources(folder: Path) -> dict[str, Any]:
    """A matrix in all forms."""
    x = numpy.random.default_rng(7).poisson(0.2, (311, 207)).astype("f8")
    csc, csr = scipy.sparse.csc_matrix(x), scipy.sparse.csr_matrix(x)
    path = folder / "sources.h5"
    dense = fba.write_array(x, path, "dense", chunks=(50, 31))
    by_column, by_row = fba.write_sparse(csc, path, "csc"), fba.write_sparse(csr, path, "csr", by_column=False)
    import dask.array

    return {
        "numpy": x,
        "fortran": numpy.asfortranarray(x),
        "csc": csc,
        "csr": csr,
        "coo": scipy.sparse.coo_array(x),
        "dense": dense,
        "by_column": by_column,
        "by_row": by_row,
        "tree": (dense * 2.0) / 2.0,
        "sparse_tree": (by_row * 2.0) / 2.0,
        "of_numpy": delayedarray.wrap(x) * 1.0,
        "of_scipy": delayedarray.wrap(csr),
        "dask": dask.array.from_array(x, chunks=(100, 60)),
        "dask_of_ours": by_row.to_dask(),
    }


@pytest.mark.parametrize("block_bytes", [8 << 20, 5000])
def test_every_kind_of_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    from filebackedarray._write import sparse as sparse_module

    monkeypatch.setattr(dense_module, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(sparse_module, "BLOCK_BYTES", block_bytes)
    x = numpy.random.default_rng(7).poisson(0.2, (311, 207)).astype("f8")
    path = tmp_path / "x.h5"
    for name, source in sources(tmp_path).items():
        array = fba.write_array(source, path, f"{name}/dense", chunks=(37, 29))
        assert identical(numpy.asarray(array), numpy.asfortranarray(x)) or numpy.array_equal(array, x), name
        for by_column in (True, False):
            group = f"{name}/{by_column}"
            matrix = fba.write_sparse(source, path, group, by_column=by_column, chunks=1000)
            assert numpy.array_equal(numpy.asarray(matrix), x), name
            with h5py.File(path) as file:
                parts = [file[group][member][()] for member in ("data", "indices", "indptr")]
            expected = (scipy.sparse.csc_matrix if by_column else scipy.sparse.csr_matrix)(x)
            for part, one in zip(parts, (expected.data, expected.indices, expected.indptr), strict=True):
                assert numpy.array_equal(part, one), name
            found = fba.open_array(path, group)
            assert found.shape == x.shape
            assert found.by_column == by_column


def test_sparse_matrices_are_as_they_say(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for shape in [(0, 0), (0, 5), (5, 0), (1, 1), (3, 1000)]:
        x = scipy.sparse.random(*shape, 0.3, "csr", "f4", random_state=1)
        for by_column in (True, False):
            name = f"{shape}{by_column}"
            matrix = fba.write_sparse(x, path, name, by_column=by_column)
            assert matrix.shape == shape
            assert numpy.array_equal(numpy.asarray(matrix), x.toarray())
            with h5py.File(path) as file:
                assert file[name]["indptr"].dtype == numpy.int64
                assert file[name]["indices"].dtype == numpy.int32
                assert file[name]["shape"][()].tolist() == list(shape)
    # Indices that are not sorted and come twice; zeros that are stored.
    odd = scipy.sparse.csr_matrix(([1.0, 2, 3, 0], [2, 0, 2, 1], [0, 3, 4]), shape=(2, 3))
    before = odd.copy()
    matrix = fba.write_sparse(odd, path, "odd", by_column=False)
    assert numpy.array_equal(numpy.asarray(matrix), before.toarray())
    assert matrix.nnz == 3
    assert numpy.array_equal(odd.indices, before.indices), "the caller's matrix is left alone"
    with pytest.raises(ValueError, match="none of dtype int8"):
        fba.write_sparse(scipy.sparse.csc_matrix((200, 1)), path, "narrow", index_dtype="i1")


# ---- dimnames ----------------------------------------------------------------------------------


@pytest.mark.parametrize("native_order", [False, True])
def test_names_are_written_as_r_has_them(tmp_path: Path, native_order: bool) -> None:
    path = tmp_path / "x.h5"
    x = numpy.arange(6.0).reshape(2, 3)
    names = [["r1", "größer"], ["a", "b", "c"]]
    array = fba.write_array(x, path, "g/x", dimnames=names, native_order=native_order)
    assert list(array.row_names) == names[0]
    assert list(array.column_names) == names[1]
    with h5py.File(path) as file:
        dataset = file["g/x"]
        numbers = ["2", "1"] if native_order else ["1", "2"]
        for axis, number in enumerate(numbers):
            scale = file[f"g/.x_dimnames/{number}"]
            # R's first dimension is the first in the list, whatever the order of the extents.
            assert dataset.dims[int(number) - 1].keys() == ["dimnames"]
            assert dataset.dims[int(number) - 1][0] == scale
            assert scale.is_scale
            assert [text.decode() for text in scale[()]] == names[axis]
            assert scale.dtype.kind == "S"
    again = fba.write_array(x, path, "g/x", dimnames=[None, names[1]], overwrite=True)
    assert again.row_names is None
    assert list(again.column_names) == names[1]
    with pytest.raises(ValueError, match="2 names for axis 1"):
        fba.write_array(x, path, "y", dimnames=[None, ["a", "b"]])


@pytest.mark.parametrize("dtype", ["i4", "f8", "?"])
def test_masked_values_are_r_s_missing_ones(tmp_path: Path, dtype: str) -> None:
    x = values(dtype, (30, 20))
    if dtype == "i4":
        x[x == numpy.iinfo("i4").min] = 0
    masked = numpy.ma.array(x, mask=numpy.random.default_rng(1).random(x.shape) < 0.2)
    path = tmp_path / "x.h5"
    for name, source in (("memory", masked), ("tree", delayedarray.wrap(masked)[::-1][::-1])):
        fba.write_array(source, path, name, dimnames=[None, None], chunks=(7, 20))
        found = delayedarray.to_dense_array(fba.Hdf5DenseArray(path, name, mask_missing=True))
        assert numpy.array_equal(numpy.ma.getmaskarray(found), masked.mask)
        assert numpy.array_equal(found.compressed(), masked.compressed(), equal_nan=dtype == "f8")
    with pytest.raises(ValueError, match="masked values"):
        fba.write_array(masked, path, "without names")
    with pytest.raises(ValueError, match="R has no missing values"):
        fba.write_array(masked.astype("i2"), path, "short", dimnames=[None, None])
    if dtype == "i4":
        masked[~masked.mask] = numpy.iinfo("i4").min
        with pytest.raises(ValueError, match="is not masked"):
            fba.write_array(masked, path, "smallest", dimnames=[None, None])


# ---- sinks -------------------------------------------------------------------------------------

BLOCK = st.tuples(st.integers(0, 30), st.integers(1, 30), st.integers(0, 20), st.integers(1, 20))


@settings(max_examples=40, deadline=None)
@given(
    blocks=st.lists(BLOCK, max_size=12),
    chunks=st.tuples(st.integers(1, 31), st.integers(1, 21)),
    memory=st.sampled_from([0, 300, 1 << 20]),
    native_order=st.booleans(),
    compression=st.sampled_from([None, "gzip"]),
)
def test_blocks_in_any_order(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: Any,
    chunks: Any,
    memory: int,
    native_order: bool,
    compression: Any,
) -> None:
    # Blocks overlap; the last one counts. Chunks that wait are written and read back where there is no memory for them.
    path = tmp_path_factory.mktemp("sink") / "x.h5"
    expected = numpy.zeros((31, 21), "i4")
    options = {"chunks": chunks, "memory": memory, "native_order": native_order, "compression": compression}
    with fba.DenseSink(path, "x", expected.shape, "i4", **options) as sink:
        for number, (row, rows, column, columns) in enumerate(blocks, 1):
            where = (slice(row, min(row + rows, 31)), slice(column, min(column + columns, 21)))
            block = numpy.arange(expected[where].size).reshape(expected[where].shape) + 1000 * number
            expected[where] = block
            sink[where] = block
    with h5py.File(path) as file:
        found = file["x"][()]
    assert numpy.array_equal(found if native_order else found.T, expected)


def test_blocks_are_indexed_as_arrays_are(tmp_path: Path) -> None:
    expected = numpy.zeros((7, 5, 4))
    with fba.DenseSink(tmp_path / "x.h5", "x", expected.shape, "f8") as sink:
        keys: list[Any] = [0, (slice(None), 1), (..., 2), (-1, -1, -1), (slice(1, 3), ..., slice(0, 2)), slice(3, 3)]
        for number, key in enumerate(keys, 1):
            sink[key] = number
            expected[key] = number
        sink[5] = numpy.arange(20).reshape(5, 4)
        expected[5] = numpy.arange(20).reshape(5, 4)
        for key, message in [
            (7, "out of bounds"),
            (slice(0, 8), "out of bounds"),
            (slice(None, None, 2), "step"),
            ([1, 2], "slices and integers"),
            ((0, 0, 0, 0), "4 indices"),
        ]:
            with pytest.raises(IndexError, match=message):
                sink[key] = 1
        with pytest.raises(ValueError, match="broadcast"):
            sink[0] = numpy.zeros((2, 2))
    assert numpy.array_equal(numpy.asarray(fba.Hdf5DenseArray(tmp_path / "x.h5", "x")), expected)


@pytest.mark.parametrize("by_column", [True, False])
def test_parts_of_a_sparse_matrix(tmp_path: Path, by_column: bool) -> None:
    x = numpy.random.default_rng(2).poisson(0.3, (60, 45)).astype("i4")
    path = tmp_path / "x.h5"
    axis = 1 if by_column else 0
    parts = numpy.split(x, [5, 5, 20, 21], axis=axis)
    with fba.SparseSink(path, "m", x.shape, "i4", by_column=by_column, chunks=64) as sink:
        kinds = [numpy.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, scipy.sparse.coo_array, numpy.asarray]
        for part, kind in zip(parts, kinds, strict=True):
            sink.append(kind(part))
        with pytest.raises(ValueError, match="a block of shape"):
            sink.append(parts[0])
    assert numpy.array_equal(numpy.asarray(fba.open_array(path, "m")), x)
    with (
        pytest.raises(ValueError, match=r"(columns|rows) were written"),
        fba.SparseSink(path, "n", x.shape, "i4", by_column=by_column) as sink,
    ):
        sink.append(parts[0])
    assert [path.name] == os.listdir(tmp_path)
    with h5py.File(path) as file:
        assert list(file) == ["m"]


# ---- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("access", [None, "rows", "columns"])
@pytest.mark.parametrize(
    "shape", [(10_000, 10_000), (3, 10**9), (10**9, 3), (5,), (10**7,), (1, 1), (100, 0), (40, 50, 60_000)]
)
def test_chunks_are_of_about_a_mebibyte(shape: tuple[int, ...], access: Any) -> None:
    for itemsize in (1, 4, 16):
        chunk = chunk_shape(shape, itemsize, None, access)
        size = math.prod(chunk) * itemsize
        assert size <= 1 << 20
        assert all(1 <= length <= max(extent, 1) for length, extent in zip(chunk, shape, strict=True))
        assert size > 1 << 18 or chunk == tuple(max(extent, 1) for extent in shape)
    if access is None and shape == (10_000, 10_000):
        assert chunk_shape(shape, 4) == (512, 512)
    if access == "rows" and len(shape) == 2 and shape[1] * 4 <= 1 << 20:
        assert chunk_shape(shape, 4, None, access)[1] == max(1, shape[1]), "whole rows"
    assert math.prod(chunk_shape(shape, 4, "R")) <= 1_000_000


def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    x = numpy.random.default_rng(0).poisson(0.5, (700, 900)).astype("i4")
    contents = set()
    before = fba.get_num_threads()
    try:
        for threads in (1, 2, 5, 2):
            fba.set_num_threads(threads)
            path = tmp_path / f"{len(contents)}.h5"
            fba.write_array(x, path, "a/x", chunks=(64, 50), dimnames=[None, [str(i) for i in range(900)]])
            fba.write_sparse(x, path, "b/x", chunks=1000)
            fba.write_array(numpy.log1p(fba.open_array(path, "b/x") * 1.5), path, "tree", chunks=(90, 90))
            contents.add(path.read_bytes())
            path.unlink()
    finally:
        fba.set_num_threads(before)
    assert len(contents) == 1


def test_progress_and_threads_at_once(tmp_path: Path) -> None:
    x = numpy.arange(40_000.0).reshape(200, 200)
    seen: list[tuple[int, int]] = []
    fba.write_array(x, tmp_path / "x.h5", "x", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0
    # Files of their own, by several threads of the caller's.
    results: list[Any] = []

    def write(number: int) -> None:
        results.append(fba.write_array(x + number, tmp_path / f"{number}.h5", "x"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for number in range(4):
        assert numpy.array_equal(numpy.asarray(fba.Hdf5DenseArray(tmp_path / f"{number}.h5", "x")), x + number)


def test_realize(tmp_path: Path) -> None:
    x = numpy.random.default_rng(1).poisson(0.2, (100, 80)).astype("f8")
    sparse = fba.write_sparse(x, tmp_path / "x.h5", "s")
    dense = fba.write_array(x, tmp_path / "x.h5", "d")
    realized = fba.realize(numpy.sqrt(sparse))
    assert isinstance(realized, fba.Hdf5CompressedSparseMatrix)
    assert numpy.array_equal(numpy.asarray(realized), numpy.sqrt(x))
    folder = Path(realized.path).parent
    part = realized[5:50]
    del realized
    assert folder.is_dir(), "what was made of it still reads it"
    assert numpy.array_equal(numpy.asarray(part), numpy.sqrt(x)[5:50])
    del part
    assert not folder.exists()
    realized = fba.realize(numpy.exp(dense), tmp_path / "y.h5", "deep/er")
    assert isinstance(realized, fba.Hdf5DenseArray)
    assert numpy.array_equal(numpy.asarray(realized), numpy.exp(x))
