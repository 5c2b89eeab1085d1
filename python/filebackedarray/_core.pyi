"""The engine, written in Rust. Not part of the public interface but for the functions about threads and the cache.

``limit_threads`` is public as a context manager (``_threads``).
"""

import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, final

import numpy
import numpy.typing

from ._engine.types import Facts as _Facts

_Path: TypeAlias = str | os.PathLike[str]
_Array: TypeAlias = numpy.typing.NDArray[Any]
_Bytes: TypeAlias = numpy.typing.NDArray[numpy.uint8]
# Of one axis: (start, length, step), or strictly increasing indices.
_Axis: TypeAlias = tuple[int, int, int] | numpy.typing.NDArray[numpy.uint64]

# What a result of a sweep does with an axis: "keep", "reduce", or (the group of each index, number of groups).
_Use: TypeAlias = str | tuple[numpy.typing.NDArray[numpy.uint32], int]
# One result of a sweep: its axes, and which of "sum", "moments", "extremes", "nonzero" it has.
_View: TypeAlias = tuple[Sequence[_Use], Iterable[str]]
# Kind, identity, shape, dtype, members of compound values with their dtypes, and what is the matter with it.
_Object: TypeAlias = tuple[str, bytes, tuple[int, ...] | None, str | None, list[tuple[bytes, str | None]], str]
# Name, kind ("numbers", "strings", "references" or "other"), shape, dtype of numbers, values: the bytes of numbers;
# strings; for each element the names of the objects that it refers to; why there are none.
_Attribute: TypeAlias = tuple[bytes, str, tuple[int, ...], str, bytes | list[bytes] | list[list[bytes]] | str]
_Progress: TypeAlias = Callable[[int, int], object]

__all__ = [
    "OPTIMISED",
    "Folded",
    "Snapshot",
    "SparseMatrix",
    "Sweep",
    "Writer",
    "add_plugins",
    "after_fork",
    "attributes",
    "available_memory",
    "before_fork",
    "bind_snapshot",
    "check_dense",
    "confine",
    "current_snapshot",
    "describe",
    "facts",
    "file_of",
    "get_num_threads",
    "inspect",
    "limit_threads",
    "members",
    "memory_limit",
    "multiply_dense",
    "only_this_file",
    "read_blocks",
    "read_dense",
    "read_field",
    "read_path",
    "read_points",
    "read_strings",
    "reduce_dense",
    "set_cache_budget",
    "set_num_threads",
]

OPTIMISED: Final[bool]

def inspect(path: _Path, name: bytes) -> tuple[tuple[int, ...], str, tuple[int, ...] | None]: ...
def facts(path: _Path, name: bytes) -> _Facts: ...
def describe(path: _Path, name: bytes) -> _Object: ...
def members(path: _Path, group: bytes) -> list[tuple[bytes, _Object]]: ...
def attributes(path: _Path, name: bytes, wanted: Sequence[bytes]) -> list[_Attribute]: ...
def read_field(path: _Path, dataset: bytes, field: bytes) -> tuple[str, bytes | list[bytes]]: ...
def read_path(path: _Path, name: bytes) -> str: ...
def read_dense(path: _Path, name: bytes, selection: Sequence[_Axis], dtype: str, out: _Array) -> None: ...
def read_points(path: _Path, name: bytes, along: Sequence[_Axis | _Array], dtype: str, out: _Array) -> None:
    """Read elements at points, whose indices along an axis are an array of int64; of other axes a selection for all."""

def multiply_dense(
    path: _Path,
    name: bytes,
    selection: Sequence[_Axis],
    transposed: bool,
    dtype: str,
    right: _Array,
    out: _Array,
    progress: Callable[[int, int], object] | None,
) -> None: ...
def read_strings(path: _Path, name: bytes, selection: Sequence[_Axis]) -> list[bytes]: ...
def reduce_dense(
    path: _Path,
    name: bytes,
    selection: Sequence[_Axis],
    dtype: str,
    views: Sequence[_View],
    skip_nan: bool,
    progress: _Progress | None = None,
) -> list[dict[str, _Array]]: ...
def read_blocks(path: _Path, name: bytes) -> tuple[int, ...]: ...

# A block of a compressed matrix: first row and column, shape, whether it is compressed by column, pointers (uint64),
# indices (int32 or int64), and the bytes of the values.
_Block: TypeAlias = tuple[Sequence[int], Sequence[int], bool, _Array, _Array, _Array]

@final
class Folded: ...

