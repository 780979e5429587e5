import dataclasses
import json
import shlex
import threading

import numpy as np
import pytest

from attokit import checkpoints, export
from attokit.checkpoints.index import INDEX
from attokit.cli import _parse
from attokit.commands import train
from attokit.publishing import publish, release_of, training_command
from attokit.runs import open_run
from attokit.train import AugmentConfig, TrainConfig


@pytest.fixture
def release(finished):
    return release_of(open_run(finished[0]), "v1", license="MIT", commit="abc")


def test_a_release_is_the_run(finished, release, tmp_path, monkeypatch):
    run_dir, summary, _ = finished
    assert publish(tmp_path / "out", [release]) == ("tiny.v1",)
    names = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")
    )
    assert names == [INDEX, "tiny.v1", *(f"tiny.v1/{n}" for n in (
        "README.md", "labels.txt", "model.tflite", "weights.safetensors"))]  # fmt: skip
    monkeypatch.setenv("ATTOKIT_HUB", str(tmp_path / "out"))
    record = checkpoints.info("tiny.v1")
    assert record.metrics["accuracy"] == pytest.approx(summary.float_accuracy)
    assert (record.license, record.commit, record.data) == ("MIT", "abc", "fashion_mnist_subset")
    assert record.class_names == ("dark", "grey", "bright")
    loaded = checkpoints.load("tiny.v1")["params"]["head"]["kernel"]
    np.testing.assert_array_equal(loaded, open_run(run_dir).variables()["params"]["head"]["kernel"])
    # Byte for byte what `attokit export` wrote.
    file = checkpoints.fetch_tflite("tiny.v1").read_bytes()
    assert file == (run_dir / "model.tflite").read_bytes()
    assert export.inspect(file).parameters
    assert record.metrics["accuracy"] > 0.5
    assert "# tiny.v1" in (tmp_path / "out/tiny.v1/README.md").read_text()
    assert (tmp_path / "out/tiny.v1/labels.txt").read_text() == "dark\ngrey\nbright\n"


def test_what_is_published_stays(release, tmp_path):
    publish(tmp_path, [release])
    index = (tmp_path / INDEX).read_bytes()
    assert publish(tmp_path, [release]) == ()
    other = dataclasses.replace(
        release, record=dataclasses.replace(release.record, sha256="0" * 64)
    )
    with pytest.raises(ValueError, match=r"other weights called tiny\.v1: what is published stays"):
        publish(tmp_path, [other])
    second = dataclasses.replace(release, name="tiny.v2")
    with pytest.raises(ValueError, match=r"two runs would be tiny\.v2"):
        publish(tmp_path, [second, second])
    with pytest.raises(ValueError, match="is a name of attokit's own weights"):
        publish(tmp_path, [dataclasses.replace(release, name="attonet_d.fashion_mnist")])
    assert (tmp_path / INDEX).read_bytes() == index
    assert publish(tmp_path, [release, second]) == ("tiny.v2",)
    assert json.loads((tmp_path / INDEX).read_text())["weights"].keys() == {"tiny.v1", "tiny.v2"}


def test_a_damaged_index_is_not_written_over(release, tmp_path):
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        publish(tmp_path, [release])
    assert [p.name for p in tmp_path.iterdir()] == [INDEX]


def test_the_index_is_last(release, tmp_path):
    (tmp_path / "tiny.v1").mkdir(mode=0o700)
    (tmp_path / "tiny.v1" / "labels.txt").mkdir()  # where a file must be
    with pytest.raises(OSError, match="cannot write"):
        publish(tmp_path, [release])
    assert not (tmp_path / INDEX).exists()
    (tmp_path / "tiny.v1" / "labels.txt").rmdir()
    assert publish(tmp_path, [release]) == ("tiny.v1",)


def test_many_publish_at_once(release, tmp_path):
    releases = [dataclasses.replace(release, name=f"tiny.v{i}") for i in range(6)]
    threads = [threading.Thread(target=publish, args=(tmp_path, [r])) for r in releases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert checkpoints.read_hub(str(tmp_path)).keys() == {r.name for r in releases}


def test_a_run_that_is_not_quantized(run_dir):
    (run_dir / "quantized.safetensors").unlink()
    release = release_of(open_run(run_dir), "v1", license="MIT")
    assert release.record.tflite is None
    assert [path.partition("/")[2] for path in release.files] == [
        "weights.safetensors", "README.md", "labels.txt"]  # fmt: skip


def test_what_cannot_be_published(run_dir):
    run = open_run(run_dir)
    with pytest.raises(ValueError, match=r"call them tiny\.TAG"):
        release_of(run, "a/b", license="MIT")
    with pytest.raises(ValueError, match="give an SPDX identifier"):
        release_of(run, "v1", license=" ")
    with pytest.raises(ValueError, match="does not fit the model"):
        release_of(dataclasses.replace(run, overrides={"width": 3}), "v1", license="MIT")
    run.weights_path.unlink()
    with pytest.raises(ValueError, match="has no trained weights"):
        release_of(run, "v1", license="MIT")


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(steps=1),
        TrainConfig(epochs=2.5, batch_size=7, clip_norm=1.5, class_weights=(1.0, 2.5), mesh="data=8", rate_factors=(("stem/*", 0.5), ("head/*", 2.0)),
                    augment=AugmentConfig(flip=True, scale=(0.5, 2.0))),
    ],
)  # fmt: skip
def test_the_command_trains_it_again(finished, config):
    run = dataclasses.replace(
        open_run(finished[0]), config=config, data="/home/me/photos", start="/home/me/first",
        reset_head=True, teacher="/home/me/large", split="val", overrides={"width": 3, "num_classes": 3, "image_size": (8, 8, 1),
                                    "note": "it's"},
    )  # fmt: skip
    words = shlex.split(training_command(run))
    assert words[:2] == ["attokit", "train"]
    options = _parse("train", train, words[2:])
    assert options.config == dataclasses.replace(config, mesh=None)
    assert (options.model, options.data, options.start) == ("tiny", "FOLDER", "first")
    assert options.reset_head and options.image_size == (8, 8, 1)
    assert (options.teacher, options.split) == ("large", "val")
    assert options.overrides == ("width=3", "note=it's")


@pytest.mark.parametrize("before", ["scenes:", "wake_scenes:Ankle boot:", "every20:"])
def test_the_command_reads_its_data_as_the_run_did(finished, before):
    run = dataclasses.replace(open_run(finished[0]), data=f"{before}/home/me/data")
    options = _parse("train", train, shlex.split(training_command(run))[2:])
    assert options.data == f"{before}FOLDER"
