"""Fixtures, hypothesis profiles and the place of the real files."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Writing a file per example is slow on the first call and says nothing about the package.
_COMMON = {
    "deadline": None,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
    "print_blob": True,
}
settings.register_profile("fast", max_examples=250, **_COMMON)
settings.register_profile("slow", max_examples=3000, **_COMMON)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or "fast"
settings.load_profile(PROFILE)

#: Seconds after which a test without a limit of its own counts as hung.
TIMEOUT = 120 if PROFILE == "fast" else 7200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture(scope="session")
def fresh_path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A new file name at each call, for tests that write many files.

    Names are never used twice, so that no test depends on how a changed file is recognised;
    those that ask exactly this do it on purpose.
    """
    folder = tmp_path_factory.mktemp("files")
    counter = itertools.count()
    return lambda: folder / f"f{next(counter)}.h5"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What became of the datasets of the real files, as far as test_inventory.py has run."""
    # Not before the end: it registers filters with h5py, which other tests may want to be without.
    import compatibility

    outcomes: dict[str, Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == compatibility.PROPERTY and report.when == "call":
                    folder, counts = json.loads(value)
                    outcomes.setdefault(folder, Counter()).update(counts)
    if outcomes:
        terminalreporter.section("real files")
        for line in compatibility.table(outcomes):
            terminalreporter.line(line)
