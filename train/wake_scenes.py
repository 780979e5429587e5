"""Scenes with or without one kind of garment: the embedded set for networks that wake others.

As in visual wake words (Chowdhery et al., arXiv 1906.05721) an image counts as showing the thing if what is
visible of it takes more than half a percent of the pixels.  One scene in two shows it.
"""

import dataclasses
import pathlib

import numpy as np

from attokit.checkpoints.class_names import FASHION_MNIST
from attokit.train.dataset import Batch, Dataset, RecordSource
from attokit.train.garments import Garments, load_garments
from attokit.train.scene_drawing import Scene, SceneConfig, check_size, draw_scene

# Fewer and larger than elsewhere: one bit for a whole image teaches little.
DEFAULT = SceneConfig(garments=(1, 3), scale=(0.4, 0.8))
_LEAST_SHARE = 0.005  # of the pixels
_TRIES = 500  # one scene of a single garment in ten shows it
_STREAMS = {"train": 2, "test": 3}  # of the generator; scenes for other tasks have 0 and 1


def _without(garments: Garments, label: int) -> Garments:
    """Returns the garments of all other classes."""
    keep = garments.labels != label
    return Garments(garments.pixels[keep], garments.covers[keep], garments.labels[keep])


def wake_scene_source(
    split: str,
    garment: str,
    *,
    length: int,
    size: tuple[int, int] = (96, 96),
    seed: int = 0,
    config: SceneConfig = DEFAULT,
    folder: str | pathlib.Path | None = None,
) -> RecordSource:
    """Returns scenes of one split, `train` or `test`, as `images` (uint8) and `labels` (int32, 0 or 1).

    Scene number `index` is a pure function of (seed, split, garment, index, size, config).  The garments
    are those that `scene_source` shows; garments of that kind which are too small or too hidden to
    count do not appear where the label is 0.

    Args:
      split: Name of the split.
      garment: Name of the class that label 1 stands for, one of Fashion-MNIST's.
      length: Number of scenes.
      size: Height and width.
      seed: Of the scenes.
      config: What a scene holds; it must allow a garment.
      folder: Of the IDX files of Fashion-MNIST; None for the embedded subset.

    Raises:
      ValueError: if there is no such split or garment, the split is empty, a side has less than 32
        pixels, the seed is negative, or a scene may not hold a garment; when read, if the garments
        are all too small to count.
    """
    check_size(size)
    if garment not in FASHION_MNIST:
        raise ValueError(f"no garment {garment!r}: choose one of {', '.join(FASHION_MNIST)}")
    if length < 1 or seed < 0:
        raise ValueError(
            f"{length} scenes of seed {seed} were asked of split {split!r}: give 1 or more, and "
            "a seed that is not negative"
        )
    if config.garments[1] < 1:
        raise ValueError(
            f"garments of a scene is {config.garments}: a scene that shows {garment!r} needs one"
        )
    label = FASHION_MNIST.index(garment)
    every = load_garments(split, folder)
    others = _without(every, label)
    least = max(1, config.garments[0])

    def read_one(index: int) -> Batch:
        rng = np.random.default_rng((seed, _STREAMS[split], label, index))
        wanted = bool(rng.integers(2))
        # Drawn once, or scenes that show it would be fuller than others.
        count = int(rng.integers(least, config.garments[1] + 1))
        one = dataclasses.replace(config, garments=(count, count))
        for _ in range(_TRIES):
            scene = draw_scene(rng, every if wanted else others, size, one)
            if not wanted or _shows(scene, label):
                return {"images": scene.image, "labels": np.asarray(wanted, np.int32)}
        raise ValueError(
            f"none of {_TRIES} scenes showed {garment!r} on {_LEAST_SHARE:.1%} of its pixels: "
            f"raise scale, which is {config.scale}"
        )

    return RecordSource(length, read_one)


def _shows(scene: Scene, label: int) -> bool:
    return bool(np.mean(scene.class_map == label + 1) > _LEAST_SHARE)


def load_wake_scenes(
    garment: str,
    size: tuple[int, int] = (96, 96),
    *,
    train: int = 65536,
    test: int = 1024,
    seed: int = 0,
    config: SceneConfig = DEFAULT,
    folder: str | pathlib.Path | None = None,
) -> Dataset:
    """Returns `train` and `test` scenes for telling whether a garment is there, of (height, width).

    With `folder`, which holds the IDX files of Fashion-MNIST, training scenes show its 60,000 training
    images instead of the embedded 6,000.  Test scenes are the same with and without it.

    Raises:
      ValueError: as `wake_scene_source` does.
    """
    folders = {"train": folder, "test": None}
    return Dataset(
        name="wake_scenes",
        class_names=(f"no {garment}", garment),
        image_shape=(*size, 3),
        splits={
            split: wake_scene_source(
                split,
                garment,
                length=length,
                size=size,
                seed=seed,
                config=config,
                folder=folders[split],
            )
            for split, length in (("train", train), ("test", test))
        },
    )
