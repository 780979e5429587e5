"""ADD, SUB, MUL, the rectifiers that stand alone, QUANTIZE, SOFTMAX."""

from collections.abc import Callable

from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator
from attokit.export.lowerings.context import Context, fused
from attokit.quant.ops.kind import Op


def add(context: Context, op: Op) -> tuple[Operator, ...]:
    """ADD of tensors that broadcast."""
    options = schema.AddOptionsT(fusedActivationFunction=fused(op))
    return (_binary(context, op, schema.BuiltinOperator.ADD, options),)


def sub(context: Context, op: Op) -> tuple[Operator, ...]:
    """SUB of tensors that broadcast."""
    options = schema.SubOptionsT(fusedActivationFunction=fused(op))
    return (_binary(context, op, schema.BuiltinOperator.SUB, options),)


def mul(context: Context, op: Op) -> tuple[Operator, ...]:
    """MUL of tensors that broadcast."""
    options = schema.MulOptionsT(fusedActivationFunction=fused(op))
    return (_binary(context, op, schema.BuiltinOperator.MUL, options),)


def _binary(context: Context, op: Op, code: int, options: object) -> Operator:
    inputs = (context.operand(op, 0), context.operand(op, 1))
    return context.operator(op, code, inputs, options, context.version(int8=2))


def quantize(context: Context, op: Op) -> tuple[Operator, ...]:
    """QUANTIZE from one scale to another; nothing in a float file."""
    if not context.quantized:
        context.alias(op.outputs[0], op.inputs[0])
        return ()
    inputs = (context.operand(op, 0),)
    code = schema.BuiltinOperator.QUANTIZE
    return (context.operator(op, code, inputs, schema.QuantizeOptionsT(), 1),)


def softmax(context: Context, op: Op) -> tuple[Operator, ...]:
    """SOFTMAX over the last axis."""
    inputs, options = (context.operand(op, 0),), schema.SoftmaxOptionsT(beta=1.0)
    code = schema.BuiltinOperator.SOFTMAX
    return (context.operator(op, code, inputs, options, context.version(int8=2)),)


def rectifier(code: int, int8: int) -> Callable[[Context, Op], tuple[Operator, ...]]:
    """Returns the lowering of RELU or one of its bounded kin."""

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        inputs = (context.operand(op, 0),)
        return (context.operator(op, code, inputs, None, context.version(int8=int8)),)

    return lower
