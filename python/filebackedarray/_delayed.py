"""The arrays of this package, and what operations make of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy
from biocutils.combine_columns import combine_columns
from biocutils.combine_rows import combine_rows
from delayedarray import DelayedArray, create_dask_array, extract_dense_array

from ._indexing import Indexing
from ._reductions import Reductions, normalized_axes
from ._subset import positions

if TYPE_CHECKING:
    import dask.array

__all__ = ["FileBackedArray"]

_REDUCTIONS = {
    getattr(numpy, function): method
    for function, method in {
        **{name: name for name in vars(Reductions) if not name.startswith("_") and hasattr(numpy, name)},
        "amin": "min",
        "amax": "max",
    }.items()
}
"""numpy's functions, and the methods that do the same."""

_NOT_VALUES = {numpy.shape: "shape", numpy.ndim: "ndim", numpy.size: "size"}
"""numpy's functions that need no values, and the attributes that say the same."""


def _ours(result: Any) -> Any:
    """What delayedarray made, as an array of this package."""
    if isinstance(result, DelayedArray) and not isinstance(result, FileBackedArray):
        return FileBackedArray(result.seed)
    return result


class FileBackedArray(Indexing, Reductions, DelayedArray):  # type: ignore[misc]
    """A delayed array over files, and what operations on one return.

    Operations are those of :py:class:`~delayedarray.DelayedArray.DelayedArray`, delayed as there. What differs is how
    statistics are computed: along the chunks of the files, vectorised, and on several threads.
    """

    def __repr__(self) -> str:
        # An array without a file of its own is shown as a delayed array like others.
        shown = DelayedArray(self) if type(self) is FileBackedArray else super()
        text: str = shown.__repr__()
        return text

    def _repr_html_(self) -> str:
        """What notebooks show: how it is stored and a drawing of its chunks, for which no value is read."""
        from ._notebook import to_html

        return to_html(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("an array in a file cannot be one in memory without a copy")
        from ._evaluate import dense
        from ._trees import compiled

        return dense(compiled(self), dtype=self.dtype if dtype is None else dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        (out,) = kwargs.pop("out", (None,)) if ufunc.nout == 1 else (None,)
        if method != "__call__":
            raise _not_implemented(f"{ufunc.__name__}.{method}")
        _refuse(ufunc.__name__, kwargs)
        if isinstance(out, DelayedArray):
            raise TypeError("an array in a file cannot be written to")
        if ufunc is numpy.matmul:
            left, right = inputs
            result = left.__matmul__(right) if isinstance(left, FileBackedArray) else right.__rmatmul__(left)
        elif ufunc is numpy.negative:
            result = -inputs[0]
        else:
            try:
                result = _ours(super().__array_ufunc__(ufunc, method, *_operands(inputs)))
            except NotImplementedError:
                raise _not_implemented(ufunc.__name__) from None
        if out is None:
            return result
        numpy.copyto(out, numpy.asanyarray(result), casting="same_kind")
        return out

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in _REDUCTIONS:
            x, *positional = args
            if not isinstance(x, FileBackedArray):
                return NotImplemented
            return getattr(x, _REDUCTIONS[func])(**_arguments(func, positional, kwargs))
        if func in _NOT_VALUES and len(args) == 1 and not kwargs:
            return getattr(self, _NOT_VALUES[func])
        if func is numpy.concatenate:
            return _concatenated(*args, **kwargs)
        if func is numpy.transpose:
            return _transposed(*args, **kwargs)
        if func in (numpy.round, numpy.around):
            return _rounded(*args, **kwargs)
        raise _not_implemented(func.__name__)

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
        from ._products import matmul

        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        from ._products import rmatmul

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
        from ._products import adjoint_matmul

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
        from ._products import adjoint_matmul

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
        from ._dask import dask_array

        return dask_array(self, chunks, sparse=sparse, threads=threads)

    def to_dask_array(self) -> dask.array.Array:
        """What :py:func:`dask.array.asarray` makes of this array: :py:meth:`to_dask` without arguments."""
        return self.to_dask()

    __hash__ = None  # type: ignore[assignment]


@create_dask_array.register(FileBackedArray)  # type: ignore[untyped-decorator]
def create_dask_array_FileBackedArray(x: FileBackedArray) -> dask.array.Array:  # noqa: N802 (the generic's, and its class)
    """See :py:func:`~delayedarray.create_dask_array.create_dask_array`: as :py:meth:`FileBackedArray.to_dask`."""
    return x.to_dask()


@extract_dense_array.register(FileBackedArray)  # type: ignore[untyped-decorator]
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
    from ._evaluate import dense
    from ._trees import compiled

    return dense(compiled(x), positions(subset, x.shape), x.dtype)


def _not_missing(value: Any) -> Any:
    """An element, of which numpy's masked arrays would give what is stored in place of a missing one."""
    if numpy.ma.is_masked(value):
        raise numpy.ma.MaskError("a missing value has no equivalent among Python's")
    return value


def _not_implemented(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"'{name}' is not implemented for arrays in files; numpy.asarray(x) reads one, of which it can be taken"
    )


def _refuse(name: str, arguments: dict[str, Any]) -> None:
    """Arguments that would be ignored."""
    if arguments:
        raise NotImplementedError(f"'{name}' with {', '.join(map(repr, arguments))} is not implemented!")


def _operands(operands: Sequence[Any]) -> list[Any]:
    """Operands as delayedarray takes them, which believes that extents fit.

    One of them at least is a delayed array, of whose shape the result is.

    Raises:
        ValueError: If they cannot be broadcast to that shape.
    """
    shape = next(tuple(one.shape) for one in operands if isinstance(one, DelayedArray))
    return [one if isinstance(one, DelayedArray) and one.shape == shape else _operand(one, shape) for one in operands]


def _operand(other: Any, shape: tuple[int, ...]) -> Any:
    """One of them, beside an array of a shape."""
    if isinstance(other, list | tuple) or (isinstance(other, numpy.generic) and shape == ()):
        other = numpy.asarray(other)
    given = tuple(getattr(other, "shape", ()))
    if isinstance(other, DelayedArray) and given != shape:
        raise ValueError(f"delayed arrays are combined if they have the same shape, not {shape} and {given}")
    # Scalars fit, and of the same shape it may be anything that delayedarray takes for a seed.
    if given in (shape, ()):
        return other
    extents = shape[len(shape) - len(given) :]
    if len(given) > len(shape) or any(length not in (1, extent) for length, extent in zip(given, extents, strict=True)):
        raise ValueError(f"an operand of shape {given} cannot be broadcast to the shape of the array, {shape}")
    array = numpy.asanyarray(other)
    if array.shape != given:
        raise TypeError(f"an operand of another shape should be a numpy array, not {type(other).__name__}")
    return array.reshape(()) if array.size == 1 else array.reshape((1,) * (len(shape) - array.ndim) + given)


def _concatenated(arrays: Sequence[Any], axis: int | None = 0, **kwargs: Any) -> Any:
    """See :py:func:`numpy.concatenate`."""
    _refuse("concatenate", kwargs)
    if axis is None:
        raise _not_implemented("concatenate(axis=None)")
    parts = [part if hasattr(part, "shape") else numpy.asarray(part) for part in arrays]
    ndims = {len(part.shape) for part in parts}
    if len(ndims) > 1:
        raise ValueError(f"arrays that are joined should have the same number of dimensions, not {sorted(ndims)}")
    (ndim,) = ndims
    if ndim == 0:
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    (axis,) = normalized_axes(axis, ndim)
    joined = next((part for part in parts if isinstance(part, DelayedArray)), None)
    if joined is None:
        # The rows of an array that was given as the sequence.
        return numpy.concatenate(parts, axis=axis)
    # delayedarray computes with what lies in one part in that part's type.
    dtype = numpy.result_type(*[part.dtype for part in parts])
    parts = [part if part.dtype == dtype else part.astype(dtype) for part in parts]
    return _ours(DelayedArray.__array_function__(joined, numpy.concatenate, (), (parts,), {"axis": axis}))


def _transposed(x: Any, axes: Any = None) -> Any:
    """See :py:func:`numpy.transpose`."""
    if axes is not None:
        # Has numpy look at them.
        numpy.empty((0,) * len(x.shape)).transpose(axes)
    return _ours(DelayedArray.__array_function__(x, numpy.transpose, (), (x,), {"axes": axes}))


def _rounded(x: Any, decimals: int = 0, **kwargs: Any) -> Any:
    """See :py:func:`numpy.round`."""
    _refuse("round", {name: value for name, value in kwargs.items() if value is not None})
    return _ours(DelayedArray.__array_function__(x, numpy.round, (), (x,), {"decimals": decimals}))


_OUTSIDE = ("out", "where", "initial", "mean", "overwrite_input")


def _arguments(func: Any, positional: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of one of numpy's functions, for the method."""
    names = ["axis", "dtype", "out"]
    if func in (
        numpy.any,
        numpy.all,
        numpy.min,
        numpy.max,
        numpy.amin,
        numpy.amax,
        numpy.ptp,
        numpy.nanmin,
        numpy.nanmax,
    ):
        names = ["axis", "out", "keepdims"]
    elif func is numpy.count_nonzero:
        names = ["axis"]
    elif func in (numpy.var, numpy.std, numpy.nanvar, numpy.nanstd):
        names = ["axis", "dtype", "out", "ddof", "keepdims"]
    if len(positional) > len(names):
        raise TypeError(f"'{func.__name__}' takes no more than {len(names) + 1} arguments by position here")
    given = {**dict(zip(names, positional, strict=False)), **kwargs}
    given = {name: value for name, value in given.items() if value is not getattr(numpy, "_NoValue", None)}
    for name in _OUTSIDE:
        if given.pop(name, None) is not None:
            raise NotImplementedError(f"'{func.__name__}' with '{name}' is not implemented!")
    if given.get("keepdims") is None:
        given.pop("keepdims", None)
    if "correction" in given:
        given["ddof"] = given.pop("correction")
    return given


def _operator(name: str) -> Callable[[Any, Any], Any]:
    theirs = getattr(DelayedArray, name)

    def operation(self: FileBackedArray, other: Any) -> Any:
        return _ours(theirs(self, _operand(other, self.shape)))

    operation.__name__ = name
    operation.__qualname__ = f"FileBackedArray.{name}"
    operation.__doc__ = theirs.__doc__
    return operation


# Python asks the operand on the right first if its class is derived from that of the one on the left, and has methods
# of its own: so an operation of a plain delayed array and one of ours is ours.
for _name in (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "mod", "rmod", "floordiv", "rfloordiv"),
    *("pow", "rpow", "eq", "ne", "ge", "le", "gt", "lt", "or", "ror", "and", "rand"),
):
    setattr(FileBackedArray, f"__{_name}__", _operator(f"__{_name}__"))


@combine_rows.register(FileBackedArray)
def _combine_rows(*x: Any) -> Any:
    """Join arrays along the first axis, delayed, as numpy.concatenate does. For BiocPy's containers."""
    return numpy.concatenate(x, axis=0)


@combine_columns.register(FileBackedArray)
def _combine_columns(*x: Any) -> Any:
    """Join arrays along the second axis."""
    return numpy.concatenate(x, axis=1)
