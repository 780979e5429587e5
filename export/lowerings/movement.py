"""Operators that only move values.  Their shapes and axes are int32 constants."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator, Tensor
from attokit.export.lowerings.context import Context
from attokit.quant.ops.kind import Op

_RANK = 4  # what the lowest versions of most of these take


def reshape(context: Context, op: Op) -> tuple[Operator, ...]:
    """RESHAPE; a batch that goes through is written as -1, so that the file takes any."""
    shape = list(op["shape"])
    first = op.attributes.get("first", 0)
    if (op["keeps_batch"] or first) and 0 not in shape:
        shape[first] = -1
    inputs = (context.operand(op, 0), context.numbers(op, "shape", shape))
    options = schema.ReshapeOptionsT(newShape=shape)
    return (context.operator(op, schema.BuiltinOperator.RESHAPE, inputs, options, 1),)


def transpose(context: Context, op: Op) -> tuple[Operator, ...]:
    """TRANSPOSE (quantized rank 5: version 4, above: 6)."""
    inputs = (context.operand(op, 0), context.numbers(op, "permutation", op["permutation"]))
    rank = len(op["permutation"])
    version = context.version(op, int8=2, int16=4)
    version = 6 if rank > 5 else 4 if rank > _RANK else version
    options = schema.TransposeOptionsT()
    return (context.operator(op, schema.BuiltinOperator.TRANSPOSE, inputs, options, version),)


def pad(context: Context, op: Op) -> tuple[Operator, ...]:
    """PAD with the output's zero point (rank above 4: version 4)."""
    inputs = (context.operand(op, 0), context.numbers(op, "widths", op["widths"]))
    version = 4 if len(op["widths"]) > _RANK else context.version(op, int8=2, int16=3)
    return (
        context.operator(op, schema.BuiltinOperator.PAD, inputs, schema.PadOptionsT(), version),
    )


def pad_v2(context: Context, op: Op) -> tuple[Operator, ...]:
    """PADV2 with a number on the output's scale (rank above 4: version 4)."""
    widths = context.numbers(op, "widths", op["widths"])
    inputs = (context.operand(op, 0), widths, context.operand(op, 1))
    version = 4 if len(op["widths"]) > _RANK else context.version(op, int8=2, int16=3)
    code, options = schema.BuiltinOperator.PADV2, schema.PadV2OptionsT()
    return (context.operator(op, code, inputs, options, version),)


def mirror_pad(context: Context, op: Op) -> tuple[Operator, ...]:
    """MIRROR_PAD."""
    inputs = (context.operand(op, 0), context.numbers(op, "widths", op["widths"]))
    modes = schema.MirrorPadMode
    mode = modes.REFLECT if op["mode"] == "reflect" else modes.SYMMETRIC
    code, options = schema.BuiltinOperator.MIRROR_PAD, schema.MirrorPadOptionsT(mode=mode)
    version = context.version(op, int8=2, int16=3)
    return (context.operator(op, code, inputs, options, version),)


def broadcast_to(context: Context, op: Op) -> tuple[Operator, ...]:
    """BROADCAST_TO (int8: version 3)."""
    inputs = (context.operand(op, 0), context.numbers(op, "shape", op["shape"]))
    code, options = schema.BuiltinOperator.BROADCAST_TO, schema.BroadcastToOptionsT()
    return (context.operator(op, code, inputs, options, context.version(op, int8=3, float32=2)),)


def reverse(context: Context, op: Op) -> tuple[Operator, ...]:
    """REVERSE_V2 of one axis (int8: version 3)."""
    inputs = (context.operand(op, 0), context.numbers(op, "axis", [op["axis"]]))
    code, options = schema.BuiltinOperator.REVERSE_V2, schema.ReverseV2OptionsT()
    return (context.operator(op, code, inputs, options, context.version(op, int8=3)),)


def gather(context: Context, op: Op) -> tuple[Operator, ...]:
    """GATHER along one axis; its values may be an activation or a table."""
    inputs = (context.operand(op, 0), context.operand(op, 1))
    code, options = schema.BuiltinOperator.GATHER, schema.GatherOptionsT(axis=op["axis"])
    version = context.version(op, int8=2, int16=4)
    return (context.operator(op, code, inputs, options, version),)


