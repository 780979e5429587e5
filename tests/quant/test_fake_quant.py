import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integer_oracles import Oracle
from traced import jit, normal

from attokit import quant
from attokit.zoo.convolution import conv

X = jax.nn.sigmoid(normal(4, 6, 6, 3))
V = {
    "conv": {"kernel": normal(3, 3, 3, 4), "bias": normal(4)},
    "head": {"kernel": normal(4, 5), "bias": normal(5)},
}


def network(v, x):
    x = conv(x, v["conv"]["kernel"], padding="SAME") + v["conv"]["bias"].reshape(1, 1, 1, -1)
    x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
    logits = jnp.mean(x, (1, 2)) @ v["head"]["kernel"] + v["head"]["bias"].reshape(1, -1)
    return {"logits": logits, "probabilities": nn.softmax(logits)}


@functools.cache
def traced():
    graph, weights = quant.trace(network, V, X)
    return graph, weights, quant.calibrate(graph, weights, [X])


@functools.cache
def run(kernels):
    return jit(quant.fake_quant(traced()[0], kernels).__call__)


@functools.cache
def integers(kernels):
    graph, weights, qparams = traced()
    values = jit(quant.fake_quant(graph, kernels).integers)(weights, qparams, X)
    return {name: np.asarray(value) for name, value in values.items()}


@pytest.mark.parametrize("kernels", quant.KERNELS)
def test_every_op_computes_the_kernels_integers(kernels):
    graph, weights, qparams = traced()
    oracle, found = Oracle(graph, weights, qparams, kernels), integers(kernels)
    # XNNPACK's MEAN is not reproduced exactly.
    bound = {"mean": 1} if kernels == "xnnpack" else {}
    for op in graph.ops:
        difference = np.abs(found[op.outputs[0]] - oracle.op(op, found))
        assert difference.max() <= bound.get(op.kind, 0), op.kind


@pytest.mark.parametrize("kernels", quant.KERNELS)
def test_outputs_are_the_integers_times_their_scale(kernels):
    graph, weights, qparams = traced()
    outputs = run(kernels)(weights, qparams, X)
    for name, path in zip(graph.outputs, graph.output_names, strict=True):
        scale, zero_point = Oracle(graph, weights, qparams, kernels).quantization(name)
        want = (integers(kernels)[name] - np.float32(zero_point)) * scale
        np.testing.assert_array_equal(outputs[path], want)


def test_outputs_are_close_to_the_float_graph():
    graph, weights, qparams = traced()
    got, want = run("reference")(weights, qparams, X), graph(weights, X)
    span = np.ptp(want["logits"])
    np.testing.assert_allclose(got["logits"], want["logits"], atol=0.02 * span)
    np.testing.assert_allclose(got["probabilities"], want["probabilities"], atol=0.05)


def test_the_same_under_vmap():
    graph, weights, qparams = traced()
    want = run("reference")(weights, qparams, X)
    each = jit(jax.vmap(quant.fake_quant(graph), (None, None, 0)))(weights, qparams, X[:, None])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, 0], b), each, want)


@pytest.mark.slow  # without jit each step compiles by itself
def test_the_same_without_jit():
    graph, weights, qparams = traced()
    want = run("reference")(weights, qparams, X)
    got = quant.fake_quant(graph)(weights, qparams, X)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.slow
def test_everything_has_a_finite_gradient():
    graph, weights, qparams = traced()

    @jit
    @jax.grad
    def gradient(parameters):
        outputs = quant.fake_quant(graph)(*parameters, X)
        return jnp.sum(outputs["logits"] ** 2) + jnp.sum(outputs["probabilities"] ** 2)

    of_weights, of_qparams = gradient((weights, qparams))
    for name, value in of_weights.items():
        assert np.isfinite(value).all(), name
        assert np.abs(value).max() > 0, name
    for name, value in of_qparams.items():
        assert np.isfinite(value.scale).all(), name
        assert np.isfinite(value.zero_point).all(), name
        assert np.abs(value.scale).max() > 0, name


