import dataclasses
import gc
import io
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from attokit.checkpoints.store import CheckpointStore
from attokit.train.augment import AugmentConfig
from attokit.train.config import TrainConfig
from attokit.train.dataset import IGNORE, ArraySource, Dataset, RecordSource
from attokit.train.distillation import Teacher
from attokit.train.loop import NonFiniteLossError, fit
from attokit.train.run_folder import read_metrics

CONFIG = TrainConfig(
    steps=12,
    batch_size=16,
    learning_rate=0.2,
    ema_decay=0.8,
    augment=AugmentConfig(crop_padding=1),
    log_every=2,
    eval_every=6,
    checkpoint_every=4,
    mesh="data=2",  # fewer devices compile faster
)


def _named(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): v for path, v in leaves}


def _sizes(params):
    return {name: np.size(v) for name, v in _named(params).items()}


def _console():
    return Console(file=io.StringIO(), width=200)


class _Interrupting:
    """A split that sends this process a signal when it has been read some times."""

    def __init__(self, source, reads):
        self._source, self._left = source, reads

    def __len__(self):
        return len(self._source)

    def read(self, indices):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return self._source.read(indices)


@pytest.mark.slow
def test_no_batch_of_the_readers_is_left_behind(tmp_path):
    def read_one(index):
        if index == 50:
            raise ValueError("damaged")
        return {"images": np.full((8, 8, 1), index, np.uint8), "labels": np.int32(index % 3)}

    source = RecordSource(64, read_one)
    data = Dataset(
        name="d", class_names=("a", "b", "c"), image_shape=(8, 8, 1),
        splits={"train": source, "test": source},
    )  # fmt: skip
    forward = lambda params, state, inputs, *, train, key: (  # noqa: E731
        inputs.mean((1, 2)) * params["w"][None], state
    )  # fmt: skip
    config = TrainConfig(steps=16, batch_size=4, workers=2, mesh="data=1")
    with pytest.raises(ValueError, match="damaged") as caught:
        fit(config, forward, {"w": jnp.ones(3)}, {}, data, tmp_path, console=_console())
    assert caught.value.__traceback__ is not None  # as long as it is told
    held = [o for o in gc.get_objects() if type(o).__name__ == "SharedMemoryArray"]
    assert not held


def test_learns_the_classes_of_pixels(tmp_path):
    rng = np.random.default_rng(0)
    masks = rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), (48, 4, 6))
    images = np.eye(4, dtype=np.uint8)[masks % 4, :3] * 200  # a colour per class, black for none
    source = ArraySource(images=images, masks=masks)
    pixels = Dataset(
        name="pixels",
        class_names=("red", "green", "blue"),
        image_shape=(4, 6, 3),
        splits={"train": source, "test": source},
        task="segmentation",
    )

    def forward(params, model_state, inputs, *, train, key):
        return inputs @ params["kernel"], model_state

    augment = AugmentConfig(scale=(0.5, 2.0), flip=True)
    config = dataclasses.replace(CONFIG, loss="cross_entropy_dice", augment=augment)
    start = {"kernel": jnp.ones((3, 3), jnp.float32)}
    result = fit(config, forward, start, {}, pixels, tmp_path, console=_console())
    assert result.metrics["mean_iou"] == result.metrics["pixel_accuracy"] == 1
    assert result.metrics["confusion"].sum() == (masks != IGNORE).sum()
    records = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert records[0].keys() >= {"loss", "pixel_accuracy"}
    masks[:, 0, 0] = 9
    with pytest.raises(ValueError, match="masks hold id 9"):
        fit(config, forward, start, {}, pixels, tmp_path / "bad", console=_console())


def test_learns_and_leaves_a_run_folder(forward, network, dataset, tmp_path):
    result = fit(CONFIG, forward, *network, dataset, tmp_path, console=_console())
    assert result.metrics["accuracy"] > 0.6  # chance is a third
    assert result.metrics["confusion"].shape == (3, 3)
    assert int(result.state.step) == 12
    assert result.images_per_second > 0
    records = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert [r["step"] for r in records if r["split"] == "test"] == [6, 12]
    assert records[0].keys() >= {"loss", "accuracy", "gradient_norm", "images_per_second"}
    assert json.loads((tmp_path / "config.json").read_text())["dataset"] == "tiny"
    with CheckpointStore(tmp_path / "checkpoints") as store:
        assert store.latest_step == 12
        assert store.best_step in (6, 12)


