"""`attokit quickstart`."""

import dataclasses
import pathlib

from rich.console import Console

from attokit.quickstart import QuickstartConfig, quickstart
from attokit.train import find_recipe, use_cpu_cores

_RECIPE = "attonet_d_quickstart"
_WRITTEN = {
    "model.tflite": "the INT8 file",
    "labels.txt": "its classes",
    "report.html": "curves, confusion matrix, samples, error by layer",
    "summary.json": "the figures above",
    "weights.safetensors": "the float weights",
    "quantized.safetensors": "the weights and scales of QAT",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Trains AttoNet D on the embedded Fashion-MNIST images, quantizes, exports and proves it.

    Needs neither data nor network; takes some minutes.

    Attributes:
      output: The run folder to write.
      qat_epochs: Passes over the data in integer arithmetic.
      resume: Go on with a run that was stopped.
    """

    output: pathlib.Path = pathlib.Path("attokit_quickstart")
    qat_epochs: float = QuickstartConfig.qat_epochs
    resume: bool = False


def run(options: Options, console: Console) -> int:
    """Runs the command; 1 if the file's tensors are not the graph's."""
    use_cpu_cores()
    config = QuickstartConfig(qat_epochs=options.qat_epochs)
    summary = quickstart(
        options.output, find_recipe(_RECIPE), config=config,
        resume=options.resume, console=console,
    )  # fmt: skip
    console.print("\nwrote", highlight=False)
    for name, what in _WRITTEN.items():
        console.print(f"  {options.output / name}  {what}", highlight=False, soft_wrap=True)
    return 0 if summary.verified else 1
