"""What the engine is asked for, and what it answers: the same in this process and in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypedDict

import numpy
import numpy.typing

_Array = numpy.typing.NDArray[Any]


class Facts(TypedDict):
    """What the engine's ``facts`` says of a dataset."""

    chunks: tuple[int, ...] | None
    """Shape of a chunk, in the file's order."""
    filters: list[tuple[int, str, list[int]]]
    """Number, name and parameters (``cd_values``) of each filter, in the order in which they were applied."""
    storage_size: int
    """Bytes in the file."""
    value_size: int
    """Bytes of one value, decoded."""
    from_r: bool
    """Whether R's rhdf5 wrote it (attribute ``rhdf5-NA.OK``)."""
    logical: bool
    """Whether integers are R's truth values (attribute ``storage.mode``)."""
    missing_strings: bool
    """Whether strings "NA" are R's missing ones (attribute ``as.na``)."""


Described = tuple[str, bytes, tuple[int, ...] | None, str | None, list[tuple[bytes, str | None]], str]
Attribute = tuple[bytes, str, tuple[int, ...], str, bytes | list[bytes] | list[list[bytes]] | str]


class EndedError(OSError):
    """The process that read a file which is not trusted was ended, or is not asked any more."""


class LateError(EndedError, TimeoutError):
    """It was ended because it took too long."""


class Matrix(Protocol):
    """A compressed sparse matrix; see ``_core.pyi``."""

    def inspect(self) -> tuple[str, str, int]: ...
    def read(
        self, selection: Sequence[Any], dtype: str, index_dtype: str, by_column: bool
    ) -> tuple[numpy.typing.NDArray[numpy.uint64], _Array, _Array]: ...
    def read_dense(self, selection: Sequence[Any], dtype: str, out: numpy.typing.NDArray[numpy.uint8]) -> None: ...


class Engine(Protocol):
    """What seeds ask for; see ``_core.pyi``."""

    def inspect(self, path: str, name: bytes) -> tuple[tuple[int, ...], str, tuple[int, ...] | None]: ...
    def facts(self, path: str, name: bytes) -> Facts: ...
    def read_path(self, path: str, name: bytes) -> str: ...
    def check_dense(self, path: str, name: bytes) -> tuple[int, list[tuple[tuple[int, ...], str]]]: ...
    def read_dense(self, path: str, name: bytes, selection: Sequence[Any], dtype: str, out: _Array) -> None: ...
    def read_points(self, path: str, name: bytes, along: Sequence[Any], dtype: str, out: _Array) -> None: ...
    def read_strings(self, path: str, name: bytes, selection: Sequence[Any]) -> list[bytes]: ...
    def describe(self, path: str, name: bytes) -> Described: ...
    def members(self, path: str, group: bytes) -> list[tuple[bytes, Described]]: ...
    def attributes(self, path: str, name: bytes, wanted: Sequence[bytes]) -> list[Attribute]: ...
    def read_field(self, path: str, dataset: bytes, field: bytes) -> tuple[str, bytes | list[bytes]]: ...
    def SparseMatrix(  # noqa: N802 (a class there)
        self, path: str, data: bytes, indices: bytes, indptr: bytes, shape: tuple[int, int], by_column: bool
    ) -> Matrix: ...
