"""Dask arrays whose tasks read from files.

A Dask array's blocks are made of whole chunks of the file (of whole columns or rows, where it is a compressed sparse
matrix), and a task evaluates one block of the whole delayed tree. What a task holds is the tree: paths and names, and
what the operations hold in memory. Dask is imported when it is needed.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy
import numpy.typing
import scipy.sparse
from delayedarray import DelayedArray
from delayedarray.DelayedOp import DelayedOp

from .._engine import engine
from .._engine.memory import scipy_dtype
from .._engine.names import engine_name, engine_path
from .._engine.snapshot import States, bound
from .._engine.threads import limit_threads
from .blocks import block_lengths, runs
from .reductions import Reductions
from .tree import Node, compiled

if TYPE_CHECKING:
    import dask.array


Array = numpy.typing.NDArray[Any]

Format: TypeAlias = Literal["csc", "csr"]

_MOST_INLINE = 4096
"""Bytes of a tree that every task has a copy of; a larger one is a task of its own, which the others depend on."""

_MOST_REPEATED = 1.5
"""How many times on average a chunk may be read by the tasks of one array before there is a warning."""

_INDEX_BYTES = 4
"""Bytes of the index of a stored element."""


def import_dask() -> Any:
    """The package, with its arrays.

    Raises:
        ImportError: If it is not installed, with what to install.
    """
    try:
        import dask.array
    except ImportError as error:
        raise ImportError(
            "Dask arrays need the package dask, which is not installed: pip install 'filebackedarray[dask]'"
        ) from error
    return dask


class _Source:
    """What :py:func:`dask.array.from_array` asks of an array, over a delayed tree. Pickles as the tree does."""

    def __init__(self, tree: Any, format: Format | None, threads: int) -> None:
        # A worker may run in another folder.
        self._tree = _with_absolute_paths(tree)
        self._format = format
        self._threads = threads
        # What each block has to find, wherever it is read; here a file's number and time of change tell more of it.
        self._states, self._identities = _states(self._tree)
        self._compiled: Node | None = None

    @property
    def node(self) -> Node:
        """The tree, to be evaluated."""
        if self._compiled is None:
            self._compiled = compiled(self._tree)
        return self._compiled

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> numpy.dtype[Any]:
        # In the byte order that the array states, where nodes have the machine's.
        dtype = numpy.dtype(self._tree.dtype)
        return dtype if self._format is None else scipy_dtype(dtype)

    @property
    def meta(self) -> Any:
        """An empty block."""
        if self._format is not None:
            make = scipy.sparse.csc_matrix if self._format == "csc" else scipy.sparse.csr_matrix
            return make((0, 0), dtype=self.dtype)
        empty = numpy.ma.empty if self.node.masked else numpy.empty
        return empty((0,) * self.ndim, self.dtype)

    def __getitem__(self, index: tuple[Any, ...]) -> Any:
        with bound() as snapshot:
            # Blocks of different states of a file make no array.
            snapshot.expect(self._states)
            return self._block(index)

    def _block(self, index: tuple[Any, ...]) -> Any:
        positions = [_positions(part, extent) for part, extent in zip(index, self.shape, strict=True)]
        with limit_threads(self._threads):
            if self._format is not None:
                return self._sparse_block(positions)
            block, owned = self.node.dense(positions)
        if not owned:
            # It may be a view of what is in memory, which others read too.
            block = block.copy()
        # An integer takes its dimension away.
        dropped = tuple(axis for axis, part in enumerate(index) if isinstance(part, int | numpy.integer))
        return block.squeeze(dropped).astype(self.dtype, copy=False)

    def _sparse_block(self, positions: list[Any]) -> Any:
        return self.node.compressed(positions, self._format == "csc").matrix(self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_compiled": None}

    def __dask_tokenize__(self) -> Any:
        return _token(self._tree), self._states, self._identities, self._format, self._threads


def _positions(part: Any, extent: int) -> Any:
    if isinstance(part, slice):
        return range(*part.indices(extent))
    return numpy.asarray([part] if isinstance(part, int | numpy.integer) else part, dtype=numpy.intp)


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """A delayed array, operation or seed of this package with a function applied to each attribute."""
    made = copy.copy(value)
    for name, attribute in vars(value).items():
        setattr(made, name, function(attribute))
    return made


def _with_absolute_paths(value: Any) -> Any:
    if isinstance(value, list | tuple) and any(_is_part(member) for member in value):
        return type(value)(map(_with_absolute_paths, value))
    if not _is_part(value):
        return value
    made = _mapped(value, _with_absolute_paths)
    if _is_seed(value):
        made._path = os.path.abspath(engine_path(value._path))
    return made


def _is_part(value: Any) -> bool:
    """Whether something is a part of a tree that may hold other parts."""
    return isinstance(value, DelayedArray | DelayedOp | Reductions)


def _seeds(value: Any) -> Iterator[Any]:
    """Seeds of a tree that have a file."""
    if isinstance(value, list | tuple):
        for member in value:
            yield from _seeds(member)
    elif _is_part(value):
        if _is_seed(value):
            yield value
        yield from _seeds(list(vars(value).values()))


def _states(tree: Any) -> tuple[States, list[list[int] | None]]:
    """The states of the files that a tree reads from, and of those that these lead to; and their identities here."""
    with bound() as snapshot:
        for seed in _seeds(tree):
            names = (seed.name,) if hasattr(seed, "name") else (seed.data_name, seed.indices_name, seed.indptr_name)
            for name in names:
                engine(seed._untrusted).inspect(engine_path(seed._path), engine_name(name))
        states = sorted(snapshot.states())
        return states, [snapshot.identity(path) for path, _ in states]


def _is_seed(value: Any) -> bool:
    """Whether a part of a tree is one of ours that has a file."""
    return not isinstance(value, DelayedArray | DelayedOp) and hasattr(value, "_path")


def _token(value: Any) -> Any:
    """What tells a tree from others, but for the states of its files."""
    if isinstance(value, list | tuple):
        return [_token(member) for member in value]
    if not _is_part(value):
        return value
    attributes = [(name, _token(attribute)) for name, attribute in sorted(vars(value).items())]
    return type(value).__qualname__, attributes


def _has_dask_seed(value: Any) -> bool:
    """Whether there is a Dask array in a tree."""
    if isinstance(value, list | tuple):
        return any(map(_has_dask_seed, value))
    if _is_part(value):
        return any(map(_has_dask_seed, vars(value).values()))
    return type(value).__module__.partition(".")[0] == "dask"


def dask_array(tree: Any, chunks: Any = None, *, sparse: bool | Format = False, threads: int = 1) -> dask.array.Array:
    """Make a Dask array. See :py:meth:`FileBackedArray.to_dask`.

    Args:
        tree: A delayed array of this package, what is in one, or a seed.
        chunks: Of the Dask array.
        sparse: Whether its blocks are sparse matrices, or of which kind.
        threads: Of each task.

    Returns:
        The array.
    """
    package = import_dask()
    if isinstance(tree, DelayedArray):
        tree = tree.seed
    if isinstance(threads, bool) or not isinstance(threads, int | numpy.integer) or threads < 1:
        raise ValueError(f"'threads' should be a number of threads for each task, not {threads!r}")
    if sparse not in (False, True, "csc", "csr"):
        raise ValueError(f"'sparse' should be a boolean, 'csc' or 'csr', not {sparse!r}")
    if _has_dask_seed(tree):
        return _over_dask(tree, chunks, sparse)
    source = _Source(tree, None, int(threads))
    if sparse:
        source._format = _format(source, sparse)
    lengths = _chunks(package, source, chunks)
    small = len(pickle.dumps(source, pickle.HIGHEST_PROTOCOL)) <= _MOST_INLINE
    array: dask.array.Array = package.array.from_array(
        source, chunks=lengths, asarray=False, fancy=False, meta=source.meta, inline_array=small
    )
    return array


def _over_dask(tree: Any, chunks: Any, sparse: bool | Format) -> dask.array.Array:
    """Make a Dask array, operation by operation, of a tree that holds one: its tasks cannot be in tasks of ours."""
    from delayedarray import create_dask_array

    if sparse:
        raise ValueError("an array with a Dask array in it has no sparse blocks")
    array: dask.array.Array = create_dask_array(tree)
    if chunks is not None:
        array = array.rechunk(chunks)  # type: ignore[no-untyped-call]
    return array


def _format(source: _Source, sparse: bool | Format) -> Format:
    node = source.node
    if not node.sparse:
        raise ValueError(
            "'sparse' blocks of an array that is not sparse: it is dense in the file, or an operation makes something"
            " of its zeros, such as a division by a vector that has some, or it is masked"
        )
    if isinstance(sparse, str):
        return sparse
    return "csr" if node.compressed_along(0) > node.compressed_along(1) else "csc"


def _chunks(package: Any, source: _Source, chunks: Any) -> tuple[tuple[int, ...], ...]:
    """The lengths of blocks along each axis."""
    node = source.node
    refusal = f"'chunks' {chunks!r} are not chunks of an array of shape {node.shape}"
    if chunks is None or isinstance(chunks, str):
        given = chunks if chunks not in (None, "auto") else package.config.get("array.chunk-size")
        try:
            size = int(package.utils.parse_bytes(given))
        except ValueError as error:
            raise ValueError(f"{refusal}: {error}") from error
        return _aligned(source, max(1, size))
    ndim = len(node.shape)
    if isinstance(chunks, dict):
        if not set(chunks) <= set(range(-ndim, ndim)):
            raise ValueError(f"{refusal}: no such axis")
        chunks = {axis % ndim: along for axis, along in chunks.items()}
    typical = tuple(max([1, *numpy.diff(ends, prepend=0).tolist()]) for ends in node.ticks())
    try:
        lengths: tuple[tuple[int, ...], ...] = package.array.core.normalize_chunks(
            chunks, node.shape, dtype=source.dtype, previous_chunks=typical
        )
    except ZeroDivisionError:
        raise ValueError(f"{refusal}: a length is 0") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{refusal}: {error}") from error
    if any(length <= 0 < extent for along, extent in zip(lengths, node.shape, strict=True) for length in along):
        raise ValueError(f"{refusal}: a length is not positive")
    repeated = _repeated(node, lengths)
    if repeated > _MOST_REPEATED:
        warnings.warn(
            f"blocks of {chunks!r} cut through what the file stores together: each of its chunks is read about"
            f" {repeated:.1f} times. Leave 'chunks' out, or give a size in bytes, for blocks of whole chunks",
            package.array.core.PerformanceWarning,
            stacklevel=5,
        )
    return lengths


def _repeated(node: Node, lengths: Sequence[Sequence[int]]) -> float:
    """How many times each chunk of the file is read for all blocks."""
    times = 1.0
    for ends, along, extent in zip(node.ticks(), lengths, node.shape, strict=True):
        if extent == 0:
            return 1.0
        cuts = numpy.cumsum(along)[:-1]
        inside = numpy.count_nonzero(~numpy.isin(cuts, ends))
        times *= 1 + inside / len(ends)
    return times


def _aligned(source: _Source, limit: int) -> tuple[tuple[int, ...], ...]:
    """Choose blocks of whole chunks that have about as many bytes at most."""
    node = source.node
    if 0 in node.shape:
        return tuple((extent,) for extent in node.shape)
    if source._format is not None:
        return _sparse_lengths(node, limit, source.dtype.itemsize + _INDEX_BYTES)
    ticks = node.ticks()
    lengths = block_lengths(ticks, node.shape, max(1, limit // max(1, source.dtype.itemsize)))
    return tuple(
        tuple(end - begin for begin, end in runs(ends, length)) for ends, length in zip(ticks, lengths, strict=True)
    )


def _sparse_lengths(node: Node, limit: int, itemsize: int) -> tuple[tuple[int, ...], ...]:
    """Blocks of whole columns (or rows), all of as many, of which none has much more stored than the limit."""
    axis = 1 if node.compressed_along(1) >= node.compressed_along(0) else 0
    extent = node.shape[axis]
    before = numpy.concatenate([[0.0], numpy.cumsum(node.stored(axis), dtype=numpy.float64) * itemsize])
    # Of equal length, so that they fit to blocks of other arrays about the same cells.
    number = max(1, math.ceil(before[-1] / limit))
    while number < extent:
        length = -(-extent // number)
        edges = before[numpy.minimum(numpy.arange(0, extent + length, length), extent)]
        if numpy.diff(edges).max() <= limit:
            break
        number = min(math.ceil(number * 1.25), extent)
    length = -(-extent // number)
    along = [length] * (extent // length) + ([extent % length] if extent % length else [])
    return tuple(tuple(along) if other == axis else (node.shape[other],) for other in range(2))
