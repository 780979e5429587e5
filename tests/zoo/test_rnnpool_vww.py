import jax
import jax.numpy as jnp
import pytest

from attokit import zoo


def _counted_as_the_reference(channels, first, second, side, patches):
    """Returns an RNNPool's multiply-accumulates where every patch pays for all of its pixels."""
    per_patch = 2 * side**2 * (channels * first + first**2)
    per_patch += 4 * side * (first * second + second**2)
    return per_patch * patches


def test_counts_of_the_reference_implementation():
    """31.4M + 9.0M multiply-accumulates; here those that patches share count once."""
    info = zoo.info("rnnpool_vww")
    assert info.parameters == 281_902
    assert zoo.info("rnnpool_vww_2").parameters == 327_026
    pool = _counted_as_the_reference(8, 8, 8, 6, 27 * 27)
    assert round(pool / 1e6, 1) == 9.0
    strided = zoo.info("rnnpool_vww", pooling="strided").macs
    convolutions = strided - 27 * 27 * 6 * 6 * 8 * 32
    assert round(convolutions / 1e6, 1) == 31.4
    assert round((convolutions + pool) / 1e6, 1) == 40.4
    assert convolutions < info.macs < convolutions + 0.5 * pool


@pytest.mark.parametrize("size", [96, 160, 224])
def test_every_size_of_the_papers_sweep(size):
    model = zoo.create("rnnpool_vww")
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    assert logits.shape == (1, 2)
    assert zoo.count_parameters(variables) == 281_902


def test_frozen_scalars_are_no_parameters():
    assert zoo.info("rnnpool_vww", freeze_gate_scalars=True).parameters == 281_902 - 4


def test_refuses_what_it_cannot_take():
    with pytest.raises(ValueError, match=r"dropout=1\.0"):
        zoo.create("rnnpool_vww", dropout=1.0)
    with pytest.raises(ValueError, match="last=0"):
        zoo.create("rnnpool_vww", last=0)
    with pytest.raises(ValueError, match="smaller than patches of 6"):
        zoo.info("rnnpool_vww", image_size=(10, 10, 3))
    with pytest.raises(ValueError, match="square"):
        zoo.info("rnnpool_vww_2", image_size=(64, 96, 3))
