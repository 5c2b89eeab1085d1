"""What is in a file: a walk through it, and attributes, against h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest

import real
from filebackedarray._engine import contents as _contents
from helpers import error_naming

TEXT = h5py.string_dtype()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Groups, links of every kind, values of every kind."""
    path = tmp_path / "file.h5"
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = numpy.arange(3)
        other.create_group("g")
    with h5py.File(path, "w") as handle:
        handle["numbers"] = numpy.zeros((3, 4), ">i2")
        handle["text"] = ["a", "b"]
        handle["fixed"] = numpy.array([b"abc", b"d"])
        handle["empty"] = h5py.Empty("f8")
        handle["compound"] = numpy.array([(1, b"a")], [("n", "i4"), ("s", "S3")])
        handle["references"] = numpy.array([handle["text"].ref], h5py.ref_dtype)
        handle["type"] = numpy.dtype("f4")
        handle["a/b/c"] = numpy.float32(1)
        handle["a/loop"] = handle["a"]
        handle["a/b/soft loop"] = h5py.SoftLink("/a")
        handle["hard"] = handle["numbers"]
        handle["nowhere"] = h5py.SoftLink("/not/there")
        handle["out"] = h5py.ExternalLink("other.h5", "/g")
        handle["through"] = h5py.SoftLink("/out")
        handle["na\xefve name"] = 1
    return path


@pytest.fixture(params=[False, True], ids=["trusted", "untrusted"])
def untrusted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_walk(path: Path, untrusted: bool) -> None:
    found = {item.name: (depth, item) for depth, item in _contents.walk(path, untrusted=untrusted)}
    assert {name: item.kind for name, (_, item) in found.items()} == {
        "/": "group",
        "/a": "group",
        "/a/b": "group",
        "/a/b/c": "dataset",
        "/a/b/soft loop": "group",
        "/a/loop": "group",
        "/compound": "dataset",
        "/empty": "dataset",
        "/fixed": "dataset",
        "/hard": "dataset",
        "/na\xefve name": "dataset",
        "/nowhere": "dangling link",
        "/numbers": "dataset",
        "/out": "external link",
        "/references": "dataset",
        "/text": "dataset",
        "/through": "external link",
        "/type": "other",
    }
    assert [name for name, (_, item) in found.items() if item.is_repeated] == ["/a/b/soft loop", "/a/loop", "/numbers"]
    assert [found[name][0] for name in ("/", "/a", "/a/b", "/a/b/c")] == [0, 1, 2, 3]
    numbers, text, fixed = (found[name][1] for name in ("/numbers", "/text", "/fixed"))
    assert (numbers.shape, numbers.dtype) == ((3, 4), numpy.dtype(">i2"))
    assert (text.shape, text.dtype) == ((2,), numpy.dtype(object))
    assert fixed.dtype == numpy.dtype("S3")
    assert found["/empty"][1].shape is None
    compound = found["/compound"][1]
    assert compound.dtype is None
    assert compound.fields == (("n", numpy.dtype("<i4")), ("s", numpy.dtype("S3")))
    assert "compounds" in compound.note
    assert "references" in found["/references"][1].note
    assert found["/a/b/c"][1].shape == ()
    assert found["/a/b/c"][1].basename == "c"


def test_a_part(path: Path) -> None:
    assert [item.name for _, item in _contents.walk(path, "a/b/")] == [
        "/a/b",
        "/a/b/c",
        "/a/b/soft loop",
        "/a/b/soft loop/b",
        "/a/b/soft loop/loop",
    ]
    assert list(_contents.members(path, "//a")) == ["b", "loop"]
    # What is named is followed.
    assert _contents.describe(path, "out").kind == "group"
    with error_naming(OSError, path, "out"):
        _contents.describe(path, "out", untrusted=True)


def test_wrong_names(path: Path, untrusted: bool, tmp_path: Path) -> None:
    for name in ("nothing", "numbers/more", "a/b/d", "nowhere"):
        with error_naming(KeyError, path, name):
            _contents.describe(path, name, untrusted=untrusted)
    with error_naming(KeyError, path, "numbers", "not a group"):
        _contents.members(path, "numbers", untrusted=untrusted)
    with pytest.raises(FileNotFoundError):
        _contents.members(tmp_path / "no", untrusted=untrusted)
    (tmp_path / "text").write_text("text")
    with error_naming(OSError, tmp_path / "text"):
        list(_contents.walk(tmp_path / "text", untrusted=untrusted))


def test_groups_that_are_very_deep(tmp_path: Path) -> None:
    path = tmp_path / "deep.h5"
    with h5py.File(path, "w") as handle:
        handle.create_group("/".join("g" * 150))
    with error_naming(OSError, path, "deep"):
        list(_contents.walk(path))


ATTRIBUTES: dict[str, Any] = {
    "scalar": numpy.int64(7),
    "numbers": numpy.array([[1.5, 2], [3, 4]], ">f4"),
    "flag": numpy.bool_(True),
    "flags": numpy.array([True, False]),
    "string": "tex\xe9t",
    "strings": numpy.array(["a", "", "\xe9"], TEXT),
    "one string": numpy.array(["csr"], TEXT),
    "fixed": numpy.bytes_(b"abc"),
    "many fixed": numpy.array([b"abc", b"d"]),
    "nothing": numpy.zeros((0, 2), "i4"),
    "no strings": numpy.array([], TEXT),
}


