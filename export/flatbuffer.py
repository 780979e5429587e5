"""An object graph of a TFLite model, and the bytes it becomes.

Tensors and operators refer to each other as objects; indices exist only inside `build`.  The
schema's own classes do the packing; the builder beneath them stores equal vectors and strings once,
which keeps files small: the zero points of all kernels of one width are one vector of zeros.
"""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FILE_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_DATA_ALIGNMENT = 16  # the schema's force_align of buffer data; kernels read it in place
_LARGEST_DEPRECATED_CODE = 127  # operators beyond it exist only in the newer field

TYPES = {
    "bool": schema.TensorType.BOOL,
    "float32": schema.TensorType.FLOAT32,
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "uint8": schema.TensorType.UINT8,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (integer - zero_point), per tensor or along one axis.

    Attributes:
      scale: float32 [1], or one value per entry of the axis.
      zero_point: int64, as many.
      axis: Which axis; 0 where there is one scale.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int = 0


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Tensor:
    """A tensor of the file.

    Attributes:
      name: What tools show.
      shape: Static.
      dtype: A key of `TYPES`.
      data: Contents of a constant (int8 for "int4"), None for activations.
      quantization: None for float32, and for integers that are counts (axes, shapes).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: np.ndarray | None = None
    quantization: Quantization | None = None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Operator:
    """An operator.

    Attributes:
      code: `schema.BuiltinOperator`'s member.
      version: The lowest that has the form in use.
      options: The schema's options object ("AddOptionsT"), or None.
      inputs: In the operator's order.
      outputs: Likewise.
      custom: Name of one that is not built in (then `code` is CUSTOM), or "".
      custom_options: Its options, a flexbuffer.
    """

    code: int
    version: int
    options: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    custom: str = ""
    custom_options: bytes = b""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """One subgraph with one signature.

    Attributes:
      operators: In execution order.
      inputs: (name in the signature, tensor), in order.
      outputs: Likewise.
      signature: The signature's key.
      description: Free text.
      metadata: Texts or bytes by the name of their entry.
      names: Whether tensors keep their names; inputs and outputs have theirs in the signature.
      bare: Whether what TFLite Micro can do without is left out: names, all but one of the equal zero points of
        a kernel's channels, and options that say what goes without saying.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[tuple[str, Tensor], ...]
    signature: str
    description: str
    metadata: Mapping[str, str | bytes] = dataclasses.field(default_factory=dict)
    names: bool = True
    bare: bool = False


def build(model: Model) -> bytes:
    """Returns the model's file; the same model gives the same bytes."""
    tensors, index = _numbered(_tensors(model))
    buffers, buffer_of = _buffers(tensors)
    once = _Once()
    codes, code_of = _operator_codes(model.operators)
    entries = _metadata(model.metadata, buffers)
    packed = schema.ModelT(
        version=_SCHEMA_VERSION,
        operatorCodes=codes,
        subgraphs=[
            schema.SubGraphT(
                tensors=[
                    _pack_tensor(tensor, buffer_of[tensor], once, model) for tensor in tensors
                ],
                inputs=_indices(index, [tensor for _, tensor in model.inputs]),
                outputs=_indices(index, [tensor for _, tensor in model.outputs]),
                operators=[
                    _pack_operator(operator, index, code_of, once, model.bare)
                    for operator in model.operators
                ],
                name="main",
            )
        ],
        description=model.description,
        buffers=buffers,
        metadata=entries,
        signatureDefs=[
            schema.SignatureDefT(
                inputs=_signature(index, model.inputs),
                outputs=_signature(index, model.outputs),
                signatureKey=model.signature,
                subgraphIndex=0,
            )
        ],
    )
    return pack(packed, sum(len(buffer.data) for buffer in buffers if buffer.data is not None))


def pack(model: schema.ModelT, size_hint: int = 0) -> bytes:
    """Returns the bytes of a model in the schema's own objects.

    Args:
      model: Of `schema_py_generated`.
      size_hint: About how many bytes its constants take.
    """
    builder = _SharingBuilder(size_hint + (1 << 16))
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


class _Packed:
    """An object of the schema that a file holds once, however many others refer to it."""

    def __init__(self, content: Any):
        self._content = content
        self._offset: int | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:
        if self._offset is None:
            self._offset = self._content.Pack(builder)
        return self._offset


class _Once:
    """Finds an equal object of the schema among those that a file holds already.

    Most tensors and operators of an unrolled loop have the scale and the options of others, and what runtimes
    number is the list of tensors: two of its entries may be one table.
    """

    def __init__(self) -> None:
        self._known: dict[tuple, _Packed] = {}

    def __call__(self, content: Any) -> _Packed:
        """Returns what stands for an object of the schema; objects inside of it have been here, too."""
        fields = sorted(vars(content).items())
        key = (type(content).__name__, *((name, _hashable(value)) for name, value in fields))
        return self._known.setdefault(key, _Packed(content))


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tobytes()
    return tuple(value) if isinstance(value, list) else value


class _SharingBuilder(flatbuffers.Builder):
    """Stores equal vectors and equal strings once; aligns byte vectors as kernels want them."""

    def __init__(self, size: int):
        super().__init__(size)
        self._offsets: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._offsets:
            if x.dtype == np.uint8:
                self.assertNotNested()
                self.Prep(_DATA_ALIGNMENT, x.size)
            self._offsets[key] = super().CreateNumpyVector(x)
        return self._offsets[key]

    def CreateString(self, s: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        text = s.encode(encoding, errors) if isinstance(s, str) else s
        if ("string", text) not in self._offsets:
            self._offsets["string", text] = super().CreateString(text)
        return self._offsets["string", text]


def _tensors(model: Model) -> list[Tensor]:
    """Returns every tensor once: inputs first, then in the order of use."""
    order = dict.fromkeys(tensor for _, tensor in model.inputs)
    for operator in model.operators:
        order.update(dict.fromkeys((*operator.inputs, *operator.outputs)))
    order.update(dict.fromkeys(tensor for _, tensor in model.outputs))
    return list(order)


def _numbered(tensors: list[Tensor]) -> tuple[list[Tensor], dict[Tensor, int]]:
    """Returns the tensors that the file holds, and the position of each that was given.

    Constants that differ in nothing but their name are one tensor: a runtime keeps a record of each
    tensor in memory, and an unrolled loop has the same constants in every step.
    """
    held: list[Tensor] = []
    index: dict[Tensor, int] = {}
    seen: dict[tuple, int] = {}
    for tensor in tensors:
        place = len(held)
        if tensor.data is not None:
            place = seen.setdefault(_contents(tensor), place)
        if place == len(held):
            held.append(tensor)
        index[tensor] = place
    return held, index


def _contents(tensor: Tensor) -> tuple:
    """Returns all that a constant is, but its name."""
    assert tensor.data is not None
    own = (tensor.shape, tensor.dtype, _bytes(tensor.data, _held_type(tensor)))
    scales = tensor.quantization
    if scales is None:
        return own
    return (*own, scales.scale.tobytes(), scales.zero_point.tobytes(), scales.axis)


def _held_type(tensor: Tensor) -> str:
    return "int8" if tensor.dtype == "int4" else tensor.dtype


def _buffers(tensors: list[Tensor]) -> tuple[list[schema.BufferT], dict[Tensor, int]]:
    """Returns the buffers, equal contents once, and which one each tensor uses.

    Buffer 0 is empty by the schema's convention and stands for activations.
    """
    buffers, place, seen = [schema.BufferT()], {}, {}
    for tensor in tensors:
        if tensor.data is None:
            place[tensor] = 0
            continue
        raw = _packed(tensor.data) if tensor.dtype == "int4" else _bytes(tensor.data, tensor.dtype)
        if raw not in seen:
            seen[raw] = len(buffers)
            buffers.append(schema.BufferT(data=np.frombuffer(raw, np.uint8)))
        place[tensor] = seen[raw]
    return buffers, place


def _metadata(
    contents: Mapping[str, str | bytes], buffers: list[schema.BufferT]
) -> list[schema.MetadataT] | None:
    """Returns the entries of metadata, whose contents are added to the buffers; None if there are none."""
    entries = []
    for name, content in contents.items():
        data = content.encode() if isinstance(content, str) else content
        entries.append(schema.MetadataT(name=name, buffer=len(buffers)))
        buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
    return entries or None


def _bytes(data: np.ndarray, dtype: str) -> bytes:
    return np.ascontiguousarray(data, np.dtype(dtype).newbyteorder("<")).tobytes()


def _packed(data: np.ndarray) -> bytes:
    """Returns integers in [-8, 7] two to a byte, the first in the lower half."""
    flat = data.reshape(-1).astype(np.uint8) & 15
    flat = np.concatenate([flat, np.zeros(flat.size % 2, np.uint8)])
    return (flat[::2] | flat[1::2] << 4).tobytes()


def _operator_codes(
    operators: tuple[Operator, ...],
) -> tuple[list[schema.OperatorCodeT], dict[tuple[int, int, str], int]]:
    """Returns the list of (operator, version, own name) in use, and the position of each.

    The most frequent comes first: a field that is 0 takes no bytes.
    """
    counts = collections.Counter((o.code, o.version, o.custom) for o in operators)
    place = {kind: i for i, (kind, _) in enumerate(counts.most_common())}
    codes = [
        schema.OperatorCodeT(
            deprecatedBuiltinCode=min(code, _LARGEST_DEPRECATED_CODE),
            builtinCode=code,
            version=version,
            customCode=custom or None,
        )
        for code, version, custom in place
    ]
    return codes, place


def _pack_tensor(tensor: Tensor, buffer: int, once: _Once, model: Model) -> _Packed:
    quantization = None
    if tensor.quantization is not None:
        zero_point = tensor.quantization.zero_point.astype(np.int64)
        if model.bare and (zero_point == zero_point[0]).all():
            zero_point = zero_point[:1]
        quantization = once(
            schema.QuantizationParametersT(
                scale=tensor.quantization.scale.astype(np.float32),
                zeroPoint=zero_point,
                quantizedDimension=tensor.quantization.axis,
            )
        )
    return once(
        schema.TensorT(
            shape=np.asarray(tensor.shape, np.int32),
            type=TYPES[tensor.dtype],
            buffer=buffer,
            name=tensor.name if model.names and not model.bare else None,
            quantization=quantization,
            hasRank=not tensor.shape,  # tells a scalar from an unknown shape
        )
    )


def _pack_operator(
    operator: Operator,
    index: dict[Tensor, int],
    code_of: dict[tuple[int, int, str], int],
    once: _Once,
    bare: bool,
) -> schema.OperatorT:
    options_type, options = schema.BuiltinOptions.NONE, None
    if operator.options is not None and not (bare and _is_usual(operator)):
        name = type(operator.options).__name__.removesuffix("T")
        options_type, options = getattr(schema.BuiltinOptions, name), once(operator.options)
    return schema.OperatorT(
        opcodeIndex=code_of[operator.code, operator.version, operator.custom],
        inputs=_indices(index, operator.inputs),
        outputs=_indices(index, operator.outputs),
        builtinOptionsType=options_type,
        builtinOptions=options,
        customOptions=np.frombuffer(operator.custom_options, np.uint8) if operator.custom else None,
    )


def _is_usual(operator: Operator) -> bool:
    """Whether an operator's options are what runtimes take for granted; not so of int16, which has more of them."""
    return (
        isinstance(operator.options, schema.AddOptionsT | schema.MulOptionsT | schema.SubOptionsT)
        and operator.options.fusedActivationFunction == schema.ActivationFunctionType.NONE
        and all(tensor.dtype != "int16" for tensor in operator.inputs)
    )


def _indices(index: dict[Tensor, int], tensors: Any) -> np.ndarray:
    return np.asarray([index[tensor] for tensor in tensors], np.int32)


def _signature(
    index: dict[Tensor, int], named: tuple[tuple[str, Tensor], ...]
) -> list[schema.TensorMapT]:
    return [schema.TensorMapT(name=name, tensorIndex=index[tensor]) for name, tensor in named]
