"""TFDS data sets by name, read from array_record files without TensorFlow."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from attokit.train.box_records import MAX_BOXES, fit_example
from attokit.train.dataset import IGNORE, Batch, Dataset, DataTask, RecordSource
from attokit.train.image_folder import fit_image
from attokit.train.mask_image import Meaning, fit_pair, plain_ids
from attokit.train.padded_boxes import BoxPadding
from attokit.train.segmentation_layouts import CITYSCAPES_CLASSES

# The keys under which TFDS's sets keep an image and its mask.
_IMAGE_KEYS = ("image", "image_left")
_BOX_KEYS = ("faces", "objects")
_UNCOUNTED_KEYS = ("invalid", "is_crowd", "is_difficult")  # what marks objects that do not count
_MASK_KEYS = ("segmentation_mask", "segmentation_label", "annotation", "mask", "label")


@dataclasses.dataclass(frozen=True)
class _Masks:
    """Class names of a set whose features do not tell them, and what its ids stand for."""

    class_names: tuple[str, ...]
    meaning: Meaning


# The 19 classes by which Cityscapes is evaluated, of its ids 0 to 33 (its `labels.py`).
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

_KNOWN_MASKS: Mapping[str, _Masks] = MappingProxyType(
    {
        # 3 is the border between animal and background, "not classified" in the set's README.
        "oxford_iiit_pet": _Masks(("animal", "background"), {1: 0, 2: 1, 3: IGNORE}),
        "cityscapes": _Masks(
            CITYSCAPES_CLASSES,
            dict.fromkeys([*range(34), 255], IGNORE)
            | {id_: index for index, id_ in enumerate(_CITYSCAPES_IDS)},
        ),
    }
)


def _as_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _record_source(records: Any, image_shape: tuple[int, int, int]) -> RecordSource:
    """Returns a source over TFDS's random-access records with `image` and `label`."""

    def read_one(index: int) -> Batch:
        record = records[index]
        return {
            "images": fit_image(_as_image(record["image"]), image_shape),
            "labels": np.array(record["label"], np.int32),
        }

    return RecordSource(len(records), read_one)


def _mask_source(
    name: str,
    records: Any,
    keys: tuple[str, str],
    image_shape: tuple[int, int, int],
    meaning: Meaning,
) -> RecordSource:
    """Returns a source over records with an image and a mask, under two keys."""

    def read_one(index: int) -> Batch:
        record = records[index]
        image, mask = (_as_image(record[key]) for key in keys)
        return fit_pair(image, mask, image_shape, meaning, f"{keys[1]} of {name}, record {index}")

    return RecordSource(len(records), read_one)


def _check_features(name: str, found: Any, kinds: Any) -> None:
    """Raises ValueError unless there is an image and a label of known classes."""
    wanted = {"image": kinds.Image, "label": kinds.ClassLabel}
    wrong = [
        f"{key} {f'is {type(found[key]).__name__}' if key in found else 'is missing'}"
        for key, kind in wanted.items()
        if key not in found or not isinstance(found[key], kind)
    ]
    if wrong:
        raise ValueError(
            f"TFDS set {name!r} has features {', '.join(found)}, but classification needs an image "
            f"(Image) and a label that knows its classes (ClassLabel): {', '.join(wrong)}; choose "
            "another set"
        )


def _mask_keys(found: Any, kinds: Any) -> tuple[str, str] | None:
    """Returns the keys of the image and of its mask, or None if there is no such pair."""
    images = [key for key in _IMAGE_KEYS if key in found and isinstance(found[key], kinds.Image)]
    masks = [key for key in _MASK_KEYS if key in found and isinstance(found[key], kinds.Image)]
    return (images[0], masks[0]) if images and masks else None


def _box_key(found: Any, kinds: Any) -> str | None:
    """Returns the key of the objects with boxes, or None if there are none."""
    for key in _BOX_KEYS:
        inner = getattr(found[key], "feature", None) if key in found else None
        if inner is not None and "bbox" in inner and isinstance(inner["bbox"], kinds.BBoxFeature):
            return key
    return None


