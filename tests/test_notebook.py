"""What a notebook shows of an array."""

from __future__ import annotations

import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArray
from filebackedarray._show import html as _notebook
from helpers import random_compressed


class Parsed(HTMLParser):
    """HTML whose tags have to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data

    def said(self) -> dict[str, str]:
        cells = [cell for cell in self.cells if cell]
        return dict(zip(cells[::2], cells[1::2], strict=False))


def test_a_dense_array(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=numpy.zeros((1000, 300)), chunks=(100, 30), compression="gzip", shuffle=True)
        stored = handle["x"].id.get_storage_size()
    array = Hdf5DenseArray(path, "x", native_order=True)
    html = array._repr_html_()
    said = Parsed(html).said()
    assert said["Shape"] == "1000 x 300"
    assert said["Type"] == "float64"
    assert said["Kind"] == "dense"
    assert said["Chunks"] == "100 x 30"
    assert said["Filters"] == "shuffle, deflate 4"
    assert said["In memory"] == "2.3 MiB"
    assert said["In the file"].startswith(f"{stored / 1024:.1f} KiB, {2400000 / stored:.2f} times smaller")
    assert said["File"] == str(path)
    assert said["Name"] == "x"
    svg = html[html.index("<svg") : html.index("</svg>") + 6]
    root = xml.etree.ElementTree.fromstring(svg)
    # Both ends of each axis, and nine edges of chunks between.
    assert len(root.findall("{*}line")) == 2 * 11
    assert [text.text for text in root.findall("{*}text")] == ["300", "1000"]


@pytest.mark.parametrize("by_column", [True, False])
def test_a_sparse_matrix(tmp_path: Path, by_column: bool) -> None:
    matrix = random_compressed((60, 40), by_column, seed=1)
    matrix.write(tmp_path / "x.h5", chunks=(25,), compression="gzip")
    array = Hdf5CompressedSparseMatrix(tmp_path / "x.h5", "m", (60, 40), by_column)
    said = Parsed(array._repr_html_()).said()
    assert said["Kind"] == "sparse"
    assert said["Compressed by"] == ("column" if by_column else "row")
    assert said["Stored elements"] == str(len(matrix.data))
    assert "data 25" in said["Chunks"]
    assert said["Filters"] == "deflate 4"


def test_no_value_is_read(tmp_path: Path) -> None:
    """Arrays larger than any memory, of strings, of operations; and of files that are gone."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("huge", shape=(10**9, 10**9), chunks=(10, 10), dtype="f8")
        handle["strings"] = ["a", "bbb"]
        handle["empty"] = numpy.zeros((0, 5))
        handle["scalar"] = 1
        handle["four"] = numpy.zeros((2, 2, 2, 2))
    huge = Hdf5DenseArray(path, "huge")
    assert Parsed(huge._repr_html_()).said()["In memory"] == "6.9 EiB"
    said = Parsed(Hdf5DenseArray(path, "strings")._repr_html_()).said()
    assert said["Type"] == "strings"
    assert "In memory" not in said
    for name in ("empty", "scalar", "four"):
        assert "svg" not in Parsed(Hdf5DenseArray(path, name)._repr_html_()).tags
    four = Hdf5DenseArray(path, "four")
    assert Parsed((four + 1)._repr_html_()).said()["Operation"] == "UnaryIsometricOpWithArgs"
    path.unlink()
    assert "cannot be read" in Parsed(four._repr_html_()).said()["Stored"]


ODD = ["<script>alert(1)</script>", "a&b", '"quoted"', "line\nfeed", "\x1b[31m", "naïve ☃", "</td></table>"]


@pytest.mark.parametrize("name", ODD)
def test_names_are_escaped(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name.replace("/", "")
    folder.mkdir()
    path = folder / "x.h5"
    name = name.replace("/", "|")
    with h5py.File(path, "w") as handle:
        handle[name] = [1, 2, 3]
    html = Hdf5DenseArray(path, name)._repr_html_()
    parsed = Parsed(html)
    assert "script" not in parsed.tags
    said = parsed.said()
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    assert said["Name"] == printable
    assert "\x1b" not in html


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle[b"\xff<"] = [1]
    html = Hdf5DenseArray(path, "\udcff<")._repr_html_()
    html.encode("utf-8")
    assert Parsed(html).said()["Name"] == "\\udcff<"


@given(
    st.integers(1, 3).flatmap(
        lambda ndim: st.tuples(*[st.tuples(st.integers(1, 10**12), st.integers(1, 10**12)) for _ in range(ndim)])
    )
)
def test_drawings(axes: tuple[tuple[int, int], ...]) -> None:
    """Of any shape: well-formed, of bounded size, and nothing outside of the picture."""
    from delayedarray import RegularTicks

    shape = [extent for extent, _ in axes]
    svg = _notebook.svg(shape, [RegularTicks(min(chunk, extent), extent) for extent, chunk in axes])
    assert len(svg) < 40_000
    root = xml.etree.ElementTree.fromstring(svg)
    left, top, width, height = (float(number) for number in root.attrib["viewBox"].split())
    for line in root.iter("{http://www.w3.org/2000/svg}line"):
        for x, y in (("x1", "y1"), ("x2", "y2")):
            assert left <= float(line.attrib[x]) <= left + width
            assert top <= float(line.attrib[y]) <= top + height
    numbers = [int(text.text or "") for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(numbers) == sorted(shape)
