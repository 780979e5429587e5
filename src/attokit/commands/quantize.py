"""`attokit quantize`."""

import dataclasses
import pathlib
from typing import Literal

import tyro
from rich.console import Console

from attokit.checkpoints.weights import load_metadata
from attokit.datasets import load_dataset
from attokit.precision import Precision
from attokit.quant import Kernels
from attokit.quant.calibrate import Method
from attokit.quantization import (
    Quantizer,
    calibrate_on,
    initial_log_scales,
    on_this_machine,
    qat_config,
)
from attokit.runs import Run, open_run, save_quantized
from attokit.tasks import check_same_task, view_of
from attokit.train import Dataset, TrainConfig, task_for, use_cpu_cores
from attokit.train.run_folder import check_no_run
from attokit.weight_bits import parse_weight_bits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Quantizes a trained run to INT8: calibration alone (PTQ), or followed by training (QAT).

    Attributes:
      run_dir: What attokit train wrote.
      method: ptq or qat.
      calibration: How ranges are chosen from what is seen.
      calibration_images: How many training images are shown.
      weight_bits: 4 for kernels of 4 bits where operators take them, PATTERN=4 for those whose names
        match (as 'head/*=4'); the last one that matches counts.
      int16: Patterns of names of ops whose activations have 16 bits ('*', 'head/*'; the names are those
        that attokit verify lists).
      int8: Patterns of those among them that keep 8, and of inputs that do.
      float32: Patterns of names of ops that stay float32 in the file, and of inputs ('softmax').
      open_hard_swish: Patterns of names of hard swishes that become a sum, a rectifier and products, which
        chips without that operator have, such as Coral's ('*').
      epochs: Of QAT, over the training data.
      steps: Of QAT, instead of epochs.
      learning_rate: Peak of QAT; a tenth of the float run's if left out.
      learn_scales: Whether QAT trains scales too (LSQ): all of them.
      learn: Patterns of names of scales to train, instead of all ("head/*").
      freeze_scales: Patterns of names of scales among them that it does not train ("stem/*").
      scale_learning_rate: Peak rate of the logarithm of scales.
      kernels: Whose rounding to train for: reference and micro (TFLite Micro), or xnnpack
        (LiteRT on CPUs).
      data: As for attokit train; the data of the float run if left out.
      split: To evaluate on.
      qat_folder: Of the training, inside the run folder.
      resume: Go on with a QAT that was stopped.
      replace: Write over the result of a QAT, whose training stays in its folder.
    """

    run_dir: tyro.conf.Positional[pathlib.Path]
    method: Literal["ptq", "qat"] = "ptq"
    calibration: Method = "minmax"
    calibration_images: int = 512
    weight_bits: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    int8: tuple[str, ...] = ()
    float32: tuple[str, ...] = ()
    open_hard_swish: tuple[str, ...] = ()
    epochs: float | None = None
    steps: int | None = None
    learning_rate: float | None = None
    learn_scales: bool = False
    learn: tuple[str, ...] = ()
    freeze_scales: tuple[str, ...] = ()
    scale_learning_rate: float = 1e-3
    kernels: Kernels = "reference"
    data: str | None = None
    split: str = "test"
    qat_folder: str = "qat"
    resume: bool = False
    replace: bool = False

    def __post_init__(self) -> None:
        """Refuses options that contradict each other."""
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs {self.epochs} and steps {self.steps}: give one of them")
        if self.calibration_images < 1:
            raise ValueError(f"calibration_images is {self.calibration_images}: give at least 1")
        given = {
            "epochs": self.epochs, "steps": self.steps, "learning_rate": self.learning_rate,
            "learn_scales": self.learn_scales or None, "learn": self.learn or None,
            "resume": self.resume or None,
        }  # fmt: skip
        unused = [name for name, value in given.items() if value is not None]
        if self.method == "ptq" and unused:
            raise ValueError(f"{', '.join(unused)} change nothing in ptq: add --method qat")
        if self.learn_scales and self.learn:
            raise ValueError(f"learn_scales are all, learn is {self.learn}: give one of them")
        if self.freeze_scales and not self.learned_scales:
            raise ValueError(
                f"freeze_scales {self.freeze_scales} changes nothing: add --learn-scales"
            )
        if self.scale_learning_rate != type(self).scale_learning_rate and not self.learned_scales:
            raise ValueError(
                f"scale_learning_rate {self.scale_learning_rate} changes nothing: add --learn-scales"
            )
        parse_weight_bits(self.weight_bits)
        _ = self.precision

    @property
    def precision(self) -> Precision:
        """Types of ops."""
        return Precision(
            int16=self.int16,
            int8=self.int8,
            float32=self.float32,
            open_hard_swish=self.open_hard_swish,
        )

    @property
    def learned_scales(self) -> tuple[str, ...]:
        """Patterns of the scales to train, before some are frozen."""
        return ("*",) if self.learn_scales else self.learn


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    use_cpu_cores()
    source = open_run(options.run_dir)
    _check_nothing_is_lost(options, source)
    graph, weights = source.trace()
    graph = options.precision.apply(graph)
    dataset = load_dataset(options.data or source.data, source.image_shape, task=source.task)
    check_same_task(source.model, dataset)
    bits = parse_weight_bits(options.weight_bits)
    qparams = calibrate_on(
        graph,
        weights,
        dataset.split("train"),
        method=options.calibration,
        count=options.calibration_images,
        weight_bits=bits or 8,
    )
    if options.learned_scales:  # patterns are wrong before hours of work, not after
        initial_log_scales(graph, qparams, options.learned_scales, options.freeze_scales)
    task = task_for(dataset, source.config, source.network())
    view = view_of(source.task)
    quantizer = Quantizer(
        graph,
        kernels=options.kernels,
        task=task,
        network=view.quantized_network(graph, options.kernels, source.network()),
    )
    metric = view.metric
    config = on_this_machine(source.config)
    metrics = quantizer.evaluate(weights, qparams, dataset.split(options.split), config)
    value = metrics[task.best_metric]
    console.print(f"{metric} after calibration {value:.4f}", highlight=False)
    if options.method == "qat":
        weights, qparams, metrics = _train(options, source, quantizer, weights, qparams, dataset, console)  # fmt: skip
    save_quantized(
        source.quantized_path,
        weights,
        qparams,
        {"method": options.method, task.best_metric: f"{metrics[task.best_metric]:.4f}"}
        | ({"weight_bits": " ".join(f"{k}={v}" for k, v in bits.items())} if bits else {})
        | options.precision.metadata(),
    )
    console.print(
        f"{metric} of the {_named(options.precision)} graph on {options.split} {metrics[task.best_metric]:.4f}\n"
        f"wrote {source.quantized_path}; next: attokit export {source.path}",
        highlight=False,
        soft_wrap=True,
    )


def _named(precision: Precision) -> str:
    """Returns "INT8", or with what else is in the graph: "INT8, INT16 and FLOAT32"."""
    others = [name.upper() for name in ("int16", "float32") if getattr(precision, name)]
    return " and ".join([", ".join(["INT8", *others[:-1]]), *others[-1:]])


def _check_nothing_is_lost(options: Options, run: Run) -> None:
    """Refuses, before any work, to write over a training or its result."""
    if options.resume:
        return
    if options.method == "qat":
        check_no_run(run.path / options.qat_folder)
    file = run.quantized_path
    if file.exists() and not options.replace and load_metadata(file).get("method") == "qat":
        raise ValueError(
            f"{file} is the result of a QAT: give --replace to write over it (--method qat --resume "
            "brings it back from the folder of its training)"
        )


def _train(
    options: Options,
    source: Run,
    quantizer: Quantizer,
    weights: dict,
    qparams: dict,
    dataset: Dataset,
    console: Console,
) -> tuple:
    """Returns weights, qparams and metrics after QAT."""
    result = quantizer.train(
        weights,
        qparams,
        dataset,
        _config(options, on_this_machine(source.config)),
        source.path / options.qat_folder,
        learn=options.learned_scales,
        freeze=options.freeze_scales,
        scale_learning_rate=options.scale_learning_rate,
        eval_split=options.split,
        resume=options.resume,
        extra={
            "calibration": options.calibration,
            "calibration_images": options.calibration_images,
            **({"weight_bits": list(options.weight_bits)} if options.weight_bits else {}),
            **options.precision.settings(),
        },
        console=console,
    )
    return result.weights, result.qparams, result.fit.metrics


def _config(options: Options, config: TrainConfig) -> TrainConfig:
    names = ("epochs", "steps", "learning_rate")
    values = {name: getattr(options, name) for name in names}
    return qat_config(config, **{name: v for name, v in values.items() if v is not None})
