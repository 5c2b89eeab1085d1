"""Files with some of their bytes changed: any value or a documented exception, in bounded time and memory.

FILEBACKEDARRAY_MUTATIONS says how many mutations there are of each file. `python tests/test_mutations.py CASE NUMBER
FILE` writes the file of one of them, for a debugger.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy
import pytest
import scipy.sparse
from delayedarray import extract_dense_array, extract_sparse_array

import real
from compatibility import documented, files, little_endian, name_of
from filebackedarray import Hdf5CompressedSparseMatrixSeed, Hdf5DenseArraySeed
from helpers import everything
from isolated import Ending, Isolated

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="calls are isolated by fork")

NUMBER = int(os.environ.get("FILEBACKEDARRAY_MUTATIONS") or 60)
MEMORY = 2 << 30
SECONDS = 10.0

#: Mutations, as (case, number), of which libhdf5 is known to die, each with where it does.
KNOWN_DEATHS: dict[tuple[str, int], str] = {}

REAL = (
    "c1_10x/waldronlab+VisiumIO/binned_outputs/square_002um/filtered_feature_bc_matrix.h5",
    "c2_h5ad/bnprks+BPCells/mini_mat.anndata-v0.10.9.h5ad",
    "c2_h5ad/scverse+scvi-tools/tests/test_data/TM_droplet_mat.h5ad",
    "c3_loom/linnarsson-lab+loompy/test.loom",
    "c4_r/made-with-bioconductor/rhdf5.h5",
    "c5_netcdf/pyfive-sdist-1.3.0/issue23_A.nc",
    "c5_pytables/PyTables+PyTables/tests/b2nd-no-chunkshape.h5",
    "c5_matlab/JuliaIO+MAT.jl/v7.3/cell.mat",
    "c5_libhdf5/hdf5-1.10.8/tools/testfiles/tfilters.h5",
    "c5_readers/jamesmudd+jhdf/fletcher32_datasets_latest.hdf5",
    "c5_readers/jamesmudd+jhdf/bitshuffle_datasets.hdf5",
    "c5_domain/deeptools+HiCExplorer/hicexplorer/test/test_data/R1_R2_1000.h5",
)


Extent = tuple[int, int]


@dataclass
class Case:
    """A file to be mutated, and what is in it."""

    content: bytes
    #: Names of datasets.
    names: list[str]
    #: Group, shape and whether by column.
    matrices: list[tuple[str, tuple[int, int], bool]] = field(default_factory=list)
    #: Begin and end of each chunk, all of which have checksums.
    protected: list[Extent] = field(default_factory=list)


def real_case(file: str) -> Case:
    names = [str(name_of(row)) for row in files()[file] if row.get("read") == "ok"]
    with open(real.location() / "sparse.jsonl", encoding="utf-8") as handle:
        lines = [line for line in map(json.loads, handle) if line["file"] == file]
    matrices = [
        (line["group"], tuple(line["shape"]), line["orientation"].startswith("csc"))
        for line in lines
        if line.get("orientation")
    ]
    return Case((real.location() / file).read_bytes(), names, matrices)


def made(fill: Callable[[h5py.File], None], libver: str = "earliest") -> Case:
    names = []
    protected: list[Extent] = []
    unprotected = 0

    def look(name: str, item: h5py.Dataset | h5py.Group) -> None:
        nonlocal unprotected
        if isinstance(item, h5py.Dataset):
            names.append(name)
            unprotected += not item.fletcher32
            if item.fletcher32:
                chunks = [item.id.get_chunk_info(i) for i in range(item.id.get_num_chunks())]
                protected.extend((chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.h5"
        with h5py.File(path, "w", libver=libver) as handle:
            fill(handle)
        with h5py.File(path, "r") as handle:
            handle.visititems(look)
        return Case(path.read_bytes(), names, protected=[] if unprotected else protected)


def values() -> numpy.ndarray:
    return numpy.random.default_rng(4).poisson(3, (60, 50)).astype("i4")


def deflated_with_checksums(handle: h5py.File) -> None:
    handle.create_dataset("x", data=values(), chunks=(16, 16), compression="gzip", shuffle=True, fletcher32=True)


def with_checksums(handle: h5py.File) -> None:
    handle.create_dataset("x", data=values(), chunks=(16, 16), fletcher32=True)


def decoders(handle: h5py.File) -> None:
    filters = {
        "lzf": "lzf",
        "zstd": hdf5plugin.Zstd(),
        "lz4": hdf5plugin.LZ4(),
        "bzip2": hdf5plugin.BZip2(),
        "blosc": hdf5plugin.Blosc(),
        "blosc-zstd": hdf5plugin.Blosc(cname="zstd"),
        "blosc2": hdf5plugin.Blosc2(),
        "bitshuffle-lz4": hdf5plugin.Bitshuffle(),
        "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    }
    for name, filter_ in filters.items():
        handle.create_dataset(name, data=values(), chunks=(32, 32), compression=filter_)
    handle.create_dataset("szip", data=values(), chunks=(32, 32), compression="szip")
    handle.create_dataset("scale-offset", data=values(), chunks=(32, 32), scaleoffset=True)


def contiguous(handle: h5py.File) -> None:
    handle["i4"] = values()
    handle["f8"] = values().astype("f8")
    handle["scalar"] = 7
    handle["bool"] = values() > 3
    handle["complex"] = values().astype("c16")


def strings(handle: h5py.File) -> None:
    words = [f"word {i} \u00fc" for i in range(100)]
    handle.create_dataset("variable", data=words, dtype=h5py.string_dtype())
    handle.create_dataset("chunked", data=words, dtype=h5py.string_dtype(), chunks=(30,), compression="gzip")
    handle.create_dataset("fixed", data=numpy.array([word.encode() for word in words]))


def indexes(handle: h5py.File) -> None:
    """Each kind of chunk index."""
    handle.create_dataset("single", data=values(), chunks=(60, 50), compression="gzip")
    handle.create_dataset("fixed", data=values(), chunks=(7, 9))
    handle.create_dataset("extensible", data=values(), chunks=(7, 9), maxshape=(None, 50), compression="gzip")
    handle.create_dataset("tree", data=values(), chunks=(7, 9), maxshape=(None, None))


SPARSE = (300, 80)


def compressed(handle: h5py.File) -> None:
    matrix = scipy.sparse.random(*SPARSE, density=0.1, format="csc", random_state=1)
    for member in ("data", "indices", "indptr"):
        part = getattr(matrix, member)
        handle.create_dataset(f"m/{member}", data=part, chunks=(min(500, len(part)),), compression="gzip")


def csc() -> Case:
    case = made(compressed)
    case.matrices.append(("m", SPARSE, True))
    return case


CASES: dict[str, Callable[[], Case]] = {
    "gzip-shuffle-fletcher32": partial(made, deflated_with_checksums),
    "fletcher32": partial(made, with_checksums),
    "fletcher32-latest": partial(made, with_checksums, "latest"),
    "decoders": partial(made, decoders),
    "contiguous": partial(made, contiguous),
    "strings": partial(made, strings),
    "indexes": partial(made, indexes, "latest"),
    "csc": csc,
    **({file: partial(real_case, file) for file in REAL} if real.is_there() else {}),
}

#: What the metadata of a file is recognised by: to mutate these as often as the much larger rest.
SIGNATURES = re.compile(
    rb"\x89HDF|OHDR|OCHK|TREE|SNOD|HEAP|GCOL|FRHP|FHDB|BTHD|BTLF|BTIN|FAHD|FADB|EAHD|EAIB|EADB|EASB"
)
NEAR_SIGNATURE = 400

#: What may be refused of the files before they are mutated: compounds and the like, and filters without a decoder.
REFUSED = ("TypeError", "NotImplementedError")


def mutate(case: Case, name: str, number: int) -> tuple[bytes, Extent, str]:
    """The mutated content, begin and end of what is different, and what has been done."""
    rng = random.Random(f"{name}:{number}")
    content = bytearray(case.content)
    low, high = 0, len(content)
    where = "anywhere"
    if case.protected and rng.random() < 0.6:
        where = "in a chunk"
        low, high = rng.choice(case.protected)
    elif rng.random() < 0.5:
        where = "in metadata"
        low = rng.choice([match.start() for match in SIGNATURES.finditer(case.content)])
        high = min(low + NEAR_SIGNATURE, high)
    kind = rng.choice(["bits", "bits", "byte", "zeros", "splice", "cut"])
    position = rng.randrange(low, high)
    # Zeros have the checksum zero: of a chunk without any other bytes nobody would notice.
    length = min(rng.choice([1, 2, 4, 8, 16, 64, 512]), high - position, max((high - low) // 2, 1))
    if kind == "bits":
        for _ in range(rng.choice([1, 1, 2, 8])):
            content[rng.randrange(position, position + length)] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        content[position] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif kind == "zeros":
        content[position : position + length] = bytes(length)
    elif kind == "splice":
        source = rng.randrange(len(content) - length + 1)
        content[position : position + length] = case.content[source : source + length]
    else:
        del content[position:]
    end = len(case.content) if kind == "cut" else position + length
    return bytes(content), (position, end), f"{kind} {where} at {position}, {length} bytes"


def outcome(read: Callable[[], numpy.ndarray]) -> list[str]:
    try:
        array = read()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # A panic of the engine is a BaseException.
        text = f"{type(error).__name__}: {error}"
        return ["undocumented" if documented(error) is None else "exception", text]
    digest = hashlib.sha256(little_endian(array)).hexdigest()
    return ["values", f"{array.dtype.str} {array.shape} {digest}"]


def same_sums(seed: Any, array: numpy.ndarray, axis: int) -> None:
    """Check what is added up as it is decoded; of integers, since floats differ in their last bits."""
    if array.dtype.kind in "biu":
        numpy.testing.assert_array_equal(seed.sum(axis=axis), array.sum(axis=axis))


def look(argument: list[Any]) -> dict[str, list[str]]:
    """Read everything that is known to be in a file, in a child process."""
    file, names, matrices = argument
    # As external files are looked for, and for messages that say the same everywhere.
    os.chdir(os.path.dirname(file))
    path = os.path.basename(file)

    def dense(name: str) -> numpy.ndarray:
        seed = Hdf5DenseArraySeed(path, name, native_order=True)
        array = extract_dense_array(seed, everything(seed.shape))
        if array.ndim > 0:
            same_sums(seed, array, -1)
        return array

    def sparse(group: str, shape: list[int], by_column: bool, whole: bool) -> numpy.ndarray:
        seed = Hdf5CompressedSparseMatrixSeed(path, group, (shape[0], shape[1]), by_column)
        extract_sparse_array(seed, everything(shape))
        # Of the other axis a part: another way through the engine.
        rows = range(shape[0]) if whole else range(0, shape[0], 3)
        columns = range(min(shape[1], 2000))
        if len(columns) == shape[1]:
            for axis in (0, 1):
                same_sums(seed, extract_dense_array(seed, everything(shape)), axis)
        return extract_dense_array(seed, (rows, columns))

    found = {name: outcome(partial(dense, name)) for name in names}
    for group, shape, by_column in matrices:
        for whole in (True, False):
            found[f"{group} as a matrix, {whole}"] = outcome(partial(sparse, group, shape, by_column, whole))
    return found


def complaints(ending: Ending, truth: dict[str, list[str]], is_protected: bool) -> list[str]:
    if ending.death is not None:
        return [f"{ending.death}\n{ending.last_words}"]
    found = []
    for name, (state, text) in ending.answer.items():
        if state == "undocumented":
            found.append(f"{name}: {text}")
        elif state == "values" and is_protected and [state, text] != truth[name]:
            found.append(f"{name}: wrong values of chunks that have checksums")
    return found


@pytest.fixture(scope="module")
def call() -> Iterator[Isolated]:
    with Isolated("test_mutations", "look") as isolated:
        yield isolated


@pytest.mark.timeout(120 + NUMBER * SECONDS)
@pytest.mark.parametrize("name", CASES)
def test_mutated(name: str, call: Isolated, tmp_path: Path) -> None:
    case = CASES[name]()
    path = tmp_path / "original.h5"
    path.write_bytes(case.content)
    truth = call([os.fspath(path), case.names, case.matrices], seconds=SECONDS, memory=MEMORY).answer
    # Where there is no decoder for a filter, everything is refused.
    assert all(state == "values" or text.startswith(REFUSED) for state, text in truth.values()), truth

    problems = []
    for number in range(NUMBER):
        content, (begin, end), done = mutate(case, name, number)
        path = tmp_path / f"{number}.h5"
        path.write_bytes(content)
        ending = call([os.fspath(path), case.names, case.matrices], seconds=SECONDS, memory=MEMORY)
        path.unlink()
        if ending.death is not None and (name, number) in KNOWN_DEATHS:
            continue
        is_protected = any(low <= begin and end <= high for low, high in case.protected)
        problems += [f"{name} {number} ({done}): {text}" for text in complaints(ending, truth, is_protected)]
    assert not problems, "\n".join(problems)


if __name__ == "__main__":
    _, chosen, which, target = sys.argv
    Path(target).write_bytes(mutate(CASES[chosen](), chosen, int(which))[0])
