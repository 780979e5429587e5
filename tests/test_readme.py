"""What the README shows is run: its example, its commands, its table."""

import importlib
import itertools
import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image

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


def _commands(marker: str) -> list[list[str]]:
    return [shlex.split(line) for line in _between(marker).splitlines()]


def test_options_of_the_commands_for_pretrained_weights_are_known():
    from attokit import cli

    commands = [words[words.index("attokit") + 1 :] for words in _commands("pretrained")]
    assert [words[0] for words in commands] == [
        "list", "download", "train", "quantize", "publish", "evaluate"]  # fmt: skip
    for name, *arguments in commands:
        module = importlib.import_module(f"attokit.commands.{name}")
        assert isinstance(cli._parse(name, module, arguments), module.Options)


@pytest.mark.slow
def test_commands_for_pretrained_weights_run(tmp_path, monkeypatch, capsys):
    from attokit import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTOKIT_CACHE", str(tmp_path / "cache"))
    for split, name, i in itertools.product(("train", "test"), ("dark", "bright"), range(16)):
        folder = pathlib.Path("FOLDER", split, name)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((28, 28), 20 + 200 * (name == "bright") + i, np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    for words in _commands("pretrained"):
        start = words.index("attokit")
        if (
            "train" in words
        ):  # for one of the simulated devices the compiler needs a third of the time
            words += ["--mesh", "data=1"]
        with pytest.MonkeyPatch.context() as patch:
            for setting in words[:start]:
                patch.setenv(*setting.split("=", 1))
            assert cli.main(words[start + 1 :]) == 0, (words, capsys.readouterr().err)
    assert "attonet_d.v1 on 32 images" in " ".join(capsys.readouterr().out.split())
    assert {p.name for p in (tmp_path / "release/attonet_d.v1").iterdir()} == {
        "README.md", "labels.txt", "model.tflite", "weights.safetensors"}  # fmt: skip


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


@pytest.mark.slow
def test_commands_of_deployment_run_in_order(tmp_path, monkeypatch, capsys):
    from attokit import cli

    page = (pathlib.Path(__file__).resolve().parents[1] / "docs/deployment.md").read_text()
    commands = page.split("<!-- commands -->")[1].split("<!-- end -->")[0]
    lines = [line for line in commands.splitlines() if line.startswith("attokit ")]
    assert len(lines) == 8
    monkeypatch.chdir(tmp_path)
    for line in lines:
        assert cli.main(line.split()[1:]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "Edge TPU: fits" in out and "0 differ" in out and "Cortex-M with the DSP" in out
    assert (tmp_path / "memory.png").exists()


def test_the_sample_for_mediapipe_opens_a_file(tmp_path, capsys):
    pytest.importorskip("mediapipe", exc_type=ImportError)
    import importlib.util

    import jax.numpy as jnp
    from PIL import Image

    from attokit import export, quant

    def function(v, x):
        return x.mean((1, 2)) @ v

    x = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    graph, weights = quant.trace(function, jnp.eye(3) * 9, x)
    task = export.ImageTask(
        kind="classifier",
        name="colours",
        image_shape=(8, 8, 3),
        class_names=("red", "green", "blue"),
    )
    qparams = quant.calibrate(graph, weights, [x])
    file = export.to_tflite(
        graph, weights, qparams, input_type="uint8", probabilities=True, metadata=task.entries()
    )
    export.write(tmp_path / "model.tflite", task.with_files(file))
    Image.fromarray(np.full((8, 8, 3), [30, 220, 90], np.uint8)).save(tmp_path / "image.png")
    path = pathlib.Path(__file__).resolve().parents[1] / "examples/mediapipe/open_file.py"
    spec = importlib.util.spec_from_file_location("open_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(str(tmp_path / "model.tflite"), str(tmp_path / "image.png"))
    assert capsys.readouterr().out.startswith("green: 0.")
