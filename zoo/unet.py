"""A small U-Net: double convolutions down and up again, joined by skips (Ronneberger et al., 1505.04597).

At every level two 3x3 convolutions; between levels the largest of 2x2 cells on the way down, a bilinear
resize on the way up, where the features of the same level are concatenated.

Deviation: widths (16, 32, 64, 128) on four levels instead of (64, ..., 1024) on five, which is a
sixtieth of the parameters: the class of the other networks here.
Deviation: convolutions are padded and followed by batch norm, so that the output has the size of the
image; the paper crops.
Deviation: a bilinear resize stands for the 2x2 transposed convolution on the way up; the convolution
that follows the concatenation narrows.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.pooling import max_pool
from attokit.zoo.resize import resize
from attokit.zoo.segmentation_head import Output, SegmentationHead, check_output
from attokit.zoo.sizes import check_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Sizes of one U-Net.

    Attributes:
      widths: Channels of each level, from full resolution down.
      num_classes: Logits per pixel.
      output: "full": logits at the images' resolution; "quarter": at 1/4 of it; "argmax": class ids.
      image_size: Height, width and channels that `zoo.info` counts at.  The network takes any.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    num_classes: int = 12
    output: Output = "full"
    image_size: tuple[int, int, int] = (256, 256, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "num_classes")
        check_output(self)
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths={self.widths}: give a positive number for each level")


class UNet(nn.Module):
    """The segmentation network of a config: levels down, levels up, head.

    Parameters are named by level: `down1` ... `down4`, `up3` ... `up1`, and `head`.
    """

    config: UNetConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> Shaped[Array, "b h2 w2 *k"]:
        """Returns logits, or class ids, of images in [0, 1]; `train` updates the batch statistics."""
        config, skips, x = self.config, [], images
        for level, width in enumerate(config.widths, start=1):
            if level > 1:
                skips.append(x)
                x = max_pool(x, 2)
            x = DoubleConvolution(width, name=f"down{level}")(x, train=train)
        for level in range(len(skips), 0, -1):
            skip = skips[level - 1]
            x = jnp.concatenate([resize(x, skip.shape[1:3]), skip], axis=-1)
            x = DoubleConvolution(config.widths[level - 1], name=f"up{level}")(x, train=train)
        return SegmentationHead(config.num_classes, config.output, name="head")(
            x, size=images.shape[1:3], train=train
        )


class DoubleConvolution(nn.Module):
    """Two 3x3 convolutions with batch norm and relu.

    Attributes:
      features: Output channels of both.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w cin"], *, train: bool = False
    ) -> Float[Array, "b h w cout"]:
        """Returns the activations."""
        x = ConvNorm(self.features, 3, name="first")(x, train=train)
        return ConvNorm(self.features, 3, name="second")(x, train=train)


VARIANTS: Mapping[str, UNetConfig] = MappingProxyType({"unet": UNetConfig()})
