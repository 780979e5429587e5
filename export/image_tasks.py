"""TFLite Metadata, which tells an app how images go in and what comes out, and the files that travel with it.

MediaPipe Tasks opens a file that carries them as ImageClassifier, ImageSegmenter or ObjectDetector. The entry is
a flatbuffer of metadata_schema.fbs; the names of the classes are a text file in a ZIP archive behind the
model's own bytes, where readers of the model do not look.
"""

import dataclasses
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float

from attokit.export.score_calibration import ScoreCalibration, check_classes
from attokit.export.tables import Aligned, Scalar, Table, TableReader, pack_table

ENTRY = "TFLITE_METADATA"  # of the model's list of metadata
LABELS = "labels.txt"
SCORES = "score_calibration.txt"
_IDENTIFIER = b"M001"
_PARSER = "1.5.0"  # of readers of the metadata: the first with all that is used here
_BOTTOM = (1980, 1, 1, 0, 0, 0)  # the date of all entries of the archive: same names, same bytes
# Members of the schema's enumerations and unions.
_AXIS_LABELS, _VALUE_LABELS, _AXIS_SCORES = 2, 3, 4
_RGB, _GRAYSCALE = 1, 2
_FEATURE, _IMAGE, _BOXES = 1, 2, 3
_NORMALIZATION, _CALIBRATION, _THRESHOLD = 1, 2, 3
_TRANSFORMATIONS = ("identity", "log", "inverse_logistic")  # in the schema's order
_BOUNDARIES = 1
_SOFTMAX = 2

