"""Depth from one image: reverse Huber loss and the task of naming one distance per pixel."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attokit.train.depth_metrics import (
    absolute_log10_error,
    relative_error,
    root_mean_square,
    within_ratio,
)
from attokit.train.metrics import Mean
from attokit.train.resolution import match_resolution
from attokit.train.task import Task, unit_images

# Of the largest error of a batch: where the loss turns from linear to quadratic.
_THRESHOLD_SHARE = 0.2


def reverse_huber(
    predictions: Float[Array, "b h w"],
    targets: Float[Array, "b h w"],
    valid: Bool[Array, "b h w"] | None = None,
) -> Float[Array, " b"]:
    """Returns the mean over the valid pixels of each image of the reverse Huber loss (berHu).

    With the error d it is |d| up to c and (d^2 + c^2) / (2 c) beyond, where c is a fifth of the
    largest |d| of the batch: both branches have value c and slope 1 at c (Laina et al., "Deeper
    depth prediction with fully convolutional residual networks", section 3.2). c is no function
    of the parameters for the gradient. An image without a valid pixel costs exactly 0.

    Args:
      predictions: In any unit.
      targets: In the same unit.
      valid: Which pixels have a target; all of them if None.
    """
    valid = jnp.ones(targets.shape, bool) if valid is None else valid
    # The target first: where it is missing it may be NaN, which no later choice takes back.
    errors = jnp.abs(jnp.where(valid, predictions - jnp.where(valid, targets, 0), 0))
    threshold = jax.lax.stop_gradient(_THRESHOLD_SHARE * errors.max())
    divisor = 2 * jnp.where(threshold > 0, threshold, 1)  # no error at all: |d| is 0 everywhere
    values = jnp.where(errors <= threshold, errors, (errors**2 + threshold**2) / divisor)
    count = jnp.maximum(valid.sum((1, 2)), 1).astype(jnp.float32)
    return jnp.where(valid, values, 0).sum((1, 2)) / count


def depth_task() -> Task:
    """Returns the task of naming one depth per pixel.

    Batches hold `images` (uint8 [b, h, w, c]) and `depths` (float32 [b, h, w], 0 or not finite where
    there is no measurement); outputs are depths [b, h, w, 1] in the same unit, or a whole number of
    times smaller, which are then resized bilinearly. Trained with the reverse Huber loss; evaluation
    gives the usual `rel`, `rms`, `log10` and `delta1` to `delta3`, over all pixels of the split.
    """

    def fit_depths(outputs: Array, batch: Mapping[str, Array]) -> Array:
        predictions = match_resolution(outputs, batch["depths"])
        if predictions.shape[-1] != 1:
            raise ValueError(
                f"the network gives {predictions.shape[-1]} numbers per pixel, a depth is one: set "
                "num_classes=1"
            )
        return predictions[..., 0].astype(jnp.float32)

    def losses(outputs: Array, batch: Mapping[str, Array]) -> Array:
        targets = batch["depths"]
        return reverse_huber(fit_depths(outputs, batch), targets, measured(targets))

    def train_metrics(outputs: Array, batch: Mapping[str, Array], losses: Array) -> dict:
        del losses  # their mean the step reports for every task
        targets = batch["depths"]
        return {"rel": relative_error(fit_depths(outputs, batch), targets, measured(targets))}

    def eval_metrics(outputs: Array, batch: Mapping[str, Array]) -> dict:
        predictions, targets = fit_depths(outputs, batch), batch["depths"]
        counted = measured(targets) & (batch["mask"] > 0)[:, None, None]
        return {
            "loss": Mean.of(losses(outputs, batch), batch["mask"]),
            "rel": relative_error(predictions, targets, counted),
            "rms": root_mean_square(predictions, targets, counted),
            "log10": absolute_log10_error(predictions, targets, counted),
        } | {
            f"delta{power}": within_ratio(predictions, targets, counted, 1.25**power)
            for power in (1, 2, 3)
        }

    return Task(
        name="depth",
        inputs=unit_images,
        losses=losses,
        train_metrics=train_metrics,
        eval_metrics=eval_metrics,
        best_metric="rel",
        larger_is_better=False,
    )


def measured(depths: Float[Array, "b h w"]) -> Bool[Array, "b h w"]:
    """Returns where a depth map holds a measurement: a finite number above 0."""
    return (depths > 0) & jnp.isfinite(depths)
