import io
import warnings
import zipfile

import numpy as np
import pytest

from attokit import export
from attokit.export import ScoreCalibration, Sigmoid
from attokit.export.image_tasks import ENTRY, ImageTask, input_range_in, labels_in
from attokit.export.tables import Scalar, Table, pack_table

_NAMES = ("cat", "dog", "hérisson")
_ONE = ScoreCalibration(sigmoids=(Sigmoid(),))


def _task(kind="classifier", **changes):
    fields = {"kind": kind, "name": "net", "image_shape": (9, 9, 3), "class_names": _NAMES}
    return ImageTask(**fields | changes)


@pytest.mark.parametrize("kind", ["classifier", "segmenter", "detector"])
def test_a_file_with_labels_is_the_same_model(small, kind):
    task = _task(kind, score_threshold=0.25)
    file = export.to_tflite(small.graph, small.weights, small.qparams, metadata=task.entries())
    packed = task.with_files(file)
    assert packed.startswith(file)
    assert packed == task.with_files(file)
    assert labels_in(packed) == _NAMES
    assert labels_in(file) is None
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        (entry,) = archive.infolist()
        assert entry.compress_type == zipfile.ZIP_STORED
    info = export.inspect(packed)
    assert info.metadata[ENTRY][4:8] == b"M001"
    assert (b"SEGMENTER_METADATA" in info.metadata[ENTRY]) == (kind == "segmenter")
    assert (b"detection_result" in info.metadata[ENTRY]) == (kind == "detector")
    for kernels in ("reference", "micro"):
        found = export.run(packed, small.images, kernels=kernels)["output"]
        wanted = export.run(small.file, small.images, kernels=kernels)["output"]
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("damage", ["compressed", "locked", "displaced"])
def test_labels_of_a_damaged_archive_are_none(damage):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "\n".join(_NAMES))
    data = bytearray(packed.getvalue())
    assert labels_in(bytes(data)) == _NAMES
    entry = data.find(b"PK\x01\x02")
    if damage == "compressed":
        start = 30 + len("labels.txt")  # behind the first header
        data[start:entry] = b"\xff" * (entry - start)
    elif damage == "locked":
        data[6] |= 1
        data[entry + 8] |= 1
    else:
        data[entry + 42 : entry + 46] = data[-6:-2] = b"\xff\xff\xff\x7f"
    assert labels_in(bytes(data)) is None


def test_names_that_another_tool_calls_otherwise(small):
    def packed(*titles):
        file = io.BytesIO(small.file)
        with zipfile.ZipFile(file, "a") as archive:
            for title in titles:
                archive.writestr(title, f"{title}\nb\n")
        return file.getvalue()

    assert labels_in(packed("labelmap.txt")) == ("labelmap.txt", "b")
    assert labels_in(packed("labels_en.txt", "labels.txt")) == ("labels.txt", "b")
    assert labels_in(packed("labels_en.txt", "labels_de.txt")) is None
    assert labels_in(packed("vocabulary.txt")) is None


def _listed(*files):
    """Returns the metadata of an output with files of labels, each a name and its language."""
    entries = [
        Table({0: title, 2: Scalar("int8", 2)} | ({3: language} if language else {}))
        for title, language in files
    ]
    return {ENTRY: pack_table(Table({3: [Table({3: [Table({6: entries})]})]}), b"M001")}


def test_of_several_files_the_metadata_name_the_labels(small):
    packed = io.BytesIO(small.file)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("probability-labels.txt", "/m/1\n/m/2\n")
        archive.writestr("probability-labels-en.txt", "cat\ndog\n")
    file = packed.getvalue()
    neutral, english = ("probability-labels.txt", ""), ("probability-labels-en.txt", "en")
    assert labels_in(file, _listed(neutral, english)) == ("/m/1", "/m/2")
    for metadata in (
        {},
        _listed(),
        _listed(english),
        _listed(("labels.txt", "")),
        {ENTRY: b"damaged!"},
    ):
        assert labels_in(file, metadata) is None


