"""`attokit publish`."""

import dataclasses
import pathlib
from typing import Annotated

import tyro
from rich.console import Console

from attokit.publishing import NOT_RECORDED, publish, release_of
from attokit.runs import open_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Writes trained runs into a release folder, which any server of files can host.

    Others set ATTOKIT_HUB to the address of the folder, and use the weights by name.

    Attributes:
      runs: Run folders, as RUN or RUN=TAG. Their weights are called MODEL.TAG; the tag is the folder's
        name if left out.
      output: The release folder; what it has already stays.
      license: Of the weights, as an SPDX identifier such as Apache-2.0.
      commit: The revision of your code that trained them.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    output: pathlib.Path = pathlib.Path("release")
    license: str
    commit: str = NOT_RECORDED

    def __post_init__(self) -> None:
        """Refuses to publish nothing."""
        if not self.runs:
            raise ValueError("no run to publish: give run folders, as RUN or RUN=TAG")


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    releases = []
    with console.status("checking"):
        for text in options.runs:
            path, tag = _split(text)
            releases.append(
                release_of(open_run(path), tag, license=options.license, commit=options.commit)
            )
    new = publish(options.output, releases)
    for release in releases:
        if release.name not in new:
            console.print(f"{release.name} was there already, the same", highlight=False)
            continue
        without = "" if release.record.tflite else " (without .tflite: the run is not quantized)"
        size = sum(map(len, release.files.values()))
        console.print(
            f"wrote {options.output / release.name}: {len(release.files)} files, {size:,} bytes{without}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"next: serve the folder {options.output}, set ATTOKIT_HUB to its address, and run "
        f"attokit download {releases[0].name}",
        highlight=False,
        soft_wrap=True,
    )


def _split(text: str) -> tuple[pathlib.Path, str]:
    """Returns the folder and the tag of RUN or RUN=TAG."""
    path = pathlib.Path(text)
    if "=" in text and not path.is_dir():
        before, _, tag = text.rpartition("=")
        return pathlib.Path(before), tag
    return path, path.resolve().name
