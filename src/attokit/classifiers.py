"""Anything that names images: a run, pretrained weights, a .tflite file, behind one function."""

import dataclasses
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from attokit import checkpoints, zoo
from attokit.export import Runner, inspect
from attokit.export.anatomy import Subgraph, TensorInfo
from attokit.quant import fake_quant
from attokit.runs import Run, open_run
from attokit.train import EvalBatches, Source, classification_task, compute_metrics, merge_metrics

_LEAST_PROBABILITY = np.float32(1e-9)  # below it a logarithm says nothing
Logits = Callable[[UInt8[np.ndarray, "b h w c"]], Float[np.ndarray, "b k"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier:
    """A classifier of byte images.

    Attributes:
      name: What to call it.
      image_shape: Height, width and channels that it takes.
      class_names: In the order of the logits, or None if nobody said.
      data: What it was trained on, as `load_dataset` takes it, or None.
      logits: Images (0 to 255) to logits.
      note: What had to be assumed, or None.
    """

    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None
    data: str | None
    logits: Logits
    note: str | None = None


def open_classifier(
    target: str,
    *,
    quantized: bool = False,
    labels: pathlib.Path | None = None,
    input_range: tuple[float, float] | None = None,
) -> Classifier:
    """Returns the classifier that a text names.

    Args:
      target: A run folder, a .tflite file, or the name of pretrained weights.
      quantized: The run's integer graph rather than its float network.
      labels: Of a .tflite file; see `file_classifier`.
      input_range: Likewise.

    Raises:
      ValueError: if it is none of these, or damaged, or an option does not belong to it.
    """
    path = pathlib.Path(target)
    if quantized and not path.is_dir():
        raise ValueError(f"{target!r} is no run folder: only a run has a quantized graph")
    if path.is_file():
        return file_classifier(path, labels, input_range=input_range)
    if not path.is_dir() and target not in checkpoints.names():
        raise ValueError(
            f"{target!r} is no run folder, no .tflite file and no pretrained weights "
            f"({', '.join(checkpoints.names()) or 'there are none'}): check the path"
        )
    if labels is not None:
        raise ValueError("--labels is for a .tflite file: a run knows its classes")
    if input_range is not None:
        raise ValueError("--input-range is for a .tflite file: models here take 0 to 1")
    if path.is_dir():
        return run_classifier(path, quantized=quantized)
    return pretrained_classifier(target)


def run_classifier(path: pathlib.Path, *, quantized: bool = False) -> Classifier:
    """Returns the float network of a run, or its integer graph."""
    run = open_run(path)
    if quantized:
        graph, weights, qparams = run.quantized()
        logits = _jitted(lambda images: fake_quant(graph)(weights, qparams, images))
    else:
        network, variables = run.network(), run.variables()
        logits = _jitted(lambda images: network.apply(variables, images))
    return Classifier(
        name=f"{run.path} ({'INT8 graph' if quantized else 'float'})",
        image_shape=run.image_shape,
        class_names=run.class_names,
        data=run.data,
        logits=logits,
    )


def pretrained_classifier(name: str) -> Classifier:
    """Returns the network of pretrained weights."""
    record = checkpoints.info(name)
    config = zoo.config(record.model, **record.overrides)
    network = zoo.create(record.model, **record.overrides)
    variables = checkpoints.load(name)
    class_names = record.preprocessing.get("class_names")
    return Classifier(
        name=name,
        image_shape=config.image_size,
        class_names=None if class_names is None else tuple(class_names),
        data=None,
        logits=_jitted(lambda images: network.apply(variables, images)),
    )


def file_classifier(
    file: pathlib.Path | bytes,
    labels: pathlib.Path | None = None,
    *,
    name: str | None = None,
    input_range: tuple[float, float] | None = None,
) -> Classifier:
    """Returns a .tflite file in LiteRT.

    Where the file ends in a softmax, the logits are the logarithms of its probabilities.

    Args:
      file: Path or bytes.
      labels: One class name per line; None takes `labels.txt` beside the file if it fits.
      name: What to call it; the path if None.
      input_range: The reals that the darkest and the brightest byte stand for.  None takes those
        that the file's quantized input covers; a float input does not say, and gets the 0 to 1 of
        the models here, with a note unless the file lies in its run's folder.

    Raises:
      ValueError: if the file is damaged or no image classifier, or labels or range do not fit.
    """
    runner = Runner(file)
    shapes = [tensor.shape for tensor in runner.inputs.values()]
    results = [tensor.shape for tensor in runner.outputs.values()]
    name = name or (str(file) if isinstance(file, pathlib.Path) else "the file")
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in (1, 3):
        raise ValueError(
            f"{name} takes {shapes}, not one batch of images with 1 or 3 channels: "
            "give an image classifier"
        )
    if len(results) != 1 or len(results[0]) != 2:
        raise ValueError(
            f"{name} gives {results}, not one row of logits per image: give an image classifier"
        )
    image_shape = (shapes[0][1], shapes[0][2], shapes[0][3])
    run = _run_beside(file, image_shape, results[0][1])
    main = inspect(file).main
    known = input_range or _covered_range(main)
    note = None
    if known is None and run is None:
        note = (
            f"{name} takes floats and does not say of which range: assumed 0 to 1 "
            "(--input-range LOW HIGH chooses another)"
        )
    feed = _feeder(next(iter(runner.inputs.values())), *(known or (0.0, 1.0)))
    gives_probabilities = _ends_in_softmax(main)

    def logits(images: UInt8[np.ndarray, "b h w c"]) -> Float[np.ndarray, "b k"]:
        found = next(iter(runner(feed(images), dequantize=True).values()))
        return np.log(np.maximum(found, _LEAST_PROBABILITY)) if gives_probabilities else found

    return Classifier(
        name=name,
        image_shape=image_shape,
        class_names=_labels(file, labels, results[0][1]),
        data=None if run is None else run.data,
        logits=logits,
        note=note,
    )


def _run_beside(
    file: pathlib.Path | bytes, image_shape: tuple[int, int, int], classes: int
) -> Run | None:
    """Returns the run in whose folder a file lies, or None if there is none that fits it."""
    if not isinstance(file, pathlib.Path):
        return None
    try:
        run = open_run(file.parent)
    except ValueError:  # no run, or the config.json of something else
        return None
    fits = (run.image_shape, len(run.class_names)) == (image_shape, classes)
    return run if fits else None


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
    tensor: TensorInfo, low: float, high: float
) -> Callable[[UInt8[np.ndarray, "b h w c"]], np.ndarray]:
    """Returns the function from bytes to what the input takes, 0 being `low` and 255 `high`.

    Raises:
      ValueError: if the range is empty or not finite.
    """
    if not -np.inf < low < high < np.inf:
        raise ValueError(
            f"input range {low:g} to {high:g}: give two finite numbers, low before high"
        )
    start, width = np.float32(low), np.float32(high - low)

    def feed(images: UInt8[np.ndarray, "b h w c"]) -> np.ndarray:
        reals = start + width * (images.astype(np.float32) / np.float32(255))
        if "int" in tensor.dtype and tensor.scale.size != 1:
            limits = np.iinfo(tensor.dtype)
            return np.clip(np.rint(reals), limits.min, limits.max).astype(tensor.dtype)
        return reals

    return feed


def _ends_in_softmax(graph: Subgraph) -> bool:
    """Returns whether the first output is a softmax, maybe converted to another type."""
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    maker = makers.get(graph.outputs[0])
    for _ in graph.operators:  # a damaged file may have a loop
        if maker is None or maker.kind not in ("DEQUANTIZE", "QUANTIZE"):
            break
        maker = makers.get(maker.inputs[0])
    return maker is not None and maker.kind == "SOFTMAX"


def _labels(
    file: pathlib.Path | bytes, labels: pathlib.Path | None, classes: int
) -> tuple[str, ...] | None:
    """Returns the names of a file's classes, or None if there are none beside it."""
    found = labels
    if found is None and isinstance(file, pathlib.Path):
        found = file.with_name("labels.txt")
    if found is None or (labels is None and not found.is_file()):
        return None
    try:
        names = tuple(found.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"cannot read the labels {found}: {err}; give a text file") from err
    if len(names) == classes:
        return names
    if labels is None:  # of another model in the same folder
        return None
    raise ValueError(
        f"{found} has {len(names)} lines, the file {classes} classes: give one of each"
    )


def _jitted(function: Callable[[Any], Any]) -> Logits:
    run = jax.jit(lambda images: function(images.astype(jnp.float32) / jnp.float32(255)))
    return lambda images: np.asarray(run(images))


def evaluate_classifier(
    classifier: Classifier, source: Source, *, batch_size: int = 250
) -> Mapping[str, float | np.ndarray]:
    """Returns the metrics that training reports: accuracy, top-5, calibration error, confusion.

    Raises:
      ValueError: if a label has no logit.
    """
    task = classification_task()
    measure = jax.jit(
        lambda logits, batch: task.eval_metrics(logits, batch, jnp.zeros(len(batch["labels"])))
    )
    total = None
    batches = EvalBatches(source, batch_size=min(batch_size, len(source)))
    for index in range(len(batches)):
        batch = batches[index]
        logits = classifier.logits(batch["images"])
        if batch["labels"].max() >= logits.shape[1]:
            raise ValueError(
                f"{classifier.name} has {logits.shape[1]} classes, the data has label "
                f"{batch['labels'].max()}: give the data that it was trained on"
            )
        metrics = measure(logits, {"labels": batch["labels"], "mask": batch["mask"]})
        total = metrics if total is None else merge_metrics(total, metrics)
    assert total is not None  # a data set has no empty split
    return compute_metrics(total)


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
