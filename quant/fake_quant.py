"""The graph on the integers that ship, differentiable: quantization-aware training.

The forward pass is the device's arithmetic.  Activations travel as integers minus their zero
point ("centred"), held in float32; kernels are rounded to int8, biases to int32; every op rescales
with the rounding of the named kernel set.  So the outputs are the outputs of the file.  The
backward pass is in `straight_through`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.quant.graph import Graph, Weights, in_float
from attokit.quant.ops import table
from attokit.quant.ops.kind import KERNELS, Kernels, Op, Operand, Scales
from attokit.quant.params import QParams
from attokit.quant.plan import OpPlan, Ranges, function_tables, make_plans
from attokit.quant.straight_through import (
    dequantize_output,
    quantize_input,
    quantized_op,
)


def fake_quant(graph: Graph, kernels: Kernels = "reference") -> "QuantizedGraph":
    """Returns `f(weights, qparams, *inputs)`, the graph in the integers of the file.

    Args:
      graph: As traced.
      kernels: Whose rounding to reproduce: "reference" (LiteRT's reference kernels), "micro"
        (TFLite Micro) or "xnnpack" (LiteRT's default on CPUs).  They differ by one unit per op at
        most; docs/quantization.md lists what each reproduces exactly.

    Raises:
      ValueError: if `kernels` is none of these.
    """
    check_kernels(kernels)
    return QuantizedGraph(graph, kernels)


def check_kernels(kernels: str) -> None:
    """Raises ValueError if there is no such kernel set."""
    if kernels not in KERNELS:
        raise ValueError(f"no kernel set {kernels!r}; choose one of {', '.join(KERNELS)}")


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A graph in integer arithmetic; pure in (weights, qparams, inputs) and differentiable.

    Attributes:
      graph: What it computes.
      kernels: Whose rounding it uses.
    """

    graph: Graph
    kernels: Kernels

    def __call__(self, weights: Weights, qparams: QParams, *inputs: Float[Array, "..."]) -> Any:
        """Returns what the traced function returns, as the device computes it, dequantized.

        Args:
          weights: By name, as `quant.trace` returned them or as trained since.
          qparams: As `quant.calibrate` returned them or as trained since.
          *inputs: Real values, as the traced function takes them.
        """
        tables = function_tables(self.graph, qparams)
        centred = self._jitted(dict(weights), dict(qparams), inputs, tables)
        ranges = Ranges(self.graph, qparams)
        return self.graph.result(
            [leaving(self.graph, ranges, name, centred[name]) for name in self.graph.outputs]
        )

    def integers(
        self,
        weights: Weights,
        qparams: QParams,
        *inputs: Float[Array, "..."],
        tables: Mapping[str, Any] | None = None,
    ) -> dict[str, Array]:
        """Returns every activation by name, as the file holds it.

        Args:
          weights: As in a call.
          qparams: Likewise.
          *inputs: Likewise.
          tables: Of `plan.function_tables`, to be given where `qparams` are traced by JAX.
        """
        ranges = Ranges(self.graph, qparams)
        tables = function_tables(self.graph, qparams) if tables is None else tables
        return {
            name: (value + ranges.activation(name)[1]).astype(self.graph.tensors[name].integer_type)
            if self.graph.tensors[name].quantized
            else value
            for name, value in self._jitted(dict(weights), dict(qparams), inputs, tables).items()
        }

    @functools.cached_property
    def _jitted(self) -> Callable[..., dict[str, Float[Array, "..."]]]:
        """`_run` as one program: op by op it would compile each of thousands of steps alone."""
        return jax.jit(self._run)

    def _run(
        self,
        weights: Weights,
        qparams: QParams,
        inputs: tuple[Any, ...],
        tables: Mapping[str, Any] | None,
    ) -> dict[str, Float[Array, "..."]]:
        """Returns every activation: integers centred, the others as they are."""
        self.graph.check_arguments(weights, inputs)
        ranges = Ranges(self.graph, qparams)
        values: dict[str, Array] = {
            name: entering(self.graph, ranges, name, value)
            for name, value in zip(self.graph.inputs, inputs, strict=True)
        }
        plans = make_plans(self.graph, weights, qparams, self.kernels, tables)
        scales = [ranges.scales(op) for op in self.graph.ops]
        find = functools.partial(self.graph.array, weights)
        propagate(self.graph, self.kernels, values, find, scales, plans)
        return values


def entering(graph: Graph, ranges: Ranges, name: str, value: Any) -> Array:
    """Returns an activation as `propagate` holds it: what is quantized as centred integers."""
    if not graph.tensors[name].quantized:
        return jnp.asarray(value, graph.carried(name))
    reals = jnp.asarray(value, jnp.float32)
    return quantize_input(reals, *ranges.activation(name), ranges.bits(name))


def leaving(graph: Graph, ranges: Ranges, name: str, value: Array) -> Array:
    """Returns what an activation that `propagate` holds stands for."""
    if not graph.tensors[name].quantized:
        return value
    return dequantize_output(value, ranges.activation(name)[0])


def propagate(
    graph: Graph,
    kernels: Kernels,
    values: dict[str, Array],
    find: Callable[[str], Any],
    scales: list[Scales],
    plans: list[OpPlan],
) -> None:
    """Adds every activation to the values of the inputs.

    Args:
      graph: What to compute.
      kernels: Whose rounding to use.
      values: The inputs, by name: integers centred, reals as they are.
      find: Returns a weight or constant by name; it may be None where the plan has its integers.
      scales: Of every op, for their gradients.
      plans: Of every op.
    """
    for op, own, plan in zip(graph.ops, scales, plans, strict=True):
        operands = tuple(values[n] if n in values else find(n) for n in op.inputs)
        outputs = op_outputs(graph, op, kernels, operands, own, plan)
        values.update(zip(op.outputs, outputs, strict=True))


def op_outputs(
    graph: Graph,
    op: Op,
    kernels: Kernels,
    operands: tuple[Any, ...],
    scales: Scales,
    plan: OpPlan,
) -> tuple[Array, ...]:
    """Returns what one op makes of operands as `propagate` holds them."""
    if graph.is_float(op):
        known = zip(operands, plan.weights, strict=True)
        return in_float(op, [held if x is None else x for x, held in known])
    if op.kind == "dequantize":
        return (dequantize_output(operands[0], scales.inputs[0]),)
    if scales.inputs[0] is None and op.kind == "quantize":
        bits, to_even = scales.output_bits[0], kernels == "xnnpack" and scales.output_bits[0] == 8
        scale, zero_point = scales.outputs[0], scales.output_zero_points[0]
        return (quantize_input(operands[0], scale, zero_point, bits, to_even),)
    if _only_moves(graph, op):
        return table.OPS[op.kind].compute(op, *operands)
    return quantized_op(graph, op, kernels)(operands, scales, plan)


def _only_moves(graph: Graph, op: Op) -> bool:
    """Whether the op's float meaning on centred activations is its integer meaning."""
    constants = Operand.CONSTANT in graph.operands(op)  # they are rounded first
    return table.OPS[op.kind].moves and not constants
