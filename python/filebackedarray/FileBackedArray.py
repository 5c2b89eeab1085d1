"""The arrays of this package, and what operations make of them."""

from __future__ import annotations

import contextlib
import math
import operator
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy
import scipy.sparse
from biocutils.combine_columns import combine_columns
from biocutils.combine_rows import combine_rows
from delayedarray import (
    DelayedArray,
    SparseNdarray,
    create_dask_array,
    extract_dense_array,
    extract_sparse_array,
    is_sparse,
)
from delayedarray.DelayedOp import DelayedOp
from delayedarray.to_scipy_sparse_matrix import to_scipy_sparse_matrix

from ._compute import indexing
from ._compute.arguments import has_mask
from ._compute.array_functions import call, delayed, not_implemented, written
from ._compute.dask import dask_array
from ._compute.elementwise import broadcast_shape
from ._compute.evaluate import dense, sparse_array, sparse_matrix
from ._compute.products import adjoint_matmul, matmul, rmatmul
from ._compute.reductions import Reductions
from ._compute.tree import Node, children, compiled
from ._engine.selection import positions
from ._engine.snapshot import bound, one_state, within
from ._show.html import to_html

if TYPE_CHECKING:
    import dask.array


__all__ = ["FileBackedArray"]

_OPERATORS = {
    **{"add": numpy.add, "sub": numpy.subtract, "mul": numpy.multiply, "truediv": numpy.true_divide},
    **{"floordiv": numpy.floor_divide, "mod": numpy.remainder, "divmod": numpy.divmod, "pow": numpy.power},
    **{"and": numpy.bitwise_and, "or": numpy.bitwise_or, "xor": numpy.bitwise_xor},
    **{"lshift": numpy.left_shift, "rshift": numpy.right_shift},
}
"""Python's operators that have a reflected form, and what they are in numpy."""

_COMPARISONS = {
    **{"eq": numpy.equal, "ne": numpy.not_equal, "lt": numpy.less, "le": numpy.less_equal},
    **{"gt": numpy.greater, "ge": numpy.greater_equal},
}

_METHODS = (
    *("clip", "diagonal", "dot", "repeat", "round", "ravel", "squeeze", "swapaxes", "take", "trace"),
    *("conj", "conjugate"),
)
"""Methods of numpy's arrays that are the functions of the same name."""


_last = threading.local()
"""The masked array that this thread has read last as a whole, and the states of its files."""


def _ours(result: Any) -> Any:
    """What delayedarray made, as an array of this package."""
    if type(result) in (list, tuple):
        return type(result)(map(_ours, result))
    if isinstance(result, DelayedArray) and not isinstance(result, FileBackedArray):
        return FileBackedArray(result.seed)
    return result


