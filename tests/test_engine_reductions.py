"""What is handed to the engine's reductions, and what is made of their results."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
    _core,
    quality_control,
    summarize,
)
from filebackedarray._compute import engine_sweep as _engine_reduce
from helpers import random_compressed
from strategies import dense_cases, sparse_cases

NAMES = ["sum", "mean", "var", "max", "min", "any", "all", "count_nonzero", "nansum", "nanvar", "nanmin"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Have numpy stand in for the engine; the calls that it got."""
    seen: list[Any] = []

    def dense(leaf: Any) -> Any:
        def reduce(*arguments: Any) -> Any:
            seen.append(arguments)
            with h5py.File(leaf.seed.path, "r") as handle:
                return engine.reduce(handle[leaf.seed.name][()], *arguments)

        return reduce

    def sparse(leaf: Any) -> Any:
        def reduce(*arguments: Any) -> Any:
            seen.append(arguments)
            return engine.reduce(numpy.asarray(Hdf5CompressedSparseMatrix(leaf.seed, None, None, None)), *arguments)

        return reduce

    monkeypatch.setattr(_engine_reduce, "dense_reduction", dense)
    monkeypatch.setattr(_engine_reduce, "sparse_reduction", sparse)
    return seen


@pytest.fixture(params=["dense", "dense-reversed", "csc", "csr"])
def array(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, numpy.ndarray]:
    path = tmp_path / "x.h5"
    rng = numpy.random.default_rng(5)
    if request.param.startswith("dense"):
        native = request.param == "dense"
        data = rng.integers(-3, 5, (13, 9)).astype("i2")
        with h5py.File(path, "w") as handle:
            handle.create_dataset("x", data=data if native else data.T, chunks=(4, 3))
        return Hdf5DenseArray(path, "x", native_order=native), data
    matrix = random_compressed((13, 9), request.param == "csc", seed=6, dtype="i2")
    matrix.write(path)
    return Hdf5CompressedSparseMatrix(path, "m", (13, 9), request.param == "csc"), matrix.dense()


CHAINS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "transposed": lambda x: x.T,
    "rows": lambda x: x[2:11:3, :],
    "backwards": lambda x: x[::-1, :],
    "columns": lambda x: x[:, [0, 3, 4, 8]],
    "shuffled": lambda x: x[[7, 3, 12, 0], :],
    "shuffled-both": lambda x: x[[7, 3, 12, 0], :].T[[2, 1], :],
    "converted": lambda x: x.astype(numpy.dtype("f4")),
    "converted-twice": lambda x: x.astype(numpy.dtype("i4")).astype(numpy.dtype("f8"))[:, 1:].T,
}


@pytest.mark.parametrize("chain", CHAINS)
def test_pushed_down(array: tuple[Any, numpy.ndarray], calls: list[Any], chain: str) -> None:
    ours, data = (CHAINS[chain](x) for x in array)
    for name in NAMES:
        for axis in (None, 0, 1, ()):
            calls.clear()
            got = getattr(ours, name)(axis=axis)
            want = getattr(numpy, name)(data, axis=axis)
            assert len(calls) == 1
            assert got.dtype == numpy.asarray(want).dtype
            numpy.testing.assert_allclose(got, want, rtol=1e-6)


def test_repeated_positions(array: tuple[Any, numpy.ndarray], calls: list[Any]) -> None:
    rows = [5, 1, 5, 12]
    ours, data = (x[rows, :] for x in array)
    # Where they are kept, the engine sums up each once; where they are reduced, blocks do it.
    numpy.testing.assert_array_equal(ours.sum(axis=1), data.sum(axis=1))
    assert len(calls) == 1
    assert [len(engine.positions(axis)) for axis in calls[0][0]].count(3) == 1
    numpy.testing.assert_array_equal(ours.sum(axis=0), data.sum(axis=0))
    assert len(calls) == 1
    labels = ["b", "a", "a", "b"]
    got = summarize(ours, 0, ["sum"], groups=labels)
    numpy.testing.assert_array_equal(
        got["sum"], numpy.stack([data[[1, 2]].sum(axis=0), data[[0, 3]].sum(axis=0)], axis=-1)
    )


def test_groups_of_shuffled_positions(array: tuple[Any, numpy.ndarray], calls: list[Any]) -> None:
    ours, data = (x[[5, 1, 9, 12], :] for x in array)
    got = summarize(ours, [0, 1], [["sum", "max"], ["var"]], groups=[["b", "a", "a", "b"], None])
    assert len(calls) == 1
    want = numpy.stack([data[[1, 2]].sum(axis=0), data[[0, 3]].sum(axis=0)], axis=-1)
    numpy.testing.assert_array_equal(got[0]["sum"], want)
    numpy.testing.assert_array_equal(got[0]["max"][:, 1], data[[0, 3]].max(axis=0))
    numpy.testing.assert_allclose(got[1]["var"], data.var(axis=1))


def test_joined_arrays_are_summed_up_part_by_part(array: tuple[Any, numpy.ndarray], calls: list[Any]) -> None:
    for along in (0, 1):
        ours, data = (numpy.concatenate((x, x.astype(numpy.dtype("f8")), x), axis=along) for x in array)
        for axis in (None, 0, 1):
            calls.clear()
            numpy.testing.assert_allclose(ours.var(axis=axis), data.var(axis=axis))
            numpy.testing.assert_array_equal(ours.min(axis=axis), data.min(axis=axis))
            assert len(calls) == 6


