"""Segmentation on the command line: a class for every pixel, mean IoU, overlays.

`Predictor.outputs` are logits [b, h, w, k] or class ids [b, h, w], at the size of the image or
smaller by one whole factor: networks end in either (`output` of their configs).
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, Num
from rich.console import Console
from rich.table import Table

from attokit.export import write
from attokit.export.anatomy import Inspection
from attokit.file_outputs import FileOutputs, scores_in
from attokit.measuring import measure
from attokit.overlays import overlay, picture_folder, picture_places
from attokit.predictor import Predictor
from attokit.train import Dataset, Source, iou_per_class, read_image, segmentation_task
from attokit.views import in_views

_LOGITS_AT_ONCE = 1 << 24  # of one batch in evaluation: 64 MiB
_MOST_IMAGES = 250


def check_outputs(model: str, outputs: Any, dataset: Dataset) -> None:
    """Raises ValueError unless a model's outputs for one image are logits of its pixels."""
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    height, width, _ = dataset.image_shape
    if len(shape) == 3:
        raise ValueError(
            f"{model} gives class ids, which cannot be trained: leave output=argmax to attokit export"
        )
    if len(shape) != 4 or not _is_whole_part(shape[1:3], (height, width)):
        raise ValueError(
            f"{model} gives outputs of shape {shape[1:]} for images of {height}x{width}, not logits "
            "of pixels: choose a model and a size of images that fit"
        )
    if shape[3] != dataset.num_classes:
        raise ValueError(
            f"{model} gives logits of {shape[3]} classes, {dataset.name} has {dataset.num_classes} "
            f"classes: set num_classes={dataset.num_classes}"
        )


def _is_whole_part(small: tuple[int, ...], size: tuple[int, ...]) -> bool:
    """Returns whether a map is as large as an image, or smaller by one whole factor."""
    factor = size[0] // max(small[0], 1)
    return factor >= 1 and (small[0] * factor, small[1] * factor) == size


def read_file(info: Inspection) -> FileOutputs | None:
    """Returns how to read a segmenter's file; None if it is none by its outputs' shapes."""
    if len(info.outputs) != 1:
        return None
    (image,), (tensor,) = info.inputs.values(), info.outputs.values()
    if len(tensor.shape) < 3 or not _is_whole_part(tensor.shape[1:3], image.shape[1:3]):
        return None
    if len(tensor.shape) == 4:
        return scores_in(info)
    if len(tensor.shape) == 3 and "int" in tensor.dtype and tensor.scale.size == 0:
        return FileOutputs(num_classes=None, decode=lambda outputs: next(iter(outputs.values())))
    return None


def class_ids(outputs: Num[np.ndarray, "b ..."], size: tuple[int, int]) -> Int[np.ndarray, "b h w"]:
    """Returns the class of every pixel of images of (height, width).

    Logits of a smaller map are resized bilinearly, as in training; ids are repeated.
    """
    if outputs.ndim == 3:
        factor = size[0] // outputs.shape[1]
        return outputs.astype(np.int32).repeat(factor, 1).repeat(factor, 2)
    if outputs.shape[1:3] != size:
        shape = (len(outputs), *size, outputs.shape[3])
        outputs = np.asarray(jax.image.resize(outputs, shape, "bilinear"))
    return outputs.argmax(-1).astype(np.int32)


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    source: Source,
    *,
    batch_size: int | None = None,
    **views: Any,
) -> dict[str, float | np.ndarray]:
    """Returns the metrics that training reports; no loss where there are only class ids.

    Args:
      predictor: Logits or class ids of pixels.
      dataset: What the source is of.
      source: The split.
      batch_size: Images at a time; None chooses.
      **views: Scales, flip and window of `in_views`.

    Raises:
      ValueError: if the classes of the network are not those of the data, or as `in_views` does.
    """
    height, width, _ = dataset.image_shape
    predictor = in_views(predictor, (height, width), **views)
    classes = dataset.num_classes

    def as_logits(
        outputs: Num[np.ndarray, "b ..."], batch: Mapping[str, np.ndarray]
    ) -> Float[np.ndarray, "b h w k"]:
        del batch
        if outputs.ndim == 4:
            found = outputs.shape[3]
        else:  # ids do not tell how many there are, but names do
            names = predictor.class_names
            found = max(int(outputs.max()) + 1, classes if names is None else len(names))
        if found != classes:
            raise ValueError(
                f"{predictor.name} has {found} classes, {dataset.name} has {classes}: "
                "give the data that it was trained on"
            )
        if outputs.ndim == 4:
            return outputs
        return np.eye(classes, dtype=np.float32)[class_ids(outputs, (height, width))]

    size = batch_size or min(max(_LOGITS_AT_ONCE // (height * width * classes), 1), _MOST_IMAGES)
    task = segmentation_task(classes)
    metrics = measure(
        predictor, source, task.eval_metrics, check=task.check, batch_size=size, prepare=as_logits
    )
    if predictor.num_classes is None:
        del metrics["loss"]
    return metrics


def details(metrics: Mapping[str, float | np.ndarray], class_names: Sequence[str]) -> Table:
    """Returns the IoU of every class, and the share of the pixels that are of it."""
    counts = np.asarray(metrics["confusion"])
    table = Table("class", "IoU", "pixels", title="by class")
    for column in table.columns[1:]:
        column.justify = "right"
    shares = counts.sum(1) / max(counts.sum(), 1)
    for name, value, share in zip(class_names, iou_per_class(counts), shares, strict=True):
        table.add_row(name, "none" if np.isnan(value) else f"{value:.4f}", f"{100 * share:.1f} %")
    return table


def predict(
    predictor: Predictor,
    images: Sequence[pathlib.Path],
    console: Console,
    *,
    output: pathlib.Path | None = None,
) -> None:
    """Prints the classes in images and writes an overlay of each into a folder.

    Raises:
      ValueError: if a file cannot be read as an image, or the folder is a file.
      OSError: if the folder or a file cannot be written.
    """
    folder = picture_folder(output)
    height, width, _ = predictor.image_shape
    pictures = [read_image(image, predictor.image_shape) for image in images]
    folder.mkdir(parents=True, exist_ok=True)
    table = Table("image", "class", "pixels", title=predictor.name)
    written = []
    places = picture_places(images, folder, "overlay")
    for image, pixels, path in zip(images, pictures, places, strict=True):
        (ids,) = class_ids(predictor.outputs(pixels[None]), (height, width))
        counts = np.bincount(ids.ravel())
        found = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
        for rank, index in enumerate(found):
            share = f"{100 * counts[index] / ids.size:.1f} %"
            table.add_row("" if rank else str(image), predictor.class_name(index), share)
        names = {index: predictor.class_name(index) for index in found}
        written.append(write(path, overlay(pixels, ids, names)))
    console.print(table)
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
