"""Recipes: runs that were done for real, as data. `attokit train --recipe` repeats one."""

import dataclasses
import difflib
import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attokit.train.augment import AugmentConfig
from attokit.train.config import TrainConfig
from attokit.train.dataset import Dataset
from attokit.train.fashion_mnist import load_fashion_mnist, load_fashion_mnist_subset
from attokit.train.scenes import load_scenes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model, data and settings that belong together.

    Attributes:
      model: Name in the zoo's registry.
      overrides: Fields of the model's config that differ from the published one.
      load: Makes the data set from the folder of its files (None for an embedded set).
      needs_folder: Whether `load` must be given a folder.
      data_prefix: Stands before that folder where the data is named, as in `attokit train --data`.
      config: How to train.
    """

    model: str
    overrides: Mapping[str, Any]
    load: Callable[[str | pathlib.Path | None], Dataset]
    needs_folder: bool
    config: TrainConfig
    data_prefix: str = ""


_SMALL_FASHION = MappingProxyType({"num_classes": 10, "small_images": True})

ATTONET_D_QUICKSTART = Recipe(
    model="attonet_d",
    overrides=_SMALL_FASHION,
    load=lambda folder: load_fashion_mnist_subset(),
    needs_folder=False,
    config=TrainConfig(
        epochs=8,
        batch_size=64,
        optimizer="adamw",
        learning_rate=5e-3,
        warmup_fraction=0.1,
        weight_decay=0.02,
        ema_decay=0.98,
        augment=AugmentConfig(crop_padding=2, flip=True),
        eval_every=282,
        eval_batch_size=250,
    ),
)
"""AttoNet D on the embedded 6,000 images of Fashion-MNIST.

Command: `attokit train --recipe attonet_d_quickstart --run-dir runs/quickstart`
Cost: 48,000 images, about 150 images per second and core, and half a minute of compilation.
Expected: test accuracy 0.878 on the embedded 1,000 images.
"""

ATTONET_D_FASHION_MNIST = Recipe(
    model="attonet_d",
    overrides=_SMALL_FASHION,
    load=lambda folder: load_fashion_mnist(folder or "."),
    needs_folder=True,
    config=TrainConfig(
        epochs=10,
        batch_size=128,
        optimizer="adamw",
        learning_rate=6e-3,
        warmup_fraction=0.1,
        weight_decay=0.02,
        ema_decay=0.995,
        augment=AugmentConfig(crop_padding=2, flip=True),
        log_every=50,
        eval_every=938,
        checkpoint_every=200,
        eval_batch_size=500,
    ),
)
"""AttoNet D on all 60,000 images of Fashion-MNIST.

Command: `attokit train --recipe attonet_d_fashion_mnist --data FOLDER --run-dir runs/fashion`
Cost: 600,000 images, about 150 images per second and core: 67 minutes of one core.
Expected: test accuracy 0.927.
"""

ATTENDSEG_LITE_SCENES = Recipe(
    model="attendseg_lite",
    overrides=MappingProxyType({"num_classes": 11, "image_size": (128, 128, 3)}),
    load=lambda folder: load_scenes((128, 128), folder=folder),
    needs_folder=True,
    data_prefix="scenes:",
    config=TrainConfig(
        steps=7500,
        batch_size=16,
        optimizer="muon",
        learning_rate=1e-2,
        weight_decay=0.02,
        ema_decay=0.998,
        augment=AugmentConfig(flip=True),
        log_every=50,
        eval_every=2500,
        eval_batch_size=64,
    ),
)
"""The small AttendSeg on scenes with the garments of all of Fashion-MNIST.

Command: `attokit train --recipe attendseg_lite_scenes --data FOLDER --run-dir runs/segmentation`
Cost: 120,000 scenes, about 45 per second of one core: 49 minutes with evaluations.
Expected: mean IoU 0.745 on 512 test scenes, whose garments are of the embedded test images.
"""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "attendseg_lite_scenes": ATTENDSEG_LITE_SCENES,
        "attonet_d_fashion_mnist": ATTONET_D_FASHION_MNIST,
        "attonet_d_quickstart": ATTONET_D_QUICKSTART,
    }
)


def find_recipe(name: str) -> Recipe:
    """Returns a recipe by name.

    Raises:
      ValueError: if the name is unknown; the text offers near ones.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.4) or sorted(RECIPES)
    raise ValueError(f"no recipe {name!r}: did you mean {' or '.join(near)}")
