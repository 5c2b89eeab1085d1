"""The files of public projects that stand beside the repository, with their inventory.

They are too many and too varied in licence to be part of it. FILEBACKEDARRAY_REAL_FILES says
where they are if not in `../shared/real` beside the repository; with
FILEBACKEDARRAY_REQUIRE_REAL=1 their absence is a failure, not a reason to skip.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest

FOLDERS = ("c1_10x", "c2_h5ad")


def location() -> Path:
    given = os.environ.get("FILEBACKEDARRAY_REAL_FILES")
    if given:
        return Path(given)
    return Path(__file__).resolve().parents[2] / "shared" / "real"


def is_there() -> bool:
    return (location() / "inventory.jsonl").is_file()


def is_required() -> bool:
    return os.environ.get("FILEBACKEDARRAY_REQUIRE_REAL") == "1"


def require() -> None:
    """Skip a test of files that are not there, or fail it where they have to be."""
    if not is_there():
        reason = f"no real files in {location()} (see tests/real.py)"
        if is_required():
            pytest.fail(reason)
        pytest.skip(reason)


@functools.cache
def lines(name: str) -> list[dict[str, Any]]:
    """The lines of an inventory that are about the folders of single-cell files."""
    if not is_there():
        return []
    with open(location() / name, encoding="utf-8") as handle:
        parsed = [json.loads(line) for line in handle]
    return [line for line in parsed if line["file"].split("/")[0] in FOLDERS]


def identifier(line: dict[str, Any], member: str) -> str:
    """A readable test id: folder, project, file and dataset."""
    folder, project, *rest = line["file"].split("/")
    return f"{folder}/{project}/{rest[-1]}:{line[member]}"
