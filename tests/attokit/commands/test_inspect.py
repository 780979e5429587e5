import pytest

from attokit.cli import main


def test_prints(finished, capsys):
    assert main(["inspect", str(finished[0] / "model.tflite")]) == 0
    assert "CONV_2D" in capsys.readouterr().out


def test_truncated(finished, tmp_path, capsys):
    file = tmp_path / "cut.tflite"
    file.write_bytes((finished[0] / "model.tflite").read_bytes()[:700])
    assert main(["inspect", str(file)]) == 1
    err = capsys.readouterr().err
    assert "cut short or damaged" in err
    assert err.count("\n") == 1


def test_missing(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "no.tflite")]) == 1
    assert "no.tflite" in capsys.readouterr().err


def test_coral(finished, capsys):
    assert main(["inspect", str(finished[0] / "model.tflite"), "--target", "coral"]) == 0
    assert "Edge TPU: fits" in capsys.readouterr().out


def test_cortex_m(finished, capsys):
    file = str(finished[0] / "model.tflite")
    assert main(["inspect", file, "--target", "cortex-m", "--core", "helium"]) == 0
    printed = capsys.readouterr().out
    assert "with Helium (M52, M55, M85)" in printed and "arm_convolve_" in printed


def test_a_core_belongs_to_cortex_m(finished, capsys):
    assert main(["inspect", str(finished[0] / "model.tflite"), "--core", "helium"]) == 1
    assert "core helium changes nothing: add --target cortex-m" in capsys.readouterr().err


@pytest.mark.slow
def test_ethos_u(finished, capsys):
    file = str(finished[0] / "model.tflite")
    assert main(["inspect", file, "--target", "ethos-u", "--accelerator", "ethos-u65-256"]) == 0
    printed = capsys.readouterr().out
    assert "ethos-u65-256" in printed and "on the NPU, 0 on the CPU" in printed


def test_an_accelerator_belongs_to_ethos_u(finished, capsys):
    file = str(finished[0] / "model.tflite")
    assert main(["inspect", file, "--accelerator", "ethos-u65-256"]) == 1
    assert "changes nothing: add --target ethos-u" in capsys.readouterr().err


def test_plot(finished, tmp_path, capsys):
    picture = tmp_path / "memory.png"
    assert main(["inspect", str(finished[0] / "model.tflite"), "--plot", str(picture)]) == 0
    assert f"wrote {picture}" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
