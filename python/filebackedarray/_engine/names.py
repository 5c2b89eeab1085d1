"""Paths and names as the engine takes them."""

import os


def engine_path(path: "str | bytes | os.PathLike[str] | os.PathLike[bytes]") -> str:
    """A path as a string, in which bytes that are not text are kept as surrogates."""
    return os.fsdecode(path)


def engine_name(name: "str | bytes") -> bytes:
    """The bytes of a name in a file. Names that are not UTF-8 hold surrogates, as h5py's do."""
    if isinstance(name, bytes):
        return name
    if not isinstance(name, str):
        raise TypeError(f"the name of a dataset or group should be a string, not {type(name).__name__}")
    return name.encode("utf-8", "surrogateescape")


def text_name(name: "str | bytes") -> str:
    """A name in a file as a string, in which bytes that are not UTF-8 are kept as surrogates."""
    return engine_name(name).decode("utf-8", "surrogateescape")
