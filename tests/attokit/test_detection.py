import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from attokit.cli import main
from attokit.detection import check_outputs, details, evaluate, read_file
from attokit.detector_metadata import METADATA
from attokit.export import inspect
from attokit.predictor import Predictor
from attokit.targets import open_predictor
from attokit.train import Anchors


def _row(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.split("│")[1:-1]]


@pytest.mark.slow
def test_run_graph_and_file_are_measured_alike(detected, capsys):
    folder, printed = detected
    assert "AP@0.5 on test" in printed and "AP@0.5 of the INT8 graph on test" in printed
    found = []
    for arguments in ([str(folder)], [str(folder), "--quantized"], [str(folder / "model.tflite")]):
        assert main(["evaluate", *arguments]) == 0
        text = capsys.readouterr().out
        found.append(float(_row(text, "ap50")[1]))
        by_class = [float(_row(text, name)[1]) for name in ("bright", "dark")]
        assert sum(by_class) / 2 == pytest.approx(found[-1], abs=1e-4)
        assert float(_row(text, "loss")[1]) > 0
        assert 0 <= float(_row(text, "coco_ap")[1]) <= found[-1]
    assert f"AP@0.5 on test {found[0]:.4f}" in printed  # of the training, which it repeats
    assert found[0] > 0.5 and found[1:] == pytest.approx(found[:1] * 2, abs=0.1)


@pytest.mark.slow
def test_the_file_tells_its_prior_boxes(detected):
    info = inspect(detected[0] / "model.tflite")
    assert json.loads(info.metadata[METADATA])["prior_sizes"] == [12]
    read = read_file(info)
    assert read.num_classes == 3 and read.anchors.image_size == (32, 32)
    assert f"metadata: {METADATA}" in str(info)
    assert read_file(dataclasses.replace(info, metadata={})) is None
    other = {METADATA: info.metadata[METADATA].replace(b"[8]", b"[16]")}
    with pytest.raises(ValueError, match="outputs for 16 prior boxes, its metadata tells 4"):
        read_file(dataclasses.replace(info, metadata=other))


@pytest.mark.slow
def test_it_is_still_the_graph_to_the_integer(detected, capsys):
    assert main(["verify", str(detected[0]), "--images", "2"]) == 0


@pytest.mark.slow
def test_pictures_of_what_is_found(detected, tmp_path, capsys):
    pixels = np.full((32, 32, 3), 110, np.uint8)
    pixels[8:20, 10:22] = 250
    Image.fromarray(pixels).save(tmp_path / "square.png")
    Image.fromarray(np.full((32, 32), 110, np.uint8)).save(tmp_path / "empty.png")
    images = [str(tmp_path / "square.png"), str(tmp_path / "empty.png")]
    for target in (detected[0], detected[0] / "model.tflite"):
        arguments = [str(target), *images, "--output", str(tmp_path / "out"), "--score", "0.4"]
        assert main(["predict", *arguments]) == 0
        out = capsys.readouterr().out
        _, label, score, place = _row(out, str(tmp_path / "square.png"))
        assert label == "bright" and float(score) > 0.4
        np.testing.assert_allclose([int(n) for n in place.split(",")], [10, 8, 22, 20], atol=3)
        assert "nothing" in out
        assert {p.name for p in (tmp_path / "out").iterdir()} == {
            "square_boxes.png",
            "empty_boxes.png",
        }
    assert main(["predict", str(detected[0]), *images, "--top", "2"]) == 1
    assert "--top changes nothing in detection" in capsys.readouterr().err
    assert main(["predict", str(detected[0]), *images, "--score", "2"]) == 1
    assert "score_threshold=2.0: give a share from 0 to 1" in capsys.readouterr().err


@pytest.mark.slow
def test_qat_of_a_detector(detected, tmp_path, capsys):
    folder = shutil.copytree(detected[0], tmp_path / "run")
    options = ["--method", "qat", "--steps", "10", "--calibration-images", "32"]
    assert main(["quantize", str(folder), *options]) == 0
    before, after = (
        float(line.split()[-1])
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("AP@0.5")
    )
    assert after > before - 0.1


