"""`attokit info`."""

import dataclasses

import tyro
from rich.console import Console
from rich.table import Table

from attokit import checkpoints, zoo
from attokit.overrides import check_overrides, parse_overrides


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Tells what a model or pretrained weights are and cost.

    Attributes:
      name: Of a model, or of pretrained weights.
      overrides: Fields of the model's config to set otherwise, such as num_classes=10
        small_images=true.
      card: Prints the model card of pretrained weights, in Markdown, instead.
    """

    name: tyro.conf.Positional[str]
    overrides: tuple[str, ...] = ()
    card: bool = False


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    table = Table(show_header=False)
    record = checkpoints.info(options.name) if "." in options.name else None
    if options.card:
        if record is None:
            raise ValueError(f"{options.name!r} has no card: give the name of pretrained weights")
        print(checkpoints.model_card(options.name, record), end="")
        return
    if record is not None:
        overrides, model = dict(record.overrides), record.model
        for field in dataclasses.fields(record):
            table.add_row(field.name, _text(getattr(record, field.name)))
    else:
        overrides, model = {}, options.name
    overrides |= parse_overrides(options.overrides)
    config = check_overrides(model, overrides)
    info = zoo.info(model, **overrides)
    for row in (
        ("name", info.name),
        ("task", info.task),
        ("family", f"{info.family}, {info.source}"),
        ("parameters", f"{info.parameters:,}"),
        ("MACs", f"{info.macs:,} at {'x'.join(map(str, info.image_size))}"),
        ("classes", str(info.num_classes)),
        *(("deviation", text) for text in info.deviations),
    ):
        table.add_row(*row)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not isinstance(value, tuple) or not any(map(dataclasses.is_dataclass, value)):
            table.add_row(f"config.{field.name}", _text(value))
    console.print(table)


def _text(value: object) -> str:
    return "" if value is None else str(value)
