"""What statistics and functions are asked of: which axes, and whether of an array with a mask."""

from __future__ import annotations

import operator
from typing import Any

from delayedarray import is_masked
from numpy.exceptions import AxisError


def normalized_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes that an ``axis`` argument means.

    Args:
        axis: An integer, several, or None for all.
        ndim: Number of dimensions.

    Returns:
        Axes from 0 on, in the order given.

    Raises:
        AxisError: If there is no such axis.
        ValueError: If one is given twice.
        TypeError: If they are not integers.
    """
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    axes = []
    for one in given:
        number = operator.index(one)
        if not -ndim <= number < ndim:
            raise AxisError(number, ndim)
        axes.append(number % ndim)
    if len(set(axes)) < len(axes):
        raise ValueError("duplicate value in 'axis'")
    return tuple(axes)


def has_mask(tree: Any) -> bool:
    """Whether values of a seed or a delayed operation may be masked; those of unknown seeds are not."""
    try:
        return bool(is_masked(tree))
    except NotImplementedError:
        return False
