import numpy as np
import pytest

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
