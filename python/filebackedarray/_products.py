"""Products with matrices and vectors in memory, out of core.

What is one of our matrices, or a subset, a transpose or a cast of one, is multiplied by the engine while it decodes.
Everything else is multiplied block by block: sparse blocks where the array is sparse, the next of which is read while
one is multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy
import numpy.typing
import scipy.sparse
from delayedarray import (
    Cast,
    DelayedArray,
    Round,
    Transpose,
    UnaryIsometricOpSimple,
    UnaryIsometricOpWithArgs,
    chunk_grid,
    extract_dense_array,
    extract_sparse_array,
    is_masked,
    is_sparse,
)
from delayedarray import Subset as DelayedSubset

from . import _core
from ._memory import allocate
from ._names import engine_name, engine_path
from ._subset import select

if TYPE_CHECKING:
    import scipy.sparse.linalg

_Array = numpy.typing.NDArray[Any]
_DType = numpy.dtype[Any]
_T = TypeVar("_T")

Progress = bool | Callable[[int, int], object] | None
"""``True`` for a bar, or a function that is called with how many parts of how many are done."""

_WORKING_BYTES = 64 << 20
"""What copies of the operands and the result in another type may take."""

_BLOCK_ELEMENTS = 1 << 20
"""Elements of a dense block; two of them are in memory at a time."""

_BLOCK_STORED = 1 << 19
"""About how many elements a sparse block should hold."""


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

    def adjoint(block: Any) -> Any:
        return adjoint_matmul(x, block)

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
        raise NotImplementedError("no product with masked values; fill them first")
    if scipy.sparse.issparse(other):
        return numpy.asarray(other.toarray())
    return numpy.asarray(other)


def _check(
    x: Any, other: _Array, first: Sequence[int], second: Sequence[int], first_dtype: _DType, second_dtype: _DType
) -> _DType:
    """The result's dtype, or NumPy's own error for what does not fit together."""
    if len(x.shape) != 2:
        raise NotImplementedError(f"products are of matrices, not of an array with {len(x.shape)} dimensions")
    dtype: _DType = numpy.matmul(numpy.zeros((0, 0), first_dtype), numpy.zeros((0, 0), second_dtype)).dtype
    if dtype.kind not in "biufc":
        raise TypeError(f"no product of {first_dtype} and {second_dtype}")
    core = second[-2] if len(second) > 1 else (*second, 0)[0]
    if other.ndim == 0 or first[-1] != core:
        # Arrays of these shapes that take no memory.
        numpy.matmul(*(numpy.broadcast_to(numpy.int8(0), shape) for shape in (first, second)))
    if is_masked(x):
        raise NotImplementedError("no product with masked values")
    return dtype


def _multiply(x: Any, right: _Array, transposed: bool, dtype: _DType, progress: Progress) -> _Array:
    """The product of a matrix, or of its transpose, with one of as many rows as it has columns."""
    outer, inner = x.shape[::-1] if transposed else x.shape
    with _Reporter(progress) as report:
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


def _multiply_as(
    x: Any, right: _Array, transposed: bool, work: _DType, report: Callable[[int, int], object] | None
) -> _Array:
    outer = x.shape[1] if transposed else x.shape[0]
    with numpy.errstate(all="ignore"):
        right = numpy.ascontiguousarray(right, work)
    if right.shape[1] == 0 or outer == 0:
        return allocate((outer, right.shape[1]), work, zero=True)
    pushed = _push_down(x)
    if pushed is not None and work.kind in "if" and work.itemsize == 8:
        product = _by_engine(pushed, right, transposed, report)
        if product is not None:
            return product
    return _by_blocks(x, right, transposed, work, report)


# The engine.


class _Pushed(NamedTuple):
    """A subset of one of our seeds, or the transpose of one, with its values converted."""

    seed: Any
    subset: tuple[Any, Any]
    """Of the seed's axes."""
    transposed: bool
    dtypes: tuple[_DType, ...]
    """What is in the file, and what it is converted to, one after another."""


