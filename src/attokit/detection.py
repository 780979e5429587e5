"""Detection on the command line: boxes with a class each, average precision, pictures with outlines.

`Predictor.outputs` are what the heads of a single-shot detector say, "boxes" [b, p, 4] and "scores"
[b, p, k], and `Predictor.anchors` is what they start from; or `train.Detections`, of a file that chooses.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table

from attokit.chosen_boxes import read_chosen
from attokit.detector_metadata import read_anchors
from attokit.export import DetectionPostProcess, write
from attokit.export.anatomy import Inspection
from attokit.file_outputs import FileOutputs
from attokit.measuring import measure
from attokit.overlays import outline, picture_folder, picture_places
from attokit.predictor import Predictor
from attokit.train import (
    Anchors,
    Dataset,
    Detections,
    FindConfig,
    Source,
    check_boxes,
    detection_task,
    find_objects,
    read_image,
)
from attokit.train.detection_metrics import AveragePrecision
from attokit.train.metrics import Metric

BATCH_SIZE = 32
_LEAST_SCORE = 0.3  # of what is shown


def check_outputs(model: str, outputs: Any, dataset: Dataset) -> None:
    """Raises ValueError unless a model's outputs for one image are offsets and logits of anchors."""
    shapes = {name: value.shape for name, value in outputs.items()} if _is_heads(outputs) else None
    if shapes is None:
        raise ValueError(
            f"{model} does not give boxes and scores of anchors: choose a single-shot detector"
        )
    if shapes["scores"][-1] != dataset.num_classes:
        raise ValueError(
            f"{model} gives logits of {shapes['scores'][-1]} classes, {dataset.name} has "
            f"{dataset.num_classes} with the background: set num_classes={dataset.num_classes}"
        )


def _is_heads(outputs: Any) -> bool:
    """Returns whether outputs, or what tells of their shapes, are offsets and logits of anchors."""
    if not isinstance(outputs, Mapping) or outputs.keys() != {"boxes", "scores"}:
        return False
    boxes, scores = tuple(outputs["boxes"].shape), tuple(outputs["scores"].shape)
    return len(boxes) == len(scores) == 3 and boxes[2] == 4 and boxes[:2] == scores[:2]


def read_file(info: Inspection) -> FileOutputs | None:
    """Returns how to read a detector's file; None if it is none.

    It either chooses its boxes itself, or tells its prior boxes.

    Raises:
      ValueError: if it tells them in a damaged form, or others than it has outputs for.
    """
    if not _is_heads(info.outputs):
        return read_chosen(info)
    anchors = read_anchors(info.metadata)
    if anchors is None:
        return None
    count, classes = info.outputs["scores"].shape[1:]
    if len(anchors.boxes_xyxy) != count:
        raise ValueError(
            f"the file has outputs for {count} prior boxes, its metadata tells {len(anchors.boxes_xyxy)}: "
            "export it again"
        )
    return FileOutputs(num_classes=classes, decode=dict, anchors=anchors)


def app_ending(network: nn.Module, image_shape: tuple[int, int, int]) -> Mapping[str, Any]:
    """Returns what makes a detector's file choose boxes itself, as `predict` does."""
    return post_process(network, image_shape, FindConfig(score_threshold=_LEAST_SCORE))


def post_process(
    network: nn.Module, image_shape: tuple[int, int, int], rules: FindConfig
) -> Mapping[str, Any]:
    """Returns what makes a detector's file choose boxes itself: arguments of `export.to_tflite`.

    Args:
      network: Of the zoo.
      image_shape: Of its images.
      rules: Which boxes are answers; the operator looks at all, not at some candidates.
    """
    config = getattr(network, "config")  # noqa: B009  Linen modules promise none
    chosen = DetectionPostProcess(
        anchors_cxcywh=np.asarray(config.priors(image_shape[:2])),
        iou_threshold=rules.iou_threshold,
        score_threshold=rules.score_threshold,
        max_detections=rules.most,
        per_class=True,
    )
    return {"detection": chosen}


def _found(outputs: Any, anchors: Anchors | None, config: FindConfig) -> Detections:
    """Returns the objects in images, by a detector's outputs."""
    if anchors is not None:
        return find_objects(outputs["boxes"], outputs["scores"], anchors, config)
    if not isinstance(outputs, Detections):
        raise ValueError("the detector has no prior boxes: give one of this version")
    # It has chosen; what it did not see stays unseen.
    return outputs.kept(outputs.scores > config.score_threshold)


