import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from attokit.datasets import canonical, load_dataset, portable, without_folder


def test_embedded():
    dataset = load_dataset("fashion_mnist_subset")
    assert dataset.image_shape == (28, 28, 1)
    assert len(dataset.split("train")) == 6000


def test_scenes():
    dataset = load_dataset("scenes", (32, 48, 3))
    assert (dataset.task, dataset.image_shape) == ("segmentation", (32, 48, 3))
    assert load_dataset("scenes").image_shape == (128, 128, 3)
    assert canonical("scenes") == "scenes"
    grey = load_dataset("scenes", (32, 32, 1))
    assert grey.image_shape == (32, 32, 1)


def test_scenes_with_boxes():
    dataset = load_dataset("scenes", (32, 48, 1), task="detection")
    assert (dataset.task, dataset.image_shape) == ("detection", (32, 48, 1))
    batch = dataset.split("test").read(np.arange(2))
    assert batch.keys() == {"images", "boxes", "box_labels"}
    assert batch["images"].shape == (2, 32, 48, 1)


def test_scenes_with_masks():
    dataset = load_dataset("scenes", (32, 48, 3), task="instance_segmentation")
    assert dataset.task == "instance_segmentation"
    batch = dataset.split("train").read(np.arange(2))
    assert batch.keys() == {"images", "boxes", "box_labels", "instance_masks"}
    batch = dataset.split("test").read(np.arange(2))
    assert batch["instance_bits"].shape == (2, 8, 32, 6)
    masks = np.unpackbits(batch["instance_bits"], axis=-1, count=48).sum((2, 3))
    np.testing.assert_array_equal(masks > 0, batch["box_labels"] > 0)


