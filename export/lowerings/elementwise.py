"""ADD, SUB, MUL, the rectifiers that stand alone, QUANTIZE, SOFTMAX."""

import dataclasses
from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator, Quantization, Tensor
from attokit.export.lowerings.context import Context, fused
from attokit.export.lowerings.functions import float_function
from attokit.quant.ops.kind import Op

Lowering = Callable[[Context, Op], tuple[Operator, ...]]
_LEAST = 1 / 256  # scale at which the kernels of comparisons tell neighbours apart


def add(context: Context, op: Op) -> tuple[Operator, ...]:
    """ADD of tensors that broadcast."""
    options = schema.AddOptionsT(
        fusedActivationFunction=fused(op), potScaleInt16=not context.is_wide(op)
    )
    return (_binary(context, op, schema.BuiltinOperator.ADD, options, 3),)


def sub(context: Context, op: Op) -> tuple[Operator, ...]:
    """SUB of tensors that broadcast."""
    options = schema.SubOptionsT(
        fusedActivationFunction=fused(op), potScaleInt16=not context.is_wide(op)
    )
    return (_binary(context, op, schema.BuiltinOperator.SUB, options, 5),)


def mul(context: Context, op: Op) -> tuple[Operator, ...]:
    """MUL of tensors that broadcast."""
    options = schema.MulOptionsT(fusedActivationFunction=fused(op))
    return (_binary(context, op, schema.BuiltinOperator.MUL, options, 4),)


def _binary(context: Context, op: Op, code: int, options: object, int16: int) -> Operator:
    inputs = (context.operand(op, 0), context.operand(op, 1))
    version = context.version(op, int8=2, int16=int16)
    return context.operator(op, code, inputs, options, version)


def ordering(code: int, options: type) -> Lowering:
    """Returns the lowering of GREATER, EQUAL and the like, whose operands share a scale.

    The integers alone decide. But the kernels multiply them by 256 times the scale and round, by a multiplier below 1:
    from a scale of 1 on they answer nonsense (TFLite Micro stops), and below 1/256 neighbours become equal. There
    BROADCAST_TO (of a number SQUEEZE), which copies, gives the integers a scale at which none of it happens.
    """

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        copies: dict[str, Operator] = {}
        inputs = []
        for position in range(len(op.inputs)):
            tensor = context.operand(op, position)
            if tensor.quantization is not None and not _LEAST <= tensor.quantization.scale[0] < 1:
                plain = dataclasses.replace(tensor, quantization=_middling(tensor.quantization))
                if tensor.data is None and tensor.name not in copies:
                    named = dataclasses.replace(plain, name=f"{op.outputs[0]}/{tensor.name}")
                    copies[tensor.name] = _copy(context, op, tensor, named)
                tensor = plain if tensor.data is not None else copies[tensor.name].outputs[0]
            inputs.append(tensor)
        version = 2 if any(tensor.dtype == "int8" for tensor in inputs) else 1
        return (*copies.values(), context.operator(op, code, inputs, options(), version))

    return lower


def _middling(quantization: Quantization) -> Quantization:
    return dataclasses.replace(quantization, scale=np.full(1, 0.5, np.float32))


def _copy(context: Context, op: Op, source: Tensor, target: Tensor) -> Operator:
    """Returns what copies integers to a tensor of another scale."""
    if not source.shape:  # TFLite Micro takes no empty shape
        return Operator(
            code=schema.BuiltinOperator.SQUEEZE, version=1, options=schema.SqueezeOptionsT(squeezeDims=[]),
            inputs=(source,), outputs=(target,),
        )  # fmt: skip
    shape = context.numbers(op, f"{source.name}/shape", source.shape)
    code, options = schema.BuiltinOperator.BROADCAST_TO, schema.BroadcastToOptionsT()
    return Operator(
        code=code, version=3, options=options, inputs=(source, shape), outputs=(target,)
    )


def comparison(code: int, options: type | None, int8: int, int16: int | None = None) -> Lowering:
    """Returns the lowering of MAXIMUM, LOGICAL_AND and the like: one scale for what they compare."""

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        inputs = [context.operand(op, i) for i in range(len(op.inputs))]
        integer = any(tensor.dtype in ("int8", "int16") for tensor in inputs)
        version = context.version(op, int8=int8, int16=int16) if integer else 1
        made = options() if options is not None else None
        return (context.operator(op, code, inputs, made, version),)

    return lower


def quantize(context: Context, op: Op) -> tuple[Operator, ...]:
    """QUANTIZE from one scale or type to another; nothing in a float file."""
    if not context.quantized:
        context.alias(op.outputs[0], op.inputs[0])
        return ()
    inputs = (context.operand(op, 0),)
    code = schema.BuiltinOperator.QUANTIZE
    version = context.version(op, int8=1, int16=2)
    return (context.operator(op, code, inputs, schema.QuantizeOptionsT(), version),)


def dequantize(context: Context, op: Op) -> tuple[Operator, ...]:
    """DEQUANTIZE to float32; nothing in a float file."""
    if not context.quantized:
        context.alias(op.outputs[0], op.inputs[0])
        return ()
    code, options = schema.BuiltinOperator.DEQUANTIZE, schema.DequantizeOptionsT()
    return (_unary(context, op, code, options, 2, 3),)


def logistic(context: Context, op: Op) -> tuple[Operator, ...]:
    """LOGISTIC."""
    return (_unary(context, op, schema.BuiltinOperator.LOGISTIC, None, 2, 3),)


