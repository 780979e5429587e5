"""A .tflite file as a predictor, of this project or of any other tool."""

import functools
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import PyTree, UInt8
from numpy.typing import ArrayLike

from attokit.export import Runner, TwoStageRunner, inspect, inspection, two_stage
from attokit.export.anatomy import Inspection, Subgraph, TensorInfo
from attokit.export.brightness import as_colours, makes_brightness
from attokit.export.image_tasks import input_range_in, labels_in
from attokit.file_outputs import FileOutputs
from attokit.predictor import Predictor
from attokit.runs import Run, open_run
from attokit.tasks import TASKS, view_of
from attokit.zoo.registry import Task

Shape = tuple[int, int, int]
TRUNK, HEADS = "_trunk", ("_boxes", "_masks")
"""How the names of the three files of a two-stage detector end, of `attokit export --split`."""


def file_predictor(
    file: pathlib.Path | bytes,
    labels: pathlib.Path | None = None,
    *,
    task: Task | None = None,
    name: str | None = None,
    input_range: tuple[float, float] | None = None,
) -> Predictor:
    """Returns a .tflite file in LiteRT.

    Args:
      file: Path or bytes; of a detector of three files the path of its trunk, the others beside it.
      labels: One class name per line; None takes those inside the file (`--mediapipe`), or `labels.txt` beside it,
        if they fit.
      task: Key of `TASKS`; None finds out by the shapes of the outputs, and by the run in whose
        folder the file lies.
      name: What to call it; the path if None.
      input_range: The reals that the darkest and the brightest byte stand for.  None takes those
        that TFLite Metadata tells for a float input, or the file's quantized input covers; a float input that
        does not say gets the 0 to 1 of the models here, with a note unless the file lies in its run's folder.

    Raises:
      ValueError: if the file is damaged, one of several without the others, takes no images, is of no task or could be of several,
        or labels or range do not fit.
    """
    _check_whole(file)
    info = inspect(file)
    run_file = _opened(file, info)
    name = name or (str(file) if isinstance(file, pathlib.Path) else "the file")
    image_shape, grey = _image_shape(name, info), makes_brightness(info)
    channels = image_shape[2]
    if grey:
        image_shape = (*image_shape[:2], 1)
    run = _run_beside(file, image_shape)
    task, read = _read_outputs(name, info, task, run)
    if run is not None and not _fits(run, task, read):
        run = None
    known = input_range or _told_range(info, channels) or _covered_range(info.main)
    note = None
    if known is None and run is None:
        note = (
            f"{name} takes floats and does not say of which range: assumed 0 to 1 "
            "(--input-range LOW HIGH chooses another)"
        )
    feed = _feeder(next(iter(info.inputs.values())), *(known or (0.0, 1.0)))

    def outputs(images: UInt8[np.ndarray, "b h w c"]) -> PyTree:
        return read.decode(run_file(feed(as_colours(images) if grey else images)))

    return Predictor(
        name=name,
        task=task,
        image_shape=image_shape,
        num_classes=read.num_classes,
        class_names=_labels(file, labels, read, info.metadata),
        data=None if run is None else run.data,
        split="test" if run is None else run.split,
        outputs=outputs,
        anchors=read.anchors,
        note=note,
        separate=read.separate,
    )


def _check_whole(file: pathlib.Path | bytes) -> None:
    """Raises ValueError if a file is a head of a detector of three files, whose trunk lies beside it."""
    if not isinstance(file, pathlib.Path):
        return
    for part in HEADS:
        trunk = file.with_name(f"{file.stem.removesuffix(part)}{TRUNK}{file.suffix}")
        if file.stem.endswith(part) and trunk.is_file():
            raise ValueError(f"{file} is one of the three files of a detector: give {trunk}")


def _opened(
    file: pathlib.Path | bytes, info: Inspection
) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    """Returns what runs a file, or the three of which it is the trunk, and gives reals."""
    if two_stage.METADATA not in info.metadata:
        return functools.partial(Runner(file), dequantize=True)
    if not isinstance(file, pathlib.Path) or not file.stem.endswith(TRUNK):
        raise ValueError(
            f"the trunk of a detector of three files needs its heads beside it: name it NAME{TRUNK}.tflite, as "
            "attokit export --split does"
        )
    stem = file.stem.removesuffix(TRUNK)
    heads = [file.with_name(f"{stem}{part}{file.suffix}") for part in HEADS]
    if missing := [str(head) for head in heads if not head.is_file()]:
        raise ValueError(
            f"{file} is the trunk of a detector, without {' and '.join(missing)}: put the three files "
            "together"
        )
    return TwoStageRunner(file, *heads)


