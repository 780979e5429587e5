"""How the outputs of a .tflite file are read; each task knows its own."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import PyTree

from attokit.export.anatomy import Subgraph
from attokit.train import Anchors

_LEAST_PROBABILITY = np.float32(1e-9)  # below it a logarithm says nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOutputs:
    """The outputs of a file as a task takes them.

    Attributes:
      num_classes: None if the file does not say.
      decode: What the file gives, as reals by name, to `Predictor.outputs`.
      anchors: What the numbers of a detector start from.
      unnamed: How many of the first classes a list of their names may leave out, such as the background.
    """

    num_classes: int | None
    decode: Callable[[Mapping[str, np.ndarray]], PyTree]
    anchors: Anchors | None = None
    unnamed: int = 0


def logits_of(graph: Subgraph) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Returns what reads logits, where a file has one output.

    Where it ends in a softmax, the logits are the logarithms of its probabilities.
    """
    gives_probabilities = ends_in_softmax(graph)

    def decode(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        (found,) = outputs.values()
        return np.log(np.maximum(found, _LEAST_PROBABILITY)) if gives_probabilities else found

    return decode


def ends_in_softmax(graph: Subgraph) -> bool:
    """Returns whether the first output is a softmax, maybe converted to another type."""
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    maker = makers.get(graph.outputs[0])
    for _ in graph.operators:  # a damaged file may have a loop
        if maker is None or maker.kind not in ("DEQUANTIZE", "QUANTIZE"):
            break
        maker = makers.get(maker.inputs[0])
    return maker is not None and maker.kind == "SOFTMAX"
