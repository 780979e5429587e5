"""A .tflite file as apps open it: camera bytes in, answers out, and metadata that says so."""

import dataclasses
from typing import Any

import numpy as np

from attokit import export
from attokit.export import ImageTask, ScoreCalibration
from attokit.export.brightness import as_colours, makes_brightness
from attokit.export.lowerings.context import Target
from attokit.origins import Origin
from attokit.tasks import view_of
from attokit.train import EvalBatches, Source

_BATCH_SIZE = 250


def app_file(
    origin: Origin,
    name: str,
    *,
    target: Target = "android",
    held_out: Source | None = None,
    **options: Any,
) -> bytes:
    """Returns a file that MediaPipe Tasks opens as it is, with its labels inside.

    It takes the bytes of an image in colours, of which it makes brightness where the network takes grey ones. A
    classifier gives probabilities, a segmenter the logits of pixels, of which the app makes probabilities, a detector
    boxes that it has chosen.

    Args:
      origin: What is exported.
      name: Of the model, in the metadata.
      target: What is to run it.
      held_out: Images with labels, which the network was not trained on: the app makes of a classifier's scores
        the share of them that were right at such a score (`fit_scores`).
      **options: Of `export.to_tflite`: names and metadata.

    Raises:
      ValueError: if the network gives what apps cannot show, or scores are to be calibrated that are not of
        whole images.
    """
    view = view_of(origin.task)
    if view.app_kind is None:
        raise ValueError(
            f"MediaPipe Tasks has nothing that shows {origin.task}: leave --mediapipe out and run the file "
            "in LiteRT"
        )
    _check(origin)
    names = origin.class_names or tuple(f"class {i}" for i in range(_num_classes(origin)))
    task = ImageTask(
        kind=view.app_kind,
        name=name,
        image_shape=(*origin.image_shape[:2], 3),
        class_names=names[1:] if view.app_kind == "detector" else names,
        byte_input=origin.qparams is not None,
    )
    if held_out is not None and task.kind != "classifier":
        raise ValueError(
            f"scores of a {task.kind} are not calibrated by labels of images: leave --calibrate-scores out"
        )
    metadata = options.pop("metadata", {})

    def packed(task: ImageTask) -> bytes:
        file = export.to_tflite(
            origin.graph,
            origin.weights,
            origin.qparams,
            input_type="uint8" if task.byte_input else "float32",
            target=target,
            metadata={**metadata, **task.entries()},
            colours=origin.image_shape[2] == 1,
            **options,
            **view.app_ending(origin.network, origin.image_shape),
        )
        return task.with_files(file)

    file = packed(task)
    if held_out is None:
        return file
    return packed(dataclasses.replace(task, calibration=fit_scores(file, held_out)))


def fit_scores(file: bytes, source: Source) -> ScoreCalibration:
    """Returns the score calibration of a classifier's file, by how often it is right in LiteRT.

    Raises:
      ValueError: if images or labels do not fit the file.
    """
    runner, grey = export.Runner(file), makes_brightness(export.inspect(file))
    (pixels,) = runner.inputs.values()
    batches = EvalBatches(source, batch_size=min(_BATCH_SIZE, len(source)))
    scores, labels = [], []
    for index in range(len(batches)):
        batch = batches[index]
        used = batch["mask"] > 0
        images = as_colours(batch["images"]) if grey else batch["images"]
        if pixels.dtype == "float32":
            images = images.astype(np.float32) / np.float32(255)
        # As the app sees them: logarithms on the way would have a least probability.
        (found,) = runner(images, dequantize=True).values()
        scores.append(found.reshape(len(found), -1)[used])
        labels.append(batch["labels"][used])
    return ScoreCalibration.fit(np.concatenate(scores), np.concatenate(labels))


def _check(origin: Origin) -> None:
    outputs = [origin.graph.tensors[name] for name in origin.graph.outputs]
    if any(tensor.dtype in ("int32", "bool") for tensor in outputs):
        raise ValueError(
            "the network ends in class ids, of which MediaPipe Tasks makes nothing: leave output=argmax out"
        )
    if any(tensor.bits == 16 for tensor in outputs):
        raise ValueError(
            "the network ends in int16, which MediaPipe Tasks does not read: keep its last op at 8 bits "
            "(--int8)"
        )


def _num_classes(origin: Origin) -> int:
    config = getattr(origin.network, "config")  # noqa: B009  Linen modules promise none
    return int(config.num_classes)
