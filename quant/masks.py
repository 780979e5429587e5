"""Ops that compute with a mask, a constant that stands for infinity, where integers cannot hold it."""

from collections.abc import Iterable

import numpy as np

from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op
from attokit.quant.tied_constants import MASK


def readers_of_masks(graph: Graph, weights: Weights, masked: set[str]) -> dict[str, Op]:
    """Returns the ops that must not make values like masks, by what they make.

    They read a mask that integers stand for, which reaches not far beyond the other values, and do
    more than move it; or they make integers of reals among which masks are.

    Args:
      graph: Any.
      weights: Its weights.
      masked: The ranges in which constants are masks.
    """
    held = {n for n, tensor in graph.tensors.items() if tensor.range_name in masked}
    entered: set[str] = set()  # reals made of such integers
    real: set[str] = set()  # reals that may hold masks themselves
    found: dict[str, Op] = {}
    for op in graph.ops:
        if op.kind == "dequantize":
            entered.update(op.outputs if held.intersection(op.inputs) else ())
        elif not graph.is_float(op):
            if (held | entered | real).intersection(op.inputs):
                found |= dict.fromkeys(op.outputs, op)
        elif entered.intersection(op.inputs):
            if table.OPS[op.kind].moves:
                entered.update(op.outputs)
            else:
                found |= dict.fromkeys(op.outputs, op)
        elif real.intersection(op.inputs) or _reads_mask(graph, weights, op.inputs):
            real.update(op.outputs)
    return found


def _reads_mask(graph: Graph, weights: Weights, names: Iterable[str]) -> bool:
    constants = (graph.array(weights, n) for n in names if not graph.is_activation(n))
    return any((np.abs(np.asarray(values)) >= MASK).any() for values in constants)


def mask_in_arithmetic(op: Op) -> str:
    """Returns what is wrong with an op of `readers_of_masks`, and the cure."""
    where = f" at {op.source}" if op.source else ""
    stands = f"a mask, a constant beyond ±{MASK:g} that stands for infinity"
    if op.kind == "quantize":
        return (
            f"{op.inputs[0]!r}{where} holds {stands}, and is to become integers, of which no range "
            "holds both it and the other values: name what reads it in quant.keep_float too, up to "
            "the softmax"
        )
    return (
        f"{op.outputs[0]!r} ({op.kind}{where}) computes with {stands}, and no range of integers holds "
        "both its result and the other values: mask last, softmax(jnp.where(mask, x * scale + bias, "
        "-1e9)), or by a smaller constant, or leave it all to float32, from the mask to the softmax: "
        f"quant.keep_float(graph, [..., {op.outputs[0]!r}])"
    )


def mask_by_arithmetic(op: Op, name: str) -> str:
    """Returns what is wrong with a softmax of integers that reads values like masks, and the cure."""
    where = f" at {op.source}" if op.source else ""
    return (
        f"{op.outputs[0]!r} ({op.kind}{where}) reads {name!r}, which reaches below {-MASK:g}: integers "
        "of such a range cannot tell its other values apart. Choose rather than add what stands for "
        "infinity, jnp.where(mask, x, -1e9), where the mask is known or a bool input"
    )
