import dataclasses

import numpy as np

from attokit.predictor import Predictor, of_bytes


def test_classes_without_a_name_are_numbers():
    predictor = Predictor(
        name="x", task="classification", image_shape=(1, 1, 1), num_classes=3,
        class_names=("a", "b"), data=None, outputs=lambda images: images,
    )  # fmt: skip
    assert [predictor.class_name(i) for i in range(3)] == ["a", "b", "2"]
    assert dataclasses.replace(predictor, class_names=None).class_name(1) == "1"


def test_bytes_become_reals_from_0_to_1():
    outputs = of_bytes(lambda images: {"double": 2 * images})
    found = outputs(np.array([[[[0], [51], [255]]]], np.uint8))
    assert isinstance(found["double"], np.ndarray)
    np.testing.assert_allclose(found["double"].ravel(), [0, 0.4, 2], rtol=1e-6)
