"""Dense datasets."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from ._compute.tree import DenseLeaf, register
from ._engine import engine
from ._engine.memory import allocate, convert, engine_dtype
from ._engine.names import engine_name, engine_path
from ._engine.selection import Selection, Subset, select
from ._engine.snapshot import one_state
from ._seeds.as_sparse import nonzeros
from ._seeds.axis_names import NamedArray, NamedSeed, r_dimnames
from ._seeds.missing import missing_mask, missing_values
from ._seeds.storage import DenseFacts
from .FileBackedArray import FileBackedArray

if TYPE_CHECKING:
    import dask.array
    import numpy.typing
    from delayedarray import SimpleGrid

__all__ = ["Hdf5DenseArray", "Hdf5DenseArraySeed"]

_COST_FACTOR = 20
"""Cost of extracting an element relative to a numpy array's, for delayedarray's choice of blocks."""


class Hdf5DenseArraySeed(NamedSeed, DenseFacts, Reductions):
    """A dense HDF5 dataset, as the seed of a :py:class:`~delayedarray.DelayedArray.DelayedArray`.

    The seed holds no open file: the path is opened for each read, so that the file can be used, replaced or removed
    by others, and the seed can be pickled. What a read returns is of one state of the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
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

            dtype:
                NumPy type of the array. Defaults to the type in the file; to any other, values are converted while
                they are read, as :py:meth:`numpy.ndarray.astype` does. Strings of fixed length are ``S`` by default,
                those of variable length ``U`` of the width that the longest needs; both can be read as ``U<n>``, or as
                ``U`` or ``S`` of a width that all fit into.

            native_order:
                Whether to keep HDF5's order of dimensions, from slowest to fastest changing. The array then has the
                shape that the file reports, and extracted arrays are C-contiguous. Otherwise the order is reversed,
                as in R: the first dimension changes fastest, and extracted arrays are Fortran-contiguous. Neither
                costs a transposition.

            untrusted:
                Whether the file may have been made to do damage. It is then read in a process of its own, which may
                crash without harm to this one, has limits on time and memory, and follows nothing that leads to
                another file (external links, external storage, virtual datasets). Slower: see the page on security.

            mask_missing:
                Whether missing values are masked, in the :py:class:`numpy.ma.MaskedArray` that is then extracted: what
                the attribute ``missing-value-placeholder`` of the dataset says, as takane has it; or else what R takes
                for missing (``NA``): the smallest int32 in datasets that R wrote, negative integers where they are its
                logical values, NaN with R's payload in float64, "NA" where R marked such strings. In datasets of
                other values nothing can be missing, and arrays are not masked.

            as_sparse:
                Whether to take the array for a sparse one, since most of it is zeros: operations then work on what is
                not zero where they can. The values are still read all, and by slabs.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If the file is not HDF5 or cannot be read.
            KeyError: If the file has no such dataset.
            TypeError: If the dataset's values are not numbers, booleans or strings; or are strings, and to be sparse.
            ValueError: If a dataset without dimensions is to be sparse, or its ``missing-value-placeholder`` is no
                value of its type.
            TimeoutError: If a file that is not trusted takes too long.
        """
        self._path = path
        self._name = name
        self._native_order = native_order
        self._untrusted = untrusted
        shape, stored, chunks = engine(untrusted).inspect(engine_path(path), engine_name(name))
        self._stored_dtype = numpy.dtype(stored)
        self._dtype = numpy.dtype(dtype) if dtype is not None else self._stored_dtype
        # Strings of variable length: how wide an array of them must be is known when they have been read.
        self._has_strings = self._stored_dtype.kind == "O"
        # "U", "S" and str are of no width: of that which all values fit into.
        self._has_dtype = dtype is not None and self._dtype.itemsize > 0
        if self._dtype.itemsize == 0 and not self._has_strings:
            self._dtype = numpy.empty(0, self._stored_dtype).astype(self._dtype).dtype
        self._needs_width = self._has_strings and not self._has_dtype
        if chunks is None:
            # Contiguous: whole rows of the fastest changing dimension.
            chunks = (*(1 for _ in shape[:-1]), *shape[-1:])
        self._shape = shape if native_order else shape[::-1]
        self._chunks = chunks if native_order else chunks[::-1]
        self._missing = missing_values(path, name, self._stored_dtype, untrusted=untrusted) if mask_missing else None
        self._as_sparse = bool(as_sparse)
        if as_sparse and self._dtype.kind not in "biufc":
            raise TypeError(f"{engine_path(path)!r}, dataset {name!r} of type {self._dtype}: strings cannot be sparse")
        if as_sparse and not shape:
            raise ValueError(f"{engine_path(path)!r}, dataset {name!r} has no dimensions, and cannot be sparse")

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """NumPy type of the array.

        That of variable-length strings is ``U`` of the width that the longest needs, for which all are read when
        it is first asked for; with the ``dtype`` argument they are not.
        """
        if self._needs_width:
            strings = _read_strings(self, select([range(extent) for extent in self._shape], self._shape))
            as_bytes = self._dtype.kind == "S"
            self._dtype = numpy.dtype(f"S{_width(strings.dtype)}") if as_bytes else strings.dtype
            self._needs_width = False
        return self._dtype

    def _points(
        self, points: Mapping[int, numpy.typing.NDArray[numpy.int64]], subset: Sequence[Subset]
    ) -> numpy.typing.NDArray[Any]:
        """Read elements at points: each chunk that has any of them is decoded once.

        Args:
            points: For some dimensions, one at least, the index of each point.
            subset: For each dimension what to take for every point, as for
                :py:func:`~delayedarray.extract_dense_array.extract_dense_array`; ignored where there are points.

        Returns:
            A new array, whose first axis is that of the points; the dimensions without points follow.

        Raises:
            IndexError, FileNotFoundError, OSError, NotImplementedError, MemoryError, KeyboardInterrupt: As for
                :py:func:`~delayedarray.extract_dense_array.extract_dense_array`.
        """
        return _masked_where_missing(self, lambda dtype: _read_points(self, points, subset, dtype))

    def _names_of(self, axis: int) -> numpy.typing.NDArray[numpy.str_] | None:
        if len(self._shape) <= axis:
            return None
        if self._axis_names is not None:
            return super()._names_of(axis)
        shape = self._shape if self._native_order else self._shape[::-1]
        in_file = axis if self._native_order else len(shape) - 1 - axis
        return r_dimnames(self._path, self._name, shape, in_file, untrusted=self._untrusted)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each dimension."""
        return self._shape

    @property
    def path(self) -> str | os.PathLike[str]:
        """Path to the HDF5 file, as it was given."""
        return self._path

    @property
    def name(self) -> str:
        """Name of the dataset in the file."""
        return self._name

    def transposed(self) -> Hdf5DenseArraySeed:
        """The same dataset with its dimensions the other way round: the transpose, at no cost.

        Returns:
            A seed with ``native_order`` the other way.
        """
        other = self._turned()
        other._native_order = not self._native_order
        other._shape, other._chunks = self._shape[::-1], self._chunks[::-1]
        return other


