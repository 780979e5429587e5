"""The graph on the integers that ship, differentiable: quantization-aware training.

The forward pass is the device's arithmetic.  Activations travel as integers minus their zero
point ("centred"), held in float32; kernels are rounded to int8, biases to int32; every op rescales
with the rounding of the named kernel set.  So the outputs are the outputs of the file.

The backward pass is the straight-through gradient.  A centred integer's cotangent is, by
convention, the gradient with respect to the real value that it stands for; ops that only move
values need no rule of their own, and nothing is multiplied by scales that need not be.  Values that
saturate get no gradient; scales and zero points get those of LSQ (Esser et al. 2020, section 2)
and LSQ+ (Bhalgat et al. 2020, section 3).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from attokit.quant import fixed_point, params
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import activation, table
from attokit.quant.ops.kind import (
    KERNELS,
    Kernels,
    Multiplier,
    Op,
    Operand,
    OpKind,
    Scales,
)
from attokit.quant.ops.requantize import kernel_ratio
from attokit.quant.params import QParams


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
        centred = self._run(weights, qparams, inputs)
        ranges = _Ranges(self.graph, qparams)
        return self.graph.result(
            [centred[n] * ranges.activation(n)[0] for n in self.graph.outputs]
        )

    def integers(
        self, weights: Weights, qparams: QParams, *inputs: Float[Array, "..."]
    ) -> dict[str, Int8[Array, "..."]]:
        """Returns every activation by name, as the int8 integers of the file."""
        ranges = _Ranges(self.graph, qparams)
        return {
            name: (value + ranges.activation(name)[1]).astype(jnp.int8)
            for name, value in self._run(weights, qparams, inputs).items()
        }

    def _run(self, weights: Weights, qparams: QParams, inputs: tuple) -> dict[str, Array]:
        """Returns every activation, centred."""
        self.graph.check_arguments(weights, inputs)
        ranges = _Ranges(self.graph, qparams)
        values: dict[str, Array] = {
            name: _quantize_input(jnp.asarray(value, jnp.float32), *ranges.activation(name))
            for name, value in zip(self.graph.inputs, inputs, strict=True)
        }
        for op, multipliers in zip(
            self.graph.ops, plan_multipliers(self.graph, qparams, self.kernels), strict=True
        ):
            operands = tuple(
                values[n] if n in values else self.graph.array(weights, n) for n in op.inputs
            )
            kind = table.OPS[op.kind]
            if kind.integer is None:
                outputs = kind.compute(op, *operands)
            else:
                run = _quantized_op(self.graph, op, self.kernels)
                outputs = run(operands, ranges.scales(op), multipliers)
            values.update(zip(op.outputs, outputs, strict=True))
        return values


class _Ranges:
    """Looks up scales and zero points by tensor, fixed ranges included."""

    def __init__(self, graph: Graph, qparams: QParams):
        self._graph, self._qparams = graph, qparams

    def activation(self, name: str) -> tuple[Array, Array]:
        """Returns the scale and the (rounded) zero point of an activation or constant."""
        tensor = self._graph.tensors.get(name)
        key = tensor.range_name if tensor is not None else name
        if key in self._graph.fixed_ranges:
            scale, zero_point = self._graph.fixed_ranges[key]
            return jnp.float32(scale), jnp.float32(zero_point)
        entry = self._entry(key)
        return entry.scale, _round_through(entry.zero_point)

    def scales(self, op: Op) -> Scales:
        """Returns the scales of an op's operands."""
        rows = []
        for name, role in zip(op.inputs, self._graph.operands(op), strict=True):
            if role is Operand.BIAS:
                rows.append((None, None))
            elif role is Operand.KERNEL:
                rows.append((self._entry(name).scale, None))
            else:
                rows.append(self.activation(name))
        outputs = [self.activation(name) for name in op.outputs]
        return Scales(
            inputs=tuple(s for s, _ in rows),
            outputs=tuple(s for s, _ in outputs),
            input_zero_points=tuple(z for _, z in rows),
            output_zero_points=tuple(z for _, z in outputs),
        )

    def _entry(self, name: str) -> params.QuantParams:
        if name not in self._qparams:
            raise ValueError(
                f"qparams have no entry {name!r}: they are of another graph; "
                "take them from quant.calibrate(graph, ...)"
            )
        return self._qparams[name]


