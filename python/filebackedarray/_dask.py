"""Dask arrays whose tasks read from the file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy
from delayedarray import extract_dense_array

from ._names import engine_path
from ._reductions import Reductions

if TYPE_CHECKING:
    import dask.array
    import numpy.typing


class _Source:
    """What :py:func:`dask.array.from_array` asks of an array, over a seed. Pickles as the seed does."""

    def __init__(self, seed: Any, chunks: tuple[int, ...]) -> None:
        self._seed = seed
        self.chunks = chunks
        """Dask makes its chunks multiples of these."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._seed.shape)

    @property
    def ndim(self) -> int:
        return len(self._seed.shape)

    @property
    def dtype(self) -> numpy.dtype[Any]:
        dtype: numpy.dtype[Any] = self._seed.dtype
        return dtype

    def __getitem__(self, index: tuple[Any, ...]) -> numpy.typing.NDArray[Any]:
        # An integer takes its dimension away.
        subset = [[i] if isinstance(i, int | numpy.integer) else i for i in index]
        dropped = tuple(axis for axis, i in enumerate(index) if isinstance(i, int | numpy.integer))
        extracted: numpy.typing.NDArray[Any] = extract_dense_array(self._seed, tuple(subset))
        return extracted.squeeze(dropped) if dropped else extracted

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        status = os.stat(self._seed.path)
        return (
            type(self._seed).__qualname__,
            os.path.abspath(engine_path(self._seed.path)),
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            _described(self._seed),
        )


def _described(seed: Any) -> list[Any]:
    """The attributes of a seed and of those in it, as strings that are the same in every process."""
    return sorted(
        (key, str(_described(value) if isinstance(value, Reductions) else value)) for key, value in vars(seed).items()
    )


def dask_array(seed: Any, chunks: tuple[int, ...]) -> dask.array.Array:
    """Make a Dask array of numpy blocks.

    Args:
        seed: A seed of this package.
        chunks: Shape of its chunks in the file, of which Dask's are multiples.

    Returns:
        The array. Its tasks hold the seed, and with that the path; nothing is read yet.
    """
    import dask.array

    array: dask.array.Array = dask.array.from_array(  # type: ignore[no-untyped-call]
        _Source(seed, tuple(max(1, length) for length in chunks)),
        chunks="auto",
        asarray=False,
        fancy=False,
        meta=numpy.empty((0,) * len(seed.shape), seed.dtype),
    )
    return array
