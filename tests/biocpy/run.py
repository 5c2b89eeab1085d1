"""The tests of BiocPy's packages that use hdf5array, with this package in its place.

python tests/biocpy/run.py

Takes them from the source distributions on PyPI of the versions that are installed, which tests/requirements.txt pins,
and runs each suite, unchanged, twice: with this package under the name hdf5array, and with hdf5array itself after
`filebackedarray.accelerate()`. Says how many tests passed; exits with 1 if one did not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PACKAGES = ("dolomite-matrix", "rds2py", "singlecellexperiment")
MODES = {"alias": "filebackedarray as hdf5array", "accelerate": "hdf5array after filebackedarray.accelerate()"}
R_PACKAGES = ("GenomicRanges", "SummarizedExperiment", "SingleCellExperiment", "MultiAssayExperiment")
#: Seconds after which a suite counts as hung; the slowest takes about ten.
TIMEOUT = 600


class Outcome(NamedTuple):
    """What became of a suite."""

    counts: Counter[str]
    skipped: Counter[str]
    """Reasons."""
    seeds: int
    """How many seeds of ours were made."""
    fine: bool
    output: str


def source(package: str, folder: Path) -> Path:
    """The source distribution of the version that is installed; downloaded if it is not there yet."""
    wanted = version(package)
    pattern = f"{package.replace('-', '_')}-{wanted}.tar.gz"
    if not (folder / pattern).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Not ":all:", which would build what the package is built with from source, too.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", package, "--dest", str(folder), f"{package}=={wanted}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not (folder / pattern).is_file():
            raise SystemExit(
                f"the source distribution of {package} {wanted}, which has the tests to run, could not be had from the"
                f" package index:\n{done.stdout}{done.stderr}"
            )
    return folder / pattern


def unpack(archive: Path, folder: Path) -> None:
    """The folder `tests` of a source distribution; not the package, since the one that is installed is tested."""

    def wanted(members: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        for member in members:
            _, _, inside = member.name.partition("/")
            if inside.startswith("tests/") and ".." not in inside.split("/") and (member.isfile() or member.isdir()):
                member.name = inside
                yield member

    with tarfile.open(archive) as members:
        members.extractall(folder, members=wanted(members))
    if not any((folder / "tests").glob("test_*.py")):
        raise SystemExit(f"{archive.name} holds no tests")


def has_r_packages() -> bool:
    """Whether R has the packages that rds2py's tests with R need."""
    code = f"q(status = !all(sapply(c({', '.join(map(repr, R_PACKAGES))}), requireNamespace, quietly = TRUE)))"
    return subprocess.run(["Rscript", "-e", code], capture_output=True, check=False).returncode == 0


def run(folder: Path, mode: str) -> Outcome:
    """Run a suite in the folder that it was unpacked to."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    report, seeds = folder / f"{mode}.xml", folder / f"{mode}.seeds"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        "FILEBACKEDARRAY_BIOCPY": mode,
        "FILEBACKEDARRAY_BIOCPY_SEEDS": str(seeds),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "as_hdf5array", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [f"--junitxml={report}", "tests"]
    # These skip themselves where there is no R, and fail where there is one without the packages that they need.
    with_r = folder / "tests" / "test_roundtrip_r.py"
    lacks_packages = with_r.is_file() and shutil.which("Rscript") is not None and not has_r_packages()
    if lacks_packages:
        command.append(f"--ignore={with_r}")
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        return Outcome(Counter(), Counter(), 0, False, f"no end after {TIMEOUT} s\n{error.stdout!r}")
    if not report.is_file() or not seeds.is_file():
        return Outcome(Counter(), Counter(), 0, False, done.stdout + done.stderr)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        outcome = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        counts[outcome] += 1
        if outcome == "skipped":
            reasons[next(case.iter("skipped")).get("message", "")] += 1
    if lacks_packages:
        reasons[f"R has not all of {', '.join(R_PACKAGES)}: {with_r.name} is left out"] += 1
    made = int(seeds.read_text())
    fine = done.returncode == 0 and counts["passed"] > 0 and (made > 0 or mode != "alias")
    return Outcome(counts, reasons, made, fine, done.stdout + done.stderr)


def main() -> int:
    """Run all suites.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sources", type=Path, default=REPOSITORY / "target" / "biocpy", help="where downloads stay")
    arguments = parser.parse_args()
    archives = {package: source(package, arguments.sources) for package in PACKAGES}
    failed = False
    for mode, title in MODES.items():
        print(f"{title}:")
        for package, archive in archives.items():
            with tempfile.TemporaryDirectory() as folder:
                unpack(archive, Path(folder))
                outcome = run(Path(folder), mode)
            failed |= not outcome.fine
            counts = ", ".join(f"{number} {name}" for name, number in sorted(outcome.counts.items())) or "did not run"
            print(f"  {package} {version(package)}: {counts}; {outcome.seeds} seeds of filebackedarray made")
            for reason, number in outcome.skipped.items():
                print(f"    {number} skipped by the suite: {reason}")
            if not outcome.fine:
                print(outcome.output)
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
