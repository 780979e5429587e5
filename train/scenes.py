"""The scenes data set: drawn when it is read, with exact class maps, instance maps and boxes.

Scene number `index` of a split is a pure function of (seed, split, index, size, config); nothing
is stored. Training scenes show only training images of Fashion-MNIST, test scenes only test images:
those of the embedded subset, or, to train on more, all 60,000 training images from a folder.
"""

import pathlib
from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
from PIL import Image

from attokit.checkpoints import class_names
from attokit.train.dataset import Batch, Dataset, RecordSource
from attokit.train.garments import load_garments
from attokit.train.image_folder import fit_image
from attokit.train.instances import MASK_SIZE
from attokit.train.mask_rle import pack_bits
from attokit.train.mask_targets import compact_instances
from attokit.train.scene_drawing import DEFAULT, Scene, SceneConfig, check_size, draw_scene

CLASS_NAMES = class_names.SCENES
_STREAMS = {"train": 0, "test": 1}  # of the generator

InstanceField = Literal["instance_maps", "instance_masks", "instance_bits"]
# The exact pixels are for evaluation: training has no use for them.
_FIELDS_OF_SPLIT: Mapping[str, tuple[InstanceField, ...]] = {
    "train": ("instance_masks",),
    "test": ("instance_masks", "instance_bits"),
}


def _pad_instances(scene: Scene, count: int, fields: frozenset[InstanceField]) -> Batch:
    """Returns the instances of a scene as arrays of `count` rows; row i is instance i + 1."""
    missing = count - len(scene.labels)
    boxes = np.pad(scene.boxes_xyxy, ((0, missing), (0, 0)))
    batch = {"boxes": boxes, "box_labels": np.pad(scene.labels, (0, missing))}
    if "instance_maps" in fields:
        batch["instance_maps"] = scene.instance_map
    if "instance_masks" in fields:
        batch["instance_masks"] = compact_instances(scene.instance_map, boxes, MASK_SIZE)
    if "instance_bits" in fields:
        ids = np.arange(1, count + 1).reshape(-1, 1, 1)
        batch["instance_bits"] = pack_bits(scene.instance_map[None] == ids)
    return batch


def scene_source(
    split: str,
    *,
    length: int,
    size: tuple[int, int] = (128, 128),
    seed: int = 0,
    config: SceneConfig = DEFAULT,
    instances: bool = False,
    fields: Collection[InstanceField] = ("instance_maps",),
    channels: int = 3,
    folder: str | pathlib.Path | None = None,
) -> RecordSource:
    """Returns scenes of one split, `train` or `test`.

    Batches have `images` (uint8 [b, h, w, c]) and, for segmentation, `masks` (uint8 [b, h, w] of class
    ids, 0 for background). With `instances` they have instead `boxes` (float32 [b, n, 4]: left,
    top, right, bottom in pixels, the last two exclusive), `box_labels` (int32 [b, n]; 0 marks rows
    that are not used) and what `fields` names: `instance_maps` (uint8 [b, h, w]; row i is instance i + 1),
    `instance_masks` and `instance_bits` (see `train.instances`). n is the most garments that the
    configuration allows. Scenes of one channel are the same in grey. The garments are those of the embedded subset, or of the IDX files of
    Fashion-MNIST in `folder`.

    Raises:
      ValueError: if there is no such split, it is empty, a side has less than 32 pixels, the seed is
        negative, there are neither 1 nor 3 channels, or a file of the folder is missing or damaged.
    """
    check_size(size)
    if channels not in (1, 3):
        raise ValueError(f"scenes of {channels} channels were asked: give 1 or 3")
    if length < 1:
        raise ValueError(f"{length} scenes were asked of split {split!r}: give 1 or more")
    if seed < 0:
        raise ValueError(f"the seed of scenes is {seed}: give 0 or more")
    garments = load_garments(split, folder)

    def read_one(index: int) -> Batch:
        rng = np.random.default_rng((seed, _STREAMS[split], index))
        scene = draw_scene(rng, garments, size, config)
        image = scene.image
        if channels == 1:
            image = fit_image(Image.fromarray(image), (*size, 1))
        if not instances:
            return {"images": image, "masks": scene.class_map}
        rows = max(config.garments[1], 1)
        return {"images": image} | _pad_instances(scene, rows, frozenset(fields))

    return RecordSource(length, read_one)


def load_scenes(
    size: tuple[int, int] = (128, 128),
    *,
    task: Literal["segmentation", "detection", "instance_segmentation"] = "segmentation",
    train: int = 65536,
    test: int = 512,
    seed: int = 0,
    config: SceneConfig = DEFAULT,
    channels: int = 3,
    folder: str | pathlib.Path | None = None,
) -> Dataset:
    """Returns scenes: `train` and `test` of them, of (height, width), with class maps, boxes, or boxes and masks.

    With `folder`, which holds the four IDX files of Fashion-MNIST, training scenes show its 60,000
    training images instead of the embedded 6,000. Test scenes are the same with and without it.

    Raises:
      ValueError: as `scene_source` does.
    """
    folders = {"train": folder, "test": None}
    return Dataset(
        name="scenes",
        task=task,
        class_names=CLASS_NAMES,
        image_shape=(*size, channels),
        splits={
            split: scene_source(
                split,
                length=length,
                size=size,
                seed=seed,
                config=config,
                instances=task != "segmentation",
                fields=_FIELDS_OF_SPLIT[split] if task == "instance_segmentation" else (),
                channels=channels,
                folder=folders[split],
            )
            for split, length in (("train", train), ("test", test))
        },
    )