@pytest.mark.slow
def test_a_model_by_name(tiny, tmp_path, capsys):
    file = tmp_path / "x.tflite"
    assert main(["export", "tiny_boxes", "--output", str(file)]) == 0
    assert METADATA in inspect(file).metadata
    assert main(["evaluate", str(file), "--data", "scenes"]) == 0
    assert "AP@0.5" in capsys.readouterr().out


@pytest.mark.slow
def test_pretrained_weights(detected, hub, boxes):
    hub(detected[0], "tiny_boxes.scenes", boxes.class_names)
    source = boxes.split("test")
    found, wanted = (
        evaluate(open_predictor(target), boxes, source)
        for target in ("tiny_boxes.scenes", str(detected[0]))
    )
    assert found["ap50"] == pytest.approx(wanted["ap50"]) and found["ap50"] > 0.5


def _perfect(boxes_dataset, anchors):
    """Heads that know the answers."""
    batch = boxes_dataset.split("test").read(np.arange(21))
    by_image = {image.tobytes(): i for i, image in enumerate(batch["images"])}

    def outputs(images):
        rows = [by_image[image.tobytes()] for image in images]
        targets = np.broadcast_to(anchors.boxes_xyxy, (len(rows), *anchors.boxes_xyxy.shape)).copy()
        logits = np.zeros((*targets.shape[:2], 3), np.float32)
        logits[..., 0] = 10
        for index, row in enumerate(rows):
            label = batch["box_labels"][row, 0]
            if label:
                targets[index, 0] = batch["boxes"][row, 0]
                logits[index, 0, label] = 20
        return {"boxes": np.asarray(anchors.encode(targets)), "scores": logits}

    return outputs


def _predictor(boxes_dataset, **changes):
    corners = np.mgrid[0:32:8, 0:32:8].reshape(2, -1).T[:, ::-1]
    anchors = Anchors(
        boxes_xyxy=np.concatenate([corners, corners + 8], -1).astype(np.float32),
        image_size=(32, 32),
    )
    fields = {
        "name": "oracle", "task": "detection", "image_shape": (32, 32, 1), "num_classes": 3,
        "class_names": None, "data": None, "outputs": _perfect(boxes_dataset, anchors),
        "anchors": anchors,
    }  # fmt: skip
    return Predictor(**fields | changes)


def test_perfect_heads_score_1(boxes):
    metrics = evaluate(_predictor(boxes), boxes, boxes.split("test"), batch_size=8)
    assert metrics["ap50"] == 1.0 and metrics["coco_ap"] == pytest.approx(1.0)
    table = details(metrics, boxes.class_names)
    assert list(table.columns[0].cells) == ["bright", "dark"]
    assert list(table.columns[1].cells) == ["1.0000", "1.0000"]
    assert list(details({"ap50_by_class": [np.nan]}, ("no", "a")).columns[1].cells) == ["none"]


def test_what_does_not_fit(boxes, console):
    with pytest.raises(ValueError, match="oracle has 4 classes with the background, scenes has 3"):
        evaluate(_predictor(boxes, num_classes=4), boxes, boxes.split("test"))
    with pytest.raises(ValueError, match="the detector has no prior boxes"):
        evaluate(_predictor(boxes, anchors=None), boxes, boxes.split("test"))


def test_outputs_are_offsets_and_logits(boxes):
    def heads(*shapes):
        return {
            name: jax.ShapeDtypeStruct(shape, "float32")
            for name, shape in zip(("boxes", "scores"), shapes, strict=True)
        }

    check_outputs("x", heads((1, 16, 4), (1, 16, 3)), boxes)
    for outputs in (np.zeros((1, 3)), heads((1, 16, 5), (1, 16, 3)), heads((1, 9, 4), (1, 16, 3))):
        with pytest.raises(ValueError, match="x does not give boxes and scores of anchors"):
            check_outputs("x", outputs, boxes)
    with pytest.raises(ValueError, match=r"logits of 5 classes, scenes has 3 .*set num_classes=3"):
        check_outputs("x", heads((1, 16, 4), (1, 16, 5)), boxes)
