"""Which function of CMSIS-NN convolves, and the scratch that it asks of the arena (sources: `cmsis_nn_rules`)."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from attokit.export.problems import Problem, Seen

Core = Literal["dsp", "helium"]
Speed = Literal["fast", "slow", "reference", "unfit"]
Pair = tuple[int, int]
_INT16, _INT32 = 2, 4  # bytes
_BLOCK = 124  # channels that a depthwise kernel of Helium takes at once
_REVERSED_ABOVE = 16  # channels above which a transposed convolution is a convolution


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
    """What runs an operator on a Cortex-M.

    Attributes:
      name: Of CMSIS-NN's function; "" where it is TFLite Micro's own.
      speed: "fast"; "slow" for CMSIS-NN's functions that take any shape, one product at a time; "reference" for TFLite
        Micro's own in plain C++; "unfit" for what is refused, or comes out wrong.
      scratch: Bytes that it asks of the arena while it runs.
      problem: Why it is not fast, or what it costs; None if there is nothing to say.
    """

    name: str = ""
    speed: Speed = "fast"
    scratch: int = 0
    problem: Problem | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Geometry:
    """A convolution as its wrapper sees it; rows first.

    Attributes:
      batch: Images.
      size: Of an image.
      channels: Of the images.
      out: Rows and columns of the output.
      features: Channels of the output.
      window: Of the kernel.
      depth: Channels of the kernel.
      strides: Steps.
      dilation: Of the kernel.
    """

    batch: int
    size: Pair
    channels: int
    out: Pair
    features: int
    window: Pair
    depth: int
    strides: Pair
    dilation: Pair

    @property
    def before(self) -> Pair:
        """What is padded above and on the left."""
        rows, columns = (
            max(0, (out - 1) * stride + (window - 1) * dilation + 1 - size) // 2
            for out, stride, window, dilation, size in zip(
                self.out, self.strides, self.window, self.dilation, self.size, strict=True
            )
        )
        return rows, columns

    @property
    def taps(self) -> int:
        """Values of one channel that an output reads."""
        return self.window[0] * self.window[1]


MALFORMED = Kernel(
    speed="unfit", problem=Problem("its inputs or sizes are no such operator's", "export it again")
)


def plain(seen: Seen, dtype: str) -> Kernel:
    """Returns TFLite Micro's own kernel, for a type that CMSIS-NN has none for."""
    return Kernel(
        speed="reference",
        problem=Problem(f"CMSIS-NN has none of {dtype}", _OTHER_TYPES.get(dtype, "use int8")),
    )


_OTHER_TYPES = {"float32": "quantize it to int8", "int16": "leave it at int8 (no --int16)"}


def geometry(seen: Seen, images: int = 0) -> Geometry | None:
    """Returns what a convolution's wrapper is told, or None if the shapes make no sense.

    Args:
      seen: Its kernel is input 1.
      images: Which input they are.
    """
    pictures, kernel, output = seen.shape(images), seen.shape(1), seen.output.shape
    strides = seen.option("strideH", 1), seen.option("strideW", 1)
    dilation = seen.option("dilationHFactor", 1), seen.option("dilationWFactor", 1)
    sizes = (*pictures, *kernel, *output, *strides, *dilation)
    if {len(pictures), len(kernel), len(output)} != {4} or min(sizes) < 1:
        return None
    return Geometry(
        batch=pictures[0], size=_pair(pictures[1:3]), channels=pictures[3],
        out=_pair(output[1:3]), features=output[3], window=_pair(kernel[1:3]), depth=kernel[3],
        strides=strides, dilation=dilation,
    )  # fmt: skip


def _pair(values: Sequence[int]) -> Pair:
    first, second = values
    return first, second


def columns(count: int, core: Core) -> int:
    """Returns the bytes of the patches that are multiplied at once, of some values each."""
    if core == "helium":
        return 4 * _up(count, 16)
    return 2 * _up(count, 4) * _INT16


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def convolve(g: Geometry, core: Core, suffix: str) -> Kernel:
    """Returns what `arm_convolve_wrapper_s8` (or `_s4`) calls; both are given the scratch of s8."""
    whole = g.channels == g.depth
    single = g.window == (1, 1) and g.before == (0, 0) and g.dilation == (1, 1)
    if whole and single:
        return Kernel(name=f"arm_convolve_1x1_{suffix}{'_fast' * (g.strides == (1, 1))}")
    patch = columns(g.taps * g.channels, core)
    one_row = g.size[0] == 1 and g.window[0] == 1 and g.dilation[1] == 1
    if whole and one_row and g.strides[1] * g.channels % 4 == 0:
        scratch = _of_one_row(g) if core == "helium" else patch
        return Kernel(name=f"arm_convolve_1_x_n_{suffix}", scratch=scratch)
    even = suffix == "s4" and core == "helium" and g.taps * g.channels % 2 == 0
    return Kernel(name=f"arm_convolve_{'even_' * even}{suffix}", scratch=patch)


