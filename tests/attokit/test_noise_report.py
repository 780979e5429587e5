import dataclasses
import json
import math

import numpy as np
import pytest
from rich.console import Console
from spread_network import spread

from attokit.noise_report import NoiseReport, check_suffix, decibel_text, noise_report
from attokit.quant.noise import ExampleNoise, LayerNoise, Noise


def _layer(name, kind, accumulated, own, share):
    return LayerNoise(tensor=name, kind=kind, accumulated=accumulated, own=own, share=share)


@pytest.fixture
def report():
    layers = (
        _layer("input", "input", math.inf, math.inf, 0.0),
        _layer("loud", "conv_2d", 35.0, 35.0, 0.01),
        _layer("even", "depthwise_conv_2d", 0.46, 0.5, 0.97),
        _layer("mean", "mean", 4.6, 50.2, 0.02),
    )
    examples = tuple(ExampleNoise(index=i, error=i / 8) for i in reversed(range(8)))
    return NoiseReport(
        noise=Noise(layers=layers, outputs={"output": 5.04}, examples=examples),
        count=8,
        labels=[f"kind {i}" for i in range(8)],
        kernels="reference",
        int16=("loud", "even", "mean"),
        float32=(),
    )


def test_tables_tell_layers_images_and_what_to_do(report, capsys):
    report.print(Console(width=200))
    printed = capsys.readouterr().out
    assert "1 of 3 layers add half of the noise (even)" in printed
    assert "attokit quantize RUN --int16 'loud' 'even' 'mean'; attokit sensitivity" in printed
    assert "over 8 images: output 5.0 dB" in printed and "exact" in printed and "97.0%" in printed
    assert report.worst()[0] == (7, "kind 7", 0.875) and "87.50%" in printed


@pytest.mark.slow
def test_the_bad_layer_and_its_neighbours_are_advised():
    graph, weights, qparams, images = spread()
    found = noise_report(graph, weights, qparams, images)
    assert [layer.tensor for layer in found.noise.main_layers] == ["even"]
    assert found.int16 == ("loud", "even", "mean") and found.float32 == ()
    assert found.labels == () and found.worst()[0][1] == ""


def test_json_and_markdown_hold_the_same(report):
    read = json.loads(report.json())
    assert read["layers"][0]["own_db"] is None
    assert [layer["tensor"] for layer in read["layers"]] == ["input", "loud", "even", "mean"]
    assert read["advice"]["int16"] == ["loud", "even", "mean"]
    assert read["worst_images"][0]["label"].startswith("kind ")
    np.testing.assert_allclose(read["outputs_db"]["output"], report.noise.outputs["output"])
    text = report.markdown()
    assert (
        "| even | depthwise_conv_2d | 0.5 | 0.5 | 97.0% |" in text
        and "| 7 | kind 7 | 87.50% |" in text
    )
    assert text.count("## ") == 2


def test_noise_that_is_spread_and_none_at_all(report):
    noise = Noise(
        layers=(_layer("a", "add", 30.0, 30.0, 0.25),) * 4,
        outputs={"output": math.inf},
        examples=(),
    )
    even = dataclasses.replace(report, noise=noise, int16=(), labels=())
    assert "no layer stands out" in even.advice
    assert json.loads(even.json())["outputs_db"]["output"] is None
    silent = Noise(layers=(), outputs={}, examples=())
    assert dataclasses.replace(report, noise=silent).advice == "no layer adds noise of its own"
    assert decibel_text(math.inf) == "exact" and decibel_text(3.14) == "3.1"


def test_other_forms_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"noise.txt ends in none of .json, .md"):
        check_suffix(tmp_path / "noise.txt")
