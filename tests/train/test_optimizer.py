import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.train.optimizer import decay_mask, make_optimizer

PARAMS = {
    "conv": {"kernel": jnp.ones((1, 1, 2, 2)), "bias": jnp.ones(2)},
    "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
    "params/head/bias": jnp.ones((1, 2)),
}


def test_decay_spares_norms_and_biases():
    assert decay_mask(PARAMS) == {
        "conv": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
        "params/head/bias": False,
    }


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_without_gradient_only_kernels_shrink(name):
    optimizer = make_optimizer(name, 0.1, weight_decay=0.5, momentum=0.0)
    gradients = jax.tree.map(jnp.zeros_like, PARAMS)
    with jax.numpy_dtype_promotion("standard"):  # as in the training step
        updates, _ = optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["conv"]["kernel"], -0.05, rtol=1e-6)
    assert all(float(jnp.abs(x).max()) == 0 for x in jax.tree.leaves(updates["norm"]))


def test_first_nesterov_step_by_hand():
    optimizer = make_optimizer("sgd", 0.1, momentum=0.9)
    params = {"w": jnp.ones((2, 2))}
    updates, _ = optimizer.update({"w": jnp.ones((2, 2))}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.19, rtol=1e-6)


def test_clipping_bounds_the_global_norm():
    optimizer = make_optimizer("sgd", 1.0, momentum=0.0, clip_norm=1.0)
    params = {"w": jnp.ones((2, 2))}
    updates, _ = optimizer.update({"w": 100 * jnp.ones((2, 2))}, optimizer.init(params), params)
    assert float(jnp.linalg.norm(updates["w"])) == pytest.approx(1.0)


def test_muon_makes_the_updates_of_kernels_orthogonal():
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 3, 4, 6), "dense/kernel": (5, 3)}
    params = {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in shapes.items()}
    optimizer = make_optimizer("muon", 0.1, momentum=0.9)
    with jax.numpy_dtype_promotion("standard"):  # as in the training step
        updates, _ = optimizer.update(params, optimizer.init(params), params)
    for name, update in updates.items():
        matrix = np.reshape(update, (-1, shapes[name][-1]))
        # Five Newton-Schulz iterations bring singular values near 1, to 0.7 ... 1.2.
        values = np.linalg.svd(matrix, compute_uv=False) / (0.1 * 0.2 * np.sqrt(len(matrix)))
        assert values.min() > 0.6 and values.max() < 1.3
        assert np.vdot(update, params[name]) < 0  # and against the gradient


def test_muon_leaves_all_but_matrices_to_adamw():
    params = {"depthwise/kernel": jnp.ones((3, 3, 1, 4)), "scale": jnp.ones(4), "bias": jnp.ones(4)}
    gradients = jax.tree.map(lambda x: 2 * x, params)
    updates = []
    with jax.numpy_dtype_promotion("standard"):
        for name in ("muon", "adamw"):
            optimizer = make_optimizer(name, 0.1, weight_decay=0.5)
            updates.append(optimizer.update(gradients, optimizer.init(params), params)[0])
    jax.tree.map(np.testing.assert_array_equal, *updates)


def test_unknown_name():
    with pytest.raises(ValueError, match="no optimizer 'lion'"):
        make_optimizer("lion", 0.1)
