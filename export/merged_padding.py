"""Explicit padding before a convolution, merged into it.

SAME padding pads before and after by what its kernel and stride ask for. Where that is not what the PAD
does, such as one pixel on every side with a stride of 2, a kernel that is larger by rows and columns of
zeros asks for it.
"""

import dataclasses
import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Model, Operator
from attokit.export.wiring import Wiring, replaced

_MOST_GROWTH = 2  # of a kernel: zeros are multiplied too
_CONVOLUTIONS = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)


def merge_padding(model: Model) -> Model:
    """Returns the model with every PAD merged into the one convolution that reads it, where it can be."""
    wiring = Wiring(model)
    changes: dict[Operator, tuple[Operator, ...]] = {}
    for pad in model.operators:
        if pad.code != schema.BuiltinOperator.PAD:
            continue
        reader = wiring.only_reader(pad.outputs[0])
        merged = None if reader is None else _merged(pad, reader)
        if merged is not None:
            assert reader is not None
            changes[pad], changes[reader] = (), (merged,)
    return replaced(model, changes)


def _merged(pad: Operator, convolution: Operator) -> Operator | None:
    """Returns the convolution of what is not padded yet, or None."""
    images, widths = pad.inputs[0], pad.inputs[1].data
    if convolution.code not in _CONVOLUTIONS or convolution.inputs[0] is not pad.outputs[0]:
        return None
    options, kernel = convolution.options, convolution.inputs[1]
    valid = options.padding == schema.Padding.VALID
    if widths is None or kernel.data is None or len(images.shape) != 4 or not valid:
        return None
    if widths[[0, 3]].any() or (widths < 0).any():
        return None
    (output,), grown = convolution.outputs, []
    for axis, stride, dilation in (
        (1, options.strideH, options.dilationHFactor),
        (2, options.strideW, options.dilationWFactor),
    ):
        zeros = _zeros(
            images.shape[axis], output.shape[axis], kernel.shape[axis], stride, dilation,
            int(widths[axis, 0]),
        )  # fmt: skip
        if zeros is None:
            return None
        grown.append(zeros)
    larger = np.pad(kernel.data, ((0, 0), *grown, (0, 0)))
    if larger.size > _MOST_GROWTH * kernel.data.size:
        return None
    same = dataclasses.replace(kernel, data=larger, shape=larger.shape)
    return dataclasses.replace(
        convolution,
        inputs=(images, same, *convolution.inputs[2:]),
        options=_with_same_padding(options),
    )


def _zeros(
    size: int, out: int, kernel: int, stride: int, dilation: int, before: int
) -> tuple[int, int] | None:
    """Returns how many zeros in front of and behind a kernel make SAME pad alike, or None.

    Args:
      size: Of the images, before padding.
      out: Of the output.
      kernel: Its length.
      stride: Of the convolution.
      dilation: Likewise.
      before: What is padded in front.
    """
    if out != math.ceil(size / stride):
        return None
    for length in range(kernel, _MOST_GROWTH * kernel + 1):
        total = max((out - 1) * stride + (length - 1) * dilation + 1 - size, 0)
        front, rest = divmod(total // 2 - before, dilation)
        if rest == 0 and 0 <= front <= length - kernel:
            return front, length - kernel - front
    return None


def _with_same_padding(options: object) -> object:
    """Returns a copy of a convolution's options; the schema's objects are not to be changed in place."""
    copied = type(options)()
    vars(copied).update(vars(options))
    copied.padding = schema.Padding.SAME  # type: ignore[attr-defined]
    return copied
