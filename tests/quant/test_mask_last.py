import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal

from attokit import export, quant

_CAUSAL = np.tri(6, dtype=bool)
_ADDED = np.where(_CAUSAL, 0, -1e9).astype(np.float32)[None, None]
_BIAS = normal(1, 1, 6, 6)
_X = normal(2, 2, 6, 6, seed=1)
_PADDING = jnp.asarray([[True] * 6, [True] * 4 + [False] * 2])  # of keys; the first is always seen


def _softmax(x, axis=-1):
    return jax.nn.softmax(x, axis)


def _hide(padding):
    """The padding as most spell it: a sum with numbers."""
    return (1 - padding[:, None, None, :].astype(jnp.float32)) * -1e9


CASES = {  # function of (variables, x, padding); kinds of the graph
    "product": (
        lambda _, x, p: _softmax(jnp.where(_CAUSAL, x, -1e9) / np.sqrt(8)),
        ["mul", "select", "softmax"],
    ),
    "what hides comes first": (
        lambda _, x, p: _softmax(jnp.where(~_CAUSAL, -1e30, x) * 0.3 + 1),
        ["mul", "add", "select", "softmax"],
    ),
    "infinity": (
        lambda _, x, p: _softmax(jnp.where(_CAUSAL, x, -jnp.inf) / 2),
        ["mul", "select", "softmax"],
    ),
    "minus 10,000": (
        lambda _, x, p: _softmax(x / 2 + np.float32(1e-5) * _ADDED),
        ["mul", "select", "softmax"],
    ),
    "constant bias": (
        lambda _, x, p: _softmax((x + _ADDED) + _BIAS),
        ["add", "select", "softmax"],
    ),
    "trained bias": (
        lambda v, x, p: _softmax((x + _ADDED) + v["bias"]),
        ["add", "select", "softmax"],
    ),
    "bias by the inputs": (
        lambda _, x, p: _softmax(jnp.where(_CAUSAL, x, -1e9) + x[:, :, ::-1]),
        ["reverse", "add", "select", "softmax"],
    ),
    "other axis": (
        lambda _, x, p: _softmax(jnp.where(_CAUSAL.T, x, -1e9) / 2, 2),
        ["mul", "select", "transpose", "softmax", "transpose"],
    ),
    "chosen padding": (
        lambda _, x, p: _softmax(x + jnp.where(p, 0.0, -1e9)[:, None, None, :]),
        ["reshape", "quantize", "select", "softmax"],
    ),
    "computed padding": (
        lambda _, x, p: _softmax(x / 2 + _hide(p)),
        ["mul", "reshape", "select", "softmax"],
    ),
    "padding and causal": (
        lambda _, x, p: _softmax((jnp.where(_CAUSAL, x, -1e9) + _hide(p)) / 2),
        ["reshape", "mul", "logical_and", "select", "softmax"],
    ),
    "subtracted padding": (
        lambda _, x, p: _softmax(x / 2 - 1e9 * (1 - p[:, None, None, :].astype(jnp.float32))),
        ["mul", "reshape", "select", "softmax"],
    ),
    "lowest number, doubled": (
        lambda _, x, p: _softmax(jnp.where(_CAUSAL, x, jnp.finfo(x.dtype).min) * 2),
        ["mul", "select", "softmax"],
    ),
    "padding told otherwise": (
        lambda _, x, p: _softmax(jnp.where(_CAUSAL, x, -1e9) + jnp.where(p[:, None, None], -1e9, 0)),
        None,
    ),
    "argmax": (
        lambda _, x, p: jnp.argmax(jnp.where(_CAUSAL, x, -1e9) * 2, -1),
        ["mul", "select", "arg_max"],
    ),
    "log-sum-exp": (
        lambda _, x, p: jax.nn.logsumexp(jnp.where(_CAUSAL, x, -1e9) / 2, -1),
        ["mul", "select", "log_softmax", "reduce_max", "reduce_max", "sub"],
    ),
}  # fmt: skip


_IN_INTEGERS = ("padding and causal", "subtracted padding")


