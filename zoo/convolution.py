"""Convolution that picks its lowering per platform, as a function and as a Linen module.

XLA's CPU backend runs grouped and depthwise convolutions through code that is 5 to 30 times slower
than the arithmetic needs, the gradients most of all (`benchmarks/convolution.py` measures it). So on
CPU a 1x1 convolution is a matrix product, a grouped one a row of smaller convolutions, a depthwise one
a sum of shifted products. Every other platform gets one `conv_general_dilated`. Both compute the same
function up to float rounding.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pairs = tuple[tuple[int, int], tuple[int, int]]
Padding = Literal["SAME", "VALID"] | Sequence[tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(
    x: Float[Array, "b h w cin"],
    kernel: Float[Array, "kh kw cin_per_group cout"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Float[Array, "b h2 w2 cout"]:
    """Returns the convolution of images with a kernel, fast on every platform.

    A jaxpr shows it as `jit[name=convolution]`. Inside is one `conv_general_dilated`, or, where the CPU
    has a better way, a choice by platform whose default branch is that one `conv_general_dilated`.
    Output channel `o` reads the input channels of group `o // (cout // groups)`.

    Args:
      x: Images or activations.
      kernel: Its third axis has `cin // groups` entries.
      strides: Step of the window, one number or (rows, columns).
      padding: "SAME", "VALID" or the zeros to add as ((top, bottom), (left, right)).
      dilation: Distance between kernel taps, one number or (rows, columns).
      groups: Number of independent groups of channels; `cin` of them make it depthwise.

    Raises:
      ValueError: if ranks, channels, groups, strides or padding do not fit together.
    """
    _check_shapes(x.shape, kernel.shape, groups)
    steps, taps = _pair("strides", strides), _pair("dilation", dilation)
    pads = _explicit_padding(x.shape, kernel.shape, steps, taps, padding)
    return convolution(x, kernel, strides=steps, padding=pads, dilation=taps, groups=groups)


@functools.partial(jax.jit, static_argnames=("strides", "padding", "dilation", "groups"))
def convolution(
    x: Float[Array, "b h w cin"],
    kernel: Float[Array, "kh kw cin_per_group cout"],
    *,
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "b h2 w2 cout"]:
    """Returns `conv` of arguments that were checked and spelled out: the call a jaxpr shows."""
    window = {"strides": strides, "padding": padding, "dilation": dilation}
    native = functools.partial(_native, groups=groups, **window)
    if groups == 1 and not _is_pointwise(kernel, padding):
        return native(x, kernel)
    on_cpu: Callable[..., Array]
    if groups == 1:
        on_cpu = functools.partial(_dense, **window)
    elif groups == x.shape[-1]:
        on_cpu = functools.partial(_depthwise, **window)
    else:
        on_cpu = functools.partial(_grouped, groups=groups, **window)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=native)


def _native(
    x: Array,
    kernel: Array,
    *,
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
    groups: int = 1,
) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


def _dense(
    x: Array, kernel: Array, *, strides: tuple[int, int], padding: Pairs, dilation: tuple[int, int]
) -> Array:
    """Returns a convolution of one group: a matrix product where the kernel is 1x1.

    For wider kernels patches or shifted products lose: XLA hands the dense form to Eigen, which is
    1.5 to 8 times faster forward and at par or better with gradients.
    """
    if not _is_pointwise(kernel, padding):
        return _native(x, kernel, strides=strides, padding=padding, dilation=dilation)
    x = x[:, :: strides[0], :: strides[1], :]
    return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])


def _grouped(
    x: Array,
    kernel: Array,
    *,
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """Returns the groups convolved one by one and concatenated.

    Faster than patches and one batched product over the groups, and than a dense convolution with a
    block-diagonal kernel, for 2 to 8 groups of 8 to 32 channels.
    """
    pieces = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    window = {"strides": strides, "padding": padding, "dilation": dilation}
    return jnp.concatenate([_dense(piece, taps, **window) for piece, taps in pieces], axis=-1)


def _depthwise(
    x: Array, kernel: Array, *, strides: tuple[int, int], padding: Pairs, dilation: tuple[int, int]
) -> Array:
    """Returns the sum over kernel taps of shifted images times the tap's weight per channel."""
    rows, columns, _, cout = kernel.shape
    x = jnp.repeat(x, cout // x.shape[-1], axis=-1)  # [b, h, w, cout]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (
        (size - (taps - 1) * gap - 1) // step + 1
        for size, taps, gap, step in zip(
            x.shape[1:3], (rows, columns), dilation, strides, strict=True
        )
    )
    total = None
    for row in range(rows):
        for column in range(columns):
            top, left = row * dilation[0], column * dilation[1]
            shifted = x[
                :,
                top : top + (height - 1) * strides[0] + 1 : strides[0],
                left : left + (width - 1) * strides[1] + 1 : strides[1],
                :,
            ]
            product = shifted * kernel[row, column][None, None]  # [b, h2, w2, cout]
            total = product if total is None else total + product
    return total


