"""Hypothesis strategies: datasets as they may stand in a file, and subsets of their axes."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import h5py
import numpy
from hypothesis import strategies as st

from helpers import Compressed

NUMBERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
INTEGERS = NUMBERS[:8]
FLOATS = NUMBERS[8:]
FILTERS = ["shuffle", "gzip", "lzf", "fletcher32"]


def byte_orders(dtype: str) -> st.SearchStrategy[str]:
    return st.sampled_from([f"<{dtype}", f">{dtype}"]) if dtype[1] != "1" else st.just(f"|{dtype}")


def element_types(kinds: list[str] | None = None) -> st.SearchStrategy[str]:
    """All element types that the engine decodes, in both byte orders, and h5py's booleans."""
    names = st.sampled_from(NUMBERS if kinds is None else kinds).flatmap(byte_orders)
    return st.one_of(names, names, st.just("|b1")) if kinds is None else names


def random_values(dtype: str, shape: tuple[int, ...], seed: int, style: str) -> numpy.ndarray:
    """Every bit pattern of the type ("bits"), or small counts with many zeros ("counts")."""
    rng = numpy.random.default_rng(seed)
    kind = numpy.dtype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.4
    if style == "counts":
        return (rng.poisson(0.4, shape) % 100).astype(kind)
    return numpy.frombuffer(rng.bytes(math.prod(shape) * kind.itemsize), kind).reshape(shape)


def make_dcpl(filters: tuple[str, ...]) -> h5py.h5p.PropDCID:
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    for name in filters:
        if name == "shuffle":
            dcpl.set_shuffle()
        elif name == "gzip":
            dcpl.set_deflate(4)
        elif name == "fletcher32":
            dcpl.set_fletcher32()
        elif name == "lzf":
            # Optional, as h5py sets it: a chunk that lzf cannot make smaller skips the filter.
            dcpl.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL, ())
        else:
            raise ValueError(name)
    return dcpl


@dataclass(frozen=True)
class DenseCase:
    """One dataset to write."""

    dtype: str
    shape: tuple[int, ...]
    layout: str
    seed: int
    style: str
    chunks: tuple[int, ...] = ()
    maxshape: tuple[int | None, ...] = ()
    resized: tuple[int, ...] = ()
    filters: tuple[str, ...] = ()
    written: tuple[tuple[slice, ...], ...] | None = None
    fill: int | None = None
    early: bool = False
    libver: str = "earliest"
    userblock: int = 0

    def write(self, path: str | os.PathLike[str], name: str = "x") -> numpy.ndarray:
        """Write the dataset; what a reader must see, worked out without any HDF5."""
        values = random_values(self.dtype, self.shape, self.seed, self.style)
        fill = numpy.zeros((), self.dtype)
        dcpl = make_dcpl(self.filters)
        if self.layout == "compact":
            dcpl.set_layout(h5py.h5d.COMPACT)
        elif self.layout == "chunked":
            dcpl.set_chunk(self.chunks)
        if self.fill is not None:
            fill = numpy.array(self.fill).astype(self.dtype)
            dcpl.set_fill_value(fill)
        if self.early:
            dcpl.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)

        with h5py.File(path, "w", libver=self.libver, userblock_size=self.userblock) as handle:
            limits = tuple(h5py.h5s.UNLIMITED if n is None else n for n in (self.maxshape or self.shape))
            dataset = h5py.Dataset(
                h5py.h5d.create(
                    handle.id,
                    name.encode(),
                    h5py.h5t.py_create(numpy.dtype(self.dtype), logical=True),
                    h5py.h5s.create_simple(self.shape, limits),
                    dcpl,
                )
            )
            truth = numpy.full(self.shape, fill, dtype=self.dtype)
            regions = self.written
            if regions is None:
                regions = (tuple(slice(0, n) for n in self.shape),)
            for region in regions:
                dataset[region] = values[region]
                truth[region] = values[region]
            if self.resized:
                dataset.resize(self.resized)
                common = tuple(slice(0, min(a, b)) for a, b in zip(self.shape, self.resized, strict=True))
                after = numpy.full(self.resized, fill, dtype=self.dtype)
                after[common] = truth[common]
                truth = after
        return truth


