import dataclasses

import pytest

from attokit.train.config import TrainConfig
from attokit.train.task_choice import task_for

CONFIG = TrainConfig(steps=1)


def test_the_data_set_decides(dataset):
    assert task_for(dataset, CONFIG).name == "classification"
    pixels = dataclasses.replace(dataset, task="segmentation")
    assert task_for(pixels, CONFIG).name == "segmentation"
    with pytest.raises(ValueError, match="for 3 classes"):
        task_for(pixels, dataclasses.replace(CONFIG, class_weights=(1.0,)))


@pytest.mark.parametrize("fields", [{"loss": "dice"}, {"class_weights": (1.0, 1.0, 1.0)}])
def test_settings_of_pixels_are_refused_for_images(dataset, fields):
    with pytest.raises(ValueError, match=f"{next(iter(fields))} is .*, but tiny names one class"):
        task_for(dataset, dataclasses.replace(CONFIG, **fields))
