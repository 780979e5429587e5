import dataclasses

import jax
import numpy as np
import pytest
from row_networks import Network, calibrated, convolutions
from traced import normal

from attokit import export, quant, zoo
from attokit.quant import split_rows


@pytest.fixture(scope="module")
def network() -> Network:
    return convolutions()


def _last_map(network: Network) -> str:
    mean = next(op for op in network.graph.ops if op.kind == "mean")
    return mean.inputs[0]


@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("kernels", ["reference", "micro", "xnnpack"])
def test_no_integer_changes(network, parts, kernels):
    end = _last_map(network)
    split = split_rows(network.graph, "input", end, parts)
    assert len(split.ops) > parts * 8
    want, found = network.outputs(kernels=kernels), network.outputs(split, kernels=kernels)
    np.testing.assert_array_equal(found, want)
    assert len(np.unique(want)) == 5  # there is something to compare


def test_inner_regions_and_regions_in_regions(network):
    graph = network.graph
    residual = next(op for op in graph.ops if op.kind == "add").outputs[0]
    split = split_rows(graph, graph.ops[0].outputs[0], residual, 4)
    again = split_rows(split, "input", graph.ops[0].outputs[0], 2)
    np.testing.assert_array_equal(network.outputs(again), network.outputs())


def test_more_groups_than_tflite_micro_joins(network):
    residual = next(op for op in network.graph.ops if op.kind == "add").outputs[0]
    split = split_rows(network.graph, "input", residual, 13)
    assert max(len(op.inputs) for op in split.ops if op.kind == "concatenation") == 10
    np.testing.assert_array_equal(network.outputs(split), network.outputs())


def test_int16_and_float32_split_as_int8_does(network):
    wide = quant.widen(network.graph, ["conv_2d_2", "add"])
    mixed = quant.keep_float(wide, ["conv_2d_1", "depthwise_conv_2d", "logistic"])
    qparams = quant.calibrate(mixed, network.weights, [network.images])
    own = dataclasses.replace(network, graph=mixed, qparams=qparams)
    split = split_rows(mixed, "input", _last_map(network), 2)
    types = {tensor.integer_type for name, tensor in split.tensors.items() if "/rows_1" in name}
    assert types == {"int8", "int16", "float32"}
    want = own.outputs(kernels="reference")
    np.testing.assert_array_equal(own.outputs(split, kernels="reference"), want)
    assert len(np.unique(want)) == 5


def test_verify_knows_every_part():
    def two(v, x):
        y = jax.nn.relu6(zoo.conv(x, v["a"], padding="SAME"))
        return zoo.conv(y, v["b"], padding="SAME")

    small = calibrated(two, {"a": normal(3, 3, 1, 2), "b": normal(3, 3, 2, 1)}, (1, 6, 4, 1))
    split = split_rows(small.graph, "input", small.graph.outputs[0], 2)
    file = export.to_tflite(split, small.weights, small.qparams)
    report = export.verify(file, split, small.weights, small.qparams, small.images)
    assert report.exact
    assert sum("/rows_1" in row.tensor for row in report.rows) > 3


def test_kernels_are_in_the_file_once(network):
    split = split_rows(network.graph, "input", _last_map(network), 3)
    whole, parts = (
        export.inspect(export.to_tflite(g, network.weights, network.qparams)).main
        for g in (network.graph, split)
    )
    kernels = [
        [t.shape for t in graph.tensors if t.constant and len(t.shape) == 4]
        for graph in (whole, parts)
    ]
    assert kernels[0] == kernels[1]


def test_refuses_what_does_not_split(network):
    graph, end = network.graph, _last_map(network)
    with pytest.raises(ValueError, match=r"parts=9: .* has 4 rows"):
        split_rows(graph, "input", end, 9)
    with pytest.raises(ValueError, match="'typo' is no map"):
        split_rows(graph, "typo", end, 2)
    with pytest.raises(ValueError, match="no op leads from"):
        split_rows(graph, end, "input", 2)
    inner = next(op for op in graph.ops if op.kind == "depthwise_conv_2d").outputs[0]
    with pytest.raises(ValueError, match="is used outside"):
        split_rows(graph, "input", inner, 2)
    residual = next(op for op in graph.ops if op.kind == "add").outputs[0]
    with pytest.raises(ValueError, match="does not come from"):
        split_rows(graph, inner, residual, 2)
