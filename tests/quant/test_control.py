import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import export, quant

X, LAYERS = normal(3, 6), normal(4, 6, 6)


def _traced(function, variables=(), x=X):
    graph, weights = quant.trace(function, variables, x)
    assert error(graph, weights, function, variables, x) < 1e-5
    return graph, weights


def _layers(weights, x, **options):
    return jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), c), x, weights, **options)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_over_stacked_weights_is_one_layer_per_weight(reverse):
    graph, weights = _traced(functools.partial(_layers, reverse=reverse), LAYERS)
    assert kinds(graph)[:4] == ["fully_connected", "tanh"] * 2
    assert sorted(weights) == [f"weight/{i}" for i in range(4)]
    assert graph.output_names == ("output_0", "output_1")


def test_what_a_loop_closes_over_stays_one_weight():
    def function(v, x):
        return jax.lax.scan(lambda c, _: (c @ (v * 2), None), x, length=3)[0]

    graph, weights = _traced(function, LAYERS[0])
    assert kinds(graph) == ["fully_connected"] * 3
    assert len(weights) == 1


def test_a_scan_cuts_its_inputs_and_stacks_its_outputs():
    def function(_, x):
        return jax.lax.scan(lambda c, row: (c + row, (row * 2, 3.0)), x[0], x)

    graph, _ = _traced(function)
    assert kinds(graph).count("slice") == 3  # the first row is cut once
    assert "concatenation" in kinds(graph)


def test_a_scan_of_no_steps_returns_what_it_was_given():
    graph, _ = _traced(lambda _, x: jax.lax.scan(lambda c, _: (c * 2, c), x, length=0)[0])
    assert kinds(graph) == []


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda _, x: jax.lax.fori_loop(0, 3, lambda i, c: c * (i + 1) + x, x), ["mul"]),
        (lambda _, x: jax.lax.map(lambda row: row * 2, x), ["slice", "reshape", "mul"] * 3),
        (lambda _, x: jax.lax.cond(np.int32(2) > 1, jnp.tanh, jnp.exp, x), ["tanh"]),
        (lambda _, x: jax.lax.switch(7, [jnp.exp, jnp.tanh], x), ["tanh"]),
    ],
)
def test_what_is_known_decides_the_course(function, want):
    graph, _ = _traced(function)
    assert kinds(graph)[: len(want)] == want


def test_a_while_loop_runs_as_long_as_its_known_counter_says():
    def function(v, x):
        return jax.lax.while_loop(
            lambda c: c[0] < c[1], lambda c: (c[0] + 1, c[1], c[2] @ v), (0, jnp.int32(3), x)
        )

    graph, weights = _traced(lambda v, x: function(v, x)[2], LAYERS[0])
    assert kinds(graph) == ["fully_connected"] * 3
    assert len(weights) == 1


def test_a_batched_cond_is_a_choice():
    graph, _ = _traced(
        lambda _, x: jax.vmap(
            lambda a, b: jax.lax.cond(a > 0, lambda b: b * 2, lambda b: b + 1, b)
        )(x[:, 0], x[:, 1])
    )
    assert kinds(graph).count("select") == 1


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: jax.lax.cond(x[0, 0] > 0, jnp.tanh, jnp.exp, x), "choice among 2 branches"),
        (lambda x: jax.lax.while_loop(lambda c: c[0, 0] < 9, lambda c: c * 2, x), "loop whose"),
    ],
)
def test_what_inputs_decide_is_refused_with_the_users_line(function, match):
    line = inspect.getsourcelines(function)[1]
    with pytest.raises(quant.UnsupportedOpError, match=match) as caught:
        quant.trace(lambda _, x: function(x), (), X)
    assert f"{__file__}:{line}" in str(caught.value)
    assert "jnp.where" in str(caught.value)


def test_what_a_loop_stacks_takes_another_batch():
    def function(v, x):
        def step(h, row):
            h = jnp.tanh(row @ v + h)
            return h, h

        rows = x.transpose(1, 0, 2)
        return jax.lax.scan(step, jnp.zeros((x.shape[0], 3)), rows)[1].transpose(1, 0, 2)

    v = normal(4, 3)
    graph, weights = quant.trace(function, v, normal(1, 5, 4))
    more = normal(2, 5, 4)
    np.testing.assert_allclose(graph(weights, more), function(v, more), atol=1e-5)
    file = export.to_tflite(graph, weights)
    np.testing.assert_allclose(export.run(file, more)["output"], function(v, more), atol=1e-5)
