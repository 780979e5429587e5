import dataclasses
import json

import pytest

from attokit import export
from attokit.quickstart import quickstart
from attokit.runs import open_run


def test_summary(finished):
    folder, summary, text = finished
    assert summary.verified
    assert summary.float_accuracy > 0.6  # chance is a third
    # The reference kernels of the graph and LiteRT's default ones may differ by one unit.
    assert abs(summary.qat_accuracy - summary.file_accuracy) < 0.1
    assert summary.file_bytes == (folder / "model.tflite").stat().st_size
    assert summary.parameters == 3 * 3 * 4 + 4 + 4 * 3 + 3
    assert summary.macs == 4 * 4 * 4 * 9 + 4 * 3
    assert "the file in LiteRT" in text
    assert "s since the start" in text
    assert json.loads((folder / "summary.json").read_text())["macs"] == summary.macs


@pytest.mark.parametrize(
    ("installed", "text"),
    [(False, "not installed (attokit[micro]"), (True, "it does not take the file")],
)
def test_why_there_is_no_arena(finished, monkeypatch, installed, text):
    monkeypatch.setattr("attokit.quickstart.is_installed", lambda: installed)
    rows = dict(dataclasses.replace(finished[1], arena_bytes=None).rows())
    assert rows["TFLite Micro's arena"].startswith(text)


def test_folder(finished):
    folder, _, _ = finished
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page  # self-contained
    assert (folder / "labels.txt").read_text().split() == ["dark", "grey", "bright"]
    info = export.inspect(folder / "model.tflite")
    assert info.float_operators == 0
    settings = json.loads((folder / "qat" / "config.json").read_text())
    assert (settings["kernels"], settings["calibration_images"]) == ("reference", 32)
    assert json.loads((folder / "config.json").read_text())["start"] is None
    run = open_run(folder)
    graph, weights, qparams = run.quantized()
    assert graph.weight_shapes.keys() == weights.keys()
    assert qparams


def test_refuses_another_run(finished, tiny, console):
    with pytest.raises(ValueError, match="already holds a run"):
        quickstart(finished[0], tiny, console=console)
