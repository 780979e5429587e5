"""Images of any size in one of a fixed size: the whole image, as large as it goes, and padding below and beside it.

`image_info` (float32 [4, 2], height before width) says what was done, by which what is found goes back to the image
as it was: its size, the fixed size, the factors, and how many pixels were cut off at the top and the left (none here).
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from attokit.train.photo import with_channels

Info = Float[np.ndarray, "4 2"]


def resize_and_pad(
    image: Image.Image, shape: tuple[int, int, int]
) -> tuple[UInt8[np.ndarray, "h w c"], Info]:
    """Returns an image of a shape, with 1 or 3 channels, zeros where it is padded; and its `image_info`."""
    info = fit_whole((image.height, image.width), shape[:2])
    height, width = scaled_size(info)
    image = with_channels(image, shape[2])
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    out = np.zeros(shape, np.uint8)
    out[:height, :width] = pixels.reshape(height, width, shape[2])
    return out, info


def fit_whole(image_size: tuple[int, int], size: tuple[int, int]) -> Info:
    """Returns the `image_info` of an image of (height, width) that is to fit whole into another size."""
    scale = min(new / old for new, old in zip(size, image_size, strict=True))
    scaled = [
        min(new, max(1, round(old * scale))) for new, old in zip(size, image_size, strict=True)
    ]
    factors = [new / old for new, old in zip(scaled, image_size, strict=True)]
    return np.array([image_size, size, factors, (0, 0)], np.float32)


def scaled_size(info: Info) -> tuple[int, int]:
    """Returns height and width of the image without the padding."""
    height, width = np.round(info[0] * info[2]).astype(int).tolist()
    return height, width


def resize_and_pad_mask(
    mask: Bool[np.ndarray, "h w"], info: Info
) -> Bool[np.ndarray, "height width"]:
    """Returns a mask moved with its image: a pixel is in it if at least half of it is."""
    height, width = scaled_size(info)
    shares = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        (width, height), Image.Resampling.BOX
    )
    out = np.zeros(info[1].astype(int), bool)
    out[:height, :width] = np.asarray(shares) >= 128
    return out


def boxes_in_fitted(boxes_xyxy: Float[np.ndarray, "n 4"], info: Info) -> Float[np.ndarray, "n 4"]:
    """Returns boxes of an image as it was, in the fixed size; pixels."""
    factors, shifts = np.tile(info[2, ::-1], 2), np.tile(info[3, ::-1], 2)
    return (boxes_xyxy * factors[None] - shifts[None]).astype(np.float32)


def boxes_in_original(
    boxes_xyxy: Float[np.ndarray, "n 4"], info: Info, *, cut: bool = True
) -> Float[np.ndarray, "n 4"]:
    """Returns boxes in the fixed size, in the image as it was; pixels.

    Args:
      boxes_xyxy: In the fixed size.
      info: What was done with the image.
      cut: Whether they are cut off at its border. Who pastes masks into them wants them whole.
    """
    factors, shifts = np.tile(info[2, ::-1], 2), np.tile(info[3, ::-1], 2)
    boxes = ((boxes_xyxy + shifts[None]) / factors[None]).astype(np.float32)
    limits = np.tile(info[0, ::-1], 2)
    return np.clip(boxes, 0, limits[None]) if cut else boxes
