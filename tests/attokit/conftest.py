import contextlib
import dataclasses
import io
import json
import pathlib
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from attokit import checkpoints
from attokit.checkpoints.index import INDEX, index_text
from attokit.cli import main
from attokit.quickstart import QuickstartConfig, quickstart
from attokit.train import ArraySource, Dataset, Recipe, TrainConfig
from attokit.zoo import registry
from attokit.zoo.prior_boxes import prior_boxes_cxcywh

SHAPE, PIXEL_SHAPE = (8, 8, 1), (16, 16, 3)
BOX_SHAPE = (32, 32, 1)
CONFIG = TrainConfig(steps=30, batch_size=16, learning_rate=0.2, weight_decay=0.0, mesh="data=1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyConfig:
    width: int = 4
    num_classes: int = 3
    image_size: tuple[int, int, int] = SHAPE

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width={self.width}: give a positive number")


class TinyNet(nn.Module):
    """One convolution with batch norm: everything that the commands need, at no cost."""

    config: TinyConfig

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Conv(self.config.width, (3, 3), strides=2, use_bias=False, name="conv")(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.8, name="norm")(x))
        return nn.Dense(self.config.num_classes, name="head")(x.mean((1, 2)))


def _source(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count).astype(np.int32)
    images = rng.integers(0, 60, (count, *SHAPE)) + 80 * labels[:, None, None, None]
    return ArraySource(images=images.astype(np.uint8), labels=labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyPixelConfig:
    width: int = 8
    num_classes: int = 3
    image_size: tuple[int, int, int] = PIXEL_SHAPE
    leaky: bool = False
    output: str = "full"


class TinyPixelNet(nn.Module):
    """A class for every 4x4 pixels, spread as the output of the config says."""

    config: TinyPixelConfig

    @nn.compact
    def __call__(self, images, *, train=False):
        b, h, w, _ = images.shape
        x = nn.Conv(self.config.width, (4, 4), strides=4, name="conv")(images)
        x = nn.leaky_relu(x) if self.config.leaky else nn.relu(x)
        x = nn.Conv(self.config.num_classes, (1, 1), name="head")(x)
        if self.config.output == "quarter":
            return x
        x = jax.image.resize(x, (b, h, w, self.config.num_classes), "bilinear")
        return x.argmax(-1).astype(jnp.int32) if self.config.output == "argmax" else x


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyBoxConfig:
    width: int = 16
    num_classes: int = 3
    image_size: tuple[int, int, int] = BOX_SHAPE
    prior_steps: tuple[int, ...] = (8,)
    prior_sizes: tuple[int, ...] = (12,)

    def priors(self, image_size):
        return prior_boxes_cxcywh(image_size, steps=self.prior_steps, sizes=self.prior_sizes)


class TinyBoxNet(nn.Module):
    """A box and a class for every 8x8 pixels."""

    config: TinyBoxConfig

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.relu(nn.Conv(self.config.width, (8, 8), strides=8, name="stem")(images))
        x = nn.relu(nn.Conv(self.config.width, (3, 3), name="conv")(x))
        heads = {"boxes": 4, "scores": self.config.num_classes}
        return {
            name: nn.Conv(k, (1, 1), name=name)(x).reshape(len(x), -1, k)
            for name, k in heads.items()
        }


def tiny_dataset():
    """Three classes that differ by brightness."""
    return Dataset(
        name="fashion_mnist_subset",
        class_names=("dark", "grey", "bright"),
        image_shape=SHAPE,
        splits={"train": _source(96, 1), "test": _source(37, 2)},
    )


def _scenes(count, seed):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 3, (count, 2, 2)).astype(np.uint8)
    masks = cells.repeat(8, 1).repeat(8, 2)
    images = rng.integers(0, 40, (count, *PIXEL_SHAPE)) + 100 * masks[..., None]
    return ArraySource(images=images.astype(np.uint8), masks=masks)


