import jax
import jax.numpy as jnp
import pytest

from attokit import zoo


def test_costs():
    info = zoo.info("unet")
    assert (info.parameters, info.macs) == (488_188, 2_683_305_984)


def test_parameters_follow_from_the_widths():
    def convolution(cin, cout):
        return 9 * cin * cout + 2 * cout  # with its norm

    down = convolution(3, 4) + convolution(4, 4) + convolution(4, 8) + convolution(8, 8)
    up = convolution(8 + 4, 4) + convolution(4, 4)
    info = zoo.info("unet", widths=(4, 8), num_classes=5)
    assert info.parameters == down + up + 4 * 5 + 5


def test_any_size_gives_logits_of_that_size():
    for output, shape in (("full", (2, 21, 30, 12)), ("quarter", (2, 6, 8, 12))):
        model = zoo.create("unet", output=output)
        images = jnp.zeros((2, 21, 30, 3), jnp.float32)
        out, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
        assert out.shape == shape


@pytest.mark.parametrize("widths", [(), (8, 0)])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match="give a positive number for each level"):
        zoo.create("unet", widths=widths)
