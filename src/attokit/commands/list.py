"""`attokit list`."""

import dataclasses
import fnmatch
import urllib.parse

import tyro
from rich.console import Console
from rich.table import Table

from attokit import checkpoints, zoo
from attokit.checkpoints import Weights
from attokit.checkpoints.cache import is_here
from attokit.zoo.registry import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Lists models and pretrained weights.

    Attributes:
      pattern: Shell pattern of names, such as 'attonet_*'.
      task: Only models of this task: classification, segmentation, detection,
        instance_segmentation.
      pretrained: Lists pretrained weights instead of models: this version's, and those of the hub that
        ATTOKIT_HUB names.
      names_only: Prints bare names, without counting parameters and multiply-adds.
    """

    pattern: tyro.conf.Positional[str] = "*"
    task: Task | None = None
    pretrained: bool = False
    names_only: bool = False


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    if options.pretrained:
        _list_weights(options, console)
    else:
        _list_models(options, console)


def _list_models(options: Options, console: Console) -> None:
    names = zoo.names(options.pattern, task=options.task)
    if not names:
        raise ValueError(
            f"no model matches {options.pattern!r}: there are {', '.join(zoo.names(task=options.task))}"
        )
    if options.names_only:
        print("\n".join(names))
        return
    known = checkpoints.available()
    table = Table("model", "task", "parameters", "MACs", "image", "classes", "pretrained weights")
    table.columns[0].no_wrap = True
    with console.status("counting"):
        for name in names:
            info = zoo.info(name)
            weights = sorted(tag for tag, record in known.items() if record.model == name)
            table.add_row(
                name,
                info.task,
                f"{info.parameters:,}",
                f"{info.macs:,}",
                "x".join(map(str, info.image_size)),
                str(info.num_classes),
                ", ".join(weights),
            )
    for column in table.columns[2:6]:
        column.justify = "right"
    console.print(table)


def _list_weights(options: Options, console: Console) -> None:
    known = checkpoints.available()
    chosen = {
        name: known[name]
        for name in checkpoints.names(known)
        if fnmatch.fnmatchcase(name, options.pattern)
        and (options.task is None or _task(known[name]) == options.task)
    }
    if not chosen:
        raise ValueError(
            f"no weights match {options.pattern!r}: there are {', '.join(checkpoints.names(known))}"
        )
    if options.names_only:
        print("\n".join(chosen))
        return
    table = Table("weights", "task", "measured", "bytes", "license", "where")
    table.columns[0].no_wrap = True
    table.columns[3].justify = "right"
    for name, record in chosen.items():
        measured = (f"{metric} {value:.4g}" for metric, value in record.metrics.items())
        table.add_row(
            name,
            _task(record),
            "\n".join(measured),
            f"{record.size:,}",
            record.license,
            _where(name, record),
        )
    console.print(table)
    for name in checkpoints.hidden():
        note = f"the hub's {name} is not shown: the name means other weights in this version"
        console.print(note, style="yellow", highlight=False, soft_wrap=True)


def _task(record: Weights) -> str:
    known = record.model in zoo.names()
    return zoo.task(record.model) if known else f"model {record.model} is unknown to this version"


def _where(name: str, record: Weights) -> str:
    """Returns whether a file is here, and else whence it comes."""
    parts = urllib.parse.urlsplit(record.source)
    if parts.scheme == "package":
        return "in the package"
    if is_here(f"{name}.safetensors", record.file):
        return "here" if parts.scheme == "file" else "in the cache"
    return f"{parts.scheme}://{parts.netloc}"
