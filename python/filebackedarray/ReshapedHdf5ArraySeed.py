"""Datasets with other dimensions than in the file."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
from delayedarray import (
    SparseNdarray,
    chunk_grid,
    chunk_shape_to_grid,
    create_dask_array,
    extract_dense_array,
    extract_sparse_array,
    is_masked,
    is_sparse,
    wrap,
)

from ._compute.dask import dask_array
from ._compute.reductions import Reductions
from ._engine.names import engine_path
from ._engine.selection import Subset, select
from ._engine.snapshot import one_state
from ._seeds.as_sparse import nonzeros
from ._seeds.storage import DenseFacts
from .FileBackedArray import FileBackedArray
from .Hdf5DenseArraySeed import Hdf5DenseArraySeed

if TYPE_CHECKING:
    import dask.array
    import numpy.typing
    from delayedarray import SimpleGrid

__all__ = ["ReshapedHdf5Array", "ReshapedHdf5ArraySeed"]

_COST_FACTOR = 20
"""Cost of extracting an element relative to a numpy array's, for delayedarray's choice of blocks."""

_Indices = numpy.typing.NDArray[numpy.int64]
_Array = numpy.typing.NDArray[Any]


class _Group(NamedTuple):
    """Neighbouring dimensions of the dataset, and those of the array that show the same elements in the same order."""

    stored: slice
    shown: slice


class ReshapedHdf5ArraySeed(DenseFacts, Reductions):
    """A dense HDF5 dataset with other dimensions, as :py:meth:`numpy.ndarray.reshape` gives them.

    Nothing is written or moved: an index of the array is turned into one of the dataset, and only chunks that hold what
    is asked for are read. Neighbouring dimensions may be collapsed, split, or both. This is R's
    ``ReshapedHDF5ArraySeed``, which collapses one group of dimensions
    (https://bioconductor.org/packages/HDF5Array, ``?ReshapedHDF5Array``). What it says of chunks is of the
    dataset, with the dataset's dimensions.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        shape: Sequence[int],
        dtype: numpy.typing.DTypeLike | None = None,
        native_order: bool = False,
        *,
        untrusted: bool = False,
        mask_missing: bool = False,
        as_sparse: bool = False,
    ) -> None:
        """Look at the dataset; its values stay in the file.

        Args:
            path:
                Path to the HDF5 file.

            name:
                Name of the dataset in the file.

            shape:
                Extents of the array, of as many elements as the dataset. One of them may be -1, for what is left.

            dtype:
                As for :py:class:`Hdf5DenseArraySeed`.

            native_order:
                Whether dimensions are in HDF5's order, the last changing fastest. Otherwise the first does, as in R and
                in ``reshape(..., order="F")``: dataset and array are both read that way round, and ``shape`` is what
                R's function takes.

            untrusted:
                As for :py:class:`Hdf5DenseArraySeed`.

            mask_missing:
                As for :py:class:`Hdf5DenseArraySeed`.

            as_sparse:
                As for :py:class:`Hdf5DenseArraySeed`.

        Raises:
            ValueError: If the shape has not as many elements as the dataset, or an extent is negative.
            FileNotFoundError, OSError, KeyError, TypeError: As for :py:class:`Hdf5DenseArraySeed`.
        """
        self._dataset = Hdf5DenseArraySeed(
            path, name, dtype, True, untrusted=untrusted, mask_missing=mask_missing, as_sparse=as_sparse
        )
        self._native_order = native_order
        stored = self._dataset.shape
        extents = _completed([int(extent) for extent in shape], math.prod(stored))
        if math.prod(extents) != math.prod(stored) or min(extents, default=0) < 0:
            shown = stored if native_order else stored[::-1]
            raise ValueError(
                f"{engine_path(path)!r}, dataset {name!r} of shape {shown} cannot be of shape {tuple(shape)}:"
                f" that is not {math.prod(stored)} elements"
            )
        if as_sparse and not extents:
            raise ValueError(f"{engine_path(path)!r}, dataset {name!r} without dimensions cannot be sparse")
        # All else is in the file's order, slowest first.
        self._extents = extents if native_order else extents[::-1]
        self._groups = _groups(stored, self._extents)
        self._file_chunks = _chunk_shape(stored, self._dataset._chunks, self._extents, self._groups)

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """NumPy type of the array. See :py:attr:`Hdf5DenseArraySeed.dtype`."""
        return self._dataset.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each dimension."""
        return self._extents if self._native_order else self._extents[::-1]

    @property
    def path(self) -> str | os.PathLike[str]:
        """Path to the HDF5 file, as it was given."""
        return self._dataset.path

    @property
    def name(self) -> str:
        """Name of the dataset in the file."""
        return self._dataset.name

    @property
    def _untrusted(self) -> bool:
        return self._dataset._untrusted

    @property
    def _chunks(self) -> tuple[int, ...]:
        return self._file_chunks if self._native_order else self._file_chunks[::-1]

    def transposed(self) -> ReshapedHdf5ArraySeed:
        """The same with the dimensions the other way round: the transpose, at no cost.

        Returns:
            A seed with ``native_order`` the other way.
        """
        other = copy.copy(self)
        other._native_order = not self._native_order
        return other


def _completed(shape: list[int], count: int) -> tuple[int, ...]:
    """A shape with what is left instead of -1."""
    if shape.count(-1) == 1:
        others = math.prod(extent for extent in shape if extent != -1)
        if others > 0 and count % others == 0:
            shape[shape.index(-1)] = count // others
    return tuple(shape)


def _groups(stored: Sequence[int], shown: Sequence[int]) -> tuple[_Group, ...]:
    """The smallest groups of neighbouring dimensions with as many elements on both sides."""
    if 0 in stored:
        return ()
    groups = []
    i = j = 0
    while i < len(stored) or j < len(shown):
        first_i, first_j = i, j
        left = right = 1
        # One dimension each, then more of those that have fewer elements.
        if i < len(stored):
            left, i = stored[i], i + 1
        if j < len(shown):
            right, j = shown[j], j + 1
        while left != right:
            if left < right:
                left, i = left * stored[i], i + 1
            else:
                right, j = right * shown[j], j + 1
        groups.append(_Group(slice(first_i, i), slice(first_j, j)))
    return tuple(groups)


def _chunk_shape(
    stored: Sequence[int], chunks: Sequence[int], shown: Sequence[int], groups: Sequence[_Group]
) -> tuple[int, ...]:
    """Blocks of the array that go through whole chunks: at best each chunk is in one of them."""
    shape = [max(extent, 1) for extent in shown]
    for group in groups:
        extents, lengths = stored[group.stored], chunks[group.stored]
        # Elements that follow each other fill chunks when they go on to the end of the slowest dimension along which
        # a chunk is longer than 1.
        room = 1
        for axis, (extent, length) in enumerate(zip(extents, lengths, strict=True)):
            if length > 1:
                inner = math.prod(extents[axis + 1 :])
                aligned = extent % length == 0 or axis == 0 or math.prod(extents[:axis]) == 1
                room = min(length, extent) * inner if aligned else extent * inner
                break
        for position in range(group.shown.stop - 1, group.shown.start - 1, -1):
            shape[position] = min(shown[position], max(room, 1))
            room //= shown[position]
    return tuple(shape)


def _subset(axis: Any) -> range | _Indices:
    """What a selection takes of one axis."""
    if isinstance(axis, tuple):
        start, length, step = axis
        return range(start, start + length * step, step)
    return numpy.asarray(axis, dtype=numpy.int64)


def _box(x: ReshapedHdf5ArraySeed, group: _Group, axes: Sequence[Any]) -> list[Any] | None:
    """What is taken along the dataset's dimensions of a group, where that is each by itself."""
    extents, shown, taken = x._dataset.shape[group.stored], x._extents[group.shown], axes[group.shown]
    if not extents:
        # All extents are 1.
        return []
    if all(isinstance(axis, tuple) and axis == (0, extent, 1) for axis, extent in zip(taken, shown, strict=True)):
        return [range(extent) for extent in extents]
    return [_subset(axis) for axis in taken] if extents == shown else None


