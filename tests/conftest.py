"""Fixtures, hypothesis profiles, the table of the real files, and how the tests share the machine.

pyproject.toml has them run in several processes (pytest-xdist), `-n 0` in this one. A test marked `alone` measures
time, or watches threads, signals or forks: while it runs, no other test of the run does.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Who starts the tests in the background may have them ignore Ctrl-C, which those of Ctrl-C would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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


#: More processes than these start slower than they help.
MOST_PROCESSES = 16


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: no other test of the run may run meanwhile")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means here: no other processes for tests that are named one by one.

    Else more than there are cores: most tests write a file and read it at once, for which the engine waits until
    the file's times tell it from a later one.
    """
    given = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    if given:
        return int(given)
    if all("::" in argument for argument in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2 * cores, MOST_PROCESSES) if fcntl is not None else 0


# ---- tests that run alone --------------------------------------------------------------------

_FOLDER = pytest.StashKey[str]()
_LOCKS = pytest.StashKey[tuple[int, int]]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the process that hands out the tests: tell another one where the locks of this run are."""
    config = node.config
    if _FOLDER not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="filebackedarray-tests-")
        config.add_cleanup(folder.cleanup)
        config.stash[_FOLDER] = folder.name
    node.workerinput["locks"] = config.stash[_FOLDER]


def pytest_sessionstart(session: pytest.Session) -> None:
    folder = getattr(session.config, "workerinput", {}).get("locks")
    if folder is not None and fcntl is not None:
        first, second = (os.open(os.path.join(folder, name), os.O_CREAT | os.O_RDWR) for name in ("queue", "machine"))
        session.config.stash[_LOCKS] = (first, second)


@contextmanager
def _machine(config: pytest.Config, alone: bool) -> Iterator[None]:
    """Share the machine with the tests of other processes, or have it alone."""
    locks = config.stash.get(_LOCKS, None)
    if locks is None:
        yield
        return
    queue, machine = locks
    # One at a time asks for the machine: who waits to have it alone lets nobody else begin.
    fcntl.flock(queue, fcntl.LOCK_EX)
    try:
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    finally:
        fcntl.flock(queue, fcntl.LOCK_UN)
    try:
        yield
    finally:
        # Not by closing: a process that a test has forked has these files open as well.
        fcntl.flock(machine, fcntl.LOCK_UN)


# First, so that a test's time begins when its turn has come.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with _machine(item.config, item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those that run alone come first and so to one process, while all the others still have everything to do.
    items.sort(key=lambda item: item.get_closest_marker("alone") is None)
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
