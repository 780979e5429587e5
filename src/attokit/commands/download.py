"""`attokit download`."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from attokit import checkpoints, export
from attokit.checkpoints import Weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Downloads pretrained weights, so that they are here by name, also without a network.

    Every command takes the name then, and would download them too. ATTOKIT_HUB is the address of a
    folder that attokit publish wrote, ATTOKIT_CACHE where downloads are kept; ATTOKIT_OFFLINE=1
    forbids the network.

    Attributes:
      names: Of pretrained weights (see attokit list --pretrained).
      output: A folder that gets copies: NAME/weights.safetensors, NAME/README.md (the model card),
        NAME/labels.txt, and NAME/model.tflite if there is one.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    output: pathlib.Path | None = None

    def __post_init__(self) -> None:
        """Refuses to download nothing."""
        if not self.names:
            raise ValueError("no name to download: attokit list --pretrained shows what there is")


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    records = {name: checkpoints.info(name) for name in options.names}  # before any download
    for name, record in records.items():
        files = _fetch(name, record, console)
        if options.output is None:
            for path in files.values():
                _say(console, f"{name}: {path}, {path.stat().st_size:,} bytes")
            continue
        folder = options.output / name
        folder.mkdir(parents=True, exist_ok=True)
        contents = {file: path.read_bytes() for file, path in files.items()}
        contents["README.md"] = checkpoints.model_card(name, record).encode()
        if record.class_names is not None:
            contents["labels.txt"] = "".join(f"{c}\n" for c in record.class_names).encode()
        for file, content in contents.items():
            export.write(folder / file, content)
        _say(console, f"wrote {folder}: {', '.join(contents)}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _fetch(name: str, record: Weights, console: Console) -> dict[str, pathlib.Path]:
    """Returns the files of weights, by what they are called in a folder of their own."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    # A log file gets lines only, not thousands of redrawn bars.
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def bar(title: str, total: int) -> Callable[[int, int], None]:
            task = bars.add_task(title, total=total, visible=False)
            return lambda have, total: bars.update(task, completed=have, total=total, visible=True)

        progress = bar(f"{name}.safetensors", record.size)
        files = {"weights.safetensors": checkpoints.fetch(name, {name: record}, progress=progress)}
        if record.tflite is not None:
            progress = bar(f"{name}.tflite", record.tflite.size)
            files["model.tflite"] = checkpoints.fetch_tflite(
                name, {name: record}, progress=progress
            )
    return files
