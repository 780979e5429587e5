"""Mixup and cutmix: training images blended with, or partly covered by, the next one of the batch.

What to mix is drawn on the host with the rest of the augmentation (`mix_shares`, `mix_boxes` of a
batch); the mixing itself is part of the step, since the next image may lie on another device. The loss
is blended as the images are, which for the cross entropy is the loss of the blended target.

Zhang et al., "mixup: Beyond empirical risk minimization", 2018; Yun et al., "CutMix", 2019.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from attokit.train.task import Task


def draw_mixing(
    rng: np.random.Generator, count: int, *, mixup: float, cutmix: float
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, "b 4"]]:
    """Returns the own share of each image outside of a box, and the box that the partner covers.

    Boxes are top, left, bottom, right as shares of height and width; an empty one covers nothing.

    Args:
      rng: Draws the same numbers whatever is switched on.
      count: Images.
      mixup: Alpha of the Beta distribution (both parameters) of the share; 0 for no blending.
      cutmix: The same, of the area that stays; 0 for no boxes. With both, each image gets one or
        the other with equal probability.
    """
    covers = rng.random(count) < 0.5
    centers = rng.random((count, 2))
    seeds = rng.integers(0, 2**32, 2)  # Beta takes a number of draws that depends on alpha
    if not (mixup and cutmix):
        covers = np.full(count, bool(cutmix))
    blend = np.random.default_rng(seeds[0]).beta(mixup, mixup, count) if mixup else np.ones(count)
    stays = np.random.default_rng(seeds[1]).beta(cutmix, cutmix, count) if cutmix else 1.0
    halves = np.sqrt(1 - np.broadcast_to(stays, (count,)))[:, None] / 2
    boxes = np.clip(np.concatenate([centers - halves, centers + halves], axis=1), 0, 1)
    shares = np.where(covers, 1.0, blend).astype(np.float32)
    return shares, (boxes * covers[:, None]).astype(np.float32)


def own_share(
    shares: Float[Array, " b"], boxes: Float[Array, "b 4"], size: tuple[int, int]
) -> Float[Array, "b h w"]:
    """Returns how much of each pixel is the image's own: 0 inside its box, its share outside."""

    def inside(start: Array, stop: Array, pixels: int) -> Array:
        places = jnp.arange(pixels)[None]
        first, last = (jnp.round(end * pixels).astype(jnp.int32) for end in (start, stop))
        return (places >= first[:, None]) & (places < last[:, None])

    rows = inside(boxes[:, 0], boxes[:, 2], size[0])
    columns = inside(boxes[:, 1], boxes[:, 3], size[1])
    covered = rows[:, :, None] & columns[:, None, :]
    return jnp.where(covered, jnp.float32(0), shares[:, None, None])


def mixed_task(task: Task) -> Task:
    """Returns a task whose training images and losses are mixed as the batch says.

    The accuracy in training is that of the image's own label.
    """

    def next_rows(batch: Mapping[str, Array]) -> dict[str, Array]:
        return {name: jnp.roll(values, -1, axis=0) for name, values in batch.items()}

    def shares(batch: Mapping[str, Array]) -> Float[Array, "b h w"]:
        _, height, width, _ = batch["images"].shape
        return own_share(batch["mix_shares"], batch["mix_boxes"], (height, width))

    def inputs(batch: Mapping[str, Array]) -> PyTree:
        images = task.inputs(batch)
        own = shares(batch)[..., None]
        return own * images + (1 - own) * jnp.roll(images, -1, axis=0)

    def losses(outputs: Any, batch: Mapping[str, Array]) -> Float[Array, " b"]:
        own = shares(batch).mean((1, 2))
        partner = task.losses(outputs, next_rows(batch))
        return own * task.losses(outputs, batch) + (1 - own) * partner

    return dataclasses.replace(task, inputs=inputs, losses=losses)


def check_mixing(task: Task) -> None:
    """Raises ValueError if mixed images have no meaning in a task."""
    if task.name != "classification":
        raise ValueError(
            f"mixup and cutmix blend one label per image, and the task is {task.name}: set them to 0"
        )