def _is_pointwise(kernel: Array, padding: Pairs) -> bool:
    return kernel.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0))


def _check_shapes(x: tuple[int, ...], kernel: tuple[int, ...], groups: int) -> None:
    if len(x) != 4:
        raise ValueError(f"images have shape {x}: give four axes [batch, height, width, channels]")
    if len(kernel) != 4:
        raise ValueError(f"the kernel has shape {kernel}: give [rows, columns, cin / groups, cout]")
    if groups < 1 or x[3] % groups or kernel[3] % groups:
        raise ValueError(
            f"{x[3]} input and {kernel[3]} output channels do not divide into groups={groups}: "
            "choose a common divisor"
        )
    if kernel[2] * groups != x[3]:
        raise ValueError(
            f"a kernel of shape {kernel} in groups={groups} reads {kernel[2] * groups} channels but "
            f"the images have {x[3]}: its third axis must be {x[3] // groups}"
        )


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name}={value!r}: give one positive integer or a pair of them")
    return pair[0], pair[1]


def _explicit_padding(
    x: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
) -> Pairs:
    extent = [(taps - 1) * gap + 1 for taps, gap in zip(kernel[:2], dilation, strict=True)]
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding={padding!r}: give 'SAME', 'VALID' or two pairs of integers")
        pads = lax.padtype_to_pads(x[1:3], extent, strides, padding)
    else:
        pads = [tuple(pair) for pair in padding]
        if [len(pair) for pair in pads] != [2, 2] or min(map(min, pads)) < 0:
            raise ValueError(f"padding={padding!r}: give ((top, bottom), (left, right)), none negative")
    (top, bottom), (left, right) = pads
    if x[1] + top + bottom < extent[0] or x[2] + left + right < extent[1]:
        raise ValueError(
            f"images of {x[1]}x{x[2]} with padding {padding!r} are smaller than the kernel's "
            f"{extent[0]}x{extent[1]}: give larger images or more padding"
        )
    return (int(top), int(bottom)), (int(left), int(right))


class Conv(nn.Module):
    """A convolution layer with the parameter names of `flax.linen.Conv`: `kernel` and `bias`.

    The parameters are float32; the computation follows the images' dtype.

    Attributes:
      features: Output channels.
      kernel_size: Side of the square kernel, or (rows, columns).
      strides: Step of the window.
      padding: "SAME", "VALID" or explicit pairs.
      dilation: Distance between kernel taps.
      groups: Independent groups of channels.
      use_bias: False where a batch norm follows.
      kernel_init: Scaled by the fan-out, so that gradients keep their size on the way back (He 2015).
    """

    features: int
    kernel_size: int | tuple[int, int] = 3
    strides: int | tuple[int, int] = 1
    padding: Padding = "SAME"
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    use_bias: bool = False
    kernel_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w cin"]) -> Float[Array, "b h2 w2 cout"]:
        """Returns the convolved images."""
        channels = x.shape[-1]
        if self.groups < 1 or channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"{channels} input and {self.features} output channels do not divide into "
                f"groups={self.groups}: choose a common divisor"
            )
        shape = (
            *_pair("kernel_size", self.kernel_size),
            channels // self.groups,
            self.features,
        )
        init = self.kernel_init or _he_fan_out(self.groups)
        kernel = self.param("kernel", init, shape)
        x = conv(
            x,
            kernel.astype(x.dtype),
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            x = x + bias.astype(x.dtype)[None, None, None]
        return x


def _he_fan_out(groups: int) -> nn.initializers.Initializer:
    # An input channel feeds only the outputs of its own group, so the fan-out is smaller by `groups`.
    return nn.initializers.variance_scaling(2.0 * groups, "fan_out", "normal")
