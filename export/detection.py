"""Detection post-processing in the file: TFLite's custom operator TFLite_Detection_PostProcess.

It decodes offsets from anchors, and chooses boxes by non-max suppression, as `zoo.box_coder` and
`zoo.non_max_suppression` do. LiteRT and TFLite Micro have it. It takes floats, not int8, so what the network
returns is dequantized before it; scores are made of logits in float, too.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from jaxtyping import Float

from attokit.export.anatomy import OperatorInfo, Subgraph
from attokit.export.flatbuffer import Operator, Tensor

CUSTOM_CODE = "TFLite_Detection_PostProcess"
_PER_BOX, _PER_CLASS, _PER_PLACE = 29, 4, 20  # bytes of scratch in TFLite Micro
_ALIGNMENT = 256  # at most, of its buffers
_SWAPPED = (1, 0, 3, 2)  # the operator's order: y, x, height, width


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DetectionPostProcess:
    """What follows a detector that returns {"boxes": [1, n, 4], "scores": [1, n, classes]}.

    The file then returns "boxes" [1, m, 4] (top, left, bottom, right, in the anchors' unit), "classes" [1, m],
    "scores" [1, m] and "count" [1], best first, all float32; m is `max_detections`. Classes count from 0, and
    with softmax 0 is the first behind the background, which is class 1 everywhere else here.

    Attributes:
      anchors_cxcywh: [n, 4], centre x and y, width and height, such as `model.config.priors(size)`.
      iou_threshold: A box goes if its IoU with a better one is above this.
      score_threshold: Least score.
      max_detections: Places in the answer.
      weights: Of offsets in x, y, width and height (`zoo.box_coder`).
      scores: How logits become scores; "softmax" has the background in the first place, which is not
        reported; "logistic" has none.
      per_class: Suppresses within each class; else boxes of the best class of each, in one go.
    """

    anchors_cxcywh: Float[np.ndarray, "n 4"]
    iou_threshold: float
    score_threshold: float
    max_detections: int
    weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    scores: Literal["softmax", "logistic"] = "softmax"
    per_class: bool = False

    def __post_init__(self) -> None:
        """Refuses what the operator cannot do."""
        shape = np.shape(self.anchors_cxcywh)
        if len(shape) != 2 or shape[1] != 4:
            raise ValueError(f"anchors_cxcywh have shape {shape}: give one row of four per box")
        if not 0 < self.iou_threshold <= 1:
            raise ValueError(f"iou_threshold={self.iou_threshold}: give a share above 0, up to 1")
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"score_threshold={self.score_threshold}: give a probability")
        if self.max_detections < 1:
            raise ValueError(f"max_detections={self.max_detections}: give at least 1")
        if len(self.weights) != 4 or min(self.weights) <= 0:
            raise ValueError(f"weights={self.weights}: give four positive numbers")
        if self.scores not in ("softmax", "logistic"):
            raise ValueError(f"scores={self.scores!r}: choose softmax or logistic")

    def check(self, boxes: Sequence[int], scores: Sequence[int]) -> None:
        """Raises ValueError unless a network's outputs fit, by their shapes."""
        n = len(self.anchors_cxcywh)
        if tuple(boxes) != (1, n, 4) or tuple(scores)[:2] != (1, n) or len(scores) != 3:
            raise ValueError(
                f"boxes {list(boxes)} and scores {list(scores)} do not fit {n} anchors: the operator takes "
                f"one image, boxes [1, {n}, 4] and scores [1, {n}, classes]; trace with a batch of 1"
            )
        if self.scores == "softmax" and scores[2] < 2:
            raise ValueError(f"scores {list(scores)}: softmax needs the background and a class")

    def operators(
        self, boxes: Tensor, scores: Tensor
    ) -> tuple[list[Operator], tuple[tuple[str, Tensor], ...]]:
        """Returns the operators that follow, and what leaves the file by name."""
        codes = schema.BuiltinOperator
        made: list[Operator] = []

        def step(
            code: int, version: int, options: object, *inputs: Tensor, like: Tensor, name: str
        ) -> Tensor:
            result = dataclasses.replace(like, name=f"detection/{name}")
            made.append(
                Operator(
                    code=code, version=version, options=options, inputs=inputs, outputs=(result,)
                )
            )
            return result

        order = _constant("order", np.asarray(_SWAPPED, np.int32))
        integer = boxes.dtype != "float32"
        gather = schema.GatherOptionsT(axis=2)
        swapped = step(
            codes.GATHER, 2 if integer else 1, gather, boxes, order, like=boxes, name="order_yx"
        )
        offsets, logits = swapped, scores
        if integer:
            read = schema.DequantizeOptionsT
            offsets, logits = (
                step(codes.DEQUANTIZE, 2, read(), x, like=_float(x), name=name)
                for x, name in ((swapped, "offsets"), (scores, "logits"))
            )
        if self.scores == "softmax":
            code, options = codes.SOFTMAX, schema.SoftmaxOptionsT(beta=1.0)
        else:
            code, options = codes.LOGISTIC, None
        probabilities = step(code, 1, options, logits, like=_float(logits), name="probabilities")
        anchors = np.asarray(self.anchors_cxcywh, np.float32)[:, _SWAPPED]
        m = self.max_detections
        outputs = tuple(
            (name, Tensor(name=f"detection/{name}", shape=shape, dtype="float32"))
            for name, shape in (
                ("boxes", (1, m, 4)),
                ("classes", (1, m)),
                ("scores", (1, m)),
                ("count", (1,)),
            )
        )
        made.append(
            Operator(
                code=codes.CUSTOM,
                version=1,
                options=None,
                inputs=(offsets, probabilities, _constant("anchors", anchors)),
                outputs=tuple(tensor for _, tensor in outputs),
                custom=CUSTOM_CODE,
                custom_options=self._options(scores.shape[2]),
            )
        )
        return made, outputs

    def _options(self, classes: int) -> bytes:
        """Returns the operator's own options."""
        x, y, width, height = map(float, self.weights)
        options = {
            "max_detections": self.max_detections,
            "max_classes_per_detection": 1,
            "detections_per_class": self.max_detections,
            "use_regular_nms": self.per_class,
            "nms_score_threshold": float(self.score_threshold),
            "nms_iou_threshold": float(self.iou_threshold),
            "num_classes": classes - (self.scores == "softmax"),
            "y_scale": y,
            "x_scale": x,
            "h_scale": height,
            "w_scale": width,
        }
        return bytes(flexbuffers.Dumps(options))


def _constant(name: str, data: np.ndarray) -> Tensor:
    return Tensor(name=f"detection/{name}", shape=data.shape, dtype=str(data.dtype), data=data)


def _float(tensor: Tensor) -> Tensor:
    """Returns a tensor like another, in float."""
    return dataclasses.replace(tensor, dtype="float32", quantization=None)


def post_process_scratch(graph: Subgraph, operator: OperatorInfo) -> int:
    """Returns the bytes that the operator asks of TFLite Micro's arena besides its inputs and outputs.

    As measured: per box 29, 4 for each class, and 20 for each place in the answer. 0 if it is no such operator.
    """
    shapes = [graph.tensors[i].shape for i in (*operator.inputs[1:2], *operator.outputs[:1])]
    if [len(shape) for shape in shapes] != [3, 3]:
        return 0
    (_, boxes, classes), (_, places, _) = shapes
    return boxes * (_PER_BOX + _PER_CLASS * classes + _PER_PLACE * places) + _ALIGNMENT
