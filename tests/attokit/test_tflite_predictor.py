import io
import zipfile

import flatbuffers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from attokit.export import flatbuffer, inspect, to_tflite, two_stage
from attokit.export.anatomy import Subgraph, TensorInfo
from attokit.export.image_tasks import ENTRY
from attokit.export.tables import Scalar, Table, pack_table
from attokit.quant import calibrate, trace
from attokit.runs import open_run
from attokit.tflite_predictor import _covered_range, _feeder, file_predictor, latency_ms


def _file(function, shape=(1, 4, 4, 3)):
    graph, weights = trace(lambda _, x: function(x), {}, jax.ShapeDtypeStruct(shape, "float32"))
    return to_tflite(graph, weights)


@pytest.mark.parametrize(
    ("function", "task", "classes"),
    [
        (lambda x: x.mean((1, 2)), "classification", 3),
        (lambda x: jax.nn.relu(x), "segmentation", 3),
        (lambda x: x[:, ::2, ::2], "segmentation", 3),
        (lambda x: x.argmax(-1).astype(jnp.int32), "segmentation", None),
    ],
)
def test_the_shape_of_outputs_tells_the_task(function, task, classes):
    predictor = file_predictor(_file(function))
    assert (predictor.task, predictor.num_classes) == (task, classes)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    wanted = function(jnp.asarray(images, jnp.float32) / 255)
    np.testing.assert_allclose(predictor.outputs(images), wanted, atol=1e-6)


def test_a_file_that_fits_two_tasks_is_asked_about():
    file = _file(lambda x: x.mean((1, 2), keepdims=True))  # one logit map of one cell
    with pytest.raises(ValueError, match="fits classification and segmentation: say which"):
        file_predictor(file)
    image = np.zeros((1, 4, 4, 3), np.uint8)
    assert file_predictor(file, task="classification").outputs(image).shape == (1, 3)
    assert file_predictor(file, task="segmentation").outputs(image).shape == (1, 1, 1, 3)


@pytest.mark.parametrize(
    ("function", "shape", "text"),
    [
        (jax.nn.relu, (1, 4, 4, 2), "not one batch of images"),
        (lambda x: x[:, :3, :3], (1, 4, 4, 3), r"gives \[\(1, 3, 3, 3\)\], not what is known here"),
        (lambda x: x[..., 0], (1, 4, 4, 3), "one row of logits per image .classification.; logits"),
        (lambda x: (x, x), (1, 4, 4, 3), "not what is known here"),
    ],
)
def test_files_that_predict_nothing(function, shape, text):
    with pytest.raises(ValueError, match=text):
        file_predictor(_file(function, shape))
    if shape[3] == 3:
        with pytest.raises(ValueError, match="not what is known here: one row"):
            file_predictor(_file(function, shape), task="classification")


@pytest.mark.parametrize(
    ("sizes", "fixed"), [((-1, 4, 4, 3), True), ((-1, -1, -1, 3), False), ((1, 4, 4, -1), False)]
)
def test_only_the_batch_may_have_any_size(sizes, fixed):
    model = schema.ModelT.InitFromPackedBuf(_file(lambda x: x.mean((1, 2))), 0)
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shapeSignature = np.asarray(sizes, np.int32)
    if fixed:
        assert file_predictor(flatbuffer.pack(model)).image_shape == (4, 4, 3)
        return
    with pytest.raises(ValueError, match=r"a size that is not fixed, .*\?.*: write the file again"):
        file_predictor(flatbuffer.pack(model))


@pytest.mark.parametrize("output_type", ["int8", "float32", None])
def test_softmax_in_the_file_is_not_done_twice(output_type):
    example = jax.ShapeDtypeStruct((1, 4, 4, 3), "float32")
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
    reals = images.astype(np.float32) / np.float32(255)
    graph, weights = trace(lambda _, x: jax.nn.softmax(8 * x.mean((1, 2))), {}, example)
    if output_type is None:
        file = to_tflite(graph, weights)
    else:
        qparams = calibrate(graph, weights, [reals])
        file = to_tflite(graph, weights, qparams, output_type=output_type)
    found = jax.nn.softmax(file_predictor(file).outputs(images))
    np.testing.assert_allclose(found, graph(weights, reals), atol=0.03)


def _brightness(images):
    """Logits that say how bright images in [-1, 1] are."""
    mean = images.mean((1, 2))[:, :1]
    return jnp.concatenate([mean, -mean], axis=-1)


@pytest.fixture
def symmetric():
    """(images, their exact logits, graph, weights, qparams) of a model of images in [-1, 1]."""
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    reals = 2 * (images.astype(np.float32) / np.float32(255)) - 1
    example = jax.ShapeDtypeStruct((1, 4, 4, 3), "float32")
    graph, weights = trace(lambda _, x: _brightness(x), {}, example)
    qparams = calibrate(graph, weights, [reals], input_range=(-1.0, 1.0))
    return images, np.asarray(_brightness(reals)), graph, weights, qparams


@pytest.mark.parametrize("input_type", ["int8", "uint8", "float32"])
def test_quantized_input_says_its_range(symmetric, input_type):
    images, expected, graph, weights, qparams = symmetric
    file = to_tflite(graph, weights, qparams, input_type=input_type)
    predictor = file_predictor(file)
    assert predictor.note is None
    np.testing.assert_allclose(predictor.outputs(images), expected, atol=2 / 255)