def test_scenes_of_a_folder(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no file train-images-idx3-ubyte"):
        load_dataset(f"scenes:{tmp_path}", (32, 48, 3))
    monkeypatch.chdir(tmp_path)
    assert canonical("scenes:fashion") == f"scenes:{tmp_path / 'fashion'}"


def test_wake_scenes(tmp_path, monkeypatch):
    dataset = load_dataset("wake_scenes:Ankle boot", (32, 48, 3))
    assert (dataset.task, dataset.image_shape) == ("classification", (32, 48, 3))
    assert dataset.class_names == ("no Ankle boot", "Ankle boot")
    assert load_dataset("wake_scenes:Bag").image_shape == (96, 96, 3)
    with pytest.raises(ValueError, match="no garment 'Hat'"):
        load_dataset("wake_scenes:Hat")
    with pytest.raises(ValueError, match="no file train-images-idx3-ubyte"):
        load_dataset(f"wake_scenes:Bag:{tmp_path}")
    monkeypatch.chdir(tmp_path)
    assert canonical("wake_scenes:Bag") == "wake_scenes:Bag"
    assert canonical("wake_scenes:Bag:fashion") == f"wake_scenes:Bag:{tmp_path / 'fashion'}"


def test_image_folder_is_fitted(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
        image = Image.fromarray(np.zeros((9, 12, 3), np.uint8))
        image.save(tmp_path / split / "cat" / "1.png")
    dataset = load_dataset(str(tmp_path), (6, 6, 1))
    assert dataset.split("test").read(np.arange(1))["images"].shape == (1, 6, 6, 1)


def test_some_classes_of_an_image_folder(tmp_path, monkeypatch):
    for name in ("ant", "bee", "cat", "dog", "elk"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "train" / name / "1.png")
    dataset = load_dataset(f"every2:{tmp_path}", (8, 8, 3))
    assert dataset.class_names == ("ant", "cat", "elk")
    assert len(dataset.split("train")) == 3
    assert load_dataset(str(tmp_path), (8, 8, 3)).num_classes == 5
    for data in ("every0:{}", "every:{}", "every2:"):
        with pytest.raises(ValueError, match=r"no data .* every20:FOLDER"):
            load_dataset(data.format(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    assert canonical(f"every2:{tmp_path.name}") == f"every2:{tmp_path}"


@pytest.mark.parametrize(
    ("data", "anywhere", "public"),
    [
        ("fashion_mnist_subset", "fashion_mnist_subset", "fashion_mnist_subset"),
        ("scenes", "scenes", "scenes"),
        ("scenes:", "scenes", "scenes"),
        ("scenes:/a/b:c", None, "scenes:FOLDER"),
        ("wake_scenes:T-shirt/top", "wake_scenes:T-shirt/top", "wake_scenes:T-shirt/top"),
        ("wake_scenes:Bag:", "wake_scenes:Bag", "wake_scenes:Bag"),
        ("wake_scenes:Bag:/a:b", None, "wake_scenes:Bag:FOLDER"),
        ("tfds:mnist:3.0.1", "tfds:mnist:3.0.1", "tfds:mnist:3.0.1"),
        ("every20:/a", None, "every20:FOLDER"),
        ("every0:/a", None, "FOLDER"),
        ("/a/b", None, "FOLDER"),
    ],
)
def test_what_a_text_says_without_its_folder(data, anywhere, public):
    assert portable(data) == anywhere
    assert without_folder(data) == public


def test_folder_of_images_and_masks(tmp_path):
    for split in ("train", "test"):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(tmp_path / split / "images" / "1.png")
        Image.fromarray(np.ones((8, 12), np.uint8)).save(tmp_path / split / "masks" / "1.png")
    (tmp_path / "classes.txt").write_text("sky\nroad\nroof\n")
    dataset = load_dataset(str(tmp_path), (8, 8, 3))
    assert (dataset.task, dataset.class_names) == ("segmentation", ("sky", "road", "roof"))
    assert dataset.split("test").read(np.arange(1))["masks"].shape == (1, 8, 8)


def test_folder_of_images_and_boxes(tmp_path):
    """COCO's is for detection, its masks for instances, and for a classifier it is wake words."""
    (tmp_path / "annotations").mkdir()
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(tmp_path / split / "1.png")
        content = {
            "images": [{"id": 1, "file_name": "1.png", "width": 12, "height": 8}],
            "annotations": [
                {
                    "image_id": 1,
                    "category_id": 1,
                    "bbox": [3, 2, 4, 4],
                    "segmentation": [[3, 2, 7, 2, 7, 6, 3, 6]],
                }
            ],
            "categories": [{"id": 1, "name": "person"}],
        }
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    for task in (None, "detection"):
        dataset = load_dataset(str(tmp_path), (8, 8, 1), task=task)
        assert (dataset.task, dataset.class_names) == ("detection", ("background", "person"))
    batch = dataset.split("test").read(np.zeros(1, int))
    np.testing.assert_array_equal(batch["boxes"][0, 0], [1, 2, 5, 6])
    masks = load_dataset(str(tmp_path), (8, 8, 1), task="instance_segmentation")
    assert masks.task == "instance_segmentation"
    batch = masks.split("test").read(np.zeros(1, int))
    assert batch["instance_masks"][0, 0].all() and batch["image_info"].shape == (1, 4, 2)
    words = load_dataset(str(tmp_path), (8, 8, 1), task="classification")
    assert (words.task, words.class_names) == ("classification", ("no person", "person"))
    assert words.split("test").read(np.zeros(1, int))["labels"] == [1]


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="no data 'nowhere'"):
        load_dataset("nowhere")
    with pytest.raises(ValueError, match=r"have 1 channel and .* give --image-size 32 40 1"):
        load_dataset("fashion_mnist_subset", (32, 40, 3))
    with pytest.raises(ValueError, match=r"have 3 channels and .* give --image-size 32 48 3"):
        load_dataset("wake_scenes:Bag", (32, 48, 1))
    with pytest.raises(ValueError, match=r"image_size is \(0, 0, 1\): give at least 1 of each"):
        load_dataset("fashion_mnist_subset", (0, 0, 1))
    with pytest.raises(ValueError, match="no folder train"):
        load_dataset(str(tmp_path))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(ValueError, match="no file train-labels-idx1-ubyte"):
        load_dataset(str(tmp_path))


def test_canonical():
    assert canonical("tfds:cifar10") == "tfds:cifar10"
    assert canonical("fashion_mnist_subset") == "fashion_mnist_subset"
    assert canonical("folder") == str(pathlib.Path.cwd() / "folder")
