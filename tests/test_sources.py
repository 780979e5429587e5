"""Networks of other libraries are traced as they come, and named in their own words."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from traced import error, kinds, normal

from attokit import export, quant

X = normal(2, 6, 6, 4)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(4, 6, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
        self.drop = nnx.Dropout(0.5, deterministic=True, rngs=rngs)
        self.heads = nnx.List([nnx.Linear(6, n, rngs=rngs) for n in (5, 3)])

    def __call__(self, x):
        x = self.drop(nnx.relu(self.norm(self.conv(x)))).mean((1, 2))
        return {"classes": self.heads[0](x), "boxes": self.heads[1](x)}


class EquinoxNet(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.LayerNorm
    mlp: eqx.nn.MLP  # whose activation is a leaf of the pytree
    drop: eqx.nn.Dropout

    def __init__(self, key):
        keys = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(4, 6, 3, padding=1, key=keys[0])
        self.norm = eqx.nn.LayerNorm(6)
        self.mlp = eqx.nn.MLP(6, 3, 5, 1, key=keys[1])
        self.drop = eqx.nn.Dropout(0.5, inference=True)

    def __call__(self, x):
        return self.mlp(self.drop(self.norm(jax.nn.relu(self.conv(x)).mean((1, 2)))))


def _haiku_net(x):
    x = jax.nn.relu(hk.Conv2D(6, 3, name="stem")(x))
    return hk.nets.MLP([5, 3], name="head")(x.mean((1, 2)))


def _nnx():
    definition, state = nnx.split(NnxNet(nnx.Rngs(0)))
    return lambda state, x: nnx.merge(definition, state)(x), state, X


def _nnx_module():
    return lambda model, x: model(x), NnxNet(nnx.Rngs(0)), X


def _equinox():
    params, static = eqx.partition(EquinoxNet(jax.random.key(0)), eqx.is_array)
    images = X.transpose(0, 3, 1, 2)
    return lambda params, x: jax.vmap(eqx.combine(params, static))(x), params, images


def _haiku():
    net = hk.without_apply_rng(hk.transform(_haiku_net))
    return net.apply, net.init(jax.random.key(0), X), X


_OF_NNX = ["conv_2d+relu", "mean", "fully_connected", "fully_connected"]
_NORM = ["mean", "sub", "l2_normalization", "mul", "add"]
_MLP = ["fully_connected+relu", "fully_connected"]
SOURCES = {
    "nnx": (_nnx, _OF_NNX, {"conv/kernel", "conv/bias", "heads/0/kernel"}, "conv"),
    "nnx_module": (_nnx_module, _OF_NNX, {"conv/kernel", "conv/bias", "heads/0/kernel"}, "heads/1"),
    "equinox": (
        _equinox,
        ["transpose", "conv_2d+relu", "transpose", "mean", *_NORM, *_MLP],
        {"conv/weight", "norm/weight", "mlp/layers/0/weight"},
        "mlp/layers/1",
    ),
    "haiku": (
        _haiku,
        ["conv_2d+relu", "mean", *_MLP],
        {"stem/w", "stem/b", "head/~/linear_0/w"},
        "stem",
    ),
}


@pytest.mark.parametrize(
    "name",
    ["nnx", "nnx_module", *(pytest.param(n, marks=pytest.mark.slow) for n in ("equinox", "haiku"))],
)
def test_a_network_as_it_comes_equals_its_graph_and_its_file(name):
    make, want, weights_wanted, layer = SOURCES[name]
    function, variables, x = make()
    graph, weights = quant.trace(function, variables, x)
    assert [kind for kind in kinds(graph) if kind != "quantize"] == want
    assert weights_wanted <= set(weights)
    assert layer in graph.tensors
    assert error(graph, weights, function, variables, x) < 1e-5
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    data = export.to_tflite(graph, weights, qparams)
    assert set(export.inspect(data).outputs) == set(graph.output_names)


def test_what_is_no_array_stays_as_it_is():
    model = eqx.nn.MLP(4, 3, 5, 1, key=jax.random.key(1))
    graph, weights = quant.trace(lambda model, x: jax.vmap(model)(x), model, X[:, 0, 0])
    assert kinds(graph) == ["fully_connected+relu", "fully_connected"]
    assert len(weights) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_errors_name_the_users_line(name, monkeypatch):
    make, *_ = SOURCES[name]
    function, variables, x = make()
    monkeypatch.setattr(jax.nn, "relu", lambda x: jnp.sort(x, -1))
    monkeypatch.setattr(nnx, "relu", lambda x: jnp.sort(x, -1))
    with pytest.raises(quant.UnsupportedOpError, match=f"'sort' at {__file__}:"):
        quant.trace(function, variables, x)
