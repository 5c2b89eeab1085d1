"""Compressed sparse matrices."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy
from delayedarray import (
    SparseNdarray,
    chunk_grid,
    chunk_shape_to_grid,
    create_dask_array,
    extract_dense_array,
    extract_sparse_array,
    is_masked,
    is_sparse,
    wrap,
)

from ._compute.dask import dask_array
from ._compute.reductions import Reductions
from ._compute.tree import SparseLeaf, register
from ._engine import engine
from ._engine.memory import allocate, as_bytes, convert, engine_dtype
from ._engine.names import engine_name, engine_path
from ._engine.selection import Axis, Selection, Subset, select
from ._engine.snapshot import one_state
from ._engine.types import Matrix
from ._seeds.axis_names import NamedArray, NamedSeed
from ._seeds.missing import missing_mask, missing_values
from ._seeds.storage import SparseFacts
from .FileBackedArray import FileBackedArray

if TYPE_CHECKING:
    import dask.array
    import numpy.typing
    from delayedarray import SimpleGrid

__all__ = ["Hdf5CompressedSparseMatrix", "Hdf5CompressedSparseMatrixSeed"]

_COST_FACTOR = 20
"""Cost of extracting an element relative to a numpy array's, for delayedarray's choice of blocks."""


class Hdf5CompressedSparseMatrixSeed(NamedSeed, SparseFacts, Reductions):
    """A compressed sparse matrix in an HDF5 file, as the seed of a
    :py:class:`~delayedarray.DelayedArray.DelayedArray`.

    The matrix is made of three datasets: ``data`` with the values, ``indices`` with their row (or column) indices, and
    ``indptr`` with the position in these where each column (or row) begins, as in the matrices of 10x Genomics
    (https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices) and in
    h5ad files. Files differ in where they keep the shape and which way they are compressed; nothing is guessed here.

    Within a column (or row), indices may be in any order in the file; elements with the same index are added up. The
    seed holds no open file, as :py:class:`~filebackedarray.Hdf5DenseArraySeed`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        group_name: str | None,
        shape: tuple[int, int],
        by_column: bool,
        dtype: numpy.typing.DTypeLike | None = None,
        index_dtype: numpy.typing.DTypeLike | None = None,
        data_name: str | None = None,
        indices_name: str | None = None,
        indptr_name: str | None = None,
        *,
        untrusted: bool = False,
        mask_missing: bool = False,
    ) -> None:
        """Look at the datasets and check the pointers; values and indices stay in the file.

        Args:
            path:
                Path to the HDF5 file.

            group_name:
                Name of the group that holds the three datasets. May be None if their names are given.

            shape:
                Number of rows and columns.

            by_column:
                Whether the matrix is compressed sparse column, otherwise row.

            dtype:
                NumPy type of the values. Defaults to the type in the file; to any other, values are converted while
                they are read.

            index_dtype:
                NumPy type of the indices in extracted :py:class:`~delayedarray.SparseNdarray.SparseNdarray` objects.
                Defaults to the type in the file.

            data_name:
                Name of the dataset of values. Defaults to ``data`` in the group.

            indices_name:
                Name of the dataset of indices. Defaults to ``indices`` in the group.

            indptr_name:
                Name of the dataset of pointers. Defaults to ``indptr`` in the group.

            untrusted:
                Whether the file may have been made to do damage. It is then read in a process of its own, which may
                crash without harm to this one, has limits on time and memory, and follows nothing that leads to
                another file (external links, external storage, virtual datasets). Slower: see the page on security.

            mask_missing:
                Whether missing values are masked in the arrays that are then extracted, as
                :py:class:`~filebackedarray.Hdf5DenseArraySeed` has it; what is not stored is never missing. The file
                may then not hold several elements with the same index in one column (or row).

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the file is not HDF5 or cannot be read.
            KeyError: If the file lacks one of the datasets.
            TypeError: If ``group_name`` is None and a name is missing, ``index_dtype`` is not an integer type, or
                values are not numbers or booleans.
            ValueError: If the datasets cannot be such a matrix: their lengths do not fit together or the shape, indices
                or pointers are not integers, or the pointers do not start from 0 or decrease.
        """
        self._path = path
        self._group_name = group_name
        self._shape = tuple(int(extent) for extent in shape)
        if len(self._shape) != 2 or min(self._shape) < 0:
            raise ValueError(
                f"{engine_path(path)!r}, group {group_name!r}: 'shape' should be two numbers that are not negative,"
                f" not {shape}"
            )
        self._by_column = bool(by_column)
        self._untrusted = untrusted
        self._data_name = self._member(data_name, "data")
        self._indices_name = self._member(indices_name, "indices")
        self._indptr_name = self._member(indptr_name, "indptr")
        stored, stored_index, _ = self._matrix().inspect()
        self._stored_dtype = numpy.dtype(stored)
        self._dtype = self._stored_dtype if dtype is None else numpy.dtype(dtype)
        self._index_dtype = numpy.dtype(stored_index if index_dtype is None else index_dtype)
        if self._index_dtype.kind not in "iu":
            raise TypeError(f"'index_dtype' should be an integer type, not {self._index_dtype}")
        self._missing = (
            missing_values(path, self._data_name, self._stored_dtype, untrusted=untrusted) if mask_missing else None
        )

    def _member(self, name: str | None, default: str) -> str:
        if name is not None:
            return name
        if self._group_name is None:
            raise TypeError(f"without 'group_name', '{default}_name' should be given")
        return f"{self._group_name}/{default}"

    def _matrix(self) -> Matrix:
        return engine(self._untrusted).SparseMatrix(
            engine_path(self._path),
            engine_name(self._data_name),
            engine_name(self._indices_name),
            engine_name(self._indptr_name),
            self.shape,
            self._by_column,
        )

    def _pointers(self) -> numpy.typing.NDArray[numpy.int64]:
        """Where each column (or row) begins in ``data``, and where the last one ends."""
        extent = self._shape[1 if self._by_column else 0] + 1
        pointers = numpy.empty(extent, numpy.int64)
        path, name = engine_path(self._path), engine_name(self._indptr_name)
        engine(self._untrusted).read_dense(path, name, [(0, extent, 1)], pointers.dtype.str, pointers)
        return pointers

    def _compressed(
        self, axes: tuple[Axis, ...], index_dtype: numpy.dtype[Any], by_column: bool
    ) -> tuple[numpy.typing.NDArray[numpy.uint64], numpy.typing.NDArray[Any], numpy.typing.NDArray[Any]]:
        """Pointers, indices and values of a selection, compressed by column or by row."""
        target = engine_dtype(self._dtype, self._stored_dtype).newbyteorder("=")
        native_index = index_dtype.newbyteorder("=")
        pointers, indices, values = self._matrix().read(axes, target.str, native_index.str, by_column)
        # What was there more than once has been added up, and left room at the end.
        count = int(pointers[-1])
        return (
            pointers,
            indices[:count].astype(index_dtype, copy=False),
            convert(values[:count], self._dtype),
        )

    def _extracted(
        self, axes: tuple[Axis, ...], by_column: bool
    ) -> tuple[numpy.typing.NDArray[numpy.uint64], numpy.typing.NDArray[Any], numpy.typing.NDArray[Any]]:
        """The same, with a masked array of values where some may be missing."""
        if self._missing is None:
            return self._compressed(axes, self._index_dtype, by_column)
        # What is missing can be told before values are converted.
        stored = copy.copy(self)
        stored._dtype = self._stored_dtype.newbyteorder("=")
        pointers, indices, values = stored._compressed(axes, self._index_dtype, by_column)
        mask = missing_mask(self._missing, values)
        with numpy.errstate(invalid="ignore"):
            return pointers, indices, numpy.ma.MaskedArray(convert(values, self._dtype), mask)

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """NumPy type of the values."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        rows, columns = self._shape
        return rows, columns

    @property
    def path(self) -> str | os.PathLike[str]:
        """Path to the HDF5 file, as it was given."""
        return self._path

    @property
    def index_dtype(self) -> numpy.dtype[Any]:
        """NumPy type of the indices."""
        return self._index_dtype

    @property
    def by_column(self) -> bool:
        """Whether the matrix is compressed sparse column."""
        return self._by_column

    @property
    def group_name(self) -> str | None:
        """Name of the group with the datasets, or None if they were named one by one."""
        return self._group_name

    @property
    def data_name(self) -> str:
        """Name of the dataset of values."""
        return self._data_name

    @property
    def indices_name(self) -> str:
        """Name of the dataset of indices."""
        return self._indices_name

    @property
    def indptr_name(self) -> str:
        """Name of the dataset of pointers."""
        return self._indptr_name

    def transposed(self) -> Hdf5CompressedSparseMatrixSeed:
        """The transpose, at no cost: a matrix that is compressed by column is its transpose compressed by row.

        Returns:
            A seed of the same datasets, with shape and ``by_column`` the other way.
        """
        other = self._turned()
        other._shape, other._by_column = self.shape[::-1], not self._by_column
        return other


register(Hdf5CompressedSparseMatrixSeed, SparseLeaf)


@is_sparse.register(Hdf5CompressedSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def is_sparse_Hdf5CompressedSparseMatrixSeed(x: Hdf5CompressedSparseMatrixSeed) -> bool:
    """See :py:func:`~delayedarray.is_sparse.is_sparse`: always."""
    return True


@is_masked.register(Hdf5CompressedSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def is_masked_Hdf5CompressedSparseMatrixSeed(x: Hdf5CompressedSparseMatrixSeed) -> bool:
    """See :py:func:`~delayedarray.is_masked.is_masked`: if ``mask_missing`` said so, and values can be missing."""
    return x._missing is not None


@chunk_grid.register(Hdf5CompressedSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def chunk_grid_Hdf5CompressedSparseMatrixSeed(x: Hdf5CompressedSparseMatrixSeed) -> SimpleGrid:
    """See :py:func:`~delayedarray.chunk_grid.chunk_grid`: columns, or rows, one by one."""
    return chunk_shape_to_grid(_chunks(x), x.shape, cost_factor=_COST_FACTOR)


def _chunks(x: Hdf5CompressedSparseMatrixSeed) -> tuple[int, int]:
    return (x.shape[0], 1) if x.by_column else (1, x.shape[1])


@extract_dense_array.register(Hdf5CompressedSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def extract_dense_array_Hdf5CompressedSparseMatrixSeed(
    x: Hdf5CompressedSparseMatrixSeed, subset: Sequence[Subset]
) -> numpy.typing.NDArray[Any]:
    """See :py:func:`~delayedarray.extract_dense_array.extract_dense_array`.

    Args:
        x: The seed.
        subset: For rows and columns a range, slice, sequence or integer array of indices.

    Returns:
        A new array: Fortran-contiguous if ``x`` is compressed by column, C-contiguous otherwise. A masked one if
        :py:func:`~delayedarray.is_masked.is_masked` is true of ``x``.

    Raises:
        IndexError: If an index of the subset is out of bounds; or if the subset is all of the rows of a matrix
            compressed by column (all columns, by row), and an index in the file is outside of the matrix.
        FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for dense datasets.
        ValueError: If the file changed into what cannot be this matrix.
    """
    selection = select(subset, x.shape)
    if x._missing is not None:
        return _masked(x, selection)
    target = engine_dtype(x._dtype, x._stored_dtype).newbyteorder("=")
    # The compressed axis changes slowest, so that each column (or row) is written in one place.
    order = slice(None, None, -1) if x.by_column else slice(None)
    output = allocate(selection.lengths[order], target, zero=True)
    x._matrix().read_dense(selection.axes, target.str, as_bytes(output))
    if selection.restore is not None:
        output = output[numpy.ix_(*selection.restore[order])]
    output = convert(output, x._dtype)
    return output.T if x.by_column else output


def _masked(x: Hdf5CompressedSparseMatrixSeed, selection: Selection) -> numpy.typing.NDArray[Any]:
    """A dense array in which what is missing is masked: of what is stored, since a placeholder may be zero."""
    pointers, indices, values = x._extracted(selection.axes, x.by_column)
    order = slice(None, None, -1) if x.by_column else slice(None)
    output = numpy.ma.zeros(selection.lengths[order], values.dtype)
    output.mask = numpy.zeros(output.shape, bool)
    output[numpy.repeat(numpy.arange(len(pointers) - 1), numpy.diff(pointers).astype(numpy.intp)), indices] = values
    if selection.restore is not None:
        output = output[numpy.ix_(*selection.restore[order])]
    return output.T if x.by_column else output


@extract_sparse_array.register(Hdf5CompressedSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def extract_sparse_array_Hdf5CompressedSparseMatrixSeed(
    x: Hdf5CompressedSparseMatrixSeed, subset: Sequence[Subset]
) -> SparseNdarray:
    """See :py:func:`~delayedarray.extract_sparse_array.extract_sparse_array`.

    Args:
        x: The seed.
        subset: For rows and columns a range, slice, sequence or integer array of indices.

    Returns:
        The elements of each column, as views of one array of indices and one of values.

    Raises:
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt, ValueError: As for the dense array.
    """
    selection = select(subset, x.shape)
    pointers, indices, values = x._extracted(selection.axes, by_column=True)
    ends = pointers.tolist()
    contents: list[Any] | None = None
    if ends[-1] > 0:
        contents = [(indices[begin:end], values[begin:end]) if end > begin else None for begin, end in pairwise(ends)]
    extracted = SparseNdarray(
        shape=selection.lengths,
        contents=contents,
        dtype=x._dtype,
        index_dtype=x._index_dtype,
        is_masked=x._missing is not None,
        check=False,
    )
    return extracted if selection.restore is None else extracted[numpy.ix_(*selection.restore)]


@create_dask_array.register(Hdf5CompressedSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def create_dask_array_Hdf5CompressedSparseMatrixSeed(x: Hdf5CompressedSparseMatrixSeed) -> dask.array.Array:
    """See :py:func:`~delayedarray.create_dask_array.create_dask_array`: blocks are dense numpy arrays.

    For sparse blocks see :py:meth:`~filebackedarray.FileBackedArray.to_dask`.
    """
    return dask_array(x)


class Hdf5CompressedSparseMatrix(NamedArray, SparseFacts, FileBackedArray):
    """A compressed sparse matrix in an HDF5 file as a :py:class:`~delayedarray.DelayedArray.DelayedArray`."""

    def __init__(
        self,
        path: str | os.PathLike[str] | Hdf5CompressedSparseMatrixSeed,
        group_name: str | None,
        shape: tuple[int, int] | None,
        by_column: bool | None,
        **kwargs: Any,
    ) -> None:
        """Make a matrix from a file, or from a seed that exists (as :py:func:`~delayedarray.wrap.wrap` does).

        Args:
            path:
                Path to the HDF5 file; or a seed, and then the other arguments are ignored.

            group_name:
                Name of the group that holds the three datasets.

            shape:
                Number of rows and columns.

            by_column:
                Whether the matrix is compressed sparse column, otherwise row.

            kwargs:
                Further arguments of :py:class:`Hdf5CompressedSparseMatrixSeed`.

        Raises:
            FileNotFoundError, OSError, KeyError, TypeError, ValueError: As
                :py:class:`Hdf5CompressedSparseMatrixSeed`.
        """
        if isinstance(path, Hdf5CompressedSparseMatrixSeed):
            seed = path
        else:
            seed = Hdf5CompressedSparseMatrixSeed(path, group_name, shape, by_column, **kwargs)  # type: ignore[arg-type]
        super().__init__(seed)

    @property
    def path(self) -> str | os.PathLike[str]:
        """Path to the HDF5 file, as it was given."""
        path: str | os.PathLike[str] = self.seed.path
        return path

    @property
    def index_dtype(self) -> numpy.dtype[Any]:
        """NumPy type of the indices."""
        dtype: numpy.dtype[Any] = self.seed.index_dtype
        return dtype

    @property
    def by_column(self) -> bool:
        """Whether the matrix is compressed sparse column."""
        by_column: bool = self.seed.by_column
        return by_column

    @property
    def group_name(self) -> str | None:
        """Name of the group with the datasets, or None if they were named one by one."""
        name: str | None = self.seed.group_name
        return name

    @property
    def data_name(self) -> str:
        """Name of the dataset of values."""
        name: str = self.seed.data_name
        return name

    @property
    def indices_name(self) -> str:
        """Name of the dataset of indices."""
        name: str = self.seed.indices_name
        return name

    @property
    def indptr_name(self) -> str:
        """Name of the dataset of pointers."""
        name: str = self.seed.indptr_name
        return name

    def transposed(self) -> Hdf5CompressedSparseMatrix:
        """The transpose: the same datasets, with shape and ``by_column`` the other way.

        What ``x.T`` is too, but for the class: that is a delayed operation on a matrix of this class, this a matrix of
        this class again, for functions that ask for one.

        Returns:
            The transpose.
        """
        return Hdf5CompressedSparseMatrix(self.seed.transposed(), None, None, None)


@wrap.register(Hdf5CompressedSparseMatrixSeed)  # type: ignore[untyped-decorator]
def wrap_Hdf5CompressedSparseMatrixSeed(x: Hdf5CompressedSparseMatrixSeed) -> Hdf5CompressedSparseMatrix:
    """See :py:func:`~delayedarray.wrap.wrap`."""
    return Hdf5CompressedSparseMatrix(x, None, None, None)
