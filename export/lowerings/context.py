"""What a lowering sees: tensors of the file by the graph's names, in float or in integers."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator, Quantization, Tensor
from attokit.export.integers import Ranges, integer_operands
from attokit.quant import params
from attokit.quant.graph import Graph, Weights, is_quantized
from attokit.quant.ops.kind import Op
from attokit.quant.params import QParams
from attokit.quant.plan import function_tables

Target = Literal["android", "micro", "coral"]
TARGETS: tuple[Target, ...] = ("android", "micro", "coral")

_ACTIVATIONS = {
    "none": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "relu_n1_to_1": schema.ActivationFunctionType.RELU_N1_TO_1,
}
PADDINGS = {"SAME": schema.Padding.SAME, "VALID": schema.Padding.VALID}


class Context:
    """The tensors of one file.

    Attributes:
      quantized: Whether the file holds integers (all float32 otherwise).
      target: What is to run it.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        qparams: QParams | None,
        target: Target = "android",
    ):
        self.quantized, self.target = qparams is not None, target
        self._graph, self._weights = graph, weights
        self._position = {id(op): i for i, op in enumerate(graph.ops)}
        self._tensors: dict[str, Tensor] = {}
        if qparams is not None:
            self._ranges = Ranges(graph, qparams)
            self._integers = integer_operands(graph, weights, self._ranges)
            self._tables = function_tables(graph, qparams) or {}

    def version(self, op: Op, *, int8: int, int16: int | None = None, float32: int = 1) -> int:
        """Returns the operator version for what an op computes on; int16 as int8 if not given."""
        if self.is_float(op):
            return float32
        return int8 if int16 is None or not self.is_wide(op) else int16

    def is_wide(self, op: Op) -> bool:
        """Whether an op reads or makes int16."""
        return self.quantized and self._graph.is_wide(op)

    def is_float(self, op: Op) -> bool:
        """Whether an op computes on float32: in a float file, or by its name."""
        return not self.quantized or self._graph.is_float(op)

    def activation(self, name: str) -> Tensor:
        """Returns an activation."""
        if name not in self._tensors:
            tensor = self._graph.tensors[name]
            integer = self.quantized and tensor.quantized
            self._tensors[name] = Tensor(
                name=name,
                shape=tensor.shape,
                dtype=tensor.integer_type if integer else self._graph.carried(name),
                quantization=self._ranges.quantization(name) if integer else None,
            )
        return self._tensors[name]

    def alias(self, name: str, other: str) -> None:
        """Makes an activation another name of one that exists."""
        self._tensors[name] = self.activation(other)

    def operand(self, op: Op, position: int) -> Tensor:
        """Returns an input that is an activation or a constant, with one scale."""
        name = op.inputs[position]
        if self._graph.is_activation(name):
            return self.activation(name)
        plain = self._graph.constants.get(name)
        if plain is not None and not is_quantized(plain.dtype):
            return Tensor(name=name, shape=plain.shape, dtype=str(plain.dtype), data=plain)
        if self.is_float(op):
            return self._float(name, self._array(name))
        integers = self._integers[self._position[id(op)], position]
        return Tensor(
            name=name,
            shape=integers.values.shape,
            dtype=str(integers.values.dtype),
            data=integers.values,
            quantization=self._ranges.quantization(self._graph.range_of(op, position)),
        )

    def kernel(self, op: Op, order: Sequence[int], axis: int, flip: tuple[int, ...] = ()) -> Tensor:
        """Returns the op's kernel (its second input) with transposed axes.

        Args:
          op: A convolution or dense layer.
          order: Of the graph's axes, as the file wants them.
          axis: Of the file's kernel, the one with a scale per entry.
          flip: Of the file's kernel, those that run backwards.
        """
        name = op.inputs[1]
        if self.is_float(op):
            return self._float(name, np.flip(self._array(name).transpose(order), flip))
        integers = self._integers[self._position[id(op)], 1]
        data = np.flip(integers.values.transpose(order), flip)
        # TFLite Micro has no dense layer with 4 bits and one scale per channel.
        whole = self._ranges.bits(name) == 8 or (
            self.target == "micro" and op.kind == "fully_connected"
        )
        return Tensor(
            name=name,
            shape=data.shape,
            dtype="int8" if whole else "int4",
            data=data,
            quantization=_symmetric(integers.scale, data.shape[axis], axis),
        )

    def bias(self, op: Op) -> Tensor:
        """Returns the op's bias (its third input), zeros if it has none; int64 for int16."""
        channels = self._graph.operand_shape(op.inputs[1])[-1]
        name = op.inputs[2] if len(op.inputs) > 2 else f"{op.outputs[0]}/bias"
        if self.is_float(op):
            data = self._array(name) if len(op.inputs) > 2 else np.zeros(channels, np.float32)
            return self._float(name, data)
        place = (self._position[id(op)], 2)
        scale = self._ranges.scale(op.inputs[0]) * self._ranges.scale(op.inputs[1])
        data = (
            self._integers[place].values
            if place in self._integers
            else np.zeros(channels, np.int32)
        )
        return Tensor(
            name=name,
            shape=(channels,),
            dtype="int64" if self.is_wide(op) else "int32",
            data=data,
            quantization=self._scales_of_bias(scale, channels),
        )

    def _scales_of_bias(self, scale: np.ndarray, channels: int) -> Quantization | None:
        """Returns a bias's scales; none for TFLite Micro, which multiplies its operands' itself.

        It reads them where there is one channel, and XNNPACK wants them for dense layers.
        """
        if self.target == "micro" and channels > 1:
            return None
        return _symmetric(scale, channels, 0)

    def table(self, op: Op) -> Tensor:
        """Returns the op's outputs for int8 from -128 to 127, int8 [256]."""
        name = op.outputs[0]
        return Tensor(
            name=f"{name}/table",
            shape=(256,),
            dtype="int8",
            data=self._tables[name].astype(np.int8),
            quantization=self._ranges.quantization(name),
        )

    def number(self, op: Op, role: str, value: float) -> Tensor:
        """Returns a real constant on the scale of the op's output, rounded half away from zero."""
        name, shape = op.outputs[0], self._shape_of_number(op)
        if self.is_float(op):
            return self._float(f"{name}/{role}", np.full(shape, value, np.float32))
        dtype = self.activation(name).dtype
        centred = params.quantize_centred(
            np.float32(value),
            self._ranges.scale(name),
            np.float32(self._ranges.zero_point(name)),
            self._graph.tensors[name].bits,
            np,
        )
        return Tensor(
            name=f"{name}/{role}",
            shape=shape,
            dtype=dtype,
            data=np.full(shape, centred + self._ranges.zero_point(name), dtype),
            quantization=self._ranges.quantization(name),
        )

    def integer(self, op: Op, role: str, value: int) -> Tensor:
        """Returns an int32 constant that an op computes with."""
        return self.numbers(op, role, np.full(self._shape_of_number(op), value, np.int32))

    def _shape_of_number(self, op: Op) -> tuple[int, ...]:
        """Returns the shape of one number that does not add an axis to the op's output."""
        return (1,) if self.activation(op.outputs[0]).shape else ()

    def numbers(self, op: Op, role: str, values: Sequence[int] | np.ndarray) -> Tensor:
        """Returns an int32 constant that parametrizes an op (axes, shapes, sizes)."""
        data = np.asarray(values, np.int32)
        return Tensor(name=f"{op.outputs[0]}/{role}", shape=data.shape, dtype="int32", data=data)

    def operator(
        self, op: Op, code: int, inputs: Sequence[Tensor], options: object, version: int
    ) -> Operator:
        """Returns an operator that makes the op's outputs."""
        outputs = tuple(self.activation(name) for name in op.outputs)
        return Operator(
            code=code, version=version, options=options, inputs=tuple(inputs), outputs=outputs
        )

    def _array(self, name: str) -> np.ndarray:
        return np.asarray(self._graph.array(self._weights, name), np.float32)

    def _float(self, name: str, data: np.ndarray) -> Tensor:
        return Tensor(name=name, shape=data.shape, dtype="float32", data=data)


def _symmetric(scale: np.ndarray, channels: int, axis: int) -> Quantization:
    scale = np.broadcast_to(scale.reshape(-1), (channels,))
    return Quantization(scale, np.zeros(channels, np.int64), axis)


def fused(op: Op) -> int:
    """Returns the schema's code of the activation that is fused into an op."""
    return _ACTIVATIONS[op.activation]


def padding(op: Op) -> int:
    """Returns the schema's code of an op's padding."""
    return PADDINGS[op["padding"]]
