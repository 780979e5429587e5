"""What operators cost: multiply-adds, and memory while they run."""

import math
from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from attokit.export.anatomy import OperatorInfo, TensorInfo


def live_bytes(
    tensors: Sequence[TensorInfo],
    operators: Sequence[OperatorInfo],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> list[int]:
    """Returns, for each operator, the bytes of the activations that exist while it runs.

    An activation lives from the operator that makes it (inputs: from the start) to the last that
    reads it (outputs: to the end).
    """
    born, dies = {index: 0 for index in inputs}, {}
    for i, operator in enumerate(operators):
        for index in operator.outputs:
            born.setdefault(index, i)
        for index in operator.present:
            dies[index] = i
    dies.update({index: len(operators) - 1 for index in outputs})
    change = [0] * (len(operators) + 1)
    for index, last in dies.items():
        if index in born and not tensors[index].constant and operators:
            change[born[index]] += tensors[index].size
            change[last + 1] -= tensors[index].size
    total, result = 0, []
    for delta in change[:-1]:
        total += delta
        result.append(total)
    return result


def multiply_adds(kind: str, operator: Any, inputs: list[tuple], outputs: list[tuple]) -> int:
    """Returns the multiply-adds of one operator, 0 for kinds that have none.

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
    if kind == "BATCH_MATMUL":
        options = schema.BatchMatMulOptions()
        table = operator.BuiltinOptions()
        if table is not None:
            options.Init(table.Bytes, table.Pos)
        transposed = table is not None and options.AdjX()
        return math.prod(outputs[0]) * inputs[0][-2 if transposed else -1]
    return 0
