import dataclasses
import io
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from attokit.learned_scales import initial_log_scales
from attokit.quant import calibrate, fake_quant, trace
from attokit.quantization import (
    QuantizedNetwork,
    Quantizer,
    calibration_images,
    images_at_once,
    on_this_machine,
    qat_config,
    sparse_patterns,
)
from attokit.steadying import Steadying
from attokit.train import (
    Teacher,
    TrainBatches,
    TrainConfig,
    classification_task,
    distillation_loss,
    read_metrics,
)
from attokit.train.mesh import check_batch_size, named_mesh


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


QAT = TrainConfig(
    steps=8, batch_size=16, learning_rate=0.1, ema_decay=0.5, checkpoint_every=4, mesh="data=1"
)
FLIPS = {"freeze_flips": (0.4, 0.2), "flip_momentum": 0.15}


@pytest.mark.parametrize(
    ("config", "mesh"),  # on 8 devices
    [
        (TrainConfig(steps=1, batch_size=16), None),
        (TrainConfig(steps=1, batch_size=16, mesh="data=2,fsdp=2"), "data=2,fsdp=2"),
        (TrainConfig(steps=1, batch_size=16, mesh="data=16"), None),
        (TrainConfig(steps=1, batch_size=20), "data=5"),
        (TrainConfig(steps=1, batch_size=20, mesh="data=20"), "data=5"),
        (TrainConfig(steps=1, batch_size=12, mesh="fsdp=2"), "data=6"),
        (TrainConfig(steps=1, batch_size=24, accumulate=2), "data=6"),
        (TrainConfig(steps=1, batch_size=11), "data=1"),
    ],
)
def test_settings_fit_this_machine(config, mesh):
    found = on_this_machine(config)
    assert found == dataclasses.replace(config, mesh=mesh)
    check_batch_size(config.batch_size, named_mesh(mesh), parts=config.accumulate)


def _scores(params, model_state, inputs, *, train, key):
    """The share of light in each third of an image, in inference only."""
    assert not train
    return inputs.reshape(inputs.shape[0], -1)[:, :63].reshape(-1, 3, 21).mean(-1), model_state


TEACHER = Teacher(name="thirds", forward=_scores, params={}, model_state={})


def _train(traced, dataset, folder, config=QAT, **options):
    graph, weights, qparams = traced
    return Quantizer(graph, task=classification_task()).train(
        weights, qparams, dataset, config, folder, console=Console(file=io.StringIO()), **options
    )


SWITCHES = {
    "dampening": {"steadying": Steadying(dampening=100.0)},
    "freeze_flips": {"steadying": Steadying(**FLIPS)},
    "freeze_scales_after": {"steadying": Steadying(freeze_scales_after=0.75), "learn": ["*"]},
    "teacher": {"teacher": TEACHER},
    "all": {
        "steadying": Steadying(dampening=0.1, freeze_scales_after=0.75, **FLIPS),
        "teacher": TEACHER,
        "learn": ["*"],
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SWITCHES)
def test_switches_act_and_go_on_bit_for_bit(traced, dataset, tmp_path, name):
    options = SWITCHES[name]
    whole = _train(traced, dataset, tmp_path / "whole", **options)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "8")
    graph, weights, qparams = traced
    elsewhere = {  # as another machine would calibrate: the run's own are in its checkpoint
        name: dataclasses.replace(entry, scale=entry.scale * jnp.float32(1.01))
        for name, entry in qparams.items()
    }
    again = (graph, weights, elsewhere)
    resumed = _train(again, dataset, tmp_path / "cut", resume=True, **options)
    jax.tree.map(np.testing.assert_array_equal, resumed.fit.state, whole.fit.state)
    assert resumed.frozen == whole.frozen
    assert (whole.frozen is not None) == (name in ("freeze_flips", "all"))
    assert whole.frozen is None or 0 < whole.frozen < 1
    without = {key: value for key, value in options.items() if key == "learn"}
    off = _train(traced, dataset, tmp_path / "off", **without)
    changed = "log_scales" if name == "freeze_scales_after" else "weights"
    values = [run.fit.state.params[changed]["dense/kernel"] for run in (whole, off)]
    assert not np.array_equal(*values)


