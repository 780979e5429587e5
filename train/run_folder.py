"""The folder of a run: `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/`."""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from tensorboardX import SummaryWriter

from attokit.train.config import TrainConfig, decisive_differences


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Writes a text file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_no_run(path: pathlib.Path) -> None:
    """Raises ValueError if a folder holds a run, which a new one would overwrite."""
    if (path / "config.json").exists():
        raise ValueError(
            f"{path} already holds a run: go on with it from its last checkpoint (--resume), choose "
            "another folder, or delete this one"
        )


class RunFolder:
    """Writes what a run reports. Only the first host writes.

    Attributes:
      path: The folder.
    """

    def __init__(self, path: str | pathlib.Path, *, writes: bool = True):
        self.path = pathlib.Path(path)
        self._writes = writes
        self._events: SummaryWriter | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise ValueError(
                f"cannot make the run folder {self.path}: {err}; choose one you may write"
            ) from err

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> pathlib.Path:
        """The log: one JSON object per line, with `step` and `split`."""
        return self.path / "metrics.jsonl"

    def start(self, config: TrainConfig, extra: Mapping[str, Any], *, resume: bool) -> None:
        """Writes the config, or checks it against that of the run that goes on.

        Args:
          config: How to train.
          extra: Further JSON values. "switches" maps names to values, and what is None or not named is off; the
            others are compared only where the run that goes on has them too.
          resume: Go on with the run that is there, if one is.

        Raises:
          ValueError: if a run that is not resumed would be overwritten, or a resumed one was
            started with other settings or has a damaged config.
        """
        file = self.path / "config.json"
        settings = {"config": dataclasses.asdict(config), **extra}
        if file.exists():
            if not resume:
                check_no_run(self.path)
            saved = _with_switches(_read_settings(file), extra.get("switches", {}))
            differences = decisive_differences(saved["config"], config)
            differences += _extra_differences(saved, extra)
            if differences:
                raise ValueError(
                    f"the run in {self.path} was started with other settings "
                    f"({'; '.join(differences)}): use those, or another folder"
                )
            settings = saved | settings
        if "switches" in settings:
            settings["switches"] = _on(settings["switches"])
        if self._writes:
            write_atomically(file, json.dumps(settings, indent=2) + "\n")

    def open_logs(self, step: int) -> None:
        """Opens the logs, without the lines after `step`, which a killed run left behind."""
        if not self._writes:
            return
        if self.metrics.exists():
            kept = [json.dumps(record) for record in read_metrics(self.metrics, until=step)]
            write_atomically(self.metrics, "".join(f"{line}\n" for line in kept))
        self._events = SummaryWriter(str(self.path), purge_step=step + 1 if step else None)

    def log(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Adds one line to `metrics.jsonl` and the same numbers to TensorBoard."""
        if self._events is None:
            return
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        """Writes out and closes the TensorBoard events."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _read_settings(file: pathlib.Path) -> dict[str, Any]:
    """Returns what a `config.json` holds."""
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(settings["config"], dict):
            return settings
        problem = "its config is no object"
    except (KeyError, TypeError, ValueError, OSError) as err:
        problem = f"{type(err).__name__}: {err}"
    raise ValueError(
        f"{file} is damaged or was not written by a training: {problem}; "
        "train again in another folder"
    )


def _on(switches: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those that are on."""
    return {name: value for name, value in switches.items() if value not in (None, [], (), {})}


def _with_switches(saved: Mapping[str, Any], switches: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with the switches, on or off, that an older version kept beside "switches" in their place."""
    moved = {name: saved[name] for name in switches if name in saved}
    if not moved:
        return dict(saved)
    others = {name: value for name, value in saved.items() if name not in moved}
    return others | {"switches": moved | saved.get("switches", {})}


def _extra_differences(saved: Mapping[str, Any], extra: Mapping[str, Any]) -> list[str]:
    """Returns which further settings differ; a run of an older version may lack some.

    What one side lacks of "switches" is off there.
    """
    current = json.loads(json.dumps(dict(extra)))  # tuples as the file holds them
    before, now = _on(saved.get("switches", {})), _on(current.pop("switches", {}))
    return [
        f"{name} was {saved[name]!r}, now {value!r}"
        for name, value in current.items()
        if name in saved and saved[name] != value
    ] + [
        f"{name} was {before.get(name, 'off')!r}, now {now.get(name, 'off')!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def read_metrics(path: str | pathlib.Path, *, until: int | None = None) -> Iterator[dict]:
    """Yields the records of a `metrics.jsonl` up to a step; a torn last line is left out."""
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if until is None or record["step"] <= until:
                yield record
