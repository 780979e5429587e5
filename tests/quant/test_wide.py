import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from int16_oracles import WideOracle
from integer_oracles import compiled
from single_op import Case, Drawer, in_file

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
        "dense": jax.nn.relu(x @ head),
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
    ("case", "kernels"),
    [
        pytest.param(MOST, "reference", marks=pytest.mark.slow),
        pytest.param(MOST, "xnnpack", marks=pytest.mark.slow),
        (OWN, "micro"),
    ],
)
def test_ops_on_int16_equal_the_runtime_and_the_kernels_formulas(case, kernels):
    drawer = Drawer(case)
    graph = drawer.graph
    for _ in range(3):
        weights, qparams, inputs = drawer.draw()
        found = in_file(graph, weights, qparams, inputs, kernels)
        integers = compiled(graph, kernels)(weights, qparams, *inputs)
        integers = {name: np.asarray(value) for name, value in integers.items()}
        oracle = WideOracle(graph, weights, qparams, kernels)
        for name, value in zip(graph.inputs, inputs, strict=True):
            np.testing.assert_array_equal(integers[name], oracle.entering(name, value))
        for op in graph.ops:
            own, name = integers[op.outputs[0]], op.outputs[0]
            np.testing.assert_array_equal(own, oracle.op(op, integers), op.kind)
            np.testing.assert_array_equal(own, found[name], op.kind)


@functools.cache
def _network():
    """A small network, its weights and images, with the graph in 8 bits."""
    random = np.random.default_rng(0)
    shapes = {"stem": (3, 3, 3, 8), "gate": (1, 1, 8, 8)}
    variables = {
        n: {"kernel": jnp.asarray(random.normal(size=s), jnp.float32)} for n, s in shapes.items()
    }
    images = jnp.asarray(random.random((4, 8, 8, 3)), jnp.float32)

    def classify(variables, x):
        y = jax.nn.relu(conv(x, variables["stem"]["kernel"]))
        y = y * jax.nn.sigmoid(conv(y, variables["gate"]["kernel"]))
        return jnp.mean(y, (1, 2))

    graph, weights = quant.trace(classify, variables, images[:1])
    return graph, weights, images


@functools.cache
def _calibrated():
    graph, weights, images = _network()
    wide = quant.widen(graph)
    return wide, quant.calibrate(wide, weights, [images])


@pytest.mark.parametrize(
    "kernels",
    [
        "reference",
        pytest.param("micro", marks=pytest.mark.slow),
        pytest.param("xnnpack", marks=pytest.mark.slow),
    ],
)
def test_a_network_of_int16_is_its_file(kernels):
    (_, weights, images), (wide, qparams) = _network(), _calibrated()
    target = "micro" if kernels == "micro" else "android"
    file = export.to_tflite(wide, weights, qparams, target=target)
    report = export.verify(file, wide, weights, qparams, images, kernels=kernels)
    assert report.exact, report
    assert {t.dtype for t in export.inspect(file).main.tensors if not t.constant} == {"int16"}


@pytest.mark.slow
def test_with_kernels_that_int8_holds_int16_is_nearer_to_the_float_graph_by_far():
    (graph, weights, images), (wide, qparams) = _network(), _calibrated()
    scales = {n: np.asarray(qparams[n].scale) for n in weights}
    weights = {n: np.round(w / scales[n]) * scales[n] for n, w in jax.device_get(weights).items()}
    real, errors = graph(weights, images[:1]), {}
    for bits, one in ((8, graph), (16, wide)):
        own = quant.calibrate(one, weights, [images])
        own |= {n: entry for n, entry in qparams.items() if n in weights}
        given = quant.fake_quant(one)(weights, own, images[:1])
        errors[bits] = float(jnp.abs(given - real).max())
    assert errors[16] < errors[8] / 50


def test_training_reaches_weights_and_scales_but_no_zero_point():
    random = np.random.default_rng(0)
    images = jnp.asarray(random.random((4, 6, 6, 3)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, 3, 8)), jnp.float32)
    graph, weights = quant.trace(lambda v, x: jax.nn.relu(conv(x, v["k"])), {"k": kernel}, images)
    wide = quant.widen(graph)
    qparams = quant.calibrate(wide, weights, [images])

    def loss(weights, qparams):
        return jnp.sum(quant.fake_quant(wide)(weights, qparams, images) ** 2)

    own, of_ranges = jax.jit(jax.grad(loss, (0, 1)))(weights, qparams)
    want = jax.jit(jax.grad(lambda w: jnp.sum(graph(w, images) ** 2)))(weights)
    # Kernels of 8 bits are what is left between the two.
    np.testing.assert_allclose(own["k"], want["k"], atol=0.05 * float(jnp.abs(want["k"]).max()))
    assert all(float(entry.zero_point) == 0 for entry in of_ranges.values())
    assert all(float(jnp.abs(entry.scale).max()) > 0 for entry in of_ranges.values())


