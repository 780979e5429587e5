from attokit.cli import main


def test_counts(tiny, capsys):
    assert main(["list", "tin*"]) == 0
    out = capsys.readouterr().out
    assert f"{9 * 4 + 2 * 4 + 4 * 3 + 3}" in out
    assert f"{16 * 9 * 4 + 4 * 3}" in out


def test_names_only(capsys):
    assert main(["list", "attonet_*", "--names-only"]) == 0
    assert capsys.readouterr().out.split() == ["attonet_a", "attonet_b", "attonet_c", "attonet_d"]


def test_models_of_a_task(capsys):
    assert main(["list", "a*", "--task", "segmentation", "--names-only"]) == 0
    assert capsys.readouterr().out.split() == ["attendseg", "attendseg_lite"]
    assert main(["list", "attonet*", "--task", "segmentation"]) == 1
    err = capsys.readouterr().err
    assert "no model matches 'attonet*': there are attendseg, " in err
    assert "mobilenet_v1" not in err


def test_no_match(capsys):
    assert main(["list", "resnet*"]) == 1
    assert "no model matches 'resnet*'" in capsys.readouterr().err
