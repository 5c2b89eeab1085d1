"""Functions of numpy's that work element by element and that delayedarray has no operation for, delayed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy
import numpy.typing
from delayedarray import (
    DelayedArray,
    SparseNdarray,
    chunk_grid,
    create_dask_array,
    extract_dense_array,
    extract_sparse_array,
    is_masked,
    is_sparse,
)
from delayedarray.DelayedOp import DelayedOp

from .._engine.snapshot import one_state
from .arguments import has_mask

Array = numpy.typing.NDArray[Any]


def broadcast_shape(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Find the shape of arrays that are broadcast against each other.

    It does what :py:func:`numpy.broadcast_shapes` does, which refuses more elements than memory has addresses.

    Args:
        shapes: Shape of each array.

    Returns:
        The shape that all have then.

    Raises:
        ValueError: If there is none.
    """
    extents = []
    for along in zip_longest(*map(reversed, shapes), fillvalue=1):
        others = {extent for extent in along if extent != 1}
        if len(others) > 1:
            raise ValueError(
                f"operands of shapes {' and '.join(map(str, map(tuple, shapes)))} cannot be broadcast together"
            )
        extents.append(others.pop() if others else 1)
    return tuple(reversed(extents))


class Elementwise(DelayedOp):  # type: ignore[misc]
    """A function of one or more arrays, element by element, with numpy's broadcasting.

    The result is masked where one of the arrays is. It is sparse if there is one array, which is sparse, all other
    operands are scalars, and the function makes zeros of zeros.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        places: Sequence[int] | None = None,
        keywords: dict[str, Any] | None = None,
        output: int | None = None,
    ) -> None:
        """Delay a call. Nothing is read.

        Args:
            function: The function, which has to be picklable to be sent elsewhere.
            arguments: Its positional arguments: seeds, operations, delayed arrays, numpy arrays and others.
            places: Which of them are broadcast against each other; None for all.
            keywords: Its keyword arguments.
            output: Which of the function's results is meant, if it returns several.

        Raises:
            ValueError: If the shapes cannot be broadcast.
            TypeError: If the function does not take arguments of these types.
        """
        self._function = function
        self._places = tuple(range(len(arguments)) if places is None else places)
        self._arguments = [_operand(one) if place in self._places else one for place, one in enumerate(arguments)]
        self._keywords = {} if keywords is None else keywords
        self._output = output
        self._shape = broadcast_shape([_shape(self._arguments[place]) for place in self._places])
        with warnings.catch_warnings(), numpy.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            zero = numpy.asarray(self.apply([self._zero(place) for place in self._places]))
        self._dtype = zero.dtype
        seeds, others = self.seeds, [self._arguments[place] for place in self._places]
        self._sparse = (
            len(seeds) == 1
            and all(is_delayed(one) or numpy.ndim(one) == 0 for one in others)
            and bool(is_sparse(seeds[0]))
            and zero.dtype.kind in "biufc"
            and bool((zero == 0).all())
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each dimension."""
        return self._shape

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """Type of the results, as numpy gives it."""
        return self._dtype

    @property
    def seeds(self) -> list[Any]:
        """The operands that are not in memory."""
        return [self._arguments[place] for place in self._places if is_delayed(self._arguments[place])]

    @property
    def operands(self) -> list[Any]:
        """What is broadcast: seeds and operations, arrays in memory, scalars."""
        return [self._arguments[place] for place in self._places]

    def _zero(self, place: int) -> Any:
        operand = self._arguments[place]
        return numpy.zeros(1, operand.dtype) if _shape(operand) or is_delayed(operand) else operand

    def apply(self, operands: Sequence[Any]) -> Any:
        """Call the function.

        Args:
            operands: A block of each of :py:attr:`operands`.

        Returns:
            Its result, masked where one of the blocks is.
        """
        if isinstance(self._function, numpy.ufunc) or not any(map(numpy.ma.isMaskedArray, operands)):
            return self._call(operands)
        # numpy's other functions see the data only.
        result = numpy.asarray(self._call([numpy.ma.getdata(one) if _shape(one) else one for one in operands]))
        return numpy.ma.MaskedArray(result, self._mask(operands, result.shape))

    def _mask(self, operands: Sequence[Any], shape: tuple[int, ...]) -> Array:
        masks = [numpy.broadcast_to(numpy.ma.getmaskarray(one), shape) for one in operands]
        if self._function is numpy.where:
            # What is not chosen does not matter.
            condition, chosen, other = masks
            return condition | numpy.where(numpy.ma.getdata(operands[0]), chosen, other)
        mask: Array = numpy.logical_or.reduce(masks)
        return mask

    def _call(self, operands: Sequence[Any]) -> Any:
        arguments = list(self._arguments)
        for place, operand in zip(self._places, operands, strict=True):
            arguments[place] = operand
        result = self._function(*arguments, **self._keywords)
        return result if self._output is None else result[self._output]


