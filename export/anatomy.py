"""The parts of a .tflite file as `inspect` returns them, and how they print."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_BIAS = {
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "TRANSPOSE_CONV": 3,
}  # its place
_NOTHING = memoryview(b"")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TensorInfo:
    """A tensor.

    Attributes:
      name: As stored; not always unique.
      shape: As stored; 1 stands for sizes that are not known yet.
      dtype: "int8", "float32", ….
      size: Bytes.
      constant: Whether the file holds its contents.
      scale: Empty if not quantized; one value, or one per entry of `axis`.
      zero_point: As many as scales.
      axis: Of the scales.
      static: Whether the file fixes every size.
      contents: What it holds of a constant, as bytes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    constant: bool
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int
    static: bool = True
    contents: memoryview = _NOTHING

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
    """

    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int
    live: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    custom_options: bytes = b""

    @property
    def present(self) -> tuple[int, ...]:
        """Positions of the inputs and outputs that are there."""
        return tuple(index for index in (*self.inputs, *self.outputs) if index >= 0)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Subgraph:
    """A subgraph: the first is the model, others are bodies of its control flow."""

    name: str
    tensors: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Number of weights, biases and constant operands."""
        found = {i for i, tensor in enumerate(self.tensors) if tensor.is_parameter}
        for op in self.operators:  # files for TFLite Micro have biases without scales
            place = _BIAS.get(op.kind, len(op.inputs))
            found |= {
                i for i in op.inputs[place : place + 1] if i >= 0 and self.tensors[i].constant
            }
        return sum(math.prod(self.tensors[i].shape) for i in found)

    def is_float(self, operator: OperatorInfo) -> bool:
        """Whether an operator reads or makes floats."""
        return any("float" in self.tensors[i].dtype for i in operator.present)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Inspection:
    """A file, read.

    Attributes:
      size: Bytes of the file.
      description: As stored.
      subgraphs: The model first.
      signatures: For each key, names and positions of inputs and of outputs.
      metadata: What it carries beside the model, by the name of the entry.
    """

    size: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: dict[str, tuple[dict[str, int], dict[str, int]]]
    metadata: dict[str, bytes] = dataclasses.field(default_factory=dict)

    @property
    def main(self) -> Subgraph:
        """The model itself."""
        return self.subgraphs[0]

    @property
    def inputs(self) -> dict[str, TensorInfo]:
        """Inputs by their name in the signature, or the tensor's; in the file's order."""
        return self._ports(self.main.inputs, 0)

    @property
    def outputs(self) -> dict[str, TensorInfo]:
        """Outputs likewise."""
        return self._ports(self.main.outputs, 1)

    @property
    def histogram(self) -> dict[str, int]:
        """How often each kind of operator occurs, the most frequent first."""
        kinds = collections.Counter(op.kind for graph in self.subgraphs for op in graph.operators)
        return dict(kinds.most_common())

    @property
    def parameters(self) -> int:
        """Number of weights, biases and constant operands."""
        return sum(graph.parameters for graph in self.subgraphs)

    @property
    def macs(self) -> int:
        """Multiply-adds of one run (loop bodies once)."""
        return sum(op.macs for graph in self.subgraphs for op in graph.operators)

    @property
    def peak_ram(self) -> int:
        """Bytes of activations that live at once, at most."""
        return max((op.live for op in self.main.operators), default=0)

    @property
    def float_operators(self) -> int:
        """How many operators read or make floats."""
        return sum(graph.is_float(op) for graph in self.subgraphs for op in graph.operators)

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _ports(self, indices: tuple[int, ...], side: int) -> dict[str, TensorInfo]:
        names = {}
        for signature in self.signatures.values():
            names.update({index: name for name, index in signature[side].items()})
        return {
            names.get(index, self.main.tensors[index].name): self.main.tensors[index]
            for index in indices
        }


def _lines(info: Inspection) -> Iterator[str]:
    total = sum(info.histogram.values())
    yield f"{info.size:,} bytes, {info.parameters:,} parameters, {info.macs:,} multiply-adds"
    yield f"peak RAM of activations: {info.peak_ram:,} bytes"
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
    for graph in info.subgraphs:
        for op in graph.operators:
            first = graph.tensors[op.outputs[0]] if op.outputs else None
            shape = "x".join(map(str, first.shape)) if first else ""
            name, dtype = (first.name, first.dtype) if first else ("", "")
            yield (
                f"{op.kind[:24]:24} {name[-44:]:44} {shape:20} {dtype:8} "
                f"{op.macs:13,} {op.live:11,}"
            )


def _describe(tensor: TensorInfo) -> str:
    text = f"{tensor.dtype} {'x'.join(map(str, tensor.shape))}"
    if tensor.scale.size == 1 and tensor.zero_point.size == 1:
        text += f", scale {tensor.scale[0]:.6g}, zero point {tensor.zero_point[0]}"
    return text
