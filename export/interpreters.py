"""The runtimes that execute a file: LiteRT and TFLite Micro, behind one small interface."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from attokit.export.anatomy import Inspection
from attokit.export.micro_rules import refused_in_micro
from attokit.quant.ops.kind import KERNELS, Kernels

# Operators with the output's shape in a constant, and what is for one image.
_HOLDS_BATCH = frozenset(
    {"BROADCAST_TO", "TRANSPOSE_CONV", "NON_MAX_SUPPRESSION_V4", "TFLite_Detection_PostProcess"}
)
_ARENA_SLACK = 1 << 22  # what TFLite Micro keeps besides tensors and per-channel tables


class Session(Protocol):
    """A file loaded in a runtime."""

    def resize(self, batch: int) -> None:
        """Prepares for another batch; raises RuntimeError or ValueError if it cannot."""

    def invoke(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the outputs, in the file's order, for inputs of exactly the file's shapes."""

    def tensor(self, index: int) -> np.ndarray:
        """Returns a tensor of the last run by its position; wants `keep=True`."""


def check_kernels(kernels: str) -> None:
    """Raises ValueError unless this is the name of a kernel set."""
    if kernels not in KERNELS:
        raise ValueError(f"no kernel set {kernels!r}; choose one of {', '.join(KERNELS)}")


def holds_batch(info: Inspection) -> bool:
    """Tells whether a file's own batch is in its operators, so that it takes no other."""
    return any(operator.kind in _HOLDS_BATCH for operator in info.main.operators)


def session(
    data: bytes,
    info: Inspection,
    kernels: Kernels,
    *,
    keep: bool = False,
    threads: int | None = None,
) -> Session:
    """Returns a file loaded in the runtime of a kernel set.

    Args:
      data: The file.
      info: The file, inspected.
      kernels: "xnnpack" (LiteRT as it is), "reference" (LiteRT's reference kernels) or "micro".
      keep: Keeps every tensor for `tensor`; XNNPACK cannot keep what it computes inside.
      threads: Of LiteRT.
    """
    check_kernels(kernels)
    if kernels == "micro":
        return _Micro(data, info, keep)
    return _LiteRT(data, kernels, keep, threads)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns a tensor of a whole batch, which was run in parts.

    Raises:
      ValueError: if there are several and the tensor has no batch axis.
    """
    if len(parts) > 1 and not parts[0].ndim:
        raise ValueError(
            f"the batch was run in {len(parts)} parts, each of which gives one number without a batch "
            "axis; give a batch as large as the file's"
        )
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


class _LiteRT:
    def __init__(self, data: bytes, kernels: Kernels, keep: bool, threads: int | None):
        resolver = OpResolverType.BUILTIN_REF if kernels == "reference" else OpResolverType.AUTO
        self._interpreter = Interpreter(
            model_content=data,
            num_threads=threads,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=keep,
        )
        self._inputs = self._interpreter.get_input_details()
        details = self._interpreter.get_output_details()
        self._outputs = [d["index"] for d in details]
        self._shapes = [tuple(map(int, d["shape"])) for d in details]
        self._ready = False

    def resize(self, batch: int) -> None:
        own = 0
        for detail in self._inputs:
            shape = tuple(int(n) for n in detail["shape"])
            own = own or next(iter(shape), 0)
            shape = (batch, *shape[1:]) if shape else shape
            self._interpreter.resize_tensor_input(detail["index"], shape)
        self._interpreter.allocate_tensors()
        self._ready = True
        for detail, shape in zip(self._interpreter.get_output_details(), self._shapes, strict=True):
            found = tuple(map(int, detail["shape"]))
            if shape[:1] == (own,) and found != (batch, *shape[1:]):
                raise ValueError(  # a constant inside holds the file's own batch
                    f"a batch of {batch} gives {list(found)} for {list(shape)} of a batch of {own}"
                )

    def invoke(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        if not self._ready:
            self._interpreter.allocate_tensors()
            self._ready = True
        self._interpreter.reset_all_variables()  # the state that an earlier run left
        for detail, value in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def tensor(self, index: int) -> np.ndarray:
        return self._interpreter.get_tensor(index)


class _Micro:
    def __init__(self, data: bytes, info: Inspection, keep: bool):
        runtime = _micro_runtime()
        activations = sum(t.size + 16 for t in info.main.tensors if not t.constant)
        config = runtime.InterpreterConfig
        try:
            self._interpreter = runtime.Interpreter.from_bytes(
                data,
                arena_size=2 * activations + 2 * len(data) + _ARENA_SLACK,
                intrepreter_config=config.kPreserveAllTensors
                if keep
                else config.kAllocationRecording,
            )
        except RuntimeError as err:  # which does not say why
            if refused := refused_in_micro(info.main):
                raise RuntimeError(
                    f"{refused}; or choose kernels 'reference' or 'xnnpack'"
                ) from err
            raise
        self._outputs = len(info.main.outputs)

    def resize(self, batch: int) -> None:
        raise RuntimeError("TFLite Micro has no other batch than the file's")

    def invoke(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        for i, value in enumerate(inputs):
            self._interpreter.set_input(value, i)
        self._interpreter.invoke()
        return [self._interpreter.get_output(i) for i in range(self._outputs)]

    def tensor(self, index: int) -> np.ndarray:
        return self._interpreter.GetTensor(index, 0)["tensor_data"]


def _micro_runtime() -> Any:
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError as err:
        raise ValueError(
            "kernels 'micro' need TFLite Micro's interpreter, which is not installed; "
            "pip install 'attokit[micro]'"
        ) from err
    return runtime
