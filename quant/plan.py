"""What the integer graph needs besides activations: integer weights, multipliers, bounds.

All of it follows from weights and qparams, before any input is seen.  Training, export and
inference take it from here, so the integers of training are the integers of the file.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attokit.quant import fixed_point, params
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import activation, table
from attokit.quant.ops.kind import Kernels, Multiplier, Op, Operand, Scales
from attokit.quant.params import QParams


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OpPlan:
    """The constants of one op in integer arithmetic.

    Attributes:
      weights: Per input: kernels in float32-held int8, biases in int32, constants centred in
        float32; None for activations.
      multipliers: What `OpKind.ratios` asked for.
      low: Least centred integer of each output.
      high: Greatest.
      scales: Of the operands, zero points rounded.
    """

    weights: tuple[Array | None, ...]
    multipliers: tuple[Multiplier, ...]
    low: tuple[Float[Array, ""], ...]
    high: tuple[Float[Array, ""], ...]
    scales: Scales


class Ranges:
    """Scales and zero points of a graph's tensors, prescribed ones included."""

    def __init__(self, graph: Graph, qparams: QParams):
        self._graph, self._qparams = graph, qparams

    def activation(self, name: str) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Returns the scale and zero point (rounded) of an activation or constant."""
        tensor = self._graph.tensors.get(name)
        key = tensor.range_name if tensor is not None else name
        if key in self._graph.fixed_ranges:
            scale, zero_point = self._graph.fixed_ranges[key]
            return jnp.float32(scale), jnp.float32(zero_point)
        entry = self._entry(key)
        return entry.scale, _round_through(entry.zero_point)

    def scales(self, op: Op) -> Scales:
        """Returns the scales of an op's operands."""
        rows: list[tuple[Any, Any]] = []
        for name, role in zip(op.inputs, self._graph.operands(op), strict=True):
            if role is Operand.BIAS:
                rows.append((None, None))
            elif role is Operand.KERNEL:
                rows.append((self._entry(name).scale, None))
            else:
                rows.append(self.activation(name))
        outputs = [self.activation(name) for name in op.outputs]
        return Scales(
            inputs=tuple(scale for scale, _ in rows),
            outputs=tuple(scale for scale, _ in outputs),
            input_zero_points=tuple(zero for _, zero in rows),
            output_zero_points=tuple(zero for _, zero in outputs),
        )

    def _entry(self, name: str) -> params.QuantParams:
        if name not in self._qparams:
            raise ValueError(
                f"qparams have no entry {name!r}: they are of another graph; "
                "take them from quant.calibrate(graph, ...)"
            )
        return self._qparams[name]


def _round_through(value: Float[Array, ""]) -> Float[Array, ""]:
    """Returns the rounded value; its gradient passes as if it were not rounded."""
    return value + jax.lax.stop_gradient(jnp.round(value) - value)


def make_plans(
    graph: Graph, weights: Weights, qparams: QParams, kernels: Kernels
) -> list[OpPlan]:
    """Returns the constants of every op, in the graph's order."""
    ranges = Ranges(graph, qparams)
    scales = [ranges.scales(op) for op in graph.ops]
    ratios = [
        table.OPS[op.kind].ratios(op, own, kernels)
        for op, own in zip(graph.ops, scales, strict=True)
    ]
    flat = iter(fixed_point.multipliers([ratio for row in ratios for ratio in row]))
    plans = []
    for op, own, row in zip(graph.ops, scales, ratios, strict=True):
        bounds = [
            activation.centred_bounds(op.activation, scale, zero_point)
            for scale, zero_point in zip(own.outputs, own.output_zero_points, strict=True)
        ]
        plans.append(
            OpPlan(
                weights=_integer_weights(graph, op, weights, own),
                multipliers=tuple(next(flat) for _ in row),
                low=tuple(low for low, _ in bounds),
                high=tuple(high for _, high in bounds),
                scales=own,
            )
        )
    return plans


def materialized_plans(
    graph: Graph, weights: Weights, qparams: QParams, kernels: Kernels
) -> list[OpPlan]:
    """Returns `make_plans`, without gradients, computed once and before anything that reads it.

    XLA would fuse these computations into the loops over pixels and repeat them there.  It does
    not fuse across a conditional (an optimization barrier it drops), so they stand in one whose
    condition always holds.
    """
    weights, qparams = jax.lax.stop_gradient((dict(weights), dict(qparams)))

    def make() -> list[OpPlan]:
        return make_plans(graph, weights, qparams, kernels)

    def blank() -> list[OpPlan]:
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(make))

    scale = jax.tree.leaves(qparams)[0].reshape(-1)[0]
    return jax.lax.cond(jnp.logical_not(scale <= 0), make, blank)


def _integer_weights(
    graph: Graph, op: Op, weights: Weights, scales: Scales
) -> tuple[Array | None, ...]:
    result: list[Array | None] = []
    for i, (name, role) in enumerate(zip(op.inputs, graph.operands(op), strict=True)):
        if role is Operand.ACTIVATION:
            result.append(None)
            continue
        real = graph.array(weights, name)
        if role is Operand.KERNEL:
            result.append(params.quantize_kernel(real, scales.inputs[i]))
        elif role is Operand.BIAS:
            result.append(params.quantize_bias(real, scales.inputs[0] * scales.inputs[1]))
        else:
            zero_point = scales.input_zero_points[i]
            result.append(params.quantize_centred(real, scales.inputs[i], zero_point))
    return tuple(result)


def integer_weights(
    graph: Graph, weights: Weights, qparams: QParams
) -> list[tuple[Array | None, ...]]:
    """Returns, for every op and input, what the file stores: None for activations.

    Kernels are int8 in [-127, 127], biases int32, constants int8 (zero point included).
    """
    ranges = Ranges(graph, qparams)
    result: list[tuple[Array | None, ...]] = []
    for op in graph.ops:
        scales = ranges.scales(op)
        integers = list(_integer_weights(graph, op, weights, scales))
        for i, role in enumerate(graph.operands(op)):
            if role is Operand.CONSTANT:
                integers[i] = integers[i] + scales.input_zero_points[i]
            if role in (Operand.CONSTANT, Operand.KERNEL):
                integers[i] = integers[i].astype(jnp.int8)
        result.append(tuple(integers))
    return result
