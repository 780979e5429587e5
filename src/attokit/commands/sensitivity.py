"""`attokit sensitivity`."""

import dataclasses
import functools
import pathlib
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from attokit.datasets import load_dataset
from attokit.noise_report import decibel_text
from attokit.post_training import quantize_on
from attokit.precision import Precision, exactly
from attokit.quant import (
    Kernels,
    MixedPrecision,
    Sensitivity,
    choose_precision,
    sensitivity,
    signal_to_noise,
)
from attokit.quant.calibrate import Method
from attokit.quant.sensitivity import RaisedType, Score
from attokit.quantization import images_at_once
from attokit.runs import Run, open_run
from attokit.tasks import view_of
from attokit.train import Dataset, MetricTotals, Task, task_for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Measures what 8 bits of each op alone cost the outputs, and chooses which ops get more.

    Prints the options of attokit quantize that give them more. Nothing is written.

    Attributes:
      run_dir: What attokit train wrote.
      to: What ops are raised to: int16 (activations; kernels stay int8) or float32.
      target_sqnr: Signal to quantization noise of the outputs, in dB, that is enough.
      target_gap: How much less than the float graph's the task's metric may be over the images, such as 0.01.
      max_ops: How many ops may be raised.
      max_macs: Which share of the multiply-adds they may make, such as 0.2.
      images: How many training images it is measured on.
      calibration: How ranges are chosen from what is seen.
      calibration_images: How many training images are shown for that.
      float32: Patterns of names of ops that stay float32 in any case, as for attokit quantize.
      open_hard_swish: Likewise of hard swishes that become simpler ops.
      kernels: Whose rounding: reference, micro (TFLite Micro) or xnnpack.
      data: As for attokit train; the data of the run if left out.
    """

    run_dir: tyro.conf.Positional[pathlib.Path]
    to: RaisedType = "int16"
    target_sqnr: float | None = None
    target_gap: float | None = None
    max_ops: int | None = None
    max_macs: float = 1.0
    images: int = 64
    calibration: Method = "minmax"
    calibration_images: int = 512
    float32: tuple[str, ...] = ()
    open_hard_swish: tuple[str, ...] = ()
    kernels: Kernels = "reference"
    data: str | None = None

    def __post_init__(self) -> None:
        """Refuses what measures nothing."""
        for name in ("images", "calibration_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.target_gap is not None and self.target_gap < 0:
            raise ValueError(f"target_gap is {self.target_gap}: give 0 or more")

    @property
    def chooses(self) -> bool:
        """Whether something says what is enough."""
        targets = (self.target_sqnr, self.target_gap, self.max_ops)
        return any(target is not None for target in targets) or self.max_macs < 1


def run(options: Options, console: Console) -> None:
    """Runs the command."""
    source = open_run(options.run_dir)
    graph, weights = source.trace()
    given = Precision(float32=options.float32, open_hard_swish=options.open_hard_swish)
    graph = given.apply(graph)
    dataset = load_dataset(options.data or source.data, source.image_shape, task=source.task)
    source.check_classes(dataset)
    quantized = functools.partial(
        quantize_on,
        source=dataset.split("train"),
        method=options.calibration,
        count=options.calibration_images,
    )
    weights, qparams = quantized(graph, weights)
    batches = _batches(dataset, options.images, images_at_once(graph))
    inputs = [batch["images"].astype(np.float32) / np.float32(255) for batch in batches]
    task = task_for(dataset, source.config, source.network())
    with console.status("trying every op"):
        found = sensitivity(
            graph,
            weights,
            qparams,
            inputs,
            raise_to=options.to,
            metric=_metric(task, batches) if options.target_gap is not None else None,
            kernels=options.kernels,
        )
    name = view_of(source.task).metric
    _show_layers(found, name, console)
    if not options.chooses:
        console.print(
            "next: say what is enough, by --target-sqnr, --target-gap, --max-ops or --max-macs",
            highlight=False,
        )
        return
    chosen = _choose(options, found, console)
    _show_steps(found, chosen, name, console)
    if not chosen.raised:
        console.print("no op is raised", highlight=False)
        return
    _, own = quantized(chosen.graph, weights)  # as attokit quantize will
    outputs = signal_to_noise(chosen.graph, weights, own, inputs, kernels=options.kernels).outputs
    measured = ", ".join(f"{label} {decibel_text(value)} dB" for label, value in outputs.items())
    console.print(f"measured in its own integers: {measured}", highlight=False, soft_wrap=True)
    _tell(options, given, chosen, source, console)


def _batches(dataset: Dataset, count: int, size: int) -> list[dict[str, np.ndarray]]:
    """Returns batches of training images drawn at random, others than calibration draws first."""
    source = dataset.split("train")
    places = np.random.default_rng(1).permutation(len(source))[:count]
    parts = [places[i : i + size] for i in range(0, len(places), size)]
    ones = (np.ones(len(part), np.float32) for part in parts)
    return [{**source.read(p), "mask": mask} for p, mask in zip(parts, ones, strict=True)]


def _metric(
    task: Task, batches: Sequence[dict[str, np.ndarray]]
) -> Callable[[Sequence[Any]], float]:
    """Returns the task's best metric of the outputs of all batches."""
    compute = jax.jit(task.eval_metrics)
    for batch in batches:
        task.check(batch)

    def metric(outputs: Sequence[Any]) -> float:
        totals = MetricTotals()
        for output, batch in zip(outputs, batches, strict=True):
            totals.add(compute(output, batch))
        return float(totals.compute()[task.best_metric])

    return metric


