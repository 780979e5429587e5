"""Mobile DeepLabv3: MobileNetV2 at output stride 16, without ASPP (Sandler et al., arXiv 1801.04381).

Section 6.3 of the paper.  The last inverted residuals keep 1/16 of the resolution and spread their taps
instead of striding.  A 1x1 convolution of theirs and one of their average over the image are
concatenated, projected by a 1x1 convolution and classified; logits are interpolated from 1/16.

Deviation: the widths of the head, 256 each, are those with which the parameters come out at the published
2.11M with 21 classes and the multiply-adds, 2.741G, at those of a published file; the paper does not give
them, and 2.75B multiply-adds.
Deviation: logits are resized with half-pixel centres, for which any image size is good; the published
513x513 belongs to a resize that aligns corners.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from attokit.zoo.backbone import last_map
from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.mobilenet_v2 import inverted_residuals
from attokit.zoo.resize import resize
from attokit.zoo.segmentation_head import Output, SegmentationHead, check_output
from attokit.zoo.sizes import check_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepLabV3Config:
    """Sizes of one Mobile DeepLabv3.

    Attributes:
      width: Multiplier of MobileNetV2's channel counts.
      head: Channels of each of the head's convolutions.
      num_classes: Logits per pixel.
      output: "full": logits at the images' resolution; "quarter": at 1/4 of it; "argmax": class ids.
      image_size: Height, width and channels that `zoo.info` counts at.  The network takes any.
    """

    width: float = 1.0
    head: int = 256
    num_classes: int = 21
    output: Output = "full"
    image_size: tuple[int, int, int] = (513, 513, 3)

    def __post_init__(self) -> None:
        """Refuses sizes that no network can have."""
        check_positive(self, "width", "head", "num_classes")
        check_output(self)


class DeepLabV3(nn.Module):
    """The segmentation network of a config: MobileNetV2's inverted residuals, image pooling, head.

    Parameters are named as in `MobileNetV2`, then `pixel`, `image`, `project` and `head`.
    """

    config: DeepLabV3Config

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> Shaped[Array, "b h2 w2 *k"]:
        """Returns logits, or class ids, of images in [0, 1]; `train` updates the batch statistics."""
        config = self.config
        x = last_map(inverted_residuals(images, width=config.width, output_stride=16, train=train))
        pixel = ConvNorm(config.head, name="pixel")(x, train=train)
        whole = jnp.mean(x, axis=(1, 2), keepdims=True)
        whole = ConvNorm(config.head, name="image")(whole, train=train)
        whole = resize(whole, pixel.shape[1:3])
        x = jnp.concatenate([whole, pixel], axis=-1)
        x = ConvNorm(config.head, name="project")(x, train=train)
        return SegmentationHead(config.num_classes, config.output, name="head")(
            x, size=images.shape[1:3], train=train
        )


VARIANTS: Mapping[str, DeepLabV3Config] = MappingProxyType(
    {"deeplab_v3_mobilenet_v2": DeepLabV3Config()}
)
