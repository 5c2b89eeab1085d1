"""Formats of others: every way in which each is written, by every name, trusted or not, square or not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import biocframe
import dolomite_base
import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import extract_dense_array, is_masked, is_sparse, to_dense_array

import real
from filebackedarray import (
    FileBackedArray,
    H5adMatrix,
    Hdf5CompressedSparseMatrix,
    Hdf5DualSparseMatrix,
    LoomMatrix,
    TenxMatrix,
    open_array,
)
from filebackedarray._formats import directories as _directories
from filebackedarray._formats import listing as _listing
from filebackedarray._formats import registry as _formats
from filebackedarray._formats.file import File
from filebackedarray._shell import check as _check
from helpers import error_naming

TEXT = h5py.string_dtype()
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(params=[False, True], ids=["trusted", "untrusted"])
def untrusted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def values(rows: int, columns: int, seed: int = 0) -> numpy.ndarray:
    """Numbers of which no two are alike, half of them zeros."""
    random = numpy.random.default_rng(seed)
    found = random.permutation(rows * columns).reshape(rows, columns) + 1.0
    found[random.random((rows, columns)) < 0.5] = 0
    return found


def names_of(what: str, count: int) -> list[str]:
    return [f"{what}\xe9{i}" for i in range(count)]


def put_sparse(group: h5py.Group, matrix: Any, **attributes: Any) -> h5py.Group:
    """The datasets of a compressed matrix of scipy."""
    group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices, matrix.indptr
    group.attrs.update(attributes)
    return group


def put_text(group: h5py.Group, name: str, text: list[str], style: str = "variable") -> None:
    """Names, in one of the ways in which programs write them."""
    if style == "fixed":
        group[name] = numpy.array([one.encode() for one in text])
    else:
        group.create_dataset(name, data=text, dtype=TEXT)


class Case(NamedTuple):
    """What should be found in a file."""

    format: str
    #: Names by which the same matrix is opened; None for none.
    names: tuple[str | None, ...]
    want: numpy.ndarray
    rows: list[str] | None
    columns: list[str] | None


Writer = Callable[[Path, int, int, str], Iterator[Case]]
WRITERS: dict[str, Writer] = {}


def writer(function: Writer) -> Writer:
    WRITERS[function.__name__] = function
    return function


def put_anndata(handle: h5py.File, where: str, genes: int, cells: int, style: str) -> Iterator[Case]:
    group = handle.require_group(where or "/")
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "anndata", "0.1.0"
    rows, columns = names_of("gene", genes), names_of("cell", cells)
    for frame, text in (("obs", columns), ("var", rows)):
        of = group.create_group(frame)
        of.attrs["_index"] = "_index"
        put_text(of, "_index", text, style)
    kinds = {"csr": scipy.sparse.csr_matrix, "csc": scipy.sparse.csc_matrix, "dense": numpy.asarray}
    elements = ("X", "layers/plain", "layers/nested/one", "layers/nested/deep/two")
    for seed, (name, make) in enumerate(zip(elements, itertools.cycle(kinds.values()), strict=False)):
        want = values(genes, cells, seed)
        anndata.io.write_elem(handle, f"{where}/{name}".strip("/"), make(want.T))
        full = f"{where}/{name}".strip("/")
        first = (where or None,) if name == "X" else ()
        yield Case("AnnData", (*first, full, f"/{full}/"), want, rows, columns)


@writer
def h5ad(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    with h5py.File(path, "w") as handle:
        yield from put_anndata(handle, "", genes, cells, style)


@writer
def h5mu(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    with h5py.File(path, "w") as handle:
        handle.attrs["encoding-type"] = "MuData"
        yield from put_anndata(handle, "mod/rna", genes, cells, style)


@writer
def loom(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    rows, columns = names_of("gene", genes), names_of("cell", cells)
    with h5py.File(path, "w") as handle:
        put_text(handle, "row_attrs/Gene", rows, style)
        put_text(handle, "col_attrs/CellID", columns, style)
        for seed, name in enumerate(("matrix", "layers/plain", "layers/nested/one")):
            want = values(genes, cells, seed)
            handle[name] = want
            yield Case("loom", (*((None,) if not seed else ()), name, f"/{name}/"), want, rows, columns)


@writer
def h5seurat(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    """As SaveH5Seurat writes it."""
    rows, columns = names_of("gene", genes), names_of("cell", cells)
    with h5py.File(path, "w") as handle:
        handle.attrs["active.assay"], handle.attrs["version"] = numpy.array(["RNA"], object), "3.1.5.9900"
        put_text(handle, "cell.names", columns, style)
        for assay in ("ADT", "RNA"):
            where = handle.create_group(f"assays/{assay}")
            put_text(where, "features", rows, style)
            put_text(where, "scaled.features", rows[::2], style)
            for seed, slot in enumerate(("counts", "data")):
                want = values(genes, cells, seed)
                matrix = scipy.sparse.csc_matrix(want)
                put_sparse(where.create_group(slot), matrix, dims=numpy.array(want.shape, "i4"))
                names = [f"assays/{assay}/{slot}"]
                if slot == "data":
                    names += [f"assays/{assay}", *([None] if assay == "RNA" else [])]
                yield Case("h5Seurat", tuple(names), want, rows, columns)
            want = values(len(rows[::2]), cells, 5)
            # Dense matrices stand in the order in which R has them in memory.
            where["scale.data"] = want.T
            yield Case("h5Seurat", (f"assays/{assay}/scale.data",), want, rows[::2], columns)
        want = values(cells, cells, 6)
        put_sparse(handle.create_group("graphs/RNA_nn"), scipy.sparse.csc_matrix(want), dims=numpy.array(want.shape))
        yield Case("h5Seurat", ("graphs/RNA_nn",), want, columns, columns)


@writer
def h5seurat_converted(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    """As Convert makes it of an h5ad file: the groups of the latter, with 'shape' turned around into 'dims'."""
    rows, columns = names_of("gene", genes), names_of("cell", cells)
    with h5py.File(path, "w") as handle:
        handle.attrs["active.assay"] = "RNA"
        put_text(handle, "cell.names", columns, style)
        put_text(handle, "assays/RNA/features", rows, style)
        for seed, (slot, make, letters) in enumerate(
            (
                ("counts", scipy.sparse.csr_matrix, "csr"),
                ("data", scipy.sparse.csc_matrix, "csc"),
            )
        ):
            want = values(genes, cells, seed)
            attributes = {"encoding-type": f"{letters}_matrix", "dims": numpy.array([genes, cells], "i4")}
            put_sparse(handle.create_group(f"assays/RNA/{slot}"), make(want.T), **attributes)
            yield Case("h5Seurat", (f"assays/RNA/{slot}",), want, rows, columns)
        # Of a file of anndata before 0.7, whose attributes it leaves.
        want = values(genes, cells, 3)
        attributes = {"h5sparse_format": "csr", "h5sparse_shape": (cells, genes)}
        group = handle.create_group("assays/old/counts")
        put_sparse(group, scipy.sparse.csr_matrix(want.T), **attributes)
        put_text(handle, "assays/old/features", rows, style)
        yield Case("h5Seurat", ("assays/old/counts", "assays/old"), want, rows, columns)


@writer
def biom(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    rows, columns = names_of("otu", genes), names_of("sample", cells)
    want = values(genes, cells)
    with h5py.File(path, "w") as handle:
        handle.attrs.update({"shape": want.shape, "nnz": numpy.count_nonzero(want), "format-version": (2, 1)})
        put_sparse(handle.create_group("observation/matrix"), scipy.sparse.csr_matrix(want))
        put_sparse(handle.create_group("sample/matrix"), scipy.sparse.csc_matrix(want))
        put_text(handle, "observation/ids", rows, style)
        put_text(handle, "sample/ids", columns, style)
    names = (None, "observation", "observation/matrix", "sample", "/sample/matrix/")
    yield Case("BIOM", names, want, rows, columns)


@writer
def hicexplorer(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    want = numpy.triu(values(genes, genes))
    with h5py.File(path, "w") as handle:
        group = put_sparse(handle.create_group("matrix"), scipy.sparse.csr_matrix(want))
        group["shape"] = want.shape
        handle["intervals/chr_list"] = numpy.full(genes, b"chr1")
        handle["intervals/start_list"] = handle["intervals/end_list"] = numpy.arange(genes)
    yield Case("HiCExplorer", (None, "matrix"), want, None, None)


@writer
def gctx(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    rows, columns = names_of("gene", genes), names_of("cell", cells)
    want = values(genes, cells)
    with h5py.File(path, "w") as handle:
        handle.attrs["version"] = numpy.bytes_("GCTX1.0")
        handle["0/DATA/0/matrix"] = want.T
        put_text(handle, "0/META/ROW/id", rows, style)
        put_text(handle, "0/META/COL/id", columns, style)
    yield Case("GCTX", (None, "0/DATA/0/matrix"), want, rows, columns)


@writer
def tenx(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    rows, columns = names_of("gene", genes), names_of("cell", cells)
    with h5py.File(path, "w") as handle:
        for seed, (group, features) in enumerate((("matrix", "features/id"), ("old/hg19", "genes"))):
            want = values(genes, cells, seed)
            where = put_sparse(handle.create_group(group), scipy.sparse.csc_matrix(want))
            where["shape"] = numpy.array(want.shape, "i4")
            put_text(where, features, rows, style)
            put_text(where, "barcodes", columns, style)
            names = (group, f"/{group}/", *((None,) if group == "matrix" else ("old",)))
            yield Case("10x Genomics", names, want, rows, columns)


@writer
def takane_sparse(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    rows, columns = names_of("gene", genes), names_of("cell", cells)
    title = "takane's compressed_sparse_matrix"
    with h5py.File(path, "w") as handle:
        for seed, (layout, make) in enumerate((("CSC", scipy.sparse.csc_matrix), ("CSR", scipy.sparse.csr_matrix))):
            want = values(genes, cells, seed)
            group = put_sparse(handle.create_group(layout), make(want), layout=layout, type="number")
            group["shape"] = numpy.array(want.shape, "u8")
            put_text(group, "names/0", rows, style)
            put_text(group, "names/1", columns, style)
            yield Case(title, (layout,), want, rows, columns)
        want = values(genes, cells, 3)
        group = put_sparse(handle.create_group("bare"), scipy.sparse.csc_matrix(want), layout="CSC", type="number")
        group["shape"] = numpy.array(want.shape, "u8")
        yield Case(title, ("bare",), want, None, None)


@writer
def takane_dense(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    rows, columns = names_of("gene", genes), names_of("cell", cells)
    title = "takane's dense_array"
    with h5py.File(path, "w") as handle:
        for seed, transposed in enumerate((0, 1, None)):
            want = values(genes, cells, seed)
            group = handle.create_group(f"{seed}/dense_array")
            group.attrs["type"] = "number"
            if transposed is not None:
                group.attrs["transposed"] = numpy.int8(transposed)
            group["data"] = want.T if transposed else want
            # Numbered as the file has the dimensions.
            put_text(group, f"names/{1 if transposed else 0}", rows, style)
            if transposed != 0:
                put_text(group, f"names/{0 if transposed else 1}", columns, style)
            names = (f"{seed}/dense_array", f"{seed}/dense_array/data", str(seed))
            yield Case(title, names, want, rows, columns if transposed != 0 else None)


@writer
def matlab(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    with h5py.File(path, "w", userblock_size=512) as handle:
        want = values(genes, cells)
        matrix = scipy.sparse.csc_matrix(want)
        group = handle.create_group("sparse")
        group.attrs.update({"MATLAB_class": numpy.bytes_("double"), "MATLAB_sparse": numpy.uint64(genes)})
        group["data"], group["ir"], group["jc"] = matrix.data, matrix.indices.astype("u8"), matrix.indptr.astype("u8")
        yield Case("MATLAB", ("sparse",), want, None, None)
        group = handle.create_group("zeros")
        group.attrs.update({"MATLAB_class": numpy.bytes_("double"), "MATLAB_sparse": numpy.uint64(genes)})
        group["jc"] = numpy.zeros(cells + 1, "u8")
        yield Case("MATLAB", ("zeros",), numpy.zeros((genes, cells)), None, None)
        handle["struct/dense"] = want.T
        handle["struct/dense"].attrs["MATLAB_class"] = numpy.bytes_("double")
        yield Case("MATLAB", ("struct/dense", "struct"), want, None, None)


@writer
def others(path: Path, genes: int, cells: int, style: str) -> Iterator[Case]:
    with h5py.File(path, "w") as handle:
        for seed, (letters, how) in enumerate(
            itertools.product(("csr", "csc"), ("shape", "h5sparse", "dataset", "dims"))
        ):
            if letters == "csr" and genes == cells and how in ("dataset", "dims"):
                # Nothing tells it.
                continue
            want = values(genes, cells, seed)
            name = f"{letters}/{how}"
            group = put_sparse(handle.create_group(name), getattr(scipy.sparse, f"{letters}_matrix")(want))
            if how == "shape":
                group.attrs.update({"encoding-type": f"{letters}_matrix", "shape": want.shape})
            elif how == "h5sparse":
                group.attrs.update({"h5sparse_format": letters, "h5sparse_shape": want.shape})
            elif how == "dims":
                group.attrs["dims"] = want.shape
            else:
                group["shape"] = want.shape
            yield Case("", (name,), want, None, None)
        want = values(genes, cells)
        # As R has it.
        handle["plain/dense"] = want.T
        yield Case("", ("plain/dense", "plain"), want, None, None)


@pytest.mark.parametrize(("genes", "cells"), [(6, 5), (5, 6), (5, 5)], ids=["tall", "wide", "square"])
@pytest.mark.parametrize("style", ["variable", "fixed"])
@pytest.mark.parametrize("name", WRITERS)
def test_matrix(tmp_path: Path, name: str, style: str, genes: int, cells: int, untrusted: bool) -> None:
    """Values, names and orientation of every format; and that the listing and the check know the same."""
    path = tmp_path / "file.h5"
    cases = list(WRITERS[name](path, genes, cells, style))
    assert cases
    entries = {entry.name.strip("/"): entry for entry in _listing.entries(str(path), untrusted=untrusted)}
    for case in cases:
        for given in case.names:
            matrix = open_array(path, given, untrusted=untrusted)
            assert isinstance(matrix, FileBackedArray)
            assert matrix.shape == case.want.shape, given
            numpy.testing.assert_array_equal(to_dense_array(matrix), case.want, err_msg=str(given))
            for ours, theirs in ((matrix.row_names, case.rows), (matrix.column_names, case.columns)):
                assert (None if ours is None else ours.tolist()) == theirs, given
            numpy.testing.assert_array_equal(to_dense_array(matrix.transposed()), case.want.T)
            assert matrix.sum() == case.want.sum()
        found = _formats.locate(File(path, untrusted), case.names[0] or "")
        assert found is not None or case.names[0] is None
        if found is not None:
            entry = entries[found.name]
            assert (entry.format or "") == case.format
            assert entry.shape == found.shape
            assert entry.shape in (case.want.shape, case.want.shape[::-1])
            assert entry.note == ""
            if found.compressed is not None:
                assert entry.kind == "sparse"
                assert entry.by_column == found.compressed.by_column
                assert entry.nnz == numpy.count_nonzero(case.want)
    for checked in _check.check(str(path), lambda _: None, untrusted=untrusted):
        assert checked.damaged == [], checked.name
        assert not any("no sparse matrix" in note for note in checked.notes)


def test_the_documentation_lists_every_format() -> None:
    """Each row of the registry has a section, and each kind of file that has no matrix is named."""
    page = " ".join((ROOT / "docs" / "formats.md").read_text(encoding="utf-8").split())
    for title in (*(row.title for row in _formats.FORMATS), _directories.TITLE):
        assert f"## {title} " in page, title
    for one in _formats.NOT_MATRICES:
        assert one.what in page
    tried = {case for name in WRITERS for case in formats_of(name)}
    assert tried == {row.title for row in _formats.FORMATS if row.title != _formats.OTHER} | {""}


def formats_of(name: str, path: Path = Path("unused.h5")) -> set[str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return {case.format for case in WRITERS[name](Path(folder) / path, 3, 2, "fixed")}


# ---- shapes ----------------------------------------------------------------------------------------

PLACES = ("shape", "h5sparse_shape", "dims", "dataset", "10x", "biom")


def write_shape(path: Path, where: str, shape: Any) -> None:
    matrix = scipy.sparse.csc_matrix(values(6, 5))
    with h5py.File(path, "w") as handle:
        if where == "biom":
            handle.attrs["shape"] = shape
            put_sparse(handle.create_group("observation/matrix"), matrix.tocsr())
            put_sparse(handle.create_group("sample/matrix"), matrix)
            return
        group = put_sparse(handle.create_group("matrix"), matrix)
        if where in ("dataset", "10x"):
            group["shape"] = shape
        else:
            group.attrs[where] = shape
            group.attrs["encoding-type" if where != "dims" else "unused"] = "csc_matrix"
        if where == "10x":
            group["barcodes"] = numpy.array([b"c%d" % i for i in range(5)])


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("dtype", ["i1", "u2", ">i4", "i8", "u8", "f2", "f4", "f8", ">f8"])
def test_a_shape_of_any_numbers(tmp_path: Path, where: str, dtype: str, untrusted: bool) -> None:
    path = tmp_path / "file.h5"
    for shape in (numpy.array([6, 5], dtype), numpy.array([[6], [5]], dtype)):
        write_shape(path, where, shape)
        numpy.testing.assert_array_equal(to_dense_array(open_array(path, untrusted=untrusted)), values(6, 5))
    if where == "10x":
        assert TenxMatrix(path, untrusted=untrusted).shape == (6, 5)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    "shape",
    [
        [6.5, 5.0],
        [numpy.nan, 5.0],
        [numpy.inf, 5.0],
        [-6, 5],
        [6, 5, 1],
        [6],
        [b"6", b"5"],
        numpy.array([2**63, 5], "u8"),
        [1e300, 5],
        [6 + 0j, 5],
        [True, True],
    ],
    ids=str,
)
def test_a_shape_that_is_none(tmp_path: Path, where: str, shape: Any) -> None:
    path = tmp_path / "file.h5"
    write_shape(path, where, shape)
    with error_naming(ValueError, path, "two whole numbers"):
        open_array(path)
    if where == "10x":
        with error_naming(ValueError, path, "two whole numbers"):
            TenxMatrix(path)
    entries = {entry.name: entry for entry in _listing.entries(str(path))}
    (entry,) = (entry for name, entry in entries.items() if name in ("/matrix", "/observation/matrix"))
    assert "two whole numbers" in entry.note


def test_rows_of_matlab_that_are_no_number(tmp_path: Path) -> None:
    path = tmp_path / "file.mat"
    list(matlab(path, 6, 5, ""))
    for rows in (-1.0, 2.5, "six", [6, 6]):
        with h5py.File(path, "a") as handle:
            handle["sparse"].attrs["MATLAB_sparse"] = rows
        with error_naming(ValueError, path, "MATLAB_sparse"):
            open_array(path, "sparse")
    with h5py.File(path, "a") as handle:
        handle["sparse"].attrs["MATLAB_sparse"] = 6
        del handle["sparse/ir"]
    with error_naming(ValueError, path, "only one of"):
        open_array(path, "sparse")
    with h5py.File(path, "a") as handle:
        del handle["sparse/jc"]
        handle["sparse/jc"] = 3
    with error_naming(ValueError, path, "vector of pointers"):
        open_array(path, "sparse")


# ---- links -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", ["soft", "external", "external group"])
def test_behind_links(tmp_path: Path, name: str, kind: str) -> None:
    """Every dataset of a file, or every group at its root, is a link to where it was."""
    original, path = tmp_path / "values.h5", tmp_path / "file.h5"
    cases = list(WRITERS[name](original, 6, 5, "variable"))
    with h5py.File(original, "a") as there, h5py.File(path, "w") as here:
        if kind == "soft":
            here["hidden"] = h5py.ExternalLink("values.h5", "/")
        here.attrs.update(there.attrs)

        def link(at: str, item: Any) -> None:
            is_whole = isinstance(item, h5py.Dataset) or (kind == "external group" and "/" in at and "data" in item)
            if at in here or any(parent in done for parent in itertools.accumulate(at.split("/"), "{}/{}".format)):
                return
            if is_whole:
                done.add(at)
                here[at] = h5py.SoftLink(f"/hidden/{at}") if kind == "soft" else h5py.ExternalLink("values.h5", at)
            else:
                here.require_group(at).attrs.update(item.attrs)

        done: set[str] = set()
        there.visititems(link)
    for case in cases:
        for given in case.names:
            matrix = open_array(path, given)
            numpy.testing.assert_array_equal(to_dense_array(matrix), case.want, err_msg=str(given))
            for ours, theirs in ((matrix.row_names, case.rows), (matrix.column_names, case.columns)):
                assert (None if ours is None else ours.tolist()) == theirs, given
    listed = {entry.name: entry for entry in _listing.entries(str(path)) if entry.kind == "sparse"}
    assert len(listed) == len({entry.name for entry in _listing.entries(str(original)) if entry.kind == "sparse"}) or (
        kind == "external group"
    )
    assert not any(entry.note for entry in listed.values())


def test_links_of_files_that_are_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    matrix = scipy.sparse.csc_matrix(values(6, 5))
    with h5py.File(tmp_path / "values.h5", "w") as handle:
        put_sparse(handle.create_group("m"), matrix)
    with h5py.File(path, "w") as handle:
        for member in ("data", "indices", "indptr"):
            handle[f"matrix/{member}"] = h5py.ExternalLink("values.h5", f"/m/{member}")
        handle["matrix/shape"], handle["matrix/barcodes"] = matrix.shape, numpy.array([b"c%d" % i for i in range(5)])
    assert TenxMatrix(path).shape == open_array(path).shape == (6, 5)
    for name in (None, "matrix"):
        with error_naming(ValueError, path, "'data' (a link to another file, which a file that is not trusted"):
            open_array(path, name, untrusted=True)
    with error_naming(ValueError, path, "lacks"):
        TenxMatrix(path, "matrix", untrusted=True)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as handle:
        put_sparse(handle.create_group("matrix"), scipy.sparse.csc_matrix(values(6, 5)))
        handle["matrix/shape"] = (6, 5)
        del handle["matrix/data"], handle["matrix/indices"]
        handle["matrix/data"] = h5py.SoftLink("/gone")
        handle["matrix/indices"] = h5py.ExternalLink("gone.h5", "/indices")
    for name in (None, "matrix"):
        with error_naming(ValueError, path, "'data' (dangling link", "'indices' (external link: what it"):
            open_array(path, name)


# ---- names in loom files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ("Gene", "CellID"),
        ("Accession", "Cell"),
        ("var_names", "obs_names"),
        ("gene_names", "cell_names"),
        ("ensembl_ids", "CellID"),
        ("rownames", "colnames"),
        ("gene_ids", "barcode"),
    ],
)
def test_names_of_loom(tmp_path: Path, rows: str, columns: str, untrusted: bool) -> None:
    path = tmp_path / "file.loom"
    with h5py.File(path, "w") as handle:
        handle["matrix"] = numpy.zeros((4, 3))
        put_text(handle, f"row_attrs/{rows}", names_of("g", 4), "fixed")
        put_text(handle, f"col_attrs/{columns}", names_of("c", 3), "fixed")
    matrix = LoomMatrix(path, untrusted=untrusted)
    assert matrix.row_names.tolist() == names_of("g", 4)
    assert matrix.column_names.tolist() == names_of("c", 3)


def test_layers_with_slashes(tmp_path: Path, untrusted: bool) -> None:
    for write, opener, suffix in ((h5ad, H5adMatrix, "h5ad"), (loom, LoomMatrix, "loom")):
        path = tmp_path / f"file.{suffix}"
        cases = {name: case for case in write(path, 5, 5, "fixed") for name in case.names}
        for layer in ("plain", "nested/one", "/nested//one/"):
            matrix = opener(path, layer, untrusted=untrusted)
            want = cases["layers/plain" if layer == "plain" else "layers/nested/one"]
            numpy.testing.assert_array_equal(to_dense_array(matrix), want.want)
            assert matrix.row_names.tolist() == want.rows
        with error_naming(KeyError, path, "'nested'", "'nested/one'"):
            opener(path, "nested", untrusted=untrusted)
        with error_naming(KeyError, path, "'nested/no'", "'nested/one'"):
            open_array(path, "layers/nested/no", untrusted=untrusted)
    with error_naming(ValueError, tmp_path / "file.h5ad", "layers/nested/one", "layers/nested/deep/two"):
        open_array(tmp_path / "file.h5ad", "layers/nested", untrusted=untrusted)


def test_a_layer_that_contains_itself(tmp_path: Path) -> None:
    path = tmp_path / "file.h5ad"
    list(h5ad(path, 6, 5, "fixed"))
    with h5py.File(path, "a") as handle:
        handle["layers/nested/loop"] = handle["layers"]
    with error_naming(KeyError, path, "'nested/one'"):
        H5adMatrix(path, "nowhere")


# ---- h5Seurat --------------------------------------------------------------------------------------


def test_assays_of_seurat(tmp_path: Path) -> None:
    path = tmp_path / "file.h5seurat"
    list(h5seurat(path, 6, 5, "variable"))
    with h5py.File(path, "a") as handle:
        del handle.attrs["active.assay"]
    with error_naming(ValueError, path, "several assays", "'assays/RNA'"):
        open_array(path)
    with error_naming(KeyError, path, "assays/none"):
        open_array(path, "assays/none")
    with h5py.File(path, "a") as handle:
        del handle["assays/ADT"], handle["assays/RNA/data"]
    assert open_array(path).group_name == "assays/RNA/counts"
    with h5py.File(path, "a") as handle:
        del handle["assays/RNA/counts"], handle["assays/RNA/scale.data"]
    with error_naming(ValueError, path, "'RNA' has no matrix", "'features'"):
        open_array(path)


# ---- files that are none -----------------------------------------------------------------------------


@pytest.mark.parametrize("one", _formats.NOT_MATRICES, ids=lambda one: one.what.split(",")[0])
def test_files_without_a_matrix(tmp_path: Path, one: _formats.NotMatrix, untrusted: bool) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as handle:
        for member in one.members:
            handle[member] = numpy.arange(3)
        handle["more/table"] = numpy.ones((4, 3))
    with error_naming(ValueError, path, one.what, one.advice):
        open_array(path, untrusted=untrusted)
    assert open_array(path, "more/table", untrusted=untrusted).shape == (3, 4)


# ---- takane ----------------------------------------------------------------------------------------


def dolomite(path: Path, what: Any) -> Any:
    """What dolomite's own reader gives for what its writer wrote."""
    dolomite_base.save_object(what, str(path))
    return dolomite_base.read_object(str(path))


