import dataclasses
import functools
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from single_op import Drawer

from attokit import export, quant
from attokit.quant.ops.table import OPS
from attokit.quant.retyping import real_ops


@functools.cache
def _network():
    """A network that ends in two outputs, its weights and images, with the graph in 8 bits."""
    random = np.random.default_rng(0)
    shapes = {"stem": (6, 8), "gate": (8, 8), "head": (8, 5)}
    variables = {
        n: {"kernel": jnp.asarray(random.normal(size=s), jnp.float32)} for n, s in shapes.items()
    }
    images = jnp.asarray(random.random((8, 6)), jnp.float32)

    def classify(variables, x):
        y = jax.nn.relu(x @ variables["stem"]["kernel"])
        y = y * jax.nn.gelu(y @ variables["gate"]["kernel"])
        logits = y @ variables["head"]["kernel"]
        return {"scores": jax.nn.softmax(logits), "best": jnp.argmax(logits, -1)}

    graph, weights = quant.trace(classify, variables, images[:1])
    return graph, weights, images


@functools.cache
def _with_gate():
    """The network whose gate stays float32, calibrated."""
    graph, weights, images = _network()
    mixed = quant.keep_float(graph, ["gate*", "lookup", "mul"])
    return mixed, quant.calibrate(mixed, weights, [images])


def _types(graph):
    return {tensor.name: tensor.integer_type for tensor in graph.tensors.values()}


def test_named_ops_stay_float_and_conversions_stand_between():
    (graph, weights, images), (mixed, qparams) = _network(), _with_gate()
    assert [op.outputs[0] for op in mixed.float_ops] == ["gate", "lookup", "mul"]
    types = _types(mixed)
    assert types["stem"] == types["input"] == "int8" and types["gate"] == "float32"
    conversions = [(op.kind, *op.inputs) for op in mixed.ops if "quantize" in op.kind]
    assert conversions == [("dequantize", "stem"), ("quantize", "mul")]
    assert not {"gate", "gate/kernel", "lookup", "mul"} & set(qparams)
    jax.tree.map(
        np.testing.assert_array_equal, mixed(weights, images[:1]), graph(weights, images[:1])
    )


@pytest.mark.parametrize(
    "kernels",
    [pytest.param(k, marks=pytest.mark.slow) if k != "reference" else k for k in quant.KERNELS],
)
def test_the_file_holds_the_named_ops_in_float_and_is_the_graph(kernels):
    (_, weights, images), (mixed, qparams) = _network(), _with_gate()
    target = "micro" if kernels == "micro" else "android"
    file = export.to_tflite(mixed, weights, qparams, target=target)
    report = export.verify(file, mixed, weights, qparams, images, kernels=kernels)
    assert report.ok, report
    types = _types(mixed)
    for row in report.rows:
        if types.get(row.tensor) != "float32":
            assert row.differing == 0, row  # integers are exact, given the same input
    info = export.inspect(file)
    found = {t.name: t.dtype for t in info.main.tensors if not t.constant}
    assert {name: found[name] for name in types} == types
    assert info.histogram["QUANTIZE"] == info.histogram["DEQUANTIZE"] == 1


def test_a_float_output_leaves_as_it_is():
    graph, weights, images = _network()
    mixed = quant.keep_float(graph, ["head", "softmax"])
    qparams = quant.calibrate(mixed, weights, [images])
    assert _types(mixed)["arg_max"] == "int32" and len(mixed.float_ops) == 2
    pixels = np.round(np.asarray(images) * 255).astype(np.uint8)
    found = quant.integer(mixed, weights, qparams, input_type="uint8")(pixels)["scores"]
    file = export.to_tflite(mixed, weights, qparams, input_type="uint8")
    in_file = export.run(file, pixels, kernels="reference")["scores"]
    assert found.dtype == in_file.dtype == np.float32
    np.testing.assert_allclose(found, in_file, rtol=1e-4)
    with pytest.raises(ValueError, match="output_type 'int8' does not fit 'softmax', which stays"):
        export.to_tflite(mixed, weights, qparams, output_type="int8")


def test_an_input_is_float_only_by_its_own_name():
    graph, weights, images = _network()
    assert _types(quant.keep_float(graph, ["stem"]))["input"] == "int8"
    mixed = quant.keep_float(graph, ["stem", "input"])
    assert _types(mixed)["input"] == "float32"
    assert [op.kind for op in mixed.ops][:2] == ["fully_connected", "quantize"]
    qparams = quant.calibrate(mixed, weights, [3 * images])  # beyond [0, 1]: no range to leave
    file = export.to_tflite(mixed, weights, qparams)
    assert export.inspect(file).inputs["input"].dtype == "float32"
    with pytest.raises(ValueError, match="input_type 'uint8' does not fit 'input', which stays"):
        quant.integer(mixed, weights, qparams, input_type="uint8")


def test_a_graph_of_nothing_but_float_has_no_scale():
    graph, weights, images = _network()
    mixed = quant.keep_float(graph, ["*"])
    assert quant.calibrate(mixed, weights, [images]) == {}
    file = export.to_tflite(mixed, weights, {})
    assert export.verify(file, mixed, weights, {}, images).ok
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5),
        quant.fake_quant(mixed)(weights, {}, images),
        graph(weights, images),
    )


