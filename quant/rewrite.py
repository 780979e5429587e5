"""Rewrites lowered nodes into what TFLite runs: fewer, larger ops.

Passes, in order: softmax, means, pools, normalizations and resizes are recognized, functions of one
variable become ops or tables, batch norms and other affine chains fold into the convolution before
them, movements are recognized, activations fuse.  Every pass keeps the function that the nodes
compute, up to float rounding.
"""

import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from attokit.quant import affine, normalization
from attokit.quant.commuting import CONTRACTIONS, Commuting, channel_vector
from attokit.quant.functions import UnaryFunctions
from attokit.quant.graph import Note, is_quantized
from attokit.quant.lowering import resize
from attokit.quant.lowering.contraction import same_padding
from attokit.quant.lowering.movement import (
    emit_merged,
    emit_pad,
    emit_reshape,
    emit_transpose,
    neighbours,
)
from attokit.quant.lowering.pooling import Windows, emit_pool
from attokit.quant.lowering.reduction import kept_shape
from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer, unshaped
from attokit.quant.mask_last import moving_masks
from attokit.quant.movements import Movements
from attokit.quant.ops import table
from attokit.quant.ops.kind import Activation
from attokit.quant.parametric import prelu
from attokit.quant.softmaxes import (
    exponential,
    log_softmax,
    log_sum_exp,
    mask,
    shifted_log_sum_exp,
    softmax,
)

_REDUCTIONS = ("mean", "reduce_all", "reduce_max", "reduce_min", "sum")
_RANK = 4  # up to which every runtime transposes
_RECTIFIERS: tuple[Activation, ...] = ("relu", "relu6", "relu_n1_to_1")


class Program:
    """Nodes in execution order with the values that leave; passes change both.

    Attributes:
      nodes: In execution order.
      outputs: What the function returns.
      notes: What passes did.
    """

    def __init__(self, nodes: list[Node], outputs: list[Value]):
        self.nodes, self.outputs = nodes, outputs
        self.notes: list[Note] = []

    def uses(self) -> dict[Symbol, int]:
        """Returns how often each symbol is read, leaving included."""
        counts: dict[Symbol, int] = {}
        for value in [v for node in self.nodes for v in node.inputs] + self.outputs:
            if isinstance(value, Symbol):
                counts[value] = counts.get(value, 0) + 1
        return counts

    def drop_dead(self) -> None:
        """Removes nodes whose outputs nobody reads."""
        live: set[Symbol] = {v for v in self.outputs if isinstance(v, Symbol)}
        kept = []
        for node in reversed(self.nodes):
            if any(symbol in live for symbol in node.outputs):
                kept.append(node)
                live.update(v for v in node.inputs if isinstance(v, Symbol))
        self.nodes = kept[::-1]


def rewrite(program: Program) -> None:
    """Runs every pass, in place."""
    program.drop_dead()
    for rule in (
        mask,
        softmax,
        log_softmax,
        exponential,
        shifted_log_sum_exp,
        log_sum_exp,
        moving_masks(),
        _mean,
        _average_pool,
        _division,
        _quotient,
        _merge_reshapes,
        _keep_dimensions,
        _drop_identity,
        normalization.variance,
        normalization.nonnegative,
        normalization.narrow_mean,
        normalization.gain,
        _merge_reshapes,
        _keep_dimensions,
        _merging_equals(),
        normalization.l2,
        prelu,
    ):
        _apply(program, rule)
    for rule in (_total, _window_total, resize.merge, resize.resolve):
        _apply(program, rule)
    _apply(program, UnaryFunctions(program.nodes, program.outputs))
    _apply(program, _conversion)
    _apply(program, Commuting(program.uses()))
    _fold_affine(program)
    for rule in (_merge_reshapes, _merge_transposes):
        _apply(program, rule)
    _apply(program, Movements(program.nodes, program.outputs))
    for rule in (_narrow_transpose, _merge_reshapes):
        _apply(program, rule)
    _apply(program, affine.joining(program.uses()))
    _apply(program, _same_padding_of_pad)
    for rule in (_drop_identity, _broadcast):
        _apply(program, rule)
    _fuse_activations(program)
    program.drop_dead()


def _headline(rule: "Rule") -> str:
    """Returns the first line of a rule's documentation."""
    return (rule.__doc__ or "").partition("\n")[0]


Rule = Callable[[Node, Builder], Value | None]


