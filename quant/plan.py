"""What the integer graph needs besides activations: integer weights, multipliers, bounds.

All of it follows from weights and qparams, before any input is seen.  Training, export and
inference take it from here, so the integers of training are the integers of the file.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from attokit.quant import fixed_point, least_scales, params
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import activation, lookup, table
from attokit.quant.ops.kind import Function, Kernels, Multiplier, Op, Operand, Ratio, Scales
from attokit.quant.params import QParams
from attokit.quant.wide import check_wide


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OpPlan:
    """The constants of one op in integer arithmetic.

    Attributes:
      weights: Per input: kernels in float32-held int8, biases in int32, constants centred in
        float32, what an op on float32 reads as it is; None for activations.
      multipliers: What `OpKind.ratios` asked for.
      table: What `OpKind.table` returns, centred; None for other ops.
      low: Least centred integer of each output; None where it is not quantized.
      high: Greatest.
      scales: Of the operands, zero points rounded.
      one: 1, which XLA does not know.
    """

    weights: tuple[Any, ...]
    multipliers: tuple[Multiplier, ...]
    table: Float[Array, "256"] | None
    low: tuple[Float[Array, ""] | None, ...]
    high: tuple[Float[Array, ""] | None, ...]
    scales: Scales
    one: Float[Array, ""]


class Ranges:
    """Scales and zero points of a graph's tensors, prescribed ones included."""

    def __init__(self, graph: Graph, qparams: QParams, numpy: Any = jnp):
        """Looks into qparams with `jax.numpy`, or with `numpy` where no gradient is asked for."""
        self._graph, self._qparams, self._numpy = graph, qparams, numpy
        self._kernels = {
            name
            for op in graph.ops
            for name, role in zip(op.inputs, graph.operands(op), strict=True)
            if role is Operand.KERNEL
        }

    def activation(self, name: str) -> tuple[Any, Any]:
        """Returns the scale and zero point (rounded) of an activation, None if it has none."""
        tensor = self._graph.tensors[name]
        return self._range(tensor.range_name) if tensor.quantized else (None, None)

    def bits(self, name: str) -> int:
        """Returns the bits of an activation's integers."""
        return self._graph.tensors[name].bits

    def _range(self, key: str) -> tuple[Any, Any]:
        if key in self._graph.fixed_ranges:
            scale, fixed = self._graph.fixed_ranges[key]
            return self._numpy.float32(scale), self._numpy.float32(fixed)
        entry, bits = self._entry(key), self._graph.range_bits.get(key, 8)
        if entry.bits != bits:
            raise ValueError(
                f"qparams hold {entry.bits} bits for {key!r}, which has {bits} in the graph: "
                "take them from quant.calibrate of this very graph"
            )
        scale = self._widened.get(key, entry.scale)
        if bits > 8:
            return scale, self._numpy.float32(0)
        rounded = _round_through if self._numpy is jnp else np.round
        return scale, rounded(entry.zero_point)

    @functools.cached_property
    def _widened(self) -> dict[str, Any]:
        """The scales that a kernel bounds, by range."""
        fixed = self._graph.fixed_ranges

        def own(key: str) -> Any:
            return self._numpy.float32(fixed[key][0]) if key in fixed else self._entry(key).scale

        return least_scales.widened(self._graph, own, self._numpy)

    def scales(self, op: Op) -> Scales:
        """Returns the scales of an op's operands."""
        rows: list[tuple[Any, Any]] = []
        for i, role in enumerate(self._graph.operands(op)):
            if role in (Operand.BIAS, Operand.PLAIN):
                rows.append((None, None))
            elif role is Operand.KERNEL:
                rows.append((self._entry(op.inputs[i]).scale, None))
            else:
                rows.append(self._range(self._graph.range_of(op, i)))
        outputs = [self.activation(name) for name in op.outputs]
        wide = self._graph.is_wide(op)
        return Scales(
            inputs=tuple(scale for scale, _ in rows),
            outputs=tuple(scale for scale, _ in outputs),
            input_zero_points=tuple(zero for _, zero in rows),
            output_zero_points=tuple(zero for _, zero in outputs),
            bits=tuple(
                self._bits_of(name, role, wide)
                for name, role in zip(op.inputs, self._graph.operands(op), strict=True)
            ),
            output_bits=tuple(self._graph.tensors[name].bits for name in op.outputs),
        )

    def _bits_of(self, name: str, role: Operand, wide: bool) -> int:
        if role is Operand.KERNEL:
            return self._entry(name).bits
        if role is Operand.ACTIVATION:
            return self._graph.tensors[name].bits
        return 16 if wide and role is Operand.CONSTANT else 8

    def _entry(self, name: str) -> params.QuantParams:
        if name not in self._qparams:
            raise ValueError(
                f"qparams have no entry {name!r}: they are of another graph; "
                "take them from quant.calibrate(graph, ...)"
            )
        entry, wanted = self._qparams[name], self._scale_shape(name)
        if jnp.shape(entry.scale) not in ((), wanted):
            raise ValueError(
                f"the scale of {name!r} in qparams has shape {jnp.shape(entry.scale)}, "
                f"the graph wants {wanted}; take qparams from quant.calibrate(graph, ...)"
            )
        # An optimizer may step across zero; the kernels divide by scales.
        scale = self._numpy.maximum(entry.scale, self._numpy.float32(params.MIN_SCALE))
        return params.QuantParams(scale, entry.zero_point, entry.bits)

    def _scale_shape(self, name: str) -> tuple[int, ...]:
        return self._graph.operand_shape(name)[-1:] if name in self._kernels else ()