@pytest.mark.slow
def test_training_reaches_weights_of_float_ops_and_scales_beside_them():
    (graph, weights, images), (mixed, qparams) = _network(), _with_gate()

    def loss(weights, qparams):
        return jnp.sum(quant.fake_quant(mixed)(weights, qparams, images)["scores"] ** 2)

    own, of_ranges = jax.jit(jax.grad(loss, (0, 1)))(weights, qparams)
    want = jax.jit(jax.grad(lambda w: jnp.sum(graph(w, images)["scores"] ** 2)))(weights)
    cosine = jnp.vdot(own["gate/kernel"], want["gate/kernel"]) / (
        jnp.linalg.norm(own["gate/kernel"]) * jnp.linalg.norm(want["gate/kernel"])
    )
    assert cosine > 0.95
    assert all(abs(float(of_ranges[name].scale)) > 0 for name in ("stem", "mul/int8"))


@pytest.mark.slow
def test_float_and_int16_go_together_in_any_order():
    graph, weights, images = _network()
    first = quant.widen(quant.keep_float(graph, ["lookup"]), ["stem", "mul", "head"])
    second = quant.keep_float(quant.widen(graph, ["stem", "lookup*", "mul", "head"], keep=["lookup*"]), ["lookup"])  # fmt: skip
    assert _types(first) == _types(second)
    wanted = {
        "stem": "int16",
        "lookup": "float32",
        "mul": "int16",
        "softmax": "int8",
        "gate": "int8",
    }
    assert wanted.items() <= _types(first).items()
    qparams = quant.calibrate(first, weights, [images])
    for kernels in ("reference", "micro"):
        file = export.to_tflite(first, weights, qparams, target="micro")
        report = export.verify(file, first, weights, qparams, images, kernels=kernels)
        assert report.ok, report
    whole = quant.widen(quant.keep_float(graph, ["lookup", "softmax", "arg_max"]))
    assert {t for n, t in _types(whole).items() if "/" not in n} == {"int16", "float32", "int32"}


@pytest.mark.slow
def test_changes_of_scale_are_made_anew_where_types_change():
    def function(_, x):
        return jnp.concatenate([jnp.tanh(x), jax.nn.sigmoid(x)], -1)

    x = jnp.linspace(-4, 4, 24).reshape(2, 12)
    graph, weights = quant.trace(function, (), x)
    assert [op.kind for op in graph.ops].count("quantize") == 1
    joined = quant.keep_float(graph, ["concatenation"])
    kinds = [op.kind for op in joined.ops]
    assert kinds == ["tanh", "logistic", "dequantize", "dequantize", "concatenation"]
    back = quant.keep_float(graph, ["tanh"])
    qparams = quant.calibrate(back, weights, [x], input_range=None)
    file = export.to_tflite(back, weights, qparams)
    assert export.verify(file, back, weights, qparams, x).ok


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
def test_reals_on_a_tie_are_rounded_as_the_runtime_rounds_them(kernels):
    graph, weights = quant.trace(lambda _, x: jnp.tanh(x), (), jnp.ones((1, 64)))
    mixed = quant.keep_float(graph, ["input"])
    qparams = {"input/int8": quant.QuantParams(jnp.float32(0.125), jnp.float32(3))}
    x = (np.arange(64, dtype=np.float32) + 0.5)[None] / 8
    file = export.to_tflite(mixed, weights, qparams)
    assert export.verify(file, mixed, weights, qparams, x, kernels=kernels).exact


def test_the_report_lists_what_stays_float():
    graph, _, _ = _network()
    assert "float32:" not in str(quant.report(graph))
    report = quant.report(_with_gate()[0])
    assert report.float_ops == {"gate": "fully_connected", "lookup": "lookup", "mul": "mul"}
    assert "float32:\n  gate: fully_connected\n  lookup: lookup\n  mul: mul\n" in str(report)


def test_a_pattern_that_fits_nothing_says_what_is_near():
    graph, _, _ = _network()
    with pytest.raises(ValueError, match=r"no tensor that an op makes fits 'gates'; .*gate"):
        quant.keep_float(graph, ["gates"])


def test_qparams_of_the_graph_before_are_refused():
    (graph, weights, images), (_, qparams) = _network(), _with_gate()
    with pytest.raises(ValueError, match="qparams have no entry"):
        quant.fake_quant(graph)(weights, qparams, images)


def _cases():
    """Returns the single-op functions of the export tests: (name, case)."""
    for path in sorted(pathlib.Path(__file__).parents[1].glob("export/lowerings/test_*.py")):
        spec = importlib.util.spec_from_file_location(f"cases_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from getattr(module, "CASES", {}).items()


@pytest.mark.slow
def test_every_kind_of_op_computes_in_float_as_the_runtime_does():
    kinds, lacking = set(), set()
    for name, case in _cases():
        drawer = Drawer(dataclasses.replace(case, weight_bits=8))
        weights, _, inputs = drawer.draw()
        mixed = quant.keep_float(drawer.graph, list(real_ops(drawer.graph)))
        qparams = quant.calibrate(mixed, weights, [inputs], input_range=None)
        try:
            file = export.to_tflite(mixed, weights, qparams)
        except ValueError as err:  # functions of which a float file has no form
            assert "cannot hold the function" in str(err)
            lacking.add(name)
            continue
        for kernels in ("reference", "xnnpack"):
            report = export.verify(file, mixed, weights, qparams, *inputs, kernels=kernels)
            assert report.ok, (name, report)
        kinds |= {op.kind for op in mixed.float_ops}
    of_no_reals = {"logical_and", "logical_not", "logical_or", "reduce_all", "bounded_index"}
    assert kinds == set(OPS) - of_no_reals - {"quantize", "dequantize"}
    assert not lacking
