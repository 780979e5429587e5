import dataclasses
import functools

import jax
import numpy as np
import pytest

from attokit import export, quant, train, zoo
from attokit.app_files import app_file, fit_scores
from attokit.detection import post_process
from attokit.export import ImageTask, ScoreCalibration, Sigmoid
from attokit.export.image_tasks import labels_in
from attokit.figures import softmax
from attokit.origins import open_origin
from attokit.targets import open_predictor
from attokit.tflite_predictor import file_predictor

MODELS = ["tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in ("tiny_pixels", "tiny_boxes"))]
_SIZE = "image_size=[24,32,3]"


@pytest.fixture(scope="module")
def vision():
    pytest.importorskip("mediapipe", exc_type=ImportError)
    from mediapipe.tasks.python import vision

    return vision


def _options(name, file, vision, **more):
    from mediapipe.tasks.python import BaseOptions

    base = BaseOptions(model_asset_buffer=file)
    return getattr(vision, f"{name}Options")(base_options=base, **more)


def _picture(pixels):
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)


@functools.cache
def _origin(name, *overrides):
    return open_origin(name, overrides=(_SIZE, *overrides))


def _image(seed=3):
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("as_float", [False, True])
def test_mediapipe_classifies_as_predict_does(tiny, vision, tmp_path, as_float):
    origin = _origin("tiny")
    origin = dataclasses.replace(origin, qparams=None) if as_float else origin
    file = app_file(origin, "tiny")
    options = _options("ImageClassifier", file, vision)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        (found,) = classifier.classify(_picture(_image())).classifications
    predictor = open_predictor(str(export.write(tmp_path / "tiny.tflite", file)))
    assert predictor.note is None  # its metadata tell the range of floats
    logits = predictor.outputs(_image()[None])[0]
    wanted = np.asarray(jax.nn.softmax(logits))
    scores = {category.category_name: category.score for category in found.categories}
    assert scores.keys() == {"class 0", "class 1", "class 2"}
    for i, probability in enumerate(wanted):
        assert scores[f"class {i}"] == pytest.approx(probability, abs=1e-6)


def test_mediapipe_calibrates_scores_by_held_out_images(tiny, vision):
    origin = _origin("tiny")
    images = np.stack([_image(seed) // (1 + seed % 3) for seed in range(9)])
    source = train.ArraySource(images=images, labels=np.arange(9, dtype=np.int32) % 3)
    file = app_file(origin, "tiny", held_out=source)
    calibration = fit_scores(app_file(origin, "tiny"), source)
    batch = source.read(np.arange(1))
    plain = softmax(file_predictor(file).outputs(batch["images"])[0])
    wanted = calibration(plain)
    assert not np.allclose(wanted, plain, atol=0.01)
    with vision.ImageClassifier.create_from_options(_options("ImageClassifier", file, vision)) as classifier:  # fmt: skip
        (found,) = classifier.classify(_picture(batch["images"][0])).classifications
    scores = {category.index: category.score for category in found.categories}
    for index, score in enumerate(wanted):
        assert scores[index] == pytest.approx(score, abs=1e-5)


def test_scores_are_fitted_as_the_app_sees_them():
    """Of a sure network: down to 1e-20, far below what logarithms of `file_predictor` keep."""
    graph, weights = quant.trace(
        lambda v, x: (x.mean((1, 2)) - 0.5) * v, np.float32(80), np.zeros((1, 4, 4, 3), np.float32)
    )
    file = export.to_tflite(graph, weights, probabilities=True)
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 1, 3)).astype(np.uint8)
    images = np.broadcast_to(images, (12, 4, 4, 3)).copy()
    labels = np.arange(12, dtype=np.int32) % 3
    (scores,) = export.run(file, images.astype(np.float32) / np.float32(255)).values()
    assert scores.min() < 1e-12
    found = fit_scores(file, train.ArraySource(images=images, labels=labels))
    wanted = ScoreCalibration.fit(scores, labels)
    for one, other in zip(found.sigmoids, wanted.sigmoids, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4)


