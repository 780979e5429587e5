import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit import quant
from attokit.quant.calibrate import kernel_scale
from attokit.quant.observers import OBSERVERS

X = jax.nn.sigmoid(normal(8, 3))
V = {"kernel": normal(3, 4), "bias": normal(4)}


def network(v, x):
    return nn.softmax(nn.relu(x @ v["kernel"] + v["bias"].reshape(1, -1)))


@pytest.fixture(scope="module")
def traced():
    return quant.trace(network, V, X)


@pytest.mark.parametrize("method", OBSERVERS)
def test_every_range_and_kernel_gets_integers_for_zero_points(traced, method):
    graph, weights = traced
    qparams = quant.calibrate(graph, weights, [X[:5], X[5:]], method=method)
    assert set(qparams) == {"input", "fully_connected", "kernel"}
    assert "softmax" in graph.fixed_ranges
    for entry in qparams.values():
        assert entry.scale.dtype == entry.zero_point.dtype == jnp.float32
        assert (entry.scale > 0).all()
        assert float(entry.zero_point) == round(float(entry.zero_point))


def test_minmax_covers_what_was_seen(traced):
    graph, weights = traced
    qparams = quant.calibrate(graph, weights, [X[:5], X[5:]])
    high = float(jnp.max(graph.intermediates(weights, X)["fully_connected"]))
    assert float(qparams["fully_connected"].scale) == pytest.approx(high / 255, rel=1e-5)
    assert float(qparams["fully_connected"].zero_point) == -128
    assert float(qparams["input"].scale) == np.float32(1 / 255)
    np.testing.assert_allclose(qparams["kernel"].scale, np.abs(V["kernel"]).max(0) / 127, rtol=1e-6)


def test_inputs_are_observed_without_a_range(traced):
    graph, weights = traced
    qparams = quant.calibrate(graph, weights, [4 * X - 2], input_range=None)
    low, high = float((4 * X - 2).min()), float((4 * X - 2).max())
    assert float(qparams["input"].scale) == pytest.approx((high - low) / 255, rel=1e-5)


def test_one_scale_per_kernel_on_request(traced):
    graph, weights = traced
    scale = quant.calibrate(graph, weights, [X], per_channel=False)["kernel"].scale
    np.testing.assert_allclose(scale, np.full(4, np.abs(V["kernel"]).max() / 127), rtol=1e-6)


@pytest.mark.parametrize(
    ("batches", "match"),
    [
        ([], "got no batch"),
        ([X, X.at[0, 0].set(jnp.nan)], "batch 1 of input 'input'.*not finite"),
        ([X * 255], r"spans \[.*outside of input_range=\(0.0, 1.0\)"),
        ([(np.asarray(X) * 255).astype(np.uint8)], "is uint8"),
        ([X[:0]], "holds no value"),
        ([X[:, :2]], "the graph was traced with"),
        ([(X, X)], "2 inputs given, the graph takes 1"),
        ([{"image": X}], "is object"),
    ],
)
def test_bad_batches_are_refused(traced, batches, match):
    with pytest.raises(ValueError, match=match):
        quant.calibrate(*traced, batches)


def test_an_array_is_no_list_of_batches_unless_they_are_stacked(traced):
    graph, weights = traced
    for bare in (X, np.asarray(X), X[0]):
        with pytest.raises(
            ValueError, match=r"batches is one array of shape .*: put it into a list"
        ):
            quant.calibrate(graph, weights, bare)
    stacked = quant.calibrate(graph, weights, X.reshape(2, 4, 3))
    assert stacked.keys() == quant.calibrate(graph, weights, [X]).keys()


def test_unknown_methods_and_overflows_are_refused(traced):
    graph, weights = traced
    with pytest.raises(ValueError, match="no calibration method 'entropy'; choose one of minmax"):
        quant.calibrate(graph, weights, [X], method="entropy")
    broken = {**weights, "kernel": weights["kernel"].at[0, 0].set(jnp.inf)}
    with pytest.raises(ValueError, match="batch 0 makes 'fully_connected' not finite"):
        quant.calibrate(graph, broken, [X])


def test_constants_cover_their_values():
    graph, weights = quant.trace(lambda v, x: x + v, jnp.float32([[-1, 0.5, 3]]), X)
    entry = quant.calibrate(graph, weights, [X])["weight"]
    assert float(entry.scale) == pytest.approx(4 / 255)
    assert float(entry.zero_point) == -64


def test_a_kernel_that_two_ops_share_covers_both():
    graph, weights = quant.trace(lambda v, x: nn.relu(x @ v) @ v, normal(3, 3), X)
    qparams = quant.calibrate(graph, weights, [X])
    np.testing.assert_allclose(
        qparams["weight"].scale, np.abs(weights["weight"]).max(0) / 127, rtol=1e-6
    )