def test_interrupted_run_resumes_bit_for_bit(forward, network, dataset, tmp_path):
    whole = fit(CONFIG, forward, *network, dataset, tmp_path / "whole", console=_console())
    console = _console()
    splits = dict(dataset.splits)
    # Grain reads a few batches ahead, so the signal comes somewhere before step 7.
    interrupting = type(dataset)(
        name=dataset.name,
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
        splits=splits | {"train": _Interrupting(splits["train"], 7)},
    )
    with pytest.raises(KeyboardInterrupt):
        fit(CONFIG, forward, *network, interrupting, tmp_path / "cut", console=console)
    assert "start it again with resume" in console.file.getvalue()
    with CheckpointStore(tmp_path / "cut" / "checkpoints") as store:
        assert 0 < store.latest_step < 12
    resumed = fit(
        CONFIG, forward, *network, dataset, tmp_path / "cut", resume=True, console=_console()
    )
    jax.tree.map(np.testing.assert_array_equal, whole.state, resumed.state)
    logs = [list(read_metrics(tmp_path / name / "metrics.jsonl")) for name in ("whole", "cut")]
    finals = [[r for r in log if r["split"] == "test"][-1] for log in logs]
    assert finals[0] == finals[1]


@pytest.mark.slow
@pytest.mark.parametrize("reads", [4, 8])  # before the zeros are fixed, and after
def test_a_sparse_run_resumes_bit_for_bit(forward, network, dataset, tmp_path, reads):
    name = max(_sizes(network[0]), key=_sizes(network[0]).get)
    config = dataclasses.replace(
        CONFIG, ema_decay=None, kept_shares=((name, 0.25),), kept_between=(0.2, 0.5)
    )
    whole = fit(config, forward, *network, dataset, tmp_path / "whole", console=_console())
    kept = np.asarray(_named(whole.state.params)[name])
    assert 0.2 < (kept != 0).mean() < 0.3
    assert all((np.asarray(v) != 0).any() for v in jax.tree.leaves(whole.state.params))
    splits = dict(dataset.splits)
    interrupting = dataclasses.replace(
        dataset, splits=splits | {"train": _Interrupting(splits["train"], reads)}
    )
    with pytest.raises(KeyboardInterrupt):
        fit(config, forward, *network, interrupting, tmp_path / "cut", console=_console())
    resumed = fit(
        config, forward, *network, dataset, tmp_path / "cut", resume=True, console=_console()
    )
    jax.tree.map(np.testing.assert_array_equal, whole.state, resumed.state)


def test_a_share_of_nothing_is_refused(forward, network, dataset, tmp_path):
    config = dataclasses.replace(CONFIG, ema_decay=None, kept_shares=(("nothing/*", 0.25),))
    with pytest.raises(ValueError, match=r"nothing/\* matches none of the parameters"):
        fit(config, forward, *network, dataset, tmp_path, console=_console())
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])  # the evaluation of step 6, and that of step 12
def test_a_run_stopped_in_an_evaluation_makes_up_for_it(
    forward, network, dataset, tmp_path, number
):
    def reported(name):
        records = list(read_metrics(tmp_path / name / "metrics.jsonl"))
        for record in records:
            record.pop("images_per_second", None)
        return records

    # A batch of 4 a time: reading ahead of the first evaluation ends before its last batch.
    config = dataclasses.replace(CONFIG, eval_batch_size=4)
    whole = fit(config, forward, *network, dataset, tmp_path / "whole", console=_console())
    splits = dict(dataset.splits)
    interrupting = dataclasses.replace(
        dataset, splits=splits | {"test": _Interrupting(splits["test"], 6 * number - 5)}
    )
    with pytest.raises(KeyboardInterrupt):
        fit(config, forward, *network, interrupting, tmp_path / "cut", console=_console())
    assert reported("cut")[-1]["split"] == "train"
    with CheckpointStore(tmp_path / "cut" / "checkpoints") as store:
        assert store.latest_step == 6 * number
        assert not store.has_metrics(6 * number)
    resumed = fit(
        config, forward, *network, dataset, tmp_path / "cut", resume=True, console=_console()
    )
    jax.tree.map(np.testing.assert_array_equal, whole.state, resumed.state)
    assert resumed.metrics.keys() == whole.metrics.keys()
    assert reported("cut") == reported("whole")
    with (
        CheckpointStore(tmp_path / "cut" / "checkpoints") as cut,
        CheckpointStore(tmp_path / "whole" / "checkpoints") as store,
    ):
        assert cut.has_metrics(12)
        assert (cut.steps, cut.best_step) == (store.steps, store.best_step)


