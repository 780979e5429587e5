"""Flatbuffers of schemas that no package here brings: tables by their slots, packed."""

import dataclasses
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np


@dataclasses.dataclass(frozen=True)
class Scalar:
    """A number of a type that flatbuffers know: "int8", "uint8", "int32", "uint32" or "float32"."""

    dtype: str
    value: float


@dataclasses.dataclass(frozen=True)
class Aligned:
    """Bytes that start at a multiple of 16."""

    data: bytes


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: its fields by their position in the schema.

    Attributes:
      slots: A union takes two, its type as a `Scalar` and itself.
    """

    slots: "Mapping[int, str | Scalar | Aligned | np.ndarray | Table | Sequence[str | Table]]"


def pack_table(root: Table, identifier: bytes) -> bytes:
    """Returns the flatbuffer of a table.

    Args:
      root: It.
      identifier: Of the schema, 4 bytes.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, root), identifier)
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, table: Table) -> int:
    # What a table refers to is written before it.
    offsets = {
        slot: _offset(builder, value)
        for slot, value in table.slots.items()
        if not isinstance(value, Scalar)
    }
    builder.StartObject(max(table.slots, default=-1) + 1)
    for slot, value in table.slots.items():
        if isinstance(value, Scalar):
            prepend = getattr(builder, f"Prepend{value.dtype.capitalize()}Slot")
            prepend(slot, value.value if "float" in value.dtype else int(value.value), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, offsets[slot], 0)
    return builder.EndObject()


def _offset(
    builder: flatbuffers.Builder,
    value: "str | Aligned | np.ndarray | Table | Sequence[str | Table]",
) -> int:
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, Table):
        return _table(builder, value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, Aligned):
        builder.StartVector(1, len(value.data), 16)
        builder.head -= len(value.data)
        builder.Bytes[builder.head : builder.head + len(value.data)] = value.data
        return builder.EndVector()
    inner = [_offset(builder, item) for item in value]
    builder.StartVector(4, len(inner), 4)
    for offset in reversed(inner):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
