import io
import zipfile

import numpy as np
import pytest

from attokit import export
from attokit.export.image_tasks import ENTRY, ImageTask, labels_in

_NAMES = ("cat", "dog", "hérisson")


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


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_shape": (9, 9, 4)}, "images of 4 channels"),
        ({"class_names": ()}, "class_names are empty"),
        ({"class_names": ("a\nb",)}, "is not one line of text"),
    ],
)
def test_unfit_tasks(changes, text):
    with pytest.raises(ValueError, match=text):
        _task(**changes)
