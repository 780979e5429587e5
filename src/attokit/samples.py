"""Pictures of the examples of a data set with their labels: what a training is shown."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from attokit.figures import png
from attokit.overlays import class_colors, paint, paint_masks
from attokit.train import IGNORE, Dataset
from attokit.train.dataset import Batch
from attokit.train.mask_rle import paste_mask

_COLUMNS = 6
_INCHES = 1.9


def _image(axes: Axes, image: UInt8[np.ndarray, "h w c"]) -> None:
    axes.imshow(np.broadcast_to(image, (*image.shape[:2], 3)), interpolation="nearest")


def _draw_label(axes: Axes, example: Batch, names: Sequence[str]) -> set[int]:
    """Draws an image under the name of its class."""
    label = int(example["labels"])
    _image(axes, example["images"])
    axes.set_title(names[label], fontsize=8)
    return set()


def _draw_mask(axes: Axes, example: Batch, names: Sequence[str]) -> set[int]:
    """Draws an image in grey with its classes painted over it; returns those."""
    ids = example["masks"]
    found = {int(index) for index in np.unique(ids) if index != IGNORE}
    painted = [index for index in found if names[index] != "background"]
    axes.imshow(paint(example["images"], np.where(ids == IGNORE, 0, ids).astype(int), painted))
    axes.set_title(f"{(ids == IGNORE).mean():.0%} ignored", fontsize=8)
    return set(painted)


def _draw_boxes(axes: Axes, example: Batch, names: Sequence[str]) -> set[int]:
    """Draws an image with its boxes, dashed where an object does not count; returns their classes."""
    _image(axes, example["images"])
    colors = class_colors(len(names))
    labels = example["box_labels"]
    for (left, top, right, bottom), label in zip(example["boxes"], labels, strict=True):
        if label:
            axes.add_patch(
                Rectangle(
                    (left - 0.5, top - 0.5), right - left, bottom - top, fill=False,
                    edgecolor=colors[abs(int(label))], linestyle="-" if label > 0 else ":",
                )
            )  # fmt: skip
    axes.set_title(f"{(labels > 0).sum()} objects", fontsize=8)
    return {abs(int(label)) for label in labels if label}


def _draw_instances(axes: Axes, example: Batch, names: Sequence[str]) -> set[int]:
    """Draws an image with its boxes and what their pictures say of their pixels; returns their classes."""
    image, labels = example["images"], np.abs(example["box_labels"])
    size = image.shape[:2]
    rows = np.flatnonzero(labels)
    masks = [paste_mask(example["instance_masks"][i], example["boxes"][i], size) for i in rows]
    painted = paint_masks(
        np.broadcast_to(image, (*size, 3)) / 255,
        np.asarray(masks, bool).reshape(-1, *size),
        class_colors(len(names))[labels[rows]],
    )
    pixels = np.round(255 * painted).astype(np.uint8)
    return _draw_boxes(axes, {**example, "images": pixels}, names)


_DRAW: Mapping[str, Callable[[Axes, Batch, Sequence[str]], set[int]]] = {
    "classification": _draw_label,
    "segmentation": _draw_mask,
    "detection": _draw_boxes,
    "instance_segmentation": _draw_instances,
}


def sample_sheet(dataset: Dataset, batch: Batch) -> bytes:
    """Returns a PNG of the examples of a batch, each drawn with its label, and a legend of classes.

    Raises:
      ValueError: if there is no picture of what the data are for.
    """
    if dataset.task not in _DRAW:
        raise ValueError(
            f"{dataset.name} is data for {dataset.task}, which is not drawn: choose {', '.join(_DRAW)}"
        )
    count = len(batch["images"])
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    height, width, _ = dataset.image_shape
    size = (_INCHES * columns + 1.4, (_INCHES * height / width + 0.3) * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    seen: set[int] = set()
    for index, axes in enumerate(grid):
        axes.axis("off")
        if index < count:
            example = {name: values[index] for name, values in batch.items()}
            seen |= _DRAW[dataset.task](axes, example, dataset.class_names)
    colors = class_colors(dataset.num_classes)
    if seen:
        patches = [Patch(facecolor=colors[i], label=dataset.class_names[i]) for i in sorted(seen)]
        figure.legend(handles=patches, loc="outside right upper", fontsize=8, frameon=False)
    return png(figure)
