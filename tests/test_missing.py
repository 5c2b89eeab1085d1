"""R's missing values as masks, against what R wrote and numpy.ma computes."""

from __future__ import annotations

import csv
import pickle
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from delayedarray import extract_dense_array, extract_sparse_array, is_masked, is_sparse, to_dense_array

import real
from filebackedarray import Hdf5DenseArray, Hdf5DenseArraySeed, quality_control, summarize
from helpers import everything

SHAPE = (23, 17)
NA_REAL = numpy.array([0x7FF00000000007A2], "u8").view("f8")[0]
#: The same as arithmetic on most machines leaves it: quiet.
QUIET_NA = numpy.array([0x7FF80000000007A2], "u8").view("f8")[0]


def _data() -> tuple[dict[str, tuple[numpy.ndarray, dict[str, Any]]], numpy.ndarray]:
    rng = numpy.random.default_rng(5)
    mask = rng.random(SHAPE) < 0.2
    mask[:, 3] = True
    counts = rng.integers(-3, 4, SHAPE)
    ours = {"rhdf5-NA.OK": numpy.array([1], "i4")}
    logical = {**ours, "storage.mode": numpy.array([b"logical"])}
    real_values = rng.random(SHAPE)
    real_values[5, :4] = numpy.nan
    truth = (counts > 0).astype("i8")
    text = numpy.where(counts > 0, "yes", "no")
    return {
        "integer": (numpy.where(mask, -(2**31), counts).astype("i4"), ours),
        "integer-big": (numpy.where(mask, -(2**31), counts).astype(">i4"), ours),
        "integer64": (numpy.where(mask, -(2**63), counts).astype("i8"), ours),
        "double": (numpy.where(mask, NA_REAL, real_values), ours),
        "double-big": (numpy.where(mask, QUIET_NA, real_values).astype(">f8"), {}),
        "logical": (numpy.where(mask, -128, truth).astype("i1"), logical),
        "logical32": (numpy.where(mask, -(2**31), truth).astype("i4"), logical),
        "text": (numpy.where(mask, "NA", text).astype("S3"), {**ours, "as.na": numpy.array([1], "i4")}),
        "variable": (numpy.where(mask, "NA", text).astype(object), {**ours, "as.na": numpy.int32(1)}),
    }, mask


