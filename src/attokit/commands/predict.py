"""`attokit predict`."""

import dataclasses
import pathlib

import tyro
from rich.console import Console

from attokit.targets import open_predictor
from attokit.tasks import chosen_wishes, view_of
from attokit.zoo.registry import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Shows what a run, pretrained weights, or a .tflite file in LiteRT sees in images.

    A classifier prints the likeliest classes.  A segmentation model prints how much of the image
    each class takes, and writes IMAGE_overlay.png: the image as the model gets it, and the same
    with its classes painted over it.  A detector prints class, score and place (in pixels of the image as
    the model gets it) of what it finds, and writes IMAGE_boxes.png; Mask R-CNN writes IMAGE_masks.png, with
    the masks painted over the image, and places are in pixels of the image as it is.

    Images of any size and colour are resized to cover the model's input and cropped at the centre (for Mask
    R-CNN resized to fit in whole, and padded), and turned to grey where the model takes one channel.
    Fashion-MNIST shows bright things on black.

    Attributes:
      target: A run folder, a .tflite file, or the name of pretrained weights.
      images: Image files.
      top: How many classes of a classifier to print; 3 if left out.
      output: The folder for overlays; predictions if left out.
      score: The least probability of what a detector shows; 0.3 if left out.
      task: Of a .tflite file whose outputs fit several: classification, segmentation, detection or
        instance_segmentation.
      labels: Text file with one class name per line; labels.txt beside a .tflite file if left out.
      quantized: The run's INT8 graph instead of its float network.
      input_range: What the darkest and the brightest pixel are for a .tflite file; what its
        quantized input covers, or 0 1 for a float input, if left out.
    """

    target: tyro.conf.Positional[str]
    images: tyro.conf.Positional[tuple[pathlib.Path, ...]]
    top: int | None = None
    output: pathlib.Path | None = None
    score: float | None = None
    task: Task | None = None
    labels: pathlib.Path | None = None
    quantized: bool = False
    input_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuses to show nothing."""
        if not self.images or (self.top is not None and self.top < 1):
            raise ValueError(f"top is {self.top}, {len(self.images)} images: give at least 1 each")


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    predictor = open_predictor(
        options.target,
        quantized=options.quantized,
        task=options.task,
        labels=options.labels,
        input_range=options.input_range,
    )
    wishes = chosen_wishes(options, predictor.task, lambda view: view.predict_wishes)
    if predictor.note is not None:
        console.print(predictor.note, style="yellow", highlight=False, soft_wrap=True)
    view_of(predictor.task).predict(predictor, options.images, console, **wishes)
