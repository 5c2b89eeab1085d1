"""What a read returned: whether two results are the same, and how many bytes they take."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt


def fingerprint(result: Any) -> str:
    """Digest a result, element types and shapes included, memory order excluded.

    Args:
        result: NumPy array, scipy CSC matrix or ``SparseNdarray``.

    Returns:
        Text that two results share exactly if they are equal.
    """
    digest = hashlib.blake2b(digest_size=16)
    kind = "sparse" if hasattr(result, "contents") else type(result).__name__
    for array in _arrays(result):
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).data)
    return f"{kind} {tuple(map(int, result.shape))} {result.dtype} {digest.hexdigest()}"


def nbytes(result: Any) -> int:
    """Count the bytes of a result's arrays.

    Args:
        result: NumPy array, scipy CSC matrix or ``SparseNdarray``.

    Returns:
        Number of bytes.
    """
    return sum(array.nbytes for array in _arrays(result))


def _arrays(result: Any) -> Iterator[npt.NDArray[Any]]:
    """Take a result apart into arrays that say all there is to say about it."""
    if isinstance(result, np.ndarray):
        yield result
    elif hasattr(result, "contents"):
        # A SparseNdarray: None, or for each column None or its row indices and values.
        for column in result.contents or ():
            yield from column or (np.empty(0),)
    else:
        yield from (result.indptr, result.indices, result.data)
