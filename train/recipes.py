"""Recipes: a model, data and settings that belong together, as data. `attokit train --recipe` runs one.

Under each stand its command, its cost and what it gives: measured here, or else said to be published or
not known. What a published training draws that this one cannot is named with `Deviation:`.
"""

import dataclasses
import difflib
import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attokit.train.augment import AugmentConfig
from attokit.train.coco_json import load_visual_wake_words
from attokit.train.config import TrainConfig
from attokit.train.dataset import Dataset
from attokit.train.detection_folder import load_detection_folder
from attokit.train.fashion_mnist import load_fashion_mnist, load_fashion_mnist_subset
from attokit.train.image_folder import load_image_folder
from attokit.train.instance_folder import load_instance_folder
from attokit.train.scenes import load_scenes
from attokit.train.segmentation_folder import load_segmentation_folder


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
      split: To evaluate on.
    """

    model: str
    overrides: Mapping[str, Any]
    load: Callable[[str | pathlib.Path | None], Dataset]
    needs_folder: bool
    config: TrainConfig
    data_prefix: str = ""
    split: str = "test"


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
        steps=2900,
        batch_size=16,
        optimizer="muon",
        learning_rate=6e-3,
        weight_decay=0.02,
        ema_decay=0.997,
        seed=1,
        augment=AugmentConfig(flip=True),
        log_every=50,
        eval_every=2900,
        eval_batch_size=64,
    ),
)
"""The small AttendSeg on scenes with the garments of all of Fashion-MNIST.

It goes on from a training on smaller scenes, where a step costs less than half.

Command: `attokit train --model attendseg_lite --data scenes:FOLDER --image-size 80 80 3 --steps 3500 --batch-size 16
--optimizer muon --learning-rate 0.01 --final-fraction 0.3 --weight-decay 0.02 --ema-decay 0.99 --augment.flip --run-dir
runs/small`, then `attokit train --recipe attendseg_lite_scenes --data FOLDER --start runs/small --run-dir runs/segmentation`
Cost: 56,000 scenes of 80x80, 60 to 100 per second of one core, and 46,400 of 128x128, 80 per second of two: 23 minutes in all.
Expected: mean IoU 0.752 on 512 test scenes, whose garments are of the embedded test images.
"""

RNNPOOL_FACE_M4_SCENES = Recipe(
    model="rnnpool_face_m4",
    overrides=MappingProxyType(
        {
            "num_classes": 11,
            "image_size": (128, 160, 1),
            "prior_sizes": (40, 52, 64, 80),
            "input_mean": None,
            "input_std": None,
        }
    ),
    load=lambda folder: load_scenes((128, 160), task="detection", channels=1, folder=folder),
    needs_folder=True,
    data_prefix="scenes:",
    config=TrainConfig(
        steps=7000,
        batch_size=32,
        optimizer="muon",
        learning_rate=1e-2,
        weight_decay=0.02,
        ema_decay=0.998,
        augment=AugmentConfig(flip=True),
        log_every=250,
        eval_every=7000,
        eval_batch_size=64,
    ),
)
"""RNNPool's smallest face detector, for garments in grey scenes; anchors have the sizes of these.

Command: `attokit train --recipe rnnpool_face_m4_scenes --data FOLDER --run-dir runs/detection`
Cost: 224,000 scenes; 278 seconds of one H200 that 15 other trainings shared, scenes drawn before.
Expected: average precision at IoU 0.5 of 0.72 on 512 test scenes.
"""

ATTO_MASK_RCNN_LITE_SCENES = Recipe(
    model="atto_mask_rcnn_lite",
    overrides=MappingProxyType({"num_classes": 11, "image_size": (128, 128, 3)}),
    load=lambda folder: load_scenes((128, 128), task="instance_segmentation", folder=folder),
    needs_folder=True,
    data_prefix="scenes:",
    config=TrainConfig(
        steps=1400,
        batch_size=16,
        optimizer="muon",
        learning_rate=1.5e-2,
        weight_decay=0.02,
        ema_decay=0.99,
        augment=AugmentConfig(flip=True),
        log_every=25,
        eval_every=1400,
        checkpoint_every=300,
        eval_batch_size=16,
    ),
)
"""The small Mask R-CNN on scenes with the garments of all of Fashion-MNIST.

