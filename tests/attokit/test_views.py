import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.predictor import Predictor
from attokit.train import dense_forward
from attokit.views import in_views

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3)).astype(np.uint8)
KERNEL = jax.random.normal(jax.random.key(0), (3, 4))


def _logits(params, state, images, *, train=False, key=None):
    """Sees each pixel with its left neighbour, so mirrored images are others."""
    return (images + jnp.roll(images, 1, 2)) @ KERNEL, state


def _predictor(*, any_size=True, num_classes: int | None = 4, seen=None):
    def outputs(images):
        assert images.dtype == np.uint8
        if seen is not None:
            seen.append(images.shape[1:3])
        reals = images.astype(np.float32) / np.float32(255)
        return np.asarray(_logits(None, None, jnp.asarray(reals))[0])

    return Predictor(
        name="net", task="segmentation", image_shape=(16, 16, 3), num_classes=num_classes,
        class_names=None, data=None, outputs=outputs, any_size=any_size,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"flip": True},
        {"scales": (0.75, 1.0, 2.0)},
        {"window": (16, 16)},
        {"scales": (1.0, 2.0), "flip": True, "window": (16, 16)},
    ],
)
def test_views_are_those_of_training(options):
    predictor = in_views(_predictor(), (16, 24), **options)
    found = jax.nn.softmax(predictor.outputs(IMAGES))
    forward = dense_forward(_logits, multiple_of=1, **options)
    reals = jnp.asarray(IMAGES, jnp.float32) / 255
    wanted = jax.nn.softmax(forward(None, None, reals, train=False, key=None)[0])
    # Scaled images are rounded to bytes: half a byte, twice, through the kernel.
    atol = 1e-6 if "scales" not in options else float(jnp.abs(KERNEL).sum(0).max()) / 255
    np.testing.assert_allclose(found, wanted, atol=atol)
    plain = jax.nn.softmax(_predictor().outputs(IMAGES))
    assert np.abs(found - plain).max() > 10 * atol


def test_scaled_images_keep_their_shape():
    seen = []
    in_views(_predictor(seen=seen), (16, 24), scales=(0.5, 1.25)).outputs(IMAGES)
    assert seen == [(8, 12), (20, 30)]


def test_one_view_is_the_predictor_itself():
    predictor = _predictor()
    assert in_views(predictor, (16, 24)) is predictor
    fixed = _predictor(any_size=False)
    assert in_views(fixed, (16, 16), scales=(1.0,)) is fixed


def test_what_takes_one_size_sees_windows_of_it():
    seen = []
    predictor = _predictor(any_size=False, seen=seen)
    views = in_views(predictor, (16, 24), scales=(1.0, 2.0), flip=True, window=(16, 16))
    assert views.outputs(IMAGES).shape == (2, 16, 24, 4)
    assert set(seen) == {(16, 16)}
    for size, options in (
        ((16, 24), {}),
        ((16, 16), {"scales": (1.0, 0.5)}),
        ((16, 24), {"window": (8, 8)}),
    ):
        with pytest.raises(ValueError, match=r"net takes images of 16x16 only.*--window 16 16"):
            in_views(predictor, size, **options)


def test_class_ids_are_not_averaged():
    with pytest.raises(ValueError, match="net gives class ids, and views are averaged as logits"):
        in_views(_predictor(num_classes=None), (16, 16), flip=True)
