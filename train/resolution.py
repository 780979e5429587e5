"""Dense outputs at the resolution of their labels."""

import jax
from jaxtyping import Array, Float, Shaped


def match_resolution(
    outputs: Float[Array, "b h w c"], labels: Shaped[Array, "b height width"]
) -> Float[Array, "b height width c"]:
    """Returns outputs at the height and width of the labels, by bilinear interpolation.

    Pixel centres are at halves, as in TFLite's RESIZE_BILINEAR with `half_pixel_centers`. Networks
    may so end at a quarter of the resolution and learn from whole masks.

    Raises:
      ValueError: if the labels are not a whole number of times as large, the same in both axes.
    """
    size = labels.shape[1:]
    if outputs.ndim != 4:
        raise ValueError(
            f"outputs of shape {outputs.shape} for labels of {size} pixels: the network must give "
            "one vector per pixel, [b, h, w, k]; in training, no ids (output='argmax')"
        )
    b, height, width, c = outputs.shape
    if (height, width) == size:
        return outputs
    factor = size[0] // height
    if factor < 1 or size != (height * factor, width * factor):
        raise ValueError(
            f"outputs of {(height, width)} pixels do not fit labels of {size}: the labels must be a "
            "whole number of times as large; choose an image size that the strides divide"
        )
    return jax.image.resize(outputs, (b, *size, c), "bilinear")
