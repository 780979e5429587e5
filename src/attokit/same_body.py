"""Whether two graphs of one model differ in how they end only, so that they may share numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from attokit.quant import Graph
from attokit.quant.graph import Tensor
from attokit.quant.ops.kind import Op


def check_same_body(trained: Graph, other: Graph) -> None:
    """Raises ValueError unless the weights and qparams of a graph are exact for another one.

    Everything that has a range of its own must be computed in both by the same ops. What is left,
    as a last resize or argmax, computes in the scale of what it is given, or makes no int8 at all.
    """
    if dict(trained.weight_shapes) != dict(other.weight_shapes):
        missing = sorted(trained.weight_shapes.keys() ^ other.weight_shapes.keys())
        raise ValueError(f"it changes the weights {', '.join(missing) or 'in their shapes'}")
    body = _shared(trained, other)
    for tensor in other.tensors.values():
        if tensor.quantized and tensor.range_name not in body:
            raise ValueError(f"it changes {tensor.name!r}, which has a range of its own")
    constants = set(other.constants) & {n for op in other.ops for n in op.inputs}
    for name in sorted(constants):
        if not _equal(trained.constants.get(name), other.constants[name]):
            raise ValueError(f"it changes the constant {name!r}")


def _shared(trained: Graph, other: Graph) -> set[str]:
    """Returns the activations that both graphs compute by the same ops from the same inputs."""
    makers = {op.outputs: op for op in trained.ops}
    shared = {n for n in other.inputs if _same(trained.tensors.get(n), other.tensors[n])}
    for op in other.ops:
        activations = {name for name in op.inputs if other.is_activation(name)}
        outputs = all(_same(trained.tensors.get(n), other.tensors[n]) for n in op.outputs)
        if activations <= shared and outputs and _equal_ops(makers.get(op.outputs), op):
            shared |= set(op.outputs)
    return shared


def _same(first: Tensor | None, second: Tensor) -> bool:
    return first == second


def _equal_ops(first: Op | None, second: Op) -> bool:
    return (
        first is not None
        and (first.kind, first.inputs, first.activation)
        == (second.kind, second.inputs, second.activation)
        and _equal_fields(first.attributes, second.attributes)
    )


def _equal_fields(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(_equal(first[k], second[k]) for k in first)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return np.array_equal(np.asarray(first), np.asarray(second))
    return bool(first == second)
