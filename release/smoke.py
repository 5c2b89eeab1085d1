"""Install a distribution into an environment of its own, and try it.

    python release/smoke.py dist/filebackedarray-0.2.0.tar.gz

A source distribution is built into a wheel first, by pip and in isolation, which is left beside it. Then the package is
used with nothing installed but what it asks for, and it is looked whether the wheel brings its licences.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: What every wheel says of its licences.
LICENCES = ["LICENSE", "LICENSES-THIRD-PARTY.txt"]

USE = """
import sys

import delayedarray
import filebackedarray
import numpy

path = sys.argv[1]
dense = filebackedarray.Hdf5DenseArray(path, "chunked", native_order=True)
values = numpy.asarray(dense)
assert values.shape == (20, 13) and values.any()
assert dense.sum() == values.sum()
sparse = filebackedarray.Hdf5CompressedSparseMatrix(path, "matrix", shape=(20, 13), by_column=True)
loaded = delayedarray.to_scipy_sparse_matrix(sparse, "csc")
assert loaded.nnz == 86
numpy.testing.assert_array_equal(loaded.toarray(), numpy.asarray(sparse))
apart = filebackedarray.Hdf5DenseArray(path, "chunked", native_order=True, untrusted=True)
numpy.testing.assert_array_equal(numpy.asarray(apart), values)
try:
    filebackedarray.Hdf5DenseArray(path, "nothing of this name")
except KeyError:
    pass
else:
    raise AssertionError("a dataset that is not there was found")
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
python = sys.version.split()[0] + ("" if gil else " without GIL")
print(f"filebackedarray {filebackedarray.__version__} works in Python {python}")
if len(sys.argv) > 2:
    assert not gil, "the module has turned the GIL on"
"""


def main() -> None:
    """Try one distribution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("distribution", type=Path, help="a wheel or a source distribution")
    parser.add_argument("--without-gil", action="store_true", help="fail if Python has its GIL")
    arguments = parser.parse_args()
    wheel = arguments.distribution.resolve()
    with tempfile.TemporaryDirectory() as folder:
        # Isolated from what is installed here, and from the repository.
        venv.create(Path(folder) / "venv", with_pip=True)
        python = Path(folder) / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        run = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", "--quiet"]
        if wheel.suffix != ".whl":
            subprocess.run([*run, "wheel", "--no-deps", "--wheel-dir", folder, str(wheel)], cwd=folder, check=True)
            (built,) = Path(folder).glob("*.whl")
            wheel = Path(shutil.copy(built, wheel.parent))
        names = zipfile.ZipFile(wheel).namelist()
        missing = [name for name in LICENCES if not any(entry.endswith(f"/licenses/{name}") for entry in names)]
        if missing:
            raise SystemExit(f"{wheel.name} lacks {', '.join(missing)}")
        subprocess.run([*run, "install", str(wheel)], cwd=folder, check=True)
        small = ROOT / "rust" / "tests" / "data" / "small.h5"
        flags = ["--without-gil"] if arguments.without_gil else []
        # A script of its own, since worker processes import what started them.
        script = Path(folder) / "use.py"
        script.write_text(USE, encoding="utf-8")
        subprocess.run([str(python), "-I", str(script), str(small), *flags], cwd=folder, check=True)


if __name__ == "__main__":
    main()
