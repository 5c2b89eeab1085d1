"""Every public function of numpy with arrays in files: it gives what it gives of arrays in memory, or says what to do.

The functions are found by inspection. One that has no row in ``CALLS``, such as one that is new, is called with the
array alone.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest

from filebackedarray import FileBackedArray, Hdf5DenseArray
from kinds import all_kinds

MODULES = (numpy, numpy.ma, numpy.linalg, numpy.fft, numpy.random, numpy.strings, numpy.char)

NOT_CALLED = {
    **dict.fromkeys(("numpy.test", "numpy.show_config", "numpy.show_runtime", "numpy.info"), "writes to the terminal"),
    **dict.fromkeys(
        ("numpy.linalg.test", "numpy.fft.test", "numpy.ma.test", "numpy.random.test"), "runs numpy's tests"
    ),
    **dict.fromkeys(("numpy.setbufsize", "numpy.seterr", "numpy.seterrcall", "numpy.set_printoptions"), "sets options"),
    **dict.fromkeys(
        ("numpy.random.seed", "numpy.random.set_state", "numpy.random.set_bit_generator"), "sets the state"
    ),
    **dict.fromkeys(("numpy.empty", "numpy.ma.empty", "numpy.ma.ids"), "has any values"),
    **dict.fromkeys(("numpy.printoptions", "numpy.errstate"), "is for a with statement"),
}
"""Functions that take no arrays, and why they are not called."""

Call = Callable[[Any, Any], Any]


def public() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for module in MODULES:
        for name in sorted(set(getattr(module, "__all__", dir(module)))):
            value = getattr(module, name, None)
            if callable(value) and not inspect.isclass(value) and not name.startswith("_"):
                found[f"{module.__name__}.{name}"] = value
    return {name: value for name, value in found.items() if name not in NOT_CALLED}


FUNCTIONS = public()


def rows(*calls: Call) -> tuple[Call, ...]:
    return calls


BINARY = rows(
    lambda f, x: f(x, 2),
    lambda f, x: f(2, x),
    lambda f, x: f(x, x),
    lambda f, x: f(x, numpy.arange(1, x.shape[-1] + 1)),
    lambda f, x: f(numpy.arange(1, 1 + numpy.asarray(x).size).reshape(x.shape), x),
    lambda f, x: f(x, x[-1:]),
    lambda f, x: f(x, numpy.ones((2, 1, *x.shape))[:, 0] if x.ndim < 3 else 3),
    lambda f, x: f(x > 0, x < 2),
    lambda f, x: f(x.astype("i4"), numpy.arange(x.shape[-1])),
)
AXES = rows(lambda f, x: f(x), lambda f, x: f(x, 0), lambda f, x: f(x, axis=-1))
STATISTIC = (
    *AXES,
    lambda f, x: f(x, axis=None, keepdims=True),
    lambda f, x: f(a=x, axis=(0,)),
    lambda f, x: f(x, axis=0, out=numpy.zeros(x.shape[1:], "c16" if x.dtype.kind == "c" else "f8")),
    lambda f, x: f(x, axis=0, where=x > 1),
    lambda f, x: f(x, axis=x.ndim),
)
TWO_MATRICES = rows(
    lambda f, x: f(x, x.T),
    lambda f, x: f(x, numpy.ones(x.shape[-1])),
    lambda f, x: f(numpy.ones(x.shape[0]), x),
    lambda f, x: f(x, numpy.ones((x.shape[-1], 3))),
)
SHAPES = rows(lambda f, x: f(x, x.shape), lambda f, x: f(x, (-1,)), lambda f, x: f(x, (2, *x.shape)))
JOINS = rows(
    lambda f, x: f((x, x)),
    lambda f, x: f([x, numpy.ones(x.shape, "i4")]),
    lambda f, x: f([x, x[:1]]),
    lambda f, x: f((x, x), dtype="f4", casting="unsafe"),
)

CALLS: dict[str, tuple[Call, ...]] = {
    **{
        f"numpy.{name}": BINARY
        for name, function in vars(numpy).items()
        if isinstance(function, numpy.ufunc) and function.nin == 2 and function.signature is None
    },
    **{
        f"numpy.{name}": STATISTIC
        for name in (
            [
                "sum",
                "mean",
                "var",
                "std",
                "min",
                "max",
                "amin",
                "amax",
                "ptp",
                "any",
                "all",
                "count_nonzero",
                "nansum",
                "nanmean",
                "nanvar",
                "nanstd",
                "nanmin",
                "nanmax",
            ]
        )
    },
    **{f"numpy.{name}": TWO_MATRICES for name in ("matmul", "dot", "linalg.matmul", "vdot", "inner", "outer")},
    **{f"numpy.linalg.{name}": TWO_MATRICES for name in ("outer", "vecdot", "tensordot", "cross")},
    **{f"numpy.{name}": TWO_MATRICES for name in ("matvec", "vecmat", "vecdot", "tensordot", "cross", "kron")},
    **{f"numpy.{name}": SHAPES for name in ("reshape", "broadcast_to", "resize")},
    **{
        f"numpy.{name}": JOINS
        for name in ("concatenate", "concat", "vstack", "hstack", "dstack", "stack", "column_stack")
    },
    **{f"numpy.{name}": AXES for name in ("flip", "squeeze", "cumsum", "sort", "argmax", "prod", "median", "diff")},
    "numpy.concatenate": (
        *JOINS,
        lambda f, x: f((x, x), -1),
        lambda f, x: f((x, x), axis=None),
        lambda f, x: f((x, x), axis=7),
        lambda f, x: f((x, x), out=numpy.zeros((2 * x.shape[0], *x.shape[1:]))),
        lambda f, x: f((x, x), dtype="i1"),
    ),
    "numpy.append": rows(
        lambda f, x: f(x, x, 0), lambda f, x: f(x, x[:2], axis=0), lambda f, x: f(x, 3), lambda f, x: f([1.0], x)
    ),
    "numpy.clip": rows(
        lambda f, x: f(x, 1, 3),
        lambda f, x: f(x, None, 3),
        lambda f, x: f(x, 1, None),
        lambda f, x: f(x, a_min=1, a_max=numpy.arange(x.shape[-1])),
        lambda f, x: f(x, x, x * 2),
        lambda f, x: f(x, 1, 3, out=numpy.zeros(x.shape)),
        lambda f, x: f(x, 1, 3, numpy.zeros(x.shape)),
        lambda f, x: f(numpy.arange(30.0 * 20 * 4)[: numpy.size(x)].reshape(x.shape), 1, x),
        lambda f, x: f(x),
    ),
    "numpy.where": rows(
        lambda f, x: f(x > 1, x, 0),
        lambda f, x: f(x > 1, numpy.nan, x),
        lambda f, x: f(x, 1, 0),
        lambda f, x: f(numpy.arange(x.shape[-1]) > 3, x, -x),
        lambda f, x: f(x > 1),
    ),
    "numpy.isclose": rows(lambda f, x: f(x, x), lambda f, x: f(x, 1, rtol=0.5), lambda f, x: f(1, x, atol=1.5)),
    "numpy.allclose": rows(lambda f, x: f(x, x), lambda f, x: f(x, 1, rtol=0.5), lambda f, x: f(x, x, equal_nan=True)),
    "numpy.array_equal": rows(
        lambda f, x: f(x, x),
        lambda f, x: f(x, x + 1),
        lambda f, x: f(x, x.tolist()),
        lambda f, x: f(x, x[:1]),
        lambda f, x: f(x, x, equal_nan=True),
    ),
    "numpy.array_equiv": rows(lambda f, x: f(x, x), lambda f, x: f(x, x[:1])),
    "numpy.isin": rows(lambda f, x: f(x, [0, 1, 5]), lambda f, x: f([0, 1, 5], x), lambda f, x: f(x, 0, invert=True)),
    "numpy.digitize": rows(lambda f, x: f(x, [1, 2, 5]), lambda f, x: f(x, [5, 2], right=True)),
    "numpy.searchsorted": rows(lambda f, x: f([1, 2, 5], x), lambda f, x: f([1, 2, 5], x, side="right")),
    "numpy.interp": rows(lambda f, x: f(x, [0, 5, 9], [1, 7, 3]), lambda f, x: f(x, [0, 5, 9], [1, 7, 3], left=-1)),
    "numpy.polyval": rows(lambda f, x: f([1, 2, 3], x)),
    "numpy.nan_to_num": rows(lambda f, x: f(x), lambda f, x: f(x, nan=3.0), lambda f, x: f(x / x, copy=False, nan=1)),
    "numpy.angle": rows(lambda f, x: f(x), lambda f, x: f(x, deg=True)),
    "numpy.round": rows(lambda f, x: f(x / 3), lambda f, x: f(x / 3, 2), lambda f, x: f(x, out=numpy.zeros(x.shape))),
    "numpy.around": rows(lambda f, x: f(x / 3, decimals=1)),
    "numpy.astype": rows(lambda f, x: f(x, "f4"), lambda f, x: f(x, bool, copy=False)),
    "numpy.diff": rows(
        lambda f, x: f(x),
        lambda f, x: f(x, 2, axis=0),
        lambda f, x: f(x, 0),
        lambda f, x: f(x > 1),
        lambda f, x: f(x, prepend=0),
        lambda f, x: f(x, -1),
    ),
    "numpy.transpose": rows(
        lambda f, x: f(x),
        lambda f, x: f(x, range(x.ndim)),
        lambda f, x: f(x, axes=[*range(1, x.ndim), 0]),
        lambda f, x: f(x, [-1, *range(x.ndim - 1)]),
        lambda f, x: f(x, (0, 0)),
    ),
    "numpy.permute_dims": rows(lambda f, x: f(x, [*range(1, x.ndim), 0])),
    "numpy.swapaxes": rows(lambda f, x: f(x, 0, -1), lambda f, x: f(x, 0, 9)),
    "numpy.moveaxis": rows(lambda f, x: f(x, 0, -1), lambda f, x: f(x, [0], [1]), lambda f, x: f(x, 0, 9)),
    "numpy.rollaxis": rows(lambda f, x: f(x, -1), lambda f, x: f(x, 0, x.ndim), lambda f, x: f(x, 0)),
    "numpy.flip": rows(lambda f, x: f(x), lambda f, x: f(x, 0), lambda f, x: f(x, (0, -1)), lambda f, x: f(x, 9)),
    "numpy.rot90": rows(*[lambda f, x, k=k: f(x, k) for k in range(-1, 5)], lambda f, x: f(x, axes=(1, 0))),
    "numpy.roll": rows(
        lambda f, x: f(x, 3),
        lambda f, x: f(x, -2, axis=-1),
        lambda f, x: f(x, (1, 2), axis=(0, -1)),
        lambda f, x: f(x, 1, 9),
    ),
    "numpy.take": rows(
        lambda f, x: f(x, [1, 0, 1], axis=0),
        lambda f, x: f(x, 2, axis=-1),
        lambda f, x: f(x, [[1, 0], [2, 2]], axis=-1),
        lambda f, x: f(x, [5, -1, 0]),
        lambda f, x: f(x, [], axis=0),
        lambda f, x: f(x, [99, -99], axis=0, mode="wrap"),
        lambda f, x: f(x, [99, -99], axis=0, mode="clip"),
        lambda f, x: f(x, [99], axis=0),
        lambda f, x: f(x, [10**6]),
        lambda f, x: f(x, [1.5], axis=0),
    ),
    "numpy.compress": rows(
        lambda f, x: f([True, False, True], x, axis=0),
        lambda f, x: f(numpy.arange(x.shape[-1]) % 2, x, -1),
        lambda f, x: f([1], x),
    ),
    "numpy.repeat": rows(
        lambda f, x: f(x, 2, axis=0), lambda f, x: f(x, numpy.arange(x.shape[-1]), axis=-1), lambda f, x: f(x, 2)
    ),
    "numpy.delete": rows(
        lambda f, x: f(x, 1, axis=0),
        lambda f, x: f(x, [0, 2], -1),
        lambda f, x: f(x, slice(1, 3), 0),
        lambda f, x: f(x, 1),
    ),
    "numpy.diagonal": rows(lambda f, x: f(x), lambda f, x: f(x, 2), lambda f, x: f(x, -3, 1, 0), lambda f, x: f(x, 99)),
    "numpy.diag": rows(lambda f, x: f(x), lambda f, x: f(x, -1)),
    "numpy.trace": rows(lambda f, x: f(x), lambda f, x: f(x, 1), lambda f, x: f(x, axis1=-1, axis2=0)),
    "numpy.expand_dims": rows(lambda f, x: f(x, 0), lambda f, x: f(x, (0, -1)), lambda f, x: f(x, 9)),
    "numpy.squeeze": rows(lambda f, x: f(x), lambda f, x: f(x[:1], 0), lambda f, x: f(x[:1]), lambda f, x: f(x, 0)),
    "numpy.ravel": rows(lambda f, x: f(x), lambda f, x: f(x, order="F")),
    **{
        f"numpy.{name}": rows(lambda f, x: f(x, 2), lambda f, x: f(x, [1, 3]), lambda f, x: f(x, 7))
        for name in ("split", "array_split", "hsplit", "vsplit", "dsplit")
    },
    "numpy.array_split": rows(lambda f, x: f(x, 4), lambda f, x: f(x, 3, axis=-1)),
    "numpy.empty_like": rows(lambda f, x: f(x, "i2"), lambda f, x: f(prototype=x), lambda f, x: f(x, shape=(3,))),
    "numpy.ones_like": rows(lambda f, x: f(a=x), lambda f, x: f(x, numpy.float16, "F", True, (2, 3))),
    "numpy.zeros_like": rows(
        lambda f, x: f(x), lambda f, x: f(x, dtype="i2"), lambda f, x: f(x, shape=(3,)), lambda f, x: f(x, subok=False)
    ),
    "numpy.full_like": rows(
        lambda f, x: f(x, 3), lambda f, x: f(x, 3, dtype="i8"), lambda f, x: f(numpy.zeros(x.shape), x)
    ),
    "numpy.shape": rows(lambda f, x: f(x), lambda f, x: f(a=x)),
    "numpy.size": rows(lambda f, x: f(x), lambda f, x: f(x, 0), lambda f, x: f(x, axis=9)),
    "numpy.result_type": rows(lambda f, x: f(x), lambda f, x: f(x, "f4"), lambda f, x: f(x, 1.5, x > 0)),
    "numpy.can_cast": rows(
        lambda f, x: f(x.dtype, "f4"), lambda f, x: f(x, "f4"), lambda f, x: f(x, "i1", "same_kind")
    ),
    "numpy.common_type": rows(lambda f, x: f(x), lambda f, x: f(x, numpy.ones(1, "f4"))),
    "numpy.may_share_memory": rows(lambda f, x: f(x, numpy.ones(3)), lambda f, x: f(numpy.ones(3), x)),
    "numpy.shares_memory": rows(lambda f, x: f(x, numpy.ones(3)), lambda f, x: f(numpy.ones(3), x)),
    "numpy.copyto": rows(
        lambda f, x: [f(out := numpy.zeros(x.shape), x), out][1],
        lambda f, x: [f(out := numpy.zeros(x.shape), x, where=x > 1), out][1],
        lambda f, x: f(numpy.zeros(1), x),
    ),
    "numpy.ma.masked_where": rows(lambda f, x: f(x > 2, x), lambda f, x: f(numpy.asarray(x > 2), x)),
    "numpy.ma.where": rows(lambda f, x: f(x > 2, x, 0), lambda f, x: f(x > 2)),
    "numpy.ma.array": rows(lambda f, x: f(x), lambda f, x: f(x, mask=x > 2), lambda f, x: f(x, dtype="f4", copy=True)),
    "numpy.ma.getdata": rows(lambda f, x: f(x), lambda f, x: f(x, subok=False)),
    **{
        f"numpy.ma.{name}": rows(lambda f, x: f(x, 2), lambda f, x: f(2, x), lambda f, x: f(x, numpy.ma.ones(x.shape)))
        for name in [
            "add",
            "subtract",
            "multiply",
            "divide",
            "true_divide",
            "floor_divide",
            "mod",
            "fmod",
            "power",
            "maximum",
            "minimum",
            "equal",
            "not_equal",
            "less",
            "less_equal",
            "greater",
            "greater_equal",
            "logical_and",
            "logical_or",
            "logical_xor",
            "arctan2",
            "hypot",
            "allequal",
            "allclose",
        ]
    },
    **{
        f"numpy.ma.{name}": AXES
        for name in (
            ["sum", "mean", "std", "var", "min", "max", "any", "all", "ptp", "count", "median", "cumsum", "sort"]
        )
    },
    **{
        f"numpy.ma.{name}": rows(lambda f, x: f(x, 2))
        for name in [
            "masked_equal",
            "masked_greater",
            "masked_greater_equal",
            "masked_less",
            "masked_less_equal",
            "masked_not_equal",
            "masked_values",
        ]
    },
    "numpy.ma.masked_inside": rows(lambda f, x: f(x, 1, 3)),
    "numpy.ma.masked_outside": rows(lambda f, x: f(x, 1, 3)),
    "numpy.ma.concatenate": rows(lambda f, x: f([x, x]), lambda f, x: f([x, numpy.ma.ones(x.shape)], axis=-1)),
    "numpy.ma.filled": rows(lambda f, x: f(x), lambda f, x: f(x, 7)),
    "numpy.ma.take": rows(lambda f, x: f(x, [1, 0], axis=0)),
    "numpy.ma.swapaxes": rows(lambda f, x: f(x, 0, -1)),
    "numpy.ma.reshape": rows(lambda f, x: f(x, (-1,))),
    "numpy.ma.dot": rows(lambda f, x: f(x, x.T)),
    "numpy.quantile": rows(lambda f, x: f(x, 0.5)),
    "numpy.percentile": rows(lambda f, x: f(x, 50, axis=0)),
    "numpy.tile": rows(lambda f, x: f(x, 2)),
    "numpy.pad": rows(lambda f, x: f(x, 2)),
    "numpy.insert": rows(lambda f, x: f(x, 1, 0, axis=0)),
    "numpy.einsum": rows(lambda f, x: f("i...->i", x)),
    "numpy.select": rows(lambda f, x: f([x > 1], [x])),
    "numpy.piecewise": rows(lambda f, x: f(x, [x > 1], [0, 1])),
    "numpy.histogram": rows(lambda f, x: f(x, 5)),
    "numpy.linspace": rows(lambda f, x: f(x, 5)),
    "numpy.apply_along_axis": rows(lambda f, x: f(numpy.sum, 0, x)),
    "numpy.take_along_axis": rows(lambda f, x: f(x, numpy.zeros((1,) * x.ndim, int), 0)),
    "numpy.union1d": rows(lambda f, x: f(x, [1])),
    "numpy.linalg.diagonal": rows(lambda f, x: f(x), lambda f, x: f(x, offset=1)),
    "numpy.linalg.trace": rows(lambda f, x: f(x), lambda f, x: f(x, offset=1, dtype="f4")),
    "numpy.linalg.norm": rows(lambda f, x: f(x), lambda f, x: f(x, axis=0)),
    "numpy.random.choice": rows(lambda f, x: f(x[:, 0] if x.ndim > 1 else x, 3)),
    "numpy.array": rows(
        lambda f, x: f(x),
        lambda f, x: f(x, dtype="f4"),
        lambda f, x: f(x, copy=True),
        lambda f, x: f(x, ndmin=4),
        lambda f, x: f([x, x]),
    ),
    "numpy.asarray": rows(lambda f, x: f(x), lambda f, x: f(x, dtype="c16"), lambda f, x: f(x, order="F")),
    "numpy.require": rows(lambda f, x: f(x, "f4", ["C"])),
    "numpy.busday_count": rows(lambda f, x: f("2020-01-01", x)),
}
"""How to call a function that takes more than an array, with the function and the array."""

ADVICE = r"numpy\.(ma\.)?(as)?array\([a-z]\)|should be of|as its first argument only"
"""What messages say is to do, if something is not implemented for arrays in files."""

UNLIKE_NUMPY = {
    "numpy.empty_like": "its values are any",
    "numpy.ma.empty_like": "its values are any",
    "numpy.array_repr": "a delayed array is shown as such",
    "numpy.array_str": "a delayed array is shown as such",
    "numpy.array2string": "a delayed array is shown as such",
    "numpy.bmat": "takes lists of matrices, and knows no arrays but numpy's",
    "numpy.frombuffer": "takes bytes",
    "numpy.ma.frombuffer": "takes bytes",
    "numpy.fromstring": "takes bytes",
    "numpy.char.array": "takes strings, and knows no arrays but numpy's",
    "numpy.char.asarray": "takes strings, and knows no arrays but numpy's",
    "numpy.ma.isMA": "asks for the class",
    "numpy.ma.isarray": "asks for the class",
    "numpy.ma.isMaskedArray": "asks for the class",
    "numpy.ma.make_mask_descr": "takes a type",
    "numpy.random.default_rng": "takes seeds, and knows no arrays but numpy's",
    "numpy.random.shuffle": "writes to the array, and fails as it says",
    "numpy.ptp truth": "there is no difference of booleans, whatever it is written to",
}
"""Functions of which the result is another on purpose, or because numpy looks at the class."""

MASKS_FORGOTTEN = {
    f"numpy.{name}"
    for name in [
        "copy",
        "iscomplex",
        "sinc",
        "isclose",
        "where",
        "clip",
        "nan_to_num",
        "isin",
        "digitize",
        "searchsorted",
        "interp",
        "isreal",
        "concatenate",
        "concat",
        "stack",
        "vstack",
        "hstack",
        "dstack",
        "column_stack",
        "append",
        "isneginf",
        "isposinf",
        "fix",
        "i0",
        "angle",
        "array",
        "asarray",
        "ascontiguousarray",
        "polyval",
        "diff",
        "delete",
        "broadcast_to",
        "ptp",
        "count_nonzero",
        "trace",
        "linalg.trace",
        "any",
        "all",
    ]
}
"""Functions that in numpy see what is stored in place of missing values; here they are masked."""


def outcome(call: Call, function: Any, x: Any) -> Any:
    numpy.random.seed(1)
    try:
        with numpy.errstate(all="ignore"):
            result = call(function, x)
            for one in result if isinstance(result, tuple) else (result,):
                if isinstance(one, FileBackedArray):
                    # Some fail when they are evaluated.
                    numpy.asanyarray(one)
            return result
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return error


def assert_same(got: Any, want: Any, rtol: float) -> None:
    if isinstance(want, tuple | list):
        assert type(got) is type(want)
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_same(one, other, rtol)
        return
    if not isinstance(want, numpy.ndarray | numpy.generic):
        # Counts are of Python's type before numpy 2.3.
        assert type(got) is type(want) or (type(want) is int and isinstance(got, numpy.integer))
        if want is not NotImplemented and not inspect.isfunction(want) and not hasattr(want, "__next__"):
            numpy.testing.assert_array_equal(got, want)
        return
    assert isinstance(got, FileBackedArray | type(want))
    made = numpy.asanyarray(got)
    assert (made.dtype, made.shape) == (want.dtype, want.shape)
    if isinstance(got, FileBackedArray):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
    mask = numpy.ma.getmaskarray(want)
    numpy.testing.assert_array_equal(numpy.ma.getmaskarray(made), mask)
    made, want = (numpy.ma.getdata(one)[~mask] for one in (made, want))
    if want.dtype.kind in "fc":
        numpy.testing.assert_allclose(made, want, rtol=2e-3 if want.dtype.char == "e" else rtol)
    else:
        numpy.testing.assert_array_equal(made, want)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[FileBackedArray, numpy.ndarray]]:
    folder = tmp_path_factory.mktemp("functions")
    found = dict(all_kinds(folder))
    values = numpy.random.default_rng(5).integers(0, 9, (4, 5, 6)).astype("f4")
    with h5py.File(folder / "shapes.h5", "w") as handle:
        handle["vector"], handle["cube"], handle["truth"] = values[0, 0], values, values > 4
        handle["complex"], handle["text"] = values[0] + 1j * values[1], numpy.array([[b"ab", b"c"], [b"", b"ab"]])
        stored = {name: dataset[()] for name, dataset in handle.items()}
    for name, data in stored.items():
        found[name] = (Hdf5DenseArray(folder / "shapes.h5", name, native_order=True), data)
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore")
def test_function(
    arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Some write files by the name that they are given.
    monkeypatch.chdir(tmp_path)
    for kind in ("dense", "sparse", "delayed", "masked", "vector", "cube", "truth", "complex", "text"):
        x, values = arrays[kind]
        for number, call in enumerate(CALLS.get(name, rows(lambda f, x: f(x)))):
            want = outcome(call, FUNCTIONS[name], values.copy())
            got = outcome(call, FUNCTIONS[name], x)
            if isinstance(got, BaseException):
                fails_alike = isinstance(want, BaseException) and isinstance(got, type(want) | ValueError | TypeError)
                has_advice = re.search(ADVICE, str(got)) is not None
                if not (fails_alike or has_advice or is_other(name, kind)) or isinstance(got, RecursionError):
                    raise AssertionError(f"call {number} of {kind}: numpy has {want!r}") from got
            elif not is_other(name, kind):
                if isinstance(want, BaseException):
                    raise AssertionError(f"call {number} of {kind}: {numpy.asanyarray(got)!r}") from want
                try:
                    assert_same(got, want, 2e-6 if values.dtype.char in "fF" else 1e-12)
                except AssertionError as error:
                    raise AssertionError(f"call {number} of {kind}: numpy has {want!r}") from error


def is_other(name: str, kind: str) -> bool:
    """Whether something else than numpy's result is expected."""
    return (
        name in UNLIKE_NUMPY
        or f"{name} {kind}" in UNLIKE_NUMPY
        or (kind == "masked" and name in MASKS_FORGOTTEN)
        or (kind == "complex" and name.startswith("numpy.random"))
    )


