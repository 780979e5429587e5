"""A random sample of fixed size with a fixed share of positives, as two-stage detectors learn from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class Sample(NamedTuple):
    """Some of the rows of an image: positives first, then negatives, then places that are not filled.

    Attributes:
      places: Rows; 0 where a place is not filled.
      positive: Which are positives.
      valid: Which places are filled.
    """

    places: Int[Array, " s"]
    positive: Bool[Array, " s"]
    valid: Bool[Array, " s"]


def sample_balanced(
    key: Array,
    positive: Bool[Array, " n"],
    negative: Bool[Array, " n"],
    *,
    count: int,
    positive_share: float,
) -> Sample:
    """Returns rows drawn without replacement: at most a share of positives, the rest negatives.

    Where there are fewer positives, more negatives fill the sample. Every positive is as likely as the others.

    Args:
      key: Of the draw.
      positive: Which rows are positives.
      negative: Which are negatives; rows that are neither are never drawn.
      count: Places; no more than there are rows.
      positive_share: Of the places.

    Raises:
      ValueError: if there is no place, or the share is not from 0 to 1.
    """
    if count < 1 or not 0 <= positive_share <= 1:
        raise ValueError(
            f"count={count}, positive_share={positive_share}: give at least 1 and a share from 0 to 1"
        )
    count = min(count, len(positive))
    noise = jax.random.uniform(key, positive.shape)
    # Random numbers of what may be drawn, -1 of the rest: the largest are a draw without replacement.
    drawn, rows = jax.lax.top_k(
        jnp.where(positive, noise, -1.0), max(1, int(count * positive_share))
    )
    taken = (drawn >= 0) & (jnp.arange(len(drawn)) < int(count * positive_share))
    others, other_rows = jax.lax.top_k(jnp.where(negative & ~positive, noise, -1.0), count)
    filling = (others >= 0) & (jnp.arange(count) < count - taken.sum())
    valid = jnp.concatenate([taken, filling])
    first = jnp.argsort(~valid, stable=True)[:count]
    places, valid = jnp.concatenate([rows, other_rows])[first], valid[first]
    is_positive = valid & (jnp.arange(count) < taken.sum())
    return Sample(jnp.where(valid, places, 0), is_positive, valid)
