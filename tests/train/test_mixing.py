import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.mixing import check_mixing, draw_mixing, mixed_task, own_share
from attokit.train.segmentation import segmentation_task
from attokit.train.task import classification_task


def test_shares_follow_beta_and_boxes_cover_their_area():
    rng = np.random.default_rng(0)
    shares, boxes = draw_mixing(rng, 20_000, mixup=0.4, cutmix=0.0)
    assert not boxes.any()
    assert abs(shares.mean() - 0.5) < 0.01
    assert shares.var() == pytest.approx(0.25 / (2 * 0.4 + 1), rel=0.03)  # of Beta(a, a)
    shares, boxes = draw_mixing(rng, 20_000, mixup=0.0, cutmix=1.0)
    assert (shares == 1).all()
    assert (boxes >= 0).all() and (boxes <= 1).all()
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    shares, boxes = draw_mixing(rng, 20_000, mixup=1.0, cutmix=1.0)
    assert abs((shares == 1).mean() - 0.5) < 0.02  # covered instead of blended


def test_what_is_drawn_does_not_depend_on_the_other_switch():
    one = draw_mixing(np.random.default_rng(3), 8, mixup=0.2, cutmix=0.0)
    both = draw_mixing(np.random.default_rng(3), 8, mixup=0.2, cutmix=1.0)
    blended = both[0] != 1
    assert blended.any() and not blended.all()
    np.testing.assert_array_equal(one[0][blended], both[0][blended])


def test_own_share_of_pixels():
    boxes = jnp.array([[0, 0, 0, 0], [0.5, 0.0, 1.0, 0.25]])
    share = own_share(jnp.array([0.75, 1.0]), boxes, (4, 4))
    np.testing.assert_array_equal(share[0], np.full((4, 4), 0.75))
    expected = np.ones((4, 4))
    expected[2:, :1] = 0
    np.testing.assert_array_equal(share[1], expected)


def test_inputs_and_losses_are_mixed_alike():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    images[1], images[2] = 255, 51
    batch = {
        "images": images,
        "labels": np.array([0, 1, 2], np.int32),
        "mix_shares": np.array([0.25, 1.0, 1.0], np.float32),
        "mix_boxes": np.array([[0] * 4, [0, 0, 0.5, 1], [0] * 4], np.float32),
    }
    plain = classification_task(label_smoothing=0.1)
    task = mixed_task(plain)
    inputs = task.inputs(jax.tree.map(jnp.asarray, batch))
    np.testing.assert_allclose(inputs[0], np.full((4, 4, 1), 0.75))
    np.testing.assert_allclose(inputs[1].mean(), (1 + 0.2) / 2, rtol=1e-6)
    np.testing.assert_allclose(inputs[2], np.full((4, 4, 1), 0.2))  # as it was
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)
    each = jnp.stack([plain.losses(logits, {"labels": jnp.full(3, k)}) for k in range(3)])
    expected = [0.25 * each[0, 0] + 0.75 * each[1, 0], (each[1, 1] + each[2, 1]) / 2, each[2, 2]]
    np.testing.assert_allclose(task.losses(logits, jax.tree.map(jnp.asarray, batch)), expected,
                               rtol=1e-5)  # fmt: skip


def test_other_tasks():
    with pytest.raises(ValueError, match="one label per image, and the task is segmentation"):
        check_mixing(segmentation_task(3))
