"""Filters on the libhdf5 path: of libhdf5 beside the engine's, and plugins of every kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy
import pytest
from delayedarray import extract_dense_array, to_dense_array

from chunks import chunk_place, read_chunk
from filebackedarray import Hdf5CompressedSparseMatrixSeed, Hdf5DenseArraySeed
from helpers import assert_identical, assert_libhdf5, damaged_copies, error_naming, read_path, run_python, write_damaged
from isolated import Isolated
from test_filters_plugins import FILTERS, Filter

H5Z_NBIT = 5
SHAPE, CHUNKS = (203, 61), (100, 16)
#: With so few changes that every filter makes them smaller, also after scale-offset.
VALUES = (numpy.arange(203)[:, None] // 20 + numpy.random.default_rng(3).poisson(0.02, SHAPE)).astype("<i4")


def twenty_bits() -> h5py.h5t.TypeIntegerID:
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(20)
    return kind


#: What comes out of nbit and scale-offset is of no whole elements, which these would need.
WHOLE_ELEMENTS = ("bitshuffle", "szip")


def create(path: Path, first: str, options: Filter) -> None:
    """A dataset of `VALUES` with a filter of libhdf5, and then another one."""
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dcpl.set_chunk(CHUNKS)
    kind = h5py.h5t.STD_I32LE

    def of_libhdf5() -> None:
        if first.startswith("nbit"):
            dcpl.set_filter(H5Z_NBIT, h5py.h5z.FLAG_OPTIONAL, ())
        else:
            dcpl.set_scaleoffset(h5py.h5z.SO_INT, 0)

    def of_the_engine() -> None:
        number, values = options["compression"], options.get("compression_opts", ())
        if number == "szip":
            method, pixels = values
            dcpl.set_szip({"nn": h5py.h5z.SZIP_NN_OPTION_MASK, "ec": h5py.h5z.SZIP_EC_OPTION_MASK}[method], pixels)
        elif number == "lzf":
            dcpl.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL, ())
        else:
            dcpl.set_filter(number, h5py.h5z.FLAG_OPTIONAL, tuple(values))

    of_libhdf5()
    of_the_engine()
    if first == "nbit":
        kind = twenty_bits()
    with h5py.File(path, "w") as handle:
        dataset = h5py.h5d.create(handle.id, b"x", kind, h5py.h5s.create_simple(SHAPE), dcpl)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, VALUES)


def check(path: Path) -> None:
    assert_libhdf5(path, "x")
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    assert_identical(to_dense_array(seed), VALUES)
    # A box inside of each chunk, scattered elements, and steps.
    rows, columns = [3, 4, 99, 101, 202], [0, 15, 17, 40, 41, 60]
    assert_identical(extract_dense_array(seed, (rows, columns)), VALUES[numpy.ix_(rows, columns)])
    assert_identical(extract_dense_array(seed, (range(5, 200, 30), range(50, 61))), VALUES[5:200:30, 50:61])
    with h5py.File(path, "r") as handle:
        assert_identical(handle["x"][()], VALUES)


ENGINES: dict[str, Filter] = {"lzf": {"compression": "lzf"}, **FILTERS}


BESIDE = [
    (name, first)
    for name in ENGINES
    for first in ("nbit", "nbit of all bits", "scale-offset")
    # Those that take whole elements cannot follow what makes parts of them.
    if first == "nbit of all bits" or not name.startswith(WHOLE_ELEMENTS)
]


@pytest.mark.parametrize(("name", "first"), BESIDE)
def test_beside_filters_of_libhdf5(tmp_path: Path, name: str, first: str) -> None:
    create(tmp_path / "x.h5", first, ENGINES[name])
    mask, _ = read_chunk(tmp_path / "x.h5", (0, 0))
    if name not in ("blosc-stored", "blosc-blosclz-1"):
        # Otherwise this would test nothing: the filter made nothing smaller, and was left out.
        assert not mask & 0b10
    check(tmp_path / "x.h5")


@pytest.mark.parametrize("name", ["lzf", "zstd", "blosc-lz4-bytes", "bzip2"])
def test_masks_on_the_libhdf5_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.h5"
    create(path, "scale-offset", ENGINES[name])
    changed = VALUES.copy()
    changed[:100, :16] = numpy.arange(1600).reshape(100, 16)
    with h5py.File(path, "a") as handle:
        handle["x"].id.write_direct_chunk((0, 0), changed[:100, :16].tobytes(), 0b11)
    assert_libhdf5(path, "x")
    assert_identical(to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True)), changed)


def test_an_extensible_array_on_the_libhdf5_path(tmp_path: Path) -> None:
    # libhdf5 tells other coordinates for its chunks than they have.
    path = tmp_path / "x.h5"
    rows = numpy.random.default_rng(8).integers(0, 2**15, (40, 4, 60))
    rows[:, :, 30:] = 7
    with h5py.File(path, "w", libver="latest") as handle:
        options: dict[str, object] = {"maxshape": (40, 4, None), "scaleoffset": 0, **ENGINES["zstd"]}
        handle.create_dataset("x", data=rows.astype("<i4"), chunks=(20, 2, 10), **options)
    assert_libhdf5(path, "x")
    assert_identical(to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True)), rows.astype("<i4"))


@pytest.mark.parametrize("name", ENGINES)
def test_sources_of_virtual_datasets(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as handle:
        handle.create_dataset("part", data=VALUES, chunks=CHUNKS, **ENGINES[name])
    # Of one shape, the engine reads them; of another, libhdf5.
    for shape, way in ((SHAPE, "virtual"), ((VALUES.size,), "libhdf5")):
        layout = h5py.VirtualLayout(shape=shape, dtype="<i4")
        source = h5py.VirtualSource(str(tmp_path / "part.h5"), "part", shape=SHAPE)
        layout[:] = source[tuple(slice(extent) for extent in SHAPE)]
        path = tmp_path / f"{way}.h5"
        with h5py.File(path, "w", libver="latest") as handle:
            handle.create_virtual_dataset("x", layout)
        assert read_path(path, "x").startswith(way)
        assert_identical(to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True)), VALUES.reshape(shape))


@pytest.mark.parametrize("name", ["zstd", "lz4", "bitshuffle-lz4", "blosc-lz4-bytes", "blosc2-lz4-bytes", "bzip2"])
def test_damaged_chunks_on_the_libhdf5_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.h5"
    create(path, "nbit of all bits", ENGINES[name])
    with h5py.File(path, "r") as handle:
        mask, stored = handle["x"].id.read_direct_chunk((100, 16))
        info = handle["x"].id.get_chunk_info_by_coord((100, 16))
    if mask:
        pytest.skip("the filter made nothing smaller")
    damages = [(info.byte_offset + byte, bytes([stored[byte] ^ 0xFF])) for byte in range(min(info.size, 300))]
    for damaged in damaged_copies(path, damages):
        try:
            got = to_dense_array(Hdf5DenseArraySeed(damaged, "x", native_order=True))
        except OSError as error:
            # The path has the name of this test in it.
            assert "chunk" in str(error).replace(str(damaged), "")  # noqa: PT017
        else:
            assert got.shape == SHAPE
    check(path)


# ---- plugins -----------------------------------------------------------------------------------

#: A filter that turns around all bits that its parameter says. The declarations are those of H5PLextern.h.
PLUGIN = """
#include <stddef.h>
typedef struct {
    int version, id;
    unsigned encoder_present, decoder_present;
    const char *name;
    void *can_apply, *set_local;
    size_t (*filter)(unsigned, size_t, const unsigned *, size_t, size_t *, void **);
} class2_t;
static size_t turn(unsigned flags, size_t count, const unsigned *values, size_t len, size_t *room, void **buffer) {
    (void)flags, (void)room;
    for (size_t i = 0; i < len; i++) ((unsigned char *)*buffer)[i] ^= count ? values[0] : 0xff;
    return len;
}
static const class2_t TURN = {1, 300, 1, 1, "turn", NULL, NULL, turn};
int H5PLget_plugin_type(void) { return 0; }
const void *H5PLget_plugin_info(void) { return &TURN; }
"""
TURN = 300


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "turn.c").write_text(PLUGIN)
    ending = "dylib" if sys.platform == "darwin" else "so"
    library = str(folder / f"libturn.{ending}")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(folder / "turn.c")], check=True)
    # For h5py, which writes with it and is compared with. The package has a libhdf5 of its own.
    h5py.h5pl.prepend(os.fsencode(folder))
    return folder


#: Reads a dataset in a process with or without plugins: the path that it takes, and the sum or the exception.
READ = """
import sys
from delayedarray import to_dense_array
from filebackedarray import Hdf5DenseArraySeed, _core
for path in sys.argv[1:]:
    try:
        values = to_dense_array(Hdf5DenseArraySeed(path, "x", native_order=True))
        print(_core.read_path(path, b"x"), values.tobytes().hex(), sep="|")
    except Exception as error:
        print(type(error).__name__, error, sep="|")
