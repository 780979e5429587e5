import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit, kinds, normal

from attokit import quant
from attokit.quant.channel_factors import channel_factors
from attokit.zoo.convolution import conv

X = normal(2, 6, 6, 3)


def _conv(v, name, x, groups=1, strides=(1, 1)):
    y = conv(x, v[name]["kernel"], strides=strides, padding="SAME", dilation=(1, 1), groups=groups)
    return y + v[name]["bias"].reshape(1, 1, 1, -1)


def _dense(v, name, x):
    return x @ v[name]["kernel"] + v[name]["bias"].reshape((1,) * (x.ndim - 1) + (-1,))


def _layers(**shapes):
    return {
        name: {"kernel": normal(*shape, seed=i), "bias": normal(shape[-1], seed=i)}
        for i, (name, shape) in enumerate(shapes.items())
    }


def _chain(v, x):
    """Through a pool, padding, a shuffle between grouped convolutions, a flattening."""
    y = jax.nn.relu(_conv(v, "stem", x))
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    y = jax.nn.leaky_relu(_conv(v, "grouped", jnp.pad(y, ((0, 0), (0, 1), (0, 1), (0, 0))), 2))
    y = y.reshape(*y.shape[:3], 2, 2).swapaxes(3, 4).reshape(y.shape)
    y = _conv(v, "depthwise", _conv(v, "grouped2", y, 2), 4)
    y = jax.lax.conv_transpose(y, v["up"]["kernel"], (2, 2), "SAME")
    y = jax.nn.relu(y + v["up"]["bias"].reshape(1, 1, 1, -1))
    return _dense(v, "head", y.reshape(len(y), -1))


def _joins(v, x):
    """Through a sum, a PReLU with trained slopes, a join and a resize, to two readers."""
    y = _conv(v, "one", x) + _conv(v, "two", x)
    y = jnp.where(y > 0, y, v["slopes"].reshape(1, 1, 1, -1) * y)
    y = jnp.concatenate([y, jnp.abs(_conv(v, "three", x))[:, ::-1]], -1)
    y = jax.image.resize(y, (len(y), 12, 12, y.shape[-1]), "bilinear")
    return _conv(v, "left", y), _dense(v, "right", y.max((1, 2)))


def _gate(v, x):
    """Times a gate that has no factor, twice through one kernel."""
    y = jax.nn.relu(_conv(v, "stem", x))
    gate = jax.nn.sigmoid(_dense(v, "gate", jax.nn.relu(_dense(v, "squeeze", y.mean((1, 2))))))
    y = y * gate.reshape(len(y), 1, 1, -1)
    y = _conv(v, "twice", jnp.maximum(_conv(v, "twice", y), 0))
    return _conv(v, "head", y)


_CHAIN = _layers(
    stem=(3, 3, 3, 4), grouped=(3, 3, 2, 4), grouped2=(1, 1, 2, 4), depthwise=(3, 3, 1, 4),
    up=(2, 2, 4, 5), head=(320, 2),
)  # fmt: skip
_JOINS = _layers(
    one=(3, 3, 3, 4), two=(1, 1, 3, 4), three=(1, 1, 3, 2), left=(1, 1, 6, 2), right=(6, 2)
) | {"slopes": normal(4)}
_GATE = _layers(
    stem=(3, 3, 3, 4), squeeze=(4, 3), gate=(3, 4), twice=(1, 1, 4, 4), head=(1, 1, 4, 2)
)


