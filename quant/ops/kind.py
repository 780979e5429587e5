"""What an op is, and what a kind of op must say about itself (one row of the table)."""

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float, Int32

Activation = Literal["none", "relu", "relu6", "relu_n1_to_1"]
# Whose integers are reproduced: LiteRT's reference kernels, TFLite Micro's (which differ from
# them in a few ops), or the XNNPACK kernels that LiteRT uses by default.
Kernels = Literal["reference", "micro", "xnnpack"]
# Where values may lie that change nothing.
Side = Literal["below", "above"]
# How positive factors of its activations go through a kind of op (`OpKind.homogeneous`).
Homogeneous = Literal["no", "jointly", "singly", "moved"]
KERNELS: tuple[Kernels, ...] = ("reference", "micro", "xnnpack")
Shape = tuple[int, ...]


class Operand(enum.Enum):
    """The part that an input plays, which decides how it is quantized.

    ACTIVATION: int8, asymmetric, per tensor; its range is calibrated or learned.  Or int16, symmetric.
    KERNEL: int8, symmetric, in [-127, 127], per output channel (`OpKind.channel_axis`).
    BIAS: int32 with scale s_in * s_kernel.
    CONSTANT: int8, asymmetric, per tensor; its range follows from its value, or is that of the
      activations that it shares a scale with.
    PLAIN: Not quantized: int32 or bool (indices, conditions), or what an op on float32 reads.
    """

    ACTIVATION = "activation"
    KERNEL = "kernel"
    BIAS = "bias"
    CONSTANT = "constant"
    PLAIN = "plain"

    @property
    def is_weight(self) -> bool:
        """Whether the operand must be a weight (a kernel or a bias)."""
        return self in (Operand.KERNEL, Operand.BIAS)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """One op of a graph.

    Attributes:
      kind: Key of `ops.table.OPS`.
      inputs: Names of activations, weights or constants.
      outputs: Names of the activations it makes.
      attributes: What the kind needs (strides, padding, axes, …); see its file.
      activation: Fused into the op; applied to every output.
      source: The user's line that asked for it, "file:line (function)", or "".
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    activation: Activation = "none"
    source: str = ""

    def __getitem__(self, attribute: str) -> Any:
        """Returns one attribute."""
        return self.attributes[attribute]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("first", "second", "third"),
    meta_fields=("exponent", "single"),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """A real multiplier first * second / third, of float32 scales, as a kernel computes it.

    Attributes:
      first: Scalar or one value per channel.
      second: Likewise; None means 1.
      third: Scalar divisor; None means 1.
      exponent: The whole is multiplied by 2**exponent.
      single: The products are rounded to float32 (some kernels multiply floats, not doubles).
    """

    first: Float[Array, "*c"]
    second: Float[Array, "*c"] | None = None
    third: Float[Array, ""] | None = None
    exponent: int = 0
    single: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Factor:
    """A multiplier, taken apart for `fixed_point.multiply_double_rounding`.

    Attributes:
      left: Bits to shift the value left.
      high: Upper 16 bits of the mantissa.
      low: Lower 16 bits.
      right: Bits to shift the product right.
      half: 2**(right - 1), or 0.
      away: -1 if there is a right shift, whose ties of negative numbers go down; else 0.
    """

    left: Int32[Array, "*c"]
    high: Int32[Array, "*c"]
    low: Int32[Array, "*c"]
    right: Int32[Array, "*c"]
    half: Int32[Array, "*c"]
    away: Int32[Array, "*c"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Multiplier:
    """A ratio as kernels hold it: ratio ~= mantissa * 2**(exponent - 31), and as float32.

    Attributes:
      mantissa: In [2**30, 2**31), or 0.
      exponent: Positive shifts left.
      factor: Mantissa and exponent, taken apart.
      real: The ratio in float32.
      ratio: What it stands for.
    """

    mantissa: Int32[Array, "*c"]
    exponent: Int32[Array, "*c"]
    factor: Factor
    real: Float[Array, "*c"]
    ratio: Ratio


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Scales:
    """Scales and zero points of an op's operands, in the order of its inputs and outputs.

    Attributes:
      inputs: Of each input; a kernel's has one value per channel, a bias's is None, and so is that
        of what is not quantized.
      outputs: Of each output; None where it is not quantized.
      input_zero_points: Integer-valued float32; None for kernels, biases, what is not quantized.
      output_zero_points: Integer-valued float32, or None.
      bits: Of each input's integers; () means 8.
      output_bits: Of each output's integers; () means 8.
    """

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    input_zero_points: tuple[Any, ...] = ()
    output_zero_points: tuple[Any, ...] = ()
    bits: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})
    output_bits: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})

    @property
    def wide(self) -> bool:
        """Whether an activation has 16 bits."""
        return 16 in self.bits or 16 in self.output_bits

    @property
    def kernel_bits(self) -> int:
        """Of a contraction's kernel, the second input."""
        return self.bits[1] if self.bits else 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rescaled:
    """What an integer kernel returns.

    Attributes:
      integers: int32 or float32 integers minus the output's zero point, not yet clamped; bool or
        int32 where the output is not quantized.
      real: The same before rounding, in units of the output scale; None where the output has no
        scale of its own to learn (tied or fixed ranges).
    """

    integers: Array
    real: Float[Array, "..."] | None = None