"""


def read_with(folder: Path | str | None, *paths: Path) -> Iterator[tuple[str, str]]:
    lines = run_python(READ, *paths, env={"HDF5_PLUGIN_PATH": os.fspath(folder or "/nowhere")}).splitlines()
    assert len(lines) == len(paths)
    for line in lines:
        first, _, rest = line.partition("|")
        yield first, rest


def write_turned(path: Path, values: numpy.ndarray, *, optional: bool = False, also: str = "") -> None:
    """Two chunks, the second of which skipped the filter if it is optional."""
    half = len(values) // 2
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dcpl.set_chunk((half,))
    if also == "shuffle":
        dcpl.set_shuffle()
    dcpl.set_filter(TURN, h5py.h5z.FLAG_OPTIONAL if optional else h5py.h5z.FLAG_MANDATORY, (0xA5,))
    if also == "gzip":
        dcpl.set_deflate(4)
    with h5py.File(path, "w") as handle:
        kind = h5py.h5t.py_create(values.dtype)
        dataset = h5py.h5d.create(handle.id, b"x", kind, h5py.h5s.create_simple(values.shape), dcpl)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
        if optional:
            dataset.write_direct_chunk((half,), values[half:].tobytes(), 1)


@pytest.mark.parametrize("also", ["", "shuffle", "gzip"])
@pytest.mark.parametrize("dtype", ["|u1", "<i4", ">f8", "|S3"])
def test_a_plugin_from_the_users_folder(tmp_path: Path, plugins: Path, dtype: str, also: str) -> None:
    path = tmp_path / "x.h5"
    values = (numpy.arange(2000) % 100).astype(dtype)
    write_turned(path, values, also=also)
    if not also:
        assert read_chunk(path, (0,)) == (0, bytes(byte ^ 0xA5 for byte in values[:1000].tobytes()))
    ((way, content),) = read_with(plugins, path)
    assert way.startswith("libhdf5: its filters:")
    assert f"({TURN})" in way
    assert content == values.tobytes().hex()
    ((way, text),) = read_with(None, path)
    assert way == "NotImplementedError"
    for part in (str(path), "'x'", f"({TURN})", "HDF5_PLUGIN_PATH"):
        assert part in text


def test_a_plugin_that_a_chunk_skipped(tmp_path: Path, plugins: Path) -> None:
    path = tmp_path / "x.h5"
    values = numpy.arange(2000, dtype="<i4")
    write_turned(path, values, optional=True)
    ((_, content),) = read_with(plugins, path)
    assert content == values.tobytes().hex()
    # Without the plugin the other chunk is read still.
    assert read_path(path, "x").startswith("none")
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    assert_identical(extract_dense_array(seed, (range(1000, 2000),)), values[1000:])
    with error_naming(NotImplementedError, path, "x", f"({TURN})"):
        extract_dense_array(seed, (range(999, 1001),))


def test_a_plugin_behind_a_virtual_dataset(tmp_path: Path, plugins: Path) -> None:
    values = numpy.arange(2000, dtype="<i4")
    write_turned(tmp_path / "part.h5", values)
    layout = h5py.VirtualLayout(shape=values.shape, dtype="<i4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "part.h5"), "x", shape=values.shape)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as handle:
        handle.create_virtual_dataset("x", layout)
    ((way, content),) = read_with(plugins, path)
    assert way == "virtual"
    assert content == values.tobytes().hex()
    ((way, text),) = read_with(None, path)
    assert way == "NotImplementedError"
    assert "HDF5_PLUGIN_PATH" in text


def test_a_sparse_matrix_by_a_plugin(tmp_path: Path, plugins: Path) -> None:
    path = tmp_path / "x.h5"
    indices = numpy.arange(2000, dtype="<i8") % 40
    write_turned(path, indices)
    with h5py.File(path, "a") as handle:
        handle["m/indices"] = handle["x"]
        handle["m/data"] = numpy.ones(2000)
        handle["m/indptr"] = numpy.arange(0, 2001, 40)
    code = """
        import sys
        from delayedarray import extract_dense_array, extract_sparse_array, to_dense_array
        from filebackedarray import Hdf5CompressedSparseMatrixSeed
        seed = Hdf5CompressedSparseMatrixSeed(sys.argv[1], "m", (40, 50), True)
        assert to_dense_array(seed).sum() == 2000
        assert extract_dense_array(seed, (range(3, 9), range(30, 45))).sum() == 6 * 15
        assert extract_dense_array(seed, ([7], [26])).sum() == 1
    """
    run_python(code, path, env={"HDF5_PLUGIN_PATH": os.fspath(plugins)})
    with error_naming(NotImplementedError, path, "m/indices", f"({TURN})"):
        to_dense_array(Hdf5CompressedSparseMatrixSeed(path, "m", (40, 50), True))


FOREIGN: dict[str, Filter] = {
    "zfp": hdf5plugin.Zfp(reversible=True),
    "sz": hdf5plugin.SZ(absolute=0.01),
    "sz3": hdf5plugin.SZ3(absolute=0.01),
    "sperr": hdf5plugin.Sperr(rate=16),
    "blosc2": hdf5plugin.Blosc2(filters=hdf5plugin.Blosc2.DELTA),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_plugins_of_hdf5plugin(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        values = numpy.linspace(0, 1, 4096, dtype="f4").reshape(64, 64)
        handle.create_dataset("x", data=values, chunks=(32, 32), **FOREIGN[name])
    with h5py.File(path, "r") as handle:
        values = handle["x"][()]
    ((way, content),) = read_with(hdf5plugin.PLUGIN_PATH, path)
    assert way == f"libhdf5: its filters: {name} ({FOREIGN[name]['compression']})"
    assert content == values.tobytes().hex()
    ((way, text),) = read_with(None, path)
    assert way == "NotImplementedError"
    for part in (name, str(FOREIGN[name]["compression"]), "pip install hdf5plugin"):
        assert part in text


@pytest.mark.parametrize("first", ["", "import h5py", "import hdf5plugin"], ids=["alone", "h5py", "hdf5plugin"])
def test_plugins_of_hdf5plugin_are_found(tmp_path: Path, first: str) -> None:
    """Without an environment variable or an import, and beside h5py's libhdf5; never for files that are not trusted."""
    path = tmp_path / "x.h5"
    values = numpy.random.default_rng(5).random((40, 30)).cumsum(axis=0)
    filters: dict[str, Filter] = {
        "zfp": hdf5plugin.Zfp(reversible=True),
        "sz3": hdf5plugin.SZ3(absolute=1e-3),
        "sperr": hdf5plugin.Sperr(peak_signal_to_noise_ratio=80),
        "delta": hdf5plugin.Blosc2(filters=hdf5plugin.Blosc2.DELTA),
    }
    with h5py.File(path, "w") as handle:
        for name, options in filters.items():
            handle.create_dataset(name, data=values, chunks=(20, 30), **options)
        want = {name: handle[name][()] for name in filters}
    numpy.savez(tmp_path / "want.npz", **want)
    code = f"""
        import os, sys
        os.environ.pop("HDF5_PLUGIN_PATH", None)
        {first}
        import numpy
        from filebackedarray import Hdf5DenseArray

        path, wanted = sys.argv[1], numpy.load(sys.argv[2])
        for again in range(2):
            for name in wanted.files:
                x = Hdf5DenseArray(path, name, native_order=True)
                numpy.testing.assert_array_equal(numpy.asarray(x), wanted[name])
                assert x[3, 4] == wanted[name][3, 4]
                assert x.max() == wanted[name].max()
        print("hdf5plugin" in sys.modules)
        for name in wanted.files:
            try:
                print(numpy.asarray(Hdf5DenseArray(path, name, untrusted=True)))
            except NotImplementedError as error:
                print("hdf5plugin" in str(error) and "HDF5_PLUGIN_PATH" in str(error))
        """
    out = run_python(code, path, tmp_path / "want.npz")
    assert out.split() == [str("hdf5plugin" in first), *["True"] * len(filters)]


