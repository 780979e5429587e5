"""`attokit list`."""

import dataclasses

import tyro
from rich.console import Console
from rich.table import Table

from attokit import checkpoints, zoo
from attokit.zoo.registry import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Lists models and pretrained weights.

    Attributes:
      pattern: Shell pattern of names, such as 'attonet_*'.
      task: Only models of this task: classification, segmentation, detection,
        instance_segmentation.
      names_only: Prints bare names, without counting parameters and multiply-adds.
    """

    pattern: tyro.conf.Positional[str] = "*"
    task: Task | None = None
    names_only: bool = False


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    names = zoo.names(options.pattern, task=options.task)
    if not names:
        raise ValueError(
            f"no model matches {options.pattern!r}: there are {', '.join(zoo.names(task=options.task))}"
        )
    if options.names_only:
        print("\n".join(names))
        return
    table = Table("model", "task", "parameters", "MACs", "image", "classes", "pretrained weights")
    table.columns[0].no_wrap = True
    with console.status("counting"):
        for name in names:
            info = zoo.info(name)
            weights = [w for w in checkpoints.names() if checkpoints.info(w).model == name]
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
