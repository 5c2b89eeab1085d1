"""Sparse matrices of which a file, or two, hold a copy compressed by column and one compressed by row."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy
from delayedarray import (
    SparseNdarray,
    chunk_grid,
    create_dask_array,
    extract_dense_array,
    extract_sparse_array,
    is_masked,
    is_sparse,
    wrap,
)

from ._compute.reductions import Reductions
from ._compute.tree import DualLeaf, register
from ._engine.selection import Subset
from ._engine.snapshot import Operations, one_state
from ._seeds.axis_names import NamedArray, NamedSeed
from .FileBackedArray import FileBackedArray
from .Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed

if TYPE_CHECKING:
    import dask.array
    import numpy.typing
    from delayedarray import SimpleGrid

__all__ = ["Hdf5DualSparseMatrix", "Hdf5DualSparseMatrixSeed"]

_Matrix = Hdf5CompressedSparseMatrix | Hdf5CompressedSparseMatrixSeed


class _DualFacts(Operations):
    """What both have."""

    def _both(self) -> Hdf5DualSparseMatrixSeed:
        seed: Any = getattr(self, "_seed", self)
        return seed  # type: ignore[no-any-return]

    @property
    def csc(self) -> Hdf5CompressedSparseMatrixSeed:
        """The copy that is compressed by column."""
        return self._both()._csc

    @property
    def csr(self) -> Hdf5CompressedSparseMatrixSeed:
        """The copy that is compressed by row."""
        return self._both()._csr

    @property
    def index_dtype(self) -> numpy.dtype[Any]:
        """NumPy type of the indices: that of the copy compressed by column, which are of rows."""
        return self.csc.index_dtype

    @property
    def nnz(self) -> int:
        """Number of elements that are stored, in the copy compressed by column."""
        return self.csc.nnz

    @property
    def sparsity(self) -> float:
        """Fraction of the elements that are not stored, as of :py:class:`Hdf5CompressedSparseMatrix`."""
        return self.csc.sparsity

    @property
    def storage_size(self) -> int:
        """Bytes that both copies take in their files."""
        return self.csc.storage_size + self.csr.storage_size


class Hdf5DualSparseMatrixSeed(NamedSeed, _DualFacts, Reductions):
    """A sparse matrix of which there are two copies: compressed by column, and by row.

    A request is read from the copy of which it takes the smaller part: some columns from the one compressed by column,
    some rows from the other. That the copies hold the same values is for whoever wrote them to see to.
    """

    def __init__(self, csc: _Matrix, csr: _Matrix) -> None:
        """Put two matrices together. Nothing is read.

        Args:
            csc:
                The matrix compressed by column, or its seed.

            csr:
                The same matrix compressed by row, or its seed.

        Raises:
            TypeError: If one is no compressed sparse matrix of this package.
            ValueError: If they are compressed the other way, or differ in shape, dtype, or whether missing values are
                masked.
        """
        self._csc, self._csr = _seed(csc, "csc"), _seed(csr, "csr")
        if not self._csc.by_column:
            raise ValueError("'csc' is compressed by row: it should be compressed by column, and 'csr' by row")
        if self._csr.by_column:
            raise ValueError("'csr' is compressed by column: it should be compressed by row, and 'csc' by column")
        if self._csc.shape != self._csr.shape:
            raise ValueError(f"'csc' has shape {self._csc.shape} and 'csr' {self._csr.shape}: not the same matrix")
        if self._csc.dtype != self._csr.dtype:
            raise ValueError(
                f"'csc' has dtype {self._csc.dtype} and 'csr' {self._csr.dtype}; make both with the same 'dtype'"
            )
        if is_masked(self._csc) != is_masked(self._csr):
            raise ValueError("missing values of one copy are masked; make both with the same 'mask_missing'")
        if self._csr.index_dtype != self._csc.index_dtype:
            self._csr = copy.copy(self._csr)
            self._csr._index_dtype = self._csc.index_dtype

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """NumPy type of the values."""
        return self._csc.dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self._csc.shape

    @property
    def _untrusted(self) -> bool:
        return self._csc._untrusted or self._csr._untrusted

    def _names_of(self, axis: int) -> numpy.typing.NDArray[numpy.str_] | None:
        names = self._csc._names_of(axis)
        return self._csr._names_of(axis) if names is None else names

    def chosen(self, subset: Sequence[Subset]) -> Hdf5CompressedSparseMatrixSeed:
        """The copy from which a subset is read.

        Args:
            subset: For rows and columns a range, slice, sequence or integer array of indices.

        Returns:
            That compressed by row if a smaller share of rows than of columns is wanted.
        """
        rows, columns = (
            len(range(*indices.indices(extent))) if isinstance(indices, slice) else len(indices)
            for indices, extent in zip(subset, self.shape, strict=True)
        )
        return self._csr if rows * self.shape[1] < columns * self.shape[0] else self._csc

    def transposed(self) -> Hdf5DualSparseMatrixSeed:
        """The transpose, at no cost: each copy is the other one's.

        Returns:
            A seed of the same two copies.
        """
        return Hdf5DualSparseMatrixSeed(self._csr.transposed(), self._csc.transposed())


register(Hdf5DualSparseMatrixSeed, DualLeaf)


def _seed(matrix: Any, name: str) -> Hdf5CompressedSparseMatrixSeed:
    seed = matrix.seed if isinstance(matrix, Hdf5CompressedSparseMatrix) else matrix
    if not isinstance(seed, Hdf5CompressedSparseMatrixSeed):
        raise TypeError(f"{name!r} should be a Hdf5CompressedSparseMatrix or its seed, not {type(matrix).__name__}")
    return seed


@is_sparse.register(Hdf5DualSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def is_sparse_Hdf5DualSparseMatrixSeed(x: Hdf5DualSparseMatrixSeed) -> bool:
    """See :py:func:`~delayedarray.is_sparse.is_sparse`: always."""
    return True


@is_masked.register(Hdf5DualSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def is_masked_Hdf5DualSparseMatrixSeed(x: Hdf5DualSparseMatrixSeed) -> bool:
    """See :py:func:`~delayedarray.is_masked.is_masked`: if missing values of the copies are masked."""
    return bool(is_masked(x.csc))


@chunk_grid.register(Hdf5DualSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def chunk_grid_Hdf5DualSparseMatrixSeed(x: Hdf5DualSparseMatrixSeed) -> SimpleGrid:
    """See :py:func:`~delayedarray.chunk_grid.chunk_grid`: columns one by one."""
    grid: SimpleGrid = chunk_grid(x.csc)
    return grid


@extract_dense_array.register(Hdf5DualSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def extract_dense_array_Hdf5DualSparseMatrixSeed(
    x: Hdf5DualSparseMatrixSeed, subset: Sequence[Subset]
) -> numpy.typing.NDArray[Any]:
    """See :py:func:`~delayedarray.extract_dense_array.extract_dense_array`: from the copy that :py:meth:`chosen` says.

    Arguments, result and errors are those for :py:class:`Hdf5CompressedSparseMatrixSeed`.
    """
    array: numpy.typing.NDArray[Any] = extract_dense_array(x.chosen(subset), subset)
    return array


@extract_sparse_array.register(Hdf5DualSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def extract_sparse_array_Hdf5DualSparseMatrixSeed(
    x: Hdf5DualSparseMatrixSeed, subset: Sequence[Subset]
) -> SparseNdarray:
    """See :py:func:`~delayedarray.extract_sparse_array.extract_sparse_array`, and the function for dense arrays."""
    return extract_sparse_array(x.chosen(subset), subset)


@create_dask_array.register(Hdf5DualSparseMatrixSeed)  # type: ignore[untyped-decorator]
@one_state
def create_dask_array_Hdf5DualSparseMatrixSeed(x: Hdf5DualSparseMatrixSeed) -> dask.array.Array:
    """See :py:func:`~delayedarray.create_dask_array.create_dask_array`: of the copy compressed by column."""
    array: dask.array.Array = create_dask_array(x.csc)
    return array


class Hdf5DualSparseMatrix(NamedArray, _DualFacts, FileBackedArray):
    """A sparse matrix with a copy for columns and one for rows, as a
    :py:class:`~delayedarray.DelayedArray.DelayedArray`.
    """

    def __init__(self, csc: _Matrix | Hdf5DualSparseMatrixSeed, csr: _Matrix | None = None) -> None:
        """Make a matrix of two, or of a seed that exists (as :py:func:`~delayedarray.wrap.wrap` does).

        Args:
            csc:
                The matrix compressed by column, or its seed; or a :py:class:`Hdf5DualSparseMatrixSeed`, and then the
                other argument is ignored.

            csr:
                The same matrix compressed by row, or its seed.

        Raises:
            TypeError, ValueError: As :py:class:`Hdf5DualSparseMatrixSeed`.
        """
        seed = csc if isinstance(csc, Hdf5DualSparseMatrixSeed) else Hdf5DualSparseMatrixSeed(csc, csr)  # type: ignore[arg-type]
        super().__init__(seed)

    def transposed(self) -> Hdf5DualSparseMatrix:
        """The transpose. See :py:meth:`Hdf5CompressedSparseMatrix.transposed`.

        Returns:
            The transpose, a matrix of this class.
        """
        return Hdf5DualSparseMatrix(self.seed.transposed())


@wrap.register(Hdf5DualSparseMatrixSeed)  # type: ignore[untyped-decorator]
def wrap_Hdf5DualSparseMatrixSeed(x: Hdf5DualSparseMatrixSeed) -> Hdf5DualSparseMatrix:
    """See :py:func:`~delayedarray.wrap.wrap`."""
    return Hdf5DualSparseMatrix(x)
