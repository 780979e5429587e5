"""The cache of downloaded files: what has its final name there is whole and has the right hash.

files/HASH/NAME     whole files, by the beginning of their sha256
partial/SHA256      beginnings of files, which the next download goes on from
locks/SHA256        held by the process that downloads
indexes/            what hubs listed when they were last asked
"""

import contextlib
import errno
import hashlib
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator

from attokit.checkpoints.address import local_path, public_url
from attokit.checkpoints.file_lock import exclusive
from attokit.checkpoints.record import HubFile
from attokit.checkpoints.transfer import Patience, Progress, download

CACHE = "ATTOKIT_CACHE"
OFFLINE = "ATTOKIT_OFFLINE"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HASH_DIGITS = 16  # enough for a folder; all 64 are checked
_LOG = logging.getLogger(__name__)


class OfflineError(ValueError):
    """Something is not here, and the network may not be asked."""


def cache_folder() -> pathlib.Path:
    """Returns `ATTOKIT_CACHE`, or else `attokit` in the user's folder of caches."""
    chosen = os.environ.get(CACHE)
    if chosen:
        return pathlib.Path(chosen).expanduser().absolute()
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(caches) / "attokit"


def is_offline() -> bool:
    """Returns whether `ATTOKIT_OFFLINE` forbids the network."""
    return os.environ.get(OFFLINE, "0").strip().lower() not in ("", "0", "false", "no")


def describe_file(path: str | pathlib.Path) -> tuple[str, int]:
    """Returns the sha256 and the size of a file, as the table wants them."""
    with pathlib.Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def hash_bytes(content: bytes) -> tuple[str, int]:
    """Returns the sha256 and the size of what a file holds, as `describe_file` does."""
    return hashlib.sha256(content).hexdigest(), len(content)


def cached_path(name: str, file: HubFile) -> pathlib.Path:
    """Returns where a file is, or will be once it is downloaded.

    Args:
      name: Of the file, such as `attonet_d.fashion_mnist.safetensors`; a valid file name.
      file: Where from and which.
    """
    here = local_path(file.source)
    if here is not None:
        return here
    return cache_folder() / "files" / file.sha256[:_HASH_DIGITS] / name


def is_here(name: str, file: HubFile) -> bool:
    """Returns whether a file needs no download, by its size."""
    path = cached_path(name, file)
    return path.is_file() and path.stat().st_size == file.size


def obtain(
    name: str, file: HubFile, *, patience: Patience | None = None, progress: Progress | None = None
) -> pathlib.Path:
    """Returns the path of a file whose size and sha256 were just checked.

    What is far away is downloaded into the cache once, by one process at a time.

    Args:
      name: As for `cached_path`.
      file: Where from and which.
      patience: With a server that fails.
      progress: Told how much has arrived.

    Raises:
      ValueError: if the file cannot be had, or is not the one that belongs to the name; nothing has the
        final name then.
    """
    path = cached_path(name, file)
    if local_path(file.source) is not None:
        return _checked(name, path, file)
    with _said_clearly(name, file):
        if _matches(path, file):
            return path
    if is_offline():
        state = "damaged" if path.exists() else "not in the cache"
        raise OfflineError(
            f"{path} is {state}, and {OFFLINE} is set: unset it, or run attokit download while "
            "there is a network"
        )
    with _said_clearly(name, file):
        for folder in (path.parent, cache_folder() / "partial", cache_folder() / "locks"):
            folder.mkdir(parents=True, exist_ok=True)
        with exclusive(cache_folder() / "locks" / file.sha256) as alone:
            if not _matches(path, file):  # another process may have been at it meanwhile
                own = "" if alone else f".{os.getpid()}"
                partial = cache_folder() / "partial" / f"{file.sha256}{own}"
                _check_room(partial, file)
                try:
                    _complete(name, file, partial, patience or Patience(), progress)
                    partial.replace(path)
                except OSError as err:
                    if err.errno in _FULL:  # the room is others' too
                        partial.unlink(missing_ok=True)
                    raise
    return path


def _checked(name: str, path: pathlib.Path, file: HubFile) -> pathlib.Path:
    """Returns the path of a file that is not in the cache's care."""
    try:
        found = describe_file(path)
    except OSError as err:
        raise ValueError(f"cannot read {name} at {path}: {err.strerror or err}") from err
    if found != (file.sha256, file.size):
        raise ValueError(
            f"{path} is not the file of {name}: {found[1]} bytes with sha256 {found[0]}, "
            f"expected {file.size} with {file.sha256}; fetch or install it again"
        )
    return path


def _matches(path: pathlib.Path, file: HubFile) -> bool:
    try:
        return describe_file(path) == (file.sha256, file.size)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _complete(
    name: str,
    file: HubFile,
    partial: pathlib.Path,
    patience: Patience,
    progress: Progress | None,
) -> None:
    """Makes a partial file the whole one, with the right hash, on disk."""
    url = public_url(file.source)
    resumed = partial.exists() and partial.stat().st_size > 0
    _LOG.info("downloading %s, %s bytes, from %s", name, f"{file.size:,}", url)
    download(url, partial, file.size, patience=patience, progress=progress)
    if not _matches(partial, file):
        found = describe_file(partial)[0]
        partial.unlink()
        if resumed:  # its beginning may have been another file's, or damaged
            return _complete(name, file, partial, patience, progress)
        raise ValueError(
            f"{url} is not the file of {name}: it has sha256 {found}, expected {file.sha256}; it "
            "was altered, and is not kept; tell whoever keeps it"
        )
    with partial.open("rb+") as written:
        os.fsync(written.fileno())


def _check_room(partial: pathlib.Path, file: HubFile) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(partial.parent).free
    if free < file.size - have:
        raise OSError(errno.ENOSPC, f"{free:,} of {file.size - have:,} bytes are free")


@contextlib.contextmanager
def _said_clearly(name: str, file: HubFile) -> Iterator[None]:
    """Turns errors of the file system into ones that name the cure."""
    try:
        yield
    except OSError as err:
        room = "make room there, or set" if err.errno in _FULL else "set"
        raise ValueError(
            f"cannot keep {name} ({file.size:,} bytes) in the cache {cache_folder()}: "
            f"{err.strerror or err}; {room} {CACHE} to a folder that you may write"
        ) from err
