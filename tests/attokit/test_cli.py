import errno
import importlib
import logging
import pathlib
import subprocess
import sys
import threading

import pytest
from rich.table import Table

from attokit import __version__, cli
from attokit.cli import COMMANDS, describe, main


def _attokit(*arguments, cwd):
    command = [sys.executable, "-c", "import sys; from attokit.cli import main; sys.exit(main())"]
    return subprocess.run([*command, *arguments], cwd=cwd, capture_output=True, text=True)


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
    assert main([]) == 1


def test_every_command_has_its_module_and_no_module_is_left_out():
    folder = pathlib.Path(cli.__file__).parent / "commands"
    assert {p.stem for p in folder.glob("*.py")} - {"__init__"} == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_commands(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"usage: attokit {name}" in capsys.readouterr().out


def test_version_from_another_directory_needs_no_jax(tmp_path):
    code = (
        "import sys; from attokit.cli import main; main(['--version']); main(['--help']);"
        "assert not {'jax', 'numpy', 'matplotlib'} & sys.modules.keys()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert __version__ in process.stdout


def test_error_in_a_process_is_one_line(tmp_path):
    (tmp_path / "no.tflite").write_bytes(b"nonsense")
    process = _attokit("inspect", "no.tflite", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1
    assert "is no TFLite file" in process.stderr
    assert not process.stdout


def test_unknown_command(capsys):
    assert main(["quikstart"]) == 1
    assert "did you mean quickstart?" in capsys.readouterr().err
    assert main(["xyz"]) == 1
    assert "choose from quickstart, list" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_unknown_option_is_said_once(tmp_path, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    process = _attokit("list", "--nonsense", "3", cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr == (
        "attokit list: Unrecognized options: --nonsense, 3; see attokit list --help\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "attokit list: stopped"),
        (ValueError("two\nlines"), 1, "attokit list: two lines"),
        (RuntimeError("oops"), 1, "RuntimeError: oops; ATTOKIT_DEBUG=1 shows where"),
        (ImportError("no module x"), 1, "no module x; install what is missing"),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code, text):
    command = importlib.import_module("attokit.commands.list")

    def run(options, console):
        raise error

    monkeypatch.delenv("ATTOKIT_DEBUG", raising=False)
    monkeypatch.setattr(command, "run", run)
    assert main(["list"]) == code
    assert text in capsys.readouterr().err


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("ATTOKIT_DEBUG", "1")
    with pytest.raises(ValueError, match="no such command"):
        main(["nothing"])


def test_describe_full_disk():
    error = OSError(errno.ENOSPC, "No space left on device", "/x/y")
    assert describe(error) == (
        "No space left on device '/x/y'; choose a folder you may write that has room"
    )
    error = ValueError("Error writing: No space left on device")
    assert describe(error).endswith("; make room, or choose another folder")


def test_background_errors_stay_quiet(capsys):
    before = threading.excepthook, sys.excepthook
    with cli.quiet_background():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        logging.getLogger("absl").error("once more")
    assert (threading.excepthook, sys.excepthook) == before
    assert capsys.readouterr().err == ""


def test_notices_are_said_once(monkeypatch, capsys, caplog):
    command = importlib.import_module("attokit.commands.list")
    notice = logging.getLogger("attokit.somewhere")
    monkeypatch.setattr(command, "run", lambda *_: notice.info("downloading"))
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "downloading\n"
    assert caplog.text == ""  # of the root logger, whose handlers libraries bring
    notice.info("nobody asked")
    assert capsys.readouterr().err == ""


def test_brackets_and_colons_are_no_markup(monkeypatch, capsys):
    odd = "a[red]b[/x]c:dress:d"

    def run(options, console):
        console.print(f"wrote {odd}")
        table = Table(f"head {odd}", title=f"title {odd}")
        table.add_row(f"cell {odd}")
        console.print(table)

    monkeypatch.setattr(importlib.import_module("attokit.commands.list"), "run", run)
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert all(f"{where} {odd}" in told for where in ("wrote", "head", "title", "cell"))
