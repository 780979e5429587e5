import jax
import jax.numpy as jnp
import numpy as np
import optax

from attokit.train.losses import softmax_cross_entropy

LOGITS = jnp.asarray([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]], jnp.float32)
LABELS = jnp.asarray([1, 2], jnp.int32)


def test_one_value_per_example():
    shape = jax.eval_shape(softmax_cross_entropy, LOGITS, LABELS)
    assert (shape.shape, shape.dtype) == ((2,), jnp.float32)


def test_equal_logits_cost_log_k():
    assert np.isclose(softmax_cross_entropy(LOGITS, LABELS)[1], np.log(3))


def test_smoothing_equals_optax_on_smoothed_labels():
    targets = optax.smooth_labels(jax.nn.one_hot(LABELS, 3), 0.2)
    expected = optax.softmax_cross_entropy(LOGITS, targets)
    found = softmax_cross_entropy(LOGITS, LABELS, label_smoothing=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
