"""What a sweep keeps of the values that it has seen, how two such are merged, and what becomes of them in the end.

A :py:class:`Summary` holds raw accumulators for each element of a result, so that a sweep may give several statistics,
and so that parts of an array may be summed up in any number of threads and then be merged in an order that does not
depend on it.

- Sums of floating-point values are kept as the unevaluated sum of two numbers (`high` and `low`), merged by the
  error-free transformation of Knuth (The Art of Computer Programming 2, 4.2.2, theorem B).
- Variances are merged as the pair of mean and sum of squared deviations (`m2`), which is stable: Chan, Golub, LeVeque,
  Updating formulae and a pairwise algorithm for computing sample variances, Stanford STAN-CS-79-773, 1979; and
  Algorithms for computing the sample variance, The American Statistician 37 (1983). What the mean loses by
  rounding is kept too (`mean_low`), so that a mean that is large beside the deviations does no harm.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy
import numpy.typing
import scipy.sparse

Array = numpy.typing.NDArray[Any]
DType = numpy.dtype[Any]

RUN = 128
"""So many values are added up naively at most; then pairwise."""

_EXACT = 1 << 21
"""So many integers of 32 bits have a sum that float64 holds exactly."""

_PART = 1 << 16
"""So many elements of a large result are merged at a time."""


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


def lowest_and_highest(dtype: DType) -> tuple[Any, Any]:
    """The identities of max and min."""
    if dtype.kind in "iu":
        limits = numpy.iinfo(dtype)
        return limits.min, limits.max
    if dtype.kind == "b":
        return False, True
    if dtype.kind == "c":
        return complex(-math.inf, -math.inf), complex(math.inf, math.inf)
    return -math.inf, math.inf


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
    """Accumulators over some values, for each element of a result."""

    def __init__(self, dtype: DType, skip_nan: bool, fields: dict[str, Array]) -> None:
        """Take fields as they are.

        Args:
            dtype: Type of the values, in native byte order.
            skip_nan: Whether NaN is not counted.
            fields: Arrays of the same shape: ``count`` (of :py:func:`count_dtype`), and those of what is wanted.
        """
        self.dtype = dtype
        self.skip_nan = skip_nan
        self.fields = fields
        self._is_empty = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return self.fields["count"].shape

    @property
    def count(self) -> Array:
        """How many values went in."""
        return self.fields["count"]

    @classmethod
    def empty(cls, shape: Sequence[int], dtype: DType, wanted: Collection[str], skip_nan: bool) -> Summary:
        """Of no values.

        Args:
            shape: Of the result.
            dtype: Type of the values.
            wanted: Which of "sum", "moments", "extremes", "nonzero".
            skip_nan: Whether NaN will not be counted.

        Returns:
            A summary to merge others into.
        """
        shape = tuple(shape)
        wide = accumulator(dtype)
        exact = _sum_dtype(dtype)
        fields = {"count": numpy.zeros(shape, numpy.int64)}
        if skip_nan and dtype.kind in "fc":
            fields["skipped"] = numpy.zeros(shape, numpy.int64)
        if "sum" in wanted:
            if exact is not None:
                fields["sum"] = numpy.zeros(shape, exact)
            fields["high"] = numpy.zeros(shape, wide)
            fields["low"] = numpy.zeros(shape, wide)
        if "moments" in wanted:
            fields["mean"] = numpy.zeros(shape, wide)
            fields["mean_low"] = numpy.zeros(shape, wide)
            fields["m2"] = numpy.zeros(shape, _real(wide))
        if "extremes" in wanted:
            lowest, highest = lowest_and_highest(dtype)
            fields["min"] = numpy.full(shape, highest, dtype)
            fields["max"] = numpy.full(shape, lowest, dtype)
        if "nonzero" in wanted:
            fields["nonzero"] = numpy.zeros(shape, numpy.int64)
        made = cls(dtype, skip_nan, fields)
        made._is_empty = True
        return made

    @classmethod
    def zeros(cls, count: Array, dtype: DType, wanted: Collection[str], skip_nan: bool) -> Summary:
        """Of so many zeros, as the implicit ones of a sparse matrix.

        Args:
            count: How many, for each element of the result.
            dtype: Type of the values.
            wanted: As for :py:meth:`empty`.
            skip_nan: As for :py:meth:`empty`.

        Returns:
            The summary.
        """
        made = cls.empty(count.shape, dtype, wanted, skip_nan)
        made._is_empty = False
        made.fields["count"] = count
        if "extremes" in wanted:
            for name in ("min", "max"):
                made.fields[name][count > 0] = 0
        return made

    @classmethod
    def from_engine(cls, result: Mapping[str, Array], dtype: DType, wanted: Collection[str], skip_nan: bool) -> Summary:
        """Of what the engine found.

        Args:
            result: What it returned for one view, of any shape.
            dtype: Type of the values.
            wanted: What was asked for.
            skip_nan: Whether NaN was not counted.

        Returns:
            A summary of the same shape.
        """
        shape = result["count"].shape
        made = cls.empty(shape, dtype, wanted, skip_nan)
        made._is_empty = False
        for name in made.fields.keys() & result.keys():
            if name != "count":
                # The engine counts nonzero values in uint64, which does not mix with int64.
                made.fields[name] = numpy.asarray(result[name]).astype(made.fields[name].dtype, copy=False)
        counts = numpy.asarray(result["count"])
        made.fields["count"] = counts.astype(count_dtype(int(counts.max(initial=0))), copy=False)
        if "extremes" in wanted:
            nothing = made.count == 0
            if nothing.any():
                # Whatever stands there means nothing.
                for name, limit in zip(("max", "min"), lowest_and_highest(dtype), strict=True):
                    made.fields[name] = numpy.where(nothing, numpy.asarray(limit, dtype), made.fields[name])
        return made

    def merge(self, other: Summary, where: Any = ...) -> None:
        """Take other values in, which come after those that are here.

        Args:
            other: Their summary, with the same fields.
            where: To which elements of the result they belong: an index of arrays that repeats nothing.
        """
        self._is_empty = False
        mine = {name: self.fields[name][where] for name in other.fields}
        for name, merged in _merged(mine, other.fields, self.skip_nan).items():
            self.fields[name][where] = merged

    def merge_whole(self, other: Summary) -> None:
        """Take a summary of the same shape in, which may be large: it is taken over, or merged part by part.

        Args:
            other: The summary, which is not to be used any more.
        """
        if self._is_empty:
            self.fields |= other.fields
            self._is_empty = False
            return
        rows = self.shape[0] if self.shape else 0
        step = max(1, _PART * rows // max(1, math.prod(self.shape)))
        for begin in range(0, rows, step):
            part = {name: field[begin : begin + step] for name, field in other.fields.items()}
            self.merge(Summary(other.dtype, other.skip_nan, part), slice(begin, begin + step))

    def count_zeros(self, sizes: Array, wanted: Collection[str]) -> None:
        """Take in what was not counted yet, all of which is zero.

        Args:
            sizes: How many values there are in all; an array that broadcasts to the result.
            wanted: What is being summed up.
        """
        self.fields["count"] = self.count.astype(sizes.dtype, copy=False)
        known = self.count + self.fields["skipped"] if "skipped" in self.fields else self.count
        if "moments" in wanted or "extremes" in wanted:
            self.merge(Summary.zeros(sizes - known, self.dtype, wanted, self.skip_nan))
            return
        # Sums stay as they are.
        counts = numpy.broadcast_to(sizes, self.shape)
        self.fields["count"] = counts - self.fields["skipped"] if "skipped" in self.fields else counts

    def transposed(self, axes: Sequence[int]) -> Summary:
        """The same with its axes in another order."""
        fields = {name: numpy.transpose(field, axes) for name, field in self.fields.items()}
        return Summary(self.dtype, self.skip_nan, fields)

    def finish(self, name: str, dtype: DType | None, ddof: float, sizes: Array) -> Array:
        """The statistic.

        Args:
            name: One of ``STATISTICS``.
            dtype: Type that the user asked for.
            ddof: Delta degrees of freedom of variances.
            sizes: How many values there are for each element of the result, those included that were skipped; an
                array that broadcasts to it.

        Returns:
            An array of the summary's shape and the dtype that numpy would give it.

        Raises:
            ValueError: For the smallest or largest of no values.
            TypeError: If numpy has no such statistic of such values.
        """
        plain = name.removeprefix("nan")
        with numpy.errstate(all="ignore"):
            if plain == "sum":
                return self._sum(dtype)
            if plain == "mean":
                return self._mean(dtype)
            if plain in ("var", "std"):
                return self._variance(name, dtype, ddof)
            if plain in ("min", "max", "ptp"):
                return self._extremes(name, sizes)
            nonzero = self.fields["nonzero"]
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
        if (self.count == 0).any():
            _warn("Mean of empty slice")
        if target.kind in "biu":
            return numpy.true_divide(self._sum(target), self.count).astype(target)
        return numpy.true_divide(_total(self.fields), self.count).astype(target)

    def _variance(self, name: str, dtype: DType | None, ddof: float) -> Array:
        target = result_dtype(name, self.dtype, dtype)
        freedom = self.count - ddof
        none = freedom <= 0
        if none.any():
            _warn("Degrees of freedom <= 0 for slice")
        variance = numpy.true_divide(self.fields["m2"], numpy.maximum(freedom, 0))
        if name.startswith("nan"):
            variance = numpy.where(none, numpy.nan, variance)
        if name.endswith("std"):
            variance = numpy.sqrt(variance)
        return variance.astype(target)

    def _extremes(self, name: str, sizes: Array) -> Array:
        if (sizes == 0).any():
            operation = {"min": "minimum", "max": "maximum", "nanmin": "fmin", "nanmax": "fmax"}.get(name, "maximum")
            raise ValueError(f"zero-size array to reduction operation {operation} which has no identity")
        if name == "ptp":
            return numpy.subtract(self.fields["max"], self.fields["min"])
        result = self.fields[name.removeprefix("nan")]
        nothing = self.count == 0
        if nothing.any():
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


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum, and what rounding took from it."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def add_pairs(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    """Add numbers that are the unevaluated sums of two each."""
    high, error = _two_sum(a[0], b[0])
    error = error + (a[1] + b[1])
    total = high + error
    low = error - (total - high)
    finite = numpy.isfinite(high)
    if not finite.all():
        total, low = numpy.where(finite, total, high), numpy.where(finite, low, 0)
    return total, low


def _squared(x: Array) -> Array:
    if x.dtype.kind == "c":
        x = numpy.stack([x.real, x.imag])
        return numpy.add.reduce(x * x, axis=0)  # type: ignore[no-any-return]
    return x * x


def _merged(a: Mapping[str, Array], b: Mapping[str, Array], skip_nan: bool) -> dict[str, Array]:
    with numpy.errstate(all="ignore"):
        merged = {name: a[name] + b[name] for name in ("count", "skipped", "sum", "nonzero") if name in b}
        if "high" in b:
            merged["high"], merged["low"] = add_pairs((a["high"], a["low"]), (b["high"], b["low"]))
        if "m2" in b:
            count = numpy.maximum(merged["count"], 1)
            share = b["count"] / count
            difference = (b["mean"] - a["mean"]) + (b["mean_low"] - a["mean_low"])
            mean, error = _two_sum(a["mean"], difference * share)
            low = a["mean_low"] + error
            first = a["count"] == 0
            if first.any():
                # To add it to 0 would lose what rounding took.
                mean, low = numpy.where(first, b["mean"], mean), numpy.where(first, b["mean_low"], low)
            merged["mean"], merged["mean_low"] = mean, low
            merged["m2"] = a["m2"] + b["m2"] + _squared(difference) * (a["count"] * share)
        if "min" in b:
            # Where nothing has been counted, the identity stands.
            merged["min"] = numpy.minimum(a["min"], b["min"])
            merged["max"] = numpy.maximum(a["max"], b["max"])
        return merged


def add_up(values: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Add floating-point values up, pairwise where numpy would not.

    numpy adds pairwise along the axis that is contiguous in memory only. Along the others it is done here.

    Args:
        values: In the type to add up in.
        axes: Those to reduce; they stay with an extent of 1.

    Returns:
        The sums, and what rounding took from them.
    """
    fastest = min(range(values.ndim), key=lambda axis: (abs(values.strides[axis]), -axis), default=0)
    return _add_up(values, axes, [axis for axis in axes if axis != fastest])


