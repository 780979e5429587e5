"""Fields of a model's config as the command line takes them: `NAME=VALUE`."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from attokit import zoo

_WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None}


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Returns fields by name, such as {"num_classes": 10} of `num_classes=10`.

    Values are Python literals, `true`, `false`, `none`, or else texts.

    Raises:
      ValueError: if a text has no equals sign or a name comes twice.
    """
    fields: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"override {text!r} is not NAME=VALUE, such as num_classes=10")
        if name in fields:
            raise ValueError(f"override {name} is given twice: give one of them")
        fields[name] = _literal(value)
    return fields


def _literal(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_overrides(model: str, overrides: Mapping[str, Any]) -> Any:
    """Returns the model's config with the overrides.

    Raises:
      ValueError: if there is no such model or field, or the config refuses a value.
    """
    try:
        return zoo.config(model, **overrides)
    except TypeError as err:  # an unknown field, or a value of the wrong type
        raise ValueError(f"overrides of {model}: {err}") from err
