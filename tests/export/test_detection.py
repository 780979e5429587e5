import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced import normal

from attokit import export, quant, zoo
from attokit.arena import arena
from attokit.export import DetectionPostProcess
from attokit.export.detection import post_process_scratch
from attokit.zoo.box_coder import SSD_WEIGHTS, cxcywh_to_xyxy, decode_boxes
from attokit.zoo.nms import non_max_suppression
from attokit.zoo.prior_boxes import prior_boxes_cxcywh

ANCHORS = prior_boxes_cxcywh((40, 48), steps=(8,), sizes=(12,))
N, CLASSES, PLACES = len(ANCHORS), 4, 12
DETECTION = DetectionPostProcess(
    anchors_cxcywh=ANCHORS, iou_threshold=0.4, score_threshold=0.5, max_detections=PLACES
)


def _heads(v, x):
    y = x @ v
    return {"boxes": 2 * jnp.tanh(y[..., :4]), "scores": y[..., 4:]}


@pytest.fixture(scope="module")
def detector():
    """One row of features per anchor; graph, weights, qparams and an input."""
    weights, x = normal(6, 4 + CLASSES) / 2, normal(1, N, 6)
    graph, traced = quant.trace(_heads, weights, x)
    return graph, traced, quant.calibrate(graph, traced, [x], input_range=None), x


def _by_the_zoo(boxes, scores, per_class):
    """Returns boxes (top, left, bottom, right), classes and scores as the zoo's functions choose them."""
    found = decode_boxes(
        boxes[0], cxcywh_to_xyxy(jnp.asarray(ANCHORS)), weights=SSD_WEIGHTS, largest_ratio=None
    )
    probabilities = jax.nn.softmax(scores[0])[:, 1:]
    best = jnp.argmax(probabilities, axis=-1)
    rows = []
    for name in range(CLASSES - 1) if per_class else (None,):
        of_class = probabilities.max(axis=-1) if name is None else probabilities[:, name]
        places, valid = non_max_suppression(
            found, of_class, iou_threshold=0.4, max_outputs=PLACES, score_threshold=0.5
        )
        for place in np.asarray(places)[np.asarray(valid)]:
            label = best[place] if name is None else name
            rows.append((-of_class[place], label, found[place]))
    rows.sort(key=lambda row: float(row[0]))
    rows = rows[:PLACES]
    corners = np.asarray([row[2] for row in rows])[:, [1, 0, 3, 2]]
    return corners, np.asarray([row[1] for row in rows]), -np.asarray([row[0] for row in rows])


@pytest.mark.parametrize("quantized", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("per_class", [True, False])
def test_chooses_what_the_zoo_chooses(detector, quantized, per_class):
    graph, weights, qparams, x = detector
    qparams = qparams if quantized else None
    detection = dataclasses.replace(DETECTION, per_class=per_class)
    raw = export.run(
        export.to_tflite(graph, weights, qparams), x, kernels="reference", dequantize=True
    )
    boxes, classes, scores = _by_the_zoo(raw["boxes"], raw["scores"], per_class)
    assert 3 <= len(boxes) < N
    file = export.to_tflite(graph, weights, qparams, detection=detection)
    for kernels in ("reference", "micro", "xnnpack"):
        found = export.run(file, x, kernels=kernels)
        count = int(found["count"][0])
        assert count == len(boxes)
        np.testing.assert_allclose(found["scores"][0, :count], scores, atol=1e-5)
        np.testing.assert_array_equal(found["classes"][0, :count], classes)
        np.testing.assert_allclose(found["boxes"][0, :count], boxes, atol=1e-5)


def test_logistic_scores_have_no_background(detector):
    graph, weights, qparams, x = detector
    detection = dataclasses.replace(DETECTION, scores="logistic")
    found = export.run(export.to_tflite(graph, weights, qparams, detection=detection), x)
    raw = export.run(export.to_tflite(graph, weights, qparams), x, dequantize=True)["scores"]
    best = np.unravel_index(raw[0].argmax(), raw[0].shape)
    assert found["classes"][0, 0] == best[1]
    assert found["scores"][0, 0] == pytest.approx(1 / (1 + np.exp(-raw.max())), abs=1e-5)


def test_what_comes_before_it_is_verified(detector):
    graph, weights, qparams, x = detector
    file = export.to_tflite(graph, weights, qparams, detection=DETECTION)
    assert export.verify(file, graph, weights, qparams, x).exact
    assert export.inspect(file).histogram["TFLite_Detection_PostProcess"] == 1
    assert list(export.inspect(file).outputs) == ["boxes", "classes", "scores", "count"]


def test_priors_of_a_detector_fit():
    model = zoo.create("rnnpool_face_m4", image_size=(64, 48, 1))
    detection = dataclasses.replace(DETECTION, anchors_cxcywh=model.config.priors((64, 48)))
    n = len(detection.anchors_cxcywh)
    detection.check((1, n, 4), (1, n, 2))


def test_refuses_what_the_operator_cannot_do(detector):
    graph, weights, qparams, _ = detector
    with pytest.raises(ValueError, match="do not fit 29 anchors"):
        fewer = dataclasses.replace(DETECTION, anchors_cxcywh=ANCHORS[1:])
        export.to_tflite(graph, weights, qparams, detection=fewer)
    with pytest.raises(ValueError, match="output_type 'uint8'"):
        export.to_tflite(graph, weights, qparams, detection=DETECTION, output_type="uint8")
    with pytest.raises(ValueError, match="iou_threshold=0"):
        dataclasses.replace(DETECTION, iou_threshold=0)
    with pytest.raises(ValueError, match="score_threshold=5: give a probability"):
        dataclasses.replace(DETECTION, score_threshold=5)
    with pytest.raises(ValueError, match="max_detections=0"):
        dataclasses.replace(DETECTION, max_detections=0)
    with pytest.raises(ValueError, match="scores='sigmoid'"):
        dataclasses.replace(DETECTION, scores="sigmoid")
    with pytest.raises(ValueError, match="one row of four"):
        dataclasses.replace(DETECTION, anchors_cxcywh=ANCHORS[0])
    classifier, own = quant.trace(lambda v, x: x @ v, normal(3, 2), normal(1, 3))
    with pytest.raises(ValueError, match="the graph returns output"):
        export.to_tflite(classifier, own, detection=DETECTION)


@pytest.mark.parametrize("places", [3, PLACES])
def test_the_scratch_that_it_takes_in_micro(detector, tmp_path, places):
    graph, weights, qparams, _ = detector
    few = dataclasses.replace(DETECTION, max_detections=places)
    file = export.to_tflite(graph, weights, qparams, target="micro", detection=few)
    info = export.inspect(file)
    chooser = info.main.operators[-1]
    scratch = post_process_scratch(info.main, chooser)
    measured = arena(export.write(tmp_path / "net.tflite", file))
    assert scratch - 512 < measured.activations - chooser.live <= scratch
    use = export.cortex_m(info).uses[-1]
    assert (use.kernel.speed, use.kernel.scratch) == ("reference", scratch)
    header = export.micro_sources(file, "net")["net.h"]
    told = int(header.split("arena_bytes = ")[1].split(";")[0])
    assert measured.total <= told < measured.total + 6000