@pytest.mark.parametrize("name", CASES)
def test_the_mask_is_chosen_last_and_integers_keep_the_rest(name):
    function, want = CASES[name]
    padding = ~_PADDING if name == "padding told otherwise" else _PADDING
    variables = {"bias": _BIAS} if name == "trained bias" else {}
    graph, weights = quant.trace(function, variables, _X, padding)
    assert want is None or kinds(graph) == want
    assert error(graph, weights, function, variables, _X, padding) < 1e-6
    if name not in _IN_INTEGERS:
        return
    qparams = quant.calibrate(graph, weights, [(_X, padding)], input_range=None)
    found = quant.fake_quant(graph)(weights, qparams, _X, padding)
    np.testing.assert_allclose(found, function(variables, _X, padding), atol=0.02)


def test_what_a_log_softmax_says_of_hidden_values_stays():
    def function(_, x):
        return jax.nn.log_softmax(jnp.where(_CAUSAL, x, -1e9) / 2)

    def biased(_, x):
        return jax.nn.log_softmax(jnp.where(_CAUSAL, x, -2e4) + x[..., ::-1])

    graph, weights = quant.trace(function, (), _X)
    assert kinds(graph) == ["mul", "select", "log_softmax"]
    assert error(graph, weights, function, (), _X) < 1e-6
    graph, weights = quant.trace(biased, (), _X)
    assert kinds(graph)[-2:] == ["add", "log_softmax"]


@pytest.mark.parametrize(
    ("function", "refused"),
    [
        (lambda v, x: _softmax(jnp.where(_CAUSAL, x, -1e9) * v), True),  # v may become negative
        (lambda v, x: _softmax(jnp.where(_CAUSAL, x, -1e9) * -1), True),  # shows what was hidden
        (lambda v, x: _softmax(jnp.where(_CAUSAL, x, -1e9) * 1e-7), False),  # -100 hides not all
        (lambda v, x: jnp.where(_CAUSAL, x, -1e9) * 2, True),  # nothing ignores it
    ],
)
def test_where_a_mask_is_no_mask_any_more_it_stays(function, refused):
    graph, weights = quant.trace(function, jnp.ones((1, 1, 1, 1)), _X)
    assert [kind for kind in kinds(graph) if kind in ("select", "mul")] == ["select", "mul"]
    assert error(graph, weights, function, jnp.ones((1, 1, 1, 1)), _X) < 1e-6
    if refused:
        with pytest.raises(ValueError, match=r"test_mask_last.py:\d+.* computes with a mask"):
            quant.calibrate(graph, weights, [_X], input_range=None)


@pytest.mark.parametrize(
    "shown",
    [
        lambda x: np.where(_CAUSAL, 0, 1e9).astype(np.float32)[None, None],
        lambda x: jnp.where(x[..., :1] > 9, 0.5, 1e9),
        lambda x: -jnp.where(_CAUSAL, x[..., ::-1], -1e9),
        lambda x: jnp.where(x[..., :1] > 9, -1e9, 1e9),
    ],
)
def test_what_another_summand_shows_again_stays_before_it(shown):
    def function(_, x):
        return _softmax(jnp.where(_CAUSAL, x, -1e9) + shown(x))

    graph, weights = quant.trace(function, (), _X)
    assert kinds(graph)[-2:] in (["add", "softmax"], ["sub", "softmax"])
    assert error(graph, weights, function, (), _X) < 1e-6


@pytest.mark.slow
def test_attention_with_a_mask_and_a_bias_equals_its_file():
    def attend(_, q, k, p):
        scores = jnp.einsum("bqd,bkd->bqk", q, k)
        return _softmax((jnp.where(_CAUSAL, scores, -1e9) + _hide(p)[:, 0]) / 2) @ k

    q, k = normal(2, 6, 4), normal(2, 6, 4, seed=1)
    graph, weights = quant.trace(attend, (), q, k, _PADDING)
    qparams = quant.calibrate(graph, weights, [(q, k, _PADDING)], input_range=None)
    file = export.to_tflite(graph, weights, qparams)
    assert export.verify(file, graph, weights, qparams, q, k, _PADDING).exact
