"""Files in others' formats: written by us, read by those whose formats they are."""

import json

import anndata
import h5py
import loompy
import numpy as np
import pandas
import pytest
import scipy.sparse
from biocframe import BiocFrame
from biocutils import Factor
from delayedarray import to_scipy_sparse_matrix

import filebackedarray as fba
from filebackedarray._shell import main
from real import location, require


@pytest.fixture
def matrix():
    """Features x cells, with empty rows and columns."""
    x = scipy.sparse.random(40, 25, 0.2, format="csc", dtype=np.float64, random_state=0)
    x.data = np.round(x.data * 20) + 1
    x[7, :] = 0
    x[:, 3] = 0
    x = scipy.sparse.csc_matrix(x.astype(np.int32))
    x.eliminate_zeros()
    return x


def names(kind, count):
    return [f"{kind}{number}" for number in range(count)]


GENES, CELLS = names("gene", 40), names("cell", 25)


def frames():
    """The same annotations as each kind of table."""
    columns = {
        "text": np.array(["a", "ü"] * 12 + ["c"], object),
        "number": np.arange(25) / 4,
        "count": np.arange(25, dtype=np.int16),
        "flag": np.arange(25) % 3 == 0,
    }
    pandas_frame = pandas.DataFrame(columns, index=CELLS)
    return {
        "mapping": columns,
        "pandas": pandas_frame,
        "biocframe": BiocFrame(dict(columns.items()), row_names=CELLS),
    }


@pytest.mark.parametrize("version", [2, 3])
def test_tenx_is_read_by_scanpy_and_by_us(tmp_path, matrix, version):
    import scanpy

    path = tmp_path / "x.h5"
    symbols = [f"symbol{number % 30}" for number in range(40)]
    written = fba.write_tenx(
        matrix, path, row_names=GENES, column_names=CELLS, gene_names=symbols, genome="GRCh38", version=version
    )
    assert isinstance(written, fba.TenxMatrix)
    assert (to_scipy_sparse_matrix(written, "csc") != matrix).nnz == 0
    assert written.row_names.tolist() == GENES
    assert written.column_names.tolist() == CELLS
    with pytest.warns(UserWarning, match="not unique"):
        read = scanpy.read_10x_h5(path)
    assert (scipy.sparse.csc_matrix(read.X.T) != matrix).nnz == 0
    assert read.obs_names.tolist() == CELLS
    assert read.var_names.tolist() == symbols
    assert read.var["gene_ids"].tolist() == GENES
    if version == 3:
        assert set(read.var["genome"]) == {"GRCh38"}
        assert set(read.var["feature_types"]) == {"Gene Expression"}


def test_tenx_version_3_is_what_cell_ranger_writes(tmp_path, matrix):
    path = tmp_path / "x.h5"
    fba.write_tenx(matrix, path, row_names=GENES, column_names=CELLS)
    with h5py.File(path) as file:
        assert file.attrs["filetype"] == "matrix"
        assert file.attrs["version"] == 2
        assert list(file) == ["matrix"]
        group = file["matrix"]
        assert {name: group[name].dtype.str for name in ("data", "indices", "indptr", "shape")} == {
            "data": "<i4",
            "indices": "<i8",
            "indptr": "<i8",
            "shape": "<i4",
        }
        assert group["shape"][:].tolist() == [40, 25]
        assert group["barcodes"].dtype == "S6"
        assert set(group["features"]) == {"_all_tag_keys", "feature_type", "genome", "id", "name"}
        assert group["features/_all_tag_keys"][:].tolist() == [b"genome"]
        assert group["data"].compression == "gzip"
        assert group["data"].shuffle


