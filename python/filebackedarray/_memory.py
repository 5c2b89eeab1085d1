"""Arrays for results, or a MemoryError before it is too late."""

import math
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import numpy.typing


@cache
def machine_memory() -> int | None:
    """Bytes of memory and swap of this machine, or None if it does not tell."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            swap = next(int(line.split()[1]) for line in lines if line.startswith("SwapTotal:"))
    except (OSError, StopIteration):
        swap = 0
    return memory + swap * 1024


def available_memory() -> int | None:
    """Bytes that can be had now without swapping: of this machine, and within the limits of the control group.

    Returns:
        The number; where the system only tells how much there is, that; None if it tells nothing.
    """
    found = []
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            found.append(next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024)
    except (OSError, StopIteration):
        machine = machine_memory()
        if machine is not None:
            found.append(machine)
    found += _left_in_control_groups()
    return min(found, default=None)


def _left_in_control_groups() -> list[int]:
    """What the limits of control groups leave, of this process's own and those above it.

    Versions 1 and 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html#memory). A container sees its own as the root.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage = Path("/sys/fs/cgroup"), "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root, limit, usage = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            try:
                most, used = ((folder / name).read_text(encoding="ascii").strip() for name in (limit, usage))
            except OSError:
                continue
            if most != "max":
                left.append(max(0, int(most) - int(used)))
    return left


def check_fits(shape: Sequence[int], dtype: "numpy.dtype[Any]") -> None:
    """Refuse an array that is larger than memory.

    Args:
        shape: Its shape.
        dtype: Type of its elements.

    Raises:
        MemoryError: If there is not as much memory. Systems that promise more memory than they have would
            otherwise end the process when the array is filled.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = machine_memory()
    if memory is not None and size > memory:
        raise MemoryError(
            f"an array of shape {tuple(shape)} and dtype {dtype} takes {size} bytes, this machine has {memory};"
            " read it in parts"
        )


def allocate(shape: Sequence[int], dtype: "numpy.dtype[Any]", zero: bool = False) -> numpy.typing.NDArray[Any]:
    """Make a C-contiguous array.

    Args:
        shape: Its shape.
        dtype: Type of its elements.
        zero: Whether to fill it with zeros.

    Returns:
        The array.

    Raises:
        MemoryError: If there is not as much memory.
    """
    check_fits(shape, dtype)
    return numpy.zeros(shape, dtype) if zero else numpy.empty(shape, dtype)


def as_bytes(array: numpy.typing.NDArray[Any]) -> numpy.typing.NDArray[numpy.uint8]:
    """The memory of a C-contiguous array, for the engine to write to."""
    return array.reshape(-1).view(numpy.uint8)


def convert(array: numpy.typing.NDArray[Any], dtype: "numpy.dtype[Any]") -> numpy.typing.NDArray[Any]:
    """What the engine does not convert itself, as :py:meth:`numpy.ndarray.astype` does.

    Args:
        array: What the engine read.
        dtype: What is asked for.

    Returns:
        An array of that type; the same if it is already. Bytes become text as UTF-8.

    Raises:
        UnicodeDecodeError: If bytes are not UTF-8.
        ValueError, TypeError: If numpy has no such conversion.
    """
    if array.dtype.kind == "S" and dtype.kind == "U":
        array = numpy.char.decode(array, "utf-8")
    return array.astype(dtype, copy=False)


def engine_dtype(dtype: "numpy.dtype[Any]", stored: "numpy.dtype[Any]") -> "numpy.dtype[Any]":
    """The dtype that the engine should convert to on the way to ``dtype``.

    Args:
        dtype: What is asked for.
        stored: What the file holds.

    Returns:
        ``dtype`` itself if the engine knows it, which converts while it reads; ``stored`` otherwise.
    """
    return dtype if dtype.kind in "biuf" and dtype.itemsize <= 8 and stored.kind in "biuf" else stored


def scipy_dtype(dtype: "numpy.dtype[Any]") -> "numpy.dtype[Any]":
    """The type of values in a sparse matrix of SciPy's, which has none of float16 and of other byte orders.

    Args:
        dtype: A type of numbers or booleans.

    Returns:
        The same in native byte order; float32, which has all values of float16, for that.
    """
    return numpy.dtype(numpy.float32) if dtype.kind == "f" and dtype.itemsize == 2 else dtype.newbyteorder("=")
