"""Exponential moving average of parameters and running statistics."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree


def update_ema(average: PyTree, values: PyTree, decay: float, step: Int[Array, ""]) -> PyTree:
    """Returns the average moved towards `values`; leaves that are not floats are taken over.

    Early on the decay is (1 + step) / (10 + step) if that is smaller, so that the random start
    is forgotten (TensorFlow's `ExponentialMovingAverage` with `num_updates`).
    """
    count = step.astype(jnp.float32)
    rate = 1 - jnp.minimum(jnp.float32(decay), (1 + count) / (10 + count))

    def move(mean: Array, value: Array) -> Array:
        if not jnp.issubdtype(value.dtype, jnp.floating):
            return value
        return mean + (value - mean) * rate.astype(value.dtype)

    return jax.tree.map(move, average, values)
