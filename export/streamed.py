"""A network as two files: one for strips of the image, called again and again, and one for the rest.

    for first_row, map_row in calls:                       # the host's loop
        map[map_row : map_row + rows] = strip(image[first_row : first_row + strip_rows])
    outputs = rest(map)

Rows of the image before the first and after the last hold `padding`. Neither the image nor the first maps
need to be whole in the device's memory, and the integers are those of the one file.

Both files say where their activations lie, and so that two interpreters can share one arena: the map, which
is the second's input, lies behind all that the first needs, and is filled where it is to be read.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int8

from attokit.export.detection import DetectionPostProcess
from attokit.export.inspection import inspect
from attokit.export.memory_plan import peak_of, stored_plan
from attokit.export.run import Runner, to_file
from attokit.export.tflite import InterfaceType, to_tflite
from attokit.quant.fit_memory import fit_memory
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops.kind import Kernels
from attokit.quant.params import QParams
from attokit.quant.row_windows import ROW
from attokit.quant.strips import Strips, cut_strips, own_weights, padding_values


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Streamed:
    """Both files, and the plan of the host's loop.

    Attributes:
      strip: File that makes some rows of the map.
      rest: File that makes the outputs of the map, which it takes in the type that `strip` gives.
      plan: Which rows, and both graphs.
      padding: For each channel of the image, what rows outside of it hold, as `strip` takes it.
      activations: Bytes of both files' activations in an arena that they share.
    """

    strip: bytes
    rest: bytes
    plan: Strips
    padding: np.ndarray
    activations: int

    @property
    def schedule(self) -> str:
        """The plan as JSON, for a host in any language."""
        return json.dumps(
            {
                "map_shape": [int(n) for n in self.plan.map_shape],
                "map_type": self.plan.rest.tensors[self.plan.map_name].integer_type,
                "rows": self.plan.rows,
                "strip_rows": self.plan.strip_rows,
                "calls": [list(call) for call in self.plan.calls],
                "activations": self.activations,
                "padding": self.padding.tolist(),
                "padding_type": str(self.padding.dtype),
            }
        )


def to_streamed_tflite(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    *,
    at: str | None = None,
    rows: int = 1,
    input_type: InterfaceType | None = None,
    output_type: InterfaceType | None = None,
    metadata: Mapping[str, str] | None = None,
    names: bool = True,
    bare: bool = False,
    detection: DetectionPostProcess | None = None,
) -> Streamed:
    """Returns two INT8 files for TFLite Micro that do together what one file does, bit for bit.

    Args:
      graph: With one input, a map [b, h, w, c]; as traced.
      weights: Its weights.
      qparams: Its scales and zero points.
      at: Name of the map between the files; None: the smallest that there can be.
      rows: Of that map, that one call makes: few for the least memory, more for less work done twice.
      input_type: What strips are; see `to_tflite`.
      output_type: What leaves the second file.
      metadata: Texts that the second file carries; see `to_tflite`.
      names: Whether tensors keep their names.
      bare: The smallest files; see `to_tflite`.
      detection: Post-processing that follows a detector in the second file.

    Raises:
      ValueError: if the image is not int8 in the graph; see `quant.cut_strips` and `to_tflite`.
    """
    if input_type not in (None, "int8", "uint8"):
        raise ValueError(
            f"input_type {input_type!r}: strips are bytes of an image; choose int8 or uint8"
        )
    _check_bytes(graph)
    plan = cut_strips(graph, at, rows)
    plan = dataclasses.replace(plan, rest=fit_memory(plan.rest))
    strip_weights, rest_weights = (own_weights(g, weights) for g in (plan.strip, plan.rest))
    padding = padding_values(plan, weights, qparams)
    strip = to_tflite(
        plan.strip,
        strip_weights,
        qparams,
        input_type=input_type,
        target="micro",
        names=names,
        bare=bare,
        placed=0,
    )
    used = _activations(strip)
    rest = to_tflite(
        plan.rest,
        rest_weights,
        qparams,
        output_type=output_type,
        metadata=metadata,
        target="micro",
        names=names,
        bare=bare,
        placed=used,
        detection=detection,
    )
    return Streamed(
        strip=strip,
        rest=rest,
        plan=plan,
        padding=_as_taken(padding, input_type),
        activations=max(used, _activations(rest)),
    )


def _activations(file: bytes) -> int:
    """Returns the bytes that a file's activations take where it says that they lie."""
    return peak_of(stored_plan(inspect(file)))


def _check_bytes(graph: Graph) -> None:
    """Raises ValueError if the image does not come in bytes."""
    for name in graph.inputs:
        if (kind := graph.tensors[name].integer_type) != "int8":
            raise ValueError(
                f"{name!r} is {kind} in the graph, but strips are bytes of an image: keep what reads it at 8 "
                "bits (quant.widen), and its own name out of quant.keep_float"
            )


def _as_taken(padding: Int8[np.ndarray, " c"], input_type: InterfaceType | None) -> np.ndarray:
    """Returns int8 bytes as another type of input has them."""
    if input_type == "uint8":
        return (padding.astype(np.int16) + 128).astype(np.uint8)
    return padding


def run_streamed(
    files: Streamed, images: Any, *, kernels: Kernels = "micro", dequantize: bool = False
) -> dict[str, np.ndarray]:
    """Returns the outputs of both files by name, calling the first as a device would.

    Args:
      files: See `to_streamed_tflite`.
      images: [b, h, w, c], whole; reals, or integers as the first file takes them.
      kernels: See `run`.
      dequantize: Returns reals rather than the integers of the file.
    """
    plan = files.plan
    strip, rest = Runner(files.strip, kernels=kernels), Runner(files.rest, kernels=kernels)
    ((port, tensor),) = strip.inputs.items()
    own = to_file(port, tensor, np.asarray(images))
    shape = (len(own), *plan.map_shape[1:])
    (entry,) = rest.inputs.values()
    made = np.zeros(shape, entry.dtype)
    for first, row in plan.calls:
        part = np.broadcast_to(files.padding, (len(own), plan.strip_rows, *own.shape[2:])).copy()
        inside = own[:, max(first, 0) : first + plan.strip_rows]
        skipped = max(-first, 0)
        part[:, skipped : skipped + inside.shape[ROW]] = inside
        (result,) = strip(part).values()
        made[:, row : row + plan.rows] = result
    return rest(made, dequantize=dequantize)
