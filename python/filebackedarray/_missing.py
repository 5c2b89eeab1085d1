"""R's missing values.

Which values R takes for missing, as its packages rhdf5 (``h5write``, ``h5read``) and HDF5Array (``h5mread``) do:

- the smallest integer of 32 bits, ``NA_integer_``, and of 64 bits, bit64's ``NA_integer64_``, where rhdf5 says that it
  wrote the dataset (attribute ``rhdf5-NA.OK``);
- negative integers of any width, where the attribute ``storage.mode`` says that they are logical values: ``NA`` is the
  smallest integer in R, which becomes -128 in the int8 that rhdf5 stores;
- NaN with a payload of 1954, ``NA_real_`` (``R_NaReal`` in R's ``arithmetic.c``), of which the low 32 bits count and
  which no other program makes: in all doubles. Other NaN are R's ``NaN``, which is a value;
- strings "NA", where rhdf5 says that some were missing (attribute ``as.na``).
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy
import numpy.typing

from ._engine import Facts

Array = numpy.typing.NDArray[Any]

Missing: TypeAlias = Literal["smallest", "negative", "payload", "text"]
"""Which values are missing."""

_PAYLOAD = 1954


def missing_values(facts: Facts, stored: numpy.dtype[Any]) -> Missing | None:
    """Which values of a dataset are missing in R.

    Args:
        facts: What the engine says of it.
        stored: Type of its values.

    Returns:
        A rule for :py:func:`missing_mask`; None if none can be missing.
    """
    if stored.kind == "f" and stored.itemsize == 8:
        return "payload"
    if stored.kind == "i" and facts["logical"]:
        return "negative"
    if stored.kind == "i" and stored.itemsize in (4, 8) and facts["from_r"]:
        return "smallest"
    if stored.kind in "SUO" and facts["missing_strings"]:
        return "text"
    return None


def missing_mask(rule: Missing, values: Array) -> numpy.typing.NDArray[numpy.bool_]:
    """Find missing values.

    Args:
        rule: Which they are.
        values: In the type of the file and this machine's byte order.

    Returns:
        True where a value is missing; of the same shape and memory order.
    """
    mask: numpy.typing.NDArray[numpy.bool_]
    if rule == "payload":
        mask = numpy.isnan(values)
        # Mostly there are none, and their bits need not be looked at.
        if mask.any():
            mask &= (values.view(numpy.uint64) & numpy.uint64(0xFFFFFFFF)) == _PAYLOAD
    elif rule == "negative":
        mask = values < 0
    elif rule == "smallest":
        mask = values == numpy.iinfo(values.dtype).min
    else:
        mask = values == (b"NA" if values.dtype.kind == "S" else "NA")
    return mask
