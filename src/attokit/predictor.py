"""What predicts: byte images in, the outputs of a network out, wherever the network lives."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, UInt8

from attokit.train import Anchors
from attokit.zoo.registry import Task

Outputs = Callable[[UInt8[np.ndarray, "b h w c"]], PyTree]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictor:
    """A network of byte images, opened.

    Attributes:
      name: What to call it.
      task: Key of `tasks.TASKS`, which says what `outputs` gives.
      image_shape: Height, width and channels that it takes.
      num_classes: Of the outputs; None for a file of class ids, which does not say.
      class_names: In the order of the class ids, or None if nobody said.
      data: What it was trained on, as `load_dataset` takes it, or None.
      split: Of these data, to evaluate on.
      outputs: Images (0 to 255) to arrays with a leading axis of images.
      anchors: What the numbers of a detector start from; None of one that chooses its boxes itself.
      any_size: Whether it takes images of other heights and widths too.
      note: What had to be assumed, or None.
      separate: Whether logits are of sigmoids, so that several classes, or none, may be there at once.
    """

    name: str
    task: Task
    image_shape: tuple[int, int, int]
    num_classes: int | None
    class_names: tuple[str, ...] | None
    data: str | None
    outputs: Outputs
    split: str = "test"
    anchors: Anchors | None = None
    any_size: bool = False
    note: str | None = None
    separate: bool = False

    def class_name(self, index: int) -> str:
        """Returns the name of a class, or its number if nobody said one."""
        known = self.class_names is not None and index < len(self.class_names)
        return self.class_names[index] if self.class_names is not None and known else str(index)


def of_bytes(function: Callable[[Any], Any]) -> Outputs:
    """Returns a function of images in [0, 1] as one of byte images, compiled."""
    run = jax.jit(lambda images: function(images.astype(jnp.float32) / jnp.float32(255)))
    return lambda images: jax.tree.map(np.asarray, run(images))
