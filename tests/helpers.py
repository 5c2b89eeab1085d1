"""Oracles, writers and comparisons that the tests share."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from delayedarray import SparseNdarray

from filebackedarray import _core

Subset = Sequence[Any]


def read_path(path: str | os.PathLike[str], name: str) -> str:
    """Which way the package reads a dataset: "direct" or "libhdf5: <reason>"."""
    return _core.read_path(os.fspath(path), name.encode())


def assert_direct(path: str | os.PathLike[str], name: str) -> None:
    assert read_path(path, name) == "direct"


def assert_libhdf5(path: str | os.PathLike[str], name: str) -> None:
    assert read_path(path, name).startswith("libhdf5")


def positions(subset: Any, extent: int) -> numpy.ndarray:
    """One axis of a subset as an integer array, as numpy understands it."""
    if isinstance(subset, slice):
        subset = range(*subset.indices(extent))
    if isinstance(subset, range):
        return numpy.arange(subset.start, subset.stop, subset.step, dtype=numpy.int64)
    return numpy.asarray(list(subset), dtype=numpy.int64)


def take(data: numpy.ndarray, subset: Subset) -> numpy.ndarray:
    """What extracting this subset from this array must give."""
    return data[numpy.ix_(*[positions(s, n) for s, n in zip(subset, data.shape, strict=True)])]


def everything(shape: Sequence[int]) -> tuple[range, ...]:
    return tuple(range(n) for n in shape)


def convert(data: numpy.ndarray, dtype: Any) -> numpy.ndarray:
    """numpy's astype without its warnings: the conversion is asked for on purpose."""
    with numpy.errstate(all="ignore"):
        return data.astype(dtype)


def _unsigned_view(array: numpy.ndarray) -> numpy.ndarray:
    contiguous = numpy.ascontiguousarray(array)
    return contiguous.view(f"u{array.dtype.itemsize}").reshape(array.shape)


def assert_identical(got: Any, want: numpy.ndarray, *, bits: bool = False) -> None:
    """Same type, shape and values; with `bits` also the same NaN payloads and signs of zero."""
    assert isinstance(got, numpy.ndarray)
    assert type(got) is numpy.ndarray
    # str tells byte orders apart, where == of two dtypes would too but prints less.
    assert got.dtype.str == want.dtype.str
    assert got.shape == want.shape
    if bits:
        numpy.testing.assert_array_equal(_unsigned_view(got), _unsigned_view(want))
    else:
        numpy.testing.assert_array_equal(got, want)


def assert_same_parameters(ours: type, theirs: type) -> None:
    """Ours takes whatever theirs takes; what it takes besides has to be named."""

    def plain(constructor: type) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(constructor).parameters.values()
        return [(p.name, p.kind, p.default) for p in parameters]

    count = len(plain(theirs))
    assert plain(ours)[:count] == plain(theirs)
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for _, kind, _ in plain(ours)[count:])


def assert_order(array: numpy.ndarray, order: str) -> None:
    """The documented memory order: "C" or "F"."""
    flag = "C_CONTIGUOUS" if order == "C" else "F_CONTIGUOUS"
    assert array.flags[flag], array.flags
    # The caller owns the result and may write to it.
    assert array.flags.writeable


@dataclass
class Compressed:
    """A compressed sparse matrix as it stands on disk, with its dense meaning."""

    data: numpy.ndarray
    indices: numpy.ndarray
    indptr: numpy.ndarray
    shape: tuple[int, int]
    by_column: bool

    def dense(self, dtype: Any = None) -> numpy.ndarray:
        """Values are converted first and repeated entries summed in file order after, as scipy."""
        values = convert(self.data, self.data.dtype if dtype is None else dtype)
        primary = numpy.repeat(numpy.arange(len(self.indptr) - 1), numpy.diff(self.indptr.astype(numpy.int64)))
        secondary = self.indices.astype(numpy.int64)
        out = numpy.zeros(self.shape, dtype=values.dtype)
        where = (secondary, primary) if self.by_column else (primary, secondary)
        with numpy.errstate(all="ignore"):
            numpy.add.at(out, where, values)
        return out

    def stored(self) -> numpy.ndarray:
        """Where the file has an entry, explicit zeros included."""
        ones = Compressed(numpy.ones(len(self.data), bool), self.indices, self.indptr, self.shape, self.by_column)
        return ones.dense()

    def write(self, path: str | os.PathLike[str], group: str = "m", **options: Any) -> None:
        with h5py.File(path, "w") as handle:
            for name in ("data", "indices", "indptr"):
                values = getattr(self, name)
                # h5py cannot chunk a dataset without elements, nor by more than it has.
                usable = dict(options) if values.size else {}
                if "chunks" in usable and "maxshape" not in usable:
                    usable["chunks"] = (min(usable["chunks"][0], values.size),)
                handle.create_dataset(f"{group}/{name}", data=values, **usable)


