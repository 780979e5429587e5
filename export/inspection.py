"""Reads a .tflite file, any of them: operators, tensors, cost, memory.

Only Python reads the bytes here, so a damaged file is an error and never a crash.
"""

import dataclasses
import math
import os
import pathlib
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export import cost
from attokit.export.anatomy import Inspection, OperatorInfo, Signature, Subgraph, TensorInfo
from attokit.export.flatbuffer import FILE_IDENTIFIER

OPERATOR_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_OPTION_NAMES, _OPTION_NAMES_2 = (
    {v: k for k, v in vars(union).items() if not k.startswith("_")}
    for union in (schema.BuiltinOptions, schema.BuiltinOptions2)
)
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
            metadata=self._metadata(model, buffers),
        )

    def _range(self, count: int) -> range:
        self._left -= count
        if self._left < 0:
            raise ValueError("a list is longer than the file")
        return range(count)

    def _code(self, code: Any) -> tuple[str, int]:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = OPERATOR_NAMES.get(number, f"operator {number}")
        return (_text(code.CustomCode()) or name if name == "CUSTOM" else name), code.Version()

    def _buffer(self, buffer: Any) -> memoryview:
        """Returns the bytes that a buffer holds, in the file or behind it."""
        if buffer.Offset() > 1:
            start, size = buffer.Offset(), buffer.Size()
        else:
            size = buffer.DataLength()
            field = buffer._tab.Offset(4)
            start = buffer._tab.Vector(field) if size and field else 0
        if start + size > len(self._data):
            raise ValueError(f"a buffer of {size:,} bytes ends behind the end of the file")
        return memoryview(self._data)[start : start + size]

    def _metadata(self, model: Any, buffers: list[memoryview]) -> dict[str, bytes]:
        """Returns the entries by name; what lies behind the file's tables is left out."""
        entries = {}
        for i in self._range(model.MetadataLength()):
            entry = model.Metadata(i)
            index = entry.Buffer()
            if index >= len(buffers):
                raise ValueError(f"an entry of metadata is in buffer {index} of {len(buffers)}")
            buffer = model.Buffers(index)
            size = buffer.DataLength()
            self._range(size)  # entries may share a buffer, which must not cost more than the file
            entries[_text(entry.Name())] = bytes(buffer.DataAsNumpy()) if size else b""
        return entries

    def _subgraph(
        self, graph: Any, codes: list[tuple[str, int]], buffers: list[memoryview]
    ) -> Subgraph:
        tensors = tuple(
            self._tensor(graph.Tensors(i), buffers) for i in self._range(graph.TensorsLength())
        )
        rows = []
        for i in self._range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            kind, version = codes[operator.OpcodeIndex()]
            inputs = self._indices(operator.Inputs, operator.InputsLength(), tensors, optional=True)
            outputs = self._indices(operator.Outputs, operator.OutputsLength(), tensors)
            macs = cost.multiply_adds(kind, operator, [tensors[i].shape if i >= 0 else () for i in inputs],
                         [tensors[i].shape for i in outputs])  # fmt: skip
            options = self._options(operator)
            rows.append(
                OperatorInfo(
                    kind=kind,
                    version=version,
                    inputs=inputs,
                    outputs=outputs,
                    macs=macs,
                    live=0,
                    options=options,
                    custom_options=self._custom_options(operator),
                    calls=self._calls(kind, options),
                    counted=cost.is_counted(kind),
                )
            )
        inputs = self._indices(graph.Inputs, graph.InputsLength(), tensors)
        outputs = self._indices(graph.Outputs, graph.OutputsLength(), tensors)
        live = cost.live_bytes(tensors, rows, inputs, outputs)
        return Subgraph(
            name=_text(graph.Name()),
            tensors=tensors,
            operators=tuple(
                dataclasses.replace(r, live=n) for r, n in zip(rows, live, strict=True)
            ),
            inputs=inputs,
            outputs=outputs,
        )

    def _options(self, operator: Any) -> dict[str, Any]:
        """Returns the options of a built-in operator by the schema's names; none of other kinds."""
        places = (  # newer kinds have theirs in the second
            (_OPTION_NAMES.get(operator.BuiltinOptionsType()), operator.BuiltinOptions()),
            (_OPTION_NAMES_2.get(operator.BuiltinOptions2Type()), operator.BuiltinOptions2()),
        )
        for name, table in places:
            if name not in (None, "NONE") and table is not None:
                options = getattr(schema, name)()
                options.Init(table.Bytes, table.Pos)
                found = vars(getattr(schema, f"{name}T").InitFromObj(options))
                self._range(sum(np.size(value) for value in found.values()))
                return dict(found)
        return {}

    def _calls(self, kind: str, options: dict[str, Any]) -> tuple[int, ...]:
        """Returns the positions of the subgraphs that an operator with these options runs."""
        fields = [
            value
            for name, value in options.items()
            if name == "subgraph" or name.endswith(("SubgraphIndex", "SubgraphIndices"))
        ]
        calls = tuple(int(i) for value in fields for i in np.ravel(value) if i >= 0)
        count = self._model.SubgraphsLength()
        if any(i >= count for i in calls):
            raise ValueError(f"{kind} calls subgraph {max(calls)} of {count}")
        return calls

    def _custom_options(self, operator: Any) -> bytes:
        self._range(operator.CustomOptionsLength())  # operators may share them
        return bytes(operator.CustomOptionsAsNumpy()) if operator.CustomOptionsLength() else b""

    def _indices(
        self, get: Callable[[int], int], count: int, tensors: tuple, *, optional: bool = False
    ) -> tuple[int, ...]:
        indices = tuple(int(get(i)) for i in self._range(count))
        for index in indices:
            if not (-1 if optional else 0) <= index < len(tensors):
                raise ValueError(f"there is no tensor {index} among {len(tensors)}")
        return indices

    def _tensor(self, tensor: Any, buffers: list[memoryview]) -> TensorInfo:
        name, dtype = _text(tensor.Name()), _TYPE_NAMES.get(tensor.Type(), "unknown")
        shape = tuple(int(tensor.Shape(i)) for i in self._range(tensor.ShapeLength()))
        if any(n < 0 for n in shape):
            raise ValueError(f"tensor {name!r} has shape {shape}")
        size = (math.prod(shape) * _BITS.get(dtype, 0) + 7) // 8
        contents = buffers[tensor.Buffer()] if buffers else memoryview(b"")
        stored = len(contents)
        signature = tuple(
            int(tensor.ShapeSignature(i)) for i in self._range(tensor.ShapeSignatureLength())
        )
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
            scale=scale, zero_point=zero_point, axis=axis, signature=signature, contents=contents,
            buffer=tensor.Buffer() if stored else 0,
        )  # fmt: skip

    def _signatures(self, model: Any, graphs: tuple[Subgraph, ...]) -> dict[str, Signature]:
        result = {}
        for i in self._range(model.SignatureDefsLength()):
            signature = model.SignatureDefs(i)
            position = int(signature.SubgraphIndex())
            sides = []
            for get, count in (
                (signature.Inputs, signature.InputsLength()),
                (signature.Outputs, signature.OutputsLength()),
            ):
                maps = [get(j) for j in self._range(count)]
                sides.append({_text(m.Name()): m.TensorIndex() for m in maps})
                if any(index >= len(graphs[position].tensors) for index in sides[-1].values()):
                    raise ValueError("a signature names a tensor that is not there")
            result[_text(signature.SignatureKey())] = Signature(
                subgraph=position, inputs=sides[0], outputs=sides[1]
            )
        return result


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", errors="replace")
