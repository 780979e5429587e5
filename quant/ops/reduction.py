"""Reductions that choose: REDUCE_MAX, REDUCE_MIN, REDUCE_ALL, ARG_MAX and ARG_MIN.

Attributes: `axes` (sorted, non-negative) and `keepdims`, of ARG_MAX and ARG_MIN `axis`.  Integers
compare as the reals do, so the float meaning on integers is the integer meaning.  Of equal values
the first counts.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from attokit.quant.ops.kind import LITERT, OpKind, Side, Wide


def _over_axes(
    name: str,
    function: Callable[..., Array],
    ignores: Side | None = None,
    wide: Wide | None = None,
) -> OpKind:
    def compute(op, values):
        return (function(values, axis=op["axes"], keepdims=op["keepdims"]),)

    return OpKind(
        name=name,
        compute=compute,
        tied=True,
        homogeneous="jointly",
        ignores=ignores,
        wide=wide,
    )


def _position(name: str, function: Callable[..., Array]) -> OpKind:
    def compute(op, values):
        return (function(values, axis=op["axis"]).astype(jnp.int32),)

    return OpKind(name=name, compute=compute, tied=True)


REDUCE_MAX = _over_axes("reduce_max", jnp.max, ignores="below", wide=Wide(kernels=LITERT))
REDUCE_MIN = _over_axes("reduce_min", jnp.min, ignores="above", wide=Wide(kernels=LITERT))
REDUCE_ALL = _over_axes("reduce_all", jnp.all)  # of booleans
ARG_MAX = _position("arg_max", jnp.argmax)
ARG_MIN = _position("arg_min", jnp.argmin)
