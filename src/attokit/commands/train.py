"""`attokit train`."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated

import jax
import tyro
from rich.console import Console

from attokit import zoo
from attokit.datasets import canonical, load_dataset
from attokit.overrides import check_overrides, parse_overrides
from attokit.start_weights import open_start
from attokit.tasks import check_same_task, view_of
from attokit.teachers import open_teacher
from attokit.train import (
    RECIPES,
    Dataset,
    TrainConfig,
    find_recipe,
    join_hosts,
    task_for,
    use_cpu_cores,
)
from attokit.train.compilation_cache import keep_compiled
from attokit.training import train_float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Trains a float network, for the task of its data, into a run folder, which the other commands take.

    Either a recipe says everything, and options change it, or a model and data are named.

    Attributes:
      recipe: A run that was done before, by name.
      model: Name of a model (see attokit list), instead of a recipe.
      overrides: Fields of the model's config, such as small_images=true; the number of classes
        and the image size come from the data.
      data: fashion_mnist_subset or scenes (embedded), scenes:FOLDER (with the garments of all of
        Fashion-MNIST), wake_scenes:GARMENT (is one there? as wake_scenes:Bag), tfds:NAME, a folder of Fashion-MNIST's IDX files, an image folder
        train/CLASS/IMAGE, test/CLASS/IMAGE (every20:FOLDER for the first of each 20 of its classes), or a
        folder of images and masks, or of images and boxes.
      image_size: Height, width and channels for images of any size; for detection those of the model if
        left out.
      split: To evaluate on.
      run_dir: The run folder; runs/NAME of the recipe or model if left out.
      start: Trained weights to start from, instead of random ones: a run folder, the name of pretrained
        weights (see attokit list --pretrained), or a safetensors file.
      reset_head: The layers whose shapes depend on the number of classes start anew, all others from
        --start: for other classes than those it knows.
      teacher: A run folder or pretrained weights of the same classes, to learn from as well (distillation).
      compilation_cache: A folder that keeps compiled steps, so that the next start need not compile.
      resume: Go on from the newest checkpoint of the run folder.
      config: How to train.
    """

    recipe: str | None = None
    model: str | None = None
    overrides: tuple[str, ...] = ()
    data: str | None = None
    image_size: tuple[int, int, int] | None = None
    split: str = "test"
    run_dir: pathlib.Path | None = None
    start: str | None = None
    reset_head: bool = False
    teacher: str | None = None
    compilation_cache: pathlib.Path | None = None
    resume: bool = False
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=lambda: TrainConfig(epochs=10)
    )


def defaults(arguments: Sequence[str]) -> Options:
    """Returns the options before the user's: the recipe's, if one is named."""
    values = dict(zip(arguments, [*arguments[1:], ""], strict=True))
    values |= dict(text.split("=", 1) for text in arguments if text.startswith("--recipe="))
    name = values.get("--recipe")
    recipe = find_recipe(name) if name else None
    config = recipe.config if recipe else TrainConfig(epochs=10)
    # What is given takes the place of the other; where both are, the two are refused as ever.
    given = {text.split("=")[0] for text in arguments}
    if "--steps" in given:
        config = dataclasses.replace(config, epochs=None, steps=1)
    if "--epochs" in given:
        config = dataclasses.replace(config, epochs=1.0, steps=None)
    return Options(recipe=name, config=config, split=recipe.split if recipe else "test")


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    if options.reset_head and options.start is None:
        raise ValueError(
            "--reset-head changes nothing of random weights: add --start, or leave it out"
        )
    join_hosts()
    use_cpu_cores()
    console.quiet = jax.process_index() > 0
    if options.compilation_cache is not None:
        keep_compiled(options.compilation_cache)
    start = None
    if options.start is not None:  # before a long download of data
        start = open_start(options.start, reset_head=options.reset_head)
    model, overrides, data, dataset = _problem(options)
    task = task_for(dataset, options.config, zoo.create(model, **overrides))
    run_dir = options.run_dir or pathlib.Path("runs") / (options.recipe or model)
    trained, result = train_float(
        model,
        overrides,
        data,
        dataset,
        options.config,
        run_dir,
        eval_split=options.split,
        task=task,
        start=start,
        teacher=None if options.teacher is None else open_teacher(options.teacher, dataset),
        resume=options.resume,
        console=console,
    )
    console.print(
        f"{view_of(trained.task).metric} on {options.split} {result.metrics[task.best_metric]:.4f}\n"
        f"wrote the run {trained.path} and its weights {trained.weights_path}; "
        f"next: attokit quantize {trained.path}",
        highlight=False,
        soft_wrap=True,
    )


def _problem(options: Options) -> tuple[str, dict, str, Dataset]:
    """Returns model, overrides, the name of the data and the data."""
    overrides = parse_overrides(options.overrides)
    if (options.recipe is None) == (options.model is None):
        raise ValueError(
            f"give either --recipe (one of {', '.join(RECIPES)}) or --model (one of "
            f"{', '.join(zoo.names())})"
        )
    if options.recipe is not None:
        recipe = find_recipe(options.recipe)
        if recipe.needs_folder and options.data is None:
            raise ValueError(f"recipe {options.recipe!r} needs the folder of its data: give --data")
        if not recipe.needs_folder and options.data is not None:
            raise ValueError(f"recipe {options.recipe!r} has its own data: leave --data out")
        if options.image_size is not None:
            raise ValueError(f"recipe {options.recipe!r} has its own size: leave --image-size out")
        dataset = recipe.load(options.data)
        data = canonical(recipe.data_prefix + options.data) if options.data else dataset.name
        overrides = dict(recipe.overrides) | overrides
        model = recipe.model
    else:
        assert options.model is not None
        model = options.model
        settings = check_overrides(model, overrides)  # before a long download
        if options.data is None:
            raise ValueError("no data to train on: give --data")
        own = settings.image_size if view_of(zoo.task(model)).sized_by_model else None
        dataset = load_dataset(options.data, options.image_size or own, task=zoo.task(model))
        check_same_task(model, dataset)
        data = canonical(options.data)
        sizes = {"num_classes": dataset.num_classes, "image_size": dataset.image_shape}
        overrides = sizes | overrides
    check_overrides(model, overrides)
    size = overrides.get("image_size", dataset.image_shape)
    if size != dataset.image_shape:
        raise ValueError(
            f"image_size is {size}, the images of {data} are {dataset.image_shape}: leave it out of "
            "--overrides (--image-size resizes data of any size)"
        )
    return model, overrides, data, dataset
