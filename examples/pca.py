"""Principal components of single-cell counts that stay in the file.

python examples/pca.py                       # a matrix made up, with groups of cells
python examples/pca.py FILE GROUP            # one from Cell Ranger, or any genes x cells in compressed columns

The counts of each cell are divided by its size factor and taken the logarithm of, log1p(x / factor), and each gene is
centred. Neither the normalised matrix nor the centred one, which is dense, ever exists: the first is a delayed array,
whose products are made block by block, and centring takes a vector off a product:

    (Y - mean 1^T) V = Y V - mean (1^T V)

The components are those of a block Krylov subspace, by the method of Halko, Martinsson, Shkolnisky and Tygert (2011),
An algorithm for the principal component analysis of large data sets, SIAM Journal on Scientific Computing 33(5),
2580-2594 (https://doi.org/10.1137/100804139). It takes two products with blocks of vectors in each round, and so two
sweeps over the file, where Lanczos' takes two for each vector, and hundreds of vectors.

That is enough where the leading components stand out. Where they do not, as in counts that are mere noise, few rounds
give a subspace of nearly as much variance but not that of the first components; `--solver svds` runs scipy's solver on
the file until it has converged, in a sweep for each of many hundred vectors.

With --check, the same is done with scipy in memory and compared: with the same method, which tells whether the products
are right, and with what scipy's svds converges to, which tells whether these are the first components.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy
import scipy.linalg
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, svds

import filebackedarray

#: Radians by which the subspace may differ from that of the same method in memory.
LARGEST_ANGLE = 1e-6
Found = tuple[numpy.ndarray, numpy.ndarray]
#: Part of the variance of the best possible components that the ones found should have.
LEAST_VARIANCE = 0.98


def centred(matrix: LinearOperator, mean: numpy.ndarray) -> LinearOperator:
    """Take the mean of each row off a matrix, without its being made."""

    def forward(block: numpy.ndarray) -> Any:
        return matrix @ block - (mean if block.ndim == 1 else mean[:, None]) * block.sum(axis=0)

    def adjoint(block: numpy.ndarray) -> Any:
        return matrix.H @ block - mean @ block

    return LinearOperator(
        matrix.shape, matvec=forward, rmatvec=adjoint, matmat=forward, rmatmat=adjoint, dtype=numpy.float64
    )


def converged(matrix: LinearOperator, count: int) -> Found:
    """Left singular vectors and singular values by scipy's own solver."""
    vectors, values, _ = svds(matrix, count, random_state=0, return_singular_vectors="u")
    return vectors[:, ::-1], values[::-1]


def components(matrix: LinearOperator, count: int, rounds: int) -> Found:
    """Left singular vectors and singular values of a block Krylov subspace."""
    width = count + 10
    block = numpy.random.default_rng(0).standard_normal((matrix.shape[1], width))
    basis = numpy.empty((matrix.shape[0], (rounds + 1) * width), order="F")
    for number in range(rounds + 1):
        if number > 0:
            block = numpy.linalg.qr(matrix.H @ block)[0]
        block = numpy.linalg.qr(matrix @ block)[0]
        basis[:, number * width : (number + 1) * width] = block
    basis = scipy.linalg.qr(basis, overwrite_a=True, mode="economic", check_finite=False)[0]
    # Of the matrix within the subspace only its small triangle is needed.
    triangle = numpy.linalg.qr(matrix.H @ basis, mode="r")
    _, values, vectors = numpy.linalg.svd(triangle)
    return basis @ vectors[:count].T, values[:count]


def from_file(path: Path, group: str, solve: Callable[[LinearOperator], Found]) -> Found:
    """Components of a matrix that stays in its file."""
    with h5py.File(path) as file:
        genes, cells = map(int, file[group]["shape"])
    counts = filebackedarray.Hdf5CompressedSparseMatrix(path, group, (genes, cells), by_column=True)
    sizes = numpy.ones(genes) @ counts
    normalised = numpy.log1p(counts / (sizes / sizes.mean()))
    operator = filebackedarray.as_linear_operator(normalised)
    return solve(centred(operator, operator @ numpy.ones(cells) / cells))