class FileBackedArray(Reductions, DelayedArray):  # type: ignore[misc]
    """A delayed array over files, and what operations on one return.

    Operations are those of :py:class:`~delayedarray.DelayedArray.DelayedArray`, delayed as there. What differs is how
    statistics are computed: along the chunks of the files, vectorised, and on several threads.
    """

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._seed.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(int(extent) for extent in self._seed.shape)

    def __getitem__(self, key: Any) -> Any:
        """Take a part of the array.

        Args:
            key:
                What numpy takes: integers, slices, ``...``, ``None``, and arrays, lists or ranges of integers or
                booleans.

        Returns:
            A delayed array, if all dimensions are kept and each axis is taken by itself: by slices, with no more
            than one array or mask of one dimension among them, or by what :py:func:`numpy.ix_` returns. A
            :py:class:`numpy.ndarray` that is read now, or a scalar, otherwise.

        Raises:
            IndexError: If an index is out of bounds, there are too many, or they are of a type that is no index.
            FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading, if it is read.
        """
        shape = self._seed.shape
        items = indexing.parse(key, shape)
        kept = indexing.delayable(items, shape)
        if kept is not None:
            return FileBackedArray(indexing.delayed(self._seed, kept))
        return indexing.read(indexing.Source(self), items)

    def __len__(self) -> int:
        if not self._seed.shape:
            raise TypeError("len() of unsized object")
        return int(self._seed.shape[0])

    def __iter__(self) -> Iterator[Any]:
        if not self._seed.shape:
            raise TypeError("iteration over a 0-d array")
        # Between two rows, whoever asks for them does what they like.
        return within(indexing.rows(indexing.Source(self)))

    def __contains__(self, value: Any) -> bool:
        if numpy.ndim(value) >= max(self.ndim, 1):
            raise TypeError(f"'in' takes a value of fewer than {self.ndim} dimensions, for an array of {self.ndim}")
        if self.ndim == 0:
            return bool(indexing.Source(self).read(()) == value)
        return any(bool(numpy.any(block == value)) for block in indexing.blocks(indexing.Source(self)))

    def __repr__(self) -> str:
        # An array without a file of its own is shown as a delayed array like others.
        shown = DelayedArray(self) if type(self) is FileBackedArray else super()
        text: str = shown.__repr__()
        return text

    def _repr_html_(self) -> str:
        """What notebooks show: how it is stored and a drawing of its chunks, for which no value is read."""
        return to_html(self, lambda: compiled(self).ticks())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("an array in a file cannot be one in memory without a copy")
        with bound() as state:
            values = dense(compiled(self), dtype=self.dtype if dtype is None else dtype)
        if isinstance(values, numpy.ma.MaskedArray):
            _last.read = weakref.ref(self), state
        return values

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        unknown = set(kwargs) - {"dtype", "casting"}
        if method != "__call__" or unknown:
            options = f"(..., {'=, '.join(sorted(unknown))}=)" if unknown else ""
            raise not_implemented(ufunc.__name__ + ("" if method == "__call__" else f".{method}") + options)
        if not any(isinstance(one, DelayedArray) for one in inputs):
            # Then it is what should be written to.
            return written(None, self)
        result = self._of_ufunc(ufunc, inputs, kwargs)
        return result if out is None else written(result, *out)

    def _of_ufunc(
        self, ufunc: Any, inputs: Sequence[Any], kwargs: dict[str, Any], function: Callable[..., Any] | None = None
    ) -> Any:
        """The delayed result of one of numpy's functions, or of Python's operator that differs from it."""
        if ufunc is numpy.matmul and not kwargs:
            left, right = inputs
            return left.__matmul__(right) if isinstance(left, FileBackedArray) else right.__rmatmul__(left)
        if ufunc.signature is not None:
            raise not_implemented(ufunc.__name__)
        if ufunc is numpy.negative and not kwargs:
            return -inputs[0]
        if ufunc.nout > 1:
            outputs = (delayed(ufunc, *inputs, keywords=kwargs, output=number) for number in range(ufunc.nout))
            return _ours(tuple(outputs))
        shape = next(tuple(one.shape) for one in inputs if isinstance(one, DelayedArray))
        operands = [_operand(one, shape) for one in inputs]
        shapes = [tuple(getattr(one, "shape", ())) for one in operands]
        broadcast = broadcast_shape(shapes)
        is_simple = not kwargs and broadcast == shape and all(_is_simple(one, shape) for one in operands)
        simplest = [_aligned(one, shape) for one in operands] if is_simple else []
        name = _in_delayedarray(ufunc, operands)
        if is_simple and any(_is_foreign(one) for one in operands):
            with contextlib.suppress(NotImplementedError):
                return _ours(super().__array_ufunc__(name, "__call__", *simplest))
        own = delayed(function or ufunc, *operands, keywords=kwargs)
        if is_simple:
            # What delayedarray knows, others who look at its operations know too. It tries them with the operand on the
            # left on the right, and so may find another type, or an error that there is not.
            with contextlib.suppress(NotImplementedError, TypeError, ValueError):
                known = super().__array_ufunc__(name, "__call__", *simplest)
                if known.dtype == own.dtype:
                    return _ours(known)
        return _ours(own)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _ours(call(func, args, kwargs))

    def __getattr__(self, name: str) -> Any:
        message = f"{type(self).__name__!r} object has no attribute {name!r}"
        if hasattr(numpy.ndarray, name):
            message += ", as arrays in memory have it: numpy.asarray(x) loads one"
        raise AttributeError(message)

    # What numpy.ma asks of an array that is none of numpy's own, where it would otherwise forget its mask, or take the
    # class of what it reads for that of the data, and call itself for ever (numpy#29475).
    _baseclass = numpy.ndarray

    @property
    def _data(self) -> Any:
        return numpy.ma.getdata(self.__array__())

    @property
    def _mask(self) -> Any:
        if not has_mask(self._seed):
            return numpy.ma.nomask
        # numpy.ma has read the data just before, and a mask of another state of the file does not go with them.
        read, state = getattr(_last, "read", (None, None))
        _last.read = None, None
        if read is None or read() is not self:
            return numpy.ma.getmaskarray(self.__array__())
        with bound(state):
            return numpy.ma.getmaskarray(self.__array__())

    @property
    def itemsize(self) -> int:
        """Bytes of an element in memory."""
        itemsize: int = self.dtype.itemsize
        return itemsize

    @property
    def nbytes(self) -> int:
        """Bytes that the elements would take in memory."""
        return self.size * self.itemsize

    @property
    def real(self) -> FileBackedArray:
        """The real part, delayed."""
        real: FileBackedArray = numpy.real(self)
        return real

    @property
    def imag(self) -> FileBackedArray:
        """The imaginary part, delayed."""
        imaginary: FileBackedArray = numpy.imag(self)
        return imaginary

    @property
    def mT(self) -> FileBackedArray:  # noqa: N802 (numpy's name)
        """The delayed transpose of the last two axes."""
        if self.ndim < 2:
            raise ValueError("matrix transpose with ndim < 2 is undefined")
        transposed: FileBackedArray = numpy.swapaxes(self, -1, -2)
        return transposed

    def transpose(self, *axes: Any) -> Any:
        """The array with its axes in another order, delayed. See :py:meth:`numpy.ndarray.transpose`."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        transposed: Any = numpy.transpose(self, order)
        return transposed

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """This array, if it has the shape. See :py:meth:`numpy.ndarray.reshape`.

        Args:
            shape: The extents, or a tuple of them, of which one may be -1.
            kwargs: ``order`` and ``copy``, which do not matter.

        Returns:
            The array.

        Raises:
            NotImplementedError: If it has another shape, with what to do instead.
        """
        return numpy.reshape(self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def compress(self, condition: Any, axis: int | None = None, out: Any = None) -> Any:
        """The positions of an axis where a condition is true, delayed. See :py:meth:`numpy.ndarray.compress`."""
        return numpy.compress(condition, self, axis=axis, out=out)

    def filled(self, fill_value: Any = None) -> Any:
        """Read all values, with another one in place of those that are missing.

        Args:
            fill_value: That value; None for the one that numpy has for the type, as for
                :py:meth:`numpy.ma.MaskedArray.filled`.

        Returns:
            An array that is not masked.
        """
        return numpy.ma.filled(self.__array__(), fill_value)

    def tolist(self) -> Any:
        """Read all values, as nested lists of Python's numbers or strings. See :py:meth:`numpy.ndarray.tolist`."""
        return self.__array__().tolist()

    @property
    def T(self) -> FileBackedArray:  # noqa: N802 (numpy's name)
        """The delayed transpose."""
        transposed: FileBackedArray = _ours(super().T)
        return transposed

    def astype(self, dtype: Any, *, casting: Any = "unsafe", **kwargs: Any) -> FileBackedArray:
        """The delayed conversion to another type. See :py:meth:`numpy.ndarray.astype`."""
        if casting != "unsafe" and not numpy.can_cast(self.dtype, dtype, casting):
            raise TypeError(f"cannot cast an array from {self.dtype} to {numpy.dtype(dtype)} by the rule {casting!r}")
        converted: FileBackedArray = _ours(super().astype(dtype, **kwargs))
        return converted

    def __neg__(self) -> Any:
        # delayedarray subtracts from 0, which can be done with booleans too. This is numpy's error for them.
        numpy.negative(numpy.empty(0, self.dtype))
        # And 0 - 0.0 has no sign, which -0.0 has.
        return self * -1 if self.dtype.kind == "f" else _ours(super().__neg__())

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("an array in a file cannot be written to; numpy.array(x) makes a copy in memory that can")

    def __pos__(self) -> Any:
        return numpy.positive(self)

    def __invert__(self) -> Any:
        return numpy.invert(self)

    def __abs__(self) -> Any:
        return _ours(super().__abs__())

    def __int__(self) -> int:
        return int(self._element())

    def __float__(self) -> float:
        return float(self._element())

    def __complex__(self) -> complex:
        return complex(self._element())

    def __bool__(self) -> bool:
        return bool(_not_missing(self._element()))

    def item(self, *index: Any) -> Any:
        """Read one element, as a number or string of Python's. See :py:meth:`numpy.ndarray.item`.

        Args:
            index: Which one: nothing, if there is only one; its number, counted as in C order; or its indices.

        Returns:
            The element.

        Raises:
            ValueError: If there is another number of elements than one, or of indices than dimensions.
            IndexError: If there is no such element.
            TypeError: If an index is no integer.
            numpy.ma.MaskError: If it is a missing value.
            FileNotFoundError, OSError: If it cannot be read.
        """
        (positions,) = index if len(index) == 1 and isinstance(index[0], tuple) else (index,)
        if not positions:
            return _not_missing(self._element()).item()
        if len(positions) == 1:
            number = operator.index(positions[0])
            if not -self.size <= number < self.size:
                raise IndexError(f"index {number} is out of bounds for an array of {self.size} elements")
            positions = numpy.unravel_index(number % self.size, self.shape)
        if len(positions) != self.ndim:
            raise ValueError(f"{len(positions)} indices are given for an array of {self.ndim} dimensions")
        return _not_missing(self[tuple(map(operator.index, positions))]).item()

    def _element(self) -> Any:
        """The array in memory if it is of one element; or else one on which numpy's conversions fail likewise."""
        if self.size == 1:
            return self.__array__()
        return numpy.empty(tuple(min(extent, 2) for extent in self.shape), self.dtype)

    def __matmul__(self, other: Any) -> Any:
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return rmatmul(self, other)

    def matvec(self, other: Any) -> Any:
        """Multiply with a vector.

        Args:
            other: A vector in memory.

        Returns:
            The product, a vector.

        Raises:
            TypeError, ValueError, OSError: As ``self @ other``.
        """
        return self @ other

    def matmat(self, other: Any) -> Any:
        """Multiply with a matrix.

        Args:
            other: A matrix in memory.

        Returns:
            The product, a matrix.

        Raises:
            TypeError, ValueError, OSError: As ``self @ other``.
        """
        return self @ other

    def rmatvec(self, other: Any) -> Any:
        """Multiply the conjugate transpose with a vector.

        Args:
            other: A vector in memory.

        Returns:
            The product, a vector.

        Raises:
            TypeError, ValueError, OSError: As ``self @ other``.
        """
        return adjoint_matmul(self, other)

    def rmatmat(self, other: Any) -> Any:
        """Multiply the conjugate transpose with a matrix.

        Args:
            other: A matrix in memory.

        Returns:
            The product, a matrix.

        Raises:
            TypeError, ValueError, OSError: As ``self @ other``.
        """
        return adjoint_matmul(self, other)

    def to_dask(
        self, chunks: Any = None, *, sparse: bool | Literal["csc", "csr"] = False, threads: int = 1
    ) -> dask.array.Array:
        """A Dask array whose tasks read from the files.

        Each task evaluates one block of this array with all its delayed operations. It holds the absolute paths of the
        files, and what operations hold in memory: a worker opens the file itself, so that all workers need to see it
        under the same path. No values are read before Dask computes; for sparse blocks, the pointers are. The files
        should not change until then.

        Args:
            chunks:
                Lengths of the blocks, as Dask takes them: numbers, tuples, a dictionary by axis. None, ``"auto"``
                or a size such as ``"64 MiB"`` is for blocks of whole chunks of the file, and whole columns (or rows)
                of compressed sparse matrices, with at most about as many bytes; Dask's setting ``array.chunk-size``
                (128 MiB) where none is given. A chunk that is larger is not cut unless it is many times as large.

            sparse:
                Whether blocks are scipy's sparse matrices instead of numpy arrays: ``csc_matrix`` where the file is
                compressed by column, ``csr_matrix`` by row; or ``"csc"`` or ``"csr"`` for that one. The size of
                a block is then that of what is stored.

            threads:
                How many threads a task may take to read and decode. Dask gives each task one core, so more than 1 is
                for workers that run fewer tasks at once than they have cores.

        Returns:
            The array, with the same shape and values.

        Raises:
            ImportError: If Dask is not installed; it comes with ``filebackedarray[dask]``.
            FileNotFoundError: If a file is gone; in tasks too, from which errors reach who computes.
            ValueError: If ``chunks`` do not add up to the shape, ``threads`` is no positive number, or blocks
                should be sparse of an array that is not or of a type that scipy has no sparse matrices of.
        """
        return dask_array(self, chunks, sparse=sparse, threads=threads)

    def to_dask_array(self) -> dask.array.Array:
        """The Dask array that :py:func:`dask.array.asarray` asks for.

        Returns:
            What :py:meth:`to_dask` gives without arguments.
        """
        return self.to_dask()

    __hash__ = None  # type: ignore[assignment]


