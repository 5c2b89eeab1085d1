"""What mattress makes of our arrays, for C++ code such as scranpy's.

mattress asks its generic ``initialize`` for each operation and leaf of a delayed tree. What it does not know is read
through Python from the threads of C++. Those of scranpy wait for ever for the GIL, which the function that started them
holds (scranpy includes scran's headers before mattress.h, which would have them let go of it). So nothing of this
package gets there: a tree with one of our seeds in it is evaluated, as for all others who ask for its values, and is
loaded into what mattress knows: scipy's compressed matrices and numpy's arrays; over temporary files if too large.

Imported with the package if mattress is installed, so that it does not matter which of the two is imported first.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import delayedarray
import mattress
import numpy
import numpy.ma
import numpy.typing

from .._compute.elementwise import Elementwise
from .._compute.tree import Compressed, Index, Node, children, compiled
from .._engine.snapshot import one_state
from ..Hdf5CompressedSparseMatrixSeed import Hdf5CompressedSparseMatrixSeed
from ..Hdf5DenseArraySeed import Hdf5DenseArraySeed
from ..Hdf5DualSparseMatrixSeed import Hdf5DualSparseMatrixSeed
from ..ReshapedHdf5ArraySeed import ReshapedHdf5ArraySeed
from . import scratch
from .memory_budget import get_memory_budget

Array = numpy.typing.NDArray[Any]

_unknown = mattress.initialize.dispatch(object)

seeds: dict[type, Callable[[Any], Any]] = {}
"""Classes of seeds that are loaded, and what gives the seed of this package for one of theirs."""


def register(kind: type, ours: Callable[[Any], Any]) -> Callable[[], None]:
    """Have seeds of a class, and of those derived from it, loaded by this package.

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


@one_state
def initialize(
    x: Any,
    _unknown_action: str = "message",
    memory_budget: int | None = None,
    **kwargs: Any,
) -> mattress.InitializedMatrix:
    """See :py:func:`mattress.initialize`: load a matrix that is evaluated.

    Args:
        x: A seed, or operations on some.
        _unknown_action: What mattress should do about matrices that it does not know; "error" makes an error of a
            matrix that is too large, too.
        memory_budget: Bytes that the loaded matrix may take; :py:func:`get_memory_budget` if None.
        kwargs: Nothing else is known here; mattress's own methods ignore them as well.

    Returns:
        The matrix in memory. If it would take more than the budget, one over a temporary file, with a RuntimeWarning.
        Missing values are NaN.

    Raises:
        TypeError: If the matrix is of complex numbers or strings.
        ValueError: If it does not have two dimensions.
        NotImplementedError: If it is too large and ``_unknown_action`` is "error".
        OSError: If it is too large for the folder of temporary files, too.
        IndexError, FileNotFoundError, OSError, MemoryError, KeyboardInterrupt: As for reading.
    """
    while isinstance(x, delayedarray.DelayedArray):
        x = x.seed
    tree = _with_ours(x)
    if tree is None:
        if not _has_ours(x):
            return _unknown(x, _unknown_action=_unknown_action)
        tree = x
    shape = tuple(tree.shape)
    if len(shape) != 2:
        raise ValueError(f"mattress takes matrices, not an array of {len(shape)} dimensions")
    stored = numpy.dtype(tree.dtype)
    if stored.kind not in "biuf":
        raise TypeError(f"mattress takes matrices of real numbers, not of {stored}")
    plan = _planned(tree)
    budget = get_memory_budget() if memory_budget is None else memory_budget
    if plan.needed <= budget:
        return mattress.initialize(plan.loaded())
    message = (
        f"loading a matrix of {shape[0]} x {shape[1]} takes {plan.needed} bytes, more than the budget of {budget}"
        " (set by filebackedarray.set_memory_budget)"
    )
    if _unknown_action == "error":
        raise NotImplementedError(message)
    folder = scratch.folder(plan.needed)
    warnings.warn(
        f"{message}; it is written to a temporary file in {folder} (set by TMPDIR) and read from there instead",
        RuntimeWarning,
        stacklevel=4,  # the dispatcher is in between, and what makes an operation of this,
    )
    return mattress.initialize(plan.mapped(folder))


def _ours(x: Any) -> tuple[bool, Any]:
    """Whether something is a seed that is loaded, and the seed of this package that reads the same, if any."""
    for kind in type(x).__mro__:
        if kind in seeds:
            return True, seeds[kind](x)
    return False, None


def _has_ours(tree: Any) -> bool:
    return _ours(tree)[1] is not None or any(map(_has_ours, children(tree)))


def _with_ours(tree: Any) -> Any:
    """Subsets, transposes and casts of a seed, over the seed of this package; None if there is anything else in it."""
    if type(tree) not in (delayedarray.Subset, delayedarray.Transpose, delayedarray.Cast):
        return _ours(tree)[1]
    seed = _with_ours(tree.seed)
    if seed is None or seed is tree.seed:
        return None if seed is None else tree
    if isinstance(tree, delayedarray.Subset):
        return delayedarray.Subset(seed, tree.subset)
    if isinstance(tree, delayedarray.Transpose):
        return delayedarray.Transpose(seed, tree.perm)
    return delayedarray.Cast(seed, tree.dtype)