def _of_one_row(g: Geometry) -> int:
    """Returns Helium's scratch of a kernel that moves along one row: its ends, with their padding."""
    size, out, window, stride, before = g.size[1], g.out[1], g.window[1], g.strides[1], g.before[1]
    total = (out - 1) * stride + window - size
    odd = abs(total) % 2 * (1 if total > 0 else -1)  # the remainder as C has it

    def outputs(padded: int) -> int:
        """How many outputs padding reaches."""
        return max(1, int((padded + stride - 1) / stride)) if padded else 0

    left, right = outputs(before), outputs(before + odd)
    if left + right + max(out - left - right, 0) != out:
        return columns(g.taps * g.channels, "helium")
    behind = right if odd else before
    return g.channels * max(window + before, window - 1 + behind)


def conv_2d(seen: Seen, core: Core) -> Kernel:
    """Returns what runs a CONV_2D."""
    g, dtype, weights = geometry(seen), seen.dtype(), seen.dtype(1)
    if g is None:
        return MALFORMED
    if dtype not in ("int8", "int16"):
        return plain(seen, dtype)
    if g.channels != g.depth and (dtype == "int16" or weights == "int4"):
        return Kernel(
            speed="unfit",
            problem=Problem(
                f"its kernel for {'int16' if dtype == 'int16' else 'int4'} knows no groups and nothing refuses them: "
                "it reads behind the weights",
                "leave grouped convolutions at int8, or write one convolution per group",
            ),
        )
    if dtype == "int16":
        values = g.taps * g.channels
        scratch = 4 * _up(values, 8) if core == "helium" else 2 * values
        return Kernel(name="arm_convolve_s16", scratch=scratch * _INT16)
    return convolve(g, core, "s4" if weights == "int4" else "s8")


def depthwise_conv_2d(seen: Seen, core: Core) -> Kernel:
    """Returns what runs a DEPTHWISE_CONV_2D."""
    g, dtype, weights = geometry(seen), seen.dtype(), seen.dtype(1)
    if g is None:
        return MALFORMED
    if dtype == "int16":
        return Kernel(
            name="arm_depthwise_conv_s16",
            speed="slow",
            problem=Problem("TFLite Micro calls no other for int16", "leave it at int8"),
        )
    if dtype != "int8":
        return plain(seen, dtype)
    suffix = "s4" if weights == "int4" else "s8"
    multiplier = seen.option("depthMultiplier") or g.features // g.channels
    if core == "helium" and suffix == "s8" and g.channels == 1 < g.features:
        # Its weights are turned into those of a convolution, behind that one's scratch.
        kernel = convolve(dataclasses.replace(g, depth=1), core, suffix)
        return dataclasses.replace(kernel, scratch=kernel.scratch + g.taps * g.features)
    general = _why_general(g, multiplier)
    if general is not None:
        return Kernel(name=f"arm_depthwise_conv_{suffix}", speed="slow", problem=general)
    if core == "helium":
        return Kernel(name=f"arm_depthwise_conv_{suffix}_opt", scratch=4 * _BLOCK * g.taps)
    if suffix == "s8" and g.window == (3, 3) and max(g.before) <= 1:
        return Kernel(name="arm_depthwise_conv_3x3_s8")
    return Kernel(name=f"arm_depthwise_conv_{suffix}_opt", scratch=g.channels * g.taps * _INT16)


def _why_general(g: Geometry, multiplier: int) -> Problem | None:
    """Returns why a depthwise convolution goes to the kernel for any shape, or None."""
    if multiplier != 1:
        return Problem(
            f"it makes {multiplier} channels of each",
            "repeat the channels in the 1x1 convolution before it, or use one behind it",
        )
    if g.batch != 1:
        return Problem(f"it has a batch of {g.batch}", "trace with a batch of 1")
    if g.dilation != (1, 1):
        return Problem(
            f"it is dilated by {g.dilation[0]}x{g.dilation[1]}",
            "use a larger kernel, strides, or an ordinary convolution, which may be dilated",
        )
    return None


def transpose_conv(seen: Seen, core: Core) -> Kernel:
    """Returns what runs a TRANSPOSE_CONV."""
    g, dtype = geometry(seen, images=2), seen.dtype(2)
    if g is None:
        return MALFORMED
    if dtype != "int8":
        return plain(seen, dtype)
    if max(g.strides) <= 2 and g.channels > _REVERSED_ABOVE:
        values = g.taps * g.channels
        return Kernel(name="arm_convolve_s8", scratch=columns(values, core) + values * g.features)
    (step, steps), (rows, window) = g.strides, g.window
    wide = ((g.size[1] - 1) * steps + max(window, step)) * g.features
    return Kernel(name="arm_transpose_conv_s8", scratch=wide * max(rows, step) * _INT32)
