"""Gradients through rounding: the straight-through estimator, and LSQ's for scales.

A centred integer's cotangent is, by convention, the gradient with respect to the real value that it
stands for.  So ops that only move values need no rule of their own, and activations are not
multiplied by scales on the way back.

Sources: LSQ (Esser et al., 2020), section 2; LSQ+ (Bhalgat et al., 2020), section 3.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.quant import params
from attokit.quant.graph import Graph
from attokit.quant.ops import activation, table
from attokit.quant.ops.kind import Activation, Kernels, Op, Operand, OpKind, Rescaled, Scales
from attokit.quant.ops.requantize import per_channel
from attokit.quant.plan import OpPlan

_UNBOUNDED = activation.real_bounds("none")


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def quantize_input(
    values: Float[Array, "..."],
    scale: Float[Array, ""],
    zero_point: Float[Array, ""],
    bits: int = 8,
    to_even: bool = False,
) -> Float[Array, "..."]:
    """Returns real values as centred integers of so many bits.

    Args:
      values: Real.
      scale: Of the integers.
      zero_point: Likewise.
      bits: Likewise.
      to_even: XNNPACK's rounding of a product with 1 / scale, rather than a quotient's away from
        zero, which all others do.
    """
    if to_even:
        low, high = params.limits(bits)
        rounded = jnp.round(values * (1 / scale))
        return jnp.clip(rounded, low - zero_point, high - zero_point)
    return params.quantize_centred(values, scale, zero_point, bits)


def _quantize_input_forward(values, scale, zero_point, bits, to_even):
    clipped = quantize_input(values, scale, zero_point, bits, to_even)
    return clipped, (values, clipped, scale, zero_point)


def _quantize_input_backward(bits, to_even, residuals, gradient):
    del to_even
    values, clipped, scale, zero_point = residuals
    bounds = activation.centred_bounds(_UNBOUNDED, scale, zero_point, bits=bits)
    return _clipped_gradients(gradient, clipped, values / scale, scale, bounds)


quantize_input.defvjp(_quantize_input_forward, _quantize_input_backward)


@jax.custom_vjp
def dequantize_output(centred: Float[Array, "..."], scale: Float[Array, ""]) -> Float[Array, "..."]:
    """Returns centred integers as real values (the scale's gradient is with who made them)."""
    return centred * scale


dequantize_output.defvjp(
    lambda centred, scale: (centred * scale, None),
    lambda _, gradient: (gradient, jnp.float32(0)),
)


def quantized_op(
    graph: Graph, op: Op, kernels: Kernels
) -> Callable[[tuple[Array, ...], Scales, OpPlan], tuple[Array, ...]]:
    """Returns `(operands, scales, plan) -> outputs`, differentiable in operands and scales.

    Operands are centred activations and real weights; outputs are centred.
    """
    kind, roles = table.OPS[op.kind], graph.operands(op)

    def forward(operands: tuple[Array, ...], scales: Scales, plan: OpPlan):
        integers = tuple(
            operand if weight is None else weight
            for operand, weight in zip(operands, plan.weights, strict=True)
        )
        results = _results(op, kind, kernels, integers, plan)
        # Dividing by one keeps XLA from repeating the rescaling in every consumer: it counts a
        # division as too expensive to be done twice.
        outputs = tuple(
            result.integers
            if low is None
            else jnp.clip(result.integers.astype(jnp.float32), low, high) / plan.one
            for result, low, high in zip(results, plan.low, plan.high, strict=True)
        )
        reals = tuple(result.real for result in results)
        return outputs, (operands, integers, outputs, reals, scales, plan)

    def backward(residuals, gradients: tuple[Array, ...]):
        operands, integers, outputs, reals, scales, plan = residuals
        rows: list[tuple[Any, Any, Any]] = []
        for i, (gradient, real) in enumerate(zip(gradients, reals, strict=True)):
            if scales.outputs[i] is None:
                rows.append((gradient, None, None))
            elif real is None:  # a tied or prescribed range
                rows.append((gradient, jnp.float32(0), jnp.float32(0)))
            else:
                bounds = plan.low[i], plan.high[i]
                scale = scales.outputs[i]
                rows.append(
                    _clipped_gradients(gradient, outputs[i], real, scale, bounds, op.activation)
                )
        passed, output_scales, output_zero_points = zip(*rows, strict=True)
        inputs = _operand_gradients(op, kind, roles, operands, integers, scales, passed)
        scale_gradients = Scales(
            inputs=tuple(scale for _, scale, _ in inputs),
            outputs=output_scales,
            input_zero_points=tuple(zero_point for _, _, zero_point in inputs),
            output_zero_points=output_zero_points,
            bits=scales.bits,
            output_bits=scales.output_bits,
        )
        return tuple(gradient for gradient, _, _ in inputs), scale_gradients, None

    run = jax.custom_vjp(lambda *arguments: forward(*arguments)[0])
    run.defvjp(forward, backward)
    return run


def _results(
    op: Op, kind: OpKind, kernels: Kernels, integers: tuple[Array, ...], plan: OpPlan
) -> tuple[Rescaled, ...]:
    """Returns what the op makes of integers: by arithmetic, by lookup, or by moving them."""
    if plan.scales.wide and kind.wide is not None and kind.wide.integer is not None:
        return kind.wide.integer(op, kernels, integers, plan.multipliers, plan.scales)
    if kind.integer is not None:
        return kind.integer(op, kernels, integers, plan.multipliers, plan.scales)
    if plan.table is None:
        return tuple(Rescaled(integers=values) for values in kind.compute(op, *integers))
    scales = plan.scales
    index = (integers[0] + (scales.input_zero_points[0] - activation.INT8_MIN)).astype(jnp.int32)
    reals = kind.compute(op, integers[0] * scales.inputs[0])
    real = None if kind.tied or kind.fixed_range else reals[0] / scales.outputs[0]
    return (Rescaled(integers=plan.table[index], real=real),)


def _clipped_gradients(
    gradient: Array,
    clipped: Array,
    real: Array,
    scale: Float[Array, ""],
    bounds: tuple[Array, Array],
    fused: Activation = "none",
) -> tuple[Array, Array, Array]:
    """Returns the gradients of a real value, of its scale and of its zero point.

    The first is the straight-through gradient: it stops where the integer lies on a bound.  (The
    integer is there already; whether the real value lay within half a unit of the bound would take
    another pass.)  The others cost nothing unless they are used.

    Args:
      gradient: With respect to the dequantized output.
      clipped: The output, centred.
      real: The same before rounding and clipping, in units of the scale.
      scale: Of the output.
      bounds: Least and greatest centred integer.
      fused: The activation, whose own bounds do not move with the zero point.
    """
    low, high = bounds
    zero = jnp.float32(0)
    passed = jnp.where((clipped > low) & (clipped < high), gradient, zero)
    below, above = real < low - 0.5, real > high + 0.5
    rounding = clipped - jnp.where(below | above, zero, real)
    real_low, real_high = activation.real_bounds(fused)
    saturated = jnp.zeros_like(below)
    saturated = saturated | below if real_low == -math.inf else saturated
    saturated = saturated | above if real_high == math.inf else saturated
    zero_point_gradient = -scale * _total(jnp.where(saturated, gradient, zero))
    return passed, _total(gradient * rounding), zero_point_gradient


def _total(values: Array) -> Float[Array, ""]:
    """Returns the sum, over the first axes first: XLA's CPU backend vectorizes only that."""
    if values.ndim < 2:
        return jnp.sum(values)
    rows = values.reshape(-1, math.prod(values.shape[-2:]))
    return jnp.sum(jnp.sum(rows, axis=0))


def _operand_gradients(
    op: Op,
    kind: OpKind,
    roles: tuple[Operand, ...],
    operands: tuple[Array, ...],
    integers: tuple[Array, ...],
    scales: Scales,
    gradients: tuple[Array, ...],
) -> list[tuple[Any, Array | None, Array | None]]:
    """Returns (gradient of the real operand, of its scale, of its zero point) per operand.

    The gradient is the float op's at the dequantized operands.  Where the op is bilinear it is
    taken at the activation's integers and the kernel's gradient is scaled afterwards, which spares
    a pass over the activation.
    """
    reals = {}
    for i, role in enumerate(roles):
        if role is Operand.PLAIN:
            continue
        if role is Operand.BIAS or (kind.bilinear and role is Operand.ACTIVATION):
            reals[i] = operands[i]
        else:
            reals[i] = integers[i] * per_channel(scales.inputs[i], integers[i].ndim)

    def compute(reals: dict[int, Array]) -> tuple[Array, ...]:
        return kind.compute(op, *(reals.get(i, value) for i, value in enumerate(integers)))

    _, pullback = jax.vjp(compute, reals)
    (found,) = pullback(gradients)
    rows: list[tuple[Any, Array | None, Array | None]] = []
    for i, role in enumerate(roles):
        scale, gradient = scales.inputs[i], found.get(i)
        if role is Operand.PLAIN:
            rows.append((np.zeros(operands[i].shape, jax.dtypes.float0), None, None))
        elif role is Operand.ACTIVATION:
            if not (kind.integer or kind.moves):  # where the function has no slope, nothing flows
                gradient = jnp.where(jnp.isfinite(gradient), gradient, jnp.float32(0))
            rows.append((gradient, jnp.zeros_like(scale), jnp.float32(0)))
        elif role is Operand.BIAS:
            rows.append((gradient, None, None))
        elif role is Operand.KERNEL:
            if kind.bilinear:
                gradient = gradient * scales.inputs[0]
            rows.append((*_kernel_gradients(gradient, operands[i], integers[i], scale), None))
        else:
            bounds = activation.centred_bounds(
                _UNBOUNDED, scale, scales.input_zero_points[i], bits=scales.bits[i]
            )
            real = operands[i] / scale
            rows.append(_clipped_gradients(gradient, integers[i], real, scale, bounds))
    return rows


def _kernel_gradients(
    gradient: Array, kernel: Array, integers: Array, scale: Array
) -> tuple[Array, Array]:
    """Returns the straight-through gradient of a kernel and the LSQ gradient of its scales."""
    real = kernel / per_channel(scale, kernel.ndim)
    inside = jnp.abs(real - integers) < 0.51  # only what was clipped is farther away
    axes = tuple(range(kernel.ndim - scale.ndim))
    rounding = integers - jnp.where(inside, real, jnp.float32(0))
    return jnp.where(inside, gradient, jnp.float32(0)), jnp.sum(gradient * rounding, axis=axes)