@pytest.mark.parametrize("per_channel", [True, False])
def test_no_bias_overflows_int32(per_channel):
    kernel = np.float32([[0.0, 1e-6, 1.0], [0.0, -1e-7, -0.5]])  # the first: gamma 0
    bias, scale_in = np.float32([5000, 300, 0.1]), 1 / 255
    scale = kernel_scale(kernel, bias, scale_in, per_channel)
    assert scale.dtype == np.float32
    assert (np.abs(bias) / (scale_in * scale.astype(np.float64)) <= 2.0**30 * 1.001).all()
    assert (np.abs(kernel) <= 127.001 * scale).all()
    assert per_channel or len(set(scale)) == 1


def test_a_mask_saturates_apart_from_what_it_does_not_hide():
    hidden = jnp.arange(6) % 3 == 0

    def function(_, x):
        return jax.nn.softmax(jnp.where(hidden, -1e30, x))

    x = normal(4, 6)
    graph, weights = quant.trace(function, (), x)
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    name = graph.ops[-1].inputs[0]
    entry = qparams[graph.tensors[name].range_name]
    lowest = float(entry.scale) * (-128 - float(entry.zero_point))
    assert float(x.min()) - 7 < lowest < float(x.min()) - 5
    found = quant.fake_quant(graph)(weights, qparams, x)
    assert float(found[:, hidden].max()) <= 1 / 256
    np.testing.assert_allclose(found, function((), x), atol=0.02)


def test_symmetric_ranges_have_zero_point_0(traced):
    (graph, weights), images = traced, X
    qparams = quant.calibrate(graph, weights, [images], symmetric=True)
    inputs = {graph.tensors[name].range_name for name in graph.inputs}
    assert float(qparams[graph.inputs[0]].zero_point) == -128  # (0, 1) is a contract
    assert all(float(q.zero_point) == 0 for n, q in qparams.items() if n not in inputs)
    plain = quant.calibrate(graph, weights, [images])
    integers = quant.fake_quant(graph).integers(weights, qparams, images)
    free = [n for n, t in graph.tensors.items() if t.range_name in set(qparams) - inputs]
    assert min(int(integers[name].min()) for name in free) >= -127
    assert any(float(qparams[n].scale) > float(plain[n].scale) for n in free if n in plain)
    observed = quant.calibrate(graph, weights, [images], symmetric=True, input_range=None)
    assert float(observed[graph.inputs[0]].zero_point) == 0


@pytest.mark.parametrize("method", OBSERVERS)
def test_dead_and_constant_tensors_have_ranges(method):
    def function(_, x):
        return x * 0, jnp.tanh(x * 0) + 3, jnp.where(x > 2, jnp.float32(-1e9), -1e9)

    graph, weights = quant.trace(function, (), normal(2, 3))
    qparams = quant.calibrate(graph, weights, [normal(2, 3)], method=method, input_range=None)
    assert all(np.isfinite(q.scale) and float(q.scale) > 0 for q in qparams.values())
    found = quant.fake_quant(graph)(weights, qparams, normal(2, 3))
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1], 3, atol=0.03)


def test_hard_swish_gets_a_scale_that_its_kernel_accepts():
    x = normal(2, 3) - 1000
    graph, weights = quant.trace(lambda _, x: jax.nn.hard_swish(x), (), x)
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    (output,) = graph.outputs
    assert float(qparams[output].scale) > float(qparams["input"].scale) / 128


@pytest.mark.slow
def test_batch_norm_folds_also_where_a_kernel_has_one_scale():
    class ConvNorm(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)))

    x = jnp.abs(normal(2, 5, 5, 3)) / 4
    model = ConvNorm()
    variables = model.init(jax.random.key(0), x)
    variables["params"]["BatchNorm_0"]["scale"] = jnp.asarray([0.1, 5, 1, 0])
    graph, weights = quant.trace(model.apply, variables, x)
    assert [op.kind for op in graph.ops] == ["conv_2d"]
    qparams = quant.calibrate(graph, weights, [x], per_channel=False, input_range=None)
    assert np.unique(qparams["Conv_0/kernel"].scale).size == 1
    got = quant.fake_quant(graph)(weights, qparams, x)
    assert float(jnp.abs(got - model.apply(variables, x)).max()) < 0.1


def test_unknown_kernel_methods_are_refused(traced):
    (graph, weights), images = traced, X
    with pytest.raises(ValueError, match="no kernel method 'max'; choose one of minmax, mse"):
        quant.calibrate(graph, weights, [images], kernel_method="max")
