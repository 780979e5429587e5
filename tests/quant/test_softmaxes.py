import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import quant

X = normal(2, 3, 4, 5)
SEEN = np.asarray([True, True, False, True, True])
MASK = np.float32([0, 0, -1e9, 0, 0]).reshape(1, 1, 1, 5)


def _kinds(function, *inputs):
    graph, weights = quant.trace(function, (), *(inputs or (X,)))
    assert error(graph, weights, function, (), *(inputs or (X,))) < 1e-5
    return kinds(graph)


@pytest.mark.parametrize("kind", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    ("axis", "want"),
    [
        (-1, []),
        (1, ["transpose"]),
        ((1, 2), ["transpose", "reshape"]),
        ((0, 1, 2, 3), ["reshape"]),
    ],
)
def test_any_axes_are_moved_to_the_end(kind, axis, want):
    function = getattr(jax.nn, kind)
    assert _kinds(lambda _, x: function(x, axis=axis)) == [*want, kind, *want[::-1]]


def test_ranks_above_four_are_reshaped():
    x = normal(2, 3, 1, 2, 4)
    assert _kinds(lambda _, x: jax.nn.softmax(x), x) == ["reshape", "softmax", "reshape"]


def test_what_a_row_has_in_common_drops_out():
    def function(_, x, m):
        e = jnp.exp(x - m)
        return e / e.sum(-1, keepdims=True)

    assert _kinds(function, X, normal(2, 3, 4, 1)) == ["softmax"]


def test_what_differs_within_a_row_stays():
    def function(_, x, m):
        e = jnp.exp(x - m)
        return e / e.sum(-1, keepdims=True)

    assert _kinds(function, X, normal(2, 3, 4, 5, seed=1)) == ["sub", "softmax"]


def test_a_sum_over_other_axes_is_no_softmax():
    found = _kinds(lambda _, x: jnp.exp(x) / jnp.exp(x).sum((1, 2))[:, None, None])
    assert "softmax" not in found


def test_values_are_left_out():
    assert _kinds(lambda _, x: jax.nn.softmax(x, where=SEEN)) == [
        "quantize",
        "select",
        "softmax",
        "select",
    ]
    assert _kinds(lambda _, x: jax.nn.softmax(jnp.where(SEEN, x, -1e30) / 2)) == [
        "mul",
        "select",
        "softmax",
    ]


def test_an_added_mask_is_a_choice():
    assert _kinds(lambda _, x: jax.nn.softmax(x + MASK)) == ["quantize", "select", "softmax"]
    assert _kinds(lambda _, x: jax.nn.softmax(MASK + 0.25 + x)) == ["add", "select", "softmax"]


LOG_SUM_EXP = ["log_softmax", "reduce_max", "reduce_max", "sub"]


@pytest.mark.parametrize(
    ("function", "want"),
    [
        (lambda x: jax.nn.logsumexp(x, -1), LOG_SUM_EXP),
        (lambda x: jax.nn.logsumexp(x, 1), ["transpose", *LOG_SUM_EXP]),
        (
            lambda x: jax.nn.logsumexp(x, (1, 2), keepdims=True),
            ["transpose", "reshape", *LOG_SUM_EXP, "reshape"],
        ),
        (lambda x: jax.nn.logsumexp(x), ["reshape", *LOG_SUM_EXP, "reshape"]),
        (lambda x: jnp.log(jnp.exp(x).sum(-1)), LOG_SUM_EXP),
        (lambda x: x - jax.nn.logsumexp(x, -1, keepdims=True), ["log_softmax"]),
        (lambda x: jnp.exp(x - jax.nn.logsumexp(x, -1, keepdims=True)), ["softmax"]),
    ],
)
def test_log_sum_exp_is_a_maximum_and_a_log_softmax(function, want):
    assert _kinds(lambda _, x: function(x)) == want


def test_another_shift_than_that_of_the_exponent_is_a_sum():
    found = _kinds(lambda _, x: jnp.log(jnp.exp(x - x[..., :1]).sum(-1)) + x.max(-1))
    assert found.count("add") == 1


@pytest.mark.parametrize("count", [3, 300])
def test_a_quantized_log_sum_exp_is_off_by_a_step_of_each_part(count):
    x = normal(40, count)
    graph, weights = quant.trace(lambda _, x: jax.nn.logsumexp(x, -1), (), x)
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    found = quant.fake_quant(graph)(weights, qparams, x)
    steps = float(qparams["input"].scale) + 1 / 16 + float(qparams[graph.outputs[0]].scale)
    np.testing.assert_allclose(found, jax.nn.logsumexp(x, -1), atol=steps / 2)
