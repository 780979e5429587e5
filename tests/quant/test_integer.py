import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal, variables_of

from attokit import export, quant
from attokit.export.run import to_file


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, y):
        x = nn.relu(nn.Conv(5, (3, 3))(x))
        x = nn.tanh(x) + y
        return {"classes": nn.softmax(nn.Dense(3)(x.mean((1, 2)))), "positive": x > 0}


X, Y = jnp.abs(normal(3, 6, 6, 2)) / 4, normal(3, 1, 1, 5)
MODEL = Net()
GRAPH, WEIGHTS = quant.trace(MODEL.apply, variables_of(MODEL, X, Y), X, Y)
QPARAMS = quant.calibrate(GRAPH, WEIGHTS, [(X, Y)], input_range=None)


@pytest.mark.parametrize(
    ("kernels", "interface"),
    [("reference", "int8"), ("micro", "uint8"), ("xnnpack", "float32")],
)
def test_it_equals_the_file(kernels, interface):
    target = "micro" if kernels == "micro" else "android"
    file = export.to_tflite(
        GRAPH, WEIGHTS, QPARAMS, input_type=interface, output_type=interface, target=target
    )
    run = quant.integer(
        GRAPH, WEIGHTS, QPARAMS, kernels=kernels, input_type=interface, output_type=interface
    )
    ports = export.inspect(file).inputs
    inputs = [
        to_file(n, t, np.asarray(v)) if interface != "float32" else np.asarray(v)
        for (n, t), v in zip(ports.items(), (X, Y), strict=True)
    ]
    got, wanted = run(*inputs), export.run(file, *inputs, kernels=kernels)
    assert got["classes"].dtype == interface
    assert got["positive"].dtype == np.bool_
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array)


@pytest.mark.slow
def test_any_batch_will_do():
    run = quant.integer(GRAPH, WEIGHTS, QPARAMS, input_type="float32")
    whole, part = run(X, Y), run(X[:1], Y[:1])
    np.testing.assert_array_equal(whole["classes"][:1], part["classes"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kernels": "fast"}, "no kernel set 'fast'"),
        ({"input_type": "int64"}, "input_type 'int64' is none of"),
        ({"output_type": "int64"}, "output_type 'int64' is none of"),
        ({"input_type": "int16"}, "input_type 'int16' does not fit 'input_0', which has 8 bits"),
    ],
)
def test_unknown_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        quant.integer(GRAPH, WEIGHTS, QPARAMS, **options)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="weight 'Conv_0/kernel' is missing"):
        quant.integer(GRAPH, {}, QPARAMS)
    run = quant.integer(GRAPH, WEIGHTS, QPARAMS)
    with pytest.raises(ValueError, match="'input_0' is float32; give int8"):
        run(X, Y)
    with pytest.raises(ValueError, match="1 inputs given"):
        run(X)