def _apply(program: Program, rule: Rule) -> None:
    """Replaces the output of each node for which the rule returns another value, and notes that."""
    replaced: dict[Symbol, Value] = {}

    def current(value: Value) -> Value:
        return replaced.get(value, value) if isinstance(value, Symbol) else value

    nodes: list[Node] = []
    for node in program.nodes:
        node.inputs = [current(value) for value in node.inputs]
        build = Builder(node.source, node.scope)
        result = rule(node, build)
        if result is None:
            nodes.append(node)
        else:
            nodes.extend(build.nodes)
            replaced[node.output] = result
            program.notes.append(Note(_headline(rule), node.source))
    program.nodes = nodes
    program.outputs = [current(value) for value in program.outputs]
    if replaced:
        program.drop_dead()


def _divisor(node: Node) -> tuple[Value, np.ndarray] | None:
    """Returns (x, d) of x / d, or of x * (1 / d), with d known."""
    first, second = node.inputs if len(node.inputs) == 2 else (None, None)
    if node.kind == "mul" and isinstance(first, Known):
        first, second = second, first
    if not isinstance(first, Symbol) or not isinstance(second, Known):
        return None
    if node.kind == "div":
        return first, second.array
    with np.errstate(divide="ignore"):
        return (first, 1 / second.array) if node.kind == "mul" else None


def _mean(node: Node, build: Builder) -> Value | None:
    """A sum over axes, divided by the number of summands."""
    pair = _divisor(node)
    if pair is None:
        return None
    dividend, divisor = pair
    total = producer(unshaped(dividend), "sum")
    if total is None:
        return None
    values, axes = total.inputs[0], total.attributes["axes"]
    count = math.prod(values.shape[axis] for axis in axes)
    if not np.allclose(divisor, count, rtol=1e-6):
        return None
    kept = kept_shape(values.shape, axes)
    if node.output.shape == total.output.shape:
        return build.emit("mean", [values], node.output.shape, axes=axes, keepdims=False)
    if node.output.shape == kept:
        return build.emit("mean", [values], node.output.shape, axes=axes, keepdims=True)
    return None


def _average_pool(node: Node, build: Builder) -> Value | None:
    """A sum over windows, divided by the number of cells in each."""
    pair = _divisor(node)
    if pair is None:
        return None
    dividend, divisor = pair
    total = producer(unshaped(dividend), "window_sum")
    if total is None:
        return None
    images, windows = total.inputs[0], total.attributes["windows"]
    assert isinstance(images, Symbol)  # what is known was summed while tracing
    whole = math.prod(windows.sizes)
    if np.allclose(divisor, whole, rtol=1e-6):  # the padding counts
        average = _padded_average(build, images, windows)
        same_size = math.prod(average.shape) == math.prod(node.output.shape)
        return emit_reshape(build, average, node.output.shape) if same_size else None
    if total.output.shape != node.output.shape or not windows.same(images.shape):
        return None
    counts = windows.counts(images.shape)
    if np.broadcast_shapes(divisor.shape, counts.shape, node.output.shape) != node.output.shape:
        return None
    if not np.allclose(divisor, counts, rtol=1e-6):
        return None
    return emit_pool(build, "average_pool_2d", images, windows, None)


def _padded_average(build: Builder, images: Symbol, windows: Windows) -> Symbol:
    """An average that counts padding as zeros, which TFLite wants to see: whole windows only."""
    padded = emit_pad(build, images, windows.padding)
    return emit_pool(build, "average_pool_2d", padded, windows.without_padding(), None)


def _division(node: Node, build: Builder) -> Value | None:
    """Division by something known is multiplication."""
    if node.kind != "div" or not isinstance(node.inputs[1], Known):
        return None
    divisor = node.inputs[1]
    inverse = Known(1 / divisor.array.astype(np.float64), divisor.name)
    return build.emit("mul", [node.inputs[0], inverse], node.output.shape)


def _total(node: Node, build: Builder) -> Value | None:
    """A sum that is no mean is a mean times the count, which keeps its precision."""
    if node.kind != "sum":
        return None
    values, axes = node.inputs[0], node.attributes["axes"]
    mean = build.emit("mean", [values], node.output.shape, **node.attributes)
    return _times(build, mean, math.prod(values.shape[axis] for axis in axes))


