import jax
import numpy as np
import pytest

from attokit.cli import main
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
        (["--method", "qat", "--freeze-scales", "stem*"], "add --learn-scales"),
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


@pytest.mark.parametrize("arguments", [[], ["--method", "qat"]])
def test_refuses_before_any_work(finished, monkeypatch, arguments):
    monkeypatch.setattr("attokit.commands.quantize.calibrate_on", None)
    assert main(["quantize", str(finished[0]), *arguments]) == 1


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


def test_no_run(tmp_path, capsys):
    assert main(["quantize", str(tmp_path)]) == 1
    assert "is no run folder" in capsys.readouterr().err
