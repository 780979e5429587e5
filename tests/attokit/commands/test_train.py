import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tiny_tfds import TinyShapes

from attokit.checkpoints.weights import load_metadata
from attokit.cli import _parse, main
from attokit.commands import train
from attokit.datasets import load_dataset
from attokit.runs import open_run
from attokit.train import RECIPES

SHORT = ["--model", "tiny", "--data", "fashion_mnist_subset", "--steps", "4", "--batch-size", "16",
         "--mesh", "data=1", "--learning-rate", "0.01"]  # fmt: skip


def test_trains_and_resumes(tiny, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *SHORT, "--overrides", "width=2", "--run-dir", str(folder)]) == 0
    assert f"wrote the run {folder}" in capsys.readouterr().out.replace("\n", " ")
    run = open_run(folder)
    assert run.overrides == {"width": 2, "num_classes": 3, "image_size": (8, 8, 1)}
    assert run.config.steps == 4
    assert run.variables()["params"]["conv"]["kernel"].shape == (3, 3, 1, 2)
    assert main(["train", *SHORT, "--overrides", "width=2", "--run-dir", str(folder)]) == 1
    assert "already holds a run" in capsys.readouterr().err
    again = ["train", *SHORT, "--overrides", "width=2", "--run-dir", str(folder), "--resume"]
    assert main(again) == 0
    assert "resuming at step 4 of 4" in capsys.readouterr().out


@pytest.mark.slow
def test_settings_of_a_large_job(tiny, finished, tmp_path, capsys):
    folder = tmp_path / "run"
    options = ["--teacher", str(finished[0]), "--distillation-weight", "0.3", "--accumulate", "2"]
    options += ["--rate-factors", "conv/*", "0", "head/*", "0.5", "--augment.mixup", "0.2"]
    options += ["--kept-shares", "head/kernel", "0.5", "--kept-between", "0.25", "0.75"]
    options += ["--mesh", "data=2,fsdp=2", "--compute-dtype", "bfloat16", "--profile", "1"]
    arguments = ["train", *SHORT, *options, "--run-dir", str(folder)]
    assert main(arguments) == 0
    assert f"recorded steps into {folder / 'profile'}" in " ".join(capsys.readouterr().out.split())
    run = open_run(folder)
    assert run.config.rate_factors == (("conv/*", 0.0), ("head/*", 0.5))
    assert (run.config.mesh, run.config.compute_dtype) == ("data=2,fsdp=2", "bfloat16")
    start = run.network().init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    trained = run.variables()["params"]
    np.testing.assert_array_equal(trained["conv"]["kernel"], start["conv"]["kernel"])
    assert not np.array_equal(trained["head"]["kernel"], start["head"]["kernel"])
    assert 0.4 < (np.asarray(trained["head"]["kernel"]) == 0).mean() <= 0.5
    assert list((folder / "profile").rglob("*.xplane.pb"))
    assert main([*arguments, "--resume", "--teacher", "x"]) == 1
    assert "teacher 'x' is no run folder" in capsys.readouterr().err


