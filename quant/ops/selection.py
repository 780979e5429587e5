"""Comparisons, logic and choice: MAXIMUM, GREATER, LOGICAL_AND, SELECT_V2 and their kin.

The operands of a comparison share one scale, and so do those of a choice; then integers compare as
the reals do, and the float meaning on integers is the integer meaning.  Conditions are booleans,
which no file quantizes.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from attokit.quant.ops.arithmetic import aligned
from attokit.quant.ops.kind import Homogeneous, OpKind, Side, Wide


def _of_two(
    name: str,
    function: Callable[[Array, Array], Array],
    ignores: Side | None = None,
    wide: Wide | None = None,
    homogeneous: Homogeneous = "no",
) -> OpKind:
    def compute(op, first, second):
        del op
        return (function(*aligned(first, second)),)

    return OpKind(
        name=name,
        compute=compute,
        tied=True,
        elementwise=True,
        homogeneous=homogeneous,
        ignores=ignores,
        wide=wide,
    )


def _select(op, condition, chosen, otherwise):
    """Inputs: condition (bool), value where it holds, value where it does not."""
    del op
    rank = max(condition.ndim, chosen.ndim, otherwise.ndim)
    row = (x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (condition, chosen, otherwise))
    return (jnp.where(*row),)


MAXIMUM = _of_two("maximum", jnp.maximum, ignores="below", wide=Wide(), homogeneous="jointly")
MINIMUM = _of_two("minimum", jnp.minimum, ignores="above", wide=Wide(), homogeneous="jointly")
EQUAL = _of_two("equal", jnp.equal)
NOT_EQUAL = _of_two("not_equal", jnp.not_equal)
LESS = _of_two("less", jnp.less)
LESS_EQUAL = _of_two("less_equal", jnp.less_equal)
GREATER = _of_two("greater", jnp.greater)
GREATER_EQUAL = _of_two("greater_equal", jnp.greater_equal)
LOGICAL_AND = _of_two("logical_and", jnp.logical_and)
LOGICAL_OR = _of_two("logical_or", jnp.logical_or)
LOGICAL_NOT = OpKind(
    name="logical_not",
    compute=lambda op, condition: (jnp.logical_not(condition),),
    tied=True,
    elementwise=True,
)
SELECT = OpKind(
    name="select",
    compute=_select,
    tied=True,
    elementwise=True,
    homogeneous="jointly",
    wide=Wide(),
)
