"""Trained weights that a training starts from, also for other classes than those they know."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from attokit import checkpoints, zoo
from attokit.checkpoints import load_weights
from attokit.checkpoints.weights import flatten_tree, leaves_by_name, nest_names
from attokit.runs import open_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """Weights to start from.

    Attributes:
      name: What `config.json` calls them: the name of pretrained weights, or an absolute path.
      path: Their safetensors file.
      reset_head: Whether the layers that know the classes start anew.
    """

    name: str
    path: pathlib.Path
    reset_head: bool = False


def open_start(text: str, *, reset_head: bool = False) -> Start:
    """Returns the weights that a text names; pretrained ones are downloaded, if they must be.

    Args:
      text: A run folder, the name of pretrained weights, or a safetensors file.
      reset_head: As in `Start`.

    Raises:
      ValueError: if it is none of these, the run has no trained weights, or they cannot be had.
    """
    path = pathlib.Path(text)
    if path.is_dir():
        run = open_run(path)
        run.check_trained()
        return Start(name=str(path.resolve()), path=run.weights_path, reset_head=reset_head)
    if path.is_file():
        return Start(name=str(path.resolve()), path=path, reset_head=reset_head)
    if checkpoints.find(text) is None:
        raise ValueError(
            f"cannot start from {text!r}: it is no run folder, no safetensors file and no pretrained "
            f"weights ({', '.join(checkpoints.names())}); check the path"
        )
    return Start(name=text, path=checkpoints.fetch(text), reset_head=reset_head)


def head_names(
    model: str, overrides: Mapping[str, Any], image_shape: tuple[int, int, int]
) -> frozenset[str]:
    """Returns the names of the variables whose shapes depend on the number of classes."""
    count = zoo.config(model, **overrides).num_classes
    own, other = (
        _shapes(model, {**overrides, "num_classes": number}, image_shape)
        for number in (count, count + 1)
    )
    return frozenset(
        name for name in own.keys() | other.keys()
        if name not in own or name not in other or own[name].shape != other[name].shape
    )  # fmt: skip


def _shapes(
    model: str, overrides: Mapping[str, Any], image_shape: tuple[int, int, int]
) -> dict[str, jax.ShapeDtypeStruct]:
    example = jax.ShapeDtypeStruct((1, *image_shape), "float32")
    network = zoo.create(model, **overrides)
    return leaves_by_name(jax.eval_shape(network.init, jax.random.key(0), example))


def start_variables(
    start: Start,
    model: str,
    overrides: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    *,
    seed: int,
) -> dict[str, Any]:
    """Returns the variables of a model that a training starts from.

    Args:
      start: Where from.
      model: Name in the zoo's registry.
      overrides: Fields of its config that differ from the published one.
      image_shape: Height, width and channels.
      seed: Of a head that starts anew.

    Raises:
      ValueError: if the weights do not fit the model; every difference is listed.
    """
    like = nest_names(_shapes(model, overrides, image_shape))
    if not start.reset_head:
        try:
            return jax.tree.map(jnp.asarray, load_weights(start.path, like))
        except ValueError as err:
            if _fits_but_for_its_head(start, like, head_names(model, overrides, image_shape)):
                raise ValueError(
                    f"{err}; or add --reset-head, since these are all of its head: the other layers "
                    "are kept, and the head learns the classes anew"
                ) from err
            raise
    head = head_names(model, overrides, image_shape)
    kept = flatten_tree(load_weights(start.path, like, leave_out=head))
    network = zoo.create(model, **overrides)

    @jax.jit  # which leaves out all that the head does not need
    def fresh(key: jax.Array) -> dict[str, jax.Array]:
        variables = leaves_by_name(network.init(key, jnp.zeros((1, *image_shape))))
        return {name: leaf for name, leaf in variables.items() if name in head}

    values = kept | flatten_tree(fresh(jax.random.key(seed)))
    return jax.tree.map(jnp.asarray, nest_names(values))


def _fits_but_for_its_head(start: Start, like: Mapping[str, Any], head: frozenset[str]) -> bool:
    try:
        load_weights(start.path, like, leave_out=head)
    except ValueError:
        return False
    return bool(head)
