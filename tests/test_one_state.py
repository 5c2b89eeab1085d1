"""A file that is replaced in the middle of an operation: the result is of one state, or there is an error.

The operations are found, not listed: whatever is public and has no recipe here fails the test that looks for them. "In
the middle" is before the n-th request to the engine, for every n that the operation gets to.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import delayedarray
import h5py
import hdf5array
import mattress
import numpy
import pytest
import scipy.sparse

import filebackedarray
from filebackedarray import _core, _engine, _shell
from filebackedarray._compute.reductions import Reductions
from filebackedarray._engine import untrusted as _untrusted
from filebackedarray._engine.snapshot import one_state
from filebackedarray._interop import memory_budget, scratch

SHAPE = (40, 12)
REQUESTS = ("inspect", "facts", "describe", "members", "attributes", "read_field", "read_path", "read_dense")
REQUESTS += ("read_points", "read_strings", "reduce_dense", "check_dense", "multiply_dense", "read_blocks")
OF_MATRICES = ("inspect", "read", "read_dense", "reduce", "multiply")


def content(state: int) -> numpy.ndarray:
    """Sparse integers of either state: as many of them, and in the same places, but for a few."""
    values = numpy.random.default_rng(3).integers(1, 5, SHAPE) * (numpy.random.default_rng(4).random(SHAPE) < 0.3)
    values[state] += 1
    return (values * (1 + state)).astype("f8")


def write(path: Path, state: int) -> None:
    """A file with the same matrix in all forms."""
    values = content(state)
    with h5py.File(path, "w") as handle:
        # Of the same length in both states: chunks that are not compressed.
        handle.create_dataset("x", data=values, chunks=(7, 5))
        handle["scalar"] = float(state + 1)
        # R's missing values, other ones in each state.
        marked = numpy.arange(12, dtype="i4").reshape(3, 4) + 100 * (state + 1)
        marked.flat[state::4] = numpy.iinfo("i4").min
        handle["marked"] = marked
        handle["marked"].attrs["rhdf5-NA.OK"] = 1
        names = numpy.array([f"state{state}-{number}" for number in range(SHAPE[0])], dtype=object)
        handle.create_dataset("names", data=names, dtype=h5py.string_dtype())
        for name, kind in (("csc", scipy.sparse.csc_matrix), ("csr", scipy.sparse.csr_matrix)):
            matrix = kind(values)
            for member in ("data", "indices", "indptr"):
                handle.create_dataset(f"{name}/{member}", data=getattr(matrix, member), chunks=(10,))
            handle[name].attrs["encoding-type"] = f"{name}_matrix"
            handle[name].attrs["shape"] = SHAPE


class Switch:
    """Replaces the file before a request."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "x.h5"
        self.states = [folder / "state0.h5", folder / "state1.h5"]
        for state, path in enumerate(self.states):
            write(path, state)
        self.at: int | None = None
        self.count = 0

    def reset(self, state: int = 0) -> None:
        copy = self.path.with_suffix(".new")
        copy.write_bytes(self.states[state].read_bytes())
        os.replace(copy, self.path)

    def request(self) -> None:
        if self.count == self.at:
            self.reset(1)
        self.count += 1


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Switch:
    made = Switch(tmp_path)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.request()
            return function(*args, **kwargs)

        return call

    class Matrix:
        def __init__(self, *args: Any) -> None:
            self._matrix = _core_matrix(*args)

        def __getattr__(self, name: str) -> Any:
            method = getattr(self._matrix, name)
            return counted(method) if name in OF_MATRICES else method

    _core_matrix = _core.SparseMatrix
    for name in REQUESTS:
        monkeypatch.setattr(_core, name, counted(getattr(_core, name)))
    monkeypatch.setattr(_core, "SparseMatrix", Matrix)
    # In the worker, requests are its own; a call is one.
    monkeypatch.setattr(_untrusted, "_call", counted(_untrusted._call))
    return made


