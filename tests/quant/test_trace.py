import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import error, kinds, normal, variables_of

from attokit import quant
from attokit.zoo.convolution import conv

IMAGES = normal(2, 8, 7, 4)
ROWS = normal(3, 6)


class ConvNorm(nn.Module):
    options: dict

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, **self.options)(x)
        return nn.relu(nn.BatchNorm(use_running_average=True)(x))


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu6(nn.Conv(4, (3, 3), strides=2, name="stem")(x))
        x = x + nn.Conv(4, (1, 1), name="branch")(x)
        return nn.softmax(nn.Dense(5, name="head")(x.reshape(x.shape[0], -1)))


MODULES = {
    "conv": (ConvNorm({"kernel_size": (3, 3)}), ["conv_2d+relu"]),
    "no_bias": (ConvNorm({"kernel_size": (3, 3), "use_bias": False}), ["conv_2d+relu"]),
    "strides": (ConvNorm({"kernel_size": (3, 3), "strides": (2, 2)}), ["conv_2d+relu"]),
    "valid": (ConvNorm({"kernel_size": (3, 2), "padding": "VALID"}), ["conv_2d+relu"]),
    "torch": (
        ConvNorm({"kernel_size": (3, 3), "padding": 1, "strides": (2, 2)}),
        ["pad", "conv_2d+relu"],
    ),
    "torch_of_stride_1_is_same": (
        ConvNorm({"kernel_size": (3, 3), "padding": ((1, 1), (1, 1))}),
        ["conv_2d+relu"],
    ),
    "dilated": (ConvNorm({"kernel_size": (3, 3), "kernel_dilation": 2}), ["conv_2d+relu"]),
    "grouped": (ConvNorm({"kernel_size": (3, 3), "feature_group_count": 2}), ["conv_2d+relu"]),
    "classifier": (
        Classifier(),
        ["conv_2d+relu6", "conv_2d", "add", "reshape", "fully_connected", "softmax"],
    ),
    "depthwise": (
        nn.Conv(8, (3, 3), feature_group_count=4),
        ["depthwise_conv_2d"],
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_equals_its_graph(name):
    model, want = MODULES[name]
    variables = variables_of(model, IMAGES)
    graph, weights = quant.trace(model.apply, variables, IMAGES)
    assert kinds(graph) == want
    assert error(graph, weights, model.apply, variables, IMAGES) < 1e-5


@pytest.mark.parametrize("gamma", [0.0, -1.5])
def test_batch_norm_folds_with_any_gamma(gamma):
    model = ConvNorm({"kernel_size": (3, 3)})
    variables = variables_of(model, IMAGES)
    scale = jnp.full((6,), gamma, jnp.float32).at[3].set(1)
    variables["params"]["BatchNorm_0"]["scale"] = scale
    graph, weights = quant.trace(model.apply, variables, IMAGES)
    assert kinds(graph) == ["conv_2d+relu"]
    assert error(graph, weights, model.apply, variables, IMAGES) < 1e-5


def _pool(window, strides, padding):
    return lambda _, x: nn.pool(x, 0.0, jax.lax.add, window, strides, padding) / jnp.float32(6)


def _platform(_, x):
    return jax.lax.platform_dependent(x, tpu=lambda x: x * 7, default=nn.relu)


@jax.custom_jvp
def _doubled(x):
    return x + x


_doubled.defjvp(lambda primals, tangents: (_doubled(*primals), tangents[0]))


def _scoped(v, x):
    with jax.named_scope("Net/block"):
        return jax.jit(lambda v, x: nn.relu(x @ v))(v, x)


def _shared(v, x):
    return conv(nn.relu(conv(x, v, padding="SAME")), v, padding="SAME")


CHANNELS = normal(4)
SQUARE = normal(6, 6)
FUNCTIONS = {
    "average_pool": (
        lambda _, x: nn.avg_pool(x, (3, 2), (2, 2), "SAME", count_include_pad=False),
        (),
        IMAGES,
        ["average_pool_2d"],
    ),
    "average_pool_counts_padding": (
        _pool((3, 2), (2, 2), "SAME"),
        (),
        IMAGES,
        ["pad", "average_pool_2d"],
    ),
    "average_pool_valid": (_pool((2, 3), (2, 2), "VALID"), (), IMAGES, ["average_pool_2d"]),
    "max_pool": (
        lambda _, x: nn.max_pool(x, (3, 3), (2, 2), "SAME"),
        (),
        IMAGES,
        ["max_pool_2d"],
    ),
    "max_pool_padded_after_relu": (
        lambda _, x: nn.max_pool(nn.relu(x), (3, 3), (2, 2), ((1, 1), (1, 1))),
        (),
        IMAGES,
        ["relu", "pad", "max_pool_2d"],
    ),
    "mean": (lambda _, x: jnp.mean(x, (1, 2)), (), IMAGES, ["mean"]),
    "mean_keepdims": (lambda _, x: x.mean((1, 2), keepdims=True), (), IMAGES, ["mean"]),
    "concatenate": (
        lambda _, x: jnp.concatenate([x, nn.relu(x)], -1),
        (),
        IMAGES,
        ["relu", "quantize", "concatenation"],
    ),
    "clip": (lambda v, x: jnp.clip(x @ v, -1, 1), SQUARE, ROWS, ["fully_connected+relu_n1_to_1"]),
    "relu_alone": (lambda _, x: nn.relu(x), (), ROWS, ["relu"]),
    "relu6_alone": (lambda _, x: nn.relu6(x * 5), (), ROWS, ["mul+relu6"]),
    "two_relus": (lambda v, x: nn.relu(x @ v), SQUARE, ROWS, ["fully_connected+relu"]),
    "softmax": (lambda _, x: nn.softmax(x), (), ROWS, ["softmax"]),
    "pad": (lambda _, x: jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0))), (), IMAGES, ["pad"]),
    "flip_sign": (lambda v, x: 1 - x @ v, SQUARE, ROWS, ["fully_connected"]),
    "scaled": (lambda v, x: (x @ v) / 3 - v[0][None], SQUARE, ROWS, ["fully_connected"]),
    "divided": (lambda v, x: x / v[0][None], SQUARE, ROWS, ["mul"]),
    "squared": (lambda _, x: x**2 - x**3, (), ROWS, ["lookup"]),
    "per_channel": (
        lambda v, x: x * jnp.broadcast_to(v, x.shape) + v.reshape(1, 1, 1, -1),
        CHANNELS,
        IMAGES,
        ["mul", "add"],
    ),
    "einsum": (lambda v, x: jnp.einsum("bk,nk->bn", x, v), SQUARE, ROWS, ["fully_connected"]),
    "matrix_first": (
        lambda v, x: v @ x.T,
        SQUARE,
        ROWS,
        ["fully_connected", "transpose"],
    ),
    "split": (lambda _, x: jnp.split(x, 3, axis=1)[1] + 1, (), ROWS, ["slice", "add"]),
    "every_other": (lambda _, x: x[:, ::2], (), IMAGES, ["strided_slice"]),
    "reshapes": (lambda _, x: x.reshape(2, 56, 4).reshape(2, -1), (), IMAGES, ["reshape"]),
    "nothing": (lambda _, x: (x * 1 + 0).reshape(x.shape), (), IMAGES, []),
    "platform": (_platform, (), ROWS, ["relu"]),
    "custom_jvp": (lambda _, x: _doubled(x), (), ROWS, ["add"]),
    "remat": (jax.checkpoint(lambda v, x: nn.relu(x @ v)), SQUARE, ROWS, ["fully_connected+relu"]),
    "jit_in_scope": (_scoped, SQUARE, ROWS, ["fully_connected+relu"]),
    "closed_over": (lambda _, x: x @ SQUARE, (), ROWS, ["fully_connected"]),
    "stop_gradient": (lambda _, x: jax.lax.stop_gradient(x) + 1, (), ROWS, ["add"]),
    "shared": (_shared, normal(3, 3, 4, 4), IMAGES, ["conv_2d+relu", "conv_2d"]),
    "scalar": (lambda v, x: x * v, jnp.float32(2), jnp.float32(3), ["mul"]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_equals_its_graph(name):
    function, variables, x, want = FUNCTIONS[name]
    graph, weights = quant.trace(function, variables, x)
    assert kinds(graph) == want
    assert error(graph, weights, function, variables, x) < 1e-5


def test_weights_that_broadcast_stay_small():
    function, variables, x, _ = FUNCTIONS["per_channel"]
    _, weights = quant.trace(function, variables, x)
    assert {array.size for array in weights.values()} == {4}


def test_a_kernel_used_twice_is_one_weight():
    function, variables, x, _ = FUNCTIONS["shared"]
    graph, weights = quant.trace(function, variables, x)
    assert list(weights) == ["weight"]
    assert [op.inputs[1] for op in graph.ops] == ["weight", "weight"]


STARTS = {
    "position": (lambda v, x: (x @ v["k"]).reshape(-1, 2, 3) + v["w"], np.zeros((1, 2, 3))),
    "bias_of_places": (lambda v, x: x @ v["k"] + v["w"], np.zeros((2, 6))),
    "scale_of_places": (lambda v, x: (x @ v["k"]) * v["w"], np.ones((2, 1))),
    "clipped_at_6": (lambda v, x: jnp.clip(x @ v["k"], 0, v["w"]), np.asarray(6.0)),
    "floor": (lambda v, x: jnp.maximum(x @ v["k"], v["w"]), np.asarray(0.0)),
    "threshold": (lambda v, x: jnp.where(x > v["w"], x, 0.25 * x) @ v["k"], np.asarray(0.0)),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_weight_is_in_the_graph_whatever_it_starts_from(name):
    function, start = STARTS[name]
    v = {"k": normal(4, 6), "w": jnp.asarray(start, jnp.float32)}
    x = normal(2, 4)
    graph, weights = quant.trace(function, v, x)
    assert set(weights) == {"k", "w"} and weights["w"].size == v["w"].size
    moved = v | {"w": v["w"] + 0.1 * normal(*v["w"].shape) + 0.05}
    now = weights | {"k": v["k"], "w": moved["w"].reshape(weights["w"].shape)}
    np.testing.assert_allclose(graph(now, x), function(moved, x), atol=1e-5)


def test_parts_of_one_leaf_are_weights_of_their_own_even_if_they_start_equal():
    def function(v, x):
        first, second = jnp.split(v["b"], 2)
        gate = jax.nn.sigmoid(v["a"])
        return (x @ v["k"] + first[None]) * gate, (x @ v["k"] + second[None]) * (1 - gate)

    v = {"k": normal(4, 3), "b": jnp.zeros(6), "a": jnp.float32(0)}
    _, weights = quant.trace(function, v, normal(2, 4))
    assert sorted(array.shape for array in weights.values()) == [(3,), (3,), (4, 3), (4, 3)]


def test_what_a_loop_reads_again_is_one_weight_even_if_it_starts_at_zero():
    def function(v, x):
        def step(h, _):
            return jnp.tanh(h @ v["k"] + 2 * v["b"][None]), None

        return jax.lax.scan(step, x, length=3)[0]

    v = {"k": normal(4, 4), "b": jnp.zeros(4)}
    graph, weights = quant.trace(function, v, normal(2, 4))
    assert {name: array.shape for name, array in weights.items()} == {"k": (4, 4), "b": (4,)}
    assert kinds(graph).count("fully_connected") == 3


def test_a_learned_exponent_is_fixed_and_that_is_said():
    v, x = {"p": jnp.float32(3)}, jnp.abs(normal(2, 4))
    graph, weights = quant.trace(lambda v, x: x ** v["p"], v, x)
    assert not weights
    assert "weight 'p' fixed at 3 in a table" in [note.what for note in graph.notes]
    with pytest.raises(
        quant.UnsupportedOpError, match=r"a weight of shape \(1, 4\) as exponent or divisor, 'p'"
    ):
        quant.trace(lambda v, x: x ** v["p"], {"p": jnp.ones((1, 4))}, x)


@pytest.mark.parametrize(
    ("gates", "held"), [((100.0, -100.0), set()), ((9.0, -9.0), {"zeta", "nu"})]
)
def test_gates_that_no_gradient_moves_are_constants(gates, held):
    variables = {name: jnp.float32(gate) for name, gate in zip(("zeta", "nu"), gates, strict=True)}

    def function(v, x):
        return jax.nn.sigmoid(v["zeta"]) * x + jax.nn.sigmoid(v["nu"])

    graph, weights = quant.trace(function, variables, ROWS)
    assert set(weights) == held
    assert [op.kind for op in graph.ops] == (["mul", "add"] if held else [])
    assert error(graph, weights, function, variables, ROWS) < 1e-6


def test_weights_are_named_after_leaves_and_tensors_after_layers():
    model, _ = MODULES["classifier"]
    graph, weights = quant.trace(model.apply, variables_of(model, IMAGES), IMAGES)
    assert set(weights) == {
        f"{m}/{w}" for m in ("stem", "branch", "head") for w in ("kernel", "bias")
    }
    assert [op.outputs[0] for op in graph.ops][:2] == ["stem", "branch"]
    model = ConvNorm({"kernel_size": (3, 3), "use_bias": False})
    _, weights = quant.trace(model.apply, variables_of(model, IMAGES), IMAGES)
    assert set(weights) == {"Conv_0/kernel", "Conv_0/bias"}


def test_outputs_keep_their_nesting_and_name():
    def function(v, x, y):
        return {"sum": x + y, "more": (x * v, {"deep": y - x})}

    y = normal(3, 6, seed=9)
    graph, weights = quant.trace(function, jnp.float32(2), ROWS, y, input_names=["x", "y"])
    assert graph.inputs == ("x", "y")
    assert graph.output_names == ("more_0", "more_1_deep", "sum")
    assert error(graph, weights, function, jnp.float32(2), ROWS, y) < 1e-6


def test_shapes_are_enough_and_the_batch_may_differ():
    model, _ = MODULES["classifier"]
    variables = variables_of(model, IMAGES)
    graph, weights = quant.trace(
        model.apply, variables, jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32)
    )
    assert error(graph, weights, model.apply, variables, normal(3, 8, 7, 4)) < 1e-5


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda _, x: jnp.sort(x, -1), "'sort'.*outside of the graph"),
        (lambda _, x: jnp.prod(x, -1), "'reduce_prod'"),
        (lambda _, x: jnp.argmax(x, -1) * 2, "'mul' of int32"),
        (lambda _, x: jax.lax.cummax(x, 1), "a cummax over axis 1"),
        (lambda _, x: x.astype(jnp.int32), "conversion from float32 to int32"),
    ],
)
def test_what_no_op_stands_for_is_named_with_the_users_line(function, names):
    line = inspect.getsourcelines(function)[1]
    with pytest.raises(quant.UnsupportedOpError, match=names) as caught:
        quant.trace(function, (), ROWS)
    assert f"{__file__}:{line}" in str(caught.value)


