import json
import os
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from attokit import export
from attokit.arena import is_installed
from attokit.cli import main
from attokit.export.image_tasks import labels_in
from attokit.tflite_predictor import file_predictor
from attokit.train import FindConfig, find_objects


@pytest.mark.parametrize("input_type", ["int8", "uint8", "float32"])
def test_run(finished, tmp_path, capsys, input_type):
    file = tmp_path / "out.tflite"
    arguments = [str(finished[0]), "--output", str(file), "--input-type", input_type]
    assert main(["export", *arguments]) == 0
    out = capsys.readouterr().out
    assert f"wrote {file}" in out
    assert "sha256" in out
    assert next(iter(export.inspect(file).inputs.values())).dtype == input_type
    labels = tmp_path / "labels.txt"
    assert labels.read_text().split() == ["dark", "grey", "bright"]
    assert f"wrote {labels}" in out
    labels.write_text("another\nmodel\n")
    assert main(["export", *arguments]) == 0
    assert f"{labels} holds other names" in capsys.readouterr().out
    assert labels.read_text().split() == ["another", "model"]


def test_float_file(run_dir, capsys):
    assert main(["export", str(run_dir), "--float"]) == 0
    assert export.inspect(run_dir / "model_float.tflite").inputs["input"].dtype == "float32"
    assert main(["verify", str(run_dir / "model_float.tflite")]) == 0
    assert "ok (reference kernels)" in capsys.readouterr().out


def test_model_by_name(tiny, tmp_path, capsys):
    file = tmp_path / "tiny.tflite"
    arguments = ["--overrides", "width=8", "--output", str(file)]
    assert main(["export", "tiny", *arguments]) == 0
    assert "random weights" in capsys.readouterr().out
    assert export.inspect(file).inputs["input"].dtype == "int8"


def test_same_input_same_bytes(run_dir):
    before = (run_dir / "model.tflite").read_bytes()
    assert main(["export", str(run_dir)]) == 0
    assert (run_dir / "model.tflite").read_bytes() == before


def test_two_files_and_the_plan(tiny, tmp_path, capsys):
    file = tmp_path / "tiny.tflite"
    arguments = ["--streamed", "--rows", "2", "--input-type", "uint8", "--output", str(file)]
    assert main(["export", "tiny", *arguments]) == 0
    assert "strips of 5 rows" in capsys.readouterr().out
    assert not file.exists()
    plan = json.loads((tmp_path / "tiny_strips.json").read_text())
    strip, rest = (export.inspect(tmp_path / f"tiny_{part}.tflite") for part in ("strip", "rest"))
    assert strip.inputs["input"].shape[1] == plan["strip_rows"] == 5
    assert [t.shape for t in rest.inputs.values()] == [tuple(plan["map_shape"])]
    assert plan["padding"] == [0]
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"tiny_strip.h", "tiny_strip.cc", "tiny_strip_ops.h", "tiny_rest.cc"}
    if is_installed():
        assert "constexpr int strip_rows = 5;" in (tmp_path / "tiny_strips.h").read_text()
    assert main(["export", "tiny", "--streamed", "--float", "--output", str(file)]) == 1
    assert "leave --float out" in capsys.readouterr().err


def test_coral(run_dir, capsys):
    assert main(["export", str(run_dir), "--target", "coral"]) == 0
    assert "Edge TPU: fits" in capsys.readouterr().out
    assert (run_dir / "model_coral.tflite").exists()
    assert main(["verify", str(run_dir), "--target", "coral"]) == 0
    assert "0 differ" in capsys.readouterr().out
    assert main(["export", str(run_dir), "--target", "coral", "--float"]) == 1
    assert "leave --fit-memory and --float out" in capsys.readouterr().err
    assert main(["export", str(run_dir), "--target", "coral", "--streamed"]) == 1
    assert "changes nothing of several files" in capsys.readouterr().err


