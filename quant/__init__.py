"""From a JAX function to the graph that ships, in float and in the device's integers.

`trace` makes a `Graph`, `calibrate` chooses scales and zero points, `fake_quant` computes in the
integers of the file and trains through them.  Layout is NHWC and HWIO throughout.
"""

if __name__ != "attokit.quant":
    raise ImportError(
        f"this package was imported as {__name__!r}: write `from attokit import quant` "
        "(the repository root on sys.path makes a second copy of every module; remove it)"
    )

from attokit.quant.bias_correction import correct_bias, correctable
from attokit.quant.calibrate import calibrate
from attokit.quant.coverage import Coverage
from attokit.quant.equalization import equalizable, equalize
from attokit.quant.fake_quant import QuantizedGraph, fake_quant
from attokit.quant.fit_memory import fit_memory
from attokit.quant.float_islands import keep_float
from attokit.quant.graph import Graph, Note, Tensor
from attokit.quant.integer import IntegerGraph, integer
from attokit.quant.lowering.values import UnsupportedOpError
from attokit.quant.mixed_precision import MixedPrecision, choose_precision
from attokit.quant.noise import Noise, signal_to_noise
from attokit.quant.open_hard_swish import open_hard_swish
from attokit.quant.ops.kind import KERNELS, Kernels, Op
from attokit.quant.params import QParams, QuantParams
from attokit.quant.report import Report, report
from attokit.quant.selection import trainable
from attokit.quant.sensitivity import Sensitivity, sensitivity
from attokit.quant.split_rows import split_rows
from attokit.quant.strips import Strips, cut_strips
from attokit.quant.trace import trace
from attokit.quant.two_stage import TwoStage, cut_two_stage
from attokit.quant.wide import widen

__all__ = [
    "KERNELS",
    "Coverage",
    "Graph",
    "IntegerGraph",
    "Kernels",
    "MixedPrecision",
    "Noise",
    "Note",
    "Op",
    "QParams",
    "QuantParams",
    "QuantizedGraph",
    "Report",
    "Sensitivity",
    "Strips",
    "Tensor",
    "TwoStage",
    "UnsupportedOpError",
    "calibrate",
    "choose_precision",
    "correct_bias",
    "correctable",
    "cut_strips",
    "cut_two_stage",
    "equalizable",
    "equalize",
    "fake_quant",
    "fit_memory",
    "integer",
    "keep_float",
    "open_hard_swish",
    "report",
    "sensitivity",
    "signal_to_noise",
    "split_rows",
    "trace",
    "trainable",
    "widen",
]
