import functools

import jax
import numpy as np
import pytest
from traced import jit

from attokit.train.balanced_sample import sample_balanced

N = 40
_draw = jit(functools.partial(sample_balanced, count=12, positive_share=0.25))


def _kinds(positives, negatives, seed=0):
    kinds = np.array([1] * positives + [2] * negatives + [0] * (N - positives - negatives))
    np.random.default_rng(seed).shuffle(kinds)
    return kinds == 1, kinds == 2


@pytest.mark.parametrize(
    ("positives", "negatives", "want"),
    [(10, 20, (3, 9)), (1, 20, (1, 11)), (0, 30, (0, 12)), (10, 4, (3, 4)), (2, 0, (2, 0))],
)
def test_positives_fill_their_share_and_negatives_the_rest(positives, negatives, want):
    positive, negative = _kinds(positives, negatives)
    sample = jax.tree.map(np.asarray, _draw(jax.random.key(0), positive, negative))
    drawn = sample.places[sample.valid]
    assert len(set(drawn)) == len(drawn) == sum(want)
    assert np.array_equal(sample.positive, np.arange(12) < want[0])
    assert np.array_equal(sample.valid, np.arange(12) < sum(want))
    assert np.all(positive[drawn[: want[0]]])
    assert np.all(negative[drawn[want[0] :]])
    assert not np.any(sample.places[~sample.valid])


def test_every_row_is_as_likely():
    positive, negative = _kinds(9, 27)
    keys = jax.random.split(jax.random.key(1), 3000)
    draws = jit(
        jax.vmap(functools.partial(sample_balanced, count=12, positive_share=0.25), (0, None, None))
    )(keys, positive, negative)
    counts = np.bincount(np.ravel(draws.places), minlength=N)
    # A third of 3000 draws each: 1000 with a deviation of 26.
    assert np.all(np.abs(counts[positive | negative] - 1000) < 130)
    assert not np.any(counts[~(positive | negative)])


def test_no_more_places_than_rows_and_no_positives_at_all():
    rows = np.ones(5, bool)
    draw = jit(sample_balanced, static_argnames=("count", "positive_share"))
    sample = draw(jax.random.key(0), rows, ~rows, count=9, positive_share=1.0)
    assert sorted(sample.places.tolist()) == [0, 1, 2, 3, 4]
    sample = draw(jax.random.key(0), rows, ~rows, count=2, positive_share=0.25)
    assert not np.any(sample.valid)


def test_refuses_bad_numbers():
    rows = np.ones(5, bool)
    with pytest.raises(ValueError, match="count=0"):
        sample_balanced(jax.random.key(0), rows, ~rows, count=0, positive_share=0.5)
    with pytest.raises(ValueError, match="positive_share=2"):
        sample_balanced(jax.random.key(0), rows, ~rows, count=1, positive_share=2)
