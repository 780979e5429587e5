import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, normal

from attokit import quant
from attokit.quant.plan import make_plans
from attokit.quant.straight_through import dequantize_output, quantize_input
from attokit.zoo.convolution import conv


def _all(v, x, y):
    """One op after another from the inputs, so that each gradient is one op's."""
    return (
        conv(x, v["conv"], padding="SAME") + v["bias"].reshape(1, 1, 1, -1),
        conv(x, v["depthwise"], padding="SAME", groups=4),
        jax.lax.conv_transpose(x, v["transposed"], (2, 2), "SAME"),
        y @ v["dense"],
        x @ y,
        x + y,
        x - y,
        x * y,
        x * v["scalar"],
        jnp.mean(x, (1, 2)),
        nn.softmax(y),
        nn.avg_pool(y, (2, 2), (2, 2), count_include_pad=False),
        jnp.transpose(x, (0, 2, 1, 3)),
    )


V = {
    "conv": normal(3, 3, 4, 5),
    "bias": normal(5),
    "depthwise": normal(3, 3, 1, 4),
    "transposed": normal(3, 3, 4, 2),
    "dense": normal(4, 6),
    "scalar": jnp.float32(-1.5),
}
X, Y = normal(2, 4, 4, 4, seed=1), normal(2, 4, 4, 4, seed=2)


def _widened(graph, qparams, factor):
    """Returns qparams whose activations reach farther, so that no integer lies on a bound."""
    return {
        name: dataclasses.replace(entry, scale=entry.scale * jnp.float32(factor))
        for name, entry in qparams.items()
    }


def _dequantized(graph, weights, qparams):
    """Returns the real values that the file's weights stand for."""
    result = dict(weights)
    plans = jit(lambda *arguments: make_plans(graph, *arguments, "reference"))(weights, qparams)
    for op, plan in zip(graph.ops, plans, strict=True):
        for name, integers in zip(op.inputs, plan.weights, strict=True):
            if integers is not None and name in qparams:
                scale = np.asarray(qparams[name].scale)
                result[name] = np.asarray(integers, np.float32) * scale
    return {name: jnp.asarray(value, jnp.float32) for name, value in result.items()}


@pytest.mark.slow
def test_gradients_equal_the_float_ops_at_the_dequantized_values():
    graph, weights = quant.trace(_all, V, X, Y)
    qparams = _widened(graph, quant.calibrate(graph, weights, [(X, Y)], input_range=None), 1.3)
    cotangents = [normal(*graph.tensors[name].shape, seed=7) for name in graph.outputs]

    def loss(function):
        def total(weights, *inputs):
            outputs = function(weights, *inputs)
            return sum(jnp.sum(a * b) for a, b in zip(outputs, cotangents, strict=True))

        return jit(jax.grad(total, argnums=(0, 1, 2)))

    fake = quant.fake_quant(graph)
    got = loss(lambda weights, *inputs: fake(weights, qparams, *inputs))(weights, X, Y)
    values = jit(fake.integers)(weights, qparams, X, Y)
    reals = [
        (values[name].astype(jnp.float32) - qparams[name].zero_point) * qparams[name].scale
        for name in graph.inputs
    ]
    want = loss(graph.__call__)(_dequantized(graph, weights, qparams), *reals)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4 * (1 + np.abs(b).max())), got, want
    )


def test_nothing_passes_where_an_output_clips():
    v, x = {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}, jnp.float32([[0.9, 0.5, 0.0]])
    graph, weights = quant.trace(
        lambda v, x: nn.relu(x @ v["kernel"] + v["bias"].reshape(1, -1)), v, x
    )
    qparams = quant.calibrate(graph, weights, [x])
    name = graph.outputs[0]
    qparams[name] = quant.QuantParams(jnp.float32(0.6 / 255), jnp.float32(-128))  # [0, 0.6]
    gradient = jit(jax.grad(lambda w: quant.fake_quant(graph)(w, qparams, x).sum()))(weights)
    np.testing.assert_array_equal(gradient["bias"], [0, 1, 0])  # above, inside, below
    np.testing.assert_array_equal(gradient["kernel"][:, [0, 2]], np.zeros((3, 2)))
    np.testing.assert_allclose(gradient["kernel"][:, 1], x[0], atol=0.5 / 255)


