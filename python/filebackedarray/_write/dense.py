"""Dense arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy
import numpy.typing

from .._compute.blocks import in_order
from .._compute.tree import Index, Node
from .._engine.snapshot import bound
from .._show.progress import Progress, Report, reporting
from ..Hdf5DenseArraySeed import Hdf5DenseArray
from .chunking import Access, Chunks, chunk_shape
from .files import Compression, FileSink, NewFile, Options
from .narrowing import Casting, check_casting, converted
from .sources import dense_blocks, source_of
from .values import fixed_strings, stored_dtype

__all__ = ["DenseSink", "write_array"]

Array = numpy.typing.NDArray[Any]

BLOCK_BYTES = 8 << 20
"""Bytes of a block that is evaluated at a time."""


def write_array(
    x: Any,
    path: str | os.PathLike[str],
    name: str,
    *,
    native_order: bool = False,
    dimnames: Sequence[Sequence[str] | None] | None = None,
    dtype: numpy.typing.DTypeLike | None = None,
    casting: Casting = "exact",
    chunks: Chunks = None,
    access: Access = None,
    compression: Compression = "gzip",
    level: int | None = None,
    shuffle: bool = True,
    overwrite: bool = False,
    paged: bool = False,
    memory: int | None = None,
    progress: Progress = False,
) -> Hdf5DenseArray:
    """Write an array as a dense dataset, on all cores, whole or not at all.

    The array is read block by block, so it may be larger than memory. The new version of the file is made beside it and
    takes its place when it is complete and checked: whatever goes wrong before leaves the file as it was. What else an
    existing file holds is kept.

    Args:
        x:
            A numpy array, a matrix of SciPy's, a delayed array of any kind, or a Dask array.

        path:
            Path to the HDF5 file, which is made or added to.

        name:
            Name of the dataset; groups on the way are made.

        native_order:
            Whether the file has the dimensions in the order of the array. Otherwise they are reversed, as in R and as
            :py:class:`Hdf5DenseArray` reads them unless told otherwise.

        dimnames:
            For each axis of the array its names or None, written as R's HDF5Array writes and reads them. Masked values
            of int32, float64 and booleans are then written as R's missing ones (``mask_missing=True`` reads them so).

        dtype:
            Type of the elements in the file; that of the array if not given. Strings (``U``) become UTF-8 of one
            length.

        casting:
            Whether a value that ``dtype`` does not have is an error ("exact") or is converted as numpy does ("unsafe").

        chunks:
            Lengths of a chunk along the array's axes; or "R", R's rule of a million elements. If not given, chunks have
            about 1 MiB, in the proportions of the array.

        access:
            "rows" or "columns", to have chunks of whole rows (along all axes but the first) or columns (along all but
            the second).

        compression:
            "gzip", which everything that reads HDF5 can read; "zstd", "lz4", "blosc" (LZ4 in Blosc) or
            "blosc-zstd" (Zstandard in Blosc), which this package reads, and others with a plugin of HDF5's (hdf5plugin
            for h5py, rhdf5filters for R); or None.

        level:
            How hard the compression tries: of gzip 0 to 9 (4 if not given), of zstd 1 to 19 (3), of lz4 0 to 12 (0), of
            blosc 0 to 9 (5), of blosc-zstd 0 to 9 (2).

        shuffle:
            Whether the first bytes of all elements of a chunk come first, and so on, which makes numbers smaller.

        overwrite:
            Whether a dataset or group of this name is replaced. The space of what is replaced stays in the file.

        paged:
            Whether a new file has pages of 8 MiB, in which all index nodes stand side by side: for reading it over a
            network.

        memory:
            Bytes of incomplete chunks that may wait in memory, where blocks end within chunks; 64 MiB if not given.

        progress:
            True for a progress bar, or a function to call with what is done and what there is to do.

    Returns:
        The array in the file.

    Raises:
        FileExistsError: If there is something of this name and ``overwrite`` is False.
        BlockingIOError: If another writer is at work on the file, or another program has it open for writing.
        OSError: If the file cannot be written (no space, no permission), or is not HDF5.
        ValueError: If a value is none of ``dtype``; if chunks or names do not go with the array; if values are masked.
        TypeError: If values of such a type cannot be written.
        KeyboardInterrupt: On Ctrl-C.
    """
    options = Options(compression, level, shuffle, memory)
    with bound() as state:
        node = source_of(x)
    # The state of the array's own file is checked before the new one is put in place, which may be the same.
    with NewFile(path, "a", paged=paged) as file, reporting(progress, "write") as report, bound(state):
        file.make_room(name, overwrite)
        put_array(
            file,
            name,
            node,
            options,
            native_order=native_order,
            dtype=dtype,
            casting=casting,
            chunks=chunks,
            access=access,
            report=report,
            r_marks=dimnames is not None,
        )
        if dimnames is not None:
            put_dimnames(file, name, node.shape, dimnames, native_order)
    return Hdf5DenseArray(path, name, native_order=native_order)


def put_array(
    file: NewFile,
    name: str,
    node: Node,
    options: Options,
    *,
    native_order: bool,
    dtype: Any = None,
    casting: Casting = "exact",
    chunks: Chunks = None,
    access: Access = None,
    maxshape: Sequence[int | None] | None = None,
    report: Report | None = None,
    r_marks: bool = False,
) -> None:
    """Write an array into a new version of a file.

    Args:
        file: The new version.
        name: Name of the dataset, of which there is none.
        node: The array.
        options: How it is stored.
        native_order: Whether the file has the dimensions in the order of the array.
        dtype: Type of the elements in the file; that of the array if None.
        casting: Whether a value that it does not have is an error.
        chunks: As for :py:func:`write_array`.
        access: As for :py:func:`write_array`.
        maxshape: Maximum extents along the array's axes; its shape if None.
        report: Called after each block.
        r_marks: Whether masked values are written as R's missing ones, not refused.

    Raises:
        ValueError, TypeError, OSError: As :py:func:`write_array`.
    """
    marks = _r_marks(node, dtype) if r_marks and node.masked else None
    evaluate, target, utf8 = _elements(node, dtype, casting, marks)
    order = slice(None, None, 1 if native_order else -1)
    shape = node.shape
    if math.prod(shape) == 0 or not shape:
        values = evaluate(tuple(range(extent) for extent in shape))
        ordered = numpy.ascontiguousarray(values if native_order else values.T, target)
        file.dataset(name, ("array", target.str, utf8, shape[order], ordered.tobytes()))
        if marks is not None:
            file.attribute(name, *marks.attribute)
        return
    lengths = chunk_shape(shape, target.itemsize, chunks, access)
    sink = file.sink(
        name,
        shape[order],
        target,
        lengths[order],
        options,
        maxshape=None if maxshape is None else tuple(maxshape)[order],
        utf8=utf8,
    )
    itemsize = max(node.dtype.itemsize, target.itemsize)
    blocks = list(dense_blocks(node, lengths, max(1, BLOCK_BYTES // itemsize)))
    with closing(in_order(evaluate, blocks)) as results:
        for number, block in enumerate(results):
            start = tuple(positions.start for positions in blocks[number])
            sink.write(start[order], block if native_order else block.T)
            if report is not None:
                report(number + 1, len(blocks))
    if marks is not None:
        file.attribute(name, *marks.attribute)


class _Marks(NamedTuple):
    """How R writes missing values of a type (rhdf5's ``h5write``)."""

    dtype: numpy.dtype[Any]
    """Type of the elements in the file."""
    missing: Any
    """What stands for a missing one."""
    attribute: tuple[str, Any]
    """What says so."""


def _r_marks(node: Node, dtype: Any) -> _Marks:
    target = numpy.dtype(node.dtype if dtype is None else dtype).newbyteorder("=")
    written = ("rhdf5-NA.OK", numpy.ones(1, numpy.int32))
    if target == numpy.int32:
        return _Marks(target, numpy.int32(numpy.iinfo(numpy.int32).min), written)
    if target == numpy.float64:
        # NA_real_, by its payload.
        return _Marks(target, numpy.uint64(0x7FF0_0000_0000_07A2).view(numpy.float64), written)
    if target == numpy.bool_:
        return _Marks(numpy.dtype(numpy.int8), numpy.int8(-128), ("storage.mode", "logical"))
    raise ValueError(f"R has no missing values of dtype {target}; say dtype='int32' or dtype='float64'")


def _elements(
    node: Node, dtype: Any, casting: Casting, marks: _Marks | None = None
) -> tuple[Callable[[tuple[Index, ...]], Array], numpy.dtype[Any], bool]:
    """How to evaluate a block, of which type its elements are in the file, and whether strings are UTF-8."""
    check_casting(casting)
    if marks is not None:
        dtype = marks.dtype
    source = node.dtype
    is_text = source.kind in "UO" or source.kind == "T"
    if is_text and (dtype is None or numpy.dtype(dtype).kind in "US"):
        asked = None if dtype is None else numpy.dtype(dtype)
        width = 0 if asked is None else asked.itemsize // (4 if asked.kind == "U" else 1)
        if asked is None or asked.kind == "U" or not width:
            width = _longest(node)
        target = numpy.dtype(f"S{max(1, width)}")
    else:
        target = stored_dtype(source if dtype is None else dtype)

    def evaluate(index: tuple[Index, ...]) -> Array:
        block = node.dense(index)[0]
        start = [positions[0] if len(positions) else 0 for positions in index]
        if marks is not None:
            return _marked(block, marks, casting, start)
        block = plain(block)
        if is_text:
            block = _encoded(block)
        return converted(block, target, casting, start)

    return evaluate, target, is_text


def _marked(block: Array, marks: _Marks, casting: Casting, start: Sequence[int]) -> Array:
    """A block with R's missing values where it is masked."""
    mask = numpy.ma.getmaskarray(block)
    values = converted(numpy.ma.filled(block, 0), marks.dtype, casting, start)
    if marks.dtype.kind == "i" and bool(((values == marks.missing) & ~mask).any()):
        raise ValueError(f"the value {marks.missing} is R's missing one, and is not masked; write another dtype")
    return numpy.where(mask, marks.missing, values)


def plain(block: Array) -> Array:
    """A block without masks."""
    if isinstance(block, numpy.ma.MaskedArray):
        if numpy.ma.is_masked(block):
            raise ValueError(
                "masked values cannot be written as they are; fill them first (numpy.ma.filled), with the value that"
                " is to stand for them"
            )
        return numpy.asarray(block.data)
    return block


def _encoded(block: Array) -> Array:
    """Strings as UTF-8 of one length."""
    _, code, _, shape, content = fixed_strings(block)
    return numpy.frombuffer(content, code).reshape(shape)


def _longest(node: Node) -> int:
    """Bytes of the longest string, for which all are read."""
    if math.prod(node.shape) == 0:
        return 1
    blocks = dense_blocks(node, node.shape, BLOCK_BYTES // 64)
    return max(_encoded(plain(node.dense(index)[0])).itemsize for index in blocks)


def put_dimnames(
    file: NewFile,
    name: str,
    shape: Sequence[int],
    dimnames: Sequence[Sequence[str] | None],
    native_order: bool,
) -> None:
    """Write names of an array's axes as R's HDF5Array does (``h5writeDimnames`` of h5mread).

    Args:
        file: A new version of a file.
        name: Of the dataset.
        shape: Of the array.
        dimnames: For each axis of the array its names, or None.
        native_order: Whether the file has the axes in the order of the array.

    Raises:
        ValueError: If there are not as many names as positions.
    """
    if len(dimnames) != len(shape):
        raise ValueError(f"'dimnames' of {len(dimnames)} axes for an array of {len(shape)}")
    folder, _, base = name.strip("/").rpartition("/")
    group = f"{folder}/.{base}_dimnames" if folder else f".{base}_dimnames"
    file.make_room(group, overwrite=True)
    digits = len(str(len(shape)))
    scales = []
    for axis, names in enumerate(dimnames):
        if names is None:
            continue
        texts = [str(one) for one in names]
        if len(texts) != shape[axis]:
            raise ValueError(f"{len(texts)} names for axis {axis}, of extent {shape[axis]}")
        # R counts its own dimensions, the first of which is the file's last.
        number = len(shape) - 1 - axis if native_order else axis
        scale = f"{group}/{number + 1:0{digits}d}"
        file.dataset(scale, fixed_strings(texts))
        scales.append((number, scale))
    if scales:
        file.dimension_scales(name, len(shape), scales, "dimnames")


class DenseSink(FileSink):
    """A dense dataset that is written block by block, in any order: a context manager.

    ``sink[0:100, :] = block`` writes a block. When the body ends, the file is complete and is put in place; if it
    raises, nothing is left of it. Elements that no block has are zero. Blocks of whole chunks are the fastest.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        shape: Sequence[int],
        dtype: numpy.typing.DTypeLike,
        *,
        native_order: bool = False,
        casting: Casting = "exact",
        chunks: Chunks = None,
        access: Access = None,
        compression: Compression = "gzip",
        level: int | None = None,
        shuffle: bool = True,
        overwrite: bool = False,
        paged: bool = False,
        memory: int | None = None,
    ) -> None:
        """Begin.

        Args:
            path: Path to the HDF5 file.
            name: Name of the dataset.
            shape: Extents of the array, one axis at least, none of which is 0.
            dtype: Type of the elements in the file: numbers, booleans or byte strings.
            native_order: Whether the file has the dimensions in the order of the array.
            casting: Whether a value that ``dtype`` does not have is an error.
            chunks: Lengths of a chunk along the array's axes, or "R".
            access: "rows" or "columns".
            compression: "gzip", "zstd", "lz4", "blosc", "blosc-zstd" or None.
            level: How hard the compression tries.
            shuffle: Whether bytes are shuffled.
            overwrite: Whether a dataset or group of this name is replaced.
            paged: Whether a new file has pages of 8 MiB.
            memory: Bytes of incomplete chunks that may wait in memory.

        Raises:
            FileExistsError, BlockingIOError, OSError, ValueError, TypeError: As :py:func:`write_array`.
        """
        self.shape = tuple(map(int, shape))
        self.dtype = stored_dtype(dtype)
        self._path, self._name, self._native_order, self._casting = path, name, native_order, casting
        check_casting(casting)
        if not self.shape or any(extent < 1 for extent in self.shape):
            raise ValueError(f"a shape of {self.shape} has nothing to be written block by block; use 'write_array'")
        options = Options(compression, level, shuffle, memory)
        order = slice(None, None, 1 if native_order else -1)
        lengths = chunk_shape(self.shape, self.dtype.itemsize, chunks, access)
        self.chunk_shape = lengths
        self._file = NewFile(path, "a", paged=paged)
        try:
            self._file.make_room(name, overwrite)
            self._sink = self._file.sink(name, self.shape[order], self.dtype, lengths[order], options)
        except BaseException:
            self._file.discard()
            raise

    def __setitem__(self, key: Any, block: Any) -> None:
        """Write a block.

        Args:
            key: A slice or an integer for each axis, with steps of 1; axes that are left out, or that "..." stands
                for, are whole.
            block: Values, which are broadcast to the shape of the key.

        Raises:
            IndexError: If the key is outside of the shape.
            ValueError: If the block does not have the shape, or a value is none of the dtype.
            OSError: If it cannot be written; then nothing is left of the file.
        """
        ranges, kept = _box(key, self.shape)
        values = plain(numpy.asanyarray(block))
        lengths = [len(one) for one in ranges]
        values = numpy.broadcast_to(values, [lengths[axis] for axis in kept]).reshape(lengths)
        values = converted(values, self.dtype, self._casting, [one.start for one in ranges])
        start = [one.start for one in ranges]
        if self._native_order:
            self._sink.write(start, values)
        else:
            self._sink.write(start[::-1], values.T)

    def close(self) -> Hdf5DenseArray:
        """Complete the file and put it in place.

        Returns:
            The array in the file.

        Raises:
            OSError: If that cannot be done. Then the file is what it was.
        """
        self._complete()
        return Hdf5DenseArray(self._path, self._name, native_order=self._native_order)


def _box(key: Any, shape: Sequence[int]) -> tuple[list[range], list[int]]:
    """Positions along each axis, and the axes that are not integers."""
    items = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in [item for item in items if item is Ellipsis]:
        at = next(number for number, item in enumerate(items) if item is Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(shape) - len(items) + 1)
    if len(items) > len(shape) or any(item is Ellipsis for item in items):
        raise IndexError(f"{len(items)} indices for an array of {len(shape)} axes")
    items += [slice(None)] * (len(shape) - len(items))
    ranges, kept = [], []
    for axis, (item, extent) in enumerate(zip(items, shape, strict=True)):
        if isinstance(item, slice):
            positions = range(extent)[item]
            if positions.step != 1:
                raise IndexError(f"a step of {positions.step} along axis {axis}; blocks have steps of 1")
            stop = item.stop
            if stop is not None and stop > extent:
                raise IndexError(f"index {stop} is out of bounds for axis {axis} with size {extent}")
            ranges.append(range(positions.start, max(positions.start, positions.stop)))
            kept.append(axis)
        else:
            try:
                at = range(extent)[item]
            except TypeError:
                raise IndexError(f"{item!r} along axis {axis}; blocks have slices and integers") from None
            except IndexError:
                raise IndexError(f"index {item} is out of bounds for axis {axis} with size {extent}") from None
            ranges.append(range(at, at + 1))
    return ranges, kept
