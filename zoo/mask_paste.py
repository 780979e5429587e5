"""Masks of regions, back where they are in the image."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def paste_masks(
    masks: Float[Array, "n m m"], boxes_xyxy: Float[Array, "n 4"], image_size: tuple[int, int]
) -> Float[Array, "n h w"]:
    """Returns probabilities for every pixel of the image, 0 outside of the boxes; the caller cuts at 0.5.

    A mask spans its box; every pixel's centre reads it bilinearly, and beyond the border of the mask is a
    frame of zeros, so probabilities fall to 0 within half a cell of the mask around the box. torchvision
    rounds boxes to whole pixels first, this does not (Detectron neither).

    Args:
      masks: Probabilities.
      boxes_xyxy: In pixels. A box of no size gets no pixels.
      image_size: Height and width.
    """
    height, width = image_size
    rows = _weights(boxes_xyxy[:, 1], boxes_xyxy[:, 3], height, masks.shape[1])
    columns = _weights(boxes_xyxy[:, 0], boxes_xyxy[:, 2], width, masks.shape[2])
    lines = jnp.einsum("nhi,nij->nhj", rows, masks)
    return jnp.einsum("nhj,nwj->nhw", lines, columns)


def _weights(
    low: Float[Array, " n"], high: Float[Array, " n"], pixels: int, cells: int
) -> Float[Array, "n pixels cells"]:
    """Returns how much each pixel reads of each cell along an axis."""
    size = high - low
    centres = jnp.arange(pixels, dtype=low.dtype) + 0.5
    share = (centres[None] - low[:, None]) / jnp.where(size > 0, size, 1.0)[:, None]
    place = share * cells - 0.5  # [n, pixels], in cells
    distance = jnp.abs(place[:, :, None] - jnp.arange(cells, dtype=low.dtype)[None, None])
    return jnp.where((size > 0)[:, None, None], jnp.maximum(1.0 - distance, 0.0), 0.0)
