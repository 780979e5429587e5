"""How all segmentation networks end: class scores per cell, brought to the resolution asked for."""

from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Shaped

from attokit.zoo.convolution import Conv
from attokit.zoo.initialization import lecun_fan_in
from attokit.zoo.resize import resize

Output = Literal["full", "quarter", "argmax"]


def check_output(config: Any) -> None:
    """Raises ValueError if a config's `output` is none of those that a head can give."""
    if config.output not in get_args(Output):
        raise ValueError(f"output={config.output!r}: give one of {', '.join(get_args(Output))}")


class SegmentationHead(nn.Module):
    """A 1x1 convolution to class scores, then the output of the config.

    "full" are logits at the images' resolution, "quarter" logits at a quarter of it (rounded up),
    "argmax" class ids at the images' resolution, for inference.  The variables are the same.

    Attributes:
      num_classes: Logits per pixel.
      output: What comes back.
    """

    num_classes: int
    output: Output

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h2 w2 c"], *, size: tuple[int, int], train: bool = False
    ) -> Float[Array, "b h w k"] | Int32[Array, "b h w"]:
        """Returns logits or class ids for images of `size` rows and columns.

        Raises:
          ValueError: if class ids are asked for in training: they have no gradient.
        """
        if self.output == "argmax" and train:
            raise ValueError(
                "output='argmax' has no gradient: train with output='full' or 'quarter', the "
                "variables are the same"
            )
        logits = Conv(
            self.num_classes, 1, use_bias=True, kernel_init=lecun_fan_in, name="classifier"
        )(x)
        return deliver(logits, size, self.output)


def deliver(
    logits: Float[Array, "b h2 w2 k"], size: tuple[int, int], output: Output
) -> Shaped[Array, "b h w *k"]:
    """Returns logits of any resolution as the output asked for, for images of `size`."""
    if output == "quarter":
        return resize(logits, (-(-size[0] // 4), -(-size[1] // 4)))
    logits = resize(logits, size)
    return jnp.argmax(logits, axis=-1).astype(jnp.int32) if output == "argmax" else logits
