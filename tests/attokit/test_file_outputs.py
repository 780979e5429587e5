import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit.export import inspect, run, to_tflite
from attokit.figures import sigmoid, softmax
from attokit.file_outputs import scores_in
from attokit.quant import trace

ROW = jnp.asarray([[1.5, -2, 0, 4, -3]])


def _read(function, row=ROW):
    """Returns how the file of a function is read, and what it gives."""
    file = to_tflite(*trace(lambda _, x: function(x), {}, row))
    return scores_in(inspect(file)), run(file, row)


@pytest.mark.parametrize(
    "function", [jax.nn.softmax, lambda x: jax.nn.softmax(x).reshape(1, 1, 1, 5)]
)
def test_logits_of_probabilities_are_their_logarithms(function):
    read, found = _read(function)
    assert (read.num_classes, read.separate) == (5, False)
    logits = read.decode(found).reshape(1, 5)
    np.testing.assert_allclose(softmax(logits), jax.nn.softmax(ROW), rtol=1e-5)
    np.testing.assert_allclose(
        read.decode({"output": np.float32([[0.25, 0.75, 0]])}),
        np.log([[0.25, 0.75, 1e-9]]),
        rtol=1e-6,
    )


def test_scores_behind_a_sigmoid_are_the_classes_own():
    read, found = _read(jax.nn.sigmoid)
    assert (read.num_classes, read.separate) == (5, True)
    np.testing.assert_allclose(read.decode(found), ROW, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sigmoid(read.decode(found)), jax.nn.sigmoid(ROW), rtol=1e-5)


def test_one_score_is_that_of_the_second_of_two_classes():
    read, found = _read(jax.nn.sigmoid, ROW[:, :1])
    assert (read.num_classes, read.separate) == (2, False)
    share = float(jax.nn.sigmoid(ROW[0, 0]))
    np.testing.assert_allclose(softmax(read.decode(found)), [[1 - share, share]], rtol=1e-5)
    certain = read.decode({"output": np.float32([[0], [1]])})
    np.testing.assert_allclose(softmax(certain), [[1, 0], [0, 1]], atol=1e-6)


def test_one_number_has_no_class():
    assert _read(lambda x: 2 * x, ROW[:, :1])[0] is None


def test_other_logits_stay():
    for function in (
        lambda x: 2 * jax.nn.softmax(x),
        lambda x: jax.nn.softmax(x.reshape(5, 1)).reshape(1, 5),  # of something else than classes
    ):
        read, _ = _read(function)
        logits = np.float32([[-3, 4]])
        assert read.decode({"output": logits}) is logits
