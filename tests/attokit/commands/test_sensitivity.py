import dataclasses
import pathlib
import shlex

import pytest

from attokit.cli import _parse, main
from attokit.commands import quantize, sensitivity
from attokit.precision import Precision


@pytest.mark.slow
def test_prints_the_command_that_quantizes_so(run_dir, capsys):
    arguments = ["sensitivity", str(run_dir), "--images", "16", "--calibration-images", "32"]
    assert main([*arguments, "--target-sqnr", "1000", "--max-ops", "3"]) == 0
    printed = capsys.readouterr().out
    assert "it alone is int8" in printed and "measured in its own integers: output" in printed
    assert "the target is not reached" in printed
    command = shlex.split(
        next(x for x in printed.splitlines() if x.startswith("next: attokit"))[6:]
    )
    assert command[:2] == ["attokit", "quantize"] and "--int16" in command
    assert command[-2:] == ["--calibration-images", "32"]
    assert main([*command[1:], "--replace"]) == 0
    assert "of the INT8 and INT16 graph" in capsys.readouterr().out


def test_the_command_quantizes_as_was_measured():
    precision = Precision(int16=("head",))
    plain = sensitivity.Options(run_dir=pathlib.Path("runs/a"))
    words = sensitivity.quantize_command(plain, precision, plain.run_dir)
    assert words == ["attokit", "quantize", "runs/a", "--int16", "head"]
    other = dataclasses.replace(
        plain, calibration="percentile", calibration_images=32, kernels="xnnpack", data="scenes"
    )
    words = sensitivity.quantize_command(other, precision, plain.run_dir)
    options = _parse("quantize", quantize, words[2:])
    assert options == quantize.Options(
        run_dir=plain.run_dir, int16=("head",), calibration="percentile", calibration_images=32,
        kernels="xnnpack", data="scenes",
    )  # fmt: skip


@pytest.mark.slow
def test_gap_of_the_metric_and_float_islands(run_dir, capsys):
    arguments = ["sensitivity", str(run_dir), "--images", "16", "--to", "float32"]
    assert main([*arguments, "--target-gap", "1"]) == 0
    printed = capsys.readouterr().out
    assert "accuracy" in printed and "no op is raised" in printed
    assert main([*arguments, "--max-macs", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "attokit quantize" in printed and "--float32" in printed


@pytest.mark.slow
def test_without_a_target_it_shows_the_sweep(segmented_dir, capsys):
    assert main(["sensitivity", str(segmented_dir), "--images", "4"]) == 0
    printed = capsys.readouterr().out
    assert "next: say what is enough" in printed and "attokit quantize" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "images is 0: give at least 1"),
        (["--target-gap", "-1"], "target_gap is -1.0: give 0 or more"),
        (["--float32", "nothing"], "no tensor that an op makes fits 'nothing'"),
    ],
)
def test_bad_input(finished, arguments, message, capsys):
    assert main(["sensitivity", str(finished[0]), *arguments]) == 1
    assert message in capsys.readouterr().err
