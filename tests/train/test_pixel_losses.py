import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train import pixel_losses
from attokit.train.dataset import IGNORE
from attokit.train.losses import softmax_cross_entropy
from attokit.train.pixel_losses import (
    PIXEL_LOSSES,
    dice_loss,
    find_pixel_loss,
    lovasz_softmax,
    pixel_cross_entropy,
)

CLASSES = 4
# Compiled once, for one shape: step by step these are hundreds of small programs.
LOSSES = {name: jax.jit(loss) for name, loss in PIXEL_LOSSES.items()}
_RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(_RNG.normal(0, 2, (3, 5, 7, CLASSES)), jnp.float32)
# Image 0 lacks class 3 and has holes, image 1 has one class, image 2 nothing.
_MASKS = _RNG.integers(0, 3, (3, 5, 7)).astype(np.uint8)
_MASKS[0, :2, :3] = IGNORE
_MASKS[1], _MASKS[2] = 3, IGNORE
MASKS = jnp.asarray(_MASKS)
WEIGHTS = (0.5, 1.0, 2.0, 3.0)


def _valid(image):
    """Probabilities [n, k] and ids [n] of the pixels that count, in float64."""
    keep = _MASKS[image] != IGNORE
    logits = np.asarray(LOGITS[image], np.float64)[keep]
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True), _MASKS[image][keep]


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_one_finite_value_per_image_and_exactly_nothing_from_ignored_pixels(name):
    def total(logits):
        values = PIXEL_LOSSES[name](logits, MASKS, class_weights=WEIGHTS)
        assert (values.shape, values.dtype) == ((3,), jnp.float32)
        return values.sum(), values

    (_, values), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(LOGITS)
    assert np.isfinite(values).all()
    assert float(values[2]) == 0
    assert (np.asarray(values[:2]) > 0).all()
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[_MASKS == IGNORE].any()
    assert np.asarray(gradient)[_MASKS != IGNORE].any(-1).all()


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_images_are_apart_and_the_order_of_pixels_means_nothing(name):
    whole = LOSSES[name](LOGITS, MASKS)
    flipped = LOSSES[name](LOGITS[::-1, ::-1, ::-1], MASKS[::-1, ::-1, ::-1])
    np.testing.assert_allclose(flipped[::-1], whole, rtol=1e-5)


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_certainty_costs_nothing(name):
    # At 40 the wrong probabilities vanish in float32, at -40 nothing overflows.
    logits = jnp.asarray(40 * np.eye(CLASSES, dtype=np.float32)[_MASKS % 4])
    np.testing.assert_allclose(LOSSES[name](logits, MASKS), 0, atol=1e-6)
    assert np.isfinite(LOSSES[name](-logits, MASKS)).all()


def test_cross_entropy_is_the_mean_of_the_valid_pixels():
    keep = _MASKS[0] != IGNORE
    plain = softmax_cross_entropy(
        LOGITS[0][keep], MASKS[0][keep].astype(jnp.int32), label_smoothing=0.1
    )
    found = pixel_cross_entropy(LOGITS, MASKS, label_smoothing=0.1)
    assert float(found[0]) == pytest.approx(float(plain.mean()), rel=1e-6)


def test_weights_multiply_pixels_and_the_divisor_stays():
    p, y = _valid(0)
    cost = -np.log(p[np.arange(len(y)), y]) * np.array(WEIGHTS)[y]
    found = pixel_cross_entropy(LOGITS, MASKS, class_weights=WEIGHTS)
    assert float(found[0]) == pytest.approx(cost.sum() / len(y), rel=1e-5)


def test_focal_by_its_formula():
    p, y = _valid(0)
    right = p[np.arange(len(y)), y]
    expected = ((1 - right) ** 2 * -np.log(right)).mean()
    assert float(LOSSES["focal"](LOGITS, MASKS)[0]) == pytest.approx(expected, rel=1e-5)


def test_dice_by_its_formula():
    p, y = _valid(0)
    hot = np.eye(CLASSES)[y]
    terms = 1 - 2 * (p * hot).sum(0) / (p.sum(0) + hot.sum(0))
    found = LOSSES["dice"](LOGITS, MASKS)
    assert float(found[0]) == pytest.approx(terms[:3].mean(), rel=1e-5)  # class 3 is not there
    both = LOSSES["cross_entropy_dice"](LOGITS, MASKS)
    expected = LOSSES["cross_entropy"](LOGITS, MASKS) + found
    np.testing.assert_allclose(both, expected, rtol=1e-6)


def _lovasz_by_sets(p, y):
    """The extension by its definition: sum of errors times differences of the Jaccard loss."""
    total = []
    for c in np.unique(y):
        errors = np.where(y == c, 1 - p[:, c], p[:, c])
        order = np.argsort(-errors, kind="stable")
        wrong, before, value = set(), 0.0, 0.0
        inside = set(np.flatnonzero(y == c))
        for pixel in order:
            wrong.add(pixel)
            jaccard = 1 - len(inside - wrong) / len(inside | wrong)
            value += errors[pixel] * (jaccard - before)
            before = jaccard
        total.append(value)
    return np.mean(total)


@pytest.mark.parametrize("image", [0, 1])
def test_lovasz_equals_its_definition_by_sets(image):
    expected = _lovasz_by_sets(*_valid(image))
    assert float(LOSSES["lovasz"](LOGITS, MASKS)[image]) == pytest.approx(expected, rel=1e-5)


def test_lovasz_of_hard_errors_is_one_minus_mean_iou():
    guess = _RNG.integers(0, 3, _MASKS.shape)
    logits = jnp.asarray(60 * np.eye(CLASSES, dtype=np.float32)[guess])
    keep = _MASKS[0] != IGNORE
    y, z = _MASKS[0][keep], guess[0][keep]
    iou = [((y == c) & (z == c)).sum() / ((y == c) | (z == c)).sum() for c in range(3)]
    found = LOSSES["lovasz"](logits, MASKS)
    assert float(found[0]) == pytest.approx(1 - np.mean(iou), rel=1e-5)


def test_lovasz_of_many_pixels_sorts_finely_enough(monkeypatch):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 1, (1, 300, 300, 2)), jnp.float32)
    masks = jnp.asarray(rng.integers(0, 2, (1, 300, 300)), jnp.uint8)
    packed = jax.jit(lovasz_softmax)(logits, masks)
    monkeypatch.setattr(pixel_losses, "_FEWEST_ERROR_BITS", 33)
    exact = jax.jit(lambda *args: lovasz_softmax(*args))(logits, masks)
    np.testing.assert_allclose(packed, exact, atol=2**-15, rtol=0)  # 17 bits name the pixel


def test_lovasz_gradient_is_that_of_the_definition():
    loss = jax.jit(lambda x: lovasz_softmax(x, MASKS)[0])
    gradient = jax.jit(jax.grad(loss))(LOGITS)[0, 3, 3, 1]
    step = 1e-2  # large enough for float32, small enough that no two errors change places
    up, down = (float(loss(LOGITS.at[0, 3, 3, 1].add(s))) for s in (step, -step))
    assert float(gradient) == pytest.approx((up - down) / (2 * step), rel=1e-2)


def test_unknown_losses_are_answered_with_near_ones():
    assert find_pixel_loss("dice") is dice_loss
    with pytest.raises(ValueError, match="no loss of pixels 'lovas': did you mean lovasz"):
        find_pixel_loss("lovas")
