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
from jaxtyping import Array, Float, Int8

from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import table
from attokit.quant.ops.kind import KERNELS, Kernels, Op, Operand
from attokit.quant.params import QParams
from attokit.quant.plan import Ranges, function_tables, make_plans
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
    if kernels not in KERNELS:
        raise ValueError(f"no kernel set {kernels!r}; choose one of {', '.join(KERNELS)}")
    return QuantizedGraph(graph, kernels)


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
            [
                dequantize_output(centred[name], ranges.activation(name)[0])
                if self.graph.tensors[name].quantized
                else centred[name]
                for name in self.graph.outputs
            ]
        )

    def integers(
        self,
        weights: Weights,
        qparams: QParams,
        *inputs: Float[Array, "..."],
        tables: Mapping[str, Any] | None = None,
    ) -> dict[str, Int8[Array, "..."]]:
        """Returns every activation by name, as the file holds it: int8, int32 or bool.

        Args:
          weights: As in a call.
          qparams: Likewise.
          *inputs: Likewise.
          tables: Of `plan.function_tables`, to be given where `qparams` are traced by JAX.
        """
        ranges = Ranges(self.graph, qparams)
        tables = function_tables(self.graph, qparams) if tables is None else tables
        return {
            name: (value + ranges.activation(name)[1]).astype(jnp.int8)
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
        """Returns every activation, centred."""
        self.graph.check_arguments(weights, inputs)
        ranges = Ranges(self.graph, qparams)
        values: dict[str, Array] = {
            name: quantize_input(jnp.asarray(value, jnp.float32), *ranges.activation(name))
            if self.graph.tensors[name].quantized
            else jnp.asarray(value, self.graph.carried(name))
            for name, value in zip(self.graph.inputs, inputs, strict=True)
        }
        plans = make_plans(self.graph, weights, qparams, self.kernels, tables)
        for op, plan in zip(self.graph.ops, plans, strict=True):
            operands = tuple(
                values[n] if n in values else self.graph.array(weights, n) for n in op.inputs
            )
            if self._only_moves(op):
                outputs = table.OPS[op.kind].compute(op, *operands)
            else:
                run = quantized_op(self.graph, op, self.kernels)
                outputs = run(operands, ranges.scales(op), plan)
            values.update(zip(op.outputs, outputs, strict=True))
        return values

    def _only_moves(self, op: Op) -> bool:
        """Whether the op's float meaning on centred activations is its integer meaning."""
        constants = Operand.CONSTANT in self.graph.operands(op)  # they are rounded first
        return table.OPS[op.kind].moves and not constants
