"""Sweeps over trees of delayed operations, block by block.

The blocks are made of whole chunks, or of runs of whole columns (or rows) of compressed sparse matrices. A few threads
evaluate them, so that the engine reads some while numpy works on others, and hand back a :py:class:`Summary` of each.
These are merged in the order of the blocks, and which blocks there are depends on the array alone: so do the results,
to the last bit, whatever the number of threads.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import product
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy
import numpy.typing

from ._core import Snapshot, current_snapshot, get_num_threads
from ._progress import Report
from ._snapshot import bound
from ._statistics import Summary, count_dtype, of_dense, of_scattered, of_segments
from ._threads import current_limit, limit_threads
from ._trees import Compressed, Index, Node, as_slice, simplest

Array = numpy.typing.NDArray[Any]

BLOCK_BYTES = 1 << 21
"""Of a block of values as float64: it and its copies fit into a processor's cache."""

_LARGEST = 8
"""A chunk is taken whole up to so many times the size of a block; beyond that in parts, which the cache makes cheap."""

_MOST_THREADS = 8
"""More would need more memory than a sweep may take."""

_MOST_PRIMARY = 1 << 17
"""Columns (or rows) of a block of a sparse matrix."""

_CHAIN = 4096
"""So many values are added up one after the other at most."""

_MOST_ADDED = 1 << 14
"""Columns (or rows) that are added up one after the other to a large result."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Groups(NamedTuple):
    """What to sum up along an axis apart from each other."""

    labels: Array
    """Of each position of the axis: a number below that of groups."""
    number: int


Along: TypeAlias = "Literal['keep', 'reduce'] | Groups"
"""What becomes of an axis."""


class View(NamedTuple):
    """One result of a sweep."""

    axes: tuple[Along, ...]
    wanted: frozenset[str]
    """Which of "sum", "moments", "extremes", "nonzero"."""


Piece: TypeAlias = "tuple[int, tuple[Any, ...], Summary]"
"""Of which view, where in its result, and what to merge there."""


def result_shape(view: View, shape: Sequence[int]) -> tuple[int, ...]:
    """Extents of a view's result: those kept, 1 where reduced, the number of groups."""
    return tuple(
        extent if along == "keep" else 1 if along == "reduce" else along.number
        for along, extent in zip(view.axes, shape, strict=True)
    )


def sizes(view: View, shape: Sequence[int]) -> Array:
    """How many values there are for each element of a view's result, as an array that broadcasts to it."""
    most = math.prod(extent for along, extent in zip(view.axes, shape, strict=True) if along != "keep")
    total = numpy.ones((1,) * len(shape), count_dtype(most))
    for axis, (along, extent) in enumerate(zip(view.axes, shape, strict=True)):
        if along == "keep":
            continue
        if along == "reduce":
            total = total * extent
            continue
        counts = numpy.bincount(along.labels.astype(numpy.intp), minlength=along.number)
        total = total * counts.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return total