@pytest.mark.parametrize("kind", ["mapping", "pandas", "biocframe"])
@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
def test_h5ad_is_read_by_anndata(tmp_path, matrix, layout, kind):
    path = tmp_path / "x.h5ad"
    embedding = np.random.default_rng(0).normal(size=(25, 3))
    written = fba.write_h5ad(
        matrix,
        path,
        row_names=GENES,
        column_names=CELLS,
        obs=frames()[kind],
        layers={"double": matrix * 2.5},
        obsm={"X_pca": embedding},
        varm={"loadings": np.ones((40, 2), np.float32)},
        uns={"a": {"b": 1, "c": "text", "d": None, "e": np.arange(4)}, "list": ["x", "y"], "flag": True},
        layout=layout,
    )
    assert isinstance(written, fba.H5adMatrix)
    assert np.array_equal(np.asarray(written), matrix.toarray())
    read = anndata.read_h5ad(path)
    as_dense = (lambda x: x.toarray()) if layout != "dense" else np.asarray
    if layout != "dense":
        assert read.X.format == layout
    assert np.array_equal(as_dense(read.X), matrix.T.toarray())
    assert np.array_equal(as_dense(read.layers["double"]), matrix.T.toarray() * 2.5)
    assert read.X.dtype == np.int32
    assert read.obs_names.tolist() == CELLS
    assert read.var_names.tolist() == GENES
    assert list(read.obs) == ["text", "number", "count", "flag"]
    assert read.obs["text"].tolist() == frames()["mapping"]["text"].tolist()
    for name in ("number", "count", "flag"):
        assert np.array_equal(read.obs[name], frames()["mapping"][name])
        assert read.obs[name].dtype == frames()["mapping"][name].dtype
    assert np.array_equal(read.obsm["X_pca"], embedding)
    assert read.varm["loadings"].dtype == np.float32
    assert read.uns["a"]["b"] == 1
    assert read.uns["a"]["c"] == "text"
    assert read.uns["a"]["d"] is None
    assert read.uns["a"]["e"].tolist() == [0, 1, 2, 3]
    assert list(read.uns["list"]) == ["x", "y"]
    backed = anndata.read_h5ad(path, backed="r")
    assert np.array_equal(as_dense(backed.X[3:9]), matrix.T.toarray()[3:9])
    backed.file.close()
    # What anndata makes of it when it writes it again is the same.
    again = tmp_path / "again.h5ad"
    read.write_h5ad(again)
    assert_same_elements(path, again, ignore={"obs/text"})


def assert_same_elements(ours, theirs, ignore=frozenset()):
    """Every object, its attributes, type and values."""

    def listed(path):
        found = {}
        with h5py.File(path) as file:

            def note(name, item):
                if any(name == skipped or name.startswith(skipped + "/") for skipped in ignore):
                    return
                attributes = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
                if isinstance(item, h5py.Dataset):
                    value = None if item.shape is None else item[()]
                    found[name] = (attributes, item.dtype, item.shape, np.asarray(value).tolist())
                else:
                    found[name] = (attributes, None, None, sorted(item))

            file.visititems(note)
            found["/"] = {key: np.asarray(value).tolist() for key, value in file.attrs.items()}
        return found

    left, right = listed(ours), listed(theirs)
    assert set(left) == set(right)
    for name, item in left.items():
        assert item == right[name], name


def test_columns_with_missing_values(tmp_path, matrix):
    categories = pandas.Categorical(["b", None, "a"] * 8 + ["b"], categories=["b", "a", "unused"], ordered=True)
    obs = {
        "categories": categories,
        "factor": Factor(np.array([0, 1, -1, 1, 0] * 5), ["low", "high"]),
        "integers": pandas.array([1, None, 3] * 8 + [4], dtype="Int32"),
        "booleans": pandas.array([True, None, False] * 8 + [True], dtype="boolean"),
        "strings": ["x", None, "y"] * 8 + ["z"],
        "masked": np.ma.MaskedArray(np.arange(25), np.arange(25) == 2),
        "floats": [1.5, None, 2.0] * 8 + [3.0],
    }
    path = tmp_path / "x.h5ad"
    fba.write_h5ad(matrix, path, obs=obs)
    read = anndata.read_h5ad(path).obs
    assert read["categories"].cat.ordered
    assert read["categories"].cat.categories.tolist() == ["b", "a", "unused"]
    assert read["categories"].isna().sum() == 8
    assert read["factor"].tolist()[:2] == ["low", "high"]
    assert read["factor"].isna().sum() == 5
    assert read["integers"].dtype == "Int32"
    assert read["integers"].isna().sum() == 8
    assert read["booleans"].dtype == "boolean"
    assert read["strings"].isna().sum() == 8
    assert read["strings"].dropna().tolist() == ["x", "y"] * 8 + ["z"]
    assert read["masked"].isna().tolist() == [number == 2 for number in range(25)]
    assert np.isnan(read["floats"].iloc[1])
    assert read["floats"].iloc[24] == 3.0


