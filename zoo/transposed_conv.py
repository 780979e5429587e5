"""The 2x2 convolution that doubles a map: every cell becomes four."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from attokit.zoo.convolution import conv
from attokit.zoo.initialization import he_fan_out


class TransposedConv(nn.Module):
    """A transposed convolution with a 2x2 kernel, a stride of 2 and a bias.

    No window overlaps another, so it is a 1x1 convolution to four times the channels whose results move to their
    places, and is computed so.

    Attributes:
      features: Output channels.
      as_convolution: Whether to spell it as one transposed convolution, for processors that have no
        DEPTH_TO_SPACE; the same function of the same parameters.
    """

    features: int
    as_convolution: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w cin"]) -> Float[Array, "b h2 w2 cout"]:
        """Returns the map of twice the rows and columns."""
        b, h, w, cin = x.shape
        kernel = self.param("transposed_kernel", he_fan_out(), (2, 2, cin, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        kernel = kernel.astype(x.dtype)
        if self.as_convolution:
            y = lax.conv_general_dilated(
                x,
                kernel[::-1, ::-1],  # what a convolution turns, a transposed one does not
                (1, 1),
                ((1, 1), (1, 1)),
                lhs_dilation=(2, 2),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        else:
            flat = jnp.moveaxis(kernel, 2, 0).reshape(1, 1, cin, -1)  # [1, 1, cin, 2*2*cout]
            y = conv(x, flat).reshape(b, h, w, 2, 2, self.features)
            y = y.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, self.features)
        return y + bias.astype(x.dtype)[None, None, None]
