"""`attokit quantize`."""

import dataclasses
import pathlib
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from attokit.checkpoints.weights import load_metadata
from attokit.datasets import load_dataset
from attokit.learned_scales import initial_log_scales
from attokit.post_training import PostTraining, quantize_on
from attokit.precision import Precision
from attokit.quant import Graph, Kernels
from attokit.quant.calibrate import Method
from attokit.quantization import (
    Quantizer,
    on_this_machine,
    qat_config,
    sparse_patterns,
)
from attokit.runs import Run, open_run, save_quantized
from attokit.steadying import Steadying
from attokit.tasks import check_same_task, view_of
from attokit.teachers import open_teacher
from attokit.train import (
    Dataset,
    Task,
    Teacher,
    TrainConfig,
    reestimate_batch_stats,
    split_variables,
    task_for,
    use_cpu_cores,
)
from attokit.train.mesh import named_mesh
from attokit.train.run_folder import check_no_run
from attokit.weight_bits import parse_weight_bits

_OWN_TEACHER = "the float network of the run"  # as config.json names it, wherever the run lies


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Quantizes a trained run to INT8: calibration alone (PTQ), or followed by training (QAT).

    Attributes:
      run_dir: What attokit train wrote.
      method: ptq or qat.
      reestimate_bn: Batches of training images over which the statistics of batch norms are measured again
        before these are folded.
      calibration: How ranges are chosen from what is seen.
      calibration_images: How many training images are shown.
      post_training: What changes weights before and after calibration.
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
      steadying: Dampening and freezing.
      distill: Whether QAT learns from the float network of the run as well.
      teacher: A run folder or pretrained weights of the same classes, to learn from instead of that.
      distillation_weight: Share of the teacher's loss in the loss; 0.5 if left out.
      distillation_temperature: By which the logits of both are divided there; 2 if left out.
      kernels: Whose rounding to train for: reference and micro (TFLite Micro), or xnnpack
        (LiteRT on CPUs).
      data: As for attokit train; the data of the float run if left out.
      split: To evaluate on; the one of the float run if left out.
      qat_folder: Of the training, inside the run folder.
      resume: Go on with a QAT that was stopped.
      replace: Write over the result of a QAT, whose training stays in its folder.
    """

    run_dir: tyro.conf.Positional[pathlib.Path]
    method: Literal["ptq", "qat"] = "ptq"
    reestimate_bn: int | None = None
    calibration: Method = "minmax"
    calibration_images: int = 512
    post_training: Annotated[PostTraining, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=PostTraining
    )
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
    steadying: Annotated[Steadying, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=Steadying
    )
    distill: bool = False
    teacher: str | None = None
    distillation_weight: float | None = None
    distillation_temperature: float | None = None
    kernels: Kernels = "reference"
    data: str | None = None
    split: str | None = None
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
            "resume": self.resume or None, **self.steadying.settings(),
            "distill": self.distill or None, "teacher": self.teacher,
            "distillation_weight": self.distillation_weight,
            "distillation_temperature": self.distillation_temperature,
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
        if self.steadying.freeze_scales_after is not None and not self.learned_scales:
            raise ValueError(
                f"freeze_scales_after {self.steadying.freeze_scales_after} changes nothing: add "
                "--learn-scales"
            )
        if self.distill and self.teacher is not None:
            raise ValueError(
                f"distill is to learn from the run itself, teacher is {self.teacher!r}: give one of them"
            )
        if self.distillation and not self.distill and self.teacher is None:
            raise ValueError(
                f"{', '.join(self.distillation)} change nothing without a teacher: add --distill or --teacher"
            )
        if self.reestimate_bn is not None and self.reestimate_bn < 1:
            raise ValueError(f"reestimate_bn is {self.reestimate_bn}: give at least 1 batch")
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
    def distillation(self) -> dict[str, float]:
        """Settings of distillation that are given, as `TrainConfig` names them."""
        names = ("distillation_weight", "distillation_temperature")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def learned_scales(self) -> tuple[str, ...]:
        """Patterns of the scales to train, before some are frozen."""
        return ("*",) if self.learn_scales else self.learn


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    use_cpu_cores()
    source = open_run(options.run_dir)
    _check_nothing_is_lost(options, source)
    dataset = load_dataset(options.data or source.data, source.image_shape, task=source.task)
    check_same_task(source.model, dataset)
    source.check_classes(dataset)
    split = options.split or dataset.usual_split(source.split)
    measured = dataset.split(split)  # it is there, before any work
    teacher = _teacher(options, source, dataset)
    task = task_for(dataset, source.config, source.network())
    graph, weights = _traced(options, source, dataset, task, console)
    graph = options.precision.apply(graph)
    bits = parse_weight_bits(options.weight_bits)
    weights, qparams = quantize_on(
        graph,
        weights,
        dataset.split("train"),
        options.post_training,
        method=options.calibration,
        count=options.calibration_images,
        weight_bits=bits or 8,
        kernels=options.kernels,
        on_left_out=lambda line: console.print(line, highlight=False, soft_wrap=True),
    )
    if options.learned_scales:  # patterns are wrong before hours of work, not after
        initial_log_scales(graph, qparams, options.learned_scales, options.freeze_scales)
    view = view_of(source.task)
    quantizer = Quantizer(
        graph,
        kernels=options.kernels,
        task=task,
        network=view.quantized_network(graph, options.kernels, source.network()),
    )
    metric = view.metric
    config = on_this_machine(source.config)
    metrics = quantizer.evaluate(weights, qparams, measured, config)
    value = metrics[task.best_metric]
    console.print(f"{metric} after calibration {value:.4f}", highlight=False)
    if options.method == "qat":
        weights, qparams, metrics = _train(
            options, source, quantizer, weights, qparams, dataset, split, teacher, console
        )
    save_quantized(
        source.quantized_path,
        weights,
        qparams,
        {"method": options.method, task.best_metric: f"{metrics[task.best_metric]:.4f}"}
        | ({"weight_bits": " ".join(f"{k}={v}" for k, v in bits.items())} if bits else {})
        | ({} if options.reestimate_bn is None else {"reestimate_bn": str(options.reestimate_bn)})
        | options.post_training.metadata()
        | options.precision.metadata(),
    )
    console.print(
        f"{metric} of the {_named(options.precision)} graph on {split} {metrics[task.best_metric]:.4f}\n"
        f"wrote {source.quantized_path}; next: attokit export {source.path}",
        highlight=False,
        soft_wrap=True,
    )


def _teacher(options: Options, source: Run, dataset: Dataset) -> Teacher | None:
    """Returns the network to learn from as well."""
    if options.distill:
        return dataclasses.replace(open_teacher(str(source.path), dataset), name=_OWN_TEACHER)
    return None if options.teacher is None else open_teacher(options.teacher, dataset)


def _traced(
    options: Options, source: Run, dataset: Dataset, task: Task, console: Console
) -> tuple[Graph, dict[str, Any]]:
    """Returns the graph of the float model and its weights, with statistics as they are or measured again."""
    if options.reestimate_bn is None:
        return source.trace()
    config = on_this_machine(source.config)
    params, model_state = split_variables(source.variables())
    console.print(f"measuring batch statistics over {options.reestimate_bn} batches")
    model_state = reestimate_batch_stats(
        task.forward(source.network()),
        params,
        model_state,
        dataset.split("train"),
        task,
        batches=options.reestimate_bn,
        batch_size=config.batch_size,
        seed=config.seed,
        mesh=named_mesh(config.mesh),
    )
    return source.trace({"params": params, **model_state})


def _switches(options: Options) -> dict[str, Any]:
    """Returns what may be switched on before training, None where it is off."""
    return {
        "reestimate_bn": options.reestimate_bn,
        "post_training": options.post_training.settings() or None,
        "weight_bits": list(options.weight_bits) or None,
        **{name: list(v) or None for name, v in dataclasses.asdict(options.precision).items()},
    }


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
    split: str,
    teacher: Teacher | None,
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
        steadying=options.steadying,
        sparse=sparse_patterns(source.config, weights),
        teacher=teacher,
        eval_split=split,
        resume=options.resume,
        extra={
            "calibration": options.calibration,
            "calibration_images": options.calibration_images,
            "switches": _switches(options),
        },
        console=console,
    )
    if result.frozen is not None:
        console.print(f"{result.frozen:.2%} of the values of kernels are frozen", highlight=False)
    return result.weights, result.qparams, result.fit.metrics


def _config(options: Options, config: TrainConfig) -> TrainConfig:
    names = ("epochs", "steps", "learning_rate")
    values = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in values.items() if value is not None}
    return qat_config(config, **given | options.distillation)
