"""Metrics of dense classification, from exact counts of (true class, predicted class)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from attokit.train.metrics import Confusion, Mean
from attokit.train.pixel_losses import labels_and_valid


def iou_per_class(counts: Integer[np.ndarray, "k k"]) -> Float[np.ndarray, " k"]:
    """Returns intersection over union of each class, from 0 to 1.

    It is NaN for a class that neither a label nor a prediction holds.

    Args:
      counts: Pixels by true class (rows) and predicted class (columns), as `Confusion` gives them.
    """
    counts = np.asarray(counts, np.float64)
    right = np.diagonal(counts)
    union = counts.sum(0) + counts.sum(1) - right
    return np.divide(right, union, out=np.full(len(counts), np.nan), where=union > 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MeanIou(Confusion):
    """Mean intersection over union of the classes that occur in labels or predictions.

    The counts are of the whole split, not of single images (the PASCAL VOC definition). A class that
    only predictions hold counts as 0. With nothing to count it is 0.
    """

    def compute(self) -> np.ndarray:
        """Returns the mean, from 0 to 1."""
        values = iou_per_class(self.counts())
        return np.asarray(values[~np.isnan(values)].mean() if not np.isnan(values).all() else 0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PixelAccuracy(Confusion):
    """Share of the pixels with a class that are named right; 0 with nothing to count."""

    def compute(self) -> np.ndarray:
        """Returns the share, from 0 to 1."""
        counts = self.counts()
        return np.asarray(np.trace(counts) / max(counts.sum(), 1))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Share(Mean):
    """A mean that is 0, not NaN, where nothing counts, as in a batch without any class."""

    def compute(self) -> Array:
        """Returns the mean, from 0 to 1."""
        return self.total / jnp.maximum(self.count, 1)


def share_of_pixels(logits: Float[Array, "b h w k"], masks: Integer[Array, "b h w"]) -> Share:
    """Returns the pixel accuracy of a training step: cheaper, and exact only up to 2^24 pixels."""
    labels, valid = labels_and_valid(masks, logits.shape[-1])
    right = (logits.argmax(-1).astype(jnp.int32) == labels) & valid
    return Share(*(pixels.sum().astype(jnp.float32) for pixels in (right, valid)))