def tanh(context: Context, op: Op) -> tuple[Operator, ...]:
    """TANH."""
    return (_unary(context, op, schema.BuiltinOperator.TANH, None, 2, 3),)


def hard_swish(context: Context, op: Op) -> tuple[Operator, ...]:
    """HARD_SWISH."""
    options = schema.HardSwishOptionsT()
    return (_unary(context, op, schema.BuiltinOperator.HARD_SWISH, options, 1),)


def leaky_relu(context: Context, op: Op) -> tuple[Operator, ...]:
    """LEAKY_RELU."""
    options = schema.LeakyReluOptionsT(alpha=op["alpha"])
    return (_unary(context, op, schema.BuiltinOperator.LEAKY_RELU, options, 2),)


def abs_(context: Context, op: Op) -> tuple[Operator, ...]:
    """ABS."""
    return (_unary(context, op, schema.BuiltinOperator.ABS, schema.AbsOptionsT(), 2, 3),)


def lookup(context: Context, op: Op) -> tuple[Operator, ...]:
    """A function: an operator of the target's, or a gather from its table.

    The table is addressed by int32, so int8 is widened and shifted to [0, 255] first; the three
    operators are exact in every runtime.
    """
    name = op["name"]
    if context.target == "android" and name in _NATIVE:
        return (_unary(context, op, *_NATIVE[name]),)
    if context.is_float(op):
        return float_function(context, op)
    values = context.operand(op, 0)
    wide, index = (
        Tensor(name=f"{op.outputs[0]}/{role}", shape=values.shape, dtype="int32")
        for role in ("wide", "index")
    )
    types = schema.CastOptionsT(
        inDataType=schema.TensorType.INT8, outDataType=schema.TensorType.INT32
    )
    codes = schema.BuiltinOperator
    return (
        Operator(code=codes.CAST, version=1, options=types, inputs=(values,), outputs=(wide,)),
        Operator(
            code=codes.ADD,
            version=1,
            options=schema.AddOptionsT(),
            inputs=(wide, context.integer(op, "shift", 128)),
            outputs=(index,),
        ),
        context.operator(
            op, codes.GATHER, (context.table(op), index), schema.GatherOptionsT(axis=0), 2
        ),
    )


# Functions that LiteRT has an operator for: (code, options, version for int8).
_NATIVE = {
    "exp": (schema.BuiltinOperator.EXP, schema.ExpOptionsT(), 2),
    "gelu": (schema.BuiltinOperator.GELU, schema.GeluOptionsT(), 2),
    "gelu_tanh": (
        schema.BuiltinOperator.GELU,
        schema.GeluOptionsT(approximate=True),
        2,
    ),
    "log": (schema.BuiltinOperator.LOG, None, 2),
}


def _unary(
    context: Context, op: Op, code: int, options: object, int8: int, int16: int | None = None
) -> Operator:
    version = context.version(op, int8=int8, int16=int16)
    return context.operator(op, code, (context.operand(op, 0),), options, version)


def prelu(context: Context, op: Op) -> tuple[Operator, ...]:
    """PRELU; the slopes have a scale of their own."""
    inputs = (context.operand(op, 0), context.operand(op, 1))
    return (context.operator(op, schema.BuiltinOperator.PRELU, inputs, None, 1),)


def softmax(context: Context, op: Op) -> tuple[Operator, ...]:
    """SOFTMAX over the last axis."""
    inputs, options = (context.operand(op, 0),), schema.SoftmaxOptionsT(beta=1.0)
    code = schema.BuiltinOperator.SOFTMAX
    version = context.version(op, int8=2, int16=3)
    return (context.operator(op, code, inputs, options, version),)


def relu_n1_to_1(context: Context, op: Op) -> tuple[Operator, ...]:
    """RELU_N1_TO_1; TFLite Micro and int16, which have none, get MAXIMUM and MINIMUM."""
    if context.target != "micro" and not context.is_wide(op):
        code = schema.BuiltinOperator.RELU_N1_TO_1
        return rectifier(code, int8=1)(context, op)
    values = context.operand(op, 0)
    raised = Tensor(
        name=f"{op.outputs[0]}/raised",
        shape=values.shape,
        dtype=values.dtype,
        quantization=values.quantization,
    )
    low, high = (context.number(op, "bound", bound) for bound in (-1, 1))
    options, version = schema.MaximumMinimumOptionsT(), context.version(op, int8=2, int16=4)
    codes = schema.BuiltinOperator
    first = Operator(
        code=codes.MAXIMUM,
        version=version,
        options=options,
        inputs=(values, low),
        outputs=(raised,),
    )
    return first, context.operator(op, codes.MINIMUM, (raised, high), options, version)


def log_softmax(context: Context, op: Op) -> tuple[Operator, ...]:
    """LOG_SOFTMAX over the last axis."""
    code, options = schema.BuiltinOperator.LOG_SOFTMAX, schema.LogSoftmaxOptionsT()
    return (_unary(context, op, code, options, 2),)


def rectifier(code: int, int8: int, int16: int | None = None) -> Lowering:
    """Returns the lowering of RELU or one of its bounded kin."""

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        inputs = (context.operand(op, 0),)
        version = context.version(op, int8=int8, int16=int16)
        return (context.operator(op, code, inputs, None, version),)

    return lower
