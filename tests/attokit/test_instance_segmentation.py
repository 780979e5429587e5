import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from attokit import export, quant, zoo
from attokit.checkpoints import save_weights
from attokit.cli import main
from attokit.instance_segmentation import (
    METADATA,
    check_outputs,
    describe_classes,
    details,
    evaluate,
    predict,
    read_file,
)
from attokit.predictor import Predictor
from attokit.runs import describe_run, open_run
from attokit.tflite_predictor import file_predictor
from attokit.train import TrainConfig, load_scenes

SIZE = (64, 64)


@pytest.fixture(scope="module")
def scenes():
    return load_scenes(SIZE, task="instance_segmentation", train=2, test=5)


def _truth(batch):
    """What a perfect network would give: the objects themselves."""
    return {
        "boxes": batch["boxes"],
        "scores": np.where(batch["box_labels"] > 0, 0.9, 0).astype(np.float32),
        "classes": batch["box_labels"],
        "masks": np.float32(batch["instance_masks"]) / np.float32(255),
        "valid": batch["box_labels"] > 0,
    }


def _predictor(scenes, change=lambda outputs: outputs, **fields):
    """A network that knows the test scenes by their pixels."""
    everything = scenes.split("test").read(np.arange(5))

    def outputs(images):
        rows = [
            int(np.argmin([np.abs(i.astype(int) - e).sum() for e in everything["images"]]))
            for i in images
        ]
        return change({name: array[rows] for name, array in _truth(everything).items()})

    known = {"name": "known", "task": "instance_segmentation", "image_shape": (*SIZE, 3),
             "num_classes": 11, "class_names": scenes.class_names, "data": None}  # fmt: skip
    return Predictor(**known | {"outputs": outputs} | fields)


def test_perfect_networks_score_1(scenes):
    metrics = evaluate(_predictor(scenes), scenes, scenes.split("test"), batch_size=2)
    assert metrics["box_ap"] == metrics["mask_ap50"] == 1.0
    table = details(metrics, scenes.class_names)
    assert set(table.columns[1].cells) == set(table.columns[2].cells) <= {"1.0000", "none"}
    assert list(table.columns[0].cells) == list(scenes.class_names[1:])


def test_masks_decide_apart_from_boxes(scenes):
    empty = _predictor(scenes, lambda outputs: outputs | {"masks": 0 * outputs["masks"]})
    metrics = evaluate(empty, scenes, scenes.split("test"))
    assert (metrics["box_ap50"], metrics["mask_ap50"]) == (1.0, 0.0)


def test_other_classes(scenes):
    with pytest.raises(ValueError, match="known has 3 classes with the background, scenes has 11"):
        evaluate(_predictor(scenes, num_classes=3), scenes, scenes.split("test"))


def test_outputs_of_another_kind(scenes):
    check_outputs("good", dict.fromkeys(("boxes", "scores", "classes", "masks", "valid")), scenes)
    for outputs in (np.zeros(3), {"boxes": 0, "scores": 0}):
        with pytest.raises(ValueError, match="does not give boxes with masks: choose a Mask R-CNN"):
            check_outputs("unet", outputs, scenes)


def test_pictures_of_what_is_found(scenes, tmp_path, capsys):
    batch = scenes.split("test").read(np.arange(1))
    Image.fromarray(batch["images"][0]).save(tmp_path / "scene.png")
    console = Console(width=200)
    predict(_predictor(scenes), [tmp_path / "scene.png"], console, output=tmp_path / "out")
    text = capsys.readouterr().out
    label = scenes.class_names[batch["box_labels"][0, 0]]
    assert label in text and "0.90" in text
    assert (tmp_path / "out" / "scene_masks.png").stat().st_size > 1000
    predict(_predictor(scenes), [tmp_path / "scene.png"], console, output=tmp_path, score=0.95)
    with pytest.raises(ValueError, match="score_threshold=5: give a share from 0 to 1"):
        predict(_predictor(scenes), [tmp_path / "scene.png"], console, output=tmp_path, score=5)
    assert "nothing" in capsys.readouterr().out


