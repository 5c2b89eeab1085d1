"""Several statistics in one sweep, of groups, and the quality of cells and genes."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import h5py
import numpy
import pandas
import pytest
import scipy.sparse
from delayedarray import DelayedArray
from numpy.exceptions import AxisError

from filebackedarray import (
    Hdf5CompressedSparseMatrix,
    Hdf5DenseArray,
    QualityControl,
    Statistics,
    quality_control,
    summarize,
)
from filebackedarray._compute import blocks
from helpers import random_compressed

SHAPE = (40, 30)
ALL = ["sum", "mean", "var", "std", "min", "max", "ptp", "any", "all", "count_nonzero", "nansum", "nanvar", "nanmax"]


@pytest.fixture(params=["dense", "dense-reversed", "csc", "csr", "tree", "sparse-tree", "joined"])
def array(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, numpy.ndarray]:
    path = tmp_path / "x.h5"
    rng = numpy.random.default_rng(51)
    if request.param in ("dense", "dense-reversed", "tree", "joined"):
        data = rng.poisson(0.7, SHAPE).astype("i4")
        native = request.param != "dense-reversed"
        with h5py.File(path, "w") as handle:
            handle.create_dataset("x", data=data if native else data.T, chunks=(7, 8))
        array: Any = Hdf5DenseArray(path, "x", native_order=native)
    else:
        matrix = random_compressed(SHAPE, request.param != "csr", seed=52)
        matrix.data[::11] = -1
        matrix.write(path, chunks=(30,))
        array, data = Hdf5CompressedSparseMatrix(path, "m", SHAPE, request.param != "csr"), matrix.dense()
    if request.param.endswith("tree"):
        return numpy.sqrt(abs(array * 1.5)), numpy.sqrt(abs(data * 1.5))
    if request.param == "joined":
        half = numpy.concatenate((array[:, :13], array[:, 13:].astype(numpy.dtype("f8"))), axis=1)
        return half, data.astype("f8")
    return array, data


@pytest.fixture(params=[None, 2000])
def block_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks too."""
    if request.param is not None:
        monkeypatch.setattr(blocks, "BLOCK_BYTES", request.param)


def test_several_statistics(array: tuple[Any, numpy.ndarray], block_size: None) -> None:
    ours, data = array
    for axis in (None, 0, 1, (0, 1)):
        got = summarize(ours, axis, ALL, ddof=1)
        assert isinstance(got, Statistics)
        assert isinstance(got, dict)
        assert list(got) == ALL
        assert got.groups is None
        for name in ALL:
            arguments = {"ddof": 1} if name in ("var", "std", "nanvar") else {}
            want = getattr(numpy, name)(data, axis=axis, **arguments)
            assert got[name].dtype == numpy.asarray(want).dtype
            assert isinstance(got[name], numpy.generic if axis in (None, (0, 1)) else numpy.ndarray)
            numpy.testing.assert_allclose(got[name], want, rtol=1e-12)


def test_one_sweep(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    seen: list[tuple[int, int]] = []
    got = summarize(ours, [0, 1, None], ["sum", "max", "var"], progress=lambda *done: seen.append(done))
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) == len({done for done, _ in seen})
    for result, axis in zip(got, (0, 1, None), strict=True):
        numpy.testing.assert_allclose(result["sum"], data.sum(axis=axis))
        numpy.testing.assert_allclose(result["var"], data.var(axis=axis))
        numpy.testing.assert_array_equal(result["max"], data.max(axis=axis))
    first, second = summarize(ours, [0, 1], [["sum"], ["mean", "any"]])
    assert list(first) == ["sum"]
    assert list(second) == ["mean", "any"]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("number", [1, 3, 25])
