"""`index.json`: what a folder of released weights lists, for any server of files.

    {"format": "attokit-hub", "version": 1, "weights": {"MODEL.TAG": {record}, ...}}

A record has the fields of `Weights`; its files are `{"path", "sha256", "size"}`, where the path is one
inside the folder of the index.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from attokit.checkpoints.address import check_relative
from attokit.checkpoints.class_names import FASHION_MNIST
from attokit.checkpoints.record import HubFile, Weights, check_name

INDEX = "index.json"
_FORMAT = "attokit-hub"
_VERSION = 1
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TEXTS = ("model", "recipe", "commit", "license")
_MAYBE_TEXTS = ("quantization", "data")
_MAPPINGS = ("overrides", "preprocessing", "metrics")
# As `attokit train --data` takes it, but for folders: what an index says must not make a reader open one.
_GARMENTS = "|".join(map(re.escape, FASHION_MNIST))  # one has a slash, as paths do
_DATA = re.compile(rf"fashion_mnist_subset|scenes|wake_scenes:(?:{_GARMENTS})|tfds:[\w:/.\-]+")
_FIELDS = frozenset({*_TEXTS, *_MAYBE_TEXTS, *_MAPPINGS, "weights", "tflite"})


def index_text(table: Mapping[str, Weights]) -> str:
    """Returns the text of an index whose records' sources are paths inside its folder."""
    entries = {name: _entry(table[name]) for name in sorted(table)}
    content = {"format": _FORMAT, "version": _VERSION, "weights": entries}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _entry(record: Weights) -> dict[str, Any]:
    plain = {name: getattr(record, name) for name in (*_TEXTS, *_MAYBE_TEXTS)}
    plain |= {name: dict(getattr(record, name)) for name in _MAPPINGS}
    return plain | {
        "weights": _file_entry(record.file),
        "tflite": None if record.tflite is None else _file_entry(record.tflite),
    }


def _file_entry(file: HubFile) -> dict[str, Any]:
    path = check_relative(file.source)
    return {"path": path, "sha256": file.sha256, "size": file.size}


def parse_index(text: str | bytes, where: str) -> dict[str, Weights]:
    """Returns the records of an index, with `path`s as the sources of their files.

    Args:
      text: Its content.
      where: What to call it.

    Raises:
      ValueError: if it is no index, one of a newer format, or a record is damaged or leads out of the
        folder; every damaged record is listed.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{where} is damaged: {err}; get or publish it again") from err
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{where} is no index of attokit's: give the folder that was published")
    version = content.get("version")
    if not isinstance(version, int) or version > _VERSION:
        raise ValueError(
            f"{where} has format version {version!r}, this version of attokit reads up to "
            f"{_VERSION}: install a newer one"
        )
    entries = content.get("weights")
    if not isinstance(entries, dict):
        raise ValueError(f"{where} is damaged: it lists no weights; get or publish it again")
    table, problems = {}, []
    for name, entry in entries.items():
        try:
            table[name] = _record(name, entry)
        except (ValueError, RecursionError) as err:
            problems.append(f"{name}: {err}")
    if problems:
        raise ValueError(f"{where} has records that cannot be used: {'; '.join(problems)}")
    return table


def _record(name: str, entry: Any) -> Weights:
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        wrong = sorted(_FIELDS ^ entry.keys()) if isinstance(entry, dict) else "all of it"
        raise ValueError(f"fields are missing or unknown ({', '.join(wrong)})")
    _check_types(entry)
    check_name(name, entry["model"])
    file = _file(entry["weights"])
    return Weights(
        **{field: _frozen(entry[field]) for field in (*_TEXTS, *_MAYBE_TEXTS, *_MAPPINGS)},
        **dataclasses.asdict(file),
        tflite=None if entry["tflite"] is None else _file(entry["tflite"]),
    )


def _check_types(entry: Mapping[str, Any]) -> None:
    numbers = entry["metrics"]
    good = {
        **{name: isinstance(entry[name], str) for name in _TEXTS},
        **{name: isinstance(entry[name], str | None) for name in _MAYBE_TEXTS},
        **{name: isinstance(entry[name], dict) for name in _MAPPINGS},
    }
    wrong = [name for name, is_good in good.items() if not is_good]
    if not wrong and not all(type(value) in (int, float) for value in numbers.values()):
        wrong = ["metrics"]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: of another type than belongs there")
    if entry["data"] is not None and not _DATA.fullmatch(entry["data"]):
        raise ValueError(
            f"data is {entry['data']!r}: an index may name embedded data and TFDS sets, no folder"
        )
    names = entry["preprocessing"].get("class_names")
    if names is not None and not (
        isinstance(names, list) and all(isinstance(name, str) for name in names)
    ):
        raise ValueError("class_names are no list of texts")
    odd = [name for name in entry["overrides"] if not name.isidentifier()]
    if odd:
        raise ValueError(f"overrides hold {odd[0]!r}, which no field of a config can be called")


def _file(entry: Any) -> HubFile:
    if not isinstance(entry, dict) or entry.keys() != {"path", "sha256", "size"}:
        raise ValueError("a file needs path, sha256 and size, and nothing else")
    path, sha256, size = entry["path"], entry["sha256"], entry["size"]
    if not isinstance(path, str) or not isinstance(sha256, str) or type(size) is not int:
        raise ValueError("path and sha256 of a file are texts, its size is an integer")
    return HubFile(source=check_relative(path), sha256=sha256, size=size)


def _frozen(value: Any) -> Any:
    """Returns JSON values as configs hold them: lists are tuples, and texts have one line.

    Raises:
      ValueError: if a text would command the terminal on which it is shown.
    """
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return {_frozen(k): _frozen(v) for k, v in value.items()}
    if isinstance(value, str) and _CONTROL.search(value):
        raise ValueError(f"{value!r} has control characters, which no text here needs")
    return value
