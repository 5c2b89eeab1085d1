"""Every line of the table of errors: its exception, and a message that says what and where."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy
import pytest
from delayedarray import (
    extract_dense_array,
    extract_sparse_array,
    to_dense_array,
    to_scipy_sparse_matrix,
    to_sparse_array,
)

from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5CompressedSparseMatrixSeed,
    Hdf5DenseArray,
    Hdf5DenseArraySeed,
)
from helpers import assert_identical, error_naming, everything, mentions, message, run_python

SHAPE = (6, 4)


def write_matrix(path: Path, **replaced: Any) -> None:
    """A good 6 x 4 CSC matrix, but for the members that are replaced; None leaves one out."""
    members: dict[str, Any] = {
        "data": numpy.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        "indices": numpy.array([0, 5, 2, 0, 3], dtype="i4"),
        "indptr": numpy.array([0, 2, 3, 3, 5], dtype="i8"),
    }
    members.update(replaced)
    with h5py.File(path, "w") as handle:
        handle.create_group("m")
        for name, values in members.items():
            if values is not None:
                handle[f"m/{name}"] = values


def sparse_seed(path: Path, shape: tuple[int, ...] = SHAPE) -> Hdf5CompressedSparseMatrixSeed:
    return Hdf5CompressedSparseMatrixSeed(path, "m", shape, True)


OPENERS: dict[str, Callable[[Path], Any]] = {
    "dense": lambda path: Hdf5DenseArraySeed(path, "m/data"),
    "dense-array": lambda path: Hdf5DenseArray(path, "m/data", native_order=True),
    "sparse": sparse_seed,
    "sparse-array": lambda path: Hdf5CompressedSparseMatrix(path, "m", SHAPE, True),
}
each_opener = pytest.mark.parametrize("open_it", OPENERS.values(), ids=OPENERS)


# ---- files -----------------------------------------------------------------------------------


@each_opener
def test_no_such_file(tmp_path: Path, open_it: Callable[[Path], Any]) -> None:
    path = tmp_path / "missing.h5"
    with error_naming(FileNotFoundError, path):
        open_it(path)


@each_opener
def test_no_such_folder(tmp_path: Path, open_it: Callable[[Path], Any]) -> None:
    with pytest.raises(FileNotFoundError):
        open_it(tmp_path / "missing" / "x.h5")


SIGNATURE = b"\x89HDF\r\n\x1a\n"


@each_opener
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"not HDF5 at all\n" * 1000, SIGNATURE, SIGNATURE + b"\0" * 3000, SIGNATURE + b"\xff" * 3000],
    ids=["empty", "one-byte", "text", "signature", "signature-and-zeros", "signature-and-ones"],
)
def test_not_an_hdf5_file(tmp_path: Path, open_it: Callable[[Path], Any], content: bytes) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with error_naming(OSError, path) as caught:
        open_it(path)
    assert not isinstance(caught.value, FileNotFoundError)


@each_opener
def test_a_folder(tmp_path: Path, open_it: Callable[[Path], Any]) -> None:
    with error_naming(OSError, tmp_path):
        open_it(tmp_path)


@each_opener
def test_a_device(open_it: Callable[[Path], Any]) -> None:
    with error_naming(OSError, os.devnull):
        open_it(Path(os.devnull))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_named_pipe_does_not_block(tmp_path: Path, kind: str) -> None:
    # Opening one for reading waits for a writer, unless it is asked what it is first.
    path = tmp_path / "pipe.h5"
    os.mkfifo(path)
    out = run_python(
        """
        import sys
        from filebackedarray import Hdf5CompressedSparseMatrixSeed, Hdf5DenseArraySeed
        try:
            if sys.argv[2] == "dense":
                Hdf5DenseArraySeed(sys.argv[1], "x")
            else:
                Hdf5CompressedSparseMatrixSeed(sys.argv[1], "m", (6, 4), True)
        except OSError as error:
            print("OSError", error)
        """,
        path,
        kind,
        timeout=20,
    )
    assert out.startswith("OSError")
    assert str(path) in out


def test_a_file_that_may_not_be_read() -> None:
    # Not below pytest's folder, which other users cannot enter: this is about the file itself.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "secret.h5"
        write_matrix(path)
        path.chmod(0o000)
        out = run_python(
            """
            import os, sys
            from filebackedarray import Hdf5DenseArraySeed
            if os.geteuid() == 0:
                # root may read anything; nobody may not.
                os.seteuid(65534)
            try:
                Hdf5DenseArraySeed(sys.argv[1], "m/data")
            except PermissionError as error:
                print("PermissionError", error)
            except OSError as error:
                print("OSError", error)
            """,
            path,
        )
        assert out.startswith(("PermissionError", "OSError"))
        assert str(path) in out


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(tmp_path: Path, fraction: float) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with error_naming(OSError, path):
        to_dense_array(sparse_seed(path))


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nothing", "m/nothing", "nothing/at/all", "m/data/below", "m"])
def test_no_such_dataset(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    with error_naming(KeyError, path, name):
        Hdf5DenseArraySeed(path, name)


def test_the_root_group_is_not_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    with pytest.raises(KeyError):
        Hdf5DenseArraySeed(path, "/")


def test_no_such_group(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    with error_naming(KeyError, path, "nothing"):
        Hdf5CompressedSparseMatrixSeed(path, "nothing", SHAPE, True)


@pytest.mark.parametrize("member", ["data", "indices", "indptr"])
def test_a_member_is_missing(tmp_path: Path, member: str) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path, **{member: None})
    with error_naming(KeyError, path, f"m/{member}"):
        sparse_seed(path)


@pytest.mark.parametrize("member", ["data", "indices", "indptr"])
def test_a_member_is_a_group(tmp_path: Path, member: str) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path, **{member: None})
    with h5py.File(path, "a") as handle:
        handle.create_group(f"m/{member}")
    with error_naming(KeyError, path, f"m/{member}"):
        sparse_seed(path)


def test_a_dataset_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    seed = Hdf5DenseArraySeed(path, "m/data")
    with h5py.File(path, "a") as handle:
        del handle["m/data"]
    with error_naming(KeyError, path, "m/data"):
        to_dense_array(seed)


# ---- structure -------------------------------------------------------------------------------

BAD_STRUCTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "indptr-not-from-zero": ("m/indptr", {"indptr": numpy.array([1, 2, 3, 3, 5])}),
    "indptr-decreasing": ("m/indptr", {"indptr": numpy.array([0, 3, 2, 3, 5])}),
    "indptr-decreasing-unsigned": ("m/indptr", {"indptr": numpy.array([0, 3, 2, 3, 5], dtype="u8")}),
    "indptr-negative": ("m/indptr", {"indptr": numpy.array([0, -1, 3, 3, 5])}),
    "indptr-beyond-int64": ("m/indptr", {"indptr": numpy.array([0, 2, 2**63, 2**63 + 1, 5], dtype="u8")}),
    "indptr-too-short": ("m/indptr", {"indptr": numpy.array([0, 2, 5])}),
    "indptr-too-long": ("m/indptr", {"indptr": numpy.array([0, 2, 3, 3, 5, 5])}),
    "indptr-empty": ("m/indptr", {"indptr": numpy.zeros(0, "i8")}),
    "indptr-of-floats": ("m/indptr", {"indptr": numpy.array([0.0, 2, 3, 3, 5])}),
    "indptr-of-booleans": ("m/indptr", {"indptr": numpy.array([0, 1, 1, 1, 1], dtype=bool)}),
    "indptr-of-two-dimensions": ("m/indptr", {"indptr": numpy.array([[0, 2, 3, 3, 5]])}),
    "indptr-scalar": ("m/indptr", {"indptr": numpy.int64(0)}),
    "data-too-short": ("m/data", {"data": numpy.ones(4)}),
    "data-too-long": ("m/data", {"data": numpy.ones(6)}),
    "data-of-two-dimensions": ("m/data", {"data": numpy.ones((5, 1))}),
    "indices-too-short": ("m/indices", {"indices": numpy.zeros(4, "i4")}),
    "indices-too-long": ("m/indices", {"indices": numpy.zeros(6, "i4")}),
    "indices-of-two-dimensions": ("m/indices", {"indices": numpy.zeros((5, 1), "i4")}),
    "indices-of-floats": ("m/indices", {"indices": numpy.zeros(5)}),
    "indices-of-booleans": ("m/indices", {"indices": numpy.zeros(5, bool)}),
}


@pytest.mark.parametrize("case", BAD_STRUCTURES)
def test_a_structure_that_is_no_matrix(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.h5"
    name, replaced = BAD_STRUCTURES[case]
    write_matrix(path, **replaced)
    with error_naming(ValueError, path, name):
        sparse_seed(path)


@pytest.mark.parametrize("shape", [(6,), (6, 4, 1), ()], ids=str)
def test_a_shape_that_is_no_matrix(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    with pytest.raises(ValueError, match="shape"):
        sparse_seed(path, shape)


@pytest.mark.parametrize("shape", [(-1, 4), (6, -4)], ids=str)
def test_a_negative_shape(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    with pytest.raises(ValueError, match="shape"):
        sparse_seed(path, shape)


def test_the_other_orientation_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    with error_naming(ValueError, path, "m/indptr"):
        Hdf5CompressedSparseMatrixSeed(path, "m", SHAPE, False)


def test_an_empty_dataspace_has_no_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = h5py.Empty("f4")
    with error_naming((TypeError, ValueError), path, "x"):
        Hdf5DenseArraySeed(path, "x")


# ---- subsets ---------------------------------------------------------------------------------

OUT_OF_BOUNDS: dict[str, Any] = {
    "too-large": [0, 6],
    "far-too-large": [2**40],
    "beyond-int64": [2**70],
    "negative": [-1, 2],
    "array-too-large": numpy.array([6]),
    "array-negative": numpy.array([3, -6], dtype="i1"),
    "array-beyond-int64": numpy.array([2**64 - 1], dtype="u8"),
    "range-too-long": range(7),
    "range-from-below": range(-1, 3),
    "range-backwards-past-zero": range(5, -2, -1),
    "range-with-steps": range(0, 20, 6),
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("case", OUT_OF_BOUNDS)
def test_a_subset_out_of_bounds(tmp_path: Path, case: str, axis: int) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = numpy.zeros((6, 6))
        handle["m/data"] = numpy.ones(6)
        handle["m/indices"] = numpy.arange(6)
        handle["m/indptr"] = numpy.arange(7)
    subset: list[Any] = [range(6), range(6)]
    subset[axis] = OUT_OF_BOUNDS[case]
    dense = Hdf5DenseArraySeed(path, "x", native_order=True)
    sparse = Hdf5CompressedSparseMatrixSeed(path, "m", (6, 6), True)
    for read, seed in (
        (extract_dense_array, dense),
        (extract_dense_array, sparse),
        (extract_sparse_array, sparse),
    ):
        with error_naming(IndexError, f"axis {axis}", "6"):
            read(seed, tuple(subset))


@pytest.mark.parametrize("subset", [(), (range(6),), (range(6), range(4), range(1))], ids=len)
def test_a_subset_of_the_wrong_number_of_axes(tmp_path: Path, subset: tuple) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    with h5py.File(path, "a") as handle:
        handle["x"] = numpy.zeros(SHAPE)
    for read, seed in (
        (extract_dense_array, Hdf5DenseArraySeed(path, "x", native_order=True)),
        (extract_dense_array, sparse_seed(path)),
        (extract_sparse_array, sparse_seed(path)),
    ):
        with pytest.raises((ValueError, IndexError)):
            read(seed, subset)


@pytest.mark.parametrize("bad", [[0.5], numpy.array([1.0, 2.0]), ["a"], 3, None, numpy.array([[0, 1]])], ids=repr)
def test_a_subset_that_is_no_list_of_integers(tmp_path: Path, bad: Any) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    for seed in (Hdf5DenseArraySeed(path, "m/data", native_order=True), sparse_seed(path)):
        subset = (bad, *everything(seed.shape)[1:])
        with pytest.raises((TypeError, ValueError, IndexError)):
            extract_dense_array(seed, subset)


# ---- indices on disk that lie outside the matrix ---------------------------------------------

WHOLE_READS: dict[str, Callable[[Any], Any]] = {
    "dense": to_dense_array,
    "sparse": to_sparse_array,
    **{
        f"scipy-{kind}": lambda seed, kind=kind: to_scipy_sparse_matrix(
            Hdf5CompressedSparseMatrix(seed, None, None, None), kind
        )
        for kind in ("csc", "csr", "coo")
    },
}


@pytest.mark.parametrize("read", WHOLE_READS)
@pytest.mark.parametrize("by_column", [True, False], ids=["csc", "csr"])
@pytest.mark.parametrize(
    ("wrong", "dtype"),
    [
        (6, "i4"),
        (-1, "i4"),
        (-6, "i8"),
        (2**31 - 1, "i4"),
        (2**40, "i8"),
        (2**32 - 1, "u4"),
        (2**63, "u8"),
        (2**64 - 1, "u8"),
        (255, "u1"),
        (6, ">u2"),
        (-128, "i1"),
    ],
    ids=str,
)
def test_an_index_on_disk_outside_the_matrix(
    tmp_path: Path, wrong: int, dtype: str, by_column: bool, read: str
) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path, indices=numpy.array([0, 5, 2, wrong, 3], dtype=dtype))
    shape = SHAPE if by_column else SHAPE[::-1]
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", shape, by_column)
    with error_naming(IndexError, path, "m/indices", str(wrong)):
        WHOLE_READS[read](seed)


@pytest.mark.parametrize(("wrong", "dtype"), [(-1, "i4"), (6, "u4"), (2**64 - 1, "u8"), (-2, "i8")])
@pytest.mark.parametrize("by_column", [True, False], ids=["csc", "csr"])
def test_an_index_outside_the_matrix_is_never_some_other_row(
    tmp_path: Path, wrong: int, dtype: str, by_column: bool
) -> None:
    # A read of some rows may not look for it, but must not take it for the last one either.
    path = tmp_path / "x.h5"
    write_matrix(path, indices=numpy.array([0, 5, 2, wrong, 3], dtype=dtype))
    shape = SHAPE if by_column else SHAPE[::-1]
    seed = Hdf5CompressedSparseMatrixSeed(path, "m", shape, by_column)
    want = numpy.zeros(SHAPE)
    want[[0, 5, 2, 3], [0, 0, 1, 3]] = [1, 2, 3, 5]
    for rows in ([1, 3, 5], range(4, 6), range(1, 6), [4]):
        subset = (rows, range(4)) if by_column else (range(4), rows)
        chosen = want[list(rows)] if by_column else want[list(rows)].T
        for read in (extract_dense_array, extract_sparse_array):
            try:
                got = numpy.asarray(read(seed, subset))
            except IndexError as error:
                mentions(error, path, "m/indices", str(wrong))
            else:
                assert_identical(got, chosen)


# ---- element types and filters ---------------------------------------------------------------


def write_odd_types(path: Path) -> list[str]:
    with h5py.File(path, "w") as handle:
        handle.create_dataset("compound", data=numpy.zeros(5, dtype=[("a", "i4"), ("b", "f8")]))
        handle.create_dataset("reference", data=[handle.ref], dtype=h5py.ref_dtype)
        ragged = handle.create_dataset("ragged", (2,), dtype=h5py.vlen_dtype("i4"))
        ragged[0] = [1, 2, 3]
        return list(handle)


@pytest.mark.parametrize("name", ["compound", "reference", "ragged"])
def test_an_element_type_that_is_no_number(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.h5"
    assert name in write_odd_types(path)
    with error_naming(TypeError, path, name):
        to_dense_array(Hdf5DenseArraySeed(path, name))


@pytest.mark.parametrize("member", ["data", "indices", "indptr"])
def test_a_member_that_is_no_number(tmp_path: Path, member: str) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path, **{member: numpy.zeros(5, dtype=[("a", "i4"), ("b", "f8")])})
    # For indices and indptr hdf5array has ValueError: they "should contain integers".
    expected = TypeError if member == "data" else (TypeError, ValueError)
    with error_naming(expected, path, f"m/{member}"):
        to_dense_array(sparse_seed(path))


@pytest.mark.parametrize("dtype", ["no such type", 3.5], ids=repr)
def test_a_requested_type_that_is_none(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path)
    with pytest.raises(TypeError):
        Hdf5DenseArraySeed(path, "m/data", dtype=dtype)


def test_a_filter_that_nobody_knows(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dcpl.set_chunk((10,))
    dcpl.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    with h5py.File(path, "w") as handle:
        space = h5py.h5s.create_simple((20,))
        dataset = h5py.h5d.create(handle.id, b"x", h5py.h5t.STD_U8LE, space, dcpl)
        dataset.write_direct_chunk((0,), bytes(range(10)), 0)
        # Whoever wrote this chunk left the filter out: nothing stands in the way.
        dataset.write_direct_chunk((10,), bytes(range(10, 20)), 1)
    with error_naming(NotImplementedError, path, "x", "32999"):
        to_dense_array(Hdf5DenseArraySeed(path, "x"))
    seed = Hdf5DenseArraySeed(path, "x")
    assert_identical(extract_dense_array(seed, (range(10, 20),)), numpy.arange(10, 20, dtype="u1"))


def test_a_filter_that_a_plugin_would_decode(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    values = numpy.linspace(0, 1, 4096, dtype="f4").reshape(64, 64)
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=values, chunks=(32, 32), compression=hdf5plugin.Zfp(reversible=True))
    # The filter's id, its name, and the pip package that would help.
    with error_naming(NotImplementedError, path, "x", "32013", "hdf5plugin") as caught:
        # Where no plugin is loaded, not even one that is installed.
        to_dense_array(Hdf5DenseArraySeed(path, "x", untrusted=True))
    assert "zfp" in message(caught.value).lower()


# ---- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((2**50,), (2**20,)), ((2**31, 2**31), (2**10, 2**10)), ((2**63 - 1,), (2**20,))],
    ids=["2^50", "2^62", "2^63-1"],
)
def test_an_output_larger_than_memory(tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", shape=shape, chunks=chunks, dtype="f8", fillvalue=2.5)
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    assert seed.shape == shape
    with pytest.raises(MemoryError):
        to_dense_array(seed)
    # What fits is read.
    ends = tuple([0, n // 2, n - 1] for n in shape)
    assert_identical(extract_dense_array(seed, ends), numpy.full((3,) * len(shape), 2.5))


def test_a_chunk_larger_than_memory_that_is_not_there(tmp_path: Path) -> None:
    # A chunk of nearly 4 GiB that was never written needs no memory to be filled.
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", shape=(2**40,), chunks=(2**29 - 1,), dtype="f8", fillvalue=1)
    seed = Hdf5DenseArraySeed(path, "x")
    assert_identical(extract_dense_array(seed, ([0, 2**39],)), numpy.ones(2))


def test_a_sparse_matrix_whose_dense_form_is_larger_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_matrix(path, indices=numpy.array([0, 2**50 - 1, 2, 0, 3], dtype="i8"))
    seed = sparse_seed(path, (2**50, 4))
    with pytest.raises(MemoryError):
        to_dense_array(seed)
    rows = [0, 3, 2**50 - 1]
    want = numpy.array([[1.0, 0, 0, 4], [0, 0, 0, 5], [2, 0, 0, 0]])
    assert_identical(extract_dense_array(seed, (rows, range(4))), want)
    got = to_sparse_array(seed)
    assert got.contents[2] is None
    assert_identical(got.contents[0][0], numpy.array([0, 2**50 - 1]))
    assert_identical(got.contents[0][1], numpy.array([1.0, 2.0]))


def test_errors_do_not_say_panicked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Whatever is thrown at the extension, what comes back is an ordinary exception.
    path = tmp_path / "x.h5"
    write_matrix(path, indices=numpy.array([0, 5, 2, 99, 3]))
    for attempt in (
        lambda: to_dense_array(sparse_seed(path)),
        lambda: extract_dense_array(sparse_seed(path), ([2**70], [0])),
        lambda: Hdf5DenseArraySeed(path, "nothing"),
        lambda: Hdf5DenseArraySeed(path, "with a \0 inside"),
        lambda: Hdf5DenseArraySeed("with a \0 inside", "x"),
        lambda: Hdf5DenseArraySeed(path, ""),
        lambda: Hdf5DenseArraySeed("", "x"),
    ):
        with pytest.raises((OSError, KeyError, IndexError, ValueError, TypeError)):
            attempt()
    assert "panicked" not in capfd.readouterr().err
