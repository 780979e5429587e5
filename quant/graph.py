"""The graph that ships: an immutable list of ops at TFLite's granularity, and a pure function.

A graph is traced from a JAX function (`quant.trace`), trained (`quant.fake_quant`) and written
(`export.to_tflite`).  Layout is NHWC for activations and HWIO for kernels; only `export` knows
what TFLite stores.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from attokit.quant.ops import activation, table
from attokit.quant.ops.kind import Op, Operand

Weights = Mapping[str, Float[Array, "..."]]
FLOAT = 32  # bits of what an integer file holds as float32
_CONVERSIONS = ("quantize", "dequantize")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """An activation.

    Attributes:
      name: Unique in the graph; the name of the layer in the user's model where it has one.
      shape: Static, batch included.
      dtype: NumPy name of the float graph's type; "int32" and "bool" are never quantized.
      range_name: The range that holds its scale and zero point, "" if it is not quantized.
        Tensors that TFLite wants on one scale have the same range name.
      bits: Of its integers where it is quantized: 8 or 16; 32 where it stays float32.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    range_name: str
    bits: int = 8

    @property
    def quantized(self) -> bool:
        """Whether an integer file holds it as int8 or int16."""
        return is_quantized(self.dtype) and self.bits != FLOAT

    @property
    def integer_type(self) -> str:
        """What an integer file holds it as."""
        return f"int{self.bits}" if self.quantized else carried_type(self.dtype)


def is_quantized(dtype: Any) -> bool:
    """Tells a float type, which becomes int8, from integers and booleans, which stay."""
    return jax.dtypes.issubdtype(dtype, np.floating)


def carried_type(dtype: Any) -> str:
    """Returns the type that a graph holds values of a type in: float32, bool or int32."""
    if is_quantized(dtype):
        return "float32"
    return "bool" if np.dtype(dtype) == np.bool_ else "int32"


def in_float(op: Op, operands: Sequence[Array]) -> tuple[Array, ...]:
    """Returns what an op makes of reals, its fused activation included."""
    outputs = table.OPS[op.kind].compute(op, *operands)
    return tuple(activation.apply(op.activation, value) for value in outputs)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValueError(
            "the arguments do not fit the graph: "
            + "; ".join(problems)
            + ". Pass the weights that quant.trace returned, and inputs as it was given."
        )


