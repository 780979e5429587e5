import numpy as np
import pytest

from attokit.quant.observers import OBSERVERS

RNG = np.random.default_rng(0)


def _range(method, *batches, bits=8):
    observer = OBSERVERS[method]()
    for _ in range(observer.passes):
        for batch in batches:
            observer.see("x", np.asarray(batch, np.float32))
        observer.next_pass()
    return observer.range("x", bits)


def _error(values, low, high):
    """The mean squared error of rounding to 256 levels between low and high."""
    step = (high - low) / 255
    return np.mean((values - np.round(np.clip(values, low, high) / step) * step) ** 2)


def test_minmax_covers_all():
    assert _range("minmax", [0, 3], [-2, 1], [0.5]) == (-2, 3)


def test_moving_average_weighs_later_batches():
    low, high = _range("moving_average", [-1, 1], [-2, 3])
    assert (low, high) == pytest.approx((-1.1, 1.2))


def test_percentile_leaves_outliers_out():
    values = np.append(RNG.uniform(-1, 1, 100_000), [50, -70])
    low, high = _range("percentile", values)
    assert -1.1 < low < -0.9
    assert 0.9 < high < 1.1


def test_percentile_of_few_values_keeps_the_extremes_nearly():
    low, high = _range("percentile", np.linspace(-2, 1, 50))
    assert (low, high) == pytest.approx((-2, 1), abs=0.01)


def test_mse_beats_minmax_on_a_heavy_tail():
    values = RNG.laplace(size=100_000)
    best, widest = _range("mse", values), _range("minmax", values)
    assert widest[0] < best[0] < best[1] < widest[1]
    errors = [_error(values, factor * widest[0], factor * widest[1]) for factor in (1, 0.9, 0.5)]
    assert _error(values, *best) < min(errors)


def test_mse_keeps_the_range_of_uniform_values():
    values = RNG.uniform(0, 1, 20_000)
    assert _range("mse", values) == pytest.approx((0, 1), abs=0.03)


def test_mse_clips_less_where_steps_are_finer():
    values = RNG.laplace(size=100_000)
    narrow, wide, widest = (np.ptp(_range("mse", values, bits=n)) for n in (8, 16, 24))
    assert narrow < 0.95 * wide
    assert wide > 0.95 * widest


@pytest.mark.parametrize("method", OBSERVERS)
def test_a_tensor_that_is_always_zero_has_an_empty_range(method):
    assert _range(method, np.zeros(10), np.zeros(3)) == (0, 0)


@pytest.mark.parametrize("method", OBSERVERS)
def test_ranges_are_kept_apart_by_name(method):
    observer = OBSERVERS[method]()
    for _ in range(observer.passes):
        observer.see("x", np.float32([0, 1]))
        observer.see("y", np.float32([-4, 0]))
        observer.next_pass()
    assert observer.range("x")[1] == pytest.approx(1, abs=0.05)
    assert observer.range("y")[0] == pytest.approx(-4, abs=0.1)
