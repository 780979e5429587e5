"""The affine that weights trained elsewhere expect between images in [0, 1] and the first layer."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

Channels = tuple[float, ...] | None


def standardize(
    images: Float[Array, "b h w c"], mean: Channels, std: Channels
) -> Float[Array, "b h w c"]:
    """Returns (images - mean) / std, per channel; the images themselves where both are None.

    Raises:
      ValueError: if there are not as many numbers as channels.
    """
    if mean is None or std is None:
        return images
    if not len(mean) == len(std) == images.shape[-1]:
        raise ValueError(
            f"images have {images.shape[-1]} channels and input_mean={mean}, input_std={std}: give one "
            "number per channel"
        )
    shift, scale = (
        jnp.asarray(values, images.dtype).reshape(1, 1, 1, -1) for values in (mean, std)
    )
    return (images - shift) / scale


def check_standardization(config: Any) -> None:
    """Raises ValueError if a config has one of input_mean and input_std, or a deviation not above 0."""
    mean, std = config.input_mean, config.input_std
    if (mean is None) != (std is None):
        raise ValueError(f"input_mean={mean} and input_std={std}: give both or none")
    if std is not None and min(std) <= 0:
        raise ValueError(f"input_std={std}: give positive numbers")
