import struct

import numpy as np
import pytest
from PIL import Image

from attokit.train.fashion_mnist import load_fashion_mnist, load_fashion_mnist_subset


def test_subset_is_balanced():
    dataset = load_fashion_mnist_subset()
    assert dataset.image_shape == (28, 28, 1)
    for split, per_class in (("train", 600), ("test", 100)):
        source = dataset.split(split)
        batch = source.read(np.arange(len(source)))
        assert batch["images"].shape == (10 * per_class, 28, 28, 1)
        assert batch["images"].dtype == np.uint8
        assert np.bincount(batch["labels"]).tolist() == [per_class] * 10


def _write(folder, prefix, images, labels):
    header = struct.pack(f">BBBB{images.ndim}I", 0, 0, 8, images.ndim, *images.shape)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = struct.pack(">BBBBI", 0, 0, 8, 1, len(labels))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def _folder(folder, size=28, labels=(3, 9)):
    for prefix in ("train", "t10k"):
        images = np.full((2, size, size), 7, np.uint8)
        _write(folder, prefix, images, np.array(labels, np.uint8))
    return folder


def test_reads_a_folder(tmp_path):
    batch = load_fashion_mnist(_folder(tmp_path)).split("test").read(np.array([1]))
    assert batch["images"].shape == (1, 28, 28, 1)
    assert batch["labels"].tolist() == [9]


def test_images_are_fitted_to_a_size(tmp_path):
    dataset = load_fashion_mnist(_folder(tmp_path), (56, 40))
    assert dataset.image_shape == (56, 40, 1)
    images = dataset.split("train").read(np.array([0]))["images"]
    assert images.shape == (1, 56, 40, 1) and np.all(images == 7)


def test_images_are_fitted_when_they_are_read(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    for prefix in ("train", "t10k"):
        _write(tmp_path, prefix, images, np.array([4, 0, 9], np.uint8))
    with monkeypatch.context() as context:
        context.setattr("attokit.train.fashion_mnist.Image", None)
        source = load_fashion_mnist(tmp_path, (40, 56)).split("test")
    batch = source.read(np.array([2, 0]))
    for image, fitted in zip(images[[2, 0]], batch["images"], strict=True):
        want = Image.fromarray(image).resize((56, 40), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(fitted[..., 0], np.asarray(want))
    assert batch["labels"].tolist() == [9, 4] and batch["labels"].dtype == np.int32
    assert source.read(np.zeros(0, int))["images"].shape == (0, 40, 56, 1)


@pytest.mark.parametrize("size", [(28, 28), (56, 56)])
def test_files_without_images(tmp_path, size):
    for prefix in ("train", "t10k"):
        _write(tmp_path, prefix, np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8))
    with pytest.raises(ValueError, match="no examples in split train, test: check the folder"):
        load_fashion_mnist(tmp_path, size)


def test_a_size_and_its_half_are_the_same_picture():
    index = np.array([5])
    small = load_fashion_mnist_subset().split("test").read(index)["images"]
    large = load_fashion_mnist_subset((56, 56)).split("test").read(index)["images"]
    mean = large.reshape(28, 2, 28, 2).astype(np.float32).mean((1, 3))
    # Bilinear weights are 3/4 and 1/4, so the mean of four pixels is a slightly blurred original.
    assert np.abs(mean - small[0, ..., 0]).mean() < 10


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 20}, "not Fashion-MNIST's"),
        ({"labels": (3, 10)}, "labels up to 10"),
        ({"labels": (3,)}, "2 images but .* 1 labels"),
    ],
)
def test_refuses_other_sets(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        load_fashion_mnist(_folder(tmp_path, **options))


def test_refuses_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="no file train-images-idx3-ubyte"):
        load_fashion_mnist(tmp_path)
