"""Instance segmentation on the command line: boxes with a class and a mask each, average precision of both.

`Predictor.outputs` are what `zoo.mask_rcnn.MaskRCNN` gives: "boxes" [b, d, 4], "scores" [b, d], "classes" [b, d],
"masks" [b, d, m, m] and "valid" [b, d].
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import UInt8
from rich.console import Console
from rich.table import Table

from attokit.detection import add_found, check_classes, found_table
from attokit.export import two_stage, write
from attokit.export.anatomy import Inspection
from attokit.file_outputs import FileOutputs
from attokit.measuring import measure
from attokit.overlays import outline, picture_folder, picture_places
from attokit.predictor import Predictor
from attokit.quant import Graph, Kernels
from attokit.quantized_detector import QuantizedDetector
from attokit.train import (
    Dataset,
    FindConfig,
    Forward,
    MaskRCNNTrainConfig,
    Source,
    instance_segmentation_task,
    open_upright,
    read_image,
)
from attokit.train.mask_rle import paste_mask
from attokit.train.resize_pad import Info, boxes_in_original, resize_and_pad
from attokit.zoo.mask_rcnn import MaskRCNNConfig

BATCH_SIZE = 16
_LEAST_SCORE = 0.3  # of what is shown
_OUTPUTS = frozenset({"boxes", "scores", "classes", "masks", "valid"})
METADATA = "ATTOKIT_INSTANCES"
"""Of a file: JSON with `format` 1 and `num_classes`, with the background."""


def check_outputs(model: str, outputs: Any, dataset: Dataset) -> None:
    """Raises ValueError unless a model's outputs for one image are boxes with masks."""
    if not isinstance(outputs, Mapping) or outputs.keys() != _OUTPUTS:
        raise ValueError(f"{model} does not give boxes with masks: choose a Mask R-CNN")


def describe_classes(network: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, str]:
    """Returns the metadata of a detector's file, by the name of the entry."""
    del image_shape
    config: MaskRCNNConfig = getattr(network, "config")  # noqa: B009  Linen modules promise none
    return {METADATA: json.dumps({"format": 1, "num_classes": config.num_classes})}


def _told_classes(metadata: Mapping[str, bytes]) -> int | None:
    """Returns how many classes a file tells, with the background; None if it does not."""
    entry = metadata.get(METADATA)
    if entry is None:
        return None
    try:
        fields = json.loads(entry)
        if fields["format"] != 1:
            raise ValueError(f"format {fields['format']}")
        return int(fields["num_classes"])
    except (ValueError, TypeError, KeyError) as err:
        raise ValueError(
            f"the metadata {METADATA} is damaged or of a later version ({type(err).__name__}: {err}): "
            "export the file again"
        ) from err


def read_file(info: Inspection) -> FileOutputs | None:
    """Returns how to read a Mask R-CNN, of one file or by the trunk of three; None if it is none.

    Raises:
      ValueError: if what it tells of its classes is damaged.
    """
    shapes = {name: tensor.shape for name, tensor in info.outputs.items()}
    if two_stage.METADATA in info.metadata:
        return FileOutputs(num_classes=_told_classes(info.metadata), decode=dict)
    if shapes.keys() != _OUTPUTS or [len(shapes[n]) for n in ("boxes", "masks")] != [3, 4]:
        return None
    return FileOutputs(num_classes=_told_classes(info.metadata), decode=dict)


def quantized_network(graph: Graph, kernels: Kernels, network: nn.Module) -> Forward:
    """Returns the graph of a Mask R-CNN in integers, as `train.fit` takes it."""
    config: MaskRCNNConfig = getattr(network, "config")  # noqa: B009  Linen modules promise none
    return QuantizedDetector(graph, kernels, config, MaskRCNNTrainConfig.of(config))


def evaluate(
    predictor: Predictor, dataset: Dataset, source: Source, *, batch_size: int | None = None
) -> dict[str, float | np.ndarray]:
    """Returns the average precision of boxes and masks, as training reports it.

    Args:
      predictor: Of boxes with masks.
      dataset: What the source is of.
      source: The split.
      batch_size: Images at a time; None chooses.

    Raises:
      ValueError: if the classes of the network are not those of the data.
    """
    if predictor.num_classes is not None:  # files of others do not tell
        check_classes(predictor, dataset)
    task = instance_segmentation_task(dataset.num_classes, MaskRCNNTrainConfig())
    size = batch_size or BATCH_SIZE
    return measure(predictor, source, task.eval_metrics, check=task.check, batch_size=size)


def details(metrics: Mapping[str, float | np.ndarray], class_names: Sequence[str]) -> Table:
    """Returns the average precision of every class."""
    table = Table("class", "box AP@0.5", "mask AP@0.5", title="by class")
    for column in table.columns[1:]:
        column.justify = "right"
    values = [np.asarray(metrics[f"{kind}_ap50_by_class"]) for kind in ("box", "mask")]
    for name, *numbers in zip(class_names[1:], *values, strict=True):
        table.add_row(name, *("none" if np.isnan(n) else f"{n:.4f}" for n in numbers))
    return table


def predict(
    predictor: Predictor,
    images: Sequence[pathlib.Path],
    console: Console,
    *,
    output: pathlib.Path | None = None,
    score: float | None = None,
) -> None:
    """Prints the objects in images and writes each image with their masks and boxes into a folder.

    Images are fitted whole, as those of folders are for training; places are in pixels of the image as it was.

    Raises:
      ValueError: if a file cannot be read as an image, the folder is a file, or the score is no share.
      OSError: if the folder or a file cannot be written.
    """
    # Refused where it is no share, as for detectors of one stage.
    least = FindConfig(score_threshold=_LEAST_SCORE if score is None else score).score_threshold
    folder = picture_folder(output)
    pictures = [_fitted(image, predictor.image_shape) for image in images]
    folder.mkdir(parents=True, exist_ok=True)
    table = found_table(predictor.name)
    written = []
    places = picture_places(images, folder, "masks")
    for image, (pixels, info), path in zip(images, pictures, places, strict=True):
        found = predictor.outputs(pixels[None])
        boxes = boxes_in_original(found["boxes"][0], info)
        used = found["valid"][0] & (found["scores"][0] >= least)
        used &= np.all(boxes[:, 2:] > boxes[:, :2], -1)  # not in the padding alone
        labels, scores, boxes = found["classes"][0][used], found["scores"][0][used], boxes[used]
        height, width = info[0].astype(int).tolist()
        whole = boxes_in_original(found["boxes"][0][used], info, cut=False)
        masks = [
            paste_mask(mask, box, (height, width))
            for mask, box in zip(found["masks"][0][used], whole, strict=True)
        ]
        names = {int(label): predictor.class_name(int(label)) for label in np.unique(labels)}
        add_found(table, image, names, labels, scores, boxes)
        photo = read_image(image, (height, width, 3))
        painted = np.asarray(masks, bool).reshape(-1, height, width)
        written.append(write(path, outline(photo, boxes, labels, scores, names, painted)))
    console.print(table)
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _fitted(
    path: pathlib.Path, shape: tuple[int, int, int]
) -> tuple[UInt8[np.ndarray, "h w c"], Info]:
    """Returns the image of a file, upright, fitted whole, and its `image_info`."""
    return resize_and_pad(open_upright(path), shape)
