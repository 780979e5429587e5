import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.dataset import IGNORE
from attokit.train.pixel_metrics import MeanIou, PixelAccuracy, iou_per_class, share_of_pixels

# Class 2 is only predicted, class 3 nowhere.
MASKS = jnp.asarray([[[0, 0, 1, IGNORE]], [[1, 1, 0, 0]]], jnp.uint8)
GUESS = jnp.asarray([[[0, 1, 1, 3]], [[1, 2, 0, 0]]], jnp.int32)
LOGITS = jax.nn.one_hot(GUESS, 4)
IOU = [3 / 4, 2 / 4, 0, np.nan]


def test_iou_by_hand():
    np.testing.assert_allclose(iou_per_class(MeanIou.of(LOGITS, MASKS).counts()), IOU)


def test_mean_iou_is_over_classes_that_occur():
    assert float(MeanIou.of(LOGITS, MASKS).compute()) == pytest.approx(np.nanmean(IOU))


def test_pixel_accuracy_leaves_ignored_pixels_and_masked_images_out():
    mask = jnp.asarray([1.0, 0.0])
    assert float(PixelAccuracy.of(LOGITS, MASKS).compute()) == pytest.approx(5 / 7)
    assert float(PixelAccuracy.of(LOGITS, MASKS, mask).compute()) == pytest.approx(2 / 3)
    assert float(share_of_pixels(LOGITS, MASKS).compute()) == pytest.approx(5 / 7)


@pytest.mark.parametrize("kind", [MeanIou, PixelAccuracy])
def test_nothing_to_count_is_zero(kind):
    found = kind.of(LOGITS, jnp.full_like(MASKS, IGNORE))
    assert float(found.compute()) == 0
    assert float(kind.empty(4).compute()) == 0
    assert float(share_of_pixels(LOGITS, jnp.full_like(MASKS, IGNORE)).compute()) == 0


@pytest.mark.parametrize("kind", [MeanIou, PixelAccuracy])
def test_parts_merge_to_the_whole(kind):
    merged = kind.of(LOGITS[:1], MASKS[:1]).merge(kind.of(LOGITS[1:], MASKS[1:]))
    assert isinstance(merged, kind)
    assert float(merged.compute()) == float(kind.of(LOGITS, MASKS).compute())
