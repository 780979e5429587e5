import numpy as np
from row_networks import convolutions

from attokit import export
from attokit.quant.live_bytes import bytes_of, live_bytes, planned_bytes


def test_counts_as_the_file_is_inspected():
    network = convolutions()
    file = export.to_tflite(network.graph, network.weights, network.qparams)
    info = export.inspect(file)
    assert [op.live for op in info.main.operators] == live_bytes(network.graph)
    assert info.peak_ram == max(live_bytes(network.graph))
    assert bytes_of(network.graph, "input") == 26 * 18 * 2
    planned = planned_bytes(network.graph)
    assert max(live_bytes(network.graph)) <= planned <= 2 * max(live_bytes(network.graph))
    assert np.mod(planned, 16) == 0
