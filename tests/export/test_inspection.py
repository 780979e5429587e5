import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from foreign_files import ForeignFile

from attokit import export


def test_a_file_is_described(small, tmp_path):
    path = export.write(tmp_path / "model.tflite", small.file)
    info = export.inspect(path)
    assert info.size == len(small.file)
    assert info.macs == small.graph.macs()
    assert info.histogram["CONV_2D"] == 1
    assert info.inputs["input"].shape == (1, 9, 9, 3)
    # stem, bias, deep, head, and the zero biases that were written
    assert info.parameters == 216 + 8 + 72 + 40 + 8 + 5


def test_files_cut_short_are_named(small):
    for length in range(8, len(small.file) - 1, 97):
        with pytest.raises(ValueError, match="cut short or damaged"):
            export.inspect(small.file[:length])
    with pytest.raises(ValueError, match="is 3 bytes"):
        export.inspect(b"TFL")


def test_foreign_files_are_named(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07\x12\x05torch and more")
    with pytest.raises(ValueError, match=r"model\.onnx.* is no TFLite file: bytes 4 to 8"):
        export.inspect(path)
    with pytest.raises(ValueError, match="cannot read"):
        export.inspect(tmp_path / "missing.tflite")


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_give_an_answer_or_one_error(small, seed):
    random = np.random.default_rng(seed)
    for _ in range(100):
        data = bytearray(small.file)
        for position in random.integers(8, len(data), random.integers(1, 9)):
            data[position] = random.integers(256)
        try:
            str(export.inspect(bytes(data)))
        except ValueError as err:
            assert "damaged" in str(err)


def test_each_signature_names_tensors_of_its_own_subgraph():
    file = ForeignFile()
    for name in ("main", "other"):
        graph = file.graph(name)
        x, y, z = (graph.tensor(1, 4, name=f"{name}_{letter}") for letter in "xyz")
        graph.operator("SUB", [x, y], [z], schema.SubOptionsT())
        graph.inputs, graph.outputs = [x, y], [z]
    file.signature("serve", 0, {"first": 0, "second": 1}, {"result": 2})
    file.signature("other", 1, {"second": 0, "first": 1}, {"there": 2})
    info = export.inspect(file.written())
    assert list(info.inputs) == ["first", "second"]
    assert list(info.outputs) == ["result"]
    assert [s.subgraph for s in info.signatures.values()] == [0, 1]


def test_inputs_without_names_are_all_there():
    file = ForeignFile()
    graph = file.graph()
    x, y, z = (graph.tensor(1, 4) for _ in range(3))
    graph.operator("SUB", [x, y], [z], schema.SubOptionsT())
    graph.inputs, graph.outputs = [x, y], [z, z]
    data = file.written()
    assert list(export.inspect(data).inputs) == ["input_0", "input_1"]
    given = np.full((1, 4), 5, np.float32), np.full((1, 4), 2, np.float32)
    found = export.run(data, *given)
    assert list(found) == ["output_0", "output_1"]
    np.testing.assert_array_equal(found["output_1"], np.full((1, 4), 3, np.float32))
