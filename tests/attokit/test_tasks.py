from typing import get_args

import pytest

from attokit.tasks import TASKS, check_same_task
from attokit.train import TrainConfig, task_for
from attokit.zoo.registry import Task


def test_every_task_of_the_zoo_has_a_view():
    assert TASKS.keys() == set(get_args(Task))


def test_tasks_of_data_are_the_same_as_those_of_training(dataset, scenes):
    for data in (dataset, scenes):
        assert task_for(data, TrainConfig(steps=1)).name == data.task


def test_model_and_data_of_different_tasks(tiny, dataset, scenes):
    check_same_task("tiny", dataset)
    check_same_task("tiny_pixels", scenes)
    with pytest.raises(
        ValueError, match=r"tiny does classification, scenes is data for segm.*tiny_pix"
    ):
        check_same_task("tiny", scenes)
    with pytest.raises(ValueError, match=r"does segmentation, .* is data for classification"):
        check_same_task("tiny_pixels", dataset)
