"""What a detector's numbers start from: boxes all over the image, and the units of the offsets."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attokit.zoo.box_coder import SSD_WEIGHTS, decode_boxes, encode_boxes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Anchors:
    """The boxes from which a detector names others; compared by identity.

    Attributes:
      boxes_xyxy: In pixels, in the order of the detector's outputs; they may reach out of the image.
      image_size: Height and width in pixels.
      weights: What offsets of x, y, width and height are multiplied by; see `zoo.box_coder`.
    """

    boxes_xyxy: Float[np.ndarray, "p 4"]
    image_size: tuple[int, int]
    weights: tuple[float, float, float, float] = SSD_WEIGHTS

    @classmethod
    def of_priors(
        cls,
        priors_cxcywh: Float[np.ndarray, "p 4"],
        image_size: tuple[int, int],
        weights: tuple[float, float, float, float] = SSD_WEIGHTS,
    ) -> "Anchors":
        """Returns the anchors of prior boxes that are given in shares of width and height."""
        centres, half = priors_cxcywh[:, :2], priors_cxcywh[:, 2:] / 2
        boxes = np.concatenate([centres - half, centres + half], -1)
        pixels = np.array([image_size[::-1] * 2], np.float32)
        return cls(boxes_xyxy=boxes * pixels, image_size=image_size, weights=weights)

    def encode(self, boxes_xyxy: Float[Array, "*b p 4"]) -> Float[Array, "*b p 4"]:
        """Returns the offsets that lead from each anchor to its box, in pixels."""
        return encode_boxes(boxes_xyxy, self._like(boxes_xyxy), weights=self.weights)

    def decode(self, offsets: Float[Array, "*b p 4"]) -> Float[Array, "*b p 4"]:
        """Returns the boxes (xyxy, in pixels) that offsets name, one for each anchor."""
        return decode_boxes(offsets, self._like(offsets), weights=self.weights)

    def _like(self, array: Array) -> Float[Array, "*b p 4"]:
        return jnp.asarray(self.boxes_xyxy.reshape((1,) * (array.ndim - 2) + (-1, 4)))


def network_anchors(network: Any, image_size: tuple[int, int]) -> Anchors | None:
    """Returns the anchors of a detector of the zoo; None for what is no such detector.

    Raises:
      ValueError: if the detector does not take images of that size.
    """
    priors = getattr(getattr(network, "config", None), "priors", None)
    return None if priors is None else Anchors.of_priors(priors(image_size), image_size)
