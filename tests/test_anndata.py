"""AnnData objects whose matrices stay in the file, and what scanpy does with them: as with those in memory."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import dask.array
import h5py
import numpy
import pandas
import pytest
import scanpy
import scipy.sparse
from dask.array.core import PerformanceWarning
from numba.core.errors import NumbaError

import real
from filebackedarray import H5adMatrix, Hdf5CompressedSparseMatrix, Hdf5DenseArray, to_anndata
from helpers import error_naming, random_compressed

GENES, CELLS = 120, 300
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "scanpy_lazy.py"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, numpy.ndarray]:
    """Counts of two kinds of cells, genes x cells: compressed by cell, by gene, and dense."""
    path = tmp_path_factory.mktemp("anndata") / "counts.h5"
    rng = numpy.random.default_rng(8)
    rates = rng.gamma(0.5, 2.0, (GENES, 2))[:, numpy.arange(CELLS) % 2] * rng.gamma(4.0, 0.25, CELLS)
    counts = rng.poisson(rates).astype("i4")
    counts[0] = 0
    with h5py.File(path, "w") as handle:
        handle.create_dataset("dense", data=counts, chunks=(50, 70))
        for name, matrix in (("m", scipy.sparse.csc_matrix(counts)), ("by_gene", scipy.sparse.csr_matrix(counts))):
            for member in ("data", "indices", "indptr"):
                handle.create_dataset(f"{name}/{member}", data=getattr(matrix, member), compression="gzip", chunks=True)
    return path, counts


@pytest.fixture
def matrix(file: tuple[Path, numpy.ndarray]) -> Hdf5CompressedSparseMatrix:
    return Hdf5CompressedSparseMatrix(file[0], "m", (GENES, CELLS), True)


def values(x: Any) -> numpy.ndarray:
    computed = x.compute() if isinstance(x, dask.array.Array) else x
    return computed.toarray() if scipy.sparse.issparse(computed) else numpy.asarray(computed)


def test_the_object(file: tuple[Path, numpy.ndarray], matrix: Hdf5CompressedSparseMatrix) -> None:
    counts = file[1]
    obs = pandas.DataFrame({"kind": numpy.arange(CELLS) % 2}, index=[f"c{cell}" for cell in range(CELLS)])
    var = pandas.DataFrame(index=[f"g{gene}" for gene in range(GENES)])
    adata = to_anndata(
        matrix,
        obs,
        var,
        layers={"log": numpy.log1p(matrix)},
        chunks=90,
        uns={"a": 1},
        obsm={"o": numpy.ones((CELLS, 2))},
    )
    assert adata.shape == (CELLS, GENES)
    assert isinstance(adata.X, dask.array.Array)
    assert type(adata.X._meta) is scipy.sparse.csr_matrix
    assert adata.X.chunks == adata.layers["log"].chunks == ((90, 90, 90, 30), (GENES,))
    assert adata.X.dtype == counts.dtype
    assert adata.uns["a"] == 1
    assert adata.obsm["o"].shape == (CELLS, 2)
    numpy.testing.assert_array_equal(values(adata.X), counts.T)
    numpy.testing.assert_array_equal(values(adata.layers["log"]), numpy.log1p(counts.T))
    numpy.testing.assert_array_equal(values(adata["c5":"c50", ["g7", "g3"]].X), counts.T[5:51][:, [7, 3]])
    kept = adata[adata.obs["kind"] == 1].copy()
    assert isinstance(kept.X, dask.array.Array)
    numpy.testing.assert_array_equal(values(kept.X), counts.T[1::2])
    numpy.testing.assert_array_equal(values(adata.to_memory().X), counts.T)
    joined = anndata.concat([adata, adata], index_unique="-")
    assert isinstance(joined.X, dask.array.Array)
    numpy.testing.assert_array_equal(values(joined.X), numpy.concatenate([counts.T, counts.T]))


def test_either_orientation(file: tuple[Path, numpy.ndarray], matrix: Hdf5CompressedSparseMatrix) -> None:
    counts = file[1]
    for x, cell_axis in ((matrix, 1), (matrix, -1), (matrix.seed, 1), (matrix.T, 0)):
        adata = to_anndata(x, cell_axis=cell_axis)
        assert type(adata.X._meta) is scipy.sparse.csr_matrix
        numpy.testing.assert_array_equal(values(adata.X), counts.T)
    dense = Hdf5DenseArray(file[0], "dense", native_order=True)
    for chunks, rows in ((None, CELLS), (140, 140), ("40 kB", 70)):
        adata = to_anndata(dense, chunks=chunks)
        assert type(adata.X._meta) is numpy.ndarray
        # All genes of each cell.
        assert adata.X.chunksize == (rows, GENES)
        numpy.testing.assert_array_equal(values(adata.X), counts.T)


def test_compressed_by_gene(file: tuple[Path, numpy.ndarray]) -> None:
    path, counts = file
    by_gene = Hdf5CompressedSparseMatrix(path, "by_gene", (GENES, CELLS), False)
    adata = to_anndata(by_gene, chunks="3 kB")
    assert type(adata.X._meta) is scipy.sparse.csc_matrix
    assert adata.X.chunksize[0] == CELLS
    assert adata.X.numblocks[1] > 3
    numpy.testing.assert_array_equal(values(adata.X), counts.T)
    # By cell on request, at the price that is told.
    with pytest.warns(PerformanceWarning, match=r"about 3\.0 times"):
        adata = to_anndata(by_gene, chunks=100)
    assert type(adata.X._meta) is scipy.sparse.csr_matrix
    numpy.testing.assert_array_equal(values(adata.X), counts.T)


def test_wrong_arguments(
    file: tuple[Path, numpy.ndarray],
    matrix: Hdf5CompressedSparseMatrix,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        to_anndata(Hdf5DenseArray(file[0], "m/data"))
    with pytest.raises(ValueError, match="layer 'l'"):
        to_anndata(matrix, layers={"l": matrix[:, :5]})
    with pytest.raises(ValueError, match="'chunks'"):
        to_anndata(matrix, chunks=0)
    with pytest.raises(ValueError, match="'threads'"):
        to_anndata(matrix, threads=0)
    with pytest.raises(ValueError, match="as many rows"):
        to_anndata(matrix, obs=pandas.DataFrame(index=["a"]))
    with pytest.raises((ValueError, IndexError), match="axis"):
        to_anndata(matrix, cell_axis=2)
    lost = random_compressed((5, 6), True)
    lost.write(tmp_path / "lost.h5")
    adata = to_anndata(Hdf5CompressedSparseMatrix(tmp_path / "lost.h5", "m", (5, 6), True))
    (tmp_path / "lost.h5").unlink()
    with error_naming(FileNotFoundError, tmp_path / "lost.h5"):
        adata.X.compute()
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(ImportError, match=r"pip install 'filebackedarray\[anndata\]'"):
        to_anndata(matrix)


@pytest.mark.parametrize("subset", [False, True])
def test_the_file_itself_is_overwritten(tmp_path: Path, subset: bool) -> None:
    # anndata empties it first: docs/anndata.md says so. It is an error at least, and no file of other values.
    path = tmp_path / "a.h5ad"
    anndata.AnnData(scipy.sparse.random(40, 30, 0.2, format="csr", random_state=0)).write_h5ad(path)
    adata = to_anndata(H5adMatrix(path), chunks=10)
    if subset:
        adata = adata[:5].copy()
    with error_naming(OSError, path, "changed after the array that reads it was made"):
        adata.write_h5ad(path)
    # In the way that the page has.
    anndata.AnnData(scipy.sparse.random(40, 30, 0.2, format="csr", random_state=0)).write_h5ad(path)
    adata = to_anndata(H5adMatrix(path), chunks=10)
    want = values(adata.X)
    adata.write_h5ad(tmp_path / "new.h5ad")
    (tmp_path / "new.h5ad").replace(path)
    numpy.testing.assert_array_equal(values(to_anndata(H5adMatrix(path)).X), want)
    with error_naming(OSError, path, "changed after the array that reads it was made"):
        adata.to_memory()


def normalised(adata: Any) -> None:
    scanpy.pp.normalize_total(adata, target_sum=1e4)
    scanpy.pp.log1p(adata)


def metrics(percent_top: list[int] | None) -> Callable[[Any], None]:
    def find(adata: Any) -> None:
        adata.var["mito"] = numpy.arange(adata.n_vars) % 10 == 0
        scanpy.pp.calculate_qc_metrics(adata, qc_vars=["mito"], percent_top=percent_top, inplace=True)

    return find


def variable(flavor: str, batch: bool = False) -> Callable[[Any], None]:
    def find(adata: Any) -> None:
        normalised(adata)
        adata.obs["batch"] = numpy.where(numpy.arange(adata.n_obs) % 3 == 0, "a", "b")
        scanpy.pp.highly_variable_genes(adata, flavor=flavor, n_top_genes=30, batch_key="batch" if batch else None)

    return find


def scaled(**options: Any) -> Callable[[Any], None]:
    def scale(adata: Any) -> None:
        normalised(adata)
        scanpy.pp.scale(adata, **options)

    return scale


def of_two_kinds(adata: Any) -> None:
    normalised(adata)
    adata.obs["kind"] = pandas.Categorical(numpy.where(numpy.arange(adata.n_obs) % 2, "a", "b"))


def ranked(method: str) -> Callable[[Any], None]:
    def rank(adata: Any) -> None:
        of_two_kinds(adata)
        scanpy.tl.rank_genes_groups(adata, "kind", method=method)

    return rank


WORKS: dict[str, Callable[[Any], object]] = {
    "calculate_qc_metrics": metrics(None),
    "calculate_qc_metrics with percent_top": metrics([10, 50]),
    "filter_cells": lambda adata: scanpy.pp.filter_cells(adata, min_genes=60),
    "filter_genes by cells": lambda adata: scanpy.pp.filter_genes(adata, min_cells=100),
    "filter_genes by counts": lambda adata: scanpy.pp.filter_genes(adata, min_counts=200),
    "normalize_total": lambda adata: scanpy.pp.normalize_total(adata),
    "normalize_total but for highly expressed": lambda adata: scanpy.pp.normalize_total(
        adata, exclude_highly_expressed=True
    ),
    "log1p": normalised,
    "sqrt": lambda adata: scanpy.pp.sqrt(adata),
    "highly_variable_genes seurat": variable("seurat"),
    "highly_variable_genes cell_ranger": variable("cell_ranger"),
    "highly_variable_genes by batch": variable("seurat", batch=True),
    "scale": scaled(),
    "scale without centring": scaled(zero_center=False, max_value=5),
    "sample": lambda adata: scanpy.pp.sample(adata, n=50, rng=0),
    "subsample": lambda adata: scanpy.pp.subsample(adata, n_obs=50),
    "filter_genes_dispersion": lambda adata: scanpy.pp.filter_genes_dispersion(adata, n_top_genes=30, log=False),
    "rank_genes_groups": ranked("t-test"),
    "rank_genes_groups overestimating": ranked("t-test_overestim_var"),
}


@pytest.mark.parametrize("name", WORKS)
def test_scanpy_does_the_same(name: str, matrix: Hdf5CompressedSparseMatrix) -> None:
    lazy = to_anndata(matrix, chunks=80)
    loaded = lazy.to_memory()
    if "highly expressed" in name:
        # Of csr_matrix in memory, scanpy 1.11 computes another median than of all else.
        loaded.X = loaded.X.toarray()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        WORKS[name](lazy)
        WORKS[name](loaded)
    assert isinstance(lazy.X, dask.array.Array)
    assert lazy.shape == loaded.shape
    assert lazy.X.dtype == loaded.X.dtype
    numpy.testing.assert_allclose(values(lazy.X), values(loaded.X), rtol=1e-5, atol=1e-6)
    for mine, theirs in ((lazy.obs, loaded.obs), (lazy.var, loaded.var)):
        pandas.testing.assert_frame_equal(mine, theirs, check_dtype=False, rtol=1e-3, atol=1e-4)
    if "rank_genes_groups" in name:
        for column in ("scores", "logfoldchanges"):
            mine, theirs = (each.uns["rank_genes_groups"][column]["a"] for each in (lazy, loaded))
            numpy.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def test_pca(matrix: Hdf5CompressedSparseMatrix) -> None:
    lazy = to_anndata(matrix, chunks=80)
    loaded = lazy.to_memory()
    for adata in (lazy, loaded):
        variable("seurat")(adata)
        scanpy.pp.pca(adata, n_comps=5, svd_solver="covariance_eigh")
    scores = lazy.obsm["X_pca"]
    assert isinstance(scores, dask.array.Array)
    mine, theirs = numpy.abs(values(scores)), numpy.abs(loaded.obsm["X_pca"])
    # Those that stand out; the others' directions are of noise.
    numpy.testing.assert_allclose(mine[:, 0], theirs[:, 0], rtol=1e-3, atol=1e-3 * theirs.max())
    # scanpy divides by n here, and by n - 1 in memory.
    numpy.testing.assert_allclose(
        lazy.uns["pca"]["variance"] * CELLS / (CELLS - 1), loaded.uns["pca"]["variance"], rtol=1e-3
    )


def regressed(adata: Any) -> None:
    adata.X = adata.X.astype("f4")
    adata.obs["size"] = numpy.linspace(0, 1, adata.n_obs)
    scanpy.pp.regress_out(adata, "size")


def with_combat(adata: Any) -> None:
    of_two_kinds(adata)
    scanpy.pp.combat(adata, "kind")


def with_neighbors(adata: Any) -> None:
    normalised(adata)
    scanpy.pp.neighbors(adata, use_rep="X")


FAILS: dict[str, Callable[[Any], object]] = {
    "downsample_counts": lambda adata: scanpy.pp.downsample_counts(adata, counts_per_cell=10),
    "regress_out": regressed,
    "aggregate": lambda adata: scanpy.get.aggregate(adata, "kind", ["sum"]),
    "score_genes": lambda adata: scanpy.tl.score_genes(adata, list(adata.var_names[:5]), n_bins=3),
    "combat": with_combat,
    "scrublet": lambda adata: scanpy.pp.scrublet(adata, threshold=0.5, n_prin_comps=5),
    "scrublet_simulate_doublets": lambda adata: scanpy.pp.scrublet_simulate_doublets(adata),
    "recipe_weinreb17": lambda adata: scanpy.pp.recipe_weinreb17(adata, n_pcs=5),
    "pca without centring": lambda adata: scanpy.pp.pca(adata, n_comps=5, zero_center=False),
    "neighbors of X": with_neighbors,
    "experimental highly_variable_genes": lambda adata: scanpy.experimental.pp.highly_variable_genes(adata),
    "normalize_pearson_residuals": lambda adata: scanpy.experimental.pp.normalize_pearson_residuals(adata),
    "wilcoxon": ranked("wilcoxon"),
    "logreg": ranked("logreg"),
    "obs_df": lambda adata: scanpy.get.obs_df(adata, keys=[adata.var_names[3]]),
}


@pytest.mark.parametrize("name", FAILS)
def test_what_scanpy_cannot_do(name: str, matrix: Hdf5CompressedSparseMatrix) -> None:
    # docs/anndata.md says so; where a later scanpy can, it should say that.
    adata = to_anndata(
        matrix,
        obs=pandas.DataFrame(
            {"kind": pandas.Categorical(["a", "b"] * (CELLS // 2))}, index=[f"c{cell}" for cell in range(CELLS)]
        ),
        chunks=80,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError, IndexError, NotImplementedError, NumbaError)):
            FAILS[name](adata)


def test_what_scanpy_does_wrong(matrix: Hdf5CompressedSparseMatrix) -> None:
    # docs/anndata.md warns of it, and of the recipes that call it; where a later scanpy is right, it should not.
    adata = to_anndata(matrix.astype("f4"), chunks=80)
    before = values(adata.X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.pp.normalize_per_cell(adata, 1e4)
    numpy.testing.assert_array_equal(values(adata.X), before)


def test_the_page_names_every_function() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "anndata.md").read_text()
    assert [name for name in scanpy.preprocessing.__all__ if f"`pp.{name}`" not in page] == []


def test_written_to_h5ad_and_read_back(matrix: Hdf5CompressedSparseMatrix, tmp_path: Path) -> None:
    adata = to_anndata(matrix, layers={"counts": matrix}, chunks=80)
    normalised(adata)
    adata.write_h5ad(tmp_path / "out.h5ad")
    # In the file by cell; genes x cells is its transpose, at no cost.
    want = values(adata.X).T
    for name, dense in (("X", want), ("layers/counts", values(matrix.to_dask()))):
        back = Hdf5CompressedSparseMatrix(tmp_path / "out.h5ad", name, (GENES, CELLS), True)
        numpy.testing.assert_array_equal(numpy.asarray(back), dense)
    again = to_anndata(Hdf5CompressedSparseMatrix(tmp_path / "out.h5ad", "X", (CELLS, GENES), False), cell_axis=0)
    numpy.testing.assert_array_equal(values(again.X), want.T)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(None, id="made up"),
        *(
            pytest.param(line, id=real.identifier(line, "group"))
            for line in real.lines("sparse.jsonl")
            if "GSM4339772_C144_filtered" in line["file"]
        ),
    ],
)
def test_the_example(line: dict[str, Any] | None) -> None:
    arguments = ["--cells", "1000"] if line is None else [str(real.location() / line["file"]), "--cells", "1000"]
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments, "--check"], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert " in 4 blocks" in done.stdout
    assert "the same as in memory" in done.stdout


@pytest.mark.skipif(not real.is_there() and not real.is_required(), reason="the real files are not here")
def test_the_real_file_is_among_them() -> None:
    assert any("GSM4339772_C144_filtered" in line["file"] for line in real.lines("sparse.jsonl"))
