"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED and BATCH_MATMUL.

Quantization spec: int8 kernels are symmetric with zero point 0 and one scale per output channel,
along axis 0 (CONV_2D, TRANSPOSE_CONV, OHWI; FULLY_CONNECTED, [n, k]) or axis 3 (DEPTHWISE_CONV_2D, [1, kh, kw, o]);
biases are int32 (for int16 activations int64) with scale s_in * s_kernel and zero point 0.
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
"""

import dataclasses
from collections.abc import Sequence

from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator
from attokit.export.lowerings.context import PADDINGS, Context, fused, padding
from attokit.quant.ops.kind import Op

_FOUR_BITS_CONV, _FOUR_BITS_DENSE = 7, 10
_GROUPED = 6  # first version in which the filter may have fewer channels than the images
_KEEPS_DIMS = 5
_WIDE_DENSE = 7
_TRANSPOSED_WITH_BIAS = 3


def conv_2d(context: Context, op: Op) -> tuple[Operator, ...]:
    """CONV_2D; HWIO becomes OHWI."""
    options = schema.Conv2DOptionsT(
        padding=padding(op),
        strideH=op["strides"][0],
        strideW=op["strides"][1],
        dilationHFactor=op["dilation"][0],
        dilationWFactor=op["dilation"][1],
        fusedActivationFunction=fused(op),
    )
    dilated = max(op["dilation"]) > 1
    version = context.version(op, int8=3, int16=4, float32=2 if dilated else 1)
    kernel = context.kernel(op, (3, 0, 1, 2), axis=0)
    version = _GROUPED if op["groups"] > 1 else version
    version = _FOUR_BITS_CONV if kernel.dtype == "int4" else version
    inputs = (context.operand(op, 0), kernel, context.bias(op))
    return (context.operator(op, schema.BuiltinOperator.CONV_2D, inputs, options, version),)


def depthwise_conv_2d(context: Context, op: Op) -> tuple[Operator, ...]:
    """DEPTHWISE_CONV_2D; [kh, kw, 1, o] becomes [1, kh, kw, o]."""
    kernel = context.kernel(op, (2, 0, 1, 3), axis=3)
    options = schema.DepthwiseConv2DOptionsT(
        padding=padding(op),
        strideH=op["strides"][0],
        strideW=op["strides"][1],
        depthMultiplier=kernel.shape[3] // op["groups"],
        dilationHFactor=op["dilation"][0],
        dilationWFactor=op["dilation"][1],
        fusedActivationFunction=fused(op),
    )
    dilated = max(op["dilation"]) > 1
    inputs = (context.operand(op, 0), kernel, context.bias(op))
    code = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    version = context.version(op, int8=3, int16=5, float32=2 if dilated else 1)
    return (context.operator(op, code, inputs, options, version),)


def transpose_conv(context: Context, op: Op) -> tuple[Operator, ...]:
    """TRANSPOSE_CONV; HWIO becomes OHWI, turned by half a circle.

    The operator cuts off nothing in front (VALID) or half of what exceeds the output (SAME).  Where
    something else is asked for, it computes everything, and a SLICE takes the part.
    """
    images, kernel = context.operand(op, 0), context.kernel(op, (3, 0, 1, 2), axis=0, flip=(1, 2))
    output, offset = context.activation(op.outputs[0]), op["offset"]
    covered = [
        (n - 1) * s + k
        for n, k, s in zip(images.shape[1:3], kernel.shape[1:3], op["strides"], strict=True)
    ]
    name = _alignment(op, images.shape[1:3], covered)
    whole = output
    cut: tuple[Operator, ...] = ()
    if name is None:
        sizes = [max(n, a + b) for n, a, b in zip(covered, offset, op["size"], strict=True)]
        shape = (output.shape[0], *sizes, output.shape[3])
        whole = dataclasses.replace(output, name=f"{output.name}/whole", shape=shape)
        part = (
            whole,
            context.numbers(op, "begin", (0, *offset, 0)),
            context.numbers(op, "extent", (-1, *op["size"], -1)),
        )
        code, version = schema.BuiltinOperator.SLICE, context.version(op, int8=2, int16=4)
        cut = (context.operator(op, code, part, schema.SliceOptionsT(), version),)
    options = schema.TransposeConvOptionsT(
        padding=PADDINGS[name or "VALID"], strideH=op["strides"][0], strideW=op["strides"][1]
    )
    inputs = (context.numbers(op, "size", whole.shape), kernel, images, context.bias(op))
    return (
        Operator(
            code=schema.BuiltinOperator.TRANSPOSE_CONV,
            version=_TRANSPOSED_WITH_BIAS,
            options=options,
            inputs=inputs,
            outputs=(whole,),
        ),
        *cut,
    )


def _alignment(op: Op, sizes: Sequence[int], covered: Sequence[int]) -> str | None:
    """Returns the padding under which the operator computes just what the op wants, or None.

    A kernel narrower than the stride is never written with SAME: XNNPACK refuses that, and LiteRT's
    own kernel rounds otherwise.

    Args:
      op: Of which.
      sizes: Rows and columns of the images.
      covered: Rows and columns that the kernel's copies cover.
    """
    rows = list(zip(op["offset"], op["size"], sizes, covered, op["strides"], strict=True))
    if all(
        c - (n - 1) * s >= s and o == max(0, c - size) // 2 and -(-size // s) == n
        for o, size, n, c, s in rows
    ):
        return "SAME"
    return "VALID" if all(o == 0 and c <= size < c + s for o, size, _, c, s in rows) else None


def fully_connected(context: Context, op: Op) -> tuple[Operator, ...]:
    """FULLY_CONNECTED; [k, n] becomes [n, k]; leading axes beyond the first stay."""
    images = context.operand(op, 0)
    keeps = len(images.shape) > 2
    options = schema.FullyConnectedOptionsT(fusedActivationFunction=fused(op), keepNumDims=keeps)
    kernel = context.kernel(op, (1, 0), axis=0)
    inputs = (images, kernel, context.bias(op))
    code = schema.BuiltinOperator.FULLY_CONNECTED
    version = _KEEPS_DIMS if keeps else context.version(op, int8=4)
    version = _WIDE_DENSE if context.is_wide(op) else version
    version = _FOUR_BITS_DENSE if kernel.dtype == "int4" else version
    return (context.operator(op, code, inputs, options, version),)


def batch_matmul(context: Context, op: Op) -> tuple[Operator, ...]:
    """BATCH_MATMUL."""
    options = schema.BatchMatMulOptionsT(adjX=op["adj_x"], adjY=op["adj_y"])
    inputs = (context.operand(op, 0), context.operand(op, 1))
    code = schema.BuiltinOperator.BATCH_MATMUL
    version = context.version(op, int8=2, int16=3)
    return (context.operator(op, code, inputs, options, version),)
