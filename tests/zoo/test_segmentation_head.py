import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import zoo
from attokit.zoo.segmentation_head import SegmentationHead

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 8)), jnp.float32)
SIZE = (11, 14)  # of the images, which quarters to 3x4 cells


def _run(output, x=X, **options):
    head = SegmentationHead(5, output)
    variables = head.init(jax.random.key(0), x, size=SIZE)
    return head.apply(variables, x, size=SIZE, **options), variables


def test_each_output_has_its_shape_and_all_share_the_variables():
    outputs = {name: _run(name) for name in ("full", "quarter", "argmax")}
    assert {name: y.shape for name, (y, _) in outputs.items()} == {
        "full": (2, 11, 14, 5),
        "quarter": (2, 3, 4, 5),
        "argmax": (2, 11, 14),
    }
    full, classes = outputs["full"][0], outputs["argmax"][0]
    assert classes.dtype == jnp.int32
    np.testing.assert_array_equal(classes, np.argmax(full, axis=-1))
    for _, variables in outputs.values():
        jax.tree.map(np.testing.assert_array_equal, variables, outputs["full"][1])


def test_features_of_any_resolution_are_delivered():
    for rows, columns in ((11, 14), (1, 1), (6, 7)):
        x = jnp.ones((1, rows, columns, 8), jnp.float32)
        assert _run("quarter", x)[0].shape == (1, 3, 4, 5)
        assert _run("full", x)[0].shape == (1, 11, 14, 5)


def test_class_ids_are_refused_in_training():
    with pytest.raises(ValueError, match=r"no gradient: train with output='full'"):
        _run("argmax", train=True)


@pytest.mark.parametrize("name", zoo.names(task="segmentation"))
def test_an_unknown_output_is_refused(name):
    with pytest.raises(ValueError, match="output='half': give one of full, quarter, argmax"):
        zoo.create(name, output="half")
