"""Write small.h5 and claims.h5: what rust/tests/read.rs expects, written by another implementation.

Run with h5py installed: python rust/tests/data/make.py
"""

from pathlib import Path

import h5py
import numpy
import scipy.sparse


def claims() -> None:
    """Write a file that says there is much more than it holds."""
    with h5py.File(Path(__file__).with_name("claims.h5"), "w", libver="latest") as file:
        file.create_dataset("strings", (1,), "S2000000000", chunks=(1,))
        file.create_dataset("steps", (2**40,), "<f8", chunks=(4,))
        chunk = file.create_dataset("one chunk", (2**33,), "|u1", chunks=(2**31,), compression="gzip")
        chunk.id.write_direct_chunk((0,), b"too little")
        file.create_dataset("contiguous", (2**40,), "<f8")
        file.create_dataset("table", (2**24, 2**24), "<f4", chunks=(1, 1))
        file.create_dataset("names", (2**40,), h5py.string_dtype(), chunks=(1024,))
        file.create_dataset("fields", (2**36,), [("name", "S8"), ("value", "<f4")], chunks=(1024,))
        file.create_dataset("fields of any length", (2**36,), [("name", h5py.string_dtype())], chunks=(1024,))
        # Three elements of a matrix whose other axis is long.
        file["tall/indptr"], file["tall/indices"] = numpy.arange(4), numpy.arange(3)
        file["tall/data"] = numpy.arange(1.0, 4.0)
        file["matrix/indptr"] = numpy.array([0, 2**40, 2**40 + 1, 2**41], "<u8")
        for name in ("data", "indices"):
            file.create_dataset(f"matrix/{name}", (2**41,), "<u4", chunks=(1,))


def main() -> None:
    """Write the files beside this script."""
    claims()
    rows, columns = numpy.indices((20, 13))
    values = (rows * 100 + columns).astype(">i4")
    matrix = scipy.sparse.csc_matrix(numpy.where((rows + columns) % 3 == 0, values, 0))
    with h5py.File(Path(__file__).with_name("small.h5"), "w", libver="v110") as file:
        options = {"compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("chunked", data=values, chunks=(7, 5), **options)
        file.create_dataset("contiguous", data=values)
        partly = file.create_dataset("partly", (20, 13), "<i4", chunks=(7, 5), fillvalue=-1, compression="lzf")
        partly[:7] = values[:7]
        for name in ("data", "indices", "indptr"):
            file.create_dataset(f"matrix/{name}", data=getattr(matrix, name), chunks=(11,), **options)


if __name__ == "__main__":
    main()
