"""The five losses of Mask R-CNN, one value per image (He et al. 2017; normalized as torchvision has them).

Each is a sum over what is learned from, divided by how much of that the whole batch has: an image with more objects
counts more. So that the mean over images is that quotient, every image's sum is times the number of images.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from attokit.train.roi_sampling import Regions
from attokit.train.rpn_targets import AnchorTargets

_BETA = 1 / 9  # where the box losses turn from squares into distances


class ProposalLosses(NamedTuple):
    """Of the proposal head, per image.

    Attributes:
      objectness: Whether anchors hold an object: mean cross entropy of the sampled anchors.
      boxes: Where: sum of smooth distances over anchors with an object, per sampled anchor.
    """

    objectness: Float[Array, " b"]
    boxes: Float[Array, " b"]


class HeadLosses(NamedTuple):
    """Of the box head, per image.

    Attributes:
      classes: Mean cross entropy of the sampled regions.
      boxes: Sum of smooth distances over regions with an object, per sampled region.
    """

    classes: Float[Array, " b"]
    boxes: Float[Array, " b"]


def proposal_losses(
    objectness: Float[Array, "b n"], offsets: Float[Array, "b n 4"], targets: AnchorTargets
) -> ProposalLosses:
    """Returns the losses of the logits and offsets of all anchors."""
    logits = jnp.take_along_axis(objectness, targets.places, axis=1)  # [b, s]
    offsets = jnp.take_along_axis(offsets, targets.places[..., None], axis=1)  # [b, s, 4]
    entropy = optax.sigmoid_binary_cross_entropy(logits, targets.positive.astype(logits.dtype))
    distance = smooth_distance(offsets, targets.offsets)
    return ProposalLosses(
        _per_image(entropy, targets.valid, targets.valid),
        _per_image(distance, targets.positive, targets.valid),
    )


def head_losses(
    logits: Float[Array, "b t k"], offsets: Float[Array, "b t k2 4"], regions: Regions
) -> HeadLosses:
    """Returns the losses of the logits and offsets of regions, which have one offset per class or one for all."""
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, regions.labels)
    distance = smooth_distance(_of_class(offsets, regions.labels, axis=2), regions.offsets)
    return HeadLosses(
        _per_image(entropy, regions.valid, regions.valid),
        _per_image(distance, regions.labels > 0, regions.valid),
    )


def mask_loss(
    logits: Float[Array, "b t m m k"], targets: Float[Array, "b t m m"], labels: Int[Array, "b t"]
) -> Float[Array, " b"]:
    """Returns the mean cross entropy of the pixels of regions with an object, in the mask of its class.

    Args:
      logits: For every class, or one for all.
      targets: In [0, 1].
      labels: Of the regions' objects; regions of class 0 do not count.
    """
    entropy = optax.sigmoid_binary_cross_entropy(_of_class(logits, labels, axis=4), targets)
    return _per_image(entropy.mean((2, 3)), labels > 0, labels > 0)


def smooth_distance(
    values: Float[Array, "*b c"], targets: Float[Array, "*b c"]
) -> Float[Array, "*b"]:
    """Returns the sum over the last axis of |d|, made a parabola below 1/9 (Girshick 2015, equation 3)."""
    distance = jnp.abs(values - targets)
    smooth = jnp.where(distance < _BETA, distance**2 / (2 * _BETA), distance - _BETA / 2)
    return smooth.sum(-1)


def _of_class(values: Array, labels: Int[Array, "b t"], axis: int) -> Array:
    """Returns the values of each region's class, without their axis; the only ones where classes share them."""
    if values.shape[axis] == 1:
        return jnp.squeeze(values, axis)
    index = labels.reshape(*labels.shape, *[1] * (values.ndim - 2))
    return jnp.squeeze(jnp.take_along_axis(values, index, axis=axis), axis)


def _per_image(
    values: Float[Array, "b s"], counted: Bool[Array, "b s"], all_of_them: Bool[Array, "b s"]
) -> Float[Array, " b"]:
    """Returns the sums of what is counted whose mean over images is their sum per one of all."""
    total = jnp.maximum(all_of_them.sum(), 1).astype(values.dtype)
    return jnp.where(counted, values, 0.0).sum(1) * (len(values) / total)
