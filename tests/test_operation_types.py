"""Delayed operations of every pair of types: types that are stated and that are read, values and errors are numpy's."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
import scipy.sparse
from delayedarray import DelayedArray

from filebackedarray import FileBackedArray, Hdf5CompressedSparseMatrix, Hdf5DenseArray

DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
VALUES = numpy.array([[0, 1, 2], [3, 0, 0]])

UNARY: dict[str, Callable[[Any], Any]] = {
    **{
        name: getattr(numpy, name)
        for name in (
            *("negative", "positive", "absolute", "log", "log1p", "log2", "log10", "exp", "expm1", "sqrt", "square"),
            *(
                "sin",
                "cos",
                "tan",
                "sinh",
                "cosh",
                "tanh",
                "arcsin",
                "arccos",
                "arctan",
                "arcsinh",
                "arccosh",
                "arctanh",
            ),
            *("ceil", "floor", "trunc", "rint", "sign", "isnan", "isfinite", "logical_not", "conj", "invert"),
        )
    },
    **{name: getattr(operator, name) for name in ("neg", "pos", "abs", "invert")},
    **{f"round {n}": lambda x, n=n: numpy.round(x, decimals=n) for n in (-1, 0, 1)},
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    **{
        f"numpy.{name}": getattr(numpy, name)
        for name in (
            *("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power"),
            *("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"),
            *("logical_and", "logical_or", "logical_xor", "maximum", "bitwise_and"),
        )
    },
    **{
        name: getattr(operator, name)
        for name in (
            *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "ne", "lt", "le", "gt", "ge"),
            *("and_", "or_", "xor"),
        )
    },
}
STATISTICS = (
    *("sum", "mean", "var", "std", "min", "max", "any", "all", "count_nonzero", "ptp"),
    *("nansum", "nanmean", "nanvar", "nanstd", "nanmin", "nanmax"),
)


def operands() -> Iterator[tuple[str, Any]]:
    """Scalars of Python and numpy, arrays of no dimension, vectors along each axis, matrices, and what is no number."""
    for value in (2, True, 2.5, 1j, -1, 300, 0):
        yield f"{value!r}", value
    yield "None", None
    yield "text", "a"
    for value in (
        numpy.int8(2),
        numpy.uint64(3),
        numpy.float16(1.5),
        numpy.float32(2),
        numpy.complex64(1j),
        numpy.bool_(1),
    ):
        yield f"scalar {value.dtype}", value
    for dtype in DTYPES:
        yield f"0-d {dtype}", numpy.array(2).astype(dtype)
        yield f"vector {dtype}", numpy.array([1, 2, 3]).astype(dtype)
        yield f"column {dtype}", numpy.array([[1], [2]]).astype(dtype)
        yield f"matrix {dtype}", VALUES.astype(dtype)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("operation-types") / "x.h5"
    matrix = scipy.sparse.csc_matrix(VALUES)
    with h5py.File(path, "w") as handle:
        for dtype in DTYPES:
            handle[f"dense/{dtype}"] = VALUES.astype(dtype)
            if dtype[0] != "c":
                handle[f"sparse/{dtype}/data"] = matrix.data.astype(dtype)
                handle[f"sparse/{dtype}/indices"], handle[f"sparse/{dtype}/indptr"] = matrix.indices, matrix.indptr
    return path


def array(path: Path, kind: str, dtype: str) -> FileBackedArray:
    if kind == "dense":
        return Hdf5DenseArray(path, f"dense/{dtype}", native_order=True)
    return Hdf5CompressedSparseMatrix(path, f"sparse/{dtype}", VALUES.shape, True)


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result, or the exception."""
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*arguments)
        except Exception as error:
            return error


def same(what: str, got: Any, want: Any) -> None:
    """What an operation gave, and what numpy gives of arrays in memory."""
    if isinstance(want, Exception):
        # At the time of the operation, not when the result is read.
        assert type(got) is type(want), (what, got, want)
        return
    assert not isinstance(got, Exception), (what, got, want)
    if isinstance(want, str):
        assert got == want, what
        return
    assert got.dtype == want.dtype, (what, got.dtype, want.dtype)
    read = outcome(numpy.asarray, got)
    assert not isinstance(read, Exception), (what, read)
    assert read.dtype == want.dtype, (what, read.dtype, want.dtype)
    if want.dtype == object:
        numpy.testing.assert_array_equal(read, want, err_msg=what)
        return
    # Squares and roots of a function are those of the operator, which may differ in the last bit.
    tolerance = 2 * numpy.finfo(want.dtype).eps if want.dtype.kind in "fc" else 0
    numpy.testing.assert_allclose(read, want, tolerance, err_msg=what)


