"""The main job, on a file of yours or on one made up here.

make demo                         # a matrix in the format of 10x Genomics, made up
make demo FILE=matrix.h5          # one from Cell Ranger
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy
import scipy.sparse
from delayedarray import is_sparse, to_dense_array, to_scipy_sparse_matrix

import filebackedarray


def write_tenx(path: Path, genes: int = 20_000, cells: int = 3_000) -> None:
    """Write counts as Cell Ranger does, and the first thousand genes as a dense dataset beside them."""
    random = numpy.random.default_rng(1)
    popularity = random.lognormal(0, 2, genes)
    popularity /= popularity.sum()
    columns = [numpy.unique(random.choice(genes, size, p=popularity)) for size in random.poisson(2_000, cells)]
    indptr = numpy.concatenate([[0], numpy.cumsum([len(column) for column in columns])])
    indices = numpy.concatenate(columns).astype(numpy.int64)
    data = random.geometric(0.6, len(indices)).astype(numpy.int32)
    matrix = scipy.sparse.csc_matrix((data, indices, indptr), shape=(genes, cells))
    options: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group.create_dataset("data", data=data, chunks=(80_000,), **options)
        group.create_dataset("indices", data=indices, chunks=(80_000,), **options)
        group.create_dataset("indptr", data=indptr, chunks=(80_000,), maxshape=(None,), **options)
        group.create_dataset("shape", data=[genes, cells])
        file.create_dataset("dense", data=matrix[:1000].toarray(), chunks=(100, 100), **options)


def seconds(read: Callable[[], Any]) -> float:
    """The shortest of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        read()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(what: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    """Print how long two ways to read the same took."""
    mine, others = seconds(ours), seconds(theirs)
    print(f"{what}: {mine * 1000:.1f} ms, h5py {others * 1000:.1f} ms: {others / mine:.1f} times as long")


def show_dense(path: Path) -> None:
    """Open, slice and compute on a dense dataset, if there is one named 'dense'."""
    with h5py.File(path) as file:
        if "dense" not in file:
            return
    array = filebackedarray.Hdf5DenseArray(path, "dense", native_order=True)
    print(array)

    def with_h5py() -> Any:
        with h5py.File(path) as file:
            return file["dense"][()]

    print()
    compare("full read of the dense array", lambda: to_dense_array(array), with_h5py)


def show_sparse(path: Path) -> None:
    """Open, slice and compute on the matrix of a 10x file."""
    with h5py.File(path) as file:
        if "matrix" not in file:
            raise SystemExit(f"{path} has no group 'matrix': it is not a file of Cell Ranger 3 or later")
        shape = tuple(int(extent) for extent in file["matrix/shape"][:])
    matrix = filebackedarray.Hdf5CompressedSparseMatrix(path, "matrix", shape=shape, by_column=True)
    print(matrix)

    print("\nA slice, read at once where a dimension is dropped, otherwise delayed:")
    print("matrix[:, 0][:10] =", matrix[:, 0][:10])
    corner = matrix[:5, :4]
    print("matrix[:5, :4] =", corner)

    print("\nA delayed operation; nothing is read before it is needed:")
    scaling = numpy.linspace(1, 2, shape[1])
    transformed = numpy.log1p(matrix / scaling)
    print(transformed)
    print("still sparse:", is_sparse(transformed))

    def with_h5py() -> Any:
        with h5py.File(path) as file:
            group = file["matrix"]
            parts = (group["data"][()], group["indices"][()], group["indptr"][()])
        return scipy.sparse.csc_matrix(parts, shape=shape)

    print()
    compare("full load of the sparse matrix", lambda: to_scipy_sparse_matrix(matrix, "csc"), with_h5py)


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="an HDF5 file of 10x Genomics; default: one made up")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file
        if path is None:
            path = Path(folder) / "demo.h5"
            write_tenx(path)
        elif not path.exists():
            raise SystemExit(f"no such file: {path}")
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {filebackedarray.get_num_threads()} threads\n")
        show_sparse(path)
        print()
        show_dense(path)


if __name__ == "__main__":
    main()