def same_as(ours: Any, theirs: Any) -> None:
    """Values and masks."""
    whole = tuple(range(extent) for extent in theirs.shape)
    left, right = extract_dense_array(ours, whole), extract_dense_array(theirs, whole)
    assert is_masked(ours) == is_masked(theirs)
    numpy.testing.assert_array_equal(numpy.ma.getmaskarray(left), numpy.ma.getmaskarray(right))
    numpy.testing.assert_array_equal(numpy.ma.filled(left, 0), numpy.ma.filled(right, 0))
    if is_sparse(ours):
        numpy.testing.assert_array_equal(
            numpy.ma.filled(to_dense_array(ours[:, ::-1][1:]), 0), numpy.ma.filled(right, 0)[:, ::-1][1:]
        )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(6, 5), (5, 5), (2, 3, 4), (7,)], ids=str)
@pytest.mark.parametrize("kind", ["number", "whole", "integer", "boolean", "string"])
def test_dense_arrays_of_dolomite(
    tmp_path: Path, kind: str, shape: tuple[int, ...], order: str, untrusted: bool
) -> None:
    count = int(numpy.prod(shape))
    made = {
        "number": numpy.arange(count) / 8,
        "whole": numpy.arange(count) * 1.0,
        "integer": numpy.arange(count) - 3,
        "boolean": numpy.arange(count) % 3 == 0,
        "string": numpy.array([f"s{i}" for i in range(count)]),
    }[kind]
    made = numpy.asarray(made.reshape(shape), order=order)
    theirs = dolomite(tmp_path / "saved", made)
    for path, name in (
        (tmp_path / "saved", None),
        (tmp_path / "saved" / "array.h5", None),
        (tmp_path / "saved" / "array.h5", "dense_array"),
        (tmp_path / "saved", "dense_array/data"),
    ):
        ours = open_array(path, name, untrusted=untrusted)
        assert ours.shape == shape
        if kind == "string":
            values = extract_dense_array(ours, tuple(range(extent) for extent in shape))
            decoded = numpy.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
            numpy.testing.assert_array_equal(decoded, made)
            continue
        same_as(ours, theirs)
        assert ours.dtype.kind == made.dtype.kind


