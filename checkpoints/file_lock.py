"""A lock that one process holds at a time, and that the system takes back when it dies."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # its absence is what is stored


@contextlib.contextmanager
def exclusive(path: pathlib.Path) -> Iterator[bool]:
    """Waits until no other process holds `path`, makes that file, and holds it.

    Yields whether it is held: not where the system or the file system has no such locks, and the caller
    must expect others.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # some network file systems
        return False
    return True
