"""Batch norm whose training step reads the activations as seldom as it can.

Same function, parameters and statistics as `flax.linen.BatchNorm`. What differs is the gradient: written out,
it is two sums and one pass over the activations, and nothing but the input is kept for it. Small networks
spend as much time on the norms as on the convolutions, so that shows (`benchmarks/attonet_step.py`).
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_Statistics = tuple[Array, Array]


class BatchNorm(nn.Module):
    """Normalizes each channel: by the batch in training, by running statistics in inference.

    Parameters `scale` and `bias`, statistics `mean` and `var` (collection `batch_stats`), all [c] and
    float32; the result has the input's dtype, the arithmetic is float32. Under `jax.jit` a sharded batch counts as a whole.

    Attributes:
      use_running_average: Whether to normalize by the running statistics.
      momentum: Share of the old running statistics that a step keeps.
      epsilon: Added to variances.
      scale_init: Start of the scale (gamma).
    """

    use_running_average: bool
    momentum: float = 0.9
    epsilon: float = 1e-3
    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns the normalized activations; in training the statistics move towards the batch's."""
        channels = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        # Also where a step computes in bfloat16: the arithmetic of a norm is float32.
        scale = self.param("scale", self.scale_init, channels).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), channels).astype(jnp.float32)
        if self.use_running_average:
            mean, var = running_mean.value, running_var.value
            lead = (None,) * (x.ndim - 1)
            centred = x.astype(jnp.float32) - mean[lead]
            normed = centred * (jax.lax.rsqrt(var + self.epsilon) * scale)[lead]
            return (normed + bias[lead]).astype(x.dtype)
        y, (mean, var) = normalize_by_batch(x, scale, bias, self.epsilon)
        if not self.is_initializing():
            running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
            running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
        return y


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize_by_batch(
    x: Float[Array, "*b c"], scale: Float[Array, " c"], bias: Float[Array, " c"], epsilon: float
) -> tuple[Float[Array, "*b c"], _Statistics]:
    """Returns the batch norm of activations, and the mean and (biased) variance of each channel.

    All axes but the last are averaged over. Reverse mode and `vmap` work, forward mode does not.
    """
    return _forward(x, scale, bias, epsilon)[0]


def _forward(
    x: Array, scale: Array, bias: Array, epsilon: float
) -> tuple[tuple[Array, _Statistics], tuple[Array, ...]]:
    axes, lead = tuple(range(x.ndim - 1)), (None,) * (x.ndim - 1)
    reals = x.astype(jnp.float32)
    mean = reals.mean(axes)
    # One pass for both sums; rounding may leave a constant channel slightly below zero.
    var = jnp.maximum(jnp.square(reals).mean(axes) - jnp.square(mean), 0)
    inverse = jax.lax.rsqrt(var + epsilon)
    slope = scale * inverse
    y = reals * slope[lead] + (bias - mean * slope)[lead]
    return (y.astype(x.dtype), (mean, var)), (x, scale, mean, inverse)


def _backward(
    epsilon: float, residuals: tuple[Array, ...], cotangents: tuple[Array, _Statistics]
) -> tuple[Array, Array, Array]:
    del epsilon
    x, scale, mean, inverse = residuals
    of_y, (of_mean, of_var) = cotangents
    axes, lead = tuple(range(x.ndim - 1)), (None,) * (x.ndim - 1)
    count = math.prod(x.shape[:-1])
    reals, slopes = x.astype(jnp.float32), of_y.astype(jnp.float32)
    of_bias = slopes.sum(axes)
    of_scale = ((slopes * reals).sum(axes) - mean * of_bias) * inverse
    # d y / d x = scale·inverse·(1 - 1/n - normed·normed/n): a line in `slopes` and `reals`.
    factor = scale * inverse
    per_real = (2 * of_var - factor * inverse * of_scale) / count
    constant = (of_mean - factor * of_bias) / count - per_real * mean
    of_x = slopes * factor[lead] + reals * per_real[lead] + constant[lead]
    return of_x.astype(x.dtype), of_scale, of_bias


normalize_by_batch.defvjp(_forward, _backward)
