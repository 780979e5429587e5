"""Object detection: the task of naming boxes and a class for each, with a single-shot network."""

import functools
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array

from attokit.train.anchors import Anchors
from attokit.train.detection_metrics import AveragePrecision
from attokit.train.detections import FindConfig, find_objects
from attokit.train.matching import MatchConfig
from attokit.train.metrics import Mean
from attokit.train.multibox_loss import MultiBoxSums, multibox_sums, per_image
from attokit.train.padded_boxes import check_boxes
from attokit.train.task import Task, unit_images

HeadOutputs = Mapping[str, Array]


def detection_task(
    num_classes: int,
    anchors: Anchors,
    *,
    match: MatchConfig | None = None,
    find: FindConfig | None = None,
    negatives: int = 3,
) -> Task:
    """Returns the task of naming boxes and their classes.

    Batches hold `images` (uint8 [b, h, w, c]), `boxes` (float32 [b, n, 4]) and `box_labels` (int32 [b, n])
    as `train.padded_boxes` describes them. Outputs are a mapping with "boxes" [b, p, 4], offsets from the
    anchors, and "scores" [b, p, k], logits whose first is the background's. Training minimizes the MultiBox
    loss; evaluation gives it as `loss` (by positive anchor of the whole split), the values of
    `AveragePrecision`, and chooses by `ap50`.

    Args:
      num_classes: k, with the background.
      anchors: In the order of the outputs, for images of the size that is trained.
      match: When an anchor belongs to an object; the defaults if None.
      find: Which boxes are answers, in evaluation; the defaults if None.
      negatives: Hard negative anchors for each positive one, at most.

    Raises:
      ValueError: if there is no class beside the background, or no negative anchor. While tracing, if
        outputs do not fit the anchors or the classes.
    """
    if num_classes < 2 or negatives < 1:
        raise ValueError(
            f"num_classes={num_classes}, negatives={negatives}: give at least 2 classes, the background "
            "is one of them, and at least 1 negative anchor"
        )

    def sums_of(outputs: HeadOutputs, batch: Mapping[str, Array]) -> MultiBoxSums:
        check_heads(outputs, num_classes, anchors)
        return multibox_sums(
            outputs["boxes"],
            outputs["scores"],
            batch["boxes"],
            batch["box_labels"],
            anchors,
            match=match,
            negatives=negatives,
        )

    def losses(outputs: HeadOutputs, batch: Mapping[str, Array]) -> Array:
        return per_image(sums_of(outputs, batch))

    def train_metrics(outputs: HeadOutputs, batch: Mapping[str, Array], losses: Array) -> dict:
        del (
            outputs,
            batch,
            losses,
        )  # the mean loss, which the step reports, is all that comes cheaply
        return {}

    def eval_metrics(outputs: HeadOutputs, batch: Mapping[str, Array]) -> dict:
        # The loss of training is by the weights of one batch, here it is by those of the split.
        sums, mask = sums_of(outputs, batch), batch["mask"]
        total, weight = (jnp.where(mask > 0, v, 0).sum() for v in (sums.total, sums.weight))
        found = find_objects(outputs["boxes"], outputs["scores"], anchors, find)
        return {
            "loss": Mean(total, weight),
            "average_precision": AveragePrecision.of(
                found, batch["boxes"], batch["box_labels"], mask, num_classes
            ),
        }

    return Task(
        name="detection",
        check=functools.partial(check_boxes, num_classes=num_classes),
        inputs=unit_images,
        losses=losses,
        train_metrics=train_metrics,
        eval_metrics=eval_metrics,
        best_metric="ap50",
    )


def check_heads(outputs: HeadOutputs, num_classes: int, anchors: Anchors) -> None:
    """Raises ValueError unless outputs are offsets and logits of the anchors."""
    count = len(anchors.boxes_xyxy)
    shapes = {name: getattr(value, "shape", None) for name, value in dict(outputs).items()}
    batch = (shapes.get("boxes") or (0,))[0]
    if shapes != {"boxes": (batch, count, 4), "scores": (batch, count, num_classes)}:
        raise ValueError(
            f"the network gives {shapes} where {count} anchors and {num_classes} classes need boxes "
            f"[b, {count}, 4] and scores [b, {count}, {num_classes}]: set num_classes={num_classes}, and "
            "take the anchors of the network at the size of the images"
        )