def test_softmax_over_the_wrong_axis_is_not_taken_for_one():
    def function(_, x):
        e = jnp.exp(x)
        return e / e.sum(-1)[None]

    graph, weights = quant.trace(function, (), SQUARE)
    assert "softmax" not in kinds(graph)
    assert error(graph, weights, function, (), SQUARE) < 1e-5


@pytest.mark.parametrize(
    ("function", "arguments", "match"),
    [
        (lambda v, x: x * 2, (jnp.ones(3, jnp.uint8),), "input 'input' is uint8"),
        (lambda v, x: x * 2, (1.0,), "input 'input' is float"),
        (lambda v, x: None, (ROWS,), "returns nothing"),
    ],
)
def test_bad_arguments_are_refused(function, arguments, match):
    with pytest.raises(ValueError, match=match):
        quant.trace(function, (), *arguments)


def test_indices_and_conditions_may_enter():
    def function(v, rows, chosen):
        return jnp.where(chosen[:, None], v[rows], 0)

    graph, weights = quant.trace(
        function, SQUARE, jnp.asarray([1, 0, 1], jnp.int32), jnp.asarray([True, False, True])
    )
    rows, chosen = jnp.asarray([3, 1, 2], jnp.int32), jnp.asarray([False, True, True])
    assert list(weights) == ["weight"]
    assert error(graph, weights, function, SQUARE, rows, chosen) == 0


