"""From a graph to a .tflite file, and what the file does in real runtimes."""

if __name__ != "attokit.export":
    raise ImportError(
        f"this package was imported as {__name__!r}: write `from attokit import export` "
        "(the repository root on sys.path makes a second copy of every module; remove it)"
    )

from attokit.export.anatomy import Inspection
from attokit.export.benchmark import Benchmark, benchmark
from attokit.export.cmsis_nn import CortexMReport, cortex_m
from attokit.export.cmsis_nn_convolutions import Core
from attokit.export.comparison import Comparison, compare
from attokit.export.detection import DetectionPostProcess
from attokit.export.ethos_u import Accelerator, EthosUReport, ethos_u
from attokit.export.image_tasks import ImageTask
from attokit.export.inspection import inspect
from attokit.export.micro_sources import micro_sources, strips_header
from attokit.export.placement import EdgeTpuReport, edge_tpu
from attokit.export.run import Runner, run
from attokit.export.score_calibration import ScoreCalibration, Sigmoid
from attokit.export.streamed import Streamed, run_streamed, to_streamed_tflite
from attokit.export.tflite import INTERFACE_TYPES, InterfaceType, to_tflite, write
from attokit.export.two_stage import SplitFiles, TwoStageRunner, to_split_tflite
from attokit.export.verify import Report, verify

__all__ = [
    "INTERFACE_TYPES",
    "Accelerator",
    "Benchmark",
    "Comparison",
    "Core",
    "CortexMReport",
    "DetectionPostProcess",
    "EdgeTpuReport",
    "EthosUReport",
    "ImageTask",
    "Inspection",
    "InterfaceType",
    "Report",
    "Runner",
    "ScoreCalibration",
    "Sigmoid",
    "SplitFiles",
    "Streamed",
    "TwoStageRunner",
    "benchmark",
    "compare",
    "cortex_m",
    "edge_tpu",
    "ethos_u",
    "inspect",
    "micro_sources",
    "run",
    "run_streamed",
    "strips_header",
    "to_split_tflite",
    "to_streamed_tflite",
    "to_tflite",
    "verify",
    "write",
]
