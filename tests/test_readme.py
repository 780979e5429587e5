"""What the README shows is run: its example, its commands, its table."""

import pathlib
import re

import pytest

from attokit import zoo

README = (pathlib.Path(__file__).resolve().parents[1] / "README.md").read_text()


def _between(marker: str) -> str:
    block = README.split(f"<!-- {marker} -->")[1].split("<!-- end -->")[0]
    return re.search(r"```\w+\n(.*?)```", block, re.DOTALL)[1]


def test_example_runs_and_is_exact(capsys):
    code = _between("example")
    assert "assert report.exact" in code
    exec(compile(code, "README.md", "exec"), {})
    assert "0 differ" in capsys.readouterr().out


def test_every_command_named_has_help(capsys):
    from attokit import cli

    commands = set(re.findall(r"`attokit (\w+)", README))
    assert {"quickstart", "train", "quantize", "export", "verify", "inspect"} <= commands
    for command in sorted(commands):
        assert cli.main([command, "--help"]) == 0, command
        assert command in capsys.readouterr().out


def test_quickstart_command_is_the_one_the_tests_of_quickstart_run():
    assert "attokit quickstart --output" in _between("quickstart")
    assert "'.[micro]'" in _between("quickstart")  # or a row of its table stays empty


@pytest.mark.parametrize("name", ["attonet_d", "mobilenet_v1_025", "mobilenet_v2_035"])
def test_table_of_models_equals_what_is_computed(name):
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{name}` ")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    info = zoo.info(name, num_classes=int(cells[2]))
    assert cells[1] == "\N{MULTIPLICATION SIGN}".join(map(str, info.image_size))
    assert cells[3] == f"{info.parameters:,}"
    assert cells[4] == f"{info.macs / 1e6:,.1f} M"


def test_links_lead_somewhere():
    root = pathlib.Path(__file__).resolve().parents[1]
    for page in [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