Command: `attokit train --recipe atto_mask_rcnn_lite_scenes --data FOLDER --run-dir runs/instances`
Cost: 22,400 scenes, about 16 per second of one core: 30 minutes with compilation and evaluation.
Expected: on 512 test scenes average precision at IoU 0.5 of 0.816 for boxes and 0.778 for masks.
"""

_INSTANCES = TrainConfig(
    epochs=24,
    batch_size=16,
    compute_dtype="bfloat16",
    learning_rate=0.02,
    weight_decay=1e-4,
    warmup_fraction=0.02,
    clip_norm=10.0,
    augment=AugmentConfig(scale=(0.5, 2.0), flip=True),
    log_every=50,
    checkpoint_every=1000,
    workers=8,
)

ATTO_MASK_RCNN_VOC = Recipe(
    model="atto_mask_rcnn",
    overrides=MappingProxyType({"num_classes": 21, "image_size": (512, 512, 3)}),
    load=lambda folder: load_instance_folder(folder or ".", (512, 512, 3)),
    needs_folder=True,
    split="val",
    config=_INSTANCES,
)
"""Mask R-CNN with AttoNet A on PASCAL VOC 2012, its folder as it is unpacked.

Command: `attokit train --recipe atto_mask_rcnn_voc --data FOLDER --run-dir runs/voc`
Cost: 35,000 images of 65 billion multiply-adds in training.
Expected: not known; the paper starts from ImageNet (`--start`), and this run was not done here.

Deviation: the paper's schedule is not published.
"""

ATTO_MASK_RCNN_COCO = Recipe(
    model="atto_mask_rcnn",
    overrides=MappingProxyType({"num_classes": 81, "image_size": (512, 512, 3)}),
    load=lambda folder: load_instance_folder(folder or ".", (512, 512, 3)),
    needs_folder=True,
    split="val",
    config=_INSTANCES,
)
"""Mask R-CNN with AttoNet A on COCO 2017, a folder `annotations/instances_SPLIT.json`, `SPLIT/NAME.jpg`.

Command: `attokit train --recipe atto_mask_rcnn_coco --data FOLDER --run-dir runs/coco`
Cost: 2.8 million images of 65 billion multiply-adds in training.
Expected: not known; this run was not done here.

Deviation: the paper's schedule is not published.
"""

_IMAGENET = TrainConfig(
    epochs=150,
    batch_size=1024,
    compute_dtype="bfloat16",
    learning_rate=0.4,
    weight_decay=4e-5,
    warmup_fraction=0.03,
    label_smoothing=0.1,
    ema_decay=0.9999,
    augment=AugmentConfig(
        scale=(1.0, 2.5), flip=True, brightness=0.2, contrast=0.2, saturation=0.2
    ),
    log_every=100,
    checkpoint_every=500,
    eval_batch_size=1000,
    workers=8,
)

ATTONET_A_IMAGENET = Recipe(
    model="attonet_a",
    overrides=MappingProxyType({"num_classes": 1000, "image_size": (224, 224, 3)}),
    load=lambda folder: load_image_folder(folder or ".", (224, 224, 3)),
    needs_folder=True,
    split="val",
    config=_IMAGENET,
)
"""AttoNet A on ImageNet-1k, a folder `train/SYNSET/IMAGE`, `val/SYNSET/IMAGE`.

Command: `attokit train --recipe attonet_a_imagenet --data FOLDER --run-dir runs/imagenet`
Cost: 192 million images of 425 million multiply-adds; one host feeds what `benchmarks/input_pipeline.py` says.
Expected: not known; the paper trained on 50 classes only, and this run was not done here.
"""

ATTONET_D_IMAGENET50 = Recipe(
    model="attonet_d",
    overrides=MappingProxyType({"num_classes": 50, "image_size": (224, 224, 3)}),
    load=lambda folder: load_image_folder(folder or ".", (224, 224, 3), every=20),
    needs_folder=True,
    data_prefix="every20:",
    split="val",
    config=dataclasses.replace(_IMAGENET, epochs=200, batch_size=256, learning_rate=0.1),
)
"""AttoNet D on 50 classes of ImageNet: the first of each twenty synsets in the order of their names.

