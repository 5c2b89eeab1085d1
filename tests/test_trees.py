"""Statistics of delayed operations: delayedarray's own evaluation of a tree is what they must be of."""

from __future__ import annotations

import warnings
from typing import Any

import h5py
import numpy
import pytest
from delayedarray import DelayedArray
from hypothesis import given, settings
from hypothesis import strategies as st

from filebackedarray import FileBackedArray, Hdf5CompressedSparseMatrix, Hdf5DenseArray
from filebackedarray._trees import Compressed, compiled
from helpers import random_compressed
from strategies import trees

SHAPE = (14, 11)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> list[FileBackedArray]:
    """Dense and sparse ones, of several types, all of the same shape."""
    folder = tmp_path_factory.mktemp("trees")
    rng = numpy.random.default_rng(41)
    made: list[FileBackedArray] = []
    for number, (dtype, native) in enumerate([("i4", True), ("f8", False), ("u1", True)]):
        path = folder / f"dense{number}.h5"
        data = (rng.integers(0, 6, SHAPE) * (rng.random(SHAPE) if dtype == "f8" else 1)).astype(dtype)
        with h5py.File(path, "w") as handle:
            handle.create_dataset("x", data=data if native else data.T, chunks=(5, 4))
        made.append(Hdf5DenseArray(path, "x", native_order=native))
    for number, (dtype, by_column) in enumerate([("i4", True), ("f4", False), ("f8", True), (">i2", False)]):
        path = folder / f"sparse{number}.h5"
        random_compressed(SHAPE, by_column, seed=number, dtype=dtype, density=0.4).write(path)
        made.append(Hdf5CompressedSparseMatrix(path, "m", SHAPE, by_column))
    return made


def quietly(function: Any, *arguments: Any, **named: Any) -> Any:
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*arguments, **named)
        except ValueError as error:  # The smallest of nothing.
            return str(error)


def dense_of(block: Compressed, dtype: Any) -> numpy.ndarray:
    values = numpy.zeros(block.shape, dtype)
    along = numpy.repeat(numpy.arange(len(block.pointers) - 1), numpy.diff(block.pointers))
    values[(block.indices, along) if block.by_column else (along, block.indices)] = block.values
    return values


@settings(max_examples=settings().max_examples)
@given(data=st.data())
def test_random_trees(arrays: list[FileBackedArray], data: st.DataObject) -> None:
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tree = data.draw(trees(arrays))
    assert isinstance(tree, FileBackedArray)
    # delayedarray forgets the type of a part that is empty, when it joins some.
    oracle = quietly(numpy.array, DelayedArray(tree.seed)).astype(tree.dtype)
    node = compiled(tree)
    assert node.shape == oracle.shape
    assert node.dtype == oracle.dtype.newbyteorder("=")
    index = [range(extent) for extent in node.shape]
    numpy.testing.assert_array_equal(quietly(node.dense, index)[0], oracle)
    if node.sparse:
        numpy.testing.assert_array_equal(dense_of(quietly(node.compressed, index), node.dtype), oracle)
    axis = data.draw(st.sampled_from([None, 0, 1, (0, 1), -1]))
    buffer_size = data.draw(st.sampled_from([None, 8, 200]))
    scale = float(numpy.abs(oracle[numpy.isfinite(oracle)].astype("f8")).max(initial=0))
    for name in ("sum", "var", "max", "all", "count_nonzero", "nanmean"):
        want = quietly(getattr(numpy, name), oracle, axis=axis)
        got = quietly(getattr(tree, name), axis=axis, buffer_size=buffer_size)
        if isinstance(want, str):
            assert got == want
            continue
        if oracle.dtype == numpy.float32 or oracle.dtype == numpy.float16:
            # Computed in the type itself by numpy.
            wide = quietly(getattr(numpy, name), oracle.astype("f8"), axis=axis)
            assert got.dtype == numpy.asarray(want).dtype.newbyteorder("=")
            want = quietly(numpy.asarray(wide).astype, got.dtype)
            tolerance = 1e-2 if oracle.dtype == numpy.float16 else 1e-5
        else:
            assert got.dtype == numpy.asarray(want).dtype.newbyteorder("=")
            tolerance = 1e-11
        power = min(scale, 1e151) ** 2 if name == "var" else scale
        if not power < 1e300 or (oracle.dtype == numpy.float32 and power > 1e38):
            continue  # Where it overflows depends on the order.
        numpy.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * power * max(oracle.size, 1) * 1e-3)