def test_bfloat16_constants_divide_as_floats():
    def function(v, x):
        return x @ (v / jnp.asarray(3, jnp.bfloat16))

    v, x = SQUARE.astype(jnp.bfloat16), ROWS.astype(jnp.bfloat16)
    graph, weights = quant.trace(function, v, x)
    assert (
        error(
            graph, weights, lambda v, x: x.astype(jnp.float32) @ v.astype(jnp.float32) / 3, v, ROWS
        )
        < 0.02
    )
    assert np.asarray(weights["weight"]).dtype == np.float32


@pytest.mark.parametrize(
    "function",
    [
        lambda v, x: (x, x),
        lambda v, x: (lambda y: {"a": y, "b": y})(jax.nn.relu(x)),
        lambda v, x: (x * 2, v, jnp.ones(3), jnp.arange(2)),
        lambda v, x: (x + 1, x.reshape(3, 6)),
        lambda v, x: x[0, 0] * 0 + 3,
    ],
)
def test_constants_inputs_and_copies_may_leave(function):
    variables = {"params": {"table": SQUARE}}
    graph, weights = quant.trace(lambda v, x: function(v["params"]["table"], x), variables, ROWS)
    assert len(set(graph.outputs)) == len(graph.outputs)
    assert set(weights) <= {"table"}
    got, want = graph(weights, ROWS), function(SQUARE, ROWS)
    for found, wanted in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted)


