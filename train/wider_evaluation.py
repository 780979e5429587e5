"""WIDER FACE's own evaluation: average precision on its easy, medium and hard faces.

By the rules of the evaluation code of its authors (Yang et al., "WIDER FACE: a face detection benchmark"), which
differ from VOC's: scores are spread from 0 to 1 over the whole set, precision and recall are taken at 1,000
thresholds, boxes overlap as if both ends were pixels, faces of another difficulty neither count nor harm. The faces of
each difficulty are in the files `wider_face_val.mat`, `wider_easy_val.mat`, ... of its "ground_truth" folder.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import io

DIFFICULTIES = ("easy", "medium", "hard")
_IOU = 0.5
_THRESHOLDS = 1000
_DAMAGE = (OSError, ValueError, TypeError, KeyError, NotImplementedError, io.matlab.MatReadError)


@dataclasses.dataclass(frozen=True, eq=False)
class WiderTruth:
    """The faces of a split.

    Attributes:
      boxes_xyxy: By image ("0--Parade/0_Parade_marchingband_1_20"), all its faces.
      counts: By difficulty and image, which of these faces count.
    """

    boxes_xyxy: Mapping[str, Float[np.ndarray, "n 4"]]
    counts: Mapping[str, Mapping[str, Bool[np.ndarray, " n"]]]


def read_wider_truth(folder: str | pathlib.Path) -> WiderTruth:
    """Returns the faces that the four files of a folder name.

    Raises:
      ValueError: if a file is missing, or none of these.
    """
    folder = pathlib.Path(folder)
    whole = _read(folder / "wider_face_val.mat", "event_list", "file_list", "face_bbx_list")
    names = [
        [f"{_text(event)}/{_text(file)}" for file in _cells(files)]
        for event, files in zip(_cells(whole[0]), _cells(whole[1]), strict=True)
    ]
    boxes = {
        name: _from_xywh(np.asarray(found, np.float64).reshape(-1, 4))
        for row, cells in zip(names, _cells(whole[2]), strict=True)
        for name, found in zip(row, _cells(cells), strict=True)
    }
    counts = {}
    for difficulty in DIFFICULTIES:
        path = folder / f"wider_{difficulty}_val.mat"
        (lists,) = _read(path, "gt_list")
        counts[difficulty] = {
            name: _mask(path, name, np.asarray(places).reshape(-1), len(boxes[name]))
            for row, cells in zip(names, _cells(lists), strict=True)
            for name, places in zip(row, _cells(cells), strict=True)
        }
    return WiderTruth(boxes, counts)


def _read(path: pathlib.Path, *names: str) -> list[np.ndarray]:
    """Returns variables of a MATLAB file."""
    try:
        content = io.loadmat(path)
        return [content[name] for name in names]
    except _DAMAGE as err:
        raise ValueError(
            f"cannot read {', '.join(names)} from {path}: {type(err).__name__}: {err}; give the folder "
            "ground_truth of WIDER FACE's evaluation code"
        ) from err


def _cells(array: np.ndarray) -> list:
    """Returns the cells of a MATLAB list, each in an array of its own."""
    return list(np.asarray(array, object).reshape(-1))


def _text(cell: np.ndarray) -> str:
    return str(np.asarray(cell).reshape(-1)[0])


def _mask(path: pathlib.Path, name: str, places: np.ndarray, count: int) -> Bool[np.ndarray, " n"]:
    """Returns which of an image's faces count, from their places, which start at 1."""
    mask = np.zeros(count, bool)
    places = places.astype(np.int64)
    wrong = places[(places < 1) | (places > count)]
    if wrong.size:
        raise ValueError(
            f"{path} names face {wrong[0]} of {name}, which has {count}: take all four files from one "
            "version"
        )
    mask[places - 1] = True
    return mask


def _from_xywh(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], -1)


def wider_average_precision(
    answers: Mapping[str, Float[np.ndarray, "m 5"]], truth: WiderTruth
) -> dict[str, float]:
    """Returns the average precision of each difficulty, from 0 to 1.

    Args:
      answers: By image, rows of left, top, right, bottom (pixels of the original image) and score. An image
        that is missing has none.
      truth: What `read_wider_truth` returns.

    Raises:
      ValueError: if there are answers for an image that is not in the split, or a score is not finite.
    """
    unknown = sorted(answers.keys() - truth.boxes_xyxy.keys())
    if unknown:
        raise ValueError(
            f"there are answers for {len(unknown)} images that the split does not have, such as "
            f"{unknown[0]!r}: name images by event and file, without its ending"
        )
    scores = np.concatenate([[], *(rows[:, 4] for rows in answers.values())])
    if not np.isfinite(scores).all():
        raise ValueError("answers have scores that are not finite: leave such answers out")
    low, high = (scores.min(), scores.max()) if scores.size else (0.0, 0.0)
    spread = {
        name: _sorted(rows, low, max(high - low, np.finfo(float).tiny))
        for name, rows in answers.items()
        if len(rows)
    }
    return {
        difficulty: _average_precision(spread, truth.boxes_xyxy, counts)
        for difficulty, counts in truth.counts.items()
    }


def _sorted(rows: Float[np.ndarray, "m 5"], low: float, width: float) -> np.ndarray:
    rows = rows[np.argsort(-rows[:, 4], kind="stable")].astype(np.float64)
    rows[:, 4] = (rows[:, 4] - low) / width
    return rows


def _average_precision(
    answers: Mapping[str, np.ndarray],
    boxes: Mapping[str, np.ndarray],
    counts: Mapping[str, np.ndarray],
) -> float:
    faces = sum(int(mask.sum()) for mask in counts.values())
    if not faces:
        return 0.0
    thresholds = 1 - np.arange(1, _THRESHOLDS + 1) / _THRESHOLDS
    proposals, hits = np.zeros(_THRESHOLDS), np.zeros(_THRESHOLDS)
    for name, rows in answers.items():
        if not len(boxes[name]):  # the authors' code leaves such an image out
            continue
        counted, right = judge(rows[:, :4], boxes[name], counts[name])
        above = (rows[:, 4][None] >= thresholds[:, None]).sum(1)  # how many, best first
        proposals += np.append(0, np.cumsum(counted))[above]
        hits += np.append(0, np.cumsum(right))[above]
    precision = np.divide(hits, proposals, out=np.zeros(_THRESHOLDS), where=proposals > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits / faces, prepend=0.0) * envelope).sum())


def judge(
    answers_xyxy: Float[np.ndarray, "m 4"],
    boxes_xyxy: Float[np.ndarray, "n 4"],
    counts: Bool[np.ndarray, " n"],
) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Returns which answers of an image count, and which are right, the most probable first.

    An answer that overlaps a face which does not count is no answer; a second one on a face that does is wrong.
    """
    overlaps = _overlaps(answers_xyxy, boxes_xyxy)
    best: Int[np.ndarray, " m"] = overlaps.argmax(1)
    meant = overlaps.max(1) >= _IOU
    counted = ~meant | counts[best]
    right, found = np.zeros(len(best), bool), np.zeros(len(boxes_xyxy), bool)
    for row in np.flatnonzero(meant & counts[best]):
        right[row] = not found[best[row]]
        found[best[row]] = True
    return counted, right


def _overlaps(
    boxes: Float[np.ndarray, "m 4"], others: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "m n"]:
    """Returns intersection over union, where a box holds the pixels at both of its ends."""
    a, b = boxes[:, None], others[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    overlap = np.maximum(sides, 0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2] + 1).prod(-1) for box in (a, b)]
    return overlap / (areas[0] + areas[1] - overlap)
