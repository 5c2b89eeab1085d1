"""A pytest plugin for the tests of other packages: this package is, or reads for, the hdf5array that they import.

FILEBACKEDARRAY_BIOCPY says which: "alias" or "accelerate". How many seeds of ours were made goes to the
file that FILEBACKEDARRAY_BIOCPY_SEEDS names.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import filebackedarray

MODE = os.environ["FILEBACKEDARRAY_BIOCPY"]
made = 0


def count(kind: type) -> None:
    """Count the seeds of this package that are made of files."""
    constructor = kind.__init__

    @functools.wraps(constructor)
    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        global made
        constructor(self, *args, **kwargs)
        made += 1

    kind.__init__ = counting


count(filebackedarray.Hdf5DenseArraySeed)
count(filebackedarray.Hdf5CompressedSparseMatrixSeed)

if MODE == "alias":
    # As docs/biocpy.md says.
    sys.modules["hdf5array"] = filebackedarray
elif MODE == "accelerate":
    filebackedarray.accelerate()
else:
    raise ValueError(f"FILEBACKEDARRAY_BIOCPY={MODE}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if MODE == "alias":
        assert sys.modules["hdf5array"] is filebackedarray
        assert not any(name.startswith("hdf5array.") for name in sys.modules), "the real hdf5array was imported"
    Path(os.environ["FILEBACKEDARRAY_BIOCPY_SEEDS"]).write_text(str(made))
