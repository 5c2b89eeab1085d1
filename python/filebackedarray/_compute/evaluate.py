"""From trees of delayed operations to arrays and sparse matrices in memory: for conversion, indexing and iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy
import numpy.typing
import scipy.sparse
from delayedarray import SparseNdarray

from .._engine.memory import allocate, scipy_dtype
from .chains import chain_of
from .tree import Compressed, DenseLeaf, DType, Index, Leaf, Node, composed

Array = numpy.typing.NDArray[Any]

_STORED = 1 << 23
"""Maximum number of stored elements that are read at once to find single ones among them; a column may have more."""


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


def points(node: Node, indices: Mapping[int, Array], subset: Sequence[Index], dtype: Any) -> Array | None:
    """Evaluate an array at points, each chunk of its file once.

    Args:
        node: The array.
        indices: For some axes, one at least, the index of each point.
        subset: For each axis what to take for every point; ignored where there are points.
        dtype: What to convert values to.

    Returns:
        A new array, whose first axis is that of the points, and then the other axes; None if operations have to be
        computed of more than the points.
    """
    node = node.structure if isinstance(node, Leaf) and node.structure is not None else node
    chain = chain_of(node)
    if chain is None or not isinstance(chain.leaf, DenseLeaf):
        return _sparse_points(node, indices, dtype) if node.sparse and len(indices) == 2 else None
    taken, found = list(chain.positions), {}
    for axis, (below, within) in enumerate(zip(chain.axes, subset, strict=True)):
        if axis in indices:
            found[below] = numpy.asarray(composed(chain.positions[below], indices[axis]), dtype=numpy.int64)
        else:
            taken[below] = composed(chain.positions[below], within)
    values = chain.leaf.seed._points(found, taken)
    for target in (*chain.dtypes[2:], numpy.dtype(dtype)):
        values = values.astype(target, copy=False)
    others = [below for axis, below in enumerate(chain.axes) if axis not in indices]
    return numpy.transpose(values, [0, *(1 + sorted(others).index(below) for below in others)])


def _sparse_points(node: Node, indices: Mapping[int, Array], dtype: Any) -> Array:
    """The same of a sparse matrix, from what is stored in the points' columns (or rows)."""
    along = [indices[0], indices[1]]
    primary = 1 if node.compressed_along(1) >= node.compressed_along(0) else 0
    found = numpy.zeros(len(along[0]), dtype)
    order = numpy.argsort(along[primary], kind="stable")
    stored = numpy.cumsum(node.stored(primary), dtype=numpy.float64)
    begin = 0
    while begin < len(order):
        # As many columns as have so many elements, and one at least.
        first = int(along[primary][order[begin]])
        last = int(numpy.searchsorted(stored, (stored[first - 1] if first else 0.0) + _STORED, side="right"))
        end = int(numpy.searchsorted(along[primary][order], max(last, first + 1)))
        chosen = order[begin:end]
        parts = [numpy.unique(positions[chosen], return_inverse=True) for positions in along]
        block = node.compressed([unique for unique, _ in parts], primary == 1).ordered()
        width = block.extents()[1]
        keys = numpy.repeat(numpy.arange(block.extents()[0]), block.lengths()) * width + block.indices
        wanted = parts[primary][1] * width + parts[1 - primary][1]
        at = numpy.searchsorted(keys, wanted)
        hits = numpy.flatnonzero(at < len(keys))
        hits = hits[keys[at[hits]] == wanted[hits]]
        found[chosen[hits]] = block.values[at[hits]]
        begin = end
    return found


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
