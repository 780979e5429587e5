import contextlib
import dataclasses
import io
import pathlib
import shutil

import flax.linen as nn
import numpy as np
import pytest
from rich.console import Console

from attokit.quickstart import QuickstartConfig, quickstart
from attokit.train import ArraySource, Dataset, Recipe, TrainConfig
from attokit.zoo import registry

SHAPE = (8, 8, 1)
CONFIG = TrainConfig(steps=30, batch_size=16, learning_rate=0.2, weight_decay=0.0, mesh_data=1)


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


def tiny_dataset():
    """Three classes that differ by brightness."""
    return Dataset(
        name="fashion_mnist_subset",
        class_names=("dark", "grey", "bright"),
        image_shape=SHAPE,
        splits={"train": _source(96, 1), "test": _source(37, 2)},
    )


@pytest.fixture
def dataset():
    return tiny_dataset()


@contextlib.contextmanager
def patched():
    """The registry knows "tiny", and the embedded data is three classes of 8x8 pixels."""
    family = registry.Family(
        name="Tiny", build=TinyNet, variants={"tiny": TinyConfig()}, source="here", module=registry
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_FAMILIES", (*registry._FAMILIES, family))
        patch.setattr("attokit.datasets.load_fashion_mnist_subset", tiny_dataset)
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
def console():
    return Console(file=io.StringIO(), width=200)
