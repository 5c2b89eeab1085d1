"""Values as HDF5 keeps them: numbers, truth values, strings, for attributes and small datasets."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy
import numpy.typing

__all__ = ["Described", "described", "fixed_strings", "stored_dtype", "variable_strings"]

Array = numpy.typing.NDArray[Any]
Described: TypeAlias = "tuple[Any, ...]"
"""What ``_core.Writer`` takes for a value."""

_KINDS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
"""Kinds of numbers that are written, with the bytes that they may have."""


def stored_dtype(dtype: Any) -> numpy.dtype[Any]:
    """The type in the file for values of a type: the same, least significant byte first.

    Args:
        dtype: Of numbers, truth values or byte strings.

    Returns:
        The type.

    Raises:
        TypeError: If files have none for it that others read.
    """
    dtype = numpy.dtype(dtype)
    if dtype.itemsize not in _KINDS.get(dtype.kind, ()) and not (dtype.kind == "S" and dtype.itemsize > 0):
        raise TypeError(
            f"values of dtype {dtype} cannot be written; give another 'dtype': integers, floats of 16, 32 or 64 bits,"
            " complex numbers, booleans or byte strings"
        )
    little: numpy.dtype[Any] = dtype.newbyteorder("<")
    return little


def described(value: Any) -> Described:
    """Take a value for an attribute or a small dataset.

    Args:
        value: A number, a truth value, an array of these or of byte strings, which are written as what numpy has them
            as; a string or an array of strings, which become strings of variable length in UTF-8.

    Returns:
        What ``_core.Writer`` takes.

    Raises:
        TypeError: If files have no type for it.
    """
    if isinstance(value, str):
        return ("strings", True, (), [value.encode("utf-8", "surrogateescape")])
    array = numpy.asarray(value)
    if array.dtype.kind in "OUT":
        return variable_strings(array)
    dtype = stored_dtype(array.dtype)
    contiguous = numpy.ascontiguousarray(array, dtype)
    return ("array", dtype.str, False, array.shape, contiguous.tobytes())


def variable_strings(values: Any, *, utf8: bool = True) -> Described:
    """Strings of variable length.

    Args:
        values: A string, or an array or sequence of strings.
        utf8: Whether the file says that they are UTF-8, or ASCII.

    Returns:
        What ``_core.Writer`` takes.

    Raises:
        TypeError: If something is no string.
        UnicodeEncodeError: If they should be ASCII and are not.
    """
    array = _texts(values)
    return ("strings", utf8, array.shape, [_encoded(value, utf8) for value in array.ravel().tolist()])


def fixed_strings(values: Any, *, utf8: bool | None = None, width: int | None = None) -> Described:
    """Strings of one length, padded with NULs.

    Args:
        values: A string, or an array or sequence of strings.
        utf8: Whether the file says that they are UTF-8, or ASCII; UTF-8 where one of them is not ASCII if not given.
        width: Bytes of each; as many as the longest has if not given, one at least.

    Returns:
        What ``_core.Writer`` takes.

    Raises:
        TypeError: If something is no string.
        ValueError: If one is longer than ``width``, or ends with a NUL, which padding would hide.
        UnicodeEncodeError: If they should be ASCII and are not.
    """
    array = _texts(values)
    encoded = [_encoded(value, utf8 is not False) for value in array.ravel().tolist()]
    if utf8 is None:
        utf8 = not all(map(bytes.isascii, encoded))
    longest = max(map(len, encoded), default=0)
    if width is not None and longest > width:
        raise ValueError(f"a string of {longest} bytes where there should be {width} at most")
    if any(value.endswith(b"\0") for value in encoded):
        raise ValueError("a string that ends with a NUL character cannot be told from one that is padded with it")
    width = max(1, longest if width is None else width)
    padded = b"".join(value.ljust(width, b"\0") for value in encoded)
    return ("array", f"|S{width}", utf8, array.shape, padded)


def _texts(values: Any) -> Array:
    """An array of strings; those of a list as they are, of which numpy's own strings would lose NULs at their ends."""
    return values if isinstance(values, numpy.ndarray) else numpy.asarray(values, dtype=object)


def _encoded(value: Any, utf8: bool) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value.encode("utf-8", "surrogateescape") if utf8 else value.encode("ascii")
