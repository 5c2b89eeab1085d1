"""Every block of code in the documentation runs, in the order of its page, in a folder with `docs/example_files.py`'s.

`python` blocks run in one namespace for each page, those with prompts as doctests; `shell` blocks run in bash. What
cannot run is `text`. Output of the tutorial is that of a real file, and compared where that is at hand.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

import real

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").glob("[!_]*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"])
TUTORIAL = ROOT / "docs" / "tutorial.md"
REAL = "c1_10x/scirpy-sdist-0.22.5/liao-2019-covid19"

#: Languages of blocks, besides directives; see above.
LANGUAGES = {"python", "shell", "text"}
FENCE = re.compile(r"^ *(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)\n.*?^ *(?P=fence) *$", re.MULTILINE | re.DOTALL)


def shell(example: sybil.Example) -> str | None:
    """Run a block in bash, with this Python's programs first."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        env={**os.environ, "PATH": search},
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode == 0 else f"exit status {done.returncode}\n{done.stdout}{done.stderr}"


PARSERS = [
    PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE),
    CodeBlockParser("shell", shell),
    SkipParser(),
]


@pytest.fixture(scope="session")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.append(str(ROOT / "docs"))
    import example_files

    folder = tmp_path_factory.mktemp("documentation")
    tutorial = real.location() / REAL / example_files.TUTORIAL
    example_files.write_all(folder, tutorial if tutorial.is_file() else None)
    return folder


@pytest.fixture
def folder(example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the page's own, since pages write files too."""
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    # Pages may set the number of threads and the budget of the cache.
    import filebackedarray

    threads = filebackedarray.get_num_threads()
    budget = filebackedarray.set_cache_budget(512 << 20)
    yield tmp_path
    filebackedarray.set_num_threads(threads)
    filebackedarray.set_cache_budget(budget)


def run(page: Path) -> None:
    for example in sybil.Sybil(PARSERS).parse(page):
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == TUTORIAL and not (real.location() / REAL).is_dir():
        assert not real.is_required()
        # Of a file that is made up, the same code gives other numbers.
        monkeypatch.setattr(doctest.OutputChecker, "check_output", lambda *_: True)
    run(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_says_that_it_is_text(page: Path) -> None:
    found = [match["info"].strip() for match in FENCE.finditer(page.read_text(encoding="utf-8"))]
    assert not [info for info in found if info not in LANGUAGES and not info.startswith("{")]
    assert not [info for info in found if info.startswith("{code")]


@pytest.mark.parametrize(
    "block",
    ["```python\nassert 1 == 2\n```", "```python\n>>> 1 + 1\n3\n```", "```shell\nfalse\n```"],
    ids=["python", "doctest", "shell"],
)
def test_a_wrong_block_is_found(block: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{block}\n")
    with pytest.raises((AssertionError, sybil.example.SybilFailure)):
        run(page)
