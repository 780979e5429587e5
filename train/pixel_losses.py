"""Losses of dense classification: one value per image, never reduced further.

All take logits [b, h, w, k] and masks [b, h, w] of class ids. A pixel whose id is no class, such as
`IGNORE`, is left out; an image of such pixels alone costs exactly 0 and has a gradient of 0.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from attokit.train.losses import softmax_cross_entropy

PixelLossName = Literal["cross_entropy", "dice", "lovasz", "focal", "cross_entropy_dice"]
PixelLoss = Callable[..., Float[Array, " b"]]

# Of the focal loss: the value that Lin et al. found best (table 1b).
_FOCUS = 2.0
# Of the integer that stands for an error in a sort.
_FEWEST_ERROR_BITS = 12


def labels_and_valid(
    masks: Integer[Array, "*b"], num_classes: int
) -> tuple[Int[Array, "*b"], Bool[Array, "*b"]]:
    """Returns class ids (0 where there is none) and where there is one."""
    ids = masks.astype(jnp.int32)  # before comparing: in a byte, 300 classes would wrap
    valid = (ids >= 0) & (ids < num_classes)
    return jnp.where(valid, ids, 0), valid


def _weights(class_weights: Sequence[float] | None, num_classes: int) -> Float[Array, " k"]:
    """Returns the weight of each class; 1 unless told otherwise."""
    if class_weights is None:
        return jnp.ones(num_classes, jnp.float32)
    return jnp.asarray(class_weights, jnp.float32)


def _mean_over_valid(
    values: Float[Array, "b h w"], valid: Bool[Array, "b h w"]
) -> Float[Array, " b"]:
    """Returns the mean over the valid pixels of each image, 0 where there are none."""
    total = jnp.where(valid, values, 0).sum((1, 2))
    return total / jnp.maximum(valid.sum((1, 2)), 1).astype(jnp.float32)


def _mean_over_present(
    values: Float[Array, "b k"], present: Bool[Array, "b k"], weights: Float[Array, " k"]
) -> Float[Array, " b"]:
    """Returns the weighted mean over the classes that an image holds, 0 where there are none."""
    weights = jnp.where(present, weights[None], 0)  # [b, k]
    total = weights.sum(-1)
    return (weights * values).sum(-1) / jnp.where(total > 0, total, 1)


def pixel_cross_entropy(
    logits: Float[Array, "b h w k"],
    masks: Integer[Array, "b h w"],
    *,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Array, " b"]:
    """Returns the mean of `w[y] * (-log p[y])` over the valid pixels of each image, in nats.

    The divisor is the number of pixels, not the sum of their weights, so a weighted class weighs
    the same whatever else is in the image (Eigen and Fergus, "Predicting depth, surface normals
    and semantic labels with a common multi-scale convolutional architecture", section 4.3).
    """
    labels, valid = labels_and_valid(masks, logits.shape[-1])
    values = softmax_cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return _mean_over_valid(values * _weights(class_weights, logits.shape[-1])[labels], valid)


def focal_loss(
    logits: Float[Array, "b h w k"],
    masks: Integer[Array, "b h w"],
    *,
    class_weights: Sequence[float] | None = None,
) -> Float[Array, " b"]:
    """Returns the mean of `w[y] * (1 - p[y])^2 * (-log p[y])` over the valid pixels of each image.

    Lin et al., "Focal loss for dense object detection", equation 5. Deviation: the softmax of all
    classes in the place of one sigmoid each, and the mean over pixels, none of which is an anchor.
    """
    labels, valid = labels_and_valid(masks, logits.shape[-1])
    cost = softmax_cross_entropy(logits, labels)
    values = (1 - jnp.exp(-cost)) ** _FOCUS * cost
    return _mean_over_valid(values * _weights(class_weights, logits.shape[-1])[labels], valid)


def dice_loss(
    logits: Float[Array, "b h w k"],
    masks: Integer[Array, "b h w"],
    *,
    class_weights: Sequence[float] | None = None,
) -> Float[Array, " b"]:
    """Returns `1 - 2 sum(p y) / (sum(p) + sum(y))`, averaged over the classes of each image.

    Milletari et al., "V-Net", section 3. Deviation: sums of p and y where the paper has sums of
    their squares (as Sudre et al., "Generalised Dice overlap"); the mean is over the classes that
    the mask of the image holds, so that nothing need be added to an empty denominator.
    """
    labels, valid = labels_and_valid(masks, logits.shape[-1])
    valid_pixels = valid[..., None]
    probabilities = jnp.where(valid_pixels, jax.nn.softmax(logits.astype(jnp.float32)), 0)
    targets = jnp.where(valid_pixels, jax.nn.one_hot(labels, logits.shape[-1]), 0)
    overlap = (probabilities * targets).sum((1, 2))  # [b, k]
    of_targets = targets.sum((1, 2))
    present = of_targets > 0
    size = jnp.where(present, probabilities.sum((1, 2)) + of_targets, 1)
    weights = _weights(class_weights, logits.shape[-1])
    return _mean_over_present(1 - 2 * overlap / size, present, weights)


def _falling_order(errors: Float[Array, "b k n"]) -> Int[Array, "b k n"]:
    """Returns the places of errors in [0, 1], largest first.

    Error and place share one integer, which XLA's CPU sorts eight times as fast as a pair. Errors are
    told apart down to 2^-24 in 256 pixels, 2^-12 in a million; where that is not enough, pairs are
    sorted. Neighbours that are so changed places change the loss by no more than that.
    """
    places = jnp.broadcast_to(jnp.arange(errors.shape[-1])[None, None], errors.shape)
    place_bits = (errors.shape[-1] - 1).bit_length()
    error_bits = min(32 - place_bits, 24)  # float32 has no more
    if error_bits < _FEWEST_ERROR_BITS:
        return jax.lax.sort((-errors, places), dimension=2, num_keys=1)[1]
    keys = (jnp.clip(1 - errors, 0, 1) * (2**error_bits - 1)).astype(jnp.uint32)
    keys = (keys << place_bits) | places.astype(jnp.uint32)
    keys = jax.lax.sort(keys, dimension=2, is_stable=False)
    return (keys & (2**place_bits - 1)).astype(jnp.int32)


def _jaccard_steps(foreground: Bool[Array, "b k n"]) -> Float[Array, "b k n"]:
    """Returns by how much each pixel raises the Jaccard loss as the next one to be wrong.

    Pixels come in order. With I of the class still right and U in the union before it, a pixel of
    the class raises the loss 1 - I / U by 1 / U, another pixel by I / (U (U + 1)): what the
    difference of neighbours in algorithm 1 of the paper is, but without its cancellation.
    """
    inside = foreground.astype(jnp.float32)
    total = inside.sum(-1, keepdims=True)
    right = total - jnp.cumsum(inside, -1)
    union = total + jnp.cumsum(1 - inside, -1)  # after this pixel
    before = jnp.maximum(union - (1 - inside), 1)  # 0 only in a class that is not there
    return jnp.where(foreground, 1 / before, right / (before * (before + 1)))


def lovasz_softmax(
    logits: Float[Array, "b h w k"],
    masks: Integer[Array, "b h w"],
    *,
    class_weights: Sequence[float] | None = None,
) -> Float[Array, " b"]:
    """Returns the Lovász extension of the Jaccard loss, averaged over the classes of each image.

    Berman et al., "The Lovász-softmax loss", equations 9 and 11: per class, the errors `|y - p|` in
    falling order, each times the rise of the loss that its pixel brings. It costs a sort of all
    pixels per class.
    """
    b, _, _, k = logits.shape
    labels, valid = labels_and_valid(masks, k)
    probabilities = jax.nn.softmax(logits.astype(jnp.float32))
    probabilities = jnp.moveaxis(probabilities.reshape(b, -1, k), -1, 1)  # [b, k, n]
    labels, valid = labels.reshape(b, 1, -1), valid.reshape(b, 1, -1)
    foreground = (labels == jnp.arange(k)[None, :, None]) & valid
    errors = jnp.where(foreground, 1 - probabilities, probabilities)
    # Ignored pixels are right, and so last, where they change no step before them.
    errors = jnp.where(valid, errors, 0)
    order = _falling_order(jax.lax.stop_gradient(errors))
    steps = _jaccard_steps(jnp.take_along_axis(foreground, order, axis=-1))
    # The steps move to their pixels, not the errors to their steps: the gradient is a product then.
    rows = (jnp.arange(b)[:, None, None], jnp.arange(k)[None, :, None], order)
    steps = jnp.zeros_like(steps).at[rows].set(steps, unique_indices=True)
    weights = _weights(class_weights, k)
    return _mean_over_present((errors * steps).sum(-1), foreground.any(-1), weights)


def cross_entropy_dice(
    logits: Float[Array, "b h w k"],
    masks: Integer[Array, "b h w"],
    *,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Array, " b"]:
    """Returns the sum of cross entropy and Dice loss (Isensee et al., "nnU-Net")."""
    return pixel_cross_entropy(
        logits, masks, class_weights=class_weights, label_smoothing=label_smoothing
    ) + dice_loss(logits, masks, class_weights=class_weights)


PIXEL_LOSSES: Mapping[str, PixelLoss] = MappingProxyType(
    {
        "cross_entropy": pixel_cross_entropy,
        "dice": dice_loss,
        "lovasz": lovasz_softmax,
        "focal": focal_loss,
        "cross_entropy_dice": cross_entropy_dice,
    }
)


def find_pixel_loss(name: str) -> PixelLoss:
    """Returns a loss by name.

    Raises:
      ValueError: if the name is unknown; the text offers near ones.
    """
    if name in PIXEL_LOSSES:
        return PIXEL_LOSSES[name]
    near = difflib.get_close_matches(name, PIXEL_LOSSES, n=3, cutoff=0.4) or list(PIXEL_LOSSES)
    raise ValueError(f"no loss of pixels {name!r}: did you mean {' or '.join(near)}")
