"""The second stage of Faster R-CNN: which class, and where exactly, of every region."""

import dataclasses

import flax.linen as nn
from jaxtyping import Array, Float

from attokit.zoo.initialization import of_deviation
from attokit.zoo.map_dense import MapDense
from attokit.zoo.sizes import check_choice, check_positive
from attokit.zoo.spatial_conv import SpatialConv, SpatialKind


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxHeadConfig:
    """Sizes of the box head.

    Attributes:
      hidden: Widths of the layers before the predictors; the first reads the whole region.
      convolutions: How many 3x3 convolutions come before them, with the channels of the region.
      kind: Of those.
      output_size: Rows and columns of a region.
      class_agnostic: Whether all classes share one box.
    """

    hidden: tuple[int, ...] = (1024, 1024)
    convolutions: int = 0
    kind: SpatialKind = "dense"
    output_size: int = 7
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        """Refuses sizes that no head can have."""
        check_positive(self, "output_size")
        check_choice(self, "kind", "dense", "separable")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden={self.hidden}: give a positive width for each layer")
        if self.convolutions < 0:
            raise ValueError(f"convolutions={self.convolutions}: give 0 or more")


class BoxHead(nn.Module):
    """Convolutions, layers and two predictors: `conv1` ..., `hidden1` ..., `classes` and `boxes`.

    Attributes:
      config: Sizes.
      num_classes: With the background, which is the first.
      conv_only: Whether layers are spelled as convolutions; the parameters are the same.
    """

    config: BoxHeadConfig
    num_classes: int
    conv_only: bool = False

    @nn.compact
    def __call__(
        self, regions: Float[Array, "t s s c"]
    ) -> tuple[Float[Array, "t k"], Float[Array, "t k2 4"]]:
        """Returns logits, and offsets from the boxes of the regions for every class, or for all (k2 = 1)."""
        config, x = self.config, regions
        for number in range(1, config.convolutions + 1):
            x = SpatialConv(x.shape[-1], config.kind, name=f"conv{number}")(x)
        for number, width in enumerate(config.hidden, start=1):
            x = nn.relu(MapDense(width, self.conv_only, name=f"hidden{number}")(x))
        shapes = 1 if config.class_agnostic else self.num_classes
        logits = MapDense(self.num_classes, self.conv_only, of_deviation(0.01), name="classes")(x)
        offsets = MapDense(4 * shapes, self.conv_only, of_deviation(0.001), name="boxes")(x)
        return logits.reshape(len(x), -1), offsets.reshape(len(x), shapes, 4)