@pytest.mark.slow
def test_mediapipe_calibrates_scores_of_boxes(tiny, vision):
    origin = _origin("tiny_boxes")
    calibration = ScoreCalibration(sigmoids=(Sigmoid(slope=0.5, offset=1.0), None), default_score=0.75)  # fmt: skip
    task = ImageTask(
        kind="detector", name="x", image_shape=(24, 32, 3), class_names=("class 1", "class 2"),
        calibration=calibration,
    )  # fmt: skip
    file = task.with_files(
        export.to_tflite(
            origin.graph, origin.weights, origin.qparams, input_type="uint8", metadata=task.entries(),
            **post_process(origin.network, (24, 32, 3), train.FindConfig(score_threshold=0.3)),
        )
    )  # fmt: skip
    with vision.ObjectDetector.create_from_options(_options("ObjectDetector", file, vision)) as detector:  # fmt: skip
        found = detector.detect(_picture(_image())).detections
    plain = file_predictor(file).outputs(_image()[None])
    labels, scores = (np.asarray(part[0]) for part in (plain.labels, plain.scores))
    wanted = [
        (0.75 if label == 2 else float(calibration(np.asarray([score, 0]))[0]), f"class {label}")
        for label, score in zip(labels, scores, strict=True)
        if label
    ]
    pairs = [(c.score, c.category_name) for d in found for c in d.categories]
    assert {label for _, label in wanted} == {"class 1", "class 2"}
    for (score, name), (share, label) in zip(sorted(pairs), sorted(wanted), strict=True):
        assert score == pytest.approx(share, abs=1e-5) and name == label


@pytest.mark.slow
def test_mediapipe_segments_as_predict_does(tiny, vision, tmp_path):
    file = app_file(_origin("tiny_pixels"), "tiny_pixels")
    options = _options(
        "ImageSegmenter", file, vision, output_category_mask=True, output_confidence_masks=True
    )
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        assert list(segmenter.labels) == ["class 0", "class 1", "class 2"]
        found = segmenter.segment(_picture(_image()))
        classes = np.array(found.category_mask.numpy_view()).squeeze()
        shares = [np.array(mask.numpy_view()).squeeze() for mask in found.confidence_masks]
    predictor = open_predictor(
        str(export.write(tmp_path / "net.tflite", file)), task="segmentation"
    )
    logits = predictor.outputs(_image()[None])[0]
    np.testing.assert_allclose(np.stack(shares, -1), jax.nn.softmax(logits), atol=1e-6)
    np.testing.assert_array_equal(classes, logits.argmax(-1))


@pytest.mark.slow
def test_mediapipe_detects_as_predict_does(tiny, vision):
    origin = _origin("tiny_boxes")
    file = app_file(origin, "tiny_boxes")
    options = _options("ObjectDetector", file, vision)
    with vision.ObjectDetector.create_from_options(options) as detector:
        found = detector.detect(_picture(_image())).detections
    plain = export.to_tflite(origin.graph, origin.weights, origin.qparams, input_type="uint8")
    heads = export.run(plain, _image()[None], dequantize=True)
    anchors = train.network_anchors(origin.network, (24, 32))
    config = train.FindConfig(score_threshold=0.3)
    wanted = jax.device_get(train.find_objects(heads["boxes"], heads["scores"], anchors, config))
    count = int((wanted.labels[0] > 0).sum())
    # MediaPipe shows what is at one place once, with all its classes.
    pairs = [(c.score, c.category_name) for detection in found for c in detection.categories]
    answers = zip(wanted.scores[0][:count], wanted.labels[0][:count], strict=True)
    assert len(pairs) == count > 0
    for (score, name), (probability, label) in zip(sorted(pairs), sorted(answers), strict=True):
        assert score == pytest.approx(probability, abs=1e-5)
        assert name == f"class {label}"
    best = max(found, key=lambda d: max(c.score for c in d.categories)).bounding_box
    box = wanted.boxes_xyxy[0][0]
    left, top = max(best.origin_x, 0), max(best.origin_y, 0)
    right, bottom = best.origin_x + best.width, best.origin_y + best.height
    np.testing.assert_allclose([left, top, min(right, 32), min(bottom, 24)], box, atol=1.5)


@pytest.mark.parametrize("name", MODELS)
def test_the_labels_travel_in_the_file(name, tiny):
    origin = _origin(name)
    file = app_file(origin, name)
    wanted = ("class 0", "class 1", "class 2")
    assert labels_in(file) == (wanted[1:] if name == "tiny_boxes" else wanted)
    info = export.inspect(file)
    assert next(iter(info.inputs.values())).dtype == "uint8"
    assert "TFLITE_METADATA" in info.metadata
    assert file == app_file(origin, name)


