import os
import subprocess
import sys

import pytest

SCRIPT = """
from attokit.train.cpu_devices import use_cpu_cores
import jax
use_cpu_cores({argument})
print(jax.device_count())
"""


@pytest.mark.parametrize(("argument", "flags", "expected"), [("2", "", 2), ("2", "3", 3)])
def test_devices_before_the_first_use(argument, flags, expected):
    flags = f"--xla_force_host_platform_device_count={flags}" if flags else ""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(argument=argument)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) == expected
