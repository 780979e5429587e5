"""The table of lowerings: how each kind of op is written in TFLite.

Versions are the lowest whose int8 or float form is enough (LiteRT's op_version.cc), so that files
run on the oldest runtimes that can run them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ai_edge_litert.schema_py_generated import BuiltinOperator

from attokit.export.flatbuffer import Operator
from attokit.export.lowerings import contraction, elementwise, movement, reduction
from attokit.export.lowerings.context import Context
from attokit.quant.ops.kind import Op

Lowering = Callable[[Context, Op], tuple[Operator, ...]]

LOWERINGS: Mapping[str, Lowering] = MappingProxyType(
    {
        "add": elementwise.add,
        "average_pool_2d": reduction.pool(BuiltinOperator.AVERAGE_POOL_2D),
        "concatenation": movement.concatenation,
        "conv_2d": contraction.conv_2d,
        "depthwise_conv_2d": contraction.depthwise_conv_2d,
        "fully_connected": contraction.fully_connected,
        "max_pool_2d": reduction.pool(BuiltinOperator.MAX_POOL_2D),
        "mean": reduction.mean,
        "mul": elementwise.mul,
        "pad": movement.pad,
        "quantize": elementwise.quantize,
        "relu": elementwise.rectifier(BuiltinOperator.RELU, int8=2),
        "relu6": elementwise.rectifier(BuiltinOperator.RELU6, int8=2),
        "relu_n1_to_1": elementwise.rectifier(BuiltinOperator.RELU_N1_TO_1, int8=1),
        "reshape": movement.reshape,
        "slice": movement.slice_,
        "softmax": elementwise.softmax,
        "strided_slice": movement.strided_slice,
        "sub": elementwise.sub,
        "transpose": movement.transpose,
    }
)