def plan_multipliers(
    graph: Graph, qparams: QParams, kernels: Kernels
) -> list[tuple[Multiplier, ...]]:
    """Returns the fixed-point multipliers of every op, computed together."""
    ranges = _Ranges(graph, jax.lax.stop_gradient(qparams))
    ratios = [table.OPS[op.kind].ratios(op, ranges.scales(op), kernels) for op in graph.ops]
    flat = iter(fixed_point.multipliers([ratio for row in ratios for ratio in row]))
    return [tuple(next(flat) for _ in row) for row in ratios]


def integer_weights(
    graph: Graph, weights: Weights, qparams: QParams
) -> list[tuple[Array | None, ...]]:
    """Returns, for every op and input, what the file stores: None for activations.

    Kernels are int8 in [-127, 127], biases int32, constants int8 (zero point included).
    """
    ranges = _Ranges(graph, qparams)
    result: list[tuple[Array | None, ...]] = []
    for op in graph.ops:
        roles, scales = graph.operands(op), ranges.scales(op)
        reals = [
            None if role is Operand.ACTIVATION else graph.array(weights, name)
            for name, role in zip(op.inputs, roles, strict=True)
        ]
        integers = list(_integer_operands(roles, tuple(reals), scales))
        for i, role in enumerate(roles):
            if role is Operand.CONSTANT:
                integers[i] = integers[i] + scales.input_zero_points[i]
            if role in (Operand.CONSTANT, Operand.KERNEL):
                integers[i] = integers[i].astype(jnp.int8)
        result.append(tuple(integers))
    return result


def _integer_operands(
    roles: tuple[Operand, ...], operands: tuple[Any, ...], scales: Scales
) -> tuple[Any, ...]:
    """Returns operands as integers; activations already are."""
    result = []
    for i, (role, value) in enumerate(zip(roles, operands, strict=True)):
        if role is Operand.KERNEL:
            value = params.quantize_kernel(value, scales.inputs[i])
        elif role is Operand.BIAS:
            value = params.quantize_bias(value, scales.inputs[0] * scales.inputs[1])
        elif role is Operand.CONSTANT:
            value = params.quantize_centred(
                value, scales.inputs[i], scales.input_zero_points[i]
            )
        result.append(value)
    return tuple(result)


@jax.custom_vjp
def _quantize_input(
    values: Float[Array, "..."], scale: Float[Array, ""], zero_point: Float[Array, ""]
) -> Float[Array, "..."]:
    """Returns the graph's input as centred integers."""
    return params.quantize_centred(values, scale, zero_point)


def _quantize_input_forward(values, scale, zero_point):
    centred = params.quantize_centred(values, scale, zero_point)
    return centred, (values / scale, centred, scale, zero_point)


def _quantize_input_backward(residuals, gradient):
    real, centred, scale, zero_point = residuals
    gradient, scale_gradient, zero_gradient = _clipped_gradients(
        gradient, real, centred, scale, zero_point, "none"
    )
    return gradient, scale_gradient, zero_gradient


_quantize_input.defvjp(_quantize_input_forward, _quantize_input_backward)


def _clipped_gradients(gradient, real, centred, scale, zero_point, fused):
    """Returns the gradients of a real value, its scale and its zero point.

    Args:
      gradient: With respect to the dequantized output.
      real: Before rounding and clipping, in units of the scale.
      centred: After.
      scale: Of the output.
      zero_point: Of the output.
      fused: The activation, whose own bounds do not move with the zero point.
    """
    low, high = activation.centred_bounds(fused, scale, zero_point)
    inside = (real >= low - 0.5) & (real <= high + 0.5)
    passed = jnp.where(inside, gradient, jnp.float32(0))
    rounding = centred - jnp.where(inside, real, jnp.float32(0))
    real_low, real_high = activation.real_bounds(fused)
    saturated = jnp.zeros_like(inside)
    if real_low is None:
        saturated = saturated | (real < low - 0.5)
    if real_high is None:
        saturated = saturated | (real > high + 0.5)
    zero_gradient = -scale * jnp.sum(jnp.where(saturated, gradient, jnp.float32(0)))
    return passed, jnp.sum(gradient * rounding), zero_gradient


