"""The documentation has all that is public, and names what is there."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import filebackedarray

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

PUBLIC = [name for name in filebackedarray.__all__ if not name.startswith("__")]

#: Functions and classes that R's HDF5Array 1.31 exports, but for S4 classes that are made by none of them, methods of
#: base R's generics, and what its NAMESPACE calls internal.
OF_R = [
    "H5FileID",
    "H5File",
    "h5ls",
    "H5DSetDescriptor",
    "destroy_H5DSetDescriptor",
    "get_h5mread_returned_type",
    "h5mread",
    "h5mread_from_reshaped",
    "set_h5dimnames",
    "get_h5dimnames",
    "h5writeDimnames",
    "h5readDimnames",
    "HDF5ArraySeed",
    "HDF5Array",
    "ReshapedHDF5ArraySeed",
    "ReshapedHDF5Array",
    "setHDF5DumpDir",
    "setHDF5DumpFile",
    "lsHDF5DumpFile",
    "setHDF5DumpName",
    "setHDF5DumpChunkLength",
    "setHDF5DumpChunkShape",
    "getHDF5DumpChunkDim",
    "setHDF5DumpCompressionLevel",
    "appendDatasetCreationToHDF5DumpLog",
    "showHDF5DumpLog",
    "HDF5RealizationSink",
    "writeHDF5Array",
    "saveHDF5SummarizedExperiment",
    "loadHDF5SummarizedExperiment",
    "quickResaveHDF5SummarizedExperiment",
    "H5SparseMatrixSeed",
    "H5SparseMatrix",
    "H5ADMatrixSeed",
    "H5ADMatrix",
    "TENxMatrixSeed",
    "TENxMatrix",
    "TENxRealizationSink",
    "writeTENxMatrix",
    "extractNonzeroDataByCol",
    "extractNonzeroDataByRow",
    "dim",
    "t",
    "path",
    "type",
    "extract_array",
    "is_sparse",
    "chunkdim",
    "write_block",
    "sparsity",
    "read_sparse_block",
]


def callables(name: str) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """A public object and its own public methods, each with its documentation."""
    thing = getattr(filebackedarray, name)
    if not inspect.isclass(thing):
        yield name, thing, inspect.getdoc(thing) or ""
        return
    # Fields of a dataclass have a documentation of their own.
    if "__dataclass_fields__" not in vars(thing):
        yield name, thing.__init__, f"{inspect.getdoc(thing)}\n{inspect.getdoc(thing.__init__)}"
    for member, value in vars(thing).items():
        if not member.startswith("_") and inspect.isfunction(value):
            yield f"{name}.{member}", value, inspect.getdoc(value) or ""


@pytest.mark.parametrize("name", PUBLIC)
def test_all_that_is_public_is_in_the_reference(name: str) -> None:
    assert re.search(rf"^\.\. auto(class|function):: {name}$", (DOCS / "reference.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_name_arguments_and_results(name: str) -> None:
    for title, function, text in callables(name):
        assert text, title
        # A method that is like another, or like numpy's, says so.
        if "See :py:" in text:
            continue
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                assert re.search(rf"^\s+{parameter.name}:", text, re.MULTILINE), f"{title}: {parameter.name}"
        returns = inspect.signature(function).return_annotation
        if returns not in (None, "None", inspect.Signature.empty):
            assert "Returns:" in text or "Yields:" in text, title


@pytest.mark.parametrize("name", OF_R)
def test_every_function_of_r_is_in_the_table(name: str) -> None:
    assert re.search(rf"\b{name}\b", (DOCS / "from-r.md").read_text("utf-8"))


def test_the_architecture_names_every_module() -> None:
    text = (DOCS / "architecture.md").read_text("utf-8")
    rooms = [path for path in (ROOT / "python" / "filebackedarray").iterdir() if not path.name.startswith("__")]
    python = {path.stem for path in rooms if path.is_dir() or path.suffix == ".py"}
    rust = {path.stem for path in (ROOT / "rust" / "src").iterdir()} - {"lib"}
    assert [name for name in sorted(python | rust) if not re.search(rf"\b{name}\b", text)] == []


def test_the_architecture_names_no_file_that_is_not_there() -> None:
    text = (DOCS / "architecture.md").read_text("utf-8")
    for path in re.findall(r"`((?:[\w.]+/)+\w+\.\w+)`", text):
        assert any((ROOT / folder / path).exists() for folder in ("", "rust/src", "python")), path
    package = ROOT / "python" / "filebackedarray"
    for name in set(re.findall(r"`(_[a-z_]+(?:\.[a-z_]+)?)(?:\.\w+)?`", text)):
        room, _, module = name.partition(".")
        if room == "_core":
            continue
        assert (package / room).is_dir(), name
        within = "".join(path.read_text("utf-8") for path in (package / room).glob("*.py"))
        assert not module or (package / room / f"{module}.py").exists() or f"def {module}(" in within, name


def test_docstrings_say_what_something_is_in_the_common_order() -> None:
    """No free genitive at the beginning ("Of a block ..."), and no "so many" for a number that has a name."""
    odd = []
    for path in (ROOT / "python" / "filebackedarray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            text = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else ""
            if isinstance(text, str) and re.search(r"^\s*Of\b|\bso many\b", text, re.IGNORECASE):
                odd.append(f"{path.name}:{node.lineno}: {text.strip()[:60]}")
    assert odd == []