def _add_up(values: Array, axes: tuple[int, ...], slow: Sequence[int]) -> tuple[Array, Array]:
    if math.prod(values.shape[axis] for axis in slow) <= RUN:
        total = numpy.add.reduce(values, axis=axes, keepdims=True)
        return total, numpy.zeros_like(total)
    longest = max(slow, key=lambda axis: values.shape[axis])
    half = values.shape[longest] // 2
    index: list[Any] = [slice(None)] * values.ndim
    index[longest] = slice(0, half)
    first = _add_up(values[tuple(index)], axes, slow)
    index[longest] = slice(half, None)
    return add_pairs(first, _add_up(values[tuple(index)], axes, slow))


def _exact_pair(total: Array) -> tuple[Array, Array]:
    """An integer as two floating-point numbers."""
    high = total.astype(numpy.float64)
    # Within the range of the type, so that the way back is defined: 2**63 would not be.
    limits = numpy.iinfo(total.dtype)
    inside = numpy.clip(high, float(limits.min), numpy.nextafter(float(limits.max), 0))
    return inside, (total - inside.astype(total.dtype)).astype(numpy.float64)


def of_dense(
    block: Array,
    axes: tuple[int, ...],
    wanted: Collection[str],
    skip_nan: bool,
) -> Summary:
    """Sum up an array.

    Args:
        block: Numbers or booleans in native byte order.
        axes: Those to reduce, none of them empty.
        wanted: Which of "sum", "moments", "extremes", "nonzero".
        skip_nan: Whether not to count NaN.

    Returns:
        A summary in which the axes have an extent of 1.
    """
    with numpy.errstate(all="ignore"):
        return _of_dense(block, axes, wanted, skip_nan)


