"""The arrays in other libraries, which compute with them what they compute with numpy's."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy
import pytest

import filebackedarray
from filebackedarray import FileBackedArray
from kinds import KINDS, PLAIN, SHAPE, all_kinds


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[FileBackedArray, numpy.ndarray]]:
    return all_kinds(tmp_path_factory.mktemp("protocols"))


def same(got: Any, want: Any) -> None:
    """Equal values of the same type, masked in the same places."""
    got = numpy.asanyarray(got)
    assert got.dtype == want.dtype
    numpy.testing.assert_array_equal(numpy.ma.getmaskarray(got), numpy.ma.getmaskarray(want))
    numpy.testing.assert_allclose(got, want)


# ---- Dask ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_dask(arrays: dict[str, tuple[FileBackedArray, numpy.ndarray]], kind: str) -> None:
    x, data = arrays[kind]
    for lazy in (dask.array.asarray(x), dask.array.asanyarray(x)):
        assert lazy.shape == SHAPE
        same(lazy.compute(), data)
    for chunks in ("auto", (7, 9), -1):
        lazy = dask.array.from_array(x, chunks=chunks)
        same(lazy.compute(), data)
        same((lazy + lazy).compute(), data + data)
    if kind in PLAIN:
        same(
            dask.array.from_array(x, chunks=(7, 9), asarray=True).sum(axis=0).compute(), numpy.asarray(data).sum(axis=0)
        )


def test_no_array_is_taken_for_one_of_dasks() -> None:
    classes = [one for one in vars(filebackedarray).values() if isinstance(one, type)]
    for one in classes:
        assert not (issubclass(one, FileBackedArray) and hasattr(one, "chunks"))
    assert len([one for one in classes if issubclass(one, FileBackedArray)]) >= 7
