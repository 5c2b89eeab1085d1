"""How arrays say they are stored, against h5py on the same file."""

from __future__ import annotations

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
            assert x.chunks == (chunks if native or chunks is None else chunks[::-1])
            assert x.storage_size == stored
            assert x.compression_ratio == (decoded / stored if stored else math.inf)
            if name in DATASETS:
                assert x.filters == DATASETS[name][1]


def test_nothing_per_nothing(path: Path) -> None:
    empty = Hdf5DenseArray(path, "empty", native_order=True)
    assert (empty.chunks, empty.storage_size) == ((7, 9), 0)
    assert math.isnan(empty.compression_ratio)


@pytest.mark.parametrize("name", ["contiguous", "gzip", "blosc"])
def test_files_that_are_not_trusted_have_the_same_facts(path: Path, name: str) -> None:
    ours, theirs = (Hdf5DenseArray(path, name, untrusted=untrusted) for untrusted in (False, True))
    for fact in ("chunks", "filters", "storage_size", "compression_ratio"):
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
        assert list(x.chunks) == lengths
        assert x.chunks.data == x.chunks.indices == 64
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
    assert x.chunks == (None, None, None)
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
    assert x.chunks == (10, 10)
    path.unlink()
    with error_naming(FileNotFoundError, path):
        _ = x.chunks
    with h5py.File(path, "w") as handle:
        handle["y"] = 1
    with error_naming(KeyError, path, "x"):
        _ = x.storage_size
    path.write_bytes(b"no HDF5")
    with error_naming(OSError, path):
        _ = x.filters


def test_marks_of_what_is_not_rs(tmp_path: Path) -> None:
    """Attributes of the same names that hold something else say nothing, and are read without harm."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        for name, (mode, missing) in {
            "as R": (numpy.array([b"logical"]), numpy.int32(1)),
            "variable": ("logical", "1"),
            "long": (numpy.array([b"logical"] * 1000), numpy.arange(1000)),
            "number": (3.5, 0),
        }.items():
            dataset = handle.create_dataset(name, data=[1])
            dataset.attrs["storage.mode"] = mode
            dataset.attrs["as.na"] = missing
    marks = {
        name: tuple(_core.facts(str(path), name.encode())[mark] for mark in ("from_r", "logical", "missing_strings"))
        for name in ("as R", "variable", "long", "number")
    }
    assert marks == {
        "as R": (False, True, True),
        "variable": (False, False, False),
        "long": (False, False, False),
        "number": (False, False, False),
    }


def test_facts_of_files_from_r() -> None:
    real.require()
    folder = real.location() / "c4_r" / "made-with-bioconductor"
    x = Hdf5DenseArray(folder / "rhdf5.h5", "szip")
    assert (x.chunks, x.filters) == ((64, 16), ("shuffle", "szip 32"))
    assert Hdf5DenseArray(folder / "rhdf5.h5", "blosc").filters == ("blosc lz4 6",)
    assert Hdf5DenseArray(folder / "rhdf5.h5", "never_written").compression_ratio == math.inf
    tenx = Hdf5CompressedSparseMatrix(folder / "tenx.h5", "matrix", (500, 80), True)
    assert (tenx.nnz, tenx.sparsity) == (2000, 0.95)
    assert tenx.filters.data == ("shuffle", "deflate 6")
