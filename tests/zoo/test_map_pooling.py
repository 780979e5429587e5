import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import jit

from attokit import zoo
from attokit.zoo.map_pooling import LastPooling, StemPooling

X = jax.ShapeDtypeStruct((1, 14, 22, 8), jnp.float32)
KEY = jax.random.key(0)


@pytest.mark.parametrize("kind", ["rnnpool", "average", "max", "strided"])
def test_every_kind_makes_the_same_map(kind):
    y, _ = jax.eval_shape(StemPooling(kind, 32).init_with_output, KEY, X)
    assert y.shape == (1, 4, 6, 32)


def test_the_kinds_differ_as_in_the_paper():
    """Table 2: strided convolution has 9K parameters and 7.3M multiply-adds more than a pool."""
    pools = {k: zoo.info("rnnpool_vww", pooling=k) for k in ("average", "max", "strided")}
    assert pools["average"].parameters == pools["max"].parameters
    assert round(pools["strided"].parameters - pools["max"].parameters, -3) == 9_000
    assert pools["average"].macs / 1e6 == pytest.approx(31.9, rel=0.02)
    assert pools["strided"].macs / 1e6 == pytest.approx(39.2, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "reduce"), [("average", np.mean), ("max", np.max)])
def test_pools_are_those_of_the_patches(kind, reduce):
    x = jnp.asarray(np.random.default_rng(0).random((1, 10, 10, 2)), jnp.float32)
    layer = StemPooling(kind, 2)
    variables = jit(layer.init)(KEY, x)
    variables["params"]["widen"]["conv"]["kernel"] = jnp.eye(2)[None, None]
    y = jit(layer.apply)(variables, x)
    assert y.shape == (1, 3, 3, 2)
    for i, j in np.ndindex(3, 3):
        row, column = 4 * min(i, 1), 4 * min(j, 1)  # the last ones once more
        want = reduce(np.asarray(x[0, row : row + 6, column : column + 6]), axis=(0, 1))
        np.testing.assert_allclose(y[0, i, j], want / np.sqrt(1 + 1e-3), rtol=1e-5)


def test_the_last_map_becomes_a_vector_of_its_channels():
    x = jax.ShapeDtypeStruct((2, 7, 7, 12), jnp.float32)
    for kind in ("average", "rnnpool"):
        y, _ = jax.eval_shape(LastPooling(kind).init_with_output, KEY, x)
        assert y.shape == (2, 12)


def test_refuses_channels_that_are_no_four_vectors():
    with pytest.raises(ValueError, match="not 30 channels: give a multiple of 4"):
        jax.eval_shape(StemPooling("rnnpool", 30).init, KEY, X)