@final
class Sweep:
    """Statistics of an array whose values Python makes: fold blocks in any thread, merge them in one order."""

    def __new__(
        cls,
        shape: Sequence[int],
        chunk: Sequence[int],
        selection: Sequence[_Axis],
        dtype: str,
        views: Sequence[_View],
        *,
        skip_nan: bool,
        masked: bool = False,
        block_bytes: int | None = None,
    ) -> Sweep:
        """Cut a selection of an array with chunks into units, as ``reduce_dense`` does."""

    @staticmethod
    def of_parts(
        shape: Sequence[int], dtype: str, views: Sequence[_View], *, skip_nan: bool, sparse: bool = False
    ) -> Sweep:
        """Take parts that lie anywhere: blocks of a sparse matrix, or statistics of other arrays."""

    def __len__(self) -> int: ...
    def unit(self, number: int) -> list[list[tuple[int, int]]]:
        """Along each axis the first position and the one past the last, of each box to be evaluated."""

    def fold(
        self,
        number: int,
        region: Sequence[tuple[int, int]],
        values: _Array,
        missing: _Array | None = None,
        before: Folded | None = None,
    ) -> Folded:
        """Fold the bytes of a box's values in C order, after the boxes of the unit that came before."""

    def fold_sparse(self, block: _Block) -> Folded | None:
        """Fold stored elements; None if they are too few for all results: ``take_sparse`` is to have them in turn."""

    def take_sparse(self, block: _Block) -> None: ...
    def merge(self, folded: Folded) -> None: ...
    def take_statistics(self, parts: Sequence[tuple[Sequence[int], dict[str, _Array]]]) -> None: ...
    def finish(self) -> list[dict[str, _Array]]: ...

def check_dense(
    path: _Path, name: bytes, progress: _Progress | None = None
) -> tuple[int, list[tuple[tuple[int, ...], str]]]: ...
def add_plugins(folder: _Path) -> None: ...
def only_this_file() -> None:
    """From now on, nothing in a file leads this process to another file, and no plugin is loaded."""

def file_of(path: _Path) -> tuple[int, int]:
    """Device and inode of the regular file that a path leads to, of which nothing is read."""

def confine(path: _Path) -> tuple[tuple[int, int], bool, bool]:
    """Keep this process from everything but reading a file, for good.

    Returns:
        Device and inode of the file; whether the system keeps the process from other files; and whether it keeps it
        from the network, other programs and other processes.
    """

def limit_threads(threads: int | None) -> int | None: ...
def before_fork() -> None: ...
def after_fork() -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> int: ...
def set_cache_budget(bytes: int) -> int: ...
def memory_limit() -> int | None: ...
def available_memory() -> int | None: ...

# Size in bytes and time of modification in nanoseconds; None for a file that is not there.
_State: TypeAlias = tuple[int, int] | None

@final
class Snapshot:
    def __new__(cls) -> Snapshot: ...
    def states(self) -> list[tuple[str, _State]]: ...
    def expect(self, states: Sequence[tuple[_Path, _State]]) -> None: ...
    def verify(self) -> None: ...
    def identity(self, path: _Path) -> list[int] | None: ...
    def note(self, path: _Path, identity: Sequence[int]) -> None: ...

def bind_snapshot(snapshot: Snapshot | None) -> Snapshot | None: ...
def current_snapshot() -> Snapshot | None: ...

@final
class SparseMatrix:
    def __new__(
        cls,
        path: _Path,
        data: bytes,
        indices: bytes,
        indptr: bytes,
        shape: tuple[int, int],
        by_column: bool,
    ) -> SparseMatrix: ...
    def inspect(self) -> tuple[str, str, int]: ...
    def read(
        self, selection: Sequence[_Axis], dtype: str, index_dtype: str, by_column: bool
    ) -> tuple[numpy.typing.NDArray[numpy.uint64], _Array, _Array]: ...
    def read_dense(self, selection: Sequence[_Axis], dtype: str, out: _Bytes) -> None: ...
    def reduce(
        self,
        selection: Sequence[_Axis],
        dtype: str,
        views: Sequence[_View],
        skip_nan: bool,
        progress: _Progress | None = None,
    ) -> list[dict[str, _Array]]: ...
    def multiply(
        self,
        selection: Sequence[_Axis],
        transposed: bool,
        dtype: str,
        right: _Array,
        out: _Array,
        progress: Callable[[int, int], object] | None,
    ) -> bool: ...

