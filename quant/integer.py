"""Inference in integers: bytes in, bytes out, as fast as XLA makes it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attokit.quant import params
from attokit.quant.fake_quant import check_kernels, propagate
from attokit.quant.graph import FLOAT, Graph, Weights
from attokit.quant.ops import table
from attokit.quant.ops.kind import Kernels
from attokit.quant.params import QParams
from attokit.quant.plan import OpPlan, Ranges, function_tables, make_plans

Interface = Literal["int8", "uint8", "int16", "float32"]
INTERFACES: tuple[Interface, ...] = ("int8", "uint8", "int16", "float32")


def integer(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    *,
    kernels: Kernels = "reference",
    input_type: Interface | None = None,
    output_type: Interface | None = None,
) -> "IntegerGraph":
    """Returns `f(*inputs)`, the graph as the file runs: jitted, for any batch, without gradients.

    What follows from weights and qparams is computed here, once.

    Args:
      graph: As traced.
      weights: Its weights.
      qparams: Its scales and zero points.
      kernels: Whose rounding to reproduce, as for `quant.fake_quant`.
      input_type: What inputs are: None as the file takes them ("int8", or "int16" where they have
        16 bits), "uint8" (128 more than int8) or reals in "float32".  Indices and conditions stay
        int32 and bool.
      output_type: Likewise of outputs.

    Raises:
      ValueError: if a kernel set or a type is unknown or does not fit, or weights or qparams are
        of another graph.
    """
    check_kernels(kernels)
    types = interface_types(graph, graph.inputs, "input_type", input_type)
    types |= interface_types(graph, graph.outputs, "output_type", output_type)
    graph.check_weights(weights)
    tables = function_tables(graph, qparams)
    make = functools.partial(make_plans, graph, kernels=kernels, tables=tables)
    plans = jax.jit(make)(dict(weights), dict(qparams))
    ranges = Ranges(graph, qparams)
    ends = {n: ranges.activation(n) for n in (*graph.inputs, *graph.outputs)}
    inputs, outputs = ([types[n] for n in names] for names in (graph.inputs, graph.outputs))
    return IntegerGraph(graph, kernels, tuple(inputs), tuple(outputs), plans, ends)


def interface_types(
    graph: Graph, names: Sequence[str], argument: str, value: str | None
) -> dict[str, str]:
    """Returns the type in which each input or output is passed.

    Args:
      graph: As traced.
      names: Of inputs or of outputs.
      argument: What the caller calls the type.
      value: The type of what is quantized, None for its own.

    Raises:
      ValueError: if the type is unknown, or has not the bits of a tensor.
    """
    if value is not None and value not in INTERFACES:
        raise ValueError(f"{argument} {value!r} is none of {', '.join(INTERFACES)}")
    types = {}
    for name in names:
        tensor = graph.tensors[name]
        if tensor.bits == FLOAT and value not in (None, "float32"):
            by_kind = any(name in op.outputs and table.OPS[op.kind].only_float for op in graph.ops)
            cure = "leave it out" if by_kind else "leave it out, or name fewer in quant.keep_float"
            raise ValueError(
                f"{argument} {value!r} does not fit {name!r}, which stays float32; {cure}"
            )
        fits = (tensor.integer_type, "float32", *(("uint8",) if tensor.bits == 8 else ()))
        if tensor.quantized and value is not None and value not in fits:
            raise ValueError(
                f"{argument} {value!r} does not fit {name!r}, which has {tensor.bits} bits; "
                f"choose one of {', '.join(fits)}"
            )
        types[name] = value if tensor.quantized and value else tensor.integer_type
    return types


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerGraph:
    """A graph with its constants, in integers.

    Attributes:
      graph: What it computes.
      kernels: Whose rounding it uses.
      input_types: Of its inputs.
      output_types: Of its outputs.
      plans: The constants of every op.
      ends: Scale and zero point of every input and output; None where it is not quantized.
    """

    graph: Graph
    kernels: Kernels
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    plans: list[OpPlan]
    ends: dict[str, tuple[Any, Any]]

    def __call__(self, *inputs: Any) -> Any:
        """Returns what the traced function returns, in `output_types`.

        Raises:
          ValueError: if number, shape or type of the inputs do not fit.
        """
        self.graph.check_inputs(inputs)
        arrays = [
            self._checked(name, wanted, value)
            for name, wanted, value in zip(self.graph.inputs, self.input_types, inputs, strict=True)
        ]
        return self.graph.result(self._jitted(self.plans, self.ends, arrays))

    def _checked(self, name: str, wanted: str, value: Any) -> Any:
        quantized = self.graph.tensors[name].quantized
        found = np.asarray(value).dtype if not hasattr(value, "dtype") else value.dtype
        if found != np.dtype(wanted):
            cure = " (or make it with input_type='float32', which takes reals)" if quantized else ""
            raise ValueError(f"input {name!r} is {found}; give {wanted}{cure}")
        return value

    @functools.cached_property
    def _jitted(self) -> Callable[..., list[Array]]:
        return jax.jit(self._run)

    def _run(self, plans: list[OpPlan], ends: dict, inputs: list[Any]) -> list[Array]:
        graph = self.graph
        values = {
            name: self._centred(jnp.asarray(value), kind, graph.tensors[name].bits, *ends[name])
            for name, kind, value in zip(graph.inputs, self.input_types, inputs, strict=True)
        }
        scales = [plan.scales for plan in plans]
        propagate(graph, self.kernels, values, graph.constants.get, scales, plans)
        return [
            self._given(values[name], kind, *ends[name])
            for name, kind in zip(graph.outputs, self.output_types, strict=True)
        ]

    def _centred(self, value: Array, kind: str, bits: int, scale: Any, zero_point: Any) -> Array:
        """Returns an input as integers minus their zero point."""
        if scale is None:
            return value
        if kind == "float32":
            return params.quantize_centred(value, scale, zero_point, bits)
        shift = 128 if kind == "uint8" else 0
        return value.astype(jnp.float32) - (zero_point + shift)

    def _given(self, value: Array, kind: str, scale: Any, zero_point: Any) -> Array:
        """Returns an output as the caller wants it."""
        if scale is None:
            return value
        if kind == "float32":
            return value * scale
        if kind == "uint8":
            return (value + (zero_point + 128)).astype(jnp.uint8)
        return (value + zero_point).astype(kind)
