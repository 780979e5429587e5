from attokit.cli import main


def test_a_run_before_and_after(finished, capsys):
    file = str(finished[0] / "model.tflite")
    assert main(["compare", file, file, "--inputs", "2"]) == 0
    out = capsys.readouterr().out
    assert "the same operators in the same order" in out
    assert "0 of 6 elements differ" in out


def test_missing(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "a.tflite"), str(tmp_path / "b.tflite")]) == 1
    assert "a.tflite" in capsys.readouterr().err
