import jax
import jax.numpy as jnp
import pytest

from attokit import zoo


def test_counts_of_the_reference_implementation():
    info = zoo.info("resnet50")
    assert (info.parameters, info.macs) == (25_557_032, 4_089_184_256)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(zoo.create("resnet50").init, jax.random.key(0), images)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["batch_stats"])) == 53_120
    body = zoo.create("resnet50", features_only=True)
    body = jax.eval_shape(body.init, jax.random.key(0), images)
    assert zoo.count_parameters(body) == 23_508_032


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_maps_halve_rounding_up(padding):
    model = zoo.create("resnet50", features_only=True, padding=padding, blocks=(1, 1, 1, 1))
    images = jax.ShapeDtypeStruct((1, 65, 33, 3), jnp.float32)
    maps, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert [x.shape[1:3] for _, x in sorted(maps.items())] == [
        (33, 17),
        (17, 9),
        (9, 5),
        (5, 3),
        (3, 2),
    ]


def test_refuses_bad_sizes():
    with pytest.raises(ValueError, match="num_classes=0"):
        zoo.create("resnet50", num_classes=0)
    with pytest.raises(ValueError, match=r"blocks=\(3, 0\)"):
        zoo.create("resnet50", blocks=(3, 0))
    with pytest.raises(ValueError, match="padding='valid': choose from symmetric, same"):
        zoo.create("resnet50", padding="valid")
