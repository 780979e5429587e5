"""What is in a .tflite file, any of them: operators, tensors, cost, memory.

Only Python reads the bytes here, so a damaged file is an error and never a crash.
"""

import collections
import dataclasses
import math
import os
import pathlib
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import FILE_IDENTIFIER

_OPERATOR_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_TYPE_NAMES = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
_BITS = {
    "bfloat16": 16, "bool": 8, "complex128": 128, "complex64": 64, "float16": 16, "float32": 32,
    "float64": 64, "int16": 16, "int2": 2, "int32": 32, "int4": 4, "int64": 64, "int8": 8,
    "uint16": 16, "uint32": 32, "uint4": 4, "uint64": 64, "uint8": 8,
}  # fmt: skip
# What reading a damaged flatbuffer can raise, all of it.
_DAMAGE = (
    AttributeError, IndexError, KeyError, MemoryError, OverflowError, RecursionError, TypeError,
    UnicodeDecodeError, ValueError, struct.error,
)  # fmt: skip


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
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    constant: bool
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    @property
    def is_parameter(self) -> bool:
        """Whether this is a kernel, bias or constant operand rather than axes or shapes."""
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
    """

    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int
    live: int


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Subgraph:
    """A subgraph: the first is the model, others are bodies of its control flow."""

    name: str
    tensors: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def is_float(self, operator: OperatorInfo) -> bool:
        """Whether an operator reads or makes floats."""
        return any("float" in self.tensors[i].dtype for i in _present(operator))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Inspection:
    """A file, read.

    Attributes:
      size: Bytes of the file.
      description: As stored.
      subgraphs: The model first.
      signatures: For each key, names and positions of inputs and of outputs.
    """

    size: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: dict[str, tuple[dict[str, int], dict[str, int]]]

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
        return sum(
            math.prod(t.shape) for graph in self.subgraphs for t in graph.tensors if t.is_parameter
        )

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


def inspect(file: str | os.PathLike[str] | bytes) -> Inspection:
    """Returns what a .tflite file holds.

    Args:
      file: Its path, or its bytes.

    Raises:
      ValueError: if it is no TFLite file, or is cut short or damaged; says which.
    """
    data, name = read(file)
    if len(data) < 8:
        raise ValueError(f"{name} is {len(data)} bytes: no TFLite file is that short")
    if data[4:8] != FILE_IDENTIFIER:
        raise ValueError(
            f"{name} is no TFLite file: bytes 4 to 8 are {bytes(data[4:8])!r} where "
            f"{FILE_IDENTIFIER!r} belongs; give a .tflite file"
        )
    try:
        return _Reader(data).inspection()
    except _DAMAGE as err:
        raise ValueError(
            f"{name} ({len(data):,} bytes) is cut short or damaged: {err}; copy or export it again"
        ) from err


def read(file: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    """Returns a file's bytes and how to call it in messages."""
    if isinstance(file, bytes | bytearray | memoryview):
        return bytes(file), "the flatbuffer"
    try:
        return pathlib.Path(file).read_bytes(), repr(str(file))
    except OSError as err:
        raise ValueError(
            f"cannot read {str(file)!r}: {err.strerror or err}; check the path"
        ) from err


