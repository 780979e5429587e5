"""Two files compared: what they hold, and what they make of the same inputs."""

import dataclasses
import difflib
import os
from collections.abc import Iterator

import numpy as np

from attokit.export import inspection
from attokit.export.anatomy import Inspection, TensorInfo
from attokit.export.distance import distance
from attokit.export.random_inputs import random_input
from attokit.export.run import Runner, to_real
from attokit.quant.ops.kind import Kernels

_SHOWN = 40  # lines of operators that differ


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputDifference:
    """One output of both files, in reals.

    Attributes:
      name: In the first file.
      elements: How many were compared.
      differing: How many are not equal.
      largest: Greatest difference.
      mean: Mean absolute difference.
      span: From the least to the greatest value of the first file's.
      agreeing: Share of rows, along the last axis, whose greatest element is in the same place.
    """

    name: str
    elements: int
    differing: int
    largest: float
    mean: float
    span: float
    agreeing: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two files.

    Attributes:
      first: Inspected.
      second: Likewise.
      operators: Lines of operators that only one has, "- " or "+ " before them.
      outputs: None if the files take or give other shapes, so that nothing could be compared.
      images: How many random inputs were run.
    """

    first: Inspection
    second: Inspection
    operators: tuple[str, ...]
    outputs: tuple[OutputDifference, ...] | None
    images: int

    @property
    def same_graph(self) -> bool:
        """Whether both have the same operators in the same order."""
        return not self.operators

    @property
    def equal(self) -> bool:
        """Whether both give the same for all that was run."""
        return self.outputs is not None and not any(o.differing for o in self.outputs)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def compare(
    first: str | os.PathLike[str] | bytes,
    second: str | os.PathLike[str] | bytes,
    *,
    count: int = 8,
    kernels: Kernels = "reference",
) -> Comparison:
    """Returns how two files differ.

    Both run on the same random inputs, which cover the range of the first file's: what is quantized there
    is given to the second as the reals that it stands for, or as the same integers if its type and scale are
    the same.

    Args:
      first: Path or bytes.
      second: Likewise.
      count: Inputs to run; 1 is, if the first axes of inputs are no batch.
      kernels: Whose runtime runs them.

    Raises:
      ValueError: if a file is damaged, a runtime refuses it, or count is not positive.
    """
    if count < 1:
        raise ValueError(f"count is {count}: give at least 1 input")
    infos = inspection.inspect(first), inspection.inspect(second)
    before, after = map(_operators, infos)
    lines = [
        line
        for line in difflib.unified_diff(before, after, lineterm="", n=0)
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    outputs = None
    batched = all(map(_has_batch, infos))
    if _ports_fit(*infos, batched):
        runners = Runner(first, kernels=kernels), Runner(second, kernels=kernels)
        outputs = tuple(_differences(*runners, count if batched else None))
    return Comparison(
        first=infos[0],
        second=infos[1],
        operators=tuple(f"{line[0]} {line[1:]}" for line in lines),
        outputs=outputs,
        images=count if batched else 1,
    )


def _operators(info: Inspection) -> list[str]:
    return [
        f"{op.kind} v{op.version} -> {', '.join(_type(graph.tensors[i]) for i in op.outputs)}"
        for graph in info.subgraphs
        for op in graph.operators
    ]


def _type(tensor: TensorInfo) -> str:
    return f"{tensor.dtype} {'x'.join(map(str, tensor.shape))}"


def _has_batch(info: Inspection) -> bool:
    """Whether the first axes of a file's inputs are those of a batch; not so if all there is are numbers in a row."""
    shapes = [tensor.shape for tensor in info.inputs.values() if tensor.shape]
    return len({shape[0] for shape in shapes}) == 1 and max(map(len, shapes)) > 1


