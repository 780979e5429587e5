import time

import numpy as np
import pytest

from attokit.train.augment import AugmentConfig
from attokit.train.dataset import ArraySource, RecordSource
from attokit.train.loader import EvalBatches, TrainBatches, iterate

SOURCE = ArraySource(
    images=np.arange(10 * 4, dtype=np.uint8).reshape(10, 2, 2, 1), labels=np.arange(10)
)
AUGMENT = AugmentConfig(crop_padding=1, flip=True)


def _train(**options):
    options = {"batch_size": 4, "steps": 10, "seed": 0} | options
    return TrainBatches(SOURCE, **options)


def _labels(batches):
    return np.concatenate([batch["labels"] for batch in iterate(batches)])


def test_every_epoch_holds_each_example_once_across_batch_borders():
    labels = _labels(_train())
    epochs = labels.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_seed_decides_everything():
    first, again = _train(augment=AUGMENT), _train(augment=AUGMENT)
    np.testing.assert_array_equal(first[7]["images"], again[7]["images"])
    np.testing.assert_array_equal(_labels(first), _labels(again))
    assert not np.array_equal(_labels(first), _labels(_train(seed=1)))


def test_iterator_goes_on_from_a_step():
    whole = list(iterate(_train(augment=AUGMENT)))
    rest = list(iterate(_train(augment=AUGMENT), start=3))
    assert len(rest) == 7
    for expected, found in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(found["images"], expected["images"])


def test_hosts_share_one_global_batch():
    whole = _train(augment=AUGMENT)[5]
    parts = [_train(augment=AUGMENT, process_index=i, process_count=2)[5] for i in (0, 1)]
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)


def test_masks_go_through_the_same_moves_on_any_number_of_hosts():
    masks = np.arange(10 * 36, dtype=np.uint8).reshape(10, 6, 6) % 5
    images = np.repeat(50 * masks[..., None], 3, -1)
    augment = AugmentConfig(scale=(0.6, 2.0), crop_padding=1, flip=True)

    def batches(**options):
        source = ArraySource(images=images, masks=masks)
        return TrainBatches(source, batch_size=4, steps=10, seed=0, augment=augment, **options)[5]

    whole = batches()
    assert (whole["masks"] == 255).any()
    assert not np.array_equal(whole["masks"], masks[:4])
    parts = [batches(process_index=i, process_count=2) for i in (0, 1)]
    for name in ("images", "masks"):
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), whole[name])


def test_evaluation_counts_each_example_once():
    batches = list(iterate(EvalBatches(SOURCE, batch_size=4)))
    assert [batch["images"].shape[0] for batch in batches] == [4, 4, 4]
    labels = np.concatenate([batch["labels"][batch["mask"] > 0] for batch in batches])
    assert labels.tolist() == list(range(10))
    halves = [EvalBatches(SOURCE, batch_size=4, process_index=i, process_count=2) for i in (0, 1)]
    assert sum(half[2]["mask"].sum() for half in halves) == 2


@pytest.mark.parametrize("kind", [TrainBatches, EvalBatches])
def test_batch_must_divide_by_hosts(kind):
    options = {"steps": 1, "seed": 0} if kind is TrainBatches else {}
    with pytest.raises(ValueError, match="batch size 3 does not divide by 2 hosts"):
        kind(SOURCE, batch_size=3, process_count=2, **options)


@pytest.mark.slow
def test_augments_twenty_thousand_small_images_a_second():
    source = ArraySource(images=np.zeros((6000, 28, 28, 1), np.uint8))
    batches = TrainBatches(source, batch_size=128, steps=400, seed=0, augment=AUGMENT)
    start = time.perf_counter()
    count = sum(len(batch["images"]) for batch in iterate(batches))
    assert count / (time.perf_counter() - start) > 20_000


@pytest.mark.slow
def test_worker_processes_give_the_same_batches_in_the_same_order():
    def read_one(index):  # a function inside a function, as those of folders are
        return {"images": np.full((2, 2, 1), index, np.uint8), "labels": np.array(index)}

    source = RecordSource(10, read_one)
    batches = TrainBatches(source, batch_size=4, steps=7, seed=0, augment=AUGMENT)
    alone = list(iterate(batches, start=2))
    shared = list(iterate(batches, start=2, workers=2))
    assert len(alone) == len(shared) == 5
    for expected, found in zip(alone, shared, strict=True):
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)
