"""Where the engine runs: in this process, or, for files that are not trusted, in a worker."""

from __future__ import annotations

from .. import _core
from .types import Engine


def engine(untrusted: bool) -> Engine:
    """The engine for a file.

    Args:
        untrusted: Whether the file may have been made to do damage.

    Returns:
        A module with the functions of :py:class:`Engine`.
    """
    if not untrusted:
        return _core
    # Not needed by most, who should not wait for it when they import the package.
    from . import untrusted as in_worker

    return in_worker
