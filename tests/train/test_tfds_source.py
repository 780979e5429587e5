import numpy as np
import pytest
from tiny_tfds import TinyFaces, TinyMasks, TinyNumbers, TinyObjects, TinyShapes

from attokit.train.tfds_source import load_tfds


@pytest.fixture
def data_dir(tmp_path):
    TinyShapes(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_reads_without_tensorflow(data_dir, channels):
    dataset = load_tfds("tiny_shapes", (4, 4, channels), data_dir=data_dir, download=False)
    assert dataset.class_names == ("dark", "bright")
    assert (len(dataset.split("train")), len(dataset.split("test"))) == (4, 2)
    batch = dataset.split("train").read(np.arange(4))
    assert batch["images"].shape == (4, 4, 4, channels)
    assert batch["images"].dtype == np.uint8
    np.testing.assert_array_equal(batch["images"][:, 0, 0, 0], 200 * batch["labels"])


def test_unknown_name(tmp_path):
    with pytest.raises(ValueError, match="TFDS cannot provide 'no_such_set'"):
        load_tfds("no_such_set", (4, 4, 3), data_dir=tmp_path, download=False)


def test_label_without_classes(tmp_path):
    TinyNumbers(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    with pytest.raises(ValueError, match=r"knows its classes \(ClassLabel\): label is Scalar;"):
        load_tfds("tiny_numbers", (4, 4, 3), data_dir=tmp_path, download=False)


def test_masks_are_read_with_their_images(tmp_path):
    TinyMasks(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    options = {"data_dir": tmp_path, "download": False}
    dataset = load_tfds("tiny_masks", (6, 8, 3), class_names=("left", "right"), **options)
    assert (dataset.task, dataset.num_classes) == ("segmentation", 2)
    batch = dataset.split("train").read(np.array([2, 0]))
    assert batch["masks"].shape == (2, 6, 8)
    assert batch["masks"].dtype == np.uint8
    assert (batch["masks"][:, 0] == 255).all()
    np.testing.assert_array_equal(batch["masks"][:, 1:] * 100, batch["images"][:, 1:, :, 0])
    with pytest.raises(ValueError, match="does not name the classes of its masks"):
        load_tfds("tiny_masks", (6, 8, 3), **options)
    with pytest.raises(ValueError, match="label is missing"):
        load_tfds("tiny_masks", (6, 8, 3), task="classification", **options)
    with pytest.raises(ValueError, match=r"segmentation_mask of tiny_masks, record 0 holds id 1"):
        load_tfds("tiny_masks", (6, 8, 3), class_names=("all",), **options).split("train").read([0])


def test_labels_are_no_masks(data_dir):
    with pytest.raises(ValueError, match=r"segmentation needs an image .* and a mask as an Image"):
        load_tfds("tiny_shapes", (4, 4, 3), task="segmentation", data_dir=data_dir, download=False)


def test_boxes_are_read_with_their_images(tmp_path):
    options = {"data_dir": tmp_path, "download": False}
    for kind in (TinyFaces, TinyObjects):
        kind(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    dataset = load_tfds("tiny_faces", (10, 20, 1), max_boxes=3, **options)
    assert (dataset.task, dataset.class_names) == ("detection", ("background", "face"))
    source = dataset.split("train")
    batch = source.read(np.arange(len(source)))
    assert batch["images"].shape == (4, 10, 20, 1)
    counts = (batch["box_labels"] != 0).sum(1)
    np.testing.assert_array_equal(np.sort(counts), [0, 2, 2, 2])
    filled = int(counts.argmax())
    np.testing.assert_array_equal(batch["box_labels"][filled], [1, -1, 0])
    np.testing.assert_allclose(
        batch["boxes"][filled, :2], [[5, 1, 10, 6], [10, 5, 15, 10]], atol=1e-4
    )
    objects = load_tfds("tiny_objects", (10, 20, 1), **options)
    assert objects.class_names == ("background", "dark", "bright")
    assert set(np.unique(objects.split("test").read(np.arange(2))["box_labels"])) <= {0, 1, 2}
    with pytest.raises(ValueError, match=r"no mask of every object .* give the folder of COCO"):
        load_tfds("tiny_objects", (8, 8, 3), task="instance_segmentation", **options)
    with pytest.raises(
        ValueError, match="detection needs an image and faces or objects with a bbox"
    ):
        TinyShapes(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
        load_tfds("tiny_shapes", (4, 4, 3), task="detection", **options)
