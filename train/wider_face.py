"""WIDER FACE as its authors give it: folders of images and a text file of boxes for each split.

Yang et al., "WIDER FACE: a face detection benchmark". `wider_face_split/wider_face_SPLIT_bbx_gt.txt` has, for
each image, its path under `WIDER_SPLIT/images`, the number of faces, and a line for each: left, top,
width, height, blur, expression, illumination, invalid, occlusion, pose. An image without a face has 0
and one line of zeros.
"""

import pathlib
from collections.abc import Iterator

from attokit.train.box_records import BoxRecord, as_record

CLASSES = ("background", "face")
_SPLITS = ("train", "val")  # the boxes of the test images are not published
_INVALID = 7  # the column that says so


def annotation_file(folder: pathlib.Path, split: str) -> pathlib.Path:
    """Returns where the boxes of a split are."""
    return folder / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"


def is_wider_face(folder: pathlib.Path) -> bool:
    """Returns whether a folder is laid out as WIDER FACE is, at least one split of it."""
    return any(annotation_file(folder, split).is_file() for split in _SPLITS)


def read_annotations(path: pathlib.Path, images: pathlib.Path) -> list[BoxRecord]:
    """Returns the images of one split with their faces; faces marked invalid do not count.

    Raises:
      ValueError: if a line is of another form; it names the line.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(_records(path, images, lines))


def _records(path: pathlib.Path, images: pathlib.Path, lines: list[str]) -> Iterator[BoxRecord]:
    place = 0
    while place < len(lines):
        name = lines[place].strip()
        if not name:
            place += 1
            continue
        count = _numbers(path, lines, place + 1, least=1, name=name)[0]
        first = place + 2
        rows = [
            _numbers(path, lines, first + row, least=4, name=name) for row in range(max(count, 0))
        ]
        place = first + len(rows)
        if not rows and place < len(lines) and _is_row_of_zeros(lines[place]):
            place += 1
        boxes = [(left, top, left + w, top + h) for left, top, w, h, *_ in rows]
        invalid = [len(row) > _INVALID and row[_INVALID] == 1 for row in rows]
        yield as_record(images / name, boxes, [-1 if bad else 1 for bad in invalid])


def _numbers(
    path: pathlib.Path, lines: list[str], place: int, *, least: int, name: str
) -> list[int]:
    """Returns the whole numbers of a line, of which there are some at least."""
    text = lines[place].split() if place < len(lines) else []
    try:
        numbers = [int(word) for word in text]
    except ValueError:
        numbers = []
    if len(numbers) < least:
        found = " ".join(text) if text else "the end of the file"
        raise ValueError(
            f"line {place + 1} of {path} is {found!r} where {name} needs "
            f"{'the number of its faces' if least == 1 else 'left, top, width, height of a face'}: copy the "
            "file again"
        )
    return numbers


def _is_row_of_zeros(line: str) -> bool:
    words = line.split()
    return len(words) >= 4 and set(words) == {"0"}


def read_wider_face(folder: pathlib.Path) -> dict[str, list[BoxRecord]]:
    """Returns the images of each split that is there, with their faces.

    Raises:
      ValueError: as `read_annotations` does.
    """
    return {
        split: read_annotations(
            annotation_file(folder, split), folder / f"WIDER_{split}" / "images"
        )
        for split in _SPLITS
        if annotation_file(folder, split).is_file()
    }
