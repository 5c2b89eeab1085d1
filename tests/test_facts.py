"""How arrays say they are stored, against h5py on the same file."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy
import pytest

import real
from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArray,
    Hdf5DenseArraySeed,
    _core,
)
from filebackedarray._engine import contents as _contents
from helpers import error_naming, random_compressed

DATA = numpy.arange(60 * 40, dtype="i4").reshape(60, 40) // 7

DATASETS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "contiguous": ({}, ()),
    "chunked": ({"chunks": (7, 9)}, ()),
    "gzip": ({"chunks": (7, 9), "compression": 6, "shuffle": True}, ("shuffle", "deflate 6")),
    "checked": ({"chunks": (60, 1), "compression": 1, "fletcher32": True}, ("deflate 1", "fletcher32")),
    "lzf": ({"chunks": (30, 40), "compression": "lzf"}, ("lzf",)),
    "scaled": ({"chunks": (30, 40), "scaleoffset": 9}, ("scale-offset 9",)),
    "blosc": ({"chunks": (30, 40), **hdf5plugin.Blosc("zstd", 3)}, ("blosc zstd 3",)),
    "blosc2": ({"chunks": (30, 40), **hdf5plugin.Blosc2("lz4", 4)}, ("blosc2 lz4 4",)),
    "zstd": ({"chunks": (30, 40), **hdf5plugin.Zstd(5)}, ("zstd 5",)),
    "bitshuffle": ({"chunks": (30, 40), **hdf5plugin.Bitshuffle(cname="lz4")}, ("bitshuffle lz4",)),
    "bzip2": ({"chunks": (30, 40), **hdf5plugin.BZip2(8)}, ("bzip2 8",)),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "x.h5"
    with h5py.File(path, "w") as handle:
        for name, (options, _) in DATASETS.items():
            handle.create_dataset(name, data=DATA, **options)
        handle.create_dataset("never", (60, 40), "f8", chunks=(7, 9), compression=4)
        handle.create_dataset("empty", (0, 40), "f8", maxshape=(None, 40), chunks=(7, 9))
        handle.create_dataset("scalar", data=1.5)
        handle.create_dataset("strings", data=["a", "bcd"])
    return path


@pytest.mark.parametrize("name", [*DATASETS, "never", "scalar", "strings"])
def test_dense_facts_are_those_of_h5py(path: Path, name: str) -> None:
    with h5py.File(path) as handle:
        dataset = handle[name]
        chunks, stored = dataset.chunks, dataset.id.get_storage_size()
        decoded = dataset.size * dataset.id.get_type().get_size()
    for make in (Hdf5DenseArray, Hdf5DenseArraySeed):
        for native in (True, False):
            x = make(path, name, native_order=native)
            assert x.chunk_shape == (chunks if native or chunks is None else chunks[::-1])
            assert x.storage_size == stored
            assert x.compression_ratio == (decoded / stored if stored else math.inf)
            if name in DATASETS:
                assert x.filters == DATASETS[name][1]


def test_nothing_per_nothing(path: Path) -> None:
    empty = Hdf5DenseArray(path, "empty", native_order=True)
    assert (empty.chunk_shape, empty.storage_size) == ((7, 9), 0)
    assert math.isnan(empty.compression_ratio)


@pytest.mark.parametrize("name", ["contiguous", "gzip", "blosc"])
def test_files_that_are_not_trusted_have_the_same_facts(path: Path, name: str) -> None:
    ours, theirs = (Hdf5DenseArray(path, name, untrusted=untrusted) for untrusted in (False, True))
    for fact in ("chunk_shape", "filters", "storage_size", "compression_ratio"):
        assert getattr(ours, fact) == getattr(theirs, fact)


@pytest.mark.parametrize("untrusted", [False, True])
@pytest.mark.parametrize("by_column", [False, True])
def test_sparse_facts(tmp_path: Path, by_column: bool, untrusted: bool) -> None:
    matrix = random_compressed((50, 30), by_column, seed=3)
    matrix.write(tmp_path / "x.h5", chunks=(64,), compression=5)
    with h5py.File(tmp_path / "x.h5") as handle:
        members = [handle[f"m/{name}"] for name in ("data", "indices", "indptr")]
        stored = sum(member.id.get_storage_size() for member in members)
        decoded = sum(member.nbytes for member in members)
        lengths = [member.chunks[0] for member in members]
    for make in (Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed):
        x = make(tmp_path / "x.h5", "m", (50, 30), by_column, untrusted=untrusted)
        assert x.nnz == len(matrix.data)
        assert x.sparsity == pytest.approx(1 - len(matrix.data) / 1500)
        assert list(x.chunk_shape) == lengths
        assert x.chunk_shape.data == x.chunk_shape.indices == 64
        assert x.filters.data == ("deflate 5",)
        assert x.storage_size == stored
        assert x.compression_ratio == decoded / stored


def test_what_is_stored_counts_as_it_is_stored(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        # Twice in one place, and a zero.
        handle["m/data"], handle["m/indices"], handle["m/indptr"] = [1.0, 2.0, 0.0], [0, 0, 1], [0, 3, 3]
    x = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", (4, 2), True)
    assert x.nnz == 3
    assert x.sparsity == 1 - 3 / 8
    assert x.count_nonzero() == 1
    assert x.chunk_shape == (None, None, None)
    assert x.filters == ((), (), ())


def test_a_matrix_without_elements(tmp_path: Path) -> None:
    random_compressed((0, 3), True).write(tmp_path / "x.h5")
    x = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", (0, 3), True)
    assert x.nnz == 0
    assert math.isnan(x.sparsity)


def test_facts_are_those_of_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=DATA, chunks=(10, 10))
    x = Hdf5DenseArray(path, "x", native_order=True)
    assert x.chunk_shape == (10, 10)
    path.unlink()
    with error_naming(FileNotFoundError, path):
        _ = x.chunk_shape
    with h5py.File(path, "w") as handle:
        handle["y"] = 1
    with error_naming(KeyError, path, "x"):
        _ = x.storage_size
    path.write_bytes(b"no HDF5")
    with error_naming(OSError, path):
        _ = x.filters


def _fixed(size: int, padding: int, charset: int) -> h5py.h5t.TypeID:
    datatype = h5py.h5t.C_S1.copy()
    datatype.set_size(size)
    datatype.set_strpad(padding)
    datatype.set_cset(charset)
    return datatype


def _write_text(dataset: h5py.Dataset, datatype: h5py.h5t.TypeID, shape: tuple[int, ...], value: Any) -> None:
    space = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
    attribute = h5py.h5a.create(dataset.id, b"storage.mode", datatype, space)
    attribute.write(value, mtype=datatype)


def test_marks_in_any_kind_of_string_or_number(tmp_path: Path) -> None:
    """What R's packages say is understood whichever program has written it anew, and with whichever type."""
    path = tmp_path / "x.h5"
    charsets = {"ascii": h5py.h5t.CSET_ASCII, "utf-8": h5py.h5t.CSET_UTF8}
    paddings = {"terminated": h5py.h5t.STR_NULLTERM, "zeros": h5py.h5t.STR_NULLPAD, "spaces": h5py.h5t.STR_SPACEPAD}
    shapes: tuple[tuple[int, ...], ...] = ((), (1,), (1, 1))
    true = (1, numpy.int8(-1), numpy.uint64(1), numpy.True_, 1.0, numpy.array([1], ">i4"), numpy.array([[256]], "<i2"))
    false = (0, numpy.False_, 0.0, numpy.array([0], ">i8"), h5py.Empty("i4"), "1")
    logical, missing, not_missing = [], [], []
    with h5py.File(path, "w") as handle:
        for charset, shape in itertools.product(charsets, shapes):
            name = f"variable {charset} {shape}"
            dataset = handle.create_dataset(name, data=[1])
            value = numpy.full(shape, "logical", object)
            dataset.attrs.create("storage.mode", value, dtype=h5py.string_dtype(charset))
            logical.append(name)
            for padding, size in itertools.product(paddings, (7, 8, 70)):
                if size == 7 and padding == "terminated":
                    continue
                name = f"{size} {padding} {charset} {shape}"
                pad = b" " if padding == "spaces" else b"\0"
                datatype = _fixed(size, paddings[padding], charsets[charset])
                value = numpy.full(shape, b"logical".ljust(size, pad), f"S{size}")
                _write_text(handle.create_dataset(name, data=[1]), datatype, shape, value)
                logical.append(name)
        for names, values in ((missing, true), (not_missing, false)):
            for number, value in enumerate(values):
                names.append(f"{names is missing} {number}")
                handle.create_dataset(names[-1], data=[1]).attrs["as.na"] = value
        handle["other mode"] = [1]
        handle["other mode"].attrs["storage.mode"] = "logical or not"
        handle["many"] = [1]
        handle["many"].attrs["storage.mode"] = ["logical"] * 1000
        handle["many"].attrs["as.na"] = numpy.arange(1000)
        handle["number"] = [1]
        handle["number"].attrs["storage.mode"] = 3.5

    def said(mark: str) -> set[str]:
        with h5py.File(path) as handle:
            return {name for name in handle if _core.facts(str(path), name.encode())[mark]}  # type: ignore[literal-required]

    assert said("logical") == set(logical)
    assert said("missing_strings") == set(missing)
    assert said("from_r") == set()


def test_attributes_of_an_object_in_another_file(tmp_path: Path) -> None:
    """An attribute may be larger than the file that only links to its object."""
    text = "x" * 50_000
    with h5py.File(tmp_path / "there.h5", "w") as handle:
        handle["x"] = [1]
        handle["x"].attrs["text"] = text
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = h5py.ExternalLink("there.h5", "x")
    assert _contents.attributes(tmp_path / "x.h5", "x", "text") == {"text": text}


def test_facts_of_files_from_r() -> None:
    real.require()
    folder = real.location() / "c4_r" / "made-with-bioconductor"
    x = Hdf5DenseArray(folder / "rhdf5.h5", "szip")
    assert (x.chunk_shape, x.filters) == ((64, 16), ("shuffle", "szip 32"))
    assert Hdf5DenseArray(folder / "rhdf5.h5", "blosc").filters == ("blosc lz4 6",)
    assert Hdf5DenseArray(folder / "rhdf5.h5", "never_written").compression_ratio == math.inf
    tenx = Hdf5CompressedSparseMatrix(folder / "tenx.h5", "matrix", (500, 80), True)
    assert (tenx.nnz, tenx.sparsity) == (2000, 0.95)
    assert tenx.filters.data == ("shuffle", "deflate 6")
