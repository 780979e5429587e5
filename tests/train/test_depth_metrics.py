import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.depth_metrics import (
    absolute_log10_error,
    relative_error,
    root_mean_square,
    within_ratio,
)

_RNG = np.random.default_rng(0)
Y = _RNG.uniform(0.5, 9, (4, 3, 5)).astype(np.float32)
D = (Y * _RNG.uniform(0.6, 1.7, Y.shape)).astype(np.float32)
VALID = _RNG.random(Y.shape) < 0.7
METRICS = {
    "rel": (relative_error, np.mean(np.abs(D - Y)[VALID] / Y[VALID])),
    "rms": (root_mean_square, np.sqrt(np.mean((D - Y)[VALID] ** 2))),
    "log10": (absolute_log10_error, np.mean(np.abs(np.log10(D / Y))[VALID])),
    "delta1": (
        lambda d, y, valid: within_ratio(d, y, valid, 1.25),
        np.mean(np.maximum(D / Y, Y / D)[VALID] < 1.25),
    ),
}


@pytest.mark.parametrize("name", METRICS)
def test_parts_merge_to_the_formula_over_all_valid_pixels(name):
    metric, expected = METRICS[name]
    metric = jax.jit(metric)
    holes = np.where(VALID, Y, 0)
    parts = [
        metric(*map(jnp.asarray, (D[rows], holes[rows], VALID[rows])))
        for rows in (slice(0, 1), slice(1, 4))
    ]
    merged = parts[0].merge(parts[1])
    assert type(merged) is type(parts[0])
    assert float(merged.compute()) == pytest.approx(float(expected), rel=1e-5)


def test_depths_that_are_not_positive_are_bad_but_finite():
    valid = jnp.ones((1, 1, 2), bool)
    d, y = jnp.asarray([[[0.0, -1.0]]]), jnp.ones((1, 1, 2))
    assert float(absolute_log10_error(d, y, valid).compute()) == pytest.approx(3)
    assert float(within_ratio(d, y, valid, 1.25**3).compute()) == 0
