import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from int16_oracles import WideOracle
from single_op import Case, Drawer, compiled_integers, differences

from attokit import export, quant
from attokit.quant.ops.table import OPS
from attokit.zoo.convolution import conv


def _most(variables, x, y):
    """Most kinds that LiteRT computes on int16, alone."""
    dense, depthwise, grouped, head, scale, bias = variables
    return {
        "conv_2d": (
            jax.nn.relu6(conv(x, dense, strides=(2, 1)) + bias.reshape(1, 1, 1, -1)),
            jax.nn.relu(conv(x, depthwise, groups=4, padding="VALID", dilation=(1, 2))),
            conv(x, grouped, groups=2),
            jax.lax.conv_transpose(x, dense, (2, 2), "SAME"),
        ),
        "dense": (x @ head, jax.nn.relu(x @ head)),
        "two": (x + y, x - y[:, :1], jnp.clip(x + scale, -1, 1), x * y, jax.nn.relu6(x * scale)),
        "one": (jnp.tanh(x), jax.nn.sigmoid(y), jnp.abs(y), nn.leaky_relu(x, 0.1)),
        "rectified": (jax.nn.relu(y.reshape(-1, 4)), jnp.clip(y, 0, 6) * 1.5, jnp.clip(y, -1, 1)),
        "rows": (jax.nn.softmax(x), jnp.mean(x, (1, 2)), jnp.max(y, -1)),
        "pools": (
            nn.avg_pool(x, (3, 2), (2, 1), "SAME", count_include_pad=False),
            nn.max_pool(y, (2, 2)),
        ),
        "moved": (
            jnp.concatenate([x, y], -1),
            jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)))[:, ::2],
            jnp.transpose(y, (0, 3, 1, 2)),
            x[:, 1:3, :, 2:],
            jnp.maximum(x, y),
        ),
        "matrices": jnp.einsum("bhic,bhjc->bhij", x, y),
        "resized": (
            jax.image.resize(y, (2, 14, 12, 4), "nearest"),
            jax.image.resize(x, (2, 11, 9, 4), "bilinear"),
        ),
    }


def _own_in_micro(variables, x, y):
    """Those whose arithmetic is TFLite Micro's own."""
    return (
        *(jax.nn.relu(x @ variables[0]), x * y, jnp.abs(x)),
        *(jax.nn.softmax(y), nn.leaky_relu(y, 0.3), jax.nn.relu(x.reshape(-1, 4))),
    )


_SHAPES = ((3, 3, 4, 5), (3, 3, 1, 4), (3, 3, 2, 6), (4, 6), (1, 1, 1, 4), (5,))
_TWO = ((2, 7, 6, 4),) * 2
MOST = Case("conv_2d", _most, _SHAPES, _TWO, wide=True)
OWN = Case("softmax", _own_in_micro, ((4, 6),), _TWO, wide=True)


@pytest.mark.parametrize(
    ("case", "kernels"), [(MOST, "reference"), (MOST, "xnnpack"), (OWN, "micro")]
)
def test_ops_on_int16_equal_the_runtime_and_the_kernels_formulas(case, kernels):
    drawer = Drawer(case)
    graph = drawer.graph
    for _ in range(3):
        weights, qparams, inputs = drawer.draw()
        found = differences(graph, weights, qparams, inputs, kernels)
        assert not {name for name, off in found.items() if off.any()}
        run = compiled_integers(graph, kernels, weights, qparams, *inputs)
        integers = {n: np.asarray(v) for n, v in run(weights, qparams, *inputs).items()}
        oracle = WideOracle(graph, weights, qparams, kernels)
        for name, value in zip(graph.inputs, inputs, strict=True):
            np.testing.assert_array_equal(integers[name], oracle.entering(name, value))
        for op in graph.ops:
            want = oracle.op(op, integers)
            np.testing.assert_array_equal(integers[op.outputs[0]], want, op.kind)


@functools.cache
def _network():
    """A small network, its weights and images, with the graph in 8 bits."""
    random = np.random.default_rng(0)
    shapes = {"stem": (3, 3, 3, 8), "gate": (1, 1, 8, 8), "deep": (3, 3, 1, 8), "head": (8, 5)}
    variables = {n: jnp.asarray(random.normal(size=s), jnp.float32) for n, s in shapes.items()}
    images = jnp.asarray(random.random((4, 8, 8, 3)), jnp.float32)

    def classify(variables, x):
        y = jax.nn.relu(conv(x, variables["stem"]))
        y = y * jax.nn.sigmoid(conv(y, variables["gate"])) + y
        y = nn.avg_pool(y, (2, 2), (2, 2))
        y = jax.nn.relu6(conv(y, variables["deep"], groups=8))
        return jnp.mean(y, (1, 2)) @ variables["head"]

    graph, weights = quant.trace(classify, variables, images[:1])
    return graph, weights, images


@pytest.mark.parametrize("kernels", quant.KERNELS)
def test_a_network_in_16_bits_is_the_file_and_near_the_float_graph(kernels):
    graph, weights, images = _network()
    real, wide = graph(weights, images[:1]), quant.widen(graph)
    qparams = quant.calibrate(wide, weights, [images])
    target = "micro" if kernels == "micro" else "android"
    file = export.to_tflite(wide, weights, qparams, target=target)
    report = export.verify(file, wide, weights, qparams, images, kernels=kernels)
    assert report.exact, report
    assert {t.dtype for t in export.inspect(file).main.tensors if not t.constant} == {"int16"}
    # On kernels that int8 holds exactly only the rounding of activations is left.
    exact = {
        n: jnp.round(w / qparams[n].scale) * qparams[n].scale if n in qparams else w
        for n, w in weights.items()
    }
    errors = {}
    for bits, one in ((8, graph), (16, wide)):
        own = quant.calibrate(one, exact, [images])
        own |= {n: qparams[n] for n in weights if n in qparams}
        errors[bits] = jnp.abs(quant.fake_quant(one, kernels)(exact, own, images[:1]) - real_of(exact))
    assert errors[16].max() < errors[8].max() / 50, real


def real_of(weights):
    graph, _, images = _network()
    return graph(weights, images[:1])
