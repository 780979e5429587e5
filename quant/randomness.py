"""Random numbers that a traced function draws: a file would hold those of one draw for ever.

Keys may be made and handed on; what is drawn may be left unused.
"""

from collections.abc import Sequence
from typing import Any

from attokit.quant.lowering.values import Builder, Known, UnsupportedOpError, Value

_DRAWING = frozenset(
    {"random_bits", "random_gamma", "rng_bit_generator", "rng_uniform", "threefry2x32"}
)


def draws(eqn: Any) -> bool:
    """Tells whether an equation, or one inside of it, draws random numbers."""
    if eqn.primitive.name in _DRAWING:
        return True
    for value in eqn.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(part, "jaxpr", part)
            if any(map(draws, getattr(inner, "eqns", ()))):
                return True
    return False


def origin(build: Builder, eqn: Any, operands: Sequence[Known]) -> str:
    """Returns the line that drew what an equation's known results depend on, or ""."""
    inherited = next((value.drawn for value in operands if value.drawn), "")
    return inherited or ((build.source or "an unknown line") if draws(eqn) else "")


def refuse_drawn(values: Sequence[Value]) -> None:
    """Raises UnsupportedOpError if one of the values was made of random numbers."""
    for value in values:
        if isinstance(value, Known) and value.drawn:
            raise UnsupportedOpError(
                f"random numbers are drawn at {value.drawn}, and what is computed with them depends on "
                "the inputs: a graph would hold the numbers of this one draw for ever. Trace the "
                "inference form, without dropout or noise (deterministic=True, train=False, "
                "use_running_average=True); numbers that are meant to be constant are drawn outside "
                "of the function, which may close over them."
            )