def _round_through(value: Float[Array, ""]) -> Float[Array, ""]:
    """Returns the rounded value; its gradient passes as if it were not rounded."""
    return value + jax.lax.stop_gradient(jnp.round(value) - value)


def function_tables(graph: Graph, qparams: QParams) -> dict[str, np.ndarray] | None:
    """Returns the int8 table of each op that evaluates a function, by its output's name.

    They are filled on the host, with the roundings of the C library that the kernels use; None
    while JAX traces `qparams`, whose values are not known then.

    Returns:
      Integer-valued float32 [256] per op: what the file holds for int8 from -128 to 127.
    """
    ops = [op for op in graph.ops if table.OPS[op.kind].function and _is_int8(graph, op)]
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(dict(qparams))):
        return None
    ranges = Ranges(graph, jax.device_get(dict(qparams)) if ops else {}, np)
    return {op.outputs[0]: _host_table(op, ranges) for op in ops}


def _is_int8(graph: Graph, op: Op) -> bool:
    return not (graph.is_wide(op) or graph.is_float(op))


def _host_table(op: Op, ranges: Ranges) -> np.ndarray:
    function = _function_of(op)
    scales = ranges.scales(op)
    own = (np.float32(scales.inputs[0]), np.float32(scales.input_zero_points[0]))
    result = (np.float32(scales.outputs[0]), np.float32(scales.output_zero_points[0]))

    def evaluate(values: np.ndarray) -> np.ndarray:
        if function.host is not None:
            return function.host(values)
        return np.asarray(function.real(jnp.asarray(values)), np.float32)

    with np.errstate(all="ignore"), jax.ensure_compile_time_eval():
        return lookup.entries(evaluate, own, result, np)


def _function_of(op: Op) -> Function:
    find = table.OPS[op.kind].function
    assert find is not None, f"{op.kind!r} evaluates no function"
    return find(op)


def make_plans(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    kernels: Kernels,
    tables: Mapping[str, Any] | None = None,
) -> list[OpPlan]:
    """Returns the constants of every op, in the graph's order, without gradients.

    Args:
      graph: As traced.
      weights: Its weights.
      qparams: Its scales and zero points.
      kernels: Whose arithmetic.
      tables: Of `function_tables`.  None: computed here, by JAX's functions, whose last bit may
        differ from the C library's; an entry that lies on a tie may then differ by 1.
    """
    if not graph.ops:
        return []
    check_wide(graph, kernels)
    weights, qparams = jax.lax.stop_gradient((dict(weights), dict(qparams)))
    ranges = Ranges(graph, qparams)
    scales = [ranges.scales(op) for op in graph.ops]
    ratios = [
        () if graph.is_float(op) else _ratios(op, own, kernels)
        for op, own in zip(graph.ops, scales, strict=True)
    ]
    leaves = jax.tree.leaves(qparams)  # none where all stays float32
    once = functools.partial(_once, leaves[0] if leaves else jnp.float32(1))
    held = iter(fixed_point.multipliers([r for row in ratios for r in row], once))
    multipliers = [tuple(next(held) for _ in row) for row in ratios]
    lookups = _all_tables(graph, scales, multipliers, kernels, once, tables)
    bounds = iter(_all_bounds(graph, scales, kernels, once))
    biases = iter(_all_biases(graph, weights, scales, once))
    one = once(lambda: jnp.float32(1))
    plans = []
    for i, (op, own) in enumerate(zip(graph.ops, scales, strict=True)):
        rows = [(None, None) if scale is None else next(bounds) for scale in own.outputs]
        low, high = zip(*rows, strict=True)
        plans.append(
            OpPlan(
                weights=_integer_weights(graph, op, weights, own, biases),
                multipliers=multipliers[i],
                table=lookups.get(op.outputs[0]),
                low=low,
                high=high,
                scales=own,
                one=one,
            )
        )
    return plans


def _ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    kind = table.OPS[op.kind]
    if scales.wide and kind.wide is not None and kind.wide.ratios is not None:
        return kind.wide.ratios(op, scales, kernels)
    return kind.ratios(op, scales, kernels)


