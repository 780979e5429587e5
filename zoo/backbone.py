"""Classifiers in two parts, a body and a head, so that the body can serve detectors and others.

The body gives maps on its way down: their names are levels, `c2` is the last map with a stride of 2**2 pixels of
the image.  So a pyramid, or any reader of features, takes every network here by the same names.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.zoo.initialization import lecun_fan_in

# Pixels of the image from cell to cell, and the map.
StridedMap = tuple[int, Float[Array, "b h w c"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """What is known of a map without running the network.

    Attributes:
      name: "c" and the level.
      stride: Pixels of the image from cell to cell, 2**level.
      channels: Of each cell.
    """

    name: str
    stride: int
    channels: int


class Backbone(nn.Module):
    """A classifier whose body can be had alone.

    A family gives `stages`, the layers of its body, and may give `classify`, what it makes of their last map, both
    marked `nn.nowrap`: they are parts of the call, and values are named after layers, not after them. Parameters of
    the body have the same names with and without the head, so weights of the whole serve the body.

    Attributes:
      config: Sizes of the network.
      features_only: Whether to return the maps of the body and to have no head.
    """

    config: Any
    features_only: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b k"] | dict[str, Float[Array, "b h2 w2 c2"]]:
        """Returns logits of images in [0, 1], or maps by name; `train` updates the batch statistics."""
        maps = list(self.stages(images, train=train))
        if self.features_only:
            return name_maps(maps)
        return self.classify(last_map(maps), train=train)

    @nn.nowrap
    def stages(self, images: Float[Array, "b h w c"], *, train: bool) -> Iterator[StridedMap]:
        """Yields every map that others may read, with its stride, from the image down."""
        raise NotImplementedError

    @nn.nowrap
    def classify(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b k"]:
        """Returns the logits of the last map: of its mean, unless a family has more of a head."""
        del train
        x = jnp.mean(x, axis=(1, 2))  # [b, c]
        return nn.Dense(
            self.config.num_classes, dtype=x.dtype, kernel_init=lecun_fan_in, name="head"
        )(x)


def name_maps(maps: Iterable[StridedMap]) -> dict[str, Float[Array, "b h w c"]]:
    """Returns the last map of every stride, named by its level."""
    return {f"c{stride.bit_length() - 1}": x for stride, x in maps}


def last_map(maps: Iterable[StridedMap]) -> Float[Array, "b h w c"]:
    """Returns the map that a body ends in."""
    *_, (_, x) = maps
    return x


def stride_of(name: str) -> int:
    """Returns the stride that a map's name stands for.

    Raises:
      ValueError: if it is no such name.
    """
    if not (name[:1] == "c" and name[1:].isdecimal()):
        raise ValueError(f"no map is called {name!r}: names are 'c' and a level, such as 'c2'")
    return 1 << int(name[1:])
