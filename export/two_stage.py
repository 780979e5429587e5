"""A two-stage detector as three INT8 files, and the host that joins them.

    trunk ─► maps, objectness, offsets      once per image
    box head ─► classes, offsets            once per proposal
    mask head ─► logits of a mask           once per detection

Between them the host chooses boxes and reads regions, in float (`host_boxes`, `host_regions`).  Every file is integers
alone and takes a batch of 1, as accelerators want it.  The trunk's file carries all that the host must
know as an entry of metadata, `METADATA`: one line of JSON.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from attokit.export import inspection
from attokit.export.host_boxes import detect_boxes, propose_boxes
from attokit.export.host_regions import read_regions
from attokit.export.lowerings.context import Target
from attokit.export.run import Runner, to_file
from attokit.export.tflite import InterfaceType, to_tflite
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops.kind import Kernels
from attokit.quant.params import QParams
from attokit.quant.two_stage import TwoStage, cut_two_stage

METADATA = "ATTOKIT_TWO_STAGE"
_FORMAT = 1
File = str | os.PathLike[str] | bytes


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SplitFiles:
    """The three files of one detector.

    Attributes:
      trunk: From an image to maps and what is said of anchors.
      box_head: From a region to a class and a box.
      mask_head: From a region to a mask.
    """

    trunk: bytes
    box_head: bytes
    mask_head: bytes


def to_split_tflite(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    *,
    input_type: InterfaceType | None = None,
    target: Target = "android",
    metadata: Mapping[str, str] | None = None,
    names: bool = True,
) -> SplitFiles:
    """Returns three files that do together what the one file of a traced two-stage detector does.

    Args:
      graph: As traced, whole.
      weights: Its weights.
      qparams: Its scales and zero points.
      input_type: What images are; see `to_tflite`.
      target: Likewise.
      metadata: Texts that the trunk's file carries beside its own.
      names: Whether tensors keep their names.

    Raises:
      ValueError: if the graph is no two-stage detector; see `quant.cut_two_stage`.
    """
    parts = cut_two_stage(graph)
    own = {METADATA: json.dumps(_described(parts))} | dict(metadata or {})

    def written(part: Graph, **options: Any) -> bytes:
        return to_tflite(
            part, parts.weights_of(part, weights), qparams, target=target, names=names, **options
        )

    return SplitFiles(
        trunk=written(parts.trunk, input_type=input_type, metadata=own),
        box_head=written(parts.box_head),
        mask_head=written(parts.mask_head),
    )


class TwoStageRunner:
    """Three files, loaded once: images in, what is found out.

    Attributes:
      settings: What the trunk's file says of what lies between the files.
      inputs: What the trunk takes, by name.
    """

    def __init__(
        self, trunk: File, box_head: File, mask_head: File, *, kernels: Kernels = "xnnpack"
    ):
        """Loads the files.

        Args:
          trunk: Path or bytes, of `to_split_tflite`.
          box_head: Likewise.
          mask_head: Likewise.
          kernels: See `run`.

        Raises:
          ValueError: if a file is damaged, or not what its place wants.
        """
        files = (trunk, box_head, mask_head)
        self._trunk, self._box_head, self._mask_head = (Runner(f, kernels=kernels) for f in files)
        self.settings = read_settings(trunk)
        self.inputs = self._trunk.inputs
        for runner, outputs in (
            (self._trunk, {"objectness", "offsets", "map_0"}),
            (self._box_head, {"classes", "offsets"}),
            (self._mask_head, {"masks"}),
        ):
            if not outputs <= set(runner.outputs):
                raise ValueError(
                    f"a file gives {', '.join(runner.outputs)} where {', '.join(sorted(outputs))} are wanted: "
                    "give the trunk, the box head and the mask head, in this order"
                )
        classes, sides = (
            math.prod(self._box_head.outputs[n].shape[1:]) for n in ("classes", "offsets")
        )
        self._said_shapes = {"classes": (classes,), "offsets": (sides // 4, 4)}
        self._anchors = [_grid(level) for level in self.settings["anchors"]]

    def __call__(self, images: Any) -> dict[str, np.ndarray]:
        """Returns what is found in images, as `zoo.MaskRCNN` gives it.

        Args:
          images: [b, h, w, c], reals, or integers as the trunk's file takes them.

        Returns:
          "boxes" [b, d, 4], xyxy in pixels, "scores" [b, d], "classes" [b, d] from 1 on, "masks" [b, d, m, m],
          probabilities over each box, and "valid" [b, d], which of the d places are filled; the best first.
        """
        trunk = self._trunk(images, dequantize=True)
        rows = [
            self._of_image({name: value[i] for name, value in trunk.items()})
            for i in range(len(images))
        ]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _of_image(self, trunk: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        settings = self.settings
        size = tuple(settings["image_size"])
        maps = [trunk[f"map_{i}"] for i in range(len(settings["box_regions"]["strides"]))]
        proposals, valid = propose_boxes(
            trunk["objectness"],
            trunk["offsets"],
            self._anchors,
            image_size=size,
            **settings["proposals"],
        )
        regions = read_regions(maps, proposals, **settings["box_regions"])
        said = self._each(self._box_head, regions[valid])
        # Sizes in numbers: of no proposal there is nothing to conclude them from.
        logits, offsets = (said[n].reshape(-1, *ends) for n, ends in self._said_shapes.items())
        boxes, scores, classes = detect_boxes(
            logits,
            offsets,
            proposals[valid],
            np.ones(len(logits), bool),
            image_size=size,
            **settings["detections"],
        )
        regions = read_regions(maps, boxes, **settings["mask_regions"])
        masks = self._each(self._mask_head, regions)["masks"]  # [d, m, m, k]
        own = classes if masks.shape[-1] > 1 else np.zeros_like(classes)
        masks = 1 / (1 + np.exp(-masks[np.arange(len(own)), ..., own]))
        found = {
            "boxes": boxes,
            "scores": scores,
            "classes": classes.astype(np.int32),
            "masks": masks,
        }
        places = settings["detections"]["count"]
        filled = np.arange(places) < len(boxes)
        return {n: _filled(value, places) for n, value in found.items()} | {"valid": filled}

    def _each(self, runner: Runner, regions: Float[np.ndarray, "t s s c"]) -> dict[str, np.ndarray]:
        """Returns what a head says of regions; of none, arrays without rows."""
        if len(regions):
            ((port, tensor),) = runner.inputs.items()
            return runner(to_file(port, tensor, regions), dequantize=True)
        return {n: np.zeros((0, *t.shape[1:]), np.float32) for n, t in runner.outputs.items()}


def read_settings(trunk: File) -> dict[str, Any]:
    """Returns what a trunk's file says of what lies between the files.

    Raises:
      ValueError: if it says nothing, or what this version does not know.
    """
    entry = inspection.inspect(trunk).metadata.get(METADATA)
    if entry is None:
        raise ValueError(f"the file has no metadata {METADATA}: give the trunk that export wrote")
    try:
        settings = json.loads(entry)
        if settings["format"] != _FORMAT:
            raise ValueError(f"format {settings['format']}")
    except (ValueError, TypeError, KeyError) as err:
        raise ValueError(
            f"the metadata {METADATA} is damaged or of a later version ({type(err).__name__}: {err}): "
            "export the files again"
        ) from err
    return settings


def _filled(values: np.ndarray, places: int) -> np.ndarray:
    """Returns rows with zeros after them, as many as there are places."""
    return np.concatenate(
        [values, np.zeros((places - len(values), *values.shape[1:]), values.dtype)]
    )


def _described(parts: TwoStage) -> dict[str, Any]:
    """Returns all that the host must know, for JSON."""
    ends = np.cumsum(parts.anchor_counts)[:-1]
    return {
        "format": _FORMAT,
        "image_size": list(parts.image_size),
        "anchors": [_described_grid(level) for level in np.split(parts.anchors_xyxy, ends)],
        "proposals": dataclasses.asdict(parts.proposals),
        "box_regions": dataclasses.asdict(parts.box_regions),
        "detections": dataclasses.asdict(parts.detections),
        "mask_regions": dataclasses.asdict(parts.mask_regions),
    }


def _described_grid(anchors: Float[np.ndarray, "n 4"]) -> dict[str, Any]:
    """Returns the anchors of one map as those of its first cell, and how far it is to the next ones.

    Raises:
      ValueError: if they are no such grid.
    """
    moved = np.flatnonzero(
        (anchors + anchors[:, [2, 3, 0, 1]] != anchors[0] + anchors[0, [2, 3, 0, 1]]).any(1)
    )
    cell = int(moved[0]) if moved.size else len(anchors)
    corners = anchors[::cell]
    lower = np.flatnonzero(corners[:, 1] != corners[0, 1])
    width = int(lower[0]) if lower.size else len(corners)
    rows = len(corners) // width
    steps = [
        float(corners[width, 1] - corners[0, 1]) if rows > 1 else 0.0,
        float(corners[1, 0] - corners[0, 0]) if width > 1 else 0.0,
    ]
    described = {"cell": anchors[:cell].tolist(), "rows": rows, "columns": width, "steps": steps}
    if not np.array_equal(_grid(described), anchors):
        raise ValueError("the anchors of a map are no grid of equal cells: write one file instead")
    return described


def _grid(level: Mapping[str, Any]) -> Float[np.ndarray, "n 4"]:
    """Returns the anchors of one map: row by row, cell by cell."""
    down, right = level["steps"]
    rows, columns = np.arange(level["rows"]) * down, np.arange(level["columns"]) * right
    y, x = np.meshgrid(rows, columns, indexing="ij")
    shifts = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
    return (shifts + np.asarray(level["cell"])[None]).reshape(-1, 4).astype(np.float32)