register(Hdf5DenseArraySeed, DenseLeaf)


@chunk_grid.register(Hdf5DenseArraySeed)  # type: ignore[untyped-decorator]
@one_state
def chunk_grid_Hdf5DenseArraySeed(x: Hdf5DenseArraySeed) -> SimpleGrid:
    """See :py:func:`~delayedarray.chunk_grid.chunk_grid`: the dataset's chunks, or rows if it has none."""
    return chunk_shape_to_grid(x._chunks, x._shape, cost_factor=_COST_FACTOR)


@extract_dense_array.register(Hdf5DenseArraySeed)  # type: ignore[untyped-decorator]
@one_state
def extract_dense_array_Hdf5DenseArraySeed(
    x: Hdf5DenseArraySeed, subset: Sequence[Subset]
) -> numpy.typing.NDArray[Any]:
    """See :py:func:`~delayedarray.extract_dense_array.extract_dense_array`.

    Each chunk that the subset touches is read and decoded once, on all threads.

    Args:
        x: The seed.
        subset: For each dimension a range, slice, sequence or integer array of indices.

    Returns:
        A new array: C-contiguous if ``x`` is in native order, Fortran-contiguous otherwise. A masked one if
        :py:func:`~delayedarray.is_masked.is_masked` is true of ``x``.

    Raises:
        IndexError: If an index is out of bounds.
        FileNotFoundError: If the file is gone.
        OSError: If a chunk is damaged; the message names it.
        NotImplementedError: If nothing decodes the dataset's filters.
        MemoryError: If the result is larger than memory.
        KeyboardInterrupt: On Ctrl-C, within a fraction of a second.
    """
    selection = select(subset, x._shape)
    return _masked_where_missing(x, lambda dtype: _read(x, selection, dtype))


