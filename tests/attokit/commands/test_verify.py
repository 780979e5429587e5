import numpy as np
import pytest

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