DATA, MASK = _data()
NUMERIC = [name for name, (values, _) in DATA.items() if values.dtype.kind in "if"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("missing") / "x.h5"
    with h5py.File(path, "w") as handle:
        for name, (values, attributes) in DATA.items():
            options: dict[str, Any] = {"dtype": h5py.string_dtype()} if name == "variable" else {}
            dataset = handle.create_dataset(name, data=values, chunks=(5, 4), compression=1, **options)
            dataset.attrs.update(attributes)
        # Not from R, or not of a type in which it has missing values.
        handle["others"] = DATA["integer"][0]
        handle["text of others"] = DATA["text"][0]
        handle["float32"] = numpy.full(SHAPE, numpy.nan, "f4")
        handle["short"] = numpy.full(SHAPE, -32768, "i2")
        handle["byte"] = numpy.full(SHAPE, 128, "u1")
        for name in ("float32", "short", "byte"):
            handle[name].attrs["rhdf5-NA.OK"] = 1
        handle["text with as.na 0"] = DATA["text"][0]
        handle["text with as.na 0"].attrs["as.na"] = 0
    return path


def expected(name: str) -> numpy.ma.MaskedArray:
    values = DATA[name][0]
    return numpy.ma.MaskedArray(values.astype("U3") if name == "variable" else values, MASK)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", DATA)
def test_what_is_missing_is_masked(path: Path, name: str, native: bool) -> None:
    x = Hdf5DenseArray(path, name, native_order=native, mask_missing=True)
    want = expected(name) if native else expected(name).T
    assert is_masked(x)
    got = to_dense_array(x)
    assert isinstance(got, numpy.ma.MaskedArray)
    assert got.dtype == want.dtype
    numpy.testing.assert_array_equal(got.mask, want.mask)
    numpy.testing.assert_array_equal(got.compressed(), want.compressed())
    for subset in ((range(1, 20, 3), [0, 3, 4]), ([2], range(17)), (range(0), range(4))):
        part = extract_dense_array(x.seed, subset if native else subset[::-1])
        want_part = (expected(name)[numpy.ix_(*subset)]).T if not native else expected(name)[numpy.ix_(*subset)]
        numpy.testing.assert_array_equal(part.mask, want_part.mask)
    again = pickle.loads(pickle.dumps(x.seed))
    assert is_masked(again)


@pytest.mark.parametrize("name", DATA)
def test_off_by_default(path: Path, name: str) -> None:
    x = Hdf5DenseArray(path, name)
    assert not is_masked(x)
    assert type(to_dense_array(x)) is numpy.ndarray


@pytest.mark.parametrize("name", ["others", "text of others", "float32", "short", "byte", "text with as.na 0"])
def test_what_cannot_be_missing_is_not_masked(path: Path, name: str) -> None:
    x = Hdf5DenseArray(path, name, mask_missing=True)
    assert not is_masked(x)
    assert type(to_dense_array(x)) is numpy.ndarray


def test_nan_is_a_value(path: Path) -> None:
    got = to_dense_array(Hdf5DenseArray(path, "double", native_order=True, mask_missing=True))
    numpy.testing.assert_array_equal(numpy.isnan(got.data[~got.mask]), numpy.isnan(DATA["double"][0][~MASK]))
    assert numpy.isnan(got.compressed()).any()


@pytest.mark.parametrize("untrusted", [False, True])
@pytest.mark.parametrize(("name", "dtype"), [("integer", "f8"), ("logical", "?"), ("double", "f4"), ("double", "i4")])
def test_masks_are_of_what_the_file_holds(path: Path, name: str, dtype: str, untrusted: bool) -> None:
    x = Hdf5DenseArray(path, name, dtype=dtype, native_order=True, mask_missing=True, untrusted=untrusted)
    got = to_dense_array(x)
    assert got.dtype == dtype
    numpy.testing.assert_array_equal(got.mask, MASK)
    known = ~MASK & ~numpy.isnan(DATA[name][0].astype("f8"))
    numpy.testing.assert_array_equal(got.data[known], DATA[name][0][known].astype(dtype))


@pytest.mark.parametrize("dtype", ["U1", "U2", "U7", "S1", "U"])
def test_text_that_is_cut_is_masked_before(path: Path, dtype: str) -> None:
    for name in ("text", "variable"):
        x = Hdf5DenseArray(path, name, dtype=dtype, native_order=True, mask_missing=True)
        numpy.testing.assert_array_equal(to_dense_array(x).mask, MASK)


OPERATIONS: dict[str, Any] = {
    "itself": lambda x: x,
    "times": lambda x: x * 2,
    "subset": lambda x: x[2:20:3, [1, 3, 9]],
    "transposed": lambda x: x.T,
    "cast": lambda x: x.astype(numpy.dtype("f8")),
    "itself twice": lambda x: x + x,
}
STATISTICS = ("sum", "mean", "var", "std", "min", "max", "ptp", "any", "all")


def oracle(name: str, values: numpy.ma.MaskedArray, axis: Any, keepdims: bool) -> Any:
    """numpy's own of what is not masked; numpy.ma masks what NaN leads to in some of its functions."""
    data, kept = values.data, ~numpy.ma.getmaskarray(values)
    options: dict[str, Any] = {"axis": axis, "keepdims": keepdims, "where": kept}
    highest = numpy.inf if data.dtype.kind == "f" else numpy.iinfo(data.dtype).max
    lowest = -numpy.inf if data.dtype.kind == "f" else numpy.iinfo(data.dtype).min
    if name == "min":
        return numpy.min(data, initial=highest, **options)
    if name == "max":
        return numpy.max(data, initial=lowest, **options)
    if name == "ptp":
        return oracle("max", values, axis, keepdims) - oracle("min", values, axis, keepdims)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(numpy, name)(data, **options)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", NUMERIC)
def test_statistics_are_of_what_is_not_missing(path: Path, name: str, operation: str) -> None:
    change = OPERATIONS[operation]
    x = change(Hdf5DenseArray(path, name, native_order=True, mask_missing=True))
    want = change(expected(name).astype(expected(name).dtype.newbyteorder("=")))
    for statistic in STATISTICS:
        for axis in (None, 0, 1, (0, 1)):
            for keepdims in (False, True):
                got = getattr(x, statistic)(axis=axis, keepdims=keepdims, buffer_size=500)
                with numpy.errstate(all="ignore"):
                    there = numpy.asarray(oracle(statistic, want, axis, keepdims))
                assert numpy.shape(got) == there.shape
                nothing = numpy.asarray(numpy.ma.count(want, axis=axis, keepdims=keepdims) == 0)
                numpy.testing.assert_array_equal(numpy.ma.getmaskarray(got), nothing)
                numbers = [numpy.asarray(numpy.ma.getdata(a))[~nothing].astype("f8") for a in (got, there)]
                numpy.testing.assert_allclose(*numbers, rtol=1e-12, atol=1e-12)
    counts = x.count_nonzero(axis=0)
    numpy.testing.assert_array_equal(counts, ((want.data != 0) & ~want.mask).sum(axis=0))
    assert not isinstance(counts, numpy.ma.MaskedArray)


@pytest.mark.parametrize("name", ["integer", "double"])
def test_types_of_statistics(path: Path, name: str) -> None:
    x = Hdf5DenseArray(path, name, native_order=True, mask_missing=True)
    want = expected(name)
    for statistic in STATISTICS:
        with numpy.errstate(all="ignore"):
            assert getattr(x, statistic)(axis=0).dtype == getattr(want, statistic)(axis=0).dtype
    assert x.sum(axis=0, dtype="f4").dtype == "f4"
    with pytest.raises(TypeError, match="floating-point"):
        x.var(dtype="i4")


def test_nan_is_skipped_besides(path: Path) -> None:
    x = Hdf5DenseArray(path, "double", native_order=True, mask_missing=True)
    values = numpy.where(MASK, numpy.nan, DATA["double"][0])
    some = [0, 1, 2, 4, 5]  # The column that is missing altogether is masked here, and NaN there.
    for function in (numpy.nansum, numpy.nanmean, numpy.nanvar, numpy.nanmin, numpy.nanmax):
        numpy.testing.assert_allclose(function(x, axis=0)[some], function(values[:, some], axis=0))
    assert x.nanmean(axis=0).mask[3]


@pytest.mark.parametrize("name", NUMERIC)
def test_seeds_have_the_same_statistics(path: Path, name: str) -> None:
    seed = Hdf5DenseArraySeed(path, name, native_order=True, mask_missing=True)
    numpy.testing.assert_array_equal(seed.max(axis=1), expected(name).max(axis=1))


def test_all_missing_and_nothing_at_all(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = numpy.full((3, 4), NA_REAL)
        handle.create_dataset("empty", (0, 4), "f8")
    x = Hdf5DenseArray(tmp_path / "x.h5", "x", mask_missing=True)
    assert x.sum() is numpy.ma.masked
    assert x.max() is numpy.ma.masked
    assert x.count_nonzero() == 0
    empty = Hdf5DenseArray(tmp_path / "x.h5", "empty", native_order=True, mask_missing=True)
    assert empty.sum(axis=0).mask.all()
    assert empty.mean(axis=1).shape == (0,)


@pytest.mark.parametrize("name", NUMERIC)
def test_summaries_are_of_what_is_not_missing(path: Path, name: str) -> None:
    def same(got: Any, want: Any) -> None:
        numpy.testing.assert_array_equal(numpy.ma.getmaskarray(got), numpy.ma.getmaskarray(want))
        numpy.testing.assert_allclose(numpy.ma.filled(got, 0), numpy.ma.filled(want, 0), rtol=1e-12)

    x = Hdf5DenseArray(path, name, native_order=True, mask_missing=True)
    groups = [number % 3 for number in range(SHAPE[0])]
    for one in (x, x.seed, x + 0):
        of_rows, of_groups = summarize(one, [1, 0], ["sum", "var", "max", "count_nonzero"], groups=[None, groups])
        for statistic, got in of_rows.items():
            same(got, getattr(x, statistic)(axis=1))
            for group in range(3):
                same(of_groups[statistic][:, group], getattr(x[group::3, :], statistic)(axis=0))
        if x.dtype.kind == "b":
            continue
        found = quality_control(one, {"first": range(5)})
        want = numpy.ma.MaskedArray(expected(name).data.astype("f8"), MASK)
        nothing = MASK.all(axis=0)
        same(found.sum, numpy.ma.MaskedArray(oracle("sum", want, 0, False), nothing))
        same(found.subset_sum["first"], numpy.ma.MaskedArray(oracle("sum", want[:5], 0, False), MASK[:5].all(axis=0)))
        same(found.gene_mean, numpy.ma.MaskedArray(oracle("mean", want, 1, False), MASK.all(axis=1)))
        same(found.detected, ((want.data != 0) & ~MASK).sum(axis=0))


def test_what_does_not_know_masks_refuses(path: Path) -> None:
    array = Hdf5DenseArray(path, "double", mask_missing=True)
    with pytest.raises(NotImplementedError, match="masked"):
        array @ numpy.ones(SHAPE[0])
    with pytest.raises(TypeError, match="real numbers"):
        Hdf5DenseArray(path, "text", mask_missing=True).sum()


def test_progress(path: Path) -> None:
    seen: list[tuple[int, int]] = []
    x = Hdf5DenseArray(path, "double", mask_missing=True)
    x.sum(progress=lambda done, of: seen.append((done, of)), buffer_size=1000)
    assert len(seen) > 1
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]


@pytest.mark.parametrize("name", NUMERIC)
def test_sparse_and_masked(path: Path, name: str) -> None:
    x = Hdf5DenseArray(path, name, native_order=True, mask_missing=True, as_sparse=True)
    assert is_sparse(x)
    got = extract_sparse_array(x.seed, everything(SHAPE))
    assert got.is_masked
    want = expected(name)
    for column, content in enumerate(got.contents):
        rows = numpy.flatnonzero((want.data[:, column] != 0) | want.mask[:, column])
        numpy.testing.assert_array_equal(content[0], rows)
        numpy.testing.assert_array_equal(content[1].mask, want.mask[rows, column])
        numpy.testing.assert_array_equal(content[1].compressed(), want[rows, column].compressed())
    numpy.testing.assert_array_equal(numpy.ma.getmaskarray(to_dense_array(x * 2)), MASK)


# Files that R wrote.


@pytest.mark.parametrize("name", ["numeric", "integer_na", "logical_na", "float32", "zeros"])
def test_sums_are_those_that_r_has(name: str) -> None:
    real.require()
    folder = real.location() / "c4_r" / "made-with-bioconductor"
    with open(folder / "expected.tsv", encoding="utf-8") as handle:
        rows = {(row["file"], row["name"]): row for row in csv.DictReader(handle, delimiter="\t")}
    want = rows["dense.h5", name]
    x = Hdf5DenseArray(folder / "dense.h5", name, mask_missing=True)
    assert "x".join(map(str, x.shape)) == want["dim in R"]
    assert float(x.sum()) == pytest.approx(float(want["sum without NA"]), abs=1e-4 if name == "float32" else 1e-10)
    missing = name in ("integer_na", "logical_na")
    assert bool(numpy.ma.getmaskarray(to_dense_array(x)).any()) is missing


def test_a_missing_element_is_no_number(path: Path) -> None:
    x = Hdf5DenseArray(path, "integer", native_order=True, mask_missing=True)
    missing, there = (tuple(numpy.argwhere(where)[0].tolist()) for where in (MASK, ~MASK))
    assert x.item(*there) == DATA["integer"][0][there]
    one = x[tuple(slice(i, i + 1) for i in missing)]
    for convert in (lambda: x.item(*missing), lambda: one.item(), lambda: bool(one)):
        with pytest.raises(numpy.ma.MaskError):
            convert()