@st.composite
def shapes(draw: st.DrawFn, smallest: int = 0) -> tuple[int, ...]:
    # One long axis now and then: many chunks, and more than one vector of a decoder's inner loop.
    dims = draw(st.integers(1, 4))
    longest = {1: 3000, 2: 60, 3: 16, 4: 8}[dims]
    extent = st.one_of(st.integers(smallest, 9), st.integers(smallest, longest))
    return tuple(draw(extent) for _ in range(dims))


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[slice, ...]:
    box = []
    for extent in shape:
        start = draw(st.integers(0, max(extent - 1, 0)))
        box.append(slice(start, draw(st.integers(start, extent))))
    return tuple(box)


@st.composite
def dense_cases(draw: st.DrawFn, dtypes: st.SearchStrategy[str] | None = None) -> DenseCase:
    dtype = draw(element_types() if dtypes is None else dtypes)
    shape = draw(shapes())
    common: dict[str, Any] = {
        "dtype": dtype,
        "shape": shape,
        "seed": draw(st.integers(0, 2**32 - 1)),
        "style": draw(st.sampled_from(["bits", "counts"])),
        "fill": draw(st.sampled_from([None, 0, 1, 77])),
        "libver": draw(st.sampled_from(["earliest", "latest"])),
        "userblock": draw(st.sampled_from([0, 0, 0, 512, 2048])),
        "written": draw(st.one_of(st.none(), st.none(), st.lists(boxes(shape), max_size=3).map(tuple))),
    }
    size = math.prod(shape) * numpy.dtype(dtype).itemsize
    layouts = ["contiguous", "chunked", "chunked", "chunked"]
    # The object header that holds a compact dataset ends at 64 KiB.
    if size < 60_000:
        layouts.append("compact")
    layout = draw(st.sampled_from(layouts))
    if layout != "chunked":
        return DenseCase(layout=layout, early=draw(st.booleans()), **common)

    # At most a few hundred chunks, to keep an example fast.
    chunks = tuple(draw(st.integers(max(1, -(-n // 6)), max(1, n + 3))) for n in shape)
    maxshape = tuple(
        draw(st.sampled_from([n, n, n + 40, None])) if n or c else None for n, c in zip(shape, chunks, strict=True)
    )
    # A fixed axis cannot have chunks longer than itself.
    chunks = tuple(c if m is None else max(1, min(c, m)) for c, m in zip(chunks, maxshape, strict=True))
    maxshape = tuple(None if m is not None and m < c else m for m, c in zip(maxshape, chunks, strict=True))
    resized: tuple[int, ...] = ()
    if draw(st.integers(0, 3)) == 0:
        resized = tuple(draw(st.integers(0, n + 12 if m is None else m)) for n, m in zip(shape, maxshape, strict=True))
    # A filter may stand in a pipeline twice. Not shuffle: libhdf5 gives the second no parameters,
    # and then skips it for every chunk.
    filters = tuple(draw(st.lists(st.sampled_from(FILTERS), max_size=4)))
    if filters.count("shuffle") > 1:
        filters = tuple(dict.fromkeys(filters))
    return DenseCase(
        layout="chunked",
        chunks=chunks,
        maxshape=maxshape,
        resized=resized,
        filters=filters,
        early=not filters and draw(st.booleans()),
        **common,
    )


def _integer_types_that_hold(largest: int) -> list[str]:
    names = [d for d in INTEGERS if numpy.iinfo(d).max >= largest]
    return names + [f">{d}" for d in names if d[1] != "1"]


@st.composite
def axis_subsets(draw: st.DrawFn, extent: int) -> Any:
    """Anything that may select on one axis: unsorted, repeated, empty, of any integer type."""
    kind = draw(st.sampled_from(["full", "range", "slice", "sequence", "sequence", "run"]))
    if kind == "full" or extent == 0:
        return draw(st.sampled_from([range(extent), slice(None), list(range(extent))]))
    if kind == "range":
        start = draw(st.integers(0, extent - 1))
        stop = draw(st.integers(0, extent))
        step = draw(st.sampled_from([1, 1, 2, 3, 7]))
        return range(start, stop, step) if start <= stop else range(start, stop, -step)
    if kind == "slice":
        bound = st.one_of(st.none(), st.integers(-extent - 1, extent + 1))
        step = st.sampled_from([None, 1, 2, 3, -1, -2])
        return slice(draw(bound), draw(bound), draw(step))
    if kind == "run":
        start = draw(st.integers(0, extent - 1))
        chosen = list(range(start, draw(st.integers(start, extent))))
    else:
        chosen = draw(st.lists(st.integers(0, extent - 1), max_size=12))
        if draw(st.booleans()):
            chosen = sorted(set(chosen))
    container = draw(st.sampled_from(["list", "tuple", "array", "strided", "scalars"]))
    if container == "list":
        return chosen
    if container == "tuple":
        return tuple(chosen)
    array = numpy.array(chosen, dtype=draw(st.sampled_from(_integer_types_that_hold(extent))))
    if container == "scalars":
        return list(array)
    if container == "strided":
        array = numpy.repeat(array, 2)[::2]
    array.flags.writeable = False
    return array


def subsets(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*[axis_subsets(n) for n in shape])


@dataclass(frozen=True)
class SparseCase:
    matrix: Compressed
    options: dict[str, Any]


@st.composite
def sparse_cases(draw: st.DrawFn, values: st.SearchStrategy[str] | None = None) -> SparseCase:
    """CSC and CSR with unsorted and repeated indices, explicit zeros and empty everything."""
    shape = (draw(st.integers(0, 14)), draw(st.integers(0, 14)))
    by_column = draw(st.booleans())
    primary, secondary = (shape[1], shape[0]) if by_column else shape
    rows: list[list[int]] = []
    style = draw(st.sampled_from(["canonical", "unsorted", "repeated"]))
    for _ in range(primary):
        if secondary == 0:
            rows.append([])
            continue
        unique = style != "repeated"
        row = draw(st.lists(st.integers(0, secondary - 1), max_size=8, unique=unique))
        rows.append(sorted(row) if style == "canonical" else row)
    indptr = numpy.concatenate([[0], numpy.cumsum([len(r) for r in rows], dtype=int)])
    indices = [i for row in rows for i in row]
    dtype = draw(element_types() if values is None else values)
    # Whole numbers below 2^11 are exact in every type, so that sums do not depend on their order.
    small = st.integers(0, 3) if numpy.dtype(dtype).kind in "ub" else st.integers(-3, 3)
    data = draw(st.lists(small, min_size=len(indices), max_size=len(indices)))
    index_dtype = draw(st.sampled_from(_integer_types_that_hold(max(secondary, 1))))
    matrix = Compressed(
        data=numpy.array(data, dtype=int).astype(dtype),
        indices=numpy.array(indices, dtype=int).astype(index_dtype),
        indptr=indptr.astype(draw(st.sampled_from(_integer_types_that_hold(len(indices))))),
        shape=shape,
        by_column=by_column,
    )
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["chunks"] = (draw(st.integers(1, 40)),)
        options["maxshape"] = (None,)
        options["compression"] = draw(st.sampled_from([None, "gzip", "lzf"]))
        options["shuffle"] = draw(st.booleans())
        options["fletcher32"] = draw(st.booleans())
    return SparseCase(matrix, options)


#: What operations there are for a tree; each takes a draw and an array.
_UNARY = ["log1p", "sqrt", "absolute", "negative", "exp", "sign", "floor", "expm1", "arctan"]
_ARGUMENTS = ["add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power"]
_COMPARISONS = ["greater", "less_equal", "equal", "not_equal", "logical_and", "logical_or"]


def _operand(draw: st.DrawFn, shape: tuple[int, ...], name: str) -> Any:
    """A number, or a vector along an axis."""
    rng = numpy.random.default_rng(draw(st.integers(0, 99)))
    if name == "power":
        return draw(st.sampled_from([1, 2, 3, 2.0]))
    kind = draw(st.sampled_from(["integer", "float", "numpy", "last", "axis", "axis"]))
    if kind == "integer":
        return draw(st.integers(0, 3))
    if kind == "float":
        return draw(st.sampled_from([0.0, 0.5, 2.0, -1.5]))
    if kind == "numpy":
        return draw(st.sampled_from([numpy.float32(1.5), numpy.int8(2), numpy.uint16(1)]))
    axis = len(shape) - 1 if kind == "last" else draw(st.integers(0, len(shape) - 1))
    values = rng.integers(0, 4, shape[axis])
    values = values / 2 if draw(st.booleans()) else values.astype(draw(st.sampled_from(["i8", "u1"])))
    return values if kind == "last" else values.reshape([-1 if i == axis else 1 for i in range(len(shape))])


@st.composite
def trees(draw: st.DrawFn, arrays: Any, most: int = 5) -> Any:
    """A tree of delayed operations on some arrays of the same shape."""
    tree = draw(st.sampled_from(arrays))
    joined = False
    for _ in range(draw(st.integers(0, most))):
        operation = draw(
            st.sampled_from(
                ["unary", "argument", "argument", "compare", "cast", "round", "T", "subset", "binary", "join"]
            )
        )
        if operation == "unary":
            name = draw(st.sampled_from(_UNARY))
            if tree.dtype == bool:
                tree = tree * 2
            elif name == "negative":
                tree = -tree
            else:
                tree = getattr(numpy, name)(tree)
        elif operation in ("argument", "compare"):
            name = draw(st.sampled_from(_ARGUMENTS if operation == "argument" else _COMPARISONS))
            value = _operand(draw, tree.shape, name)
            if tree.dtype == bool and name in ("subtract", "power"):
                name = "add"
            if getattr(value, "shape", None) == tree.shape and tree.dtype == bool and name == "subtract":
                continue
            tree = (
                getattr(numpy, name)(value, tree)
                if draw(st.booleans()) and name != "power"
                else getattr(numpy, name)(tree, value)
            )
        elif operation == "cast":
            tree = tree.astype(numpy.dtype(draw(st.sampled_from(["f4", "f8", "f8"]))))
        elif operation == "round":
            if tree.dtype != bool:
                tree = numpy.round(tree, decimals=draw(st.integers(0, 2)))
        elif operation == "T":
            tree = tree.T
        elif operation == "subset":
            axis = draw(st.integers(0, len(tree.shape) - 1))
            extent = tree.shape[axis]
            index: Any = slice(*sorted([draw(st.integers(0, extent)), draw(st.integers(0, extent))]))
            if extent and draw(st.booleans()):
                index = draw(st.lists(st.integers(0, extent - 1), max_size=extent + 2))
                index = numpy.array(index, dtype=int)
            subset = tree[tuple(index if i == axis else slice(None) for i in range(len(tree.shape)))]
            # delayedarray cannot evaluate nothing of arrays that were joined.
            if not (joined and 0 in subset.shape):
                tree = subset
        elif operation == "binary":
            other = draw(st.sampled_from([*arrays, *[array * 2 for array in arrays]]))
            if other.shape != tree.shape:
                other = tree
            name = draw(st.sampled_from(["add", "multiply", "greater", "divide"]))
            tree = getattr(numpy, name)(tree, other)
        elif 0 not in tree.shape:
            joined = True
            axis = draw(st.integers(0, len(tree.shape) - 1))
            fitting = [
                other
                for other in [*arrays, *[array.T for array in arrays]]
                if all(a == b for i, (a, b) in enumerate(zip(other.shape, tree.shape, strict=True)) if i != axis)
            ]
            tree = numpy.concatenate((tree, draw(st.sampled_from([*fitting, tree]))), axis=axis)
    return tree