def test_cells_by_genes(tmp_path, matrix):
    path = tmp_path / "x.h5ad"
    cells = scipy.sparse.csr_matrix(matrix.T)
    written = fba.write_h5ad(cells, path, row_names=CELLS, column_names=GENES, transpose=False)
    assert written.shape == (25, 40)
    assert written.row_names.tolist() == CELLS
    read = anndata.read_h5ad(path)
    assert read.X.format == "csr"
    assert (cells != read.X).nnz == 0
    assert read.var_names.tolist() == GENES


def test_tables_wider_than_an_attribute_of_old(tmp_path, matrix):
    path = tmp_path / "x.h5ad"
    obs = {f"a column with quite a long name, number {number}": np.arange(25) for number in range(2000)}
    fba.write_h5ad(matrix, path, obs=obs)
    read = anndata.read_h5ad(path)
    assert list(read.obs) == list(obs)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"row_names": GENES[:-1]}, ValueError, "39 names for an axis of extent 40"),
        ({"row_names": [*GENES[:-1], GENES[0]]}, ValueError, "more than once"),
        ({"row_names": [*GENES[:-1], None]}, TypeError, "name 39 is None"),
        ({"obs": {"a/b": np.arange(25)}}, ValueError, "no '/'"),
        ({"obs": {"a": np.arange(24)}}, ValueError, "24 values"),
        ({"obs": {"a": np.arange(25).astype("M8[s]")}}, TypeError, "column 'a' of 'obs'"),
        ({"obs": {"a": [object()] * 25}}, TypeError, "object"),
        ({"obs": {"_index": np.arange(25)}}, ValueError, "_index"),
        ({"obs": 7}, TypeError, "mapping of columns"),
        ({"layers": {"a": np.zeros((40, 24))}}, ValueError, "layer 'a'"),
        ({"obsm": {"a": np.zeros((24, 2))}}, ValueError, "25 rows"),
        ({"uns": {"a": object()}}, TypeError, "uns"),
        ({"layout": "coo"}, ValueError, "layout"),
    ],
)
def test_what_does_not_go_with_the_matrix_is_refused(tmp_path, matrix, arguments, error, match):
    path = tmp_path / "x.h5ad"
    with pytest.raises(error, match=match):
        fba.write_h5ad(matrix, path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_tenx_needs_names(tmp_path, matrix):
    with pytest.raises(ValueError, match="row_names"):
        fba.write_tenx(matrix, tmp_path / "x.h5", column_names=CELLS)
    with pytest.raises(ValueError, match="255 characters"):
        fba.write_tenx(matrix, tmp_path / "x.h5", row_names=["g" * 256, *GENES[1:]], column_names=CELLS)
    with pytest.raises(ValueError, match="version"):
        fba.write_tenx(matrix, tmp_path / "x.h5", row_names=GENES, column_names=CELLS, version=1)
    assert list(tmp_path.iterdir()) == []


def test_loom(tmp_path, matrix):
    path = tmp_path / "x.loom"
    written = fba.write_loom(
        matrix,
        path,
        row_names=GENES,
        column_names=CELLS,
        row_attributes={"Chromosome": ["1"] * 40, "flag": np.arange(40) % 2 == 0},
        column_attributes={"depth": np.asarray(matrix.sum(axis=0)).ravel(), "tSNE": np.zeros((25, 2))},
        layers={"spliced": matrix * 0.5},
    )
    assert isinstance(written, fba.LoomMatrix)
    assert np.array_equal(np.asarray(written), matrix.toarray())
    assert written.row_names.tolist() == GENES
    assert np.array_equal(np.asarray(fba.LoomMatrix(path, "spliced")), matrix.toarray() * 0.5)
    with h5py.File(path) as file:
        assert file["attrs/LOOM_SPEC_VERSION"].asstr()[()] == "3.0.0"
        assert set(file) == {"attrs", "matrix", "layers", "row_attrs", "col_attrs", "row_graphs", "col_graphs"}
        assert h5py.check_string_dtype(file["row_attrs/Gene"].dtype).length is None
        assert file["row_attrs/flag"].dtype == np.uint8
    with loompy.connect(path, "r", validate=True) as read:
        assert np.array_equal(read[:, :], matrix.toarray())
        assert read.ra.Gene.tolist() == GENES
        assert read.ca.CellID.tolist() == CELLS
        assert np.array_equal(read.layers["spliced"][:, :], matrix.toarray() * 0.5)
    with pytest.raises(ValueError, match="not empty"):
        fba.write_loom(np.zeros((0, 3)), tmp_path / "empty.loom")


def real_tenx():
    require()
    return min((location() / "c1_10x").rglob("*.h5"), key=lambda path: (path.stat().st_size, path.name))


def test_a_real_matrix_through_all_formats(tmp_path):
    """10x Genomics -> h5ad -> loom -> 10x version 2 -> HDF5 -> 10x: by the command, nothing changes."""
    import scanpy

    source = real_tenx()
    x = fba.open_array(source)
    expected = to_scipy_sparse_matrix(x, "csc")
    steps = [("h5ad", "a.h5ad"), ("loom", "b.loom"), ("tenx-v2", "c.h5"), ("sparse", "d.h5::m"), ("array", "e.h5::n/o")]
    before = str(source)
    for to, name in steps:
        after = str(tmp_path / name)
        assert main(["convert", before, after, "--to", to, "--quiet", "--json"]) == 0
        path, _, inside = after.partition("::")
        read = fba.open_array(path, inside or None)
        assert np.array_equal(np.asarray(read), expected.toarray()), to
        if to in ("h5ad", "loom", "tenx-v2"):
            assert read.row_names.tolist() == x.row_names.tolist()
            assert read.column_names.tolist() == x.column_names.tolist()
            before = after
    ours = anndata.read_h5ad(tmp_path / "a.h5ad")
    theirs = scanpy.read_10x_h5(source)
    assert (ours.X != theirs.X).nnz == 0
    assert ours.obs_names.tolist() == theirs.obs_names.tolist()


def objects():
    """AnnData objects of many kinds of matrices."""
    rng = np.random.default_rng(0)
    sparse = scipy.sparse.random(300, 120, 0.1, format="csr", dtype=np.float32, random_state=1)
    adata = anndata.AnnData(
        sparse.copy(),
        obs=pandas.DataFrame(
            {"group": pandas.Categorical(["a", "b", "c"] * 100), "n": np.arange(300), "text": ["x"] * 299 + ["y"]},
            index=names("cell", 300),
        ),
        var=pandas.DataFrame({"flag": np.arange(120) % 2 == 0}, index=names("gene", 120)),
        uns={"neighbors": {"params": {"k": 15, "method": "umap"}}, "colors": np.array(["#000", "#fff"])},
    )
    adata.layers["csc"] = scipy.sparse.csc_matrix(sparse * 2)
    adata.layers["dense"] = rng.normal(size=(300, 120))
    adata.obsm["X_pca"] = rng.normal(size=(300, 300)).astype(np.float32)
    adata.obsm["frame"] = pandas.DataFrame({"a": np.arange(300)}, index=adata.obs_names)
    adata.obsm["sparse"] = scipy.sparse.csr_matrix(rng.poisson(0.1, (300, 5)))
    adata.obsp["distances"] = scipy.sparse.random(300, 300, 0.02, format="csr", random_state=2)
    adata.raw = adata
    empty = anndata.AnnData(obs=pandas.DataFrame(index=names("cell", 3)), var=pandas.DataFrame(index=["g"]))
    dense = anndata.AnnData(rng.poisson(1, (400, 200)).astype(np.int64))
    return {"full": adata, "empty": empty, "dense": dense}


@pytest.mark.parametrize("kind", ["full", "empty", "dense"])
def test_anndata_objects_are_written_as_anndata_writes_them(tmp_path, kind):
    adata = objects()[kind]
    ours, theirs = tmp_path / "ours.h5ad", tmp_path / "theirs.h5ad"
    fba.write_anndata(adata, ours)
    adata.write_h5ad(theirs, compression="gzip")
    assert_same_elements(ours, theirs)


def test_an_object_is_written_over_the_file_that_backs_it(tmp_path):
    path = tmp_path / "x.h5ad"
    adata = objects()["full"]
    adata.write_h5ad(path)
    before = adata.X.copy()
    backed = anndata.read_h5ad(path, backed="r")
    backed.obs["new"] = np.arange(300)
    fba.write_anndata(backed, path)
    backed.file.close()
    read = anndata.read_h5ad(path)
    assert (before != read.X).nnz == 0
    assert read.obs["new"].tolist() == list(range(300))
    lazy = fba.to_anndata(fba.H5adMatrix(path), obs=read.obs, var=read.var)
    fba.write_anndata(lazy, path)
    again = anndata.read_h5ad(path)
    assert (before != again.X).nnz == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.h5ad"]


def test_an_anndata_object_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "x.h5ad"
    adata = objects()["full"]
    adata.write_h5ad(path)
    content = path.read_bytes()
    adata.uns["bad"] = object()
    with pytest.raises(Exception, match="bad"):
        fba.write_anndata(adata, path)
    del adata.uns["bad"]
    with pytest.raises(FileExistsError):
        fba.write_anndata(adata, path, overwrite=False)
    with pytest.raises(TypeError, match="AnnData"):
        fba.write_anndata(adata.X, path)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.h5ad"]


def test_rows_and_columns_that_the_command_takes(tmp_path, matrix, capsys):
    source = tmp_path / "a.h5"
    fba.write_tenx(matrix, source, row_names=GENES, column_names=CELLS)
    chosen = tmp_path / "genes.txt"
    chosen.write_text("gene7\ngene3\ngene20\n")
    target = tmp_path / "b.h5ad"
    arguments = ["convert", str(source), str(target), "--to", "h5ad", "--rows", str(chosen), "--columns", "5:9"]
    assert main([*arguments, "--dtype", "float32", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [3, 4]
    read = anndata.read_h5ad(target)
    assert read.X.dtype == np.float32
    assert np.array_equal(read.X.toarray().T, matrix.toarray()[[7, 3, 20]][:, 5:9])
    assert read.var_names.tolist() == ["gene7", "gene3", "gene20"]
    assert read.obs_names.tolist() == CELLS[5:9]
    content = target.read_bytes()
    for wrong, said in (
        (arguments, "exists"),
        ([*arguments[:-1], "9:99", "--overwrite"], "not within"),
        ([*arguments[:-1], str(tmp_path / "none.txt"), "--overwrite"], "No such file"),
        ([*arguments[:2], str(target) + "::x", *arguments[3:]], "give no name"),
        ([*arguments, "--overwrite", "--chunks", "1xx2"], "--chunks"),
    ):
        assert main([*wrong, "--quiet"]) == 1
        assert said in capsys.readouterr().err
    chosen.write_text("gene7\nnobody\n")
    assert main([*arguments, "--overwrite"]) == 1
    assert "nobody" in capsys.readouterr().err
    assert target.read_bytes() == content
