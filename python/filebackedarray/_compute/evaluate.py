"""From trees of delayed operations to arrays and sparse matrices in memory: for conversion, indexing and iteration."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy
import numpy.typing
import scipy.sparse
from delayedarray import SparseNdarray

from .._engine.memory import allocate, scipy_dtype
from .chains import chain_of
from .tree import Compressed, DType, Index, Node

Array = numpy.typing.NDArray[Any]


def dense(node: Node, index: Sequence[Index] | None = None, dtype: Any = None) -> Array:
    """Evaluate an array, or a part of it.

    Args:
        node: The array.
        index: Positions for each axis; None for all.
        dtype: What to convert values to, as :py:meth:`numpy.ndarray.astype` does; in any byte order.

    Returns:
        An array of the caller's own, masked if the node is.

    Raises:
        IndexError: If a position is out of bounds.
        FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    index = [range(extent) for extent in node.shape] if index is None else index
    lengths = tuple(map(len, index))
    target = node.dtype if dtype is None else numpy.dtype(dtype)
    if 0 in lengths:
        # Nothing is asked of the file.
        return (numpy.ma.empty if node.masked else numpy.empty)(lengths, target)
    if node.unsigned and chain_of(node) is None:
        return _scattered(node.compressed(index), target)
    block, owned = node.dense(index)
    if block.dtype == target:
        return block if owned else block.copy(order="K")
    if owned and block.dtype == target.newbyteorder("=") and not node.masked:
        # The same in the other byte order takes no more memory.
        return block.byteswap(inplace=True).view(target)
    return block.astype(target)


def _scattered(block: Compressed, dtype: DType) -> Array:
    """A dense array of a sparse block, for which operations are done on what is stored only."""
    primary, secondary = block.extents()
    dense = allocate((primary, secondary), dtype, zero=True)
    begins = numpy.arange(primary, dtype=numpy.int64) * secondary
    dense.reshape(-1)[numpy.repeat(begins, block.lengths()) + block.indices] = block.values
    return dense.T if block.by_column else dense


def sparse_matrix(
    node: Node, index: Sequence[Index] | None = None, format: Literal["coo", "csr", "csc"] = "csc"
) -> scipy.sparse.spmatrix:
    """Evaluate a sparse matrix, or a part of it, as one of SciPy's.

    Args:
        node: The matrix.
        index: Positions of rows and columns; None for all.
        format: Of the result.

    Returns:
        A matrix of the type that :py:func:`scipy_dtype` gives. Its indices are sorted and without duplicates, and of
        32 bits if they fit.

    Raises:
        ValueError: If the format is none of the three, or the array is not sparse.
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    if format not in ("coo", "csr", "csc"):
        raise ValueError(f"'format' should be 'coo', 'csr' or 'csc', not {format!r}")
    _check_sparse(node, "a sparse matrix")
    whole = [range(extent) for extent in node.shape] if index is None else index
    block = node.compressed(whole, None if format == "coo" else format == "csc").ordered()
    matrix = block.matrix(scipy_dtype(node.dtype))
    return matrix.tocoo() if format == "coo" else matrix


def sparse_array(node: Node, index: Sequence[Index], dtype: Any) -> SparseNdarray:
    """Evaluate a part of a sparse matrix as one of delayedarray's.

    Args:
        node: The matrix.
        index: Positions of rows and columns.
        dtype: Of the values, in any byte order.

    Returns:
        The elements of each column, as views of one array of indices and one of values.

    Raises:
        ValueError: If the array is not sparse.
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    _check_sparse(node, "a SparseNdarray")
    block = node.compressed(index, True).ordered()
    values = block.values.astype(dtype, copy=False)
    contents: list[Any] | None = None
    if len(values):
        contents = [
            (block.indices[begin:end], values[begin:end]) if end > begin else None
            for begin, end in pairwise(block.pointers.tolist())
        ]
    return SparseNdarray(
        shape=block.shape,
        contents=contents,
        dtype=values.dtype,
        index_dtype=block.indices.dtype,
        is_masked=False,
        check=False,
    )


def _check_sparse(node: Node, wanted: str) -> None:
    if node.sparse:
        return
    if len(node.shape) != 2:
        raise ValueError(f"{wanted} has two dimensions, and the array {len(node.shape)}")
    raise ValueError(
        f"the array is not sparse, and cannot be {wanted}: it is dense in the file, where as_sparse=True takes it for"
        " sparse, or it is masked, or an operation makes something of its zeros, such as a division by a vector that"
        " has some"
    )
