"""What the configs of all families ask of their numbers."""

from typing import Any


def check_positive(config: Any, *names: str) -> None:
    """Raises ValueError, with name and value, if a field of a config is not above 0."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name}={value}: give a positive number")


def round_to_8(channels: float) -> int:
    """Returns the multiple of 8 that is nearest and loses no more than a tenth; at least 8."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def check_choice(config: Any, name: str, *choices: str) -> None:
    """Raises ValueError, with name and value, if a field of a config is none of the choices."""
    value = getattr(config, name)
    if value not in choices:
        raise ValueError(f"{name}={value!r}: choose from {', '.join(choices)}")


def check_share(config: Any, *names: str) -> None:
    """Raises ValueError, with name and value, if a field of a config is not from 0 to 1."""
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value}: give a share from 0 to 1")
