import jax
import jax.numpy as jnp
import numpy as np
from integer_oracles import multiply, quantize_multiplier
from traced import normal

from attokit import quant

X, SLOPES = normal(4, 6), normal(1, 6) / 4


def test_integers_are_the_kernel_s():
    graph, weights = quant.trace(lambda a, x: jnp.where(x >= 0, x, a * x), SLOPES, X)
    qparams = quant.calibrate(graph, weights, [X], input_range=None)
    found = quant.fake_quant(graph).integers(weights, qparams, X)
    (output,) = graph.outputs
    scale = {name: np.float64(entry.scale) for name, entry in qparams.items()}
    zero = {name: int(entry.zero_point) for name, entry in qparams.items()}
    x = np.asarray(found["input"], np.int64) - zero["input"]
    slopes = np.round(np.asarray(SLOPES) / scale["weight"]).astype(np.int64)
    above = multiply(x, *quantize_multiplier(scale["input"] / scale[output]))
    ratio = scale["input"] * scale["weight"] / scale[output]
    below = multiply(x * slopes, *quantize_multiplier(ratio))
    wanted = np.clip(np.where(x >= 0, above, below) + zero[output], -128, 127)
    np.testing.assert_array_equal(found[output], wanted)


def test_slopes_learn():
    graph, weights = quant.trace(lambda a, x: jnp.where(x >= 0, x, a * x), SLOPES, X)
    qparams = quant.calibrate(graph, weights, [2 * X], input_range=None)

    def loss(weights):
        return quant.fake_quant(graph)(weights, qparams, X).sum()

    gradient = jax.grad(loss)(weights)["weight"]
    wanted = jnp.minimum(X, 0).sum(0, keepdims=True)
    slopes = jnp.asarray(SLOPES)
    inside = (slopes > slopes.min()) & (slopes < slopes.max())  # of the range that they share
    np.testing.assert_allclose(gradient[inside], wanted[inside], atol=0.2)
