import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from traced import jit

from attokit import train, zoo
from attokit.train.mask_rcnn import MaskRCNNTrainConfig, Objects, learn, lesson_losses
from attokit.train.mask_targets import compact_instances
from attokit.train.roi_sampling import RoISamplingConfig
from attokit.train.rpn_targets import RPNTargetConfig
from attokit.zoo.box_head import BoxHeadConfig
from attokit.zoo.mask_head import MaskHeadConfig
from attokit.zoo.proposals import ProposalConfig

SIZE = (64, 64)
CONFIG = MaskRCNNTrainConfig(
    anchors=RPNTargetConfig(count=64, positive=0.6),
    proposals=ProposalConfig(count=40, per_level=60),
    regions=RoISamplingConfig(count=24, positive_share=0.5),
)


def _model():
    return zoo.create(
        "atto_mask_rcnn_lite",
        backbone="mobilenet_v1_025",
        pyramid_channels=16,
        box_head=BoxHeadConfig(hidden=(32,), output_size=5, class_agnostic=True),
        mask_head=MaskHeadConfig(channels=16, convolutions=1, output_size=7, class_agnostic=True),
        canonical_size=28.0,
        anchor_sizes=(8.0, 16.0, 32.0, 64.0),
    )


def _scenes(count):
    source = train.scene_source("train", length=64, size=SIZE, instances=True)
    batch = source.read(np.arange(count))
    masks = [
        compact_instances(instances, boxes, 14)
        for instances, boxes in zip(batch["instance_maps"], batch["boxes"], strict=True)
    ]
    objects = Objects(batch["boxes"], batch["box_labels"], np.stack(masks))
    return np.float32(batch["images"]) / np.float32(255), jax.tree.map(jnp.asarray, objects)


def _losses(model, params, state, images, objects, key):
    lesson, state = model.apply(
        {"params": params, **state},
        images,
        objects,
        key,
        CONFIG,
        method=learn,
        mutable=["batch_stats"],
    )
    losses = lesson_losses(lesson)
    return sum(losses.values()).mean(), (losses, state, lesson)


@pytest.mark.slow
def test_a_lesson_has_fixed_shapes():
    """The heads read as many regions whatever is in the images; masks come from the first of them."""
    model, (images, objects) = _model(), _scenes(2)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    _, (losses, _, lesson) = jax.eval_shape(
        functools.partial(_losses, model),
        variables["params"],
        {"batch_stats": variables["batch_stats"]},
        images,
        objects,
        jax.random.key(0),
    )
    assert {name: x.shape for name, x in losses.items()} == dict.fromkeys(
        ("objectness", "anchor_boxes", "classes", "boxes", "masks"), (2,)
    )
    n = sum(map(len, model.config.anchors(SIZE)))
    assert lesson.objectness.shape == (2, n)
    assert lesson.anchors.offsets.shape == (2, 64, 4)
    assert lesson.logits.shape == (2, 24, 11)
    assert lesson.masks.shape == (2, 12, 14, 14, 1)
    assert lesson.shapes.shape == (2, 12, 14, 14)


def _overlaps(found, objects, image):
    """Returns, per object, the best IoU of a detection of its class."""
    real = objects.labels[image] > 0
    valid = found["valid"][image]
    overlap = zoo.iou.pairwise_iou(objects.boxes_xyxy[image][real], found["boxes"][image][valid])
    same = objects.labels[image][real][:, None] == found["classes"][image][valid][None]
    return np.max(np.where(same, overlap, 0), axis=1, initial=0)


@pytest.mark.slow
def test_scenes_are_learned_by_heart():
    """Every stage learns: four scenes, after some hundred steps, are found with classes and masks."""
    model, (images, objects) = _model(), _scenes(4)
    images = jnp.asarray(images)
    variables = jit(model.init)(jax.random.key(0), images)
    params, state = train.split_variables(variables)
    optimizer = train.make_optimizer("adamw", 4e-3, clip_norm=5.0)

    @jax.jit
    def step(params, state, opt_state, key):
        gradient = jax.value_and_grad(functools.partial(_losses, model), has_aux=True)
        (_, (losses, state, _)), gradients = gradient(params, state, images, objects, key)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(gradients, opt_state, params)
        losses = {name: values.mean() for name, values in losses.items()}
        return optax.apply_updates(params, updates), state, opt_state, losses

    opt_state, history = optimizer.init(params), []
    for i in range(300):
        params, state, opt_state, losses = step(params, state, opt_state, jax.random.key(i))
        history.append(jax.tree.map(float, losses))
    first, last = (
        {name: np.mean([h[name] for h in part]) for name in history[0]}
        for part in (history[:3], history[-20:])
    )
    assert step._cache_size() == 1
    # Regions start as bad as the proposals: their boxes have more to learn later than at first.
    assert last.pop("boxes") < first["boxes"]
    assert all(last[name] < 0.5 * first[name] for name in last)
    found = jax.tree.map(np.asarray, jit(model.apply)({"params": params, **state}, images))
    overlaps = np.concatenate([_overlaps(found, objects, image) for image in range(4)])
    assert np.mean(overlaps > 0.5) > 0.8, overlaps
    pasted = zoo.paste_masks(found["masks"][0], found["boxes"][0], SIZE) > 0.5
    source = train.scene_source("train", length=64, size=SIZE, instances=True)
    everything = source.read(np.arange(1))["instance_maps"][0] > 0
    union = np.any(pasted & (found["scores"][0] > 0.3)[:, None, None], axis=0)
    iou = np.sum(union & everything) / np.sum(union | everything)
    assert iou > 0.6
