"""What the registry knows of the models of one paper."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn

Task = Literal["classification", "segmentation", "detection", "instance_segmentation"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one paper.

    Attributes:
      name: What people call the family.
      build: Takes a config of `variants` and returns the network; a backbone's takes `features_only` too.
      variants: Config by model name.
      source: The paper.
      module: The Python module, whose docstring holds the deviations from the paper.
      task: What the outputs say: one class per image, one per pixel, boxes with one each, or these with
        masks.
    """

    name: str
    build: Callable[..., nn.Module]
    variants: Mapping[str, Any]
    source: str
    module: Any
    task: Task = "classification"