def _image_shape(name: str, info: Inspection) -> Shape:
    shapes = [tensor.shape for tensor in info.inputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in (1, 3):
        raise ValueError(
            f"{name} takes {shapes}, not one batch of images with 1 or 3 channels: "
            "give a network of images"
        )
    (image,) = info.inputs.values()
    if any(axis > 0 for axis in image.open_axes):  # any batch is run
        raise ValueError(
            f"{name} takes images of a size that is not fixed, {image.shape_text}: write the file again with a "
            "fixed height, width and number of channels"
        )
    return shapes[0][1], shapes[0][2], shapes[0][3]


def _read_outputs(
    name: str, info: Inspection, task: Task | None, run: Run | None
) -> tuple[Task, FileOutputs]:
    """Returns the task of a file and how its outputs are read."""
    candidates = {task: view_of(task)} if task is not None else TASKS
    found = {key: view.read_file(info) for key, view in candidates.items()}
    fitting = {key: read for key, read in found.items() if read is not None}
    if len(fitting) > 1 and run is not None and run.task in fitting:
        fitting = {run.task: fitting[run.task]}
    shapes = [tensor.shape for tensor in info.outputs.values()]
    if len(fitting) > 1:
        raise ValueError(
            f"{name} gives {shapes}, which fits {' and '.join(fitting)}: say which with --task"
        )
    if not fitting:
        wanted = "; ".join(f"{view.file_outputs} ({key})" for key, view in candidates.items())
        raise ValueError(f"{name} gives {shapes}, not what is known here: {wanted}")
    return next(iter(fitting.items()))


def _run_beside(file: pathlib.Path | bytes, image_shape: Shape) -> Run | None:
    """Returns the run in whose folder a file lies, or None if there is none of such images."""
    if not isinstance(file, pathlib.Path):
        return None
    try:
        run = open_run(file.parent)
    except ValueError:  # no run, or the config.json of something else
        return None
    return run if run.image_shape == image_shape else None


def _fits(run: Run, task: str, read: FileOutputs) -> bool:
    return run.task == task and read.num_classes in (None, len(run.class_names))


def _told_range(info: Inspection, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the range of a float input as its metadata tells it, of one or all channels; None if not."""
    (tensor,) = info.inputs.values()
    told = input_range_in(info.metadata)
    if "float" not in tensor.dtype or told is None or told[0].size not in (1, channels):
        return None
    return told


def _covered_range(graph: Subgraph) -> tuple[float, float] | None:
    """Returns the least and the greatest real that the input can hold; None if it does not say.

    A float input that is quantized first covers what its integers do.
    """
    tensor = graph.tensors[graph.inputs[0]]
    readers = [operator for operator in graph.operators if graph.inputs[0] in operator.inputs]
    if [reader.kind for reader in readers] == ["QUANTIZE"]:
        tensor = graph.tensors[readers[0].outputs[0]]
    if "int" not in tensor.dtype:
        return None
    limits = np.iinfo(tensor.dtype)
    if tensor.scale.size != 1:  # bytes that are not quantized are bytes
        return (0.0, 255.0) if limits.max >= 255 else (-128.0, 127.0)
    scale, zero_point = float(tensor.scale[0]), int(tensor.zero_point[0])
    return (limits.min - zero_point) * scale, (limits.max - zero_point) * scale


def _feeder(
    tensor: TensorInfo, low: ArrayLike, high: ArrayLike
) -> Callable[[UInt8[np.ndarray, "b h w c"]], np.ndarray]:
    """Returns the function from bytes to what the input takes, 0 being `low` and 255 `high`.

    Raises:
      ValueError: if the range is empty or not finite.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not np.all((-np.inf < low) & (low < high) & (high < np.inf)):
        raise ValueError(f"input range {low} to {high}: give two finite numbers, low before high")
    start, width = low.astype(np.float32), (high - low).astype(np.float32)

    def feed(images: UInt8[np.ndarray, "b h w c"]) -> np.ndarray:
        reals = start + width * (images.astype(np.float32) / np.float32(255))
        if "int" in tensor.dtype and tensor.scale.size != 1:
            limits = np.iinfo(tensor.dtype)
            return np.clip(np.rint(reals), limits.min, limits.max).astype(tensor.dtype)
        return reals

    return feed


def _labels(
    file: pathlib.Path | bytes,
    labels: pathlib.Path | None,
    read: FileOutputs,
    metadata: Mapping[str, bytes],
) -> tuple[str, ...] | None:
    """Returns the names of a file's classes: those given, inside of it or beside it; None if there are none."""
    if labels is not None:
        names = _named(_read_labels(labels), read)
        if names is None:
            raise ValueError(
                f"{labels} has {len(_read_labels(labels))} lines, the file {read.num_classes} classes: give one "
                "of each"
            )
        return names
    inside = labels_in(inspection.read(file)[0], metadata)
    if inside is not None and (names := _named(inside, read)) is not None:
        return names
    beside = file.with_name("labels.txt") if isinstance(file, pathlib.Path) else None
    if beside is None or not beside.is_file():
        return None
    return _named(_read_labels(beside), read)  # None: of another model in the same folder


def _read_labels(path: pathlib.Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"cannot read the labels {path}: {err}; give a text file") from err


def _named(names: tuple[str, ...], read: FileOutputs) -> tuple[str, ...] | None:
    """Returns a name for every class, or None if there are more or fewer of them."""
    if read.num_classes is None or len(names) == read.num_classes:
        return names
    if read.unnamed and len(names) == read.num_classes - read.unnamed:
        return (*(["background"] * read.unnamed), *names)
    return None


def latency_ms(file: pathlib.Path | bytes, *, runs: int = 50) -> float:
    """Returns the median time of one image in LiteRT on one thread, in milliseconds."""
    runner = Runner(file, threads=1)
    inputs = [np.zeros(tensor.shape, tensor.dtype) for tensor in runner.inputs.values()]
    times = []
    for _ in range(runs + 5):
        start = time.perf_counter()
        runner(*inputs)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[5:])  # the first runs warm caches up