METHODS = {
    **dict.fromkeys(
        [
            "argmax",
            "argmin",
            "argpartition",
            "argsort",
            "cumprod",
            "cumsum",
            "nonzero",
            "prod",
            "searchsorted",
            "choose",
        ],
        "refused as a function",
    ),
    **dict.fromkeys(
        ["fill", "itemset", "partition", "put", "resize", "setfield", "setflags", "sort", "byteswap"],
        "writes to the array",
    ),
    **dict.fromkeys(
        [
            "base",
            "ctypes",
            "data",
            "flags",
            "flat",
            "strides",
            "view",
            "getfield",
            "tobytes",
            "tofile",
            "dump",
            "dumps",
        ],
        "is of memory",
    ),
    **dict.fromkeys(["copy", "flatten"], "loads the array: numpy.copy(x)"),
    **dict.fromkeys(["device", "to_device"], "is of the array API"),
}
"""What numpy's arrays have and arrays in files do not, and why."""


def test_methods_of_numpys_arrays(arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]]) -> None:
    x, data = arrays["dense"]
    public = {name for name in dir(numpy.ndarray) if not name.startswith("_")}
    assert {name for name in public if not hasattr(x, name)} == public & set(METHODS)
    for name in public & set(METHODS):
        with pytest.raises(AttributeError, match=r"numpy\.asarray\(x\)"):
            getattr(x, name)
    with pytest.raises(AttributeError, match=r"no attribute 'shap'$"):
        _ = x.shap
    for call in (
        lambda x: x.clip(1, 3),
        lambda x: x.clip(min=2),
        lambda x: x.round(1),
        lambda x: x.take([3, 1], axis=0),
        lambda x: x.repeat(2, 1),
        lambda x: x.compress([False, True], axis=0),
        lambda x: x.diagonal(1),
        lambda x: x.trace(),
        lambda x: x.dot(numpy.ones(20)),
        lambda x: x[:1].squeeze(0),
        lambda x: x.swapaxes(0, 1),
        lambda x: x.transpose(),
        lambda x: x.transpose(1, 0),
        lambda x: x.transpose((1, 0)),
        lambda x: x.mT,
        lambda x: x.reshape((30, 20)),
        lambda x: x.reshape(30, 20),
        lambda x: x[:, 0].ravel(),
        lambda x: x.conj(),
        lambda x: x.conjugate(),
        lambda x: x.real,
        lambda x: x.imag,
        lambda x: x.nbytes,
        lambda x: x.itemsize,
        lambda x: x.tolist(),
        lambda x: x.item(5),
        lambda x: x.astype("i2"),
        lambda x: x.size,
    ):
        assert_same(call(x), call(data), 1e-12)


