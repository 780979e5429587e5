"""Losses: one value per example, never reduced here."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def softmax_cross_entropy(
    logits: Float[Array, "*b k"], labels: Int[Array, "*b"], *, label_smoothing: float = 0.0
) -> Float[Array, "*b"]:
    """Returns the cross entropy of each example (or pixel), in nats.

    With smoothing s the target is `1 - s` on the label plus `s / k` on every class (Szegedy et
    al., "Rethinking the Inception architecture", section 7).
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    on_label = jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]
    return -((1 - label_smoothing) * on_label + label_smoothing * log_probabilities.mean(-1))
