"""Max-out background: several logits say "nothing here", and the greatest of them counts.

Small anchors meet far more background than objects; some more ways to be background lower the false
alarms there (Zhang et al., S3FD, 2017).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def max_out_background(logits: Float[Array, "*b m"], background: int) -> Float[Array, "*b k"]:
    """Returns logits whose first is the maximum of the first `background` ones; the rest follow.

    Raises:
      ValueError: if that leaves no other class, or no background.
    """
    if not 1 <= background < logits.shape[-1]:
        raise ValueError(
            f"background={background} of {logits.shape[-1]} logits: give at least 1 and leave at least "
            "one logit for a class"
        )
    greatest = jnp.max(logits[..., :background], axis=-1, keepdims=True)
    return jnp.concatenate([greatest, logits[..., background:]], axis=-1)
