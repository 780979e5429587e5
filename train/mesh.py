"""The device mesh and where arrays live on it.

Axes: `data` splits the batch only; `fsdp` splits the batch and the parameters as well.
"""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

# Smaller leaves cost more to gather than they save.
_SMALLEST_SHARDED_SIZE = 1024


def parse_mesh(text: str | None) -> dict[str, int]:
    """Returns the axes that a text such as "data=4,fsdp=2" names, as `make_mesh` takes them.

    An axis that is left out is for `make_mesh` to choose; None names none.

    Raises:
      ValueError: if the text is no such list.
    """
    axes: dict[str, int] = {}
    for part in text.split(",") if text is not None else ():
        name, _, ways = part.partition("=")
        if name not in ("data", "fsdp") or name in axes or not ways.isdecimal() or int(ways) < 1:
            raise ValueError(
                f"mesh is {text!r}: write data=4,fsdp=2, both at least 1, or one of them alone"
            )
        axes[name] = int(ways)
    return axes


def make_mesh(
    data: int | None = None, fsdp: int = 1, *, devices: list[jax.Device] | None = None
) -> Mesh:
    """Returns a mesh with axes (`data`, `fsdp`).

    Args:
      data: Ways to split the batch; None takes all devices that `fsdp` leaves.
      fsdp: Ways to split the parameters.
      devices: The devices to use; all of them if None.

    Raises:
      ValueError: if the devices do not suffice or do not divide.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or (data is not None and data < 1):
        raise ValueError(f"mesh data={data}, fsdp={fsdp}: both must be at least 1")
    if data is None:
        if len(devices) % fsdp:
            raise ValueError(
                f"{len(devices)} devices do not divide by fsdp={fsdp}: choose a divisor"
            )
        data = len(devices) // fsdp
    if data * fsdp > len(devices):
        raise ValueError(
            f"mesh data={data}, fsdp={fsdp} needs {data * fsdp} devices, there are "
            f"{len(devices)}: choose a smaller mesh"
        )
    grid = np.array(devices[: data * fsdp]).reshape(data, fsdp)
    return Mesh(grid, ("data", "fsdp"))


def named_mesh(text: str | None) -> Mesh:
    """Returns the mesh of all devices that a text such as "data=4,fsdp=2" asks for, or None leaves open.

    Raises:
      ValueError: if the text names none, or the devices do not suffice.
    """
    axes = parse_mesh(text)
    return make_mesh(axes.get("data"), axes.get("fsdp", 1))


def check_batch_size(batch_size: int, mesh: Mesh, *, parts: int = 1) -> None:
    """Refuses a batch that the mesh does not divide.

    Args:
      batch_size: Examples.
      mesh: The devices.
      parts: Into which the batch is cut first, for one after the other.

    Raises:
      ValueError: if it does not.
    """
    if batch_size % (parts * mesh.size) and batch_size % mesh.size == 0:
        raise ValueError(
            f"each of the {parts} parts of a batch of {batch_size} does not divide by the {mesh.size} "
            f"devices of mesh {dict(mesh.shape)}: choose a multiple of {parts * mesh.size}"
        )
    if batch_size % mesh.size:
        raise ValueError(
            f"batch size {batch_size} does not divide by the {mesh.size} devices of mesh "
            f"{dict(mesh.shape)}: choose a multiple of {mesh.size}"
        )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: examples over all devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def leaf_sharding(mesh: Mesh, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
    """Returns the sharding of one leaf of the state: its largest divisible axis over `fsdp`."""
    ways = mesh.shape["fsdp"]
    divisible = [axis for axis, size in enumerate(leaf.shape) if size % ways == 0]
    if ways == 1 or not divisible or leaf.size < _SMALLEST_SHARDED_SIZE:
        return replicated(mesh)
    largest = max(divisible, key=lambda axis: leaf.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * largest, "fsdp"))


def state_shardings(mesh: Mesh, abstract_state: PyTree) -> PyTree:
    """Returns a tree of shardings for a tree of shapes."""
    return jax.tree.map(lambda leaf: leaf_sharding(mesh, leaf), abstract_state)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Returns a tree of which every device, and so every host, holds all."""
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Returns the global batch on the devices, from this host's rows of it."""
    sharding = batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}
