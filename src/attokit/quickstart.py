"""The whole way once: train, calibrate, train in integers, export, prove, report."""

import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from attokit import export, figures
from attokit.arena import arena_bytes, is_installed
from attokit.classification import evaluate
from attokit.post_training import quantize_on
from attokit.predictor import Predictor
from attokit.quant import Graph, QParams
from attokit.quantization import Quantizer, qat_config, sparse_patterns
from attokit.report import report_page
from attokit.runs import Run, save_quantized
from attokit.tflite_predictor import file_predictor, latency_ms
from attokit.train import Dataset, Recipe, read_metrics, task_for
from attokit.training import train_float

_VERIFIED_IMAGES = 8
_SHOWN_IMAGES = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """How long the parts after the float training last.

    Attributes:
      qat_epochs: Passes over the data in integer arithmetic.
      calibration_images: How many.
      latency_runs: Of which the median counts.
    """

    qat_epochs: float = 1.5
    calibration_images: int = 512
    latency_runs: int = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What the run found out; accuracies are shares of the test images.

    Attributes:
      float_accuracy: Of the float network.
      ptq_accuracy: Of the integer graph after calibration alone.
      qat_accuracy: Of the integer graph after QAT.
      file_accuracy: Of the .tflite file in LiteRT.
      verified: Whether every tensor of the file equals the graph's in the reference kernels.
      file_bytes: Size of the file.
      parameters: Weights and biases in the file.
      macs: Multiply-accumulates per image.
      peak_ram_bytes: Of activations, at most.
      arena_bytes: What TFLite Micro allocates, or None where it is not installed or
        does not take the file.
      latency_ms: Median time of one image on one thread of this machine.
      seconds: The whole run.
    """

    float_accuracy: float
    ptq_accuracy: float
    qat_accuracy: float
    file_accuracy: float
    verified: bool
    file_bytes: int
    parameters: int
    macs: int
    peak_ram_bytes: int
    arena_bytes: int | None
    latency_ms: float
    seconds: float

    def rows(self) -> list[tuple[str, str]]:
        """Returns the table that is printed."""
        missing = (
            "it does not take the file"
            if is_installed()
            else "not installed (attokit[micro], on Linux on x86-64)"
        )
        arena = missing if self.arena_bytes is None else f"{self.arena_bytes:,} bytes"
        return [
            ("float accuracy", f"{100 * self.float_accuracy:.2f} %"),
            ("INT8 after calibration (PTQ)", f"{100 * self.ptq_accuracy:.2f} %"),
            ("INT8 after QAT", f"{100 * self.qat_accuracy:.2f} %"),
            ("the file in LiteRT", f"{100 * self.file_accuracy:.2f} %"),
            ("every tensor equals LiteRT's", "yes" if self.verified else "NO"),
            ("file size", f"{self.file_bytes:,} bytes"),
            ("bytes per parameter", f"{self.file_bytes / self.parameters:.3f}"),
            ("parameters", f"{self.parameters:,}"),
            ("multiply-accumulates", f"{self.macs:,}"),
            ("peak RAM of activations", f"{self.peak_ram_bytes:,} bytes"),
            ("TFLite Micro's arena", arena),
            ("latency here, one thread", f"{self.latency_ms:.2f} ms"),
            ("duration of this run", f"{self.seconds:.0f} s"),
        ]


class _Clock:
    """Prints the phases with the time since the start."""

    def __init__(self, console: Console):
        self._console, self._start = console, time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    @contextlib.contextmanager
    def phase(self, title: str) -> Iterator[None]:
        start = self.seconds
        self._console.print(title, style="bold")
        yield
        self._console.print(
            f"  {self.seconds - start:.1f} s, {self.seconds:.1f} s since the start", style="dim"
        )


def quickstart(
    output: pathlib.Path,
    recipe: Recipe,
    *,
    config: QuickstartConfig | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Summary:
    """Does everything, writes it all into a run folder and returns the figures.

    Args:
      output: The run folder.
      recipe: The model, its data and how to train it.
      config: How long the other parts last.
      resume: Go on with a run that was stopped.
      console: Where to print.

    Raises:
      ValueError: if the folder holds another run or cannot be written, or the loss is not finite.
    """
    config, console = config or QuickstartConfig(), console or Console(markup=False, emoji=False)
    clock = _Clock(console)
    dataset = recipe.load(None)
    test = dataset.split("test")
    task = task_for(dataset, recipe.config)
    with clock.phase(f"Training {recipe.model} on {len(dataset.split('train')):,} images"):
        run, trained = train_float(
            recipe.model, recipe.overrides, dataset.name, dataset, recipe.config, output,
            task=task, resume=resume, console=console,
        )  # fmt: skip
    with clock.phase("Tracing, calibrating, evaluating in integers"):
        graph, float_weights = run.trace()
        float_weights, calibrated = quantize_on(
            graph, float_weights, dataset.split("train"), method="minmax",
            count=config.calibration_images,
        )  # fmt: skip
        quantizer = Quantizer(graph, task=task)
        ptq = quantizer.evaluate(float_weights, calibrated, test, recipe.config)
        console.print(f"accuracy after calibration alone {ptq['accuracy']:.4f}", highlight=False)
    with clock.phase("QAT: training in the integers of the file"):
        qat = quantizer.train(
            float_weights,
            calibrated,
            dataset,
            qat_config(recipe.config, epochs=config.qat_epochs),
            run.path / "qat",
            sparse=sparse_patterns(recipe.config, float_weights),
            resume=resume,
            extra={"calibration": "minmax", "calibration_images": config.calibration_images},
            console=console,
        )
        save_quantized(run.quantized_path, qat.weights, qat.qparams, {"method": "qat"})
    with clock.phase("Exporting, verifying every tensor in LiteRT's reference kernels"):
        file = export.to_tflite(graph, qat.weights, qat.qparams)
        export.write(run.tflite_path, file)
        images = test.read(np.arange(min(_VERIFIED_IMAGES, len(test))))["images"]
        inputs = jnp.asarray(images, jnp.float32) / jnp.float32(255)
        proof = export.verify(file, graph, qat.weights, qat.qparams, inputs)
        console.print(proof.summary, highlight=False)
    with clock.phase("Running the file itself over the test images"):
        classifier = file_predictor(run.tflite_path)
        measured = evaluate(classifier, dataset, test)
        latency = latency_ms(file, runs=config.latency_runs)
    inspection = export.inspect(file)
    summary = Summary(
        float_accuracy=float(trained.metrics["accuracy"]),
        ptq_accuracy=float(ptq["accuracy"]),
        qat_accuracy=float(qat.fit.metrics["accuracy"]),
        file_accuracy=float(measured["accuracy"]),
        verified=proof.exact,
        file_bytes=len(file),
        parameters=inspection.parameters,
        macs=inspection.macs,
        peak_ram_bytes=inspection.peak_ram,
        arena_bytes=arena_bytes(run.tflite_path),
        latency_ms=latency,
        seconds=clock.seconds,
    )
    _write_report(
        run,
        summary,
        dataset,
        classifier,
        np.asarray(measured["confusion"]),
        proof,
        errors_lsb(proof, graph, qat.qparams),
    )
    console.print(_table(run, summary))
    return summary


def _table(run: Run, summary: Summary) -> Table:
    table = Table(title=f"{run.model} on {run.data}", show_header=False)
    for row in summary.rows():
        table.add_row(*row)
    return table


def _write_report(
    run: Run,
    summary: Summary,
    dataset: Dataset,
    classifier: Predictor,
    confusion: np.ndarray,
    proof: export.Report,
    errors: dict[str, float],
) -> None:
    """Writes `report.html` and its figures as `summary.json`."""
    test = dataset.split("test")
    shown = np.random.default_rng(0).permutation(len(test))[:_SHOWN_IMAGES]
    batch = test.read(shown)
    values = classifier.outputs(batch["images"])
    pictures = {
        "Training": (
            figures.training_curves(
                {
                    "float": list(read_metrics(run.path / "metrics.jsonl")),
                    "QAT": list(read_metrics(run.path / "qat" / "metrics.jsonl")),
                }
            ),
            "First the float network, then the same loop on the integer graph.",
        ),
        "Confusion matrix": (
            figures.confusion_matrix(confusion, run.class_names),
            "Every test image, classified by the .tflite file in LiteRT.",
        ),
        "Sample predictions": (
            figures.sample_predictions(batch["images"], batch["labels"], values, run.class_names),
            "By the .tflite file; red are errors, with the true class in brackets.",
        ),
        "Error of quantization by layer": (
            figures.layer_errors(list(errors), list(errors.values())),
            "Mean distance of each tensor to the float graph with the same weights, in units of its "
            "last bit.",
        ),
    }
    texts = {
        "Tensor by tensor against LiteRT": str(proof),
        "The file": str(export.inspect(run.tflite_path)),
    }
    page = report_page(f"{run.model} on {run.data}", summary.rows(), pictures, texts)
    export.write(run.path / "report.html", page.encode())
    numbers = json.dumps(dataclasses.asdict(summary), indent=2) + "\n"
    export.write(run.path / "summary.json", numbers.encode())


def errors_lsb(proof: export.Report, graph: Graph, qparams: QParams) -> dict[str, float]:
    """Returns the mean error of each tensor of a proof in units of the tensor's integer."""
    errors = {}
    for row in proof.rows:
        if row.tensor not in graph.tensors:
            continue  # what leaves the file in another type
        name = graph.tensors[row.tensor].range_name
        fixed = graph.fixed_ranges.get(name)
        scale = fixed[0] if fixed is not None else float(qparams[name].scale)
        errors[row.tensor] = row.mean_error / scale
    return errors