def _of_dense(block: Array, axes: tuple[int, ...], wanted: Collection[str], skip_nan: bool) -> Summary:
    dtype = block.dtype
    wide = accumulator(dtype)
    shape = tuple(1 if axis in axes else extent for axis, extent in enumerate(block.shape))
    fields: dict[str, Array] = {"count": numpy.full(shape, math.prod(block.shape[axis] for axis in axes), numpy.int64)}
    missing = None
    if skip_nan and dtype.kind in "fc":
        missing = numpy.isnan(block)
        fields["skipped"] = numpy.add.reduce(missing, axis=axes, dtype=numpy.int64, keepdims=True)
        if fields["skipped"].any():
            fields["count"] -= fields["skipped"]
        else:
            missing = None
    if "nonzero" in wanted:
        fields["nonzero"] = _count(block, axes)
    if "extremes" in wanted:
        for name, limit, operation in zip(
            ("max", "min"), lowest_and_highest(dtype), (numpy.maximum, numpy.minimum), strict=True
        ):
            values = block if missing is None else numpy.where(missing, numpy.asarray(limit, dtype), block)
            fields[name] = operation.reduce(values, axis=axes, keepdims=True)
    exact = _sum_dtype(dtype)
    work = None
    if "moments" in wanted or ("sum" in wanted and (exact is None or dtype.itemsize == 8)):
        work = block.astype(wide, copy=False)
        if missing is not None:
            work = numpy.where(missing, 0, work)
    pair = None
    if exact is not None and ("sum" in wanted or "moments" in wanted):
        total = None
        if "sum" in wanted or dtype.itemsize < 8:
            total = numpy.add.reduce(block, axis=axes, dtype=exact, keepdims=True)
        if "sum" in wanted:
            fields["sum"] = numpy.asarray(total)
        if dtype.itemsize < 8:
            assert total is not None
            pair = _exact_pair(total)
    if pair is None and work is not None:
        pair = add_up(work, axes)
    if "sum" in wanted:
        assert pair is not None
        fields["high"], fields["low"] = pair
    if "moments" in wanted:
        assert work is not None
        assert pair is not None
        fields |= _moments(work, axes, pair, fields["count"], missing)
    return Summary(dtype, skip_nan, fields)


