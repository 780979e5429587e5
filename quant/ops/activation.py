"""Activations that TFLite fuses into an op, in float and as integer bounds."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.quant import fixed_point
from attokit.quant.ops.kind import Activation, Kernels

INT8_MIN, INT8_MAX = -128, 127
_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "none": (-math.inf, math.inf),
        "relu": (0.0, math.inf),
        "relu6": (0.0, 6.0),
        "relu_n1_to_1": (-1.0, 1.0),
    }
)


def real_bounds(activation: Activation) -> tuple[float, float]:
    """Returns the activation's lower and upper bound, infinite where it has none."""
    return _BOUNDS[activation]


def apply(activation: Activation, values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the values, activated."""
    low, high = _BOUNDS[activation]
    if low > -math.inf:
        values = jnp.maximum(values, jnp.asarray(low, values.dtype))
    if high < math.inf:
        values = jnp.minimum(values, jnp.asarray(high, values.dtype))
    return values


def centred_bounds(
    bounds: tuple[Float[Array, "*n"] | float, Float[Array, "*n"] | float],
    scale: Float[Array, "*n"],
    zero_point: Float[Array, "*n"],
    kernels: Kernels = "reference",
    bits: int = 8,
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Returns the least and greatest centred integers that outputs may take.

    An activation's bounds are quantized as the kernels do: divided in float32, rounded half away
    from zero, by XNNPACK half to even.

    Args:
      bounds: Real lower and upper bounds (`real_bounds`).
      scale: Of the outputs.
      zero_point: Of the outputs.
      kernels: Whose rounding to use.
      bits: Of the outputs.
    """
    rounded = jnp.round if kernels == "xnnpack" else fixed_point.round_half_away
    low, high = (rounded(jnp.float32(bound) / scale) for bound in bounds)
    least, greatest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return (
        jnp.maximum(jnp.float32(least) - zero_point, low),
        jnp.minimum(jnp.float32(greatest) - zero_point, high),
    )
