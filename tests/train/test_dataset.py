import numpy as np
import pytest

from attokit.train.dataset import ArraySource, Dataset, RecordSource


def test_array_source_reads_rows_in_the_order_asked():
    source = ArraySource(images=np.arange(5), labels=np.arange(5) * 10)
    batch = source.read(np.array([3, 1]))
    assert batch["images"].tolist() == [3, 1]
    assert batch["labels"].tolist() == [30, 10]


def test_record_source_stacks():
    source = RecordSource(4, lambda index: {"x": np.full(2, index)})
    assert source.read(np.array([2, 0]))["x"].tolist() == [[2, 2], [0, 0]]


def test_array_source_refuses_unequal_lengths():
    with pytest.raises(ValueError, match=r"one common length, got \{'a': 2, 'b': 3\}"):
        ArraySource(a=np.zeros(2), b=np.zeros(3))


def test_dataset_knows_its_classes_and_splits(dataset):
    assert dataset.num_classes == 3
    with pytest.raises(ValueError, match="no split 'val': choose one of test, train"):
        dataset.split("val")


def test_dataset_refuses_what_cannot_be_learned():
    with pytest.raises(ValueError, match="has no classes"):
        Dataset(name="x", class_names=(), image_shape=(1, 1, 1), splits={})
    with pytest.raises(ValueError, match="task is 'depth': choose"):
        Dataset(name="x", class_names=("a",), image_shape=(1, 1, 1), splits={}, task="depth")
    with pytest.raises(
        ValueError, match="for detection has only 'face': name the background first"
    ):
        Dataset(name="x", class_names=("face",), image_shape=(1, 1, 1), splits={}, task="detection")
    with pytest.raises(ValueError, match="has 256 classes, but masks are bytes"):
        Dataset(
            name="x",
            class_names=tuple(map(str, range(256))),
            image_shape=(1, 1, 1),
            splits={},
            task="segmentation",
        )
    with pytest.raises(ValueError, match="no examples in split test"):
        Dataset(
            name="x",
            class_names=("a",),
            image_shape=(1, 1, 1),
            splits={"test": ArraySource(images=np.zeros(0))},
        )


def test_the_usual_split_is_the_one_that_is_there(dataset):
    assert dataset.usual_split("train") == "train"
    assert dataset.usual_split("elsewhere") == "test"
