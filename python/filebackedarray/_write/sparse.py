"""Compressed sparse matrices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy
import numpy.typing
import scipy.sparse

from .._compute.blocks import in_order
from .._compute.tree import Compressed, Index, Node
from .._engine.snapshot import bound
from .._show.progress import Progress, Report, reporting
from ..Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix
from .chunking import CHUNK_ELEMENTS
from .dense import BLOCK_BYTES, plain
from .files import Compression, FileSink, NewFile, Options, Sink
from .narrowing import Casting, check_casting, converted
from .sources import ScipyLeaf, primary_blocks, source_of, stored_count
from .values import stored_dtype

__all__ = ["SparseSink", "write_sparse"]

Array = numpy.typing.NDArray[Any]

_MOST_32 = (1 << 31) - 1
"""Maximum index that int32 has."""


def write_sparse(
    x: Any,
    path: str | os.PathLike[str],
    group: str,
    *,
    by_column: bool = True,
    dtype: numpy.typing.DTypeLike | None = None,
    index_dtype: numpy.typing.DTypeLike | None = None,
    casting: Casting = "exact",
    chunks: int | None = None,
    compression: Compression = "gzip",
    level: int | None = None,
    shuffle: bool = True,
    overwrite: bool = False,
    paged: bool = False,
    memory: int | None = None,
    progress: Progress = False,
) -> Hdf5CompressedSparseMatrix:
    """Write a matrix as a compressed sparse one, on all cores, whole or not at all.

    The group gets datasets ``data``, ``indices``, ``indptr`` (int64) and ``shape`` (rows, columns), and the attribute
    ``layout`` ("CSC" or "CSR"), by which :py:func:`open_array` finds it. Elements that are stored are written, also
    where they are zero; of a dense array, those that are not zero. Of a matrix that is compressed the other way round,
    the file is read once for each part of the result that fits into memory.

    Args:
        x:
            A matrix of SciPy's, a numpy array, a delayed array of any kind, or a Dask array; of two dimensions.

        path:
            Path to the HDF5 file, which is made or added to.

        group:
            Name of the group.

        by_column:
            Whether to compress it by column (CSC), or by row (CSR).

        dtype:
            Type of the elements in the file; that of the matrix if not given.

        index_dtype:
            Type of the indices; int32 if the matrix is not too large for it, or else int64.

        casting:
            Whether a value that ``dtype`` does not have is an error ("exact") or is converted as numpy does ("unsafe").

        chunks:
            Elements of a chunk of ``data`` and ``indices``; 131,072 if not given.

        compression:
            As for :py:func:`write_array`.

        level:
            As for :py:func:`write_array`.

        shuffle:
            As for :py:func:`write_array`.

        overwrite:
            Whether a dataset or group of this name is replaced.

        paged:
            As for :py:func:`write_array`.

        memory:
            As for :py:func:`write_array`.

        progress:
            As for :py:func:`write_array`.

    Returns:
        The matrix in the file.

    Raises:
        FileExistsError, BlockingIOError, OSError, TypeError, KeyboardInterrupt: As for :py:func:`write_array`.
        ValueError: If it has not two dimensions; if a value is none of ``dtype``, or an index none of ``index_dtype``;
            if values are masked.
    """
    options = Options(compression, level, shuffle, memory)
    with bound() as state:
        node = source_of(x)
    with NewFile(path, "a", paged=paged) as file, reporting(progress, "write") as report, bound(state):
        file.make_room(group, overwrite)
        put_sparse(
            file,
            group,
            node,
            options,
            by_column=by_column,
            dtype=dtype,
            index_dtype=index_dtype,
            casting=casting,
            chunks=chunks,
            report=report,
        )
        put_shape(file, group, node.shape, by_column)
    rows, columns = node.shape
    return Hdf5CompressedSparseMatrix(path, group, (rows, columns), by_column)


def put_shape(file: NewFile, group: str, shape: Sequence[int], by_column: bool) -> None:
    """Write what tells the shape and the orientation of a matrix of this package's own layout."""
    file.dataset(f"{group}/shape", numpy.array(shape, numpy.int64))
    file.attribute(group, "layout", "CSC" if by_column else "CSR")


