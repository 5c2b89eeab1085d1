"""Our methods for the seeds of hdf5array, so that packages which make those are as fast without a change."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

import numpy
from delayedarray import chunk_grid, create_dask_array, extract_dense_array, extract_sparse_array
from delayedarray.to_scipy_sparse_matrix import to_scipy_sparse_matrix

from .._compute.reductions import Reductions
from .._engine.snapshot import one_state
from ..Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrix, Hdf5CompressedSparseMatrixSeed
from ..Hdf5DenseArraySeed import Hdf5DenseArraySeed

Seed = Hdf5DenseArraySeed | Hdf5CompressedSparseMatrixSeed

_KINDS = "biufc"
"""Types for which both packages read the same values. Others are left to hdf5array."""

_METHODS = ("sum", "mean", "var", "any", "all")
"""What a delayed array asks of its seed, if it has that."""

_lock = threading.RLock()
_holders: set[Acceleration] = set()
"""Who wants it; without any, hdf5array has its own methods."""
_undo: list[Callable[[], None]] = []
_seeds: weakref.WeakKeyDictionary[Any, Seed] = weakref.WeakKeyDictionary()


class Acceleration:
    """What :py:func:`accelerate` returns; at the end of a ``with`` block of it, what it did is undone."""

    def __enter__(self) -> Acceleration:
        # It may have ended before.
        _hold(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _lock:
            _holders.discard(self)
            if not _holders:
                _restore()


def accelerate() -> Acceleration:
    """Have this package read the arrays of ``hdf5array``, for all threads of this process.

    Packages that make ``hdf5array.Hdf5DenseArray`` and ``hdf5array.Hdf5CompressedSparseMatrix`` are then as fast as if
    they made ours, without a change. It replaces the methods that hdf5array has registered with delayedarray's generics
    for its seeds (``extract_dense_array``, ``extract_sparse_array``, ``chunk_grid``, ``to_scipy_sparse_matrix``,
    ``create_dask_array``), adds to its seeds the statistics that a delayed array without operations asks them for
    (``sum``, ``mean``, ``var``, ``any``, ``all``), and registers them with :py:func:`mattress.initialize` if mattress
    is installed. Arrays that exist already are read so as well. Datasets that are not of numbers or booleans are left
    to hdf5array.

    It may be called as often as one likes. :py:func:`decelerate` undoes it; so does, what it did itself, the end of a
    block ``with filebackedarray.accelerate():``, unless it has been called without a block besides, or another block
    is still at work in another thread.

    Returns:
        A context manager.

    Raises:
        ImportError: If hdf5array is not installed. Nothing is changed then.
    """
    acceleration = Acceleration()
    _hold(acceleration)
    return acceleration


def _hold(acceleration: Acceleration) -> None:
    try:
        import hdf5array
    except ImportError as error:
        raise ImportError(
            "accelerate() is about the package hdf5array, which cannot be imported: pip install hdf5array"
        ) from error
    with _lock:
        if not _holders:
            _replace(hdf5array)
        _holders.add(acceleration)


def decelerate() -> None:
    """Undo all calls of :py:func:`accelerate`: hdf5array reads its arrays itself again. Without those, does nothing."""
    with _lock:
        _holders.clear()
        _restore()


def _restore() -> None:
    while _undo:
        _undo.pop()()


def _replace(hdf5array: ModuleType) -> None:
    if hdf5array.Hdf5DenseArraySeed is Hdf5DenseArraySeed:
        return  # ours in its place: see the documentation
    # There if mattress is installed.
    _mattress = sys.modules.get(f"{__package__}.mattress")
    dense, sparse = hdf5array.Hdf5DenseArraySeed, hdf5array.Hdf5CompressedSparseMatrixSeed
    try:
        for kind in (dense, sparse):
            for generic in (extract_dense_array, chunk_grid, create_dask_array):
                _register(generic, kind)
            for name in _METHODS:
                _add_method(kind, name)
            if _mattress is not None:
                _undo.append(_mattress.register(kind, _ours))
        _register(extract_sparse_array, sparse)
        _register(to_scipy_sparse_matrix, hdf5array.Hdf5CompressedSparseMatrix)
    except BaseException:
        _restore()
        raise


def _ours(theirs: Any) -> Seed | None:
    """The seed of this package that reads the same.

    Args:
        theirs: A seed of hdf5array.

    Returns:
        The seed, which is kept as long as theirs is; None if it is not of numbers.
    """
    if numpy.dtype(theirs.dtype).kind not in _KINDS:
        return None
    with _lock:
        seed = _seeds.get(theirs)
    if seed is None:
        dtype = numpy.dtype(theirs.dtype)
        if hasattr(theirs, "by_column"):
            seed = Hdf5CompressedSparseMatrixSeed(
                theirs.path,
                theirs.group_name,
                theirs.shape,
                theirs.by_column,
                dtype=dtype,
                index_dtype=theirs.index_dtype,
                data_name=theirs.data_name,
                indices_name=theirs.indices_name,
                indptr_name=theirs.indptr_name,
            )
        else:
            seed = Hdf5DenseArraySeed(theirs.path, theirs.name, dtype=dtype, native_order=theirs._native_order)
        with _lock:
            seed = _seeds.setdefault(theirs, seed)
    return seed


def _register(generic: Any, kind: type) -> None:
    """Have a generic call our method for what we read, and the one from before for all else."""
    original = generic.dispatch(kind)

    @one_state
    def method(x: Any, *args: Any, **kwargs: Any) -> Any:
        seed = _ours(getattr(x, "seed", x))
        if seed is None:
            return original(x, *args, **kwargs)
        if isinstance(seed, Hdf5CompressedSparseMatrixSeed) and generic is to_scipy_sparse_matrix:
            return generic(Hdf5CompressedSparseMatrix(seed, None, None, None), *args, **kwargs)
        return generic(seed, *args, **kwargs)

    generic.register(kind, method)
    _undo.append(lambda: generic.register(kind, original))


def _add_method(kind: type, name: str) -> None:
    """Give a class one of our statistics."""
    statistic = getattr(Reductions, name)

    @one_state
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        # For types that we do not read: as delayedarray does it by blocks, through the generics.
        seed = _ours(self)
        return statistic(self if seed is None else seed, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = statistic.__doc__
    setattr(kind, name, method)
    _undo.append(lambda: delattr(kind, name))
