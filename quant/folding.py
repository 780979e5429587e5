"""What an op takes in: sums and products per channel, padding, the rectifier after it."""

from typing import Any

import numpy as np

from attokit.quant.commuting import CONTRACTIONS, channel_vector
from attokit.quant.lowering.contraction import pad_images, padding_name, read_padding
from attokit.quant.lowering.values import (
    Builder,
    Known,
    Node,
    Symbol,
    Value,
    WeightName,
    made_of,
    named_after,
    producer,
)
from attokit.quant.ops import table
from attokit.quant.ops.kind import Activation
from attokit.quant.program import Program, Rule, apply

_RECTIFIERS: tuple[Activation, ...] = ("relu", "relu6", "relu_n1_to_1")


def fold_affine(program: Program) -> None:
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

    apply(program, fold)


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
    vector = channel_vector(known, target.output.shape)
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
        target.inputs[1] = Known(
            kernel.array.astype(np.float64) * factor, _after(kernel.name, "mul", name)
        )
        if bias is not None:
            bias = Known(bias.array * factor, _after(bias.name, "mul", name))
    if shift is not None:
        array = shift if bias is None else bias.array + shift
        bias = Known(array, _bias_name(kernel, bias, name))
    target.inputs[2:] = [] if bias is None else [bias]


def _bias_name(kernel: Known, bias: Known | None, added: str | None) -> str | None:
    """Returns the existing bias's name, or that of what is added, or one beside the kernel."""
    if bias is not None and bias.name is not None:
        return _after(bias.name, "add", added)
    if kernel.name is None:
        return None
    layer = kernel.name.rpartition("/")[0]
    own = added is not None and added.rpartition("/")[0] == layer and added != kernel.name
    return (
        added
        if own
        else WeightName(f"{layer}/bias".lstrip("/"), repr(made_of(added or kernel.name)))
    )


def _after(name: str | None, step: str, other: str | None) -> str | None:
    """Returns a weight's name after a sum or product with what another made; constants leave it as it is."""
    if name is None or other is None:
        return name
    return named_after(name, step, made_of(other))


def taking_in_pads(uses: dict[Symbol, int]) -> Rule:
    """Returns the rule by which a convolution pads by itself, and no more is padded than it reads."""

    def take_in(node: Node, build: Builder) -> Value | None:
        """A zero pad before a VALID convolution that pads just as SAME would, or more than is read."""
        if node.kind not in ("conv_2d", "depthwise_conv_2d"):
            return None
        pad = producer(node.inputs[0], "pad")
        if pad is None or node.attributes["padding"] != "VALID":
            return None
        images, (batch, *widths, channels) = pad.inputs[0], pad.attributes["widths"]
        windows = [
            (k - 1) * d + 1
            for k, d in zip(node.inputs[1].shape[:2], node.attributes["dilation"], strict=True)
        ]
        if any((*batch, *channels)) or not isinstance(images, Symbol):
            return None
        window = (images.shape[1:3], windows, node.attributes["strides"])
        read = read_padding(*window, widths)
        name = padding_name(*window, read)
        if name is None:
            if read == tuple(widths) or uses.get(pad.output) != 1:
                return None
            images, name = pad_images(build, images, read), "VALID"
        attributes = {**node.attributes, "padding": name}
        return build.emit(node.kind, [images, *node.inputs[1:]], node.output.shape, **attributes)

    return take_in


def fuse_activations(program: Program) -> None:
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

    apply(program, fuse)
