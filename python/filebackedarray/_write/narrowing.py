"""From the values that there are to the type that they are written as, without loss unless that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy
import numpy.typing

__all__ = ["Casting", "check_casting", "converted"]

Array = numpy.typing.NDArray[Any]

Casting: TypeAlias = Literal["exact", "unsafe"]
"""What becomes of values that the type in the file does not have: an error, or whatever numpy makes of them."""


def check_casting(casting: str) -> None:
    """Check what the user says of values that the type in the file does not have.

    Args:
        casting: What they say.

    Raises:
        ValueError: If it is neither of :py:data:`Casting`.
    """
    if casting not in ("exact", "unsafe"):
        raise ValueError(f"'casting' should be 'exact' or 'unsafe', not {casting!r}")


def converted(block: Array, dtype: numpy.dtype[Any], casting: Casting, start: Sequence[int] = ()) -> Array:
    """Values as another type.

    Args:
        block: The values.
        dtype: What they should be.
        casting: Whether a value that it does not have is an error.
        start: Of the array, the position of the first value, for errors.

    Returns:
        An array of that type; the same if it is already.

    Raises:
        ValueError: If a value is not the same as that type, with the first such value.
    """
    if block.dtype == dtype:
        return block
    if casting == "unsafe":
        with numpy.errstate(all="ignore"):
            return block.astype(dtype)
    if _holds_all(block.dtype, dtype):
        return block.astype(dtype)
    with numpy.errstate(all="ignore"):
        made = (block.real if block.dtype.kind == "c" and dtype.kind != "c" else block).astype(dtype)
        lost = _lost(block, made)
    if lost is not None and lost.any():
        position = numpy.unravel_index(int(lost.argmax()), lost.shape)
        where = tuple(int(at) + first for at, first in zip(position, start or (0,) * block.ndim, strict=True))
        raise ValueError(
            f"the value {block[position]} at {where} is none of dtype {dtype}; give a 'dtype' that has it, or say"
            " casting='unsafe' to have it converted as numpy does"
        )
    return made


def _holds_all(source: numpy.dtype[Any], target: numpy.dtype[Any]) -> bool:
    """Whether every value of a type is one of another. numpy takes 64-bit integers for such of float64."""
    large = source.kind in "iu" and source.itemsize == 8 and target.kind in "fc"
    return numpy.can_cast(source, target, "safe") and not large


def _lost(block: Array, made: Array) -> Any:
    """Which values have changed, as an array of truth values; None for none."""
    source, target = block.dtype, made.dtype
    if source.kind == "S" and target.kind == "S":
        lengths: Array = numpy.strings.str_len(block) if hasattr(numpy, "strings") else numpy.char.str_len(block)
        return lengths > target.itemsize
    if source.kind not in "biufc" or target.kind not in "biufc":
        raise TypeError(f"values of dtype {source} cannot be written as {target}")
    if source.kind == "c" and target.kind != "c":
        rest = _lost(block.real, made)
        return (block.imag != 0) | (False if rest is None else rest)
    if target.kind in "iu" or (target.kind == "b" and source.kind != "b"):
        # Integers that wrap around come back as what they were, and floats come to the nearest on some processors.
        low, high = (0, 1) if target.kind == "b" else (numpy.iinfo(target).min, numpy.iinfo(target).max)
        if source.kind in "iu":
            if block.size == 0 or (int(block.min()) >= low and int(block.max()) <= high):
                return None
            return (block < low if source.kind == "i" else False) | (block > high)
        inside = (block >= low) & (block < float(high) + (1 if high < 1 << 53 else 0))
        return ~inside | (made.astype(source) != block)
    if source.kind in "iu":
        # Floats that have the value; one above the largest integer would come back as something else.
        real = made.real
        return ~(real < float(2 ** (8 * source.itemsize - (source.kind == "i")))) | (real.astype(source) != block)
    back = (made if source.kind == "c" else made.real).astype(source)
    return (back != block) & ~numpy.isnan(block)
