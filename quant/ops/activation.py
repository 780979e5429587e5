"""Activations that TFLite fuses into an op, in float and as integer bounds."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.quant import fixed_point
from attokit.quant.ops.kind import Activation

INT8_MIN, INT8_MAX = -128, 127
_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "none": (None, None),
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "relu_n1_to_1": (-1.0, 1.0),
}


def real_bounds(activation: Activation) -> tuple[float | None, float | None]:
    """Returns the activation's lower and upper bound, None where it has none."""
    return _BOUNDS[activation]


def apply(activation: Activation, values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the values, activated."""
    low, high = _BOUNDS[activation]
    if low is not None:
        values = jnp.maximum(values, jnp.asarray(low, values.dtype))
    if high is not None:
        values = jnp.minimum(values, jnp.asarray(high, values.dtype))
    return values


def centred_bounds(
    activation: Activation, scale: Float[Array, ""], zero_point: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the least and greatest centred integer that an output may take.

    The activation's bounds are quantized as the kernels do: divided in float32, rounded half
    away from zero.
    """
    low = jnp.float32(INT8_MIN) - zero_point
    high = jnp.float32(INT8_MAX) - zero_point
    real_low, real_high = _BOUNDS[activation]
    if real_low is not None:
        low = jnp.maximum(low, fixed_point.round_half_away(jnp.float32(real_low) / scale))
    if real_high is not None:
        high = jnp.minimum(high, fixed_point.round_half_away(jnp.float32(real_high) / scale))
    return low, high
