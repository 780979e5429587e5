"""A layer over whole maps: every output reads every cell, as a product or as a convolution."""

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.convolution import conv
from attokit.zoo.initialization import lecun_fan_in


class MapDense(nn.Module):
    """A linear layer of maps of one size; the kernel has the shape of the convolution that it is.

    Attributes:
      features: Outputs.
      as_convolution: Whether to spell it as a convolution without padding, for processors that have nothing
        else; the same function of the same parameters. Its result keeps rows and columns of 1.
      kernel_init: Start of the kernel.
    """

    features: int
    as_convolution: bool = False
    kernel_init: nn.initializers.Initializer = lecun_fan_in

    @nn.compact
    def __call__(self, x: Float[Array, "t h w c"]) -> Float[Array, "t 1 1 d"]:
        """Returns the outputs as maps of one cell."""
        kernel = self.param("kernel", self.kernel_init, (*x.shape[1:], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        kernel, bias = kernel.astype(x.dtype), bias.astype(x.dtype)
        if self.as_convolution:
            return conv(x, kernel, padding="VALID") + bias[None, None, None]
        y = x.reshape(len(x), -1) @ kernel.reshape(-1, self.features)
        return (y + bias[None])[:, None, None]