def no_macs(op: Op, shape_of: Callable[[str], Shape]) -> int:
    """Returns 0: the kind has no multiply-adds."""
    del op, shape_of
    return 0


def no_ratios(op: Op, scales: Scales, kernels: Kernels) -> tuple[Ratio, ...]:
    """Returns nothing: the kind moves integers and never rescales them."""
    del op, scales, kernels
    return ()


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """A function of one variable, elementwise.

    Attributes:
      real: On JAX arrays.
      host: In NumPy on float32 arrays, with the roundings of the kernel that computes it; None
        where no kernel does.
    """

    real: Callable[[Any], Any]
    host: Callable[[np.ndarray], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Wide:
    """How a kind computes on int16 activations, whose zero points are 0 (kernels stay int8).

    Attributes:
      integer: As `OpKind.integer`; None: that very function, or the op only moves values.
      ratios: As `OpKind.ratios`; None: that very function.
      kernels: The sets that have a kernel for int16.
    """

    integer: Callable[..., tuple[Rescaled, ...]] | None = None
    ratios: Callable[[Op, Scales, Kernels], tuple[Ratio, ...]] | None = None
    kernels: frozenset[Kernels] = frozenset(KERNELS)


LITERT: frozenset[Kernels] = frozenset({"reference", "xnnpack"})  # what TFLite Micro lacks


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpKind:
    """One row: all that is known of a kind of op outside `export`.

    Attributes:
      name: The key, TFLite's name in lower case.
      roles: Part of each input; inputs beyond the end are activations.
      compute: `(op, *inputs) -> outputs` in float, without the fused activation.
      integer: `(op, kernels, integers, multipliers, scales) -> Rescaled per output`.
        Activations come and go as integers minus their zero point in float32 ("centred"), kernels
        as integers in float32, biases as int32.  None: the op only moves values, and `compute`
        on centred integers is its integer meaning.
      ratios: The multipliers that `integer` wants.
      table: `(op, kernels, scales, multipliers) -> Float[256]`, for ops of one operand without
        `integer`: the output's integer, zero point included, for each int8 from -128 on; None where the
        kernel set evaluates `function`.
      function: `(op) -> Function` where such a table is filled with values of a function.
      elementwise: Each element of the output depends on one element of every input.
      tied: All quantized inputs and outputs share one scale.
      only_float: Integer files compute it on float32: no runtime has an integer kernel for it.
      fixed_range: (scale, zero point) that the spec prescribes for the output, or None.  With 16
        bits that is always (1/32768, 0).
      least_ratio: Below which the kernel refuses the output's scale over the input's, or None.
      homogeneous: Whether a positive factor of a channel (the last axis) of its activations comes out as a
        factor of that channel.  "jointly": one that all of them have, and constants are 0; "singly": one
        that one operand has and the others have not, as in a product; "moved": of every value, wherever
        it is moved to.
      ignores: On which side of all its operands a value changes nothing (below, for a maximum).
      channel_axis: Axis of the kernel with one scale per entry.
      bilinear: Linear in the activation and in the kernel, so that gradients may be taken on
        integers and scaled afterwards.
      bounds: Largest difference to the runtime, in units of the integer, by kernel set; 0 where a
        set is not named.
      activations: What may be fused into it.
      macs: `(op, shape_of) -> int`.
      wide: On int16 activations; None where no runtime has a kernel for them.
    """

    name: str
    compute: Callable[..., tuple[Float[Array, "..."], ...]]
    integer: Callable[..., tuple[Rescaled, ...]] | None = None
    table: Callable[..., Float[Array, "256"] | None] | None = None
    function: Callable[[Op], Function] | None = None
    elementwise: bool = False
    roles: tuple[Operand, ...] = ()
    ratios: Callable[[Op, Scales, Kernels], tuple[Ratio, ...]] = no_ratios
    tied: bool = False
    only_float: bool = False
    fixed_range: tuple[float, int] | None = None
    least_ratio: float | None = None
    homogeneous: Homogeneous = "no"
    ignores: Side | None = None
    channel_axis: int = -1
    bilinear: bool = False
    bounds: Mapping[Kernels, int] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    activations: frozenset[str] = frozenset()
    macs: Callable[[Op, Callable[[str], Shape]], int] = no_macs
    wide: Wide | None = None

    @property
    def moves(self) -> bool:
        """Whether the float meaning on centred integers is the integer meaning."""
        return self.integer is None and self.table is None and self.function is None
