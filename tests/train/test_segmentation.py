import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.dataset import IGNORE, ArraySource, Dataset
from attokit.train.evaluation import evaluate
from attokit.train.mesh import make_mesh
from attokit.train.metrics import compute_metrics
from attokit.train.pixel_losses import dice_loss, pixel_cross_entropy
from attokit.train.segmentation import segmentation_task

TASK = segmentation_task(3)
_RNG = np.random.default_rng(0)
MASKS = jnp.asarray(_RNG.choice([0, 1, 2, IGNORE], (2, 8, 12)), jnp.uint8)
LOGITS = jnp.asarray(_RNG.normal(0, 1, (2, 8, 12, 3)), jnp.float32)
EVAL_METRICS = jax.jit(TASK.eval_metrics)
LOSSES_OF = jax.jit(TASK.losses)
BATCH = {"masks": MASKS, "mask": jnp.ones(2)}


def test_every_function_of_the_task_fits_the_loop():
    assert TASK.name == "segmentation"
    losses = LOSSES_OF(LOGITS, BATCH)
    assert losses.shape == (2,)
    metrics = EVAL_METRICS(LOGITS, BATCH)
    assert TASK.best_metric in metrics
    values = compute_metrics(metrics)
    assert values["confusion"].sum() == int((MASKS != IGNORE).sum())
    train = compute_metrics(TASK.train_metrics(LOGITS, BATCH, losses))
    assert train["pixel_accuracy"] == pytest.approx(values["pixel_accuracy"])


def test_evaluation_reports_plain_cross_entropy_whatever_is_trained():
    task = segmentation_task(3, loss="dice", class_weights=(1.0, 2.0, 3.0))
    losses = jax.jit(task.losses)(LOGITS, BATCH)
    loss = functools.partial(dice_loss, class_weights=(1.0, 2.0, 3.0))
    np.testing.assert_array_equal(losses, jax.jit(loss)(LOGITS, MASKS))
    found = EVAL_METRICS(LOGITS, BATCH)["loss"].compute()
    assert float(found) == pytest.approx(float(pixel_cross_entropy(LOGITS, MASKS).mean()))


def test_smaller_outputs_are_resized():
    small = LOGITS[:, ::4, ::4]
    whole = jax.image.resize(small, LOGITS.shape, "bilinear")
    np.testing.assert_allclose(LOSSES_OF(small, BATCH), LOSSES_OF(whole, BATCH), rtol=1e-6)


def test_a_batch_without_any_class_gives_no_nan():
    batch = BATCH | {"masks": jnp.full_like(MASKS, IGNORE)}
    losses = LOSSES_OF(LOGITS, batch)
    np.testing.assert_array_equal(losses, 0)
    values = compute_metrics(EVAL_METRICS(LOGITS, batch))
    assert (values["loss"], values["mean_iou"], values["pixel_accuracy"]) == (0, 0, 0)


def _pixelwise(params, model_state, inputs, *, train, key):
    return inputs @ params, model_state


def test_evaluation_counts_every_pixel_once_on_any_mesh():
    masks = _RNG.choice([0, 1, 2, IGNORE], (9, 4, 4)).astype(np.uint8)
    images = _RNG.integers(0, 256, (9, 4, 4, 3)).astype(np.uint8)
    dataset = Dataset(
        name="tiny",
        class_names=("a", "b", "c"),
        image_shape=(4, 4, 3),
        splits={"test": ArraySource(images=images, masks=masks)},
        task="segmentation",
    )
    source = dataset.split("test")
    one = evaluate(_pixelwise, jnp.eye(3), {}, source, TASK, batch_size=9)
    many = evaluate(_pixelwise, jnp.eye(3), {}, source, TASK, batch_size=8, mesh=make_mesh())
    right = (images.argmax(-1) == masks).sum()
    assert np.trace(one["confusion"]) == right
    np.testing.assert_array_equal(one["confusion"], many["confusion"])
    assert one["mean_iou"] == many["mean_iou"]
    assert one["loss"] == pytest.approx(many["loss"], rel=1e-5)


def test_ids_that_are_no_class_are_refused_on_the_host():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    masks = np.full((2, 4, 4), IGNORE, np.uint8)
    masks[1, 0, :3] = 7
    source = ArraySource(images=images, masks=masks)
    with pytest.raises(ValueError, match="id 7 in 3 pixels of a batch, but the 3 classes"):
        evaluate(_pixelwise, jnp.eye(3), {}, source, TASK, batch_size=2)
    masks[1, 0, :3] = 2
    TASK.check(source.read(np.arange(2)))
    with pytest.raises(ValueError, match=r"id -1 in 32 pixels"):
        TASK.check({"images": images, "masks": np.full((2, 4, 4), -1, np.int32)})
    with pytest.raises(ValueError, match=r"masks of shape \(2, 4, 2\) do not fit images of shape"):
        TASK.check({"images": images, "masks": masks[:, :, :2]})
    with pytest.raises(ValueError, match="masks are float32, but class ids are integers"):
        TASK.check({"images": images, "masks": masks.astype(np.float32)})
    with pytest.raises(ValueError, match="holds images, labels, but no masks"):
        TASK.check({"images": images, "labels": np.zeros(2, np.int32)})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"loss": "hinge"}, "no loss of pixels 'hinge'"),
        ({"loss": "dice", "label_smoothing": 0.1}, "label_smoothing is 0.1, but loss 'dice'"),
        ({"class_weights": (1.0, 2.0)}, r"class_weights are \(1.0, 2.0\) for 3 classes"),
        ({"class_weights": (1.0, -2.0, 1.0)}, "one finite number of 0 or more"),
        ({"class_weights": (0.0, 0.0, 0.0)}, "not all of them 0"),
    ],
)
def test_refuses_options_without_effect(options, match):
    with pytest.raises(ValueError, match=match):
        segmentation_task(3, **options)


def test_refuses_another_number_of_classes():
    with pytest.raises(ValueError, match="gives 3 logits per pixel for 4 classes"):
        segmentation_task(4).losses(LOGITS, BATCH)
