import pytest

from attokit.cli import main


def _accuracy(text):
    line = next(line for line in text.splitlines() if "│ accuracy" in line)
    return float(line.split("│")[2])


def test_run_graph_and_file_agree(finished, capsys):
    folder, summary, _ = finished
    assert main(["evaluate", str(folder)]) == 0
    assert _accuracy(capsys.readouterr().out) == pytest.approx(summary.float_accuracy, abs=1e-4)
    assert main(["evaluate", str(folder), "--quantized"]) == 0
    assert _accuracy(capsys.readouterr().out) == pytest.approx(summary.qat_accuracy, abs=1e-4)
    file = str(folder / "model.tflite")
    for data in ([], ["--data", "fashion_mnist_subset"]):  # or the data of the run beside the file
        assert main(["evaluate", file, *data, "--batch-size", "10"]) == 0
        assert _accuracy(capsys.readouterr().out) == pytest.approx(summary.file_accuracy, abs=1e-4)


def test_file_on_its_own(run_dir, tmp_path, capsys):
    assert main(["export", str(run_dir), "--float", "--output", str(tmp_path / "x.tflite")]) == 0
    alone = ["evaluate", str(tmp_path / "x.tflite")]
    capsys.readouterr()
    assert main(alone) == 1
    assert "give --data" in capsys.readouterr().err
    alone += ["--data", "fashion_mnist_subset"]
    assert main(alone) == 0
    assumed = capsys.readouterr().out
    assert "assumed 0 to 1" in assumed
    assert main([*alone, "--input-range", "0", "1"]) == 0
    told = capsys.readouterr().out
    assert "assumed" not in told
    assert _accuracy(told) == _accuracy(assumed)
    assert main([*alone, "--input-range", "255", "0"]) == 1
    assert "give two finite numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing_here"], "is no run folder"),
        (["FILE", "--data", "nowhere"], "no data 'nowhere'"),
        (["RUN", "--split", "train2"], "has no split"),
        (["RUN", "--batch-size", "0"], "give at least 1"),
        (["FILE", "--quantized"], "only a run has a quantized graph"),
    ],
)
def test_bad_input(finished, capsys, arguments, text):
    places = {"RUN": str(finished[0]), "FILE": str(finished[0] / "model.tflite")}
    assert main(["evaluate", *(places.get(a, a) for a in arguments)]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
