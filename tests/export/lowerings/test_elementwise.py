import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_ops import COMPARISONS
from single_op import Case, Drawer, check_int16, differences, largest_difference, pairs

from attokit import export, quant
from attokit.quant.ops.table import OPS

_TWO = ((2, 5, 4, 3), (2, 5, 4, 3))
_ROW = ((2, 5, 4, 3), (2, 1, 1, 3))


def _variable(combine):
    return lambda variables, x: combine(x, variables[0])


CASES = {
    "add": Case("add", lambda _, x, y: x + y, (), _TWO),
    "add_relu": Case("add", lambda _, x, y: jax.nn.relu(x + y), (), _TWO),
    "add_relu6": Case("add", lambda _, x, y: jax.nn.relu6(x + y), (), _TWO),
    "add_broadcast": Case("add", lambda _, x, y: x + y, (), _ROW),
    "add_weight": Case("add", _variable(lambda x, w: x + w), ((1, 1, 1, 3),), _TWO[:1]),
    "sub": Case("sub", lambda _, x, y: x - y, (), _TWO),
    "sub_broadcast": Case("sub", lambda _, x, y: jax.nn.relu(x - y), (), _ROW),
    "mul": Case("mul", lambda _, x, y: x * y, (), _TWO),
    "mul_relu6": Case("mul", lambda _, x, y: jax.nn.relu6(x * y), (), _TWO),
    "mul_broadcast": Case("mul", lambda _, x, y: x * y, (), _ROW),
    "mul_weight": Case("mul", _variable(lambda x, w: x * w), ((1, 1, 1, 3),), _TWO[:1]),
    "relu": Case("relu", lambda _, x: jax.nn.relu(x)),
    "relu6": Case("relu6", lambda _, x: jax.nn.relu6(x * jnp.float32(1)), ()),
    "relu_n1_to_1": Case("relu_n1_to_1", lambda _, x: jnp.clip(x, -1, 1)),
    "logistic": Case("logistic", lambda _, x: jax.nn.sigmoid(x)),
    "tanh": Case("tanh", lambda _, x: jnp.tanh(x)),
    "hard_swish": Case("hard_swish", lambda _, x: jax.nn.hard_swish(x)),
    "leaky_relu": Case("leaky_relu", lambda _, x: jax.nn.leaky_relu(x, 0.3)),
    "leaky_relu_negative": Case("leaky_relu", lambda _, x: jnp.where(x > 0, x, -0.2 * x)),
    "abs": Case("abs", lambda _, x: jnp.abs(x)),
    "exp": Case("lookup", lambda _, x: jnp.exp(x)),
    "log": Case("lookup", lambda _, x: jnp.log(jnp.maximum(x, 0) + jnp.float32(0.5))),
    "gelu": Case("lookup", lambda _, x: jax.nn.gelu(x, approximate=False)),
    "gelu_tanh": Case("lookup", lambda _, x: jax.nn.gelu(x)),
    "mish": Case("lookup", lambda _, x: jax.nn.mish(x)),
    "reciprocal": Case("lookup", lambda _, x, y: x / (y * y + 1), (), _TWO),
    "maximum": Case("maximum", lambda _, x, y: jnp.maximum(x, y), (), _ROW),
    "minimum_weight": Case("minimum", _variable(jnp.minimum), ((1, 1, 1, 3),), _TWO[:1]),
    "clip": Case("maximum", lambda _, x: jnp.clip(x, -0.5, 0.8)),
    "select": Case("select", lambda _, x, y: jnp.where(x > y, x, y * 2), (), _ROW),
    "select_constant": Case("select", lambda _, x, y: jnp.where(x <= y, x, -1e30), (), _TWO),
    "select_known": Case(
        "select",
        lambda _, x: jnp.where(jnp.arange(3) != 1, x, jnp.float32(0.25)),
        (),
        ((2, 5, 4, 3),),
    ),
    **{
        kind: Case(kind, lambda _, x, y, compare=compare: compare(x, y), (), _ROW)
        for kind, compare in COMPARISONS.items()
        if kind != "logical_and"  # "conditions", below
    },
    "conditions": Case(
        "logical_and",
        lambda _, x, y: jnp.where((x > y) & ~(x >= 0.5) | (x < -1) ^ (x == y), x, y),
        (),
        _TWO,
    ),
    "prelu": Case(
        "prelu", _variable(lambda x, w: jnp.where(x >= 0, x, w * x)), ((1, 1, 1, 3),), _TWO[:1]
    ),
    "prelu_scalar": Case(
        "prelu", _variable(lambda x, w: jnp.where(x >= 0, x, w * x)), ((),), _TWO[:1]
    ),
    "l2_normalization": Case(
        "l2_normalization",
        lambda _, x: x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True)),
        (),
        ((2, 7, 6, 12),),
    ),
    "softmax": Case("softmax", lambda _, x: jax.nn.softmax(x), (), ((4, 13),)),
    "softmax_rows": Case("softmax", lambda _, x: jax.nn.softmax(x, axis=(1, 2))),
    "softmax_where": Case(
        "softmax", lambda _, x: jax.nn.softmax(x, where=jnp.arange(13) < 9), (), ((4, 13),)
    ),
    "log_softmax": Case("log_softmax", lambda _, x: jax.nn.log_softmax(4 * x), (), ((40, 13),)),
    "softmax_rank_4": Case("softmax", lambda _, x: jax.nn.softmax(x)),
}


