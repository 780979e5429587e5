import jax
import jax.numpy as jnp
import numpy as np
from traced import jit

from attokit import zoo

_paste = jit(zoo.paste_masks, static_argnames="image_size")


def _by_loops(mask, box, size):
    """Returns what every pixel's centre reads of a mask that is framed by zeros."""
    framed, m = np.pad(mask, 1), len(mask)
    out = np.zeros(size)
    for y, x in np.ndindex(size):
        v = (y + 0.5 - box[1]) / (box[3] - box[1]) * m + 0.5  # in cells of the framed mask
        u = (x + 0.5 - box[0]) / (box[2] - box[0]) * m + 0.5
        if 0 <= v <= m + 1 and 0 <= u <= m + 1:
            i, j = min(int(v), m), min(int(u), m)
            dv, du = v - i, u - j
            corners = framed[i : i + 2, j : j + 2]
            out[y, x] = np.array([1 - dv, dv]) @ corners @ np.array([1 - du, du])
    return out


def test_every_pixel_reads_its_place():
    rng = np.random.default_rng(0)
    boxes = np.array([[3, 4, 17, 13], [-5.5, 2.2, 9.1, 30], [0.25, 0.25, 1.75, 1.5]], np.float32)
    masks = rng.random((3, 6, 6)).astype(np.float32)
    got = _paste(masks, boxes, image_size=(16, 20))
    for image, mask, box in zip(got, masks, boxes, strict=True):
        np.testing.assert_allclose(image, _by_loops(mask, box, (16, 20)), atol=1e-5)


def test_a_full_mask_fills_its_box():
    box = np.array([[4, 2, 12, 10]], np.float32)
    image = np.asarray(_paste(np.ones((1, 28, 28), np.float32), box, image_size=(16, 16)))[0]
    want = np.zeros((16, 16))
    want[2:10, 4:12] = 1
    assert np.array_equal(image > 0.5, want > 0.5)


def test_boxes_of_no_size_have_no_pixels_and_finite_gradients():
    boxes = jnp.asarray([[3.0, 3, 3, 9], [0, 0, 0, 0], [9, 9, 2, 2]])
    masks = jnp.ones((3, 6, 6))
    assert not np.any(_paste(masks, boxes, image_size=(16, 20)))
    gradients = jit(jax.grad(lambda b: jnp.sum(zoo.paste_masks(masks, b, (16, 20)))))(boxes)
    assert np.all(np.isfinite(gradients))
