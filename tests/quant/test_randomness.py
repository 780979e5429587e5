import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx
from traced import error, normal

from attokit import quant

X = normal(2, 4)
KEY = jax.random.key(3)
_DEAD = np.asarray(jax.random.normal(KEY, (4, 5)))


class _WithDropout(nn.Module):
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train=True):
        return nn.Dropout(self.rate, deterministic=not train)(nn.Dense(4)(x))


def _with_dropout(variables, x):
    return _WithDropout().apply(variables, x, rngs={"dropout": KEY})


def _in_a_loop(_, x):
    noise = jax.lax.map(lambda k: jax.random.uniform(k, (4,)), jax.random.split(KEY, 2))
    return x + noise


def _carried_by_a_loop(_, x):
    noise = jax.random.normal(KEY, (3, 2, 4))
    return jax.lax.scan(lambda y, n: (y + n, None), x, noise)[0]


def _stochastic_depth(_, x):
    return jax.lax.cond(jax.random.bernoulli(KEY), lambda: x, lambda: 2 * x)


FUNCTIONS = {
    "dropout": _with_dropout,
    "noise": lambda _, x: x + jax.random.normal(KEY, x.shape),
    "an old key": lambda _, x: x * jax.random.uniform(jax.random.PRNGKey(0), (1, 4)),
    "inside of a loop": _in_a_loop,
    "carried by a loop": _carried_by_a_loop,
    "stochastic depth": _stochastic_depth,
    "projection": lambda _, x: x @ jax.random.normal(KEY, (4, 5)),
    "permutation": lambda _, x: x[:, jax.random.permutation(KEY, 4)],
    "as an output": lambda _, x: (x, jax.random.normal(KEY, (2,))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_drawn_while_tracing_is_refused_with_its_line(name):
    variables = _WithDropout().init(KEY, X, train=False) if name == "dropout" else ()
    message = r"drawn at .*test_randomness.py:\d+ \(.*Trace the inference form"
    with pytest.raises(quant.UnsupportedOpError, match=message):
        quant.trace(FUNCTIONS[name], variables, X)


def test_dropout_of_nnx_is_refused():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.dense, self.dropout = nnx.Linear(4, 4, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(self.dense(x))

    definition, state = nnx.split(Net(nnx.Rngs(0)))
    with pytest.raises(quant.UnsupportedOpError, match=r"drawn at .*test_randomness.py:\d+"):
        quant.trace(lambda s, x: nnx.merge(definition, s)(x), state, X)


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x @ _DEAD,  # drawn before
        lambda _, x: (jax.random.split(KEY), x * 2)[1],  # keys
        lambda _, x: (jax.random.normal(KEY, (3,)), x * 2)[1],  # drawn for nothing
    ],
)
def test_constants_keys_and_what_nobody_uses_are_fine(function):
    graph, weights = quant.trace(function, (), X)
    assert error(graph, weights, function, (), X) < 1e-6


def test_inference_of_a_network_with_dropout_is_traced():
    variables = _WithDropout().init(KEY, X, train=False)

    def infer(variables, x):
        return _WithDropout().apply(variables, x, train=False)

    graph, weights = quant.trace(infer, variables, X)
    assert error(graph, weights, infer, variables, X) < 1e-6