def _shape(operand: Any) -> tuple[int, ...]:
    return tuple(operand.shape) if hasattr(operand, "shape") else ()


def _operand(operand: Any) -> Any:
    """A seed, an array or a scalar."""
    if isinstance(operand, DelayedArray):
        return operand.seed
    return operand if numpy.isscalar(operand) or operand is None else numpy.asanyarray(operand)


def is_delayed(operand: Any) -> bool:
    """Whether an operand is a seed or an operation."""
    return hasattr(operand, "shape") and not isinstance(operand, numpy.ndarray | numpy.generic)


def aligned(extents: Sequence[int], shape: Sequence[int], index: Sequence[Any]) -> tuple[Any, ...]:
    """Positions of an operand for positions of what it is broadcast to.

    Args:
        extents: Shape of the operand.
        shape: The shape that it is broadcast to.
        index: Positions along each axis of that.

    Returns:
        Positions along each axis of the operand.
    """
    skipped = len(shape) - len(extents)
    return tuple(
        range(1) if extent == 1 != full else positions
        for extent, full, positions in zip(extents, shape[skipped:], index[skipped:], strict=True)
    )


@extract_dense_array.register(Elementwise)  # type: ignore[untyped-decorator]
@one_state
def extract_dense_array_Elementwise(x: Elementwise, subset: Sequence[Any]) -> Any:  # noqa: N802
    """See :py:func:`~delayedarray.extract_dense_array.extract_dense_array`."""
    blocks = []
    for operand in x.operands:
        if is_delayed(operand):
            operand = extract_dense_array(operand, aligned(operand.shape, x.shape, subset))
        elif _shape(operand):
            operand = operand[numpy.ix_(*aligned(operand.shape, x.shape, subset))]
        blocks.append(operand)
    return numpy.asanyarray(x.apply(blocks)).astype(x.dtype, copy=False)


@extract_sparse_array.register(Elementwise)  # type: ignore[untyped-decorator]
@one_state
def extract_sparse_array_Elementwise(x: Elementwise, subset: Sequence[Any]) -> SparseNdarray:  # noqa: N802
    """See :py:func:`~delayedarray.extract_sparse_array.extract_sparse_array`."""
    if not x._sparse:
        raise NotImplementedError(f"'{x._function.__name__}' of these arrays is not sparse")
    (seed,) = x.seeds
    block = extract_sparse_array(seed, subset)

    def changed(contents: Any) -> Any:
        if contents is None:
            return None
        if isinstance(contents, list):
            return [changed(one) for one in contents]
        indices, values = contents
        return indices, numpy.asanyarray(x.apply([values if one is seed else one for one in x.operands]))

    return SparseNdarray(
        block.shape,
        changed(block.contents),
        dtype=x.dtype,
        index_dtype=block.index_dtype,
        is_masked=has_mask(seed),
        check=False,
    )


@is_sparse.register(Elementwise)  # type: ignore[untyped-decorator]
@one_state
def is_sparse_Elementwise(x: Elementwise) -> bool:  # noqa: N802
    """See :py:func:`~delayedarray.is_sparse.is_sparse`."""
    return x._sparse


@is_masked.register(Elementwise)  # type: ignore[untyped-decorator]
@one_state
def is_masked_Elementwise(x: Elementwise) -> bool:  # noqa: N802
    """See :py:func:`~delayedarray.is_masked.is_masked`."""
    return any(numpy.ma.isMaskedArray(one) or (is_delayed(one) and has_mask(one)) for one in x.operands)


@chunk_grid.register(Elementwise)  # type: ignore[untyped-decorator]
@one_state
def chunk_grid_Elementwise(x: Elementwise) -> Any:  # noqa: N802
    """See :py:func:`~delayedarray.chunk_grid.chunk_grid`: that of the operand whose chunks cost most."""
    grids = [chunk_grid(seed) for seed in x.seeds if tuple(seed.shape) == x.shape]
    if not grids:
        # Each of the operands is repeated along an axis.
        return chunk_grid(numpy.broadcast_to(numpy.zeros((), x.dtype), x.shape))
    return max(grids, key=lambda grid: grid.cost)


@create_dask_array.register(Elementwise)  # type: ignore[untyped-decorator]
@one_state
def create_dask_array_Elementwise(x: Elementwise) -> Any:  # noqa: N802
    """See :py:func:`~delayedarray.create_dask_array.create_dask_array`."""
    return x._call([create_dask_array(one) if is_delayed(one) else one for one in x.operands])