Command: `attokit train --recipe attonet_d_imagenet50 --data FOLDER --run-dir runs/imagenet50`
Cost: 13 million images of 57 million multiply-adds.
Expected: not known; the paper asked its networks for top-1 of 65 % on another list of 50, which is not published.
"""

ATTENDSEG_CAMVID = Recipe(
    model="attendseg",
    overrides=MappingProxyType({"num_classes": 11, "image_size": (512, 512, 3)}),
    load=lambda folder: load_segmentation_folder(folder or ".", (512, 512, 3)),
    needs_folder=True,
    config=TrainConfig(
        steps=20_000,
        batch_size=8,
        optimizer="muon",
        learning_rate=5e-3,
        weight_decay=0.02,
        ema_decay=0.999,
        loss="cross_entropy_dice",
        augment=AugmentConfig(scale=(0.5, 2.0), flip=True, brightness=0.2, contrast=0.2),
        log_every=50,
        eval_every=1000,
        workers=4,
    ),
)
"""AttendSeg on CamVid: 367 images to train, 233 to test, 11 classes, cut to squares.

Command: `attokit train --recipe attendseg_camvid --data FOLDER --run-dir runs/camvid`
Cost: 160,000 images of 512x512.
Expected: not known; this run was not done here.
"""

RNNPOOL_VWW = Recipe(
    model="rnnpool_vww",
    overrides=MappingProxyType({"num_classes": 2, "image_size": (224, 224, 3)}),
    load=lambda folder: load_visual_wake_words(folder or ".", (224, 224, 3)),
    needs_folder=True,
    split="val",
    config=TrainConfig(
        epochs=150,
        batch_size=256,
        learning_rate=0.05,
        warmup_fraction=0.0,
        weight_decay=4e-5,
        augment=AugmentConfig(scale=(1.0, 2.236), flip=True),  # areas from a fifth on
        log_every=100,
        checkpoint_every=500,
        eval_batch_size=500,
        workers=8,
    ),
)
"""The wake word network of RNNPool on visual wake words, derived from COCO's folder.

Command: `attokit train --recipe rnnpool_vww --data COCO_FOLDER --run-dir runs/vww`
Cost: 18 million images of 224x224.
Expected: about 89.6 % of the validation images, as its authors published; not done here.

Deviation: crops keep the shape of the image; the authors' stretch it by up to a third.
"""

RNNPOOL_WIDER_FACE = Recipe(
    model="rnnpool_face_quant",
    overrides=MappingProxyType({"num_classes": 2, "image_size": (640, 640, 3)}),
    load=lambda folder: load_detection_folder(folder or ".", (640, 640, 3)),
    needs_folder=True,
    split="val",
    config=TrainConfig(
        epochs=300,
        batch_size=32,
        learning_rate=1e-2,
        warmup_fraction=5 / 300,
        weight_decay=5e-4,
        augment=AugmentConfig(
            scale=(1.0, 3.3),
            anchor_sizes=(16, 32, 64, 128, 256, 512),
            smallest_box=6,
            flip=True,
            brightness=0.125,
            contrast=0.5,
            saturation=0.5,
        ),
        log_every=50,
        eval_every=4000,
        checkpoint_every=500,
        workers=8,
    ),
)
"""A face detector of RNNPool on WIDER FACE.

Command: `attokit train --recipe rnnpool_wider_face --data FOLDER --run-dir runs/faces`
Cost: 3.9 million images of 640x640.
Expected: average precision as published 0.80, 0.78, 0.53 (easy, medium, hard); not done here. The run's own
AP@0.5 is of images of one size; `train.wider_average_precision` scores as WIDER FACE does (docs/detection.md).

Deviation: the authors shift hues too, and keep the state of least validation loss.
"""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "attendseg_camvid": ATTENDSEG_CAMVID,
        "attendseg_lite_scenes": ATTENDSEG_LITE_SCENES,
        "atto_mask_rcnn_coco": ATTO_MASK_RCNN_COCO,
        "atto_mask_rcnn_lite_scenes": ATTO_MASK_RCNN_LITE_SCENES,
        "atto_mask_rcnn_voc": ATTO_MASK_RCNN_VOC,
        "attonet_a_imagenet": ATTONET_A_IMAGENET,
        "attonet_d_fashion_mnist": ATTONET_D_FASHION_MNIST,
        "attonet_d_imagenet50": ATTONET_D_IMAGENET50,
        "attonet_d_quickstart": ATTONET_D_QUICKSTART,
        "rnnpool_face_m4_scenes": RNNPOOL_FACE_M4_SCENES,
        "rnnpool_vww": RNNPOOL_VWW,
        "rnnpool_wider_face": RNNPOOL_WIDER_FACE,
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