def test_the_mark_that_some_editors_write_is_no_part_of_a_name(small):
    packed = io.BytesIO(small.file)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n".encode("utf-8-sig"))
    assert labels_in(packed.getvalue()) == ("cat", "dog")


def test_sigmoids_travel_with_the_labels(small):
    calibration = ScoreCalibration(
        sigmoids=(Sigmoid(slope=2.0), None, Sigmoid(offset=0.5, min_score=0.1)),
        default_score=0.25,
    )
    task = _task(score_threshold=0.5, calibration=calibration)
    file = export.to_tflite(small.graph, small.weights, small.qparams, metadata=task.entries())
    packed = task.with_files(file)
    assert labels_in(packed) == _NAMES
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.read("score_calibration.txt").decode() == calibration.text


def test_the_range_of_floats_is_told():
    low, high = input_range_in(_task(byte_input=False).entries())
    np.testing.assert_array_equal(low, [0, 0, 0])
    np.testing.assert_array_equal(high, [1, 1, 1])
    entry = _task().entries()[ENTRY]
    damaged = [entry[:n] for n in range(0, len(entry), 7)]
    damaged += [entry[:n] + b"\xff" + entry[n + 1 :] for n in range(0, len(entry), 3)]
    for data in damaged:
        told = input_range_in({ENTRY: data})
        assert told is None or np.all(told[0] < told[1])


@pytest.mark.parametrize("std", [0.0, 1e-38, -1.0])
def test_a_range_that_is_none_is_passed_over_in_silence(std):
    mean, std = np.asarray([1e3], np.float32), np.asarray([std], np.float32)
    unit = Table({0: Scalar("uint8", 1), 1: Table({0: mean, 1: std})})
    image = Table({3: [Table({2: [Table({4: [unit]})]})]})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert input_range_in({ENTRY: pack_table(image, b"M001")}) is None
    assert not said
    assert input_range_in({}) is None


def test_what_is_said_is_what_its_own_reader_finds():
    schemas = pytest.importorskip(
        "mediapipe.tasks.metadata.metadata_schema_py_generated", exc_type=ImportError
    )
    entry = _task(score_threshold=0.25, byte_input=False).entries()[ENTRY]
    model = schemas.ModelMetadataT.InitFromObj(schemas.ModelMetadata.GetRootAs(entry, 0))
    (graph,) = model.subgraphMetadata
    (image,), (output,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    normalization = image.processUnits[0].options
    np.testing.assert_array_equal(normalization.std, [255, 255, 255])
    np.testing.assert_array_equal(normalization.mean, [0, 0, 0])
    assert image.content.contentProperties.defaultSize.height == 9
    assert output.processUnits[0].options.globalScoreThreshold == 0.25
    assert output.associatedFiles[0].name == b"labels.txt"
    calibration = ScoreCalibration(
        sigmoids=(Sigmoid(),) * 3, transformation="log", default_score=0.5
    )
    entry = _task(score_threshold=0.25, calibration=calibration).entries()[ENTRY]
    model = schemas.ModelMetadataT.InitFromObj(schemas.ModelMetadata.GetRootAs(entry, 0))
    (output,) = model.subgraphMetadata[0].outputTensorMetadata
    options = output.processUnits[0].options
    assert options.scoreTransformation == schemas.ScoreTransformationType.LOG
    assert options.defaultScore == 0.5
    assert output.processUnits[1].options.globalScoreThreshold == 0.25
    names = {file.name: file.type for file in output.associatedFiles}
    wanted = schemas.AssociatedFileType.TENSOR_AXIS_SCORE_CALIBRATION
    assert names[b"score_calibration.txt"] == wanted


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_shape": (9, 9, 4)}, "images of 4 channels"),
        ({"class_names": ()}, "class_names are empty"),
        ({"class_names": ("a\nb",)}, "is not one line of text"),
        ({"calibration": _ONE}, "has 1 lines, there are 3 classes"),
        ({"calibration": _ONE, "class_names": ("a",), "kind": "segmenter"}, "no scores of pixels"),
    ],
)
def test_unfit_tasks(changes, text):
    with pytest.raises(ValueError, match=text):
        _task(**changes)
