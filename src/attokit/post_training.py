"""Post-training quantization as the command line takes it: what changes weights before and after calibration."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from attokit.quant import Coverage, Graph, QuantParams, calibrate, correct_bias, equalize
from attokit.quant.bias_correction import correctable
from attokit.quant.calibrate import Method
from attokit.quant.equalization import equalizable
from attokit.quant.graph import Weights
from attokit.quant.kernel_bits import Bits, bits_of_kernels
from attokit.quant.kernel_scales import KernelMethod
from attokit.quant.ops.kind import Kernels
from attokit.quantization import calibration_batches
from attokit.train import Source

_MOST_CAUSES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class PostTraining:
    """What closes the gap to float without training.

    Attributes:
      kernel_calibration: How scales of kernels are chosen: minmax covers every value, mse rounds least, lsq and
        lsq+ are starting points of learned scales.
      equalize: Gives the channels of a tensor like ranges before calibration (cross-layer equalization).
      correct_bias: Takes the mean error of every op back in its bias after calibration.
    """

    kernel_calibration: KernelMethod = "minmax"
    equalize: bool = False
    correct_bias: bool = False

    def settings(self) -> dict[str, Any]:
        """Returns what is not as it is by default, for a JSON file."""
        default = PostTraining()
        values = dataclasses.asdict(self)
        return {name: v for name, v in values.items() if v != getattr(default, name)}

    def metadata(self) -> dict[str, str]:
        """Returns the same for the metadata of a file of weights."""
        return {name: str(value) for name, value in self.settings().items()}

    def left_out(self, graph: Graph) -> dict[str, Mapping[str, str]]:
        """Returns the ops that equalization and correction leave as they are, with the reasons.

        Raises:
          ValueError: if one of them would change nothing of this graph.
        """
        found: dict[str, Coverage] = {}
        if self.equalize:
            found["not equalized"] = equalizable(graph)
            cure = "leave equalize out, or train a network with relu between its layers"
            _check_reached("equalize", found["not equalized"], cure)
        if self.correct_bias:
            found["bias not corrected"] = correctable(graph)
            cure = "leave correct_bias out, or give its layers biases"
            _check_reached("correct_bias", found["bias not corrected"], cure)
        return {name: coverage.left_out for name, coverage in found.items()}


def _check_reached(name: str, coverage: Coverage, cure: str) -> None:
    """Raises ValueError, with some of the reasons, if a pass reaches no op."""
    if coverage.reached:
        return
    examples = {reason: op for op, reason in coverage.left_out.items()}
    causes = "; ".join([f"{op}: {reason}" for reason, op in examples.items()][:_MOST_CAUSES])
    raise ValueError(
        f"{name} changes nothing of this graph ({causes or 'it has no layer with a kernel'}): {cure}"
    )


_CALIBRATION_ALONE = PostTraining()


def quantize_on(
    graph: Graph,
    weights: Weights,
    source: Source,
    post_training: PostTraining = _CALIBRATION_ALONE,
    *,
    method: Method = "minmax",
    count: int = 512,
    seed: int = 0,
    weight_bits: Bits | Mapping[str, Bits] = 8,
    kernels: Kernels = "reference",
    on_left_out: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Any], dict[str, QuantParams]]:
    """Returns weights and qparams from images of a split: equalized, calibrated, corrected.

    Everything that is calibrated on a data set is calibrated here. The same arguments give the same numbers again.

    Args:
      graph: As traced, in its types.
      weights: Of the float graph.
      source: Whose images are shown to all three.
      post_training: Which of them, and scales of kernels.
      method: Of the ranges of activations.
      count: How many images are shown.
      seed: Of their choice.
      weight_bits: As for `quant.calibrate`.
      kernels: Whose rounding to correct for.
      on_left_out: Takes one line for each op that equalization or correction leaves as it is, before any
        image is looked at.

    Raises:
      ValueError: as `quant.calibrate` does; before it looks at an image, of `weight_bits` and of a pass that
        would change nothing.
    """
    bits_of_kernels(graph, weight_bits)
    for what, reasons in post_training.left_out(graph).items():
        for name, reason in reasons.items():
            on_left_out(f"{what}: {name}: {reason}")
    batches = calibration_batches(graph, source, count=count, seed=seed)
    weights = dict(weights)
    if post_training.equalize:
        weights = equalize(graph, weights, batches)
    qparams = calibrate(
        graph,
        weights,
        batches,
        method=method,
        kernel_method=post_training.kernel_calibration,
        weight_bits=weight_bits,
    )
    if post_training.correct_bias:
        weights = correct_bias(graph, weights, qparams, batches, kernels=kernels)
    return weights, qparams
