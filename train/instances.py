"""What batches of instance segmentation hold beside boxes: a mask for every row.

`instance_masks` (uint8 [b, n, m, m]) are pictures of the boxes (`train.mask_targets`), of which there can be many
at little cost; what has no area is empty. Splits to evaluate on hold `instance_bits` too (uint8 [b, n, h, w / 8]),
the pixels themselves, eight in a byte, because pictures blur their borders; instances may overlap in both.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from attokit.train.padded_boxes import check_boxes

MASK_SIZE = 56
"""Rows and columns of pictures, unless told otherwise: twice those of what mask heads give."""


def check_instances(batch: Mapping[str, np.ndarray], num_classes: int) -> None:
    """Refuses what `check_boxes` does, and masks that are none of the boxes.

    Raises:
      ValueError: if there are such boxes or masks in the batch, or none.
    """
    check_boxes(batch, num_classes)
    if "instance_masks" not in batch:
        raise ValueError(
            f"a batch holds {', '.join(batch)}, but no instance_masks: give a picture of every box, "
            "[b, n, m, m]"
        )
    masks, labels = batch["instance_masks"], batch["box_labels"]
    if masks.ndim != 4 or masks.shape[:2] != labels.shape or masks.shape[2] != masks.shape[3]:
        raise ValueError(
            f"instance_masks of shape {masks.shape} do not fit box_labels of shape {labels.shape}: give a "
            "square picture of every box, [b, n, m, m]"
        )
    if masks.dtype != np.uint8:
        raise ValueError(
            f"instance_masks are {masks.dtype}: give uint8, 255 where a cell is covered whole"
        )
    _check_bits(batch)


def _check_bits(batch: Mapping[str, np.ndarray]) -> None:
    bits: UInt8[np.ndarray, "b n h w8"] | None = batch.get("instance_bits")
    if bits is None:
        return
    height, width = batch["images"].shape[1:3]
    wanted = (*batch["box_labels"].shape, height, -(-width // 8))
    if bits.shape != wanted or bits.dtype != np.uint8:
        raise ValueError(
            f"instance_bits are {bits.dtype} of shape {bits.shape} where images and boxes need uint8 of "
            f"{wanted}: pack the pixels of every row by eights (pack_bits)"
        )
