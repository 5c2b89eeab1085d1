"""The arrays within delayedarray: what its users do with them, against numpy on the same data."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import biocutils
import delayedarray
import dolomite_base
import dolomite_matrix
import h5py
import numpy
import pandas
import pytest
import scipy.sparse
from delayedarray import (
    DelayedArray,
    apply_over_blocks,
    apply_over_dimension,
    is_sparse,
    to_dense_array,
    to_scipy_sparse_matrix,
    to_sparse_array,
)
from singlecellexperiment import SingleCellExperiment

from filebackedarray import FileBackedArray, Hdf5CompressedSparseMatrix, Hdf5DenseArray
from helpers import random_compressed

SHAPE = (30, 20)


@pytest.fixture(scope="module", params=["dense", "dense-reversed", "csc", "csr"])
def array(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DelayedArray, numpy.ndarray]:
    """One of the four kinds of array, and what it holds."""
    path = tmp_path_factory.mktemp("delayed") / "x.h5"
    if request.param.startswith("dense"):
        data = numpy.random.default_rng(23).integers(0, 5, SHAPE).astype("f8")
        native = request.param == "dense"
        with h5py.File(path, "w") as handle:
            stored = data if native else data.T
            handle.create_dataset("x", data=stored, chunks=(7, 6), compression="gzip")
        return Hdf5DenseArray(path, "x", native_order=native), data
    by_column = request.param == "csc"
    matrix = random_compressed(SHAPE, by_column, seed=24)
    matrix.write(path, compression="gzip", chunks=(20,))
    return Hdf5CompressedSparseMatrix(path, "m", SHAPE, by_column), matrix.dense()


def same(got: Any, want: Any) -> None:
    numpy.testing.assert_allclose(numpy.asarray(got), want)


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "add-scalar": lambda x: x + 1,
    "multiply-scalar": lambda x: x * 2.5,
    "divide-by-columns": lambda x: x / numpy.arange(1, 21),
    "subtract-rows": lambda x: x - numpy.arange(30).reshape(30, 1),
    "itself": lambda x: x + x,
    "compare": lambda x: x > 1,
    "log1p": numpy.log1p,
    "sqrt": numpy.sqrt,
    "negative": lambda x: -x,
    "absolute": lambda x: abs(x - 2),
    "transposed": lambda x: x.T,
    "transposed-operation": lambda x: (x.T * 2).T + 1,
    "astype": lambda x: x.astype(numpy.dtype("f4")),
    "rounded": lambda x: numpy.round(x / 3, decimals=1),
    "joined-rows": lambda x: numpy.concatenate((x, x * 2), axis=0),
    "joined-columns": lambda x: numpy.concatenate((x, x), axis=1),
    "slice": lambda x: x[3:20, 5:],
    "steps": lambda x: x[::3, ::-2],
    "rows": lambda x: x[[5, 1, 1, 29], :],
    "columns": lambda x: x[:, numpy.array([19, 0])],
    "mask": lambda x: x[numpy.arange(30) % 2 == 0, :],
    "cross": lambda x: x[numpy.ix_([1, 5], [2, 3, 19])],
    "element": lambda x: x[3, 4],
    "one-row": lambda x: x[3, :],
    "one-column": lambda x: x[:, 19],
    "last-rows": lambda x: x[-3:, :],
    "subset-of-operation": lambda x: (x + 1)[2:9, [3, 1]],
    "operation-on-subset": lambda x: x[2:9, [3, 1]] * 2,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation(array: tuple[DelayedArray, numpy.ndarray], operation: str) -> None:
    delayed, data = array
    same(OPERATIONS[operation](delayed), OPERATIONS[operation](data))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param((slice(None), -1), id="last-column"),
        pytest.param((-1, slice(None)), id="last-row"),
        pytest.param(-30, id="first-row"),
        pytest.param((-1, -1), id="last-element"),
        pytest.param((slice(None), numpy.int32(-2)), id="numpy-integer"),
        pytest.param((slice(None), [-1, 0]), id="list"),
    ],
)
def test_a_negative_index_counts_from_the_end(array: tuple[DelayedArray, numpy.ndarray], key: Any) -> None:
    # delayedarray hands a single negative integer to the seed as it is; with hdf5array's dense
    # arrays that works, since h5py understands it.
    delayed, data = array
    same(delayed[key], data[key])


@pytest.mark.parametrize("buffer_size", [None, 800])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("statistic", ["sum", "mean", "var", "any", "all"])
def test_statistic(
    array: tuple[DelayedArray, numpy.ndarray], statistic: str, axis: Any, buffer_size: int | None
) -> None:
    delayed, data = array
    got = getattr(delayed, statistic)(axis=axis, buffer_size=buffer_size)
    same(got, getattr(data, statistic)(axis=axis))


def test_numpy_functions(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    delayed, data = array
    same(numpy.sum(delayed, axis=0), data.sum(axis=0))
    same(numpy.mean(delayed, axis=1), data.mean(axis=1))
    same(numpy.array(delayed), data)
    same(numpy.array(delayed, dtype="f4"), data.astype("f4"))
    same(numpy.transpose(delayed), data.T)


@pytest.mark.parametrize("buffer_size", [200, 10**6])
def test_blocks(array: tuple[DelayedArray, numpy.ndarray], buffer_size: int) -> None:
    delayed, data = array
    seen = numpy.full(SHAPE, -1.0)

    def keep(position: list[tuple[int, int]], block: Any) -> None:
        seen[tuple(slice(*p) for p in position)] = numpy.asarray(block)

    for allow_sparse in (False, True):
        seen[...] = -1
        apply_over_blocks(delayed, keep, allow_sparse=allow_sparse, buffer_size=buffer_size)
        same(seen, data)


@pytest.mark.parametrize("dimension", [0, 1])
def test_along_a_dimension(array: tuple[DelayedArray, numpy.ndarray], dimension: int) -> None:
    delayed, data = array
    parts = apply_over_dimension(delayed, dimension, lambda _, block: numpy.asarray(block).sum(), buffer_size=2000)
    assert sum(parts) == data.sum()
    assert len(parts) > 1


def test_both_forms(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    delayed, data = array
    same(to_dense_array(delayed), data)
    same(to_dense_array(delayed + 1), data + 1)
    if is_sparse(delayed):
        same(to_sparse_array(delayed), data)
        doubled = delayed * 2
        assert is_sparse(doubled)
        same(to_sparse_array(doubled), data * 2)
        same(to_scipy_sparse_matrix(doubled, "csr").toarray(), data * 2)
        # What delayedarray itself makes of a subset or a transpose of the seed.
        same(to_scipy_sparse_matrix(delayed[2:9, :], "csc").toarray(), data[2:9])
        same(to_sparse_array(delayed.T), data.T)


def test_sparse_and_dense_together(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    delayed, data = array
    other = numpy.random.default_rng(25).random(SHAPE)
    same(delayed * other, data * other)
    same(other - delayed, other - data)
    same(delayed + delayedarray.DelayedArray(other), data + other)


@pytest.mark.parametrize(
    "operand",
    [
        [*range(20)],
        tuple(range(20)),
        pandas.Series(range(20)),
        numpy.arange(1),
        numpy.array([[3]]),
        numpy.arange(30)[:, None],
        numpy.arange(20)[None],
        numpy.array(2),
        numpy.arange(600).reshape(30, 20),
    ],
    ids=repr,
)
def test_operands_are_broadcast(array: tuple[DelayedArray, numpy.ndarray], operand: Any) -> None:
    ours, data = array
    plain = numpy.asarray(operand)
    for made, want in (
        (ours + operand, data + plain),
        (operand - ours if not isinstance(operand, pandas.Series) else plain - ours, plain - data),
        (numpy.multiply(ours, operand), data * plain),
        (numpy.subtract(plain, ours), plain - data),
        (ours > operand, data > plain),
    ):
        assert isinstance(made, FileBackedArray)
        same(made, want)
        # Parts of the operand go with parts of the array.
        same(made[5:6, 3:5], want[5:6, 3:5])
        same(made[:, 3:4].sum(axis=0), want[:, 3:4].sum(axis=0))


def test_delayed_arrays_are_broadcast(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    ours, data = array
    for made, want in (
        (ours * ours[:1, :], data * data[:1]),
        (ours[:, 3:4] - ours, data[:, 3:4] - data),
        (ours[:, 3:4] + ours[:1, :], data[:, 3:4] + data[:1]),
        (ours + numpy.ones((2, 1, 20)), data + numpy.ones((2, 1, 20))),
        (numpy.where(ours[:1, :] > 0, ours, ours[:, :1]), numpy.where(data[:1] > 0, data, data[:, :1])),
    ):
        assert isinstance(made, FileBackedArray)
        assert made.shape == want.shape
        same(made, want)
        same(made[..., [5, 2, 2], :], want[..., [5, 2, 2], :])
        same(made[..., 3:5].sum(axis=0), want[..., 3:5].sum(axis=0))
        same(made.to_dask((*([1] * (made.ndim - 2)), 7, 9)).compute(), want)


def test_sparse_arrays_stay_sparse(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    ours, data = array
    functions: list[tuple[Callable[[Any], Any], bool]] = [
        (lambda x: numpy.clip(x, 0, 3), True),
        (lambda x: numpy.maximum(x, 0), True),
        (lambda x: numpy.where(x, 2, 0), True),
        (numpy.nan_to_num, True),
        (numpy.square, True),
        (lambda x: numpy.clip(x, 1, 3), False),
        (lambda x: numpy.maximum(x, x * 2), False),
        (numpy.reciprocal, False),
    ]
    for function, stays in functions:
        with numpy.errstate(divide="ignore"):
            made, want = function(ours), function(data)
            same(made, want)
            assert is_sparse(made) == (is_sparse(ours) and stays)
            if is_sparse(made):
                same(to_scipy_sparse_matrix(made, "csc").toarray(), want)
                same(to_sparse_array(made[3:9, :]), want[3:9])
                same(made.to_dask(sparse=True).compute().toarray(), want)
                same(made @ numpy.ones(20), want @ numpy.ones(20))
            same(made.T.sum(axis=0), want.T.sum(axis=0))


def test_operators_are_numpys(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    ours, data = array
    whole = data.astype("i4")
    for x, values in ((ours.astype("i4"), whole), (ours > 1, data > 1)):
        for made, want in (
            (x & 3, values & 3),
            (6 | x, 6 | values),
            (x ^ (x > 2), values ^ (values > 2)),
            (~x, ~values),
            (x << 1, values << 1),
            (x & True, values & True),
            ((x > 1) | (x == 0), (values > 1) | (values == 0)),
            (2**x, 2**values),
            (divmod(x, 3)[1], divmod(values, 3)[1]),
        ):
            assert made.dtype == want.dtype
            numpy.testing.assert_array_equal(numpy.asarray(made), want, strict=True)
    with pytest.raises(TypeError, match="bitwise_and"):
        _ = ours & 1
    with pytest.raises(TypeError, match=r"numpy\.array\(x\)"):
        ours[0, 0] = 1


def test_operands_that_do_not_fit(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    ours, data = array
    for operand in (
        numpy.arange(21),
        numpy.arange(19),
        [*range(21)],
        numpy.ones((21, 1)),
        numpy.ones((1, 9, 20)),
        [],
        ours.T,
    ):
        with pytest.raises(ValueError, match="cannot be broadcast"):
            _ = ours + operand
        with pytest.raises(ValueError, match="cannot be broadcast"):
            numpy.less(operand, ours)
    with pytest.raises(TypeError, match="numpy array"):
        _ = ours + scipy.sparse.csr_matrix(data[:1])


def test_arguments_of_numpys_functions_are_not_ignored(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    ours, data = array
    out = numpy.full(SHAPE, 7.0)
    assert numpy.add(ours, 1, out=out) is out
    same(out, data + 1)
    out += ours
    assert type(out) is numpy.ndarray
    same(out, 2 * data + 1)
    product = numpy.zeros(SHAPE[0])
    assert numpy.matmul(ours, numpy.ones(SHAPE[1]), out=product) is product
    same(product, data.sum(axis=1))
    with pytest.raises(TypeError, match="cannot be written to"):
        numpy.log1p(data, out=ours)
    with pytest.raises(TypeError, match="same_kind"):
        numpy.add(ours, 1, out=numpy.zeros(SHAPE, "i4"))
    for call in (
        lambda: numpy.add(ours, 1, where=data > 1),
        lambda: numpy.log1p(ours, order="F"),
        lambda: numpy.concatenate([ours, ours], axis=None),
        lambda: numpy.sum(ours, initial=3),
        lambda: numpy.clip(ours, 1, 2, where=data > 1),
    ):
        with pytest.raises(NotImplementedError, match="not implemented"):
            call()
    with pytest.raises(TypeError, match="safe"):
        ours.astype("i1", casting="safe")
    assert ours.astype("f8", casting="safe", copy=False).dtype == numpy.float64


def test_functions_that_are_not_there_say_what_to_do(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    ours, _ = array
    functions: list[Callable[[Any], Any]] = [
        numpy.median,
        lambda x: numpy.where(x > 1),
        numpy.cumsum,
        numpy.linalg.norm,
        numpy.add.reduce,
    ]
    for function in functions:
        with pytest.raises(NotImplementedError, match="asarray"):
            function(ours)
    assert (numpy.ndim(ours), numpy.size(ours), numpy.shape(ours)) == (2, 600, SHAPE)


def test_joining(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    ours, data = array
    same(numpy.concatenate([ours, data.tolist()], -1), numpy.concatenate([data, data], -1))
    same(numpy.concatenate(ours), numpy.concatenate(data))
    for axis in (2, -3):
        with pytest.raises(numpy.exceptions.AxisError):
            numpy.concatenate([ours, ours], axis=axis)
    with pytest.raises(ValueError, match="number of dimensions"):
        numpy.concatenate([ours, ours[0]])
    with pytest.raises(ValueError, match="repeated axis"):
        numpy.transpose(ours, (0, 0))
    nothing = numpy.concatenate([ours, ours])[[]]
    same(nothing, data[:0])
    assert numpy.asarray(nothing, dtype="i4").dtype == numpy.int32
    assert repr(nothing).startswith("<0 x 20> " + "sparse " * is_sparse(ours) + "DelayedArray object of type 'float64'")


def test_scalars(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = 2.5
    scalar = Hdf5DenseArray(path, "x")
    for made, want in ((scalar + 1, 3.5), (numpy.sqrt(scalar), 2.5**0.5), (numpy.around(scalar), 2.0), (-scalar, -2.5)):
        got = numpy.asarray(made)
        assert (type(got), got.shape, got) == (numpy.ndarray, (), want)
    with pytest.raises(ValueError, match="zero-dimensional"):
        numpy.concatenate([scalar, scalar])


# ---- in BiocPy's containers ------------------------------------------------------------------


@pytest.mark.parametrize(("combine", "axis"), [(biocutils.combine_rows, 0), (biocutils.combine_columns, 1)])
def test_combined(array: tuple[DelayedArray, numpy.ndarray], combine: Callable[..., Any], axis: int) -> None:
    x, data = array
    for others, want in (
        ((), data),
        ((x, numpy.log1p(x)), numpy.concatenate([data, data, numpy.log1p(data)], axis=axis)),
        ((data, DelayedArray(data)), numpy.concatenate([data] * 3, axis=axis)),
    ):
        got = combine(x, *others)
        assert isinstance(got, DelayedArray)
        same(got, want)
    with pytest.raises(ValueError, match="extent"):
        combine(x, data[:3, :4])


def test_assays(array: tuple[DelayedArray, numpy.ndarray]) -> None:
    x, data = array
    experiment = SingleCellExperiment({"counts": x, "log": numpy.log1p(x)})
    assert "(30, 20)" in str(experiment)
    part = experiment[5:12, [3, 1, 2]]
    for whole, want in (
        (part, data[5:12][:, [3, 1, 2]]),
        (biocutils.combine_columns(experiment, experiment), numpy.hstack([data, data])),
        (biocutils.combine_rows(experiment, experiment), numpy.vstack([data, data])),
    ):
        assert isinstance(whole.assay("counts"), FileBackedArray)
        same(whole.assay("counts"), want)
    same(part.assay("log"), numpy.log1p(data[5:12][:, [3, 1, 2]]))


def test_saved_by_dolomite(array: tuple[DelayedArray, numpy.ndarray], tmp_path: Path) -> None:
    x, data = array
    for number, (tree, want) in enumerate([(x, data), (x[[5, 3], :].T, data[[5, 3]].T), (numpy.log1p(x), None)]):
        dolomite_base.save_object(tree, str(tmp_path / str(number)))
        back = dolomite_base.read_object(str(tmp_path / str(number)))
        assert isinstance(back, dolomite_matrix.ReloadedArray)
        same(back, numpy.log1p(data) if want is None else want)


@pytest.mark.parametrize("axis", [0, 1])
def test_joined_parts_are_of_one_type(array: tuple[DelayedArray, numpy.ndarray], axis: int) -> None:
    x, data = array
    joined = numpy.concatenate([x > 1, x, data.astype("f4")], axis=axis)
    want = numpy.concatenate([data > 1, data, data.astype("f4")], axis=axis)
    # In half precision, if it were of booleans.
    for made, expected in ((joined, want), (numpy.log1p(joined), numpy.log1p(want)), (numpy.round(joined, 1), want)):
        same(made, expected)
        same(made[:7, :7], expected[:7, :7])


def test_a_scalar_and_scalars(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = numpy.int16(3)
    x = Hdf5DenseArray(tmp_path / "x.h5", "x")
    for other in (2, 2.5, numpy.float32(2), numpy.int8(2), numpy.array(2.5)):
        for got, want in ((x * other, numpy.int16(3) * other), (other - x, other - numpy.int16(3))):
            assert (got.dtype, got.item()) == (want.dtype, want.item())


def test_zeros_are_negated(tmp_path: Path) -> None:
    data = numpy.array([0.0, -0.0, numpy.nan, numpy.inf, 1], "f4")
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle["x"] = data
    x = Hdf5DenseArray(tmp_path / "x.h5", "x")
    for negated in (-x, numpy.negative(x)):
        assert negated.dtype == data.dtype
        assert numpy.asarray(negated).tobytes() == (data * -1).tobytes()
    assert numpy.signbit(numpy.asarray(-x)).tolist()[:2] == [True, False]


def test_booleans_are_not_negated(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["truth"], handle["text"], handle["number"] = [True, False], [b"a"], numpy.arange(3, dtype="i2")
    number = Hdf5DenseArray(path, "number")
    for array in (Hdf5DenseArray(path, "truth"), Hdf5DenseArray(path, "text"), number > 1):
        with pytest.raises(TypeError) as expected:
            operator.neg(numpy.asarray(array))
        with pytest.raises(TypeError) as error:
            operator.neg(array)
        assert str(error.value) == str(expected.value)
    numpy.testing.assert_array_equal(numpy.asarray(-number), -numpy.arange(3, dtype="i2"), strict=True)


CONVERSIONS: list[Callable[[Any], Any]] = [
    int,
    float,
    complex,
    bool,
    lambda x: x.item(),
    lambda x: x.item(0),
    lambda x: x.item(-1),
    lambda x: x.item((0,)),
    lambda x: x.item(0, 0),
    lambda x: x.item(1, -2),
    lambda x: x.item(4),
    lambda x: x.item(99),
    lambda x: x.item(0, 99),
    lambda x: x.item("a"),
    lambda x: x.item(0, slice(1)),
]


@pytest.mark.parametrize("convert", CONVERSIONS)
@pytest.mark.parametrize(
    "values",
    [
        numpy.array(2.5, "f4"),
        numpy.array([7], "i2"),
        numpy.array([[0.0]]),
        numpy.array([[numpy.nan]]),
        numpy.array(2**63, "u8"),
        numpy.array([True]),
        numpy.array(3 + 4j),
        numpy.array([b"12"]),
        numpy.array(b"12"),
        numpy.arange(6).reshape(2, 3),
        numpy.zeros(0),
        numpy.zeros((2, 0)),
    ],
    ids=lambda values: f"{values.dtype}-{values.shape}",
)
@pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")
def test_conversions_to_python(tmp_path: Path, values: numpy.ndarray, convert: Callable[[Any], Any]) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle["x"] = values
    x = Hdf5DenseArray(path, "x", native_order=True)
    for array in (x, x.astype(x.dtype)):
        try:
            want = convert(values)
        except (TypeError, ValueError, IndexError) as expected:
            with pytest.raises(type(expected)):
                convert(array)
        else:
            got = convert(array)
            assert type(got) is type(want)
            numpy.testing.assert_array_equal(got, want)


def test_conversions_of_one_sparse_element(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    matrix = random_compressed((4, 5), True, seed=1, density=0.5)
    matrix.write(path)
    sparse = Hdf5CompressedSparseMatrix(path, "m", (4, 5), True)
    for row, column in numpy.ndindex(4, 5):
        assert sparse.item(row, column) == matrix.dense()[row, column]
        assert sparse[[row], :][:, [column]].item() == matrix.dense()[row, column]


def test_only_one_element_is_read_for_it(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", shape=(10**9, 10**8), dtype="u1", chunks=(100, 100))[3, 4] = 9
    x = Hdf5DenseArray(path, "x", native_order=True)
    assert x.item(3, 4) == x.item(3 * 10**8 + 4) == 9
    for convert in (int, float, bool):
        with pytest.raises((TypeError, ValueError)):
            convert(x)
