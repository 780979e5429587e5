"""Masks of whole images as run lengths, the form in which COCO stores and compares them.

All of it is for the host: a detector's masks are pictures of its boxes, which are pasted and packed here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8

Rle = Mapping[str, Any]
"""`size`, height and width, and `counts`, lengths of runs down the columns, as COCO packs them."""


def encode_masks(masks: Bool[np.ndarray, "n h w"]) -> list[Rle]:
    """Returns the run lengths of masks."""
    from faster_coco_eval import mask  # here: only evaluation and COCO's files need it

    return mask.encode(np.asfortranarray(masks.astype(np.uint8).transpose(1, 2, 0)))


def decode_masks(rles: Sequence[Rle]) -> Bool[np.ndarray, "n h w"]:
    """Returns masks of run lengths, of which there is at least one."""
    from faster_coco_eval import mask

    return mask.decode(list(rles)).transpose(2, 0, 1).astype(bool)


def rle_areas(rles: Sequence[Rle]) -> Float[np.ndarray, " n"]:
    """Returns the pixels of masks."""
    from faster_coco_eval import mask

    return np.asarray(mask.area(list(rles)) if rles else [], np.float64)


def rle_iou(rle: Rle, others: Sequence[Rle]) -> Float[np.ndarray, " n"]:
    """Returns the intersection over union of a mask with every other one, of which there is at least one."""
    from faster_coco_eval import mask

    return np.asarray(mask.iou([rle], list(others), [0] * len(others)), np.float64)[0]


def paste_mask(
    picture: Num[np.ndarray, "m m"], box_xyxy: Float[np.ndarray, " 4"], size: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
    """Returns the pixels of an image that a picture of a box covers by at least half.

    The same as `zoo.paste_masks`, cut at a half, but only the box is computed.

    Args:
      picture: From 0 to 1 as floats, to 255 as bytes.
      box_xyxy: In pixels. A box of no size covers nothing.
      size: Height and width of the image.
    """
    out = np.zeros(size, bool)
    half = 127.5 if picture.dtype == np.uint8 else 0.5
    left, top, right, bottom = map(float, box_xyxy)
    if not (right > left and bottom > top):
        return out
    rows, row_weights = _weights(top, bottom, size[0], len(picture))
    columns, column_weights = _weights(left, right, size[1], len(picture))
    values = row_weights @ picture.astype(np.float32) @ column_weights.T
    out[rows, columns] = values > half
    return out


def _weights(
    low: float, high: float, pixels: int, cells: int
) -> tuple[slice, Float[np.ndarray, "p cells"]]:
    """Returns which pixels along an axis a box may cover, and how much each reads of each cell."""
    reach = (high - low) / cells / 2  # half a cell around the box
    first = min(max(0, int(np.floor(low - reach))), pixels)
    last = max(first, min(pixels, int(np.ceil(high + reach))))
    place = (np.arange(first, last) + 0.5 - low) / (high - low) * cells - 0.5
    distance = np.abs(place[:, None] - np.arange(cells)[None])
    return slice(first, last), np.maximum(1 - distance, 0).astype(np.float32)


def pack_bits(masks: Bool[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n h w8"]:
    """Returns masks with eight pixels of a row in a byte, the form in which batches hold them."""
    return np.packbits(masks, axis=-1)


def unpack_bits(bits: UInt8[np.ndarray, "n h w8"], width: int) -> Bool[np.ndarray, "n h w"]:
    """Returns the masks that `pack_bits` packed."""
    return np.unpackbits(bits, axis=-1, count=width).astype(bool)
