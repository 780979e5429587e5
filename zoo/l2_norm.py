"""L2Norm: every pixel's channels brought to one length, times a weight per channel."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

_EPSILON = 1e-10
_TINY = 1e-30  # below any square that counts; bounds the root's slope where a pixel is all zeros


def l2_normalize(x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """Returns x / (|x| + 1e-10) over the last axis; zeros stay zeros, with finite gradients."""
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x / (jnp.sqrt(jnp.maximum(squares, _TINY)) + _EPSILON)


class L2Norm(nn.Module):
    """Normalizes features of different layers to comparable lengths (Liu et al., ParseNet, 2015).

    Attributes:
      scale: Start of the weight, and so of the length.
    """

    scale: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns the normalized features times the parameter `weight`."""
        init = nn.initializers.constant(self.scale)
        weight = self.param("weight", init, (x.shape[-1],)).astype(x.dtype)
        return l2_normalize(x) * weight.reshape((1,) * (x.ndim - 1) + (-1,))