def in_memory(path: Path, group: str) -> LinearOperator:
    """The same matrix as h5py and scipy have it."""
    with h5py.File(path) as file:
        parts = (file[group]["data"][()], file[group]["indices"][()], file[group]["indptr"][()])
        counts = scipy.sparse.csc_matrix(parts, shape=tuple(file[group]["shape"][()]))
    sizes = numpy.asarray(counts.sum(axis=0)).ravel()
    counts = counts.astype(numpy.float64)
    counts.data /= numpy.repeat(sizes / sizes.mean(), numpy.diff(counts.indptr))
    numpy.log1p(counts.data, out=counts.data)
    mean = numpy.asarray(counts.mean(axis=1)).ravel()
    return centred(scipy.sparse.linalg.aslinearoperator(counts), mean)


def write_made_up(path: Path, genes: int, cells: int, groups: int) -> None:
    """Write counts of groups of cells, each of which has genes of its own."""
    random = numpy.random.default_rng(7)
    popularity = random.lognormal(0, 1, (genes, 1)) * random.lognormal(0, 1.5, (genes, groups))
    popularity *= 0.1 * genes / popularity.sum(axis=0)
    columns = (random.poisson(popularity[:, cell % groups] * random.lognormal(0, 0.3)) for cell in range(cells))
    matrix = scipy.sparse.hstack([scipy.sparse.csc_matrix(column[:, None]) for column in columns], "csc")
    with h5py.File(path, "w") as file:
        for name in ("data", "indices", "indptr"):
            file.create_dataset(f"matrix/{name}", data=getattr(matrix, name), compression="gzip", shuffle=True)
        file["matrix/shape"] = matrix.shape


def peak() -> float:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1000


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do something, and print what it took."""
    start = time.perf_counter()
    result = work()
    print(f"{what}: {time.perf_counter() - start:.1f} s, peak of memory {peak():.0f} MB", flush=True)
    return result


def check(path: Path, group: str, found: Found, solve: Callable[[LinearOperator], Found]) -> bool:
    """Compare with what scipy finds in memory."""
    vectors, values = found
    matrix = timed("loaded and normalised in memory", lambda: in_memory(path, group))
    same = timed("the same with scipy in memory", lambda: solve(matrix))
    angle = scipy.linalg.subspace_angles(vectors, same[0])[0]
    print(f"largest angle between the two subspaces: {angle:.1e} radians")
    best, best_values = timed("scipy's svds in memory", lambda: converged(matrix, len(values)))
    variance = (values**2).sum() / (best_values**2).sum()
    to_best = scipy.linalg.subspace_angles(vectors, best)[0]
    print(f"largest angle to scipy's svds: {to_best:.1e} radians; of its variance: {variance:.6f}")
    same_products, enough = angle < LARGEST_ANGLE, LEAST_VARIANCE < variance < 1 + 1e-6
    print(f"products as in memory: {same_products}; as much variance as the first components: {enough}")
    return bool(same_products and enough)


def main() -> int:
    """Find the components and print what it took."""
    parser = argparse.ArgumentParser(description="Principal components of counts that stay in their file.")
    parser.add_argument("file", nargs="?", type=Path, help="HDF5 file; without one, a matrix is made up")
    parser.add_argument("group", nargs="?", default="matrix", help="group of the matrix in it")
    parser.add_argument("--components", type=int, default=50, metavar="N")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="each is two sweeps over the file")
    parser.add_argument("--solver", choices=("krylov", "svds"), default="krylov", help="few sweeps, or until converged")
    parser.add_argument("--check", action="store_true", help="compare with scipy in memory")
    parser.add_argument("--small", action="store_true", help="make up a small matrix, and check")
    arguments = parser.parse_args()
    count, rounds = arguments.components, arguments.rounds

    def solve(matrix: LinearOperator) -> Found:
        return converged(matrix, count) if arguments.solver == "svds" else components(matrix, count, rounds)

    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file
        if path is None:
            path = Path(folder, "counts.h5")
            genes, cells = (400, 300) if arguments.small else (10_000, 5_000)
            write_made_up(path, genes, cells, count + 1)
        print(f"to begin with: peak of memory {peak():.0f} MB")
        found = timed(f"{count} components from the file", lambda: from_file(path, arguments.group, solve))
        print("singular values:", *(f"{value:.1f}" for value in found[1][:5]), "...")
        if arguments.check or arguments.small:
            return 0 if check(path, arguments.group, found, solve) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
