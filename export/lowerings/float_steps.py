"""Several float32 operators that stand for one op: tensors of known shapes, a step at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import TYPES, Operator, Tensor
from attokit.export.lowerings.context import Context
from attokit.quant.ops.kind import Op

_CODES = schema.BuiltinOperator
Operand = Tensor | np.ndarray | np.generic | float


class FloatSteps:
    """Collects the operators that stand for an op.

    Methods take tensors and constants, and return tensors; what they do is in TFLite's operator of the name.
    They are float32 or int32 and bool, in every operator's first version.

    Attributes:
      operators: In execution order.
    """

    def __init__(self, context: Context, op: Op):
        self.operators: list[Operator] = []
        self._context, self._op = context, op

    def operand(self, position: int, shape: Sequence[int]) -> Tensor:
        """Returns an input of the op in a shape of as many elements."""
        return self.reshape(self._context.operand(self._op, position), shape)

    def give(self, position: int, value: Tensor) -> None:
        """Makes a value an output of the op, in the output's shape."""
        output = self._context.activation(self._op.outputs[position])
        shape = self._constant(np.asarray(output.shape, np.int32))
        options = schema.ReshapeOptionsT(newShape=list(output.shape))
        self._append(_CODES.RESHAPE, options, (value, shape), (output,))

    def add(self, first: Operand, second: Operand) -> Tensor:
        """Returns first + second."""
        return self._elementwise(_CODES.ADD, schema.AddOptionsT(), first, second)

    def sub(self, first: Operand, second: Operand) -> Tensor:
        """Returns first - second."""
        return self._elementwise(_CODES.SUB, schema.SubOptionsT(), first, second)

    def mul(self, first: Operand, second: Operand) -> Tensor:
        """Returns first * second."""
        return self._elementwise(_CODES.MUL, schema.MulOptionsT(), first, second)

    def minimum(self, first: Operand, second: Operand) -> Tensor:
        """Returns the lesser of two."""
        return self._elementwise(_CODES.MINIMUM, schema.MaximumMinimumOptionsT(), first, second)

    def maximum(self, first: Operand, second: Operand) -> Tensor:
        """Returns the greater of two."""
        return self._elementwise(_CODES.MAXIMUM, schema.MaximumMinimumOptionsT(), first, second)

    def clip(self, value: Tensor, low: Operand, high: Operand) -> Tensor:
        """Returns the value between two bounds."""
        return self.minimum(self.maximum(value, low), high)

    def floor_div(self, first: Tensor, second: int) -> Tensor:
        """Returns first // second, of int32."""
        return self._elementwise(_CODES.FLOOR_DIV, schema.FloorDivOptionsT(), first, second)

    def equal(self, first: Operand, second: Operand) -> Tensor:
        """Returns where first == second."""
        return self._condition(_CODES.EQUAL, schema.EqualOptionsT(), first, second)

    def greater(self, first: Operand, second: Operand) -> Tensor:
        """Returns where first > second."""
        return self._condition(_CODES.GREATER, schema.GreaterOptionsT(), first, second)

    def greater_equal(self, first: Operand, second: Operand) -> Tensor:
        """Returns where first >= second."""
        return self._condition(_CODES.GREATER_EQUAL, schema.GreaterEqualOptionsT(), first, second)

    def less(self, first: Operand, second: Operand) -> Tensor:
        """Returns where first < second."""
        return self._condition(_CODES.LESS, schema.LessOptionsT(), first, second)

    def both(self, first: Tensor, second: Tensor) -> Tensor:
        """Returns where both conditions hold."""
        return self._condition(_CODES.LOGICAL_AND, schema.LogicalAndOptionsT(), first, second)

    def exp(self, value: Tensor) -> Tensor:
        """Returns the exponential."""
        return self._make(_CODES.EXP, schema.ExpOptionsT(), (value,), value.shape)

    def floor(self, value: Tensor) -> Tensor:
        """Returns the largest whole number that is not above."""
        return self._make(_CODES.FLOOR, None, (value,), value.shape)

    def softmax(self, value: Tensor) -> Tensor:
        """Returns shares along the last axis."""
        return self._make(_CODES.SOFTMAX, schema.SoftmaxOptionsT(beta=1.0), (value,), value.shape)

    def cast(self, value: Tensor, dtype: str) -> Tensor:
        """Returns the value in another type."""
        options = schema.CastOptionsT(inDataType=TYPES[value.dtype], outDataType=TYPES[dtype])
        return self._make(_CODES.CAST, options, (value,), value.shape, dtype)

    def select(self, condition: Tensor, chosen: Operand, otherwise: Operand) -> Tensor:
        """Returns one of two values per element; either may be a number, not both."""
        dtype = next(str(x.dtype) for x in (chosen, otherwise) if not isinstance(x, float))
        held = self._held(chosen, dtype), self._held(otherwise, dtype)
        shape = np.broadcast_shapes(condition.shape, *(x.shape for x in held))
        options = schema.SelectV2OptionsT()
        return self._make(_CODES.SELECT_V2, options, (condition, *held), shape, dtype)

    def reshape(self, value: Tensor, shape: Sequence[int]) -> Tensor:
        """Returns the same elements in another shape."""
        if tuple(shape) == value.shape:
            return value
        sizes = self._constant(np.asarray(shape, np.int32))
        options = schema.ReshapeOptionsT(newShape=list(shape))
        return self._make(_CODES.RESHAPE, options, (value, sizes), tuple(shape))

    def slice(self, value: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        """Returns a part of so many elements along each axis."""
        if tuple(size) == value.shape:
            return value
        places = (self._constant(np.asarray(x, np.int32)) for x in (begin, size))
        return self._make(_CODES.SLICE, schema.SliceOptionsT(), (value, *places), tuple(size))

    def columns(self, value: Tensor, width: int) -> list[Tensor]:
        """Returns a matrix in parts of so many columns."""
        count = value.shape[1] // width
        axis = self._constant(np.asarray(1, np.int32))
        parts = tuple(self._fresh((value.shape[0], width), value.dtype, i) for i in range(count))
        self._append(_CODES.SPLIT, schema.SplitOptionsT(numSplits=count), (axis, value), parts)
        return list(parts)

    def concatenate(self, values: Sequence[Tensor], axis: int) -> Tensor:
        """Returns tensors one after the other along an axis."""
        if len(values) == 1:
            return values[0]
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        options = schema.ConcatenationOptionsT(axis=axis)
        return self._make(_CODES.CONCATENATION, options, values, tuple(shape))

    def gather(self, values: Operand, indices: Tensor) -> Tensor:
        """Returns rows along the first axis."""
        held = self._held(values)
        shape = (*indices.shape, *held.shape[1:])
        options = schema.GatherOptionsT(axis=0)
        return self._make(_CODES.GATHER, options, (held, indices), shape, held.dtype)

    def sum_of_rows(self, value: Tensor) -> Tensor:
        """Returns the sums along the last axis, which stays."""
        last = len(value.shape) - 1
        axes = self._constant(np.asarray([last], np.int32))
        options = schema.ReducerOptionsT(keepDims=True)
        return self._make(_CODES.SUM, options, (value, axes), (*value.shape[:last], 1))

    def least_of_rows(self, value: Tensor) -> Tensor:
        """Returns the least entry of each row of a matrix."""
        axes = self._constant(np.asarray([1], np.int32))
        options = schema.ReducerOptionsT(keepDims=False)
        return self._make(_CODES.REDUCE_MIN, options, (value, axes), value.shape[:1])

    def average_pool(self, value: Tensor, size: int) -> Tensor:
        """Returns the means of windows of a size that do not overlap."""
        if size == 1:
            return value
        b, h, w, c = value.shape
        options = schema.Pool2DOptionsT(
            padding=schema.Padding.VALID,
            strideH=size, strideW=size, filterHeight=size, filterWidth=size,
        )  # fmt: skip
        shape = (b, h // size, w // size, c)
        return self._make(_CODES.AVERAGE_POOL_2D, options, (value,), shape)

    def top_k(self, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Returns the largest entries of a vector, the first of equal ones first, and their places."""
        results = self._fresh((count,), "float32", 0), self._fresh((count,), "int32", 1)
        inputs = (values, self._constant(np.asarray(count, np.int32)))
        self._append(_CODES.TOPK_V2, schema.TopKV2OptionsT(), inputs, results)
        return results

    def suppress(
        self, boxes: Tensor, scores: Tensor, count: int, iou_threshold: float
    ) -> tuple[Tensor, Tensor]:
        """Returns the places of boxes that no better box overlaps too much, and how many there are.

        Scores must be above 0 and differ: among equal ones the operator's order is that of a heap.  It removes
        what overlaps by the threshold itself, too, so it gets the next larger number.
        """
        above = np.nextafter(np.float32(iou_threshold), np.float32(np.inf), dtype=np.float32)
        numbers = (np.asarray(count, np.int32), np.asarray(above), np.float32(0))
        results = self._fresh((count,), "int32", 0), self._fresh((), "int32", 1)
        inputs = (boxes, scores, *(self._constant(np.asarray(number)) for number in numbers))
        options = schema.NonMaxSuppressionV4OptionsT()
        self._append(_CODES.NON_MAX_SUPPRESSION_V4, options, inputs, results)
        return results

    def _elementwise(self, code: int, options: Any, first: Operand, second: Operand) -> Tensor:
        held = self._pair(first, second)
        shape = np.broadcast_shapes(*(x.shape for x in held))
        return self._make(code, options, held, shape)

    def _condition(self, code: int, options: Any, first: Operand, second: Operand) -> Tensor:
        held = self._pair(first, second)
        shape = np.broadcast_shapes(*(x.shape for x in held))
        return self._make(code, options, held, shape, "bool")

    def _pair(self, first: Operand, second: Operand) -> tuple[Tensor, Tensor]:
        dtype = next(x.dtype for x in (first, second) if isinstance(x, Tensor))
        return self._held(first, dtype), self._held(second, dtype)

    def _held(self, value: Operand, dtype: str = "float32") -> Tensor:
        if isinstance(value, Tensor):
            return value
        array = np.asarray(value)
        return self._constant(array.reshape(array.shape or (1,)).astype(dtype))

    def _constant(self, data: np.ndarray) -> Tensor:
        name = f"{self._op.outputs[0]}/number_{len(self.operators)}"
        return Tensor(name=name, shape=data.shape, dtype=str(data.dtype), data=data)

    def _fresh(self, shape: Sequence[int], dtype: str, position: int = 0) -> Tensor:
        name = f"{self._op.outputs[0]}/step_{len(self.operators)}"
        return Tensor(
            name=f"{name}_{position}" if position else name, shape=tuple(shape), dtype=dtype
        )

    def _make(
        self,
        code: int,
        options: Any,
        inputs: Sequence[Tensor],
        shape: Sequence[int],
        dtype: str | None = None,
    ) -> Tensor:
        result = self._fresh(shape, dtype or inputs[0].dtype)
        self._append(code, options, inputs, (result,))
        return result

    def _append(
        self, code: int, options: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> None:
        self.operators.append(
            Operator(
                code=code, version=1, options=options, inputs=tuple(inputs), outputs=tuple(outputs)
            )
        )