@jax.custom_vjp
def _tripled(x):
    return x * 3


_tripled.defvjp(lambda x: (_tripled(x), None), lambda _, g: (g,))


def test_calls_of_every_sort_are_inlined():
    def function(v, x):
        x = jax.vmap(_tripled)(x)
        x = jax.vmap(lambda row: row @ v)(x)
        x = jax.named_call(jnp.tanh, name="block")(x)
        return jax.remat(lambda x: jax.jit(jnp.exp)(x))(x)

    graph, weights = quant.trace(function, SQUARE, ROWS)
    assert kinds(graph) == ["mul", "fully_connected", "lookup"]
    assert error(graph, weights, function, SQUARE, ROWS) < 1e-5


QUERIES = {
    "matmul": lambda v, x: x @ jnp.broadcast_to(v.T, (x.shape[0], 3, 2)),
    "einsum": lambda v, x: jnp.einsum("bnd,bmd->bnm", x, jnp.broadcast_to(v, (x.shape[0], 2, 3))),
    "swapped": lambda v, x: jnp.swapaxes(
        jnp.broadcast_to(v, (x.shape[0], 2, 3)) @ jnp.swapaxes(x, 1, 2), 1, 2
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_what_is_broadcast_over_a_batch_of_one_takes_others(name):
    v, x = normal(2, 3), normal(3, 4, 3)
    graph, weights = quant.trace(QUERIES[name], v, x[:1])
    assert error(graph, weights, QUERIES[name], v, x) < 1e-5


def test_a_recurrent_layer_starts_from_zeros_for_every_example():
    layer = nn.RNN(nn.LSTMCell(3))
    x = normal(3, 2, 4)
    variables = variables_of(layer, x[:2])
    graph, weights = quant.trace(layer.apply, variables, x[:2])
    assert all(
        array.shape[0] == 4 or array.ndim == 1 or array.shape == (3, 3)
        for array in weights.values()
    )
    assert error(graph, weights, layer.apply, variables, x) < 1e-5


def test_what_is_made_of_a_broadcast_weight_folds():
    def function(v, x):
        return (x @ v["k"]) * (2.0 * jnp.broadcast_to(v["g"], (*x.shape[:-1], 6)) + 1.0)

    v = {"k": normal(4, 6), "g": jnp.ones((1, 6))}
    graph, weights = quant.trace(function, v, normal(2, 4))
    assert kinds(graph) == ["fully_connected"] and set(weights) == {"k"}
