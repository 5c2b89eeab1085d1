"""Files that others lead to: by external links, as sources of virtual datasets, as external storage.

They are a part of what a request reads: never is anything remembered of them that they have changed, and within one
operation each is in one state.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from delayedarray import to_dense_array

from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArray, _core
from filebackedarray._engine.snapshot import bound
from helpers import assert_identical, error_naming


def values(state: int) -> numpy.ndarray:
    return numpy.arange(12.0).reshape(4, 3) + 100 * state


def replace(path: Path, write: Callable[[h5py.File], None]) -> None:
    new = path.with_suffix(".new")
    with h5py.File(new, "w") as handle:
        write(handle)
    os.replace(new, path)


def linked(folder: Path) -> Callable[[int], None]:
    """A link out of the file."""
    with h5py.File(folder / "main.h5", "w") as handle:
        handle["x"] = h5py.ExternalLink("other.h5", "y")

    def write(handle: h5py.File, state: int) -> None:
        handle.create_dataset("y", data=values(state), chunks=(2, 3), compression="gzip")

    return lambda state: replace(folder / "other.h5", lambda handle: write(handle, state))


def linked_back(folder: Path) -> Callable[[int], None]:
    """A link out of the file, to one that leads back."""
    with h5py.File(folder / "main.h5", "w") as handle:
        handle["x"] = h5py.ExternalLink("other.h5", "y")
        for state in range(3):
            handle[f"state{state}"] = values(state)

    def write(handle: h5py.File, state: int) -> None:
        handle["y"] = h5py.ExternalLink("main.h5", f"state{state}")

    return lambda state: replace(folder / "other.h5", lambda handle: write(handle, state))


def linked_to_the_first_that_is_there(folder: Path) -> Callable[[int], None]:
    """A link by an absolute path to a file that is not there: one beside the file is taken, until it is."""
    absent = folder / "away" / "other.h5"
    absent.parent.mkdir()
    with h5py.File(folder / "main.h5", "w") as handle:
        handle["x"] = h5py.ExternalLink(str(absent), "y")
    with h5py.File(folder / "other.h5", "w") as handle:
        handle["y"] = values(0)

    def change(state: int) -> None:
        if state > 0:
            replace(absent, lambda handle: handle.create_dataset("y", data=values(state)))

    return change


def mapped(folder: Path) -> Callable[[int], None]:
    """A virtual dataset."""
    layout = h5py.VirtualLayout((4, 3), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "y", (4, 3))
    with h5py.File(folder / "main.h5", "w") as handle:
        handle.create_virtual_dataset("x", layout)
    return lambda state: replace(folder / "other.h5", lambda handle: handle.create_dataset("y", data=values(state)))


def mapped_twice(folder: Path) -> Callable[[int], None]:
    """A virtual dataset of one that is virtual itself."""
    for name, source in (("main.h5", "between.h5"), ("between.h5", "other.h5")):
        layout = h5py.VirtualLayout((4, 3), "f8")
        layout[:] = h5py.VirtualSource(source, "x", (4, 3))
        with h5py.File(folder / name, "w") as handle:
            handle.create_virtual_dataset("x", layout)
    return lambda state: replace(folder / "other.h5", lambda handle: handle.create_dataset("x", data=values(state)))


def mapped_to_a_link(folder: Path) -> Callable[[int], None]:
    """A virtual dataset whose source is behind a link."""
    layout = h5py.VirtualLayout((4, 3), "f8")
    layout[:] = h5py.VirtualSource("between.h5", "x", (4, 3))
    with h5py.File(folder / "main.h5", "w") as handle:
        handle.create_virtual_dataset("x", layout)
    with h5py.File(folder / "between.h5", "w") as handle:
        handle["x"] = h5py.ExternalLink("other.h5", "x")
    return lambda state: replace(folder / "other.h5", lambda handle: handle.create_dataset("x", data=values(state)))


def mapped_by_number(folder: Path) -> Callable[[int], None]:
    """A virtual dataset of files with numbers in their names."""
    with h5py.File(folder / "main.h5", "w") as handle:
        space = h5py.h5s.create_simple((4, 3), (h5py.h5s.UNLIMITED, 3))
        space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), stride=(2, 3), block=(2, 3))
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_virtual(space, b"part%b.h5", b"y", h5py.h5s.create_simple((2, 3)))
        whole = h5py.h5s.create_simple((4, 3), (h5py.h5s.UNLIMITED, 3))
        h5py.h5d.create(handle.id, b"x", h5py.h5t.IEEE_F64LE, whole, plist)

    def change(state: int) -> None:
        for number in range(2):
            part = values(state)[2 * number : 2 * number + 2]
            replace(folder / f"part{number}.h5", lambda handle, part=part: handle.create_dataset("y", data=part))

    return change


def external(folder: Path) -> Callable[[int], None]:
    """Values in a file that is none of HDF5's."""
    raw = folder / "raw.bin"
    raw.write_bytes(b"")
    with h5py.File(folder / "main.h5", "w") as handle:
        handle.create_dataset("x", (4, 3), "f8", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])

    def change(state: int) -> None:
        new = folder / "raw.new"
        new.write_bytes(values(state).tobytes())
        os.replace(new, raw)

    return change