@pytest.mark.slow
def test_resuming_a_finished_run_evaluates_it(forward, network, dataset, tmp_path):
    first = fit(CONFIG, forward, *network, dataset, tmp_path, console=_console())
    again = fit(CONFIG, forward, *network, dataset, tmp_path, resume=True, console=_console())
    assert again.metrics["loss"] == first.metrics["loss"]


@pytest.mark.parametrize(
    ("every", "saved", "cure"),
    [(None, (), "no step was saved: delete"), (2, (2,), r"step 2: .* another folder, .*--resume")],
)
def test_non_finite_loss_stops_and_is_never_saved(network, dataset, tmp_path, every, saved, cure):
    def forward(params, model_state, inputs, *, train, key):
        # The state counts steps; the third one divides by zero.
        count = model_state["mean"] + 1
        logits = inputs.reshape(inputs.shape[0], -1)[:, :3] * params["head"]["bias"][None]
        return jnp.where(count == 3, jnp.nan, logits), {"mean": count}

    console = _console()
    config = dataclasses.replace(CONFIG, checkpoint_every=every)
    text = rf"not finite at step 3 of 12: .*learning rate.*{cure}"
    with pytest.raises(NonFiniteLossError, match=text):
        fit(config, forward, *network, dataset, tmp_path, console=console)
    with CheckpointStore(tmp_path / "checkpoints") as store:
        assert store.steps == saved


def test_settings_that_do_not_fit(forward, network, dataset, tmp_path):
    config = TrainConfig(steps=1, batch_size=12)  # eight devices
    with pytest.raises(ValueError, match="batch size 12 does not divide"):
        fit(config, forward, *network, dataset, tmp_path, console=_console())
    for name, value in (("distillation_weight", 0.3), ("distillation_temperature", 4.0)):
        config = dataclasses.replace(CONFIG, **{name: value})
        with pytest.raises(ValueError, match=f"{name} {value} changes nothing without a teacher"):
            fit(config, forward, *network, dataset, tmp_path, console=_console())
    assert not list(tmp_path.iterdir())


def test_what_only_the_step_knows_is_found_before_there_is_a_run(
    forward, network, dataset, tmp_path
):
    def wider(params, model_state, inputs, *, train, key):
        return jnp.zeros((inputs.shape[0], 5)), model_state

    teacher = Teacher(name="wide", forward=wider, params={}, model_state={})
    unfitting = dataclasses.replace(CONFIG, filter_gradients=("stage4/*",))
    for options, match in (
        ({"config": CONFIG, "teacher": teacher}, r"teacher wide gives \[16, 5\]"),
        ({"config": unfitting}, r"no convolution has a path like 'stage4/\*'"),
    ):
        with pytest.raises(ValueError, match=match):
            fit(
                forward=forward, params=network[0], model_state=network[1], dataset=dataset,
                run_dir=tmp_path / "run", console=_console(), **options,
            )  # fmt: skip
        assert not (tmp_path / "run").exists()


def test_the_step_is_traced_once(forward, network, dataset, tmp_path):
    traces = []

    def counted(params, model_state, inputs, *, train, key):
        traces.append(train)
        return forward(params, model_state, inputs, train=train, key=key)

    config = dataclasses.replace(CONFIG, steps=2)
    fit(config, counted, *network, dataset, tmp_path, console=_console())
    assert traces == [True, False]


def test_split_to_evaluate_on_is_looked_up_before_training(forward, network, dataset, tmp_path):
    with pytest.raises(ValueError, match="validation"):
        fit(
            CONFIG, forward, *network, dataset, tmp_path / "run",
            eval_split="validation", console=_console(),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()
