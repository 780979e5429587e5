import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from traced import normal

from attokit import export, quant, train
from attokit.chosen_boxes import read_chosen
from attokit.cli import main
from attokit.detection import evaluate
from attokit.export import DetectionPostProcess, ImageTask
from attokit.export.detection import CUSTOM_CODE
from attokit.tflite_predictor import file_predictor
from attokit.zoo.prior_boxes import prior_boxes_cxcywh

_PRIORS = prior_boxes_cxcywh((32, 32), steps=(8,), sizes=(12,))
_RULES = train.FindConfig(score_threshold=0.25, iou_threshold=0.3, most=24)


def _heads(kernel, x):
    y = jax.lax.conv_general_dilated(
        x - 0.5, kernel, (8, 8), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y = y.reshape(1, 16, -1)
    return {"boxes": 2 * jnp.tanh(y[..., :4]), "scores": 3 * y[..., 4:]}


@pytest.fixture(scope="module")
def files():
    """(file that chooses boxes, file of heads), float, of two classes and the background."""
    graph, weights = quant.trace(_heads, normal(8, 8, 1, 7), np.zeros((1, 32, 32, 1), np.float32))
    detection = DetectionPostProcess(
        anchors_cxcywh=_PRIORS,
        iou_threshold=_RULES.iou_threshold,
        score_threshold=_RULES.score_threshold,
        max_detections=_RULES.most,
        per_class=True,
    )
    return export.to_tflite(graph, weights, detection=detection), export.to_tflite(graph, weights)


@pytest.mark.slow
def test_they_are_what_heads_and_anchors_give(files, boxes):
    chooser = file_predictor(files[0])
    assert chooser.task == "detection" and chooser.num_classes == 3 and chooser.anchors is None
    images = boxes.split("test").read(np.arange(5))["images"]
    found = chooser.outputs(images)
    heads = export.run(files[1], images.astype(np.float32) / 255)
    wanted = train.find_objects(
        heads["boxes"], heads["scores"], train.Anchors.of_priors(_PRIORS, (32, 32)), _RULES
    )
    assert 5 < np.count_nonzero(wanted.labels) < wanted.labels.size
    # The operator compares boxes before they end at the border, so it finds a few more there, all weak.
    best = np.s_[:, :4]
    np.testing.assert_array_equal(found.labels[best], wanted.labels[best])
    np.testing.assert_allclose(found.scores[best], wanted.scores[best], atol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy[best], wanted.boxes_xyxy[best], atol=1e-3)
    assert not np.any(found.boxes_xyxy < 0) and not np.any(found.boxes_xyxy > 32)


def test_their_precision_is_measured(files, boxes):
    metrics = evaluate(file_predictor(files[0]), boxes, boxes.split("test"), batch_size=8)
    assert "loss" not in metrics and 0 <= metrics["ap50"] < 0.5  # of random weights


def test_a_file_of_another_tool_and_names_inside(files, boxes, tmp_path, capsys):
    info = export.inspect(files[0])
    renamed = dataclasses.replace(info, signatures={})
    read = read_chosen(renamed)
    assert list(renamed.outputs) == [
        f"detection/{n}" for n in ("boxes", "classes", "scores", "count")
    ]
    raw = export.run(files[0], np.full((1, 32, 32, 1), 0.25, np.float32))
    found = read.decode({f"detection/{name}": value for name, value in raw.items()})
    assert np.count_nonzero(found.labels) == np.count_nonzero(found.scores) > 0
    task = ImageTask(
        kind="detector", name="x", image_shape=(32, 32, 1), class_names=("bright", "dark")
    )
    path = export.write(tmp_path / "net.tflite", task.with_files(files[0]))
    assert file_predictor(path).class_names == ("background", "bright", "dark")
    Image.fromarray(boxes.split("test").read(np.arange(1))["images"][0, ..., 0]).save(
        tmp_path / "a.png"
    )
    assert main(["predict", str(path), str(tmp_path / "a.png"), "--output", str(tmp_path)]) == 0
    assert {"bright", "dark"} & set(capsys.readouterr().out.replace("│", " ").split())
    assert (tmp_path / "a_boxes.png").is_file()


def test_what_is_no_such_file(files):
    assert read_chosen(export.inspect(files[1])) is None
    info = export.inspect(files[0])
    for options in (b"", b"\x01\x02\x03"):
        damaged = [
            dataclasses.replace(o, custom_options=options) if o.kind == CUSTOM_CODE else o
            for o in info.main.operators
        ]
        graph = dataclasses.replace(info.main, operators=tuple(damaged))
        with pytest.raises(ValueError, match=f"{CUSTOM_CODE}.*export the file"):
            read_chosen(dataclasses.replace(info, subgraphs=(graph,)))
