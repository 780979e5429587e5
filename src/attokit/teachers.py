"""Teachers for distillation, by the text that names them: a trained run or pretrained weights."""

import pathlib

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import PyTree

from attokit import checkpoints, zoo
from attokit.runs import open_run
from attokit.train import Dataset, Teacher, flax_forward, split_variables

# Tasks whose networks give one array of logits.
_TAUGHT = ("classification", "segmentation")


def open_teacher(target: str, dataset: Dataset) -> Teacher:
    """Returns a float network that says of the images of a data set what they show.

    Args:
      target: A run folder, or the name of pretrained weights.
      dataset: What the student learns.

    Raises:
      ValueError: if there is no such network, it does another task, or it has other classes.
    """
    path = pathlib.Path(target)
    if path.is_dir():
        run, target = open_run(path), str(path.resolve())
        model, overrides, names = run.model, run.overrides, run.class_names
        variables = run.variables()
    elif (record := checkpoints.find(target)) is not None:
        model, overrides = record.model, record.overrides
        names = record.class_names or ()
        variables = checkpoints.load(target)
    else:
        raise ValueError(
            f"teacher {target!r} is no run folder and no pretrained weights "
            f"({', '.join(checkpoints.names()) or 'there are none'}): check the path"
        )
    if zoo.task(model) not in _TAUGHT:
        raise ValueError(
            f"teacher {target} does {zoo.task(model)}: distillation is for one array of logits, in "
            f"{' and '.join(_TAUGHT)}"
        )
    if zoo.task(model) != dataset.task:
        raise ValueError(
            f"teacher {target} does {zoo.task(model)}, {dataset.name} is data for {dataset.task}: choose "
            "another teacher"
        )
    if names and tuple(names) != dataset.class_names:
        raise ValueError(
            f"teacher {target} knows the classes {', '.join(names)}; those of {dataset.name} are "
            f"{', '.join(dataset.class_names)}: a teacher needs the same, in the same order"
        )
    params, model_state = split_variables(jax.tree.map(jnp.asarray, variables))
    network = zoo.create(model, **overrides)
    _check_images(network, variables, target, dataset)
    return Teacher(
        name=target, forward=flax_forward(network), params=params, model_state=model_state
    )


def _check_images(network: nn.Module, variables: PyTree, name: str, dataset: Dataset) -> None:
    """Refuses a teacher that cannot see the images of a data set."""
    images = jax.ShapeDtypeStruct((1, *dataset.image_shape), jnp.float32)
    try:
        jax.eval_shape(network.apply, variables, images)
    except Exception as err:  # whatever Flax or the network raises of a shape
        raise ValueError(
            f"teacher {name} cannot see images of {dataset.image_shape}, which {dataset.name} has: "
            f"{' '.join(str(err).split())[:200]}; choose one for this size"
        ) from err