def _boxes_dataset(
    name: str,
    features: Any,
    kinds: Any,
    sources: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    max_boxes: int,
) -> Dataset:
    """Returns a set whose images have boxes, as shares of height and width."""
    key = _box_key(features, kinds)
    if key is None or "image" not in features:
        raise ValueError(
            f"TFDS set {name!r} has features {', '.join(features)}, but detection needs an image and "
            f"{' or '.join(_BOX_KEYS)} with a bbox each: choose another set"
        )
    inner = features[key].feature
    labelled = "label" in inner and isinstance(inner["label"], kinds.ClassLabel)
    names = tuple(inner["label"].names) if labelled else (key.removesuffix("s"),)
    flags = [flag for flag in _UNCOUNTED_KEYS if flag in inner]

    def source(split: str, records: Any) -> RecordSource:
        padding = BoxPadding(max_boxes, f"{name}/{split}")

        def read_one(index: int) -> Batch:
            record = records[index]
            image, objects = _as_image(record["image"]), record[key]
            # TFDS has top, left, bottom, right.
            boxes = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
            boxes = boxes * np.array([[image.width, image.height] * 2], np.float32)
            labels = np.ones(len(boxes), np.int32)
            if labelled:
                labels = np.asarray(objects["label"], np.int32) + 1
            for flag in flags:
                labels = np.where(np.asarray(objects[flag], bool), -np.abs(labels), labels)
            return fit_example(image, boxes, labels, image_shape, padding)

        return RecordSource(len(records), read_one)

    return Dataset(
        name=name,
        task="detection",
        class_names=("background", *names),
        image_shape=image_shape,
        splits={split: source(split, records) for split, records in sources.items()},
    )


def _known_masks(name: str, set_name: str, class_names: Sequence[str] | None) -> _Masks:
    """Returns classes and ids of a set of masks."""
    if class_names is not None:
        return _Masks(tuple(class_names), plain_ids(len(class_names)))
    if set_name in _KNOWN_MASKS:
        return _KNOWN_MASKS[set_name]
    raise ValueError(
        f"TFDS set {name!r} does not name the classes of its masks: give class_names in the order of "
        f"the ids (known without: {', '.join(_KNOWN_MASKS)})"
    )


def load_tfds(
    name: str,
    image_shape: tuple[int, int, int],
    *,
    task: DataTask | None = None,
    class_names: Sequence[str] | None = None,
    max_boxes: int = MAX_BOXES,
    data_dir: str | pathlib.Path | None = None,
    download: bool = True,
) -> Dataset:
    """Returns a set of TFDS, such as `load_tfds("cifar10", (32, 32, 3))`.

    Args:
      name: TFDS's name, with config and version if wanted.
      image_shape: Images are resized to cover it and cropped at the centre, masks with them.
      task: What to read where a set has several; None for classification if its images have one
        label, else segmentation if they have masks, else detection if they have boxes.
      class_names: Of masks, in the order of their ids; None for those of a known set.
      max_boxes: Rows of boxes in a batch; of images with more, the largest objects stay.
      data_dir: Where TFDS keeps its files; None for its default.
      download: Whether to fetch and prepare what is missing.

    Raises:
      ValueError: if TFDS cannot provide the set, or its images have neither one label nor masks nor
        boxes, or not what the task wants.
    """
    import tensorflow_datasets as tfds  # here: it costs a third of a second

    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        if download:
            builder.download_and_prepare()
        sources = builder.as_data_source()
    except Exception as err:  # TFDS raises many kinds, all of which mean: no such data here
        raise ValueError(
            f"TFDS cannot provide {name!r}: {type(err).__name__}: {err}; check the name, "
            "data_dir and whether it was prepared as array_record"
        ) from err
    features = builder.info.features
    keys = _mask_keys(features, tfds.features)
    if task is None:
        labelled = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
        boxed = _box_key(features, tfds.features) is not None
        task = "segmentation" if keys else "detection" if boxed else "classification"
        task = "classification" if labelled else task
    if task == "classification":
        _check_features(name, features, tfds.features)
        return Dataset(
            name=name,
            class_names=tuple(features["label"].names),
            image_shape=image_shape,
            splits={s: _record_source(records, image_shape) for s, records in sources.items()},
        )
    if task == "instance_segmentation":
        raise ValueError(
            f"TFDS set {name!r} has features {', '.join(features)}, but no mask of every object (neither its "
            "coco nor its voc has them): give the folder of COCO or PASCAL VOC itself"
        )
    if task == "detection":
        return _boxes_dataset(name, features, tfds.features, sources, image_shape, max_boxes)
    if keys is None:
        raise ValueError(
            f"TFDS set {name!r} has features {', '.join(features)}, but segmentation needs an image "
            f"({' or '.join(_IMAGE_KEYS)}) and a mask as an Image ({' or '.join(_MASK_KEYS)}): choose "
            "another set"
        )
    masks = _known_masks(name, builder.name, class_names)
    return Dataset(
        name=name,
        class_names=masks.class_names,
        image_shape=image_shape,
        splits={
            s: _mask_source(name, records, keys, image_shape, masks.meaning)
            for s, records in sources.items()
        },
        task="segmentation",
    )