def _boxes(count, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(100, 120, (count, *BOX_SHAPE)).astype(np.uint8)
    places, labels = rng.integers(0, 20, (count, 2)), rng.integers(0, 3, count).astype(np.int32)
    boxes = np.concatenate([places, places + 12], -1).astype(np.float32)
    for image, (top, left), label in zip(images, places, labels, strict=True):
        image[top : top + 12, left : left + 12] = (image[0, 0], 250, 5)[label]
    return ArraySource(images=images, boxes=boxes[:, None, [1, 0, 3, 2]] * (labels > 0)[:, None, None],
                       box_labels=labels[:, None])  # fmt: skip


def tiny_boxes():
    """Bright and dark squares, and images without any."""
    return Dataset(
        name="scenes",
        task="detection",
        class_names=("background", "bright", "dark"),
        image_shape=BOX_SHAPE,
        splits={"train": _boxes(64, 1), "test": _boxes(21, 2)},
    )


def tiny_scenes(size=PIXEL_SHAPE[:2], *, task="segmentation", channels=3, folder=None):
    """Squares of three classes that differ by brightness."""
    if task == "detection":
        return tiny_boxes()
    return Dataset(
        name="scenes",
        task="segmentation",
        class_names=("background", "grey", "bright"),
        image_shape=PIXEL_SHAPE,
        splits={"train": _scenes(64, 1), "test": _scenes(21, 2)},
    )


@pytest.fixture
def dataset():
    return tiny_dataset()


@pytest.fixture
def scenes():
    return tiny_scenes()


@pytest.fixture
def boxes():
    return tiny_boxes()


@contextlib.contextmanager
def patched():
    """The registry knows "tiny" and "tiny_pixels", and the embedded data are as small."""
    family = registry.Family(
        name="Tiny", build=TinyNet, variants={"tiny": TinyConfig()}, source="here", module=registry
    )
    pixels = registry.Family(
        name="TinyPixels", build=TinyPixelNet, variants={"tiny_pixels": TinyPixelConfig()},
        source="here", module=registry, task="segmentation",
    )  # fmt: skip
    boxes = registry.Family(
        name="TinyBoxes", build=TinyBoxNet, variants={"tiny_boxes": TinyBoxConfig()},
        source="here", module=registry, task="detection",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_FAMILIES", (*registry._FAMILIES, family, pixels, boxes))
        patch.setattr("attokit.datasets.load_fashion_mnist_subset", lambda size: tiny_dataset())
        patch.setattr("attokit.datasets.load_scenes", tiny_scenes)
        yield


@pytest.fixture
def tiny():
    """A recipe of the tiny model, which commands find as long as the test runs."""
    with patched():
        yield Recipe(
            model="tiny", overrides={}, load=lambda folder: tiny_dataset(), needs_folder=False,
            config=CONFIG,
        )  # fmt: skip


@pytest.fixture(scope="session")
def _quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    text = io.StringIO()
    with patched():
        recipe = Recipe(
            model="tiny", overrides={}, load=lambda _: tiny_dataset(), needs_folder=False,
            config=CONFIG,
        )  # fmt: skip
        config = QuickstartConfig(qat_epochs=2, calibration_images=32, latency_runs=3)
        summary = quickstart(folder, recipe, config=config, console=Console(file=text, width=200))
    return folder, summary, text.getvalue()


@pytest.fixture
def finished(_quickstart, tiny):
    """(folder, summary, printed text) of a quickstart; look only."""
    return _quickstart


@pytest.fixture
def run_dir(_quickstart, tiny, tmp_path):
    """A copy of a trained, quantized and exported run, to change at will."""
    return pathlib.Path(shutil.copytree(_quickstart[0], tmp_path / "run"))


@pytest.fixture
def val_dir(run_dir, dataset, monkeypatch):
    """A copy of a run on data that have a split val and no test."""
    train, val = dataset.split("train"), dataset.split("test")
    other = dataclasses.replace(dataset, splits={"train": train, "val": val})
    monkeypatch.setattr("attokit.datasets.load_fashion_mnist_subset", lambda size: other)
    settings = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps(settings | {"split": "val"}))
    return run_dir


@pytest.fixture(scope="session")
def _segmented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented") / "run"
    text = io.StringIO()
    with patched(), contextlib.redirect_stdout(text):
        arguments = ["--model", "tiny_pixels", "--data", "scenes", "--run-dir", str(folder)]
        arguments += ["--steps", "40", "--batch-size", "16", "--learning-rate", "0.2"]
        assert main(["train", *arguments, "--mesh", "data=1"]) == 0
        assert main(["quantize", str(folder), "--calibration-images", "32"]) == 0
        assert main(["export", str(folder)]) == 0
    return folder, text.getvalue()


@pytest.fixture
def segmented(_segmented, tiny):
    """(folder, printed text) of a segmentation model, trained, quantized, exported; look only."""
    return _segmented


@pytest.fixture
def segmented_dir(segmented, tmp_path):
    """A copy of its run, to change at will."""
    return pathlib.Path(shutil.copytree(segmented[0], tmp_path / "segmented"))


@pytest.fixture(scope="session")
def _detected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detected") / "run"
    text = io.StringIO()
    with patched(), contextlib.redirect_stdout(text):
        arguments = ["--model", "tiny_boxes", "--data", "scenes", "--run-dir", str(folder)]
        arguments += ["--steps", "150", "--batch-size", "16", "--optimizer", "adamw"]
        arguments += ["--learning-rate", "0.01", "--mesh", "data=1", "--eval-every", "150"]
        assert main(["train", *arguments]) == 0
        assert main(["quantize", str(folder), "--calibration-images", "32"]) == 0
        assert main(["export", str(folder)]) == 0
    return folder, text.getvalue()


@pytest.fixture
def detected(_detected, tiny):
    """(folder, printed text) of a detector, trained, quantized, exported; look only."""
    return _detected


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that makes the weights of a run the only ones in the hub, under a name."""
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / INDEX).write_text(index_text({}))
    monkeypatch.setenv("ATTOKIT_HUB", str(folder))
    monkeypatch.setenv("ATTOKIT_CACHE", str(tmp_path / "cache"))

    def publish(run_dir, name, class_names, *, data=None):
        file = shutil.copy(run_dir / "weights.safetensors", folder)
        sha256, size = checkpoints.describe_file(file)
        record = checkpoints.Weights(
            model=name.partition(".")[0], overrides={}, source="weights.safetensors",
            sha256=sha256, size=size, preprocessing={"class_names": class_names}, metrics={},
            recipe="none", commit="none", license="MIT", data=data,
        )  # fmt: skip
        (folder / INDEX).write_text(index_text({name: record}))
        return folder

    return publish


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)
