"""numpy's functions of arrays in files: which of them there are, and how each is computed.

A function is one of these:

- it looks at types and shapes only, and is asked of a stand-in that has no values;
- it is a statistic, which an array has a method for;
- it works element by element, and is delayed;
- it takes positions of axes or arranges axes anew, and is delayed, or read if the number of dimensions changes;
- it returns or writes all values, which are read for it.

Every other function is refused, since it would have to load the array unseen.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy
import numpy.typing
from delayedarray import DelayedArray

from .._engine.memory import check_fits
from .._engine.snapshot import one_state
from .arguments import has_mask, normalized_axes
from .elementwise import Elementwise
from .reductions import Reductions

Handler = Callable[..., Any]


def not_implemented(what: str) -> NotImplementedError:
    """The error for a function that there is not."""
    return NotImplementedError(
        f"'{what}' is not implemented for arrays in files; numpy.asarray(x) loads one into memory (numpy.ma.asarray(x)"
        " one with masked values), and the result of that can be given to it"
    )


@one_state
def call(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Compute one of numpy's functions.

    Args:
        function: The function, public in :py:mod:`numpy` or one of its modules.
        args: Its arguments, of which some are arrays in files.
        kwargs: Its keyword arguments.

    Returns:
        What numpy returns; arrays of the same size are delayed.

    Raises:
        NotImplementedError: If there is no such function for arrays in files, or not with these arguments.
    """
    handler = _HANDLERS.get(function)
    if handler is None:
        raise not_implemented(_name(function))
    return handler(*args, **kwargs)


def delayed(function: Callable[..., Any], *arguments: Any, **options: Any) -> DelayedArray:
    """A function element by element, delayed. See :py:class:`Elementwise`."""
    return DelayedArray(Elementwise(function, arguments, **options))


def written(result: Any, out: Any) -> Any:
    """The result, or what it should be written to with the result in it."""
    if out is None:
        return result
    if isinstance(out, DelayedArray):
        raise TypeError("an array in a file cannot be written to; give a numpy array as 'out'")
    numpy.copyto(out, numpy.asanyarray(result), casting="same_kind")
    return out


def _name(function: Callable[..., Any]) -> str:
    module = function.__module__.removeprefix("numpy").lstrip(".")
    return f"{module}.{function.__name__}" if module in ("linalg", "fft", "strings", "char") else function.__name__


def _is_ours(x: Any) -> bool:
    return isinstance(x, DelayedArray)


