"""Runs a .tflite file on arrays, in the runtime of a kernel set, for any batch."""

import os
from typing import Any

import numpy as np

from attokit.export import inspection, interpreters
from attokit.export.anatomy import TensorInfo
from attokit.quant.ops.kind import Kernels

_BATCH_MEMORY = 1 << 26  # bytes of activations that one call may take
_LARGEST_BATCH = 256


def run(
    file: str | os.PathLike[str] | bytes,
    *inputs: Any,
    kernels: Kernels = "xnnpack",
    dequantize: bool = False,
) -> dict[str, np.ndarray]:
    """Returns the outputs of a file by their names in its signature.

    To run a file more than once, keep a `Runner`.

    Args:
      file: Path or bytes.
      *inputs: One array per input, with a batch axis of any length; see `Runner.__call__`.
      kernels: "xnnpack" (LiteRT's default), "reference" (LiteRT's reference kernels) or "micro"
        (TFLite Micro).
      dequantize: Returns reals rather than the integers of the file.
    """
    return Runner(file, kernels=kernels)(*inputs, dequantize=dequantize)


class Runner:
    """A file, loaded once and run often.

    Attributes:
      inputs: What the file takes, by name in the signature.
      outputs: What it gives, likewise.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | bytes,
        *,
        kernels: Kernels = "xnnpack",
        threads: int | None = None,
    ):
        """Loads a file.

        Args:
          file: Path or bytes.
          kernels: See `run`.
          threads: That LiteRT may use; None leaves it to LiteRT.

        Raises:
          ValueError: if the file is damaged, the runtime refuses it or is not installed.
        """
        self._data, self._name = inspection.read(file)
        self._info = inspection.inspect(self._data if isinstance(file, bytes) else file)
        self._kernels, self._threads = kernels, threads
        self.inputs, self.outputs = self._info.inputs, self._info.outputs
        self._load()
        lengths = [tensor.shape[0] for tensor in self.inputs.values() if tensor.shape]
        self._batched = len(set(lengths)) == 1  # else the first axes are no batch
        self._own_batch = lengths[0] if lengths else 1
        self._batch = self._own_batch
        self._resizable = (
            kernels != "micro" and self._batched and not interpreters.holds_batch(self._info)
        )
        sample = max(self._info.peak_ram // max(self._own_batch, 1), 1)
        self._limit = min(max(_BATCH_MEMORY // sample, 1), _LARGEST_BATCH)

    def __call__(self, *inputs: Any, dequantize: bool = False) -> dict[str, np.ndarray]:
        """Returns the outputs by name, for a batch of any length.

        Args:
          *inputs: One array per input, [b, ...].  Where the file takes int8 or uint8, floats are
            reals that are quantized here, and integers are taken as they are.
          dequantize: Returns reals rather than the integers of the file.

        Raises:
          ValueError: if number, shape or type of the inputs do not fit, or reals for an integer
            input are not finite.
        """
        arrays = self._prepared(inputs)
        batch = next((len(array) for array in arrays if array.ndim), self._own_batch)
        step, parts = self._step(batch), []
        for start in range(0, batch, step):
            count = min(step, batch - start)
            part = [a[start : start + count] if a.ndim else a for a in arrays]
            parts.append(self._call(part if self._batched else arrays, count))
        return {
            name: self._real(tensor, interpreters.joined(column), dequantize)
            for (name, tensor), column in zip(
                self.outputs.items(), zip(*parts, strict=True), strict=True
            )
        }

    def _load(self) -> None:
        try:
            self._session = interpreters.session(
                self._data, self._info, self._kernels, threads=self._threads
            )
        except RuntimeError as err:
            raise ValueError(f"the runtime refuses {self._name}: {err}") from err

    def _step(self, batch: int) -> int:
        """Returns how many examples go in one call."""
        if self._resizable and batch != self._batch:
            target = min(batch, self._limit)
            try:
                self._session.resize(target)
                self._batch = target
            except (RuntimeError, ValueError):  # a shape in the file depends on its batch
                self._resizable, self._batch = False, self._own_batch
                self._load()
        return self._batch

    def _call(self, arrays: list[np.ndarray], count: int) -> list[np.ndarray]:
        """Runs one batch; a short one is filled up with copies of its last example."""
        if missing := self._batch - count:
            arrays = [
                np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) if a.ndim else a
                for a in arrays
            ]
        try:
            outputs = self._session.invoke(arrays)
        except RuntimeError as err:
            raise ValueError(f"the runtime cannot run {self._name}: {err}") from err
        if missing and not all(output.ndim for output in outputs):
            raise ValueError(
                f"{self._name} gives a number for a whole batch of {self._batch}, and {count} are left; "
                "give a multiple of the batch"
            )
        return [np.array(output[:count] if missing else output) for output in outputs]

    def _prepared(self, inputs: tuple[Any, ...]) -> list[np.ndarray]:
        if len(inputs) != len(self.inputs):
            raise ValueError(
                f"{len(inputs)} inputs given, {self._name} takes {len(self.inputs)}: "
                f"{', '.join(self.inputs)}"
            )
        arrays = []
        for value, (name, tensor) in zip(inputs, self.inputs.items(), strict=True):
            array = np.asarray(value)
            if array.shape[1:] != tensor.shape[1:] or array.ndim != len(tensor.shape):
                raise ValueError(
                    f"input {name!r} has shape {array.shape}, the file takes "
                    f"(batch, {', '.join(map(str, tensor.shape[1:]))}); reshape or resize it"
                )
            arrays.append(np.asarray(to_file(name, tensor, array), order="C"))
        batches = [len(array) for array in arrays if array.ndim]
        if 0 in batches:
            raise ValueError("the batch is empty; give at least one example")
        own = [tensor.shape[0] for tensor in self.inputs.values() if tensor.shape]
        if not self._batched and batches != own:
            raise ValueError(f"inputs have first axes {batches}, the file takes {own}: give those")
        if self._batched and len(set(batches)) > 1:
            raise ValueError(f"inputs have batches {batches}; give them one length")
        return arrays

    def _real(self, tensor: TensorInfo, values: np.ndarray, dequantize: bool) -> np.ndarray:
        return to_real(tensor, values) if dequantize else values


def to_file(name: str, tensor: TensorInfo, array: np.ndarray) -> np.ndarray:
    """Returns an array in the type of a tensor of the file.

    Reals are quantized as `quant.fake_quant` quantizes inputs: ties away from zero.

    Raises:
      ValueError: if integers are of another type than the file's, or reals to quantize are not
        finite.
    """
    dtype = np.dtype(tensor.dtype)
    if array.dtype == dtype:
        return array
    if array.dtype.kind in "fV" and dtype.kind == "f":
        return array.astype(dtype)
    if array.dtype.kind in "fV" and tensor.scale.size == 1:
        wide = array.astype(np.float32)
        if bad := int(np.count_nonzero(~np.isfinite(wide))):
            raise ValueError(
                f"input {name!r} has {bad:,} values of {wide.size:,} that are NaN or infinite, "
                f"which {dtype} cannot hold; clean or clip the data"
            )
        real = wide / tensor.scale[0]
        whole = np.trunc(real)
        rounded = whole + np.where(np.abs(real - whole) >= 0.5, np.sign(real), np.float32(0))
        limits = np.iinfo(dtype)
        return np.clip(rounded + tensor.zero_point[0], limits.min, limits.max).astype(dtype)
    raise ValueError(
        f"input {name!r} is {array.dtype}, the file takes {dtype}; "
        "give that type" + (" or floats" if dtype.kind == "f" or tensor.scale.size else "")
    )


def to_real(tensor: TensorInfo, values: np.ndarray) -> np.ndarray:
    """Returns the reals that a tensor's integers stand for; floats as they are."""
    if values.dtype.kind == "f" or tensor.scale.size != 1:
        return values
    centred = values.astype(np.float32) - np.float32(tensor.zero_point[0])
    return centred * np.float32(tensor.scale[0])
