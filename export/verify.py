"""Proof that a file computes what the graph says: every tensor, compared."""

import dataclasses
import os
from typing import Any

import jax.numpy as jnp
import numpy as np

from attokit.export import expectation, inspection, interpreters, probabilities
from attokit.export.activations import Activations, activations
from attokit.export.anatomy import Inspection
from attokit.export.brightness import as_colours, makes_brightness
from attokit.export.detection import CUSTOM_CODE
from attokit.export.distance import distance
from attokit.export.integers import Ranges
from attokit.export.lowerings.context import Target
from attokit.export.run import to_file
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops import table
from attokit.quant.ops.kind import Kernels
from attokit.quant.params import QParams
from attokit.quant.tied_constants import MASK

_CONVERSIONS = ("quantize", "dequantize")  # of which a float file has none
_FLOAT_TOLERANCE = 1e-4  # of the tensor's largest magnitude: sums in another order


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One tensor, compared.

    Attributes:
      tensor: Its name, the layer's in the user's model.
      kind: Of the op that makes it; "input", or "output" for what leaves in another type.
      shape: As run.
      differing: How many elements are not equal.
      elements: How many there are.
      largest: Greatest difference: in units of the integer, or absolute of float32.
      allowed: Greatest difference that is tolerated.
      mean_error: Mean absolute difference to the float graph, in reals (quantization itself).
    """

    tensor: str
    kind: str
    shape: tuple[int, ...]
    differing: int
    elements: int
    largest: float
    allowed: float
    mean_error: float

    @property
    def ok(self) -> bool:
        """Whether the tensor is within tolerance."""
        return self.largest <= self.allowed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """A file compared with its graph.

    Attributes:
      rows: Every activation, in execution order.
      kernels: Whose runtime ran the file.
      quantized: Whether the file is INT8.
    """

    rows: tuple[Row, ...]
    kernels: Kernels
    quantized: bool

    @property
    def ok(self) -> bool:
        """Whether every tensor is within tolerance."""
        return self.first_difference is None

    @property
    def first_difference(self) -> Row | None:
        """The first tensor that is not, or None."""
        return next((row for row in self.rows if not row.ok), None)

    @property
    def exact(self) -> bool:
        """Whether every element of every tensor is equal."""
        return not any(row.differing for row in self.rows)

    @property
    def summary(self) -> str:
        """One line: the verdict."""
        elements = sum(row.elements for row in self.rows)
        differing = sum(row.differing for row in self.rows)
        counts = f"{len(self.rows)} tensors, {elements:,} elements, {differing:,} differ"
        first = self.first_difference
        if first is None:
            return f"ok ({self.kernels} kernels): {counts}"
        return (
            f"DIFFERENT ({self.kernels} kernels): {counts}; the first tensor beyond tolerance is "
            f"{first.tensor!r} ({first.kind}): by {first.largest:g}, allowed {first.allowed:g}"
        )

    def __str__(self) -> str:
        unit = "max LSB" if self.quantized else "max diff"  # of float32 the difference itself
        lines = [f"{'tensor':44} {'op':18} {'shape':16} {'differing':>20} {unit:>9} {'error':>10}"]
        for row in self.rows:
            shape = "x".join(map(str, row.shape))
            share = f"{row.differing:,} of {row.elements:,}"
            mark = "" if row.ok else "  <-"
            lines.append(
                f"{row.tensor[-44:]:44} {row.kind[:18]:18} {shape:16} {share:>20} "
                f"{row.largest:9.3g} {row.mean_error:10.3g}{mark}"
            )
        return "\n".join([*lines, self.summary])


def verify(
    file: str | os.PathLike[str] | bytes,
    graph: Graph,
    weights: Weights,
    qparams: QParams | None,
    *inputs: Any,
    kernels: Kernels = "reference",
    target: Target = "android",
) -> Report:
    """Runs a file and compares every activation with the graph's.

    "reference" (LiteRT's reference kernels) and "micro" (TFLite Micro) must give the integers of
    `quant.fake_quant` with the same kernels, from input to output, on every element.  With
    "xnnpack" (LiteRT's default), and in graphs with ops on float32 (`quant.keep_float`), each op is
    compared given the same input.  What may differ at most is in the op's row (`OpKind.bounds`;
    docs/ops.md lists it), and of float32 1e-4 of the tensor's largest magnitude.

    Args:
      file: Path or bytes, of `to_tflite(graph, weights, qparams)`.
      graph: What it was made of.
      weights: Likewise.
      qparams: Likewise; None for a float32 file.
      *inputs: Reals, as the graph takes them, with a batch of any length.
      kernels: Whose runtime runs the file.
      target: What it was written for: tensors that "coral" folds away are not compared.

    Raises:
      ValueError: if the file is damaged or another graph's, or inputs do not fit.
    """
    interpreters.check_kernels(kernels)
    data, name = inspection.read(file)
    info = inspection.inspect(data)
    reals = tuple(map(np.asarray, inputs))
    graph.check_arguments(weights, reals)
    reals = tuple(x.astype(graph.carried(n)) for n, x in zip(graph.inputs, reals, strict=True))
    if len(info.inputs) != len(graph.inputs):
        raise ValueError(f"{name} has {len(info.inputs)} inputs, the graph {len(graph.inputs)}")
    if info.main.tensors and not any(tensor.name for tensor in info.main.tensors):
        raise ValueError(
            f"{name} has no names of tensors, by which they are found: write it with names=True to verify it"
        )
    shown = map(as_colours, reals) if makes_brightness(info) else reals
    given = [
        to_file(port, tensor, x)
        for (port, tensor), x in zip(info.inputs.items(), shown, strict=True)
    ]
    try:
        found = activations(data, given, kernels)
    except RuntimeError as err:
        raise ValueError(f"the runtime cannot run {name}: {err}") from err
    missing = [
        n for op in graph.ops for n in op.outputs
        if n not in found.tensors and not (qparams is None and op.kind in _CONVERSIONS)
    ]  # fmt: skip
    if missing and (target != "coral" or not set(graph.outputs).isdisjoint(missing)):
        raise ValueError(
            f"{name} has no tensor {missing[0]!r} ({len(missing)} are missing): "
            "it was written from another graph"
        )
    inputs32 = tuple(jnp.asarray(x) for x in reals)
    if qparams is None:
        rows = _compare_float(found, graph, weights, inputs32)
    else:
        rows = _compare_integers(found, graph, weights, qparams, inputs32, kernels)
    rows += _interface_rows(found, graph, info, qparams)
    return Report(rows=tuple(rows), kernels=kernels, quantized=qparams is not None)


def _kinds(graph: Graph) -> dict[str, str]:
    """Returns the kind of op behind each activation, in execution order."""
    kinds = dict.fromkeys(graph.inputs, "input")
    return kinds | {name: op.kind for op in graph.ops for name in op.outputs}


def _compare_integers(
    found: Activations,
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    inputs: tuple[Any, ...],
    kernels: Kernels,
) -> list[Row]:
    if kernels == "xnnpack" or graph.float_ops:
        wanted = expectation.op_by_op(graph, weights, qparams, kernels, found.tensors)
    else:
        wanted = expectation.end_to_end(graph, weights, qparams, kernels, inputs)
    reals, ranges = expectation.in_float(graph, weights, inputs), Ranges(graph, qparams)
    rows = []
    for name, kind in _kinds(graph).items():
        if name not in wanted or name not in found.tensors:  # see `target`
            continue
        value = found.tensors[name]
        _check_shape(name, value, wanted[name])
        if value.dtype == np.float32:
            rows.append(_row_of_reals(name, kind, value, wanted[name], reals[name]))
            continue
        real = value.astype(np.float32)
        if graph.tensors[name].quantized:
            real = (real - np.float32(ranges.zero_point(name))) * ranges.scale(name)
        difference = np.abs(value.astype(np.int32) - wanted[name].astype(np.int32))
        rows.append(_row(name, kind, difference, _bound(kind, kernels), np.abs(real - reals[name])))
    return rows


def _bound(kind: str, kernels: Kernels) -> int:
    return table.OPS[kind].bounds.get(kernels, 0) if kind in table.OPS else 0


def _compare_float(
    found: Activations,
    graph: Graph,
    weights: Weights,
    inputs: tuple[Any, ...],
) -> list[Row]:
    wanted = expectation.in_float(graph, weights, inputs)
    rows = []
    for name, kind in _kinds(graph).items():
        if name not in found.tensors:  # a change of scale, which a float file leaves out
            continue
        _check_shape(name, found.tensors[name], wanted[name])
        value = found.tensors[name].astype(np.float32)
        rows.append(_row_of_reals(name, kind, value, wanted[name], wanted[name]))
    return rows


def _row_of_reals(
    name: str, kind: str, value: np.ndarray, wanted: np.ndarray, exact: np.ndarray
) -> Row:
    """Returns the row of a float32 tensor; `exact` is the float graph's."""
    difference = distance(value, wanted)
    # Masks stand for infinity and say nothing of the other values, unless they are computed with.
    counted = np.abs(wanted[(np.abs(wanted) < MASK) | (difference > 0)])
    allowed = _FLOAT_TOLERANCE * max(float(counted.max(initial=0)), 1.0)
    return _row(name, kind, difference, allowed, distance(value, exact))


def _interface_rows(
    found: Activations, graph: Graph, info: Inspection, qparams: QParams | None
) -> list[Row]:
    """Compares what leaves the file with the tensors inside that it should be.

    Not so after post-processing, which makes something else of them.
    """
    if CUSTOM_CODE in info.histogram:
        return []
    rows = []
    for name, (port, tensor), value in zip(
        graph.outputs, info.outputs.items(), found.outputs, strict=True
    ):
        inner, allowed = found.tensors[name], 0.0
        if probabilities.name_of(name) in found.tensors:
            wanted, allowed = probabilities.softmax(_reals(graph, qparams, name, inner)), 1e-5
        elif qparams is None or tensor.dtype == inner.dtype:
            wanted = inner
        elif tensor.dtype == "uint8":
            wanted = (inner.astype(np.int16) + 128).astype(np.uint8)
        else:
            wanted = _reals(graph, qparams, name, inner)
        difference = distance(value.astype(np.float32), wanted.astype(np.float32))
        rows.append(_row(f"{port} (as it leaves)", "output", difference, allowed, np.zeros(1)))
    return rows


def _reals(graph: Graph, qparams: QParams | None, name: str, values: np.ndarray) -> np.ndarray:
    """Returns what the integers of an activation stand for; floats as they are."""
    if qparams is None or values.dtype == np.float32:
        return values
    ranges = Ranges(graph, qparams)
    centred = values.astype(np.float32) - np.float32(ranges.zero_point(name))
    return centred * ranges.scale(name)


def _check_shape(name: str, value: np.ndarray, wanted: np.ndarray) -> None:
    if value.shape != wanted.shape:
        raise ValueError(
            f"tensor {name!r} is {list(value.shape)} in the file, {list(wanted.shape)} in the "
            "graph: it was written from another graph"
        )


def _row(name: str, kind: str, difference: np.ndarray, allowed: float, errors: np.ndarray) -> Row:
    return Row(
        tensor=name,
        kind=kind,
        shape=difference.shape,
        differing=int(np.count_nonzero(difference)),
        elements=difference.size,
        largest=float(difference.max(initial=0)),
        allowed=float(allowed),
        mean_error=float(errors.mean(dtype=np.float64)) if errors.size else 0.0,
    )
