"""Detectors whose .tflite file chooses its boxes itself, with TFLite_Detection_PostProcess, of any tool."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flatbuffers import flexbuffers

from attokit.export.anatomy import Inspection, OperatorInfo
from attokit.export.detection import CUSTOM_CODE
from attokit.file_outputs import FileOutputs
from attokit.train import Detections

_PARTS = ("boxes", "classes", "scores", "count")  # in the operator's order


def read_chosen(info: Inspection) -> FileOutputs | None:
    """Returns how to read a file that ends in the operator; None if it does not.

    `decode` gives `train.Detections`: the operator's boxes are shares of the image, and its classes count from
    the first that is not the background.

    Raises:
      ValueError: if the operator's options do not say how many classes there are.
    """
    graph = info.main
    chooser = next((o for o in graph.operators if o.kind == CUSTOM_CODE), None)
    if chooser is None or sorted(chooser.outputs) != sorted(graph.outputs):
        return None
    if len(chooser.outputs) != len(_PARTS) or len(info.outputs) != len(_PARTS):
        return None
    if len(info.inputs) != 1 or len(next(iter(info.inputs.values())).shape) != 4:
        return None
    titles = dict(zip(graph.outputs, info.outputs, strict=True))
    names = {part: titles[i] for part, i in zip(_PARTS, chooser.outputs, strict=True)}
    _, height, width, _ = next(iter(info.inputs.values())).shape
    size = np.asarray([[[width, height, width, height]]], np.float32)

    def decode(outputs: Mapping[str, np.ndarray]) -> Detections:
        found = {part: jnp.asarray(outputs[name]) for part, name in names.items()}
        boxes = jnp.clip(found["boxes"][..., jnp.asarray([1, 0, 3, 2])], 0, 1) * size
        used = jnp.arange(found["scores"].shape[1], dtype=jnp.float32)[None] < found[
            "count"
        ].reshape(-1, 1)
        used &= jnp.all(boxes[..., 2:] > boxes[..., :2], -1)  # something of it is in the image
        labels = found["classes"].astype(jnp.int32) + 1
        return Detections(boxes_xyxy=boxes, scores=found["scores"], labels=labels).kept(used)

    return FileOutputs(num_classes=_num_classes(chooser) + 1, decode=decode, unnamed=1)


def _num_classes(chooser: OperatorInfo) -> int:
    """Returns how many classes the operator chooses from, without the background."""
    try:
        options = flexbuffers.GetRoot(bytearray(chooser.custom_options)).AsMap
        count = int(options["num_classes"].AsInt)
    except Exception as err:  # whatever reading damaged bytes raises
        raise ValueError(
            f"the options of {CUSTOM_CODE} are damaged ({type(err).__name__}: {err}): export the file again"
        ) from err
    if count < 1:
        raise ValueError(
            f"{CUSTOM_CODE} chooses from num_classes={count}: export the file with at least 1"
        )
    return count
