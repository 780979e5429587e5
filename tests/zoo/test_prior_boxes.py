import numpy as np
import pytest

from attokit import zoo
from attokit.zoo.prior_boxes import prior_boxes_cxcywh


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("rnnpool_face_c", (480, 640), 25_600),
        ("rnnpool_face_quant", (640, 640), 34_125),
        ("rnnpool_face_m4", (240, 320), 3_000),
        ("rnnpool_face_qvga", (320, 320), 4_000),
    ],
)
def test_counts_of_the_reference(name, size, count):
    priors = zoo.config(name).priors(size)
    assert priors.shape == (count, 4)
    assert priors.dtype == np.float32


def test_places_and_sizes():
    priors = prior_boxes_cxcywh((20, 40), steps=(8, 16), sizes=(10, 30))
    # 3 x 5 pixels (the last row hangs over), then 2 x 3; rows first.
    assert len(priors) == 15 + 6
    np.testing.assert_allclose(priors[0], [4 / 40, 4 / 20, 10 / 40, 10 / 20])
    np.testing.assert_allclose(priors[6], [12 / 40, 12 / 20, 10 / 40, 10 / 20])
    np.testing.assert_allclose(priors[14], [36 / 40, 20 / 20, 10 / 40, 10 / 20])
    np.testing.assert_allclose(priors[-1], [40 / 40, 24 / 20, 30 / 40, 30 / 20])


def test_refuses_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"steps=\(8,\) and sizes=\(\)"):
        prior_boxes_cxcywh((20, 40), steps=(8,), sizes=())
    with pytest.raises(ValueError, match="give positive numbers"):
        prior_boxes_cxcywh((20, 40), steps=(8,), sizes=(0,))
