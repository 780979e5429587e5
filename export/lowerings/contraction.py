"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED.

Quantization spec: int8 kernels are symmetric with zero point 0 and one scale per output channel,
along axis 0 (CONV_2D, OHWI; FULLY_CONNECTED, [n, k]) or axis 3 (DEPTHWISE_CONV_2D, [1, kh, kw, o]);
biases are int32 with scale s_in * s_kernel and zero point 0.
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
"""

from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator
from attokit.export.lowerings.context import Context, fused, padding
from attokit.quant.ops.kind import Op

_GROUPED = 6  # first version in which the filter may have fewer channels than the images
_KEEPS_DIMS = 5


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
    version = context.version(int8=3, float32=2 if dilated else 1)
    inputs = (context.operand(op, 0), context.kernel(op, (3, 0, 1, 2), axis=0), context.bias(op))
    code = schema.BuiltinOperator.CONV_2D
    return (context.operator(op, code, inputs, options, _GROUPED if op["groups"] > 1 else version),)


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
    version = context.version(int8=3, float32=2 if dilated else 1)
    return (context.operator(op, code, inputs, options, version),)


def fully_connected(context: Context, op: Op) -> tuple[Operator, ...]:
    """FULLY_CONNECTED; [k, n] becomes [n, k]; leading axes beyond the first stay."""
    images = context.operand(op, 0)
    keeps = len(images.shape) > 2
    options = schema.FullyConnectedOptionsT(fusedActivationFunction=fused(op), keepNumDims=keeps)
    inputs = (images, context.kernel(op, (1, 0), axis=0), context.bias(op))
    code = schema.BuiltinOperator.FULLY_CONNECTED
    version = _KEEPS_DIMS if keeps else context.version(int8=4)
    return (context.operator(op, code, inputs, options, version),)
