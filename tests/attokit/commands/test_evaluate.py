import pytest

from attokit.cli import main


def _accuracy(text):
    line = next(line for line in text.splitlines() if "│ accuracy" in line)
    return float(line.split("│")[2])


def test_the_split_is_that_of_the_run(val_dir, capsys):
    assert main(["evaluate", str(val_dir)]) == 0
    assert "37 images" in " ".join(capsys.readouterr().out.split())


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


def _row(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_segmentation(segmented, segmented_dir, capsys):
    for overrides, suffix in (["output=argmax"], "argmax"), (["output=quarter"], "quarter"):
        assert main(["export", str(segmented_dir), "--overrides", *overrides]) == 0
        assert (segmented_dir / f"model_{suffix}.tflite").is_file()
    capsys.readouterr()
    found = {}
    for arguments in (
        ["RUN"], ["RUN", "--quantized"], ["RUN/model.tflite"], ["RUN/model_argmax.tflite"],
        ["RUN/model_quarter.tflite", "--batch-size", "4"],
    ):  # fmt: skip
        assert main(["evaluate", *(a.replace("RUN", str(segmented_dir)) for a in arguments)]) == 0
        text = capsys.readouterr().out
        found[arguments[-1]] = float(_row(text, "mean_iou")[1])
        values = [float(_row(text, name)[1]) for name in ("background", "grey", "bright")]
        assert sum(values) / 3 == pytest.approx(found[arguments[-1]], abs=1e-4)
        assert 0 < float(_row(text, "pixel_accuracy")[1]) <= 1
        assert ("│ loss" in text) == ("argmax" not in arguments[0])
    assert min(found.values()) > 0.5  # chance is 0.2
    assert found["RUN/model_argmax.tflite"] == found["RUN/model.tflite"]
    assert f"mean IoU on test {found['RUN']:.4f}" in segmented[1]
    assert f"mean IoU of the INT8 graph on test {found['--quantized']:.4f}" in segmented[1]


def test_data_of_another_task(finished, segmented, capsys):
    assert main(["evaluate", str(segmented[0]), "--data", "fashion_mnist_subset"]) == 1
    assert "must be those of the model" in capsys.readouterr().err
    assert main(["evaluate", str(segmented[0] / "model.tflite"), "--task", "classification"]) == 1
    assert "not what is known here" in capsys.readouterr().err


@pytest.mark.slow
def test_views_of_a_segmentation_model(segmented, capsys):
    run, file = str(segmented[0]), str(segmented[0] / "model.tflite")
    found = {}
    for name, arguments in {
        "plain": [run], "window": [run, "--window", "8", "8"], "flip": [run, "--flip"],
        "all": [run, "--flip", "--scales", "1", "2", "--window", "16", "16"],
        "file": [file, "--flip", "--scales", "2", "--window", "16", "16"],
        "graph": [run, "--quantized", "--flip", "--scales", "2", "--window", "16", "16"],
    }.items():  # fmt: skip
        assert main(["evaluate", *arguments]) == 0
        found[name] = float(_row(capsys.readouterr().out, "mean_iou")[1])
    assert min(found.values()) > 0.5  # chance is 0.2
    assert found["file"] == pytest.approx(found["graph"], abs=0.01)
    assert len(set(found.values())) > 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["FILE", "--scales", "1", "2"], "takes images of 16x16 only: see others"),
        (["RUN", "--quantized", "--window", "8", "8"], "(--window 16 16)"),
        (["RUN", "--scales", "0"], "one or more factors above 0"),
        (["RUN", "--window", "0", "8"], "give two sizes of 1 or more"),
        (["RUN", "--image-size", "16", "16", "1"], "takes 3 channels: give as many"),
        (["RUN", "--image-size", "0", "16", "3"], "give at least 1 of each"),
        (["RUN", "--image-size", "24", "24", "3"], "must be those of the model"),
        (["CLASSIFIER", "--flip"], "--flip changes nothing in classification"),
    ],
)
def test_views_that_do_not_fit(finished, segmented, capsys, arguments, text):
    places = {
        "RUN": str(segmented[0]), "FILE": str(segmented[0] / "model.tflite"),
        "CLASSIFIER": str(finished[0]),
    }  # fmt: skip
    assert main(["evaluate", *(places.get(a, a) for a in arguments)]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