@dataclasses.dataclass(frozen=True)
class Note:
    """What a pass of tracing did.

    Attributes:
      what: In one sentence.
      source: The user's line that it concerns, or "".
    """

    what: str
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeastScale:
    """A bound that a kernel sets: the scale of one range is at least `ratio` times another's.

    Attributes:
      range_name: Whose scale is bounded.
      other: By whose.
      ratio: Positive.
    """

    range_name: str
    other: str
    ratio: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Graph:
    """A traced function.  Compared and hashed by identity, so it is a legal static argument.

    Invariants: ops stand in execution order; every op input is a graph input, an earlier op's
    output, a weight or a constant; names are unique over all four.

    Attributes:
      inputs: Names of the activations that enter, in the order of the function's arguments.
      outputs: Names of the activations that leave, in flattening order.
      output_names: Their names in the function's result ("output", or dict and tuple paths).
      ops: In execution order.
      tensors: Every activation by name.
      constants: Arrays that depend on no variable (never trained).
      fixed_ranges: (scale, zero point) of the ranges that the spec prescribes, by range name.
      constant_ranges: Range of the constant operands that share one with activations, by the
        op's first output and the operand's position.
      least_scales: Bounds of scales, which `quant.least_scales` holds them to.
      weight_shapes: Shape of every array that `graph(weights, ...)` expects.
      out_tree: How the outputs nest in the function's result.
      notes: What tracing recognized, folded and fused.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...]
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, np.ndarray]
    fixed_ranges: Mapping[str, tuple[float, int]]
    constant_ranges: Mapping[tuple[str, int], str]
    weight_shapes: Mapping[str, tuple[int, ...]]
    out_tree: jax.tree_util.PyTreeDef
    least_scales: tuple[LeastScale, ...] = ()
    notes: tuple[Note, ...] = ()

    def __call__(self, weights: Weights, *inputs: Float[Array, "..."]) -> Any:
        """Returns what the traced function returns, in float.

        Args:
          weights: By name, as `quant.trace` returned them (any values of the same shapes).
          *inputs: As the traced function's, same shapes.

        Raises:
          ValueError: if weights are missing, unknown or of another shape, or inputs do not fit.
        """
        values = self.intermediates(weights, *inputs)
        return self.result([values[name] for name in self.outputs])

    def result(self, outputs: list[Any]) -> Any:
        """Returns the flat outputs nested as the traced function nests them."""
        return jax.tree.unflatten(self.out_tree, outputs)

    def intermediates(
        self, weights: Weights, *inputs: Float[Array, "..."]
    ) -> dict[str, Float[Array, "..."]]:
        """Returns every activation by name, in float (inputs and outputs included)."""
        self.check_arguments(weights, inputs)
        values = {
            name: jax.numpy.asarray(value, self.carried(name))
            for name, value in zip(self.inputs, inputs, strict=True)
        }

        for op in self.ops:
            operands = [values[n] if n in values else self.array(weights, n) for n in op.inputs]
            values.update(zip(op.outputs, in_float(op, operands), strict=True))
        return values

    def check_arguments(self, weights: Weights, inputs: tuple[Any, ...]) -> None:
        """Raises ValueError with every weight and input that does not fit."""
        _refuse(self._problems_of_weights(weights) + self._problems_of_inputs(inputs))

    def check_weights(self, weights: Weights) -> None:
        """Raises ValueError with every weight that does not fit."""
        _refuse(self._problems_of_weights(weights))

    def check_inputs(self, inputs: tuple[Any, ...]) -> None:
        """Raises ValueError with every input that does not fit."""
        _refuse(self._problems_of_inputs(inputs))

    def _problems_of_weights(self, weights: Weights) -> list[str]:
        problems = [f"weight {n!r} is missing" for n in self.weight_shapes if n not in weights]
        for name, value in weights.items():
            if name not in self.weight_shapes:
                problems.append(f"weight {name!r} is not of this graph")
            elif tuple(np.shape(value)) != self.weight_shapes[name]:
                problems.append(
                    f"weight {name!r} has shape {np.shape(value)}, "
                    f"the graph wants {self.weight_shapes[name]}"
                )
        return problems

    def _problems_of_inputs(self, inputs: tuple[Any, ...]) -> list[str]:
        problems = []
        if len(inputs) != len(self.inputs):
            problems.append(f"{len(inputs)} inputs given, the graph takes {len(self.inputs)}")
        for name, value in zip(self.inputs, inputs, strict=False):
            if tuple(np.shape(value))[1:] != self.tensors[name].shape[1:] or (
                np.ndim(value) != len(self.tensors[name].shape)
            ):
                problems.append(
                    f"input {name!r} has shape {np.shape(value)}, "
                    f"the graph was traced with {self.tensors[name].shape}"
                )
        return problems

    def array(self, weights: Weights, name: str) -> Float[Array, "..."]:
        """Returns a weight or constant by name."""
        return weights[name] if name in weights else jax.numpy.asarray(self.constants[name])

    def is_activation(self, name: str) -> bool:
        """Tells an activation's name from a weight's or a constant's."""
        return name in self.tensors

    def carried(self, name: str) -> str:
        """Returns the type that an activation is computed in: float32, int32 or bool."""
        return carried_type(self.tensors[name].dtype)

    def range_of(self, op: Op, position: int) -> str:
        """Returns the range of one of the op's inputs; a weight's or constant's own is its name."""
        name = op.inputs[position]
        if name in self.tensors:
            return self.tensors[name].range_name
        return self.constant_ranges.get((op.outputs[0], position), name)

    def is_wide(self, op: Op) -> bool:
        """Whether an op reads or makes int16."""
        return any(
            name in self.tensors and self.tensors[name].bits == 16
            for name in (*op.inputs, *op.outputs)
        )

    def is_float(self, op: Op) -> bool:
        """Whether an op computes on float32 in an integer file too (`quant.keep_float`)."""
        return op.kind not in _CONVERSIONS and any(
            name in self.tensors and self.tensors[name].bits == FLOAT
            for name in (*op.inputs, *op.outputs)
        )

    @functools.cached_property
    def float_ops(self) -> tuple[Op, ...]:
        """The ops that compute on float32 in an integer file too."""
        return tuple(filter(self.is_float, self.ops))

    @functools.cached_property
    def range_bits(self) -> Mapping[str, int]:
        """Bits of every range of activations and of every constant that has 16, by name."""
        bits = {t.range_name: t.bits for t in self.tensors.values() if t.quantized}
        for op in self.ops:
            if self.is_wide(op):
                roles = zip(op.inputs, self.operands(op), strict=True)
                bits |= {name: 16 for name, role in roles if role is Operand.CONSTANT}
        return bits

    def operand_shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of an activation, weight or constant."""
        if name in self.tensors:
            return self.tensors[name].shape
        if name in self.weight_shapes:
            return self.weight_shapes[name]
        return self.constants[name].shape

    def operands(self, op: Op) -> tuple[Operand, ...]:
        """Returns the role of each of the op's inputs."""
        if self.is_float(op):
            return (Operand.PLAIN,) * len(op.inputs)
        return tuple(self._role(op, i, name) for i, name in enumerate(op.inputs))

    def _role(self, op: Op, position: int, name: str) -> Operand:
        if name in self.tensors:
            return Operand.ACTIVATION if self.tensors[name].quantized else Operand.PLAIN
        if name in self.constants and not is_quantized(self.constants[name].dtype):
            return Operand.PLAIN
        roles = table.OPS[op.kind].roles
        if position < len(roles) and roles[position].is_weight:
            return roles[position]
        return Operand.CONSTANT

    def macs(self) -> int:
        """Returns the multiply-adds of one call (convolutions, dense layers, matrix products)."""
        return sum(table.OPS[op.kind].macs(op, self.operand_shape) for op in self.ops)

    def map_ops(self, change: Callable[[Op], Op]) -> "Graph":
        """Returns a graph with every op replaced; names must stay."""
        return dataclasses.replace(self, ops=tuple(map(change, self.ops)))
