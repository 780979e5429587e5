"""Semantic segmentation: the task of naming one class per pixel."""

import functools
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attokit.train.dataset import IGNORE
from attokit.train.metrics import Confusion, Mean
from attokit.train.pixel_losses import PixelLossName, find_pixel_loss, pixel_cross_entropy
from attokit.train.pixel_metrics import MeanIou, PixelAccuracy, share_of_pixels
from attokit.train.resolution import match_resolution
from attokit.train.task import Task, unit_images

_SMOOTHED = ("cross_entropy", "cross_entropy_dice")


def _loss_options(
    num_classes: int,
    loss: str,
    label_smoothing: float,
    class_weights: Sequence[float] | None,
) -> dict:
    """Returns the keyword arguments of a loss; refuses those that it has no use for."""
    if label_smoothing and loss not in _SMOOTHED:
        raise ValueError(
            f"label_smoothing is {label_smoothing}, but loss {loss!r} has no smoothed form: set it "
            f"to 0, or choose {' or '.join(_SMOOTHED)}"
        )
    if class_weights is not None and (
        len(class_weights) != num_classes
        or not all(0 <= weight < float("inf") for weight in class_weights)
        or not any(class_weights)
    ):
        raise ValueError(
            f"class_weights are {tuple(class_weights)} for {num_classes} classes: give one finite "
            "number of 0 or more for each class, not all of them 0"
        )
    weights = None if class_weights is None else tuple(class_weights)
    smoothing = {"label_smoothing": label_smoothing} if label_smoothing else {}
    return {"class_weights": weights} | smoothing


def check_masks(batch: Mapping[str, np.ndarray], num_classes: int) -> None:
    """Refuses masks of another size than their images, or with what stands for nothing.

    Raises:
      ValueError: if there are such masks in the batch, or none.
    """
    if "masks" not in batch:
        raise ValueError(
            f"a batch holds {', '.join(batch)}, but no masks: give one class id per pixel as `masks`"
        )
    images, masks = batch["images"], batch["masks"]
    if not np.issubdtype(masks.dtype, np.integer):
        raise ValueError(f"masks are {masks.dtype}, but class ids are integers: give uint8")
    if masks.shape != images.shape[:3]:
        raise ValueError(
            f"masks of shape {masks.shape} do not fit images of shape {images.shape}: give one id per "
            "pixel, [b, h, w]"
        )
    wrong = masks[((masks >= num_classes) | (masks < 0)) & (masks != IGNORE)]
    if wrong.size:
        ids = ", ".join(map(str, np.unique(wrong)[:5].tolist()))
        raise ValueError(
            f"masks hold id {ids} in {wrong.size} pixels of a batch, but the {num_classes} classes "
            f"have ids 0 to {num_classes - 1}: correct the masks, or write {IGNORE} where a pixel has "
            "no class"
        )


def segmentation_task(
    num_classes: int,
    *,
    loss: PixelLossName = "cross_entropy",
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> Task:
    """Returns the task of naming one class per pixel.

    Batches hold `images` (uint8 [b, h, w, c]) and `masks` (uint8 [b, h, w], `IGNORE` where a pixel
    has no class); outputs are logits [b, h, w, k], or a whole number of times smaller, which are then
    resized bilinearly. Evaluation reports the plain cross entropy of the pixels whatever the
    training loss is, `mean_iou`, `pixel_accuracy` and the `confusion` counts.

    Args:
      num_classes: k.
      loss: A name of `pixel_losses.PIXEL_LOSSES`.
      label_smoothing: Of the cross entropy in the loss.
      class_weights: One per class; None for 1 each.

    Raises:
      ValueError: if the loss is unknown or an option does not fit it. While tracing, if outputs do
        not fit the classes or the masks.
    """
    pixel_loss = find_pixel_loss(loss)
    options = _loss_options(num_classes, loss, label_smoothing, class_weights)

    def fit_logits(outputs: Array, batch: Mapping[str, Array]) -> Array:
        logits = match_resolution(outputs, batch["masks"])
        if logits.shape[-1] != num_classes:
            raise ValueError(
                f"the network gives {logits.shape[-1]} logits per pixel for {num_classes} classes: "
                f"set num_classes={num_classes}"
            )
        return logits

    def losses(outputs: Array, batch: Mapping[str, Array]) -> Array:
        return pixel_loss(fit_logits(outputs, batch), batch["masks"], **options)

    def train_metrics(outputs: Array, batch: Mapping[str, Array], losses: Array) -> dict:
        del losses  # their mean the step reports for every task
        return {"pixel_accuracy": share_of_pixels(fit_logits(outputs, batch), batch["masks"])}

    def eval_metrics(outputs: Array, batch: Mapping[str, Array]) -> dict:
        logits, masks, mask = fit_logits(outputs, batch), batch["masks"], batch["mask"]
        predictions = logits.argmax(-1).astype(jnp.int32)
        counts = Confusion.of_predictions(predictions, masks, num_classes, mask)
        return {
            # Whatever is trained, the plain one compares.
            "loss": Mean.of(pixel_cross_entropy(logits, masks), mask),
            "mean_iou": MeanIou(counts.low, counts.high),
            "pixel_accuracy": PixelAccuracy(counts.low, counts.high),
            "confusion": counts,
        }

    return Task(
        name="segmentation",
        check=functools.partial(check_masks, num_classes=num_classes),
        inputs=unit_images,
        losses=losses,
        train_metrics=train_metrics,
        eval_metrics=eval_metrics,
        best_metric="mean_iou",
    )
