"""Virtual datasets and links to other files: the engine resolves them itself; h5py says what is in them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy
import pytest
from delayedarray import extract_dense_array, to_dense_array
from hypothesis import given, settings

from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArray, Hdf5DenseArraySeed, _core
from helpers import assert_direct, assert_identical, read_path, run_python

UNLIMITED = h5py.h5s.UNLIMITED
#: Types of sources and virtual datasets: some conversions are exact, others only libhdf5 does as it does.
TYPES = ["<i4", ">i4", "<i2", "<u2", "<i8", "u1", "<f4", "<f8", ">f8", "<f2"]


def by_h5py(path: Path, name: str = "v") -> numpy.ndarray:
    with h5py.File(path, "r") as handle:
        return handle[name][()]


def check(
    path: Path, name: str = "v", way: str = "virtual", mapped: numpy.ndarray | None = None, fill: int = 0
) -> numpy.ndarray:
    """Compares a dataset with what h5py reads of it: all, parts, and one row after another.

    Where mappings overlap, libhdf5 counts elements twice, and may leave as it is what is not mapped: what is `mapped`
    and the fill value are given then.
    """
    want = by_h5py(path, name)
    if mapped is not None:
        want[~mapped] = fill
    assert read_path(path, name) == way
    seed = Hdf5DenseArraySeed(path, name, native_order=True)
    assert seed.shape == want.shape
    assert seed.dtype == want.dtype
    assert_identical(to_dense_array(seed), want)
    for step in (2, 3):
        chosen = tuple(range(extent - 1, -1, -step) for extent in want.shape)
        assert_identical(extract_dense_array(seed, chosen), want[numpy.ix_(*chosen)])
    if want.ndim and want.size:
        row = want.shape[0] // 2
        first = ([row], *(range(extent) for extent in want.shape[1:]))
        assert_identical(extract_dense_array(seed, first), want[[row]])
    return want


def source(handle: h5py.File, name: str, values: numpy.ndarray, how: str = "chunked") -> None:
    """A dataset in one of the ways in which sources may be stored."""
    settings: dict[str, Any] = {
        "chunked": {
            "chunks": tuple(max(1, extent // 3) for extent in values.shape),
            "compression": "gzip",
            "shuffle": True,
        },
        "whole": {"chunks": values.shape, "compression": "lzf"},
        "contiguous": {},
        "scaleoffset": {"chunks": values.shape, "scaleoffset": 0 if values.dtype.kind in "iu" else 3},
    }[how]
    if how == "scaleoffset" and values.dtype.str not in ("<i4", "<i8", "<i2", "<u2", "u1"):
        settings = {}
    handle.create_dataset(name, data=values, **settings)


# ---- generated mappings ----------------------------------------------------------------------


@st.composite
def selections(draw: st.DrawFn, extent: int) -> tuple[slice, int]:
    """A slice of an axis, and how many indices it has."""
    start = draw(st.integers(0, extent - 1))
    step = draw(st.integers(1, 3))
    stop = draw(st.integers(start + 1, extent))
    return slice(start, stop, step), len(range(start, stop, step))


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
    parts = []
    for number in range(draw(st.integers(0, 5))):
        target, lens = zip(*(draw(selections(extent)) for extent in shape), strict=True)
        if draw(st.booleans()):
            # Axes of one index may be left out.
            lens = tuple(length for length in lens if length != 1) or (1,)
        taken = [
            (slice(begin, begin + length * step, step), begin + length * step + more)
            for length in lens
            for begin, step, more in [draw(st.tuples(st.integers(0, 3), st.integers(1, 2), st.integers(0, 3)))]
        ]
        parts.append(
            {
                "target": target,
                "source": tuple(one[0] for one in taken),
                "shape": tuple(one[1] for one in taken),
                "file": draw(st.sampled_from([".", "a.h5", "b.h5", "missing.h5"])),
                "name": draw(st.sampled_from([f"x{number}", f"g/x{number}", "none"])),
                "dtype": draw(st.sampled_from(TYPES)),
                "how": draw(st.sampled_from(["chunked", "whole", "contiguous", "scaleoffset"])),
            }
        )
    return {"shape": shape, "parts": parts, "dtype": draw(st.sampled_from(TYPES)), "fill": draw(st.integers(0, 100))}


@settings(max_examples=settings().max_examples // 2)
@given(case=mappings())
def test_generated_mappings(tmp_path_factory: pytest.TempPathFactory, case: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("virtual")
    path = folder / "v.h5"
    rng = numpy.random.default_rng(0)
    for file in (".", "a.h5", "b.h5"):
        with h5py.File(path if file == "." else folder / file, "a") as handle:
            handle.require_group("g")
            for part in case["parts"]:
                if part["file"] == file and part["name"] != "none":
                    # On infinite halves as integers, and negative ones as unsigned, versions of libhdf5 do not agree.
                    low, high = (0, 2**15) if part["dtype"] == "<f2" else (-(2**20), 2**20)
                    values = rng.integers(low, high, part["shape"]).astype(part["dtype"])
                    source(handle, part["name"], values, part["how"])
    with h5py.File(path, "a", libver="latest") as handle:
        layout = h5py.VirtualLayout(case["shape"], case["dtype"])
        for part in case["parts"]:
            layout[part["target"]] = h5py.VirtualSource(part["file"], part["name"], part["shape"])[part["source"]]
        handle.create_virtual_dataset("v", layout, fillvalue=case["fill"])
    mapped = numpy.zeros(case["shape"], bool)
    for part in case["parts"]:
        if part["file"] != "missing.h5" and part["name"] != "none":
            mapped[part["target"]] = True
    check(path, mapped=mapped, fill=case["fill"])


# ---- what mappings can be --------------------------------------------------------------------

VALUES = numpy.random.default_rng(1).integers(-(2**31), 2**31, (12, 30)).astype("<i4")


def write(path: Path, name: str = "x", values: numpy.ndarray = VALUES, **settings: Any) -> Path:
    with h5py.File(path, "a") as handle:
        handle.create_dataset(name, data=values, **({"chunks": True, "compression": "gzip"} | settings))
    return path


def virtual(
    path: Path,
    shape: tuple[int, ...],
    parts: Callable[[h5py.VirtualLayout], object],
    dtype: str = "<i4",
    **settings: Any,
) -> None:
    maxshape = settings.pop("maxshape", None)
    with h5py.File(path, "a", libver="latest") as handle:
        layout = h5py.VirtualLayout(shape, dtype, maxshape=maxshape)
        parts(layout)
        handle.create_virtual_dataset(settings.pop("name", "v"), layout, **settings)


def every(source: h5py.VirtualSource) -> Callable[[h5py.VirtualLayout], None]:
    """The one mapping that has all of a virtual dataset."""

    def part(layout: h5py.VirtualLayout) -> None:
        layout[...] = source

    return part


def test_sources_that_are_stacked_and_interleaved(tmp_path: Path) -> None:
    names = [write(tmp_path / f"{number}.h5", values=VALUES + number).name for number in range(4)]

    def stacked(layout: h5py.VirtualLayout) -> None:
        for number, name in enumerate(names):
            layout[number] = h5py.VirtualSource(name, "x", VALUES.shape)

    def interleaved(layout: h5py.VirtualLayout) -> None:
        for number, name in enumerate(names):
            layout[number::4] = h5py.VirtualSource(name, "x", VALUES.shape)

    virtual(tmp_path / "v.h5", (4, *VALUES.shape), stacked)
    virtual(tmp_path / "v.h5", (48, 30), interleaved, name="w")
    assert_identical(check(tmp_path / "v.h5"), numpy.stack([VALUES + number for number in range(4)]))
    assert check(tmp_path / "v.h5", "w")[5].tolist() == (VALUES[1] + 1).tolist()


def test_the_last_of_overlapping_mappings_counts(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.h5", values=VALUES + number)

    def parts(layout: h5py.VirtualLayout) -> None:
        layout[2:14] = h5py.VirtualSource("0.h5", "x", VALUES.shape)
        layout[8:20] = h5py.VirtualSource("1.h5", "x", VALUES.shape)
        layout[5:11, 3:9] = h5py.VirtualSource("2.h5", "x", VALUES.shape)[:6, :6]

    virtual(tmp_path / "v.h5", (21, 30), parts, fillvalue=-7)
    mapped = numpy.ones((21, 30), bool)
    mapped[[0, 1, 20]] = False
    found = check(tmp_path / "v.h5", mapped=mapped, fill=-7)
    assert found[0, 0] == found[20, 29] == -7
    assert found[9, 4] == VALUES[4, 1] + 2
    assert found[9, 0] == VALUES[1, 0] + 1


def test_fancy_selections(tmp_path: Path) -> None:
    write(tmp_path / "s.h5")

    def parts(layout: h5py.VirtualLayout) -> None:
        layout[[0, 1, 4, 9]] = h5py.VirtualSource("s.h5", "x", VALUES.shape)[[2, 3, 7, 11]]
        layout[2:4, [1, 5, 6]] = h5py.VirtualSource("s.h5", "x", VALUES.shape)[:2, [0, 20, 29]]

    virtual(tmp_path / "v.h5", (10, 30), parts, fillvalue=3)
    found = check(tmp_path / "v.h5")
    assert_identical(found[[0, 1, 4, 9]], VALUES[[2, 3, 7, 11]])


def test_other_shapes_and_types_are_left_to_libhdf5(tmp_path: Path) -> None:
    write(tmp_path / "s.h5")

    def reshaped(layout: h5py.VirtualLayout) -> None:
        layout[:, :] = h5py.VirtualSource("s.h5", "x", VALUES.shape)[:12, :30]

    virtual(tmp_path / "v.h5", (30, 12), reshaped)
    assert_identical(check(tmp_path / "v.h5", way="libhdf5: a virtual dataset"), VALUES.reshape(30, 12))
    # All of a source has no shape in the file: that it is another one shows when it is read.
    virtual(
        tmp_path / "v.h5",
        (30, 12),
        every(h5py.VirtualSource("s.h5", "x", VALUES.shape)),
        name="w",
    )
    with h5py.File(tmp_path / "v.h5") as handle:
        want = handle["w"][()]
    assert_identical(to_dense_array(Hdf5DenseArraySeed(tmp_path / "v.h5", "w", native_order=True)), want)


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">u4", "<f4", "<i8"])
def test_numbers_that_do_not_fit_are_those_of_libhdf5(tmp_path: Path, dtype: str) -> None:
    values = numpy.array([-1e10, -300.7, -0.5, 0, 1.9, 127, 200, 70000, 2**40, 1e19])
    write(tmp_path / "s.h5", values=values, chunks=(3,))
    virtual(
        tmp_path / "v.h5",
        values.shape,
        every(h5py.VirtualSource("s.h5", "x", values.shape)),
        dtype,
    )
    check(tmp_path / "v.h5")


def test_a_single_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "v.h5", "w", libver="latest") as handle:
        handle["x"] = 5
        layout = h5py.VirtualLayout((), "<i8")
        layout[...] = h5py.VirtualSource(handle["x"])
        handle.create_virtual_dataset("v", layout)
    assert check(tmp_path / "v.h5").tolist() == 5


def test_sources_that_are_missing_and_come(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    virtual(
        path,
        VALUES.shape,
        every(h5py.VirtualSource("s.h5", "g/x", VALUES.shape)),
        fillvalue=9,
    )
    seed = Hdf5DenseArraySeed(path, "v", native_order=True)
    assert (to_dense_array(seed) == 9).all()
    with h5py.File(tmp_path / "s.h5", "w") as handle:
        handle.create_group("g")
    assert (to_dense_array(seed) == 9).all()
    write(tmp_path / "s.h5", "g/x")
    assert_identical(to_dense_array(seed), VALUES)
    (tmp_path / "s.h5").unlink()
    assert (to_dense_array(seed) == 9).all()


def low_level(path: Path, stored: tuple[int, ...], mappings: list[tuple[Any, str, str, Any]]) -> None:
    """A virtual dataset by HDF5's own functions, with what h5py's high-level interface has no words for."""
    with h5py.File(path, "a", libver="latest") as handle:
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_fill_value(numpy.array(-1, "<i4"))
        for (start, count, stride, block), file, name, (begin, many, apart, width) in mappings:
            target = h5py.h5s.create_simple(stored, (UNLIMITED,) * len(stored))
            target.select_hyperslab(start, count, stride, block)
            source = h5py.h5s.create_simple((100,) * len(begin), (UNLIMITED,) * len(begin))
            source.select_hyperslab(begin, many, apart, width)
            dcpl.set_virtual(target, file.encode(), name.encode(), source)
        space = h5py.h5s.create_simple(stored, (UNLIMITED,) * len(stored))
        h5py.h5d.create(handle.id, b"v", h5py.h5t.STD_I32LE, space, dcpl)


@pytest.mark.parametrize(("block", "stride"), [(1, 1), (1, 3), (2, 5), (4, 4)])
@pytest.mark.parametrize("begin", [0, 2])
def test_what_grows(tmp_path: Path, block: int, stride: int, begin: int) -> None:
    path = tmp_path / "v.h5"
    whole = ((0, 0), (UNLIMITED, 1), (1, 30), (1, 30))
    mappings = [
        (((0, 0), (UNLIMITED, 1), (stride, 30), (block, 30)), "a.h5", "x", ((begin, 0), *whole[1:])),
        (((stride - 1, 0), (UNLIMITED, 1), (7, 30), (1, 30)), "b.h5", "x", whole),
    ]
    low_level(path, (1, 30), mappings)
    for rows in (0, 1, 5, 12):
        for name, more in (("a.h5", 0), ("b.h5", 1)):
            (tmp_path / name).unlink(missing_ok=True)
            write(tmp_path / name, values=VALUES[: rows + more], chunks=(5, 7), maxshape=(None, 30))
        check(path)
    (tmp_path / "a.h5").unlink()
    check(path)
    (tmp_path / "b.h5").unlink()
    check(path)


@pytest.mark.parametrize("file", ["part%b.h5", "parts%%.h5"])
def test_numbered_sources(tmp_path: Path, file: str) -> None:
    path = tmp_path / "v.h5"
    name = "x" if "%b" in file else "x%b"
    target = ((1, 0), (UNLIMITED, 1), (5, 30), (4, 30))
    low_level(path, (1, 30), [(target, file, name, ((0, 0), (1, 1), (4, 30), (4, 30)))])
    for number in range(4):
        assert check(path).shape[0] == (0 if number == 0 else 5 * number)
        at = tmp_path / file.replace("%b", str(number)).replace("%%", "%")
        write(at, name.replace("%b", str(number)), values=VALUES[:4] + number)
    # What comes after a gap is not looked for.
    write(tmp_path / "part5.h5", values=VALUES[:4])
    assert check(path).shape[0] == 20


def test_prefixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("first", "second", "beside", "here")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        write(folder / "s.h5", values=VALUES + number)
    path = folders[2] / "v.h5"
    virtual(path, VALUES.shape, every(h5py.VirtualSource("s.h5", "x", VALUES.shape)))
    monkeypatch.chdir(folders[3])
    code = f"""
        import h5py, numpy
        from delayedarray import to_dense_array
        from filebackedarray import Hdf5DenseArraySeed
        found = to_dense_array(Hdf5DenseArraySeed({str(path)!r}, "v", native_order=True))
        with h5py.File({str(path)!r}) as handle:
            assert numpy.array_equal(found, handle["v"][()])
        print(found[0, 0] - {VALUES[0, 0]})
    """
    first, second = map(str, folders[:2])
    for prefix, number in {
        "": 2,
        f"{first}:{second}": 0,
        f"/nowhere:{second}": 1,
        "${ORIGIN}/../second": 1,
        ".": 3,
    }.items():
        environment = dict(os.environ, HDF5_VDS_PREFIX=prefix)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == str(number), (prefix, done.stderr)


# ---- sources that lead on --------------------------------------------------------------------


def test_nested_and_linked_sources(tmp_path: Path) -> None:
    write(tmp_path / "s.h5", "g/x")
    with h5py.File(tmp_path / "s.h5", "a") as handle:
        handle["soft"] = h5py.SoftLink("/g/x")
    with h5py.File(tmp_path / "v.h5", "w") as handle:
        handle["link"] = h5py.ExternalLink("s.h5", "soft")
        handle["group"] = h5py.ExternalLink("s.h5", "g")
        handle["gone"] = h5py.ExternalLink("none.h5", "x")

    def parts(layout: h5py.VirtualLayout) -> None:
        layout[:6] = h5py.VirtualSource("s.h5", "soft", VALUES.shape)[:6]
        layout[6:] = h5py.VirtualSource(".", "link", VALUES.shape)[6:]
        layout[3] = h5py.VirtualSource(".", "gone", VALUES.shape)[3]

    virtual(tmp_path / "v.h5", VALUES.shape, parts, fillvalue=2)
    virtual(
        tmp_path / "w.h5",
        (24, 30),
        lambda layout: layout.__setitem__(slice(0, 24, 2), h5py.VirtualSource("v.h5", "v", VALUES.shape)),
    )
    check(tmp_path / "v.h5")
    check(tmp_path / "w.h5")
    for name in ("link", "group/x"):
        assert_direct(tmp_path / "v.h5", name)
        assert_identical(to_dense_array(Hdf5DenseArraySeed(tmp_path / "v.h5", name, native_order=True)), VALUES)


def test_sources_that_lead_back(tmp_path: Path) -> None:
    # Each of these ends the process where libhdf5 reads it.
    path = write(tmp_path / "v.h5", "y")
    with h5py.File(tmp_path / "b.h5", "w") as handle:
        handle["back"] = h5py.ExternalLink("v.h5", "y")
    with h5py.File(path, "a") as handle:
        handle["there"] = h5py.ExternalLink("b.h5", "back")
        handle["self"] = h5py.ExternalLink("v.h5", "y")
    for name in ("there", "self"):
        source = h5py.VirtualSource(".", name, VALUES.shape)
        virtual(path, VALUES.shape, every(source), name=f"v {name}")
        assert_identical(to_dense_array(Hdf5DenseArraySeed(path, f"v {name}", native_order=True)), VALUES)
        # Of another shape, which is left to libhdf5: refused.
        virtual(path, (30, 12), every(source[:12, :30]), name=f"w {name}")
        with pytest.raises(OSError, match="leads on"):
            to_dense_array(Hdf5DenseArraySeed(path, f"w {name}", native_order=True))


def test_growing_sources_that_lead_back_in_a_listing(tmp_path: Path) -> None:
    """libhdf5 ends the process where it looks how large they are: it is not asked, whatever lists the file."""
    path = tmp_path / "v.h5"
    growing = ((0,), (UNLIMITED,), (1,), (1,))
    low_level(path, (1,), [(growing, ".", "there", growing)])
    with h5py.File(tmp_path / "b.h5", "w") as handle:
        handle["back"] = h5py.ExternalLink("v.h5", "y")
    with h5py.File(path, "a") as handle:
        handle["there"] = h5py.ExternalLink("b.h5", "back")
        handle["y"] = numpy.arange(5.0)
    # One that is a source of itself, of which the extents are those that its file states.
    low_level(tmp_path / "round.h5", (1,), [(growing, ".", "v", growing)])
    code = """
        import sys
        from filebackedarray._engine import contents

        for path in sys.argv[1:]:
            for untrusted in (False, True):
                listed = contents.members(path, untrusted=untrusted)["v"]
                print(listed.shape, contents.describe(path, "v", untrusted=untrusted).shape, listed.note)
        """
    back, refused, *round_ = run_python(code, path, tmp_path / "round.h5").splitlines()
    assert back == "(5,) (5,) "
    # Of a file that is not trusted, nothing leads out, nor back in.
    assert refused.startswith("(1,) (1,) ")
    assert "leads to another file" in refused
    for line in round_:
        assert line.startswith("(1,) (1,) ")
        assert "source of itself" in line


def test_sources_that_go_round(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    for name, of in {"one": "one", "two": "three", "three": "two"}.items():
        virtual(path, (3,), every(h5py.VirtualSource(".", of, (3,))), name=name)
    for name in ("one", "two", "three"):
        with pytest.raises(OSError, match="source of itself"):
            to_dense_array(Hdf5DenseArraySeed(path, name, native_order=True))
    growing = ((0,), (UNLIMITED,), (1,), (1,))
    low_level(tmp_path / "w.h5", (1,), [(growing, ".", "v", growing)])
    with pytest.raises(OSError, match="source of itself"):
        Hdf5DenseArraySeed(tmp_path / "w.h5", "v")


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "v.h5", values=VALUES)
    with h5py.File(path, "a") as handle:
        handle.create_group("group")
    (tmp_path / "text.h5").write_text("no HDF5")

    def of(file: str, name: str, shape: tuple[int, ...]) -> str:
        title = f"{file} {name} {shape}".replace("/", "")
        virtual(
            path,
            shape,
            lambda layout: layout.__setitem__(
                ..., h5py.VirtualSource(file, name, shape)[tuple(slice(n) for n in shape)]
            ),
            name=title,
        )
        return title

    for title in (of(".", "group", (3,)), of("text.h5", "x", (3,)), of(".", "x", (13, 30))):
        with pytest.raises(OSError, match=r"v\.h5|text\.h5"):
            to_dense_array(Hdf5DenseArraySeed(path, title, native_order=True))


# ---- everything works on them ----------------------------------------------------------------


def test_strings(tmp_path: Path) -> None:
    words = numpy.array(["", "a", "hundred", "é", "x" * 1000, "b"] * 5, dtype=object)
    with h5py.File(tmp_path / "s.h5", "w") as handle:
        handle.create_dataset("x", data=words, dtype=h5py.string_dtype(), chunks=(7,))
        handle.create_dataset("fixed", data=words[:3].astype("S9"))

    def parts(layout: h5py.VirtualLayout) -> None:
        layout[::2] = h5py.VirtualSource("s.h5", "x", words.shape)
        layout[1:30:2] = h5py.VirtualSource("s.h5", "x", words.shape)[15:]

    virtual(tmp_path / "v.h5", (60,), parts, h5py.string_dtype())
    virtual(
        tmp_path / "v.h5",
        (3,),
        every(h5py.VirtualSource("s.h5", "fixed", (3,))),
        "S9",
        name="fixed",
    )
    want = [word.decode() if word else "" for word in by_h5py(tmp_path / "v.h5")]
    assert read_path(tmp_path / "v.h5", "v") == "virtual"
    assert to_dense_array(Hdf5DenseArraySeed(tmp_path / "v.h5", "v", native_order=True)).tolist() == want
    seed = Hdf5DenseArraySeed(tmp_path / "v.h5", "fixed", native_order=True)
    assert to_dense_array(seed).astype("S9").tolist() == [b"", b"a", b"hundred"]


@pytest.mark.parametrize("how", ["virtual", "link"])
def test_sparse_matrices(tmp_path: Path, how: str) -> None:
    import scipy.sparse

    matrix = scipy.sparse.random(300, 200, 0.1, "csc", random_state=1)
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
    with h5py.File(tmp_path / "s.h5", "w") as handle:
        for name, values in parts.items():
            handle.create_dataset(name, data=values, chunks=(101,), compression="gzip")
    path = tmp_path / "v.h5"
    for name, values in parts.items():
        cut = values.size // 3

        def layout_of(layout: h5py.VirtualLayout, name: str = name, values: Any = values, cut: int = cut) -> None:
            layout[:cut] = h5py.VirtualSource("s.h5", name, values.shape)[:cut]
            layout[cut:] = h5py.VirtualSource("s.h5", name, values.shape)[cut:]

        if how == "virtual":
            virtual(path, values.shape, layout_of, values.dtype.str, name=f"m/{name}")
        else:
            with h5py.File(path, "a") as handle:
                handle[f"m/{name}"] = h5py.ExternalLink("s.h5", name)
    x = Hdf5CompressedSparseMatrix(path, "m", shape=matrix.shape, by_column=True)
    dense = matrix.toarray()
    assert_identical(numpy.asarray(x), dense)
    assert_identical(numpy.asarray(x[10:60:3, [3, 100, 199]]), dense[10:60:3][:, [3, 100, 199]])
    for axis in (None, 0, 1):
        numpy.testing.assert_allclose(x.sum(axis=axis), dense.sum(axis=axis))
        numpy.testing.assert_allclose(x.var(axis=axis), dense.var(axis=axis))
    numpy.testing.assert_allclose(x @ numpy.ones(200), dense @ numpy.ones(200))
    assert_identical(numpy.asarray(x), dense)


def test_statistics_and_products(tmp_path: Path) -> None:
    rows = [7, 50, 1, 33]
    rng = numpy.random.default_rng(3)
    parts = [rng.normal(size=(count, 40)) for count in rows]
    for number, part in enumerate(parts):
        write(tmp_path / f"{number}.h5", values=part, chunks=(min(10, len(part)), 16))

    def stacked(layout: h5py.VirtualLayout) -> None:
        begin = 0
        for number, count in enumerate(rows):
            layout[begin : begin + count] = h5py.VirtualSource(f"{number}.h5", "x", (count, 40))
            begin += count

    virtual(tmp_path / "v.h5", (sum(rows), 40), stacked, "<f8")
    want = check(tmp_path / "v.h5")
    assert_identical(want, numpy.concatenate(parts))
    x = Hdf5DenseArray(tmp_path / "v.h5", "v", native_order=True)
    for axis in (None, 0, 1):
        numpy.testing.assert_allclose(x.mean(axis=axis), want.mean(axis=axis))
        numpy.testing.assert_allclose(x.var(axis=axis), want.var(axis=axis))
    numpy.testing.assert_allclose(x @ numpy.eye(40), want)
    numpy.testing.assert_allclose((x[5:70:2] * 2).sum(axis=0), (want[5:70:2] * 2).sum(axis=0))


def test_a_damaged_source_is_named(tmp_path: Path) -> None:
    write(tmp_path / "s.h5", chunks=(4, 30), fletcher32=True)
    virtual(
        tmp_path / "v.h5",
        VALUES.shape,
        every(h5py.VirtualSource("s.h5", "x", VALUES.shape)),
    )
    with h5py.File(tmp_path / "s.h5") as handle:
        place = handle["x"].id.get_chunk_info_by_coord((4, 0)).byte_offset
    with open(tmp_path / "s.h5", "r+b") as file:
        file.seek(place + 5)
        file.write(b"\xff\xff\xff")
    seed = Hdf5DenseArraySeed(tmp_path / "v.h5", "v", native_order=True)
    assert_identical(extract_dense_array(seed, (range(4), range(30))), VALUES[:4])
    with pytest.raises(OSError, match=r"s\.h5"):
        to_dense_array(seed)
    _, damaged = _core.check_dense(os.fspath(tmp_path / "v.h5"), b"v")
    ((_, complaint),) = damaged
    assert "s.h5" in complaint


def test_nothing_leads_out_of_a_file_that_is_not_trusted(tmp_path: Path) -> None:
    write(tmp_path / "secret.h5")
    path = write(tmp_path / "v.h5", "x")
    with h5py.File(path, "a") as handle:
        handle["link"] = h5py.ExternalLink("secret.h5", "x")
    for name, file, source in (
        ("fine", ".", "x"),
        ("linked", ".", "link"),
        ("out", "secret.h5", "x"),
        ("nested", ".", "out"),
    ):
        virtual(
            path,
            VALUES.shape,
            every(h5py.VirtualSource(file, source, VALUES.shape)),
            name=name,
        )
    fine = Hdf5DenseArray(path, "fine", native_order=True, untrusted=True)
    assert_identical(numpy.asarray(fine), VALUES)
    for name in ("linked", "out", "nested"):
        with pytest.raises(OSError, match=r"not trusted|not permitted|denied"):
            numpy.asarray(Hdf5DenseArray(path, name, native_order=True, untrusted=True))


def test_many_sources_need_few_descriptors(tmp_path: Path) -> None:
    for number in range(300):
        with h5py.File(tmp_path / f"{number}.h5", "w") as handle:
            handle["x"] = numpy.arange(10) + number

    def stacked(layout: h5py.VirtualLayout) -> None:
        for number in range(300):
            layout[number] = h5py.VirtualSource(f"{number}.h5", "x", (10,))

    virtual(tmp_path / "v.h5", (300, 10), stacked, "<i8")
    code = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
        import numpy
        from filebackedarray import Hdf5DenseArray
        x = Hdf5DenseArray({str(tmp_path / "v.h5")!r}, "v", native_order=True)
        assert numpy.array_equal(numpy.asarray(x), numpy.arange(10) + numpy.arange(300)[:, None])
        assert x.sum() == {sum(range(300)) * 10 + 300 * 45}
    """
    run_python(code)
    # Nothing stays open.
    before = len(os.listdir("/proc/self/fd"))
    to_dense_array(Hdf5DenseArraySeed(tmp_path / "v.h5", "v", native_order=True))
    assert len(os.listdir("/proc/self/fd")) <= before
