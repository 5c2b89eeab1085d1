"""What mattress makes of our arrays, for C++ code such as scranpy's.

mattress asks its generic ``initialize`` for each leaf of a delayed tree. What it does not know is read through Python,
row by row, from the threads of C++, and those wait for ever for the GIL that their caller holds. So matrices of this
package are loaded, in one parallel read, into what mattress knows: scipy's compressed matrices and numpy's arrays.

Imported with the package if mattress is installed, so that it does not matter which of the two is imported first.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import delayedarray
import mattress
import numpy
import numpy.typing
import scipy.sparse

from ._budget import get_memory_budget
from ._trees import compiled
from .Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrixSeed
from .Hdf5DenseArraySeed import Hdf5DenseArraySeed

Seed = Hdf5DenseArraySeed | Hdf5CompressedSparseMatrixSeed

_subset = mattress.initialize.dispatch(delayedarray.Subset)
_unknown = mattress.initialize.dispatch(object)

seeds: dict[type, Callable[[Any], Seed | None]] = {}
"""Classes of seeds that are loaded, and what gives the seed of this package for one of theirs."""


def register(kind: type, ours: Callable[[Any], Seed | None]) -> Callable[[], None]:
    """Have seeds of a class loaded by this package.

    Args:
        kind: The class.
        ours: Gives the seed of this package that reads the same, or None for what it does not read.

    Returns:
        A function that undoes it.
    """
    original = mattress.initialize.dispatch(kind)

    def undo() -> None:
        seeds.pop(kind, None)
        mattress.initialize.register(kind, original)

    seeds[kind] = ours
    mattress.initialize.register(kind, initialize)
    return undo


def initialize(
    x: Any, _unknown_action: str = "message", memory_budget: int | None = None, **kwargs: Any
) -> mattress.InitializedMatrix:
    """See :py:func:`mattress.initialize`: load a matrix, or a part of it.

    Args:
        x: A seed, or one behind subsets, transposes and casts.
        _unknown_action: What mattress should do about matrices that it does not know; "error" makes an error of a
            matrix that is too large, too.
        memory_budget: Bytes that the loaded matrix may take; :py:func:`get_memory_budget` if None.
        kwargs: Nothing else is known here; mattress's own methods ignore them as well.

    Returns:
        The matrix in memory. If it would take more than the budget, one that reads through Python, with a
        RuntimeWarning.

    Raises:
        TypeError: If the matrix is of complex numbers or strings.
        ValueError: If it does not have two dimensions.
        NotImplementedError: If it is too large and ``_unknown_action`` is "error".
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    tree = _with_ours(x)
    if tree is None:
        return _unknown(x, _unknown_action=_unknown_action)
    shape = tuple(tree.shape)
    if len(shape) != 2:
        raise ValueError(f"mattress takes matrices, not an array of {len(shape)} dimensions")
    stored = numpy.dtype(tree.dtype)
    if stored.kind not in "biuf":
        raise TypeError(f"mattress takes matrices of real numbers, not of {stored}")
    dtype = _native(stored)
    needed = _bytes(tree, dtype)
    budget = get_memory_budget() if memory_budget is None else memory_budget
    if needed > budget:
        message = (
            f"loading a matrix of {shape[0]} x {shape[1]} takes {needed} bytes, more than the budget of {budget}"
            " (set by filebackedarray.set_memory_budget)"
        )
        if _unknown_action == "error":
            raise NotImplementedError(message)
        warnings.warn(
            f"{message}; it is read through Python instead, slowly, and with more than one thread mattress hangs:"
            " use num_threads=1",
            RuntimeWarning,
            stacklevel=3,  # the dispatcher is in between,
        )
        return _unknown(delayedarray.DelayedArray(tree), _unknown_action="none")
    return mattress.initialize(_loaded(tree, dtype))


def _seed(x: Any) -> tuple[Seed | None, bool]:
    """The seed of this package that a tree is a part of, if there is nothing else in it; and whether it was theirs."""
    while type(x) in (delayedarray.Subset, delayedarray.Transpose, delayedarray.Cast):
        x = x.seed
    ours = seeds.get(type(x))
    if ours is None:
        return None, False
    seed = ours(x)
    return seed, seed is not x


def _with_ours(x: Any) -> Any:
    """A tree over a seed of this package; None if it is over something else."""
    seed, other = _seed(x)
    return _replaced(x, seed) if seed is not None and other else x if seed is not None else None


