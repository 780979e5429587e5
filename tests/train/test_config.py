import dataclasses
import json

import pytest

from attokit.train.augment import AugmentConfig
from attokit.train.config import TrainConfig, decisive_differences, read_config


def test_steps_from_epochs():
    config = TrainConfig(epochs=2, batch_size=32)
    assert config.total_steps(100) == 6
    assert config.steps_between_evaluations(100) == 3
    assert TrainConfig(steps=7, eval_every=2).steps_between_evaluations(100) == 2
    assert TrainConfig(steps=7).total_steps(100) == 7


def test_differences_survive_json_and_ignore_what_changes_no_number():
    config = TrainConfig(steps=7)
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    assert decisive_differences(saved, config) == []
    assert decisive_differences(saved, TrainConfig(steps=7, log_every=3, mesh="fsdp=2")) == []
    assert decisive_differences(saved, TrainConfig(steps=8)) == ["steps was 7, now 8"]


def test_a_run_of_an_older_version_goes_on_with_the_defaults_of_new_settings():
    saved = json.loads(json.dumps(dataclasses.asdict(TrainConfig(steps=7))))
    del saved["loss"], saved["class_weights"], saved["augment"]["flip"]
    saved |= {"mesh_data": None, "mesh_fsdp": 1}  # what `mesh` replaced
    assert read_config(saved) == TrainConfig(steps=7)
    assert decisive_differences(saved, TrainConfig(steps=7)) == []
    assert decisive_differences(saved, TrainConfig(steps=7, loss="dice")) == [
        "loss was None, now 'dice'"
    ]


def test_tuples_survive_json():
    augment = AugmentConfig(scale=(0.5, 2.0))
    config = TrainConfig(
        steps=7, class_weights=(1.0, 2.0), augment=augment, rate_factors=(("stem/*", 0.1),),
        kept_shares=(("*/W", 0.5),), kept_between=(0.25, 0.5),
    )  # fmt: skip
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    assert decisive_differences(saved, config) == []
    assert read_config(saved) == config


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({}, "set exactly one"),
        ({"epochs": 1, "steps": 1}, "set exactly one"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1, "optimizer": "lion"}, "no optimizer 'lion'"),
        ({"steps": 1, "learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"steps": 1, "warmup_fraction": 1.5}, "warmup_fraction is 1.5"),
        ({"steps": 1, "label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"steps": 1, "ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"steps": 1, "loss": "cross"}, "no loss of pixels 'cross': did you mean cross_entropy"),
        ({"steps": 1, "mesh": "data"}, "mesh is 'data'"),
        ({"steps": 1, "batch_size": 10, "accumulate": 4}, "batch_size 10 does not divide into"),
        ({"steps": 1, "compute_dtype": "int8"}, "compute_dtype is 'int8'"),
        ({"steps": 1, "rate_factors": [("a", -1)]}, "rate_factors hold"),
        ({"steps": 1, "kept_shares": [("a", 0)]}, "kept_shares hold"),
        ({"steps": 1, "kept_shares": [("a", 1)], "kept_between": (0.5, 0.5)}, "kept_between is"),
        ({"steps": 1, "kept_between": (0.5, 1)}, "changes nothing without kept_shares"),
        ({"steps": 1, "kept_shares": [("a", 1)], "ema_decay": 0.9}, "an average of sparse"),
        ({"steps": 1, "distillation_weight": 2.0}, "distillation_weight is 2.0"),
        ({"steps": 1, "filter_patch": 4}, "filter_patch 4 changes nothing"),
        ({"steps": 1, "workers": -1}, "workers is -1"),
        ({"steps": 1, "weight_decay": -0.1}, "weight_decay is -0.1"),
    ],
)
def test_config_refuses(fields, match):
    with pytest.raises(ValueError, match=match):
        TrainConfig(**fields)
