"""Joins the processes of a job on several hosts into one run.

Every host runs the same command; each reads its own rows of a batch, and the first one writes.
"""

import glob
import importlib.util
import os
from collections.abc import Mapping

import jax

_EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# How launchers that JAX knows tell the number of processes of a job.
_COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
_SLURM_STEP = "SLURM_STEP_NODELIST"  # set by srun, not by sbatch or salloc
_TPU_DEVICES = ("/dev/accel*", "/dev/vfio/[0-9]*")


def _explicit(environment: Mapping[str, str]) -> tuple[str, int, int] | None:
    """Returns address, number of processes and own number, if the environment names them.

    Raises:
      ValueError: if it names some of them only, or they are no numbers that fit.
    """
    values = {name: environment.get(name) for name in _EXPLICIT}
    if values["JAX_NUM_PROCESSES"] is None and values["JAX_PROCESS_ID"] is None:
        return None  # an address alone is JAX's own setting, beside SLURM or MPI
    told = ", ".join(f"{name}={value}" for name, value in values.items())
    address, count, own = (values[name] or "" for name in _EXPLICIT)
    if ":" not in address or not count.isdecimal() or not own.isdecimal():
        raise ValueError(
            f"the job's environment is {told}: give all three, HOST:PORT of process 0, how many "
            "processes there are, and which of them (from 0) this is"
        )
    if int(own) >= int(count):
        raise ValueError(f"process {own} of {count} processes ({told}): count from 0")
    return address, int(count), int(own)


def launched_on_many(environment: Mapping[str, str]) -> bool:
    """Returns whether a launcher that JAX detects itself started this process: SLURM, MPI, Cloud TPU."""
    counts = [environment.get(name, "") for name in _COUNTS]
    if counts[0].isdecimal() and int(counts[0]) > 1 and _SLURM_STEP in environment:
        return True
    if counts[1].isdecimal() and int(counts[1]) > 1:
        return True
    has_tpu = any(glob.glob(pattern) for pattern in _TPU_DEVICES)
    return has_tpu and importlib.util.find_spec("libtpu") is not None


def join_hosts(environment: Mapping[str, str] | None = None) -> bool:
    """Makes this process part of its job, if it has one; call it before anything touches a device.

    The job is named by `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`, or by the
    environment of SLURM (srun), Open MPI or Cloud TPU, which JAX reads itself.

    Returns:
      Whether there is a job.

    Raises:
      ValueError: if the environment is incomplete or the other processes cannot be reached.
    """
    environment = os.environ if environment is None else environment
    explicit = _explicit(environment)
    if explicit is None and not launched_on_many(environment):
        return False
    if jax.distributed.is_initialized():
        return True
    try:
        if explicit is None:
            jax.distributed.initialize()
        else:
            address, count, own = explicit
            # Nothing to detect: a SLURM or TPU environment around it would be asked otherwise.
            jax.distributed.initialize(address, count, own, cluster_detection_method="deactivate")
    except RuntimeError as err:
        raise ValueError(
            f"cannot join the job's processes: {err}; see that all of them run and reach the first one"
        ) from err
    return True
