"""AVERAGE_POOL_2D, MAX_POOL_2D and MEAN."""

from collections.abc import Callable

from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator
from attokit.export.lowerings.context import Context, fused, padding
from attokit.quant.ops.kind import Op


def pool(code: int) -> Callable[[Context, Op], tuple[Operator, ...]]:
    """Returns the lowering of a pool."""

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        options = schema.Pool2DOptionsT(
            padding=padding(op),
            strideH=op["strides"][0],
            strideW=op["strides"][1],
            filterHeight=op["window"][0],
            filterWidth=op["window"][1],
            fusedActivationFunction=fused(op),
        )
        inputs = (context.operand(op, 0),)
        return (context.operator(op, code, inputs, options, context.version(int8=2)),)

    return lower


def mean(context: Context, op: Op) -> tuple[Operator, ...]:
    """MEAN over constant axes."""
    inputs = (context.operand(op, 0), context.numbers(op, "axes", op["axes"]))
    options = schema.ReducerOptionsT(keepDims=op["keepdims"])
    code = schema.BuiltinOperator.MEAN
    return (context.operator(op, code, inputs, options, context.version(int8=2)),)