KINDS = [(kind, dtype) for dtype in DTYPES for kind in ("dense", "sparse") if kind == "dense" or dtype[0] != "c"]


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_binary_operations(path: Path, kind: str, dtype: str) -> None:
    x, data = array(path, kind, dtype), VALUES.astype(dtype)
    pairs = [(name, other, other) for name, other in operands()]
    pairs += [(f"{k} {d}", array(path, k, d), VALUES.astype(d)) for k, d in KINDS]
    if kind == "sparse":
        # Types do not depend on how an array is stored.
        pairs = pairs[DTYPES.index(dtype) % 4 :: 4]
    for function_name, function in BINARY.items():
        for name, ours, plain in pairs:
            same(f"{function_name}(x, {name})", outcome(function, x, ours), outcome(function, data, plain))
            same(f"{function_name}({name}, x)", outcome(function, ours, x), outcome(function, plain, data))


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_unary_operations(path: Path, kind: str, dtype: str) -> None:
    x, data = array(path, kind, dtype), VALUES.astype(dtype)
    for name, function in UNARY.items():
        same(name, outcome(function, x), outcome(function, data))


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_statistics(path: Path, kind: str, dtype: str) -> None:
    x, data = array(path, kind, dtype), VALUES.astype(dtype)
    # Of results of operations too, which take another way.
    for tree, values in ((x, data), (x * 1, data * 1), (x == 2, data == 2)):
        for name in STATISTICS:
            for axis in (None, 0, 1):
                got, want = (outcome(getattr(numpy, name), one, axis) for one in (tree, values))
                if isinstance(want, Exception):
                    assert type(got) is type(want), (name, got, want)
                    continue
                assert not isinstance(got, Exception), (name, axis, got)
                assert got.dtype == want.dtype, (name, axis, got.dtype, want.dtype)


# ---- operands of other classes -----------------------------------------------------------------

SPARSE = (
    "csc_matrix",
    "csr_matrix",
    "coo_matrix",
    "lil_matrix",
    "dok_matrix",
    "bsr_matrix",
    "dia_matrix",
    "csc_array",
    "csr_array",
    "coo_array",
)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("name", SPARSE)
def test_scipys_matrices(path: Path, kind: str, name: str) -> None:
    x, data = array(path, kind, "f8"), VALUES.astype("f8")
    matrix = getattr(scipy.sparse, name)(VALUES[:, ::-1].astype("i4"))
    other = matrix.toarray()
    for function_name in ("add", "sub", "mul", "lt", "eq"):
        function = BINARY[function_name]
        same(f"{function_name}(x, {name})", outcome(function, x, matrix), outcome(function, data, other))
    for function_name in ("numpy.add", "numpy.multiply"):
        same(function_name, outcome(BINARY[function_name], x, matrix), BINARY[function_name](data, other))
    for function_name in ("add", "sub"):
        same(
            f"{function_name}({name}, x)", outcome(BINARY[function_name], matrix, x), BINARY[function_name](other, data)
        )


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_other_classes_of_numpys(path: Path, kind: str, tmp_path: Path) -> None:
    x, data = array(path, kind, "f8"), VALUES.astype("f8")
    mapped = numpy.memmap(tmp_path / "x.raw", "f4", "w+", shape=VALUES.shape)
    mapped[:] = VALUES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = numpy.asmatrix(VALUES)
    for other in (mapped, mapped[0], matrix, matrix[0]):
        for name in ("add", "sub", "mul", "gt"):
            function = BINARY[name]
            plain = numpy.asarray(other)
            same(f"{name}(x, {type(other)})", outcome(function, x, other), function(data, plain))
            got = outcome(function, other, x)
            same(f"{name}({type(other)}, x)", got, function(plain, data))
            assert isinstance(got, DelayedArray)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_masked_operands(path: Path, kind: str) -> None:
    x, data = array(path, kind, "f8"), VALUES.astype("f8")
    for masked in (numpy.ma.masked_equal(VALUES, 1), numpy.ma.masked_equal(VALUES[0], 1)):
        for name in ("add", "sub", "mul", "gt", "eq", "pow"):
            for ours, plain in (((x, masked), (data, masked)), ((masked, x), (masked, data))):
                got, want = outcome(BINARY[name], *ours), BINARY[name](*plain)
                assert not isinstance(got, Exception), (name, got)
                read = numpy.ma.asarray(got)
                assert read.dtype == want.dtype
                numpy.testing.assert_array_equal(numpy.ma.getmaskarray(read), numpy.ma.getmaskarray(want), name)
                numpy.testing.assert_array_equal(read.filled(7), want.filled(7), name)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_results_that_are_written_to(path: Path, kind: str) -> None:
    x, data = array(path, kind, "i4"), VALUES.astype("i4")
    for dtype in ("i4", "f8", "i1", "c8"):
        for function in (numpy.add, numpy.multiply, numpy.divide, numpy.greater):
            ours, plain = numpy.zeros(VALUES.shape, dtype), numpy.zeros(VALUES.shape, dtype)
            got, want = (
                outcome(lambda a, out, f=function: f(a, 2, out=out), one, out)
                for one, out in ((x, ours), (data, plain))
            )
            assert isinstance(got, Exception) == isinstance(want, Exception), (dtype, function, got, want)
            if not isinstance(want, Exception):
                assert got is ours
                numpy.testing.assert_array_equal(ours, plain)
    accumulated = numpy.ones(VALUES.shape)
    accumulated += x
    accumulated *= x * 2
    numpy.testing.assert_array_equal(accumulated, (1 + data) * data * 2)
    with pytest.raises(TypeError, match="cannot be written to"):
        numpy.add(data, 1, out=x)