@create_dask_array.register(FileBackedArray)  # type: ignore[untyped-decorator]
@one_state
def create_dask_array_FileBackedArray(x: FileBackedArray) -> dask.array.Array:  # noqa: N802 (the generic's, and its class)
    """See :py:func:`~delayedarray.create_dask_array.create_dask_array`: as :py:meth:`FileBackedArray.to_dask`."""
    return x.to_dask()


@extract_dense_array.register(FileBackedArray)  # type: ignore[untyped-decorator]
@one_state
def extract_dense_array_FileBackedArray(x: FileBackedArray, subset: Sequence[Any]) -> Any:  # noqa: N802
    """See :py:func:`~delayedarray.extract_dense_array.extract_dense_array`.

    Args:
        x: The array.
        subset: For each dimension a range, slice, sequence or integer array of indices.

    Returns:
        A new array, masked if :py:func:`~delayedarray.is_masked.is_masked` is true of ``x``.

    Raises:
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    return dense(compiled(x), positions(subset, x.shape), x.dtype)


@is_sparse.register(FileBackedArray)  # type: ignore[untyped-decorator]
@one_state
def is_sparse_FileBackedArray(x: FileBackedArray) -> bool:  # noqa: N802
    """See :py:func:`~delayedarray.is_sparse.is_sparse`: whether no operation makes something of implicit zeros."""
    node = compiled(x)
    return bool(is_sparse(x.seed)) if _is_delayedarrays(x, node) else node.sparse


@extract_sparse_array.register(FileBackedArray)  # type: ignore[untyped-decorator]
@one_state
def extract_sparse_array_FileBackedArray(x: FileBackedArray, subset: Sequence[Any]) -> SparseNdarray:  # noqa: N802
    """See :py:func:`~delayedarray.extract_sparse_array.extract_sparse_array`.

    Args:
        x: A sparse array.
        subset: For each dimension a range, slice, sequence or integer array of indices.

    Returns:
        The elements that are stored. Indices of a matrix that is the result of operations are of 32 bits if they fit.

    Raises:
        ValueError: If the array is not sparse.
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    node = compiled(x)
    if _is_delayedarrays(x, node):
        extracted: SparseNdarray = extract_sparse_array(x.seed, subset)
        return extracted
    return sparse_array(node, positions(subset, x.shape), x.dtype)


