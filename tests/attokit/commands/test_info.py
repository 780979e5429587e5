import pytest

from attokit.cli import main


def test_model_with_overrides(tiny, capsys):
    assert main(["info", "tiny", "--overrides", "width=8", "num_classes=2"]) == 0
    out = capsys.readouterr().out
    assert str(9 * 8 + 2 * 8 + 8 * 2 + 2) in out
    assert "config.width" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["attonet_x"], "did you mean"),
        (["tiny", "--overrides", "widht=8"], "did you mean width"),
        (["tiny", "--overrides", "width=0"], "width=0: give a positive number"),
        (["tiny", "--overrides", "width"], "is not NAME=VALUE"),
        (["tiny", "--overrides", "width=1", "width=2"], "given twice"),
    ],
)
def test_bad_input(tiny, capsys, arguments, text):
    assert main(["info", *arguments]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1


def test_task(tiny, capsys):
    assert main(["info", "tiny_pixels"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["│", "task", "│", "segmentation", "│"] in rows


def test_names_in_brackets(finished, hub, capsys):
    hub(finished[0], "tiny.v1", ["[red]", "[/x]", ":bag:"])
    assert main(["info", "tiny.v1"]) == 0
    told = "".join(capsys.readouterr().out.split())
    assert "'[red]','[/x]',':bag:'" in told


def test_cards(capsys):
    assert main(["info", "attonet_d.fashion_mnist", "--card"]) == 0
    assert "# attonet_d.fashion_mnist\n" in capsys.readouterr().out
    assert main(["info", "attonet_d.fashion"]) == 1
    assert "did you mean attonet_d.fashion_mnist" in capsys.readouterr().err
    assert main(["info", "attonet_d", "--card"]) == 1
    assert "has no card: give the name of pretrained weights" in capsys.readouterr().err