@pytest.mark.parametrize(
    "kernels",
    [pytest.param(k, marks=pytest.mark.slow) if k != "micro" else k for k in quant.KERNELS],
)
def test_named_ops_alone_have_16_bits_and_quantize_stands_between(kernels):
    graph, weights, images = _network()
    mixed = quant.widen(graph, ["gate*", "mul", "logistic"], keep=["logi*"])
    bits = {t.name: t.bits for t in mixed.tensors.values()}
    wide = {name for name, count in bits.items() if count == 16}
    made = {n for op in mixed.ops if op.kind != "quantize" for n in op.outputs}
    assert wide & made == {n for n in made if n.startswith(("gate", "mul"))}
    assert bits["input"] == 8 and len(wide - made) == 2, bits
    for op in mixed.ops:
        names = [n for n in (*op.inputs, *op.outputs) if n in bits]
        assert len({bits[n] for n in names}) == (2 if op.kind == "quantize" else 1)
    np.testing.assert_array_equal(mixed(weights, images), graph(weights, images))
    qparams = quant.calibrate(mixed, weights, [images])
    file = export.to_tflite(mixed, weights, qparams, target="micro")
    report = export.verify(file, mixed, weights, qparams, images, kernels=kernels)
    assert report.exact, report


_CONSTANT = np.float32([[0.3, 0.7, 1.1]])


def test_a_constant_that_both_widths_read_has_a_range_for_either():
    graph, weights = quant.trace(
        lambda v, x: jnp.tanh(x * _CONSTANT) * _CONSTANT, (), jnp.ones((1, 3))
    )
    assert len(graph.constants) == 1
    mixed = quant.widen(graph, [graph.ops[-1].outputs[0]])
    qparams = quant.calibrate(mixed, weights, [jnp.ones((1, 3))], input_range=None)
    assert sorted(qparams[name].bits for name in mixed.constants) == [8, 16]
    file = export.to_tflite(mixed, weights, qparams)
    assert export.verify(file, mixed, weights, qparams, jnp.ones((1, 3))).exact


def test_a_weight_that_both_widths_read_is_refused():
    graph, _ = quant.trace(lambda v, x: jnp.tanh(x * v) * v, jnp.ones((1, 3)), jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"both read the weight .*: name both or neither"):
        quant.widen(graph, [graph.ops[-1].outputs[0]])


def test_an_input_that_only_int16_reads_has_16_bits():
    graph, _, _ = _network()
    assert quant.widen(graph, ["stem*"]).tensors["input"].bits == 16


def _padded(_, x):
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1.0)


def _clipped_below(_, x):
    return jnp.maximum(x, jnp.asarray([[[[-0.5, 0.3, 0.1]]]])) + jax.nn.relu(x - 0.7)


@pytest.mark.parametrize(
    "function", [_padded, pytest.param(_clipped_below, marks=pytest.mark.slow)]
)
def test_so_has_one_that_is_read_on_another_scale(function):
    x = _network()[2]
    graph, weights = quant.trace(function, {}, x)
    assert graph.ops[0].kind == "quantize" and graph.ops[0].inputs == ("input",)
    wide = quant.widen(graph)
    assert {t.bits for t in wide.tensors.values()} == {16}
    qparams = quant.calibrate(wide, weights, [x])
    file = export.to_tflite(wide, weights, qparams)
    assert export.verify(file, wide, weights, qparams, x).exact
    assert quant.widen(graph, keep=["input"]).tensors["input"].bits == 8


def test_an_input_that_float_ops_read_too_has_8_bits():
    graph, _ = quant.trace(lambda _, x: (jnp.abs(x), jnp.tanh(x)), {}, jnp.ones((2, 3)))
    mixed = quant.widen(quant.keep_float(graph, ["tanh"]))
    assert mixed.tensors["input"].bits == 8 and mixed.tensors["abs"].bits == 16


def test_an_input_that_is_kept_has_8_bits():
    graph, _, _ = _network()
    kept = quant.widen(graph, ["stem*"], keep=["input"])
    assert kept.tensors["input"].bits == 8 and kept.tensors["stem"].bits == 16
    assert kept.ops[0].kind == "quantize" and kept.ops[0].inputs == ("input",)


def test_prescribed_ranges_of_16_bits_are_one_and_changes_of_scale_stay_exact():
    def function(_, x):
        return jnp.concatenate([jnp.tanh(x), jax.nn.sigmoid(x)], -1)

    x = jnp.linspace(-4, 4, 24).reshape(2, 12)
    graph, weights = quant.trace(function, (), x)
    wide = quant.widen(graph)
    assert set(wide.fixed_ranges.values()) == {(1 / 32768, 0)}
    qparams = quant.calibrate(wide, weights, [x], input_range=None)
    file = export.to_tflite(wide, weights, qparams)
    assert export.verify(file, wide, weights, qparams, x).exact


