"""Arrays for results, or a MemoryError before it is too late."""

import math
from collections.abc import Sequence
from typing import Any

import numpy
import numpy.typing

from .. import _core


def check_fits(shape: Sequence[int], dtype: "numpy.dtype[Any]") -> None:
    """Refuse an array that is larger than memory.

    Args:
        shape: Its shape.
        dtype: Type of its elements.

    Raises:
        MemoryError: If there is not as much memory. Systems that promise more memory than they have would
            otherwise end the process when the array is filled.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = _core.memory_limit()
    if memory is not None and size > memory:
        raise MemoryError(
            f"an array of shape {tuple(shape)} and dtype {dtype} takes {size} bytes, this process may have {memory};"
            " read it in parts"
        )


def allocate(shape: Sequence[int], dtype: "numpy.dtype[Any]", zero: bool = False) -> numpy.typing.NDArray[Any]:
    """Make a C-contiguous array.

    Args:
        shape: Its shape.
        dtype: Type of its elements.
        zero: Whether to fill it with zeros.

    Returns:
        The array.

    Raises:
        MemoryError: If there is not as much memory.
    """
    check_fits(shape, dtype)
    return numpy.zeros(shape, dtype) if zero else numpy.empty(shape, dtype)


def as_bytes(array: numpy.typing.NDArray[Any]) -> numpy.typing.NDArray[numpy.uint8]:
    """The memory of a C-contiguous array, for the engine to write to."""
    return array.reshape(-1).view(numpy.uint8)


def convert(array: numpy.typing.NDArray[Any], dtype: "numpy.dtype[Any]") -> numpy.typing.NDArray[Any]:
    """What the engine does not convert itself, as :py:meth:`numpy.ndarray.astype` does.

    Args:
        array: What the engine read.
        dtype: What is asked for.

    Returns:
        An array of that type; the same if it is already. Bytes become text as UTF-8.

    Raises:
        UnicodeDecodeError: If bytes are not UTF-8.
        ValueError, TypeError: If numpy has no such conversion.
    """
    if array.dtype.kind == "S" and dtype.kind == "U":
        array = numpy.char.decode(array, "utf-8")
    return array.astype(dtype, copy=False)


def engine_dtype(dtype: "numpy.dtype[Any]", stored: "numpy.dtype[Any]") -> "numpy.dtype[Any]":
    """The dtype that the engine should convert to on the way to ``dtype``.

    Args:
        dtype: What is asked for.
        stored: What the file holds.

    Returns:
        ``dtype`` itself if the engine knows it, which converts while it reads; ``stored`` otherwise.
    """
    return dtype if dtype.kind in "biuf" and dtype.itemsize <= 8 and stored.kind in "biuf" else stored


def scipy_dtype(dtype: "numpy.dtype[Any]") -> "numpy.dtype[Any]":
    """The type of values in a sparse matrix of SciPy's, which has none of float16 and of other byte orders.

    Args:
        dtype: A type of numbers or booleans.

    Returns:
        The same in native byte order; float32, which has all values of float16, for that.
    """
    return numpy.dtype(numpy.float32) if dtype.kind == "f" and dtype.itemsize == 2 else dtype.newbyteorder("=")