def _masked_where_missing(
    x: Hdf5DenseArraySeed, read: Callable[[numpy.dtype[Any] | None], numpy.typing.NDArray[Any]]
) -> numpy.typing.NDArray[Any]:
    """What is read, masked where it is missing if that is asked for."""
    if x._missing is None:
        return read(x.dtype)
    # What is missing can be told before values are converted.
    stored = read(None if x._has_strings else x._stored_dtype.newbyteorder("="))
    mask = missing_mask(x._missing, stored)
    with numpy.errstate(invalid="ignore"):
        return numpy.ma.MaskedArray(convert(stored, x.dtype), mask)


def _read(x: Hdf5DenseArraySeed, selection: Selection, dtype: numpy.dtype[Any] | None) -> numpy.typing.NDArray[Any]:
    """Values of a type; strings of variable length of the width that they need, if it is None."""
    order = slice(None) if x._native_order else slice(None, None, -1)
    if x._has_strings:
        output = _read_strings(x, selection)
        if not x._has_dtype and _width(output.dtype) > _width(x.dtype):
            raise ValueError(
                f"{engine_path(x._path)!r}, dataset {x._name!r} has strings that are longer than {x.dtype} holds:"
                " it was changed; make the array anew"
            )
        return output if dtype is None else convert(output, dtype)
    dtype = x._stored_dtype if dtype is None else dtype
    target = engine_dtype(dtype, x._stored_dtype)
    output = allocate(selection.lengths[order], target)
    engine(x._untrusted).read_dense(
        engine_path(x._path), engine_name(x._name), selection.axes[order], target.str, output
    )
    if selection.restore is not None:
        # Indexing gives C-contiguous copies of C-contiguous arrays.
        output = output[numpy.ix_(*selection.restore[order])]
    output = convert(output, dtype)
    return output if x._native_order else output.T


def _read_points(
    x: Hdf5DenseArraySeed,
    points: Mapping[int, numpy.typing.NDArray[numpy.int64]],
    subset: Sequence[Subset],
    dtype: numpy.dtype[Any] | None,
) -> numpy.typing.NDArray[Any]:
    """Values of a type at points, as :py:func:`_read` of a selection."""
    if x._has_strings:
        return _read_box(x, points, subset, dtype)
    order = slice(None) if x._native_order else slice(None, None, -1)
    places = [axis for axis in range(len(x._shape)) if axis not in points]
    selection = select([subset[axis] for axis in places], [x._shape[axis] for axis in places])
    along: list[Any] = [points.get(axis) for axis in range(len(x._shape))]
    for axis, chosen in zip(places, selection.axes, strict=True):
        along[axis] = chosen
    count = len(next(iter(points.values())))
    dtype = x._stored_dtype if dtype is None else dtype
    target = engine_dtype(dtype, x._stored_dtype)
    output = allocate((count, *selection.lengths[order]), target)
    engine(x._untrusted).read_points(engine_path(x._path), engine_name(x._name), along[order], target.str, output)
    if not x._native_order:
        output = output.transpose(0, *range(len(places), 0, -1))
    if selection.restore is not None:
        output = output[numpy.ix_(numpy.arange(count), *selection.restore)]
    return convert(output, dtype)


def _read_box(
    x: Hdf5DenseArraySeed,
    points: Mapping[int, numpy.typing.NDArray[numpy.int64]],
    subset: Sequence[Subset],
    dtype: numpy.dtype[Any] | None,
) -> numpy.typing.NDArray[Any]:
    """The same of strings of variable length, taken from all that is in the points' rows and columns."""
    box, index = list(subset), []
    for axis, indices in points.items():
        box[axis], back = numpy.unique(indices, return_inverse=True)
        index.append(back)
    block = _read(x, select(box, x._shape), dtype)
    return numpy.moveaxis(block, list(points), range(len(points)))[tuple(index)]


def _width(dtype: numpy.dtype[Any]) -> int:
    """Number of characters that a string of this type holds."""
    return dtype.itemsize // 4 if dtype.kind == "U" else dtype.itemsize