def _quantized_op(graph: Graph, op: Op, kernels: Kernels):
    """Returns `(operands, scales, multipliers) -> outputs`, with straight-through gradients."""
    kind, roles = table.OPS[op.kind], graph.operands(op)

    def forward(operands, scales: Scales, multipliers: tuple[Multiplier, ...]):
        integers = _integer_operands(roles, operands, scales)
        results = kind.integer(op, kernels, integers, multipliers, scales)
        outputs = []
        for result, scale, zero in zip(
            results, scales.outputs, scales.output_zero_points, strict=True
        ):
            low, high = activation.centred_bounds(op.activation, scale, zero)
            outputs.append(jnp.clip(result.integers.astype(jnp.float32), low, high))
        reals = tuple(result.real for result in results)
        return tuple(outputs), (operands, integers, tuple(outputs), reals, scales)

    def backward(residuals, gradients):
        operands, integers, outputs, reals, scales = residuals
        passed, output_scales, output_zeros = [], [], []
        for i, gradient in enumerate(gradients):
            if reals[i] is None:  # tied or fixed: nothing to clip, no scale of its own
                row = (gradient, jnp.float32(0), jnp.float32(0))
            else:
                row = _clipped_gradients(
                    gradient, reals[i], outputs[i], scales.outputs[i],
                    scales.output_zero_points[i], op.activation,
                )  # fmt: skip
            for column, value in zip((passed, output_scales, output_zeros), row, strict=True):
                column.append(value)
        inputs = _operand_gradients(op, kind, roles, operands, integers, scales, passed)
        scale_gradients = Scales(
            inputs=tuple(s for _, s, _ in inputs),
            outputs=tuple(output_scales),
            input_zero_points=tuple(z for _, _, z in inputs),
            output_zero_points=tuple(output_zeros),
        )
        return tuple(g for g, _, _ in inputs), scale_gradients, None

    run = jax.custom_vjp(lambda *arguments: forward(*arguments)[0])
    run.defvjp(forward, backward)
    return run


def _operand_gradients(
    op: Op,
    kind: OpKind,
    roles: tuple[Operand, ...],
    operands: tuple[Array, ...],
    integers: tuple[Array, ...],
    scales: Scales,
    gradients: list[Array],
) -> list[tuple[Array, Array | None, Array | None]]:
    """Returns (gradient of the real operand, of its scale, of its zero point) per operand.

    The gradient is the float op's at the dequantized operands.  Where the op is bilinear it is
    taken at the activation's integers and the kernel's gradient is scaled afterwards, which spares
    a pass over the activation.
    """
    reals = []
    for i, role in enumerate(roles):
        if role is Operand.BIAS or (kind.bilinear and role is Operand.ACTIVATION):
            reals.append(operands[i])
        else:
            reals.append(integers[i] * scales.inputs[i])
    _, pullback = jax.vjp(functools.partial(kind.compute, op), *reals)
    rows = []
    for i, (role, gradient) in enumerate(zip(roles, pullback(tuple(gradients)), strict=True)):
        scale = scales.inputs[i]
        if role is Operand.ACTIVATION:
            rows.append((gradient, jnp.zeros_like(scale), jnp.float32(0)))
        elif role is Operand.BIAS:
            rows.append((gradient, None, None))
        elif role is Operand.KERNEL:
            if kind.bilinear:
                gradient = gradient * scales.inputs[0]
            rows.append((*_kernel_gradients(gradient, operands[i], integers[i], scale), None))
        else:
            rows.append(
                _clipped_gradients(
                    gradient, operands[i] / scale, integers[i], scale,
                    scales.input_zero_points[i], "none",
                )
            )  # fmt: skip
    return rows


def _kernel_gradients(gradient, kernel, integers, scale):
    """Returns the straight-through gradient of a kernel and the LSQ gradient of its scales."""
    real = kernel / scale
    inside = jnp.abs(real) <= params.KERNEL_MAX + 0.5
    axes = tuple(range(kernel.ndim - scale.ndim))
    rounding = integers - jnp.where(inside, real, jnp.float32(0))
    return (
        jnp.where(inside, gradient, jnp.float32(0)),
        jnp.sum(gradient * rounding, axis=axes),
    )


def _round_through(value: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the rounded value; the gradient passes as if it were not rounded."""
    return value + jax.lax.stop_gradient(jnp.round(value) - value)
