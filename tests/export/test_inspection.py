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


def _dense(file, batch, weights):
    """Adds a subgraph of one dense layer of 3 to 2 numbers, of a buffer of weights."""
    graph = file.graph()
    x, y = graph.tensor(batch, 3, name="x"), graph.tensor(batch, 2, name="y")
    kernel = graph.tensor(2, 3, name="kernel", buffer=weights)
    graph.operator("FULLY_CONNECTED", [x, kernel, -1], [y], schema.FullyConnectedOptionsT())
    graph.inputs, graph.outputs = [x], [y]
    return graph


def test_subgraphs_of_other_signatures_share_weights_and_are_not_run():
    file = ForeignFile()
    weights = file.buffer(np.ones((2, 3), np.float32))
    for place, (key, batch) in enumerate((("decode", 1), ("prefill", 8))):
        _dense(file, batch, weights)
        file.signature(key, place, {"x": 0}, {"y": 1})
    info = export.inspect(file.written())
    assert (info.parameters, info.macs, info.reached) == (6, 6, (0,))
    assert "multiply-adds and RAM without subgraphs that the first does not call: 1" in str(info)


def test_weights_that_two_layers_share_are_counted_once():
    file = ForeignFile()
    weights = file.buffer(np.ones((2, 3), np.float32))
    graph = _dense(file, 1, weights)
    z, again = graph.tensor(1, 2), graph.tensor(2, 3, buffer=weights)
    graph.operator("FULLY_CONNECTED", [0, again, -1], [z], schema.FullyConnectedOptionsT())
    info = export.inspect(file.written())
    assert (info.parameters, info.macs) == (6, 12)


@pytest.mark.parametrize(
    ("kind", "options", "macs"),
    [
        ("IF", schema.IfOptionsT(thenSubgraphIndex=1, elseSubgraphIndex=2), 6 + 12),
        ("CALL_ONCE", schema.CallOnceOptionsT(initSubgraphIndex=2), 12),
        ("STABLEHLO_COMPOSITE", schema.StableHLOCompositeOptionsT(decompositionSubgraphIndex=1), 6),
    ],
)
def test_what_operators_call_is_part_of_a_run(kind, options, macs):
    file = ForeignFile()
    graph = file.graph()
    x, y = graph.tensor(1, 3), graph.tensor(1, 2)
    graph.operator(kind, [x], [y], options)
    graph.inputs, graph.outputs = [x], [y]
    weights = file.buffer(np.ones((2, 3), np.float32))
    _dense(file, 1, weights), _dense(file, 2, weights), _dense(file, 4, weights)
    info = export.inspect(file.written())
    assert info.macs == macs
    assert 3 not in info.reached


def test_an_operator_that_calls_what_is_not_there():
    file = ForeignFile()
    file.graph().operator("CALL_ONCE", [], [], schema.CallOnceOptionsT(initSubgraphIndex=7))
    with pytest.raises(ValueError, match="CALL_ONCE calls subgraph 7 of 1"):
        export.inspect(file.written())


def test_float16_weights_are_no_activations():
    file = ForeignFile()
    graph = file.graph()
    x, y, wide = graph.tensor(1, 3), graph.tensor(1, 2), graph.tensor(2, 3)
    half = graph.tensor(2, 3, dtype="float16", data=np.ones((2, 3), np.float16))
    graph.operator("DEQUANTIZE", [half], [wide], schema.DequantizeOptionsT())
    graph.operator("FULLY_CONNECTED", [x, wide, -1], [y], schema.FullyConnectedOptionsT())
    graph.inputs, graph.outputs = [x], [y]
    info = export.inspect(file.written())
    assert (info.parameters, info.peak_ram) == (6, 12 + 8)
    assert "constants that are widened once and kept: 24 bytes more" in str(info)


def test_operators_that_are_not_counted_are_marked():
    file = ForeignFile()
    graph = _dense(file, 1, file.buffer(np.ones((2, 3), np.float32)))
    graph.operator("Convolution2DTransposeBias", [0, 2], [graph.tensor(1, 2)])
    info = export.inspect(file.written())
    assert (info.macs, info.uncounted) == (6, {"Convolution2DTransposeBias": 1})
    text = str(info)
    assert "of which they are not known: 1 Convolution2DTransposeBias" in text
    assert text.splitlines()[-1].split()[-2] == "?"
