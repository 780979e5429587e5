import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import train, zoo
from attokit.train.instance_segmentation import instance_segmentation_task
from attokit.train.mask_rcnn import MaskRCNNTrainConfig
from attokit.train.mesh import make_mesh, put_batch
from attokit.train.metrics import compute_metrics
from attokit.train.state import place_state
from attokit.train.step import compile_train_step, make_eval_step, make_train_step
from attokit.zoo.box_head import BoxHeadConfig
from attokit.zoo.detections import DetectionConfig
from attokit.zoo.mask_head import MaskHeadConfig
from attokit.zoo.proposals import ProposalConfig

SIZE = (64, 64)
NETWORK = zoo.create(
    "atto_mask_rcnn_lite",
    backbone="mobilenet_v1_025",
    pyramid_channels=16,
    proposals=ProposalConfig(count=16, per_level=24),
    box_head=BoxHeadConfig(hidden=(32,), output_size=5, class_agnostic=True),
    mask_head=MaskHeadConfig(channels=16, convolutions=1, output_size=7, class_agnostic=True),
    detections=DetectionConfig(count=6, candidates=24),
    canonical_size=28.0,
    anchor_sizes=(8.0, 16.0, 32.0, 64.0),
    image_size=(*SIZE, 3),
)
TASK = instance_segmentation_task(11, MaskRCNNTrainConfig.of(NETWORK.config))
FORWARD = TASK.forward(NETWORK)
LOSSES = {f"{n}_loss" for n in ("objectness", "anchor_boxes", "classes", "boxes", "masks")}


@functools.cache
def _scenes():
    return train.load_scenes(SIZE, task="instance_segmentation", train=32, test=8)


def _shapes():
    example = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32)
    return train.split_variables(jax.eval_shape(NETWORK.init, jax.random.key(0), example))


@pytest.mark.slow
def test_a_step_sees_objects_and_inference_images_alone():
    params, model_state = _shapes()
    scenes = _scenes()
    batch = scenes.split("train").read(np.arange(2))
    TASK.check(batch)
    optimizer = train.make_optimizer("adamw", 1e-3)
    step = make_train_step(FORWARD, TASK, optimizer)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (params, model_state))
    state, _ = place_state(*zeros, optimizer, make_mesh(1), seed=0)
    new_state, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.map(jnp.shape, new_state) == jax.tree.map(jnp.shape, state)
    assert metrics.keys() >= LOSSES
    batch = scenes.split("test").read(np.arange(2)) | {"mask": np.ones(2, np.float32)}
    TASK.check(batch)
    metrics = jax.eval_shape(make_eval_step(FORWARD, TASK), params, model_state, batch)
    (part,) = metrics["instance_precision"].parts
    assert part["masks"].shape == (2, 6, 14, 14) and part["masks"].dtype == jnp.uint8
    assert part["true_instance_bits"].shape == (2, 8, 64, 8)


def test_sizes_of_learning_follow_the_network():
    lite = MaskRCNNTrainConfig.of(zoo.config("atto_mask_rcnn_lite"))
    assert (lite.anchors.count, lite.regions.count, lite.regions.positives) == (64, 48, 12)
    assert (lite.proposals.count, lite.proposals.per_level) == (128, 256)
    assert MaskRCNNTrainConfig.of(zoo.config("mask_rcnn_r50_fpn")) == MaskRCNNTrainConfig()


def test_refuses_a_single_class():
    with pytest.raises(ValueError, match="num_classes=1: give at least 2 classes"):
        instance_segmentation_task(1, MaskRCNNTrainConfig())


def _batches():
    """Three batches of 8 scenes: as they are, without one object, and with a crowd each."""
    batch = _scenes().split("train").read(np.arange(8))
    labels = batch["box_labels"]
    crowds = np.where(np.arange(labels.shape[1])[None] == 0, -np.abs(labels), labels)
    nothing = {name: np.zeros_like(a) for name, a in batch.items() if name != "images"}
    return [batch, batch | nothing, batch | {"box_labels": crowds}]


@pytest.mark.slow
def test_eight_devices_equal_one_and_every_batch_is_one_compilation():
    variables = jax.jit(NETWORK.init)(jax.random.key(0), jnp.zeros((1, *SIZE, 3)))
    optimizer = train.make_optimizer("sgd", 0.05, clip_norm=1.0)
    found = []
    for mesh in (make_mesh(1), make_mesh(8)):
        state, shardings = place_state(
            *train.split_variables(variables), optimizer, mesh, seed=3, ema=True
        )
        pure_step = make_train_step(FORWARD, TASK, optimizer, ema_decay=0.5)
        step = compile_train_step(pure_step, mesh, shardings)
        history = []
        for batch in _batches():
            state, metrics = step(state, put_batch(batch, mesh))
            history.append(compute_metrics(metrics))
        assert step._cache_size() == 1
        found.append((jax.device_get(state.params), jax.device_get(state.model_state), history))
    (one, one_state, one_history), (many, many_state, many_history) = found
    # The same anchors and regions are drawn; sums over the batch are taken in another order.
    for one_values, many_values in zip(one_history, many_history, strict=True):
        assert many_values == pytest.approx(one_values, rel=2e-3, abs=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5)
    jax.tree.map(close, many, one)
    jax.tree.map(close, many_state, one_state)
    assert one_history[1]["masks_loss"] == one_history[1]["boxes_loss"] == 0
    assert all(np.isfinite(v) for values in one_history for v in values.values())
    assert not np.allclose(jax.tree.leaves(one)[0], jax.tree.leaves(variables["params"])[0])
