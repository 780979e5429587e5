"""How folders of images and masks are laid out, one row per layout."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from attokit.train import camvid
from attokit.train.dataset import IGNORE
from attokit.train.image_folder import is_image
from attokit.train.mask_image import Meaning, plain_ids

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
CITYSCAPES_CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle",
    "bicycle",
)  # fmt: skip

Frames = dict[str, list[tuple[pathlib.Path, str]]]
"""By split: images with the key that their masks share."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Where images and masks lie under a folder.

    Attributes:
      shape: How errors and documents write it.
      marks: Folders by which it is recognized.
      frames: Finds the images of a folder.
      mask: Where the mask of an image lies, from its `split` and `key`.
      class_names: In the order of the ids; None where a file of the folder must name them.
      meaning: Of what the masks hold; None where it follows from the classes.
    """

    shape: str
    marks: tuple[str, ...]
    frames: Callable[[pathlib.Path], Frames]
    mask: str
    class_names: tuple[str, ...] | None = None
    meaning: Meaning | None = None


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the images in a folder and its folders, sorted."""
    return sorted(p for p in folder.rglob("*") if is_image(p.relative_to(folder)))


def _by_folder(images: str, masks: str, suffix: str = "") -> Callable[[pathlib.Path], Frames]:
    """Returns a search where each split has a folder; one without masks is not labelled."""
    depth = images.split("/").index("{split}")

    def frames(folder: pathlib.Path) -> Frames:
        found: Frames = {}
        for inside in sorted(folder.glob(images.format(split="*"))):
            split = inside.relative_to(folder).parts[depth]
            labelled = (folder / masks.format(split=split)).is_dir()
            if inside.is_dir() and labelled and not split.startswith("."):
                found[split] = [
                    (path, path.relative_to(inside).with_suffix("").as_posix().removesuffix(suffix))
                    for path in _images(inside)
                ]
        return found

    return frames


def _by_list(images: str, lists: str) -> Callable[[pathlib.Path], Frames]:
    """Returns a search where each split has a text file with one name per line."""

    def frames(folder: pathlib.Path) -> Frames:
        return {
            path.stem: [
                (folder / images.format(key=name), name)
                for name in path.read_text(encoding="utf-8").split()
            ]
            for path in sorted(folder.glob(lists))
        }

    return frames


def _by_name(images: str, split_of: Callable[[str], str]) -> Callable[[pathlib.Path], Frames]:
    """Returns a search where the name of an image tells its split."""

    def frames(folder: pathlib.Path) -> Frames:
        found: Frames = {}
        for path in _images(folder / images):
            found.setdefault(split_of(path.stem), []).append((path, path.stem))
        return found

    return frames


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "plain": Layout(
            shape="SPLIT/images/NAME.* with SPLIT/masks/NAME.png",
            marks=("train/images", "train/masks"),
            frames=_by_folder("{split}/images", "{split}/masks"),
            mask="{split}/masks/{key}.png",
        ),
        "camvid": Layout(
            shape="SPLIT/NAME.png with SPLITannot/NAME.png (CamVid, 11 classes)",
            marks=("train", "trainannot"),
            frames=_by_folder("{split}", "{split}annot"),
            mask="{split}annot/{key}.png",
            class_names=camvid.CLASSES,
            meaning=MappingProxyType(plain_ids(len(camvid.CLASSES)) | {camvid.VOID: IGNORE}),
        ),
        "camvid_colors": Layout(
            shape="701_StillsRaw_full/NAME.png with LabeledApproved_full/NAME_L.png (CamVid)",
            marks=("701_StillsRaw_full", "LabeledApproved_full"),
            frames=_by_name("701_StillsRaw_full", camvid.split_of),
            mask="LabeledApproved_full/{key}_L.png",
            class_names=camvid.CLASSES,
            meaning=camvid.COLOR_CLASSES,
        ),
        "voc": Layout(
            shape="JPEGImages/NAME.jpg with SegmentationClass/NAME.png (PASCAL VOC)",
            marks=("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"),
            frames=_by_list("JPEGImages/{key}.jpg", "ImageSets/Segmentation/*.txt"),
            mask="SegmentationClass/{key}.png",
            class_names=VOC_CLASSES,
        ),
        "cityscapes": Layout(
            shape="leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png with "
            "gtFine/SPLIT/CITY/NAME_gtFine_labelTrainIds.png (Cityscapes)",
            marks=("leftImg8bit", "gtFine"),
            frames=_by_folder("leftImg8bit/{split}", "gtFine/{split}", "_leftImg8bit"),
            mask="gtFine/{split}/{key}_gtFine_labelTrainIds.png",
            class_names=CITYSCAPES_CLASSES,
        ),
    }
)


def find_layout(folder: pathlib.Path) -> Layout | None:
    """Returns the layout of a folder of images and masks, or None if it has none of them."""
    for layout in LAYOUTS.values():
        if all((folder / mark).is_dir() for mark in layout.marks):
            return layout
    return None
