"""The command line: finds the command, reads its options, turns errors into one line.

A command is a module of `attokit.commands` and is imported only when it is asked for, so that
`attokit --help` costs nothing. Exit codes: 0, also when SIGTERM ended a training
behind a checkpoint; 1 for any error; 130 after Ctrl-C.
"""

import contextlib
import difflib
import errno
import importlib
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tyro
from rich.console import Console

from attokit import __version__

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "quickstart": "train, quantize, export and prove a small network: nothing else needed",
        "list": "the models and pretrained weights, with their cost",
        "info": "one model: parameters, multiply-adds, source, deviations",
        "data": "pictures of what a data set shows a training, with the labels drawn",
        "train": "train a float network into a run folder",
        "evaluate": "metrics of a run, of pretrained weights or of a .tflite file",
        "sensitivity": "what 8 bits of each op cost, and which ops to give more",
        "quantize": "post-training quantization or QAT of a trained run",
        "export": "write a .tflite file",
        "verify": "compare a .tflite file with its graph, tensor by tensor",
        "download": "pretrained weights by name, for use without a network or in other programs",
        "publish": "write trained runs into a folder from which others download them",
        "inspect": "operators, types, cost and memory of any .tflite file; does it fit a chip?",
        "compare": "how two .tflite files differ, in what they hold and in what they give",
        "benchmark": "how long a .tflite file takes, or two of them, on one core of this machine",
        "predict": "classes of images, or pictures of what is where in them",
    }
)
_LOG_WIDTH = 140
_DEBUG = "ATTOKIT_DEBUG"
_FOLDER_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
# What tyro draws around its messages, and colours.
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|[\u2500-\u257f]")
_NOISE = ("For full helptext", "attokit ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 1
    if arguments[0] in ("-V", "--version"):
        print(f"attokit {__version__}")
        return 0
    name = arguments[0]
    try:
        with quiet_background(), _notices():
            return _run(name, arguments[1:])
    except KeyboardInterrupt as stop:
        print(f"attokit {name}: stopped", file=sys.stderr)
        return getattr(stop, "exit_code", 130)
    except BrokenPipeError:  # `attokit list | head` is no error, but nothing more can be printed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as err:
        if os.environ.get(_DEBUG):
            raise
        print(f"attokit {name}: {describe(err)}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def quiet_background() -> Iterator[None]:
    """Keeps errors of threads that write checkpoints off the screen: the main thread reports them.

    Orbax logs each of them with its traceback, many times over.
    """
    if os.environ.get(_DEBUG):
        yield
        return
    logger = logging.getLogger("absl")
    saved = logger.level, threading.excepthook, sys.excepthook, sys.unraisablehook
    logger.setLevel(logging.CRITICAL)
    threading.excepthook = lambda _: None
    sys.excepthook = lambda *_: None
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        logger.setLevel(saved[0])
        threading.excepthook, sys.excepthook, sys.unraisablehook = saved[1:]


class _Notices(logging.Handler):
    """Prints what is logged to what is the error output then: progress bars put their own there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line."""
        print(self.format(record), file=sys.stderr)


@contextlib.contextmanager
def _notices() -> Iterator[None]:
    """Shows what attokit logs, such as the download of weights that a command was given by name."""
    logger, handler = logging.getLogger("attokit"), _Notices()
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # libraries give the root logger a handler that would say it again
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def describe(error: Exception) -> str:
    """Returns one line that says what went wrong."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:
        where = f" {str(error.filename)!r}" if error.filename else ""
        cure = "; choose a folder you may write that has room"
        return f"{error.strerror}{where}{cure if error.errno in _FOLDER_ERRORS else ''}"
    if isinstance(error, ValueError | OSError):
        full = os.strerror(errno.ENOSPC) in text and "has room" not in text
        return f"{text}; make room, or choose another folder" if full else text
    if isinstance(error, ImportError):
        return f"{text}; install what is missing with pip (see the extras in the README)"
    return f"{type(error).__name__}: {text}; {_DEBUG}=1 shows where"


def _run(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(COMMANDS)}"
        )
        raise ValueError(f"there is no such command: {hint}")
    command = importlib.import_module(f"attokit.commands.{name}")
    options = _parse(name, command, arguments)
    if options is None:
        return 0
    # Lines in a log file need not break where a small terminal would. Brackets and colons of paths and of
    # names are no markup.
    width = None if sys.stdout.isatty() else _LOG_WIDTH
    console = Console(width=width, markup=False, emoji=False)
    return command.run(options, console) or 0


def _parse(name: str, command: Any, arguments: list[str]) -> Any:
    """Returns the command's options, or None if help was asked for and printed.

    Raises:
      ValueError: if an option is unknown, missing or of the wrong type, in one line.
    """
    # A command may know better defaults once it sees its arguments, as those of a recipe.
    known = {"default": command.defaults(arguments)} if hasattr(command, "defaults") else {}
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(command.Options, prog=f"attokit {name}", args=arguments, **known)
    except SystemExit as exit_:
        if not exit_.code:
            return None
        raise ValueError(f"{_plain(errors.getvalue())}; see attokit {name} --help") from None


def _plain(message: str) -> str:
    """Returns tyro's message on one line, without its box, whose title says the same again."""
    lines = [_DECORATION.sub("", line).strip() for line in message.splitlines()]
    # The title is in the upper edge, or, where the terminal knows ASCII only, above a line.
    if "\u256d" in message.partition("\n")[0] or (len(lines) > 1 and not lines[1].strip("-")):
        lines = lines[1:]
    kept = [line for line in lines if line.strip("-") and not line.startswith(_NOISE)]
    return " ".join(kept).replace(":;", ":")


def _help() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: attokit COMMAND [OPTIONS]",
            "",
            "Takes a small vision network from training to a chip.",
            "",
            *(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()),
            "",
            "attokit COMMAND --help shows the options, attokit --version the version.",
            f"{_DEBUG}=1 shows the traceback of an error.",
        ]
    )
