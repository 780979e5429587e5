"""Dense prediction with several views of an image, and with windows of a large one.

Each function wraps one from images [b, h, w, c] to logits [b, h, w, k], or logits a whole number of
times smaller, and returns another of the same kind, so they can be nested.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from attokit.train.forward import Forward
from attokit.train.resolution import match_resolution

Predict = Callable[[Float[Array, "b h w c"]], Float[Array, "b h w k"]]


def _resize(array: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """Returns an array resized bilinearly; smaller ones are low-pass filtered."""
    return jax.image.resize(array, (array.shape[0], *size, array.shape[-1]), "bilinear")


def average_views(
    predict: Predict,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    multiple_of: int = 32,
) -> Predict:
    """Returns a function that averages the probabilities of resized and mirrored images.

    It gives the logarithm of the mean of the softmax over all views, at the resolution of the image:
    logits again, whose softmax is that mean (multi-scale and flip evaluation).

    Args:
      predict: Images to logits.
      scales: Factors of the image's size.
      flip: Whether each scale is also seen mirrored left to right.
      multiple_of: Resized images have a height and a width that this divides, as the strides of the
        network want; at scale 1 the image stays as it is.

    Raises:
      ValueError: if there is no scale, or one that is not above 0.
    """
    if not scales or not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(f"scales are {tuple(scales)}: give one or more factors above 0")
    if multiple_of < 1:
        raise ValueError(f"multiple_of is {multiple_of}: give 1 or more pixels")

    def scaled_size(pixels: int, scale: float) -> int:
        return pixels if scale == 1 else max(1, round(pixels * scale / multiple_of)) * multiple_of

    def log_probabilities(images: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        size = (images.shape[1], images.shape[2])
        total = None
        for scale in scales:
            scaled = (scaled_size(size[0], scale), scaled_size(size[1], scale))
            view = images if scaled == size else _resize(images, scaled)
            for mirrored in (False, True) if flip else (False,):
                logits = predict(view[:, :, ::-1] if mirrored else view)
                logits = logits[:, :, ::-1] if mirrored else logits
                logits = _resize(logits, size) if logits.shape[1:3] != size else logits
                new = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))
                total = new if total is None else jnp.logaddexp(total, new)
        assert total is not None  # there is a scale
        return total - float(np.log(len(scales) * (2 if flip else 1)))

    return log_probabilities


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Returns where windows begin: the fewest, evenly spread, that cover `size` pixels.

    Neighbours share at least `overlap` of a window.
    """
    stride = max(1, window - round(window * overlap))
    count = -(-max(0, size - window) // stride) + 1
    return np.rint(np.linspace(0, max(0, size - window), count)).astype(int).tolist()


def slide_window(predict: Predict, window: tuple[int, int], *, overlap: float = 1 / 3) -> Predict:
    """Returns a function that sees an image in windows, and averages logits where they overlap.

    All windows go through `predict` as one batch. An image smaller than the window is continued to
    the right and below by its border pixels. An image of the window's size is seen plainly.

    Args:
      predict: Images of the window's size to logits.
      window: Height and width.
      overlap: Share of a window that neighbours have in common, at least.

    Raises:
      ValueError: if the window is empty or windows would overlap wholly.
    """
    if min(window) < 1 or not 0 <= overlap < 1:
        raise ValueError(
            f"windows of {window} pixels that overlap by {overlap}: give two sizes of 1 or more and "
            "a share from 0 to below 1"
        )

    def logits_of(images: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        b, height, width, _ = images.shape
        missing = [(0, max(0, w - s)) for s, w in zip((height, width), window, strict=True)]
        if any(after for _, after in missing):
            images = jnp.pad(images, ((0, 0), *missing, (0, 0)), "edge")
        size = images.shape[1:3]
        axes = (window_starts(s, w, overlap) for s, w in zip(size, window, strict=True))
        parts = [
            (slice(None), slice(top, top + window[0]), slice(left, left + window[1]))
            for top, left in itertools.product(*axes)
        ]
        patches = jnp.concatenate([images[part] for part in parts])  # [n*b, *window, c]
        logits = jnp.asarray(predict(patches))
        logits = match_resolution(logits, patches[..., 0])
        total = jnp.zeros((b, *size, logits.shape[-1]), logits.dtype)
        count = np.zeros((1, *size, 1), np.float32)
        for part, values in zip(parts, jnp.split(logits, len(parts)), strict=True):
            total = total.at[part].add(values)
            count[part] += 1
        return (total / jnp.asarray(count, logits.dtype))[:, :height, :width]

    return logits_of


def dense_forward(
    forward: Forward,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    multiple_of: int = 32,
    window: tuple[int, int] | None = None,
    overlap: float = 1 / 3,
) -> Forward:
    """Returns a network for `evaluate` that sees images in several views, or in windows, or both.

    Pass the same object again to reuse the compiled step. Arguments are those of `average_views`
    and `slide_window`; without a window every view is seen whole.

    Raises:
      ValueError: as those do; and when it is called to train.
    """
    average_views(lambda x: x, scales=scales, flip=flip, multiple_of=multiple_of)  # refuses early
    if window is not None:
        slide_window(lambda x: x, window, overlap=overlap)

    def views(
        params: PyTree, model_state: PyTree, inputs: Array, *, train: bool, key: Array
    ) -> tuple[Array, PyTree]:
        if train:
            raise ValueError(
                "train is True, but several views of an image are for evaluation: train the network "
                "itself"
            )

        def predict(images: Array) -> Array:
            return forward(params, model_state, images, train=False, key=key)[0]

        seen = predict if window is None else slide_window(predict, window, overlap=overlap)
        seen = average_views(seen, scales=scales, flip=flip, multiple_of=multiple_of)
        return seen(inputs), model_state

    return views
