"""EdgeSegNet: segmentation with bottlenecks and light refinement (Lin, Chwyl and Wong, 1905.04222).

A 7x7 convolution halves the image, the largest of 3x3 cells halves it again.  From 1/2 a bottleneck
reduction leaps to 1/16; from 1/4 a residual bottleneck goes to 1/8, where the leap, resized, is added;
their refined sum is resized and added at 1/4, refined again and classified.  Every refinement is two 1x1
and two 3x3 convolutions, the first of them also the shortcut.

Batch norms stand only before the convolutions of the residual bottleneck; every convolution has a bias.
So counted, 32 classes give the 4,327,920 parameters of a public implementation.

Deviation: the paper's channels are known for the stem, 13, and through that count for the rest, 193 and
217; which layer has which is inferred from the count.
Deviation: logits are computed at 1/4 and interpolated by 4, not computed from interpolated features.
Both orders give the same function; this one saves 15/16 of the classifier's multiply-adds (10.26 G
become 9.83 G at 256x256).
Deviation: the convolution with stride 8 is padded so that a side of n cells becomes n / 8, rounded up.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import flax.linen as nn
from jaxtyping import Array, Float, Shaped

from attokit.zoo.convolution import Conv
from attokit.zoo.resize import resize
from attokit.zoo.segmentation_head import Output, SegmentationHead, check_output
from attokit.zoo.sizes import check_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class EdgeSegNetConfig:
    """Sizes of one EdgeSegNet.

    Attributes:
      stem: Channels at 1/2 and, pooled, at 1/4.
      coarse: Channels at 1/16 and 1/8.
      fine: Channels at 1/4, and after the refinement at 1/8.
      num_classes: Logits per pixel.
      output: "full": logits at the images' resolution; "quarter": at 1/4 of it; "argmax": class ids.
      image_size: Height, width and channels that `zoo.info` counts at.  The network takes any.
    """

    stem: int = 13
    coarse: int = 193
    fine: int = 217
    num_classes: int = 32
    output: Output = "full"
    image_size: tuple[int, int, int] = (256, 256, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "stem", "coarse", "fine", "num_classes")
        check_output(self)


class EdgeSegNet(nn.Module):
    """The segmentation network of a config.

    Parameters are named `stem`, `reduction`, `residual`, `refine1` (1/8, before the sum), `refine2`
    (1/8, after it), `refine3` (1/4, before the sum), `refine4` (1/4, after it) and `head`.
    """

    config: EdgeSegNetConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> Shaped[Array, "b h2 w2 *k"]:
        """Returns logits, or class ids, of images in [0, 1]; `train` updates the batch statistics."""
        config = self.config
        half = Conv(config.stem, 7, strides=2, use_bias=True, name="stem")(images)
        quarter = nn.max_pool(half, (3, 3), strides=(2, 2), padding="SAME")
        leap = BottleneckReduction(config.coarse, name="reduction")(half)
        x = ResidualBottleneck(config.coarse, name="residual")(quarter, train=train)
        x = Refine(config.coarse, name="refine1")(x)
        x = Refine(config.fine, name="refine2")(x + resize(leap, x.shape[1:3]))
        skip = Refine(config.fine, name="refine3")(quarter)
        x = Refine(config.fine, name="refine4")(skip + resize(x, skip.shape[1:3]))
        return SegmentationHead(config.num_classes, config.output, name="head")(
            x, size=images.shape[1:3], train=train
        )


class BottleneckReduction(nn.Module):
    """A leap to an eighth of the resolution by one convolution, then a 1x1 and a 3x3 one.

    Attributes:
      features: Output channels.
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h8 w8 c2"]:
        """Returns the activations, which may be negative."""
        x = Conv(self.features, 3, strides=8, use_bias=True, name="leap")(x)
        x = Conv(self.features, 1, use_bias=True, name="pointwise")(nn.relu(x))
        return Conv(self.features, 3, use_bias=True, name="spatial")(nn.relu(x))


class ResidualBottleneck(nn.Module):
    """Norm and relu before each of three convolutions; the shortcut is a convolution too.

    Attributes:
      features: Output channels.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 c2"]:
        """Returns activations at half the resolution, which may be negative."""
        x = self._activate("norm1", x, train)
        shortcut = Conv(self.features, 3, strides=2, use_bias=True, name="shortcut")(x)
        x = Conv(self.features, 1, use_bias=True, name="narrow")(x)
        x = self._activate("norm2", x, train)
        x = Conv(self.features, 3, strides=2, use_bias=True, name="spatial")(x)
        x = self._activate("norm3", x, train)
        return shortcut + Conv(self.features, 1, use_bias=True, name="widen")(x)

    def _activate(
        self, name: str, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h w c"]:
        norm = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=1e-3, dtype=x.dtype, name=name
        )
        return nn.relu(norm(x))


class Refine(nn.Module):
    """A 1x1 convolution, and what a 1x1 and two 3x3 ones add to it.

    Attributes:
      features: Output channels.
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c2"]:
        """Returns the refined activations, which may be negative."""
        shortcut = Conv(self.features, 1, use_bias=True, name="project")(x)
        x = Conv(self.features, 1, use_bias=True, name="pointwise")(shortcut)
        x = Conv(self.features, 3, use_bias=True, name="spatial1")(nn.relu(x))
        x = Conv(self.features, 3, use_bias=True, name="spatial2")(nn.relu(x))
        return shortcut + x


VARIANTS: Mapping[str, EdgeSegNetConfig] = MappingProxyType({"edgesegnet": EdgeSegNetConfig()})