def _push_down(x: Any) -> _Pushed | None:
    """What the engine can multiply, or None."""
    from .Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrixSeed
    from .Hdf5DenseArraySeed import Hdf5DenseArraySeed
    from .Hdf5DualSparseMatrixSeed import Hdf5DualSparseMatrixSeed

    if isinstance(x, DelayedArray):
        return _push_down(x.seed)
    if type(x) in (Hdf5CompressedSparseMatrixSeed, Hdf5DenseArraySeed, Hdf5DualSparseMatrixSeed):
        dtypes = ((x.csc if type(x) is Hdf5DualSparseMatrixSeed else x)._stored_dtype, x.dtype)
        real = all(dtype.kind in "biuf" and dtype.itemsize <= 8 for dtype in dtypes)
        if x._untrusted or len(x.shape) != 2 or not real:
            return None
        rows, columns = x.shape
        return _Pushed(x, (range(rows), range(columns)), False, dtypes)
    if type(x) not in (DelayedSubset, Transpose, Cast) or len(x.shape) != 2:
        return None
    pushed = _push_down(x.seed)
    if pushed is None:
        return None
    if type(x) is Cast:
        real = x.dtype.kind in "biuf" and x.dtype.itemsize <= 8
        return pushed._replace(dtypes=(*pushed.dtypes, x.dtype)) if real else None
    if type(x) is Transpose:
        return pushed._replace(transposed=pushed.transposed != (tuple(x.perm) == (1, 0)))
    first, second = x.subset[::-1] if pushed.transposed else x.subset
    rows, columns = pushed.subset
    return pushed._replace(subset=(_subset_of(rows, first), _subset_of(columns, second)))


def _subset_of(positions: Any, subset: Any) -> Any:
    """The positions that a subset of a subset stands for."""
    if isinstance(subset, slice):
        subset = range(*subset.indices(len(positions)))
    if isinstance(positions, range) and isinstance(subset, range):
        if len(subset) == 0:
            return range(0)
        start, step = positions[subset[0]], positions.step * subset.step
        return range(start, start + step * len(subset), step)
    return numpy.asarray(positions)[numpy.asarray(subset, dtype=numpy.intp)]


def _is_exact(source: _DType, target: _DType) -> bool:
    """Whether a conversion leaves all values what they are."""
    if source.kind in "biu" and target.kind == "f":
        digits = numpy.finfo(target).nmant + 1
        return source.kind == "b" or source.itemsize * 8 <= digits
    return numpy.can_cast(source, target, "safe")


def _by_engine(
    pushed: _Pushed, right: _Array, transposed: bool, report: Callable[[int, int], object] | None
) -> _Array | None:
    """The product, or None if it is not one for the engine after all."""
    from .Hdf5DenseArraySeed import Hdf5DenseArraySeed
    from .Hdf5DualSparseMatrixSeed import Hdf5DualSparseMatrixSeed

    if isinstance(pushed.seed, Hdf5DualSparseMatrixSeed):
        chosen = pushed.seed.chosen(pushed.subset)
        pushed = pushed._replace(seed=chosen, dtypes=(chosen._stored_dtype, *pushed.dtypes[1:]))
    steps = list(zip(pushed.dtypes, pushed.dtypes[1:], strict=False))
    lossy = [target for source, target in steps if not _is_exact(source, target)]
    if len(lossy) > 1:
        return None
    via = (lossy or [pushed.dtypes[-1]])[0]
    seed = pushed.seed
    transposed = transposed != pushed.transposed
    selection = select(pushed.subset, seed.shape)
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
    if isinstance(seed, Hdf5DenseArraySeed):
        axes, flipped = selection.axes, transposed
        if not seed._native_order:
            axes, flipped = axes[::-1], not transposed
        path, name = engine_path(seed.path), engine_name(seed.name)
        _core.multiply_dense(path, name, axes, flipped, via.newbyteorder("=").str, right, output, report)
    else:
        matrix: _core.SparseMatrix = seed._matrix()
        if not matrix.multiply(selection.axes, transposed, via.newbyteorder("=").str, right, output, report):
            return None
    return output if selection.restore is None else output[selection.restore[outer_axis]]


# Blocks.


