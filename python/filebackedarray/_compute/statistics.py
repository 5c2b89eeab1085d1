"""Which statistics there are, and what becomes of what a sweep has summed up.

A sweep gives raw accumulators for each element of a result (``_core.pyi``), so that it serves several statistics. The
engine makes them: of what is in a file while it decodes that, of blocks that were computed in Python with the same
functions. :py:class:`Summary` makes of them what numpy would.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy
import numpy.typing

Array = numpy.typing.NDArray[Any]
DType = numpy.dtype[Any]


class Statistic(NamedTuple):
    """How a statistic is made of accumulators."""

    wanted: str
    skips_nan: bool = False
    has_dtype: bool = False
    """Whether its result has a dtype of the user's choice."""


STATISTICS: dict[str, Statistic] = {
    "sum": Statistic("sum", has_dtype=True),
    "mean": Statistic("sum", has_dtype=True),
    "var": Statistic("moments", has_dtype=True),
    "std": Statistic("moments", has_dtype=True),
    "min": Statistic("extremes"),
    "max": Statistic("extremes"),
    "ptp": Statistic("extremes"),
    "any": Statistic("nonzero"),
    "all": Statistic("nonzero"),
    "count_nonzero": Statistic("nonzero"),
    "nansum": Statistic("sum", True, True),
    "nanmean": Statistic("sum", True, True),
    "nanvar": Statistic("moments", True, True),
    "nanstd": Statistic("moments", True, True),
    "nanmin": Statistic("extremes", True),
    "nanmax": Statistic("extremes", True),
}


def native(dtype: numpy.typing.DTypeLike) -> DType:
    """The dtype in this machine's byte order."""
    return numpy.dtype(dtype).newbyteorder("=")


def accumulator(dtype: DType) -> DType:
    """The type in which values of a dtype are added up: float64, or what is wider or complex."""
    return numpy.result_type(dtype, numpy.float64)


def _sum_dtype(dtype: DType) -> DType | None:
    """The type of the exact sum of integers; None of others."""
    if dtype.kind == "u":
        return numpy.dtype(numpy.uint64)
    return numpy.dtype(numpy.int64) if dtype.kind in "bi" else None


def count_dtype(most: int) -> DType:
    """The type in which values are counted.

    Args:
        most: Maximum number of values that go into one element of a result. A file may state any shape for a sparse
            matrix, which stores next to nothing of it.

    Returns:
        int64, or float64 for what that cannot hold. A count only divides, in float64 anyway.
    """
    return numpy.dtype(numpy.int64 if most <= numpy.iinfo(numpy.int64).max else numpy.float64)


