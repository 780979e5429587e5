"""Metrics of depth maps, each over the valid pixels of a whole split.

The definitions of Eigen et al., "Depth map prediction from a single image using a multi-scale deep
network", section 4.1, with d the prediction and y the measurement. All take maps [b, h, w] and where
they count; y must be above 0 there.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attokit.train.metrics import Mean

# A logarithm or a ratio needs a depth above 0, which a network without a last ReLU need not give.
SMALLEST_DEPTH = 1e-3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RootMean(Mean):
    """The square root of a mean."""

    def compute(self) -> Array:
        """Returns the root of the mean."""
        return jnp.sqrt(self.total / self.count)


def _sums(
    values: Float[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns total and count; images first, so that float32 adds numbers of like size."""
    total = jnp.where(valid, values, 0).sum((1, 2)).sum()
    return total, valid.sum((1, 2)).astype(jnp.float32).sum()


def _positive(
    predictions: Float[Array, "b h w"],
    targets: Float[Array, "b h w"],
    valid: Bool[Array, "b h w"],
) -> tuple[Float[Array, "b h w"], Float[Array, "b h w"]]:
    """Returns predictions of at least `SMALLEST_DEPTH`, and targets that are 1 where none counts."""
    return jnp.maximum(predictions, SMALLEST_DEPTH), jnp.where(valid, targets, 1)


def relative_error(
    predictions: Float[Array, "b h w"], targets: Float[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> Mean:
    """Returns rel, the mean of |d - y| / y."""
    targets = jnp.where(valid, targets, 1)
    return Mean(*_sums(jnp.abs(predictions - targets) / targets, valid))


def root_mean_square(
    predictions: Float[Array, "b h w"], targets: Float[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> RootMean:
    """Returns rms, the root of the mean of (d - y)^2, in the unit of the depths."""
    return RootMean(*_sums((predictions - jnp.where(valid, targets, 1)) ** 2, valid))


def absolute_log10_error(
    predictions: Float[Array, "b h w"], targets: Float[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> Mean:
    """Returns log10, the mean of |log10 d - log10 y|; d counts as at least `SMALLEST_DEPTH`."""
    predictions, targets = _positive(predictions, targets, valid)
    return Mean(*_sums(jnp.abs(jnp.log10(predictions) - jnp.log10(targets)), valid))


def within_ratio(
    predictions: Float[Array, "b h w"],
    targets: Float[Array, "b h w"],
    valid: Bool[Array, "b h w"],
    ratio: float,
) -> Mean:
    """Returns the share of pixels with max(d / y, y / d) below a ratio, such as 1.25."""
    predictions, targets = _positive(predictions, targets, valid)
    worse = jnp.maximum(predictions / targets, targets / predictions)
    return Mean(*_sums((worse < ratio).astype(jnp.float32), valid))
