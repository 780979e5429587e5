import numpy as np
import pytest
from made_files import CODES, Tensor, schema, step, written

from attokit import export
from attokit.export.comparison import compare


def test_a_file_equals_itself(small):
    found = compare(small.file, small.file, count=2)
    assert found.same_graph and found.equal
    assert "the same operators in the same order" in str(found)
    assert "0 of 10 elements differ" in str(found)


def test_ends_of_other_types_are_given_the_same_reals(small):
    other = export.to_tflite(
        small.graph, small.weights, small.qparams, input_type="float32", output_type="uint8"
    )
    found = compare(small.file, other, count=3)
    assert not found.same_graph and found.equal
    assert any(line.startswith("+ QUANTIZE v1") for line in found.operators)
    assert compare(other, small.file, count=3).equal


def test_what_differs_is_measured(small):
    floats = export.to_tflite(small.graph, small.weights)
    found = compare(small.file, floats, count=4)
    (output,) = found.outputs
    assert output.elements == 20
    assert 0 < output.mean <= output.largest < output.span
    values = [export.run(f, x, kernels="reference", dequantize=True)["output"] for f, x in (
        (small.file, small.images), (floats, small.images),
    )]  # fmt: skip
    scale = next(iter(export.inspect(small.file).outputs.values())).scale[0]
    assert np.abs(values[0] - values[1]).max() < 20 * scale
    assert output.largest < 20 * scale
    assert "operators on float" in str(found)


def test_other_shapes_are_not_run(small):
    from coral_networks import convolved, network, weights_of

    net = network(lambda v, x: convolved(x, v["k"]), weights_of(k=(1, 1, 3, 4)), 4, 4, 3)
    found = compare(small.file, export.to_tflite(net.graph, net.weights, net.qparams))
    assert found.outputs is None and not found.equal
    assert "nothing was run" in str(found)
    with pytest.raises(ValueError, match="count is 0"):
        compare(small.file, small.file, count=0)


def _clipped(most: int) -> bytes:
    """Returns the file of a network of a camera's bytes, in which these have no scale."""
    x = Tensor(name="x", shape=(1, 4, 4, 1), dtype="uint8")
    wide, end = (Tensor(name=n, shape=x.shape, dtype="int32") for n in ("wide", "end"))
    top = Tensor(name="top", shape=(1,), dtype="int32", data=np.int32([most]))
    least = schema.MaximumMinimumOptionsT()
    return written([x], [
        step(CODES.CAST, (x,), wide, schema.CastOptionsT()),
        step(CODES.MINIMUM, (wide, top), end, least),
    ])  # fmt: skip


def test_bytes_of_images_need_no_scale():
    assert not compare(_clipped(300), _clipped(10)).equal
    assert compare(_clipped(300), _clipped(255)).equal


def test_no_number_equals_itself():
    x, end = (Tensor(name=n, shape=(1, 4), dtype="float32") for n in ("x", "end"))
    below = Tensor(name="below", shape=(1,), dtype="float32", data=np.float32([-2]))
    total = Tensor(name="total", shape=(1, 4), dtype="float32")
    file = written([x], [
        step(CODES.ADD, (x, below), total, schema.AddOptionsT()),
        step(CODES.LOG, (total,), end),
    ])  # fmt: skip
    assert np.isnan(export.run(file, np.zeros((1, 4), np.float32))["end"]).all()
    assert compare(file, file).equal


def test_a_row_of_numbers_is_no_batch():
    x, end = (Tensor(name=n, shape=(6,), dtype="float32") for n in ("x", "end"))
    file = written([x], [step(CODES.FLOOR, (x,), end)])
    found = compare(file, file, count=4)
    assert found.equal and found.images == 1
    assert found.outputs[0].elements == 6