class Summary:
    """What was summed up, for each element of a result."""

    def __init__(self, fields: Mapping[str, Array], dtype: DType, skip_nan: bool, masked: bool = False) -> None:
        """Take what a sweep has found.

        Args:
            fields: Arrays of the same shape, as the engine returns them for a view: ``count``, and those of what was
                wanted.
            dtype: Type of the values, in native byte order.
            skip_nan: Whether NaN was not counted.
            masked: Whether values that are masked were not counted.
        """
        counts = fields["count"]
        self.dtype = dtype
        self.skip_nan = skip_nan
        self.masked = masked
        self.fields = dict(fields)
        self.count: Array = counts.astype(count_dtype(int(counts.max(initial=0))), copy=False)
        if "nonzero" in fields:
            # The engine counts in uint64, which does not mix with int64.
            self.fields["nonzero"] = fields["nonzero"].astype(numpy.int64)

    def finish(self, name: str, dtype: DType | None, ddof: float, sizes: Array) -> Array:
        """The statistic.

        Args:
            name: One of ``STATISTICS``.
            dtype: Type that the user asked for.
            ddof: Delta degrees of freedom of variances.
            sizes: How many values there are for each element of the result, those included that were skipped; an
                array that broadcasts to it.

        Returns:
            An array of the summary's shape and the dtype that numpy would give it; of masked arrays one that is masked
            where there is nothing that is not, unless it is ``count_nonzero``.

        Raises:
            ValueError: For the smallest or largest of no values.
            TypeError: If numpy has no such statistic of such values.
        """
        plain = name.removeprefix("nan")
        with numpy.errstate(all="ignore"):
            result = self._plain(name, dtype, ddof, sizes)
            if not self.masked or plain == "count_nonzero":
                return result
            empty = self.count - ddof <= 0 if plain in ("var", "std") else self.count == 0
            masked: Array = numpy.ma.MaskedArray(result, empty)
            return masked

    def _plain(self, name: str, dtype: DType | None, ddof: float, sizes: Array) -> Array:
        plain = name.removeprefix("nan")
        if plain == "sum":
            return self._sum(dtype)
        if plain == "mean":
            return self._mean(dtype)
        if plain in ("var", "std"):
            return self._variance(name, dtype, ddof)
        if plain in ("min", "max", "ptp"):
            return self._extremes(name, sizes)
        nonzero: Array = self.fields["nonzero"]
        if plain == "any":
            nonzero = nonzero > 0
        elif plain == "all":
            nonzero = nonzero == self.count
        return nonzero

    def _sum(self, dtype: DType | None) -> Array:
        target = result_dtype("sum", self.dtype, dtype)
        if target.kind in "iu" and "sum" in self.fields:
            return self.fields["sum"].astype(target)
        if target.kind == "b":
            # Elements were converted before, so that the sum is 0 only if they all are.
            some: Array = self.fields["sum"] != 0
            return some
        return _total(self.fields).astype(target)

    def _mean(self, dtype: DType | None) -> Array:
        target = result_dtype("mean", self.dtype, dtype)
        if not self.masked and (self.count == 0).any():
            _warn("Mean of empty slice")
        if target.kind in "biu":
            return numpy.asarray(numpy.true_divide(self._sum(target), self.count), target)
        return numpy.asarray(numpy.true_divide(_total(self.fields), self.count), target)

    def _variance(self, name: str, dtype: DType | None, ddof: float) -> Array:
        target = result_dtype(name, self.dtype, dtype)
        freedom = self.count - ddof
        none = freedom <= 0
        if none.any() and not self.masked:
            _warn("Degrees of freedom <= 0 for slice")
        variance = numpy.true_divide(self.fields["m2"], numpy.maximum(freedom, 0))
        if name.startswith("nan"):
            variance = numpy.where(none, numpy.nan, variance)
        if name.endswith("std"):
            variance = numpy.sqrt(variance)
        return variance.astype(target)

    def _extremes(self, name: str, sizes: Array) -> Array:
        if not self.masked and (sizes == 0).any():
            operation = {"min": "minimum", "max": "maximum", "nanmin": "fmin", "nanmax": "fmax"}.get(name, "maximum")
            raise ValueError(f"zero-size array to reduction operation {operation} which has no identity")
        if name == "ptp":
            return numpy.subtract(self.fields["max"], self.fields["min"])
        result = self.fields[name.removeprefix("nan")]
        nothing = self.count == 0
        if nothing.any() and not self.masked:
            _warn("All-NaN slice encountered")
            result = numpy.where(nothing, numpy.asarray(numpy.nan, self.dtype), result)
        return result


def result_dtype(name: str, dtype: DType, wished: DType | None) -> DType:
    """The type of a statistic, by numpy's rules.

    Args:
        name: One of those that have a dtype.
        dtype: Type of the values.
        wished: Type that the user asked for.

    Returns:
        The type, in native byte order.

    Raises:
        TypeError: If numpy refuses it, or if it is not floating for a variance.
    """
    plain = name.removeprefix("nan")
    if wished is not None:
        wished = native(wished)
        if wished.kind not in "biufc":
            raise TypeError(f"the {name} of an array cannot be of type {wished}")
        if wished.kind not in "fc":
            if plain in ("var", "std"):
                raise TypeError(f"the {name} is a floating-point number and cannot be of type {wished}")
            if name == "nanmean" and dtype.kind in "fc":
                raise TypeError("If a is inexact, then dtype must be inexact")
        return wished
    if plain == "sum":
        if dtype.kind in "biu":
            return _sum_dtype(dtype) or dtype
        return dtype
    if dtype.kind in "biu":
        return numpy.dtype(numpy.float64)
    return _real(dtype) if plain in ("var", "std") else dtype


def element_dtype(name: str, dtype: DType, wished: DType | None) -> DType:
    """To which type elements have to be converted one by one before they are summed up.

    That is what numpy always does with the ``dtype`` argument. Here it is done where the result would be another
    otherwise: where a sum is rounded in the end instead of all its terms, it is only more accurate.

    Args:
        name: A statistic.
        dtype: Type of the values.
        wished: Type that the user asked for.

    Returns:
        The type, which may be that of the values.
    """
    if wished is None or name.removeprefix("nan") not in ("sum", "mean"):
        return dtype
    target = native(wished)
    order = "biufc"
    lossy = order.index(target.kind) < order.index(dtype.kind)
    if dtype.kind in "iu" and target.kind in "iu":
        # Modulo a power of two it is the same before and after.
        lossy = False
    wider = target.kind in "fc" and accumulator(target) != accumulator(dtype)
    return target if lossy or wider else dtype


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def _real(dtype: DType) -> DType:
    return numpy.empty(0, dtype).real.dtype


def _total(fields: Mapping[str, Array]) -> Array:
    high = fields["high"]
    return numpy.where(numpy.isfinite(high), high + fields["low"], high)
