"""Pretrained weights by name: those that come with this version, and those of a hub.

`ATTOKIT_HUB` names a hub: a folder, here or behind an address, that `attokit publish` wrote.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from attokit.checkpoints.address import folder_address, local_path, public_url
from attokit.checkpoints.cache import (
    OFFLINE,
    OfflineError,
    cache_folder,
    is_offline,
    obtain,
)
from attokit.checkpoints.index import INDEX, parse_index
from attokit.checkpoints.published import WEIGHTS
from attokit.checkpoints.record import Weights
from attokit.checkpoints.transfer import Patience, Progress, UnreachableError, read
from attokit.checkpoints.weights import load_weights

HUB = "ATTOKIT_HUB"
_LARGEST_INDEX = 1 << 24
# A hub is asked again after that: one command looks up several names, and many may start at once.
_FRESH_S = 60.0
# For a name that was not there, as one that was published just now.
_JUST_NOW_S = 2.0
_LOG = logging.getLogger(__name__)


def available() -> dict[str, Weights]:
    """Returns all pretrained weights by name: this version's and the hub's.

    A name that both have is this version's: what it means does not depend on the hub.

    Raises:
      ValueError: if `ATTOKIT_HUB` names no hub, or it cannot be read.
    """
    return {**_hub_table(), **WEIGHTS}


def hidden() -> tuple[str, ...]:
    """Returns the names in the hub that mean other weights in this version, sorted."""
    hub = _hub_table()
    return tuple(sorted(n for n in hub.keys() & WEIGHTS if hub[n].sha256 != WEIGHTS[n].sha256))


def names(table: Mapping[str, Weights] | None = None) -> tuple[str, ...]:
    """Returns the names of all pretrained weights, sorted."""
    return tuple(sorted(available() if table is None else table))


def find(name: str) -> Weights | None:
    """Returns the record of pretrained weights, or None if nothing has that name.

    The hub is only asked for what may be there: names with a dot that this version has not.
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    if "." not in name or "/" in name or os.sep in name:
        return None
    return _hub_table().get(name) or _hub_table(_JUST_NOW_S).get(name)


def info(name: str, table: Mapping[str, Weights] | None = None) -> Weights:
    """Returns the record of pretrained weights.

    Raises:
      ValueError: if the name is unknown; the text offers near ones.
    """
    record = find(name) if table is None else table.get(name)
    if record is not None:
        return record
    table = available() if table is None else table
    near = difflib.get_close_matches(name, table, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}" if near else f"there are: {', '.join(names(table))}"
    raise ValueError(f"no weights {name!r}: {hint if table else 'the table is empty'}")


def fetch(
    name: str,
    table: Mapping[str, Weights] | None = None,
    *,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> pathlib.Path:
    """Returns the local path of pretrained weights, after checking size and sha256.

    Weights that are far away are downloaded once, into the cache (`ATTOKIT_CACHE`).

    Args:
      name: A name of the table.
      table: Another table than the published one.
      patience: With a server that fails.
      progress: Told how many bytes have arrived, and how many there are.

    Raises:
      ValueError: if the name is unknown, or the file is missing or altered or cannot be downloaded.
    """
    record = info(name, table)
    return obtain(f"{name}.safetensors", record.file, patience=patience, progress=progress)


def fetch_tflite(
    name: str,
    table: Mapping[str, Weights] | None = None,
    *,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> pathlib.Path:
    """Returns the local path of the file for devices of pretrained weights, as `fetch` does.

    Raises:
      ValueError: as `fetch`, or if there is no such file.
    """
    file = info(name, table).tflite
    if file is None:
        raise ValueError(f"{name} has no .tflite file: attokit export {name} writes one")
    return obtain(f"{name}.tflite", file, patience=patience, progress=progress)


def load(
    name: str,
    like: Mapping[str, Any] | None = None,
    table: Mapping[str, Weights] | None = None,
) -> dict[str, Any]:
    """Returns pretrained variables, such as `load("attonet_d.fashion_mnist")`.

    Args:
      name: A name of the table.
      like: Shapes and dtypes to check against, such as `jax.eval_shape(model.init, ...)`.
      table: Another table than the published one.

    Raises:
      ValueError: if the name is unknown, the file altered, or it does not fit `like`.
    """
    return load_weights(fetch(name, table), like)


def read_hub(
    address: str, *, max_age_s: float = _FRESH_S, patience: Patience | None = None
) -> dict[str, Weights]:
    """Returns the records of a hub.

    Args:
      address: A path or an address, as `ATTOKIT_HUB` has it.
      max_age_s: How old what is known of it may be; older, and it is asked again.
      patience: With a server that fails.

    Raises:
      ValueError: if it is no hub, one of a newer format, or cannot be read.
    """
    folder = folder_address(address)
    source = f"{folder}/{INDEX}"
    here = local_path(source)
    if here is not None:
        content = _read_here(here)
    else:
        content = _read_far(source, max_age_s, patience or Patience())
    return {
        name: dataclasses.replace(
            record,
            source=f"{folder}/{record.source}",
            tflite=None
            if record.tflite is None
            else dataclasses.replace(record.tflite, source=f"{folder}/{record.tflite.source}"),
        )
        for name, record in parse_index(content, source).items()
    }


def _hub_table(max_age_s: float = _FRESH_S) -> dict[str, Weights]:
    address = os.environ.get(HUB, "").strip()
    return read_hub(address, max_age_s=max_age_s) if address else {}


def _read_here(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise ValueError(
            f"cannot read {path}: {err.strerror or err}; give {HUB} a folder that attokit publish "
            "wrote, or an address that begins with https:// or the like"
        ) from err


def _read_far(source: str, max_age_s: float, patience: Patience) -> bytes:
    """Returns an index as it is there, or, without a network, as it was."""
    url = public_url(source)
    kept = cache_folder() / "indexes" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"
    known = _listed_before(kept)
    if known and (is_offline() or 0 <= time.time() - kept.stat().st_mtime < max_age_s):
        return known
    if is_offline():
        raise OfflineError(
            f"the list of {source} is not in the cache, and {OFFLINE} is set: unset it, or run "
            "attokit list --pretrained while there is a network"
        )
    try:
        once = dataclasses.replace(patience, tries=1) if known else patience
        content = read(url, limit=_LARGEST_INDEX, patience=once)
    except UnreachableError as err:
        if known is None:
            raise
        _LOG.warning("%s; going on with what it listed before", err)
        with contextlib.suppress(OSError):
            os.utime(kept)  # or every look-up would wait for it as long
        return known
    parse_index(content, source)  # what is kept can be used
    _keep(kept, content)
    return content


def _listed_before(path: pathlib.Path) -> bytes | None:
    """Returns an index that was kept, if it is there and whole."""
    try:
        content = path.read_bytes()
        parse_index(content, str(path))
    except (OSError, ValueError):
        return None
    return content


def _keep(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all; where the cache cannot be written, it is asked for again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
