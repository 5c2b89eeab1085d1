"""Saving arrays with dolomite."""

import json
import os
import subprocess
import sys

import dolomite_base
import dolomite_matrix  # noqa: F401 (so that saved matrices can be read)
import numpy as np
import pytest
import scipy.sparse
from delayedarray import is_sparse
from summarizedexperiment import SummarizedExperiment

import filebackedarray as fba


@pytest.fixture
def dense(tmp_path):
    return fba.write_array(np.random.default_rng(0).poisson(2, (60, 40)).astype(np.uint16), tmp_path / "d.h5", "x")


@pytest.fixture
def sparse(tmp_path):
    matrix = scipy.sparse.random(60, 40, 0.2, format="csc", random_state=0)
    matrix.data = np.ceil(matrix.data * 9)
    return fba.write_sparse(matrix, tmp_path / "s.h5", "x", dtype="int64")


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x[3:50, ::2], lambda x: np.log1p(x / 2.0), lambda x: x > 1])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_what_is_saved_is_valid_and_the_same(tmp_path, request, kind, make):
    x = make(request.getfixturevalue(kind))
    path = str(tmp_path / "saved")
    dolomite_base.save_object(x, path)
    dolomite_base.validate_object(path)
    said = json.loads((tmp_path / "saved" / "OBJECT").read_text())
    assert said["type"] == ("compressed_sparse_matrix" if is_sparse(x) else "dense_array")
    read = dolomite_base.read_object(path)
    assert np.array_equal(np.asarray(read), np.asarray(x))
    again = fba.open_array(path)
    assert np.array_equal(np.asarray(again), np.asarray(x))
    # By our writer: its temporary files are gone, and chunks are ours.
    assert sorted(os.listdir(path)) == sorted(["OBJECT", "matrix.h5" if is_sparse(x) else "array.h5"])


def test_integers_that_are_too_large_are_numbers(tmp_path):
    values = np.array([[1, 2**40], [-3, 4]])
    dolomite_base.save_object(fba.write_array(values, tmp_path / "x.h5", "x"), str(tmp_path / "saved"))
    assert np.array_equal(np.asarray(dolomite_base.read_object(str(tmp_path / "saved"))), values)


def test_an_experiment_of_our_arrays(tmp_path, sparse, dense):
    experiment = SummarizedExperiment({"counts": sparse, "log": np.log1p(dense / 3.0)})
    path = str(tmp_path / "experiment")
    dolomite_base.save_object(experiment, path)
    dolomite_base.validate_object(path)
    read = dolomite_base.read_object(path)
    for name in ("counts", "log"):
        assert np.array_equal(np.asarray(read.assay(name)), np.asarray(experiment.assay(name)))
    assert np.array_equal(np.asarray(fba.open_array(path, "log")), np.asarray(experiment.assay("log")))


@pytest.mark.parametrize("order", ["filebackedarray, dolomite_base", "dolomite_base, filebackedarray"])
def test_it_does_not_matter_what_is_imported_first(order):
    code = f"""
import {order}, sys
method = dolomite_base.save_object.dispatch(filebackedarray.FileBackedArray)
assert method.__module__.startswith("filebackedarray"), method.__module__
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dolomite_is_not_imported_by_us():
    code = "import filebackedarray, sys; assert not {'dolomite_base', 'h5py'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