def put_sparse(
    file: NewFile,
    group: str,
    node: Node,
    options: Options,
    *,
    by_column: bool,
    dtype: Any = None,
    index_dtype: Any = None,
    pointer_dtype: Any = numpy.int64,
    casting: Casting = "exact",
    chunks: int | None = None,
    report: Report | None = None,
) -> None:
    """Write ``data``, ``indices`` and ``indptr`` of a matrix into a new version of a file.

    Args:
        file: The new version.
        group: Name of the group, which is made.
        node: The matrix.
        options: How the datasets are stored.
        by_column: Whether to compress it by column.
        dtype: Type of the elements in the file; that of the matrix if None.
        index_dtype: Type of the indices; int32 if None and they fit, int64 if they do not.
        pointer_dtype: Type of the pointers.
        casting: Whether a value that is none of ``dtype`` is an error.
        chunks: Elements of a chunk.
        report: Called after each block.

    Raises:
        ValueError, TypeError, OSError: As :py:func:`write_sparse`.
    """
    if len(node.shape) != 2:
        raise ValueError(f"a sparse matrix has two dimensions, not {len(node.shape)}")
    sink = _Parts(
        file,
        group,
        node.shape,
        stored_dtype(node.dtype if dtype is None else dtype),
        options,
        by_column=by_column,
        index_dtype=index_dtype,
        pointer_dtype=pointer_dtype,
        casting=casting,
        chunks=chunks,
        expected=stored_count(node),
    )

    def evaluate(index: tuple[Index, ...]) -> tuple[Array, Array, Array]:
        if node.sparse:
            block = node.compressed(index, by_column).ordered()
            return numpy.diff(block.pointers), block.indices, sink.converted(block.values, block, index)
        return sink.of_dense(plain(node.dense(index)[0]), index)

    blocks = primary_blocks(node, by_column, BLOCK_BYTES // 4) if node.shape[1 if by_column else 0] else []
    with closing(in_order(evaluate, blocks)) as results:
        for number, part in enumerate(results, 1):
            sink.append(*part)
            if report is not None:
                report(number, len(blocks))
    sink.finish()


class _Parts:
    """The three datasets of a matrix."""

    def __init__(
        self,
        file: NewFile,
        group: str,
        shape: Sequence[int],
        dtype: numpy.dtype[Any],
        options: Options,
        *,
        by_column: bool,
        index_dtype: Any = None,
        pointer_dtype: Any = numpy.int64,
        casting: Casting = "exact",
        chunks: int | None = None,
        expected: int | None = None,
    ) -> None:
        check_casting(casting)
        if chunks is not None and chunks < 1:
            raise ValueError(f"'chunks' should be a number of elements, not {chunks}")
        self.shape = (int(shape[0]), int(shape[1]))
        self.by_column = by_column
        self.extent, self.other = self.shape[::-1] if by_column else self.shape
        self._casting = casting
        largest = max(self.other - 1, 0)
        self._indices_dtype = numpy.dtype(
            (numpy.int32 if largest <= _MOST_32 else numpy.int64) if index_dtype is None else index_dtype
        )
        self._pointers_dtype = numpy.dtype(pointer_dtype)
        for name, one in (("index_dtype", self._indices_dtype), ("pointer_dtype", self._pointers_dtype)):
            if one.kind not in "iu":
                raise ValueError(f"'{name}' should be a type of integers, not {one}")
        if largest > numpy.iinfo(self._indices_dtype).max:
            raise ValueError(f"indices up to {largest} are none of dtype {self._indices_dtype}")
        length = CHUNK_ELEMENTS if chunks is None else int(chunks)
        self._file, self._group, self._options = file, group, options
        file.group(group)

        def sink(name: str, of: numpy.dtype[Any], extent: int) -> Sink:
            return file.sink(f"{group}/{name}", (0,), of, (max(1, min(length, extent)),), options, maxshape=(None,))

        most = self.extent * self.other if expected is None else expected
        self._data = sink("data", dtype, most)
        self._indices = sink("indices", self._indices_dtype, most)
        self._pointers = sink("indptr", self._pointers_dtype, self.extent + 1)
        self.dtype = self._data.dtype
        self._done = 0
        self._count = 0
        self._pointers.append(numpy.zeros(1, self._pointers_dtype))

    def converted(self, values: Array, block: Compressed, index: Sequence[Index]) -> Array:
        """Values of a block as the type in the file."""
        try:
            return converted(values, self.dtype, self._casting)
        except ValueError:
            # Again, with the positions in the matrix.
            primary = numpy.repeat(numpy.arange(len(block.pointers) - 1), numpy.diff(block.pointers))
            for number, value in enumerate(values):
                try:
                    converted(values[number : number + 1], self.dtype, self._casting)
                except ValueError:
                    at = [int(primary[number]), int(block.indices[number])]
                    row, column = at[::-1] if block.by_column else at
                    where = (int(index[0][row]), int(index[1][column]))
                    raise ValueError(
                        f"the value {value} at {where} is none of dtype {self.dtype}; give a 'dtype' that has it, or"
                        " say casting='unsafe' to have it converted as numpy does"
                    ) from None
            raise

    def of_dense(self, block: Array, index: Sequence[Index] | None = None) -> tuple[Array, Array, Array]:
        """Lengths of columns (or rows), indices and values of what is not zero in a block."""
        turned = block.T if self.by_column else block
        # -0.0 is zero to numpy, which a sparse matrix does not keep.
        primary, secondary = numpy.nonzero(turned)
        start = [positions[0] if len(positions) else 0 for positions in index] if index is not None else None
        values = turned[primary, secondary]
        if values.dtype != self.dtype:
            # All of it, so that an error has the position.
            whole = converted(block, self.dtype, self._casting, start or (0, 0))
            values = (whole.T if self.by_column else whole)[primary, secondary]
        return numpy.bincount(primary, minlength=turned.shape[0]), secondary, values

    def append(self, lengths: Array, indices: Array, values: Array) -> None:
        """Write the next columns (or rows)."""
        pointers = self._count + numpy.cumsum(lengths, dtype=numpy.int64)
        if len(pointers) and int(pointers[-1]) > numpy.iinfo(self._pointers_dtype).max:
            raise ValueError(f"{int(pointers[-1])} elements are more than pointers of {self._pointers_dtype} can count")
        self._data.append(values)
        self._indices.append(indices.astype(self._indices_dtype, copy=False))
        self._pointers.append(pointers.astype(self._pointers_dtype, copy=False))
        self._done += len(lengths)
        self._count += len(values)

    def finish(self) -> None:
        """Check that there are as many as there should be.

        Raises:
            ValueError: If there are not.
        """
        if self._done != self.extent:
            what = "columns" if self.by_column else "rows"
            raise ValueError(f"{self._done} {what} were written of a matrix that has {self.extent}")

    @property
    def done(self) -> int:
        """How many columns (or rows) are written."""
        return self._done


class SparseSink(FileSink):
    """A compressed sparse matrix that is written part by part: a context manager.

    ``sink.append(block)`` writes the next columns of a matrix that is compressed by column, or the next rows. When the
    body ends, the file is complete and is put in place; if it raises, nothing is left of it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        group: str,
        shape: tuple[int, int],
        dtype: numpy.typing.DTypeLike,
        *,
        by_column: bool = True,
        index_dtype: numpy.typing.DTypeLike | None = None,
        casting: Casting = "exact",
        chunks: int | None = None,
        compression: Compression = "gzip",
        level: int | None = None,
        shuffle: bool = True,
        overwrite: bool = False,
        paged: bool = False,
        memory: int | None = None,
    ) -> None:
        """Begin.

        Args:
            path: Path to the HDF5 file.
            group: Name of the group.
            shape: Number of rows and columns.
            dtype: Type of the elements in the file: numbers or booleans.
            by_column: Whether to compress it by column.
            index_dtype: Type of the indices, as for :py:func:`write_sparse`.
            casting: Whether a value that ``dtype`` does not have is an error.
            chunks: Elements of a chunk.
            compression: As for :py:func:`write_array`.
            level: As for :py:func:`write_array`.
            shuffle: As for :py:func:`write_array`.
            overwrite: Whether a dataset or group of this name is replaced.
            paged: Whether a new file has pages of 8 MiB.
            memory: As for :py:func:`write_array`.

        Raises:
            FileExistsError, BlockingIOError, OSError, ValueError, TypeError: As :py:func:`write_sparse`.
        """
        options = Options(compression, level, shuffle, memory)
        target = stored_dtype(dtype)
        self._path, self._group = path, group
        self._file = NewFile(path, "a", paged=paged)
        try:
            self._file.make_room(group, overwrite)
            self._parts = _Parts(
                self._file,
                group,
                shape,
                target,
                options,
                by_column=by_column,
                index_dtype=index_dtype,
                casting=casting,
                chunks=chunks,
            )
        except BaseException:
            self._file.discard()
            raise

    def append(self, block: Any) -> None:
        """Write the next columns (or rows).

        Args:
            block: A matrix of SciPy's or an array, of as many rows (or columns) as the matrix has.

        Raises:
            ValueError: If it has another number, or there are too many; if a value is none of the dtype.
            OSError: If it cannot be written; then nothing is left of the file.
        """
        parts = self._parts
        matrix = block if scipy.sparse.issparse(block) else plain(numpy.asanyarray(block))
        if len(matrix.shape) != 2:
            raise ValueError(f"a block of {len(matrix.shape)} dimensions for a matrix")
        more, other = matrix.shape[::-1] if parts.by_column else matrix.shape
        if other != parts.other or parts.done + more > parts.extent:
            raise ValueError(f"a block of shape {matrix.shape} behind {parts.done} of a matrix of shape {parts.shape}")
        first = (0, parts.done) if parts.by_column else (parts.done, 0)
        index = [range(at, at + extent) for at, extent in zip(first, matrix.shape, strict=True)]
        if not scipy.sparse.issparse(matrix):
            parts.append(*parts.of_dense(matrix, index))
            return
        whole = [range(extent) for extent in matrix.shape]
        compressed = ScipyLeaf(matrix).compressed(whole, parts.by_column)
        values = parts.converted(compressed.values, compressed, index)
        parts.append(numpy.diff(compressed.pointers), compressed.indices, values)

    def close(self) -> Hdf5CompressedSparseMatrix:
        """Complete the file and put it in place.

        Returns:
            The matrix in the file.

        Raises:
            ValueError: If columns (or rows) are missing.
            OSError: If that cannot be done. Then the file is what it was.
        """
        self._complete()
        parts = self._parts
        return Hdf5CompressedSparseMatrix(self._path, self._group, parts.shape, parts.by_column)

    def _complete(self) -> None:
        """Check that no column (or row) is missing, and put the file in place."""
        parts = self._parts
        try:
            parts.finish()
            put_shape(self._file, self._group, parts.shape, parts.by_column)
            self._file.finish()
        except BaseException:
            self._file.discard()
            raise