def bounded_index(context: Context, op: Op) -> tuple[Operator, ...]:
    """Arithmetic of int32 that every runtime has: a negative index plus the size, then a clip."""
    codes, size = schema.BuiltinOperator, op["size"]
    made: list[Operator] = []
    value = context.operand(op, 0)

    def step(code: int, options: object, number: int, result: Tensor) -> Tensor:
        constant = context.integer(op, f"number_{len(made)}", number)
        inputs, version = (value, constant), 1
        made.append(
            Operator(code=code, version=version, options=options, inputs=inputs, outputs=(result,))
        )
        return result

    def inner(role: str) -> Tensor:
        return dataclasses.replace(
            context.activation(op.outputs[0]), name=f"{op.outputs[0]}/{role}"
        )

    extreme = schema.MaximumMinimumOptionsT()
    if op["wraps"]:  # i - size * max(min(i, 0), -1)
        index = value
        value = step(codes.MINIMUM, extreme, 0, inner("negative"))
        value = step(codes.MAXIMUM, extreme, -1, inner("sign"))
        value = step(codes.MUL, schema.MulOptionsT(), -size, inner("shift"))
        wrapped = inner("wrapped")
        made.append(
            Operator(
                code=codes.ADD,
                version=1,
                options=schema.AddOptionsT(),
                inputs=(index, value),
                outputs=(wrapped,),
            )
        )
        value = wrapped
    value = step(codes.MINIMUM, extreme, size - 1, inner("capped"))
    step(codes.MAXIMUM, extreme, 0, context.activation(op.outputs[0]))
    return tuple(made)


def blocks(code: int, options: type, int8: int) -> Callable[[Context, Op], tuple[Operator, ...]]:
    """Returns the lowering of DEPTH_TO_SPACE or SPACE_TO_DEPTH."""

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        made = options(blockSize=op["block"])
        inputs = (context.operand(op, 0),)
        return (context.operator(op, code, inputs, made, context.version(op, int8=int8)),)

    return lower


def concatenation(context: Context, op: Op) -> tuple[Operator, ...]:
    """CONCATENATION of tensors on one scale; constants are repeated here, not by the operator."""
    inputs = [_repeated(context, op, i) for i in range(len(op.inputs))]
    options = schema.ConcatenationOptionsT(axis=op["axis"])
    code, version = schema.BuiltinOperator.CONCATENATION, context.version(op, int8=2, int16=3)
    return (context.operator(op, code, inputs, options, version),)


def _repeated(context: Context, op: Op, position: int) -> Tensor:
    """Returns an operand of a concatenation; a constant with the batch of the others."""
    tensor = context.operand(op, position)
    whole = context.activation(op.outputs[0]).shape
    if tensor.data is None or op["axis"] == 0 or tensor.shape[0] == whole[0]:
        return tensor
    shape = (whole[0], *tensor.shape[1:])
    return dataclasses.replace(tensor, shape=shape, data=np.broadcast_to(tensor.data, shape))


def slice_(context: Context, op: Op) -> tuple[Operator, ...]:
    """SLICE (rank above 4: version 5)."""
    inputs = (
        context.operand(op, 0),
        context.numbers(op, "begin", op["begin"]),
        context.numbers(op, "size", op["size"]),
    )
    version = 5 if len(op["begin"]) > _RANK else context.version(op, int8=2, int16=4)
    return (
        context.operator(op, schema.BuiltinOperator.SLICE, inputs, schema.SliceOptionsT(), version),
    )


def strided_slice(context: Context, op: Op) -> tuple[Operator, ...]:
    """STRIDED_SLICE with positive strides; axes that it keeps whole, as the batch, are masked.

    Masked entries are ignored, so they repeat others: slices of one place are then one constant, along any axis.
    """
    images = context.operand(op, 0)
    axes = zip(op["begin"], op["end"], op["strides"], images.shape, strict=True)
    whole = [(begin, end, stride) == (0, size, 1) for begin, end, stride, size in axes]
    to_end = [end == size for end, size in zip(op["end"], images.shape, strict=True)]
    inputs = (
        images,
        context.numbers(op, "begin", _repeated_where(op["begin"], whole)),
        context.numbers(op, "end", _repeated_where(op["end"], whole)),
        context.numbers(op, "strides", op["strides"]),
    )
    options = schema.StridedSliceOptionsT(beginMask=_mask(whole), endMask=_mask(to_end))
    version = 4 if len(op["begin"]) > _RANK else context.version(op, int8=2, int16=4)
    return (context.operator(op, schema.BuiltinOperator.STRIDED_SLICE, inputs, options, version),)


def _repeated_where(values: Sequence[int], ignored: Sequence[bool]) -> list[int]:
    """Returns values of which those that are ignored are the first that is not."""
    counted = [v for v, skip in zip(values, ignored, strict=True) if not skip]
    return [counted[0] if skip and counted else v for v, skip in zip(values, ignored, strict=True)]


def _mask(axes: Sequence[bool]) -> int:
    return sum(1 << i for i, masked in enumerate(axes) if masked)