@pytest.mark.parametrize(
    ("patterns", "keep", "message"),
    [
        (["nothing*"], [], r"no tensor that an op makes fits 'nothing\*'; there are"),
        (["*"], ["none"], "no tensor that an op makes fits 'none'"),
        (
            ["*"],
            [],
            r"no kernel of hard_swish for int16 in any runtime, .*test_wide.py:\d+.*keep=\['hard_swish'\]",
        ),
    ],
)
def test_what_cannot_be_widened_says_so(patterns, keep, message):
    graph, _ = quant.trace(lambda _, x: nn.hard_swish(x * 2), (), jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=message):
        quant.widen(graph, patterns, keep=keep)


def test_what_tflite_micro_lacks_is_refused_for_it_alone():
    graph, weights = quant.trace(lambda _, x: jnp.max(x, -1), (), jnp.ones((1, 3)))
    wide = quant.widen(graph)
    qparams = quant.calibrate(wide, weights, [jnp.ones((1, 3))])
    export.to_tflite(wide, weights, qparams)
    message = "no kernel of reduce_max for int16 in the kernels 'micro'"
    with pytest.raises(ValueError, match=message):
        export.to_tflite(wide, weights, qparams, target="micro")
    with pytest.raises(ValueError, match=message):
        quant.fake_quant(wide, "micro")(weights, qparams, jnp.ones((1, 3)))


def test_qparams_of_the_other_width_are_refused():
    (graph, weights, images), (wide, qparams) = _network(), _calibrated()
    with pytest.raises(ValueError, match=r"qparams hold 16 bits for .*, which has 8 in the graph"):
        quant.fake_quant(graph)(weights, qparams, images)
    with pytest.raises(ValueError, match=r"qparams hold 16 bits for .*, which has 8 in the graph"):
        export.to_tflite(graph, weights, qparams)
    narrow = {n: dataclasses.replace(e, bits=min(e.bits, 8)) for n, e in qparams.items()}
    with pytest.raises(ValueError, match=r"qparams hold 8 bits for .*, which has 16 in the graph"):
        export.to_tflite(wide, weights, narrow)


def test_kernels_of_4_bits_and_int16_do_not_go_together():
    graph, weights, images = _network()
    with pytest.raises(ValueError, match="Of 0 that may have 4, near are: none"):
        quant.calibrate(quant.widen(graph), weights, [images], weight_bits=4)


@pytest.mark.parametrize("interface", [None, "int16", "float32"])
def test_inference_and_files_pass_int16_or_floats(interface):
    images = jnp.linspace(0, 1, 60).reshape(4, 15)
    graph, weights = quant.trace(lambda _, x: jnp.maximum(x, x[:, ::-1]), (), images)
    wide = quant.widen(graph)
    qparams = quant.calibrate(wide, weights, [images])
    types = {"input_type": interface, "output_type": interface}
    run = quant.integer(wide, weights, qparams, **types)
    file = export.to_tflite(wide, weights, qparams, **types)
    scale = np.asarray(qparams["input"].scale)
    given = images if interface == "float32" else np.round(images / scale).astype(np.int16)
    (found,) = export.run(file, given, kernels="reference").values()
    np.testing.assert_array_equal(run(given), found)
    assert export.verify(file, wide, weights, qparams, images).exact


@pytest.mark.parametrize("interface", ["int8", "uint8"])
def test_int16_is_not_passed_as_bytes(interface):
    (_, weights, _), (wide, qparams) = _network(), _calibrated()
    message = (
        f"input_type '{interface}' does not fit 'input', which has 16 bits; choose one of int16"
    )
    with pytest.raises(ValueError, match=message):
        quant.integer(wide, weights, qparams, input_type=interface)
    with pytest.raises(ValueError, match=message):
        export.to_tflite(wide, weights, qparams, input_type=interface)


def test_every_kind_says_which_runtimes_have_a_kernel_for_int16():
    refused = {name for name, kind in OPS.items() if kind.wide is None}
    of_no_reals = {"logical_and", "logical_not", "logical_or", "reduce_all", "bounded_index"}
    comparisons = {"equal", "greater", "greater_equal", "less", "less_equal", "not_equal"}
    tables = {"hard_swish", "lookup", "l2_normalization", "log_softmax", "prelu"}
    places = {"arg_max", "arg_min", "depth_to_space", "space_to_depth"}
    detectors = {"propose", "read_regions", "detect", "select_masks"}
    assert refused == of_no_reals | comparisons | tables | places | detectors
    lacking = {n for n, kind in OPS.items() if kind.wide and "micro" not in kind.wide.kernels}
    assert lacking == {"gather", "mirror_pad", "reduce_max", "reduce_min", "resize_bilinear"}
