import numpy as np
import pytest
from spread_network import spread

from attokit import quant
from attokit.quant.trial import Level, Trial


@pytest.mark.slow
def test_levels_choose_integers_rounded_kernels_or_floats():
    graph, weights, qparams, images = spread()
    trial = Trial(graph, weights, qparams, [images[:3], images[3:]])
    given = np.concatenate([batch[0] for batch in trial.outputs({}, Level.GIVEN)])
    np.testing.assert_array_equal(given, quant.fake_quant(graph)(weights, qparams, images))
    real = np.concatenate([batch[0] for batch in trial.outputs({}, Level.REAL, Level.REAL)])
    np.testing.assert_allclose(real, graph(weights, images), rtol=1e-5, atol=1e-5)
    # The head alone with 16 bits: its kernel is still rounded.
    head = len(graph.ops) - 1
    wide = np.concatenate([b[0] for b in trial.outputs({head: Level.INT16}, Level.REAL)])
    error = np.abs(wide - real).max()
    assert 0 < error < np.abs(np.asarray(weights["head/kernel"])).max() / 127 * 6


def test_bad_input():
    graph, weights, qparams, images = spread()
    with pytest.raises(ValueError, match="there is no batch; give a few dozen inputs"):
        Trial(graph, weights, qparams, [])
    with pytest.raises(ValueError, match="no kernel set 'other'"):
        Trial(graph, weights, qparams, [images], "other")
    with pytest.raises(ValueError, match="input 'input' has shape"):
        Trial(graph, weights, qparams, [images[:, :4]])
