import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rnnpool_oracle as oracle

from attokit.zoo.fastgrnn import fastgrnn_step, next_state, project

RNG = np.random.default_rng(0)
CELL = oracle.random_cell(RNG, 3, 5)
X, H = RNG.normal(size=(7, 3)) * 2, RNG.normal(size=(7, 5))


def _float32(tree):
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), tree)


@pytest.mark.parametrize("gate", oracle.NONLINEARITIES)
@pytest.mark.parametrize("update", ["tanh", "quant_tanh", "relu"])
def test_a_step_is_the_equations(gate, update):
    want = oracle.cell(CELL, X, H, gate, update)
    nonlinearities = {"gate_nonlinearity": gate, "update_nonlinearity": update}
    got = fastgrnn_step(_float32(CELL), *_float32((X, H)), **nonlinearities)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_saturated_scalars_are_none():
    cell = _float32(CELL) | {"zeta": jnp.float32(100), "nu": jnp.float32(-100)}
    fixed = {name: v for name, v in cell.items() if name not in ("zeta", "nu")}
    steps = [fastgrnn_step(params, *_float32((X, H))) for params in (cell, fixed)]
    np.testing.assert_allclose(*steps, atol=1e-6)


def test_no_state_is_zeros():
    cell, x = _float32((CELL, X))
    names = {"gate_nonlinearity": "sigmoid", "update_nonlinearity": "tanh"}
    got = next_state(cell, project(cell, x), None, **names)
    np.testing.assert_allclose(got, fastgrnn_step(cell, x, jnp.zeros((7, 5))), atol=1e-6)


def test_arrays_as_pytorch_has_them_will_do():
    cell = _float32(CELL)
    as_there = {n: v if n in "WU" else v.reshape(1, -1) for n, v in cell.items()}
    x, h = _float32((X, H))
    assert np.array_equal(fastgrnn_step(as_there, x, h), fastgrnn_step(cell, x, h))


def test_parameters_that_do_not_fit_are_all_named():
    cell, x, h = _float32((CELL, X, H))
    with pytest.raises(ValueError, match="lacks W, nu among"):
        fastgrnn_step({n: v for n, v in cell.items() if n not in ("W", "nu")}, x, h)
    with pytest.raises(ValueError, match=r"W has shape \(3, 5\).*\(2, 5\)"):
        fastgrnn_step(cell, x[:, :2], h)
    with pytest.raises(ValueError, match="bias_gate has 3 entries and should have 5"):
        fastgrnn_step(cell | {"bias_gate": jnp.zeros(3)}, x, h)
    with pytest.raises(ValueError, match="no nonlinearity 'gelu': choose from sigmoid"):
        fastgrnn_step(cell, x, h, gate_nonlinearity="gelu")
