import jax
import numpy as np
import pytest

from attokit import export


@pytest.mark.parametrize("quantized", [True, False])
def test_logits_leave_as_probabilities(small, quantized):
    qparams = small.qparams if quantized else None
    plain = export.to_tflite(small.graph, small.weights, qparams)
    file = export.to_tflite(small.graph, small.weights, qparams, probabilities=True)
    logits = export.run(plain, small.images, dequantize=True)["output"]
    found = export.run(file, small.images)["output"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=1e-6)
    assert export.inspect(file).histogram["SOFTMAX"] == 1
    report = export.verify(file, small.graph, small.weights, qparams, small.images)
    assert report.ok
    assert report.rows[-1].allowed == 1e-5


def test_other_types_are_refused(small):
    with pytest.raises(ValueError, match="probabilities are float32"):
        export.to_tflite(
            small.graph, small.weights, small.qparams, probabilities=True, output_type="int8"
        )
