import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rnnpool_oracle as oracle
from traced import jit

from attokit import zoo
from attokit.zoo.rnnpool import replicate_edges, rnn_pool_map

# What every run tries; the slow one tries all.
OFTEN = {("unequal", oracle.SMOOTH), ("unequal", oracle.LINES)}
STEP = 1e-40


def _float32(tree):
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), tree)


def _oracle(params, patches, nonlinearities):
    return np.stack([oracle.rnn_pool(params, patch, *nonlinearities) for patch in patches])


@pytest.mark.parametrize(
    ("shape", "nonlinearities"),
    [
        pytest.param(shape, lines, marks=[] if (shape, lines) in OFTEN else [pytest.mark.slow])
        for shape in oracle.SHAPES
        for lines in (oracle.SMOOTH, oracle.LINES)
    ],
)
def test_vectors_and_gradients_are_the_equations(shape, nonlinearities):
    side, *sizes = oracle.SHAPES[shape]
    rng = np.random.default_rng(1)
    point = oracle.random_params(rng, *sizes), rng.normal(size=(2, side, side, sizes[0]))
    weights = rng.normal(size=(2, 4 * sizes[2]))  # of what is differentiated: a sum of the outputs
    gate, update = nonlinearities
    function = functools.partial(zoo.rnn_pool, gate_nonlinearity=gate, update_nonlinearity=update)

    @jit
    def both(params, patches):
        vectors, pull = jax.vjp(function, params, patches)
        return vectors, pull(jnp.asarray(weights, jnp.float32))

    vectors, gradients = both(*_float32(point))
    np.testing.assert_allclose(vectors, _oracle(*point, nonlinearities), atol=1e-5)

    leaves, tree = jax.tree.flatten(point)
    for place, gradient in enumerate(jax.tree.leaves(gradients)):
        # A unit step along the gradient's own sign pattern, so that entries cannot cancel.
        direction = np.sign(np.asarray(gradient, np.float64)) / np.sqrt(gradient.size)
        moved = [*leaves]
        moved[place] = leaves[place] + 1j * STEP * direction
        want = (
            _oracle(*jax.tree.unflatten(tree, moved), nonlinearities) * weights
        ).sum().imag / STEP
        got = (np.asarray(gradient, np.float64) * direction).sum()
        assert abs(got - want) <= 1e-5 * max(1.0, abs(want))


@pytest.mark.parametrize(("patch", "stride", "size"), [(4, 2, (7, 10)), (2, 5, (8, 8))])
def test_a_map_is_its_patches_one_by_one(patch, stride, size):
    rng = np.random.default_rng(0)
    params = _float32(oracle.random_params(rng, 2, 3, 2))
    x = rng.normal(size=(2, *size, 2)).astype(np.float32)
    got = jit(functools.partial(rnn_pool_map, patch_size=patch, stride=stride))(params, x)
    assert got.shape[1:3] == tuple((n - patch) // stride + 1 for n in size)
    pieces = [
        x[:, i * stride : i * stride + patch, j * stride : j * stride + patch]
        for i, j in np.ndindex(got.shape[1:3])
    ]
    want = jit(zoo.rnn_pool)(params, np.concatenate(pieces))
    np.testing.assert_allclose(
        got, np.stack(np.split(want, len(pieces)), 1).reshape(got.shape), atol=1e-6
    )


def test_transposed_patches_swap_rows_and_columns():
    rng = np.random.default_rng(0)
    params = _float32(oracle.random_params(rng, 2, 3, 4))
    patches = jnp.asarray(rng.normal(size=(3, 5, 5, 2)), jnp.float32)
    pool = jit(zoo.rnn_pool)
    rows, reversed_rows, columns, reversed_columns = jnp.split(pool(params, patches), 4, 1)
    swapped = pool(params, patches.swapaxes(1, 2))
    wanted = jnp.concatenate([columns, reversed_columns, rows, reversed_rows], axis=1)
    np.testing.assert_allclose(swapped, wanted, atol=1e-6)


def test_what_patches_share_is_computed_once():
    params = jax.eval_shape(
        lambda: _float32(oracle.random_params(np.random.default_rng(0), 3, 8, 8))
    )
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    patches = jax.ShapeDtypeStruct((49, 8, 8, 3), jnp.float32)
    whole = functools.partial(rnn_pool_map, patch_size=8, stride=4)
    assert zoo.count_macs(whole, params, x) < 0.65 * zoo.count_macs(zoo.rnn_pool, params, patches)


def test_the_layer_pads_with_its_last_pixels():
    x = jnp.asarray(np.random.default_rng(0).random((1, 12, 8, 3)), jnp.float32)
    layer = zoo.RNNPool((5, 3), 2, stride=4)
    y, variables = jit(layer.init_with_output)(jax.random.key(0), x)
    assert y.shape == (1, 3, 2, 12)
    padded = jit(zoo.RNNPool((5, 3), 2, stride=4, replicate_pad=True).apply)(variables, x)
    np.testing.assert_array_equal(padded, replicate_edges(y))
    np.testing.assert_array_equal(padded, np.pad(y, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge"))


def test_the_layer_starts_as_the_reference_does():
    x = jnp.zeros((1, 7, 7, 320))
    variables = jit(zoo.RNNPool((80, 80), None).init)(jax.random.key(0), x)
    assert zoo.count_parameters(variables) == 45_124
    cell = variables["params"]["rnn1"]
    assert np.std(cell["W"]) == pytest.approx(0.1, rel=0.02)
    assert np.all(cell["bias_gate"] == 1)
    assert np.all(cell["bias_update"] == 1)
    assert (cell["zeta"], cell["nu"]) == (100, -100)
    frozen = zoo.RNNPool((80, 80), None, freeze_gate_scalars=True)
    assert zoo.count_parameters(jax.eval_shape(frozen.init, jax.random.key(0), x)) == 45_120


def test_refuses_what_is_no_square_patch():
    params = _float32(oracle.random_params(np.random.default_rng(0), 2, 3, 2))
    with pytest.raises(ValueError, match=r"\(1, 5, 4, 2\): RNNPool takes square patches"):
        zoo.rnn_pool(params, jnp.zeros((1, 5, 4, 2)))
    with pytest.raises(ValueError, match="a side of 5 is smaller than patches of 6"):
        rnn_pool_map(params, jnp.zeros((1, 5, 9, 2)), patch_size=6, stride=1)
    with pytest.raises(ValueError, match="patch_size=0, stride=1: give positive numbers"):
        zoo.rnn_pool(params, jnp.zeros((1, 0, 0, 2)))
    with pytest.raises(ValueError, match="patch_size=4, stride=0"):
        rnn_pool_map(params, jnp.zeros((1, 5, 9, 2)), patch_size=4, stride=0)
    with pytest.raises(ValueError, match=r"hidden=\(0, 2\): give positive numbers"):
        jax.eval_shape(zoo.RNNPool((0, 2), 2).init, jax.random.key(0), jnp.zeros((1, 6, 7, 2)))
    with pytest.raises(ValueError, match="6x7 is pooled as one patch"):
        jax.eval_shape(zoo.RNNPool((3, 2), None).init, jax.random.key(0), jnp.zeros((1, 6, 7, 2)))
