"""Several views of each image for whatever names pixels: scaled, mirrored, in windows."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from attokit.predictor import Predictor
from attokit.train import average_views, slide_window


def in_views(
    predictor: Predictor,
    size: tuple[int, int],
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    window: tuple[int, int] | None = None,
) -> Predictor:
    """Returns a predictor of logits that sees images of a size as `train.dense_forward` does.

    Each view is rounded to bytes again, which all predictors take, and has exactly the scaled size: a
    small image would else be drawn out of shape by the strides, which networks here do not mind. One
    view of the whole image is the predictor itself.

    Args:
      predictor: Gives logits [b, h, w, k], or a whole number of times smaller.
      size: Height and width of the images.
      scales: As of `train.average_views`, like `flip`.
      flip: Likewise.
      window: As of `train.slide_window`.

    Raises:
      ValueError: if the predictor gives class ids, or only takes another size than it would see, or
        as those two functions do.
    """
    own = predictor.image_shape[:2]
    scaled = any(scale != 1 for scale in scales)
    seen = window or size
    if not predictor.any_size and (seen != own or (scaled and window is None)):
        raise ValueError(
            f"{predictor.name} takes images of {own[0]}x{own[1]} only: see others, and scaled ones, in "
            f"windows of that size (--window {own[0]} {own[1]})"
        )
    if not scaled and not flip and window is None:
        return predictor
    if predictor.num_classes is None:
        raise ValueError(
            f"{predictor.name} gives class ids, and views are averaged as logits: take a file that "
            "ends in logits"
        )

    def plain(images: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 k"]:
        values = np.asarray(jnp.clip(jnp.rint(images), 0, 255))
        return jnp.asarray(predictor.outputs(values.astype(np.uint8)))

    predict = plain if window is None else slide_window(plain, window)
    views = average_views(predict, scales=scales, flip=flip, multiple_of=1)

    def outputs(images: UInt8[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b h w k"]:
        return np.asarray(views(jnp.asarray(images, jnp.float32)))

    return dataclasses.replace(predictor, outputs=outputs)
