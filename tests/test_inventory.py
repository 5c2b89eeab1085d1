"""Every dataset of the real files: the values that the inventory has the hash of, or a documented exception."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest

import compatibility
import real
from isolated import Isolated

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="calls are isolated by fork")


@pytest.fixture(scope="module")
def call() -> Iterator[Isolated]:
    with compatibility.isolated() as isolated:
        yield isolated


def test_the_inventory_is_what_these_tests_were_written_for() -> None:
    # Should the reading of the inventory go wrong, nothing below would run and all would pass.
    real.require()
    rows = [row for rows in compatibility.files().values() for row in rows]
    assert len(compatibility.files()) >= 849
    assert len([row for row in rows if "sha256" in row]) >= 7258
    assert len([row for row in rows if compatibility.is_hostile([row])]) >= 302


@pytest.mark.parametrize("file", compatibility.files(), ids=[ascii(file)[1:-1] for file in compatibility.files()])
def test_file(file: str, call: Isolated, record_property: Callable[[str, object], None]) -> None:
    counts, problems = compatibility.check(file, call)
    # For the table at the end of the run, which conftest.py prints.
    record_property(compatibility.PROPERTY, json.dumps([compatibility.folder_of(file), counts]))
    assert not problems, "\n".join(problems)