def _window_total(node: Node, build: Builder) -> Value | None:
    """A sum over windows is an average times their size; what pads counts as zeros."""
    if node.kind != "window_sum":
        return None
    images, windows = node.inputs[0], node.attributes["windows"]
    assert isinstance(images, Symbol)  # what is known was summed while tracing
    return _times(build, _padded_average(build, images, windows), math.prod(windows.sizes))


def _times(build: Builder, value: Symbol, count: int) -> Symbol:
    return build.emit("mul", [value, Known(np.asarray(count, np.float32))], value.shape)


def _quotient(node: Node, build: Builder) -> Value | None:
    """A division by something that is not known is a product with its reciprocal."""
    if node.kind != "div" or isinstance(node.inputs[1], Known):
        return None
    dividend, divisor = node.inputs
    inverse = build.emit("unary", [divisor], divisor.shape, function=_reciprocal, name="reciprocal")
    return build.emit("mul", [dividend, inverse], node.output.shape)


def _reciprocal(values: Array) -> Array:
    return 1 / values


def _conversion(node: Node, build: Builder) -> Value | None:
    """A condition as a number is a choice between 1 and 0, an index is read from a table."""
    if node.kind != "convert":
        return None
    dtype, old = node.attributes["dtype"], node.inputs[0].dtype
    if (index := _index_as_number(node, build)) is not None:
        return index
    if np.dtype(old) != np.bool_ or not jax.dtypes.issubdtype(dtype, np.floating):
        raise build.error(
            f"a conversion from {old} to {dtype}",
            "Convert outside of the function, or use what is converted in arithmetic of floats.",
        )
    numbers = [Known(np.asarray(n, dtype)) for n in (1, 0)]
    return build.emit("select", [node.inputs[0], *numbers], node.output.shape)


def _index_as_number(node: Node, build: Builder) -> Value | None:
    """A position among n is the n-th entry of 0, 1, ..., n - 1."""
    position = producer(unshaped(node.inputs[0]), "arg_max", "arg_min")
    if position is None or not is_quantized(node.attributes["dtype"]):
        return None
    numbers = np.arange(position.inputs[0].shape[position.attributes["axis"]], dtype=np.float32)
    inputs: list[Value] = [Known(numbers), node.inputs[0]]
    return build.emit("gather", inputs, node.output.shape, axis=0)


def _merge_reshapes(node: Node, build: Builder) -> Value | None:
    """A reshape of a reshape is one reshape, or none."""
    inner = producer(node.inputs[0], "reshape") if node.kind == "reshape" else None
    if inner is None:
        return None
    value = inner.inputs[0]
    assert isinstance(value, Symbol)  # what is known was reshaped while tracing
    return emit_reshape(build, value, node.output.shape)


def _merge_transposes(node: Node, build: Builder) -> Value | None:
    """A permutation of a permutation is one permutation, or none."""
    inner = producer(node.inputs[0], "transpose") if node.kind == "transpose" else None
    if inner is None:
        return None
    value, first = inner.inputs[0], inner.attributes["permutation"]
    assert isinstance(value, Symbol)  # what is known was transposed while tracing
    order = [first[axis] for axis in node.attributes["permutation"]]
    return emit_transpose(build, value, order)


def _keep_dimensions(node: Node, build: Builder) -> Value | None:
    """A reduction that is reshaped to keep its axes keeps them itself."""
    inner = producer(node.inputs[0], *_REDUCTIONS) if node.kind == "reshape" else None
    if inner is None or inner.attributes["keepdims"]:
        return None
    values, axes = inner.inputs[0], inner.attributes["axes"]
    kept = kept_shape(values.shape, axes)
    if node.output.shape != kept:
        return None
    return build.emit(inner.kind, [values], node.output.shape, axes=axes, keepdims=True)


def _narrow_transpose(node: Node, build: Builder) -> Value | None:
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


def _broadcast(node: Node, build: Builder) -> Value | None:
    """What grows and is not left to the ops that broadcast by themselves."""
    if node.kind != "broadcast":
        return None
    (value,), shape = node.inputs, node.output.shape
    keeps = bool(value.shape) and bool(shape) and value.shape[0] == shape[0]
    return build.emit("broadcast_to", [value], shape, shape=shape, keeps_batch=keeps)


def _merging_equals() -> Rule:
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
    return value if isinstance(value, Hashable) else id(value)


def _drop_identity(node: Node, build: Builder) -> Value | None:
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


