"""COCO's JSON files: boxes of objects, and the wake words data set that is derived from them.

`annotations/instances_SPLIT.json` with its images in `SPLIT` or `images/SPLIT`; a year behind the name of a split
(train2017) is left out of it. Visual wake words (Chowdhery et al., "Visual wake words dataset") asks
whether a person is in an image: yes if the box of one takes more than 0.5 % of its area.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from attokit.train.box_records import BoxRecord
from attokit.train.dataset import Batch, Dataset, RecordSource
from attokit.train.image_folder import read_image

WAKE_WORD_CLASSES = ("no person", "person")
_LEAST_SHARE = 0.005  # of the area of an image
_PREFIX = "instances_"


def annotation_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the JSON file of each split.

    Raises:
      ValueError: if a split has files of two years.
    """
    files: dict[str, pathlib.Path] = {}
    for path in sorted((folder / "annotations").glob(f"{_PREFIX}*.json")):
        split = re.sub(r"\d{4}$", "", _stem(path))
        if split in files:
            raise ValueError(
                f"{files[split]} and {path} are both the split {split!r}: leave only one of them there"
            )
        files[split] = path
    return files


def is_coco(folder: pathlib.Path) -> bool:
    """Returns whether a folder is laid out as COCO is."""
    return any((folder / "annotations").glob(f"{_PREFIX}*.json"))


def _stem(path: pathlib.Path) -> str:
    return path.stem.removeprefix(_PREFIX)


def _images(folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    """Returns the folder with the images of a JSON file."""
    candidates = [folder / _stem(path), folder / "images" / _stem(path)]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise ValueError(
        f"{folder} has {path.name} but no folder {_stem(path)} with its images: unpack them beside it"
    )


def _parsed(
    path: pathlib.Path, *fields: str
) -> tuple[dict[int, dict], dict[int, list[dict]], dict[int, str]]:
    """Returns images by id, which have some fields, annotations by image, and names of categories by id."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        by_image: dict[int, list[dict]] = {number: [] for number in images}
        for number, image in images.items():
            if missing := [name for name in fields if name not in image]:
                raise ValueError(f"image {number} has no {', '.join(missing)}")
        for annotation in content["annotations"]:
            box = np.asarray(annotation["bbox"], np.float64).reshape(4)
            if not np.isfinite(box).all():
                raise ValueError(
                    f"annotation {annotation.get('id')} has the bbox {box.tolist()}, which is not finite"
                )
            if annotation["category_id"] not in names:
                raise ValueError(
                    f"annotation {annotation.get('id')} has category {annotation['category_id']}, which has no name"
                )
            if annotation["image_id"] not in images:
                raise ValueError(
                    f"annotation {annotation.get('id')} is of image {annotation['image_id']}, which is not there"
                )
            by_image[annotation["image_id"]].append(annotation)
        return images, by_image, names
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ValueError(
            f"{path} is no COCO file of instances ({type(err).__name__}: {err}): give one with images, "
            "annotations and categories"
        ) from err


@dataclasses.dataclass(frozen=True, eq=False)
class CocoImage:
    """An image of a JSON file.

    Attributes:
      path: The image.
      annotations: Of its objects, as the file has them.
      ids: The class of each category.
    """

    path: pathlib.Path
    annotations: list[dict]
    ids: Mapping[int, int]

    @property
    def boxes_xyxy(self) -> Float[np.ndarray, "n 4"]:
        """The boxes of the objects, in pixels."""
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in self.annotations)]
        return np.asarray(boxes, np.float32).reshape(-1, 4)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Their classes; minus those of crowds, which do not count."""
        signs = [-1 if a.get("iscrowd") else 1 for a in self.annotations]
        classes = [self.ids[a["category_id"]] for a in self.annotations]
        return np.asarray(signs, np.int32) * np.asarray(classes, np.int32)


def read_coco(folder: pathlib.Path) -> tuple[tuple[str, ...], dict[str, list[BoxRecord]]]:
    """Returns class names (background first, then by id) and the images of each split with their objects.

    Crowds do not count.

    Raises:
      ValueError: as `read_annotations` does.
    """
    names, splits = read_annotations(folder)
    return names, {
        split: [BoxRecord(image.path, image.boxes_xyxy, image.labels) for image in images]
        for split, images in splits.items()
    }


def read_annotations(folder: pathlib.Path) -> tuple[tuple[str, ...], dict[str, list[CocoImage]]]:
    """Returns class names (background first, then by id) and the images of each split.

    Raises:
      ValueError: if a file is damaged, splits have other categories, or images are nowhere.
    """
    splits, categories = {}, {}
    for split, path in annotation_files(folder).items():
        root = _images(folder, path)
        images, by_image, categories[path] = _parsed(path, "file_name")
        ids = {number: label for label, number in enumerate(sorted(categories[path]), start=1)}
        splits[split] = [
            CocoImage(root / image["file_name"], by_image[number], ids)
            for number, image in images.items()
        ]
    (first, names), *others = categories.items()
    for path, other in others:
        if other != names:
            raise ValueError(
                f"{path} and {first} have different categories: give splits of one data set"
            )
    return ("background", *(names[number] for number in sorted(names))), splits


def load_visual_wake_words(
    folder: str | pathlib.Path, image_shape: tuple[int, int, int] = (224, 224, 3)
) -> Dataset:
    """Returns the wake words of a folder laid out as COCO is: label 1 where there is a person.

    The label is that of the whole image; what is resized to cover `image_shape` and cropped may show less.

    Raises:
      ValueError: if it is no such folder, a file is damaged, or none of its categories is a person.
    """
    folder = pathlib.Path(folder)
    files = annotation_files(folder)
    if not files:
        raise ValueError(
            f"no annotations/{_PREFIX}SPLIT.json in {folder}: give a folder laid out as COCO is"
        )
    return Dataset(
        name=folder.name,
        class_names=WAKE_WORD_CLASSES,
        image_shape=image_shape,
        splits={
            split: _wake_word_source(_images(folder, path), path, image_shape)
            for split, path in files.items()
        },
    )


def wake_word_label(image: dict[str, Any], annotations: list[dict], person: int) -> int:
    """Returns 1 if the box of a person takes more than 0.5 % of the area of an image."""
    least = _LEAST_SHARE * image["width"] * image["height"]
    sizes = [a["bbox"][2] * a["bbox"][3] for a in annotations if a["category_id"] == person]
    return int(max(sizes, default=0.0) > least)


def _wake_word_source(
    root: pathlib.Path, path: pathlib.Path, image_shape: tuple[int, int, int]
) -> RecordSource:
    images, by_image, names = _parsed(path, "file_name", "width", "height")
    people = [number for number, name in names.items() if name == "person"]
    if not people:
        raise ValueError(
            f"no category of {path} is called person: it has {', '.join(names.values())}"
        )
    rows = [
        (root / image["file_name"], wake_word_label(image, by_image[number], people[0]))
        for number, image in images.items()
    ]

    def read_one(index: int) -> Batch:
        image, label = rows[index]
        return {"images": read_image(image, image_shape), "labels": np.array(label, np.int32)}

    return RecordSource(len(rows), read_one)
