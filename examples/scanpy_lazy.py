"""The first steps of a single-cell analysis by scanpy, of counts that stay in their file.

python examples/scanpy_lazy.py                   # a matrix made up, in the format of 10x Genomics
python examples/scanpy_lazy.py FILE              # one from Cell Ranger
python examples/scanpy_lazy.py FILE --output analysed.h5ad

Quality control, filters of cells and genes, normalisation, logarithm, highly variable genes, principal components:
each is scanpy's own function, on an AnnData object whose X is a Dask array of sparse blocks. Dask reads the blocks
when numbers are needed, and lets go of them; what scanpy finds is in memory. The result is written to an h5ad file
block by block, and read from there as a matrix in a file again.

With --check, the same is done in memory and compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy
import pandas
import scanpy
import scipy.sparse

import filebackedarray

COMPONENTS = 10


def made_up(path: Path, genes: int = 1500, cells: int = 4000) -> None:
    """Counts of a few kinds of cells."""
    generator = numpy.random.default_rng(0)
    kinds = generator.gamma(0.4, 0.6, (genes, 5))
    rates = kinds[:, generator.integers(0, 5, cells)] * generator.gamma(4.0, 0.25, cells)
    matrix = scipy.sparse.csc_matrix(generator.poisson(rates).astype(numpy.int32))
    names = [f"MT-{gene}" if gene % 100 == 0 else f"GENE{gene}" for gene in range(genes)]
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["shape"] = numpy.asarray(matrix.shape)
        group["features/name"] = numpy.asarray(names, dtype="S")
        group["barcodes"] = numpy.asarray([f"CELL{cell}" for cell in range(cells)], dtype="S")
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(matrix, name), compression="gzip", chunks=True)


def opened(path: Path, chunks: int | None) -> anndata.AnnData:
    """A file of Cell Ranger, its counts left where they are."""

    def read(name: str) -> numpy.ndarray:
        return numpy.asarray(filebackedarray.Hdf5DenseArray(path, f"matrix/{name}", native_order=True))

    genes, cells = map(int, read("shape"))
    counts = filebackedarray.Hdf5CompressedSparseMatrix(path, "matrix", (genes, cells), by_column=True)
    adata = filebackedarray.to_anndata(
        counts,
        obs=pandas.DataFrame(index=read("barcodes").astype(str)),
        var=pandas.DataFrame(index=read("features/name").astype(str)),
        chunks=chunks,
    )
    adata.var_names_make_unique()
    return adata


def analyse(adata: anndata.AnnData) -> anndata.AnnData:
    """What one does with any AnnData object."""
    adata.var["mito"] = adata.var_names.str.startswith("MT-")
    scanpy.pp.calculate_qc_metrics(adata, qc_vars=["mito"], percent_top=None, inplace=True)
    # By what is known already; a view is lazy, too.
    adata = adata[adata.obs["n_genes_by_counts"] >= 50, adata.var["n_cells_by_counts"] >= 3].copy()
    scanpy.pp.normalize_total(adata, target_sum=1e4)
    scanpy.pp.log1p(adata)
    scanpy.pp.highly_variable_genes(adata, n_top_genes=min(500, adata.n_vars))
    scanpy.pp.pca(adata, n_comps=COMPONENTS, svd_solver="covariance_eigh")
    # The one result that scanpy leaves to be computed: small, and wanted more than once.
    scores = adata.obsm["X_pca"]
    adata.obsm["X_pca"] = scores.compute() if hasattr(scores, "compute") else scores
    return adata


def same(lazy: anndata.AnnData, loaded: anndata.AnnData) -> bool:
    """Whether two analyses found the same, components up to their signs."""

    def close(one: Any, other: Any) -> bool:
        return numpy.allclose(one, other, rtol=1e-4, atol=1e-4)

    signs = numpy.sign((lazy.obsm["X_pca"] * loaded.obsm["X_pca"]).sum(axis=0))
    difference = numpy.abs(lazy.obsm["X_pca"] * signs - loaded.obsm["X_pca"]).max()
    return (
        lazy.obs_names.equals(loaded.obs_names)
        and lazy.var_names.equals(loaded.var_names)
        and close(lazy.obs["pct_counts_mito"], loaded.obs["pct_counts_mito"])
        and close(lazy.var["means"], loaded.var["means"])
        and lazy.var["highly_variable"].equals(loaded.var["highly_variable"])
        and bool(difference < 1e-2 * numpy.abs(loaded.obsm["X_pca"]).max())
    )


def main() -> int:
    """Run; 1 if --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a file of Cell Ranger 3 or later; default: one made up")
    parser.add_argument("--cells", type=int, help="cells of a block; default: as many as make 128 MiB")
    parser.add_argument("--output", type=Path, help="where to write the result")
    parser.add_argument("--check", action="store_true", help="compare with the same in memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file
        if path is None:
            path = Path(folder) / "counts.h5"
            made_up(path)
        began = time.process_time()
        adata = opened(path, arguments.cells)
        print(f"{adata.n_obs} cells, {adata.n_vars} genes in {adata.X.npartitions} blocks: {adata.X}")
        adata = analyse(adata)
        print(f"{adata.n_obs} cells, {adata.n_vars} genes left; X is still lazy: {adata.X}")
        print(f"variance of components: {numpy.round(adata.uns['pca']['variance'], 2)}")
        print(f"{time.process_time() - began:.1f} s of CPU")

        output = arguments.output or Path(folder) / "analysed.h5ad"
        adata.write_h5ad(output)
        # By cell, so its transpose is compressed by column.
        written = filebackedarray.Hdf5CompressedSparseMatrix(output, "X", adata.shape[::-1], by_column=True)
        print(f"written to {output.name}, and there: {written.shape[0]} genes x {written.shape[1]} cells,")
        print(f"with {written.mean():.4f} on average")
        if not arguments.check:
            return 0
        loaded = analyse(opened(path, None).to_memory())
        found = same(adata, loaded) and numpy.isclose(written.mean(), loaded.X.mean(), rtol=1e-5)
        print("the same as in memory" if found else "NOT the same as in memory")
        return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
