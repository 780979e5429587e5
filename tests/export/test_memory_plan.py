import itertools

import numpy as np
import pytest

from attokit import export
from attokit.arena import arena
from attokit.export import anatomy
from attokit.export.memory_plan import dense_plan, memory_plan, peak_of, stored_plan
from attokit.quant.live_bytes import planned_bytes


def _apart(blocks):
    return all(
        not one.meets(other) or one.end <= other.offset or other.end <= one.offset
        for one, other in itertools.combinations(blocks, 2)
    )


def test_nothing_overlaps_and_the_peak_is_the_arenas(small, tmp_path):
    info = export.inspect(small.file)
    blocks = memory_plan(info.main)
    assert len(blocks) == len(small.graph.tensors)
    assert _apart(blocks)
    peak = max(block.end for block in blocks)
    assert info.peak_ram <= peak == planned_bytes(small.graph)
    measured = arena(export.write(tmp_path / "net.tflite", small.file))
    assert measured is None or peak <= measured.activations


def test_lives_start_where_made_and_end_where_read_last(small):
    blocks = {block.name: block for block in memory_plan(export.inspect(small.file).main)}
    stem, deep, total = (blocks[op.outputs[0]] for op in small.graph.ops[:3])
    assert (blocks["input"].first, blocks["input"].last) == (0, 0)
    assert (stem.first, stem.last) == (0, 2)  # the sum reads it too
    assert (deep.first, deep.last) == (1, 2)
    assert total.first == 2
    assert blocks[small.graph.outputs[0]].last == 4


def _gapped() -> anatomy.Subgraph:
    """Returns a chain with skips, in which the largest first leaves gaps."""
    sizes, reads = (64, 64, 48, 48, 80), ((0,), (1,), (2, 1), (3, 0))
    tensors = tuple(
        anatomy.TensorInfo(
            name=str(i), shape=(size,), dtype="int8", size=size, constant=False,
            scale=np.zeros(0), zero_point=np.zeros(0), axis=0, contents=memoryview(b""),
        )
        for i, size in enumerate(sizes)
    )  # fmt: skip
    operators = tuple(
        anatomy.OperatorInfo(kind="ADD", version=1, inputs=read, outputs=(i,), macs=0, live=0)
        for i, read in enumerate(reads, start=1)
    )
    return anatomy.Subgraph(
        name="", tensors=tensors, operators=operators, inputs=(0,), outputs=(4,)
    )


def test_a_dense_plan_has_fewer_gaps():
    graph = _gapped()
    plan = dense_plan(graph)
    assert _apart(plan)
    live = max(sum(b.size for b in plan if b.first <= i <= b.last) for i in range(4))
    assert live == peak_of(plan) < peak_of(memory_plan(graph))


@pytest.mark.parametrize("least", [0, 1, 100])
def test_inputs_lie_behind_what_runs_before(least):
    graph = _gapped()
    plan = dense_plan(graph, least)
    assert _apart(plan)
    assert min(b.offset for b in plan if b.index in graph.inputs) >= least


def test_a_file_says_where_its_activations_lie(small, tmp_path):
    options = {"target": "micro", "placed": 1000}
    file = export.to_tflite(small.graph, small.weights, small.qparams, **options)
    info, plain = export.inspect(file), export.inspect(small.file)
    assert stored_plan(plain) == memory_plan(plain.main)
    blocks = stored_plan(info)
    assert sorted(blocks, key=str) == sorted(dense_plan(info.main, 1000), key=str)
    assert next(b for b in blocks if b.name == "input").offset == 1008
    measured = arena(export.write(tmp_path / "net.tflite", file))
    assert measured is None or measured.activations == peak_of(blocks)
    if measured is not None:
        found, want = (export.run(f, small.images, kernels="micro") for f in (file, small.file))
        np.testing.assert_array_equal(found["output"], want["output"])
        origin = (small.graph, small.weights, small.qparams)
        assert export.verify(file, *origin, small.images, kernels="micro").exact
    with pytest.raises(ValueError, match="placed=0 in a file for 'android'"):
        export.to_tflite(small.graph, small.weights, small.qparams, placed=0)
