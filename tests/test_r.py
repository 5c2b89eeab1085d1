"""R reads what was written, where R is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "r"))
import reads


def has_r() -> bool:
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(HDF5Array)"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_r(), reason="no Rscript with HDF5Array (Debian: r-bioc-hdf5array)")
@pytest.mark.timeout(300)
def test_r_reads_shapes_values_and_names(tmp_path: Path) -> None:
    files = reads.write(tmp_path)
    said = reads.read(files)
    for what, (_, _, name, values) in files.items():
        found = said[what]
        if what == "`write_h5ad(x)`" and len(found) != 6:
            # HDF5Array 1.26 with rhdf5 2.42 cannot open sparse h5ad files, those that anndata wrote either.
            assert "not of class H5IdComponent" in found[0]
            continue
        assert found[0] == "40x25", what
        assert found[1] == ("double" if values.dtype.kind == "f" else "integer"), what
        assert float(found[2]) == pytest.approx(float(np.ma.sum(values)), rel=1e-12), what
        assert int(found[3]) == int(np.ma.count_masked(values)), what
        assert found[4] == "gene0,gene1", what
        assert found[5] == ("-" if name == "group/y" else "cell0,cell1"), what