@pytest.mark.parametrize("kind", ["number", "integer", "unsigned", "boolean"])
@pytest.mark.parametrize("masks", [False, True], ids=["plain", "masked"])
def test_missing_values_of_dolomite(tmp_path: Path, kind: str, masks: bool, untrusted: bool) -> None:
    random = numpy.random.default_rng(0)
    made = {
        "number": random.normal(size=(30, 20)),
        "integer": random.integers(-5, 6, (30, 20)),
        "unsigned": random.integers(0, 6, (30, 20)).astype("u1"),
        "boolean": random.random((30, 20)) < 0.3,
    }[kind]
    made = numpy.ma.MaskedArray(made, random.random((30, 20)) < 0.2)
    made.mask[3] = True
    theirs = dolomite(tmp_path / "saved", made)
    assert is_masked(theirs)
    ours = open_array(tmp_path / "saved", mask_missing=masks, untrusted=untrusted)
    assert is_masked(ours) == masks
    if not masks:
        kept = ~numpy.ma.getmaskarray(made)
        numpy.testing.assert_array_equal(to_dense_array(ours)[kept], made.data[kept])
        return
    same_as(ours, theirs)
    for statistic in ("sum", "mean", "var", "min", "max", "count_nonzero"):
        if kind == "boolean" and statistic in ("min", "max"):
            continue
        for axis in (None, 0, 1):
            want = made.sum(axis) if statistic == "sum" else None
            if statistic == "count_nonzero":
                want = (made.filled(0) != 0).sum(axis)
            elif want is None:
                want = getattr(made.astype(float) if statistic != "min" else made, statistic)(axis)
            numpy.testing.assert_allclose(
                numpy.ma.filled(getattr(ours, statistic)(axis=axis), 0), numpy.ma.filled(want, 0), rtol=1e-12
            )


