"""Makes the embedded Fashion-MNIST subset from the four original IDX files.

    python tools/make_fashion_mnist_subset.py FOLDER [OUTPUT]

The first 600 training and first 100 test images of each class, in the original order. The
same input gives the same bytes: numpy's npz carries no time stamps, and xz adds none.
"""

import argparse
import io
import lzma
import pathlib

import numpy as np

from attokit.checkpoints.class_names import FASHION_MNIST
from attokit.train.fashion_mnist import read_fashion_mnist_arrays

_PER_CLASS = {"train": 600, "test": 100}
_OUTPUT = pathlib.Path(__file__).parent.parent / "train" / "assets" / "fashion_mnist_subset.npz.xz"


def choose_balanced(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Returns the indices of the first `per_class` examples of each class, ascending."""
    chosen = [np.flatnonzero(labels == label)[:per_class] for label in range(len(FASHION_MNIST))]
    return np.sort(np.concatenate(chosen))


def make_subset(folder: pathlib.Path) -> bytes:
    """Returns the bytes of the subset file."""
    arrays = {}
    for split, per_class in _PER_CLASS.items():
        images, labels = read_fashion_mnist_arrays(folder, split)
        chosen = choose_balanced(labels, per_class)
        arrays |= {f"{split}_images": images[chosen], f"{split}_labels": labels[chosen]}
    npz = io.BytesIO()
    np.savez(npz, **arrays)
    return lzma.compress(npz.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def main() -> None:
    """Reads the folder, writes the file, says what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="folder with the four IDX files")
    parser.add_argument("output", type=pathlib.Path, nargs="?", default=_OUTPUT)
    arguments = parser.parse_args()
    content = make_subset(arguments.folder)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(content)
    print(f"wrote {arguments.output} ({len(content):,} bytes)")


if __name__ == "__main__":
    main()