def _ports_fit(first: Inspection, second: Inspection, batched: bool) -> bool:
    """Whether both take and give tensors of the same shapes, but for the batch, in the same order."""
    return all(
        [t.shape[batched:] for t in getattr(first, side).values()]
        == [t.shape[batched:] for t in getattr(second, side).values()]
        for side in ("inputs", "outputs")
    )


def _differences(first: Runner, second: Runner, count: int | None) -> Iterator[OutputDifference]:
    random = np.random.default_rng(0)
    pairs = [
        _drawn(random, one, other, _shape(one, count))
        for one, other in zip(first.inputs.values(), second.inputs.values(), strict=True)
    ]
    found = first(*(pair[0] for pair in pairs), dequantize=True)
    others = second(*(pair[1] for pair in pairs), dequantize=True)
    for (name, one), other in zip(found.items(), others.values(), strict=True):
        wanted, got = (np.atleast_1d(values).astype(np.float64) for values in (one, other))
        difference = distance(wanted, got)
        agreeing = (wanted.argmax(-1) == got.argmax(-1)).mean() if wanted.size else 1.0
        yield OutputDifference(
            name=name,
            elements=difference.size,
            differing=int(np.count_nonzero(difference)),
            largest=float(difference.max(initial=0)),
            mean=float(difference.mean()) if difference.size else 0.0,
            span=float(np.ptp(wanted)) if wanted.size else 0.0,
            agreeing=float(agreeing),
        )


def _shape(tensor: TensorInfo, count: int | None) -> tuple[int, ...]:
    """Returns a tensor's shape with a batch, or as it is if there is none."""
    return tensor.shape if count is None or not tensor.shape else (count, *tensor.shape[1:])


def _drawn(
    random: np.random.Generator, one: TensorInfo, other: TensorInfo, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same random values as either file takes them."""
    if "float" in one.dtype and "float" not in other.dtype and other.scale.size == 1:
        own, given = _drawn(random, other, one, shape)
        return given, own
    values = random_input(one, shape, random)
    if "float" in one.dtype:
        return values, values.astype(other.dtype)
    alike = one.dtype == other.dtype and np.array_equal(one.scale, other.scale)
    if alike and np.array_equal(one.zero_point, other.zero_point):
        return values, values
    reals = to_real(one, values)
    return values, reals.astype(other.dtype) if "float" in other.dtype else reals


def _lines(comparison: Comparison) -> Iterator[str]:
    first, second = comparison.first, comparison.second
    yield f"{'':24} {'first':>16} {'second':>16}"
    for title, name in (
        ("bytes", "size"),
        ("parameters", "parameters"),
        ("multiply-adds", "macs"),
        ("peak RAM", "peak_ram"),
        ("operators on float", "float_operators"),
    ):
        yield f"{title:24} {getattr(first, name):16,} {getattr(second, name):16,}"
    counts = first.histogram, second.histogram
    for kind in dict.fromkeys((*counts[0], *counts[1])):
        pair = [count.get(kind, 0) for count in counts]
        if pair[0] != pair[1]:
            yield f"{kind[:24]:24} {pair[0]:16,} {pair[1]:16,}"
    if comparison.same_graph:
        yield "the same operators in the same order"
    else:
        yield f"{len(comparison.operators)} operators differ (- only first, + only second):"
        yield from (f"  {line}" for line in comparison.operators[:_SHOWN])
        if len(comparison.operators) > _SHOWN:
            yield f"  and {len(comparison.operators) - _SHOWN} more"
    if comparison.outputs is None:
        yield "inputs or outputs have other shapes: nothing was run"
        return
    for output in comparison.outputs:
        share = output.largest / output.span if output.span else 0.0
        yield (
            f"output {output.name!r} of {comparison.images} random inputs: {output.differing:,} of "
            f"{output.elements:,} elements differ, by {output.largest:.6g} at most ({100 * share:.3g} % of "
            f"its span), {output.mean:.3g} on average; the greatest agrees in {100 * output.agreeing:.1f} %"
        )