# What an attribute or a small dataset holds: ("null", dtype); ("array", dtype, whether strings are UTF-8, shape, bytes
# in the order of rows); ("strings", whether they are UTF-8, shape, a string of variable length for each element). A
# scalar has the shape ().
_Value: TypeAlias = (
    tuple[str, str] | tuple[str, str, bool, Sequence[int], bytes] | tuple[str, bool, Sequence[int], Sequence[bytes]]
)

@final
class Writer:
    """A new version of a file, whole or not at all.

    Everything is made in a temporary file beside the target. ``finish`` checks it and puts it in the target's place; if
    that is not called, or after ``discard``, nothing is left of it. After a call that fails there is nothing to finish.
    Names of objects are paths from the root group; groups on the way are made.
    """

    def __new__(
        cls,
        path: _Path,
        mode: str,
        user_block_size: int = 0,
        user_block: bytes | None = None,
        page_size: int | None = None,
    ) -> Writer:
        """Begin.

        Args:
            path: The target; of a symbolic link, the file that it leads to.
            mode: What becomes of a file that is there: "x", it is an error; "w", it is replaced; "a", it is kept and
                added to.
            user_block_size: Bytes before HDF5's own: 0, or a power of two from 512 on.
            user_block: What stands in them; zeros follow, or are all that does.
            page_size: Bytes of a page, if the file is to have pages (``H5F_FSPACE_STRATEGY_PAGE``).

        Raises:
            BlockingIOError: If another writer is at work on it.
            FileExistsError: If it is there and should not be.
            OSError: What the system says; for "a", if it is not one of HDF5's.
        """

    @property
    def target(self) -> pathlib.Path: ...
    def kind(self, name: bytes) -> str | None:
        """What is of this name: "group", "dataset", "other"; None if nothing is."""

    def create_group(self, name: bytes) -> None: ...
    def copy(self, source: _Path, name: bytes) -> None:
        """Copy an object of another file to the same name, with all that is in it."""

    def delete(self, name: bytes) -> None:
        """Take the link of this name away; its space in the file is not given back."""

    def write_attribute(self, object: bytes, name: bytes, described: _Value) -> None:
        """Write an attribute, in place of one of the same name. ``b"/"`` is the file's root group."""

    def write_dataset(self, name: bytes, described: _Value) -> None:
        """Make a dataset in one piece, not compressed, with its values, which should be few."""

    def create_dataset(
        self,
        name: bytes,
        shape: Sequence[int],
        dtype: str,
        chunks: Sequence[int],
        maxshape: Sequence[int | None] | None = None,
        compression: str | None = None,
        level: int | None = None,
        shuffle: bool = True,
        fill: bytes | None = None,
        utf8: bool = True,
        memory: int | None = None,
    ) -> int:
        """Make a dataset of chunks with one axis at least.

        Args:
            name: Its path.
            shape: Extent of each axis.
            dtype: numpy's code for the elements in the file.
            chunks: Shape of a chunk.
            maxshape: Maximum extents, None for an axis without one; ``shape`` if not given.
            compression: "gzip", "zstd", "lz4", "blosc", "blosc-zstd" or None.
            level: Of the compression; None for what is usual.
            shuffle: Whether bytes are shuffled first, if they are compressed.
            fill: Bytes of the value of elements that are not written; zero if not given.
            utf8: Whether strings of one length are UTF-8.
            memory: Bytes of incomplete chunks that may wait in memory; 64 MiB if not given.

        Returns:
            Its number, for ``write_block``, ``append`` and ``shape``.

        Raises:
            FileExistsError: If there is something of this name.
            ValueError: For chunks or a compression that cannot be.
        """

    def write_block(self, dataset: int, start: Sequence[int], block: _Array) -> None:
        """Write a block, whose first element is at ``start``, in any order of blocks. Its dtype is the dataset's."""

    def append(self, dataset: int, block: _Array) -> None:
        """Write a block behind the last index of the first axis, which grows by that."""

    def shape(self, dataset: int) -> tuple[int, ...]: ...
    def set_scale(self, dataset: bytes, name: bytes) -> None:
        """Make a dataset a dimension scale (``H5DSset_scale``)."""

    def attach_scales(self, dataset: bytes, rank: int, scales: Sequence[tuple[int, bytes]]) -> None:
        """Attach scales to axes of a dataset of ``rank`` axes, all that it is to have (``H5DSattach_scale``)."""

    def finish(self) -> None:
        """Check what was written, and put it in the target's place.

        Raises:
            OSError: If that cannot be done. Then the target is what it was.
        """

    def discard(self) -> None:
        """Give it up. The target is what it was."""