def _choose(options: Options, found: Sensitivity, console: Console) -> MixedPrecision:
    wanted = None
    if options.target_gap is not None:
        assert found.real.metric is not None
        wanted = found.real.metric - options.target_gap
    with console.status("choosing"):
        return choose_precision(
            found,
            target_sqnr=options.target_sqnr,
            target_metric=wanted,
            max_ops=options.max_ops,
            max_macs_share=options.max_macs,
        )


def _show_layers(found: Sensitivity, metric: str, console: Console) -> None:
    """Prints what each op costs alone and what raising it and its neighbours would give."""
    table = Table(
        "op", "kind", "MACs", "it alone is int8", f"it alone is {found.raise_to}", "with",
        title=f"signal to noise of the outputs [dB]; all quantized: {_text(found.quantized, metric)}",
    )  # fmt: skip
    for column in table.columns[2:5]:
        column.justify = "right"
    for layer in found.layers:
        raised = "-" if layer.raised is None else decibel_text(layer.raised.sqnr)
        others = ", ".join(name for name in layer.around if name != layer.name)
        table.add_row(
            layer.name,
            layer.kind,
            f"{layer.macs:,}",
            decibel_text(layer.alone.sqnr),
            raised,
            layer.why_not or others,
        )
    console.print(table, highlight=False)


def _show_steps(found: Sensitivity, chosen: MixedPrecision, metric: str, console: Console) -> None:
    """Prints how the choice came to be."""
    table = Table("step", f"{found.raise_to} besides", "ops", "share of MACs", "outputs then")
    table.add_row("0", "", "0", "0.0%", _text(found.quantized, metric))
    for i, step in enumerate(chosen.steps, start=1):
        share = f"{step.macs_share:.1%}"
        table.add_row(
            str(i), ", ".join(step.raised), str(step.ops), share, _text(step.score, metric)
        )
    console.print(table, highlight=False)


def _text(score: Score, metric: str) -> str:
    text = "exact" if score.noise == 0 else f"{score.sqnr:.1f} dB"
    return text if score.metric is None else f"{text}, {metric} {score.metric:.4f}"


def _tell(
    options: Options, given: Precision, chosen: MixedPrecision, source: Run, console: Console
) -> None:
    """Prints whether it is enough, and the command that quantizes so."""
    if not chosen.enough and (options.target_sqnr, options.target_gap) != (None, None):
        console.print(
            "the target is not reached: no other op is worth its bits, or none fits the budget",
            style="yellow",
            highlight=False,
        )
    names = exactly(chosen.raised)
    if options.to == "int16":
        own = dataclasses.replace(given, int16=names, int8=exactly(chosen.kept))
    else:
        own = dataclasses.replace(given, float32=(*given.float32, *names))
    command = quantize_command(options, own, source.path)
    console.print(f"next: {shlex.join(command)}", highlight=False, soft_wrap=True)


def quantize_command(options: Options, precision: Precision, path: pathlib.Path) -> list[str]:
    """Returns the words of the command that quantizes to types, as they were measured here."""
    words = ["attokit", "quantize", str(path), *precision.arguments()]
    for name in ("calibration", "calibration_images", "kernels", "data"):
        value = getattr(options, name)
        if value != getattr(Options, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words