@pytest.mark.parametrize("name", ["zstd", "blosc-lz4-bytes", "blosc2-lz4-bytes", "bitshuffle-lz4", "lz4", "bzip2"])
def test_plugins_of_filters_that_the_engine_has(tmp_path: Path, name: str) -> None:
    # The direct path does not ask for them; the libhdf5 path takes them first.
    direct, mixed = tmp_path / "direct.h5", tmp_path / "mixed.h5"
    with h5py.File(direct, "w") as handle:
        handle.create_dataset("x", data=VALUES, chunks=CHUNKS, **FILTERS[name])
    create(mixed, "nbit of all bits", FILTERS[name])
    ways, contents = zip(*read_with(hdf5plugin.PLUGIN_PATH, direct, mixed), strict=True)
    assert ways[0] == "direct"
    assert ways[1].startswith("libhdf5")
    assert contents == (VALUES.tobytes().hex(),) * 2


def test_a_chunk_that_only_the_plugin_knows(tmp_path: Path) -> None:
    """The dataset says nothing of Blosc2's delta; its chunk does."""
    values = numpy.arange(4000, dtype="<i4")
    with h5py.File(tmp_path / "delta.h5", "w") as handle:
        delta = hdf5plugin.Blosc2(filters=hdf5plugin.Blosc2.DELTA)
        handle.create_dataset("x", data=values, chunks=(1000,), **delta)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        ordinary = hdf5plugin.Blosc2(filters=hdf5plugin.Blosc2.SHUFFLE)
        dataset = handle.create_dataset("x", data=values, chunks=(1000,), **ordinary)
        for begin in (1000, 3000):
            mask, content = read_chunk(tmp_path / "delta.h5", (begin,))
            assert not mask
            dataset.id.write_direct_chunk((begin,), content, 0)
    seed = Hdf5DenseArraySeed(path, "x", native_order=True)
    assert_identical(extract_dense_array(seed, (range(1000),)), values[:1000])
    ((way, text),) = read_with(None, path)
    assert way == "NotImplementedError"
    for part in (str(path), "'x'", "[1000]", "filter 3", "blosc2 (32026)", "hdf5plugin"):
        assert part in text
    # Found without being named.
    assert_identical(extract_dense_array(seed, (range(500, 1500),)), values[500:1500])
    ((way, content),) = read_with(hdf5plugin.PLUGIN_PATH, path)
    assert way == "direct"
    assert content == values.tobytes().hex()


