"""`attokit predict`."""

import dataclasses
import pathlib

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from attokit.classifiers import open_classifier
from attokit.figures import softmax
from attokit.train import read_image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Classifies images with a run, pretrained weights, or a .tflite file in LiteRT.

    Images of any size and colour are resized to cover the model's input, cropped at the centre, and
    turned to grey where the model takes one channel.  Fashion-MNIST shows bright things on black.

    Attributes:
      target: A run folder, a .tflite file, or the name of pretrained weights.
      images: Image files.
      top: How many classes to print.
      labels: Text file with one class name per line; labels.txt beside a .tflite file if left out.
      quantized: The run's INT8 graph instead of its float network.
      input_range: What the darkest and the brightest pixel are for a .tflite file; what its
        quantized input covers, or 0 1 for a float input, if left out.
    """

    target: tyro.conf.Positional[str]
    images: tyro.conf.Positional[tuple[pathlib.Path, ...]]
    top: int = 3
    labels: pathlib.Path | None = None
    quantized: bool = False
    input_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuses to show nothing."""
        if self.top < 1 or not self.images:
            raise ValueError(f"top is {self.top}, {len(self.images)} images: give at least 1 each")


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    classifier = open_classifier(
        options.target,
        quantized=options.quantized,
        labels=options.labels,
        input_range=options.input_range,
    )
    if classifier.note is not None:
        console.print(classifier.note, style="yellow", highlight=False, soft_wrap=True)
    pixels = np.stack([read_image(image, classifier.image_shape) for image in options.images])
    shares = softmax(classifier.logits(pixels))
    top = min(options.top, shares.shape[1])
    table = Table("image", "class", "probability", title=classifier.name)
    for image, row in zip(options.images, shares, strict=True):
        for rank, index in enumerate(np.argsort(-row, kind="stable")[:top]):
            name = str(index) if classifier.class_names is None else classifier.class_names[index]
            table.add_row("" if rank else str(image), name, f"{100 * row[index]:.1f} %")
    console.print(table)
