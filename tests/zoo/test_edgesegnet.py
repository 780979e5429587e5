import jax
import jax.numpy as jnp
import pytest

from attokit import zoo
from attokit.zoo.edgesegnet import BottleneckReduction, ResidualBottleneck


def test_parameters_are_the_published_count():
    info = zoo.info("edgesegnet")
    assert (info.num_classes, info.parameters) == (32, 4_327_920)
    classified_at_full_resolution = 217 * 32 * (256 * 256 - 64 * 64)
    assert info.macs == 9_831_369_472
    assert round((info.macs + classified_at_full_resolution) / 1e9, 2) == 10.26


def test_any_size_gives_logits_of_that_size():
    model = zoo.create("edgesegnet", num_classes=5)
    images = jnp.zeros((1, 35, 50, 3), jnp.float32)
    out, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert out.shape == (1, 35, 50, 5)


@pytest.mark.parametrize(
    ("module", "size"), [(BottleneckReduction(4), 3), (ResidualBottleneck(4), 9)]
)
def test_parts_shrink_by_their_stride(module, size):
    out, _ = jax.eval_shape(
        module.init_with_output, jax.random.key(0), jnp.zeros((1, 17, 18, 2), jnp.float32)
    )
    assert out.shape == (1, size, size, 4)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="fine=0: give a positive number"):
        zoo.create("edgesegnet", fine=0)