def _is_delayedarrays(x: FileBackedArray, node: Node) -> bool:
    """Whether sparse parts of an array are what delayedarray makes of its seed: nodes know matrices without masks."""
    return not isinstance(x.seed, DelayedOp) or node.masked or len(node.shape) != 2


_to_scipy_sparse_matrix = to_scipy_sparse_matrix.dispatch(DelayedArray)


@to_scipy_sparse_matrix.register(Reductions)  # type: ignore[untyped-decorator]
@to_scipy_sparse_matrix.register(DelayedArray)  # type: ignore[untyped-decorator]
@one_state
def to_scipy_sparse_matrix_from_DelayedArray(  # noqa: N802
    x: Any, format: Literal["coo", "csr", "csc"] = "csc"
) -> scipy.sparse.spmatrix:
    """See :py:func:`~delayedarray.to_scipy_sparse_matrix.to_scipy_sparse_matrix`.

    A matrix of this package, its transpose and a subset ``x[rows, columns]`` are read straight into the arrays of the
    result, whichever way the file is compressed.

    Args:
        x: A delayed matrix or a seed; one in which there is no seed of this package is left to delayedarray.
        format: Format of the result.

    Returns:
        A matrix in native byte order. Its indices are sorted and without duplicates, and of 32 bits if they fit. SciPy
        has no sparse matrices of float16: values of this type become float32, which holds them all.

    Raises:
        ValueError: If ``format`` is none of the three, or the matrix is not sparse.
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    return sparse_matrix(compiled(x), format=format) if _has_ours(x) else _to_scipy_sparse_matrix(x, format)


def _has_ours(tree: Any) -> bool:
    """Whether there is a seed of this package in a tree."""
    return isinstance(tree, Reductions) or any(map(_has_ours, children(tree)))


def _not_missing(value: Any) -> Any:
    """An element, of which numpy's masked arrays would give what is stored in place of a missing one."""
    if numpy.ma.is_masked(value):
        raise numpy.ma.MaskError("a missing value has no equivalent among Python's")
    return value


