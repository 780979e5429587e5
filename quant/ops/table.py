"""The table of op kinds: the one list of what a graph may hold."""

from collections.abc import Mapping
from types import MappingProxyType

from attokit.quant.ops import (
    arithmetic,
    batch_matmul,
    convolution,
    fully_connected,
    lookup,
    mean,
    movement,
    normalization,
    pool,
    prelu,
    rectifier,
    selection,
    softmax,
    transposed_convolution,
)
from attokit.quant.ops.kind import OpKind

_KINDS = (
    arithmetic.ADD,
    arithmetic.MUL,
    arithmetic.SUB,
    batch_matmul.BATCH_MATMUL,
    convolution.CONV_2D,
    convolution.DEPTHWISE_CONV_2D,
    fully_connected.FULLY_CONNECTED,
    lookup.ABS,
    lookup.HARD_SWISH,
    lookup.LEAKY_RELU,
    lookup.LOGISTIC,
    lookup.LOOKUP,
    lookup.TANH,
    mean.MEAN,
    movement.CONCATENATION,
    movement.PAD,
    movement.RESHAPE,
    movement.SLICE,
    movement.STRIDED_SLICE,
    movement.TRANSPOSE,
    normalization.L2_NORMALIZATION,
    pool.AVERAGE_POOL_2D,
    pool.MAX_POOL_2D,
    prelu.PRELU,
    rectifier.QUANTIZE,
    rectifier.RELU,
    rectifier.RELU6,
    rectifier.RELU_N1_TO_1,
    selection.EQUAL,
    selection.GREATER,
    selection.GREATER_EQUAL,
    selection.LESS,
    selection.LESS_EQUAL,
    selection.LOGICAL_AND,
    selection.LOGICAL_NOT,
    selection.LOGICAL_OR,
    selection.MAXIMUM,
    selection.MINIMUM,
    selection.NOT_EQUAL,
    selection.SELECT,
    softmax.SOFTMAX,
    transposed_convolution.TRANSPOSE_CONV,
)

OPS: Mapping[str, OpKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
