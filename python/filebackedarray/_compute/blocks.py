"""Sweeps over trees of delayed operations, block by block.

The blocks are made of whole chunks, as the engine's own are, or of runs of whole columns (or rows) of compressed sparse
matrices. A few threads evaluate them, so that the engine reads some while numpy works on others, and have the engine
fold each (``_core.Sweep``). What comes of them is merged in the order of the blocks, and which blocks there are depends
on the array alone: so do the results, to the last bit, whatever the number of threads.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from itertools import product
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy
import numpy.typing

from .. import _core
from .._core import Snapshot, current_snapshot, get_num_threads
from .._engine.memory import as_bytes
from .._engine.selection import Axis, select
from .._engine.snapshot import bound
from .._engine.threads import current_limit, limit_threads
from .._show.progress import Report
from .statistics import count_dtype
from .tree import Index, Layout, Node, as_slice, simplest

Array = numpy.typing.NDArray[Any]

BLOCK_BYTES = 1 << 20
"""Bytes of a block of values: as many as those that the engine folds at a time, which fit into a processor's cache."""

_LARGEST = 8
"""Maximum size of a chunk that is one block, in blocks; larger ones are split, and the cache keeps them from being
decoded twice."""

_MOST_THREADS = 8
"""More would need more memory than a sweep may take."""

_MOST_PRIMARY = 1 << 17
"""Columns (or rows) of a block of a sparse matrix."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Groups(NamedTuple):
    """What to sum up along an axis apart from each other."""

    labels: Array
    """The group of each position of the axis: a number from 0 on."""
    number: int


Along: TypeAlias = "Literal['keep', 'reduce'] | Groups"
"""What becomes of an axis."""


class View(NamedTuple):
    """One result of a sweep."""

    axes: tuple[Along, ...]
    wanted: frozenset[str]
    """Which of "sum", "moments", "extremes", "nonzero"."""


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


class Walk(NamedTuple):
    """In which order a sweep goes through an array: that of the file."""

    shape: tuple[int, ...]
    """Extents of what is walked, of which a part may be selected."""
    chunk: tuple[int, ...]
    selection: tuple[Axis, ...]
    axes: tuple[int, ...]
    """Which axis of the walk each axis of the array is."""
    orders: tuple[Array | None, ...]
    """For each axis of the walk, the array's position at each step; None if they are the same."""

    def positions(self, region: Sequence[tuple[int, int]]) -> list[Index]:
        """Positions of the array for a box of the walk."""
        return [_positions(self.orders[axis], *region[axis]) for axis in self.axes]

    def turned(self, block: Array) -> Array:
        """A block of the array with its axes in the order of the walk, C-contiguous."""
        return numpy.require(numpy.transpose(block, numpy.argsort(self.axes)), requirements=["C", "A"])

    def views(self, views: Sequence[View]) -> list[tuple[tuple[Any, ...], list[str]]]:
        """Views of the array as the engine takes them."""
        return [engine_view(view, self.axes, self.orders) for view in views]

    def result(self, fields: Mapping[str, Array], view: View) -> dict[str, Array]:
        """What the engine found for a view, as of the array."""
        backs = [None if order is None else numpy.argsort(order) for order in self.orders]
        return of_array(fields, view, self.axes, backs)


def engine_view(view: View, axes: Sequence[int], orders: Sequence[Array | None]) -> tuple[tuple[Any, ...], list[str]]:
    """A view as the engine takes it.

    Args:
        view: A view of an array.
        axes: Which axis of the engine's array each axis is.
        orders: For each axis of the engine's array, the array's position at each place; None if they are the same.

    Returns:
        What becomes of each axis of the engine's array, and what is wanted.
    """
    found: list[Any] = [None] * len(axes)
    for along, axis in zip(view.axes, axes, strict=True):
        if not isinstance(along, Groups):
            found[axis] = along
            continue
        order = orders[axis]
        labels = along.labels if order is None else along.labels[order]
        found[axis] = (numpy.ascontiguousarray(labels, dtype=numpy.uint32), along.number)
    return tuple(found), sorted(view.wanted)


def of_array(
    fields: Mapping[str, Array], view: View, axes: Sequence[int], backs: Sequence[Array | None]
) -> dict[str, Array]:
    """What the engine found, with axes and positions as the array has them.

    Args:
        fields: Arrays with the engine's axes.
        view: What was asked for.
        axes: Which of the engine's axes each axis of the array is.
        backs: For each of the engine's axes, where each position of the array is; None if they are the same.

    Returns:
        The same arrays.
    """
    found = {name: numpy.transpose(field, axes) for name, field in fields.items()}
    for number, (along, axis) in enumerate(zip(view.axes, axes, strict=True)):
        back = backs[axis]
        if along == "keep" and back is not None:
            found = {name: numpy.take(field, back, axis=number) for name, field in found.items()}
    return found


