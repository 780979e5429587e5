"""The 3x3 convolution of detectors' heads: dense or separable, with a bias or a batch norm."""

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.convolution import Conv

SpatialKind = Literal["dense", "separable"]


class SpatialConv(nn.Module):
    """A 3x3 convolution that keeps the resolution, and an activation.

    Parameters are in `conv`, or in `depthwise` and `pointwise`.

    Attributes:
      features: Output channels.
      kind: "dense", or "separable": each channel filtered by itself, then a 1x1 convolution.
      norm: Whether a batch norm follows every convolution; without it the last one has a bias.
      activation: After all.
    """

    features: int
    kind: SpatialKind = "dense"
    norm: bool = False
    activation: Literal["none", "relu"] = "relu"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w cin"], *, train: bool = False
    ) -> Float[Array, "b h w cout"]:
        """Returns the activations."""
        last, kernel = "conv", 3
        if self.kind == "separable":
            last, kernel, channels = "pointwise", 1, x.shape[-1]
            if self.norm:
                x = ConvNorm(channels, 3, groups=channels, activation="none", name="depthwise")(
                    x, train=train
                )
            else:
                x = Conv(channels, 3, groups=channels, name="depthwise")(x)
        if self.norm:
            return ConvNorm(self.features, kernel, activation=self.activation, name=last)(
                x, train=train
            )
        x = Conv(self.features, kernel, use_bias=True, name=last)(x)
        return nn.relu(x) if self.activation == "relu" else x
