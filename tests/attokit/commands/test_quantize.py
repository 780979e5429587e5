import dataclasses
import json

import jax
import numpy as np
import pytest

from attokit.checkpoints.weights import load_metadata
from attokit.cli import main
from attokit.export import inspect
from attokit.runs import load_quantized, open_run


def test_ptq(run_dir, capsys):
    (run_dir / "quantized.safetensors").unlink()
    arguments = ["--calibration", "percentile", "--calibration-images", "16"]
    assert main(["quantize", str(run_dir), *arguments]) == 0
    assert "quantized.safetensors" in capsys.readouterr().out
    run = open_run(run_dir)
    _, float_weights = run.trace()
    weights, qparams = load_quantized(run.quantized_path)
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, float_weights[name])
    assert float(qparams["input"].scale) == pytest.approx(1 / 255)


@pytest.mark.slow
def test_passes_around_calibration_stay_with_the_run(run_dir, capsys):
    plain = load_quantized(run_dir / "quantized.safetensors")[0]
    post = ["--kernel-calibration", "mse", "--equalize", "--correct-bias"]
    arguments = ["quantize", str(run_dir), "--replace", "--calibration-images", "32", *post]
    assert main(arguments) == 0
    assert "not equalized: head: it leaves the graph" in capsys.readouterr().out
    run = open_run(run_dir)
    metadata = load_metadata(run.quantized_path)
    wanted = {"kernel_calibration": "mse", "equalize": "True", "correct_bias": "True"}
    assert wanted.items() <= metadata.items()
    _, weights, qparams = run.quantized()
    assert not np.array_equal(weights["conv/kernel"], plain["conv/kernel"])
    assert main(["export", str(run_dir)]) == 0
    assert main(["verify", str(run_dir)]) == 0
    again = run_dir / "quantized.safetensors"
    again.unlink()
    assert main(arguments) == 0  # the same arguments, the same numbers
    jax.tree.map(np.testing.assert_array_equal, load_quantized(again), (dict(weights), qparams))
    short = ["--method", "qat", "--steps", "2", "--qat-folder", "post"]
    assert main([*arguments, *short]) == 0
    settings = json.loads((run_dir / "post" / "config.json").read_text())
    wanted = {"kernel_calibration": "mse", "equalize": True, "correct_bias": True}
    assert settings["switches"] == {"post_training": wanted}
    trained = load_quantized(again)
    assert main([*arguments, *short, "--resume"]) == 0
    jax.tree.map(np.testing.assert_array_equal, load_quantized(again), trained)
    capsys.readouterr()
    assert main([*arguments[:-1], *short, "--resume"]) == 1
    assert "post_training was" in capsys.readouterr().err


@pytest.mark.slow
def test_qat_keeps_the_zeros_of_a_sparse_training(tiny, tmp_path):
    folder = tmp_path / "sparse"
    data = ["--model", "tiny", "--data", "fashion_mnist_subset", "--run-dir", str(folder)]
    length = ["--steps", "12", "--batch-size", "16", "--mesh", "data=1"]
    assert main(["train", *data, *length, "--kept-shares", "*/kernel", "0.3"]) == 0
    before = open_run(folder).trace()[1]
    short = ["--calibration-images", "32", "--method", "qat", "--steps", "4"]
    assert main(["quantize", str(folder), *short]) == 0
    after, _ = load_quantized(folder / "quantized.safetensors")
    for name in ("conv/kernel", "head/kernel"):
        old, new = np.asarray(before[name]), np.asarray(after[name])
        assert 0.6 < (old == 0).mean() < 0.75
        np.testing.assert_array_equal(new == 0, old == 0)
        assert not np.array_equal(new, old)
    settings = json.loads((folder / "qat" / "config.json").read_text())
    assert settings["switches"] == {"sparse": ["*/kernel"]}