SCALE, ZERO_POINT = 0.1, 100.0
VALUES = np.float32([0.33, -0.27, 1.04, 9.0, -40.0])  # 3.3, -2.7, 10.4; above; below
UPSTREAM = np.float32([1, 10, 100, 1000, 10000])


@pytest.fixture
def gradients():
    _, pullback = jax.vjp(
        quantize_input, jnp.asarray(VALUES), jnp.float32(SCALE), jnp.float32(ZERO_POINT)
    )
    return pullback(jnp.asarray(UPSTREAM))


def test_input_gradient_passes_inside_the_range(gradients):
    np.testing.assert_array_equal(gradients[0], [1, 10, 100, 0, 0])


def test_scale_gradient_is_lsqs(gradients):
    # round(v/s) - v/s inside; the bound minus the zero point outside (LSQ, equation 3).
    want = 1 * (3 - 3.3) + 10 * (-3 + 2.7) + 100 * (10 - 10.4) + 1000 * 27 + 10000 * -228
    np.testing.assert_allclose(gradients[1], want, rtol=1e-5)


def test_zero_point_gradient_is_minus_the_scale_where_it_clips(gradients):
    np.testing.assert_allclose(gradients[2], -SCALE * (1000 + 10000), rtol=1e-6)


def test_scale_gradients_of_a_layer_are_lsqs():
    kernel, x = jnp.float32([[0.84, -0.31], [0.12, 0.5]]), jnp.float32([[0.7, 0.2]])
    graph, weights = quant.trace(lambda v, x: x @ v, kernel, x)
    name, out = "weight", graph.outputs[0]
    qparams = {
        "input": quant.QuantParams(jnp.float32(1 / 255), jnp.float32(-128)),
        name: quant.QuantParams(jnp.float32([0.05, 0.003]), jnp.float32(0)),
        out: quant.QuantParams(jnp.float32(0.04), jnp.float32(-50)),
    }
    upstream = jnp.float32([[3, 5]])

    def total(qparams):
        return jnp.sum(quant.fake_quant(graph)(weights, qparams, x) * upstream)

    gradient = jit(jax.grad(total))(qparams)
    xq = np.round(np.asarray(x) * 255) / 255
    steps = np.asarray(kernel) / np.float32([0.05, 0.003])
    kq = np.clip(np.round(steps), -127, 127)
    y = xq @ (kq * np.float32([0.05, 0.003])) / 0.04
    inside = np.abs(steps) <= 127.5
    np.testing.assert_allclose(
        gradient[out].scale, np.sum(np.asarray(upstream) * (np.round(y) - y)), rtol=1e-3
    )
    want = (xq.T @ np.asarray(upstream)) * (kq - np.where(inside, steps, 0))
    np.testing.assert_allclose(gradient[name].scale, want.sum(0), rtol=1e-3)


def test_kernel_gradient_stops_where_the_kernel_clips():
    kernel, x = jnp.float32([[1.0, 0.1]]), jnp.float32([[0.5]])
    graph, weights = quant.trace(lambda v, x: x @ v, kernel, x)
    qparams = quant.calibrate(graph, weights, [x, 2 * x], per_channel=False)
    qparams["weight"] = quant.QuantParams(jnp.float32([0.005, 0.005]), jnp.float32(0))
    out = graph.outputs[0]
    qparams[out] = quant.QuantParams(jnp.float32(0.02), jnp.float32(0))
    gradient = jit(jax.grad(lambda w: quant.fake_quant(graph)(w, qparams, x).sum()))(weights)
    np.testing.assert_allclose(gradient["weight"], [[0, 0.5]], atol=0.01)


def test_outputs_hand_back_the_gradient_of_the_real_value():
    out, pullback = jax.vjp(dequantize_output, jnp.float32([3, -4]), jnp.float32(0.5))
    np.testing.assert_array_equal(out, [1.5, -2])
    centred, scale = pullback(jnp.float32([1, 7]))
    np.testing.assert_array_equal(centred, [1, 7])
    assert scale == 0  # whoever made the integers knows the scale's
