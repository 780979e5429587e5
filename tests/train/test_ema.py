import jax.numpy as jnp
import pytest

from attokit.train.ema import update_ema


@pytest.mark.parametrize(("step", "rate"), [(0, 0.9), (1_000_000, 0.25)])
def test_moves_by_the_rate_of_the_step(step, rate):
    out = update_ema({"w": jnp.float32(1)}, {"w": jnp.float32(3)}, 0.75, jnp.int32(step))
    assert float(out["w"]) == pytest.approx(1 + 2 * rate)


def test_takes_over_integers():
    out = update_ema(jnp.int32(1), jnp.int32(5), 0.9, jnp.int32(100))
    assert out.dtype == jnp.int32
    assert int(out) == 5
