"""What an INT8 file stores for each weight: the integers of `quant.fake_quant`, computed in bulk.

Rounding is elementwise, so all kernels are rounded as one vector, all biases as another; in NumPy,
which has nothing to compile and rounds as XLA does.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from attokit.export.flatbuffer import Quantization
from attokit.quant import least_scales, params
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops.kind import Operand
from attokit.quant.params import QParams


@dataclasses.dataclass(frozen=True, eq=False)
class Integers:
    """An operand as the file holds it, in the graph's layout.

    Attributes:
      values: int8 (kernels, constants), int16 (constants of ops on int16) or int32 (biases).
      scale: float32 scalar, or one value per output channel.
      zero_point: 0 for kernels and biases.
    """

    values: np.ndarray
    scale: np.ndarray
    zero_point: int = 0


class Ranges:
    """Scales and zero points of a graph's tensors as the file stores them."""

    def __init__(self, graph: Graph, qparams: QParams):
        self._graph = graph
        self._entries = {
            name: (np.asarray(entry.scale, np.float32), _zero_point(entry))
            for name, entry in jax.device_get(dict(qparams)).items()
        }
        self._bits = {name: entry.bits for name, entry in qparams.items()}
        problems = [
            f"{name!r} has scale {scale.min():g} and zero point {zero:g}"
            for name, (scale, zero) in self._entries.items()
            if not (
                np.isfinite(scale).all() and (scale > 0).all() and -128 <= np.round(zero) <= 127
            )
        ]
        if problems:
            raise ValueError(
                "qparams that no file can hold: " + "; ".join(problems) + ". Scales must be "
                "positive and finite, zero points in [-128, 127]: calibrate again, or train the "
                "scales with a lower learning rate."
            )
        self._widened: dict[str, np.ndarray] = {}
        self._widened = least_scales.widened(graph, lambda key: self._entry(key)[0], np)

    def scale(self, name: str) -> np.ndarray:
        """Returns the scale of an activation, a constant or a kernel."""
        return self._of(name)[0]

    def zero_point(self, name: str) -> int:
        """Returns the zero point of an activation or a constant."""
        return int(np.round(self._of(name)[1]))

    def bits(self, name: str) -> int:
        """Returns the bits of a kernel's integers."""
        return self._bits[name]

    def quantization(self, name: str) -> Quantization:
        """Returns both for a tensor with one scale."""
        return Quantization(self.scale(name).reshape(1), np.asarray([self.zero_point(name)]))

    def _of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        tensor = self._graph.tensors.get(name)
        key = name if tensor is None else tensor.range_name
        if key in self._bits and key in self._graph.range_bits:
            self._check_bits(key)
        return self._entry(key)

    def _entry(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        if key in self._graph.fixed_ranges:
            fixed = self._graph.fixed_ranges[key]
            return np.asarray(fixed[0], np.float32), np.asarray(fixed[1], np.float32)
        if key not in self._entries:
            raise ValueError(
                f"qparams have no entry {key!r}: they are of another graph; "
                "take them from quant.calibrate(graph, ...)"
            )
        scale, zero_point = self._entries[key]
        return self._widened.get(key, scale), zero_point

    def _check_bits(self, key: str) -> None:
        own, wanted = self._bits[key], self._graph.range_bits[key]
        if own != wanted:
            raise ValueError(
                f"qparams hold {own} bits for {key!r}, which has {wanted} in the graph: "
                "take them from quant.calibrate of this very graph"
            )


def _zero_point(entry: params.QuantParams) -> np.ndarray:
    """Returns the zero point, 0 for int16 whatever was learned."""
    return np.asarray(entry.zero_point if entry.bits <= 8 else 0, np.float32)


def _centred(values: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, bits: int) -> Any:
    return params.quantize_centred(values, scale, zero_point, bits, np)


def integer_operands(
    graph: Graph, weights: Weights, ranges: Ranges
) -> dict[tuple[int, int], Integers]:
    """Returns the integers of every weight and constant by (position of op, of input)."""
    arrays = {**graph.constants, **jax.device_get(dict(weights))}
    kernels: dict[int, list] = {4: [], 8: []}  # by bits
    constants: dict[int, list] = {8: [], 16: []}
    biases = []
    for i, op in enumerate(graph.ops):
        for j, role in enumerate(graph.operands(op)):
            name = op.inputs[j]
            if role is Operand.KERNEL:
                kernels[ranges.bits(name)].append(((i, j), arrays[name], ranges.scale(name), 0))
            elif role is Operand.BIAS:
                scale = ranges.scale(op.inputs[0]) * ranges.scale(op.inputs[1])
                biases.append(((i, j), arrays[name], scale, 0))
            elif role is Operand.CONSTANT:
                key = graph.range_of(op, j)
                row = ((i, j), arrays[name], ranges.scale(key), ranges.zero_point(key))
                constants[16 if graph.is_wide(op) else 8].append(row)
    return (
        _round(kernels[8], lambda x, s, z: params.quantize_kernel(x, s, numpy=np), np.int8)
        | _round(kernels[4], lambda x, s, z: params.quantize_kernel(x, s, 4, np), np.int8)
        | _round(biases, lambda x, s, z: params.quantize_bias(x, s, np), np.int32)
        | _round(constants[8], lambda x, s, z: _centred(x, s, z, 8) + z, np.int8)
        | _round(constants[16], lambda x, s, z: _centred(x, s, z, 16), np.int16)
    )


def _round(
    rows: list[tuple[tuple[int, int], np.ndarray, np.ndarray, int]],
    function: Callable[[Any, Any, Any], Any],
    dtype: type,
) -> dict[tuple[int, int], Integers]:
    """Applies an elementwise rounding to many at once."""
    if not rows:
        return {}
    columns = [
        (x.reshape(-1), np.broadcast_to(s, x.shape).reshape(-1), np.full(x.size, z, np.float32))
        for _, x, s, z in rows
    ]
    values = np.asarray(function(*(np.concatenate(c) for c in zip(*columns, strict=True))))
    ends = np.cumsum([x.size for _, x, _, _ in rows])
    return {
        place: Integers(part.reshape(x.shape).astype(dtype), s, z)
        for (place, x, s, z), part in zip(rows, np.split(values, ends[:-1]), strict=True)
    }
