import itertools

from attokit import export
from attokit.arena import arena
from attokit.export.memory_plan import memory_plan
from attokit.quant.live_bytes import planned_bytes


def test_nothing_overlaps_and_the_peak_is_the_arenas(small, tmp_path):
    info = export.inspect(small.file)
    blocks = memory_plan(info.main)
    assert len(blocks) == len(small.graph.tensors)
    for one, other in itertools.combinations(blocks, 2):
        assert not one.meets(other) or one.end <= other.offset or other.end <= one.offset
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