def _is_masked(x: Any) -> bool:
    return numpy.ma.isMaskedArray(x) or (_is_ours(x) and has_mask(x.seed))


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _given(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by their names, without those that say nothing."""
    bound = _signature(function).bind(*args, **kwargs).arguments
    nothing = getattr(numpy, "_NoValue", None)
    return {name: value for name, value in bound.items() if value is not nothing and value is not None}


def _refuse(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Arguments that would be ignored."""
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise not_implemented(f"{_name(function)}(..., {'=, '.join(given)}=)")


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """A value, or the members of a list, tuple or dictionary, with those that are arrays in files changed."""
    if _is_ours(value):
        return change(value)
    if type(value) in (list, tuple):
        return type(value)(_mapped(change, member) for member in value)
    if type(value) is dict:
        return {name: _mapped(change, member) for name, member in value.items()}
    return value


def _members(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for member in value:
            yield from _members(member)
    else:
        yield value


# ---- types and shapes ------------------------------------------------------------------------


def _stand_in(x: Any) -> Any:
    """An array of the same type and shape that takes no memory."""
    if x.ndim == 0:
        # Whose value may count, too.
        return numpy.asanyarray(x)
    return numpy.broadcast_to(numpy.zeros((), x.dtype), x.shape)


def _of_type_and_shape(function: Callable[..., Any]) -> Handler:
    def handler(*args: Any, **kwargs: Any) -> Any:
        return function(*_mapped(_stand_in, args), **_mapped(_stand_in, kwargs))

    return handler


def _of_prototype(function: Callable[..., Any]) -> Handler:
    """For ``zeros_like`` and its kin: a new array in memory, which has the mask of a masked array."""
    # Some of them are of C, and have no signature before numpy 2.4.
    names = ("fill_value", "dtype", "order", "subok", "shape")[0 if function is numpy.full_like else 1 :]

    def handler(*args: Any, **kwargs: Any) -> Any:
        x, *others = args or (kwargs.pop("prototype" if function is numpy.empty_like else "a"),)
        given = {**dict(zip(names, others, strict=False)), **kwargs}
        if not _is_ours(x) or any(map(_is_ours, given.values())):
            raise not_implemented(f"{_name(function)} with an array in a file as a value")
        shape, dtype = given.get("shape"), given.get("dtype")
        extents = x.shape if shape is None else shape if isinstance(shape, tuple | list) else (shape,)
        check_fits(extents, x.dtype if dtype is None else numpy.dtype(dtype))
        return function(numpy.asanyarray(x) if has_mask(x.seed) else _stand_in(x), *others, **kwargs)

    return handler


# ---- statistics ------------------------------------------------------------------------------


def _statistic(function: Callable[..., Any], method: str) -> Handler:
    def handler(*args: Any, **kwargs: Any) -> Any:
        given = _given(function, args, kwargs)
        x = given.pop(next(iter(_signature(function).parameters)))
        _refuse(function, {name: given.pop(name, None) for name in ("where", "initial", "mean", "overwrite_input")})
        if not _is_ours(x) or any(map(_is_ours, given.values())):
            raise TypeError(f"'{_name(function)}' takes an array in a file as its first argument only")
        out = given.pop("out", None)
        if "correction" in given:
            given["ddof"] = given.pop("correction")
        return written(getattr(x, method)(**given), out)

    return handler


def _all_close(a: Any, b: Any, *args: Any, **kwargs: Any) -> bool:
    if _is_masked(a) or _is_masked(b):
        raise not_implemented("allclose of masked arrays")
    return bool(numpy.all(numpy.isclose(a, b, *args, **kwargs)))


def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    if _is_masked(a1) or _is_masked(a2):
        raise not_implemented("array_equal of masked arrays")
    a1, a2 = (one if _is_ours(one) else numpy.asarray(one) for one in (a1, a2))
    if a1.shape != a2.shape:
        return False
    # Which is not defined for strings, none of which is missing.
    equal_nan = equal_nan and all(one.dtype.kind in "fc" for one in (a1, a2))
    both = [numpy.equal(a1, a2)] if not equal_nan else [numpy.equal(a1, a2) | (numpy.isnan(a1) & numpy.isnan(a2))]
    return bool(both[0].all())


def _array_equivalent(a1: Any, a2: Any) -> bool:
    a1, a2 = (one if _is_ours(one) else numpy.asarray(one) for one in (a1, a2))
    if a1.shape != a2.shape:
        raise not_implemented("array_equiv of arrays of different shapes")
    return _array_equal(a1, a2)


# ---- element by element ----------------------------------------------------------------------


def _element_by_element(function: Callable[..., Any], operands: Sequence[str]) -> Handler:
    def handler(*args: Any, **kwargs: Any) -> Any:
        bound = _signature(function).bind(*args, **kwargs)
        out = bound.arguments.pop("out", None)
        # It would write to a block that may be others' too.
        bound.arguments.pop("copy", None)
        bound.apply_defaults()
        bound.arguments.pop("out", None)
        names = [name for name, one in _signature(function).parameters.items() if one.kind != one.KEYWORD_ONLY]
        names = [name for name in names if name != "out"]
        arguments = [bound.arguments.pop(name) for name in names]
        places = [place for place, name in enumerate(names) if name in operands]
        arguments = [one if place in places else _mapped(numpy.asanyarray, one) for place, one in enumerate(arguments)]
        keywords = {name: value for name, value in bound.arguments.items() if value is not None}
        if not any(_is_ours(arguments[place]) for place in places):
            return written(function(*arguments, **keywords), out)
        return written(delayed(function, *arguments, places=places, keywords=keywords), out)

    return handler


def _where(condition: Any, *values: Any) -> Any:
    if not values:
        raise not_implemented("where(condition)")
    return delayed(numpy.where, condition, *values)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **kwargs: Any) -> Any:
    lowest, highest = kwargs.pop("min", a_min), kwargs.pop("max", a_max)
    keywords = {name: kwargs.pop(name) for name in ("dtype", "casting") if kwargs.get(name) is not None}
    _refuse(numpy.clip, kwargs)
    if lowest is None and highest is None:
        return numpy.positive(a, out=out)
    return written(delayed(numpy.clip, a, lowest, highest, keywords=keywords), out)


def _nan_to_num(x: Any, copy: bool = True, **kwargs: Any) -> Any:
    # It would write to a block that may be others' too.
    del copy
    return delayed(numpy.nan_to_num, x, keywords=kwargs)


def _part_of_complex(function: Callable[..., Any]) -> Handler:
    def handler(val: Any) -> Any:
        is_real = function is numpy.real and val.dtype.kind in "biuf"
        return val if is_real else delayed(function, val)

    return handler


def _rounded(a: Any, decimals: int = 0, out: Any = None) -> Any:
    rounded = DelayedArray.__array_function__(a, numpy.round, (), (a,), {"decimals": decimals})
    own = delayed(numpy.round, a, keywords={"decimals": decimals})
    # delayedarray does not know that numpy makes numbers of booleans.
    return written(rounded if rounded.dtype == own.dtype else own, out)


def _difference(a: Any, n: int = 1, axis: int = -1, **kwargs: Any) -> Any:
    _refuse(
        numpy.diff, {name: value for name, value in kwargs.items() if value is not getattr(numpy, "_NoValue", None)}
    )
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n}")
    (along,) = normalized_axes(axis, a.ndim)
    before = (slice(None),) * along
    subtract = numpy.not_equal if a.dtype == bool else numpy.subtract
    for _ in range(n):
        a = subtract(a[(*before, slice(1, None))], a[(*before, slice(None, -1))])
    return a


