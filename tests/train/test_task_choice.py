import dataclasses

import numpy as np
import pytest

from attokit import zoo
from attokit.train.config import TrainConfig
from attokit.train.task_choice import task_for

CONFIG = TrainConfig(steps=1)


def test_the_data_set_decides(dataset):
    task = task_for(dataset, CONFIG)
    assert task.name == "classification"
    with pytest.raises(ValueError, match="label 3, there are 3 classes"):
        task.check({"labels": np.int32([3])})
    pixels = dataclasses.replace(dataset, task="segmentation")
    assert task_for(pixels, CONFIG).name == "segmentation"
    with pytest.raises(ValueError, match="for 3 classes"):
        task_for(pixels, dataclasses.replace(CONFIG, class_weights=(1.0,)))


@pytest.mark.parametrize("fields", [{"loss": "dice"}, {"class_weights": (1.0, 1.0, 1.0)}])
def test_settings_of_pixels_are_refused_for_images(dataset, fields):
    with pytest.raises(ValueError, match=f"{next(iter(fields))} is .*, but tiny names one class"):
        task_for(dataset, dataclasses.replace(CONFIG, **fields))


def test_instance_segmentation_needs_a_mask_rcnn(dataset):
    boxes = dataclasses.replace(dataset, task="instance_segmentation", image_shape=(64, 64, 3))
    network = zoo.create("atto_mask_rcnn_lite", num_classes=3)
    task = task_for(boxes, CONFIG, network)
    assert (task.name, task.best_metric) == ("instance_segmentation", "mask_ap50")
    for other in (None, zoo.create("rnnpool_face_m4")):
        with pytest.raises(ValueError, match="is no Mask R-CNN: give one of the zoo"):
            task_for(boxes, CONFIG, other)
    more = zoo.create("atto_mask_rcnn_lite", num_classes=5)
    with pytest.raises(
        ValueError, match="has 5 classes with the background, tiny has 3: leave num"
    ):
        task_for(boxes, CONFIG, more)
    with pytest.raises(ValueError, match="loss is 'dice', but tiny names one class per box"):
        task_for(boxes, dataclasses.replace(CONFIG, loss="dice"), network)


def test_detection_needs_a_network_with_anchors(dataset):
    boxes = dataclasses.replace(dataset, task="detection", image_shape=(64, 64, 1))
    detector = zoo.create("rnnpool_face_m4", num_classes=3)
    assert task_for(boxes, CONFIG, detector).name == "detection"
    for network in (None, zoo.create("attonet_d")):
        with pytest.raises(ValueError, match=r"has no anchors: give a detector of the zoo"):
            task_for(boxes, CONFIG, network)
    for fields, text in (
        ({"loss": "dice"}, "names one class per box"),
        ({"label_smoothing": 0.1}, "the loss of boxes has no smoothed form"),
    ):
        with pytest.raises(ValueError, match=text):
            task_for(boxes, dataclasses.replace(CONFIG, **fields), detector)
