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
    file = [str(folder / "model.tflite"), "--data", "fashion_mnist_subset", "--batch-size", "10"]
    assert main(["evaluate", *file]) == 0
    assert _accuracy(capsys.readouterr().out) == pytest.approx(summary.file_accuracy, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing_here"], "is no run folder"),
        (["FILE"], "give --data"),
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
