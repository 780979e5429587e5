import json

import jax.numpy as jnp
import numpy as np
import pytest

from attokit.quant import QuantParams
from attokit.runs import describe_run, load_quantized, open_run, save_quantized


def test_open(finished, dataset):
    run = open_run(finished[0])
    assert (run.model, run.overrides, run.image_shape) == ("tiny", {}, (8, 8, 1))
    assert run.config.mesh == "data=1"
    settings = json.loads((finished[0] / "config.json").read_text())
    described = describe_run("tiny", {}, "fashion_mnist_subset", dataset)
    assert {name: settings[name] for name in described} == described


def test_graph_computes_what_the_network_computes(finished):
    run = open_run(finished[0])
    images = jnp.asarray(np.random.default_rng(0).random((2, 8, 8, 1)), jnp.float32)
    graph, weights = run.trace()
    wanted = run.network().apply(run.variables(), images)
    np.testing.assert_allclose(graph(weights, images), wanted, atol=1e-4)


def test_quantized_weights_come_back(tmp_path):
    weights = {"a/b/kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)}
    qparams = {
        "a/b/kernel": QuantParams(jnp.ones(3), jnp.float32(0)),
        "input": QuantParams(jnp.float32(1 / 255), jnp.float32(-128)),
        "head/kernel": QuantParams(jnp.ones(2), jnp.float32(0), 4),
    }
    save_quantized(tmp_path / "q.safetensors", weights, qparams, {"method": "ptq"})
    loaded_weights, loaded = load_quantized(tmp_path / "q.safetensors")
    assert loaded_weights.keys() == weights.keys()
    assert loaded.keys() == qparams.keys()
    np.testing.assert_array_equal(loaded_weights["a/b/kernel"], weights["a/b/kernel"])
    assert loaded["input"].scale == qparams["input"].scale
    assert loaded["a/b/kernel"].zero_point.shape == ()
    assert {name: entry.bits for name, entry in loaded.items()} == {
        "a/b/kernel": 8, "input": 8, "head/kernel": 4,
    }  # fmt: skip


def test_task(run_dir, segmented):
    assert open_run(segmented[0]).task == "segmentation"
    file = run_dir / "config.json"
    settings = json.loads(file.read_text())
    assert settings.pop("task") == "classification"
    file.write_text(json.dumps(settings))  # as before there were others
    assert open_run(run_dir).task == "classification"
    file.write_text(json.dumps(settings | {"task": "origami"}))
    with pytest.raises(ValueError, match="task 'origami' is none of classification, segmentation"):
        open_run(run_dir)


def test_bad_folders(run_dir, tmp_path):
    with pytest.raises(ValueError, match="is no run folder"):
        open_run(tmp_path)
    with pytest.raises(ValueError, match=r"cannot read weights.*fetch the file again"):
        (run_dir / "weights.safetensors").write_bytes(b"cut")
        open_run(run_dir).variables()
    (run_dir / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match="has no trained weights"):
        open_run(run_dir).variables()
    (run_dir / "config.json").write_text('{"config": {}}')
    with pytest.raises(ValueError, match="is damaged or was not written by attokit train"):
        open_run(run_dir)
    (run_dir / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        open_run(run_dir)
    save_quantized(tmp_path / "q.safetensors", {}, {}, {})
