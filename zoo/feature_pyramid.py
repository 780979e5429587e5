"""Feature pyramid: maps of a body, made equally wide and told what the coarser ones see (Lin et al. 2016)."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.convolution import Conv
from attokit.zoo.spatial_conv import SpatialConv, SpatialKind


class FeaturePyramid(nn.Module):
    """Narrows every map by a 1x1 convolution, adds the coarser one enlarged, and smooths by a 3x3 convolution.

    Parameters are named from fine to coarse: `lateral1` ..., `output1` ...

    Attributes:
      channels: Of every map.
      kind: Of the 3x3 convolutions.
      norm: Whether batch norms follow the convolutions, else biases.
      coarser: Whether to add a map of every second cell of the coarsest.
    """

    channels: int
    kind: SpatialKind = "dense"
    norm: bool = False
    coarser: bool = True

    @nn.compact
    def __call__(
        self, maps: Sequence[Float[Array, "b _ _ _"]], *, train: bool = False
    ) -> tuple[Float[Array, "b _ _ c"], ...]:
        """Returns as many maps as given, from fine to coarse as they are, or one more."""
        sums: list[Array] = []
        for number in range(len(maps), 0, -1):
            lateral = self._lateral(f"lateral{number}", maps[number - 1], train)
            sums.insert(0, lateral + enlarge(sums[0], lateral.shape[1:3]) if sums else lateral)
        outputs = [
            SpatialConv(self.channels, self.kind, self.norm, "none", name=f"output{number}")(
                x, train=train
            )
            for number, x in enumerate(sums, start=1)
        ]
        if self.coarser:
            outputs.append(outputs[-1][:, ::2, ::2])
        return tuple(outputs)

    def _lateral(self, name: str, x: Array, train: bool) -> Array:
        if self.norm:
            return ConvNorm(self.channels, activation="none", name=name)(x, train=train)
        return Conv(self.channels, 1, use_bias=True, name=name)(x)


def enlarge(x: Float[Array, "b h w c"], size: Sequence[int]) -> Float[Array, "b h2 w2 c"]:
    """Returns a map in which every cell is four, cut to a size; for maps that were halved rounding up.

    Raises:
      ValueError: if the size is not twice the map's, or one less.
    """
    b, h, w, c = x.shape
    if size[0] not in (2 * h, 2 * h - 1) or size[1] not in (2 * w, 2 * w - 1):
        raise ValueError(
            f"a map of {h}x{w} is not half of {size[0]}x{size[1]}: give maps of successive levels"
        )
    # Broadcasting, because the gradient of repeating is a scatter.
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
    return x[:, : size[0], : size[1]]
