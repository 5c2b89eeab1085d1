"""Messages between a process and its worker: JSON, followed by the bytes of arrays.

Nothing is pickled, since to unpickle what a worker sends would be to trust the file that it has read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy
import numpy.typing

Array = numpy.typing.NDArray[Any]

_LENGTH = struct.Struct("<Q")
_MOST_JSON = 1 << 26
"""Bytes of the JSON of one message: a shape, or a selection that is not of indices."""


def write(stream: BinaryIO, message: dict[str, Any], arrays: Sequence[Array] = ()) -> None:
    """Send a message.

    Args:
        stream: Where to.
        message: What JSON can hold.
        arrays: C-contiguous arrays.
    """
    content = json.dumps({**message, "arrays": [[array.dtype.str, array.size] for array in arrays]}).encode()
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    for array in arrays:
        stream.write(array.reshape(-1).view(numpy.uint8).data)
    stream.flush()


def read(stream: BinaryIO) -> dict[str, Any]:
    """Receive a message; its arrays are still to be read with :py:func:`read_array`, in their order.

    Args:
        stream: Where from.

    Returns:
        The message; under ``arrays`` the dtype and number of elements of each.

    Raises:
        EOFError: If the other process is gone.
        ValueError: If this is no message.
    """
    header = bytearray(_LENGTH.size)
    _fill(stream, memoryview(header))
    (length,) = _LENGTH.unpack(header)
    if length > _MOST_JSON:
        raise ValueError(f"a message of {length} bytes")
    content = bytearray(length)
    _fill(stream, memoryview(content))
    message = json.loads(content)
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message


def read_array(stream: BinaryIO, output: Array) -> None:
    """Receive an array into one that is C-contiguous.

    Args:
        stream: Where from.
        output: An array of the dtype and size that were announced.

    Raises:
        EOFError: If the other process is gone.
    """
    if output.size > 0:
        _fill(stream, output.reshape(-1).view(numpy.uint8).data)


def _fill(stream: BinaryIO, memory: memoryview) -> None:
    while len(memory) > 0:
        count = stream.readinto(memory)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        memory = memory[count:]