def _points(x: ReshapedHdf5ArraySeed, groups: Sequence[_Group], axes: Sequence[Any]) -> dict[int, _Indices]:
    """For dimensions of the dataset in some groups, the index of each element that is wanted, in C order."""
    flat = []
    for group in groups:
        within = numpy.zeros(1, numpy.int64)
        for axis, extent in zip(axes[group.shown], x._extents[group.shown], strict=True):
            within = (within[:, None] * extent + numpy.asarray(_subset(axis))).reshape(-1)
        flat.append(within)
    found: dict[int, _Indices] = {}
    for number, (group, within) in enumerate(zip(groups, flat, strict=True)):
        # Each of them with each of the other groups'.
        before, after = (math.prod(map(len, some)) for some in (flat[:number], flat[number + 1 :]))
        each = numpy.tile(numpy.repeat(within, after), before)
        positions = numpy.unravel_index(each, x._dataset.shape[group.stored])
        for axis, points in zip(range(group.stored.start, group.stored.stop), positions, strict=True):
            found[axis] = points.astype(numpy.int64, copy=False)
    return found


@chunk_grid.register(ReshapedHdf5ArraySeed)  # type: ignore[untyped-decorator]
@one_state
def chunk_grid_ReshapedHdf5ArraySeed(x: ReshapedHdf5ArraySeed) -> SimpleGrid:
    """See :py:func:`~delayedarray.chunk_grid.chunk_grid`: blocks of whole chunks, where chunks allow them."""
    return chunk_shape_to_grid(x._chunks, x.shape, cost_factor=_COST_FACTOR)


