import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from attokit.zoo.convolution import Conv, conv

# name: (images, kernel, arguments of conv)
CASES = {
    "pointwise": ((2, 5, 6, 4), (1, 1, 4, 3), {}),
    "pointwise_strided": ((2, 5, 6, 4), (1, 1, 4, 3), {"strides": 2}),
    "pointwise_padded": ((1, 4, 4, 3), (1, 1, 3, 2), {"padding": ((1, 0), (0, 2))}),
    "dense": ((2, 6, 5, 3), (3, 3, 3, 4), {}),
    "dense_strided": ((2, 8, 8, 3), (3, 3, 3, 4), {"strides": (2, 3)}),
    "dense_unread_rows": ((1, 8, 8, 2), (3, 3, 2, 2), {"strides": 3, "padding": "VALID"}),
    "dense_dilated": ((1, 9, 8, 2), (3, 2, 2, 3), {"dilation": (2, 3), "padding": "VALID"}),
    "dense_explicit": ((1, 5, 6, 2), (3, 3, 2, 3), {"padding": ((2, 0), (0, 3)), "strides": 2}),
    "grouped": ((2, 6, 6, 8), (3, 3, 4, 6), {"groups": 2}),
    "grouped_joined_blocks": ((1, 6, 5, 24), (3, 3, 4, 12), {"groups": 6, "strides": 2}),
    "grouped_pointwise": ((2, 4, 4, 40), (1, 1, 20, 4), {"groups": 2, "strides": 2}),
    "depthwise": ((2, 7, 6, 5), (3, 3, 1, 5), {"groups": 5, "strides": 2}),
    "depthwise_multiplied": (
        (1, 7, 6, 3),
        (3, 2, 1, 6),
        {"groups": 3, "dilation": 2, "padding": ((2, 1), (0, 2))},
    ),
}


def _native(x, kernel, strides=1, padding="SAME", dilation=1, groups=1):
    pair = lambda value: value if isinstance(value, tuple) else (value, value)  # noqa: E731 - local shorthand
    return lax.conv_general_dilated(
        x,
        kernel,
        pair(strides),
        padding,
        rhs_dilation=pair(dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _inputs(name):
    images, kernel, arguments = CASES[name]
    rng = np.random.default_rng(0)
    x, taps = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (images, kernel))
    return x, taps, arguments


@pytest.mark.parametrize("name", CASES)
def test_equals_the_native_convolution_in_value_and_gradient(name):
    x, kernel, arguments = _inputs(name)

    def value_and_gradients(function):
        def loss(x, kernel):
            y = function(x, kernel, **arguments)
            return jnp.sum(jnp.sin(y)), y  # sin gives every output its own cotangent

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(x, kernel)

    (_, ours), ours_gradients = value_and_gradients(conv)
    (_, theirs), their_gradients = value_and_gradients(_native)
    # Sums of at most 36 products of unit size: 1e-5 is a hundred roundings.
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for mine, other in zip(ours_gradients, their_gradients, strict=True):
        np.testing.assert_allclose(mine, other, atol=3e-5)


@pytest.mark.parametrize("name", ["pointwise", "dense", "grouped", "depthwise"])
def test_default_branch_is_one_native_convolution(name):
    x, kernel, arguments = _inputs(name)
    text = str(jax.make_jaxpr(lambda x, kernel: conv(x, kernel, **arguments))(x, kernel))
    assert "name=convolution" in text
    default = text.split("platform_index")[-1].rsplit("{ lambda", 1)[-1]
    assert default.count("conv_general_dilated[") == 1
    assert f"feature_group_count={arguments.get('groups', 1)}" in default


def test_vmap_over_images_and_kernels():
    x, kernel, arguments = _inputs("grouped")
    both = jax.vmap(lambda x, kernel: conv(x, kernel, **arguments))(
        jnp.stack([x, -x]), jnp.stack([kernel, 2 * kernel])
    )
    one = conv(x, kernel, **arguments)
    np.testing.assert_allclose(both, jnp.stack([one, -2 * one]), atol=1e-5)


@pytest.mark.parametrize(
    "kind", [pytest.param(AxisType.Auto, marks=pytest.mark.slow), AxisType.Explicit]
)  # explicit: JAX's default
@pytest.mark.parametrize("name", ["pointwise", "dense", "grouped", "depthwise"])
def test_batch_may_be_sharded(name, kind):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    x, kernel, arguments = _inputs(name)
    batch = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.device_put(x, batch)
    placed = jax.device_put(kernel, NamedSharding(mesh, PartitionSpec()))
    gradients = jax.jit(
        jax.grad(lambda x, kernel: jnp.sum(conv(x, kernel, **arguments) ** 2), argnums=(0, 1))
    )
    wanted = gradients(x, kernel)
    for of_kernel in (kernel, placed):  # from no mesh, and from the images'
        found = gradients(sharded, of_kernel)
        assert found[0].sharding.is_equivalent_to(batch, 4)
        for mine, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(mine, np.asarray(other), rtol=1e-4, atol=1e-4)


def test_module_has_the_parameters_of_flax():
    layer = Conv(6, (3, 2), groups=2, use_bias=True)
    x = jnp.ones((1, 4, 4, 4))
    shapes = jax.tree.map(jnp.shape, layer.init(jax.random.key(0), x)["params"])
    assert shapes == {"kernel": (3, 2, 2, 6), "bias": (6,)}


@pytest.mark.parametrize(
    ("images", "kernel", "arguments", "message"),
    [
        ((4, 4, 2), (3, 3, 2, 2), {}, "give four axes"),
        ((1, 4, 4, 2), (3, 2, 2), {}, "give \\[rows"),
        ((1, 4, 4, 6), (3, 3, 2, 4), {"groups": 4}, "do not divide into groups=4"),
        ((1, 4, 4, 6), (3, 3, 2, 4), {"groups": 2}, "its third axis must be 3"),
        ((1, 4, 4, 2), (3, 3, 2, 4), {"strides": 0}, "strides=0"),
        ((1, 4, 4, 2), (3, 3, 2, 4), {"dilation": (1, 2, 3)}, "dilation=\\(1, 2, 3\\)"),
        ((1, 4, 4, 2), (3, 3, 2, 4), {"padding": "FULL"}, "padding='FULL'"),
        ((1, 4, 4, 2), (3, 3, 2, 4), {"padding": ((1, -1), (0, 0))}, "none negative"),
        ((1, 2, 4, 2), (3, 3, 2, 4), {"padding": "VALID"}, "smaller than the kernel"),
    ],
)
def test_refuses_what_does_not_fit(images, kernel, arguments, message):
    with pytest.raises(ValueError, match=message):
        conv(jnp.ones(images), jnp.ones(kernel), **arguments)


def test_module_refuses_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="do not divide into groups=3"):
        Conv(6, groups=3).init(jax.random.key(0), jnp.ones((1, 4, 4, 4)))
