"""Releases: trained runs as a folder that any server of files can host, and that `ATTOKIT_HUB` names.

index.json                           what there is; written last, so that it never promises too much
MODEL.TAG/weights.safetensors        the float variables
MODEL.TAG/model.tflite               the INT8 file, of a run that is quantized
MODEL.TAG/README.md, labels.txt      the model card; the classes
"""

import dataclasses
import math
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attokit import checkpoints, export
from attokit.checkpoints import HubFile, Weights, model_card
from attokit.checkpoints.cache import hash_bytes
from attokit.checkpoints.file_lock import exclusive
from attokit.checkpoints.index import INDEX, index_text, parse_index
from attokit.checkpoints.record import byte_images, check_name
from attokit.checkpoints.weights import load_metadata
from attokit.datasets import portable, without_folder
from attokit.origins import open_origin
from attokit.runs import Run
from attokit.tasks import view_of
from attokit.train import TrainConfig, read_metrics

_WEIGHTS, _TFLITE = "weights.safetensors", "model.tflite"
NOT_RECORDED = "not recorded"

# Settings that say nothing of what is trained.
_OF_A_MACHINE = frozenset({"mesh", "workers", "profile"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """Weights to publish.

    Attributes:
      name: `model.tag`.
      record: Of which the sources are paths in the folder of the index.
      files: What lies there, by path.
    """

    name: str
    record: Weights
    files: Mapping[str, bytes]


def release_of(run: Run, tag: str, *, license: str, commit: str = NOT_RECORDED) -> Release:
    """Returns what is published of a run, after checking that its weights fit its model.

    Args:
      run: A run that was trained to its end.
      tag: What to call its weights, behind the model's name.
      license: SPDX identifier.
      commit: The revision that trained it.

    Raises:
      ValueError: if the run is not trained, or damaged, or the name or license cannot be.
    """
    name = f"{run.model}.{tag}"
    check_name(name, run.model)
    if not license.strip() or "\n" in license:
        raise ValueError(f"license is {license!r}: give an SPDX identifier, such as Apache-2.0")
    run.variables()
    weights = run.weights_path.read_bytes()
    contents = {f"{name}/{_WEIGHTS}": weights}
    tflite = _file_of(run)
    if tflite is not None:
        contents[f"{name}/{_TFLITE}"] = tflite
    listed = {path: _listed(path, content) for path, content in contents.items()}
    record = Weights(
        model=run.model,
        overrides=dict(run.overrides),
        **dataclasses.asdict(listed[f"{name}/{_WEIGHTS}"]),
        preprocessing=byte_images(run.image_shape, run.class_names),
        metrics=_metrics(run),
        recipe=training_command(run),
        commit=commit,
        license=license,
        data=portable(run.data),
        tflite=listed.get(f"{name}/{_TFLITE}"),
    )
    contents[f"{name}/README.md"] = model_card(name, record).encode()
    contents[f"{name}/labels.txt"] = "".join(f"{c}\n" for c in run.class_names).encode()
    return Release(name=name, record=record, files=contents)


def _listed(path: str, content: bytes) -> HubFile:
    sha256, size = hash_bytes(content)
    return HubFile(source=path, sha256=sha256, size=size)


def _file_of(run: Run) -> bytes | None:
    """Returns the file that `attokit export` writes of a quantized run."""
    if not run.quantized_path.exists():
        return None
    origin = open_origin(str(run.path))
    return export.to_tflite(
        origin.graph,
        origin.weights,
        origin.qparams,
        metadata=view_of(origin.task).file_metadata(origin.network, origin.image_shape),
    )


def _metrics(run: Run) -> dict[str, float]:
    """Returns what was measured last, of the float network and of the integer graph."""
    log = run.path / "metrics.jsonl"
    last: Mapping[str, Any] = {}
    if log.is_file():
        last = next((r for r in reversed(list(read_metrics(log))) if r["split"] != "train"), {})
    found = {
        name: float(value)
        for name, value in last.items()
        if name not in ("step", "split") and math.isfinite(value)
    }
    if run.quantized_path.exists():
        for name, text in load_metadata(run.quantized_path).items():
            if name in found:
                found[f"int8_graph_{name}"] = float(text)
    return found


def training_command(run: Run) -> str:
    """Returns the command that trains a run again; `FOLDER` is where its data must be."""
    overrides = [
        f"{name}={value}"
        for name, value in run.overrides.items()
        if name not in ("num_classes", "image_size")  # the data know them
    ]
    words = ["attokit", "train", "--model", run.model]
    words += ["--data", without_folder(run.data), "--image-size", *map(str, run.image_shape)]
    words += ["--overrides", *overrides] if overrides else []
    if run.start is not None:
        words += ["--start", pathlib.Path(run.start).name]
        words += ["--reset-head"] if run.reset_head else []
    words += [] if run.teacher is None else ["--teacher", pathlib.Path(run.teacher).name]
    words += [] if run.split == "test" else ["--split", run.split]
    return shlex.join([*words, *_flags(run.config, TrainConfig(steps=1))])


def _flags(config: Any, default: Any, prefix: str = "") -> list[str]:
    """Returns the options that make a config of another one."""
    words: list[str] = []
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        option = f"{prefix}{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            words += _flags(value, usual, f"{option}.")
        elif field.name in _OF_A_MACHINE or value is None:
            continue
        elif field.name == "steps" or value != usual:
            words += _option(option, value)
    return words


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        before, dot, last = name.rpartition(".")
        return [f"--{before}{dot}{'' if value else 'no-'}{last}"]
    return [f"--{name}", *_words(value)]


def _words(value: Any) -> list[str]:
    return (
        [word for part in value for word in _words(part)]
        if isinstance(value, tuple)
        else [str(value)]
    )


def publish(folder: pathlib.Path, releases: Sequence[Release]) -> tuple[str, ...]:
    """Adds weights to a release folder, and returns the names that were not there before.

    What is published stays as it is: a name never gets other weights.

    Raises:
      ValueError: if a name is taken, or the folder holds a damaged index.
      OSError: if the folder cannot be written; the index does not list what is not whole.
    """
    _check_names(releases)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        table = _table(folder)
        new = {release.name: release for release in releases if release.name not in table}
        for release in releases:
            # As it will be read: JSON knows no tuples inside of others.
            (record,) = parse_index(
                index_text({release.name: release.record}), release.name
            ).values()
            if table.get(release.name, record) != record:
                raise ValueError(
                    f"{folder} has other weights called {release.name}: what is published stays; "
                    "give another tag (RUN=TAG)"
                )
        for release in new.values():
            for path, content in release.files.items():
                (folder / path).parent.mkdir(exist_ok=True)
                export.write(folder / path, content)
        merged = {**table, **{name: release.record for name, release in new.items()}}
        export.write(folder / INDEX, index_text(merged).encode())
    return tuple(new)


def _check_names(releases: Iterable[Release]) -> None:
    seen: set[str] = set()
    for release in releases:
        if release.name in checkpoints.WEIGHTS:
            raise ValueError(
                f"{release.name} is a name of attokit's own weights: give another tag (RUN=TAG)"
            )
        if release.name in seen:
            raise ValueError(f"two runs would be {release.name}: give each a tag (RUN=TAG)")
        seen.add(release.name)


def _table(folder: pathlib.Path) -> dict[str, Weights]:
    file = folder / INDEX
    return parse_index(file.read_bytes(), str(file)) if file.exists() else {}
