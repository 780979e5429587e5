from types import SimpleNamespace
from typing import get_args, get_type_hints

import pytest

from attokit import zoo
from attokit.tasks import TASKS, check_same_task, chosen_wishes, view_of
from attokit.train import Dataset, TrainConfig, task_for
from attokit.zoo.registry import Task


def test_every_task_of_data_has_a_view():
    assert TASKS.keys() == set(get_args(get_type_hints(Dataset)["task"]))
    assert TASKS.keys() <= set(get_args(Task))
    assert view_of("segmentation") is TASKS["segmentation"]
    with pytest.raises(ValueError, match="the command line does not do depth, only classification"):
        view_of("depth")


def test_tasks_of_data_are_the_same_as_those_of_training(tiny, dataset, scenes, boxes):
    for data in (dataset, scenes):
        assert task_for(data, TrainConfig(steps=1)).name == data.task
    assert task_for(boxes, TrainConfig(steps=1), zoo.create("tiny_boxes")).name == boxes.task


def test_model_and_data_of_different_tasks(tiny, dataset, scenes):
    check_same_task("tiny", dataset)
    check_same_task("tiny_pixels", scenes)
    with pytest.raises(
        ValueError, match=r"tiny does classification, scenes is data for segm.*tiny_pix"
    ):
        check_same_task("tiny", scenes)
    with pytest.raises(ValueError, match=r"does segmentation, .* is data for classification"):
        check_same_task("tiny_pixels", dataset)


def test_wishes_that_a_task_has_no_use_for():
    nothing = {"scales": None, "flip": False, "window": None, "image_size": None}

    def chosen(task, **given):
        options = SimpleNamespace(**nothing | given)
        return chosen_wishes(options, task, lambda view: view.evaluate_wishes)

    assert chosen("segmentation") == chosen("classification") == {}
    assert chosen("segmentation", flip=True, scales=(2.0,)) == {"flip": True, "scales": (2.0,)}
    with pytest.raises(ValueError, match="--flip, --image-size changes nothing in classification"):
        chosen("classification", flip=True, image_size=(1, 1, 1))