class _Reader:
    """Reads the parts that matter, with a bound on the work that a damaged file can ask for."""

    def __init__(self, data: bytes):
        self._data = data
        self._left = len(data)  # every table takes bytes, so there cannot be more of them

    def inspection(self) -> Inspection:
        model = schema.Model.GetRootAs(self._data, 0)
        self._model = model
        codes = [
            self._code(model.OperatorCodes(i)) for i in self._range(model.OperatorCodesLength())
        ]
        buffers = [self._buffer(model.Buffers(i)) for i in self._range(model.BuffersLength())]
        graphs = tuple(
            self._subgraph(model.Subgraphs(i), codes, buffers)
            for i in self._range(model.SubgraphsLength())
        )
        if not graphs:
            raise ValueError("it has no subgraph")
        return Inspection(
            size=len(self._data),
            description=_text(model.Description()),
            subgraphs=graphs,
            signatures=self._signatures(model, graphs),
        )

    def _range(self, count: int) -> range:
        self._left -= count
        if self._left < 0:
            raise ValueError("a list is longer than the file")
        return range(count)

    def _code(self, code: Any) -> tuple[str, int]:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = _OPERATOR_NAMES.get(number, f"operator {number}")
        return (_text(code.CustomCode()) or name if name == "CUSTOM" else name), code.Version()

    def _buffer(self, buffer: Any) -> int:
        """Returns how many bytes a buffer holds, in the file or behind it."""
        if buffer.Offset() > 1:
            start, size = buffer.Offset(), buffer.Size()
        else:
            size = buffer.DataLength()
            field = buffer._tab.Offset(4)
            start = buffer._tab.Vector(field) if size and field else 0
        if start + size > len(self._data):
            raise ValueError(f"a buffer of {size:,} bytes ends behind the end of the file")
        return size

    def _subgraph(self, graph: Any, codes: list[tuple[str, int]], buffers: list[int]) -> Subgraph:
        tensors = tuple(
            self._tensor(graph.Tensors(i), buffers) for i in self._range(graph.TensorsLength())
        )
        rows = []
        for i in self._range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            kind, version = codes[operator.OpcodeIndex()]
            inputs = self._indices(operator.Inputs, operator.InputsLength(), tensors, optional=True)
            outputs = self._indices(operator.Outputs, operator.OutputsLength(), tensors)
            macs = _macs(kind, operator, [tensors[i].shape if i >= 0 else () for i in inputs],
                         [tensors[i].shape for i in outputs])  # fmt: skip
            rows.append(
                OperatorInfo(
                    kind=kind, version=version, inputs=inputs, outputs=outputs, macs=macs, live=0
                )
            )
        inputs = self._indices(graph.Inputs, graph.InputsLength(), tensors)
        outputs = self._indices(graph.Outputs, graph.OutputsLength(), tensors)
        live = live_bytes(tensors, rows, inputs, outputs)
        return Subgraph(
            name=_text(graph.Name()),
            tensors=tensors,
            operators=tuple(
                dataclasses.replace(r, live=n) for r, n in zip(rows, live, strict=True)
            ),
            inputs=inputs,
            outputs=outputs,
        )

    def _indices(
        self, get: Callable[[int], int], count: int, tensors: tuple, *, optional: bool = False
    ) -> tuple[int, ...]:
        indices = tuple(int(get(i)) for i in self._range(count))
        for index in indices:
            if not (-1 if optional else 0) <= index < len(tensors):
                raise ValueError(f"there is no tensor {index} among {len(tensors)}")
        return indices

    def _tensor(self, tensor: Any, buffers: list[int]) -> TensorInfo:
        name, dtype = _text(tensor.Name()), _TYPE_NAMES.get(tensor.Type(), "unknown")
        shape = tuple(int(tensor.Shape(i)) for i in self._range(tensor.ShapeLength()))
        if any(n < 0 for n in shape):
            raise ValueError(f"tensor {name!r} has shape {shape}")
        size = (math.prod(shape) * _BITS.get(dtype, 0) + 7) // 8
        stored = buffers[tensor.Buffer()] if buffers else 0
        plain = tensor.Sparsity() is None and dtype in _BITS
        if stored and plain and size > stored:
            raise ValueError(f"tensor {name!r} of {size:,} bytes has a buffer of {stored:,}")
        quantization = tensor.Quantization()
        scale, zero_point, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if quantization is not None and quantization.ScaleLength():
            self._range(quantization.ScaleLength() + quantization.ZeroPointLength())
            scale = np.asarray(quantization.ScaleAsNumpy())
            if quantization.ZeroPointLength():
                zero_point = np.asarray(quantization.ZeroPointAsNumpy())
            axis = quantization.QuantizedDimension()
        return TensorInfo(
            name=name, shape=shape, dtype=dtype, size=size, constant=stored > 0,
            scale=scale, zero_point=zero_point, axis=axis,
        )  # fmt: skip

    def _signatures(
        self, model: Any, graphs: tuple[Subgraph, ...]
    ) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
        result = {}
        for i in self._range(model.SignatureDefsLength()):
            signature = model.SignatureDefs(i)
            graph = graphs[signature.SubgraphIndex()]
            sides = []
            for get, count in (
                (signature.Inputs, signature.InputsLength()),
                (signature.Outputs, signature.OutputsLength()),
            ):
                maps = [get(j) for j in self._range(count)]
                sides.append({_text(m.Name()): m.TensorIndex() for m in maps})
                if any(index >= len(graph.tensors) for index in sides[-1].values()):
                    raise ValueError("a signature names a tensor that is not there")
            result[_text(signature.SignatureKey())] = (sides[0], sides[1])
        return result


def live_bytes(
    tensors: tuple[TensorInfo, ...],
    operators: list[OperatorInfo],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
) -> list[int]:
    """Returns, for each operator, the bytes of the activations that exist while it runs.

    An activation lives from the operator that makes it (inputs: from the start) to the last that
    reads it (outputs: to the end).
    """
    born, dies = {index: 0 for index in inputs}, {}
    for i, operator in enumerate(operators):
        for index in operator.outputs:
            born.setdefault(index, i)
        for index in _present(operator):
            dies[index] = i
    dies.update({index: len(operators) - 1 for index in outputs})
    change = [0] * (len(operators) + 1)
    for index, last in dies.items():
        if index in born and not tensors[index].constant and operators:
            change[born[index]] += tensors[index].size
            change[last + 1] -= tensors[index].size
    total, result = 0, []
    for delta in change[:-1]:
        total += delta
        result.append(total)
    return result


def _present(operator: OperatorInfo) -> Iterator[int]:
    return (index for index in (*operator.inputs, *operator.outputs) if index >= 0)


def _macs(kind: str, operator: Any, inputs: list[tuple], outputs: list[tuple]) -> int:
    """Returns the multiply-adds of one operator."""
    if kind == "CONV_2D":  # kernel [o, kh, kw, i]
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if kind == "DEPTHWISE_CONV_2D":  # kernel [1, kh, kw, o]
        return math.prod(outputs[0]) * math.prod(inputs[1][1:3])
    if kind == "CONV_3D":  # kernel [kd, kh, kw, i, o]
        return math.prod(outputs[0]) * math.prod(inputs[1][:4])
    if kind == "FULLY_CONNECTED":  # kernel [n, k]
        return math.prod(outputs[0]) * inputs[1][-1]
    if kind == "TRANSPOSE_CONV":  # inputs: output shape, kernel [o, kh, kw, i], images
        return math.prod(inputs[2]) * math.prod(inputs[1][:3])
    if kind == "BATCH_MATMUL":
        options = schema.BatchMatMulOptions()
        table = operator.BuiltinOptions()
        if table is not None:
            options.Init(table.Bytes, table.Pos)
        transposed = table is not None and options.AdjX()
        return math.prod(outputs[0]) * inputs[0][-2 if transposed else -1]
    return 0


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", errors="replace")


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