def test_groups(array: tuple[Any, numpy.ndarray], block_size: None, axis: int, number: int) -> None:
    ours, data = array
    labels = numpy.random.default_rng(53).integers(0, number, SHAPE[axis])
    got = summarize(ours, axis, ALL, groups=[f"group {label:02}" for label in labels])
    present = numpy.unique(labels)
    assert got.groups == [f"group {label:02}" for label in present]
    for name in ALL:
        parts = [numpy.compress(labels == label, data, axis=axis) for label in present]
        want = numpy.stack([getattr(numpy, name)(part, axis=axis) for part in parts], axis=-1)
        assert got[name].shape == (SHAPE[1 - axis % 2], len(present))
        assert got[name].dtype == want.dtype
        numpy.testing.assert_allclose(got[name], want, rtol=1e-12, atol=1e-12)


def test_groups_of_both_axes(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    rows, columns = numpy.arange(40) % 3, ["b", "a", "c"] * 10
    by_column, by_row, whole = summarize(ours, [0, 1, None], ["sum"], groups=[rows, columns, None])
    assert by_column.groups == [0, 1, 2]
    assert by_row.groups == ["a", "b", "c"]
    numpy.testing.assert_allclose(by_column["sum"][:, 2], data[2::3].sum(axis=0))
    numpy.testing.assert_allclose(by_row["sum"][:, 0], data[:, 1::3].sum(axis=1))
    numpy.testing.assert_allclose(whole["sum"], data.sum())


def test_labels_of_any_kind(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    for labels, names in [
        (["x", None, 3] * 10, ["x", 3, None]),
        ([(1, "a"), (0, "b")] * 15, [(0, "b"), (1, "a")]),
        (numpy.array(["b", "a"] * 15), ["a", "b"]),
        (numpy.array([True, False] * 15), [False, True]),
        (numpy.array([2.5, 1.5] * 15), [1.5, 2.5]),
    ]:
        got = summarize(ours, 1, ["sum"], groups=labels)
        assert got.groups == names
        first = [label == names[0] for label in list(labels)]
        numpy.testing.assert_allclose(got["sum"][:, 0], data[:, first].sum(axis=1))


LABELS: dict[str, tuple[Any, Any]] = {
    "floats": (numpy.array([2, numpy.nan, 0, 1, numpy.nan]), None),
    "half": (numpy.array([2, numpy.nan, 0, 1, numpy.nan], "f2"), [2, numpy.nan, 0, 1, numpy.nan]),
    "objects": (numpy.array(["b", None, "a", numpy.nan, "b"], object), None),
    "strings": (["b", None, "a", "c", None], None),
    "masked": (numpy.ma.masked_array([3, 1, 2, 1, 0], [0, 1, 0, 0, 1]), [3, None, 2, 1, None]),
    "masked-text": (numpy.ma.masked_array(["c", "a", "b", "a", "d"], [0, 1, 0, 0, 1]), ["c", None, "b", "a", None]),
    "masked-dates": (
        numpy.ma.masked_array(numpy.array(["2020", "2019", "2021", "2019", "NaT"], "M8[ns]"), [0, 1, 0, 0, 0]),
        numpy.array(["2020", "NaT", "2021", "2019", "NaT"], "M8[ns]"),
    ),
    "dates": (numpy.array(["2020", "NaT", "2019", "2021", "NaT"], "M8[ns]"), None),
    "durations": (numpy.array([5, "NaT", 3, 4, "NaT"], "m8[s]"), None),
    "timestamps": (pandas.Series(pandas.to_datetime(["2020", None, "2019", "2021", None])), None),
    "categorical": (pandas.Categorical(["10", None, "9", "2", None], categories=["2", "9", "10", "77"]), None),
    "column": (pandas.Series(["b", None, "a", "c", pandas.NA], dtype="category"), None),
    "nullable": (pandas.Series([2, None, 0, 1, None], dtype="Int8"), None),
    "truth": (pandas.array([True, None, False, True, None], dtype="boolean"), None),
    "text": (pandas.Series(["b", None, "a", "c", None], dtype="string"), None),
    "index": (pandas.Index(["b", None, "a", "c", numpy.nan]), None),
    "decimals": ([decimal.Decimal(number) for number in ("2", "NaN", "0", "1", "NaN")], None),
    "bytes": (numpy.array([b"b", b"", b"a", b"c", b"b"]), None),
    "all-missing": (numpy.full(5, numpy.nan), None),
    "none-missing": ([3, 1, 2, 1, 3], None),
}
"""Labels, and what to give pandas for them if that does not know them."""


@pytest.mark.parametrize("missing", ["group", "drop"])
@pytest.mark.parametrize("kind", LABELS)
def test_missing_labels_as_in_pandas(tmp_path: Path, kind: str, missing: Any) -> None:
    data = numpy.random.default_rng(55).integers(-9, 9, (4, 50))
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = data
    array = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    labels, known = LABELS[kind]
    order = numpy.random.default_rng(56).permutation(numpy.arange(50) % 5)
    chosen = labels.take(order) if isinstance(labels, pandas.Categorical) else None
    if chosen is None:
        chosen = [labels[one] for one in order] if isinstance(labels, list) else labels[order]
        chosen = chosen.reset_index(drop=True) if isinstance(chosen, pandas.Series) else chosen
    keys = known if known is not None else labels
    keys = pandas.Series(pandas.Series(keys).array.take(order))
    if kind in ("strings", "objects", "index", "masked-text"):
        keys = keys.astype(object)
    frame = pandas.DataFrame(data.T).groupby(keys, dropna=missing == "drop", observed=True)
    for statistics in (["sum", "count_nonzero", "min"], ["var", "mean"]):
        got = summarize(array, 1, statistics, groups=chosen, missing=missing, ddof=1)
        assert got.groups is not None
        for name in statistics:
            want = frame.agg((lambda part: part.ne(0).sum()) if name == "count_nonzero" else name).to_numpy().T
            assert got[name].shape == (4, len(got.groups))
            numpy.testing.assert_allclose(got[name], want.reshape(got[name].shape))
        numpy.testing.assert_array_equal(got.group_sizes, frame.size().to_numpy(), strict=True)
        is_missing = pandas.isna(frame.size().index)
        assert pandas.isna(numpy.array([*got.groups, 0], object))[:-1].tolist() == is_missing.tolist()
        present = got.groups[: len(is_missing) - is_missing.sum()]
        assert present == [key for key, lost in zip(frame.size().index.tolist(), is_missing, strict=True) if not lost]


def test_missing_labels_of_one_group(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    # What is missing in one way or another is one group; tuples are labels whatever is in them.
    labels: list[Any] = [None, numpy.nan, float("nan"), pandas.NA, pandas.NaT, numpy.ma.masked, (None,), "x"] * 5
    got = summarize(ours, 0, ["sum"], groups=labels)
    assert got.groups == [(None,), "x", None]
    assert got.group_sizes is not None
    assert got.group_sizes.tolist() == [5, 5, 30]
    rest = [number for number in range(40) if number % 8 < 6]
    numpy.testing.assert_allclose(got["sum"][:, 2], data[rest].sum(axis=0))
    both = summarize(ours, [0, 1, None], ["sum"], groups=[labels, [numpy.nan] * 30, None], missing="drop")
    assert [result.groups for result in both] == [[(None,), "x"], [], None]
    assert (both[0]["sum"].shape, both[1]["sum"].shape) == ((30, 2), (40, 0))
    assert both[1].group_sizes is not None
    assert both[1].group_sizes.tolist() == []
    assert both[2].group_sizes is None


def test_labels_in_files(tmp_path: Path) -> None:
    data = numpy.arange(12).reshape(2, 6)
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"], handle["labels"] = data, numpy.array([1, -(2**31), 0, 1, -(2**31), 0], "i4")
        handle["labels"].attrs["rhdf5-NA.OK"] = 1
    x = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    with h5py.File(tmp_path / "x.h5") as handle:
        assert summarize(x, 1, ["sum"], groups=handle["labels"]).groups == [-(2**31), 0, 1]
    labels = Hdf5DenseArray(tmp_path / "x.h5", "labels", mask_missing=True)
    got = summarize(x, 1, ["sum"], groups=labels)
    assert got.groups == [0, 1, None]
    numpy.testing.assert_array_equal(got["sum"], [[7, 3, 5], [19, 15, 17]])


def test_no_labels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = numpy.zeros((3, 0))
    x = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    for labels in ([], numpy.zeros(0), pandas.Series([], dtype="category"), iter(())):
        got = summarize(x, 1, ["sum", "min"], groups=labels)
        assert got.groups == []
        assert got["sum"].shape == got["min"].shape == (3, 0)
        assert got.group_sizes is not None
        assert got.group_sizes.shape == (0,)


def test_in_more_dimensions(tmp_path: Path) -> None:
    data = numpy.random.default_rng(54).integers(0, 9, (5, 12, 7))
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=data, chunks=(2, 5, 3))
    array = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    labels = numpy.arange(12) % 2
    got = summarize(array, 1, ["sum"], groups=labels)["sum"]
    assert got.shape == (5, 7, 2)
    numpy.testing.assert_array_equal(got[..., 1], data[:, 1::2].sum(axis=1))


def test_whether_nan_is_skipped(tmp_path: Path) -> None:
    data = numpy.random.default_rng(55).normal(size=(20, 10))
    data[3, 4] = numpy.nan
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=data, chunks=(6, 6))
    array = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    seen: list[tuple[int, int]] = []
    got = summarize(array, 0, ["sum", "nansum", "nanmin"], progress=lambda *done: seen.append(done))
    assert seen[-1] == (2, 2)
    assert list(got) == ["sum", "nansum", "nanmin"]
    numpy.testing.assert_allclose(got["sum"], data.sum(axis=0))
    numpy.testing.assert_allclose(got["nansum"], numpy.nansum(data, axis=0))
    numpy.testing.assert_allclose(got["nanmin"], numpy.nanmin(data, axis=0))
    numpy.testing.assert_array_equal(
        summarize(array[:3, :], 0, ["sum"], dtype="i4")["sum"], data[:3].sum(0, dtype="i4")
    )


def test_arrays_of_others() -> None:
    data = numpy.random.default_rng(56).poisson(1, SHAPE)
    for x in (DelayedArray(data), data, DelayedArray(scipy.sparse.csr_matrix(data)) * 2):
        want = data * 2 if isinstance(x, DelayedArray) and not isinstance(x.seed, numpy.ndarray) else data
        numpy.testing.assert_array_equal(summarize(x, 0, ["sum"])["sum"], want.sum(axis=0))
        assert quality_control(x).sum.tolist() == want.sum(axis=0).tolist()


def test_errors(array: tuple[Any, numpy.ndarray], tmp_path: Path) -> None:
    ours, data = array
    with pytest.raises(ValueError, match="'median'"):
        summarize(ours, 0, ["median"])
    with pytest.raises(AxisError):
        summarize(ours, 2, ["sum"])
    with pytest.raises(ValueError, match="39 labels for an axis of extent 40"):
        summarize(ours, 0, ["sum"], groups=range(39))
    with pytest.raises(ValueError, match="one dimension, not of 2"):
        summarize(ours, 0, ["sum"], groups=numpy.zeros((40, 1)))
    with pytest.raises(TypeError, match="unhashable"):
        summarize(ours, 0, ["sum"], groups=[[1]] * 40)
    with pytest.raises(ValueError, match="'group' or 'drop', not 'omit'"):
        summarize(ours, 0, ["sum"], groups=range(40), missing="omit")  # type: ignore[call-overload]
    for axis in (None, (0, 1)):
        with pytest.raises(ValueError, match="one axis"):
            summarize(ours, axis, ["sum"], groups=range(40))
    with pytest.raises(ValueError, match="2 axes"):
        summarize(ours, [0, 1], ["sum"], groups=[range(40)])
    masked = ours + numpy.ma.MaskedArray(data, data > 1)
    total = (data + data).sum(axis=0, where=data <= 1)
    numpy.testing.assert_allclose(summarize(masked, 0, ["sum"])["sum"].filled(0), total)
    numpy.testing.assert_allclose(quality_control(masked).sum.filled(0), total)
    with h5py.File(tmp_path / "s.h5", "w") as handle:
        handle["s"] = numpy.array([[b"a"]])
    strings = Hdf5DenseArray(tmp_path / "s.h5", "s")
    for call in (lambda: summarize(strings, 0, ["sum"]), lambda: quality_control(strings)):
        with pytest.raises(TypeError, match="numbers"):
            call()


@pytest.mark.parametrize("cell_axis", [0, 1, -1])
def test_quality_control(array: tuple[Any, numpy.ndarray], block_size: None, cell_axis: int) -> None:
    ours, data = array
    genes = 1 - cell_axis % 2
    extent = SHAPE[genes]
    mito = numpy.arange(extent) % 5 == 0
    subsets = {"mito": mito, "ribo": [0, 1, 2], "none": [], "all": range(extent)}
    got = quality_control(ours, subsets, cell_axis)
    assert isinstance(got, QualityControl)
    total = data.sum(axis=genes)
    numpy.testing.assert_allclose(got.sum, total, rtol=1e-12)
    assert got.sum.dtype == total.dtype
    numpy.testing.assert_array_equal(got.detected, (data != 0).sum(axis=genes))
    numpy.testing.assert_allclose(got.gene_mean, data.mean(axis=1 - genes), rtol=1e-12)
    numpy.testing.assert_array_equal(got.gene_detected, (data != 0).sum(axis=1 - genes))
    assert list(got.subset_proportion) == list(subsets)
    with numpy.errstate(all="ignore"):
        for name, chosen in subsets.items():
            part = numpy.take(data, numpy.flatnonzero(chosen) if name == "mito" else list(chosen), axis=genes)
            numpy.testing.assert_allclose(got.subset_sum[name], part.sum(axis=genes), rtol=1e-12)
            numpy.testing.assert_allclose(got.subset_proportion[name], part.sum(axis=genes) / total, rtol=1e-12)


def test_quality_control_without_subsets(array: tuple[Any, numpy.ndarray]) -> None:
    ours, data = array
    got = quality_control(ours)
    numpy.testing.assert_allclose(got.sum, data.sum(axis=0))
    assert got.subset_sum == {}
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        empty = quality_control(ours[:, :0])
    assert empty.sum.shape == (0,)
    assert empty.gene_detected.tolist() == [0] * 40
    assert quality_control(ours[:0, :], {"none": []}).sum.tolist() == [0] * 30


def test_quality_control_of_what_is_no_matrix(array: tuple[Any, numpy.ndarray], tmp_path: Path) -> None:
    ours, _ = array
    with pytest.raises(ValueError, match=r"'mito'.*40 genes"):
        quality_control(ours, {"mito": numpy.ones(30, bool)})
    with pytest.raises(IndexError):
        quality_control(ours, {"mito": [40]})
    with pytest.raises(AxisError):
        quality_control(ours, cell_axis=2)
    with h5py.File(tmp_path / "v.h5", "w") as handle:
        handle["v"] = numpy.ones(3)
    with pytest.raises(ValueError, match="two dimensions"):
        quality_control(Hdf5DenseArray(tmp_path / "v.h5", "v"))


def test_progress_is_shown(array: tuple[Any, numpy.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    quality_control(array[0], progress=True)
    assert "100" in capsys.readouterr().err