@pytest.mark.parametrize("layout", ["csc", "csr"])
@pytest.mark.parametrize("kind", ["number", "integer", "boolean"])
@pytest.mark.parametrize("shape", [(6, 5), (5, 5)], ids=str)
def test_sparse_matrices_of_dolomite(
    tmp_path: Path, kind: str, layout: str, shape: tuple[int, int], untrusted: bool
) -> None:
    dense = values(*shape)
    dense = {"number": dense / 8, "integer": dense.astype("i4"), "boolean": dense > 0}[kind]
    made = getattr(scipy.sparse, f"{layout}_matrix")(dense)
    theirs = dolomite(tmp_path / "saved", made)
    for path, name in (
        (tmp_path / "saved", None),
        (tmp_path / "saved" / "matrix.h5", None),
        (tmp_path / "saved", "compressed_sparse_matrix"),
    ):
        ours = open_array(path, name, untrusted=untrusted)
        assert type(ours) is Hdf5CompressedSparseMatrix
        assert ours.by_column == (layout == "csc")
        same_as(ours, theirs)
        # Whole numbers are stored in the smallest type that has them.
        assert ours.dtype.kind == {"integer": "u"}.get(kind, dense.dtype.kind)


@pytest.mark.parametrize("placeholder", [-7, 0, 3, numpy.nan], ids=str)
@pytest.mark.parametrize("layout", ["CSC", "CSR"])
def test_placeholders_of_sparse_matrices(tmp_path: Path, layout: str, placeholder: float, untrusted: bool) -> None:
    path = tmp_path / "matrix.h5"
    random = numpy.random.default_rng(1)
    by_column = layout == "CSC"
    dtype = numpy.dtype("f8" if numpy.isnan(placeholder) else "i2")
    is_stored, missing = random.random((9, 7)) < 0.5, random.random((9, 7)) < 0.3
    stored = numpy.where(missing, placeholder, random.integers(4, 9, (9, 7))).astype(dtype)
    make = scipy.sparse.csc_matrix if by_column else scipy.sparse.csr_matrix
    matrix = make(is_stored.astype(dtype))
    rows, columns = numpy.nonzero(is_stored.T)[::-1] if by_column else numpy.nonzero(is_stored)
    matrix.data = stored[rows, columns]
    with h5py.File(path, "w") as handle:
        group = put_sparse(handle.create_group("compressed_sparse_matrix"), matrix, layout=layout, type="integer")
        group["shape"] = numpy.array(matrix.shape, "u4")
        group["data"].attrs["missing-value-placeholder"] = dtype.type(placeholder)
    want = numpy.ma.MaskedArray(numpy.where(is_stored, stored, 0), is_stored & missing)
    ours = open_array(path, mask_missing=True, untrusted=untrusted)
    assert is_masked(ours)
    assert is_sparse(ours)
    for rows, columns in ((range(9), range(7)), ([8, 0, 0, 3], range(1, 6)), (range(0, 9, 2), [6, 2])):
        got = extract_dense_array(ours, (rows, columns))
        part = want[numpy.ix_(list(rows), list(columns))]
        numpy.testing.assert_array_equal(numpy.ma.getmaskarray(got), numpy.ma.getmaskarray(part))
        numpy.testing.assert_array_equal(got.filled(-1), part.filled(-1))
        taken = to_dense_array(ours[numpy.ix_(list(rows), list(columns))])
        numpy.testing.assert_array_equal(numpy.ma.filled(taken, -1), part.filled(-1))
    assert ours.sum() == want.sum()
    for axis in (0, 1):
        numpy.testing.assert_array_equal(ours.sum(axis=axis), want.sum(axis))
        numpy.testing.assert_allclose(numpy.ma.filled(ours.mean(axis=axis), -1), want.mean(axis).filled(-1))
    numpy.testing.assert_array_equal(
        numpy.ma.filled(numpy.asanyarray(to_dense_array(ours * 2)), -1), (want * 2).filled(-1)
    )
    half = open_array(path, mask_missing=True, dtype="f4", untrusted=untrusted)
    assert to_dense_array(half).dtype == numpy.float32
    assert to_dense_array(half).sum() == want.sum()
    with pytest.raises(ValueError, match="masked"):
        to_scipy(ours)
    plain = open_array(path, untrusted=untrusted)
    assert not is_masked(plain)
    masked = Hdf5CompressedSparseMatrix(ours.seed.transposed(), None, None, None)
    numpy.testing.assert_array_equal(to_dense_array(masked).filled(-1), want.T.filled(-1))
    csc, csr = (ours, masked.transposed()) if by_column else (masked.transposed(), ours)
    assert csc.by_column == csr.by_column
    other = open_array(path, mask_missing=False)
    pair = (
        (ours, transposed_copy(tmp_path, other, want)) if by_column else (transposed_copy(tmp_path, other, want), ours)
    )
    with pytest.raises(ValueError, match="mask_missing"):
        Hdf5DualSparseMatrix(*pair)