class _Plan(NamedTuple):
    """How a matrix is going to be in memory."""

    node: Node
    dtype: numpy.dtype[Any]
    axis: int | None
    """Which one is compressed, of a sparse matrix."""
    index_dtype: numpy.dtype[Any]
    needed: int
    """Bytes that it takes at most. While it is loaded, as much again may be needed for a moment."""

    def loaded(self) -> Any:
        """A scipy or numpy matrix of the values, of a type that mattress knows."""
        everything = tuple(range(extent) for extent in self.node.shape)
        return self._values(everything) if self.axis is None else self._matrix(self._block(everything))

    def mapped(self, folder: str) -> Any:
        """The same over temporary files."""
        if self.axis is None:
            return scratch.dense(self.node, self.dtype, self._values, folder).view(self.dtype)
        return self._matrix(scratch.compressed(self.node, self.axis, self._block, self.dtype, self.index_dtype, folder))

    def _values(self, index: tuple[Index, ...]) -> Array:
        block = self.node.dense(index)[0].astype(self.dtype, copy=False)
        if isinstance(block, numpy.ma.MaskedArray):
            block = block.filled(numpy.nan)
        return block.view(self.dtype)

    def _block(self, index: tuple[Index, ...]) -> Compressed:
        # A subset may have put rows (or columns) in another order; mattress wants theirs increasing.
        return self.node.compressed(index, self.axis == 1).ordered()

    def _matrix(self, block: Compressed) -> Any:
        # Of the very types that mattress knows, and not only of equal ones.
        index = numpy.dtype(f"i{block.indices.dtype.itemsize}")
        return block._replace(
            pointers=block.pointers.view(index),
            indices=block.indices.view(index),
            values=block.values.astype(self.dtype, copy=False).view(self.dtype),
        ).matrix(self.dtype)


def _planned(tree: Any) -> _Plan:
    node = compiled(tree)
    # mattress knows no missing values but NaN.
    dtype = _native(numpy.dtype(numpy.float64) if node.masked and node.dtype.kind != "f" else node.dtype)
    size: int = math.prod(node.shape)
    if not node.sparse:
        return _Plan(node, dtype, None, dtype, size * dtype.itemsize)
    axis = 0 if node.compressed_along(0) > node.compressed_along(1) else 1
    count = min(int(_lengths(tree, axis).sum(dtype=numpy.float64)), size)
    index = 4 if max(*node.shape, count) <= numpy.iinfo(numpy.int32).max else 8
    # Pointers are kept twice: as scipy has them, and as mattress does.
    needed = count * (dtype.itemsize + index) + (int(node.shape[axis]) + 1) * (index + 8)
    return _Plan(node, dtype, axis, numpy.dtype(f"i{index}"), needed)


def _native(dtype: numpy.dtype[Any]) -> numpy.dtype[Any]:
    """The type that mattress knows, of those that hold the same values. It compares types by identity."""
    if dtype.kind == "b":
        return numpy.dtype(numpy.uint8)
    if dtype.kind == "f":
        return numpy.dtype(numpy.float32 if dtype.itemsize <= 4 else numpy.float64)
    return numpy.dtype(f"{dtype.kind}{dtype.itemsize}")


def _lengths(tree: Any, axis: int) -> Array:
    """Number of stored elements of each column (or row), with nothing of them left out."""
    below = children(tree)
    if not below:
        return compiled(tree).stored(axis)
    if isinstance(tree, delayedarray.Transpose):
        return _lengths(tree.seed, tree.perm[axis])
    lengths = [_lengths(child, axis) for child in below]
    if isinstance(tree, delayedarray.Subset):
        return lengths[0][numpy.asarray(tree.subset[axis], dtype=numpy.intp)]
    if isinstance(tree, delayedarray.Combine) and tree.along == axis:
        return numpy.concatenate(lengths)
    return numpy.asarray(numpy.sum(lengths, axis=0))


def _method(kind: type) -> Callable[..., mattress.InitializedMatrix]:
    """What is to be done about a kind of delayed array or operation: nothing new, where there is no seed of ours."""
    theirs = mattress.initialize.dispatch(kind)

    def method(x: Any, **kwargs: Any) -> mattress.InitializedMatrix:
        return initialize(x, **kwargs) if _has_ours(x) else theirs(x, **kwargs)

    return method


def _itself(seed: Any) -> Any:
    return seed


for _kind in (Hdf5DenseArraySeed, Hdf5CompressedSparseMatrixSeed, Hdf5DualSparseMatrixSeed, ReshapedHdf5ArraySeed):
    register(_kind, _itself)
for _operation in (
    *(delayedarray.DelayedArray, delayedarray.Subset, delayedarray.Transpose, delayedarray.Combine, delayedarray.Cast),
    *(delayedarray.Round, delayedarray.UnaryIsometricOpSimple, delayedarray.UnaryIsometricOpWithArgs),
    *(delayedarray.BinaryIsometricOp, Elementwise),
):
    mattress.initialize.register(_operation, _method(_operation))