def _moments(
    work: Array, axes: tuple[int, ...], pair: tuple[Array, Array], count: Array, missing: Array | None
) -> dict[str, Array]:
    """Of values in the accumulator's type, whose sum is known."""
    count = numpy.maximum(count, 1)
    mean = pair[0] / count
    deviation = numpy.asarray(work - mean)
    if missing is not None:
        deviation[missing] = 0
    # What the mean lost by rounding: the deviations would add up to 0 otherwise.
    rest = _total(dict(zip(("high", "low"), add_up(deviation, axes), strict=True)))
    if deviation.dtype.kind == "c":
        deviation = _squared(deviation)
    else:
        numpy.multiply(deviation, deviation, out=deviation)
    squares = _total(dict(zip(("high", "low"), add_up(deviation, axes), strict=True)))
    return {"mean": mean, "mean_low": rest / count, "m2": squares - _squared(rest) / count}


def _count(block: Array, axes: tuple[int, ...]) -> Array:
    if len(axes) == block.ndim:
        return numpy.full((1,) * block.ndim, numpy.count_nonzero(block), numpy.int64)
    filled = block if block.dtype == bool else block != 0
    # Bytes add up faster than booleans become integers; of 255 and less there is no overflow.
    return numpy.add.reduce(filled.view(numpy.uint8), axis=axes, dtype=numpy.int64, keepdims=True)


