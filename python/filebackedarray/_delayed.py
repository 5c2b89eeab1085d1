"""What the arrays of this package have beyond delayedarray's."""

from __future__ import annotations

from typing import Any

import numpy

from ._products import adjoint_matmul, matmul, rmatmul


class Products:
    """Products, and what makes :py:func:`scipy.sparse.linalg.aslinearoperator` take an array."""

    def __matmul__(self, other: Any) -> Any:
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return rmatmul(self, other)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # numpy's arrays ask for their product with something else this way, and not by `__rmatmul__`.
        if ufunc is numpy.matmul and method == "__call__" and not kwargs:
            left, right = inputs
            return rmatmul(right, left) if right is self else matmul(left, right)
        return super().__array_ufunc__(ufunc, method, *inputs, **kwargs)  # type: ignore[misc]

    def matvec(self, other: Any) -> Any:
        """Multiply with a vector."""
        return matmul(self, other)

    def matmat(self, other: Any) -> Any:
        """Multiply with a matrix."""
        return matmul(self, other)

    def rmatvec(self, other: Any) -> Any:
        """Multiply the conjugate transpose with a vector."""
        return adjoint_matmul(self, other)

    def rmatmat(self, other: Any) -> Any:
        """Multiply the conjugate transpose with a matrix."""
        return adjoint_matmul(self, other)