def _same_padding_of_pad(node: Node, build: Builder) -> Value | None:
    """A zero pad before a VALID convolution that pads just as SAME would."""
    if node.kind not in ("conv_2d", "depthwise_conv_2d"):
        return None
    pad = producer(node.inputs[0], "pad")
    if pad is None or node.attributes["padding"] != "VALID":
        return None
    images, widths = pad.inputs[0], pad.attributes["widths"]
    outer = (*widths[0], *widths[3])
    windows = [
        (k - 1) * d + 1
        for k, d in zip(node.inputs[1].shape[:2], node.attributes["dilation"], strict=True)
    ]
    if any(outer) or tuple(widths[1:3]) != same_padding(
        images.shape[1:3], windows, node.attributes["strides"]
    ):
        return None
    attributes = {**node.attributes, "padding": "SAME"}
    return build.emit(node.kind, [images, *node.inputs[1:]], node.output.shape, **attributes)


def _fold_affine(program: Program) -> None:
    """Folds add, sub and mul by a value per channel into the contraction before them.

    This is all there is to batch norm: at inference it is sub, mul, add.  Any gamma folds, zero
    and negative ones as well, for it is algebra on the kernel.
    """
    uses = program.uses()

    def fold(node: Node, build: Builder) -> Value | None:
        """A sum or product with constants per channel folds into the contraction before it."""
        del build
        folded = _fold_into_producer(node, uses)
        if folded is not None:
            uses[folded] = uses.get(node.output, 0)
        return folded

    _apply(program, fold)


def _fold_into_producer(node: Node, uses: dict[Symbol, int]) -> Symbol | None:
    if node.kind not in ("add", "sub", "mul") or len(node.inputs) != 2:
        return None
    symbol, known = node.inputs
    if isinstance(symbol, Known):
        symbol, known = known, symbol
    if not isinstance(symbol, Symbol) or not isinstance(known, Known) or uses.get(symbol) != 1:
        return None
    target = producer(symbol, *CONTRACTIONS)
    if target is None:
        return None
    vector = channel_vector(known.array, target.output.shape)
    if vector is None or target.activation != "none" or node.output.shape != symbol.shape:
        return None
    flipped = node.kind == "sub" and known is node.inputs[0]
    sign = -1.0 if node.kind == "sub" and not flipped else 1.0
    factor = vector if node.kind == "mul" else (-1.0 if flipped else None)
    shift = None if node.kind == "mul" else sign * vector
    _scale_and_shift(target, factor, shift, known.name)
    return symbol


def _scale_and_shift(target: Node, factor: Any, shift: Any, name: str | None) -> None:
    """Changes kernel and bias so that the contraction returns factor * y + shift.

    The name is that of the weight that asks for it.
    """
    kernel = target.inputs[1]
    bias = target.inputs[2] if len(target.inputs) > 2 else None
    assert isinstance(kernel, Known)  # lowering takes no other
    assert bias is None or isinstance(bias, Known)  # it was made here
    if factor is not None:
        target.inputs[1] = Known(kernel.array.astype(np.float64) * factor, kernel.name)
        if bias is not None:
            bias = Known(bias.array * factor, bias.name)
    if shift is not None:
        array = shift if bias is None else bias.array + shift
        bias = Known(array, _bias_name(kernel, bias, name))
    target.inputs[2:] = [] if bias is None else [bias]


def _bias_name(kernel: Known, bias: Known | None, added: str | None) -> str | None:
    """Returns the existing bias's name, or that of what is added, or one beside the kernel."""
    if bias is not None and bias.name is not None:
        return bias.name
    if kernel.name is None:
        return None
    layer = kernel.name.rpartition("/")[0]
    own = added is not None and added.rpartition("/")[0] == layer and added != kernel.name
    return added if own else f"{layer}/bias".lstrip("/")


def _fuse_activations(program: Program) -> None:
    """Moves rectifiers into the op before them where TFLite can."""
    uses = program.uses()

    def fuse(node: Node, build: Builder) -> Value | None:
        """A rectifier fuses into the op before it."""
        del build
        rectifier = next((name for name in _RECTIFIERS if name == node.kind), None)
        value = node.inputs[0]
        if rectifier is None or not isinstance(value, Symbol) or uses.get(value) != 1:
            return None
        target = value.node
        if (
            target is None
            or target.activation != "none"
            or target.kind not in table.OPS
            or rectifier not in table.OPS[target.kind].activations
        ):
            return None
        target.activation = rectifier
        uses[target.output] = uses.get(node.output, 0)
        return target.output

    _apply(program, fuse)
