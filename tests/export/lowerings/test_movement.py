import jax
import jax.numpy as jnp
import numpy as np
import pytest
from single_op import REFERENCE_FIRST, Case, check_int16, largest_difference

_CONSTANT = np.linspace(-1, 1, 2 * 7 * 6, dtype=np.float32).reshape(2, 7, 6, 1)


def _depth_to_space(x):
    b, h, w, c = x.shape
    blocks = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, 2 * h, 2 * w, c // 4)


def _space_to_depth(x):
    b, h, w, c = x.shape
    blocks = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, h // 2, w // 2, 4 * c)


CASES = {
    "bounded_index": Case("bounded_index", lambda v, i: v[0][i], ((5, 3),), ((2, 4),), below=(9,)),
    "broadcast_to": Case("broadcast_to", lambda _, x: jnp.broadcast_to(x[:, :1], (2, 3, 6, 4))),
    "concatenation_constant": Case(
        "concatenation", lambda _, x: jnp.concatenate([x, _CONSTANT], -1)
    ),
    "depth_to_space": Case("depth_to_space", lambda _, x: _depth_to_space(x), (), ((2, 3, 2, 8),)),
    "gather": Case("gather", lambda _, x: x[:, jnp.asarray([3, 0, 0, 6])]),
    "gather_channels": Case("gather", lambda _, x: x[..., jnp.asarray([3, 0, 0])]),
    "gather_rows": Case("gather", lambda v, i: v[0][i], ((5, 3),), ((2, 4),), below=(5,)),
    "gather_computed": Case(
        "gather", lambda _, x, i: jnp.take(x, i, 1), (), ((2, 5, 3), (2,)), below=(5,)
    ),
    "gather_number": Case("gather", lambda _, x: jnp.argmax(x, -1).astype(jnp.float32)),
    "mirror_pad_reflect": Case(
        "mirror_pad", lambda _, x: jnp.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), mode="reflect")
    ),
    "mirror_pad_symmetric": Case(
        "mirror_pad", lambda _, x: jnp.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), mode="symmetric")
    ),
    "one_hot": Case("select", lambda _, i: jax.nn.one_hot(i, 4), (), ((2, 3),), below=(4,)),
    "pad_v2": Case(
        "pad_v2", lambda _, x: jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), constant_values=0.7)
    ),
    "pad_inner": Case(
        "pad", lambda _, x: jax.lax.pad(x, 0.0, ((0, 0, 0), (0, 1, 1), (0, 0, 2), (0, 0, 0)))
    ),
    "reverse": Case("reverse", lambda _, x: x[:, :, ::-1]),
    "reverse_channels": Case("reverse", lambda _, x: x[..., ::-1]),
    "scatter": Case("select", lambda _, x: x.at[:, 1:3, 2].set(0.5)),
    "space_to_depth": Case("space_to_depth", lambda _, x: _space_to_depth(x), (), ((2, 4, 6, 3),)),
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


@pytest.mark.parametrize("kernels", REFERENCE_FIRST)
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_the_runtime_in_many_draws(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=50, seed=1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_int16_equals_the_runtime_in_many_draws_or_is_refused(name, kernels):
    check_int16(CASES[name], kernels, draws=60)
