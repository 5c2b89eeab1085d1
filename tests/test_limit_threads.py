"""limit_threads: a limit for the thread that asks, and for those that work on its behalf."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy
import pytest

from filebackedarray import Hdf5DenseArray, get_num_threads, limit_threads, set_num_threads
from filebackedarray._compute import blocks as _blocks


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = set_num_threads(3)
    yield
    set_num_threads(before)


def test_limits_nest_and_end() -> None:
    with limit_threads(2):
        assert get_num_threads() == 2
        with limit_threads(1):
            assert get_num_threads() == 1
        assert get_num_threads() == 2
        with limit_threads(1024):
            assert get_num_threads() == 3
        with pytest.raises(KeyError), limit_threads(1):
            raise KeyError
        assert get_num_threads() == 2
        # What is set for all is not hidden by it.
        assert set_num_threads(5) == 3
        set_num_threads(3)
    assert get_num_threads() == 3


def test_a_limit_is_one_threads_own() -> None:
    seen: list[int] = []
    with limit_threads(1):
        other = threading.Thread(target=lambda: seen.append(get_num_threads()))
        other.start()
        other.join()
    assert seen == [3]


@pytest.mark.parametrize("threads", [0, 1025])
def test_wrong_limits(threads: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 1024"), limit_threads(threads):
        pass
    with pytest.raises(OverflowError), limit_threads(-1):
        pass
    assert get_num_threads() == 3


def test_sweeps_by_blocks_keep_to_it() -> None:
    def evaluate(_: int) -> tuple[int, int]:
        return threading.get_ident(), get_num_threads()

    with limit_threads(1):
        assert set(_blocks.in_order(evaluate, range(20))) == {(threading.get_ident(), 1)}
    with limit_threads(2):
        found = set(_blocks.in_order(evaluate, range(20)))
    assert len({thread for thread, _ in found}) <= 2
    assert {limit for _, limit in found} == {1}
    assert {limit for _, limit in _blocks.in_order(evaluate, range(20))} == {3}


def test_results_do_not_depend_on_it(tmp_path: Path) -> None:
    data = numpy.random.default_rng(3).random((300, 200))
    with h5py.File(tmp_path / "x.h5", "w") as handle:
        handle.create_dataset("x", data=data, chunks=(30, 40), compression="gzip")
    array = Hdf5DenseArray(tmp_path / "x.h5", "x", native_order=True)
    found = []
    for threads in (1, 2, 3):
        with limit_threads(threads):
            found.append([numpy.asarray(array), array.var(axis=0), (array * 2).sum(axis=1), array @ data.T])
    for other in found[1:]:
        for mine, theirs in zip(found[0], other, strict=True):
            numpy.testing.assert_array_equal(mine, theirs)
    numpy.testing.assert_array_equal(found[0][0], data)