def test_arrays_larger_than_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", (10**9, 10**8), "f4", chunks=(100, 100))
    x = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    # Nothing is read, and nothing of that size made.
    assert numpy.result_type(x, "f8") == numpy.float64
    assert (numpy.shape(x), numpy.size(x, 0), x.nbytes) == ((10**9, 10**8), 10**9, 4 * 10**17)
    assert not numpy.may_share_memory(x, numpy.ones(2))
    assert numpy.zeros_like(x, shape=(2, 3)).shape == (2, 3)
    delayed = numpy.where(numpy.clip(x, 1, 2) > 0, numpy.flip(x), numpy.nan)
    numpy.testing.assert_array_equal(numpy.asarray(delayed[[5], 3:5]), [[0, 0]])
    for function in (numpy.zeros_like, numpy.empty_like, numpy.copy, lambda x: numpy.full_like(x, 3)):
        with pytest.raises(MemoryError, match="read it in parts"):
            function(x)


@pytest.mark.parametrize("kind", ["masked", "delayed-masked"])
def test_masks_are_kept(arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]], kind: str) -> None:
    x, data = arrays[kind]
    assert isinstance(data, numpy.ma.MaskedArray)
    made = [
        numpy.asanyarray(x),
        numpy.array(x, subok=True),
        numpy.ma.asarray(x),
        numpy.ma.array(x, dtype="i4"),
        numpy.ma.masked_array(x, keep_mask=True),
        numpy.copy(x),
        x[:],
        numpy.where(numpy.ones(x.shape, bool), x, 0),
        numpy.concatenate([x[:9, :], x[9:, :]]),
        numpy.clip(x, -(2**31), 2**31 - 1),
        numpy.nan_to_num(x),
        numpy.stack([x, x])[0],
        numpy.take(x, range(30), axis=0),
    ]
    for one in made:
        got = numpy.asanyarray(one)
        numpy.testing.assert_array_equal(numpy.ma.getmaskarray(got), data.mask)
        numpy.testing.assert_array_equal(got.filled(-1), data.filled(-1))
    numpy.testing.assert_array_equal(numpy.ma.getmask(x), data.mask)
    numpy.testing.assert_array_equal(numpy.ma.getdata(x), data.data)
    numpy.testing.assert_array_equal(x.filled(-1), data.filled(-1))
    # As of numpy's own, there is none if a plain array is asked for.
    assert type(numpy.asarray(x)) is type(numpy.asarray(data)) is numpy.ndarray
    for function in (numpy.savetxt, numpy.savez):
        with pytest.raises(NotImplementedError, match="masked"):
            function("x", x)
    assert numpy.ma.getmask(arrays["dense"][0]) is numpy.ma.nomask