def test_photographs_are_fitted_whole_and_answered_in_their_own_pixels(
    tmp_path, capsys, monkeypatch
):
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[20:60, 150:] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")

    def outputs(images):
        """The bright object, and one in the padding alone."""
        rows, columns = np.nonzero(images[0].mean(-1) > 100)
        bright = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return {"boxes": np.float32([[bright, [5, 40, 20, 60]]]), "valid": np.ones((1, 2), bool),
                "scores": np.float32([[0.9, 0.8]]), "classes": np.array([[1, 2]]),
                "masks": np.ones((1, 2, 7, 7), np.float32)}  # fmt: skip

    drawn = {}

    def remember(image, boxes, labels, scores, names, masks):
        drawn.update(image=image, boxes=boxes, masks=masks)
        return b"png"

    monkeypatch.setattr("attokit.instance_segmentation.outline", remember)
    known = Predictor(name="known", task="instance_segmentation", image_shape=(64, 64, 3),
                      num_classes=3, class_names=None, data=None, outputs=outputs)  # fmt: skip
    predict(known, [tmp_path / "wide.png"], Console(width=200), output=tmp_path)
    numbers = re.findall(r"(\d+), (\d+), (\d+), (\d+)", capsys.readouterr().out)
    assert len(numbers) == 1
    np.testing.assert_allclose(np.float32(numbers[0]), [150, 20, 200, 60], atol=4)
    np.testing.assert_array_equal(drawn["image"], pixels)
    assert drawn["masks"].shape == (1, 100, 200)
    assert (drawn["masks"][0] != (pixels[..., 0] > 100)).mean() < 0.03
    (tmp_path / "bad.png").write_bytes(b"no")
    with pytest.raises(ValueError, match="cannot read the image"):
        predict(known, [tmp_path / "bad.png"], Console(), output=tmp_path)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """The folder of a run with random weights that find something."""
    folder = tmp_path_factory.mktemp("run")
    scenes = load_scenes(SIZE, task="instance_segmentation", train=1, test=1)
    overrides = {"backbone": "mobilenet_v1_025", "pyramid_channels": 16, "image_size": (*SIZE, 3)}
    config = dataclasses.asdict(
        TrainConfig(batch_size=2, steps=20, learning_rate=0.01, mesh="data=1")
    )
    settings = describe_run("atto_mask_rcnn_lite", overrides, "scenes", scenes)
    (folder / "config.json").write_text(json.dumps({**settings, "config": config}))
    run = open_run(folder)
    network = run.network()
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, *SIZE, 3)))
    kernel = variables["params"]["box_head"]["classes"]["kernel"]
    variables["params"]["box_head"]["classes"]["kernel"] = kernel * 40
    save_weights(run.weights_path, variables)
    return folder


@pytest.mark.slow
def test_a_run_becomes_files_that_are_measured_and_seen(run_dir, tmp_path, capsys, monkeypatch):
    few = functools.partial(load_scenes, train=4, test=3)
    monkeypatch.setattr("attokit.datasets.load_scenes", few)
    run, file = str(run_dir), str(run_dir / "model.tflite")
    image = tmp_path / "scene.png"
    scene = few(SIZE, task="instance_segmentation").split("test").read(np.arange(1))
    Image.fromarray(scene["images"][0]).save(image)
    assert main(["quantize", run]) == 0
    assert "mask AP@0.5 of the INT8 graph" in capsys.readouterr().out
    assert main(["export", run]) == 0
    assert main(["export", run, "--split"]) == 0
    capsys.readouterr()
    assert main(["evaluate", file]) == 0
    assert "mask_ap50" in capsys.readouterr().out
    for name in ("model", "model_trunk"):
        assert file_predictor(run_dir / f"{name}.tflite").num_classes == 11
    shown = {}
    trunk = str(run_dir / "model_trunk.tflite")
    assert main(["evaluate", trunk]) == 0
    assert "mask_ap50" in capsys.readouterr().out
    for target, name in ((run, "float"), (file, "file"), (trunk, "three")):
        folder = tmp_path / name
        arguments = ["--score", "0.1", "--output", str(folder)]
        assert main(["predict", target, str(image), *arguments]) == 0
        assert "nothing" not in capsys.readouterr().out
        shown[name] = (folder / "scene_masks.png").stat().st_size
    assert min(shown.values()) > 1000
    pixels = scene["images"].astype(np.float32) / np.float32(255)
    one = export.run(file, pixels, dequantize=True)
    paths = [run_dir / f"model_{part}.tflite" for part in ("trunk", "boxes", "masks")]
    three = export.TwoStageRunner(*paths)(pixels)
    assert one["valid"].any()
    np.testing.assert_allclose(three["boxes"], one["boxes"], atol=1e-3)
    np.testing.assert_array_equal(three["classes"], one["classes"])


@pytest.mark.slow
def test_quantization_aware_training_of_a_run(run_dir, capsys, monkeypatch):
    few = functools.partial(load_scenes, train=4, test=2)
    monkeypatch.setattr("attokit.datasets.load_scenes", few)
    assert main(["quantize", str(run_dir), "--method", "qat", "--steps", "2", "--replace"]) == 0
    assert "mask AP@0.5 of the INT8 graph" in capsys.readouterr().out


def _file_of_detector(metadata):
    """A file with the outputs of a Mask R-CNN by their shapes."""

    shapes = {
        "boxes": (1, 2, 4),
        "scores": (1, 2),
        "classes": (1, 2),
        "valid": (1, 2),
        "masks": (1, 2, 3, 3),
    }

    def outputs(v, x):
        return {name: v[name] + x.mean() for name in shapes}

    weights = {name: jnp.ones(shape) * place for place, (name, shape) in enumerate(shapes.items())}
    graph, weights = quant.trace(outputs, weights, jnp.ones((1, 4, 4, 3)))
    return export.inspect(export.to_tflite(graph, weights, metadata=metadata))


def test_files_tell_their_classes():
    told = describe_classes(zoo.create("atto_mask_rcnn_lite", num_classes=5), (64, 64, 3))
    assert read_file(_file_of_detector(told)).num_classes == 5
    assert read_file(_file_of_detector({})).num_classes is None
    for damaged in ("[]", "{", '{"format": 2, "num_classes": 5}'):
        with pytest.raises(ValueError, match="ATTOKIT_INSTANCES is damaged or of a later version"):
            read_file(_file_of_detector({METADATA: damaged}))


def test_files_of_other_tasks_are_none_of_this():
    graph, weights = quant.trace(lambda v, x: x @ v, jnp.ones((3, 2)), jnp.ones((1, 3)))
    assert read_file(export.inspect(export.to_tflite(graph, weights))) is None
