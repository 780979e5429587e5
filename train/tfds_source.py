"""TFDS data sets by name, read from array_record files without TensorFlow."""

import pathlib
from typing import Any

import numpy as np
from PIL import Image

from attokit.train.dataset import Batch, Dataset, RecordSource
from attokit.train.image_folder import fit_image


def _record_source(records: Any, image_shape: tuple[int, int, int]) -> RecordSource:
    """Returns a source over TFDS's random-access records with `image` and `label`."""

    def read_one(index: int) -> Batch:
        record = records[index]
        pixels = record["image"]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return {
            "images": fit_image(image, image_shape),
            "labels": np.array(record["label"], np.int32),
        }

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


def load_tfds(
    name: str,
    image_shape: tuple[int, int, int],
    *,
    data_dir: str | pathlib.Path | None = None,
    download: bool = True,
) -> Dataset:
    """Returns an image classification set of TFDS, such as `load_tfds("cifar10", (32, 32, 3))`.

    Args:
      name: TFDS's name, with config and version if wanted.
      image_shape: Images are resized to cover it and cropped at the centre.
      data_dir: Where TFDS keeps its files; None for its default.
      download: Whether to fetch and prepare what is missing.

    Raises:
      ValueError: if TFDS cannot provide the set, or it has no images with one label.
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
    _check_features(name, builder.info.features, tfds.features)
    return Dataset(
        name=name,
        class_names=tuple(builder.info.features["label"].names),
        image_shape=image_shape,
        splits={split: _record_source(records, image_shape) for split, records in sources.items()},
    )