def arrays(path: Path, untrusted: bool = False) -> dict[str, Any]:
    """One array of every kind over the file."""
    dense = filebackedarray.Hdf5DenseArray(path, "x", native_order=True, untrusted=untrusted)
    csc = filebackedarray.Hdf5CompressedSparseMatrix(path, "csc", SHAPE, True, untrusted=untrusted)
    csr = filebackedarray.Hdf5CompressedSparseMatrix(path, "csr", SHAPE, False, untrusted=untrusted)
    names = filebackedarray.Hdf5DenseArray(path, "names", native_order=True, untrusted=untrusted)
    as_sparse = filebackedarray.Hdf5DenseArray(path, "x", native_order=True, as_sparse=True, untrusted=untrusted)
    mask = numpy.random.default_rng(5).random(SHAPE) < 0.2
    return {
        "dense": dense,
        "csc": csc,
        "csr": csr,
        "names": names,
        "scalar": filebackedarray.Hdf5DenseArray(path, "scalar", untrusted=untrusted),
        "as_sparse": as_sparse,
        "dual": filebackedarray.Hdf5DualSparseMatrix(csc, csr),
        "reshaped": filebackedarray.ReshapedHdf5Array(path, "x", (SHAPE[0] * SHAPE[1],), untrusted=untrusted),
        "tree": numpy.log1p(dense[::-1] * 2.0 + csc[::-1]),
        "sparse_tree": numpy.sqrt(csc * 3.0) + csr,
        "joined": numpy.concatenate([dense, csc], axis=0),
        "masked": dense + delayedarray.wrap(numpy.ma.array(numpy.zeros(SHAPE), mask=mask)),
    }


MATRICES = ("dense", "csc", "csr", "as_sparse", "dual", "tree", "sparse_tree", "joined", "masked")
SPARSE = ("csc", "csr", "dual", "sparse_tree")
EVERY = (*MATRICES, "names", "reshaped")
NUMBERS = (*MATRICES, "reshaped")
UNMASKED = tuple(kind for kind in NUMBERS if kind != "masked")
FACTORS = tuple(kind for kind in MATRICES if kind != "masked")

Recipe = tuple[tuple[str, ...], Callable[[Any], Any]]


def whole(x: Any) -> Any:
    """Something that compares, of a result."""
    if isinstance(x, delayedarray.SparseNdarray):
        return delayedarray.to_dense_array(x)
    if scipy.sparse.issparse(x):
        return x.toarray()
    if isinstance(x, delayedarray.DelayedArray):
        return one_state(numpy.asarray)(x)
    return x


def statistic(name: str) -> Callable[[Any], Any]:
    return lambda x: getattr(x, name)(axis=0)


VECTOR = numpy.arange(1.0, SHAPE[1] + 1)

