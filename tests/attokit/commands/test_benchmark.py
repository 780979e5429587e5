from attokit.cli import main


def test_both_resolvers(finished, capsys):
    file = str(finished[0] / "model.tflite")
    assert main(["benchmark", file, "--vs", file, "--rounds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["xnnpack", "reference"]
    assert all("ratio" in line for line in lines)


def test_unfit(finished, tmp_path, capsys):
    assert main(["benchmark", str(tmp_path / "no.tflite")]) == 1
    assert "no.tflite" in capsys.readouterr().err
    assert main(["benchmark", str(finished[0] / "model.tflite"), "--rounds", "0"]) == 1
    assert "give at least 1" in capsys.readouterr().err
