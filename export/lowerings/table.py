"""The table of lowerings: how each kind of op is written in TFLite.

Versions are the lowest whose int8, int16 or float form is enough (LiteRT's op_version.cc), so that files
run on the oldest runtimes that can run them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator

from attokit.export.flatbuffer import Operator
from attokit.export.lowerings import (
    contraction,
    elementwise,
    movement,
    normalization,
    reduction,
    regions,
    resize,
)
from attokit.export.lowerings.context import Context
from attokit.quant.ops.kind import Op

Lowering = Callable[[Context, Op], tuple[Operator, ...]]

LOWERINGS: Mapping[str, Lowering] = MappingProxyType(
    {
        "abs": elementwise.abs_,
        "add": elementwise.add,
        "arg_max": reduction.position(BuiltinOperator.ARG_MAX, schema.ArgMaxOptionsT),
        "arg_min": reduction.position(BuiltinOperator.ARG_MIN, schema.ArgMinOptionsT),
        "average_pool_2d": reduction.pool(BuiltinOperator.AVERAGE_POOL_2D),
        "batch_matmul": contraction.batch_matmul,
        "bounded_index": movement.bounded_index,
        "broadcast_to": movement.broadcast_to,
        "concatenation": movement.concatenation,
        "conv_2d": contraction.conv_2d,
        "depth_to_space": movement.blocks(
            BuiltinOperator.DEPTH_TO_SPACE, schema.DepthToSpaceOptionsT, 1
        ),
        "depthwise_conv_2d": contraction.depthwise_conv_2d,
        "dequantize": elementwise.dequantize,
        "detect": regions.detect,
        "equal": elementwise.ordering(BuiltinOperator.EQUAL, schema.EqualOptionsT),
        "fully_connected": contraction.fully_connected,
        "gather": movement.gather,
        "greater": elementwise.ordering(BuiltinOperator.GREATER, schema.GreaterOptionsT),
        "greater_equal": elementwise.ordering(
            BuiltinOperator.GREATER_EQUAL, schema.GreaterEqualOptionsT
        ),
        "hard_swish": elementwise.hard_swish,
        "l2_normalization": normalization.l2_normalization,
        "leaky_relu": elementwise.leaky_relu,
        "less": elementwise.ordering(BuiltinOperator.LESS, schema.LessOptionsT),
        "less_equal": elementwise.ordering(BuiltinOperator.LESS_EQUAL, schema.LessEqualOptionsT),
        "log_softmax": elementwise.log_softmax,
        "logical_and": elementwise.comparison(
            BuiltinOperator.LOGICAL_AND, schema.LogicalAndOptionsT, 1
        ),
        "logical_not": elementwise.comparison(
            BuiltinOperator.LOGICAL_NOT, schema.LogicalNotOptionsT, 1
        ),
        "logical_or": elementwise.comparison(
            BuiltinOperator.LOGICAL_OR, schema.LogicalOrOptionsT, 1
        ),
        "logistic": elementwise.logistic,
        "lookup": elementwise.lookup,
        "max_pool_2d": reduction.pool(BuiltinOperator.MAX_POOL_2D),
        "maximum": elementwise.comparison(
            BuiltinOperator.MAXIMUM, schema.MaximumMinimumOptionsT, 2, 4
        ),
        "mean": reduction.over_axes(BuiltinOperator.MEAN, 2, 3),
        "minimum": elementwise.comparison(
            BuiltinOperator.MINIMUM, schema.MaximumMinimumOptionsT, 2, 4
        ),
        "mirror_pad": movement.mirror_pad,
        "mul": elementwise.mul,
        "not_equal": elementwise.ordering(BuiltinOperator.NOT_EQUAL, schema.NotEqualOptionsT),
        "pad": movement.pad,
        "pad_v2": movement.pad_v2,
        "prelu": elementwise.prelu,
        "propose": regions.propose,
        "quantize": elementwise.quantize,
        "read_regions": regions.read_regions,
        "reduce_all": reduction.over_axes(BuiltinOperator.REDUCE_ALL, 1),
        "reduce_max": reduction.over_axes(BuiltinOperator.REDUCE_MAX, 2, 3),
        "reduce_min": reduction.over_axes(BuiltinOperator.REDUCE_MIN, 2, 3),
        "relu": elementwise.rectifier(BuiltinOperator.RELU, int8=2, int16=3),
        "relu6": elementwise.rectifier(BuiltinOperator.RELU6, int8=2, int16=3),
        "relu_n1_to_1": elementwise.relu_n1_to_1,
        "reshape": movement.reshape,
        "resize_bilinear": resize.resize(
            BuiltinOperator.RESIZE_BILINEAR, schema.ResizeBilinearOptionsT, 2
        ),
        "resize_nearest_neighbor": resize.resize(
            BuiltinOperator.RESIZE_NEAREST_NEIGHBOR, schema.ResizeNearestNeighborOptionsT, 3
        ),
        "reverse": movement.reverse,
        "select": elementwise.comparison(BuiltinOperator.SELECT_V2, schema.SelectV2OptionsT, 1),
        "select_masks": regions.select_masks,
        "slice": movement.slice_,
        "softmax": elementwise.softmax,
        "space_to_depth": movement.blocks(
            BuiltinOperator.SPACE_TO_DEPTH, schema.SpaceToDepthOptionsT, 2
        ),
        "strided_slice": movement.strided_slice,
        "sub": elementwise.sub,
        "tanh": elementwise.tanh,
        "transpose": movement.transpose,
        "transpose_conv": contraction.transpose_conv,
    }
)
