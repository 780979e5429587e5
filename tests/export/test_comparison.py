import numpy as np
import pytest

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
