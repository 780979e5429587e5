"""Every op of a graph by itself, from reals to reals: in the file's integers, or in float."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from attokit.quant import params
from attokit.quant.fake_quant import entering, leaving, op_outputs
from attokit.quant.graph import Graph, Weights, in_float
from attokit.quant.ops.kind import Kernels, Operand
from attokit.quant.ops.requantize import per_channel
from attokit.quant.params import QParams
from attokit.quant.plan import Ranges, make_plans


class Steps:
    """The ops of a graph with their numbers; made and called while JAX traces.

    An op takes activations as reals and constants by itself.  What integers hold exactly passes from
    one quantized op to the next unchanged.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        qparams: QParams,
        kernels: Kernels,
        tables: Mapping[str, Any] | None,
    ):
        """Computes the constants of the integer ops.

        Args:
          graph: Whose ops.
          weights: Of the graph.
          qparams: Likewise.
          kernels: Whose rounding.
          tables: Of `plan.function_tables`.
        """
        self._graph, self._weights, self._kernels = graph, weights, kernels
        self._ranges = Ranges(graph, qparams)
        self._plans = make_plans(graph, weights, qparams, kernels, tables)

    def rounded(self, name: str, value: Any) -> Array:
        """Returns an activation as its integers have it."""
        return leaving(
            self._graph, self._ranges, name, entering(self._graph, self._ranges, name, value)
        )

    def in_integers(self, index: int, activations: Sequence[Array]) -> tuple[Array, ...]:
        """Returns what the op of an index makes in the file, what it reads rounded to its integers."""
        graph, ranges, op = self._graph, self._ranges, self._graph.ops[index]
        given = iter(activations)
        operands = tuple(
            entering(graph, ranges, n, next(given))
            if graph.is_activation(n)
            else graph.array(self._weights, n)
            for n in op.inputs
        )
        plan = self._plans[index]
        outputs = op_outputs(graph, op, self._kernels, operands, plan.scales, plan)
        return tuple(
            leaving(graph, ranges, name, value).astype(graph.carried(name))
            for name, value in zip(op.outputs, outputs, strict=True)
        )

    def in_reals(
        self, index: int, activations: Sequence[Array], *, int16: bool | Array = False
    ) -> tuple[Array, ...]:
        """Returns what the op of an index makes in float.

        Args:
          index: Of the op.
          activations: What it reads.
          int16: Whether its kernel is rounded as in the file, and what it makes to 16 bits over the range of
            its 8: what the op is worth on int16, but for the last unit of these.
        """
        graph, op, plan = self._graph, self._graph.ops[index], self._plans[index]
        given = iter(activations)
        operands = []
        for i, (name, role) in enumerate(zip(op.inputs, graph.operands(op), strict=True)):
            if graph.is_activation(name):
                operands.append(next(given))
            elif role is Operand.KERNEL:
                held, real = plan.weights[i], graph.array(self._weights, name)
                rounded = held * per_channel(plan.scales.inputs[i], held.ndim)
                operands.append(jnp.where(int16, rounded, real))
            else:
                operands.append(graph.array(self._weights, name))
        return tuple(
            jnp.where(int16, self._to_16_bits(name, value), value)
            if graph.tensors[name].quantized
            else value
            for name, value in zip(op.outputs, in_float(op, operands), strict=True)
        )

    def _to_16_bits(self, name: str, value: Array) -> Array:
        scale, zero_point = self._ranges.activation(name)
        low, high = params.limits(self._ranges.bits(name))
        limit = params.kernel_max(16)
        step = scale * jnp.maximum(zero_point - low, high - zero_point) / limit
        return jnp.clip(jnp.round(value / step), -limit, limit) * step
