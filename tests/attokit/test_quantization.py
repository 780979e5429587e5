import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.quant import QuantParams, calibrate, trace
from attokit.quantization import (
    QuantizedNetwork,
    Quantizer,
    calibrate_on,
    calibration_images,
    images_at_once,
    initial_log_scales,
    qat_config,
    with_scales,
)
from attokit.train import TrainConfig, classification_task


@pytest.fixture(scope="module")
def traced():
    kernel = jnp.asarray(np.random.default_rng(0).normal(0, 0.3, (64, 3)), jnp.float32)
    variables = {"dense": {"kernel": kernel, "bias": jnp.zeros(3)}}

    def function(variables, x):
        dense = variables["dense"]
        return x.reshape(x.shape[0], -1) @ dense["kernel"] + dense["bias"][None]

    graph, weights = trace(function, variables, jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32))
    images = np.random.default_rng(1).random((4, 8, 8, 1), np.float32)
    return graph, weights, calibrate(graph, weights, [images])


def test_scales_multiply():
    qparams = {"a": QuantParams(jnp.float32(2), jnp.float32(3)), "b": QuantParams(jnp.ones(2), jnp.float32(0))}  # fmt: skip
    changed = with_scales(qparams, {"a": jnp.log(jnp.float32(1.5))})
    assert float(changed["a"].scale) == pytest.approx(3.0)
    assert float(changed["a"].zero_point) == 3
    assert changed["b"] is qparams["b"]


def test_the_scale_of_the_input_is_not_learned(traced):
    graph, _, qparams = traced
    learned = initial_log_scales(graph, qparams)
    assert learned.keys() == qparams.keys() - {"input"}
    assert all(not np.any(value) for value in learned.values())


def test_scales_are_frozen_by_name(traced):
    graph, _, qparams = traced
    learned = initial_log_scales(graph, qparams, freeze=["*/kernel"])
    assert set(learned) == {n for n in qparams if not n.endswith("/kernel")} - {"input"}
    with pytest.raises(ValueError, match="no range matches 'steam'"):
        initial_log_scales(graph, qparams, freeze=["steam"])


def test_scales_are_learned_by_name(traced):
    graph, _, qparams = traced
    assert set(initial_log_scales(graph, qparams, ["*/kernel"])) == {"dense/kernel"}
    assert initial_log_scales(graph, qparams, []) == {}
    with pytest.raises(ValueError, match="no range matches 'steam'"):
        initial_log_scales(graph, qparams, ["steam"])
    with pytest.raises(ValueError, match="no scale is left to learn of input without any"):
        initial_log_scales(graph, qparams, ["input"])
    with pytest.raises(ValueError, match=r"left to learn of dense/\* without \*"):
        initial_log_scales(graph, qparams, ["dense/*"], ["*"])


def test_network_is_the_integer_graph(traced):
    graph, weights, qparams = traced
    network = Quantizer(graph, task=classification_task()).network
    assert isinstance(network, QuantizedNetwork)
    images = jnp.asarray(np.random.default_rng(2).random((2, 8, 8, 1)), jnp.float32)
    params = {"weights": weights, "log_scales": initial_log_scales(graph, qparams)}
    run = jax.jit(lambda *args: network(*args, train=False, key=jax.random.key(0)))
    outputs, state = run(params, qparams, images)
    wanted = jax.jit(network.function)(weights, qparams, images)
    np.testing.assert_array_equal(outputs, wanted)
    assert state.keys() == qparams.keys()


def test_calibration_images(dataset):
    batches = calibration_images(dataset.split("train"), count=20, batch_size=8)
    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert batches[0].dtype == np.float32
    assert batches[0].min() >= 0
    assert batches[0].max() <= 1
    again = calibration_images(dataset.split("train"), count=20, batch_size=8)
    np.testing.assert_array_equal(batches[2], again[2])


def test_kernels_of_four_bits(traced, dataset):
    graph, weights, _ = traced
    source = dataset.split("train")
    qparams = calibrate_on(graph, weights, source, count=8, weight_bits={"dense/*": 4})
    assert qparams["dense/kernel"].bits == 4
    with pytest.raises(ValueError, match="weight_bits has 'steam': 4"):
        calibrate_on(graph, weights, None, weight_bits={"steam": 4})  # before it reads data


def test_calibration_shows_as_many_images_as_memory_holds(traced, monkeypatch):
    graph, _, _ = traced
    assert images_at_once(graph) == 128
    monkeypatch.setattr("attokit.quantization._ACTIVATIONS_AT_ONCE", 1000)
    assert images_at_once(graph) == 1000 // (64 + 64 + 3)
    monkeypatch.setattr("attokit.quantization._ACTIVATIONS_AT_ONCE", 1)
    assert images_at_once(graph) == 1


def test_qat_config():
    config = TrainConfig(epochs=6, learning_rate=0.1, ema_decay=0.99, eval_every=7)
    short = qat_config(config)
    assert (short.epochs, short.steps, short.eval_every) == (2.0, None, None)
    assert short.learning_rate == pytest.approx(0.01)
    assert short.ema_decay == 0.95
    assert qat_config(config, steps=5).epochs is None
    options = {"filter_gradients": ("a",), "filter_patch": 4, "distillation_weight": 0.3}
    taught = TrainConfig(epochs=6, distillation_temperature=4.0, **options)
    assert qat_config(taught) == qat_config(TrainConfig(epochs=6))  # no teacher, nothing filtered
    in_steps = qat_config(TrainConfig(steps=250))
    assert (in_steps.epochs, in_steps.steps) == (None, 25)
    assert qat_config(TrainConfig(steps=250), epochs=1.0).steps is None
    assert qat_config(config, epochs=0.5, learning_rate=1.0).learning_rate == 1.0
