"""The memory that TFLite Micro needs for a file, as its own interpreter measures it."""

import dataclasses
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
_PARTS = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arena:
    """Bytes of TFLite Micro's arena, on 64 bits.

    Attributes:
      activations: Of the tensors that live at once, as its planner places them, and scratch.
      records: Of what it knows of every operator, tensor and channel; on 32 bits they are smaller.
    """

    activations: int
    records: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.activations + self.records


def is_installed() -> bool:
    """Returns whether TFLite Micro's interpreter is there (`pip install 'attokit[micro]'`)."""
    return importlib.util.find_spec("tflite_micro") is not None


def arena_bytes(file: pathlib.Path) -> int | None:
    """Returns the bytes of TFLite Micro's arena: activations, and its own tables; None as `arena`."""
    found = arena(file)
    return None if found is None else found.total


def arena(file: pathlib.Path) -> Arena | None:
    """Returns what TFLite Micro's arena holds.

    None if TFLite Micro is not installed (see `is_installed`) or does not take the file.
    """
    if not is_installed():
        return None
    process = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(file)], capture_output=True, text=True, check=False
    )
    parts = dict(_PARTS.findall(process.stderr + process.stdout))
    if process.returncode != 0 or not parts.keys() >= {"head", "tail"}:
        return None
    return Arena(activations=int(parts["head"]), records=int(parts["tail"]))
