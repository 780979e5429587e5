import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import quant
from attokit.quant.kernel_bits import bits_of_kernels


def _two_layers(v, x):
    y = jax.lax.conv_general_dilated(
        x, v["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y = jax.lax.conv_transpose(y, v["up"]["kernel"], (2, 2), "SAME")
    return y.reshape(y.shape[0], -1) @ v["head"]["kernel"]


def _traced_layers():
    shapes = {"conv": (3, 3, 2, 4), "up": (2, 2, 4, 1), "head": (64, 5)}
    rng = np.random.default_rng(0)
    variables = {
        name: {"kernel": jnp.asarray(rng.normal(size=shape), jnp.float32)}
        for name, shape in shapes.items()
    }
    images = jnp.asarray(rng.random((2, 4, 4, 2)), jnp.float32)
    return (*quant.trace(_two_layers, variables, images), images)


@pytest.mark.parametrize(
    ("weight_bits", "want"),
    [
        (8, {}),
        (4, {"conv/kernel": 4, "head/kernel": 4}),
        ({"head/*": 4}, {"head/kernel": 4}),
        ({"*": 4, "head/*": 8}, {"conv/kernel": 4}),
    ],
)
def test_kernels_may_have_four_bits(weight_bits, want):
    graph, weights, images = _traced_layers()
    qparams = quant.calibrate(graph, weights, [images], weight_bits=weight_bits)
    assert {name: entry.bits for name, entry in qparams.items() if entry.bits != 8} == want
    for name in want:
        peak = np.abs(weights[name].reshape(-1, weights[name].shape[-1])).max(0)
        np.testing.assert_allclose(qparams[name].scale, peak / 7, rtol=1e-6)


@pytest.mark.parametrize("weight_bits", [5, {"up/*": 4}, {"haed/*": 4}, {"haed/*": 8}])
def test_bits_that_no_kernel_may_have_are_refused(weight_bits):
    graph, weights, images = _traced_layers()
    with pytest.raises(ValueError, match=r"Of 2 that may have 4, near are: .*head/kernel"):
        quant.calibrate(graph, weights, [images], weight_bits=weight_bits)


def test_near_kernels_are_named_and_not_all_of_them():
    names = [f"stage{i}/kernel" for i in range(40)]
    x = jnp.ones((1, 3), jnp.float32)
    weights = {name: jnp.eye(3, dtype=jnp.float32) for name in [*names, "head/kernel"]}

    def stack(weights, x):
        for name in [*names, "head/kernel"]:
            x = jnp.tanh(x @ weights[name])
        return x

    graph, _ = quant.trace(stack, weights, x)
    with pytest.raises(ValueError, match="Of 41 that may have 4") as caught:
        bits_of_kernels(graph, {"haed/*": 4})
    assert "head/kernel" in str(caught.value)
    assert str(caught.value).count("stage") < 5


@pytest.mark.slow
def test_kernels_of_four_bits_train():
    graph, weights, images = _traced_layers()
    qparams = quant.calibrate(graph, weights, [images], weight_bits=4)

    def total(weights, qparams):
        return jnp.sum(quant.fake_quant(graph)(weights, qparams, images) ** 2)

    gradients, of_qparams = jax.jit(jax.grad(total, argnums=(0, 1)))(weights, qparams)
    assert all(np.abs(gradients[name]).max() > 0 for name in weights)
    assert jax.tree.structure(of_qparams) == jax.tree.structure(qparams)
