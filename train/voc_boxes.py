"""Boxes in PASCAL VOC's form, one XML file for each image; SCUT-HEAD has it too.

`Annotations/NAME.xml`, `JPEGImages/NAME.jpg` and lists of names in `ImageSets/Main/SPLIT.txt`. SCUT-HEAD (Peng
et al., "Detecting heads using feature refine net and cascaded multi-scale architecture") is two such folders,
`SCUT_HEAD_Part_A` and `SCUT_HEAD_Part_B`, whose splits are joined; its objects are called person, and are heads.
"""

import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

from attokit.train.box_records import BoxRecord, as_record

_PARTS = ("SCUT_HEAD_Part_A", "SCUT_HEAD_Part_B")
_SPLITS = ("train", "val", "test")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_SUFFIXES = (".jpg", ".jpeg", ".png")

Objects = list[tuple[str, bool, tuple[float, float, float, float]]]


def _roots(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders in VOC's form: the one given, or the parts of SCUT-HEAD in it."""
    found = [folder, *(folder / part for part in _PARTS)]
    return [root for root in found if (root / "Annotations").is_dir() and _lists(root)]


def _lists(root: pathlib.Path) -> dict[str, pathlib.Path]:
    lists = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in _SPLITS}
    return {split: path for split, path in lists.items() if path.is_file()}


def is_voc_boxes(folder: pathlib.Path) -> bool:
    """Returns whether a folder is laid out as VOC's or SCUT-HEAD's boxes are."""
    return bool(_roots(folder))


def read_objects(path: pathlib.Path) -> Objects:
    """Returns name, whether it is difficult, and box of each object in one XML file.

    VOC counts pixels from 1 and both ends in; here boxes count from 0, right and bottom exclusive.

    Raises:
      ValueError: if it is no such file.
    """
    try:
        objects = []
        for item in ElementTree.parse(path).getroot().iter("object"):
            left, top, right, bottom = (float(_text(item, f"bndbox/{side}")) for side in _SIDES)
            difficult = (item.findtext("difficult") or "0").strip() == "1"
            objects.append((_text(item, "name"), difficult, (left - 1, top - 1, right, bottom)))
        return objects
    except (OSError, ElementTree.ParseError, ValueError) as err:
        raise ValueError(
            f"cannot read boxes from {path}: {err}; give an XML file in PASCAL VOC's form"
        ) from err


def _text(item: ElementTree.Element, tag: str) -> str:
    text = item.findtext(tag)
    if text is None or not text.strip():
        raise ValueError(f"an object has no {tag}")
    return text.strip()


def read_voc_boxes(
    folder: pathlib.Path, class_names: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], dict[str, list[BoxRecord]]]:
    """Returns class names and the images of each split with their objects; difficult ones do not count.

    Args:
      folder: In VOC's form, or with the parts of SCUT-HEAD.
      class_names: The background first; None takes all names that occur, sorted, and "head" for SCUT-HEAD's.

    Raises:
      ValueError: if a file is missing or damaged, or has an object of an unknown class.
    """
    objects: dict[str, list[tuple[pathlib.Path, pathlib.Path, Objects]]] = {}
    for root in _roots(folder):
        for split, path in _lists(root).items():
            for name in path.read_text(encoding="utf-8").split("\n"):
                # Lists of one class have a second column, -1 to 1.
                if words := name.split():
                    xml = root / "Annotations" / f"{words[0]}.xml"
                    image = _image(root / "JPEGImages", words[0])
                    objects.setdefault(split, []).append((image, xml, read_objects(xml)))
    everything = [item for rows in objects.values() for _, _, found in rows for item in found]
    scut = any((folder / part).is_dir() for part in _PARTS) or folder.name in _PARTS
    if class_names is None:
        found_names = sorted({name for name, _, _ in everything})
        ids = {name: index for index, name in enumerate(found_names, start=1)}
        names = ("background", *("head" if scut and n == "person" else n for n in found_names))
    else:
        ids, names = {name: i for i, name in enumerate(class_names) if i}, class_names
    return names, {split: [_record(ids, *row) for row in rows] for split, rows in objects.items()}


def _image(folder: pathlib.Path, name: str) -> pathlib.Path:
    candidates = [folder / f"{name}{suffix}" for suffix in _SUFFIXES]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _record(
    ids: Mapping[str, int], image: pathlib.Path, xml: pathlib.Path, objects: Objects
) -> BoxRecord:
    unknown = sorted({name for name, _, _ in objects} - ids.keys())
    if unknown:
        raise ValueError(
            f"{xml} has objects of class {', '.join(unknown)}, which are none of {', '.join(ids)}: add them "
            "to the names of the classes"
        )
    labels = [-ids[name] if difficult else ids[name] for name, difficult, _ in objects]
    return as_record(image, [box for _, _, box in objects], labels)