@extract_dense_array.register(ReshapedHdf5ArraySeed)  # type: ignore[untyped-decorator]
@one_state
def extract_dense_array_ReshapedHdf5ArraySeed(
    x: ReshapedHdf5ArraySeed, subset: Sequence[Subset]
) -> numpy.typing.NDArray[Any]:
    """See :py:func:`~delayedarray.extract_dense_array.extract_dense_array`.

    Each chunk that the subset touches is read and decoded once; where dimensions were collapsed or split and not all of
    them is wanted, 8 bytes for each position are needed besides.

    Args:
        x: The seed.
        subset: For each dimension a range, slice, sequence or integer array of indices.

    Returns:
        As for :py:class:`Hdf5DenseArraySeed`.

    Raises:
        IndexError, FileNotFoundError, OSError, NotImplementedError, MemoryError, KeyboardInterrupt: As for
            :py:class:`Hdf5DenseArraySeed`.
    """
    selection = select(subset, x.shape)
    order = slice(None) if x._native_order else slice(None, None, -1)
    axes, lengths = selection.axes[order], selection.lengths[order]
    output: _Array
    if 0 in lengths:
        nothing = extract_dense_array(x._dataset, tuple(range(0) for _ in x._dataset.shape))
        output = nothing.reshape(-1)[:0].reshape(lengths)
    else:
        output = _read(x, axes, lengths)
    if selection.restore is not None:
        output = output[numpy.ix_(*selection.restore[order])]
    return output if x._native_order else output.T


def _read(x: ReshapedHdf5ArraySeed, axes: Sequence[Any], lengths: tuple[int, ...]) -> _Array:
    """A selection that is not empty, in the file's order, in one request."""
    boxes = [_box(x, group, axes) for group in x._groups]
    along: list[Any] = [None] * len(x._dataset.shape)
    for group, box in zip(x._groups, boxes, strict=True):
        along[group.stored] = box or [None] * (group.stored.stop - group.stored.start)
    scattered = [number for number, box in enumerate(boxes) if box is None]
    if not scattered:
        return extract_dense_array(x._dataset, tuple(along)).reshape(lengths)  # type: ignore[no-any-return]
    points = _points(x, [x._groups[number] for number in scattered], axes)
    # Groups of which elements were taken one by one come first.
    order = [*scattered, *(number for number, box in enumerate(boxes) if box is not None)]
    found = x._dataset._points(points, along)
    found = found.reshape([math.prod(lengths[x._groups[number].shown]) for number in order])
    return numpy.transpose(found, numpy.argsort(order)).reshape(lengths)