@pytest.mark.slow
def test_qat_with_learned_scales(run_dir, capsys):
    before_weights, before = load_quantized(run_dir / "quantized.safetensors")
    arguments = ["--method", "qat", "--steps", "3", "--learn-scales", "--qat-folder", "qat2"]
    arguments += ["--replace"]
    assert main(["quantize", str(run_dir), *arguments]) == 0
    weights, qparams = load_quantized(run_dir / "quantized.safetensors")
    assert (run_dir / "qat2" / "metrics.jsonl").exists()
    assert float(qparams["input"].scale) == float(before["input"].scale)  # a contract
    changed = [n for n in qparams if not np.array_equal(qparams[n].scale, before[n].scale)]
    assert set(changed) == qparams.keys() - {"input"}
    assert not np.array_equal(weights["conv/kernel"], before_weights["conv/kernel"])
    assert main(["export", str(run_dir)]) == 0
    assert main(["verify", str(run_dir)]) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--calibration-images", "0"], "give at least 1"),
        (["--epochs", "1"], "change nothing in ptq"),
        (["--scale-learning-rate", "0.01"], "scale_learning_rate 0.01 changes nothing"),
        (["--method", "qat", "--freeze-scales", "stem*"], "add --learn-scales"),
        (["--learn", "head/*"], "learn change nothing in ptq"),
        (["--method", "qat", "--learn", "head/*", "--learn-scales"], "give one of them"),
        (
            ["--method", "qat", "--qat-folder", "x", "--replace", "--learn", "tail/*"],
            "no range fits 'tail/*'",
        ),
        (["--dampening", "0.1", "--distill"], "dampening, distill change nothing in ptq"),
        (["--method", "qat", "--dampening", "-1"], "give a weight of 0"),
        (["--method", "qat", "--freeze-scales-after", "0.5"], "add --learn-scales"),
        (["--method", "qat", "--distillation-weight", "0.3"], "add --distill or --teacher"),
        (["--method", "qat", "--distill", "--teacher", "x"], "teacher is 'x': give one of them"),
        (["--replace", "--reestimate-bn", "0"], "give at least 1 batch"),
        (
            ["--method", "qat", "--qat-folder", "x", "--replace", "--teacher", "nobody"],
            "teacher 'nobody' is no run folder",
        ),
        (["--replace", "--weight-bits", "5"], "are not 4 or 8"),
        (["--replace", "--weight-bits", "tail/*=4"], "a pattern fits one at least"),
        (["--replace", "--int8", "head"], "int8 head changes nothing"),
        (["--replace", "--int16", "tail/*"], "no tensor that an op makes fits 'tail/*'"),
        (["--replace", "--float32", "tail/*"], "no tensor that an op makes fits 'tail/*'"),
        (["--method", "qat", "--epochs", "1", "--steps", "1"], "give one of them"),
        (["--calibration", "median"], "invalid choice"),
        (["--method", "qat"], "already holds a run"),
        (["--method", "qat", "--qat-folder", "other"], "is the result of a QAT: give --replace"),
        ([], "is the result of a QAT: give --replace"),
        (["--replace", "--data", "nowhere"], "no data 'nowhere'"),
        (["--replace", "--split", "validation"], "no split 'validation'"),
    ],
)
def test_bad_input(finished, capsys, arguments, text):
    assert main(["quantize", str(finished[0]), *arguments]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_qat_of_a_segmentation_model_with_some_scales_and_four_bits(segmented_dir, capsys):
    before_weights, before = load_quantized(segmented_dir / "quantized.safetensors")
    arguments = [
        "--method",
        "qat",
        "--steps",
        "3",
        "--learn",
        "head/*",
        "--weight-bits",
        "head/*=4",
    ]
    assert main(["quantize", str(segmented_dir), *arguments, "--calibration-images", "32"]) == 0
    assert "mean IoU of the INT8 graph on test" in capsys.readouterr().out
    file = segmented_dir / "quantized.safetensors"
    weights, qparams = load_quantized(file)
    assert {n for n, entry in qparams.items() if entry.bits == 4} == {"head/kernel"}
    assert load_metadata(file)["weight_bits"] == "head/*=4"
    settings = json.loads((segmented_dir / "qat" / "config.json").read_text())
    assert settings["switches"] == {"learn": ["head/*"], "weight_bits": ["head/*=4"]}
    changed = {n for n in qparams if not np.array_equal(qparams[n].scale, before[n].scale)}
    assert changed == {"head/kernel"}
    assert not np.array_equal(weights["conv/kernel"], before_weights["conv/kernel"])
    assert main(["export", str(segmented_dir)]) == 0
    kinds = {tensor.dtype for tensor in inspect(segmented_dir / "model.tflite").main.tensors}
    assert "int4" in kinds
    assert main(["verify", str(segmented_dir)]) == 0


@pytest.mark.parametrize("method", ["ptq", pytest.param("qat", marks=pytest.mark.slow)])
def test_types_of_ops_stay_with_the_run(run_dir, capsys, method):
    arguments = ["--int16", "*", "--int8", "conv", "--float32", "head", "--replace"]
    if method == "qat":
        arguments += ["--method", "qat", "--steps", "1", "--qat-folder", "types"]
    assert main(["quantize", str(run_dir), *arguments, "--calibration-images", "16"]) == 0
    assert "of the INT8, INT16 and FLOAT32 graph" in capsys.readouterr().out
    own = open_run(run_dir).precision().settings()
    assert own == {"int16": ["*"], "int8": ["conv"], "float32": ["head"]}
    if method == "qat":
        assert json.loads((run_dir / "types/config.json").read_text())["switches"] == own
    assert main(["export", str(run_dir)]) == 0
    tensors = {t.name: t.dtype for t in inspect(run_dir / "model.tflite").main.tensors}
    assert [tensors[n] for n in ("input", "conv", "mean", "head", "head/kernel")] == [
        "int8", "int8", "int16", "float32", "float32",
    ]  # fmt: skip
    assert main(["verify", str(run_dir)]) == 0
    assert main(["export", str(run_dir), "--int16", "*"]) == 1
    assert "a run has its types: give --int16 to attokit quantize" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--method", "qat"]])
def test_refuses_before_any_work(finished, monkeypatch, arguments):
    monkeypatch.setattr("attokit.commands.quantize.quantize_on", None)
    assert main(["quantize", str(finished[0]), *arguments]) == 1


def test_a_split_that_is_not_there_is_refused_before_any_work(val_dir, monkeypatch, capsys):
    monkeypatch.setattr("attokit.commands.quantize.quantize_on", None)
    assert main(["quantize", str(val_dir), "--replace", "--split", "test"]) == 1
    assert "has no split 'test': choose one of train, val" in capsys.readouterr().err


@pytest.mark.slow
def test_the_split_is_that_of_the_run(val_dir, capsys):
    command = ["quantize", str(val_dir), "--replace", "--calibration-images", "16"]
    command += ["--method", "qat", "--steps", "2", "--qat-folder", "short"]
    assert main(command) == 0
    assert "INT8 graph on val" in capsys.readouterr().out
    log = (val_dir / "short" / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["split"] for line in log} == {"train", "val"}


@pytest.mark.slow
def test_ptq_in_place_of_qat_and_back(run_dir):
    first = load_quantized(run_dir / "quantized.safetensors")
    short = ["--calibration-images", "32"]
    assert main(["quantize", str(run_dir), "--replace", *short]) == 0
    assert main(["quantize", str(run_dir), *short]) == 0  # over another PTQ
    between, _ = load_quantized(run_dir / "quantized.safetensors")
    back = ["--method", "qat", "--epochs", "2", "--resume"]
    assert main(["quantize", str(run_dir), *back, *short]) == 0
    again = load_quantized(run_dir / "quantized.safetensors")
    jax.tree.map(np.testing.assert_array_equal, again, first)
    assert not np.array_equal(between["conv/kernel"], again[0]["conv/kernel"])


@pytest.mark.slow
def test_a_training_goes_on_as_it_began(run_dir, capsys):
    command = ["quantize", str(run_dir), "--method", "qat", "--epochs", "2", "--resume"]
    command += ["--calibration-images", "32"]
    assert main([*command, "--correct-bias", "--weight-bits", "4", "--float32", "head"]) == 1
    assert (
        "(float32 was 'off', now ['head']; post_training was 'off', now {'correct_bias': True}; "
        "weight_bits was 'off', now ['4'])" in capsys.readouterr().err
    )
    file = run_dir / "qat" / "config.json"
    settings = json.loads(file.read_text())
    assert settings.pop("switches") == {}
    older = {"post_training": {"equalize": True}, "weight_bits": ["4"]}  # as they once lay there
    file.write_text(json.dumps(settings | older))
    assert main(command) == 1
    assert "post_training was {'equalize': True}, now 'off'; " in capsys.readouterr().err
    file.write_text(json.dumps(settings | {"post_training": {}}))
    assert main(command) == 0


@pytest.mark.slow
def test_batch_statistics_measured_again_stay_with_the_run(run_dir, capsys):
    """What comes after, export and the proof, takes the weights that they were folded into."""
    run = open_run(run_dir)
    before = run.weights_path.read_bytes()
    arguments = ["--replace", "--calibration-images", "16", "--reestimate-bn", "3"]
    assert main(["quantize", str(run_dir), *arguments]) == 0
    assert "measuring batch statistics over 3 batches" in capsys.readouterr().out
    assert load_metadata(run.quantized_path)["reestimate_bn"] == "3"
    assert run.weights_path.read_bytes() == before  # the float run is what it was
    graph, folded = run.trace()
    weights, _ = load_quantized(run.quantized_path)
    assert not np.array_equal(weights["conv/kernel"], folded["conv/kernel"])
    np.testing.assert_array_equal(weights["head/kernel"], folded["head/kernel"])
    own, again, _ = run.quantized()
    assert [(op.kind, op.inputs) for op in own.ops] == [(op.kind, op.inputs) for op in graph.ops]
    jax.tree.map(np.testing.assert_array_equal, dict(again), dict(weights))
    assert main(["export", str(run_dir)]) == 0
    assert main(["verify", str(run_dir)]) == 0
    assert main(["quantize", str(run_dir), *arguments]) == 0
    jax.tree.map(np.testing.assert_array_equal, load_quantized(run.quantized_path)[0], weights)


def test_no_batch_statistics_to_measure(segmented, capsys):
    assert main(["quantize", str(segmented[0]), "--reestimate-bn", "3"]) == 1
    assert "the network has no batch norm whose statistics" in capsys.readouterr().err


@pytest.mark.slow
def test_qat_with_every_switch(run_dir, capsys):
    arguments = ["--method", "qat", "--steps", "6", "--qat-folder", "all", "--learn-scales"]
    switches = ["--dampening", "0.1", "--freeze-flips", "0.4", "0.2", "--flip-momentum", "0.15"]
    switches += ["--freeze-scales-after", "0.5", "--reestimate-bn", "3"]
    taught = ["--distill", "--distillation-weight", "0.3"]
    command = ["quantize", str(run_dir), *arguments]
    assert main([*command, *switches, *taught, "--replace"]) == 0
    assert "% of the values of kernels are frozen" in capsys.readouterr().out
    settings = json.loads((run_dir / "all" / "config.json").read_text())
    assert settings["config"]["distillation_weight"] == 0.3
    assert settings["switches"] == {
        "reestimate_bn": 3, "dampening": 0.1, "freeze_flips": [0.4, 0.2], "flip_momentum": 0.15,
        "freeze_scales_after": 0.5, "teacher": "the float network of the run",
    }  # fmt: skip
    first = load_quantized(run_dir / "quantized.safetensors")
    elsewhere = run_dir.rename(run_dir.with_name("moved"))
    command[1] = str(elsewhere)
    assert main([*command, *switches, *taught, "--resume"]) == 0
    again = load_quantized(elsewhere / "quantized.safetensors")
    jax.tree.map(np.testing.assert_array_equal, again, first)
    capsys.readouterr()
    assert (
        main(
            [
                *command,
                *switches,
                "--teacher",
                str(elsewhere),
                "--distillation-weight",
                "0.3",
                "--resume",
            ]
        )
        == 1
    )
    assert "teacher was 'the float network of the run', now" in capsys.readouterr().err
    assert main([*command, *switches[2:], *taught, "--resume"]) == 1
    assert "dampening was 0.1, now 'off'" in capsys.readouterr().err
    assert main([*command, *switches[:-2], *taught, "--resume"]) == 1
    assert "reestimate_bn was 3, now 'off'" in capsys.readouterr().err
    assert main(["export", str(elsewhere)]) == 0
    assert main(["verify", str(elsewhere)]) == 0


@pytest.mark.parametrize("command", [["quantize", "--replace"], ["sensitivity"]])
def test_data_of_other_classes(run_dir, dataset, monkeypatch, capsys, command):
    other = dataclasses.replace(dataset, class_names=("dark", "green", "grey", "bright"))
    monkeypatch.setattr("attokit.datasets.load_fashion_mnist_subset", lambda size: other)
    assert main([*command, str(run_dir)]) == 1
    told = capsys.readouterr().err
    assert "knows 3 classes, fashion_mnist_subset has 4, and number 1 is 'grey' of the run" in told


def test_no_run(tmp_path, capsys):
    assert main(["quantize", str(tmp_path)]) == 1
    assert "is no run folder" in capsys.readouterr().err
