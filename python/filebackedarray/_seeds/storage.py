"""How what an array shows is stored: chunks, filters, bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from .._engine import engine
from .._engine.names import engine_name, engine_path
from .._engine.snapshot import Operations
from .._engine.types import Facts

__all__ = ["Members"]

T = TypeVar("T")


class Members(NamedTuple, Generic[T]):
    """A fact about each of the three datasets of a compressed sparse matrix."""

    data: T
    indices: T
    indptr: T


_BLOSC = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
_BITSHUFFLE = {2: "lz4", 3: "zstd"}


def _blosc(values: Sequence[int]) -> str:
    # cd_values: version twice, type size, chunk size, level, shuffle, compressor; the last three may be left out.
    level = f" {values[4]}" if len(values) > 4 else ""
    code = values[6] if len(values) > 6 else 0
    return f" {_BLOSC[code] if code < len(_BLOSC) else code}{level}"


def _as_they_are(values: Sequence[int]) -> str:
    return "".join(f" {value}" for value in values)


def _bitshuffle(values: Sequence[int]) -> str:
    # cd_values: version twice, element size, block size, compressor, level.
    return f" {_BITSHUFFLE.get(values[4], values[4])}" if len(values) > 4 and values[4] else ""


_OPTIONS: dict[int, Callable[[Sequence[int]], str]] = {
    1: lambda values: f" {values[0]}" if values else "",  # deflate: level
    2: lambda values: "",  # shuffle: the size of an element
    3: lambda values: "",  # fletcher32
    4: lambda values: f" {values[1]}" if len(values) > 1 else "",  # szip: pixels per block
    5: lambda values: "",  # nbit: a description of the type
    6: lambda values: f" {values[1]}" if len(values) > 1 else "",  # scale-offset: digits or bits
    32000: lambda values: "",  # lzf: version, version, chunk size
    32001: _blosc,
    32008: _bitshuffle,
    32026: _blosc,
}
"""What a user chose, of the parameters of a filter; those of others are shown as they are."""


def filter_names(filters: Sequence[tuple[int, str, Sequence[int]]]) -> tuple[str, ...]:
    """Names of filters with their options.

    Args:
        filters: As in :py:class:`Facts`.

    Returns:
        For each its name, or its registered number if it has none, and what was chosen when the file was written.
    """
    return tuple((name or str(number)) + _OPTIONS.get(number, _as_they_are)(values) for number, name, values in filters)


class DenseFacts(Operations):
    """How a dense dataset is stored. Asked of the file each time, as it is then."""

    def _stored(self) -> Any:
        """The seed that reads the dataset."""
        return getattr(self, "_seed", self)

    @property
    def chunk_shape(self) -> tuple[int, ...] | None:
        """Shape of a chunk in the file, its axes in the array's order; None if the dataset is not chunked.

        h5py calls it ``chunks``. Arrays of this package have no attribute of that name, because xarray takes an array
        that has one for an array of Dask's kind.
        """
        seed = self._stored()
        chunks = find(seed, seed.name)["chunks"]
        return chunks if chunks is None or seed._native_order else chunks[::-1]

    @property
    def filters(self) -> tuple[str, ...]:
        """The filters of the chunks in the order in which they were applied, with their options.

        For example ``("shuffle", "deflate 6")``; empty if nothing is compressed.
        """
        seed = self._stored()
        return filter_names(find(seed, seed.name)["filters"])

    @property
    def storage_size(self) -> int:
        """Bytes that the values take in the file, after compression.

        Chunks that were never written take none. Strings of variable length are kept apart from their dataset, and
        only the references to them are counted; a virtual dataset has no values of its own.
        """
        seed = self._stored()
        return find(seed, seed.name)["storage_size"]

    @property
    def compression_ratio(self) -> float:
        """Bytes of the values, in the file's type, per byte that they take in the file.

        Infinite if nothing was ever written, NaN if there are no values.
        """
        seed = self._stored()
        facts = find(seed, seed.name)
        return _ratio(math.prod(seed.shape) * facts["value_size"], facts["storage_size"])


class SparseFacts(Operations):
    """How a compressed sparse matrix is stored. Asked of the file each time, as it is then."""

    def _stored(self) -> Any:
        """The seed that reads the matrix."""
        return getattr(self, "_seed", self)

    def _members(self) -> Members[Facts]:
        seed = self._stored()
        return Members(*(find(seed, name) for name in (seed.data_name, seed.indices_name, seed.indptr_name)))

    @property
    def nnz(self) -> int:
        """Number of elements that are stored.

        Zeros that are stored count, and so does each of several elements in one place: it may be more than
        ``count_nonzero()``, for which the values are read.
        """
        count: int = self._stored()._matrix().inspect()[2]
        return count

    @property
    def sparsity(self) -> float:
        """Fraction of the elements that are not stored and therefore zero, as R's ``sparsity()``.

        See :py:attr:`nnz` for what counts as stored. NaN if the matrix has no elements.
        """
        rows, columns = self._stored().shape
        return 1 - self.nnz / (rows * columns) if rows and columns else math.nan

    @property
    def chunk_shape(self) -> Members[int | None]:
        """Length of a chunk of ``data``, ``indices`` and ``indptr``; None where there are no chunks."""
        return Members(*(None if facts["chunks"] is None else facts["chunks"][0] for facts in self._members()))

    @property
    def filters(self) -> Members[tuple[str, ...]]:
        """The filters of ``data``, ``indices`` and ``indptr``, in the order in which they were applied."""
        return Members(*(filter_names(facts["filters"]) for facts in self._members()))

    @property
    def storage_size(self) -> int:
        """Bytes that ``data``, ``indices`` and ``indptr`` take in the file, after compression."""
        return sum(facts["storage_size"] for facts in self._members())

    @property
    def compression_ratio(self) -> float:
        """Bytes of the three datasets, decoded, per byte that they take in the file: what the filters save.

        What is saved by not storing zeros is not in it.
        """
        seed, members, count = self._stored(), self._members(), self.nnz
        lengths = (count, count, seed.shape[1 if seed.by_column else 0] + 1)
        decoded = sum(length * facts["value_size"] for length, facts in zip(lengths, members, strict=True))
        return _ratio(decoded, sum(facts["storage_size"] for facts in members))


def find(seed: Any, name: str) -> Facts:
    """Ask how a dataset in a seed's file is stored."""
    return engine(seed._untrusted).facts(engine_path(seed.path), engine_name(name))


def _ratio(decoded: int, stored: int) -> float:
    if stored == 0:
        return math.inf if decoded else math.nan
    return decoded / stored
