import struct

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from attokit.export.tables import Aligned, Scalar, Table, TableReader, pack_table


def test_a_model_of_the_schema_is_read_back():
    """The schema's generated classes are the oracle: slots are those of schema.fbs."""
    data = bytes(range(50))
    tensor = Table(
        {0: np.asarray([1, 2], np.int32), 1: Scalar("int8", 9), 2: Scalar("uint32", 1), 3: "x"}
    )
    graph = Table({0: [tensor, tensor], 4: "main"})
    buffers = [Table({}), Table({0: Aligned(data)})]
    packed = pack_table(
        Table({0: Scalar("uint32", 3), 2: [graph], 3: "words", 4: buffers}), b"TFL3"
    )  # fmt: skip
    assert packed[4:8] == b"TFL3"
    model = schema.ModelT.InitFromPackedBuf(packed, 0)
    assert (model.version, model.description) == (3, b"words")
    (found,) = model.subgraphs
    assert found.name == b"main"
    assert [t.name for t in found.tensors] == [b"x", b"x"]
    np.testing.assert_array_equal(found.tensors[0].shape, [1, 2])
    assert (found.tensors[0].type, found.tensors[0].buffer) == (9, 1)
    assert bytes(model.buffers[1].data) == data
    assert model.buffers[0].data is None
    assert packed.index(data) % 16 == 0


def test_numbers_keep_their_type():
    packed = pack_table(Table({0: Scalar("float32", 0.25), 1: Scalar("uint8", 200)}), b"TEST")
    position = flatbuffers.encode.Get(flatbuffers.packer.uoffset, packed, 0)
    table = flatbuffers.table.Table(packed, position)
    assert table.Get(flatbuffers.number_types.Float32Flags, table.Offset(4) + position) == 0.25
    assert table.Get(flatbuffers.number_types.Uint8Flags, table.Offset(6) + position) == 200
    assert struct.pack("<f", 0.25) in packed


def test_what_is_packed_is_read():
    inner = Table({0: Scalar("uint8", 7), 2: np.asarray([0.5, -1.0], np.float32)})
    packed = pack_table(Table({1: inner, 3: [inner, Table({})], 4: "hérisson"}), b"TEST")
    root = TableReader.of_root(packed)
    assert (root.text(4), root.text(2)) == ("hérisson", "")
    assert root.table(0) is None and root.tables(2) == [] and root.tables(9) == []
    for table in (root.table(1), root.tables(3)[0]):
        assert table.byte(0) == 7
        np.testing.assert_array_equal(table.floats(2), [0.5, -1.0])
    empty = root.tables(3)[1]
    assert empty.byte(0) == 0 and empty.floats(2).size == 0


def test_lists_do_not_end_behind_the_end():
    packed = pack_table(Table({0: np.asarray([0.5, -1.0], np.float32)}), b"TEST")
    place = packed.index(struct.pack("<If", 2, 0.5))
    damaged = packed[:place] + struct.pack("<I", 2**31) + packed[place + 4 :]
    with pytest.raises(ValueError, match="ends behind the end"):
        TableReader.of_root(damaged).floats(0)