def _replaced(x: Any, seed: Seed) -> Any:
    if isinstance(x, delayedarray.Subset):
        return delayedarray.Subset(_replaced(x.seed, seed), x.subset)
    if isinstance(x, delayedarray.Transpose):
        return delayedarray.Transpose(_replaced(x.seed, seed), x.perm)
    if isinstance(x, delayedarray.Cast):
        return delayedarray.Cast(_replaced(x.seed, seed), x.dtype)
    return seed


def _native(dtype: numpy.dtype[Any]) -> numpy.dtype[Any]:
    """The type that mattress knows, of those that hold the same values. It compares types by identity."""
    if dtype.kind == "b":
        return numpy.dtype(numpy.uint8)
    if dtype.kind == "f":
        return numpy.dtype(numpy.float32 if dtype.itemsize <= 4 else numpy.float64)
    return numpy.dtype(f"{dtype.kind}{dtype.itemsize}")


def _bytes(tree: Any, dtype: numpy.dtype[Any]) -> int:
    """What the loaded matrix takes at most. While it is loaded, as much again may be needed for a moment."""
    size: int = math.prod(tree.shape)
    seed, _ = _seed(tree)
    if not isinstance(seed, Hdf5CompressedSparseMatrixSeed):
        return size * dtype.itemsize
    axis = _compressed_axis(tree)
    count = min(int(_lengths(tree, axis).sum(dtype=numpy.float64)), size)
    index = 4 if max(*tree.shape, count) <= numpy.iinfo(numpy.int32).max else 8
    # Pointers are kept twice: as scipy has them, and as mattress does.
    return count * (dtype.itemsize + index) + (int(tree.shape[axis]) + 1) * (index + 8)


def _compressed_axis(tree: Any) -> int:
    if isinstance(tree, Hdf5CompressedSparseMatrixSeed):
        return 1 if tree.by_column else 0
    axes: tuple[int, ...] = tree.perm if isinstance(tree, delayedarray.Transpose) else (0, 1)
    return axes.index(_compressed_axis(tree.seed))


def _lengths(tree: Any, axis: int) -> numpy.typing.NDArray[Any]:
    """Number of stored elements of each column (or row), with nothing of them left out."""
    if isinstance(tree, delayedarray.Transpose):
        return _lengths(tree.seed, tree.perm[axis])
    if isinstance(tree, delayedarray.Cast):
        return _lengths(tree.seed, axis)
    if isinstance(tree, delayedarray.Subset):
        lengths = _lengths(tree.seed, axis)
        return lengths[numpy.asarray(tree.subset[axis], dtype=numpy.intp)]
    return compiled(tree).stored(axis)


def _loaded(tree: Any, dtype: numpy.dtype[Any]) -> Any:
    """A scipy or numpy matrix of the values, of a type that mattress knows."""
    node = compiled(tree)
    everything: Sequence[range] = [range(extent) for extent in node.shape]
    if not node.sparse:
        return node.dense(everything)[0].astype(dtype, copy=False).view(dtype)
    block = node.compressed(everything)
    make = scipy.sparse.csc_matrix if block.by_column else scipy.sparse.csr_matrix
    index = numpy.dtype(f"i{block.indices.dtype.itemsize}")
    parts = (
        block.values.astype(dtype, copy=False).view(dtype),
        block.indices.view(index),
        block.pointers.view(index),
    )
    matrix = make(parts, shape=block.shape)
    # A subset may have put rows (or columns) in another order; mattress wants theirs increasing.
    matrix.sort_indices()
    return matrix


def _initialize_part(x: Any, **kwargs: Any) -> mattress.InitializedMatrix:
    """A subset: only what it takes is read. Of anything else, as mattress does it."""
    return _subset(x, **kwargs) if _with_ours(x) is None else initialize(x, **kwargs)


def _initialize_cast(x: Any, _unknown_action: str = "message", **kwargs: Any) -> mattress.InitializedMatrix:
    """A conversion, which mattress does not know."""
    if _with_ours(x) is None:
        return _unknown(x, _unknown_action=_unknown_action, **kwargs)
    return initialize(x, _unknown_action=_unknown_action, **kwargs)


def _itself(seed: Any) -> Any:
    return seed


register(Hdf5DenseArraySeed, _itself)
register(Hdf5CompressedSparseMatrixSeed, _itself)
mattress.initialize.register(delayedarray.Subset, _initialize_part)
mattress.initialize.register(delayedarray.Cast, _initialize_cast)