def of_segments(values: Array, starts: Array, lengths: Array, wanted: Collection[str], skip_nan: bool) -> Summary:
    """Sum up stretches of a flat array.

    Args:
        values: Numbers or booleans in native byte order.
        starts: Where each stretch begins. One ends where the next begins, the last with the array.
        lengths: Number of values of each; none is 0.
        wanted: Which of "sum", "moments", "extremes", "nonzero".
        skip_nan: Whether not to count NaN.

    Returns:
        A summary with an element for each stretch.
    """
    with numpy.errstate(all="ignore"):
        return _of_segments(values, starts, lengths, wanted, skip_nan)


def _of_segments(values: Array, starts: Array, lengths: Array, wanted: Collection[str], skip_nan: bool) -> Summary:
    dtype = values.dtype
    wide = accumulator(dtype)
    if len(starts) == 0:
        return Summary.empty((0,), dtype, wanted, skip_nan)
    fields: dict[str, Array] = {"count": lengths.astype(numpy.int64)}
    missing = None
    if skip_nan and dtype.kind in "fc":
        missing = numpy.isnan(values)
        fields["skipped"] = numpy.add.reduceat(missing, starts, dtype=numpy.int64)
        if fields["skipped"].any():
            fields["count"] = fields["count"] - fields["skipped"]
        else:
            missing = None
    if "nonzero" in wanted:
        filled = values != 0
        if filled.all():
            fields["nonzero"] = lengths.astype(numpy.int64)
        else:
            fields["nonzero"] = numpy.add.reduceat(filled, starts, dtype=numpy.int64)
    if "extremes" in wanted:
        for name, limit, operation in zip(
            ("max", "min"), lowest_and_highest(dtype), (numpy.maximum, numpy.minimum), strict=True
        ):
            used = values if missing is None else numpy.where(missing, numpy.asarray(limit, dtype), values)
            fields[name] = operation.reduceat(used, starts)
    if "sum" not in wanted and "moments" not in wanted:
        return Summary(dtype, skip_nan, fields)
    exact = _sum_dtype(dtype)
    if exact is not None and dtype.itemsize < 8 and values.size >= _EXACT:
        # Their sum could be beyond what float64 holds.
        total = numpy.add.reduceat(values, starts, dtype=exact)
        high, low = _exact_pair(total)
        work = values.astype(wide, copy=False)
    else:
        work = values.astype(wide, copy=False)
        if missing is not None:
            work = numpy.where(missing, 0, work)
        high = numpy.add.reduceat(work, starts)
        low = numpy.zeros_like(high)
        total = None
        if exact is not None:
            total = high.astype(exact) if dtype.itemsize < 8 else numpy.add.reduceat(values, starts, dtype=exact)
    if "sum" in wanted:
        if total is not None:
            fields["sum"] = total
        fields["high"], fields["low"] = high, low
    if "moments" in wanted:
        count = numpy.maximum(fields["count"], 1)
        mean = high / count
        deviation = work - numpy.repeat(mean, lengths)
        if missing is not None:
            deviation[missing] = 0
        rest = numpy.add.reduceat(deviation, starts)
        squares = numpy.add.reduceat(_squared(deviation), starts)
        fields |= {"mean": mean, "mean_low": rest / count, "m2": squares - _squared(rest) / count}
    return Summary(dtype, skip_nan, fields)


