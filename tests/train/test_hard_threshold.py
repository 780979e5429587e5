import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attokit import zoo
from attokit.train.hard_threshold import (
    RNNPOOL_M4_SHARES,
    hard_threshold,
    hold_zeros,
    iterative_hard_thresholding,
    kept_entries,
)

VALUES = np.random.default_rng(0).normal(0, 1, (7, 11)).astype(np.float32)


def _reference(array, share):
    """As the reference implementation defines it, in NumPy."""
    least = np.percentile(np.abs(array), 100 * (1 - share), method="higher")
    return np.where(np.abs(array) < least, 0, array)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.999, 1.0])
def test_equals_the_definition_and_is_idempotent(share):
    found = hard_threshold(jnp.asarray(VALUES), share)
    np.testing.assert_array_equal(found, _reference(VALUES, share))
    kept = np.asarray(found) != 0
    np.testing.assert_array_equal(np.asarray(found)[kept], VALUES[kept])
    if kept.any() and not kept.all():
        assert np.abs(VALUES[~kept]).max() < np.abs(VALUES[kept]).min()
    place = int(np.percentile(np.arange(VALUES.size), 100 * (1 - share), method="higher"))
    assert kept.sum() == VALUES.size - place
    # Zeros are the smallest: the same share again removes nothing more.
    np.testing.assert_array_equal(hard_threshold(found, share), found)


def test_no_array_with_as_few_entries_is_nearer():
    values = VALUES.reshape(-1)[:6]
    found = np.asarray(hard_threshold(jnp.asarray(values), 0.5))
    count = int((found != 0).sum())
    distances = [
        np.linalg.norm(np.delete(values, list(places)))
        for places in itertools.combinations(range(6), count)
    ]
    assert np.linalg.norm(values - found) == pytest.approx(min(distances))


def test_equal_sizes_stay_together():
    values = jnp.array([1.0, -1, 1, 2])
    np.testing.assert_array_equal(kept_entries(values, 0.5), [True] * 4)
    np.testing.assert_array_equal(kept_entries(values, 0.25), [False, False, False, True])


PARAMS = {"pool": {"rnn1": {"W": jnp.asarray(VALUES), "bias": jnp.ones(3)}}}
SPARSE = iterative_hard_thresholding({"*/W": 0.25})


def test_a_step_then_the_threshold_to_the_bit():
    optimizer = optax.chain(optax.sgd(0.1), SPARSE)
    gradients = jax.tree.map(lambda x: jnp.sin(7 * x), PARAMS)
    plain = optax.apply_updates(PARAMS, jax.tree.map(lambda g: -jnp.float32(0.1) * g, gradients))
    updates, _ = optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)
    found = optax.apply_updates(PARAMS, updates)
    weights = found["pool"]["rnn1"]["W"]
    np.testing.assert_array_equal(weights, _reference(np.asarray(plain["pool"]["rnn1"]["W"]), 0.25))
    np.testing.assert_array_equal(found["pool"]["rnn1"]["bias"], plain["pool"]["rnn1"]["bias"])


def test_entries_come_back_and_the_best_support_is_found():
    """Least squares with a sparse answer: the support that the start suggests is wrong."""
    rng = np.random.default_rng(1)
    inputs = jnp.asarray(rng.normal(0, 1, (200, 8)), jnp.float32)
    truth = jnp.array([0, 3.0, 0, 0, -2, 0, 0, 0])
    params = {"w": jnp.array([5.0, 0, -4, 0, 0, 0, 0, 0])}
    optimizer = optax.chain(optax.sgd(0.2), iterative_hard_thresholding({"w": 0.25}))

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: jnp.mean((inputs @ (p["w"] - truth)) ** 2) / 2)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(60):
        params, state = step(params, state)
    np.testing.assert_allclose(params["w"], truth, atol=1e-3)
    assert int((params["w"] != 0).sum()) == 2


def test_first_dense_then_thresholded_then_fixed():
    """Each step makes another entry the largest."""
    optimizer = optax.chain(
        optax.sgd(1.0), iterative_hard_thresholding({"w": 0.25}, start=3, fixed=6)
    )
    params = {"w": jnp.asarray([1.0, 2.0, 3.0, 4.0])}
    state, found = optimizer.init(params), []
    for step in range(10):
        gradient = {"w": jnp.zeros(4).at[step % 4].set(-10.0 * (step + 1))}
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        found.append(np.asarray(params["w"]).tolist())
    assert found[:3] == [[11, 2, 3, 4], [11, 22, 3, 4], [11, 22, 33, 4]]
    assert found[3:6] == [[0, 0, 0, 44], [50, 0, 0, 0], [0, 60, 0, 0]]
    assert found[6:] == [[0, 60, 0, 0]] * 3 + [[0, 160, 0, 0]]


def test_zeros_are_held_and_the_rest_takes_its_step():
    params = {"weights": {"rnn1/W": jnp.asarray([0.0, 2.0, 0.0]), "bias": jnp.zeros(2)}}
    optimizer = optax.chain(optax.sgd(1.0, momentum=0.9), hold_zeros(["weights/*/W"]))
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["weights"]["rnn1/W"], [0, 2 - 1 - 1.9, 0], rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(params["weights"]["rnn1/W"])[[0, 2]], [0, 0])
    np.testing.assert_allclose(params["weights"]["bias"], [-2.9, -2.9], rtol=1e-6)
    with pytest.raises(ValueError, match="holding zeros needs the parameters"):
        optimizer.update(params, state)
    with pytest.raises(ValueError, match=r"\*/U matches none of the parameters weights/bias"):
        hold_zeros(["*/U"]).init(params)


def test_the_shares_of_m4_fit_its_parameters():
    network = zoo.create("rnnpool_face_m4")
    example = jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
    iterative_hard_thresholding().init(params)
    assert len(RNNPOOL_M4_SHARES) == 4


def test_bad_input():
    for shares in ({"*": 0.0}, {"*": 1.5}, {}):
        with pytest.raises(
            ValueError, match=r"shares of entries are .*: give numbers above 0 up to 1"
        ):
            iterative_hard_thresholding(shares)
    with pytest.raises(ValueError, match="start at step 5 and are fixed from step 5 on"):
        iterative_hard_thresholding({"*": 0.5}, start=5, fixed=5)
    with pytest.raises(ValueError, match=r"\*/V matches none of the parameters pool/rnn1/W, pool"):
        iterative_hard_thresholding({"*/V": 0.5}).init(PARAMS)
    with pytest.raises(ValueError, match="thresholding needs the parameters"):
        SPARSE.update(PARAMS, SPARSE.init(PARAMS))
