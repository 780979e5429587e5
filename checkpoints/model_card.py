"""Model cards: what is known of pretrained weights, as a page to read, made from their record."""

from collections.abc import Mapping
from typing import Any

from attokit.checkpoints.record import Weights


def model_card(name: str, record: Weights) -> str:
    """Returns the model card of pretrained weights in Markdown.

    Its head is the metadata that model hubs read.
    """
    lines = [
        "---",
        f"license: {record.license.lower()}",
        "library_name: attokit",
        f"tags: [{', '.join(['attokit', 'jax', 'tflite', record.model])}]",
        "---",
        "",
        f"# {name}",
        "",
        f"Pretrained weights of `{record.model}`{_settings(record.overrides)}.",
        "",
        "```python",
        "from attokit import checkpoints, zoo",
        "",
        f"model = zoo.create({', '.join([repr(record.model), *_arguments(record.overrides)])})",
        f"variables = checkpoints.load({name!r})",
        "```",
        "",
        *_where(record),
        "| measured | |",
        "| --- | --- |",
        *(f"| {metric} | {value:.4g} |" for metric, value in sorted(record.metrics.items())),
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {_cell(title)} | {_cell(text)} |" for title, text in _facts(record)),
        "",
    ]
    if record.class_names is not None:
        listed = ", ".join(f"{i} {text}" for i, text in enumerate(record.class_names))
        lines += ["Classes: " + listed + ".", ""]
    return "\n".join(lines)


def _where(record: Weights) -> list[str]:
    """Returns what must be said of weights that do not come with attokit."""
    if record.source.startswith("package:"):
        return []
    return ["`ATTOKIT_HUB` must be the address of the folder with their `index.json`.", ""]


def _settings(overrides: Mapping[str, Any]) -> str:
    return f" with {', '.join(_arguments(overrides))}" if overrides else ""


def _arguments(overrides: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in overrides.items()]


def _facts(record: Weights) -> list[tuple[str, str]]:
    """Returns the rows of the second table."""
    inputs = {k: v for k, v in record.preprocessing.items() if k != "class_names"}
    rows = [
        ("trained by", record.recipe),
        ("trained on", record.data or "data that the recipe names"),
        ("input", ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in inputs.items())),
        ("quantization", record.quantization or "none: float weights"),
        ("revision", record.commit),
        ("license", record.license),
        ("weights", f"{record.size:,} bytes, sha256 `{record.sha256}`"),
    ]
    if record.tflite is not None:
        file = record.tflite
        rows.append(("tflite file", f"{file.size:,} bytes, sha256 `{file.sha256}`"))
    return rows


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
