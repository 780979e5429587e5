"""What operators cost: multiply-adds, and memory while they run."""

import math
from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from attokit.export.anatomy import OperatorInfo, TensorInfo, widened_constants

_BUILTIN = frozenset(name for name in vars(schema.BuiltinOperator) if not name.startswith("_"))
_UNKNOWN = (
    "CUSTOM", "DELEGATE", "EMBEDDING_LOOKUP_SPARSE", "RFFT2D", "STABLEHLO_CONVOLUTION",
    "STABLEHLO_CUSTOM_CALL", "STABLEHLO_DOT_GENERAL",
)  # fmt: skip
_CUSTOM_WITHOUT = ("TFLite_Detection_PostProcess",)
# Which inputs of a recurrent operator are matrices that every step multiplies with; the first input is
# [batch, size], of a sequence [batch, time, size] or the time first.
_CELL = (*range(1, 9), 16)  # of inputs and of states for four gates, and a projection
_BACKWARD = tuple(17 + place for place in _CELL)
_MATRICES = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*_CELL, *_BACKWARD, *range(40, 48)),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6, 10, 11),
    "LSTM": _CELL,
    "RNN": (1, 2),
    "SVDF": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _CELL,
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
}
_BASIC_LSTM = 5  # inputs of the form whose gates are one matrix, the third of them


def live_bytes(
    tensors: Sequence[TensorInfo],
    operators: Sequence[OperatorInfo],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> list[int]:
    """Returns, for each operator, the bytes of the activations that exist while it runs.

    An activation lives from the operator that makes it (inputs: from the start) to the last that
    reads it (outputs: to the end). Constants that a runtime widens and keeps are none.
    """
    widened = widened_constants(tensors, operators)
    born, dies = {index: 0 for index in inputs}, {}
    for i, operator in enumerate(operators):
        for index in operator.outputs:
            born.setdefault(index, i)
        for index in operator.present:
            dies[index] = i
    dies.update({index: len(operators) - 1 for index in outputs})
    change = [0] * (len(operators) + 1)
    for index, last in dies.items():
        if index in born and not tensors[index].constant and index not in widened and operators:
            change[born[index]] += tensors[index].size
            change[last + 1] -= tensors[index].size
    total, result = 0, []
    for delta in change[:-1]:
        total += delta
        result.append(total)
    return result


def is_counted(kind: str) -> bool:
    """Returns whether `multiply_adds` knows an operator: not a custom one, nor some that are rare."""
    return kind in _CUSTOM_WITHOUT or (kind in _BUILTIN and kind not in _UNKNOWN)


def multiply_adds(kind: str, operator: Any, inputs: list[tuple], outputs: list[tuple]) -> int:
    """Returns the multiply-adds of one operator, 0 for kinds that have none or are not known.

    Args:
      kind: The schema's name.
      operator: The schema's object, for its options.
      inputs: Shapes, in the operator's order.
      outputs: Likewise.
    """
    if kind == "CONV_2D":  # kernel [o, kh, kw, i]
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if kind == "DEPTHWISE_CONV_2D":  # kernel [1, kh, kw, o]
        return math.prod(outputs[0]) * math.prod(inputs[1][1:3])
    if kind == "CONV_3D":  # kernel [kd, kh, kw, i, o]
        return math.prod(outputs[0]) * math.prod(inputs[1][:4])
    if kind == "FULLY_CONNECTED":  # kernel [n, k]
        return math.prod(outputs[0]) * inputs[1][-1]
    if kind == "TRANSPOSE_CONV":  # inputs: output shape, kernel [o, kh, kw, i], images
        return math.prod(inputs[2]) * math.prod(inputs[1][:3])
    if kind == "CONV_3D_TRANSPOSE":  # inputs: output shape, kernel [kd, kh, kw, o, i], volumes
        return math.prod(inputs[2]) * math.prod(inputs[1][:4])
    if kind in _MATRICES:
        basic = kind == "LSTM" and len(inputs) == _BASIC_LSTM
        matrices = [inputs[i] for i in ((2,) if basic else _MATRICES[kind]) if i < len(inputs)]
        products = sum(math.prod(shape) for shape in matrices if len(shape) == 2)
        return math.prod(inputs[0][:-1]) * products
    if kind == "BATCH_MATMUL":
        options = schema.BatchMatMulOptions()
        table = operator.BuiltinOptions()
        if table is not None:
            options.Init(table.Bytes, table.Pos)
        transposed = table is not None and options.AdjX()
        return math.prod(outputs[0]) * inputs[0][-2 if transposed else -1]
    return 0
