"""What a read returned: whether two results are the same, and how many bytes they take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def fingerprint(results: Sequence[Any]) -> str:
    """Digest results: shapes, element types of the values, and values.

    What peers may differ in is left out: memory order, the type of indices, and whether a sparse result is a
    ``SparseNdarray``, a CSC matrix or the CSR matrix that is its transpose.

    Args:
        results: NumPy arrays, scipy matrices or ``SparseNdarray`` objects.

    Returns:
        Text that two lists of results share exactly if they are equal.
    """
    digest = hashlib.blake2b(digest_size=16)
    for result in results:
        arrays = [result] if isinstance(result, np.ndarray) else _canonical(result)
        for array in arrays:
            digest.update(f"{array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).data)
    return f"{len(results)} results: {digest.hexdigest()}"


def nbytes(results: Sequence[Any]) -> int:
    """Count the bytes of the results' arrays.

    Args:
        results: As for :func:`fingerprint`.

    Returns:
        Number of bytes.
    """
    return sum(array.nbytes for result in results for array in _arrays(result))


def _arrays(result: Any) -> list[Array]:
    """List the arrays that a result keeps in memory."""
    if isinstance(result, np.ndarray):
        return [result]
    if hasattr(result, "contents"):
        return [array for column in result.contents or () for array in column or ()]
    return [result.indptr, result.indices, result.data]


def _canonical(result: Any) -> list[Array]:
    """Take a sparse result apart into shape, pointers, row indices and values of a CSC matrix."""
    if hasattr(result, "contents"):
        shape = result.shape
        columns = list(result.contents) if result.contents is not None else [None] * shape[-1]
        lengths = [0 if column is None else len(column[0]) for column in columns]
        kept = [column for column in columns if column is not None]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        indices = np.concatenate([np.empty(0), *(column[0] for column in kept)])
        values = np.concatenate([np.empty(0, result.dtype), *(column[1] for column in kept)])
    else:
        # Only the row-major twin gives CSR matrices.
        shape = result.shape[::-1] if result.format == "csr" else result.shape
        indptr, indices, values = result.indptr, result.indices, result.data
    return [np.asarray(shape, np.int64), indptr.astype(np.int64), indices.astype(np.int64), values]