def test_grey_networks_take_colours(tiny, vision):
    origin = open_origin("tiny")  # of one channel
    file = app_file(origin, "tiny")
    (taken,) = export.inspect(file).inputs.values()
    assert taken.shape == (1, 8, 8, 3)
    predictor = file_predictor(file)
    assert predictor.image_shape == (8, 8, 1)
    plain = file_predictor(export.to_tflite(origin.graph, origin.weights, origin.qparams))
    pixels = _image()[:8, :8, :1]
    wanted = plain.outputs(pixels[None])
    shares = softmax(predictor.outputs(pixels[None]))
    np.testing.assert_allclose(shares, softmax(wanted), atol=1e-6)
    options = _options("ImageClassifier", file, vision)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        (found,) = classifier.classify(_picture(pixels.repeat(3, -1))).classifications
    scores = {category.index: category.score for category in found.categories}
    for index, share in enumerate(softmax(wanted[0])):
        assert scores[index] == pytest.approx(share, abs=1e-6)


def test_scores_of_grey_networks_are_calibrated(tiny, dataset):
    origin = open_origin("tiny")
    file = app_file(origin, "tiny", held_out=dataset.split("test"))
    assert b"score_calibration.txt" in file


@pytest.mark.slow
def test_class_ids_are_refused(tiny):
    with pytest.raises(ValueError, match="ends in class ids"):
        app_file(_origin("tiny_pixels", "output=argmax"), "tiny_pixels")


_SHOWN = [
    name for name in zoo.names()
    if zoo.task(name) in ("classification", "segmentation", "detection")
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", _SHOWN)
def test_the_zoo_opens_in_mediapipe_and_does_as_predict_does(name, vision):
    origin = open_origin(name)
    file = app_file(origin, name)
    predictor = file_predictor(file, task=origin.task)
    kind = {"classification": "ImageClassifier", "segmentation": "ImageSegmenter", "detection": "ObjectDetector"}[origin.task]  # fmt: skip
    assert predictor.image_shape == origin.image_shape
    image = np.random.default_rng(0).integers(0, 256, origin.image_shape).astype(np.uint8)
    wanted = predictor.outputs(image[None])
    image = np.broadcast_to(image, (*image.shape[:2], 3)).copy()  # the app gives colours
    with getattr(vision, kind).create_from_options(_options(kind, file, vision)) as task:
        if kind == "ImageClassifier":
            (found,) = task.classify(_picture(image)).classifications
            scores = {category.category_name: category.score for category in found.categories}
            shares = softmax(wanted[0])
            assert scores.keys() == set(predictor.class_names)
            for title, share in zip(predictor.class_names, shares, strict=True):
                assert scores[title] == pytest.approx(share, abs=1e-6)
        elif kind == "ImageSegmenter":
            masks = [np.array(m.numpy_view()).squeeze() for m in task.segment(_picture(image)).confidence_masks]  # fmt: skip
            np.testing.assert_allclose(np.stack(masks, -1), softmax(wanted[0]), atol=1e-5)
        else:
            found = task.detect(_picture(image)).detections
            # What is at one place is one detection, with all its classes. What lies outside of the image is
            # shown as well, which predict leaves out: these weights are random.
            pairs = [
                (c.score, c.category_name, _visible(d.bounding_box, image.shape))
                for d in found
                for c in d.categories
            ]
            used = np.asarray(wanted.labels[0]) > 0
            for score, label in zip(
                np.asarray(wanted.scores[0])[used], wanted.labels[0][used], strict=True
            ):
                title = predictor.class_name(int(label))
                fitting = [p for p in pairs if p[1] == title and abs(p[0] - score) < 1e-5]
                assert fitting, (score, title)
                pairs.remove(max(fitting, key=lambda pair: pair[2]))
            assert not any(visible > 1 for _, _, visible in pairs)


def _visible(box, shape):
    """Returns the shorter side of what is in the image, in whole pixels, as MediaPipe rounds them."""
    width = min(box.origin_x + box.width, shape[1]) - max(box.origin_x, 0)
    height = min(box.origin_y + box.height, shape[0]) - max(box.origin_y, 0)
    return min(width, height)