def of_scattered(values: Array, targets: Array, extent: int, wanted: Collection[str], skip_nan: bool) -> Summary:
    """Sum up values by where they go, for a few of them each: they are added up one after the other.

    Args:
        values: Numbers or booleans in native byte order.
        targets: Of each value, an index below ``extent``; of 32 or 64 bits.
        extent: Length of the result.
        wanted: Which of "sum", "moments", "extremes", "nonzero".
        skip_nan: Whether not to count NaN.

    Returns:
        A summary. Where nothing but sums is wanted, it counts no values, which is slow and may be done in the end.
    """
    with numpy.errstate(all="ignore"):
        return _of_scattered(values, targets, extent, wanted, skip_nan)


def _of_scattered(values: Array, targets: Array, extent: int, wanted: Collection[str], skip_nan: bool) -> Summary:
    dtype = values.dtype
    exact = _sum_dtype(dtype)
    pointers = numpy.asarray([0, len(values)], dtype=targets.dtype)

    def add(terms: Array) -> Array:
        # scipy's product lets go of the GIL, and adds up in the order of the terms.
        column = scipy.sparse.csc_matrix((terms, targets, pointers), shape=(extent, 1))
        return numpy.asarray(column @ numpy.ones(1, terms.dtype))

    def count(which: Array) -> Array:
        return add(which.astype(numpy.float64)).astype(numpy.int64)

    made = Summary.empty((extent,), dtype, wanted, skip_nan)
    fields = made.fields
    missing = None
    if skip_nan and dtype.kind in "fc":
        missing = numpy.isnan(values)
        if missing.any():
            fields["skipped"] = count(missing)
        else:
            missing = None
    if "moments" in wanted or "extremes" in wanted:
        fields["count"] = count(numpy.ones(len(values)) if missing is None else ~missing)
    if "nonzero" in wanted:
        fields["nonzero"] = count(values != 0)
    if "extremes" in wanted:
        used, places = (values, targets) if missing is None else (values[~missing], targets[~missing])
        numpy.minimum.at(fields["min"], places, used)
        numpy.maximum.at(fields["max"], places, used)
    if "sum" not in wanted and "moments" not in wanted:
        return made
    work = values.astype(accumulator(dtype), copy=False)
    if missing is not None:
        work = numpy.where(missing, 0, work)
    total = None
    if exact is not None and (dtype.itemsize == 8 or len(values) >= _EXACT):
        total = add(values.astype(exact))
    high = add(work)
    if "sum" in wanted:
        fields["high"] = high
        if exact is not None:
            fields["sum"] = high.astype(exact) if total is None else total
    if "moments" in wanted:
        counts = numpy.maximum(fields["count"], 1)
        mean = high / counts
        deviation = work - mean[targets]
        if missing is not None:
            deviation[missing] = 0
        rest = add(deviation)
        fields["mean"], fields["mean_low"] = mean, rest / counts
        fields["m2"] = add(_squared(deviation)) - _squared(rest) / counts
    return made