def random_compressed(
    shape: tuple[int, int],
    by_column: bool,
    *,
    seed: int = 0,
    density: float = 0.2,
    dtype: Any = "f8",
    index_dtype: Any = "i4",
    indptr_dtype: Any = "i8",
) -> Compressed:
    """A canonical random matrix: sorted, no repeats, no explicit zeros, some empty columns."""
    rng = numpy.random.default_rng(seed)
    filled = rng.random(shape) < density
    if shape[0] > 2 and shape[1] > 2:
        filled[:, 1] = False
        filled[1, :] = False
    by_primary = filled.T if by_column else filled
    primary, secondary = numpy.nonzero(by_primary)
    counts = numpy.bincount(primary, minlength=by_primary.shape[0])
    values = rng.integers(1, 100, size=len(primary))
    return Compressed(
        data=values.astype(dtype),
        indices=secondary.astype(index_dtype),
        indptr=numpy.concatenate([[0], numpy.cumsum(counts)]).astype(indptr_dtype),
        shape=shape,
        by_column=by_column,
    )


def assert_sparse(
    got: Any,
    want: numpy.ndarray,
    index_dtype: Any,
    *,
    stored: numpy.ndarray | None = None,
) -> None:
    """A SparseNdarray that is well formed to the letter and means the same as a dense array.

    `stored` says where entries must be; without it, an entry stands where the value is not zero.
    """
    assert isinstance(got, SparseNdarray)
    assert tuple(got.shape) == want.shape
    assert got.dtype.str == want.dtype.str
    index_dtype = numpy.dtype(index_dtype)
    assert got.index_dtype.str == index_dtype.str
    assert got.is_masked is False
    if stored is None:
        stored = want != 0

    if not stored.any():
        assert got.contents is None
        return
    assert isinstance(got.contents, list)
    assert len(got.contents) == want.shape[1]
    for column, content in enumerate(got.contents):
        rows = numpy.flatnonzero(stored[:, column])
        if len(rows) == 0:
            assert content is None
            continue
        assert isinstance(content, tuple)
        assert len(content) == 2
        index, values = content
        assert type(index) is numpy.ndarray
        assert type(values) is numpy.ndarray
        assert index.dtype.str == index_dtype.str
        assert values.dtype.str == want.dtype.str
        numpy.testing.assert_array_equal(index, rows)
        numpy.testing.assert_array_equal(values, want[rows, column])


def dense_of(anything: Any) -> numpy.ndarray:
    """A scipy matrix or an array as a plain array."""
    return anything.toarray() if hasattr(anything, "toarray") else numpy.asarray(anything)


def run_python(
    code: str,
    *arguments: str | os.PathLike[str],
    timeout: float = 60,
    env: dict[str, str] | None = None,
) -> str:
    """Run a script in a fresh interpreter; its output. A deadlock there fails here in `timeout` s.

    Tests whose subject is the whole process (signals, memory, environment) cannot share ours.
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def message(error: BaseException) -> str:
    """An exception's text. str() of a KeyError puts quotes around it and escapes what is inside."""
    if isinstance(error, KeyError):
        return str(error.args[0])
    return str(error)


def mentions(error: BaseException, *parts: str | os.PathLike[str]) -> None:
    text = message(error)
    for part in parts:
        assert os.fspath(part) in text, f"{os.fspath(part)!r} is not in {text!r}"


@contextmanager
def error_naming(
    expected: type[BaseException] | tuple[type[BaseException], ...], *parts: str | os.PathLike[str]
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """As pytest.raises, and the message names all of these: the file, the dataset, and so on."""
    with pytest.raises(expected) as caught:
        yield caught
    mentions(caught.value, *parts)


def write_damaged(path: Path, offset: int, replacement: bytes) -> None:
    """Overwrite some bytes of a file in place."""
    with open(path, "r+b") as handle:
        handle.seek(offset)
        handle.write(replacement)


def damaged_copies(path: Path, damages: Sequence[tuple[int, bytes]]) -> Iterator[Path]:
    """A copy of a file beside it for each offset and replacement, deleted when the next one is asked for.

    All are written before the first is read: every read of a file that has changed just now takes some milliseconds.
    """
    content = path.read_bytes()
    copies = []
    for number, (offset, replacement) in enumerate(damages):
        copy = path.with_name(f"{path.stem}-{number}{path.suffix}")
        copy.write_bytes(content[:offset] + replacement + content[offset + len(replacement) :])
        copies.append(copy)
    assert copies
    for copy in copies:
        yield copy
        copy.unlink()
