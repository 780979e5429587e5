import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attokit.train.anchors import Anchors
from attokit.train.dataset import ArraySource
from attokit.train.detection import check_heads, detection_task
from attokit.train.evaluation import evaluate
from attokit.train.forward import flax_forward, split_variables
from attokit.train.mesh import make_mesh
from attokit.train.state import TrainState
from attokit.train.step import make_train_step
from attokit.zoo.prior_boxes import prior_boxes_cxcywh

SIZE, CLASSES = 32, 3
ANCHORS = Anchors.of_priors(
    prior_boxes_cxcywh((SIZE, SIZE), steps=(8, 16), sizes=(8, 16)), (SIZE, SIZE)
)
TASK = detection_task(CLASSES, ANCHORS)


class Detector(nn.Module):
    """Two maps with a head each."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.relu(nn.Conv(24, (8, 8), strides=8, name="stem")(images))
        maps = [nn.relu(nn.Conv(32, (3, 3), name="near")(x))]
        maps.append(nn.relu(nn.Conv(32, (3, 3), strides=2, name="far")(maps[0])))
        heads = [
            [
                nn.Conv(k, (1, 1), name=f"{name}{i}")(m).reshape(len(m), -1, k)
                for i, m in enumerate(maps)
            ]
            for name, k in (("boxes", 4), ("scores", CLASSES))
        ]
        return dict(zip(("boxes", "scores"), (jnp.concatenate(h, 1) for h in heads), strict=True))


def _source(count, seed):
    """Bright squares (class 1) and dark ones (class 2) on grey; image 0 has none."""
    rng = np.random.default_rng(seed)
    images = rng.integers(100, 130, (count, SIZE, SIZE, 1)).astype(np.uint8)
    boxes, labels = np.zeros((count, 2, 4), np.float32), np.zeros((count, 2), np.int32)
    for index in range(1, count):
        for row in range(rng.integers(1, 3)):
            side, label = int(rng.integers(7, 15)), int(rng.integers(1, 3))
            left, top = (
                int(rng.integers(0, 16 - side + 1)) + 16 * row,
                int(rng.integers(0, SIZE - side)),
            )
            images[index, top : top + side, left : left + side] = 250 if label == 1 else 5
            boxes[index, row], labels[index, row] = (left, top, left + side, top + side), label
    return ArraySource(images=images, boxes=boxes, box_labels=labels)


NETWORK = Detector()
FORWARD = flax_forward(NETWORK)


@functools.cache
def _start():
    return split_variables(NETWORK.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 1))))


@pytest.mark.slow
def test_a_detector_learns_a_few_images():
    source = _source(8, 0)
    batch = {name: jnp.asarray(array) for name, array in source.read(np.arange(8)).items()}
    optimizer = optax.adam(5e-3)
    params, model_state = _start()
    state = TrainState(
        step=jnp.int32(0), params=params, model_state=model_state,
        opt_state=optimizer.init(params), ema=None, key=jax.random.key_data(jax.random.key(1)),
    )  # fmt: skip
    step = jax.jit(make_train_step(FORWARD, TASK, optimizer))
    losses = []
    for _ in range(200):
        state, metrics = step(state, batch)
        losses.append(metrics["loss"])
    first, last = (float(m.compute()) for m in (losses[0], losses[-1]))
    assert last < first / 20
    before = evaluate(FORWARD, params, model_state, source, TASK, batch_size=8)
    after = evaluate(FORWARD, state.params, model_state, source, TASK, batch_size=8)
    assert before["ap50"] < 0.3 and after["ap50"] > 0.95 and after["coco_ap"] > 0.7
    assert after["loss"] < before["loss"] / 20


@pytest.mark.slow
def test_evaluation_counts_every_image_once_on_any_mesh():
    source, (params, model_state) = _source(9, 1), _start()
    whole = evaluate(FORWARD, params, model_state, source, TASK, batch_size=9)
    spread = evaluate(FORWARD, params, model_state, source, TASK, batch_size=8, mesh=make_mesh())
    assert set(whole) == {"loss", "ap50", "coco_ap", "coco_ap50", "coco_ap75", "ap50_by_class"}
    for name, value in whole.items():
        np.testing.assert_allclose(spread[name], value, rtol=1e-4)


def test_the_task_fits_the_loop():
    assert (TASK.name, TASK.best_metric, TASK.larger_is_better) == ("detection", "ap50", True)
    with pytest.raises(ValueError, match="but no boxes and no box_labels"):
        TASK.check({"images": np.zeros((1, 8, 8, 3))})


def test_heads_that_do_not_fit():
    count = len(ANCHORS.boxes_xyxy)
    boxes, scores = np.zeros((2, count, 4)), np.zeros((2, count, CLASSES))
    check_heads({"boxes": boxes, "scores": scores}, CLASSES, ANCHORS)
    for wrong in (
        {"boxes": boxes, "scores": np.zeros((2, count, 5))},
        {"boxes": boxes[:, 1:], "scores": scores[:, 1:]},
        {"boxes": boxes},
        {},
    ):
        with pytest.raises(ValueError, match=f"where {count} anchors and 3 classes need boxes"):
            check_heads(wrong, CLASSES, ANCHORS)


def test_bad_settings():
    with pytest.raises(ValueError, match="num_classes=1, negatives=3: give at least 2 classes"):
        detection_task(1, ANCHORS)
    with pytest.raises(ValueError, match="negatives=0"):
        detection_task(2, ANCHORS, negatives=0)
