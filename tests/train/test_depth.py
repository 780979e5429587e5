import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.depth import depth_task, measured, reverse_huber
from attokit.train.metrics import compute_metrics

_RNG = np.random.default_rng(0)
TARGETS = jnp.asarray(_RNG.uniform(1, 9, (2, 4, 6)), jnp.float32).at[0, 0].set(0.0)
VALID = measured(TARGETS)
BERHU = jax.jit(reverse_huber)


def _map(values):
    return jnp.asarray(values, jnp.float32).reshape(1, 1, -1)


def test_both_branches_by_hand():
    # The largest error is 10, so c is 2: 1 and 2 are linear, 10 costs (100 + 4) / 4.
    found = BERHU(_map([1, -2, 10]), _map([0, 0, 0]))
    assert found.shape == (1,)
    assert float(found[0]) == pytest.approx((1 + 2 + 26) / 3)


@jax.jit
@jax.value_and_grad
def _loss_beside_an_error_of_10(x):
    return reverse_huber(_map([0, 10]).at[0, 0, 0].set(x), _map([0, 0]))[0] * 2 - 26


@pytest.mark.parametrize(("error", "slope"), [(1.0, 1), (1.999, 1), (2.001, 1), (10.0, 5)])
def test_value_and_slope_are_continuous_at_the_threshold(error, slope):
    value, gradient = _loss_beside_an_error_of_10(jnp.float32(error))
    expected = error if error <= 2 else (error**2 + 4) / 4
    assert float(value) == pytest.approx(expected, abs=1e-4)
    assert float(gradient) == pytest.approx(slope, abs=1e-3)


def test_the_threshold_is_of_the_batch():
    one = BERHU(_map([1.0]), _map([0.0]))
    two = BERHU(jnp.asarray([[[1.0]], [[100.0]]]), jnp.zeros((2, 1, 1)))
    assert float(one[0]) == pytest.approx((1 + 0.04) / 0.4)
    assert float(two[0]) == 1


@pytest.mark.parametrize("hole", [0.0, jnp.nan, jnp.inf])
def test_missing_depths_cost_nothing_and_move_nothing(hole):
    targets = TARGETS.at[0, 0].set(hole).at[1].set(hole)

    def total(predictions):
        values = reverse_huber(predictions, targets, measured(targets))
        return values.sum(), values

    predictions = jnp.full_like(targets, 50.0)
    gradient, values = jax.jit(jax.grad(total, has_aux=True))(predictions)
    assert float(values[1]) == 0
    assert np.isfinite(values).all() and np.isfinite(gradient).all()
    assert not np.asarray(gradient)[0, 0].any() and not np.asarray(gradient)[1].any()


def test_no_error_at_all_is_zero_with_a_finite_gradient():
    loss = jax.jit(jax.value_and_grad(lambda x: reverse_huber(x, TARGETS).sum()))
    value, gradient = loss(TARGETS)
    assert float(value) == 0
    assert np.isfinite(gradient).all()


def test_task_gives_the_usual_numbers_and_takes_smaller_outputs():
    task = depth_task()
    batch = {"depths": TARGETS, "mask": jnp.asarray([1.0, 1.0])}

    @jax.jit
    def evaluate(outputs, batch):
        return task.eval_metrics(outputs, batch)

    values = compute_metrics(evaluate(1.2 * TARGETS[..., None], batch))
    assert set(values) == {"loss", "rel", "rms", "log10", "delta1", "delta2", "delta3"}
    assert values["rel"] == pytest.approx(0.2, rel=1e-5)
    assert values["log10"] == pytest.approx(np.log10(1.2), rel=1e-5)
    assert values["delta1"] == 1
    masked = compute_metrics(evaluate(1.2 * TARGETS[..., None], batch | {"mask": jnp.zeros(2)}))
    assert np.isnan(masked["rel"])  # nothing was seen
    flat = TARGETS.at[:].set(3.0)
    small = {"depths": flat}
    assert float(jax.jit(task.losses)(jnp.full((2, 2, 3, 1), 3.0), small).sum()) == 0
    train = jax.jit(task.train_metrics)(jnp.full((2, 2, 3, 1), 6.0), small, None)
    assert float(train[task.best_metric].compute()) == 1


def test_refuses_several_numbers_per_pixel():
    with pytest.raises(ValueError, match="gives 2 numbers per pixel"):
        depth_task().losses(jnp.zeros((2, 4, 6, 2)), {"depths": TARGETS})
