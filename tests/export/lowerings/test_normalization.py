import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, normal

from attokit import export, quant

# Rows that an epsilon of 1e-6 shrinks, rows that it does not, and a row of zeros.
X = jnp.concatenate([0.5 + 1e-4 * normal(1, 4, 4, 8), normal(1, 4, 4, 8, seed=1)])
X = X.at[1, 0, 0].set(0)


def _layer_norm(x):
    """The variance taken such that it does not cancel."""
    return nn.LayerNorm(use_scale=False, use_bias=False, use_fast_variance=False).apply({}, x)


EPSILONS = {
    "layer": _layer_norm,
    "rms": lambda x: nn.RMSNorm(use_scale=False).apply({}, x),
    "inside": lambda x: x * jax.lax.rsqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-6),
    "beside": lambda x: x / (jnp.sqrt(jnp.sum(x**2, -1, keepdims=True)) + 1e-4),
    "above": lambda x: x / jnp.maximum(jnp.linalg.norm(x, axis=-1), 1e-3)[..., None],
}


def _network(_, x):
    return {
        name: function(x if name == "layer" else 1e-3 * x) for name, function in EPSILONS.items()
    }


@functools.cache
def _traced():
    graph, weights = quant.trace(_network, {}, X)
    return graph, weights, jit(graph.__call__)(weights, X)


TARGETS = [("android", "reference"), ("android", "xnnpack"), ("micro", "micro")]


@pytest.mark.parametrize(("target", "kernels"), TARGETS)
def test_float_files_keep_the_epsilon(target, kernels):
    graph, weights, wanted = _traced()
    assert [op.kind for op in graph.ops].count("l2_normalization") == len(EPSILONS)
    file = export.to_tflite(graph, weights, target=target)
    found = export.run(file, X, kernels=kernels)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=5e-4, err_msg=name)
    if kernels == "reference":
        assert export.verify(file, graph, weights, None, X).ok


def test_their_graph_has_it():
    for name, values in jit(_network)({}, X).items():
        np.testing.assert_allclose(_traced()[2][name], values, atol=5e-4, err_msg=name)


@pytest.mark.parametrize(("target", "kernels"), TARGETS)
def test_float_islands_keep_it_too(target, kernels):
    graph, weights = quant.trace(lambda _, x: {"layer": EPSILONS["layer"](x)}, {}, X)
    graph = quant.keep_float(graph, ["*"])
    qparams = quant.calibrate(graph, weights, [X])
    file = export.to_tflite(graph, weights, qparams, target=target)
    found = export.run(file, X, kernels=kernels)
    np.testing.assert_allclose(found["layer"], EPSILONS["layer"](X), atol=5e-4)


@pytest.mark.parametrize(
    ("function", "operators"),
    [
        (lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True), {"L2_NORMALIZATION": 1}),
        (
            lambda x: x * jax.lax.rsqrt(1.001 * jnp.sum(x**2, -1, keepdims=True)),
            {"MUL": 3, "SUM": 1, "MAXIMUM": 1, "RSQRT": 1},
        ),
    ],
)
def test_the_operator_is_what_has_no_epsilon(function, operators):
    graph, weights = quant.trace(lambda _, x: function(x), {}, X)
    file = export.to_tflite(graph, weights)
    assert dict(export.inspect(file).histogram) == operators
    assert export.verify(file, graph, weights, None, X).ok  # zeros too
