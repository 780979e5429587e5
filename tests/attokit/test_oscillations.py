import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attokit.oscillations import (
    dampen,
    dampening_loss,
    first_flips,
    freeze_flips,
    frozen_share,
    half_cosine,
    kernels_of,
    next_flips,
)
from attokit.quant import QuantParams, calibrate, keep_float, trace

# Integers 1.3 and 2.3 before rounding, and one beyond the last of 4 bits.
KERNEL = jnp.array([[0.13, 0.46], [-20.0, 0.0]])
SCALE = jnp.array([0.1, 0.2])


def _entry(scale, bits=8):
    return QuantParams(jnp.asarray(scale, jnp.float32), jnp.float32(0), bits)


def test_kernels_of_a_graph():
    def function(variables, x):
        hidden = x @ variables["hidden"]["kernel"] + variables["hidden"]["bias"][None]
        return jax.nn.relu(hidden) @ variables["head"]["kernel"] @ jnp.eye(3)

    variables = {
        "hidden": {"kernel": np.ones((4, 5), np.float32), "bias": np.zeros(5, np.float32)},
        "head": {"kernel": np.ones((5, 3), np.float32)},
    }
    graph, weights = trace(function, variables, jax.ShapeDtypeStruct((1, 4), jnp.float32))
    qparams = calibrate(graph, weights, [np.ones((2, 4), np.float32)])
    assert kernels_of(graph, qparams).keys() == {"hidden/kernel", "head/kernel"}
    mixed = keep_float(graph, ["hidden"])
    qparams = calibrate(mixed, weights, [np.ones((2, 4), np.float32)])
    assert kernels_of(mixed, qparams).keys() == {"head/kernel"}


def test_half_a_cosine():
    value = half_cosine(0.0, 8.0, 4)
    values = jax.jit(value)(jnp.array([0, 1, 2, 4, 9]))
    np.testing.assert_allclose(values, [0, 4 - 8**0.5, 4, 8, 8], atol=1e-6)


def test_dampening_by_hand():
    derived = jax.jit(jax.value_and_grad(dampening_loss, argnums=(0, 1)), static_argnums=2)
    loss, (slope, of_scale) = derived(KERNEL, SCALE, 4)
    assert float(loss) == pytest.approx(0.03**2 + 0.06**2, rel=1e-5)
    np.testing.assert_allclose(slope, [[0.06, 0.12], [0, 0]], atol=1e-6)
    assert not np.any(of_scale)


def test_dampening_is_part_of_the_gradient():
    """At half of the steps with half of the weight; scales that were learned count."""
    damp = dampen({"k": _entry([0.05, 0.1], bits=4)}, 2.0, 4)
    params = {
        "weights": {"k": KERNEL, "bias": jnp.ones(2)},
        "log_scales": {"k": jnp.full(2, jnp.log(2.0))},
    }
    gradients = jax.tree.map(jnp.ones_like, params)
    state = damp.init(params)
    added = []
    for _ in range(3):
        changed, state = jax.jit(damp.update)(gradients, state, params)
        added.append(np.asarray(changed["weights"]["k"]) - 1)
    assert not np.any(added[0])
    np.testing.assert_allclose(added[2], [[0.06, 0.12], [0, 0]], atol=1e-6)
    np.testing.assert_array_equal(changed["weights"]["bias"], 1)
    np.testing.assert_array_equal(changed["log_scales"]["k"], 1)


def test_flips_by_hand():
    """Four values: one that was 0 mostly, one that was 1 mostly, one that wanders, one that rests."""
    steps = [(0, 1, 0, 5), (1, 0, 1, 5), (0, 1, 2, 5), (1, 0, 3, 5), (1, 0, 2, 5)]
    rows = [jnp.array(row, jnp.int8) for row in steps]
    flips, remember = first_flips(rows[0]), jax.jit(next_flips, static_argnums=3)
    frequencies, frozen = [], []
    for row in rows[1:]:
        flips = remember(flips, row, jnp.float32(0.3), 0.25)
        frequencies.append(flips.frequency.tolist())
        frozen.append(flips.frozen.tolist())
    # The first change is no flip: there was none before it to go back from.
    assert frequencies[:3] == [[0, 0, 0, 0], [0.25, 0.25, 0, 0], [0.4375, 0.4375, 0, 0]]
    assert frequencies[3][2] == 0.25
    assert frozen[1:] == [[False] * 4, [True, True, False, False], [True, True, False, False]]
    # Averages 0.390625 and 0.609375: the integers of step 3 were 1 and 0.
    assert flips.integers.tolist() == [0, 1, 2, 5]
    assert flips.direction.tolist() == [1, -1, -1, 0]


def test_a_weight_that_oscillates_is_frozen():
    """Least squares whose best value, 0.4, lies between integers: the gradient at 0 and at 1 differ in sign."""
    frozen = freeze_flips({"k": _entry([1.0])}, (0.3, 0.3), 0.02, 100)
    optimizer = optax.chain(optax.sgd(0.2), frozen)

    def loss(params):
        value = params["weights"]["k"]
        rounded = value + jax.lax.stop_gradient(jnp.round(value) - value)
        return 0.5 * jnp.square(rounded - 0.4).sum()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    params = {"weights": {"k": jnp.full((1, 1), 0.45)}, "log_scales": {}}
    state, seen = jax.jit(optimizer.init)(params), []
    assert frozen_share(state) == 0
    for _ in range(60):
        params, state = step(params, state)
        seen.append(float(params["weights"]["k"][0, 0]))
    share = np.mean(np.round(seen[:20]))
    assert 0.3 < share < 0.5  # as the best value asks, so 0 more often than 1
    assert frozen_share(state) == 1
    assert seen[-10:] == [0.0] * 10


def test_a_frozen_weight_follows_its_scale():
    frozen = freeze_flips({"k": _entry([0.5, 0.5])}, (0.2, 0.2), 0.19, 10)
    kernel, scales = jnp.array([[1.0, 1.0]]), jnp.zeros(2)
    params = {"weights": {"k": kernel, "bias": jnp.zeros(2)}, "log_scales": {"k": scales}}
    state, update = jax.jit(frozen.init)(params), jax.jit(frozen.update)
    for change in (0.5, -0.5, 0.5, -0.5):  # of the first value: 3, 2, and frozen at 2
        updates = {
            "weights": {"k": jnp.array([[change, 0.01]]), "bias": jnp.ones(2)},
            "log_scales": {"k": jnp.full(2, jnp.log(1.01))},
        }
        changed, state = update(updates, state, params)
        params = optax.apply_updates(params, changed)
    scale = 0.5 * 1.01**4
    np.testing.assert_array_equal(state.flips["k"].frozen, [[True, False]])
    np.testing.assert_allclose(params["weights"]["k"], [[2 * scale, 1.04]], rtol=1e-5)
    np.testing.assert_array_equal(params["weights"]["bias"], 4)
    assert frozen_share(state) == 0.5


def test_nothing_is_watched():
    assert frozen_share(optax.sgd(0.1).init({"weights": {}})) is None
