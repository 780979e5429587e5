"""Fashion-MNIST: the embedded subset, and the full set from a folder of IDX files, both at any size.

The subset is the first 600 training and first 100 test images of each class, in the original
order, made by `tools/make_fashion_mnist_subset.py`. MIT licence, see NOTICE and `assets`.
"""

import importlib.resources
import io
import lzma
import pathlib

import numpy as np
from PIL import Image

from attokit.checkpoints.class_names import FASHION_MNIST
from attokit.train.dataset import ArraySource, Batch, Dataset, Source
from attokit.train.idx import find_idx, read_idx

_SUBSET = "fashion_mnist_subset.npz.xz"
_FILE_PREFIXES = {"train": "train", "test": "t10k"}
_SIZE = (28, 28)


class _FittedSource:
    """Images of another source, which stay small in memory and are fitted to a size when they are read."""

    def __init__(self, source: Source, image_size: tuple[int, int]):
        self._source = source
        self._image_size = image_size

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self._source)

    def read(self, indices: np.ndarray) -> Batch:
        """Returns the examples at `indices`, with images [b, h, w, 1] of the size."""
        batch = self._source.read(indices)
        height, width = self._image_size
        images = np.empty((len(indices), height, width, 1), np.uint8)
        for fitted, image in zip(images, batch["images"], strict=True):
            small = Image.fromarray(image[..., 0])
            fitted[..., 0] = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
        return batch | {"images": images}


def _source(images: np.ndarray, labels: np.ndarray, image_size: tuple[int, int]) -> Source:
    source = ArraySource(images=images[..., None], labels=labels.astype(np.int32))
    return source if image_size == _SIZE else _FittedSource(source, image_size)


def load_fashion_mnist_subset(image_size: tuple[int, int] = _SIZE) -> Dataset:
    """Returns the embedded subset: 6,000 training and 1,000 test images of one channel.

    Args:
      image_size: Height and width to which the 28x28 pixels are fitted (bilinear).
    """
    packed = (importlib.resources.files("attokit.train") / "assets" / _SUBSET).read_bytes()
    with np.load(io.BytesIO(lzma.decompress(packed))) as arrays:
        splits = {
            split: _source(arrays[f"{split}_images"], arrays[f"{split}_labels"], image_size)
            for split in _FILE_PREFIXES
        }
    return _dataset("fashion_mnist_subset", splits, image_size)


def _dataset(name: str, splits: dict[str, Source], image_size: tuple[int, int]) -> Dataset:
    return Dataset(
        name=name, class_names=FASHION_MNIST, image_shape=(*image_size, 1), splits=splits
    )


def read_fashion_mnist_arrays(
    folder: str | pathlib.Path, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the uint8 images [n, 28, 28] and labels [n] of one split, from IDX files.

    Raises:
      ValueError: if a file is missing or damaged, or images and labels do not fit together.
    """
    prefix = _FILE_PREFIXES[split]
    images_path = find_idx(folder, f"{prefix}-images-idx3-ubyte")
    labels_path = find_idx(folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} has {len(images)} images but {labels_path} has {len(labels)} labels: "
            "take both from one release"
        )
    if images.shape[1:] != _SIZE or labels.max(initial=0) >= len(FASHION_MNIST):
        raise ValueError(
            f"{folder} holds images of {images.shape[1:]} pixels and labels up to "
            f"{labels.max(initial=0)}, not Fashion-MNIST's (28, 28) and 9: name another folder"
        )
    return images, labels


def load_fashion_mnist(folder: str | pathlib.Path, image_size: tuple[int, int] = _SIZE) -> Dataset:
    """Returns all of Fashion-MNIST (60,000 + 10,000 images) from its four IDX files.

    Args:
      folder: Of the files.
      image_size: Height and width to which the 28x28 pixels are fitted (bilinear).

    Raises:
      ValueError: if a file is missing or damaged.
    """
    splits = {
        split: _source(*read_fashion_mnist_arrays(folder, split), image_size)
        for split in _FILE_PREFIXES
    }
    return _dataset("fashion_mnist", splits, image_size)