Kind = Literal["classifier", "segmenter", "detector"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageTask:
    """A network of images as an app sees it.

    Attributes:
      kind: What it does.
      name: Of the model.
      image_shape: Height, width and channels (1 or 3).
      class_names: In the order of the outputs; of a detector without the background.
      byte_input: Whether images go in as bytes; else as floats that are byte / 255.
      score_threshold: Below it results are not shown; None shows all.
      calibration: What the app makes of the scores of a classifier or detector; the threshold is for what it gives.
      gives_logits: Of a segmenter: whether it ends in logits, of which the app makes a softmax.
      description: Free text.
    """

    kind: Kind
    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    byte_input: bool = True
    score_threshold: float | None = None
    calibration: ScoreCalibration | None = None
    gives_logits: bool = True
    description: str = ""

    def __post_init__(self) -> None:
        """Refuses what no reader could take."""
        if self.image_shape[2] not in (1, 3):
            raise ValueError(f"images of {self.image_shape[2]} channels: give 1 or 3")
        if not self.class_names:
            raise ValueError("class_names are empty: give a name for every output")
        if bad := [name for name in self.class_names if len(name.splitlines()) != 1]:
            raise ValueError(f"the class name {bad[0]!r} is not one line of text")
        if self.calibration is not None:
            check_classes(self.calibration, self.class_names)
            if self.kind == "segmenter":
                raise ValueError("apps calibrate no scores of pixels: leave the calibration out")

    def entries(self) -> Mapping[str, bytes]:
        """Returns the entry of metadata for `to_tflite`."""
        return {ENTRY: pack_table(self._model(), _IDENTIFIER)}

    def with_files(self, file: bytes) -> bytes:
        """Returns a file with the names of the classes, and their sigmoids, behind it as the entry says."""
        texts = {LABELS: "\n".join(self.class_names) + "\n"}
        if self.calibration is not None:
            texts[SCORES] = self.calibration.text
        packed = io.BytesIO(file)
        with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as archive:  # readers do not inflate
            for title, text in texts.items():
                archive.writestr(zipfile.ZipInfo(title, _BOTTOM), text.encode())
        return packed.getvalue()

    def _model(self) -> Table:
        inner: dict = {2: [self._image()], 3: self._outputs()}
        if self.kind == "detector":
            inner[8] = [Table({0: "detection_result", 1: ["location", "category", "score"]})]
        if self.kind == "segmenter" and self.gives_logits:
            options = pack_table(Table({0: Scalar("int8", _SOFTMAX)}), b"V001")
            inner[9] = [Table({0: "SEGMENTER_METADATA", 1: Aligned(options)})]
        return Table({0: self.name, 1: self.description, 3: [Table(inner)], 7: _PARSER})

    def _image(self) -> Table:
        channels = self.image_shape[2]
        space = Scalar("int8", _RGB if channels == 3 else _GRAYSCALE)
        top = 255.0 if self.byte_input else 1.0
        return Table(
            {
                0: "image",
                1: "Rows of pixels, each as the camera gives it.",
                3: _content(_IMAGE, Table({0: space, 1: self._size()})),
                # A reader takes (byte - mean) / std where the input is float, and bytes as they are.
                4: [_unit(_NORMALIZATION, Table({0: _floats([0.0] * channels), 1: _floats([255.0] * channels)}))],
                5: Table({0: _floats([top]), 1: _floats([0.0])}),
            }
        )  # fmt: skip

    def _size(self) -> Table:
        height, width, _ = self.image_shape
        return Table({0: Scalar("uint32", width), 1: Scalar("uint32", height)})

    def _outputs(self) -> list[Table]:
        if self.kind == "detector":
            return self._detections()
        labels = [_file(_AXIS_LABELS)]
        if self.kind == "segmenter":
            return [
                Table(
                    {
                        0: "segmentation_masks",
                        1: "Scores of every pixel's classes.",
                        3: _content(_IMAGE, Table({1: self._size()})),
                        6: labels,
                    }
                )
            ]
        return [
            Table(
                {
                    0: "probability",
                    1: "Probabilities of the classes, in the order of the labels.",
                    3: _content(_FEATURE, Table({})),
                    4: self._score_units(),
                    5: Table({0: _floats([1.0]), 1: _floats([0.0])}),
                    6: labels + self._sigmoids(),
                }
            )
        ]  # fmt: skip

    def _detections(self) -> list[Table]:
        order = np.asarray(
            [1, 0, 3, 2], np.uint32
        )  # left, top, right, bottom among the file's numbers
        boxes = Table({0: order, 1: Scalar("int8", _BOUNDARIES)})
        several = Table(
            {0: Scalar("int32", 2), 1: Scalar("int32", 2)}
        )  # axes of the values of a box
        feature = Table({})
        return [
            Table({0: "location", 1: "Corners of the boxes, as shares of the image.", 3: _content(_BOXES, boxes, several)}),
            Table({0: "category", 1: "Places among the labels.", 3: _content(_FEATURE, feature, several), 6: [_file(_VALUE_LABELS)]}),
            Table({0: "score", 1: "Probabilities.", 3: _content(_FEATURE, feature, several), 4: self._score_units(), 6: self._sigmoids()}),
            Table({0: "number of detections", 1: "How many boxes there are.", 3: _content(_FEATURE, feature)}),
        ]  # fmt: skip

    def _score_units(self) -> list[Table]:
        """Returns what is done with scores: first the calibration, then the threshold."""
        units = []
        if self.calibration is not None:
            kind = Scalar("int8", _TRANSFORMATIONS.index(self.calibration.transformation))
            default = Scalar("float32", self.calibration.default_score)
            units.append(_unit(_CALIBRATION, Table({0: kind, 1: default})))
        if self.score_threshold is not None:
            units.append(_unit(_THRESHOLD, Table({0: Scalar("float32", self.score_threshold)})))
        return units

    def _sigmoids(self) -> list[Table]:
        """Returns what says where the calibration's file is."""
        if self.calibration is None:
            return []
        about = "Scale, slope, offset and perhaps the least score of each class."
        return [Table({0: SCORES, 1: about, 2: Scalar("int8", _AXIS_SCORES)})]


def labels_in(
    file: bytes, metadata: Mapping[str, bytes] = MappingProxyType({})
) -> tuple[str, ...] | None:
    """Returns the names of classes that a file carries behind it, or None.

    Other tools call them labelmap.txt or the like; of several such files only one that the metadata name is taken.

    Args:
      file: The model with what lies behind it.
      metadata: Its entries by name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            there = archive.namelist()
            named = [title for title in _label_files(metadata) if title in there]
            titles = [t for t in there if re.search("label.*[.]txt$", t.lower())]
            title = LABELS if LABELS in titles or len(titles) != 1 else titles[0]
            if len(named) == 1:
                title = named[0]
            return tuple(archive.read(title).decode("utf-8-sig").splitlines())
    except Exception:  # whatever reading a damaged or locked archive raises
        return None


def _label_files(metadata: Mapping[str, bytes]) -> list[str]:
    """Returns the files of labels, of no certain language, that the metadata of outputs name; none if damaged."""
    if ENTRY not in metadata:
        return []
    try:
        (graph, *_) = TableReader.of_root(metadata[ENTRY]).tables(3)
        files = [file for output in graph.tables(3) for file in output.tables(6)]
        kinds = (_AXIS_LABELS, _VALUE_LABELS)
        named = [f.text(0) for f in files if f.byte(2) in kinds and not f.text(3)]
    except Exception:  # whatever reading damaged bytes raises
        return []
    return list(dict.fromkeys(named))


def input_range_in(
    metadata: Mapping[str, bytes],
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]] | None:
    """Returns what the darkest and the brightest byte become where a file takes floats, in each channel.

    Args:
      metadata: Entries by name; None is returned where they do not say, or are damaged.
    """
    if ENTRY not in metadata:
        return None
    try:
        (graph, *_) = TableReader.of_root(metadata[ENTRY]).tables(3)
        (image, *_) = graph.tables(2)
        units = [unit for unit in image.tables(4) if unit.byte(0) == _NORMALIZATION]
        options = units[0].table(1)
        assert options is not None
        mean, std = options.floats(0), options.floats(1)
        with np.errstate(all="ignore"):  # what is not finite is refused below
            low, high = (0 - mean) / std, (255 - mean) / std
    except Exception:  # whatever reading damaged bytes raises
        return None
    fits = mean.size and mean.shape == std.shape and np.all(np.isfinite([low, high]))
    return (low, high) if fits and np.all(low < high) else None


def _content(kind: int, properties: Table, value_range: Table | None = None) -> Table:
    more = {} if value_range is None else {2: value_range}
    return Table({0: Scalar("uint8", kind), 1: properties, **more})


def _unit(kind: int, options: Table) -> Table:
    return Table({0: Scalar("uint8", kind), 1: options})


def _file(kind: int) -> Table:
    return Table({0: LABELS, 1: "One name of a class per line.", 2: Scalar("int8", kind)})


def _floats(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, np.float32)
