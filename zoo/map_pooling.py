"""Where a network may pool by RNNPool, and what it is compared with there.

After the first convolution a pooling takes the place of the blocks with the largest maps; at the end
it makes a vector of the last map (Saha et al. 2020, section 4 and table 2).

Deviation: the paper does not say how average and maximum get the channels of RNNPool; a 1x1
convolution after them, and a strided convolution straight to them, give its differences in parameters and
multiply-adds.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from attokit.zoo.conv_norm import ConvNorm
from attokit.zoo.rnnpool import RNNPool, replicate_edges

StemPoolingKind = Literal["rnnpool", "average", "max", "strided"]
LastPoolingKind = Literal["average", "rnnpool"]


class StemPooling(nn.Module):
    """Pools overlapping patches, and repeats the last row and column, so that four pixels become one.

    Attributes:
      kind: RNNPool with as many states in both cells, or what it is compared with: an average or a
        maximum and a 1x1 convolution, or one convolution with the size and stride of the patches.
      features: Output channels; a multiple of 4 for RNNPool.
      patch_size: Side of the patches.
      stride: Pixels from patch to patch.
      freeze_gate_scalars: As `RNNPool` has it.
      epsilon: Of the norms.
    """

    kind: StemPoolingKind
    features: int
    patch_size: int = 6
    stride: int = 4
    freeze_gate_scalars: bool = False
    epsilon: float = 1e-3

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w k"], *, train: bool = False
    ) -> Float[Array, "b h2 w2 c"]:
        """Returns the pooled map.

        Raises:
          ValueError: if the map is smaller than a patch, or RNNPool cannot make these channels.
        """
        if self.kind == "rnnpool":
            hidden = (_quarter(self.features),) * 2
            x = RNNPool(
                hidden,
                self.patch_size,
                stride=self.stride,
                freeze_gate_scalars=self.freeze_gate_scalars,
                name="rnnpool",
            )(x)
        elif self.kind == "strided":
            x = ConvNorm(
                self.features,
                self.patch_size,
                strides=self.stride,
                padding="VALID",
                activation="relu6",
                epsilon=self.epsilon,
                name="strided",
            )(x, train=train)
        else:
            window, steps = (self.patch_size,) * 2, (self.stride,) * 2
            if self.kind == "average":
                x = nn.pooling.pool(x, 0.0, lax.add, window, steps, "VALID") / self.patch_size**2
            else:
                x = nn.max_pool(x, window, steps)
            x = ConvNorm(self.features, activation="relu6", epsilon=self.epsilon, name="widen")(
                x, train=train
            )
        return replicate_edges(x)


class LastPooling(nn.Module):
    """Makes a vector of a map: its average, or RNNPool of all of it as one patch.

    Attributes:
      kind: RNNPool has a quarter of the channels as states of both cells.
      freeze_gate_scalars: As `RNNPool` has it.
    """

    kind: LastPoolingKind
    freeze_gate_scalars: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
        """Returns one vector per image, with as many channels as the map.

        Raises:
          ValueError: if the map is not square, or RNNPool cannot make these channels.
        """
        if self.kind == "average":
            return jnp.mean(x, axis=(1, 2))
        hidden = (_quarter(x.shape[-1]),) * 2
        x = RNNPool(hidden, None, freeze_gate_scalars=self.freeze_gate_scalars, name="rnnpool")(
            x
        )  # [b, 1, 1, c]
        return x.reshape(x.shape[0], -1)


def _quarter(channels: int) -> int:
    if channels % 4:
        raise ValueError(
            f"RNNPool makes four vectors of equal size, not {channels} channels: give a multiple of 4"
        )
    return channels // 4