@is_sparse.register(ReshapedHdf5ArraySeed)  # type: ignore[untyped-decorator]
@one_state
def is_sparse_ReshapedHdf5ArraySeed(x: ReshapedHdf5ArraySeed) -> bool:
    """See :py:func:`~delayedarray.is_sparse.is_sparse`: if ``as_sparse`` said so."""
    return x._dataset._as_sparse


@is_masked.register(ReshapedHdf5ArraySeed)  # type: ignore[untyped-decorator]
@one_state
def is_masked_ReshapedHdf5ArraySeed(x: ReshapedHdf5ArraySeed) -> bool:
    """See :py:func:`~delayedarray.is_masked.is_masked`: if ``mask_missing`` said so, and values can be missing."""
    return bool(is_masked(x._dataset))


@extract_sparse_array.register(ReshapedHdf5ArraySeed)  # type: ignore[untyped-decorator]
@one_state
def extract_sparse_array_ReshapedHdf5ArraySeed(x: ReshapedHdf5ArraySeed, subset: Sequence[Subset]) -> SparseNdarray:
    """See :py:func:`~delayedarray.extract_sparse_array.extract_sparse_array`, and that of
    :py:class:`Hdf5DenseArraySeed`.
    """
    if not x._dataset._as_sparse:
        raise NotImplementedError(f"dataset {x.name!r} is not sparse; make the array with as_sparse=True")
    return nonzeros(
        lambda part: extract_dense_array_ReshapedHdf5ArraySeed(x, part),
        subset,
        x.shape,
        x._chunks,
        x.dtype,
        bool(is_masked(x)),
    )


@create_dask_array.register(ReshapedHdf5ArraySeed)  # type: ignore[untyped-decorator]
@one_state
def create_dask_array_ReshapedHdf5ArraySeed(x: ReshapedHdf5ArraySeed) -> dask.array.Array:
    """See :py:func:`~delayedarray.create_dask_array.create_dask_array`."""
    return dask_array(x, x._chunks)


class ReshapedHdf5Array(DenseFacts, FileBackedArray):
    """A dense HDF5 dataset with other dimensions, as a :py:class:`~delayedarray.DelayedArray.DelayedArray`.

    R's ``ReshapedHDF5Array``.
    """

    def __init__(
        self, path: str | os.PathLike[str] | ReshapedHdf5ArraySeed, name: str | None, shape: Any, **kwargs: Any
    ) -> None:
        """Make an array from a file, or from a seed that exists (as :py:func:`~delayedarray.wrap.wrap` does).

        Args:
            path:
                Path to the HDF5 file; or a seed, and then the other arguments are ignored.

            name:
                Name of the dataset in the file.

            shape:
                Extents of the array.

            kwargs:
                Further arguments of :py:class:`ReshapedHdf5ArraySeed`.

        Raises:
            ValueError, FileNotFoundError, OSError, KeyError, TypeError: As :py:class:`ReshapedHdf5ArraySeed`.
        """
        if isinstance(path, ReshapedHdf5ArraySeed):
            seed = path
        else:
            seed = ReshapedHdf5ArraySeed(path, name, shape, **kwargs)  # type: ignore[arg-type]
        super().__init__(seed)

    @property
    def path(self) -> str | os.PathLike[str]:
        """Path to the HDF5 file, as it was given."""
        path: str | os.PathLike[str] = self.seed.path
        return path

    @property
    def name(self) -> str:
        """Name of the dataset in the file."""
        name: str = self.seed.name
        return name

    def transposed(self) -> ReshapedHdf5Array:
        """The same with the dimensions the other way round. See :py:meth:`Hdf5DenseArray.transposed`.

        Returns:
            The transpose, an array of this class.
        """
        return ReshapedHdf5Array(self.seed.transposed(), None, None)


@wrap.register(ReshapedHdf5ArraySeed)  # type: ignore[untyped-decorator]
def wrap_ReshapedHdf5ArraySeed(x: ReshapedHdf5ArraySeed) -> ReshapedHdf5Array:
    """See :py:func:`~delayedarray.wrap.wrap`."""
    return ReshapedHdf5Array(x, None, None)
