"""The arrays of this package, and what operations make of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy
from biocutils.combine_columns import combine_columns
from biocutils.combine_rows import combine_rows
from delayedarray import DelayedArray, create_dask_array

from ._indexing import Indexing
from ._reductions import Reductions

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

_POSITIONS: dict[Any, tuple[str, ...]] = {
    numpy.concatenate: ("axis",),
    numpy.transpose: ("axes",),
    numpy.round: ("decimals",),
}
"""Arguments that numpy takes by position and delayedarray by name only."""


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
        # An array without a file of its own is a delayed array like others.
        shown = DelayedArray(self._seed) if type(self) is FileBackedArray else super()
        text: str = shown.__repr__()
        return text

    def _repr_html_(self) -> str:
        """What notebooks show: how it is stored and a drawing of its chunks, for which no value is read."""
        from ._notebook import to_html

        return to_html(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy is False:
            raise ValueError("an array in a file cannot be one in memory without a copy")
        if dtype is not None and not self.shape:
            # Which delayedarray goes through block by block, and a scalar has no blocks.
            return super().__array__().astype(dtype)
        return super().__array__(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is numpy.matmul and method == "__call__":
            left, right = inputs
            if isinstance(left, FileBackedArray):
                return left.__matmul__(right)
            return right.__rmatmul__(left)
        if method != "__call__":
            raise NotImplementedError(f"'{ufunc.__name__}.{method}' is not implemented!")
        return _ours(super().__array_ufunc__(ufunc, method, *inputs, **kwargs))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in _REDUCTIONS:
            x, *positional = args
            if not isinstance(x, FileBackedArray):
                return NotImplemented
            return getattr(x, _REDUCTIONS[func])(**_arguments(func, positional, kwargs))
        if func in _POSITIONS:
            first, *positional = args
            kwargs = {**dict(zip(_POSITIONS[func], positional, strict=False)), **kwargs}
            args = (first,)
            if func is numpy.concatenate and kwargs.get("axis", 0) is not None:
                axis, ndim = kwargs.get("axis", 0), len(first[0].shape)
                kwargs["axis"] = axis + ndim if axis < 0 else axis
        return _ours(super().__array_function__(func, types, args, kwargs))

    @property
    def T(self) -> FileBackedArray:  # noqa: N802 (numpy's name)
        """The delayed transpose."""
        transposed: FileBackedArray = _ours(super().T)
        return transposed

    def astype(self, dtype: Any, **kwargs: Any) -> FileBackedArray:
        """The delayed conversion to another type. See :py:meth:`numpy.ndarray.astype`."""
        converted: FileBackedArray = _ours(super().astype(dtype, **kwargs))
        return converted

    def __neg__(self) -> Any:
        return _ours(super().__neg__())

    def __abs__(self) -> Any:
        return _ours(super().__abs__())

    def __matmul__(self, other: Any) -> Any:
        from ._products import matmul

        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        from ._products import rmatmul

        return rmatmul(self, other)

    def matvec(self, other: Any) -> Any:
        """Multiply with a vector."""
        return self @ other

    def matmat(self, other: Any) -> Any:
        """Multiply with a matrix."""
        return self @ other

    def rmatvec(self, other: Any) -> Any:
        """Multiply the conjugate transpose with a vector."""
        from ._products import adjoint_matmul

        return adjoint_matmul(self, other)

    def rmatmat(self, other: Any) -> Any:
        """Multiply the conjugate transpose with a matrix."""
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

    __hash__ = None  # type: ignore[assignment]


@create_dask_array.register(FileBackedArray)  # type: ignore[untyped-decorator]
def create_dask_array_FileBackedArray(x: FileBackedArray) -> dask.array.Array:  # noqa: N802 (the generic's, and its class)
    """See :py:func:`~delayedarray.create_dask_array.create_dask_array`: as :py:meth:`FileBackedArray.to_dask`."""
    return x.to_dask()


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
        return _ours(theirs(self, other))

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
