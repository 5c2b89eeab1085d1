"""One array of each kind, with what numpy has in its place."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy
import scipy.sparse

from filebackedarray import (
    FileBackedArray,
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
    Hdf5DualSparseMatrix,
    ReshapedHdf5Array,
)
from helpers import random_compressed

SHAPE = (30, 20)

PLAIN = (
    *("dense", "dense-reversed", "sparse", "by-row", "as-sparse", "dual", "reshaped"),
    *("delayed", "delayed-sparse", "subset", "joined"),
)
MASKED = ("masked", "delayed-masked")
KINDS = PLAIN + MASKED


def all_kinds(folder: Path) -> dict[str, tuple[FileBackedArray, numpy.ndarray]]:
    """Write a file and open it in every way.

    Args:
        folder: Where to write it.

    Returns:
        For each name in :py:data:`KINDS` a matrix of 30 x 20, and its values; masked arrays for the masked ones.
    """
    path = folder / "kinds.h5"
    data = random_compressed(SHAPE, True, seed=24).dense()
    integers = data.astype("i4")
    integers[::7, ::3] = numpy.iinfo("i4").min
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=data, chunks=(7, 6), compression="gzip")
        handle["reversed"] = data.T
        handle["cube"] = data.reshape(5, 6, 20)
        handle["missing"] = integers
        handle["missing"].attrs["rhdf5-NA.OK"] = 1
        for name, matrix in (("csc", scipy.sparse.csc_matrix(data)), ("csr", scipy.sparse.csr_matrix(data))):
            for member in ("data", "indices", "indptr"):
                handle[f"{name}/{member}"] = getattr(matrix, member)
    dense = Hdf5DenseArray(path, "x", native_order=True)
    by_column = Hdf5CompressedSparseMatrix(path, "csc", SHAPE, True)
    by_row = Hdf5CompressedSparseMatrix(path, "csr", SHAPE, False)
    missing = Hdf5DenseArray(path, "missing", native_order=True, mask_missing=True)
    masked = numpy.ma.masked_array(integers, integers == numpy.iinfo("i4").min)
    order = numpy.random.default_rng(3).permutation(30)
    made = {
        "dense": (dense, data),
        "dense-reversed": (Hdf5DenseArray(path, "reversed"), data),
        "sparse": (by_column, data),
        "by-row": (by_row, data),
        "as-sparse": (Hdf5DenseArray(path, "x", native_order=True, as_sparse=True), data),
        "dual": (Hdf5DualSparseMatrix(by_column, by_row), data),
        "reshaped": (ReshapedHdf5Array(path, "cube", SHAPE, native_order=True), data),
        "delayed": (numpy.log1p(dense * 2), numpy.log1p(data * 2)),
        "delayed-sparse": (by_column * 2, data * 2),
        "subset": (dense[order, :][:, ::-1], data[order][:, ::-1]),
        "joined": (numpy.concatenate([dense[:10, :], by_row[10:, :]]), data),
        "masked": (missing, masked),
        "delayed-masked": (missing + missing, masked + masked),
    }
    assert tuple(made) == KINDS
    return made