@pytest.mark.parametrize(
    ("function", "variables", "ops", "left_out", "count"),
    [
        # All channels of `up` are 64 places of the flat vector each.
        (_chain, _CHAIN, {"max_pool_2d", "pad", "leaky_relu", "depthwise_conv_2d", "transpose_conv"},
         {"head": "it leaves the graph"}, 4 + 4 + 4 + 4 + 5),
        # One factor for both sides of the sum.
        (_joins, _JOINS, {"prelu", "concatenation", "abs", "resize_bilinear", "reduce_max"},
         {"left": "it leaves the graph", "right": "it leaves the graph"}, 4 + 2),
        # One for each channel of what enters and leaves the shared kernel: the kernel itself stays.
        (_gate, _GATE, {"mean", "mul", "logistic"},
         {"gate": "logistic of 'logistic' is not homogeneous", "head": "it leaves the graph"},
         4 + 3),
    ],
)  # fmt: skip
def test_every_channel_gets_its_factor_and_the_function_stays(
    function, variables, ops, left_out, count
):
    graph, weights = quant.trace(function, variables, X)
    assert ops <= {op.kind for op in graph.ops}, kinds(graph)
    found = channel_factors(graph)
    assert found.coverage.left_out == left_out
    assert found.count == 1 + count
    factors = np.exp(np.random.default_rng(0).uniform(-2, 2, found.count))
    factors[0] = 1
    changed = found.apply(weights, factors)
    run = jit(graph.intermediates)
    before, after = run(weights, X), run(changed, X)
    for name, classes in found.classes.items():
        wanted = np.asarray(before[name]) * factors[classes].astype(np.float32)
        np.testing.assert_allclose(after[name], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    for name in graph.outputs:
        assert not found.classes[name].any()
    assert all(found.classes[name].all() for name in found.coverage.reached)
    for name in weights:
        if name.endswith("bias") and name.rpartition("/")[0] not in left_out:
            assert np.abs(np.log(np.asarray(changed[name] / weights[name]))).max() > 0.1, name


def _ends(v, x):
    """What stops a factor."""
    y = _conv(v, "clamped", x)
    y = _conv(v, "shifted", jnp.clip(y, 0, 6)) + v["map"]
    y = _conv(v, "mixed", jax.nn.relu(y)).mean(-1, keepdims=True)
    return jax.nn.softmax(_conv(v, "fixed", y))


_KERNEL = normal(1, 1, 3, 3)


def test_what_stops_a_factor_is_told():
    shapes = dict.fromkeys(("clamped", "shifted", "mixed"), (1, 1, 3, 3))
    variables = _layers(**shapes, fixed=(1, 1, 1, 3)) | {"map": normal(1, 6, 6, 3)}
    graph, weights = quant.trace(_ends, variables, X[:1])
    found = channel_factors(graph)
    assert found.count == 1 and found.coverage.reached == ()
    assert found.coverage.left_out == {
        "clamped": "it ends in relu6, which is not homogeneous",
        "shifted": "add of 'add' adds a constant",
        "mixed": "mean of 'mean' mixes channels",
        "fixed": "softmax of 'softmax' is not homogeneous",
    }
    assert found.apply(weights, np.ones(1)) == weights


@pytest.mark.parametrize("filling", [-np.inf, 6.0])
def test_a_filling_stops_factors_that_would_change_it(filling):
    widths = ((0, 0), (1, 1), (1, 1), (0, 0))

    def function(v, x):
        y = jnp.pad(_conv(v, "first", x), widths, constant_values=filling)
        y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 4, 4, 1), (1, 3, 3, 1), "VALID")
        return _conv(v, "last", y)

    variables = _layers(first=(1, 1, 3, 3), last=(1, 1, 3, 2))
    graph, _ = quant.trace(function, variables, X)
    (pad,) = (op.outputs[0] for op in graph.ops if op.kind == "pad_v2")
    found = quant.equalizable(graph)
    stopped = {} if filling < 0 else {"first": f"pad_v2 of {pad!r} pads with a constant"}
    assert found.left_out == stopped | {"last": "it leaves the graph"}


def test_a_kernel_that_is_no_weight_stays():
    def function(v, x):
        y = jax.nn.relu(_conv(v, "first", x))
        y = conv(y, _KERNEL, strides=(1, 1), padding="SAME", dilation=(1, 1), groups=1)
        return _conv(v, "last", y)

    variables = _layers(first=(1, 1, 3, 3), last=(1, 1, 3, 2))
    coverage = quant.equalizable(quant.trace(function, variables, X)[0])
    assert coverage.reached == ()
    assert coverage.left_out["first"] == "'constant/kernel' must stay as it is"
