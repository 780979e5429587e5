import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_detector import calibrated, images, model
from traced import jit

from attokit.quantized_detector import QuantizedDetector
from attokit.train.mask_rcnn import MaskRCNNTrainConfig, Objects, lesson_losses
from attokit.train.roi_sampling import RoISamplingConfig
from attokit.train.rpn_targets import RPNTargetConfig
from attokit.zoo.proposals import ProposalConfig

TRAINING = MaskRCNNTrainConfig(
    anchors=RPNTargetConfig(count=1000),  # nearly all: each map has some
    proposals=ProposalConfig(count=20, per_level=40),
    regions=RoISamplingConfig(count=12),
)


@functools.cache
def _detector():
    graph, weights, qparams = calibrated()
    return QuantizedDetector(graph, "reference", model().config, TRAINING), weights, qparams


def _inputs():
    boxes = [[[4, 4, 30, 40], [20, 20, 60, 60]], [[2, 2, 62, 60], [0, 0, 0, 0]]]
    masks = np.zeros((2, 2, 14, 14), np.uint8)
    masks[..., 3:12, 2:9] = 255
    objects = Objects(
        jnp.asarray(boxes, jnp.float32), jnp.asarray([[1, 2], [3, 0]]), jnp.asarray(masks)
    )
    return {"images": jnp.asarray(images(2)), "objects": objects}


@pytest.mark.slow
def test_a_few_steps_lower_the_loss_and_every_weight_learns():
    detector, weights, qparams = _detector()
    inputs = _inputs()

    @jit
    def step(weights):
        def loss(weights):
            params = {"weights": weights, "log_scales": {}}
            lesson, state = detector(params, qparams, inputs, train=True, key=jax.random.key(0))
            assert state is qparams
            return sum(jnp.mean(losses) for losses in lesson_losses(lesson).values())

        value, gradients = jax.value_and_grad(loss)(weights)
        size = jnp.sqrt(sum(jnp.sum(g**2) for g in gradients.values()))
        moved = jax.tree.map(lambda w, g: w - 0.03 * g / size, weights, gradients)
        return value, gradients, moved

    values = []
    for number in range(12):
        value, gradients, weights = step(weights)
        values.append(float(value))
        if not number:
            for name, gradient in gradients.items():
                assert np.isfinite(gradient).all() and np.any(gradient), name
    assert values[-1] < values[0] - 0.05, values


@pytest.mark.slow
def test_inference_is_the_whole_graph():
    detector, weights, qparams = _detector()
    params = {"weights": weights, "log_scales": {}}
    found, _ = detector(params, qparams, images(2), train=False, key=jax.random.key(0))
    wanted = detector.whole(weights, qparams, images(2))
    assert found.keys() == {"boxes", "scores", "classes", "masks", "valid"}
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
