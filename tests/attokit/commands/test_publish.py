import shutil

import pytest

from attokit import checkpoints
from attokit.cli import main


def test_publishes_and_is_used_by_name(finished, tmp_path, monkeypatch, capsys):
    run, out = str(finished[0]), tmp_path / "release"
    arguments = ["publish", run, f"{run}=v2", "--output", str(out), "--license", "MIT"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"wrote {out / 'tiny.run'}: 4 files" in printed
    assert f"wrote {out / 'tiny.v2'}: 4 files" in printed
    assert f"serve the folder {out}, set ATTOKIT_HUB to its address" in printed
    assert main(arguments) == 0
    assert "tiny.v2 was there already, the same" in capsys.readouterr().out
    monkeypatch.setenv("ATTOKIT_HUB", str(out))
    assert main(["list", "tiny*", "--pretrained", "--names-only"]) == 0
    assert capsys.readouterr().out.split() == ["tiny.run", "tiny.v2"]
    assert main(["evaluate", "tiny.v2"]) == 0
    assert f"{finished[1].float_accuracy:.4f}" in capsys.readouterr().out
    assert checkpoints.info("tiny.v2").commit == "not recorded"


def test_a_folder_with_an_equals_sign(finished, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "a=b")
    out = str(tmp_path / "out")
    assert main(["publish", f"{run}=v1", "--license", "MIT", "--output", out]) == 0
    assert checkpoints.read_hub(out).keys() == {"tiny.v1"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["RUN"], "--license"),
        (["--license", "MIT"], "RUN"),
        (["RUN=a.b", "--license", "MIT"], "call them tiny.TAG"),
        (
            ["RUN", "RUN", "--license", "MIT"],
            "two runs would be tiny.run: give each a tag (RUN=TAG)",
        ),
        (["nowhere", "--license", "MIT"], "is no run folder"),
    ],
)
def test_bad_input(finished, tmp_path, capsys, arguments, text):
    arguments = [word.replace("RUN", str(finished[0])) for word in arguments]
    assert main(["publish", *arguments, "--output", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert text.replace("RUN", "") in err.replace("RUN", "")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