def test_attributes(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as handle:
        handle["a/x"] = [1]
        group = handle["a"]
        group.attrs.update(ATTRIBUTES)
        group.attrs["empty"] = h5py.Empty("f8")
        group.attrs["compound"] = numpy.array([(1, 2)], [("n", "i4"), ("m", "i4")])
        group.attrs["reference"] = group["x"].ref
        group.attrs["no reference"] = h5py.Reference()
        lists = numpy.empty(2, object)
        lists[0], lists[1] = numpy.array([group["x"].ref, group.ref], h5py.ref_dtype), numpy.array([], h5py.ref_dtype)
        group.attrs.create("lists", lists, dtype=h5py.vlen_dtype(h5py.ref_dtype))
        long = numpy.array([b" pad ", b"x"], "S6")
        space = h5py.h5t.C_S1.copy()
        space.set_size(6)
        space.set_strpad(h5py.h5t.STR_SPACEPAD)
        made = h5py.h5a.create(group.id, b"padded", space, h5py.h5s.create_simple((2,)))
        made.write(numpy.char.ljust(long, 6), mtype=space)
    names = [*ATTRIBUTES, "empty", "compound", "reference", "no reference", "lists", "padded", "not there", "nul\0"]
    found = _contents.attributes(path, "a", *names, untrusted=untrusted)
    assert list(found) == [*ATTRIBUTES, "reference", "no reference", "lists", "padded"]
    for name in ("scalar", "numbers", "flag", "flags", "nothing"):
        numpy.testing.assert_array_equal(found[name], ATTRIBUTES[name])
        assert found[name].dtype == ATTRIBUTES[name].dtype
    assert found["string"] == "tex\xe9t"
    assert found["strings"].tolist() == ["a", "", "\xe9"]
    assert found["one string"] == "csr"
    assert found["fixed"] == "abc"
    assert found["many fixed"].tolist() == ["abc", "d"]
    assert found["no strings"].shape == (0,)
    assert found["reference"] == ["/a/x"]
    assert found["no reference"] == []
    assert found["lists"].tolist() == [["/a/x", "/a"], []]
    assert found["padded"].tolist() == [" pad", "x"]
    with error_naming(KeyError, path, "b"):
        _contents.attributes(path, "b", "x", untrusted=untrusted)


def test_members_of_compounds(tmp_path: Path, untrusted: bool) -> None:
    path = tmp_path / "file.h5"
    dtype = [("n", "i4"), ("s", "S3"), ("f", "f8"), ("big", ">u2"), ("half", "f2"), ("yes", "?"), ("odd", "V3")]
    with h5py.File(path, "w") as handle:
        fixed = numpy.array([(1, b"a", 2.5, 1, 0.5, True, b""), (2, b"bcd", 3.0, 515, 2, False, b"")], dtype)
        handle["fixed"] = fixed
        handle.create_dataset("chunked", data=fixed, chunks=(1,), compression="gzip")
        handle["text"] = numpy.array([("x\xe9", 1), ("", 2)], [("index", TEXT), ("n", "i4")])
        handle["none"] = numpy.empty(0, fixed.dtype)
        handle["numbers"] = [1]
    for name in ("fixed", "chunked", "none"):
        for member in ("n", "f", "big", "half", "yes"):
            found = _contents.read_field(path, name, member, untrusted=untrusted)
            want = fixed[member][:0] if name == "none" else fixed[member]
            assert found.dtype == want.dtype
            assert found.tolist() == want.tolist()
    for name in ("fixed", "chunked"):
        assert _contents.read_field(path, name, "s", untrusted=untrusted).tolist() == ["a", "bcd"]
    assert _contents.read_field(path, "text", "index", untrusted=untrusted).tolist() == ["x\xe9", ""]
    assert _contents.read_field(path, "none", "s", untrusted=untrusted).tolist() == []
    with error_naming(KeyError, path, "fixed", "member 't'"):
        _contents.read_field(path, "fixed", "t", untrusted=untrusted)
    with error_naming(KeyError, path, "numbers"):
        _contents.read_field(path, "numbers", "s", untrusted=untrusted)
    with pytest.raises(TypeError, match="opaque"):
        _contents.read_field(path, "fixed", "odd", untrusted=untrusted)


def test_real_files_have_what_h5py_finds() -> None:
    real.require()
    count = 0
    for folder in ("c1_10x", "c2_h5ad", "c3_loom", "c4_r", "c5_domain", "c5_matlab"):
        for file in sorted((real.location() / folder).rglob("*")):
            if not (file.is_file() and h5py.is_hdf5(file)):
                continue
            try:
                handle = h5py.File(file)
            except OSError:
                continue
            with handle:
                names: list[str] = []
                handle.visit(names.append)
                want = {name: getattr(handle[name], "shape", "no") for name in names}
            got = {item.name[1:]: item for _, item in _contents.walk(file) if item.name != "/"}
            for name, shape in want.items():
                assert got[name].kind in ("dataset", "group", "other"), (file, name, got[name])
                assert (got[name].shape if got[name].kind == "dataset" else "no") == shape, (file, name)
            count += len(want)
    assert count > 5000


def test_hostile_files_are_walked_in_a_worker() -> None:
    real.require()
    endings = []
    for path in sorted((real.location() / "c6_malformed").rglob("*")):
        if not path.is_file():
            continue
        try:
            for _ in _contents.walk(path, untrusted=True):
                pass
            endings.append("read")
        except (OSError, KeyError) as error:
            endings.append(type(error).__name__)
    assert endings.count("read") > 10
    assert endings.count("OSError") > 10
