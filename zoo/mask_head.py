"""The third stage of Mask R-CNN: which pixels of a region belong to the object (He et al. 2017)."""

import dataclasses

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.convolution import Conv
from attokit.zoo.initialization import lecun_fan_in
from attokit.zoo.sizes import check_choice, check_positive
from attokit.zoo.spatial_conv import SpatialConv, SpatialKind
from attokit.zoo.transposed_conv import TransposedConv


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskHeadConfig:
    """Sizes of the mask head.

    Attributes:
      channels: Of all its convolutions.
      convolutions: How many 3x3 convolutions.
      kind: Of those.
      output_size: Rows and columns of a region; masks have twice as many.
      class_agnostic: Whether all classes share one mask.
    """

    channels: int = 256
    convolutions: int = 4
    kind: SpatialKind = "dense"
    output_size: int = 14
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        """Refuses sizes that no head can have."""
        check_positive(self, "channels", "convolutions", "output_size")
        check_choice(self, "kind", "dense", "separable")


class MaskHead(nn.Module):
    """Convolutions, a doubling of the resolution, and logits: `conv1` ..., `upsample`, `logits`.

    Attributes:
      config: Sizes.
      num_classes: With the background, which is the first, and whose mask nothing reads.
      conv_only: Whether the doubling is spelled as a convolution; the parameters are the same.
    """

    config: MaskHeadConfig
    num_classes: int
    conv_only: bool = False

    @nn.compact
    def __call__(self, regions: Float[Array, "t s s c"]) -> Float[Array, "t m m k"]:
        """Returns one logit per pixel for every class, or for all (k = 1)."""
        config, x = self.config, regions
        for number in range(1, config.convolutions + 1):
            x = SpatialConv(config.channels, config.kind, name=f"conv{number}")(x)
        x = nn.relu(TransposedConv(config.channels, self.conv_only, name="upsample")(x))
        masks = 1 if config.class_agnostic else self.num_classes
        return Conv(masks, 1, use_bias=True, kernel_init=lecun_fan_in, name="logits")(x)