_KNOWN_MATRICES = (scipy.sparse.csc_matrix, scipy.sparse.csr_matrix, scipy.sparse.coo_matrix)
"""SciPy's matrices that delayedarray takes for sparse seeds."""


def _operand(other: Any, shape: tuple[int, ...]) -> Any:
    """An operand beside an array of a shape.

    Raises:
        TypeError: If it has a shape, and numpy does not know how to make an array of it.
    """
    if isinstance(other, list | tuple) or (isinstance(other, numpy.generic) and shape == ()):
        return numpy.asarray(other)
    if scipy.sparse.issparse(other) and not isinstance(other, _KNOWN_MATRICES):
        return scipy.sparse.csc_matrix(other)
    given = tuple(getattr(other, "shape", ()))
    # Scalars fit, and of the same shape it may be anything that delayedarray takes for a seed.
    if isinstance(other, DelayedArray) or given in (shape, ()):
        return other
    array = numpy.asanyarray(other)
    if array.shape != given:
        raise TypeError(f"an operand of another shape should be a numpy array, not {type(other).__name__}")
    return array


def _is_simple(operand: Any, shape: tuple[int, ...]) -> bool:
    """Whether delayedarray combines it with an array of a shape: if it varies along one axis only, or along all."""
    given = tuple(getattr(operand, "shape", ()))
    return given in (shape, ()) or (not isinstance(operand, DelayedArray) and sum(n != 1 for n in given) <= 1)


