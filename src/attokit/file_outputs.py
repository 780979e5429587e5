"""How the outputs of a .tflite file are read; each task knows its own."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import PyTree

from attokit.export.anatomy import Inspection, Subgraph
from attokit.train import Anchors

_LEAST_PROBABILITY = np.float32(1e-9)  # below it a logarithm says nothing
_KEEPS_VALUES = ("CAST", "DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOutputs:
    """The outputs of a file as a task takes them.

    Attributes:
      num_classes: None if the file does not say.
      decode: What the file gives, as reals by name, to `Predictor.outputs`.
      anchors: What the numbers of a detector start from.
      unnamed: How many of the first classes a list of their names may leave out, such as the background.
      separate: Whether logits are of sigmoids, so that several classes, or none, may be there at once.
    """

    num_classes: int | None
    decode: Callable[[Mapping[str, np.ndarray]], PyTree]
    anchors: Anchors | None = None
    unnamed: int = 0
    separate: bool = False


def scores_in(info: Inspection) -> FileOutputs | None:
    """Returns how to read a file with one output whose last axis has a score per class; None if it has no classes.

    `decode` gives logits. Of probabilities they are the logarithms, of scores behind a sigmoid those of the odds, and
    one such score is that of the second of two classes. One number that is no such score has no class.
    """
    (tensor,) = info.outputs.values()
    count, end = tensor.shape[-1], _ending(info.main)
    if count == 1 and end != "LOGISTIC":
        return None

    def decode(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        (found,) = outputs.values()
        if end == "SOFTMAX":
            return _logarithm(found)
        if end != "LOGISTIC":
            return found
        odds = _logarithm(found) - _logarithm(1 - found)
        return np.concatenate([np.zeros_like(odds), odds], -1) if count == 1 else odds

    return FileOutputs(
        num_classes=max(count, 2), decode=decode, separate=end == "LOGISTIC" and count > 1
    )


def _logarithm(shares: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(shares, _LEAST_PROBABILITY))


def _ending(graph: Subgraph) -> str | None:
    """Returns the kind of what makes the first output's values, which may then change type and shape."""
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    maker = makers.get(graph.outputs[0])
    for _ in graph.operators:  # a damaged file may have a loop
        if maker is None or maker.kind not in _KEEPS_VALUES:
            break
        maker = makers.get(maker.inputs[0])
    if maker is None:
        return None
    made, given = (graph.tensors[i].shape[-1:] for i in (maker.outputs[0], graph.outputs[0]))
    return None if maker.kind == "SOFTMAX" and made != given else maker.kind
