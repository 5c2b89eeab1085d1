"""Matrices of 10x Genomics, anndata and loom, and arrays of which the file itself says what they are."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy
from delayedarray import DelayedArray, SparseNdarray

from .._engine.names import text_name
from .._engine.snapshot import one_state
from ..FileBackedArray import FileBackedArray
from ..Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from ..Hdf5DenseArraySeed import Hdf5DenseArray, Hdf5DenseArraySeed
from . import registry
from .directories import in_directory
from .file import File, listed
from .registry import ANNDATA, LOOM, TENX, Stored

if TYPE_CHECKING:
    import numpy.typing

    from .._seeds.axis_names import AxisNames

__all__ = ["H5adMatrix", "LoomMatrix", "TenxMatrix", "open_array"]

Path = str | os.PathLike[str]


class TenxMatrix(Hdf5CompressedSparseMatrix):
    """A matrix of 10x Genomics: features in rows, barcodes in columns, compressed by column.

    Cell Ranger 3 and later write a group ``matrix`` with the features in a group of their own
    (https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices); Cell
    Ranger 2 wrote a group for each genome, with ``genes``. R's ``writeTENxMatrix`` writes the latter.
    """

    def __init__(
        self,
        path: Path,
        group: str | None = None,
        *,
        dtype: numpy.typing.DTypeLike | None = None,
        untrusted: bool = False,
    ) -> None:
        """Find the matrix in the file.

        Args:
            path: Path to the HDF5 file.
            group: Name of the group, ``"/"`` for the root. May be None if the file has one matrix only.
            dtype: NumPy type of the values. Defaults to the type in the file.
            untrusted: Whether the file may have been made to do damage; see :py:class:`Hdf5DenseArraySeed`.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the file is not HDF5 or cannot be read.
            KeyError: If the file has no such group.
            ValueError: If it has no such matrix; if it has several and ``group`` is None: they are listed; or if the
                group lacks something, or cannot be this matrix.
        """
        file = File(path, untrusted)
        if group is None:
            groups = registry.tenx_groups(file)
            if not groups:
                raise ValueError(
                    f"{file.shown} has no matrix of 10x Genomics: neither its root nor a group has 'data', 'indices',"
                    " 'indptr', 'shape' and 'features', 'genes' or 'barcodes'."
                    f" At its root are {listed(file.members('/'))}"
                )
            if len(groups) > 1:
                raise ValueError(f"{file.shown} has several matrices; 'group' should be one of {listed(groups)}")
            group = groups[0]
        seed = _seed(file, registry.tenx_matrix(file, text_name(group)), dtype=dtype)
        super().__init__(seed, None, None, None)

    def __reduce__(self) -> Any:
        return _of_seed, (type(self), self.seed)


class H5adMatrix(FileBackedArray):
    """A matrix of an AnnData object, features in rows and cells in columns as in BiocPy.

    It is a :py:class:`Hdf5CompressedSparseMatrix` or a :py:class:`Hdf5DenseArray`, whichever the file has. Nothing is
    transposed for that: a matrix that is compressed by row is compressed by column when seen from the other side.
    All versions of the format are read (https://anndata.readthedocs.io/en/stable/fileformat-prose.html); before
    anndata 0.7, attributes ``h5sparse_format`` and ``h5sparse_shape`` said what is a matrix, and ``obs`` and ``var``
    were compounds.
    """

    def __new__(
        cls,
        path: Path,
        layer: str | None = None,
        *,
        raw: bool = False,
        transpose: bool = True,
        group: str = "/",
        dtype: numpy.typing.DTypeLike | None = None,
        untrusted: bool = False,
    ) -> H5adMatrix:
        """Which class it is depends on what is in the file; see :py:meth:`__init__`."""
        file = File(path, untrusted)
        group, layer = text_name(group).strip("/"), None if layer is None else text_name(layer)
        members = file.members(group)
        if not registry.is_anndata(file, group, members):
            raise ValueError(
                f"{file.shown} has no AnnData object at {'/' + group!r}: no 'obs', 'var' and 'X'. There are"
                f" {listed(members)}"
            )
        if raw and layer is not None:
            raise ValueError("either 'layer' or 'raw' can be given: raw has no layers")
        stored = registry.anndata_matrix(file, group, layer=layer, raw=raw)
        matrix: H5adMatrix = open_stored(file, stored, is_turned=transpose, dtype=dtype)
        return matrix

    def __init__(
        self,
        path: Path,
        layer: str | None = None,
        *,
        raw: bool = False,
        transpose: bool = True,
        group: str = "/",
        dtype: numpy.typing.DTypeLike | None = None,
        untrusted: bool = False,
    ) -> None:
        """Find the matrix in the file.

        Args:
            path: Path to the h5ad file.
            layer: Name of a layer, with slashes if it is in a group of ``layers``. Defaults to ``X``.
            raw: Whether the matrix of ``raw`` is meant, which may have other features.
            transpose: Whether features are in rows. Otherwise cells are, as in anndata.
            group: Name of the group with the AnnData object: in an h5mu file, ``"mod/rna"`` or the like.
            dtype: NumPy type of the values. Defaults to the type in the file.
            untrusted: Whether the file may have been made to do damage; see :py:class:`Hdf5DenseArraySeed`.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the file is not HDF5 or cannot be read.
            KeyError: If there is no such group or layer (those that there are are listed), or no ``raw``.
            TypeError: If the values are no numbers, booleans or strings.
            ValueError: If there is no AnnData object, both ``layer`` and ``raw`` are given, or what is stored is no
                matrix.
        """
        # All of it has been done by __new__.

    def __reduce__(self) -> Any:
        return _of_seed, (type(self), self.seed)


class DenseH5adMatrix(H5adMatrix, Hdf5DenseArray):
    """A dense matrix of an AnnData object. Made by :py:class:`H5adMatrix`."""


class SparseH5adMatrix(H5adMatrix, Hdf5CompressedSparseMatrix):
    """A sparse matrix of an AnnData object. Made by :py:class:`H5adMatrix`."""


class LoomMatrix(Hdf5DenseArray):
    """A matrix of a loom file: features in rows, cells in columns.

    See https://linnarssonlab.org/loompy/format/index.html.
    """

    def __init__(
        self,
        path: Path,
        layer: str | None = None,
        *,
        dtype: numpy.typing.DTypeLike | None = None,
        untrusted: bool = False,
    ) -> None:
        """Find the matrix in the file.

        Args:
            path: Path to the loom file.
            layer: Name of a layer, with slashes if it is in a group of ``layers``. Defaults to the main matrix, which
                loompy calls ``""``.
            dtype: NumPy type of the values. Defaults to the type in the file.
            untrusted: Whether the file may have been made to do damage; see :py:class:`Hdf5DenseArraySeed`.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the file is not HDF5 or cannot be read.
            KeyError: If there is no such layer; those that there are are listed.
            ValueError: If the file is no loom file.
        """
        file = File(path, untrusted)
        members = file.members("/")
        if not registry.is_loom(file, "/", members):
            raise ValueError(
                f"{file.shown} is no loom file: no matrix 'matrix' with groups 'row_attrs' and 'col_attrs'. At its"
                f" root are {listed(members)}"
            )
        seed = _seed(file, registry.loom_matrix(file, text_name(layer) if layer else None), dtype=dtype)
        super().__init__(seed, None)

    def __reduce__(self) -> Any:
        return _of_seed, (type(self), self.seed)


def _of_seed(kind: type[Any], seed: Any) -> Any:
    """An array of a class whose constructor looks into a file, of a seed that is there already."""
    made: Any = object.__new__(kind)
    DelayedArray.__init__(made, seed)
    return made


class _Zeros(FileBackedArray):
    """A matrix of which the file stores no element, nor datasets that could hold any."""

    row_names = column_names = None

    def transposed(self) -> _Zeros:
        """The transpose, an array of this class."""
        return _Zeros(SparseNdarray(self.shape[::-1], None, self.dtype, self.seed.index_dtype))


_CLASSES: dict[str, tuple[type[FileBackedArray], type[FileBackedArray]]] = {
    ANNDATA: (DenseH5adMatrix, SparseH5adMatrix),
    LOOM: (LoomMatrix, Hdf5CompressedSparseMatrix),
    TENX: (Hdf5DenseArray, TenxMatrix),
}
"""Classes of dense and sparse matrices, of formats that have their own."""


def _seed(
    file: File,
    stored: Stored,
    *,
    is_turned: bool = False,
    dtype: numpy.typing.DTypeLike | None = None,
    mask_missing: bool = False,
) -> Any:
    """The seed of an array; see :py:func:`open_stored`."""
    dtype = stored.dtype if dtype is None else dtype
    options: dict[str, Any] = {"untrusted": file.untrusted, "mask_missing": mask_missing}
    seed: Any
    if stored.compressed is None:
        seed = Hdf5DenseArraySeed(file.path, stored.name, dtype, native_order=not is_turned, **options)
    else:
        by_column, data, indices, indptr = stored.compressed
        rows, columns = stored.shape[::-1] if is_turned else stored.shape
        if data is None:
            return SparseNdarray((rows, columns), None, numpy.dtype(dtype), numpy.dtype(numpy.int32))
        seed = Hdf5CompressedSparseMatrixSeed(
            file.path,
            stored.name,
            (rows, columns),
            by_column != is_turned,
            dtype,
            data_name=data,
            indices_name=indices,
            indptr_name=indptr,
            **options,
        )
    if stored.names is not None:
        names: tuple[AxisNames | None, ...] = stored.names[::-1] if is_turned else stored.names
        seed._axis_names = names
    return seed


def open_stored(
    file: File,
    stored: Stored,
    *,
    is_turned: bool | None = None,
    native_order: bool = False,
    dtype: numpy.typing.DTypeLike | None = None,
    mask_missing: bool = False,
) -> FileBackedArray:
    """Make an array of what was found in a file.

    Args:
        file: The file.
        stored: What was found.
        is_turned: Whether the array has the axes of the file in reverse order. None is for what its format says, and
            where none does, for the opposite of ``native_order``.
        native_order: As above.
        dtype: NumPy type of the values. Defaults to what the format says, or else to the type in the file.
        mask_missing: Whether missing values are masked.

    Returns:
        An array of the format's class.
    """
    is_turned = stored.is_turned if is_turned is None else is_turned
    is_turned = not native_order if is_turned is None else is_turned
    seed = _seed(file, stored, is_turned=is_turned, dtype=dtype, mask_missing=mask_missing)
    if isinstance(seed, SparseNdarray):
        return _Zeros(seed)
    plain = (Hdf5DenseArray, Hdf5CompressedSparseMatrix)
    made: FileBackedArray = _of_seed(_CLASSES.get(stored.format, plain)[stored.compressed is not None], seed)
    return made


@one_state
def open_array(
    path: Path,
    name: str | None = None,
    *,
    native_order: bool = False,
    dtype: numpy.typing.DTypeLike | None = None,
    untrusted: bool = False,
    mask_missing: bool = False,
) -> FileBackedArray:
    """Open an array or a matrix as what the file says that it is; the page "Formats" lists what is known.

    Args:
        path:
            Path to the HDF5 file; or to a directory that dolomite or alabaster saved (of a ``dense_array``, a
            ``compressed_sparse_matrix`` or an experiment with assays), or R's ``saveHDF5SummarizedExperiment``.

        name:
            Name of a dataset or group. Without it, what the file is made for is opened: the matrix of a 10x file, ``X``
            of an h5ad file, the matrix of a loom file, and so on; or of any other file the only array or compressed
            sparse matrix that is in it. In a directory of an experiment, the name of an assay.

        native_order:
            For a dataset of which no format says how its dimensions are ordered, whether to keep HDF5's order; see
            :py:class:`Hdf5DenseArraySeed`.

        dtype:
            NumPy type of the values. Defaults to what the format says, or else to the type in the file.

        untrusted:
            Whether the file may have been made to do damage; see :py:class:`Hdf5DenseArraySeed`.

        mask_missing:
            Whether missing values are masked; see :py:class:`Hdf5DenseArraySeed`.

    Returns:
        A :py:class:`TenxMatrix`, :py:class:`H5adMatrix` or :py:class:`LoomMatrix`;
        a :py:class:`Hdf5CompressedSparseMatrix` for another group, as the file says its shape; a
        :py:class:`Hdf5DenseArray` for another dataset.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the file is not HDF5 or cannot be read.
        KeyError: If there is no such dataset, group or assay.
        TypeError: If the values are no numbers, booleans or strings, or are stored in a way that is not read here.
        ValueError: If there is nothing that can be opened, or more than one thing: what was found is listed; if a
            group lacks what makes it a compressed sparse matrix, which is listed, or states a shape that is none; or
            if the file is of a kind that holds no matrix.
    """
    options: dict[str, Any] = {"native_order": native_order, "dtype": dtype, "mask_missing": mask_missing}
    found = in_directory(path, text_name(name or ""))
    file = File(found.path, untrusted)
    stored = registry.locate(file, found.name)
    if stored is None:
        stored = registry.only_one(file, found.name)
    array = open_stored(file, stored, **options)
    if found.experiment is not None:
        # The names of an array itself, if there are any, come before those of the experiment.
        array.seed._axis_names = tuple(
            one and replace(one, otherwise=found.names(axis, extent, untrusted))
            for axis, (one, extent) in enumerate(zip(array.seed._axis_names, array.shape, strict=True))
        )
    return array
