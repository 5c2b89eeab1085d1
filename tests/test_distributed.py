"""Dask over processes of their own, as over machines that share a file system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy
import pytest
from dask.distributed import Client, LocalCluster

import filebackedarray
from filebackedarray import Hdf5CompressedSparseMatrix, Hdf5DenseArray
from helpers import random_compressed

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "dask_statistics.py"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Two processes that run two tasks at once each, in another folder than ours."""
    folder = tmp_path_factory.mktemp("cluster")
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None, local_directory=str(folder)) as cluster,
        Client(cluster, timeout=60) as client,
    ):
        client.run(os.chdir, str(folder))
        yield client


# One test, since tests of one file may run in several processes, each of which would start a cluster.
@pytest.mark.timeout(180)
def test_a_cluster_computes_what_numpy_does(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = numpy.random.default_rng(5).random((60, 40))
    with h5py.File("dense.h5", "w") as handle:
        handle.create_dataset("x", data=data, chunks=(10, 20), compression="gzip")
    matrix = random_compressed((60, 40), True, seed=6)
    matrix.write("sparse.h5", chunks=(50,))
    # By paths that mean something in this folder only.
    dense = Hdf5DenseArray("dense.h5", "x", native_order=True)
    sparse = Hdf5CompressedSparseMatrix("sparse.h5", "m", matrix.shape, True)

    numpy.testing.assert_array_equal(dense.to_dask("2 kB").compute(), data)
    numpy.testing.assert_array_equal((dense.T * 2)[3:30].to_dask("2 kB").compute(), (data.T * 2)[3:30])
    numpy.testing.assert_allclose(dense.to_dask("2 kB").mean(axis=0).compute(), data.mean(axis=0))
    scaled = numpy.log1p(sparse / numpy.arange(1, 41))
    lazy = scaled.to_dask({1: 7}, sparse=True)
    numpy.testing.assert_array_equal(lazy.compute().toarray(), numpy.log1p(matrix.dense() / numpy.arange(1, 41)))
    both = (sparse + dense).to_dask({1: 20})
    numpy.testing.assert_array_equal(both.compute(), matrix.dense() + data)

    # Limits of tasks are theirs: they end with them, and nobody else's work is limited.
    threads = client.run(filebackedarray.get_num_threads)
    assert set(threads.values()) == {filebackedarray.get_num_threads()}

    # What fails on a worker is raised here, as it would be by us.
    lazy = dense.to_dask("2 kB")
    os.unlink("dense.h5")
    with pytest.raises(FileNotFoundError, match=r"dense\.h5"):
        lazy.compute()
    with pytest.raises(FileNotFoundError, match=r"dense\.h5"):
        dense.to_dask()

    # A worker that is gone in the middle: the others do its part.
    def slowly(block: numpy.ndarray) -> numpy.ndarray:
        time.sleep(0.2)
        return block

    before = client.run(os.getpid)
    future = client.compute(sparse.to_dask({1: 2}).map_blocks(slowly))
    time.sleep(0.7)
    assert not future.done()
    os.kill(next(iter(before.values())), getattr(signal, "SIGKILL", signal.SIGTERM))
    numpy.testing.assert_array_equal(future.result(timeout=100), matrix.dense())


@pytest.mark.timeout(180)
def test_the_example_survives_a_killed_worker() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--kill", "--check", "--cells", "400"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "killed worker" in done.stdout
    assert "after 1 of 32 tasks" in done.stdout
    assert "the same as without Dask" in done.stdout