@pytest.mark.parametrize(
    ("name", "at", "value", "what"),
    [
        ("blosc-lz4-bytes", 2, 0xE1, "codec 7"),
        ("blosc-lz4-bytes", 0, 3, "version 3"),
        ("blosc-lz4-bytes", 1, 9, "version 9"),
        # 97 bytes of the frame's header, then the chunk's.
        ("blosc2-lz4-bytes", 97 + 2, 0xC5, "codec 6"),
        ("blosc2-lz4-bytes", 97 + 0, 7, "version 7"),
        ("blosc2-lz4-bytes", 97 + 31, 1, "dictionary"),
        ("blosc2-lz4-bytes", 97 + 30, 1, "another kind"),
        ("blosc2-lz4-bytes", 25, 0x52, "variable length"),
    ],
)
def test_what_no_blosc_here_knows(tmp_path: Path, name: str, at: int, value: int, what: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as handle:
        handle.create_dataset("x", data=numpy.arange(2000, dtype="<i4") // 3, chunks=(1000,), **FILTERS[name])
    start, _ = chunk_place(path, (1000,))
    write_damaged(path, start + at, bytes([value]))
    number = "32026" if name.startswith("blosc2") else "32001"
    ((way, text),) = read_with(None, path)
    assert way == "NotImplementedError"
    for part in (str(path), "'x'", "[1000]", number, what, "hdf5plugin"):
        assert part in text


# ---- memory ------------------------------------------------------------------------------------


def look(path: str) -> list[object]:
    """Ten elements of a dataset, or the exception, for `Isolated`."""
    try:
        seed = Hdf5DenseArraySeed(path, "x", native_order=True)
        return ["values", extract_dense_array(seed, (range(10, 20),)).tolist()]
    except Exception as error:
        return [type(error).__name__, str(error)]


@pytest.fixture(scope="module")
def call() -> Iterator[Isolated]:
    with Isolated("test_filters_libhdf5", "look") as isolated:
        yield isolated


#: Filters of huge chunks, and which way they are read.
HUGE = {
    "": "direct",
    "gzip": "direct",
    "zstd": "direct",
    "nbit": "libhdf5",
    "nbit gzip": "libhdf5",
    "scale-offset": "libhdf5",
}


def write_huge(path: Path, chunk: int, filters: str, content: bytes | None) -> None:
    """A chunk of so many integers of 20 bits, or of 32."""
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dcpl.set_chunk((chunk,))
    for name in filters.split():
        if name == "nbit":
            dcpl.set_filter(H5Z_NBIT, h5py.h5z.FLAG_OPTIONAL, ())
        elif name == "zstd":
            dcpl.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        elif name == "gzip":
            dcpl.set_deflate(1)
        elif name == "scale-offset":
            dcpl.set_scaleoffset(h5py.h5z.SO_INT, 0)
    kind = twenty_bits() if filters != "scale-offset" else h5py.h5t.STD_I32LE
    with h5py.File(path, "w", libver="latest") as handle:
        space = h5py.h5s.create_simple((chunk,))
        dataset = h5py.h5d.create(handle.id, b"x", kind, space, dcpl)
        if content is not None:
            dataset.write_direct_chunk((0,), content, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="calls are isolated by fork")
@pytest.mark.parametrize("chunk", [2**28, 2**29])
@pytest.mark.parametrize("filters", HUGE)
def test_huge_chunks_that_were_never_written(tmp_path: Path, call: Isolated, filters: str, chunk: int) -> None:
    path = tmp_path / "x.h5"
    write_huge(path, chunk, filters, None)
    assert read_path(path, "x").startswith(HUGE[filters])
    ending = call(str(path), seconds=20, memory=1 << 30)
    assert ending.answer == ["values", [0] * 10], ending


@pytest.mark.skipif(not hasattr(os, "fork"), reason="calls are isolated by fork")
@pytest.mark.parametrize("chunk", [2**28, 2**29])
@pytest.mark.parametrize("filters", [filters for filters in HUGE if filters])
def test_huge_chunks_of_few_bytes(tmp_path: Path, call: Isolated, filters: str, chunk: int) -> None:
    path = tmp_path / "x.h5"
    write_huge(path, chunk, filters, bytes(range(60)))
    assert read_path(path, "x").startswith(HUGE[filters])
    ending = call(str(path), seconds=20, memory=1 << 30)
    assert ending.death is None, ending
    assert ending.answer[0] in ("OSError", "MemoryError")
    if HUGE[filters] == "direct":
        assert f"cannot decode to the {chunk * 4}" in ending.answer[1]
