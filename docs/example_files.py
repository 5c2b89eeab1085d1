"""The files that the code of the documentation reads: `tests/test_docs.py` runs each page in a folder with all of them.

The tutorial's is the real one where that is at hand, and otherwise one made up in the same layout, like all others.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy
import scipy.sparse

Counts = scipy.sparse.csc_matrix

#: What the tutorial is about: a sample of GSE145926, as Cell Ranger 3 wrote it.
TUTORIAL = "GSM4339772_C144_filtered_feature_bc_matrix.h5"

#: Names of the genes that pages ask for.
KNOWN_GENES = ["CD3D", "CD68", "MT-CO1", "MT-ND1", "RPL3", "RPS6"]


def make_counts(genes: int, cells: int, *, depth: int) -> Counts:
    """Counts of genes (rows) in cells (columns), most of them zero, of which each cell has about `depth`."""
    random = numpy.random.default_rng(7)
    popularity = random.lognormal(0, 2, genes)
    popularity[: len(KNOWN_GENES)] = numpy.median(popularity) * 4
    popularity /= popularity.sum()
    found = [numpy.unique(random.choice(genes, size + 1, p=popularity)) for size in random.poisson(depth, cells)]
    indptr = numpy.concatenate([[0], numpy.cumsum([len(rows) for rows in found])])
    data = random.geometric(0.5, indptr[-1]).astype(numpy.int32)
    return Counts((data, numpy.concatenate(found), indptr), shape=(genes, cells))


def names_of_genes(genes: int) -> list[str]:
    """As many names, the known ones first."""
    return [*KNOWN_GENES, *(f"GENE{number}" for number in range(genes - len(KNOWN_GENES)))]


def write_tenx(path: Path, counts: Counts) -> None:
    """Write counts as Cell Ranger 3 and later do."""
    genes, cells = counts.shape
    options: dict[str, Any] = {"chunks": (80_000,), "maxshape": (None,), "compression": 4, "shuffle": True}
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix.create_dataset("data", data=counts.data, **options)
        matrix.create_dataset("indices", data=counts.indices.astype(numpy.int64), **options)
        matrix.create_dataset("indptr", data=counts.indptr.astype(numpy.int64), **options)
        matrix.create_dataset("shape", data=numpy.array([genes, cells], numpy.int32), **options)
        matrix["barcodes"] = numpy.array([f"AAAC{number:012d}-1" for number in range(cells)], "S18")
        features = matrix.create_group("features")
        features["id"] = numpy.array([f"ENSG{number:011d}" for number in range(genes)], "S15")
        features["name"] = numpy.array(names_of_genes(genes), "S16")
        features["feature_type"] = numpy.full(genes, "Gene Expression", "S15")
        features["genome"] = numpy.full(genes, "GRCh38", "S11")


def write_h5ad(path: Path, counts: Counts) -> None:
    """Write cells x genes with anndata: X compressed by cell, a layer by gene, a dense one, and raw."""
    by_cell = scipy.sparse.csr_matrix(counts.T)
    normalised = by_cell.astype(numpy.float32).log1p()
    data = anndata.AnnData(by_cell)
    data.var_names = names_of_genes(counts.shape[0])
    data.raw = data
    data.layers["by_gene"] = by_cell.tocsc()
    data.layers["dense"] = normalised.toarray()
    data.write_h5ad(path, compression="gzip")


def write_dense(path: Path) -> None:
    """Write a dense dataset of 2000 samples x 300 features, in chunks of 100 x 100."""
    values = numpy.random.default_rng(8).normal(size=(2000, 300)).round(2)
    with h5py.File(path, "w") as file:
        file.create_dataset("normalised", data=values, chunks=(100, 100), compression="gzip", shuffle=True)


def write_r(path: Path, counts: Counts) -> None:
    """Write what R's `writeHDF5Array(with.dimnames=TRUE)` and `writeTENxMatrix` do: dimensions of arrays reversed."""
    genes, cells = counts.shape
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "assay001", data=counts.toarray().astype(float).T, chunks=(cells // 5, genes // 5), compression=6
        )
        names = file.create_group(".assay001_dimnames")
        names["1"] = numpy.array(names_of_genes(genes), "S16")
        names["2"] = numpy.array([f"AAAC{number:012d}-1" for number in range(cells)], "S18")
        for axis, scale in enumerate((names["1"], names["2"])):
            scale.make_scale("dimnames")
            file["assay001"].dims[axis].attach_scale(scale)
        group = file.create_group("tenx")
        group["data"], group["indices"], group["indptr"] = counts.data.astype(float), counts.indices, counts.indptr
        group["shape"] = numpy.array([genes, cells], numpy.int32)


def write_missing(path: Path) -> None:
    """Write what rhdf5 does of integers of R of which one is missing."""
    values = numpy.arange(12, dtype=numpy.int32).reshape(3, 4)
    values[1, 2] = numpy.iinfo(numpy.int32).min
    with h5py.File(path, "w") as file:
        file["integers"] = values
        file["integers"].attrs["rhdf5-NA.OK"] = numpy.array([1], numpy.int32)


def write_images(path: Path) -> None:
    """Write a stack of 20 images of 64 x 32 pixels, an image to a chunk."""
    values = numpy.random.default_rng(9).integers(0, 256, (20, 64, 32), dtype=numpy.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("stack", data=values, chunks=(1, 64, 32), compression="gzip")


def write_multiome(path: Path, h5ad: Path) -> None:
    """Write a MuData file with one modality, that of an h5ad file."""
    with h5py.File(path, "w") as file, h5py.File(h5ad) as modality:
        modality.copy(modality["/"], file, "mod/rna")


def write_barnyard(path: Path, counts: Counts) -> None:
    """Write counts as Cell Ranger 2 does, a group for each of two genomes."""
    with h5py.File(path, "w") as file:
        for genome in ("GRCh38", "mm10"):
            group = file.create_group(genome)
            group["data"], group["indices"], group["indptr"] = counts.data, counts.indices, counts.indptr
            group["shape"] = numpy.array(counts.shape, numpy.int32)
            group["barcodes"] = numpy.array([f"AAAC{number:012d}-1" for number in range(counts.shape[1])], "S18")
            group["genes"] = numpy.array([f"{genome}_{number:011d}" for number in range(counts.shape[0])], "S18")
            group["gene_names"] = numpy.array(names_of_genes(counts.shape[0]), "S16")


def write_all(folder: Path, tutorial: Path | None = None) -> None:
    """Write every file that a page may read.

    Args:
        folder:
            Where to write them.

        tutorial:
            The real file of the tutorial; None to make one up.
    """
    counts = make_counts(1000, 400, depth=150)
    write_tenx(folder / "matrix.h5", counts)
    write_h5ad(folder / "data.h5ad", counts)
    write_dense(folder / "expression.h5")
    write_r(folder / "assays.h5", counts)
    write_missing(folder / "missing.h5")
    write_images(folder / "images.h5")
    write_multiome(folder / "multiome.h5mu", folder / "data.h5ad")
    write_barnyard(folder / "barnyard.h5", counts)
    with h5py.File(folder / "upload.h5", "w") as file:
        file["counts"] = counts.toarray()
    if tutorial is None:
        write_tenx(folder / TUTORIAL, make_counts(5000, 1500, depth=400))
    else:
        shutil.copy(tutorial, folder / TUTORIAL)
