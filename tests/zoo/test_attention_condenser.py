import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import export, quant
from attokit.zoo import AttentionCondenser, CondenserConfig, Conv

V = np.random.default_rng(0).integers(-128, 128, (2, 7, 5, 8)).astype(np.float32) / np.float32(64)
PLAIN = CondenserConfig(grouped=16, embedded=4, groups=2)
VISUAL = CondenserConfig(mixed=6, grouped=12, embedded=4, groups=None, attention="sum")


def _random(config, v=V):
    """The layer with every variable random, so that none of them is without effect."""
    layer = AttentionCondenser(config)
    variables = jax.eval_shape(layer.init, jax.random.key(0), v)
    rng = np.random.default_rng(1)
    return layer, jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(0.2, 1.0, s.shape), s.dtype), variables
    )


def _by_hand(params, stats, v, last):
    """A of the plain chain with 2 groups, in loops over cells: the equations of the docstring."""

    def norm(name, x):
        scale, bias = (np.asarray(params[name]["norm"][k]) for k in ("scale", "bias"))
        mean, var = (np.asarray(stats[name]["norm"][k]) for k in ("mean", "var"))
        return (x - mean) / np.sqrt(var + 1e-3) * scale + bias

    rows, columns = -(-v.shape[0] // 2), -(-v.shape[1] // 2)
    # SAME windows over 7x5 hang over the last row and column
    q = np.array(
        [
            [v[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1)) for j in range(columns)]
            for i in range(rows)
        ]
    )
    kernel = np.asarray(params["embed_grouped"]["conv"]["kernel"])  # [3, 3, 4, 16]
    padded = np.pad(q, ((1, 1), (1, 1), (0, 0)))
    k = np.zeros((rows, columns, 16))
    for i in range(rows):
        for j in range(columns):
            patch = padded[i : i + 3, j : j + 3]
            for group in range(2):
                taps = kernel[..., 8 * group : 8 * group + 8]
                inputs = patch[..., 4 * group : 4 * group + 4]
                k[i, j, 8 * group : 8 * group + 8] = np.einsum("abi,abio->o", inputs, taps)
    k = np.maximum(norm("embed_grouped", k), 0)
    pointwise = np.asarray(params["embed_pointwise"]["conv"]["kernel"])[0, 0]
    k = np.maximum(norm("embed_pointwise", k @ pointwise), 0)
    # resized first and then convolved, as the papers draw it
    for axis, size in enumerate(v.shape[:2]):
        place = (np.arange(size) + 0.5) * k.shape[axis] / size - 0.5
        k = np.apply_along_axis(lambda r, p=place: np.interp(p, np.arange(len(r)), r), axis, k)
    return norm(last, k @ np.asarray(params[last]["conv"]["kernel"])[0, 0])


def test_the_gate_is_its_definition_at_odd_sizes():
    layer, variables = _random(PLAIN)
    a = _by_hand(variables["params"], variables["batch_stats"], V[0].astype(np.float64), "expand")
    scale = float(variables["params"]["scale"])
    want = V[0] * (1 / (1 + np.exp(-a))) * scale + V[0]
    np.testing.assert_allclose(layer.apply(variables, V)[0], want, rtol=1e-4, atol=1e-4)


def test_the_sum_is_scaled_v_and_a():
    config = CondenserConfig(grouped=16, embedded=4, groups=2, attention="sum")
    layer, variables = _random(config)
    a = _by_hand(variables["params"], variables["batch_stats"], V[0].astype(np.float64), "expand")
    want = V[0] * float(variables["params"]["scale"]) + a
    np.testing.assert_allclose(layer.apply(variables, V)[0], want, rtol=1e-4, atol=1e-3)


def test_the_visual_form_mixes_down_and_up():
    layer = AttentionCondenser(VISUAL)
    variables = jax.eval_shape(layer.init, jax.random.key(0), V)
    shapes = {k: v["conv"]["kernel"].shape for k, v in variables["params"].items() if k != "scale"}
    assert shapes == {
        "down_mix": (1, 1, 8, 6),
        "embed_grouped": (3, 3, 1, 12),
        "embed_pointwise": (1, 1, 12, 4),
        "up_mix": (1, 1, 4, 8),
    }


@pytest.mark.parametrize("shape", [(1, 1, 1, 8), (1, 9, 2, 8)])
@pytest.mark.parametrize("config", [PLAIN, VISUAL])
def test_any_size_keeps_its_shape(shape, config):
    layer, variables = _random(config, np.ones(shape, np.float32))
    assert layer.apply(variables, np.ones(shape, np.float32)).shape == shape


class _TinySpeech(nn.Module):
    """3x3 convolution, six condensers, 3x3 convolution, average, ten words."""

    width: int
    condensed: tuple[int, ...]
    last: int

    @nn.compact
    def __call__(self, x):
        x = Conv(self.width, 3)(x)
        for middle in self.condensed:
            x = AttentionCondenser(
                CondenserConfig(
                    grouped=2 * self.width,
                    embedded=middle,
                    expanded=2 * middle,
                    kernel_size=1,
                    groups=None,
                )
            )(x)
        return nn.Dense(10)(Conv(self.last, 3)(x).mean((1, 2)))


@pytest.mark.parametrize(
    ("network", "weights"),
    [
        (_TinySpeech(15, (6, 6, 6, 19, 26, 18), 38), 10_847),
        (_TinySpeech(7, (3, 3, 2, 11, 14, 10), 17), 2_678),
    ],
    ids=["X", "Z"],
)
def test_tinyspeech_has_its_published_weights(network, weights):
    variables = jax.eval_shape(network.init, jax.random.key(0), np.ones((1, 8, 8, 1), np.float32))
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    kernels = [leaf.shape for path, leaf in leaves if path[-1].key == "kernel"]
    assert sum(map(math.prod, kernels)) == weights


@pytest.mark.parametrize(
    "config",
    [pytest.param(PLAIN, id="gate"), pytest.param(VISUAL, id="sum", marks=pytest.mark.slow)],
)
def test_int8_at_odd_sizes_is_what_litert_computes(config):
    layer, variables = _random(config)
    graph, weights = quant.trace(layer.apply, variables, V[:1])
    kinds = {op.kind for op in graph.ops}
    assert {"resize_bilinear", "max_pool_2d"} <= kinds
    assert ("logistic" in kinds) == (config.attention == "gate")
    qparams = quant.calibrate(graph, weights, [V], input_range=None)
    data = export.to_tflite(graph, weights, qparams)
    for kernels in ("reference", "xnnpack"):
        report = export.verify(data, graph, weights, qparams, V, kernels=kernels)
        assert report.exact, report


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"grouped": 0}, "grouped=0: give a positive number"),
        ({"window": 0}, "window=0: give a positive number"),
        ({"mixed": 0}, "mixed=0: give a positive number"),
        ({"attention": "soft"}, "attention='soft': give one of gate, sum"),
        ({"groups": 3}, "grouped=16 does not divide into groups=3"),
        ({"groups": 4, "mixed": 6}, "mixed=6 does not divide into groups=4"),
    ],
)
def test_impossible_sizes_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        CondenserConfig(**({"grouped": 16, "embedded": 4} | fields))