def _by_blocks(
    x: Any, right: _Array, transposed: bool, work: _DType, report: Callable[[int, int], object] | None
) -> _Array:
    seed = x.seed if isinstance(x, DelayedArray) else x
    outer = seed.shape[1] if transposed else seed.shape[0]
    output = allocate((outer, right.shape[1]), work, zero=True)
    blocks = _sparse_blocks(seed, work) if is_sparse(seed) else _dense_blocks(seed, work)
    total = seed.shape[0] * seed.shape[1]
    done = 0
    with numpy.errstate(all="ignore"):
        for (rows, columns), block in _read_ahead(blocks):
            factor = block.T if transposed else block
            to, along = (columns, rows) if transposed else (rows, columns)
            # Some columns at a time: what is added should be small beside the result.
            step = max(1, _BLOCK_ELEMENTS // max(1, len(to)))
            for begin in range(0, right.shape[1], step):
                band = slice(begin, begin + step)
                output[to.start : to.stop, band] += factor @ right[along.start : along.stop, band]
            done += len(rows) * len(columns)
            if report is not None:
                report(done, total)
    return output


def _read_ahead(blocks: Iterator[_T]) -> Iterator[_T]:
    """The same blocks, of which the next is read on another thread."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = reader.submit(next, blocks, None)
            yield block


def _dense_blocks(seed: Any, work: _DType) -> Iterator[tuple[tuple[range, range], _Array]]:
    for (top, bottom), (left, right) in chunk_grid(seed).iterate((0, 1), buffer_elements=_BLOCK_ELEMENTS):
        rows, columns = range(top, bottom), range(left, right)
        with numpy.errstate(all="ignore"):
            yield (rows, columns), extract_dense_array(seed, (rows, columns)).astype(work, copy=False)


def _sparse_blocks(seed: Any, work: _DType) -> Iterator[tuple[tuple[range, range], Any]]:
    """Slices along the axis with more chunks, of about as many stored elements."""
    boundaries = chunk_grid(seed).boundaries
    axis = 0 if len(boundaries[0]) > len(boundaries[1]) else 1
    extent, across = seed.shape[axis], seed.shape[1 - axis]
    begin, stored = 0, 0
    count = max(1, _BLOCK_ELEMENTS // max(1, across))
    while begin < extent:
        end = min(begin + count, extent)
        slices = (range(begin, end), range(across))
        rows, columns = slices if axis == 0 else slices[::-1]
        with numpy.errstate(all="ignore"):
            block = _sparse_block(seed, rows, columns).astype(work, copy=False)
        yield (rows, columns), block
        stored += block.nnz
        begin = end
        # As the ones before were, but no leap: the next may be fuller.
        count = max(1, min(2 * count, _BLOCK_STORED * begin // max(1, stored)))


def _sparse_block(node: Any, rows: Any, columns: Any) -> Any:
    """A part of a sparse tree as a scipy matrix, by operations on its stored values where it is made of those."""
    from .Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrixSeed, _to_scipy

    kind = type(node)
    if kind is Hdf5CompressedSparseMatrixSeed and node.dtype != numpy.float16:
        return _to_scipy(node, (rows, columns), "csc" if node.by_column else "csr")
    if kind is Transpose:
        first, second = (rows, columns) if tuple(node.perm) == (0, 1) else (columns, rows)
        block = _sparse_block(node.seed, first, second)
        return block if first is rows else block.T
    if kind is DelayedSubset:
        first, second = (_subset_of(subset, part) for subset, part in zip(node.subset, (rows, columns), strict=True))
        return _sparse_block(node.seed, first, second)
    if kind in (Cast, Round, UnaryIsometricOpSimple, UnaryIsometricOpWithArgs) and node.dtype != numpy.float16:
        block = _sparse_block(node.seed, rows, columns)
        block.data = _operate(node, block, rows, columns)
        return block
    return _as_csc(extract_sparse_array(node, (rows, columns)), node.dtype)


def _operate(node: Any, block: Any, rows: Any, columns: Any) -> _Array:
    """The values that an operation makes of stored ones."""
    if isinstance(node, Cast):
        return numpy.asarray(block.data.astype(node.dtype, copy=False))
    if isinstance(node, Round):
        return numpy.asarray(numpy.round(block.data, decimals=node.decimals))
    if isinstance(node, UnaryIsometricOpSimple):
        return numpy.asarray(getattr(numpy, node.operation)(block.data))
    value = node.value
    if isinstance(value, numpy.ndarray) and value.ndim > 0:
        by_column = block.format == "csc"
        part = value.reshape(-1)[numpy.asarray(rows if node.along == 0 else columns, dtype=numpy.intp)]
        value = numpy.repeat(part, numpy.diff(block.indptr)) if by_column == (node.along == 1) else part[block.indices]
    operation = getattr(numpy, node.operation)
    return numpy.asarray(operation(block.data, value) if node.right else operation(value, block.data))


def _as_csc(array: Any, dtype: _DType) -> Any:
    """A sparse array of delayedarray as a scipy matrix."""
    usable = numpy.dtype(numpy.float32) if dtype == numpy.float16 else dtype.newbyteorder("=")
    columns = array.contents or [None] * array.shape[1]
    counts = [0 if column is None else len(column[0]) for column in columns]
    kept = [column for column in columns if column is not None]
    indices = numpy.concatenate([numpy.empty(0, numpy.int64), *(column[0] for column in kept)])
    values = numpy.concatenate([numpy.empty(0, usable), *(column[1] for column in kept)])
    pointers = numpy.concatenate([[0], numpy.cumsum(counts, dtype=numpy.int64)])
    return scipy.sparse.csc_matrix((values.astype(usable), indices.astype(numpy.int64), pointers), shape=array.shape)


# Progress.


class _Reporter:
    """A context in which a function tells how much is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: Any = None

    def __enter__(self) -> Callable[[int, int], object] | None:
        if not self._progress:
            return None
        if callable(self._progress):
            return self._progress
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return None
        self._bar = tqdm(total=1, bar_format="{l_bar}{bar}| {elapsed}<{remaining}")
        return self._show

    def _show(self, done: int, total: int) -> None:
        self._bar.n = done / max(1, total)
        self._bar.refresh()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
