"""Data sets by the text that the command line takes."""

import pathlib

from attokit.train import (
    Dataset,
    load_fashion_mnist,
    load_fashion_mnist_subset,
    load_image_folder,
    load_tfds,
)

EMBEDDED = "fashion_mnist_subset"
_TFDS = "tfds:"


def load_dataset(data: str, image_shape: tuple[int, int, int] | None = None) -> Dataset:
    """Returns a data set.

    Args:
      data: `fashion_mnist_subset` (embedded), `tfds:NAME`, a folder with the four IDX files of
        Fashion-MNIST, or an image folder laid out as `train/CLASS/IMAGE` and `test/CLASS/IMAGE`.
      image_shape: Height, width and channels that images are fitted to, where files or TFDS have
        images of any size; None for 224, 224, 3.

    Raises:
      ValueError: if there is no such data, it is damaged, or its images have another shape.
    """
    dataset = _load(data, image_shape or (224, 224, 3))
    if image_shape is not None and dataset.image_shape != image_shape:
        raise ValueError(
            f"the images of {data} are {dataset.image_shape}, not {image_shape}: "
            "height, width and channels must be those of the model"
        )
    return dataset


def _load(data: str, image_shape: tuple[int, int, int]) -> Dataset:
    if data == EMBEDDED:
        return load_fashion_mnist_subset()
    if data.startswith(_TFDS):
        return load_tfds(data.removeprefix(_TFDS), image_shape)
    folder = pathlib.Path(data)
    if not folder.is_dir():
        raise ValueError(
            f"no data {data!r}: give {EMBEDDED}, {_TFDS}NAME, or an existing folder of IDX files "
            "or images"
        )
    if any(folder.glob("*-ubyte*")):
        return load_fashion_mnist(folder)
    return load_image_folder(folder, image_shape)


def canonical(data: str) -> str:
    """Returns the text that means the same data from any working directory."""
    if data == EMBEDDED or data.startswith(_TFDS):
        return data
    return str(pathlib.Path(data).absolute())