def _once(scale: Array, make: Callable[[], Any]) -> Any:
    """Returns `make()`, computed before anything that reads it.

    XLA would fuse these computations into the loops over pixels and repeat them there.  It does
    not fuse across a conditional (an optimization barrier it drops), so they stand in one whose
    condition always holds: no scale is negative.
    """

    def blank() -> Any:
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(make))

    return jax.lax.cond(jnp.logical_not(scale.reshape(-1)[0] < 0), make, blank)


def _all_bounds(
    graph: Graph, scales: list[Scales], kernels: Kernels, once: Any
) -> list[tuple[Array, Array]]:
    """Returns the least and greatest centred integer of every output of every op."""
    rows = [
        (activation.real_bounds(op.activation), scale, zero_point, bits)
        for op, own in zip(graph.ops, scales, strict=True)
        for scale, zero_point, bits in zip(
            own.outputs, own.output_zero_points, own.output_bits, strict=True
        )
        if scale is not None
    ]
    if not rows:
        return []
    real, scale, zero_point, bits = zip(*rows, strict=True)

    def make() -> tuple[Array, Array]:
        lows, highs = (jnp.asarray(column, jnp.float32) for column in zip(*real, strict=True))

        def bounds(rounding: Kernels, count: int) -> tuple[Array, Array]:
            stacked = jnp.stack(scale), jnp.stack(zero_point)
            return activation.centred_bounds((lows, highs), *stacked, rounding, count)

        if 16 not in bits:
            return bounds(kernels, 8)
        wide = bounds("reference", 16)  # XNNPACK takes no int16
        if 8 not in bits:
            return wide
        narrow, is_wide = bounds(kernels, 8), np.asarray(bits) > 8
        return jnp.where(is_wide, wide[0], narrow[0]), jnp.where(is_wide, wide[1], narrow[1])

    low, high = once(make)
    return [(low[i], high[i]) for i in range(len(real))]


def _all_tables(
    graph: Graph,
    scales: list[Scales],
    multipliers: list[tuple[Multiplier, ...]],
    kernels: Kernels,
    once: Any,
    known: Mapping[str, Array] | None,
) -> dict[str, Float[Array, "256"]]:
    """Returns the centred table of each op that has one, by its output's name."""
    rows = [
        row
        for row in zip(graph.ops, scales, multipliers, strict=True)
        if (table.OPS[row[0].kind].table or table.OPS[row[0].kind].function)
        and _is_int8(graph, row[0])
    ]

    def stored(op: Op, own: Scales, row: tuple[Multiplier, ...]) -> Array:
        by_arithmetic = table.OPS[op.kind].table
        found = None if by_arithmetic is None else by_arithmetic(op, kernels, own, row)
        if found is not None:
            return found
        if known is not None:
            return jnp.asarray(known[op.outputs[0]])
        return lookup.entries(
            _function_of(op).real,
            (own.inputs[0], own.input_zero_points[0]),
            (own.outputs[0], own.output_zero_points[0]),
        )

    def make() -> dict[str, Array]:
        return {
            op.outputs[0]: stored(op, own, row).astype(jnp.float32) - own.output_zero_points[0]
            for op, own, row in rows
        }

    return once(make) if rows else {}


def _all_biases(
    graph: Graph, weights: Weights, scales: list[Scales], once: Any
) -> list[Int32[Array, " c"]]:
    """Returns the int32 biases of all ops, in order."""
    rows = [
        (graph.array(weights, name), own.inputs[0] * own.inputs[1])
        for op, own in zip(graph.ops, scales, strict=True)
        for name, role in zip(op.inputs, graph.operands(op), strict=True)
        if role is Operand.BIAS
    ]
    if not rows:
        return []
    scale = [jnp.broadcast_to(scale, bias.shape) for bias, scale in rows]
    whole = once(
        lambda: params.quantize_bias(
            jnp.concatenate([bias for bias, _ in rows]), jnp.concatenate(scale)
        )
    )
    ends = np.cumsum([bias.size for bias, _ in rows])
    return [whole[end - bias.size : end] for (bias, _), end in zip(rows, ends, strict=True)]


def _integer_weights(
    graph: Graph,
    op: Op,
    weights: Weights,
    scales: Scales,
    biases: Iterator[Int32[Array, " c"]],
) -> tuple[Any, ...]:
    result: list[Any] = []
    for i, (name, role) in enumerate(zip(op.inputs, graph.operands(op), strict=True)):
        if role is Operand.ACTIVATION or (role is Operand.PLAIN and graph.is_activation(name)):
            result.append(None)
        elif role is Operand.PLAIN:
            result.append(jnp.asarray(graph.array(weights, name)))
        elif role is Operand.BIAS:
            result.append(next(biases))
        elif role is Operand.KERNEL:
            kernel = graph.array(weights, name)
            result.append(params.quantize_kernel(kernel, scales.inputs[i], scales.bits[i]))
        else:
            zero_point = scales.input_zero_points[i]
            constant = graph.array(weights, name)
            integers = params.quantize_centred(
                constant, scales.inputs[i], zero_point, scales.bits[i]
            )
            result.append(integers)
    return tuple(result)