def _is_foreign(operand: Any) -> bool:
    """Whether it is an array that is neither delayed nor one of numpy's."""
    return hasattr(operand, "shape") and not isinstance(operand, DelayedArray | numpy.ndarray | numpy.generic)


def _aligned(operand: Any, shape: tuple[int, ...]) -> Any:
    """An array that varies along one axis, with as many axes as the array has that it is combined with."""
    given = tuple(getattr(operand, "shape", ()))
    if given in (shape, ()):
        return operand
    return operand.reshape(() if operand.size == 1 else (1,) * (len(shape) - len(given)) + given)


def _in_delayedarray(ufunc: Any, operands: Sequence[Any]) -> Any:
    """The function under a name that delayedarray knows: of booleans, bits are logical values."""
    logical = {numpy.bitwise_and: numpy.logical_and, numpy.bitwise_or: numpy.logical_or}
    if ufunc in logical and all(numpy.result_type(one).kind == "b" for one in operands):
        return logical[ufunc]
    return ufunc


_NOT_THE_UFUNC = {"pow": operator.pow, "eq": operator.eq, "ne": operator.ne}
"""Operators that numpy does not compute as the function: those of squares are of other types for booleans, and text
differs from any number."""


def _operator(name: str, ufunc: Any, reflected: bool = False) -> Callable[[Any, Any], Any]:
    function = _NOT_THE_UFUNC.get(name.strip("_").removeprefix("r" if reflected else ""))

    def operation(self: FileBackedArray, other: Any) -> Any:
        inputs = (other, self) if reflected else (self, other)
        return self._of_ufunc(ufunc, inputs, {}, function)

    operation.__name__ = name
    operation.__qualname__ = f"FileBackedArray.{name}"
    operation.__doc__ = f"The delayed operation. See :py:data:`numpy.{ufunc.__name__}`."
    return operation


def _method(name: str) -> Callable[..., Any]:
    function = getattr(numpy, name)

    @one_state
    def method(self: FileBackedArray, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"FileBackedArray.{name}"
    method.__doc__ = f"See :py:func:`numpy.{name}`."
    return method


# Python asks the operand on the right first if its class is derived from that of the one on the left, and has methods
# of its own: so an operation of a plain delayed array and one of ours is ours.
for _name, _ufunc in _OPERATORS.items():
    setattr(FileBackedArray, f"__{_name}__", _operator(f"__{_name}__", _ufunc))
    setattr(FileBackedArray, f"__r{_name}__", _operator(f"__r{_name}__", _ufunc, reflected=True))
for _name, _ufunc in _COMPARISONS.items():
    setattr(FileBackedArray, f"__{_name}__", _operator(f"__{_name}__", _ufunc))
for _name in _METHODS:
    setattr(FileBackedArray, _name, _method(_name))


@combine_rows.register(FileBackedArray)
def _combine_rows(*x: Any) -> Any:
    """Join arrays along the first axis, delayed, as numpy.concatenate does. For BiocPy's containers."""
    return numpy.concatenate(x, axis=0)


@combine_columns.register(FileBackedArray)
def _combine_columns(*x: Any) -> Any:
    """Join arrays along the second axis."""
    return numpy.concatenate(x, axis=1)
