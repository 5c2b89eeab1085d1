"""Missing values: R's, and those that takane's placeholders stand for.

Which values R takes for missing, as its packages rhdf5 (``h5write``, ``h5read``) and HDF5Array (``h5mread``) do:

- the smallest integer of 32 bits, ``NA_integer_``, and of 64 bits, bit64's ``NA_integer64_``, where rhdf5 says that it
  wrote the dataset (attribute ``rhdf5-NA.OK``);
- negative integers of any width, where the attribute ``storage.mode`` says that they are logical values: ``NA`` is the
  smallest integer in R, which becomes -128 in the int8 that rhdf5 stores;
- NaN with a payload of 1954, ``NA_real_`` (``R_NaReal`` in R's ``arithmetic.c``), of which the low 32 bits count and
  which no other program makes: in all doubles. Other NaN are R's ``NaN``, which is a value;
- strings "NA", where rhdf5 says that some were missing (attribute ``as.na``).

Where the attribute ``missing-value-placeholder`` says which value stands for missing ones, it is this one and no other;
any NaN if it is NaN (https://github.com/ArtifactDB/Bioc-HDF5-policy).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy
import numpy.typing

from .._engine import contents, engine
from .._engine.names import engine_name, engine_path

Array = numpy.typing.NDArray[Any]

PLACEHOLDER = "missing-value-placeholder"
"""The attribute of a dataset with the value that stands for missing ones."""


@dataclass(frozen=True)
class Placeholder:
    """A value that stands for missing ones."""

    value: Any
    """A number, or bytes."""


Missing: TypeAlias = Literal["smallest", "negative", "payload", "text"] | Placeholder
"""Which values are missing."""

_PAYLOAD = 1954


def missing_values(
    path: str | os.PathLike[str], name: str, stored: numpy.dtype[Any], *, untrusted: bool = False
) -> Missing | None:
    """Which values of a dataset are missing.

    Args:
        path: Path to the HDF5 file.
        name: Name of the dataset.
        stored: Type of its values.
        untrusted: Whether the file may have been made to do damage.

    Returns:
        A rule for :py:func:`missing_mask`; None if none can be missing.

    Raises:
        FileNotFoundError, OSError, KeyError: If the dataset cannot be read.
        ValueError: If the placeholder is not one value of the kind that the dataset holds.
    """
    stated = contents.attributes(path, name, PLACEHOLDER, untrusted=untrusted)
    if PLACEHOLDER in stated:
        value = stated[PLACEHOLDER]
        is_text = isinstance(value, str)
        if is_text != (stored.kind in "SUO") or numpy.size(value) != 1:
            raise ValueError(
                f"{engine_path(path)!r}, dataset {name!r} of type {stored}: its attribute {PLACEHOLDER!r} should be one"
                f" value of this type, not {value!r}"
            )
        return Placeholder(value.encode("utf-8", "surrogateescape") if is_text else numpy.reshape(value, ())[()])
    facts = engine(untrusted).facts(engine_path(path), engine_name(name))
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
    if isinstance(rule, Placeholder):
        value = rule.value
        if isinstance(value, bytes):
            value = value if values.dtype.kind == "S" else value.decode("utf-8", "surrogateescape")
        is_nan = values.dtype.kind in "fc" and numpy.isnan(value)
        mask = numpy.isnan(values) if is_nan else values == value
    elif rule == "payload":
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
