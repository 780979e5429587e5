"""The parts of a .tflite file as `inspect` returns them, and how they print."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

_BIAS = {
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "TRANSPOSE_CONV": 3,
}  # its place
_WIDENING = ("DENSIFY", "DEQUANTIZE")
_NOTHING = memoryview(b"")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TensorInfo:
    """A tensor.

    Attributes:
      name: As stored; not always unique.
      shape: As stored; sizes that are not fixed are mostly 1 here.
      dtype: "int8", "float32", ….
      size: Bytes.
      constant: Whether the file holds its contents.
      scale: Empty if not quantized; one value, or one per entry of `axis`.
      zero_point: As many as scales.
      axis: Of the scales.
      signature: Sizes again, -1 for those that are not fixed; may be empty if all are.
      contents: What it holds of a constant, as bytes.
      buffer: Where the file holds it; constants of one buffer are one. 0 says nothing.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    constant: bool
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int
    signature: tuple[int, ...] = ()
    contents: memoryview = _NOTHING
    buffer: int = 0

    def values(self) -> np.ndarray | None:
        """Returns the contents of a constant, in its shape; None if NumPy has no such type or there are none."""
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            return None
        size = math.prod(self.shape) * dtype.itemsize
        if not self.constant or len(self.contents) < size:
            return None
        data = np.frombuffer(self.contents[:size], dtype.newbyteorder("<"))
        try:
            return data.astype(dtype).reshape(self.shape)
        except ValueError:  # a damaged file: an axis of 0, and others beyond all bounds
            return None

    @property
    def open_axes(self) -> tuple[int, ...]:
        """The axes whose size the file does not fix."""
        return tuple(axis for axis, size in enumerate(self.signature) if size < 0)

    @property
    def static(self) -> bool:
        """Whether the file fixes every size."""
        return not self.open_axes

    @property
    def shape_text(self) -> str:
        """The shape as it prints, with ? for sizes that are not fixed."""
        return "x".join(
            "?" if axis in self.open_axes else str(n) for axis, n in enumerate(self.shape)
        )

    @property
    def is_parameter(self) -> bool:
        """Whether this is a kernel, scaled bias or constant operand rather than axes or shapes."""
        return self.constant and ("float" in self.dtype or self.scale.size > 0)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class OperatorInfo:
    """An operator.

    Attributes:
      kind: The schema's name ("CONV_2D"), or a custom operator's own.
      version: Of the operator.
      inputs: Positions of tensors; -1 for one that is left out.
      outputs: Likewise.
      macs: Multiply-adds.
      live: Bytes of the activations that exist while it runs.
      options: By the schema's name ("strideH"); empty if it has none.
      custom_options: Of a custom operator, as stored.
      calls: Positions of the subgraphs that it runs.
      counted: Whether `macs` is known; it is 0 if not.
    """

    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int
    live: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    custom_options: bytes = b""
    calls: tuple[int, ...] = ()
    counted: bool = True

    @property
    def present(self) -> tuple[int, ...]:
        """Positions of the inputs and outputs that are there."""
        return tuple(index for index in (*self.inputs, *self.outputs) if index >= 0)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Subgraph:
    """A subgraph: the first is the model, others are bodies of its control flow or of other signatures."""

    name: str
    tensors: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def parameter_counts(self) -> dict[Any, int]:
        """Returns how many weights, biases and constant operands each of their buffers holds."""
        found = {i for i, tensor in enumerate(self.tensors) if tensor.is_parameter}
        for op in self.operators:  # files for TFLite Micro have biases without scales
            place = _BIAS.get(op.kind, len(op.inputs))
            found |= {
                i for i in op.inputs[place : place + 1] if i >= 0 and self.tensors[i].constant
            }
        counts: dict[Any, int] = {}
        for tensor in (self.tensors[i] for i in found):
            key = tensor.buffer or tensor
            counts[key] = max(math.prod(tensor.shape), counts.get(key, 0))
        return counts

    @property
    def widened_bytes(self) -> int:
        """Bytes of what becomes of constants before they are used (`widened_constants`)."""
        widened = widened_constants(self.tensors, self.operators)
        return sum(self.tensors[i].size for i in widened)

    def is_float(self, operator: OperatorInfo) -> bool:
        """Whether an operator reads or makes floats."""
        return any("float" in self.tensors[i].dtype for i in operator.present)