def _read_strings(x: Hdf5DenseArraySeed, selection: Selection) -> numpy.typing.NDArray[Any]:
    """Variable-length strings as an array of the width that the longest of them needs."""
    order = slice(None) if x._native_order else slice(None, None, -1)
    strings = engine(x._untrusted).read_strings(engine_path(x._path), engine_name(x._name), selection.axes[order])
    # Bytes that are not UTF-8 are kept, as h5py keeps them.
    decoded = [string.decode("utf-8", "surrogateescape") for string in strings]
    output = numpy.array(decoded, dtype=numpy.str_).reshape(selection.lengths[order])
    if selection.restore is not None:
        output = output[numpy.ix_(*selection.restore[order])]
    return output if x._native_order else output.T


@is_sparse.register(Hdf5DenseArraySeed)  # type: ignore[untyped-decorator]
@one_state
def is_sparse_Hdf5DenseArraySeed(x: Hdf5DenseArraySeed) -> bool:
    """See :py:func:`~delayedarray.is_sparse.is_sparse`: if ``as_sparse`` said so."""
    return x._as_sparse


@extract_sparse_array.register(Hdf5DenseArraySeed)  # type: ignore[untyped-decorator]
@one_state
def extract_sparse_array_Hdf5DenseArraySeed(x: Hdf5DenseArraySeed, subset: Sequence[Subset]) -> SparseNdarray:
    """See :py:func:`~delayedarray.extract_sparse_array.extract_sparse_array`.

    Args:
        x: The seed, made with ``as_sparse=True``.
        subset: As for the dense array.

    Returns:
        The elements that are not zero, those that are masked included.

    Raises:
        NotImplementedError: If the seed was made without ``as_sparse=True``.
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for the dense array.
    """
    if not x._as_sparse:
        raise NotImplementedError(f"dataset {x._name!r} is not sparse; make the array with as_sparse=True")
    return nonzeros(
        lambda part: extract_dense_array_Hdf5DenseArraySeed(x, part),
        subset,
        x._shape,
        x._chunks,
        x._dtype,
        x._missing is not None,
    )


@create_dask_array.register(Hdf5DenseArraySeed)  # type: ignore[untyped-decorator]
@one_state
def create_dask_array_Hdf5DenseArraySeed(x: Hdf5DenseArraySeed) -> dask.array.Array:
    """See :py:func:`~delayedarray.create_dask_array.create_dask_array`."""
    return dask_array(x)


class Hdf5DenseArray(NamedArray, DenseFacts, FileBackedArray):
    """A dense HDF5 dataset as a :py:class:`~delayedarray.DelayedArray.DelayedArray`."""

    def __init__(self, path: str | os.PathLike[str] | Hdf5DenseArraySeed, name: str | None, **kwargs: Any) -> None:
        """Make an array from a file, or from a seed that exists (as :py:func:`~delayedarray.wrap.wrap` does).

        Args:
            path:
                Path to the HDF5 file; or a seed, and then the other arguments are ignored.

            name:
                Name of the dataset in the file.

            kwargs:
                Further arguments of :py:class:`Hdf5DenseArraySeed`.

        Raises:
            FileNotFoundError, OSError, KeyError, TypeError: As :py:class:`Hdf5DenseArraySeed`.
        """
        if isinstance(path, Hdf5DenseArraySeed):
            seed = path
        else:
            seed = Hdf5DenseArraySeed(path, name, **kwargs)  # type: ignore[arg-type]
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

    def transposed(self) -> Hdf5DenseArray:
        """The same dataset with its dimensions the other way round.

        What ``x.T`` is too, but for the class: that is a delayed operation on an array of this class, this an array of
        this class again.

        Returns:
            The transpose.
        """
        return Hdf5DenseArray(self.seed.transposed(), None)


@wrap.register(Hdf5DenseArraySeed)  # type: ignore[untyped-decorator]
def wrap_Hdf5DenseArraySeed(x: Hdf5DenseArraySeed) -> Hdf5DenseArray:
    """See :py:func:`~delayedarray.wrap.wrap`."""
    return Hdf5DenseArray(x, None)


@is_masked.register(Hdf5DenseArraySeed)  # type: ignore[untyped-decorator]
@one_state
def is_masked_Hdf5DenseArraySeed(x: Hdf5DenseArraySeed) -> bool:
    """See :py:func:`~delayedarray.is_masked.is_masked`: if ``mask_missing`` said so, and values can be missing."""
    return x._missing is not None
