"""A lock that one process holds at a time, and that the system takes back when it dies."""

import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # its absence is what is stored

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def exclusive(path: pathlib.Path) -> Iterator[bool]:
    """Waits until no other process holds `path`, a file that is made or a folder, and holds it.

    Yields whether it is held: not where the system or the file system has no such locks, and the caller
    must expect others.
    """
    if fcntl is None:
        yield False
        return
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        yield _lock(descriptor, path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: pathlib.Path) -> bool:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.info("waiting for the process that holds %s", path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # some network file systems
        return False
    return True