def to_scipy(matrix: Any) -> Any:
    from delayedarray import to_scipy_sparse_matrix

    return to_scipy_sparse_matrix(matrix)


def transposed_copy(folder: Path, like: Any, want: numpy.ndarray) -> Hdf5CompressedSparseMatrix:
    """The same matrix, compressed the other way."""
    make = scipy.sparse.csr_matrix if like.by_column else scipy.sparse.csc_matrix
    with h5py.File(folder / "other.h5", "w") as handle:
        put_sparse(handle.create_group("m"), make(want.filled(0).astype(like.dtype)))
    return Hdf5CompressedSparseMatrix(folder / "other.h5", "m", like.shape, not like.by_column)


@pytest.mark.parametrize("value", [numpy.array([1, 2]), "NA", [1.0, 2.0]], ids=str)
def test_wrong_placeholders(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = numpy.ones((2, 3))
        handle["x"].attrs["missing-value-placeholder"] = value
    with error_naming(ValueError, path, "missing-value-placeholder"):
        open_array(path, "x", mask_missing=True)
    assert open_array(path, "x").shape == (3, 2)


@pytest.mark.parametrize("dtype", ["S3", "variable"])
def test_placeholders_of_strings(tmp_path: Path, dtype: str, untrusted: bool) -> None:
    path = tmp_path / "array.h5"
    text = [["a", "no"], ["b", "no"], ["", "NA"]]
    with h5py.File(path, "w") as handle:
        group = handle.create_group("dense_array")
        group.attrs["type"] = "string"
        group.create_dataset("data", data=text, dtype=TEXT if dtype == "variable" else dtype)
        group["data"].attrs["missing-value-placeholder"] = "no"
    found = open_array(path, mask_missing=True, untrusted=untrusted)
    whole = extract_dense_array(found, (range(3), range(2)))
    assert whole.mask.tolist() == [[False, True], [False, True], [False, False]]
    assert whole[2, 1] in ("NA", b"NA")


def test_strings_in_a_heap(tmp_path: Path) -> None:
    dolomite_base.save_object(
        numpy.array([["a", "bc"], ["d", "e"]]), str(tmp_path / "saved"), dense_array_string_vls=True
    )
    for name in (None, "dense_array"):
        with error_naming(TypeError, tmp_path / "saved" / "array.h5", "vls"):
            open_array(tmp_path / "saved", name)
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        group = handle.create_group("dense_array")
        group.attrs.update({"type": "number", "transposed": "yes"})
        group["data"] = numpy.ones((2, 3))
    with error_naming(ValueError, tmp_path / "x.h5", "transposed"):
        open_array(tmp_path / "x.h5")


def write_experiment(folder: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """A summarized_experiment as dolomite writes it: https://github.com/ArtifactDB/takane."""
    dense, sparse = values(6, 5, 1), values(6, 5, 2)
    folder.mkdir()
    (folder / "OBJECT").write_text(
        json.dumps({"type": "summarized_experiment", "summarized_experiment": {"version": "1.0", "dimensions": [6, 5]}})
    )
    (folder / "assays").mkdir()
    (folder / "assays" / "names.json").write_text(json.dumps(["counts", "log/norm"]))
    dolomite_base.save_object(scipy.sparse.csr_matrix(sparse), str(folder / "assays" / "0"))
    dolomite_base.save_object(dense, str(folder / "assays" / "1"))
    for frame, what, count in (("row_data", "gene", 6), ("column_data", "cell", 5)):
        made = biocframe.BiocFrame({"n": list(range(count))}, row_names=names_of(what, count))
        dolomite_base.save_object(made, str(folder / frame))
    return sparse, dense


def test_experiments(tmp_path: Path, untrusted: bool) -> None:
    folder = tmp_path / "experiment"
    for name, want in zip(("counts", "log/norm"), write_experiment(folder), strict=True):
        assay = open_array(folder, name, untrusted=untrusted)
        numpy.testing.assert_array_equal(to_dense_array(assay), want)
        assert assay.row_names.tolist() == names_of("gene", 6)
        assert assay.column_names.tolist() == names_of("cell", 5)
        assert assay.transposed().row_names.tolist() == names_of("cell", 5)
    with error_naming(ValueError, folder, "several assays", "'counts'"):
        open_array(folder, untrusted=untrusted)
    with error_naming(KeyError, folder, "'no'", "'log/norm'"):
        open_array(folder, "no", untrusted=untrusted)
    # Names of an array itself come first.
    with h5py.File(folder / "assays" / "0" / "matrix.h5", "a") as handle:
        put_text(handle, "compressed_sparse_matrix/names/0", names_of("own", 6))
    assert open_array(folder, "counts").row_names.tolist() == names_of("own", 6)
    assert open_array(folder, "counts").column_names.tolist() == names_of("cell", 5)
    (folder / "row_data" / "basic_columns.h5").unlink()
    assert open_array(folder, "log/norm").row_names is None
    (folder / "assays" / "names.json").write_text('["counts"]')
    assert open_array(folder).shape == (6, 5)


def test_directories_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    write_experiment(folder)
    for content in ("[" * 100_000, "{", '{"a": 1}', "\xff", " " * (2 << 20)):
        (folder / "OBJECT").write_bytes(content.encode("latin-1"))
        with error_naming(ValueError, folder / "OBJECT"):
            open_array(folder)
    (folder / "OBJECT").write_text('{"type": "data_frame"}')
    (folder / "assays" / "names.json").write_text("3")
    with error_naming(ValueError, folder / "assays" / "names.json", "list"):
        open_array(folder, "counts")
    (folder / "assays" / "names.json").write_text('["counts"]')
    (folder / "assays" / "0" / "OBJECT").write_text('{"type": "delayed_array"}')
    with error_naming(ValueError, folder, "delayed_array", "'dense_array'"):
        open_array(folder, "counts")
    (folder / "assays" / "names.json").unlink()
    with error_naming(ValueError, folder, "data_frame", "'dense_array'"):
        open_array(folder, "counts")
    (folder / "OBJECT").unlink()
    with pytest.raises(OSError, match="experiment"):
        open_array(folder, "counts")


# ---- MATLAB ----------------------------------------------------------------------------------------


def test_types_of_matlab(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "file.mat"
    with h5py.File(path, "w", userblock_size=512) as handle:
        handle["yes"] = numpy.array([[1, 0, 1]], "u1")
        handle["yes"].attrs["MATLAB_class"] = numpy.bytes_("logical")
        handle["empty"] = numpy.array([0, 3], "u8")
        handle["empty"].attrs.update({"MATLAB_class": numpy.bytes_("double"), "MATLAB_empty": numpy.uint8(1)})
        matrix = scipy.sparse.csc_matrix(values(6, 5) > 0)
        group = handle.create_group("sparse")
        group.attrs.update({"MATLAB_class": numpy.bytes_("logical"), "MATLAB_sparse": numpy.uint64(6)})
        group["data"], group["ir"], group["jc"] = matrix.data.astype("u1"), matrix.indices, matrix.indptr
        handle["#refs#/a"] = numpy.ones((3, 3))
    yes = open_array(path, "yes", untrusted=untrusted)
    assert yes.dtype == bool
    assert to_dense_array(yes).tolist() == [[True], [False], [True]]
    sparse = open_array(path, "sparse", untrusted=untrusted)
    assert sparse.dtype == bool
    numpy.testing.assert_array_equal(to_dense_array(sparse), values(6, 5) > 0)
    with error_naming(ValueError, path, "'empty'", "0 x 3"):
        open_array(path, "empty", untrusted=untrusted)
    entries = {entry.name: entry for entry in _listing.entries(str(path), untrusted=untrusted)}
    assert "0 x 3" in entries["/empty"].note
    # Parts of other variables are no candidates.
    with error_naming(ValueError, path, "several", "'sparse'") as caught:
        open_array(path, untrusted=untrusted)
    assert "refs" not in str(caught.value)


# ---- real files ------------------------------------------------------------------------------------


def files(folder: str, *endings: str) -> list[Path]:
    where = real.location() / folder
    return sorted(path for path in where.rglob("*") if path.name.endswith(endings)) if real.is_there() else []


def identifier(path: Path) -> str:
    return "/".join(path.relative_to(real.location()).parts[1:])


def test_there_are_real_files() -> None:
    real.require()
    assert len(files("c5_matlab", ".mat")) == 19
    assert len(files("c5_domain", ".biom", ".gctx")) == 4


@pytest.mark.parametrize("path", files("c5_matlab", ".mat"), ids=identifier)
def test_real_matlab(path: Path) -> None:
    """Every variable that is of numbers, as MATLAB has it: the other way round than h5py."""
    opened = 0
    with h5py.File(path) as handle:

        def compare(name: str, item: Any) -> None:
            nonlocal opened
            if isinstance(item, h5py.Group) and "MATLAB_sparse" in item.attrs:
                rows, jc = int(item.attrs["MATLAB_sparse"]), item["jc"][()]
                parts = (item["data"][()], item["ir"][()], jc) if "data" in item else (numpy.empty(0), [], jc)
                want = scipy.sparse.csc_matrix(parts, shape=(rows, len(jc) - 1)).toarray()
            elif isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf" and "MATLAB_class" in item.attrs:
                if item.attrs.get("MATLAB_empty", 0):
                    with error_naming(ValueError, path, "empty array of MATLAB"):
                        open_array(path, name)
                    return
                want = item[()].T
            else:
                return
            found = open_array(path, name)
            numpy.testing.assert_array_equal(to_dense_array(found), want, err_msg=name)
            assert (found.dtype == bool) == (item.attrs["MATLAB_class"] == b"logical")
            opened += 1

        handle.visititems(compare)
    formats = {entry.format for entry in _listing.entries(str(path))}
    assert opened == 0 or "MATLAB" in formats


@pytest.mark.parametrize("path", files("c5_domain", ".biom"), ids=identifier)
def test_real_biom(path: Path) -> None:
    with h5py.File(path) as handle:
        part = handle["observation/matrix"]
        want = scipy.sparse.csr_matrix(
            (part["data"][()], part["indices"][()], part["indptr"][()]), shape=tuple(handle.attrs["shape"])
        ).toarray()
        rows, columns = ([one.decode() for one in handle[f"{axis}/ids"][()]] for axis in ("observation", "sample"))
    for name in (None, "observation", "sample/matrix"):
        matrix = open_array(path, name)
        numpy.testing.assert_array_equal(to_dense_array(matrix), want)
        assert matrix.row_names.tolist() == rows
        assert matrix.column_names.tolist() == columns


@pytest.mark.parametrize("path", files("c5_domain", ".gctx"), ids=identifier)
def test_real_gctx(path: Path) -> None:
    with h5py.File(path) as handle:
        if "0" not in handle:
            with error_naming(ValueError, path, "no array"):
                open_array(path)
            return
        matrix = open_array(path)
        numpy.testing.assert_array_equal(to_dense_array(matrix), handle["0/DATA/0/matrix"][()].T)
        for ours, axis in ((matrix.row_names, "ROW"), (matrix.column_names, "COL")):
            theirs = handle[f"0/META/{axis}/id"][()].tolist()
            assert ours.tolist() == [one.decode() if isinstance(one, bytes) else str(one) for one in theirs]


HIC = [path for path in files("c5_domain", ".h5") if "HiCExplorer" in path.as_posix()]


@pytest.mark.parametrize("path", HIC, ids=identifier)
def test_real_hicexplorer(path: Path) -> None:
    """The upper triangle, which is what is stored."""
    matrix = open_array(path)
    assert matrix.by_column is False
    assert to_scipy(matrix).nnz > 0
    assert scipy.sparse.tril(to_scipy(matrix), -1).nnz == 0


@pytest.mark.parametrize("path", files("c5_domain", ".cool", "abundance.h5"), ids=identifier)
def test_real_files_without_a_matrix(path: Path) -> None:
    with error_naming(ValueError, path, "not a matrix"):
        open_array(path)
