import numpy as np
from row_networks import convolutions
from traced import normal

from attokit.quant import fit_memory, split_rows, trace
from attokit.quant.fit_memory import memory_bytes
from attokit.quant.live_bytes import live_bytes, planned_bytes


def test_lowers_the_peak_and_changes_no_integer():
    network = convolutions((98, 90))
    limit = round(0.8 * memory_bytes(network.graph))
    small = fit_memory(network.graph, limit)
    assert memory_bytes(small) <= limit
    assert max(live_bytes(small)) < 0.8 * max(live_bytes(network.graph))
    np.testing.assert_array_equal(network.outputs(small), network.outputs())


def test_leaves_alone_what_records_would_outweigh():
    network = convolutions()
    assert fit_memory(network.graph).ops == network.graph.ops
    assert memory_bytes(network.graph) > planned_bytes(network.graph)
    mean = next(op for op in network.graph.ops if op.kind == "mean")
    split = split_rows(network.graph, "input", mean.inputs[0], 4)
    assert memory_bytes(split) > memory_bytes(network.graph)


def test_graphs_of_a_byte_and_of_no_op_are_left_alone():
    graph, _ = trace(lambda v, x: x * v, normal(1, 1), normal(1, 1))
    assert fit_memory(graph).ops == graph.ops
    nothing, _ = trace(lambda v, x: x, normal(1, 1), normal(1, 1))
    assert fit_memory(nothing).ops == nothing.ops