METHODS: dict[str, Recipe] = {
    **{
        name: (NUMBERS, statistic(name))
        for name in [
            "sum",
            "mean",
            "var",
            "std",
            "min",
            "max",
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
    },
    "nonzeros_by_column": (MATRICES, lambda x: x.nonzeros_by_column()),
    "nonzeros_by_row": (MATRICES, lambda x: x.nonzeros_by_row()),
    "matvec": (FACTORS, lambda x: x.matvec(VECTOR)),
    "matmat": (FACTORS, lambda x: x.matmat(VECTOR[:, None])),
    "rmatvec": (FACTORS, lambda x: x.rmatvec(numpy.ones(x.shape[0]))),
    "rmatmat": (FACTORS, lambda x: x.rmatmat(numpy.ones((x.shape[0], 2)))),
    "__matmul__": (FACTORS, lambda x: x @ VECTOR),
    "__rmatmul__": (FACTORS, lambda x: numpy.ones(x.shape[0]) @ x),
    "__array__": (EVERY, numpy.asarray),
    "__getitem__": (EVERY, lambda x: x[3]),
    "__iter__": (EVERY, list),
    "__contains__": (NUMBERS, lambda x: 1e9 in x.T[0] if x.ndim > 1 else 1e9 in x),
    "__repr__": (EVERY, repr),
    "_repr_html_": (EVERY, lambda x: x._repr_html_()),
    "item": (EVERY, lambda x: x.item(*(1,) * x.ndim)),
    "__int__": (("scalar",), int),
    "__float__": (("scalar",), float),
    "__complex__": (("scalar",), complex),
    "__bool__": (("scalar",), bool),
    "__array_ufunc__": (NUMBERS, lambda x: numpy.add(x, 1, out=numpy.empty(x.shape))),
    "to_dask": (NUMBERS, lambda x: x.to_dask((7,) * x.ndim).compute(scheduler="synchronous")),
    "chunk_shape": (("dense", "csc", "csr"), lambda x: x.chunk_shape),
    "filters": (("dense", "csc", "csr"), lambda x: x.filters),
    "storage_size": (("dense", "csc", "csr", "dual"), lambda x: x.storage_size),
    "compression_ratio": (("dense", "csc", "csr"), lambda x: x.compression_ratio),
    "nnz": (SPARSE[:3], lambda x: x.nnz),
    "sparsity": (SPARSE[:3], lambda x: x.sparsity),
    "row_names": (("dense", "csc", "dual"), lambda x: x.row_names),
    "column_names": (("dense", "csc", "dual"), lambda x: x.column_names),
    "dtype": (("names",), lambda x: x.dtype),
    "tolist": (FACTORS, lambda x: x.tolist()),
    "filled": (("masked",), lambda x: x.filled(0)),
    "dot": (FACTORS, lambda x: x.dot(VECTOR)),
    "trace": (FACTORS, lambda x: x.trace()),
    "diagonal": (FACTORS, lambda x: x.diagonal()),
    "take": (FACTORS, lambda x: x.take([1, 3], axis=0)),
    "repeat": (FACTORS, lambda x: x.repeat(2, axis=0)),
    "compress": (FACTORS, lambda x: x.compress([True, False, True], axis=0)),
    "to_dask_array": (FACTORS, lambda x: x.to_dask_array().compute(scheduler="synchronous")),
}
GENERICS: dict[str, Recipe] = {
    "to_dense_array": (EVERY, delayedarray.to_dense_array),
    "to_sparse_array": (SPARSE, delayedarray.to_sparse_array),
    "to_scipy_sparse_matrix": (SPARSE, lambda x: delayedarray.to_scipy_sparse_matrix(x, "csr")),
    "extract_dense_array": (EVERY, lambda x: delayedarray.extract_dense_array(x, [range(n) for n in x.shape])),
    "extract_sparse_array": (SPARSE, lambda x: delayedarray.extract_sparse_array(x, [range(n) for n in x.shape])),
    "create_dask_array": (NUMBERS, lambda x: delayedarray.create_dask_array(x).compute(scheduler="synchronous")),
    "chunk_grid": (EVERY, lambda x: delayedarray.chunk_grid(x).shape),
    "is_sparse": (EVERY, delayedarray.is_sparse),
    "is_masked": (EVERY, delayedarray.is_masked),
}
FUNCTIONS: dict[str, Recipe] = {
    "summarize": (
        FACTORS,
        lambda x: dict(filebackedarray.summarize(x, None if x.ndim == 1 else 0, ("sum", "var", "max"))),
    ),
    "quality_control": (FACTORS, lambda x: vars(filebackedarray.quality_control(x))),
    "as_linear_operator": (FACTORS, lambda x: filebackedarray.as_linear_operator(x) @ VECTOR),
    "to_anndata": (("dense", "csc", "csr"), lambda x: filebackedarray.to_anndata(x).X.compute(scheduler="synchronous")),
}


def beside() -> Path:
    """A file in the folder of the test, which writes no other one."""
    return Path(os.environ["PYTEST_WRITES_TO"])


def opened(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """An opener, with all that it says; and the names are read with it, as one operation."""
    return one_state(lambda path: [str(make(path).dtype), make(path).shape])


WRITERS: dict[str, Recipe] = {
    "write_array": (UNMASKED, lambda x: filebackedarray.write_array(x, beside(), "x", overwrite=True)),
    "write_sparse": (FACTORS, lambda x: filebackedarray.write_sparse(x, beside(), "x", overwrite=True)),
    "realize": (UNMASKED, lambda x: filebackedarray.realize(x)),
    "write_h5ad": (FACTORS, lambda x: filebackedarray.write_h5ad(x, beside(), overwrite=True)),
    "write_loom": (FACTORS, lambda x: filebackedarray.write_loom(x, beside(), overwrite=True)),
    "write_tenx": (
        FACTORS,
        lambda x: filebackedarray.write_tenx(
            x,
            beside(),
            row_names=[str(row) for row in range(x.shape[0])],
            column_names=[str(column) for column in range(x.shape[1])],
            overwrite=True,
        ),
    ),
    "write_anndata": (
        ("csc", "tree"),
        lambda x: filebackedarray.write_anndata(filebackedarray.to_anndata(x), beside()),
    ),
}
OPENERS: dict[str, Callable[[Path], Any]] = {
    "ReshapedHdf5Array": opened(lambda path: filebackedarray.ReshapedHdf5Array(path, "x", (SHAPE[0] * SHAPE[1],))),
    "Hdf5DualSparseMatrix": opened(
        lambda path: filebackedarray.Hdf5DualSparseMatrix(
            filebackedarray.Hdf5CompressedSparseMatrix(path, "csc", SHAPE, True),
            filebackedarray.Hdf5CompressedSparseMatrix(path, "csr", SHAPE, False),
        )
    ),
    "open_array": opened(lambda path: filebackedarray.open_array(path, "csc")),
    "Hdf5DenseArray": opened(lambda path: filebackedarray.Hdf5DenseArray(path, "names")),
    "Hdf5CompressedSparseMatrix": opened(
        lambda path: filebackedarray.Hdf5CompressedSparseMatrix(path, "csc", SHAPE, True)
    ),
}
COMMANDS: dict[str, list[str]] = {
    "ls": [],
    "info": ["csc"],
    "head": ["csc"],
    "stats": ["csc", "--quiet"],
    "check": ["--quiet"],
}


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, numpy.ma.MaskedArray):
        return numpy.array_equal(left.filled(-1), right.filled(-1))
    if isinstance(left, numpy.ndarray | numpy.generic):
        return numpy.array_equal(left, right)
    return bool(left == right)


def try_all(switch: Switch, prepare: Callable[[], Any], run: Callable[[Any], Any]) -> None:
    """Replace the file before each request of an operation in turn."""
    expected = []
    for state in (0, 1):
        # The array is made of the first state; what it says by itself stays as it was.
        switch.reset(0)
        prepared = prepare()
        switch.reset(state)
        expected.append(whole(run(prepared)))
    at = 0
    while True:
        switch.reset(0)
        prepared = prepare()
        switch.count, switch.at = 0, at
        try:
            found = whole(run(prepared))
        except OSError:
            found = None
        finally:
            switch.at = None
        if found is not None:
            assert any(same(found, one) for one in expected), f"of neither state, where it changes at request {at}"
        if switch.count <= at:
            break
        # An operation by blocks makes many requests: all of the first ones, and some of the rest.
        at += 1 if at < 12 else 7


def requests(recipes: dict[str, Recipe]) -> Iterator[Any]:
    for name, (kinds, run) in recipes.items():
        for kind in kinds:
            yield pytest.param(kind, run, id=f"{name}-{kind}")


@pytest.mark.parametrize(("kind", "run"), requests({**METHODS, **GENERICS, **FUNCTIONS}))
def test_an_operation_is_of_one_state(switch: Switch, kind: str, run: Callable[[Any], Any]) -> None:
    try_all(switch, lambda: arrays(switch.path)[kind], run)


@pytest.mark.parametrize(("kind", "run"), requests(WRITERS))
def test_what_is_written_is_of_one_state(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, run: Callable[[Any], Any]
) -> None:
    monkeypatch.setenv("PYTEST_WRITES_TO", str(tmp_path / "written.h5"))
    try_all(switch, lambda: arrays(switch.path)[kind], run)


@pytest.mark.parametrize("name", ["sum", "__array__", "__matmul__", "_repr_html_", "__iter__"])
@pytest.mark.parametrize("kind", ["dense", "csc", "dual", "tree", "sparse_tree"])
def test_an_operation_on_a_file_that_is_not_trusted(switch: Switch, kind: str, name: str) -> None:
    try_all(switch, lambda: arrays(switch.path, untrusted=True)[kind], METHODS[name][1])


def in_mattress(x: Any) -> numpy.ndarray:
    """What mattress has of a matrix: row sums, by its own reading of ours."""
    result: numpy.ndarray = mattress.initialize(x).row_sums()
    return result


@pytest.mark.parametrize("budget", ["all of it", "a temporary file"])
@pytest.mark.parametrize("kind", FACTORS)
def test_a_matrix_in_mattress_is_of_one_state(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, kind: str, budget: str
) -> None:
    if budget == "a temporary file":
        monkeypatch.setattr(scratch, "_BLOCK_BYTES", 200)
        monkeypatch.setattr(memory_budget, "_budget", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try_all(switch, lambda: arrays(switch.path)[kind], in_mattress)


@pytest.mark.parametrize("kind", ["dense", "csc"])
def test_an_accelerated_array_is_of_one_state(switch: Switch, kind: str) -> None:
    def prepare() -> Any:
        if kind == "dense":
            return hdf5array.Hdf5DenseArray(str(switch.path), "x", native_order=True)
        return hdf5array.Hdf5CompressedSparseMatrix(str(switch.path), "csc", SHAPE, by_column=True)

    with filebackedarray.accelerate():
        for run in (lambda x: x.sum(axis=0), lambda x: numpy.asarray(x[:, :])):
            try_all(switch, prepare, run)


@pytest.mark.parametrize(
    "run",
    [
        numpy.ma.asarray,
        lambda x: numpy.ma.array(x, copy=True),
        lambda x: numpy.ma.add(x, 1),
        lambda x: numpy.ma.log(x + 1.0),
        lambda x: numpy.ma.getmaskarray(x),
    ],
)
def test_what_numpy_ma_makes_of_a_masked_array_is_of_one_state(switch: Switch, run: Callable[[Any], Any]) -> None:
    # numpy.ma asks for the data and for the mask, each by itself.
    try_all(
        switch,
        lambda: filebackedarray.Hdf5DenseArray(switch.path, "marked", native_order=True, mask_missing=True),
        run,
    )


@pytest.mark.parametrize("name", OPENERS)
def test_an_opener_is_of_one_state(switch: Switch, name: str) -> None:
    try_all(switch, lambda: switch.path, OPENERS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_of_one_state(switch: Switch, name: str) -> None:
    def run(path: Path) -> Any:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = _shell.main([name, str(path), *COMMANDS[name], "--json"])
        if status != 0:
            raise OSError(err.getvalue())
        return out.getvalue()

    try_all(switch, lambda: switch.path, run)


def test_a_conversion_is_of_one_state(switch: Switch, tmp_path: Path) -> None:
    written = tmp_path / "written.h5"

    def run(path: Path) -> Any:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
            status = _shell.main(["convert", f"{path}::csc", str(written), "--to", "sparse", "--overwrite", "--quiet"])
        if status != 0:
            raise OSError(err.getvalue())
        return numpy.asarray(filebackedarray.open_array(written))

    try_all(switch, lambda: switch.path, run)


# ---- nothing escapes ---------------------------------------------------------------------------

LOGIC = {"and", "rand", "or", "ror", "xor", "rxor", "lshift", "rlshift", "rshift", "rrshift"}
ARITHMETIC = {
    *(f"{r}{name}" for r in ("", "r") for name in ("add", "sub", "mul", "truediv", "mod", "floordiv", "divmod", "pow")),
    *("eq", "ne", "ge", "le", "gt", "lt"),
}

NO_REQUEST = {
    # What an array says without looking into the file: tested below to make no request.
    *("shape", "ndim", "size", "path", "name", "seed", "T", "astype", "transposed", "csc", "csr", "chosen"),
    *("index_dtype", "by_column", "group_name", "data_name", "indices_name", "indptr_name", "is_sparse"),
    *(
        "__len__",
        "__abs__",
        "__neg__",
        "__new__",
        "__init__",
        "__reduce__",
        "__dir__",
        "__getattr__",
        "__init_subclass__",
    ),
    *("__array_function__", "__class_getitem__", "__hash__", "__setitem__", "__pos__", "__invert__"),
    # What is delayed.
    *("itemsize", "nbytes", "real", "imag", "mT", "transpose", "reshape", "squeeze", "swapaxes", "conj", "conjugate"),
    *("clip", "round", "ravel", "__divmod__", "__rdivmod__", "__xor__", "__rxor__"),
    *("__lshift__", "__rlshift__", "__rshift__", "__rrshift__"),
    *(
        f"__{name}__"
        for name in [
            "add",
            "radd",
            "sub",
            "rsub",
            "mul",
            "rmul",
            "truediv",
            "rtruediv",
            "mod",
            "rmod",
            "floordiv",
            "rfloordiv",
        ]
    ),
    *(f"__{name}__" for name in ["pow", "rpow", "eq", "ne", "ge", "le", "gt", "lt", "or", "ror", "and", "rand"]),
}
CONSTRUCTED = {
    # What makes or describes a class or an object.
    *("__new__", "__init__", "__init_subclass__", "__class_getitem__", "__getattr__"),
    # What refuses, or leaves the work to what is tested by its own name.
    *("__array_function__", "__setitem__", "chosen"),
}
"""Of these, what cannot be called by itself."""

_CALLS: dict[str, Callable[[Any], Any]] = {
    **{name: lambda x, name=name: getattr(x, name)(2.0) for name in NO_REQUEST if name.strip("_") in ARITHMETIC},
    **{name: lambda x, name=name: getattr(x, name)(True) for name in NO_REQUEST if name.strip("_") in LOGIC},
    **{
        f"__{name}__": lambda x, name=name: getattr(x, f"__{name}__")() for name in ("len", "abs", "neg", "pos", "hash")
    },
    "__invert__": lambda x: ~(x > 1),
    "__dir__": dir,
    "__reduce__": pickle.dumps,
    "astype": lambda x: x.astype("f4"),
    "reshape": lambda x: x.reshape(x.shape),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "clip": lambda x: x.clip(0, 1),
    **{
        name: lambda x, name=name: getattr(x, name)() for name in ("transpose", "squeeze", "conj", "conjugate", "round")
    },
    "transposed": lambda x: x.transposed(),
}
"""How each is called; what is not here is a property."""


OPEN_NOTHING = {
    *("__version__", "accelerate", "decelerate", "limit_threads", "FileBackedArray"),
    *("get_memory_budget", "set_memory_budget", "get_num_threads", "set_num_threads", "set_cache_budget"),
    *("QualityControl", "Statistics", "DenseSink", "SparseSink"),
}


@pytest.mark.parametrize("kind", ["dense", "csc", "dual", "tree", "joined"])
def test_what_says_so_makes_no_request(switch: Switch, kind: str) -> None:
    called = set()
    switch.reset()
    for name in sorted(NO_REQUEST - CONSTRUCTED):
        x = arrays(switch.path)[kind]
        if name.strip("_") in LOGIC:
            x = x > 1 if name.strip("_")[-5:] != "shift" else x.astype("i4")
        if not hasattr(x, name):
            continue
        switch.count = 0
        # An operation may be none for an array of this kind.
        with contextlib.suppress(TypeError, ValueError, AttributeError, NotImplementedError):
            _CALLS.get(name, lambda x, name=name: getattr(x, name))(x)
            called.add(name)
        assert switch.count == 0, f"{name} of {kind} asks the engine for something"
    # What all arrays have.
    assert {"shape", "T", "__add__", "__and__", "astype", "clip", "__abs__"} <= called


def public_classes() -> dict[str, type]:
    return {
        name: getattr(filebackedarray, name)
        for name in filebackedarray.__all__
        if isinstance(getattr(filebackedarray, name), type) and issubclass(getattr(filebackedarray, name), Reductions)
    }


def test_no_method_escapes() -> None:
    for kind in public_classes().values():
        for base in kind.__mro__:
            if not base.__module__.startswith("filebackedarray"):
                continue
            for name, value in vars(base).items():
                is_one = isinstance(value, types.FunctionType | property | staticmethod | classmethod)
                if not is_one or (name.startswith("_") and not name.endswith("_")):
                    continue
                assert name in METHODS or name in NO_REQUEST, f"{base.__name__}.{name} has no recipe here"
                inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                if name in METHODS:
                    assert hasattr(inner, "__wrapped__"), f"{base.__name__}.{name} is no operation"


def test_no_function_escapes() -> None:
    for name in filebackedarray.__all__:
        known = name in {*FUNCTIONS, *WRITERS, *OPENERS, *OPEN_NOTHING, *public_classes()}
        assert known, f"{name} has no recipe here"
        if name in FUNCTIONS or name == "open_array":
            assert hasattr(getattr(filebackedarray, name), "__wrapped__"), f"{name} is no operation"


def test_no_generic_escapes() -> None:
    for name in dir(delayedarray):
        generic = getattr(delayedarray, name)
        for kind, method in getattr(generic, "registry", {}).items():
            if not kind.__module__.startswith("filebackedarray") or name == "wrap":
                continue
            assert name in GENERICS, f"{name} has no recipe here"
            assert hasattr(method, "__wrapped__"), f"{name} of {kind.__name__} is no operation"


def test_no_request_escapes() -> None:
    # What else the engine has is about threads, caches and snapshots.
    others = {
        "OPTIMISED",
        "Folded",
        "Snapshot",
        "SparseMatrix",
        "Sweep",
        "Writer",
        "after_fork",
        "before_fork",
        "bind_snapshot",
        "current_snapshot",
    }
    others |= {
        "available_memory",
        "memory_limit",
        "get_num_threads",
        "limit_threads",
        "add_plugins",
        "only_this_file",
        "confine",
        "file_of",
        "set_cache_budget",
        "set_num_threads",
    }
    assert {name for name in dir(_core) if not name.startswith("_")} - others == set(REQUESTS)
    assert {name for name in dir(_core.SparseMatrix) if not name.startswith("_")} == set(OF_MATRICES)
    assert set(vars(_engine.Engine)) & set(REQUESTS) <= set(dir(_untrusted))


def test_no_command_escapes() -> None:
    (commands,) = (action.choices for action in _shell._parser()._actions if action.choices)
    assert set(commands) == {*COMMANDS, "convert"}


def test_rows_are_of_one_state(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    # Block by block: an iteration is one operation, and what is done between two rows is another.
    monkeypatch.setattr(filebackedarray._compute.indexing, "BLOCK_BYTES", 1000)
    switch.reset(0)
    x = arrays(switch.path)["dense"]
    rows = iter(x)
    first = next(rows)
    assert numpy.array_equal(first, content(0)[0])
    switch.reset(1)
    assert x.sum() == content(1).sum()
    with pytest.raises(OSError, match="changed while one operation read it"):
        list(rows)


def test_an_error_that_was_dealt_with_is_not_forgotten(switch: Switch) -> None:
    switch.reset(0)
    x = arrays(switch.path)["dense"]

    @one_state
    def operation() -> float:
        before = x.sum()
        switch.reset(1)
        with contextlib.suppress(OSError):
            x.sum()
        return float(before)

    with pytest.raises(OSError, match="changed while one operation read it"):
        operation()