# ---- positions and axes ----------------------------------------------------------------------


def _transposed(a: Any, axes: Any = None) -> Any:
    if axes is not None:
        # Has numpy look at them.
        numpy.empty((0,) * a.ndim).transpose(axes)
        axes = [axis % a.ndim for axis in axes]
    return DelayedArray.__array_function__(a, numpy.transpose, (), (a,), {"axes": axes})


def _swapped(a: Any, axis1: int, axis2: int) -> Any:
    axes = list(range(a.ndim))
    first, second = (normalized_axes(axis, a.ndim)[0] for axis in (axis1, axis2))
    axes[first], axes[second] = second, first
    return numpy.transpose(a, axes)


def _flipped_along(axis: int) -> Handler:
    def handler(m: Any) -> Any:
        if m.ndim <= axis:
            raise ValueError(f"Input must be >= {axis + 1}-d.")
        return numpy.flip(m, axis)

    return handler


def _turned(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    if len(axes) != 2:
        raise ValueError("len(axes) must be 2.")
    first, second = normalized_axes(tuple(axes), m.ndim)
    k %= 4
    if k == 2:
        return numpy.flip(m, (first, second))
    if k == 0:
        return m
    return _swapped(numpy.flip(m, second), first, second) if k == 1 else numpy.flip(_swapped(m, first, second), second)


def _rolled(a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None and a.ndim > 1:
        raise not_implemented("roll(axis=None)")
    shifts, axes = numpy.broadcast_arrays(shift, 0 if axis is None else axis)
    for one, along in zip(shifts.ravel().tolist(), axes.ravel().tolist(), strict=True):
        (along,) = normalized_axes(along, a.ndim)
        a = numpy.take(a, numpy.roll(numpy.arange(a.shape[along]), one), axis=along)
    return a


def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    indices = numpy.asarray(indices)
    indices = indices.astype(numpy.intp)
    extent = a.size if axis is None else a.shape[normalized_axes(axis, a.ndim)[0]]
    if mode == "wrap":
        indices = indices % extent
    elif mode == "clip":
        indices = indices.clip(0, extent - 1)
    elif mode != "raise":
        raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")
    if axis is None:
        if ((indices < -extent) | (indices >= extent)).any():
            raise IndexError(f"indices are out of bounds for an array of {extent} elements")
        return written(a[numpy.unravel_index(indices % max(extent, 1), a.shape)], out)
    (along,) = normalized_axes(axis, a.ndim)
    return written(a[(*(slice(None),) * along, indices[()])], out)


def _of_axis(function: Callable[..., Any], a: Any, axis: Any, choose: Callable[[Any], Any]) -> Any:
    """Positions of an axis, as a function chooses them of all."""
    if axis is None and a.ndim != 1:
        raise not_implemented(f"{_name(function)}(axis=None)")
    (along,) = normalized_axes(0 if axis is None else axis, a.ndim)
    return numpy.take(a, choose(numpy.arange(a.shape[along])), axis=along)


def _compressed(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    if not _is_ours(a):
        return numpy.compress(numpy.asarray(condition), a, axis=axis, out=out)
    chosen = numpy.asarray(condition)
    return written(_of_axis(numpy.compress, a, axis, lambda every: numpy.compress(chosen, every)), out)


def _repeated(a: Any, repeats: Any, axis: Any = None) -> Any:
    return _of_axis(numpy.repeat, a, axis, lambda every: numpy.repeat(every, repeats))


def _deleted(arr: Any, obj: Any, axis: Any = None) -> Any:
    return _of_axis(numpy.delete, arr, axis, lambda every: numpy.delete(every, obj))


def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    first, second = normalized_axes((axis1, axis2), a.ndim)
    start = max(0, -offset)
    length = max(0, min(a.shape[first] - start, a.shape[second] - max(0, offset)))
    positions = numpy.arange(start, start + length)
    index: list[Any] = [slice(None)] * a.ndim
    index[first], index[second] = positions, positions + offset
    # Where numpy's indexing puts the axis of the points.
    place = min(first, second) if abs(first - second) == 1 else 0
    return numpy.moveaxis(a[tuple(index)], place, -1)


def _diagonal_of_matrix(v: Any, k: int = 0) -> Any:
    if v.ndim != 2:
        raise not_implemented(f"diag of an array of {v.ndim} dimensions")
    return _diagonal(v, k)


def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    return _diagonal(a, offset, axis1, axis2).sum(axis=-1, dtype=dtype, out=out)


def _expanded(a: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    new = normalized_axes(axes, a.ndim + len(axes))
    return a[tuple(None if number in new else slice(None) for number in range(a.ndim + len(axes)))]


def _squeezed(a: Any, axis: Any = None) -> Any:
    axes = normalized_axes(axis, a.ndim)
    if axis is None:
        axes = tuple(number for number, extent in enumerate(a.shape) if extent == 1)
    if any(a.shape[number] != 1 for number in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    if not axes:
        return a
    return numpy.asanyarray(a[tuple(0 if number in axes else slice(None) for number in range(a.ndim))])


def _reshaped(function: Callable[..., Any], a: Any, shape: Any) -> Any:
    """An array that has the shape already: any other takes all values."""
    stated = shape if isinstance(shape, tuple | list) else (shape,)
    if list(stated).count(-1) == 1 and function is not numpy.broadcast_to:
        rest = math.prod(extent for extent in stated if extent != -1)
        stated = [a.size // rest if extent == -1 and rest else extent for extent in stated]
    if tuple(stated) != tuple(a.shape):
        raise NotImplementedError(
            f"'{_name(function)}' to another shape is not implemented for arrays in files; ReshapedHdf5Array opens a"
            " dataset with one, and numpy.asarray(x) loads an array into memory"
        )
    return a


def _reshape(a: Any, shape: Any = None, order: Any = "C", **kwargs: Any) -> Any:
    return _reshaped(numpy.reshape, a, kwargs.pop("newshape", shape))


def _ravel(a: Any, order: Any = "C") -> Any:
    return _reshaped(numpy.ravel, a, (a.size,))


def _broadcast(array: Any, shape: Any, subok: bool = False) -> Any:
    return _reshaped(numpy.broadcast_to, array, shape)


def _at_least(dimensions: int) -> Handler:
    def handler(*arys: Any) -> Any:
        function = (numpy.atleast_1d, numpy.atleast_2d, numpy.atleast_3d)[dimensions - 1]
        made = [one if _is_ours(one) and one.ndim >= dimensions else function(numpy.asanyarray(one)) for one in arys]
        return made[0] if len(made) == 1 else tuple(made)

    return handler


def _by_its_own(function: Callable[..., Any]) -> Handler:
    """For functions that numpy has written with functions, indices and methods that arrays in files have."""
    implementation: Handler = inspect.unwrap(function)
    return implementation


# ---- several arrays --------------------------------------------------------------------------


def _concatenated(
    arrays: Sequence[Any], axis: int | None = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind"
) -> Any:
    if axis is None:
        raise not_implemented("concatenate(axis=None)")
    parts = [part if hasattr(part, "shape") else numpy.asarray(part) for part in arrays]
    ndims = {len(part.shape) for part in parts}
    if len(ndims) > 1:
        raise ValueError(f"arrays that are joined should have the same number of dimensions, not {sorted(ndims)}")
    (ndim,) = ndims
    if ndim == 0:
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    (axis,) = normalized_axes(axis, ndim)
    joined = next((part for part in parts if _is_ours(part)), None)
    if joined is None:
        # The rows of an array that was given as the sequence.
        together = numpy.ma.concatenate if any(map(numpy.ma.isMaskedArray, parts)) else numpy.concatenate
        return written(together(parts, axis=axis), out)
    # delayedarray computes with what lies in one part in that part's type.
    common = numpy.result_type(*[part.dtype for part in parts]) if dtype is None else numpy.dtype(dtype)
    for part in parts:
        if not numpy.can_cast(part.dtype, common, casting):
            raise TypeError(f"cannot cast an array from {part.dtype} to {common} by the rule {casting!r}")
    parts = [part if part.dtype == common else part.astype(common) for part in parts]
    return written(DelayedArray.__array_function__(joined, numpy.concatenate, (), (parts,), {"axis": axis}), out)


def _stacked(function: Callable[..., Any], least: int, axis: Callable[[int], int]) -> Handler:
    """Arrays behind each other along an axis; read if they have fewer dimensions than it takes."""

    def handler(tup: Sequence[Any], **kwargs: Any) -> Any:
        parts = [part if hasattr(part, "ndim") else numpy.asanyarray(part) for part in tup]
        if any(part.ndim < least for part in parts):
            return _all_read(function)(parts, **kwargs)
        return numpy.concatenate(parts, axis=axis(parts[0].ndim), **kwargs)

    return handler


def _append(arr: Any, values: Any, axis: Any = None) -> Any:
    if axis is None:
        if numpy.ndim(arr) != 1:
            raise not_implemented("append(axis=None)")
        values, axis = numpy.ravel(values), 0
    return numpy.concatenate((arr, values), axis=axis)


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    if numpy.ndim(a) == 0 or numpy.ndim(b) == 0:
        return numpy.multiply(a, b, out=out)
    if numpy.ndim(b) > 2:
        raise not_implemented(f"dot with an array of {numpy.ndim(b)} dimensions")
    return numpy.matmul(a, b, out=out)


def _product(x1: Any, x2: Any, /) -> Any:
    return numpy.matmul(x1, x2)


# ---- all values ------------------------------------------------------------------------------


def _all_read(function: Callable[..., Any]) -> Handler:
    """For what returns or writes all values: they are read."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        chosen = function
        if any(map(_is_masked, _members([args, list(kwargs.values())]))):
            # numpy's own forgets masks.
            twin = getattr(numpy.ma, function.__name__, None)
            if twin is None:
                raise not_implemented(f"{_name(function)} of masked arrays")
            chosen = twin
        return chosen(*_mapped(numpy.asanyarray, args), **_mapped(numpy.asanyarray, kwargs))

    return handler


def _copied_to(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    if _is_ours(dst):
        raise TypeError("an array in a file cannot be written to; numpy.array(x) makes a copy in memory that can")
    if _is_masked(src):
        raise not_implemented("copyto of masked arrays")
    numpy.copyto(dst, numpy.asarray(src), casting=casting, where=numpy.asarray(where))


def _shown(function: Callable[..., Any], show: Callable[[Any], str]) -> Handler:
    def handler(*args: Any, **kwargs: Any) -> str:
        (array, *given), names = _signature(function).bind(*args, **kwargs).arguments.items(), kwargs
        del names
        _refuse(function, dict(given))
        return show(array[1])

    return handler


def _handlers() -> dict[Any, Handler]:
    """For each function, how it is computed. A name that this version of numpy has not is left out."""
    found: dict[Any, Handler] = {}

    def add(names: str, make: Callable[[Any], Handler], module: Any = numpy) -> None:
        for name in names.split():
            function = getattr(module, name, None)
            if function is not None:
                found[function] = make(function)

    add(
        "shape ndim size result_type can_cast min_scalar_type common_type iscomplexobj isrealobj may_share_memory"
        " shares_memory diag_indices_from tril_indices_from triu_indices_from",
        _of_type_and_shape,
    )
    add("empty_like zeros_like ones_like full_like", _of_prototype)
    for name in (name for name in vars(Reductions) if not name.startswith("_")):
        add(name, lambda function, method=name: _statistic(function, method))  # type: ignore[misc]
    add("amin", lambda function: _statistic(function, "min"))
    add("amax", lambda function: _statistic(function, "max"))
    add("allclose", lambda _: _all_close)
    add("array_equal", lambda _: _array_equal)
    add("array_equiv", lambda _: _array_equivalent)

    for names, operands in (
        ("isclose", ("a", "b")),
        ("isreal iscomplex isneginf isposinf fix sinc i0 interp digitize polyval", ("x",)),
        ("angle", ("z",)),
        ("isin", ("element",)),
        ("searchsorted", ("v",)),
    ):
        add(names, lambda function, operands=operands: _element_by_element(function, operands))  # type: ignore[misc]
    add("where", lambda _: _where)
    add("clip", lambda _: _clip)
    add("nan_to_num", lambda _: _nan_to_num)
    add("real imag", _part_of_complex)
    add("round around", lambda _: _rounded)
    add("diff", lambda _: _difference)
    add("astype", lambda _: lambda x, dtype, /, *, copy=True, device=None: x.astype(dtype))

    add("transpose permute_dims", lambda _: _transposed)
    add("swapaxes", lambda _: _swapped)
    add("matrix_transpose", lambda _: lambda x: _swapped(x, -1, -2))
    add("flipud", lambda _: _flipped_along(0))
    add("fliplr", lambda _: _flipped_along(1))
    add("rot90", lambda _: _turned)
    add("roll", lambda _: _rolled)
    add("take", lambda _: _take)
    add("compress", lambda _: _compressed)
    add("repeat", lambda _: _repeated)
    add("delete", lambda _: _deleted)
    add("diagonal", lambda _: _diagonal)
    add("diag", lambda _: _diagonal_of_matrix)
    add("trace", lambda _: _trace)
    add("expand_dims", lambda _: _expanded)
    add("squeeze", lambda _: _squeezed)
    add("reshape", lambda _: _reshape)
    add("ravel", lambda _: _ravel)
    add("broadcast_to", lambda _: _broadcast)
    add("atleast_1d", lambda _: _at_least(1))
    add("atleast_2d", lambda _: _at_least(2))
    add("atleast_3d", lambda _: _at_least(3))
    add("moveaxis rollaxis flip split array_split hsplit vsplit dsplit unstack", _by_its_own)

    add("concatenate concat", lambda _: _concatenated)
    add("vstack", lambda function: _stacked(function, 2, lambda _: 0))
    add("hstack", lambda function: _stacked(function, 1, lambda ndim: 0 if ndim == 1 else 1))
    add("dstack", lambda function: _stacked(function, 3, lambda _: 2))
    add("column_stack", lambda function: _stacked(function, 2, lambda _: 1))
    add("append", lambda _: _append)
    add("dot", lambda _: _dot)
    add("matmul", lambda _: _product, numpy.linalg)
    add("matrix_transpose", lambda _: lambda x, /: _swapped(x, -1, -2), numpy.linalg)
    add("diagonal", lambda _: lambda x, /, *, offset=0: _diagonal(x, offset, -2, -1), numpy.linalg)
    add("trace", lambda _: lambda x, /, *, offset=0, dtype=None: _trace(x, offset, -2, -1, dtype), numpy.linalg)

    add("stack copy save savetxt savez savez_compressed", _all_read)
    add("copyto", lambda _: _copied_to)
    add("array_repr array2string", lambda function: _shown(function, repr))
    add("array_str", lambda function: _shown(function, str))
    return found


_HANDLERS = _handlers()
