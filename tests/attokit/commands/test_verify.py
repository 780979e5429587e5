import json

import numpy as np
import pytest

from attokit import quant
from attokit.cli import main
from attokit.runs import load_quantized, open_run, save_quantized


@pytest.mark.parametrize("arguments", [[], ["--random-images"], ["--kernels", "xnnpack"]])
def test_equal(finished, capsys, arguments):
    assert main(["verify", str(finished[0]), *arguments]) == 0
    assert "ok (" in capsys.readouterr().out


def test_other_weights_differ(run_dir, capsys):
    run = open_run(run_dir)
    weights, qparams = load_quantized(run.quantized_path)
    weights = dict(weights) | {"head/kernel": np.asarray(weights["head/kernel"]) * 0.5}
    save_quantized(run.quantized_path, weights, qparams, {})
    assert main(["verify", str(run_dir)]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


@pytest.mark.slow
def test_file_of_a_name(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made_of = ["--data", "fashion_mnist_subset", "--overrides", "width=8"]
    assert main(["export", "tiny", *made_of]) == 0
    assert main(["verify", "tiny", *made_of]) == 0
    assert "ok (" in capsys.readouterr().out
    assert main(["export", "tiny", "--float", "--output", "other.tflite"]) == 0
    assert main(["verify", "other.tflite", "--source", "tiny"]) == 0
    assert "ok (" in capsys.readouterr().out
    for other in (["tiny"], ["other.tflite", "--source", "tiny", "--overrides", "width=8"]):
        assert main(["verify", *other]) == 1
        assert "it was written from another graph" in capsys.readouterr().err


def test_file_that_was_fitted_into_memory(run_dir, monkeypatch, capsys):
    # The network is too small to be split unless asked for.
    monkeypatch.setattr(
        quant, "fit_memory", lambda graph: quant.split_rows(graph, "input", "conv", 2)
    )
    assert main(["export", str(run_dir), "--fit-memory"]) == 0
    assert main(["verify", str(run_dir), "--fit-memory"]) == 0
    assert "conv/rows_1" in capsys.readouterr().out


def test_bad_source(run_dir, tmp_path, capsys):
    file = str(run_dir / "model.tflite")
    assert main(["verify", file, "--source", "runs/typo"]) == 1
    assert "check the path of the run" in capsys.readouterr().err
    assert main(["verify", file, "--data", "fashion_mnist_subset"]) == 1
    assert "leave --data out" in capsys.readouterr().err
    assert main(["verify", str(run_dir), "--source", "tiny"]) == 1
    assert "--source says what a .tflite file was exported from" in capsys.readouterr().err
    assert main(["verify", "tiny"]) == 1
    assert "run attokit export tiny first" in capsys.readouterr().err


def test_bad_input(run_dir, tmp_path, capsys):
    (run_dir / "cut.tflite").write_bytes((run_dir / "model.tflite").read_bytes()[:500])
    assert main(["verify", str(run_dir / "cut.tflite")]) == 1
    assert "cut short or damaged" in capsys.readouterr().err
    (run_dir / "model.tflite").unlink()
    assert main(["verify", str(run_dir)]) == 1
    assert "run attokit export" in capsys.readouterr().err
    assert main(["verify", str(run_dir), "--images", "0"]) == 1
    assert "give at least 1" in capsys.readouterr().err
    assert main(["verify", "runs/typo"]) == 1
    assert "there is no 'runs/typo'" in capsys.readouterr().err


@pytest.mark.slow
def test_report(finished, dataset, tmp_path, capsys):
    file = tmp_path / "noise.json"
    arguments = ["verify", str(finished[0]), "--images", "1", "--report", "--report-images", "40"]
    assert main([*arguments, "--output", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "signal to quantization noise over 37 images" in printed and f"wrote {file}" in printed
    read = json.loads(file.read_text())
    assert {layer["tensor"] for layer in read["layers"]} >= {"input", "conv", "head"}
    assert read["outputs_db"]["output"] > 20
    test, worst = dataset.splits["test"].read(np.arange(37)), read["worst_images"]
    names = [dataset.class_names[test["labels"][row["index"]]] for row in worst]
    assert [row["label"] for row in worst] == names and len(worst) == 10
    for wrong, message in (
        (["--output", "noise.json"], "is where a report is written: add --report"),
        (["--report", "--output", "noise.txt"], "ends in none of .json, .md"),
        (["--report", "--report-images", "0"], "report_images is 0: give at least 1"),
    ):
        assert main(["verify", str(finished[0]), *wrong]) == 1
        assert message in capsys.readouterr().err


def test_a_float_file_has_no_report(run_dir, capsys):
    assert main(["export", str(run_dir), "--float"]) == 0
    file = str(run_dir / "model_float.tflite")
    assert main(["verify", file, "--report"]) == 1
    assert "without noise of quantization" in capsys.readouterr().err


def test_segmentation(segmented, capsys):
    assert main(["verify", str(segmented[0])]) == 0
    assert "ok (reference kernels)" in capsys.readouterr().out
