import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.dataset import ArraySource
from attokit.train.dense_inference import (
    average_views,
    dense_forward,
    slide_window,
    window_starts,
)
from attokit.train.evaluation import evaluate
from attokit.train.segmentation import segmentation_task

_RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(_RNG.uniform(0, 1, (2, 12, 16, 3)), jnp.float32)
KERNEL = jnp.asarray(_RNG.normal(0, 2, (3, 4)), jnp.float32)


def pixelwise(images):
    return images @ KERNEL


def lopsided(images):
    """Mixes each pixel with the one to its left: not the same seen in a mirror."""
    return pixelwise(images + 2 * jnp.roll(images, 1, 2))


def constant(images):
    return jnp.broadcast_to(jnp.asarray([1.0, -2.0, 0.5]), (*images.shape[:3], 3))


def test_one_plain_view_is_the_softmax():
    found = average_views(pixelwise)(IMAGES)
    np.testing.assert_allclose(found, jax.nn.log_softmax(pixelwise(IMAGES)), atol=1e-6)


def test_views_average_probabilities():
    found = jnp.exp(average_views(lopsided, flip=True)(IMAGES))
    mirrored = jax.nn.softmax(lopsided(IMAGES[:, :, ::-1]))[:, :, ::-1]
    plain = jax.nn.softmax(lopsided(IMAGES))
    np.testing.assert_allclose(found, (plain + mirrored) / 2, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_flip_of_a_symmetric_network_changes_nothing_and_makes_any_symmetric():
    plain, both = (average_views(pixelwise, flip=f)(IMAGES) for f in (False, True))
    np.testing.assert_allclose(plain, both, atol=1e-6)
    view = average_views(lopsided, flip=True)
    np.testing.assert_allclose(view(IMAGES[:, :, ::-1]), view(IMAGES)[:, :, ::-1], atol=1e-6)


def test_constant_logits_stay_constant():
    seen = []

    def network(images):
        seen.append(images.shape[1:3])
        return constant(images)

    expected = jax.nn.log_softmax(constant(IMAGES))
    view = average_views(network, scales=(0.5, 1.0, 1.75), flip=True, multiple_of=4)
    np.testing.assert_allclose(jax.jit(view)(IMAGES), expected, atol=1e-6)
    assert seen == [(8, 8)] * 2 + [(12, 16)] * 2 + [(20, 28)] * 2
    np.testing.assert_allclose(slide_window(constant, (5, 7))(IMAGES), constant(IMAGES), atol=1e-6)


def test_smooth_images_look_alike_at_every_scale():
    ramp = jnp.linspace(0, 1, 16)[None, None, :, None] * jnp.ones((1, 12, 1, 3))
    plain = jnp.exp(average_views(pixelwise)(ramp))
    scaled = jnp.exp(average_views(pixelwise, scales=(2.0,), multiple_of=4)(ramp))
    np.testing.assert_allclose(scaled, plain, atol=0.02)


@pytest.mark.parametrize(
    ("size", "window", "overlap", "starts"),
    [
        (8, 8, 0.5, [0]),
        (5, 8, 0.5, [0]),
        (9, 8, 0.0, [0, 1]),
        (16, 8, 0.0, [0, 8]),
        (16, 8, 0.5, [0, 4, 8]),
        (17, 8, 0.5, [0, 3, 6, 9]),
    ],
)
def test_windows_cover_the_image_evenly(size, window, overlap, starts):
    assert window_starts(size, window, overlap) == starts


@pytest.mark.parametrize("window", [(12, 16), (5, 7), (12, 6), (4, 16)])
def test_a_pixelwise_network_needs_no_context(window):
    np.testing.assert_allclose(
        slide_window(pixelwise, window)(IMAGES), pixelwise(IMAGES), atol=1e-5
    )


def test_one_window_is_the_plain_network():
    np.testing.assert_array_equal(slide_window(lopsided, (12, 16))(IMAGES), lopsided(IMAGES))


def test_overlapping_windows_are_averaged():
    images = jnp.arange(6.0).reshape(1, 1, 6, 1)

    def place_in_window(images):
        return jnp.arange(4.0)[None, None, :, None] + 0 * images

    out = slide_window(place_in_window, (1, 4), overlap=0.5)(images)
    np.testing.assert_allclose(out[0, 0, :, 0], [0, 1, (2 + 0) / 2, (3 + 1) / 2, 2, 3])


def test_small_images_and_small_logits_fit():
    out = slide_window(lambda x: x[:, ::4, ::4], (16, 24))(IMAGES)
    assert out.shape == IMAGES.shape
    jitted = jax.jit(slide_window(pixelwise, (16, 24)))(IMAGES)
    np.testing.assert_allclose(jitted, pixelwise(IMAGES), atol=1e-5)


def forward(params, model_state, inputs, *, train, key):
    return inputs @ params, model_state


def test_evaluation_with_views():
    images = (255 * np.asarray(IMAGES)).astype(np.uint8)
    source = ArraySource(images=images, masks=images.argmax(-1).astype(np.uint8))
    views = dense_forward(forward, flip=True, window=(8, 8))
    values = evaluate(views, jnp.eye(3), {}, source, segmentation_task(3), batch_size=2)
    assert values["pixel_accuracy"] > 0.99  # ties aside
    with pytest.raises(ValueError, match="train is True, but several views"):
        views(jnp.eye(3), {}, IMAGES, train=True, key=None)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scales": ()}, r"scales are \(\)"),
        ({"scales": (1.0, 0.0)}, "one or more factors above 0"),
        ({"multiple_of": 0}, "multiple_of is 0"),
        ({"window": (0, 8)}, r"windows of \(0, 8\) pixels"),
        ({"window": (8, 8), "overlap": 1.0}, "overlap by 1.0"),
    ],
)
def test_refuses(options, match):
    with pytest.raises(ValueError, match=match):
        dense_forward(forward, **options)