def _metrics(
    anchors: Anchors | None, num_classes: int
) -> Callable[[Any, Mapping[str, Any]], dict[str, Metric]]:
    """Returns what is measured: all that training reports, or of chosen boxes their precision alone."""
    if anchors is not None:
        return detection_task(num_classes, anchors).eval_metrics

    def of_chosen(outputs: Any, batch: Mapping[str, Any]) -> dict[str, Metric]:
        found = _found(outputs, None, FindConfig(score_threshold=0.0))
        precision = AveragePrecision.of(
            found, batch["boxes"], batch["box_labels"], batch["mask"], num_classes
        )
        return {"average_precision": precision}

    return of_chosen


def check_classes(predictor: Predictor, dataset: Dataset) -> None:
    """Raises ValueError unless a network has as many classes as the data."""
    if predictor.num_classes != dataset.num_classes:
        raise ValueError(
            f"{predictor.name} has {predictor.num_classes} classes with the background, {dataset.name} "
            f"has {dataset.num_classes}: give the data that it was trained on"
        )


def found_table(title: str) -> Table:
    """Returns the empty table of what is found in images; see `add_found`."""
    return Table("image", "class", "score", "left, top, right, bottom", title=title)


def add_found(
    table: Table,
    image: pathlib.Path,
    names: Mapping[int, str],
    labels: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    boxes_xyxy: Float[np.ndarray, "n 4"],
) -> None:
    """Adds a row for each object of an image to a table, or one that says there is nothing.

    Args:
      table: Of `found_table`.
      image: Its file.
      names: Of the classes, by label.
      labels: Of the objects, the best first.
      scores: Likewise, in [0, 1].
      boxes_xyxy: Likewise, in pixels.
    """
    for rank, (label, score, box) in enumerate(zip(labels, scores, boxes_xyxy, strict=True)):
        place = ", ".join(f"{side:.0f}" for side in box)
        table.add_row("" if rank else str(image), names[int(label)], f"{score:.2f}", place)
    if not len(labels):
        table.add_row(str(image), "nothing", "", "")


def evaluate(
    predictor: Predictor, dataset: Dataset, source: Source, *, batch_size: int | None = None
) -> dict[str, float | np.ndarray]:
    """Returns the metrics that training reports: loss and average precision.

    Args:
      predictor: Of a detector. One that chooses its boxes itself has no loss, and its precision is of what its
        own threshold lets through.
      dataset: What the source is of.
      source: The split.
      batch_size: Images at a time; None chooses.

    Raises:
      ValueError: if the classes of the network are not those of the data.
    """
    check_classes(predictor, dataset)
    return measure(
        predictor,
        source,
        _metrics(predictor.anchors, dataset.num_classes),
        check=functools.partial(check_boxes, num_classes=dataset.num_classes),
        batch_size=batch_size or BATCH_SIZE,
    )


def details(metrics: Mapping[str, float | np.ndarray], class_names: Sequence[str]) -> Table:
    """Returns the average precision of every class."""
    table = Table("class", "AP@0.5", title="by class")
    table.columns[1].justify = "right"
    values = np.asarray(metrics["ap50_by_class"])
    for name, value in zip(class_names[1:], values, strict=True):
        table.add_row(name, "none" if np.isnan(value) else f"{value:.4f}")
    return table


def predict(
    predictor: Predictor,
    images: Sequence[pathlib.Path],
    console: Console,
    *,
    output: pathlib.Path | None = None,
    score: float | None = None,
) -> None:
    """Prints the objects in images and writes each image with their outlines into a folder.

    Raises:
      ValueError: if a file cannot be read as an image, the folder is a file, or the score is no share.
      OSError: if the folder or a file cannot be written.
    """
    config = FindConfig(score_threshold=_LEAST_SCORE if score is None else score)
    find = jax.jit(functools.partial(_found, anchors=predictor.anchors, config=config))
    folder = picture_folder(output)
    pictures = [read_image(image, predictor.image_shape) for image in images]
    folder.mkdir(parents=True, exist_ok=True)
    table = found_table(predictor.name)
    written = []
    places = picture_places(images, folder, "boxes")
    for image, pixels, path in zip(images, pictures, places, strict=True):
        found = jax.device_get(find(predictor.outputs(pixels[None])))
        used = found.labels[0] > 0
        labels, scores = found.labels[0][used], found.scores[0][used]
        boxes = found.boxes_xyxy[0][used]
        names = {int(label): predictor.class_name(int(label)) for label in np.unique(labels)}
        add_found(table, image, names, labels, scores, boxes)
        written.append(write(path, outline(pixels, boxes, labels, scores, names)))
    console.print(table)
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
