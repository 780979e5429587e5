import jax.numpy as jnp
import pytest
from single_op import Case, largest_difference

CASES = {
    "concatenation": Case(
        "concatenation",
        lambda _, x, y: jnp.concatenate([x, y], axis=-1),
        (),
        ((2, 5, 4, 3), (2, 5, 4, 2)),
    ),
    "concatenation_rows": Case(
        "concatenation",
        lambda _, x, y: jnp.concatenate([x, y, x], axis=1),
        (),
        ((2, 5, 4, 3), (2, 2, 4, 3)),
    ),
    "pad": Case("pad", lambda _, x: jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)))),
    "pad_channels": Case("pad", lambda _, x: jnp.pad(x, ((0, 0), (0, 0), (0, 0), (2, 1)))),
    "reshape": Case("reshape", lambda _, x: x.reshape(x.shape[0], -1)),
    "reshape_whole": Case("reshape", lambda _, x: x.reshape(6, 7, 2, 4)),
    "slice": Case("slice", lambda _, x: x[:, 1:4, 2:, :3]),
    "strided_slice": Case("strided_slice", lambda _, x: x[:, 1:6:2, ::3]),
    "transpose": Case("transpose", lambda _, x: jnp.transpose(x, (0, 3, 1, 2))),
    "transpose_rank_2": Case("transpose", lambda _, x: x.T, (), ((3, 5),)),
}


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime_in_many_draws(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=50, seed=1) == 0
