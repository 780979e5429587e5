"""Image augmentation on whole batches: scale, padded crop, horizontal flip, colour jitter, mixing.

Maps and boxes that belong to the images are moved with them; only images change colour.

What to do is drawn first, for the whole batch of all hosts, from a generator that only (seed,
step) decide; each host then applies its rows. So neither a resumed run nor another number of
hosts changes a single pixel.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt8

from attokit.train.anchor_sampling import aim_at_object
from attokit.train.box_geometry import clip_boxes, keep_inside, mirror_boxes
from attokit.train.dataset import IGNORE, Batch
from attokit.train.mask_targets import cut_picture
from attokit.train.mixing import draw_mixing
from attokit.train.padded_boxes import box_areas
from attokit.train.scaled_window import Window, scale_image, scale_map

# What the maps of a batch hold outside of the image, by name: no class, no measurement.
MAP_FILLINGS: Mapping[str, int] = MappingProxyType(
    {"masks": IGNORE, "depths": 0, "instance_maps": 0}
)
_HALF = 127  # of 255: a cell of a picture that shows more than this is of the object


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training images are varied. The default does nothing.

    Attributes:
      crop_padding: Pixels added on every side before a crop of the original size.
      padding_mode: What the added pixels hold: zeros, or the image reflected. In masks they are
        `IGNORE`, in depths 0, whatever the images hold.
      scale: Smallest and largest factor by which an image is resized, bilinearly, and its masks, to
        the nearest pixel; then a window of the original size is cut out at a random place, or the
        smaller image is padded on random sides. Depths are divided by the factor. Factors are drawn
        evenly in their logarithm. Of boxes, those stay whose centre does.
      anchor_sizes: Sides of anchors in pixels, rising. Half of the images with boxes are then scaled such
        that one of their objects, chosen at random, comes near the size of one of them, and the window
        is cut out around it (data-anchor sampling); `scale` is for the other images.
      smallest_box: Pixels. An object whose box has a smaller area than a square of this side, after all that
        moves it, does not count: it is not learned, and nor is background there.
      flip: Whether half of the images are mirrored left to right.
      brightness: Largest relative change of all values; 0.2 means a factor in [0.8, 1.2].
      contrast: Largest relative change of the distance to the image's mean.
      saturation: Largest relative change of the distance to grey; needs three channels.
      mixup: Alpha of the Beta distribution of the share to which an image is blended with another of its
        batch, and its label with it; 0 for never. Classification only, as cutmix.
      cutmix: Alpha of the Beta distribution of the share that a box of another image leaves of an image;
        with mixup, each image gets one or the other.
    """

    crop_padding: int = 0
    padding_mode: Literal["zero", "reflect"] = "zero"
    scale: tuple[float, float] = (1.0, 1.0)
    anchor_sizes: tuple[float, ...] = ()
    smallest_box: float = 0.0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        """Refuses negative padding and factors that could turn negative."""
        for name in ("scale", "anchor_sizes"):  # JSON knows no tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < float("inf"):
            raise ValueError(
                f"scale is {self.scale}: give the smallest and the largest factor, both above 0"
            )
        rising = all(a < b for a, b in itertools.pairwise(self.anchor_sizes))
        if not rising or any(not 0 < size < float("inf") for size in self.anchor_sizes):
            raise ValueError(
                f"anchor_sizes are {self.anchor_sizes}: give rising numbers of pixels above 0"
            )
        if not 0 <= self.smallest_box < float("inf"):
            raise ValueError(f"smallest_box is {self.smallest_box}: give 0 or more pixels")
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding is {self.crop_padding}: give 0 or more pixels")
        if self.padding_mode not in ("zero", "reflect"):
            raise ValueError(f"padding_mode is {self.padding_mode!r}: choose zero or reflect")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}: give a number from 0 to 1")
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}: give 0, or a finite alpha above it")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others."""
        return bool(self.mixup or self.cutmix)

    @property
    def resizes(self) -> bool:
        """Whether images may be scaled."""
        return self.scale != (1.0, 1.0) or bool(self.anchor_sizes)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What was drawn for each image of a batch. All arrays share the leading axis.

    Attributes:
      top: Of the crop in the padded image, in pixels.
      left: Its counterpart.
      flip: Whether the image is mirrored.
      color: Factors of brightness, contrast and saturation.
      scale: Factor of the size.
      place: Where in the room that scaling makes the crop lies: shares of height and width.
      aim: Shares that decide data-anchor sampling: whether, which object, which anchor, how far from
        its size, and where in the window's height and width.
      mix_shares: Share of itself that an image keeps, as `mixing.draw_mixing` gives it.
      mix_boxes: The box in which the next image of the batch covers it.
    """

    top: Int[np.ndarray, " b"]
    left: Int[np.ndarray, " b"]
    flip: Bool[np.ndarray, " b"]
    color: Float[np.ndarray, "b 3"]
    scale: Float[np.ndarray, " b"]
    place: Float[np.ndarray, "b 2"]
    aim: Float[np.ndarray, "b 6"]
    mix_shares: Float[np.ndarray, " b"]
    mix_boxes: Float[np.ndarray, "b 4"]

    def rows(self, rows: slice) -> "Augmentation":
        """Returns the draws of some images of the batch."""
        return Augmentation(
            **{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)}
        )


def draw_augmentation(config: AugmentConfig, rng: np.random.Generator, count: int) -> Augmentation:
    """Returns one independent draw for each of `count` images.

    Every field is drawn whatever the config says, so that switching one on leaves the others.
    Arguments are evaluated in order, and new draws come last: a seed keeps its meaning.
    """
    smallest, largest = (float(end) for end in np.log(config.scale))
    spread = np.array([config.brightness, config.contrast, config.saturation], np.float32)
    drawn = dict(
        top=rng.integers(0, 2 * config.crop_padding + 1, count),
        left=rng.integers(0, 2 * config.crop_padding + 1, count),
        flip=(rng.random(count) < 0.5) & config.flip,
        color=1 + spread * rng.uniform(-1, 1, (count, 3)).astype(np.float32),
        scale=np.exp(rng.uniform(smallest, largest, count)),
        place=rng.random((count, 2)),
        aim=rng.random((count, 6)),
    )
    shares, boxes = draw_mixing(rng, count, mixup=config.mixup, cutmix=config.cutmix)
    return Augmentation(**drawn, mix_shares=shares, mix_boxes=boxes)


def _crop(
    arrays: Num[np.ndarray, "b h w *c"], draw: Augmentation, padding: int, filling: int | None
) -> Num[np.ndarray, "b h w *c"]:
    """Returns windows of padded arrays; without a filling the border is reflected."""
    _, height, width, *rest = arrays.shape
    widths = ((0, 0), (padding, padding), (padding, padding), *[(0, 0)] * len(rest))
    if filling is None:
        padded = np.pad(arrays, widths, "reflect")
    else:
        padded = np.pad(arrays, widths, constant_values=filling)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    cropped = windows[np.arange(len(arrays)), draw.top, draw.left]  # [b, *c, h, w]
    return np.moveaxis(cropped, (-2, -1), (1, 2))


def _windows(
    config: AugmentConfig, draw: Augmentation, index: int, size: tuple[int, int]
) -> tuple[Window, Window]:
    """Returns the rows and the columns of one image."""
    shifts = (draw.top[index] - config.crop_padding, draw.left[index] - config.crop_padding)
    vertical, horizontal = (
        Window.of(pixels, float(draw.scale[index]), float(place), int(shift))
        for pixels, place, shift in zip(size, draw.place[index], shifts, strict=True)
    )
    return vertical, horizontal


def _jitter(
    image: UInt8[np.ndarray, "h w c"], color: Float[np.ndarray, " 3"]
) -> UInt8[np.ndarray, "h w c"]:
    """Returns one image with brightness, contrast and saturation changed, in this order.

    All three are linear, so they are one product and one sum per pixel; one image at a time stays
    in the cache.
    """
    brightness, contrast, saturation = color
    values = image.reshape(-1, image.shape[-1]).astype(np.float32)
    mean = values.mean()
    if saturation == 1:
        values *= brightness * contrast
    else:
        share = brightness * contrast * (1 - saturation) / 3  # of each channel in the grey
        mix = np.full((3, 3), share, np.float32)
        mix[np.diag_indices(3)] += brightness * contrast * saturation
        values = values @ mix
    values += brightness * (1 - contrast) * mean
    np.rint(values, out=values)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8).reshape(image.shape)


def _check_images(config: AugmentConfig, images: UInt8[np.ndarray, "b h w c"]) -> None:
    """Raises ValueError if a setting does not fit the images."""
    if config.saturation and images.shape[-1] != 3:
        raise ValueError(
            f"saturation {config.saturation} needs RGB images, got {images.shape[-1]} channels: "
            "set saturation to 0"
        )
    if config.padding_mode == "reflect" and config.crop_padding >= min(images.shape[1:3]):
        raise ValueError(
            f"crop_padding {config.crop_padding} cannot be reflected from images of "
            f"{images.shape[1:3]} pixels: choose less, or padding_mode zero"
        )


def _mirror(
    config: AugmentConfig, draw: Augmentation, arrays: Num[np.ndarray, "b h w *c"]
) -> Num[np.ndarray, "b h w *c"]:
    """Returns the arrays, mirrored where it was drawn."""
    if not config.flip:
        return arrays
    out = arrays.copy()
    out[draw.flip] = arrays[draw.flip, :, ::-1]
    return out


def apply_augmentation(
    config: AugmentConfig, draw: Augmentation, images: UInt8[np.ndarray, "b h w c"]
) -> UInt8[np.ndarray, "b h w c"]:
    """Returns the images, varied as drawn.

    Raises:
      ValueError: if saturation is asked of images without three channels, or a reflected
        border is wider than the image.
    """
    _check_images(config, images)
    reflects = config.padding_mode == "reflect"
    if config.resizes:
        size = images.shape[1:3]
        images = np.stack(
            [
                scale_image(image, *_windows(config, draw, index, size), reflects)
                for index, image in enumerate(images)
            ]
        )
    elif config.crop_padding:
        images = _crop(images, draw, config.crop_padding, None if reflects else 0)
    images = _mirror(config, draw, images)
    if config.brightness or config.contrast or config.saturation:
        images = np.stack([*map(_jitter, images, draw.color)])
    return np.ascontiguousarray(images)


def move_maps(
    config: AugmentConfig, draw: Augmentation, maps: Num[np.ndarray, "b h w"], filling: int
) -> Num[np.ndarray, "b h w"]:
    """Returns maps of the same size as the images, moved with them; `filling` is put outside."""
    if config.resizes:
        size = maps.shape[1:]
        maps = np.stack(
            [
                scale_map(array, *_windows(config, draw, index, size), filling)
                for index, array in enumerate(maps)
            ]
        )
    elif config.crop_padding:
        maps = _crop(maps, draw, config.crop_padding, filling)
    return np.ascontiguousarray(_mirror(config, draw, maps))


def move_boxes(
    config: AugmentConfig,
    draw: Augmentation,
    boxes_xyxy: Float[np.ndarray, "b n 4"],
    labels: Int[np.ndarray, "b n"],
    size: tuple[int, int],
) -> tuple[Float[np.ndarray, "b n 4"], Int[np.ndarray, "b n"]]:
    """Returns padded boxes moved with images of (height, width), and their labels.

    What has its centre outside is there no more; what reaches outside is cut off; what is too small then
    does not count.
    """
    boxes_xyxy = _scaled_boxes(config, draw, boxes_xyxy, size)
    if config.flip:
        mirrored = mirror_boxes(boxes_xyxy, size[1])
        boxes_xyxy = np.where(draw.flip[:, None, None], mirrored, boxes_xyxy)
    boxes_xyxy, labels = keep_inside(boxes_xyxy, labels, size)
    small = box_areas(boxes_xyxy) < config.smallest_box**2
    return boxes_xyxy, np.where(small, -np.abs(labels), labels)


def _scaled_boxes(
    config: AugmentConfig,
    draw: Augmentation,
    boxes_xyxy: Float[np.ndarray, "b n 4"],
    size: tuple[int, int],
) -> Float[np.ndarray, "b n 4"]:
    """Returns boxes scaled and shifted with their images, whole, before any mirroring."""
    if not (config.resizes or config.crop_padding):
        return boxes_xyxy
    moved = np.empty_like(boxes_xyxy)
    for index, boxes in enumerate(boxes_xyxy):
        rows, columns = _windows(config, draw, index, size)
        factors = np.array([columns.scaled / size[1], rows.scaled / size[0]] * 2)
        moved[index] = boxes * factors[None] - np.array([[columns.start, rows.start] * 2])
    return moved


def move_pictures(
    config: AugmentConfig,
    draw: Augmentation,
    boxes_xyxy: Float[np.ndarray, "b n 4"],
    pictures: UInt8[np.ndarray, "b n m m"],
    size: tuple[int, int],
) -> UInt8[np.ndarray, "b n m m"]:
    """Returns the pictures of boxes that move with images of (height, width), as pictures of what `move_boxes` leaves.

    A box that is cut off at the border has a picture of the part inside.
    """
    if config.resizes or config.crop_padding:
        whole = _scaled_boxes(config, draw, boxes_xyxy, size)
        inside = clip_boxes(whole, size)
        cut = np.any(inside != whole, -1) & (box_areas(inside) > 0)
        pictures = pictures.copy()
        for place in zip(*np.nonzero(cut), strict=True):
            pictures[place] = cut_picture(pictures[place], whole[place], inside[place])
    return _mirror_pictures(config, draw, pictures)


def _mirror_pictures(
    config: AugmentConfig, draw: Augmentation, pictures: UInt8[np.ndarray, "b n m m"]
) -> UInt8[np.ndarray, "b n m m"]:
    if not config.flip:
        return pictures
    return np.where(draw.flip[:, None, None, None], pictures[..., ::-1], pictures)


def _aimed(config: AugmentConfig, draw: Augmentation, batch: Batch) -> Augmentation:
    """Returns the draws with those of data-anchor sampling in the place of scale and crop."""
    if not config.anchor_sizes or "boxes" not in batch:
        return draw
    top, left, scale, place = (a.copy() for a in (draw.top, draw.left, draw.scale, draw.place))
    size = batch["images"].shape[1:3]
    for index, (boxes, labels) in enumerate(zip(batch["boxes"], batch["box_labels"], strict=True)):
        aim = aim_at_object(boxes[labels > 0], size, config.anchor_sizes, draw.aim[index])
        if aim is not None:
            scale[index], place[index] = aim.scale, 0
            top[index] = aim.top + config.crop_padding
            left[index] = aim.left + config.crop_padding
    return dataclasses.replace(draw, top=top, left=left, scale=scale, place=place)


def augment_batch(config: AugmentConfig, draw: Augmentation, batch: Batch) -> Batch:
    """Returns a batch with its images varied as drawn and its maps and boxes moved with them.

    Maps are `masks`, `depths` and `instance_maps`; boxes are as `train.padded_boxes` has them, pictures of them
    (`instance_masks`) as `train.instances` does; after crops and scaling, an object whose picture shows no pixel
    of it does not count. What comes twice as close is twice as large: depths are divided by the scale
    (Eigen et al., section 3.4). Other arrays, such as `labels`, stay as they are.

    Raises:
      ValueError: as `apply_augmentation` does, or if reflected borders would show objects without boxes, or the
        exact pixels of objects are there, which are for evaluation.
    """
    size = batch["images"].shape[1:3]
    if "boxes" in batch and config.padding_mode == "reflect":
        raise ValueError(
            "padding_mode reflect repeats objects at the border, and no box names them there: choose zero"
        )
    if "instance_bits" in batch:
        raise ValueError(
            "the batch to augment has instance_bits, the exact pixels of a split to evaluate on: give "
            "instance_masks alone"
        )
    draw = _aimed(config, draw, batch)
    moved = {"images": apply_augmentation(config, draw, batch["images"])}
    for name, filling in MAP_FILLINGS.items():
        if name in batch:
            moved[name] = move_maps(config, draw, batch[name], filling)
    if "depths" in moved:
        moved["depths"] = moved["depths"] / draw.scale[:, None, None].astype(np.float32)
    if "instance_masks" in batch:
        moved["instance_masks"] = move_pictures(
            config, draw, batch["boxes"], batch["instance_masks"], size
        )
    if "boxes" in batch:
        moved["boxes"], labels = move_boxes(config, draw, batch["boxes"], batch["box_labels"], size)
        if "instance_masks" in moved and (config.resizes or config.crop_padding):
            # What is left of a box may hold nothing of its object.
            seen = (moved["instance_masks"] > _HALF).any((-2, -1))
            labels = np.where(seen, labels, -np.abs(labels))
        moved["box_labels"] = labels
    if config.mixes:
        moved |= {"mix_shares": draw.mix_shares, "mix_boxes": draw.mix_boxes}
    return batch | moved
