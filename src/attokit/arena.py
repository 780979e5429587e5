"""The memory that TFLite Micro needs for a file, as its own interpreter measures it."""

import importlib.util
import pathlib
import re
import subprocess
import sys

# Its interpreter only prints what it allocated, to the standard error of the whole process; so it
# gets a process of its own, which may also fail on its own.
_MEASURE = """
import sys
from tflite_micro.python.tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(
    sys.argv[1], arena_size=1 << 27,
    intrepreter_config=runtime.InterpreterConfig.kAllocationRecording,
)
interpreter.print_allocations()
"""
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


def is_installed() -> bool:
    """Returns whether TFLite Micro's interpreter is there (`pip install 'attokit[micro]'`)."""
    return importlib.util.find_spec("tflite_micro") is not None


def arena_bytes(file: pathlib.Path) -> int | None:
    """Returns the bytes of TFLite Micro's arena: activations, and its own tables.

    None if TFLite Micro is not installed (see `is_installed`) or does not take the file.
    """
    if not is_installed():
        return None
    process = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(file)], capture_output=True, text=True, check=False
    )
    total = _TOTAL.search(process.stderr + process.stdout)
    return int(total.group(1)) if process.returncode == 0 and total is not None else None