def test_float_input_is_assumed_or_told(symmetric):
    images, expected, graph, weights, _ = symmetric
    file = to_tflite(graph, weights)
    assumed = file_predictor(file)
    assert "assumed 0 to 1" in assumed.note
    np.testing.assert_allclose(
        assumed.outputs(images), expected / 2 + np.float32([0.5, -0.5]), atol=1e-6
    )
    told = file_predictor(file, input_range=(-1, 1))
    assert told.note is None
    np.testing.assert_allclose(told.outputs(images), expected, atol=1e-6)
    for bad in ((1, 0), (0, np.nan), (-np.inf, 0)):
        with pytest.raises(ValueError, match="give two finite numbers"):
            file_predictor(file, input_range=bad)


def test_float_input_is_told_by_metadata(symmetric):
    """As another tool writes it: with the schema's generated classes."""
    images, expected, graph, weights, _ = symmetric
    schemas = pytest.importorskip(
        "mediapipe.tasks.metadata.metadata_schema_py_generated", exc_type=ImportError
    )
    normalization = schemas.NormalizationOptionsT()
    normalization.mean = normalization.std = [127.5]
    unit, image = schemas.ProcessUnitT(), schemas.TensorMetadataT()
    unit.optionsType = schemas.ProcessUnitOptions.NormalizationOptions
    unit.options = normalization
    image.name, image.processUnits = "image", [schemas.ProcessUnitT(), unit]
    subgraph, model = schemas.SubGraphMetadataT(), schemas.ModelMetadataT()
    subgraph.inputTensorMetadata, model.subgraphMetadata = [image], [subgraph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"M001")
    file = to_tflite(graph, weights, metadata={"TFLITE_METADATA": bytes(builder.Output())})
    predictor = file_predictor(file)
    assert predictor.note is None
    np.testing.assert_allclose(predictor.outputs(images), expected, atol=1e-6)


def test_channels_have_ranges_of_their_own(symmetric):
    images, _, graph, weights, _ = symmetric
    told = (np.asarray([0.0, -1.0, 2.0]), np.asarray([1.0, 1.0, 4.0]))
    (tensor,) = inspect(to_tflite(graph, weights)).inputs.values()
    found = _feeder(tensor, *told)(images)
    wanted = told[0] + (told[1] - told[0]) * images / 255
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_bytes_that_are_not_quantized_are_bytes():
    empty = np.zeros(0, np.float32)
    tensor = TensorInfo(
        name="bytes", shape=(1, 4, 4, 3), dtype="uint8", size=48, constant=False, scale=empty,
        zero_point=empty, axis=0,
    )  # fmt: skip
    graph = Subgraph(name="", tensors=(tensor,), operators=(), inputs=(0,), outputs=(0,))
    assert _covered_range(graph) == (0, 255)
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    np.testing.assert_array_equal(_feeder(tensor, 0, 255)(images), images)


def test_a_run_knows_its_files(run_dir):
    graph, weights = open_run(run_dir).trace()
    (run_dir / "float.tflite").write_bytes(to_tflite(graph, weights))
    inside = file_predictor(run_dir / "float.tflite")
    assert (inside.data, inside.note) == ("fashion_mnist_subset", None)
    (run_dir / "config.json").write_text("{}")  # of something else
    outside = file_predictor(run_dir / "float.tflite")
    assert outside.data is None
    assert "assumed 0 to 1" in outside.note


def test_a_detector_of_three_files_is_opened_by_its_trunk(tmp_path):
    graph, weights = trace(lambda _, x: x * 2, {}, jax.ShapeDtypeStruct((1, 4, 4, 3), "float32"))
    trunk = to_tflite(graph, weights, metadata={two_stage.METADATA: "{}"})
    with pytest.raises(ValueError, match=r"needs its heads beside it: name it NAME_trunk.tflite"):
        file_predictor(trunk)
    for part in ("trunk", "boxes"):
        (tmp_path / f"net_{part}.tflite").write_bytes(trunk)
    with pytest.raises(
        ValueError, match=r"without .*net_masks.tflite: put the three files together"
    ):
        file_predictor(tmp_path / "net_trunk.tflite")
    with pytest.raises(ValueError, match=r"one of the three files .*: give .*net_trunk.tflite"):
        file_predictor(tmp_path / "net_boxes.tflite")


def test_latency(finished):
    assert 0 < latency_ms(finished[0] / "model.tflite", runs=2) < 1e4


def test_labels_are_those_that_the_metadata_name(tmp_path):
    function, files = (
        lambda _, x: x.mean((1, 2)),
        {"labels-de.txt": "eins", "all-labels.txt": "one"},
    )
    graph, weights = trace(function, {}, jax.ShapeDtypeStruct((1, 4, 4, 3), "float32"))
    title = Table({0: "all-labels.txt", 2: Scalar("int8", 2)})
    entry = pack_table(Table({3: [Table({3: [Table({6: [title]})]})]}), b"M001")
    packed = io.BytesIO(to_tflite(graph, weights, metadata={ENTRY: entry}))
    with zipfile.ZipFile(packed, "a") as archive:
        for name, first in files.items():
            archive.writestr(name, f"{first}\ntwo\nthree\n")
    assert file_predictor(packed.getvalue()).class_names == ("one", "two", "three")
    given = tmp_path / "mine.txt"
    given.write_text("a\nb\nc\n", encoding="utf-8-sig")
    assert file_predictor(packed.getvalue(), given).class_names == ("a", "b", "c")
