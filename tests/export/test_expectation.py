import numpy as np
import pytest

from attokit.export import expectation
from attokit.quant import fake_quant


@pytest.mark.slow
def test_ops_alone_compute_what_they_compute_in_the_graph(small):
    arguments = small.graph, small.weights, small.qparams, "reference"
    whole = expectation.end_to_end(*arguments, (small.images,))
    parts = expectation.op_by_op(*arguments, whole)
    for name, value in parts.items():
        np.testing.assert_array_equal(value, whole[name])
    assert parts.keys() == whole.keys() - set(small.graph.inputs)


def test_the_graph_of_one_op_takes_what_the_op_reads(small):
    add = next(op for op in small.graph.ops if op.kind == "add")
    part = expectation.alone(small.graph, add)
    assert part.inputs == add.inputs
    assert part.outputs == add.outputs
    assert not part.weight_shapes
    assert fake_quant(part).graph is part


def test_float_values_are_the_graphs(small):
    found = expectation.in_float(small.graph, small.weights, (small.images,))
    wanted = np.asarray(small.graph(small.weights, small.images))
    np.testing.assert_allclose(found[small.graph.outputs[0]], wanted, rtol=1e-5, atol=1e-5)