def test_tfds_by_name(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    builder = TinyShapes(data_dir=str(tmp_path / "tfds"), file_format="array_record")
    builder.download_and_prepare()
    run_dir = str(tmp_path / "run")
    arguments = ["--data", "tfds:tiny_shapes", "--image-size", "8", "8", "1", "--steps", "1"]
    arguments += ["--batch-size", "2", "--mesh", "data=1", "--run-dir", run_dir]
    assert main(["train", "--model", "tiny", *arguments]) == 0
    assert open_run(tmp_path / "run").class_names == ("dark", "bright")
    capsys.readouterr()
    assert main(["evaluate", run_dir]) == 0
    assert "2 images of tiny_shapes" in " ".join(capsys.readouterr().out.split())


def test_recipe_gives_defaults(capsys):
    assert main(["train", "--recipe", "attonet_d_quickstart", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: adamw)" in out
    assert "(default: 0.02)" in out


@pytest.mark.parametrize(
    "recipe", ["attendseg_lite_scenes", "attonet_d_quickstart"]
)  # steps, epochs
@pytest.mark.parametrize(
    ("arguments", "length"), [(["--epochs", "2.5"], (2.5, None)), (["--steps=7"], (None, 7))]
)
def test_a_recipe_takes_another_length(recipe, arguments, length):
    config = _parse("train", train, ["--recipe", recipe, *arguments]).config
    assert (config.epochs, config.steps) == length
    settings = dataclasses.replace(config, epochs=None, steps=1)
    assert settings == dataclasses.replace(RECIPES[recipe].config, epochs=None, steps=1)


def test_the_data_of_a_recipe_are_recorded_as_it_reads_them(tmp_path):
    for index in range(21):
        folder = tmp_path / "train" / f"n{index:02}"
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "1.png")
    options = train.Options(recipe="attonet_d_imagenet50", data=str(tmp_path))
    *_, data, dataset = train._problem(options)
    assert dataset.class_names == ("n00", "n20")
    assert load_dataset(data, dataset.image_shape).class_names == dataset.class_names


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give either --recipe"),
        (["--recipe", "attonet_d_quikstart"], "did you mean attonet_d_quickstart"),
        (["--recipe", "attonet_d_fashion_mnist"], "needs the folder of its data"),
        (["--recipe", "attonet_d_quickstart", "--data", "x"], "has its own data"),
        (
            ["--recipe", "attonet_d_quickstart", "--image-size", "8", "8", "1"],
            "has its own size: leave --image-size out",
        ),
        (["--model", "tiny"], "no data to train on"),
        (["--model", "tiny", "--data", "nowhere"], "no data 'nowhere'"),
        (["--model", "tiny", "--overrides", "wdth=3", "--data", "x"], "no field 'wdth'"),
        (["--model", "tiny", "--data", "scenes"], "tiny does classification, scenes is data for"),
        (
            ["--model", "tiny_pixels", "--data", "fashion_mnist_subset"],
            "tiny_pixels does segmentation, fashion_mnist_subset is data for classification",
        ),
        (
            ["--model", "tiny_pixels", "--data", "scenes", "--overrides", "num_classes=7"],
            "logits of 7 classes, scenes has 3 classes: set num_classes=3",
        ),
        (
            ["--model", "tiny_pixels", "--data", "scenes", "--overrides", "output=argmax"],
            "leave output=argmax to attokit export",
        ),
        (
            ["--model", "tiny", "--overrides", "num_classes=7", "--data", "fashion_mnist_subset"],
            "set num_classes=3",
        ),
        (
            [
                "--model",
                "tiny",
                "--overrides",
                "image_size=(9, 9, 1)",
                "--data",
                "fashion_mnist_subset",
            ],
            "the images of fashion_mnist_subset are (8, 8, 1)",
        ),
        (["--model", "tiny", "--epochs", "3", "--steps", "4"], "set exactly one"),
        (["--model", "tiny", "--mesh", "data=two"], "mesh is 'data=two': write data=4,fsdp=2"),
        (["--model", "tiny", "--batch-size", "10", "--accumulate", "4"], "choose a divisor"),
        (
            [*SHORT, "--rate-factors", "stem/*", "0"],
            "no parameter has a path like 'stem/*' (of rate_factors): near are",
        ),
        (["--model", "tiny", "--learning-rate", "-1"], "give a number above 0"),
        (["--learning_rat", "1"], "Perhaps you meant"),
    ],
)
def test_bad_input(tiny, tmp_path, capsys, arguments, text):
    folder = tmp_path / "run"
    assert main(["train", *arguments, "--run-dir", str(folder)]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
    assert not folder.exists()


def test_damaged_data(tiny, tmp_path, capsys):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
    assert main(["train", "--model", "tiny", "--data", str(tmp_path)]) == 1
    assert "ends inside its header" in capsys.readouterr().err


def test_loss_that_is_not_finite(tiny, tmp_path, capsys):
    arguments = [*SHORT[:-1], "1e38", "--warmup-fraction", "0", "--run-dir", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 1
    assert "not finite" in capsys.readouterr().err
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_unwritable_folder(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["train", *SHORT, "--run-dir", str(tmp_path / "file" / "run")]) == 1
    assert "cannot make the run folder" in capsys.readouterr().err


def test_config_is_json(finished):
    settings = json.loads((finished[0] / "config.json").read_text())
    assert settings["class_names"] == ["dark", "grey", "bright"]


def test_segmentation_run(segmented):
    run = open_run(segmented[0])
    assert (run.task, run.class_names) == ("segmentation", ("background", "grey", "bright"))
    assert run.overrides == {"num_classes": 3, "image_size": (16, 16, 3)}
    assert load_metadata(run.weights_path).keys() == {"model", "mean_iou"}
    assert "mean IoU after calibration" in segmented[1]


@pytest.mark.slow
def test_starts_from_pretrained_weights_of_other_classes(finished, hub, tmp_path, capsys):
    hub(finished[0], "tiny.here", ("dark", "grey", "bright"))
    for split, name in itertools.product(("train", "test"), ("dark", "bright")):
        folder = tmp_path / "images" / split / name
        folder.mkdir(parents=True)
        for i in range(2):
            pixels = np.full((8, 8), 40 + 120 * (name == "bright") + i, np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    arguments = ["--model", "tiny", "--image-size", "8", "8", "1", "--mesh", "data=1"]
    arguments += [
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--learning-rate",
        "1e-9",
        "--data",
        str(tmp_path / "images"),
    ]
    arguments += ["--start", "tiny.here", "--run-dir", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 1
    err = capsys.readouterr().err
    assert "in 2 places" in err and "add --reset-head" in err
    assert not (tmp_path / "run").exists()
    assert main(["train", *arguments, "--reset-head"]) == 0
    run = open_run(tmp_path / "run")
    assert (run.start, run.reset_head) == ("tiny.here", True)
    params = run.variables()["params"]
    assert params["head"]["kernel"].shape == (4, 2)
    before = open_run(finished[0]).variables()["params"]["conv"]["kernel"]
    np.testing.assert_allclose(params["conv"]["kernel"], before, atol=1e-6)
    capsys.readouterr()
    assert main(["train", *arguments, "--resume", "--reset-head"]) == 0
    assert "resuming at step 1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--reset-head"], "--reset-head changes nothing of random weights: add --start"),
        (["--start", "nothing"], "cannot start from 'nothing': it is no run folder"),
        (
            ["--start", "attonet_d.nothing"],
            "pretrained weights (attendseg_lite.scenes, atto_mask_rcnn_lite.scenes",
        ),
    ],
)
def test_bad_starts(tiny, tmp_path, capsys, arguments, text):
    assert main(["train", *SHORT, *arguments, "--run-dir", str(tmp_path / "run")]) == 1
    assert text in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