WAYS = (
    linked,
    linked_back,
    linked_to_the_first_that_is_there,
    mapped,
    mapped_twice,
    mapped_to_a_link,
    mapped_by_number,
    external,
)
each_way = pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])


@each_way
def test_nothing_is_remembered_of_another_file(tmp_path: Path, way: Callable[[Path], Callable[[int], None]]) -> None:
    change = way(tmp_path)
    change(0)
    x = Hdf5DenseArray(tmp_path / "main.h5", "x", native_order=True)
    for state in (0, 1, 2):
        change(state)
        assert_identical(numpy.asarray(x), values(state))
        assert_identical(numpy.asarray(x[1:3, :1]), values(state)[1:3, :1])
        assert x.sum() == values(state).sum()


@each_way
def test_one_operation_finds_one_state_of_it(tmp_path: Path, way: Callable[[Path], Callable[[int], None]]) -> None:
    change = way(tmp_path)
    change(0)
    x = Hdf5DenseArray(tmp_path / "main.h5", "x", native_order=True)
    with failing("changed while") as snapshot:
        assert_identical(numpy.asarray(x), values(0))
        assert_identical(numpy.asarray(x), values(0))
        change(1)
        with pytest.raises(OSError, match="changed while one operation read it"):
            numpy.asarray(x)
    states = snapshot.states()
    assert len(states) >= 2
    assert_identical(numpy.asarray(x), values(1))
    # The same, as a task on another machine has it.
    with failing("changed after", _core.Snapshot()) as elsewhere:
        elsewhere.expect(states)
        with pytest.raises(OSError, match="changed after the array that reads it was made"):
            numpy.asarray(x)


@contextmanager
def failing(match: str, *snapshot: Any) -> Iterator[Any]:
    """One operation, which fails at its end since a part of it did."""
    with pytest.raises(OSError, match=match), bound(*snapshot) as found:
        yield found