def widened_constants(
    tensors: Sequence[TensorInfo], operators: Sequence[OperatorInfo]
) -> frozenset[int]:
    """Returns the positions of what DEQUANTIZE and DENSIFY make of constants (float16, integers, sparse ones).

    LiteRT makes it once and keeps it, so that these are no activations.
    """
    found: set[int] = set()
    for operator in operators:
        known = [i in found or (i >= 0 and tensors[i].constant) for i in operator.inputs]
        if operator.kind in _WIDENING and known and all(known):
            found |= set(operator.outputs)
    return frozenset(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
    """One way to call a file.

    Attributes:
      subgraph: Position of the subgraph that it runs.
      inputs: Positions of that subgraph's tensors, by name.
      outputs: Likewise.
    """

    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Inspection:
    """A file, read.

    Attributes:
      size: Bytes of the file.
      description: As stored.
      subgraphs: The model first.
      signatures: By their keys.
      metadata: What it carries beside the model, by the name of the entry.
    """

    size: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: dict[str, Signature]
    metadata: dict[str, bytes] = dataclasses.field(default_factory=dict)

    @property
    def main(self) -> Subgraph:
        """The model itself."""
        return self.subgraphs[0]

    @property
    def inputs(self) -> dict[str, TensorInfo]:
        """Inputs by their name in the signature, or the tensor's; in the file's order.

        One without a name is called by its place ("input_0"); a name that another has already gets a number.
        """
        named = [s.inputs for s in self.signatures.values() if s.subgraph == 0]
        return _ports(self.main, self.main.inputs, named, "input")

    @property
    def outputs(self) -> dict[str, TensorInfo]:
        """Outputs likewise."""
        named = [s.outputs for s in self.signatures.values() if s.subgraph == 0]
        return _ports(self.main, self.main.outputs, named, "output")

    @property
    def histogram(self) -> dict[str, int]:
        """How often each kind of operator occurs, the most frequent first."""
        kinds = collections.Counter(op.kind for graph in self.subgraphs for op in graph.operators)
        return dict(kinds.most_common())

    @property
    def parameters(self) -> int:
        """Number of weights, biases and constant operands, those of one buffer once."""
        counts: dict[Any, int] = {}
        for graph in self.subgraphs:
            for key, count in graph.parameter_counts().items():
                counts[key] = max(count, counts.get(key, 0))
        return sum(counts.values())

    @property
    def reached(self) -> tuple[int, ...]:
        """Positions of the subgraphs that one run takes: the model, and what its operators call."""
        found = [0]
        for place in found:
            called = dict.fromkeys(i for op in self.subgraphs[place].operators for i in op.calls)
            found += [i for i in called if i not in found]
        return tuple(found)

    @property
    def macs(self) -> int:
        """Multiply-adds of one run (loop bodies and branches once), of the operators that are counted."""
        return sum(op.macs for op in self._run())

    @property
    def uncounted(self) -> dict[str, int]:
        """How often each kind of operator occurs in a run whose multiply-adds are not known."""
        return dict(collections.Counter(op.kind for op in self._run() if not op.counted))

    @property
    def peak_ram(self) -> int:
        """Bytes of activations that live at once, at most."""
        return max((op.live for op in self.main.operators), default=0)

    @property
    def float_operators(self) -> int:
        """How many operators read or make floats."""
        return sum(graph.is_float(op) for graph in self.subgraphs for op in graph.operators)

    def _run(self) -> Iterator[OperatorInfo]:
        return (op for place in self.reached for op in self.subgraphs[place].operators)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _ports(
    graph: Subgraph, indices: tuple[int, ...], named: Sequence[Mapping[str, int]], title: str
) -> dict[str, TensorInfo]:
    """Returns a tensor for each position, in order, by names of which none is there twice.

    Args:
      graph: The model.
      indices: Of its inputs or outputs; one may be there twice.
      named: What signatures of this subgraph call them.
      title: Of those without a name.
    """
    names: dict[int, list[str]] = {}
    for signature in named:
        for name, index in signature.items():
            names.setdefault(index, []).append(name)
    wanted = []
    for place, index in enumerate(indices):
        # A signature may call one tensor by several names, one for each time that it is given out.
        own = names.get(index, [graph.tensors[index].name])
        wanted.append((own.pop(0) if len(own) > 1 else own[0]) or f"{title}_{place}")
    ports: dict[str, TensorInfo] = {}
    taken, numbers = set(wanted), collections.Counter[str]()
    for name, index in zip(wanted, indices, strict=True):
        free = name
        while free in ports or (free != name and free in taken):
            numbers[name] += 1
            free = f"{name}_{numbers[name]}"
        ports[free] = graph.tensors[index]
    return ports


def _lines(info: Inspection) -> Iterator[str]:
    total = sum(info.histogram.values())
    yield f"{info.size:,} bytes, {info.parameters:,} parameters, {info.macs:,} multiply-adds"
    yield f"peak RAM of activations: {info.peak_ram:,} bytes"
    if widened := info.main.widened_bytes:
        yield f"constants that are widened once and kept: {widened:,} bytes more"
    yield from _reservations(info)
    yield f"operators: {total}, of which {total - info.float_operators} integer only"
    for kind, count in info.histogram.items():
        yield f"  {count:4d} {kind}"
    for title, ports in (("input", info.inputs), ("output", info.outputs)):
        for name, tensor in ports.items():
            yield f"{title} {name!r}: {_describe(tensor)}"
    if info.metadata:
        sizes = ", ".join(f"{name} ({len(data):,} bytes)" for name, data in info.metadata.items())
        yield f"metadata: {sizes}"
    yield f"signatures: {', '.join(map(repr, info.signatures)) or 'none'}"
    yield ""
    yield f"{'operator':24} {'output':44} {'shape':20} {'type':8} {'MACs':>13} {'live bytes':>11}"
    for place, graph in enumerate(info.subgraphs):
        if place:
            yield f"subgraph {place}, {graph.name!r}:"
        for op in graph.operators:
            first = graph.tensors[op.outputs[0]] if op.outputs else None
            shape = first.shape_text if first else ""
            name, dtype = (first.name, first.dtype) if first else ("", "")
            macs = f"{op.macs:,}" if op.counted else "?"
            yield (
                f"{op.kind[:24]:24} {name[-44:]:44} {shape:20} {dtype:8} {macs:>13} {op.live:11,}"
            )


def _reservations(info: Inspection) -> Iterator[str]:
    """Yields what the totals are not, or only for some sizes."""
    if stored := _stored_sizes(info.main):
        sizes = ", ".join(map(str, stored))
        yield f"? is a size that is not fixed: multiply-adds and RAM are for {sizes} in its place"
    if info.uncounted:
        kinds = ", ".join(f"{count} {kind}" for kind, count in info.uncounted.items())
        yield f"multiply-adds without those of operators of which they are not known: {kinds}"
    if others := [str(i) for i in range(len(info.subgraphs)) if i not in info.reached]:
        yield f"multiply-adds and RAM without subgraphs that the first does not call: {', '.join(others)}"


def _describe(tensor: TensorInfo) -> str:
    text = f"{tensor.dtype} {tensor.shape_text}"
    if tensor.scale.size == 1 and tensor.zero_point.size == 1:
        text += f", scale {tensor.scale[0]:.6g}, zero point {tensor.zero_point[0]}"
    return text


def _stored_sizes(graph: Subgraph) -> list[int]:
    """Returns what the file stores for sizes that are not fixed."""
    found = {t.shape[axis] for t in graph.tensors for axis in t.open_axes if axis < len(t.shape)}
    return sorted(found)
