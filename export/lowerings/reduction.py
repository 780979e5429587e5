"""Pools, MEAN, REDUCE_MAX, REDUCE_MIN, REDUCE_ALL, ARG_MAX and ARG_MIN."""

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
        version = context.version(op, int8=2, int16=3)
        return (context.operator(op, code, inputs, options, version),)

    return lower


def over_axes(
    code: int, int8: int, int16: int | None = None
) -> Callable[[Context, Op], tuple[Operator, ...]]:
    """Returns the lowering of a reduction over constant axes."""

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        inputs = (context.operand(op, 0), context.numbers(op, "axes", op["axes"]))
        options = schema.ReducerOptionsT(keepDims=op["keepdims"])
        version = context.version(op, int8=int8, int16=int16)
        return (context.operator(op, code, inputs, options, version),)

    return lower


def position(code: int, options: type) -> Callable[[Context, Op], tuple[Operator, ...]]:
    """Returns the lowering of ARG_MAX or ARG_MIN, whose result is int32."""

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        inputs = (context.operand(op, 0), context.numbers(op, "axis", [op["axis"]]))
        made = options(outputType=schema.TensorType.INT32)
        return (context.operator(op, code, inputs, made, context.version(op, int8=2)),)

    return lower