def walk_of(node: Node) -> Walk:
    """How to go through an array so that each chunk of its file is read once."""
    layout = node.layout()
    if layout is None:
        lengths = block_lengths(node.ticks(), node.shape, BLOCK_BYTES // 8)
        every = tuple(range(extent) for extent in node.shape)
        layout = Layout(node.shape, tuple(lengths), tuple(range(len(node.shape))), every)
    selection = select(layout.positions, layout.shape)
    shape, chunk, chosen = list(layout.shape), list(layout.chunk), list(selection.axes)
    orders: list[Array | None] = [None] * len(shape)
    for axis, back in enumerate(selection.restore or ()):
        if numpy.array_equal(back, numpy.arange(selection.lengths[axis])):
            continue
        orders[axis] = numpy.argsort(back, kind="stable")
        if len(back) != selection.lengths[axis]:
            # What is there more than once is walked as if it were different positions.
            shape[axis], chosen[axis] = len(back), (0, len(back), 1)
            chunk[axis] = min(chunk[axis], len(back))
    return Walk(tuple(shape), tuple(chunk), tuple(chosen), layout.axes, tuple(orders))


def block_sweep(
    node: Node,
    views: Sequence[View],
    skip_nan: bool,
    report: Report | None,
    block_bytes: int | None = None,
    masked: bool = False,
) -> list[dict[str, Array]]:
    """Sum up an array by blocks, which a few threads evaluate and the engine folds.

    Args:
        node: The array.
        views: The results that are wanted.
        skip_nan: Whether not to count NaN.
        report: Called after each block.
        block_bytes: Size of a block.
        masked: Whether values may be masked.

    Returns:
        Arrays for each view, as the engine's reductions return them.

    Raises:
        OSError, ...: What the evaluation of a block raises; of the first such block.
    """
    if node.sparse:
        return _sparse_sweep(node, views, skip_nan, report, block_bytes)
    walk = walk_of(node)
    sweep = _core.Sweep(
        walk.shape,
        [max(1, length) for length in walk.chunk],
        walk.selection,
        node.dtype.str,
        walk.views(views),
        skip_nan=skip_nan,
        masked=masked,
        block_bytes=BLOCK_BYTES if block_bytes is None else block_bytes,
    )

    def folded(number: int) -> _core.Folded | None:
        found = None
        for region in sweep.unit(number):
            block = node.dense(walk.positions(region))[0]
            missing = None
            if masked and numpy.ma.getmask(block) is not numpy.ma.nomask:
                missing = walk.turned(numpy.ma.getmaskarray(block)).reshape(-1)
            values = walk.turned(numpy.ma.getdata(block))
            found = sweep.fold(number, region, as_bytes(values), missing, found)
        return found

    units = len(sweep)
    # Closed at once if a report raises, not when the last traceback is gone.
    with closing(in_order(folded, range(units))) as results:
        for done, found in enumerate(results, 1):
            if found is not None:
                sweep.merge(found)
            if report is not None:
                report(done, units)
    return [walk.result(fields, view) for fields, view in zip(sweep.finish(), views, strict=True)]


def sweep_of_parts(node: Node, views: Sequence[View], skip_nan: bool, sparse: bool = False) -> _core.Sweep:
    """A sweep of an array whose parts lie anywhere."""
    axes = range(len(node.shape))
    views_of_node = [engine_view(view, axes, [None] * len(axes)) for view in views]
    return _core.Sweep.of_parts(node.shape, node.dtype.str, views_of_node, skip_nan=skip_nan, sparse=sparse)


def _sparse_sweep(
    node: Node, views: Sequence[View], skip_nan: bool, report: Report | None, block_bytes: int | None
) -> list[dict[str, Array]]:
    axis, order = _cut(node)
    if order is not None:
        # Positions are those of the walk.
        views = [_reordered(view, axis, order) for view in views]
    sweep = sweep_of_parts(node, views, skip_nan, sparse=True)
    if 0 in node.shape:
        return sweep.finish()
    # Of elements that are stored, a block may have more: what is done to them needs fewer copies.
    size = max(1, (BLOCK_BYTES if block_bytes is None else block_bytes) // 2)
    blocks = list(sparse_blocks(node, size))
    starts = [0, *itertools.accumulate(len(index[axis]) for index in blocks)]

    def folded(number: int) -> tuple[_core.Folded | None, tuple[Any, ...]]:
        block = node.compressed(blocks[number])
        origin = [0, 0]
        origin[axis] = starts[number]
        values = numpy.ascontiguousarray(block.values)
        pointers = block.pointers.astype(numpy.uint64)
        stored = (origin, block.shape, block.by_column, pointers, block.indices, as_bytes(values))
        found = sweep.fold_sparse(stored)
        return found, () if found is not None else stored

    with closing(in_order(folded, range(len(blocks)))) as results:
        for done, (found, stored) in enumerate(results, 1):
            if found is None:
                # It has a few elements only for each of very many results, which are not made for each block.
                sweep.take_sparse(stored)
            else:
                sweep.merge(found)
            if report is not None:
                report(done, len(blocks))
    backs: list[Array | None] = [None, None]
    backs[axis] = None if order is None else numpy.argsort(order)
    return [of_array(fields, view, (0, 1), backs) for fields, view in zip(sweep.finish(), views, strict=True)]


def _reordered(view: View, axis: int, order: Array) -> View:
    """A view of an array whose positions along an axis come in another order."""
    axes, groups = list(view.axes), view.axes[axis]
    if isinstance(groups, Groups):
        axes[axis] = groups._replace(labels=groups.labels[order])
    return view._replace(axes=tuple(axes))


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


def _cut(node: Node) -> tuple[int, Array | None]:
    """Along which axis blocks of a sparse matrix follow each other, and in which order they go through it."""
    axis = 1 if node.compressed_along(1) >= node.compressed_along(0) else 0
    return axis, _order(node, axis)


def sparse_blocks(node: Node, size: int) -> Iterator[tuple[Index, ...]]:
    """Runs of whole columns or rows with about as many stored elements.

    Args:
        node: A sparse matrix, not empty.
        size: About how many elements a block should have.

    Yields:
        Positions of rows and columns.
    """
    axis, order = _cut(node)
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
