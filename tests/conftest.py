"""Strict settings for every test: eight CPU devices, no silent promotion, warnings are errors."""

import os
import pathlib
import sys

# Helpers are imported from this folder, where tests/attokit would pass for a namespace package
# before an editable install's import hook is asked: so the package comes first, without it.
_HERE = str(pathlib.Path(__file__).parent)
sys.path[:] = [path for path in sys.path if path != _HERE]
import attokit  # noqa: E402, F401  see above

sys.path.insert(0, _HERE)

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
for _name in ("ATTOKIT_HUB", "ATTOKIT_CACHE", "ATTOKIT_OFFLINE"):  # no test knows the user's own
    os.environ.pop(_name, None)

import jax  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
