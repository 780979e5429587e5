"""What the configs of all families ask of their numbers."""

from typing import Any


def check_positive(config: Any, *names: str) -> None:
    """Raises ValueError, with name and value, if a field of a config is not above 0."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name}={value}: give a positive number")