def test_what_the_engine_cannot_do_goes_by_blocks(array: tuple[Any, numpy.ndarray], calls: list[Any]) -> None:
    ours, data = array
    for tree, want in [
        (ours + 1, data + 1),
        (ours.astype(numpy.dtype("c16")), data.astype("c16")),
        # A conversion after one that lost something.
        (ours.astype(numpy.dtype("i1")).astype(numpy.dtype("f4")), data.astype("i1").astype("f4")),
        (ours[:0, :], data[:0]),
    ]:
        numpy.testing.assert_array_equal(tree.sum(axis=0), want.sum(axis=0))
    assert not calls


def test_progress_of_the_engine(array: tuple[Any, numpy.ndarray], calls: list[Any]) -> None:
    ours, _ = array
    seen: list[tuple[int, int]] = []
    ours.sum(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    seen.clear()
    numpy.concatenate((ours, ours), axis=1).sum(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 18), (9, 18), (13, 18), (18, 18)]


def test_quality_control(array: tuple[Any, numpy.ndarray], calls: list[Any]) -> None:
    ours, data = array
    got = quality_control(ours, {"first": range(4), "odd": numpy.arange(13) % 2 == 1})
    assert len(calls) == 1
    numpy.testing.assert_array_equal(got.sum, data.sum(axis=0))
    numpy.testing.assert_array_equal(got.subset_sum["odd"], data[1::2].sum(axis=0))
    numpy.testing.assert_array_equal(got.gene_detected, (data != 0).sum(axis=1))


# The contract itself.


@st.composite
def selections(draw: st.DrawFn, shape: tuple[int, ...]) -> list[Any]:
    chosen: list[Any] = []
    for extent in shape:
        kind = draw(st.sampled_from(["all", "range", "indices"]))
        if kind == "all" or extent == 0:
            chosen.append((0, extent, 1))
        elif kind == "range":
            start, step = draw(st.integers(0, extent - 1)), draw(st.integers(1, 3))
            chosen.append((start, draw(st.integers(0, len(range(start, extent, step)))), step))
        else:
            indices = draw(st.lists(st.integers(0, extent - 1), max_size=9, unique=True))
            chosen.append(numpy.array(sorted(indices), numpy.uint64))
    return chosen


@st.composite
def views(draw: st.DrawFn, selection: list[Any]) -> list[engine.View]:
    made: list[engine.View] = []
    for _ in range(draw(st.integers(1, 3))):
        axes: list[Any] = []
        for axis in selection:
            along = draw(st.sampled_from(["keep", "reduce", "group"]))
            if along == "group":
                number = draw(st.integers(1, 4))
                length = len(engine.positions(axis))
                rng = numpy.random.default_rng(draw(st.integers(0, 99)))
                axes.append((rng.integers(0, number, length).astype(numpy.uint32), number))
            else:
                axes.append(along)
        wanted = draw(st.sets(st.sampled_from(["sum", "moments", "extremes", "nonzero"])))
        made.append((tuple(axes), wanted))
    return made


def check(got: list[dict[str, numpy.ndarray]], want: list[dict[str, numpy.ndarray]]) -> None:
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        assert set(theirs) <= set(ours)
        for name, expected in theirs.items():
            assert ours[name].dtype == expected.dtype
            assert ours[name].shape == expected.shape
            assert ours[name].flags.c_contiguous
            if name in ("min", "max"):
                nothing = theirs["count"] == 0
                numpy.testing.assert_array_equal(ours[name][~nothing], expected[~nothing])
            elif name in ("count", "sum", "nonzero"):
                numpy.testing.assert_array_equal(ours[name], expected)
        if "high" in theirs:
            high = theirs["high"]
            fine = numpy.isfinite(high)
            with numpy.errstate(all="ignore"):
                numpy.testing.assert_array_equal(numpy.isnan(ours["high"]), numpy.isnan(high))
                got_sum = numpy.where(fine, ours["high"] + ours["low"], ours["high"])
            numpy.testing.assert_allclose(got_sum, high, rtol=1e-12, atol=1e-12)
        if "m2" in theirs:
            filled = theirs["count"] > 0
            for name in ("mean", "m2"):
                numpy.testing.assert_allclose(ours[name][filled], theirs[name][filled], rtol=1e-11, atol=1e-11)


@given(case=dense_cases(), data=st.data())
def test_the_contract_for_dense_datasets(fresh_path: Callable[[], Path], case: Any, data: st.DataObject) -> None:
    if case.style == "bits":
        case = type(case)(**{**vars(case), "style": "counts"})
    path = fresh_path()
    values = case.write(path)
    selection = data.draw(selections(values.shape))
    wished = data.draw(views(selection))
    dtype = numpy.dtype(data.draw(st.sampled_from([case.dtype, "f8", "f4", "i8", "?"]))).newbyteorder("=").str
    skip_nan = data.draw(st.booleans())
    seen: list[tuple[int, int]] = []
    got = _core.reduce_dense(os.fspath(path), b"x", selection, dtype, wished, skip_nan, lambda *done: seen.append(done))
    check(got, engine.reduce(values, selection, dtype, wished, skip_nan, None))


@given(case=sparse_cases(), data=st.data())
def test_the_contract_for_sparse_matrices(fresh_path: Callable[[], Path], case: Any, data: st.DataObject) -> None:
    path = fresh_path()
    case.matrix.write(path, **case.options)
    matrix = _core.SparseMatrix(
        os.fspath(path), b"m/data", b"m/indices", b"m/indptr", case.matrix.shape, case.matrix.by_column
    )
    selection = data.draw(selections(case.matrix.shape))
    wished = data.draw(views(selection))
    stored = case.matrix.data.dtype
    dtype = numpy.dtype(data.draw(st.sampled_from([stored, "f8", "f4", "i8"]))).newbyteorder("=").str
    skip_nan = data.draw(st.booleans())
    got = matrix.reduce(selection, dtype, wished, skip_nan, None)
    check(got, engine.reduce(case.matrix.dense(dtype), selection, dtype, wished, skip_nan, None))
