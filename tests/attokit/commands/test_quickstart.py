import dataclasses

import attokit.commands.quickstart as command
from attokit.cli import main


def test_whole_command(tiny, tmp_path, capsys, monkeypatch, finished):
    wanted = {}

    def quickstart(output, recipe, *, config, resume, console):
        wanted.update(output=output, recipe=recipe, config=config, resume=resume)
        return dataclasses.replace(finished[1], verified=not resume)

    monkeypatch.setattr(command, "quickstart", quickstart)
    folder = tmp_path / "out"
    assert main(["quickstart", "--output", str(folder), "--qat-epochs", "0.5"]) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    assert wanted["config"].qat_epochs == 0.5
    assert wanted["recipe"].model == "attonet_d"
    assert main(["quickstart", "--output", str(folder), "--resume"]) == 1  # not verified
