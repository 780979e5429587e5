import jax
import numpy as np

from attokit.export import inspect, to_tflite
from attokit.file_outputs import ends_in_softmax, logits_of
from attokit.quant import trace


def _graph(function):
    example = jax.ShapeDtypeStruct((1, 5), "float32")
    return inspect(to_tflite(*trace(lambda _, x: function(x), {}, example))).main


def test_logits_of_probabilities_are_their_logarithms():
    graph = _graph(jax.nn.softmax)
    assert ends_in_softmax(graph)
    shares = np.float32([[0.25, 0.75, 0]])
    np.testing.assert_allclose(
        logits_of(graph)({"output": shares}), np.log([[0.25, 0.75, 1e-9]]), rtol=1e-6
    )


def test_other_logits_stay():
    graph = _graph(lambda x: 2 * jax.nn.softmax(x))
    assert not ends_in_softmax(graph)
    logits = np.float32([[-3, 4]])
    assert logits_of(graph)({"output": logits}) is logits