def _bound(name: str, kernels: str) -> int:
    return OPS[CASES[name].kind].bounds.get(kernels, 0)


PAIRS = [(n, k) for n in CASES for k in ("reference", "micro", "xnnpack")]


@pytest.mark.parametrize(("name", "kernels"), pairs(CASES))
def test_every_element_equals_the_runtime(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=4) <= _bound(name, kernels)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kernels"), PAIRS)
def test_every_element_equals_the_runtime_in_many_draws(name, kernels):
    assert largest_difference(CASES[name], kernels, draws=200, seed=1) <= _bound(name, kernels)


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_quantize_changes_the_scale(kernels):
    # No function asks for QUANTIZE; tied ops with two prescribed ranges do.  Make it of a RELU.
    drawer = Drawer(CASES["relu"])
    graph = drawer.graph.map_ops(lambda op: dataclasses.replace(op, kind="quantize"))
    for _ in range(4):
        found = differences(graph, *drawer.draw(), kernels)
        assert max(x.max() for x in found.values()) == 0


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 37.0])
def test_neighbours_are_told_apart_at_any_scale(scale, kernels):
    """The kernels' own multiplier is below 1, and rounds neighbours to one below 1/256."""
    x, y = (np.arange(start, start + 255, dtype=np.float32)[None] * scale for start in (-128, -127))
    graph, weights = quant.trace(
        lambda _, x, y: {"less": x < y, "greater": x > 1, "both": (x >= x) & (x == y)}, {}, x, y
    )
    qparams = {
        tensor.range_name: quant.QuantParams(jnp.float32(scale), jnp.float32(0))
        for tensor in graph.tensors.values()
        if tensor.quantized
    }
    found = differences(graph, weights, qparams, (x, y), kernels)
    assert len(found) >= 5 and not any(value.any() for value in found.values())
    target = "micro" if kernels == "micro" else "android"
    file = export.to_tflite(graph, weights, qparams, target=target)
    assert export.run(file, x, y, kernels=kernels)["less"].all()


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_numbers_are_compared_too(kernels):
    def network(_, x):
        return jnp.where(x.mean() > x.max() * 0.5, x, -x)

    x = 40 * jnp.arange(1.0, 6)[None]
    graph, weights = quant.trace(network, {}, x)
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    compared = [op for op in graph.ops if op.kind == "greater"]
    assert compared and graph.tensors[compared[0].inputs[0]].shape == ()
    found = differences(graph, weights, qparams, (x,), kernels)
    assert not any(value.any() for value in found.values())


def test_a_batch_that_is_not_the_traced_one():
    x = jnp.linspace(-300, 300, 20).reshape(4, 5)
    graph, weights = quant.trace(
        lambda _, x: jnp.where(x > x.max(1, keepdims=True) - 9, x, -x), {}, x
    )
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    file = export.to_tflite(graph, weights, qparams)
    assert export.verify(file, graph, weights, qparams, jnp.concatenate([x, -x])).exact
    with pytest.raises(ValueError, match="do not fill batches of 4"):
        export.verify(file, graph, weights, qparams, x[:1])


def _scales(graph, *values):
    """Returns qparams of the input and the output, as (scale, zero point)."""
    names = (graph.inputs[0], graph.outputs[0])
    return {
        name: quant.QuantParams(jnp.float32(scale), jnp.float32(zero_point))
        for name, (scale, zero_point) in zip(names, values, strict=True)
    }


@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_scales_that_float_and_double_divide_differently(kernels):
    """Two scales whose quotient rounds to another multiplier of 16 bits as a float than as a double."""
    graph, weights = quant.trace(lambda _, x: jax.nn.hard_swish(x), {}, jnp.zeros((1, 256)))
    qparams = _scales(graph, (0.019641568884253502, -17), (0.017096957191824913, -96))
    x = (jnp.arange(-128.0, 128)[None] + 17) * qparams[graph.inputs[0]].scale
    (off,) = differences(graph, weights, qparams, (x,), kernels).values()
    assert not off.any()


@pytest.mark.parametrize("alpha", [-0.002, 0.002, 300.0])
def test_leaks_that_xnnpack_cannot_hold(alpha):
    """LiteRT's own kernel computes them, here between two convolutions that XNNPACK takes."""
    kernel = jnp.asarray([[[[1.0]]]])

    def network(v, x):
        for last in (False, True):
            x = jax.lax.conv(x.transpose(0, 3, 1, 2), v["k"], (1, 1), "SAME").transpose(0, 2, 3, 1)
            x = x if last else jnp.where(x > 0, x, alpha * x)
        return x

    x = jnp.linspace(-1, 1, 256).reshape(1, 16, 16, 1)
    graph, weights = quant.trace(network, {"k": kernel}, x)
    assert "leaky_relu" in {op.kind for op in graph.ops}
    qparams = quant.calibrate(graph, weights, [x], input_range=None)
    file = export.to_tflite(graph, weights, qparams)
    for kernels in ("reference", "xnnpack"):
        assert export.verify(file, graph, weights, qparams, x, kernels=kernels).exact


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
@pytest.mark.parametrize("name", CASES)
def test_int16_equals_the_runtime_in_many_draws_or_is_refused(name, kernels):
    check_int16(CASES[name], kernels, draws=60)
