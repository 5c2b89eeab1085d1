"""Products with matrices and vectors in memory, out of core.

What is one of our matrices, or a subset, a transpose or a cast of one, is multiplied by the engine while it decodes.
Everything else is multiplied block by block, by a few threads: sparse blocks where the array is sparse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy
import numpy.typing
import scipy.sparse
from delayedarray import DelayedArray, is_masked

from .. import _core
from .._engine.memory import allocate
from .._engine.names import engine_name, engine_path
from .._engine.selection import select
from .._engine.snapshot import one_state
from .._show.progress import Progress, Report, reporting
from .blocks import View, dense_blocks, in_order, index_of, sparse_blocks
from .chains import chain_of
from .tree import DenseLeaf, Index, Node, compiled

if TYPE_CHECKING:
    import scipy.sparse.linalg

_Array = numpy.typing.NDArray[Any]
_DType = numpy.dtype[Any]

_WORKING_BYTES = 64 << 20
"""What copies of the operands and the result in another type may take."""

_BLOCK_ELEMENTS = 1 << 20
"""Elements of a dense block."""

_BLOCK_STORED = 1 << 19
"""About how many elements a sparse block should hold."""

_PRODUCT_ELEMENTS = 1 << 21
"""The largest product of a block that each thread may have at a time."""


def matmul(x: Any, other: Any, progress: Progress = None) -> Any:
    """Multiply a matrix in a file, or a delayed one, with one in memory: ``x @ other``.

    Floating-point numbers are added up in double precision, integers wrap as NumPy's. Of a sparse matrix only what is
    stored is multiplied, as SciPy does: a zero that is not stored times infinity is nothing.

    Args:
        x: A matrix of this package, or a :py:class:`~delayedarray.DelayedArray.DelayedArray` of two dimensions.
        other: A vector, a matrix or a stack of matrices; a SciPy sparse matrix is made dense first.
        progress: ``True`` for a progress bar, or a function that is called with how many parts of how many are done.

    Returns:
        An array of the shape and dtype that :py:func:`numpy.matmul` gives.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If one of the two does not hold numbers.
        NotImplementedError: If ``other`` is a delayed array too, or values are masked.
        OSError: If a chunk is damaged; the message names it.
        KeyboardInterrupt: On Ctrl-C, within a fraction of a second.
    """
    right = _operand(other)
    result_dtype = _check(x, right, x.shape, right.shape, x.dtype, right.dtype)
    if right.ndim == 1:
        return _multiply(x, right[:, None], False, result_dtype, progress)[:, 0]
    # A stack of matrices as one, side by side.
    stacked = numpy.moveaxis(right, -2, 0)
    side_by_side = stacked.reshape(len(stacked), math.prod(stacked.shape[1:])) if right.ndim > 2 else right
    product = _multiply(x, side_by_side, False, result_dtype, progress)
    return numpy.moveaxis(product.reshape(x.shape[0], *stacked.shape[1:]), 0, -2) if right.ndim > 2 else product


def rmatmul(x: Any, other: Any, progress: Progress = None) -> Any:
    """Multiply a matrix in memory with one in a file, or a delayed one: ``other @ x``.

    Args:
        x: As for :py:func:`matmul`.
        other: A vector, a matrix or a stack of matrices.
        progress: As for :py:func:`matmul`.

    Returns:
        An array of the shape and dtype that :py:func:`numpy.matmul` gives. A matrix is Fortran-contiguous.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError, KeyboardInterrupt: As :py:func:`matmul`.
    """
    left = _operand(other)
    result_dtype = _check(x, left, left.shape, x.shape, left.dtype, x.dtype)
    rows = left.reshape(math.prod(left.shape[:-1]), left.shape[-1])
    return _multiply(x, rows.T, True, result_dtype, progress).T.reshape(*left.shape[:-1], x.shape[1])


@one_state
def as_linear_operator(x: Any) -> scipy.sparse.linalg.LinearOperator:
    """Make a SciPy linear operator, with which SciPy's iterative solvers run out of core.

    :py:func:`scipy.sparse.linalg.aslinearoperator` takes the arrays of this package as they are, but then multiplies
    blocks of vectors by one sweep over the file for each vector of ``matmat``; what this gives needs one for all.

    Args:
        x: As for :py:func:`matmul`.

    Returns:
        The operator.
    """
    import scipy.sparse.linalg

    @one_state
    def adjoint(block: Any) -> Any:
        return adjoint_matmul(x, block)

    @one_state
    def forward(block: Any) -> Any:
        return matmul(x, block)

    return scipy.sparse.linalg.LinearOperator(
        x.shape, matvec=forward, rmatvec=adjoint, matmat=forward, rmatmat=adjoint, dtype=x.dtype
    )


def adjoint_matmul(x: Any, other: Any) -> Any:
    """The conjugate transpose of ``x`` times a vector or matrix."""
    right = _operand(other)
    if x.dtype.kind == "c":
        return rmatmul(x, right.T.conj()).T.conj()
    return rmatmul(x, right.T).T


def _operand(other: Any) -> _Array:
    if isinstance(other, DelayedArray):
        raise NotImplementedError(
            "a product of two delayed arrays is not implemented: make one of them an array in memory, numpy.asarray(y)"
        )
    if isinstance(other, numpy.ma.MaskedArray):
        raise NotImplementedError("there is no product with masked values; numpy.ma.asarray(x) loads them into memory")
    if scipy.sparse.issparse(other):
        return numpy.asarray(other.toarray())
    return numpy.asarray(other)


def _check(
    x: Any, other: _Array, first: Sequence[int], second: Sequence[int], first_dtype: _DType, second_dtype: _DType
) -> _DType:
    """The result's dtype, or NumPy's own error for what does not fit together."""
    if len(x.shape) != 2:
        raise NotImplementedError(
            f"products are of matrices, not of an array with {len(x.shape)} dimensions; numpy.asarray(x) loads it into"
            " memory"
        )
    dtype: _DType = numpy.matmul(numpy.zeros((0, 0), first_dtype), numpy.zeros((0, 0), second_dtype)).dtype
    if dtype.kind not in "biufc":
        raise TypeError(f"no product of {first_dtype} and {second_dtype}")
    core = second[-2] if len(second) > 1 else (*second, 0)[0]
    if other.ndim == 0 or first[-1] != core:
        # Arrays of these shapes that take no memory.
        numpy.matmul(*(numpy.broadcast_to(numpy.int8(0), shape) for shape in (first, second)))
    if is_masked(x):
        raise NotImplementedError("there is no product with masked values; numpy.ma.asarray(x) loads them into memory")
    return dtype


def _multiply(x: Any, right: _Array, transposed: bool, dtype: _DType, progress: Progress) -> _Array:
    """The product of a matrix, or of its transpose, with one of as many rows as it has columns."""
    outer, inner = x.shape[::-1] if transposed else x.shape
    with reporting(progress, "product") as report:
        if dtype.kind == "c" and x.dtype.kind != "c" and dtype.itemsize <= 16:
            # Real and imaginary parts, side by side.
            wide = numpy.ascontiguousarray(right, numpy.complex128).view(numpy.float64)
            product = _multiply_as(x, wide, transposed, numpy.dtype(numpy.float64), report)
            return product.view(numpy.complex128).astype(dtype, copy=False)
        work = _working_dtype(dtype)
        if dtype == work:
            return _multiply_as(x, right, transposed, work, report)
        # Some columns at a time, so that what is held in the wider type stays small.
        output = allocate((outer, right.shape[1]), dtype)
        step = max(32, _WORKING_BYTES // (work.itemsize * max(1, outer + inner)))
        for begin in range(0, right.shape[1], step):
            columns = slice(begin, begin + step)
            product = _multiply_as(x, right[:, columns], transposed, work, report)
            output[:, columns] = product != 0 if dtype.kind == "b" else product.astype(dtype, copy=False)
        return output


def _working_dtype(dtype: _DType) -> _DType:
    """The type in which products are added up. Narrower integers wrap to the same when they are made narrow at last."""
    if dtype.kind in "biu":
        return numpy.dtype(numpy.int64)
    wide = numpy.complex128 if dtype.kind == "c" else numpy.float64
    return dtype if dtype.itemsize > numpy.dtype(wide).itemsize else numpy.dtype(wide)


def _multiply_as(x: Any, right: _Array, transposed: bool, work: _DType, report: Report | None) -> _Array:
    outer = x.shape[1] if transposed else x.shape[0]
    with numpy.errstate(all="ignore"):
        right = numpy.ascontiguousarray(right, work)
    if right.shape[1] == 0 or outer == 0:
        return allocate((outer, right.shape[1]), work, zero=True)
    node = compiled(x)
    if work.kind in "if" and work.itemsize == 8:
        product = _by_engine(node, right, transposed, report)
        if product is not None:
            return product
    return _by_blocks(node, right, transposed, work, report)


def _by_engine(node: Node, right: _Array, transposed: bool, report: Report | None) -> _Array | None:
    """The product, or None if it is not one for the engine."""
    chain = chain_of(node)
    via = None if chain is None else chain.conversion()
    if chain is None or via is None or chain.leaf.seed._untrusted:
        return None
    leaf = chain.leaf
    transposed = transposed != (chain.axes == (1, 0))
    selection = select(chain.positions, leaf.shape)
    outer_axis, inner_axis = (1, 0) if transposed else (0, 1)
    if selection.restore is not None:
        restore = selection.restore[inner_axis]
        length = selection.lengths[inner_axis]
        summed = numpy.zeros((length, right.shape[1]), right.dtype)
        if length == len(restore):
            summed[restore] = right
        else:
            # Columns that are there more than once: the rows that they are multiplied with, added up.
            numpy.add.at(summed, restore, right)
        right = summed
    output = allocate((selection.lengths[outer_axis], right.shape[1]), right.dtype)
    if isinstance(leaf, DenseLeaf):
        axes, flipped = selection.axes, transposed
        if not leaf.seed._native_order:
            axes, flipped = axes[::-1], not transposed
        path, name = engine_path(leaf.seed.path), engine_name(leaf.seed.name)
        _core.multiply_dense(path, name, axes, flipped, via.str, right, output, report)
    else:
        matrix = leaf.seed._matrix()
        if not isinstance(matrix, _core.SparseMatrix):
            return None
        if not matrix.multiply(selection.axes, transposed, via.str, right, output, report):
            return None
    return output if selection.restore is None else output[selection.restore[outer_axis]]


def _by_blocks(node: Node, right: _Array, transposed: bool, work: _DType, report: Report | None) -> _Array:
    """The product of blocks, added up in their order: the same bits for any number of threads."""
    outer_axis, inner_axis = (1, 0) if transposed else (0, 1)
    output = allocate((node.shape[outer_axis], right.shape[1]), work, zero=True)
    if node.shape[inner_axis] == 0:
        return output

    def factor(index: Sequence[Index]) -> Any:
        block = node.compressed(index).matrix(work) if node.sparse else node.dense(index)[0].astype(work, copy=False)
        return block.T if transposed else block

    def product(index: Sequence[Index]) -> Any:
        return factor(index) @ right[index_of(index[inner_axis])]

    if node.sparse:
        blocks = list(sparse_blocks(node, _BLOCK_STORED))
    else:
        summed = View(("reduce", "keep") if transposed else ("keep", "reduce"), frozenset())
        blocks = list(dense_blocks(node, _BLOCK_ELEMENTS, [summed]))
    tallest = max(len(index[outer_axis]) for index in blocks)
    is_small = tallest * right.shape[1] <= _PRODUCT_ELEMENTS
    with numpy.errstate(all="ignore"), closing(in_order(product if is_small else factor, blocks)) as results:
        for number, (index, result) in enumerate(zip(blocks, results, strict=True), 1):
            rows = index_of(index[outer_axis])
            if is_small:
                output[rows] += result
            else:
                # Some columns at a time, by this thread.
                step = max(1, _PRODUCT_ELEMENTS // tallest)
                for begin in range(0, right.shape[1], step):
                    band = slice(begin, begin + step)
                    output[rows, band] += result @ right[index_of(index[inner_axis]), band]
            if report is not None:
                report(number, len(blocks))
    return output