@pytest.mark.parametrize("member", ["data", "indices", "indptr"])
@pytest.mark.parametrize("way", ["link", "virtual", "raw"])
def test_members_of_matrices_in_other_files(tmp_path: Path, member: str, way: str) -> None:
    states = [
        {"data": numpy.arange(1.0, 7.0), "indices": numpy.arange(6), "indptr": numpy.array([0, 3, 6])},
        {
            "data": numpy.arange(11.0, 17.0),
            "indices": numpy.array([0, 1, 2, 0, 1, 5]),
            "indptr": numpy.array([0, 3, 6]),
        },
    ]
    if member == "indptr":
        states[1] = {**states[0], "indptr": numpy.array([0, 6, 6])}
    other = tmp_path / "other"

    def change(state: int) -> None:
        if way == "raw":
            new = tmp_path / "new"
            new.write_bytes(states[state][member].tobytes())
            os.replace(new, other)
        else:
            replace(other, lambda handle: handle.create_dataset("y", data=states[state][member]))

    change(0)
    main = tmp_path / "main.h5"
    with h5py.File(main, "w") as handle:
        for name, content in states[0].items():
            if name != member:
                handle[f"m/{name}"] = states[1][name] if member != "indptr" else content
            elif way == "link":
                handle[f"m/{name}"] = h5py.ExternalLink("other", "y")
            elif way == "raw":
                whole = [(str(other), 0, h5py.h5f.UNLIMITED)]
                handle.create_dataset(f"m/{name}", content.shape, content.dtype, external=whole)
            else:
                layout = h5py.VirtualLayout(content.shape, content.dtype)
                layout[:] = h5py.VirtualSource("other", "y", content.shape)
                handle.create_virtual_dataset(f"m/{name}", layout)
    matrix = Hdf5CompressedSparseMatrix(main, "m", (6, 2), True)

    def expected() -> numpy.ndarray:
        with h5py.File(main) as handle:
            data, indices, indptr = (handle[f"m/{name}"][:] for name in ("data", "indices", "indptr"))
        dense = numpy.zeros((6, 2))
        for column in range(2):
            dense[indices[indptr[column] : indptr[column + 1]], column] = data[indptr[column] : indptr[column + 1]]
        return dense

    seen = []
    for state in (0, 1, 0):
        change(state)
        seen.append(expected())
        assert_identical(to_dense_array(matrix), seen[-1])
        assert_identical(numpy.asarray(matrix.sum(axis=0)), seen[-1].sum(axis=0))
    assert not numpy.array_equal(seen[0], seen[1])
    with failing("changed while"):
        matrix.sum()
        change(1)
        with pytest.raises(OSError, match="changed while one operation read it"):
            matrix.sum()


def test_a_file_that_is_missing_is_a_state_too(tmp_path: Path) -> None:
    # A source that is not there is fill value; that it appears is a change.
    change = mapped(tmp_path)
    x = Hdf5DenseArray(tmp_path / "main.h5", "x", native_order=True)
    with failing("changed while"):
        assert_identical(numpy.asarray(x), numpy.zeros((4, 3)))
        change(0)
        with error_naming(OSError, tmp_path / "other.h5", "changed while one operation read it"):
            numpy.asarray(x)
    assert_identical(numpy.asarray(x), values(0))


def test_another_file_is_waited_for_until_a_change_shows(tmp_path: Path) -> None:
    # Within a tick of the clock that stamps files, a second change may leave no trace.
    change = external(tmp_path)
    raw = tmp_path / "raw.bin"
    change(0)
    time.sleep(0.05)
    x = Hdf5DenseArray(tmp_path / "main.h5", "x", native_order=True)
    for state in range(30):
        with open(raw, "r+b") as handle:
            handle.write(values(state).tobytes())
        assert_identical(numpy.asarray(x), values(state))


def test_groups_and_names_behind_links(tmp_path: Path) -> None:
    # Not only values: what is listed, and attributes.
    main, other = tmp_path / "main.h5", tmp_path / "other.h5"
    with h5py.File(main, "w") as handle:
        handle["g"] = h5py.ExternalLink("other.h5", "g")

    def write(state: int) -> None:
        def content(handle: h5py.File) -> None:
            handle[f"g/x{state}"] = 1.0
            handle["g"].attrs["a"] = state

        replace(other, content)

    def names() -> list[Any]:
        return [_core.members(os.fspath(main), b"g")[0][0], _core.attributes(os.fspath(main), b"g", [b"a"])[0][4]]

    write(0)
    first = names()
    with failing("changed while"):
        assert names() == first
        write(1)
        with error_naming(OSError, other, "changed while one operation read it"):
            names()
    assert names() != first
