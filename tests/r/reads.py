"""What R's HDF5Array reads in files that this package wrote.

`python tests/r/reads.py` needs Rscript with HDF5Array (Debian's r-bioc-hdf5array); the table goes into docs/write.md.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse

import filebackedarray as fba

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "write.md"
BEGIN = "<!-- begin of what R reads: python tests/r/reads.py -->"
END = "<!-- end of what R reads -->"
GENES = [f"gene{number}" for number in range(40)]
CELLS = [f"cell{number}" for number in range(25)]


def counts() -> scipy.sparse.csc_matrix:
    """The matrix that is written, of integers."""
    matrix = scipy.sparse.random(40, 25, 0.2, "csc", random_state=0)
    return scipy.sparse.csc_matrix(((np.round(matrix.data * 20) + 1).astype(np.int32), matrix.indices, matrix.indptr))


def write(folder: Path) -> dict[str, tuple[str, Path, str, np.ndarray]]:
    """Write files: for each call how R opens it, its path, the name in it, and the values."""
    matrix = counts()
    values, logs = matrix.toarray(), np.log1p(matrix.toarray())
    names = {"row_names": GENES, "column_names": CELLS}
    fba.write_array(values, folder / "d.h5", "x", dimnames=[GENES, CELLS])
    fba.write_array(logs, folder / "d.h5", "group/y", dimnames=[GENES, None], compression="gzip", level=9)
    masked = np.ma.MaskedArray(values, values == 1)
    fba.write_array(masked, folder / "d.h5", "masked", dimnames=[GENES, CELLS])
    fba.write_tenx(matrix, folder / "t2.h5", version=2, **names)
    fba.write_tenx(matrix, folder / "t3.h5", **names)
    fba.write_h5ad(matrix, folder / "dense.h5ad", layout="dense", **names)
    fba.write_h5ad(matrix, folder / "csr.h5ad", **names)
    return {
        "`write_array(x, dimnames=...)`, integers": ("dense", folder / "d.h5", "x", values),
        "`write_array(x, dimnames=...)`, doubles in a group": ("dense", folder / "d.h5", "group/y", logs),
        "`write_array(x, dimnames=...)`, masked": ("dense", folder / "d.h5", "masked", masked),
        '`write_h5ad(x, layout="dense")`': ("h5ad", folder / "dense.h5ad", "-", values),
        "`write_h5ad(x)`": ("h5ad", folder / "csr.h5ad", "-", values),
        "`write_tenx(x, version=2)`": ("tenx", folder / "t2.h5", "matrix", values),
        "`write_tenx(x)`": ("tenx", folder / "t3.h5", "matrix", values),
    }


def read(files: dict[str, tuple[str, Path, str, np.ndarray]]) -> dict[str, list[str]]:
    """What R says of each: shape, type, sum, missing values, first names; or an error.

    A process for each: after an error, rhdf5 opens nothing any more.
    """
    said = {}
    for what, (kind, path, name, _) in files.items():
        command = ["Rscript", str(HERE / "read.R"), kind, str(path), name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        said[what] = done.stdout.rstrip("\n").split("\t")[1:]
    return said


def main() -> None:
    """Write the table."""
    version = subprocess.run(
        ["Rscript", "-e", 'cat(as.character(packageVersion("HDF5Array")), as.character(packageVersion("rhdf5")))'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder))
        said = read(files)
    opened = {"dense": "HDF5Array", "h5ad": "H5ADMatrix", "tenx": "TENxMatrix"}
    lines = [
        f"HDF5Array {version[0]} with rhdf5 {version[1]}:",
        "",
        "| written by | opened by R's | shape, type | names |",
        "| --- | --- | --- | --- |",
    ]
    for what, (kind, *_) in files.items():
        found = said[what]
        right = [", ".join(found[:2]), "; ".join(found[4:])] if len(found) == 6 else [found[0], ""]
        lines.append(f"| {what} | `{opened[kind]}` | {right[0]} | {right[1]} |")
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
