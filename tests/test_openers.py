"""Openers that know formats, and the names of rows and columns: against h5py, anndata and scipy."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy
import pandas
import pytest
import scipy.sparse
from delayedarray import DelayedArray, extract_dense_array, is_sparse, to_dense_array, to_scipy_sparse_matrix, wrap

import real
from filebackedarray import (
    FileBackedArray,
    H5adMatrix,
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
    LoomMatrix,
    TenxMatrix,
    open_array,
)
from filebackedarray._formats import listing as _listing
from helpers import error_naming, random_compressed

TEXT = h5py.string_dtype()
SHAPE = (30, 20)


def write_tenx(group: h5py.Group, *, features: str = "features", barcodes: bool = True, seed: int = 0) -> numpy.ndarray:
    """A matrix as Cell Ranger writes it; its dense form."""
    matrix = random_compressed(SHAPE, by_column=True, seed=seed)
    for name in ("data", "indices", "indptr"):
        group[name] = getattr(matrix, name)
    group["shape"] = numpy.array(SHAPE, "i4")
    ids = numpy.array([f"ENSG{i}" for i in range(SHAPE[0])], "S")
    if features == "features":
        group["features/id"] = ids
        group["features/name"] = numpy.char.add(ids, b"-name")
    else:
        group["genes"] = ids
        group["gene_names"] = numpy.char.add(ids, b"-name")
    if barcodes:
        group["barcodes"] = numpy.array([f"ACGT-{i}" for i in range(SHAPE[1])], "S")
    return matrix.dense()


def check(matrix: Any, want: numpy.ndarray, rows: Any, columns: Any) -> None:
    """Values, names, and what an array of this package does."""
    assert isinstance(matrix, FileBackedArray)
    assert matrix.shape == want.shape
    turned = matrix.transposed()
    numpy.testing.assert_array_equal(to_dense_array(turned), want.T)
    for ours, theirs in (
        (matrix.row_names, rows),
        (matrix.column_names, columns),
        (turned.row_names, columns),
        (turned.column_names, rows),
        (turned.transposed().row_names, rows),
    ):
        if theirs is None:
            assert ours is None
        else:
            assert isinstance(ours, numpy.ndarray)
            assert ours.dtype.kind == "U"
            assert ours.tolist() == list(theirs)
    for one in (matrix, pickle.loads(pickle.dumps(matrix)), copy.copy(matrix), wrap(matrix.seed)):
        assert type(one) is type(matrix) or one.seed is matrix.seed
        numpy.testing.assert_array_equal(to_dense_array(one), want)
        assert one.row_names is None or one.row_names.tolist() == list(rows)
    assert type(matrix).__name__ in repr(matrix)
    assert type(matrix + 1) is FileBackedArray
    assert type(matrix[:3, :2]) is FileBackedArray
    if is_sparse(matrix):
        numpy.testing.assert_array_equal(to_scipy_sparse_matrix(matrix).toarray(), want)


@pytest.fixture(params=[False, True], ids=["trusted", "untrusted"])
def untrusted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# ---- 10x Genomics --------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "features"), [("matrix", "features"), ("hg19", "genes")])
def test_tenx(tmp_path: Path, group: str, features: str, untrusted: bool) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        want = write_tenx(handle.create_group(group), features=features)
        handle["other"] = [1]
    rows, columns = [f"ENSG{i}" for i in range(30)], [f"ACGT-{i}" for i in range(20)]
    for matrix in (
        TenxMatrix(path, untrusted=untrusted),
        TenxMatrix(path, group, untrusted=untrusted),
        open_array(path, untrusted=untrusted),
        open_array(path, f"/{group}/", untrusted=untrusted),
    ):
        assert type(matrix) is TenxMatrix
        assert isinstance(matrix, Hdf5CompressedSparseMatrix)
        assert matrix.group_name == group
        check(matrix, want, rows, columns)
    assert TenxMatrix(path, dtype="f4").dtype == numpy.float32


def test_tenx_of_several_genomes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        want = {
            genome: write_tenx(handle.create_group(genome), features="genes", seed=i)
            for i, genome in enumerate(("hg19", "mm10"))
        }
    for opener in (TenxMatrix, open_array):
        with error_naming(ValueError, path, "hg19", "mm10"):
            opener(path)
        for genome, values in want.items():
            numpy.testing.assert_array_equal(to_dense_array(opener(path, genome)), values)
    with error_naming(KeyError, path, "danRer"):
        TenxMatrix(path, "danRer")


def test_tenx_without_names(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        group = handle.create_group("matrix")
        want = write_tenx(group, barcodes=False)
        del group["features/id"]
    matrix = TenxMatrix(path)
    check(matrix, want, [f"ENSG{i}-name" for i in range(30)], None)
    with h5py.File(path, "a") as handle:
        del handle["matrix/features/name"]
        handle["matrix/genes"] = numpy.arange(7)
    with error_naming(ValueError, path, "matrix/genes", "30"):
        _ = TenxMatrix(path).row_names


def test_not_tenx(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        handle["x/y"] = [1]
        write_tenx(handle.create_group("lacking"))
        del handle["lacking/indices"], handle["lacking/shape"]
        write_tenx(handle.create_group("strange"))
        del handle["strange/shape"]
        handle["strange/shape"] = ["a", "b"]
        write_tenx(handle.create_group("wrong"))
        handle["wrong/shape"][1] = 99
    with error_naming(ValueError, path, "'indices', 'shape'", "lacks"):
        TenxMatrix(path, "lacking")
    with error_naming(ValueError, path, "strange/shape"):
        TenxMatrix(path, "strange")
    with error_naming(ValueError, path, "wrong/indptr"):
        TenxMatrix(path, "wrong")
    with error_naming(KeyError, path, "x/y"):
        TenxMatrix(path, "x/y")
    with h5py.File(path, "a") as handle:
        for name in ("lacking", "strange", "wrong"):
            del handle[name]
    with error_naming(ValueError, path, "10x", "'x'"):
        TenxMatrix(path)
    with pytest.raises(FileNotFoundError):
        TenxMatrix(tmp_path / "no.h5")
    (tmp_path / "text").write_text("text")
    for opener in (TenxMatrix, H5adMatrix, LoomMatrix, open_array):
        with error_naming(OSError, tmp_path / "text"):
            opener(tmp_path / "text")  # type: ignore[operator]


# ---- anndata -------------------------------------------------------------------------------------

CELLS, GENES = [f"cell{i}" for i in range(20)], [f"gene\xe9{i}" for i in range(30)]


@pytest.fixture(params=["csr", "csc", "dense"])
def adata(request: pytest.FixtureRequest) -> anndata.AnnData:
    rng = numpy.random.default_rng(0)

    def values(seed: int, columns: int = 30) -> Any:
        dense = (numpy.random.default_rng(seed).random((20, columns)) < 0.2) * rng.random((20, columns))
        return dense if request.param == "dense" else getattr(scipy.sparse, f"{request.param}_matrix")(dense)

    obs, var = pandas.DataFrame(index=CELLS), pandas.DataFrame({"n": range(30)}, index=GENES)
    made = anndata.AnnData(values(1), obs, var, layers={"counts": values(2)})
    made.raw = anndata.AnnData(values(3, 40), obs, pandas.DataFrame(index=[f"raw{i}" for i in range(40)]))
    return made


def dense_of(values: Any) -> numpy.ndarray:
    return values.toarray() if scipy.sparse.issparse(values) else numpy.asarray(values)


def test_h5ad(tmp_path: Path, adata: anndata.AnnData, untrusted: bool) -> None:
    path = tmp_path / "a.h5ad"
    adata.write_h5ad(path)
    raw = [f"raw{i}" for i in range(40)]
    for options, name, want, features in (
        ({}, "X", adata.X, GENES),
        ({"layer": "counts"}, "layers/counts", adata.layers["counts"], GENES),
        ({"raw": True}, "raw/X", adata.raw.X, raw),
    ):
        matrix = H5adMatrix(path, **options, untrusted=untrusted)
        kind = Hdf5CompressedSparseMatrix if scipy.sparse.issparse(want) else Hdf5DenseArray
        assert isinstance(matrix, kind)
        assert isinstance(matrix, H5adMatrix)
        check(matrix, dense_of(want).T, features, CELLS)
        check(H5adMatrix(path, **options, transpose=False, untrusted=untrusted), dense_of(want), CELLS, features)
        opened = open_array(path, name, untrusted=untrusted)
        assert type(opened) is type(matrix)
        check(opened, dense_of(want).T, features, CELLS)
        if kind is Hdf5CompressedSparseMatrix:
            # Nothing is transposed: what is compressed by row is so by column seen from the other side.
            assert matrix.by_column == (want.format == "csr")
    assert type(open_array(path)) is type(H5adMatrix(path))
    assert H5adMatrix(path, dtype="f4").dtype == numpy.float32


def test_wrong_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5ad"
    anndata.AnnData(numpy.ones((3, 2)), layers={"a": numpy.ones((3, 2))}).write_h5ad(path)
    with error_naming(KeyError, path, "'b'", "'a'"):
        H5adMatrix(path, "b")
    with error_naming(KeyError, path, "raw=True"):
        H5adMatrix(path, "raw")
    with error_naming(KeyError, path, "raw"):
        H5adMatrix(path, raw=True)
    with pytest.raises(ValueError, match="either"):
        H5adMatrix(path, "a", raw=True)
    with pytest.raises(TypeError, match="layers"):
        H5adMatrix(path, layers="a")  # type: ignore[call-arg]
    empty = tmp_path / "b.h5ad"
    anndata.AnnData(obs=pandas.DataFrame(index=["a"]), var=pandas.DataFrame(index=["b"])).write_h5ad(empty)
    with error_naming(KeyError, empty, "no 'X'"):
        H5adMatrix(empty)
    with h5py.File(path, "a") as handle:
        del handle["X"]
        handle["X"] = numpy.ones(3)
    with error_naming(ValueError, path, "X", "(3,)"):
        H5adMatrix(path)
    with h5py.File(path, "a") as handle:
        del handle["var"]
        del handle.attrs["encoding-type"]
    with error_naming(ValueError, path, "no AnnData", "'obs'"):
        H5adMatrix(path)


def test_h5ad_before_0_7(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "a.h5ad"
    matrices = {"X": random_compressed((20, 30), False), "raw.X": random_compressed((20, 30), False, seed=1)}
    with h5py.File(path, "w") as handle:
        for name, matrix in matrices.items():
            for part in ("data", "indices", "indptr"):
                handle[f"{name}/{part}"] = getattr(matrix, part)
            handle[name].attrs["h5sparse_format"] = "csr"
            handle[name].attrs["h5sparse_shape"] = matrix.shape
        handle["obs"] = numpy.array([(name.encode(), 1.5) for name in CELLS], [("index", "S8"), ("n", "f8")])
        handle["var"] = numpy.array([(name,) for name in GENES], [("index", TEXT)])
    check(H5adMatrix(path, untrusted=untrusted), matrices["X"].dense().T, GENES, CELLS)
    check(H5adMatrix(path, raw=True, untrusted=untrusted), matrices["raw.X"].dense().T, GENES, CELLS)
    check(open_array(path, "raw.X", untrusted=untrusted), matrices["raw.X"].dense().T, GENES, CELLS)


@pytest.mark.parametrize(
    "index",
    [
        numpy.arange(4),
        numpy.arange(4, dtype=">i2"),
        numpy.arange(4) / 2,
        numpy.arange(4) > 1,
        numpy.array(list("abcd"), "S"),
    ],
    ids=["integers", "big-endian", "floats", "booleans", "strings"],
)
@pytest.mark.parametrize("how", ["compound", "column", "categorical", "nullable"])
def test_an_index_of_any_type(tmp_path: Path, index: numpy.ndarray, how: str, untrusted: bool) -> None:
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as handle:
        handle["X"] = numpy.zeros((4, 3))
        if how == "compound":
            handle["obs"] = numpy.rec.fromarrays([index, numpy.arange(4.0)], names="index,n")
        else:
            obs = frame(handle, "obs")
            if how == "column":
                obs["_index"] = index
            elif how == "categorical":
                obs["_index/codes"], obs["_index/categories"] = numpy.arange(4, dtype="i1"), index
            else:
                obs["_index/values"], obs["_index/mask"] = index, numpy.zeros(4, bool)
        frame(handle, "var")["_index"] = ["x", "y", "z"]
    names = H5adMatrix(path, untrusted=untrusted).column_names
    assert names.tolist() == pandas.Index(text_of(index) if index.dtype.kind == "S" else index).astype(str).tolist()


def frame(handle: h5py.File, name: str, index: str = "_index") -> h5py.Group:
    group = handle.create_group(name)
    group.attrs["_index"] = index
    return group


def test_indexes_in_all_encodings(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as handle:
        handle["X"] = numpy.arange(12.0).reshape(4, 3)
        obs, var = frame(handle, "obs", "cat"), frame(handle, "var")
        obs["cat/codes"] = numpy.array([1, 0, -1, 1], "i1")
        obs["cat/categories"] = ["a", "b\xe9"]
        obs["cat"].attrs["encoding-type"] = "categorical"
        var["_index/values"] = ["x", "y", "z"]
        var["_index/mask"] = numpy.array([False, True, False])
        var["_index"].attrs["encoding-type"] = "nullable-string-array"
    matrix = H5adMatrix(path, untrusted=untrusted)
    assert matrix.column_names.tolist() == ["b\xe9", "a", "", "b\xe9"]
    assert matrix.row_names.tolist() == ["x", "", "z"]
    with h5py.File(path, "a") as handle:
        del handle["obs"], handle["var"]
        obs, var = frame(handle, "obs"), handle.create_group("var")
        obs["__categories/_index"] = numpy.array([b"a", b"b"])
        obs["_index"] = numpy.array([0, 1, 1, 0], "i1")
        obs["_index"].attrs["categories"] = obs["__categories/_index"].ref
        var["index"] = numpy.arange(3)
    matrix = H5adMatrix(path, untrusted=untrusted)
    assert matrix.column_names.tolist() == ["a", "b", "b", "a"]
    assert matrix.row_names.tolist() == ["0", "1", "2"]
    with h5py.File(path, "a") as handle:
        handle["obs/_index"][2] = 5
        del handle["var/index"]
    assert matrix.row_names is None
    with error_naming(ValueError, path, "code 5", "__categories"):
        _ = matrix.column_names
    with h5py.File(path, "a") as handle:
        del handle["obs/_index"]
        handle["obs/_index/what"] = [1]
        handle["obs/_index"].attrs["encoding-type"] = "strange"
        handle["var/index"] = numpy.zeros((3, 2))
    with error_naming(TypeError, path, "strange"):
        _ = matrix.column_names
    with error_naming(ValueError, path, "var/index", "(3, 2)"):
        _ = matrix.row_names


def test_objects_in_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.h5mu"
    with h5py.File(path, "w") as handle:
        handle.attrs["encoding-type"] = "MuData"
        for i, name in enumerate(("rna", "atac")):
            group = handle.create_group(f"mod/{name}")
            group["X"] = numpy.full((2, 3), float(i))
            frame(handle, f"mod/{name}/obs")["_index"] = ["a", "b"]
            frame(handle, f"mod/{name}/var")["_index"] = ["x", "y", "z"]
            group.create_group("layers")
    with error_naming(ValueError, path, "mod/rna", "mod/atac"):
        open_array(path)
    for matrix in (open_array(path, "mod/atac"), H5adMatrix(path, group="/mod/atac/")):
        check(matrix, numpy.ones((3, 2)), ["x", "y", "z"], ["a", "b"])
    with error_naming(KeyError, path, "mod/protein"):
        H5adMatrix(path, group="mod/protein")


@pytest.mark.parametrize("where", ["", "mod/rna/", "uns/deep/nested/"])
def test_a_matrix_is_the_same_by_each_name(tmp_path: Path, where: str, untrusted: bool) -> None:
    path = tmp_path / "a.h5ad"
    values = scipy.sparse.random(4, 3, 0.5, "csr", rng=1)
    adata = anndata.AnnData(values, var=pandas.DataFrame(index=["x", "y", "z"]), layers={"twice": values * 2})
    adata.raw = adata
    with h5py.File(path, "w") as handle:
        anndata.io.write_elem(handle, "/", anndata.AnnData(numpy.zeros((2, 2))))
        anndata.io.write_elem(handle, where or "/", adata)
    for name, want in (("X", values), ("layers", 2 * values), ("layers/twice/", 2 * values), ("raw", values)):
        for given in (where + name, f"/{where}{name}".encode()):
            matrix = open_array(path, given, untrusted=untrusted)
            assert isinstance(matrix, H5adMatrix)
            check(matrix, want.toarray().T, ["x", "y", "z"], ["0", "1", "2", "3"])
    if where:
        assert open_array(path, where.partition("/")[0]).shape == (3, 4)
    assert open_array(path, f"{where}X/data").shape == (values.nnz,)
    with error_naming(KeyError, path, "'no'", "'twice'"):
        open_array(path, f"{where}layers/no", untrusted=untrusted)
    with error_naming(KeyError, path, f"{where}no"):
        open_array(path, f"{where}no", untrusted=untrusted)


def test_an_index_that_is_not_there(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "a.h5ad"
    with h5py.File(path, "w") as handle:
        handle["X"] = numpy.zeros((2, 3))
        frame(handle, "obs", "nowhere")["_index"] = ["a", "b"]
        # As R's packages write the attribute.
        var = frame(handle, "var")
        var.attrs["_index"] = numpy.array(["genes"], object)
        var["genes"] = ["x", "y", "z"]
    matrix = H5adMatrix(path, untrusted=untrusted)
    assert matrix.row_names.tolist() == ["x", "y", "z"]
    with error_naming(ValueError, path, "'/obs'", "'nowhere'"):
        _ = matrix.column_names


def test_names_of_other_types(tmp_path: Path) -> None:
    path, loom = tmp_path / "a.h5", tmp_path / "a.loom"
    with h5py.File(path, "w") as handle:
        want = write_tenx(handle.create_group(b"m\xff"))
    for group in (b"m\xff", "m\udcff"):
        numpy.testing.assert_array_equal(to_dense_array(TenxMatrix(path, group)), want)
        numpy.testing.assert_array_equal(to_dense_array(open_array(path, group)), want)
    with h5py.File(loom, "w") as handle:
        handle["matrix"] = handle["layers/one"] = numpy.ones((2, 3))
        handle.create_group("row_attrs"), handle.create_group("col_attrs")
    assert LoomMatrix(loom, b"one").name == "layers/one"
    assert type(open_array(loom, "layers")) is LoomMatrix
    for call in (
        lambda: open_array(path, 3),
        lambda: TenxMatrix(path, 3),
        lambda: LoomMatrix(loom, 3),
        lambda: H5adMatrix(path, 3),
        lambda: H5adMatrix(path, group=None),
    ):
        with pytest.raises(TypeError, match="should be a string"):
            call()


# ---- loom ----------------------------------------------------------------------------------------


def test_loom(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "a.loom"
    values = numpy.arange(12.0).reshape(4, 3)
    with h5py.File(path, "w") as handle:
        handle["matrix"] = values
        handle["layers/spliced"] = values + 1
        handle["layers/odd"] = values[:2]
        handle["row_attrs/Gene"] = ["a", "b", "c", "d"]
        handle["col_attrs/Cell"] = [7, 8, 9]
    matrix = LoomMatrix(path, untrusted=untrusted)
    assert isinstance(matrix, Hdf5DenseArray)
    check(matrix, values, ["a", "b", "c", "d"], ["7", "8", "9"])
    check(LoomMatrix(path, "spliced", untrusted=untrusted), values + 1, ["a", "b", "c", "d"], ["7", "8", "9"])
    for name in (None, "matrix", "layers/spliced"):
        assert type(open_array(path, name, untrusted=untrusted)) is LoomMatrix
    with error_naming(KeyError, path, "'no'", "spliced"):
        LoomMatrix(path, "no")
    with error_naming(ValueError, path, "odd", "(2, 3)"):
        LoomMatrix(path, "odd")
    with h5py.File(path, "a") as handle:
        del handle["row_attrs"], handle["col_attrs/Cell"]
    assert matrix.row_names is None
    assert matrix.column_names is None
    with error_naming(ValueError, path, "no loom", "'matrix'"):
        LoomMatrix(path)


# ---- everything else -----------------------------------------------------------------------------


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("how", ["anndata", "h5sparse", "layout", "dims", "dataset"])
def test_compressed_groups(tmp_path: Path, by_column: bool, how: str, untrusted: bool) -> None:
    path = tmp_path / "a.h5"
    matrix = random_compressed((9, 7), by_column)
    matrix.write(path, "some/group")
    letters = "csc" if by_column else "csr"
    with h5py.File(path, "a") as handle:
        group = handle["some/group"]
        if how == "anndata":
            group.attrs.update({"encoding-type": f"{letters}_matrix", "shape": matrix.shape})
        elif how == "h5sparse":
            group.attrs.update({"h5sparse_format": numpy.bytes_(letters), "h5sparse_shape": matrix.shape})
        elif how == "layout":
            group.attrs["layout"] = letters.upper()
            group["shape"] = numpy.array(matrix.shape, "u8")
        elif how == "dims":
            group.attrs["dims"] = matrix.shape
        else:
            group["shape"] = matrix.shape
    for name in (None, "some/group", "some"):
        opened = open_array(path, name, untrusted=untrusted)
        assert type(opened) is Hdf5CompressedSparseMatrix
        assert opened.by_column is by_column
        numpy.testing.assert_array_equal(to_dense_array(opened), matrix.dense())
        assert opened.row_names is None
    # The listing of a file knows as much.
    (entry,) = (entry for entry in _listing.entries(str(path)) if entry.name == "/some/group")
    assert (entry.kind, entry.shape, entry.by_column, entry.note) == ("sparse", matrix.shape, by_column, "")


def test_groups_that_lack_something(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    matrix = random_compressed((9, 7), True)
    matrix.write(path, "m")
    with error_naming(ValueError, path, "'m'", "h5sparse_shape", "orientation"):
        open_array(path, "m")
    with h5py.File(path, "a") as handle:
        handle["m"].attrs["shape"] = (9, 7)
        handle["m"].attrs["encoding-type"] = "coo_matrix"
    with error_naming(ValueError, path, "orientation") as caught:
        open_array(path)
    assert "a shape" not in str(caught.value)
    with h5py.File(path, "a") as handle:
        del handle["m/indices"], handle["m"].attrs["encoding-type"]
        handle["m"].attrs["shape"] = (5, 5)
    with error_naming(ValueError, path, "'indices'", "orientation"):
        open_array(path, "m")


def test_square_without_orientation_is_by_column(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    matrix = random_compressed((8, 8), True)
    matrix.write(path, "m")
    with h5py.File(path, "a") as handle:
        handle["m/shape"] = matrix.shape
    numpy.testing.assert_array_equal(to_dense_array(open_array(path)), matrix.dense())


def test_plain_datasets(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "a.h5"
    values = numpy.arange(24).reshape(2, 3, 4)
    with h5py.File(path, "w") as handle:
        handle["g/x"] = values
        handle["g/vector"] = [1, 2]
        handle["g/text"] = ["a"]
        handle["g/again"] = h5py.SoftLink("/g/x")
    for name in (None, "g"):
        opened = open_array(path, name, native_order=True, untrusted=untrusted)
        assert type(opened) is Hdf5DenseArray
        numpy.testing.assert_array_equal(extract_dense_array(opened, [range(n) for n in values.shape]), values)
    assert open_array(path).shape == (4, 3, 2)
    assert open_array(path, "g/vector", dtype="f4").dtype == numpy.float32
    assert open_array(path, "g/vector").column_names is None
    numpy.testing.assert_array_equal(to_dense_array(open_array(path, "g/text")), ["a"])
    with h5py.File(path, "a") as handle:
        handle["y"] = values
    with error_naming(ValueError, path, "several", "'g/again'", "'y'"):
        open_array(path, untrusted=untrusted)
    with error_naming(KeyError, path, "g/no"):
        open_array(path, "g/no", untrusted=untrusted)
    with h5py.File(path, "w") as handle:
        handle["text"] = ["a"]
        handle.create_group("g")
    with error_naming(ValueError, path, "no array", "'g', 'text'"):
        open_array(path, untrusted=untrusted)
    with error_naming(ValueError, path, "'g'", "none"):
        open_array(path, "g")
    with h5py.File(path, "w") as handle:
        handle["v"] = [1, 2]
    assert open_array(path).shape == (2,)


def test_a_matrix_at_the_root(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    matrix = random_compressed((9, 7), True)
    matrix.write(path, "/")
    with h5py.File(path, "a") as handle:
        handle["shape"] = matrix.shape
    numpy.testing.assert_array_equal(to_dense_array(open_array(path)), matrix.dense())


def test_tenx_at_the_root(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        want = write_tenx(handle)
    rows, columns = [f"ENSG{i}" for i in range(30)], [f"ACGT-{i}" for i in range(20)]
    for matrix in (
        TenxMatrix(path, untrusted=untrusted),
        TenxMatrix(path, "/", untrusted=untrusted),
        open_array(path, untrusted=untrusted),
    ):
        assert type(matrix) is TenxMatrix
        check(matrix, want, rows, columns)
    with h5py.File(path, "a") as handle:
        write_tenx(handle.create_group("mm10"))
    with error_naming(ValueError, path, "several", "'/', 'mm10'"):
        TenxMatrix(path, untrusted=untrusted)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        for i in range(30):
            handle[f"x{i:02}"] = numpy.ones((2, 2))
    with error_naming(ValueError, "'x19' and 10 more"):
        open_array(path)


def test_a_dimension_scale_that_is_not_of_r(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = numpy.ones((2, 3))
        for name, values in (("time", [1.0, 2.0]), ("names", ["a", "b"]), ("short", ["a"])):
            handle[name] = values
        handle["time"].make_scale("time")
        handle["names"].make_scale("dimnames")
        handle["short"].make_scale("dimnames")
        # As R numbers dimensions.
        handle["x"].dims[1].attach_scale(handle["time"])
        handle["x"].dims[1].attach_scale(handle["names"])
    array = Hdf5DenseArray(path, "x", native_order=True, untrusted=untrusted)
    assert array.row_names.tolist() == ["a", "b"]
    assert array.column_names is None
    with h5py.File(path, "a") as handle:
        handle["x"].dims[0].attach_scale(handle["short"])
    with error_naming(ValueError, path, "short", "3"):
        _ = array.column_names


# ---- real files ----------------------------------------------------------------------------------


def files(folder: str, *endings: str) -> list[Path]:
    where = real.location() / folder
    return sorted(path for path in where.rglob("*") if path.name.endswith(endings)) if real.is_there() else []


def identifiers(path: Path) -> str:
    return "/".join(path.relative_to(real.location()).parts[1:])


def text_of(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def sparse_of(group: h5py.Group, shape: Any, by_column: bool) -> numpy.ndarray:
    kind = scipy.sparse.csc_matrix if by_column else scipy.sparse.csr_matrix
    return kind((group["data"][()], group["indices"][()], group["indptr"][()]), shape=tuple(shape))


def same(matrix: Any, want: Any) -> None:
    if scipy.sparse.issparse(want):
        assert matrix.shape == want.shape
        assert (to_scipy_sparse_matrix(matrix) != want).nnz == 0
    else:
        numpy.testing.assert_array_equal(to_dense_array(matrix), want)


@pytest.mark.parametrize("path", files("c1_10x", ".h5"), ids=identifiers)
def test_real_tenx(path: Path) -> None:
    matrix = open_array(path)
    assert type(matrix) is TenxMatrix
    with h5py.File(path) as handle:
        group = handle["matrix"]
        same(matrix, sparse_of(group, group["shape"][()], True))
        assert matrix.row_names.tolist() == text_of(group["features/id"][()])
        if "barcodes" in group:
            assert matrix.column_names.tolist() == text_of(group["barcodes"][()])
        else:
            assert matrix.column_names is None


#: One has neither X nor layers: see `test_a_real_file_without_matrix`.
NO_MATRIX = "anndata-test-utils/tests/data/sample.h5ad"
H5AD = [path for path in files("c2_h5ad", ".h5ad") if not path.as_posix().endswith(NO_MATRIX)]


@pytest.mark.parametrize("path", H5AD, ids=identifiers)
def test_real_h5ad(path: Path) -> None:
    with h5py.File(path) as handle:
        wanted: dict[str, dict[str, Any]] = {"X": {}}
        wanted.update({f"layers/{name}": {"layer": name} for name in handle.get("layers", ())})
        for name in ("raw.X", "raw/X"):
            if name in handle:
                wanted[name] = {"raw": True}

        def index(name: str) -> list[str]:
            if isinstance(handle[name], h5py.Dataset):
                return text_of(handle[name][handle[name].dtype.names[0]])
            return text_of(handle[name][handle[name].attrs["_index"]][()])

        for name, options in wanted.items():
            item = handle[name]
            if isinstance(item, h5py.Group):
                attributes = dict(item.attrs)
                letters = attributes.get("encoding-type", attributes.get("h5sparse_format"))
                shape = attributes.get("shape", attributes.get("h5sparse_shape"))
                want = sparse_of(item, shape, letters.startswith("csc"))
            else:
                want = item[()]
            features = index("var" if not options.get("raw") else name.replace("X", "var"))
            for matrix in (H5adMatrix(path, **options), open_array(path, name)):
                same(matrix, want.T)
                assert matrix.row_names.tolist() == features
                assert matrix.column_names.tolist() == index("obs")
            same(H5adMatrix(path, transpose=False, **options), want)
    assert isinstance(open_array(path), H5adMatrix)


@pytest.mark.parametrize("path", H5AD, ids=identifiers)
def test_real_h5ad_as_anndata_reads_it(path: Path) -> None:
    try:
        want = anndata.read_h5ad(path)
    except Exception as error:  # anndata's own trouble with some old files
        pytest.skip(f"anndata cannot read it: {error}")
    matrix = H5adMatrix(path)
    same(matrix, want.X.T)
    assert matrix.row_names.tolist() == want.var_names.tolist()
    assert matrix.column_names.tolist() == want.obs_names.tolist()


def test_a_real_file_without_matrix() -> None:
    real.require()
    path = real.location() / "c2_h5ad" / "scverse+anndata-rs" / NO_MATRIX
    with error_naming(KeyError, path, "no 'X'"):
        H5adMatrix(path)


@pytest.mark.parametrize("path", files("c2_h5ad", ".h5mu"), ids=identifiers)
def test_real_h5mu(path: Path) -> None:
    with error_naming(ValueError, path, "mod/mod1", "mod/mod2"):
        open_array(path)
    with h5py.File(path) as handle:
        for modality in ("mod/mod1", "mod/mod2"):
            matrix = open_array(path, modality)
            same(matrix, handle[modality]["X"][()].T)
            obs = handle[modality]["obs"]
            column = obs[obs.attrs["_index"]]
            want = column["values"] if isinstance(column, h5py.Group) else column
            assert matrix.column_names.tolist() == text_of(want[()])


@pytest.mark.parametrize("path", files("c3_loom", ".loom"), ids=identifiers)
def test_real_loom(path: Path) -> None:
    matrix = open_array(path)
    assert type(matrix) is LoomMatrix
    with h5py.File(path) as handle:
        same(matrix, handle["matrix"][()])
        for ours, group, candidates in (
            (matrix.row_names, "row_attrs", ("Gene", "var_names")),
            (matrix.column_names, "col_attrs", ("CellID", "obs_names", "Cell")),
        ):
            first = next(name for name in candidates if name in handle[group])
            assert ours.tolist() == text_of(handle[group][first][()])


def test_real_files_of_r() -> None:
    real.require()
    folder = real.location() / "c4_r" / "made-with-bioconductor"
    matrix = open_array(folder / "dense.h5", "numeric")
    assert matrix.shape == (300, 70)
    assert matrix.row_names.tolist() == [f"gene{i}" for i in range(1, 301)]
    assert matrix.column_names.tolist() == [f"cell{i}" for i in range(1, 71)]
    native = Hdf5DenseArray(folder / "dense.h5", "numeric", native_order=True)
    assert native.row_names.tolist() == matrix.column_names.tolist()
    cube = open_array(folder / "dense.h5", "array3")
    assert cube.row_names is None
    assert cube.column_names.tolist() == list("abcdefghij")
    assert open_array(folder / "dense.h5", "zeros").row_names is None
    with error_naming(ValueError, "'numeric'", "'array3'", "'zeros'") as caught:
        open_array(folder / "dense.h5")
    assert "dimnames" not in str(caught.value)
    with error_naming(ValueError, "half", "matrix"):
        open_array(folder / "tenx.h5")
    half = open_array(folder / "tenx.h5", "half")
    assert type(half) is TenxMatrix
    assert half.shape == (500, 10)
    assert half.row_names.tolist() == [f"ENSG{i}" for i in range(1, 501)]
    assert half.column_names.tolist() == [f"AAAC-{i}" for i in range(1, 11)]
    with error_naming(ValueError, "assay001", "assay002"):
        open_array(folder / "se" / "assays.h5")


def test_there_are_real_files() -> None:
    real.require()
    assert len(files("c1_10x", ".h5")) == 5
    assert len(H5AD) >= 25
    assert len(files("c3_loom", ".loom")) == 7


def test_delayed_arrays_keep_their_class(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as handle:
        want = write_tenx(handle.create_group("matrix"))
    matrix = TenxMatrix(path)
    assert isinstance(matrix, DelayedArray)
    numpy.testing.assert_array_equal(matrix.sum(axis=0), want.sum(axis=0))
    numpy.testing.assert_array_equal(to_dense_array((matrix * 2).T), (want * 2).T)
