"""What needs fewer nodes: movements of movements, reductions that keep their axes, what does nothing."""

from typing import Any

import numpy as np

from attokit.quant.commuting import CONTRACTIONS
from attokit.quant.lowering.movement import emit_merged, emit_reshape, emit_transpose, neighbours
from attokit.quant.lowering.reduction import kept_shape
from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer
from attokit.quant.program import Rule

_REDUCTIONS = ("mean", "reduce_all", "reduce_max", "reduce_min", "sum")
_RANK = 4  # up to which every runtime transposes


def merge_reshapes(node: Node, build: Builder) -> Value | None:
    """A reshape of a reshape is one reshape, or none."""
    inner = producer(node.inputs[0], "reshape") if node.kind == "reshape" else None
    if inner is None:
        return None
    value = inner.inputs[0]
    assert isinstance(value, Symbol)  # what is known was reshaped while tracing
    return emit_reshape(build, value, node.output.shape)


def merge_transposes(node: Node, build: Builder) -> Value | None:
    """A permutation of a permutation is one permutation, or none."""
    inner = producer(node.inputs[0], "transpose") if node.kind == "transpose" else None
    if inner is None:
        return None
    value, first = inner.inputs[0], inner.attributes["permutation"]
    assert isinstance(value, Symbol)  # what is known was transposed while tracing
    order = [first[axis] for axis in node.attributes["permutation"]]
    return emit_transpose(build, value, order)


def keep_dimensions(node: Node, build: Builder) -> Value | None:
    """A reduction that is reshaped to keep its axes keeps them itself."""
    inner = producer(node.inputs[0], *_REDUCTIONS) if node.kind == "reshape" else None
    if inner is None or inner.attributes["keepdims"]:
        return None
    values, axes = inner.inputs[0], inner.attributes["axes"]
    kept = kept_shape(values.shape, axes)
    if node.output.shape != kept:
        return None
    return build.emit(inner.kind, [values], node.output.shape, axes=axes, keepdims=True)


def narrow_transpose(node: Node, build: Builder) -> Value | None:
    """Axes that stay neighbours move as one: runtimes transpose few axes only."""
    if node.kind != "transpose" or len(node.output.shape) <= _RANK:
        return None
    (value,), order = node.inputs, node.attributes["permutation"]
    assert isinstance(value, Symbol)  # what is known was transposed while tracing
    place = np.argsort(order)
    groups = neighbours(len(order), lambda axis: place[axis] == place[axis - 1] + 1)
    if len(groups) == len(order):
        return None
    narrow = emit_merged(build, value, groups)
    moved = emit_transpose(
        build, narrow, np.argsort([place[group[0]] for group in groups]).tolist()
    )
    return emit_reshape(build, moved, node.output.shape)


def broadcast(node: Node, build: Builder) -> Value | None:
    """What grows and is not left to the ops that broadcast by themselves."""
    if node.kind != "broadcast":
        return None
    (value,), shape = node.inputs, node.output.shape
    keeps = bool(value.shape) and bool(shape) and value.shape[0] == shape[0]
    return build.emit("broadcast_to", [value], shape, shape=shape, keeps_batch=keeps)


def merging_equals() -> Rule:
    """Returns the rule by which what is computed twice is computed once.

    Not so contractions: what follows each folds into its own kernel.
    """
    found: dict[Any, Symbol] = {}

    def merge(node: Node, build: Builder) -> Value | None:
        """What is computed twice is computed once."""
        del build
        if node.kind in CONTRACTIONS or len(node.outputs) != 1:
            return None
        inputs = tuple(
            (id(value.array), value.name) if isinstance(value, Known) else value
            for value in node.inputs
        )
        attributes = tuple((name, _hashable(v)) for name, v in sorted(node.attributes.items()))
        same = found.setdefault((node.kind, inputs, attributes, node.output.shape), node.output)
        return None if same is node.output else same

    return merge


def _hashable(value: Any) -> Any:
    try:
        hash(value)  # by trying: a tuple, or from Python 3.12 on a mapping proxy, is what it holds
    except TypeError:
        return id(value)
    return value


def drop_identity(node: Node, build: Builder) -> Value | None:
    """Drops x * 1, x + 0 and x - 0; not so weights, which training may change."""
    neutral = {"mul": 1, "add": 0, "sub": 0}.get(node.kind)
    if neutral is None:
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        if (
            isinstance(other, Known)
            and other.name is None
            and other.scalar() == neutral
            and (node.kind != "sub" or other is node.inputs[1])
            and value.shape == node.output.shape
        ):
            return value
    return None
