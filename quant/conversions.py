"""Conditions and indices that become numbers."""

from typing import Any

import jax
import numpy as np

from attokit.quant.graph import is_quantized
from attokit.quant.lowering.values import Builder, Known, Node, Value, producer, unshaped


def conversion(node: Node, build: Builder) -> Value | None:
    """A condition as a number is a choice between 1 and 0, an index is read from a table."""
    if node.kind != "convert":
        return None
    dtype, old = node.attributes["dtype"], node.inputs[0].dtype
    if (index := _index_as_number(node, build)) is not None:
        return index
    if np.dtype(old) != np.bool_ or not jax.dtypes.issubdtype(dtype, np.floating):
        raise build.error(f"a conversion from {old} to {dtype}", _cure(old, dtype))
    numbers = [Known(np.asarray(n, dtype)) for n in (1, 0)]
    return build.emit("select", [node.inputs[0], *numbers], node.output.shape)


def _cure(old: Any, new: Any) -> str:
    if is_quantized(new) and not is_quantized(old):
        return (
            "Integers are indices here, and JAX converts them where they meet floats (jax.nn.relu6): give the "
            "function floats."
        )
    return "Convert outside of the function, or use what is converted in arithmetic of floats."


def _index_as_number(node: Node, build: Builder) -> Value | None:
    """A position among n is the n-th entry of 0, 1, ..., n - 1."""
    position = producer(unshaped(node.inputs[0]), "arg_max", "arg_min")
    if position is None or not is_quantized(node.attributes["dtype"]):
        return None
    numbers = np.arange(position.inputs[0].shape[position.attributes["axis"]], dtype=np.float32)
    inputs: list[Value] = [Known(numbers), node.inputs[0]]
    return build.emit("gather", inputs, node.output.shape, axis=0)