def test_micro_has_sources_beside_it(tiny, tmp_path, capsys):
    file = tmp_path / "2-net.tflite"
    assert main(["export", "tiny", "--target", "micro", "--output", str(file)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"2-net.tflite", "_2_net.h", "_2_net.cc", "_2_net_ops.h"}
    assert "namespace _2_net" in (tmp_path / "_2_net.h").read_text()
    assert str(tmp_path / "_2_net_ops.h") in capsys.readouterr().out


def test_for_mediapipe(run_dir, segmented_dir, capsys):
    assert main(["export", str(segmented_dir), "--mediapipe"]) == 0
    file = segmented_dir / "model.tflite"
    assert labels_in(file.read_bytes()) == ("background", "grey", "bright")
    assert "TFLITE_METADATA" in export.inspect(file).metadata
    assert main(["verify", str(segmented_dir)]) == 0
    assert "0 differ" in capsys.readouterr().out
    assert main(["export", str(run_dir), "--mediapipe"]) == 0  # of grey images
    assert main(["verify", str(run_dir)]) == 0
    assert "ok (reference kernels)" in capsys.readouterr().out
    assert main(["evaluate", str(run_dir / "model.tflite")]) == 0
    assert main(["export", str(run_dir), "--mediapipe", "--input-type", "int8"]) == 1
    assert "leave --input-type" in capsys.readouterr().err


@pytest.mark.slow
def test_scores_are_calibrated_by_a_split(tiny, tmp_path, capsys):
    rng, data = np.random.default_rng(0), tmp_path / "data"
    for split, count in (("train", 8), ("test", 6)):
        for index, title in enumerate(("a", "b", "c")):
            (folder := data / split / title).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 80 * (index + 1), (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    output = tmp_path / "net.tflite"
    arguments = ["export", "tiny", "--overrides", "image_size=[8,8,3]", "--mediapipe"]
    wish = ["--calibrate-scores", "test", "--output", str(output)]
    assert main([*arguments, *wish, "--data", str(data)]) == 0
    with zipfile.ZipFile(output) as archive:
        lines = archive.read("score_calibration.txt").decode().split("\n")
    assert len(lines) == 3 and all(line.count(",") == 2 for line in lines)
    assert main([*arguments, *wish]) == 1
    assert "give --data to --calibrate-scores" in capsys.readouterr().err
    pixels = ["export", "tiny_pixels", "--mediapipe", "--data", "scenes", *wish]
    assert main(pixels) == 1
    assert "scores of a segmenter are not calibrated" in capsys.readouterr().err


@pytest.mark.slow
def test_boxes_in_the_file(tiny, tmp_path, capsys):
    heads, chosen = tmp_path / "heads.tflite", tmp_path / "boxes.tflite"
    assert main(["export", "tiny_boxes", "--output", str(heads)]) == 0
    rules = ["--postprocess", "--score", "0.2", "--overlap", "0.3", "--most", "9"]
    assert main(["export", "tiny_boxes", *rules, "--output", str(chosen)]) == 0
    info = export.inspect(chosen)
    assert info.main.operators[-1].kind == "TFLite_Detection_PostProcess"
    assert {name: t.shape for name, t in info.outputs.items()} == {
        "boxes": (1, 9, 4), "classes": (1, 9), "scores": (1, 9), "count": (1,),
    }  # fmt: skip
    predictor = file_predictor(heads)
    images = np.random.default_rng(0).integers(0, 256, (1, *predictor.image_shape), np.uint8)
    raw = predictor.outputs(images)
    want = find_objects(
        raw["boxes"], raw["scores"], predictor.anchors,
        FindConfig(score_threshold=0.2, iou_threshold=0.3, most=9),
    )  # fmt: skip
    found = export.run(chosen, images.astype(np.float32) / 255)
    count = int(found["count"][0])
    assert count == int((want.labels[0] > 0).sum()) > 0
    np.testing.assert_allclose(found["scores"][0, :count], want.scores[0, :count], atol=1e-5)
    assert main(["export", "tiny", "--postprocess"]) == 1
    assert "this is classification: leave it out" in capsys.readouterr().err


@pytest.mark.slow
def test_less_memory_and_no_names(tiny, tmp_path, capsys):
    files = [tmp_path / name for name in ("plain.tflite", "small.tflite")]
    for file, options in zip(files, ([], ["--fit-memory", "--strip-names"]), strict=True):
        assert main(["export", "tiny", *options, "--output", str(file)]) == 0
    plain, small = map(export.inspect, files)
    assert small.size < plain.size
    assert small.peak_ram <= plain.peak_ram
    assert {t.name for t in small.main.tensors} == {""}
    bare = tmp_path / "bare.tflite"
    assert main(["export", "tiny", "--fit-memory", "--bare", "--output", str(bare)]) == 0
    assert export.inspect(bare).size < small.size
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["RUN", "--float", "--input-type", "int8"], "in a float32 file"),
        (["RUN", "--data", "fashion_mnist_subset"], "leave --data out"),
        (["RUN", "--output", "no/such/folder.tflite"], "no/such"),
        (["RUN", "--rows", "2"], "rows 2 changes nothing of one file: add --streamed"),
        (["RUN", "--streamed", "--fit-memory"], "--fit-memory changes nothing"),
        (["RUN", "--most", "5"], "add --postprocess"),
        (["RUN", "--calibrate-scores", "test"], "add --mediapipe"),
        (["RUN", "--postprocess", "--mediapipe"], "leave --mediapipe (which has it)"),
        (["RUN", "--bare"], "add --target micro, --streamed or --fit-memory"),
        (["tinny"], "no model 'tinny'"),
        (["runs/typo"], "'runs/typo' is no folder"),
    ],
)
def test_bad_input(finished, capsys, arguments, text):
    arguments = [str(finished[0]) if a == "RUN" else a for a in arguments]
    assert main(["export", *arguments]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1


def test_not_quantized_yet(run_dir, capsys):
    (run_dir / "quantized.safetensors").unlink()
    assert main(["export", str(run_dir)]) == 1
    assert "is not quantized yet: run attokit quantize" in capsys.readouterr().err


def test_folder_that_takes_no_file(finished, capsys):
    if not os.path.isdir("/proc"):
        pytest.skip("no such folder here")
    assert main(["export", str(finished[0]), "--output", "/proc/model.tflite"]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_other_end_of_a_segmentation_model(segmented_dir, capsys):
    arguments = [str(segmented_dir), "--overrides", "output=argmax"]
    assert main(["export", *arguments]) == 0
    outputs = export.inspect(segmented_dir / "model_argmax.tflite").outputs
    assert [(t.shape, t.dtype) for t in outputs.values()] == [((1, 16, 16), "int32")]
    assert (segmented_dir / "labels.txt").read_text().split() == ["background", "grey", "bright"]
    capsys.readouterr()
    assert main(["verify", *arguments]) == 0
    assert "ok (reference kernels)" in capsys.readouterr().out
    assert main(["verify", str(segmented_dir / "model.tflite"), *arguments[1:]]) == 1
    assert "it was written from another graph" in capsys.readouterr().err
    assert main(["export", str(segmented_dir), "--overrides", "width=2"]) == 1
    assert "was not trained with width=2" in capsys.readouterr().err


def test_three_files_are_for_two_stage_detectors_alone(tiny, tmp_path, capsys):
    file = str(tmp_path / "tiny.tflite")
    assert main(["export", "tiny", "--split", "--output", file]) == 1
    assert "0 propose, 0 read_regions, 0 detect" in capsys.readouterr().err
    assert main(["export", "tiny", "--split", "--float", "--output", file]) == 1
    assert "--split writes INT8 files" in capsys.readouterr().err
    assert main(["export", "tiny", "--split", "--streamed", "--output", file]) == 1
    assert "leave --streamed" in capsys.readouterr().err


@pytest.mark.slow
def test_three_files_of_a_detector(tmp_path, capsys):
    name, overrides = "atto_mask_rcnn_lite", ["backbone=mobilenet_v1_025", "image_size=64,64,3"]
    file = tmp_path / "model.tflite"
    arguments = ["--overrides", *overrides, "--output", str(file)]
    assert main(["export", name, "--split", *arguments]) == 0
    assert capsys.readouterr().out.count("sha256") == 3
    assert not file.exists()
    paths = [tmp_path / f"model_{part}.tflite" for part in ("trunk", "boxes", "masks")]
    found = export.TwoStageRunner(*paths)(np.zeros((1, 64, 64, 3), np.float32))
    assert found["masks"].shape == (1, 16, 28, 28)
    coral = [name, "--split", "--target", "coral", "--overrides", *overrides, "conv_only=true"]
    assert main(["export", *coral, "--output", str(tmp_path / "coral.tflite")]) == 0
    told = re.findall(r"coral_(.*)\.tflite:|Edge TPU: (\w+)", capsys.readouterr().out)
    assert [name or fits for name, fits in told[2:]] == ["boxes", "fits", "masks", "fits"]
    assert told[0][0] == "trunk" and told[1][1]  # whatever is said of it
    paths = [tmp_path / f"coral_{part}.tflite" for part in ("trunk", "boxes", "masks")]
    found = export.TwoStageRunner(*paths)(np.zeros((1, 64, 64, 3), np.float32))
    assert found["masks"].shape == (1, 16, 28, 28)
    assert main(["export", name, *arguments]) == 0
    assert set(export.inspect(file).outputs) == {"boxes", "classes", "masks", "scores", "valid"}
