"""`attokit evaluate`."""

import dataclasses

import tyro
from rich.console import Console
from rich.table import Table

from attokit.datasets import load_dataset
from attokit.targets import open_predictor
from attokit.tasks import chosen_wishes, view_of
from attokit.zoo.registry import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Measures a run, pretrained weights, or a .tflite file itself in LiteRT.

    Attributes:
      target: A run folder, a .tflite file, or the name of pretrained weights.
      data: As for attokit train; the data of the run, also of one in whose folder the file lies,
        if left out.
      split: To evaluate on; the one of the run if left out, or test.
      quantized: The run's INT8 graph instead of its float network.
      task: Of a .tflite file whose outputs fit several: classification, segmentation, detection or
        instance_segmentation.
      input_range: What the darkest and the brightest pixel are for a .tflite file; what its
        quantized input covers, or 0 1 for a float input, if left out.
      batch_size: Images at a time; as many as memory is likely to hold if left out.
      scales: Factors of the size at which a segmentation model sees each image; its probabilities are
        averaged.
      flip: Whether it sees each image mirrored too.
      window: Height and width of the overlapping windows through which it sees each image. What takes
        one size only (--quantized, a .tflite file) needs them for scaled images and other sizes.
      image_size: Height, width and channels to fit its images to; those of the model if left out.
    """

    target: tyro.conf.Positional[str]
    data: str | None = None
    split: str | None = None
    quantized: bool = False
    task: Task | None = None
    input_range: tuple[float, float] | None = None
    batch_size: int | None = None
    scales: tuple[float, ...] | None = None
    flip: bool = False
    window: tuple[int, int] | None = None
    image_size: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        """Refuses empty batches and images."""
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}: give at least 1")
        if self.image_size is not None and min(self.image_size) < 1:
            raise ValueError(f"image_size is {self.image_size}: give at least 1 of each")


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    predictor = open_predictor(
        options.target,
        quantized=options.quantized,
        task=options.task,
        input_range=options.input_range,
    )
    if predictor.note is not None:
        console.print(predictor.note, style="yellow", highlight=False, soft_wrap=True)
    data = options.data or predictor.data
    if data is None:
        raise ValueError(f"{options.target} does not say what it was trained on: give --data")
    wishes = chosen_wishes(options, predictor.task, lambda view: view.evaluate_wishes)
    shape = wishes.pop("image_size", predictor.image_shape)
    if shape[2] != predictor.image_shape[2]:
        raise ValueError(
            f"image_size is {shape}, but {predictor.name} takes {predictor.image_shape[2]} channels: "
            "give as many"
        )
    dataset = load_dataset(data, shape, task=predictor.task)
    if dataset.task != predictor.task:
        raise ValueError(
            f"{predictor.name} does {predictor.task}, {data} is data for {dataset.task}: "
            "choose other data"
        )
    view, source = (
        view_of(predictor.task),
        dataset.split(options.split or dataset.usual_split(predictor.split)),
    )
    metrics = view.evaluate(predictor, dataset, source, batch_size=options.batch_size, **wishes)
    table = Table(title=f"{predictor.name} on {len(source):,} images of {dataset.name}",
                  show_header=False)  # fmt: skip
    for name, value in metrics.items():
        if isinstance(value, float):
            table.add_row(name, f"{value:.4f}")
    console.print(table)
    details = view.details(metrics, dataset.class_names)
    if details is not None:
        console.print(details)