@pytest.mark.slow
def test_training_lowers_the_loss_of_weights_and_scales():
    graph, weights, qparams = traced()
    target = graph(weights, X)["logits"] + 0.1

    def loss(parameters):
        return jnp.mean((quant.fake_quant(graph)(*parameters, X)["logits"] - target) ** 2)

    @jit
    def step(parameters):
        value, gradient = jax.value_and_grad(loss)(parameters)
        rates = (jnp.float32(0.02), jnp.float32(1e-6))  # scales are small and their sums large
        moved = [
            jax.tree.map(lambda p, g, rate=rate: p - rate * g, *pair)
            for rate, *pair in zip(rates, parameters, gradient, strict=True)
        ]
        return value, tuple(moved)

    parameters = (dict(weights), dict(qparams))
    first, parameters = step(parameters)
    for _ in range(20):
        last, parameters = step(parameters)
    assert last < 0.5 * first


def test_qparams_of_another_graph_are_refused_by_name():
    graph, weights, qparams = traced()
    for name in qparams:
        rest = {key: value for key, value in qparams.items() if key != name}
        with pytest.raises(ValueError, match=f"no entry {name!r}"):
            jax.eval_shape(quant.fake_quant(graph), weights, rest, X)


def test_bad_arguments_are_refused():
    graph, weights, qparams = traced()
    with pytest.raises(ValueError, match="no kernel set 'tpu'; choose one of reference"):
        quant.fake_quant(graph, "tpu")
    with pytest.raises(ValueError, match="'input' has shape"):
        quant.fake_quant(graph)(weights, qparams, X[:, :3])


def test_a_dead_channel_keeps_its_bias_exactly():
    v = {"kernel": normal(3, 2).at[:, 1].set(0), "bias": jnp.float32([0.5, 700])}
    x = jax.nn.sigmoid(normal(4, 3))
    graph, weights = quant.trace(lambda v, x: x @ v["kernel"] + v["bias"].reshape(1, -1), v, x)
    qparams = quant.calibrate(graph, weights, [x])
    out = jit(quant.fake_quant(graph).__call__)(weights, qparams, x)
    np.testing.assert_allclose(out[:, 1], 700, rtol=1 / 255)


def test_a_graph_without_ops_quantizes_its_input():
    x = normal(2, 3)
    graph, weights = quant.trace(lambda _, x: x, (), x)
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    out = jit(quant.fake_quant(graph).__call__)(weights, qparams, x)
    np.testing.assert_allclose(out, x, atol=0.51 * float(qparams["input"].scale))


def test_zero_points_are_rounded_before_use():
    _, weights, qparams = traced()
    moved = {
        name: dataclasses.replace(entry, zero_point=entry.zero_point + jnp.float32(0.3))
        for name, entry in qparams.items()
    }
    want = run("reference")(weights, qparams, X)
    got = run("reference")(weights, moved, X)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def _sums_of_integers(_, x):
    norms = x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True))
    rows = {"softmax": nn.softmax(8 * x), "mean": jnp.mean(x, (1, 2)), "tanh": jnp.tanh(x)}
    return rows, {"norms": norms, "logs": nn.log_softmax(8 * x)}


@functools.cache
def _with_sums(bits):
    only = slice(None) if bits == 8 else slice(1)  # int16 has no kernels of the others
    graph, weights = quant.trace(lambda v, x: _sums_of_integers(v, x)[only], {}, X)
    graph = quant.widen(graph) if bits == 16 else graph
    return graph, weights, quant.calibrate(graph, weights, [X])


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, "jaxpr", part)
                yield from _equations(inner) if hasattr(inner, "eqns") else ()


@pytest.mark.parametrize("bits", [8, 16])
def test_no_integer_is_summed_multiplied_or_shifted_in_64_bits(bits):
    """Sums of int32 are int64 in JAX's mode of 64 bits unless told otherwise; leading zeros and shifts follow."""
    graph, weights, qparams = _with_sums(bits)
    with jax.enable_x64(True):
        program = jax.make_jaxpr(quant.fake_quant(graph, "micro").integers)(weights, qparams, X)
    computing = [
        equation
        for equation in _equations(program.jaxpr)
        if equation.primitive.name.startswith(("reduce_sum", "mul", "clz", "shift"))
    ]
    assert len(computing) > 50
    for equation in computing:
        assert not {"int64", "uint64"} & {str(v.aval.dtype) for v in equation.invars}, equation


@pytest.mark.slow
@pytest.mark.parametrize("kernels", quant.KERNELS)
@pytest.mark.parametrize("bits", [8, 16])
def test_integers_are_the_same_in_64_bits(bits, kernels):
    graph, weights, qparams = _with_sums(bits)
    found = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            form = jit(quant.fake_quant(graph, kernels).integers)
            found.append(jax.tree.map(np.asarray, form(weights, qparams, X)))
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values, err_msg=name, strict=True)