@pytest.mark.parametrize(
    "further",
    [
        {},
        pytest.param(
            {"learn": ["*"], "steadying": Steadying(dampening=0.1, **FLIPS)},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_zeros_of_sparse_weights_stay(traced, dataset, tmp_path, further):
    graph, weights, qparams = traced
    zero = np.random.default_rng(3).random((64, 3)) < 0.5
    weights = weights | {"dense/kernel": jnp.where(zero, 0.0, weights["dense/kernel"])}
    config = dataclasses.replace(QAT, steps=3, checkpoint_every=None, ema_decay=None)
    options = {"sparse": ["*/kernel"], **further}
    found = _train((graph, weights, qparams), dataset, tmp_path, config, **options).weights
    kernel = np.asarray(found["dense/kernel"])
    assert (kernel[zero] == 0).all()
    assert (kernel[~zero] != np.asarray(weights["dense/kernel"])[~zero]).mean() > 0.9
    assert np.asarray(found["dense/bias"]).all()  # zeros that no pattern names are trained
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["switches"]["sparse"] == ["*/kernel"]


def test_patterns_of_what_is_folded_are_left_out(traced):
    _, weights, _ = traced
    shares = (("*/kernel", 0.5), ("norm/scale", 0.5))
    config = dataclasses.replace(QAT, ema_decay=None, kept_shares=shares)
    assert sparse_patterns(config, weights) == ["*/kernel"]


@pytest.mark.slow
def test_switches_are_those_that_a_run_began_with(traced, dataset, tmp_path):
    config = dataclasses.replace(QAT, steps=1, checkpoint_every=None)
    own = Steadying(dampening=0.1)
    _train(traced, dataset, tmp_path, config, steadying=own, extra={"switches": {"other": 3}})
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["switches"] == {"dampening": 0.1, "other": 3}
    off = r"freeze_scales was 'off', now \['dense/\*'\]; learn was 'off', now \['dense\*'\]"
    with pytest.raises(ValueError, match=off):
        _train(
            traced, dataset, tmp_path, config, steadying=own, extra={"switches": {"other": 3}},
            resume=True, learn=("dense*",), freeze=("dense/*",),
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"dampening was 0.1, now 'off'; other was 3, now 'off'"):
        _train(traced, dataset, tmp_path, config, resume=True)
    with pytest.raises(
        ValueError, match=r"other was 3, now 'off'; teacher was 'off', now 'thirds'"
    ):
        _train(traced, dataset, tmp_path, config, steadying=own, teacher=TEACHER, resume=True)


@pytest.mark.slow
def test_distillation_in_integers_has_the_loss_that_it_should(traced, dataset, tmp_path):
    settings = {"distillation_weight": 0.3, "distillation_temperature": 4.0}
    config = dataclasses.replace(QAT, steps=1, log_every=1, checkpoint_every=None, **settings)
    _train(traced, dataset, tmp_path, config, teacher=TEACHER)
    graph, weights, qparams = traced
    batch = TrainBatches(
        dataset.split("train"), batch_size=16, steps=1, seed=config.seed, augment=config.augment
    )[0]
    images = jnp.asarray(batch["images"], jnp.float32) / jnp.float32(255)
    student = jax.nn.log_softmax(fake_quant(graph)(weights, qparams, images))
    labelled = -student[np.arange(16), batch["labels"]].mean()
    taught = distillation_loss(
        fake_quant(graph)(weights, qparams, images), TEACHER.outputs(({}, {}), images), 4.0
    ).mean()
    assert float(taught) > 0.01
    first = next(read_metrics(tmp_path / "metrics.jsonl"))
    assert first["loss"] == pytest.approx(float(0.7 * labelled + 0.3 * taught), rel=1e-5)


def test_switches_that_change_nothing(traced, dataset, tmp_path):
    with pytest.raises(ValueError, match=r"0.5 changes nothing where no scale learns"):
        _train(traced, dataset, tmp_path, steadying=Steadying(freeze_scales_after=0.5))
    rates = dataclasses.replace(QAT, rate_factors=(("*", 0.5),))
    with pytest.raises(ValueError, match="has to move at the full rate"):
        _train(traced, dataset, tmp_path, rates, steadying=Steadying(**FLIPS))
    weighted = dataclasses.replace(QAT, distillation_weight=0.3)
    with pytest.raises(ValueError, match="changes nothing without a teacher"):
        _train(traced, dataset, tmp_path, weighted)
