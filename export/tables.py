"""Flatbuffers of schemas that no package here brings: tables by their slots, packed and read."""

import dataclasses
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table as _Bytes


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


@dataclasses.dataclass(frozen=True)
class TableReader:
    """A table in bytes, its fields by their position in the schema. Damaged bytes raise whatever they raise."""

    _table: _Bytes

    @classmethod
    def of_root(cls, data: bytes) -> "TableReader":
        """Returns the outermost table of a flatbuffer."""
        start = flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0)
        return cls(_Bytes(bytearray(data), start))

    def byte(self, slot: int) -> int:
        """Returns a field of 8 bits, such as the type of a union; 0 if it is not there."""
        place = self._place(slot)
        return int(self._table.Get(number_types.Uint8Flags, place)) if place else 0

    def text(self, slot: int) -> str:
        """Returns a field that is a string, empty if it is not there."""
        place = self._place(slot)
        return bytes(self._table.String(place)).decode() if place else ""

    def table(self, slot: int) -> "TableReader | None":
        """Returns a field that is a table."""
        place = self._place(slot)
        return None if not place else TableReader(self._at(self._table.Indirect(place)))

    def tables(self, slot: int) -> "list[TableReader]":
        """Returns a field that is a list of tables, empty if it is not there."""
        start, count = self._vector(slot, 4)
        places = (self._table.Indirect(start + 4 * i) for i in range(count))
        return [TableReader(self._at(place)) for place in places]

    def floats(self, slot: int) -> np.ndarray:
        """Returns a field that is a list of float32, empty if it is not there."""
        start, count = self._vector(slot, 4)
        return np.frombuffer(self._table.Bytes, "<f4", count, start).astype(np.float32)

    def _place(self, slot: int) -> int:
        """Returns where a field is in the bytes, 0 if it is not there."""
        offset = self._table.Offset(4 + 2 * slot)
        return offset + self._table.Pos if offset else 0

    def _vector(self, slot: int, width: int) -> tuple[int, int]:
        """Returns where a list starts, and its length."""
        offset = self._table.Offset(4 + 2 * slot)
        if not offset:
            return 0, 0
        start, count = self._table.Vector(offset), self._table.VectorLen(offset)
        if start + width * count > len(self._table.Bytes):
            raise ValueError(f"a list of {count:,} entries ends behind the end")
        return start, count

    def _at(self, place: int) -> _Bytes:
        return _Bytes(self._table.Bytes, place)
