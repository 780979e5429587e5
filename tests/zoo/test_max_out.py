import jax.numpy as jnp
import numpy as np
import pytest

from attokit.zoo.max_out import max_out_background


def test_the_greatest_background_counts():
    logits = jnp.asarray([[1.0, 5.0, 2.0, 7.0], [9.0, 0.0, -1.0, -2.0]])
    got = max_out_background(logits, 3)
    assert np.array_equal(got, [[5.0, 7.0], [9.0, -2.0]])
    assert np.array_equal(max_out_background(logits, 1), logits)


@pytest.mark.parametrize("background", [0, 4])
def test_refuses_to_leave_nothing(background):
    with pytest.raises(ValueError, match=f"background={background} of 4 logits"):
        max_out_background(jnp.zeros((2, 4)), background)