def block_sweep(
    node: Node, views: Sequence[View], skip_nan: bool, report: Report | None, block_bytes: int | None = None
) -> list[Summary]:
    """Sum up an array by blocks.

    Args:
        node: The array.
        views: The results that are wanted.
        skip_nan: Whether not to count NaN.
        report: Called after each block.
        block_bytes: Size of a block as float64.

    Returns:
        A summary for each view.

    Raises:
        OSError, ...: What the evaluation of a block raises; of the first such block.
    """
    totals = [Summary.empty(result_shape(view, node.shape), node.dtype, view.wanted, skip_nan) for view in views]
    if math.prod(node.shape) == 0:
        return totals
    size = max(1, (block_bytes or BLOCK_BYTES) // 8)
    if node.sparse:
        return _sparse_sweep(node, views, skip_nan, report, totals, size)

    def pieces(index: tuple[Index, ...]) -> list[Piece]:
        return _dense_pieces(node.dense(index)[0], index, views, skip_nan)

    blocks = list(dense_blocks(node, size, views))
    # Closed at once if a report raises, not when the last traceback is gone.
    with closing(in_order(pieces, blocks)) as results:
        for done, found in enumerate(results, 1):
            for number, where, summary in found:
                totals[number].merge(summary, where)
            if report is not None:
                report(done, len(blocks))
    return totals


def _sparse_sweep(
    node: Node, views: Sequence[View], skip_nan: bool, report: Report | None, totals: list[Summary], size: int
) -> list[Summary]:
    def pieces(index: tuple[Index, ...]) -> tuple[int, list[Piece | _Scatter]]:
        block = node.compressed(index)
        return (1 if block.by_column else 0), _sparse_pieces(block, index, views, skip_nan, node.shape)

    # Of elements that are stored, a block may have more: what is done to them needs fewer copies.
    blocks = list(sparse_blocks(node, 2 * size))
    stages: dict[tuple[int, int], _Stage] = {}
    with closing(in_order(pieces, blocks)) as results:
        for done, (primary, found) in enumerate(results, 1):
            for piece in found:
                if isinstance(piece, _Scatter):
                    key = (piece.number, primary)
                    stage = stages.setdefault(key, _Stage(totals[piece.number], primary))
                    stage.add(piece, len(blocks[done - 1][primary]))
                else:
                    totals[piece[0]].merge(piece[2], piece[1])
            if report is not None:
                report(done, len(blocks))
    for stage in stages.values():
        stage.flush()
    for view, total in zip(views, totals, strict=True):
        total.count_zeros(sizes(view, node.shape), view.wanted)
    return totals


def in_order(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Generator[_Result, None, None]:
    """Map over items by a few threads, results in the order of the items.

    Only as many are under way as there are threads, and one more. If one fails, or if the consumer stops, those that
    have begun are waited for and no others begin.

    Args:
        function: What to do, in any thread; with numpy's error state of this one.
        items: To each of these.

    Yields:
        The results.
    """
    threads = min(get_num_threads(), _MOST_THREADS, len(items))
    if threads <= 1:
        yield from map(function, items)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    state = numpy.geterr()
    limit = current_limit()
    # They work for the operation of this thread, and for no other where it is in none.
    snapshot = current_snapshot() or Snapshot()
    stopped = threading.Event()

    def run(item: _Item) -> _Result | None:
        if stopped.is_set():
            return None
        # What the caller is limited to is for all of these threads together.
        limited = nullcontext() if limit is None else limit_threads(max(1, limit // threads))
        with limited, bound(snapshot), numpy.errstate(**state):
            return function(item)

    pool = ThreadPoolExecutor(threads, "filebackedarray")
    waiting: deque[Future[_Result | None]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(run, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()  # type: ignore[misc]
        while waiting:
            yield waiting.popleft().result()  # type: ignore[misc]
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)


def dense_blocks(node: Node, size: int, views: Sequence[View]) -> Iterator[tuple[Index, ...]]:
    """Blocks of whole chunks.

    Args:
        node: The array, not empty.
        size: About how many elements a block should have.
        views: What will be reduced: blocks are longer along what all reduce, since there is less to merge then.

    Yields:
        Positions for each axis.
    """
    ndim = len(node.shape)
    orders = [_order(node, axis) for axis in range(ndim)]
    ticks = node.ticks()
    for axis, order in enumerate(orders):
        if order is not None:
            ticks[axis] = numpy.arange(1, node.shape[axis] + 1, dtype=numpy.int64)
    weights = [1 if all(view.axes[axis] == "reduce" for view in views) else 8 for axis in range(ndim)]
    lengths = block_lengths(ticks, node.shape, size, weights)
    parts = [
        [_positions(order, begin, end) for begin, end in runs(ends, length)]
        for ends, length, order in zip(ticks, lengths, orders, strict=True)
    ]
    yield from product(*parts)


def block_lengths(
    ticks: Sequence[Array], shape: Sequence[int], size: int, weights: Sequence[int] | None = None
) -> list[int]:
    """About how long blocks of whole chunks are along each axis.

    Args:
        ticks: For each axis, where its chunks end; at least one.
        shape: Extent of each axis.
        size: About how many elements a block should have.
        weights: An axis with a lower one makes longer blocks.

    Returns:
        A length for each axis. Shorter than a chunk only where chunks are many times as large as a block.
    """
    ndim = len(shape)
    lengths = [int(numpy.diff(ends, prepend=0).max()) for ends in ticks]
    while math.prod(lengths) > _LARGEST * size:
        longest = max(range(ndim), key=lambda axis: lengths[axis])
        if lengths[longest] == 1:
            break
        lengths[longest] = -(-lengths[longest] // 2)
    while True:
        growing = [axis for axis in range(ndim) if lengths[axis] < shape[axis] and 2 * math.prod(lengths) <= size]
        if not growing:
            return lengths
        axis = min(growing, key=lambda axis: lengths[axis] * (1 if weights is None else weights[axis]))
        lengths[axis] = min(2 * lengths[axis], shape[axis])


def runs(ends: Array, length: int) -> Iterator[tuple[int, int]]:
    """Stretches of about a length that end where chunks do, if these are not longer."""
    begin, extent = 0, int(ends[-1])
    while begin < extent:
        last = int(numpy.searchsorted(ends, begin + length, side="right")) - 1
        end = int(ends[last]) if last >= 0 else 0
        if end <= begin:
            end = min(begin + length, extent)
        yield begin, end
        begin = end


def _order(node: Node, axis: int) -> Array | None:
    """In which order to walk along an axis to go through the file once, where a subset has mixed it up."""
    index = node.file_index(axis)
    if index is None or bool((index[1:] >= index[:-1]).all()):
        return None
    return numpy.argsort(index, kind="stable")


def _positions(order: Array | None, begin: int, end: int) -> Index:
    return range(begin, end) if order is None else simplest(order[begin:end])


def sparse_blocks(node: Node, size: int) -> Iterator[tuple[Index, ...]]:
    """Runs of whole columns or rows with about as many stored elements.

    Args:
        node: A sparse matrix, not empty.
        size: About how many elements a block should have.

    Yields:
        Positions of rows and columns.
    """
    axis = 1 if node.compressed_along(1) >= node.compressed_along(0) else 0
    order = _order(node, axis)
    stored = node.stored(axis)
    if order is not None:
        stored = stored[order]
    extent = node.shape[axis]
    ends = None if order is not None else node.ticks()[axis]
    before = numpy.cumsum(stored, dtype=numpy.float64)
    begin = 0
    while begin < extent:
        done = before[begin - 1] if begin else 0.0
        end = int(numpy.searchsorted(before, done + size, side="right"))
        end = min(max(end, begin + 1), begin + _MOST_PRIMARY, extent)
        if ends is not None:
            # Of dense chunks, whole ones.
            last = int(numpy.searchsorted(ends, end, side="right")) - 1
            if last >= 0 and ends[last] > begin:
                end = int(ends[last])
            elif before[ends[last + 1] - 1] - done <= _LARGEST * size:
                end = int(ends[last + 1])
        index: list[Index] = [range(rows) for rows in node.shape]
        index[axis] = _positions(order, begin, end)
        yield tuple(index)
        begin = end


def index_of(positions: Index) -> Any:
    """An index of a result for positions that are kept."""
    return as_slice(positions) if isinstance(positions, numpy.ndarray) else slice(positions.start, positions.stop)


def _region(parts: Sequence[Any]) -> tuple[Any, ...]:
    """An index of a box of a result: slices, unless one is of positions."""
    if all(isinstance(part, slice) for part in parts):
        return tuple(parts)
    return numpy.ix_(*[numpy.arange(part.start, part.stop) if isinstance(part, slice) else part for part in parts])


def _dense_pieces(block: Array, index: Sequence[Index], views: Sequence[View], skip_nan: bool) -> list[Piece]:
    pieces: list[Piece] = []
    for number, view in enumerate(views):
        axes = tuple(axis for axis, along in enumerate(view.axes) if along != "keep")
        for part, where in _grouped(block, index, view, 0, ()):
            pieces.append((number, _region(where), of_dense(part, axes, view.wanted, skip_nan)))
    return pieces


def _grouped(
    block: Array, index: Sequence[Index], view: View, axis: int, where: tuple[Any, ...]
) -> Iterator[tuple[Array, tuple[Any, ...]]]:
    """Take a block apart by the groups of its axes."""
    if axis == block.ndim:
        yield block, where
        return
    along = view.axes[axis]
    if along == "keep":
        yield from _grouped(block, index, view, axis + 1, (*where, index_of(index[axis])))
        return
    if along == "reduce":
        yield from _grouped(block, index, view, axis + 1, (*where, slice(0, 1)))
        return
    labels = along.labels[numpy.asarray(index[axis], dtype=numpy.intp)]
    order = numpy.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    if not bool((labels[1:] >= labels[:-1]).all()):
        block = numpy.take(block, order, axis=axis)
    begins = numpy.flatnonzero(numpy.diff(sorted_labels, prepend=-1)).tolist()
    for begin, end in zip(begins, [*begins[1:], len(labels)], strict=True):
        group = int(sorted_labels[begin])
        part = block[(slice(None),) * axis + (slice(begin, end),)]
        yield from _grouped(part, index, view, axis + 1, (*where, slice(group, group + 1)))


def _sparse_pieces(
    block: Compressed, index: Sequence[Index], views: Sequence[View], skip_nan: bool, shape: Sequence[int]
) -> list[Piece | _Scatter]:
    """Of the elements that are stored; the implicit zeros are counted in the end."""
    pieces: list[Piece | _Scatter] = []
    primary = 1 if block.by_column else 0
    for number, view in enumerate(views):
        along, across = view.axes[primary], view.axes[1 - primary]
        if across == "reduce" and along in ("keep", "reduce"):
            pieces += _by_primary(number, block, index[primary], view, skip_nan)
        else:
            pieces.append(_by_target(number, block, index, view, skip_nan, shape))
    return pieces


def _by_primary(number: int, block: Compressed, positions: Index, view: View, skip_nan: bool) -> list[Piece]:
    """Each column (or row) by itself, or all together."""
    primary = 1 if block.by_column else 0
    lengths = block.lengths()
    if view.axes[primary] == "reduce":
        lengths = numpy.asarray([len(block.values)])
    filled = numpy.flatnonzero(lengths)
    starts = block.pointers[:-1][filled] if view.axes[primary] == "keep" else numpy.zeros(len(filled), numpy.intp)
    summary = of_segments(block.values, starts, lengths[filled], view.wanted, skip_nan)
    place: Any = 0
    if view.axes[primary] == "keep":
        place = positions.start + filled if isinstance(positions, range) else positions[filled]
        if isinstance(positions, range) and len(filled) == len(positions):
            place = slice(positions.start, positions.stop)
    elif len(filled):
        place = slice(0, 1)
    else:
        return []
    where = (0, place) if primary == 1 else (place, 0)
    return [(number, where, summary)]


def _by_target(
    number: int, block: Compressed, index: Sequence[Index], view: View, skip_nan: bool, shape: Sequence[int]
) -> Piece | _Scatter:
    """Any other view: each element to where it goes."""
    primary = 1 if block.by_column else 0
    along, across = view.axes[primary], view.axes[1 - primary]
    places = _places(along, index[primary])
    extent = result_shape(view, shape)[1 - primary]
    if (
        isinstance(along, Groups)
        and view.wanted <= {"sum", "nonzero"}
        and len(block.values) <= _CHAIN * along.number * extent
    ):
        # Results so large are not made for each block.
        return _Scatter(number, _targets(places * extent, _places(across, index[1 - primary]), block), block.values)
    if across == "keep":
        inner, second = None, numpy.asarray(index[1 - primary], dtype=numpy.intp)
    else:
        second, inner = numpy.unique(_places(across, index[1 - primary]), return_inverse=True)
    # Only the groups that are in the block.
    first, outer = numpy.unique(places, return_inverse=True)
    width = len(second)
    targets = _targets(outer * width, inner, block)
    count = len(first) * width
    if count <= 8 * len(targets) <= 8 * _CHAIN * count:
        summary = of_scattered(block.values, targets, count, view.wanted, skip_nan)
        fields = {name: field.reshape(len(first), width) for name, field in summary.fields.items()}
        summary = Summary(summary.dtype, skip_nan, fields)
        if primary == 1:
            return number, _region([as_slice(second), as_slice(first)]), summary.transposed((1, 0))
        return number, _region([as_slice(first), as_slice(second)]), summary
    order = numpy.argsort(targets, kind="stable")
    filled, starts, lengths = numpy.unique(targets[order], return_index=True, return_counts=True)
    summary = of_segments(block.values[order], starts, lengths, view.wanted, skip_nan)
    where = (first[filled // max(width, 1)], second[filled % max(width, 1)])
    return number, where[::-1] if primary == 1 else where, summary


def _targets(outer: Array, inner: Array | None, block: Compressed) -> Array:
    """For each stored element, the sum of a number for its column (or row) and one for its position in there."""
    largest = int(outer.max(initial=0)) + (block.extents()[1] if inner is None else int(inner.max(initial=0)))
    # scipy converts indices that are wider than they need to be.
    dtype = numpy.dtype(numpy.int32 if largest < numpy.iinfo(numpy.int32).max else numpy.int64)
    across: Array = block.indices if inner is None else inner.astype(dtype)[block.indices]
    if not outer.any():
        return across.astype(dtype, copy=False)
    return numpy.repeat(outer.astype(dtype), block.lengths()) + across


class _Scatter(NamedTuple):
    """Elements of a block, to be added to a result that is larger than what the block has for it."""

    number: int
    """Of the view."""
    targets: Array
    values: Array


class _Stage:
    """Sums that elements are added to one by one, before they are merged into the others."""

    def __init__(self, total: Summary, primary: int) -> None:
        self._total = total
        # The axis that is compressed comes first.
        self._order = (1, 0) if primary == 1 else (0, 1)
        self._shape = tuple(total.shape[axis] for axis in self._order)
        self._fields: dict[str, Array] = {}
        self._seen = 0

    def add(self, scatter: _Scatter, length: int) -> None:
        """Take the elements of a block with so many columns (or rows)."""
        total, targets, values = self._total, scatter.targets, scatter.values
        if not self._fields:
            self._fields = {
                name: numpy.zeros(math.prod(self._shape), field.dtype)
                for name, field in total.fields.items()
                if name in ("skipped", "sum", "high", "nonzero")
            }
        fields = self._fields
        with numpy.errstate(all="ignore"):
            if "skipped" in fields:
                missing = numpy.isnan(values)
                if missing.any():
                    numpy.add.at(fields["skipped"], targets[missing], 1)
                    if "nonzero" in fields:
                        numpy.add.at(fields["nonzero"], targets[missing], 1)
                    targets, values = targets[~missing], values[~missing]
            if "high" in fields:
                numpy.add.at(fields["high"], targets, values.astype(fields["high"].dtype, copy=False))
            if "sum" in fields and values.dtype.itemsize == 8:
                numpy.add.at(fields["sum"], targets, values.astype(fields["sum"].dtype, copy=False))
            if "nonzero" in fields:
                numpy.add.at(fields["nonzero"], targets[values != 0], 1)
        self._seen += length
        if self._seen >= _MOST_ADDED:
            self.flush()

    def flush(self) -> None:
        """Merge what was added."""
        if not self._fields:
            return
        fields = self._fields
        self._fields, self._seen = {}, 0
        if "sum" in fields and self._total.dtype.itemsize < 8:
            # So few small integers have a sum that is exact.
            fields["sum"] = fields["high"].astype(fields["sum"].dtype)
        if "high" in fields:
            fields["low"] = numpy.zeros_like(fields["high"])
        # How many there are does not matter to sums, and is counted in the end.
        fields["count"] = numpy.zeros(math.prod(self._shape), numpy.int64)
        added = {name: field.reshape(self._shape) for name, field in fields.items()}
        self._total.merge_whole(Summary(self._total.dtype, self._total.skip_nan, added).transposed(self._order))


def _places(along: Along, positions: Index) -> Array:
    """Where in the result each position of a block's axis goes."""
    if along == "reduce":
        return numpy.zeros(len(positions), numpy.intp)
    if along == "keep":
        return numpy.asarray(positions, dtype=numpy.intp)
    return along.labels[numpy.asarray(positions, dtype=numpy.intp)].astype(numpy.intp)
