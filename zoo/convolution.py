"""Convolution that picks its lowering per platform, as a function and as a Linen module.

XLA's CPU backend runs grouped and depthwise convolutions through code that is 5 to 30 times slower
than the arithmetic needs, the gradients most of all (`benchmarks/convolution.py` measures it). So on
CPU a 1x1 convolution is a matrix product, a grouped one a row of smaller convolutions, a depthwise one
a sum of shifted products. Every other platform gets one `conv_general_dilated`. Both compute the same
function up to float rounding.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jaxtyping import Array, Float

from attokit.zoo.initialization import he_fan_out

Pairs = tuple[tuple[int, int], tuple[int, int]]
Padding = Literal["SAME", "VALID"] | Sequence[tuple[int, int]]

_Pair = tuple[Array, Array]
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

    A jaxpr shows it as `jit[name=convolution]`. Inside is a choice by platform whose default branch is
    one `conv_general_dilated`. Reverse mode and `vmap` work, forward mode does not.
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
    return _by_platform(Window(strides, padding, dilation, groups), x, kernel)


class Window(NamedTuple):
    """How a kernel moves over images: the part of a convolution that is known before it runs."""

    strides: tuple[int, int]
    padding: Pairs
    dilation: tuple[int, int]
    groups: int = 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _by_platform(window: Window, x: Array, kernel: Array) -> Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_on_cpu, window),
        default=functools.partial(_native, window),
    )


def _by_platform_forward(window: Window, x: Array, kernel: Array) -> tuple[Array, _Pair]:
    return _by_platform(window, x, kernel), (x, kernel)


def _by_platform_backward(window: Window, residuals: _Pair, cotangent: Array) -> _Pair:
    # The choice is made again instead of differentiated through: a differentiated choice would save
    # the residuals of every platform.
    choose = functools.partial(
        lax.platform_dependent,
        cpu=functools.partial(_gradients, functools.partial(_on_cpu, window)),
        default=functools.partial(_gradients, functools.partial(_native, window)),
    )
    return _sharded_as(residuals, choose)(*residuals, cotangent)


def _sharded_as(primals: _Pair, gradients: Callable[..., _Pair]) -> Callable[..., _Pair]:
    """Returns the gradients, sharded like what they are of where a mesh has explicit axes.

    There every op must say how its result is sharded, which the sums over the batch in the kernel's
    gradient leave open; so inside the compiler decides, as it does on meshes with automatic axes.
    """
    shardings = [jax.typeof(primal).sharding for primal in primals]
    meshes = [s.mesh for s in shardings if AxisType.Explicit in (s.mesh.axis_types or ())]
    if not meshes:
        return gradients
    out = tuple(NamedSharding(meshes[0], s.spec) for s in shardings)
    return jax.sharding.auto_axes(gradients, out_sharding=out)


_by_platform.defvjp(_by_platform_forward, _by_platform_backward)


def _gradients(function: Callable[..., Array], x: Array, kernel: Array, cotangent: Array) -> _Pair:
    return jax.vjp(function, x, kernel)[1](cotangent)


def _native(window: Window, x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=window.groups,
    )


def _on_cpu(window: Window, x: Array, kernel: Array) -> Array:
    if window.groups == 1:
        return _dense(window, x, kernel)
    if window.groups == x.shape[-1]:
        return _depthwise(window, x, kernel)
    return _grouped(window, x, kernel)


def _dense(window: Window, x: Array, kernel: Array) -> Array:
    """Returns a convolution of one group: a matrix product where the kernel is 1x1.

    For wider kernels patches or shifted products lose: XLA's convolution is 2 to 8 times faster
    forward and, with gradients, between 0.9 and 2 times as fast.
    """
    if kernel.shape[:2] != (1, 1) or window.padding != ((0, 0), (0, 0)):
        return _spatial(window, x, kernel)
    return _pointwise(x[:, :: window.strides[0], :: window.strides[1], :], kernel[0, 0])


@jax.custom_vjp
def _pointwise(x: Array, kernel: Array) -> Array:
    """Returns each pixel's channels times a matrix [cin, cout].

    The derived gradient of the matrix is the transpose of a product, for which XLA first transposes
    all activations; written out, it is a product of what lies there.
    """
    return jnp.einsum("bhwi,io->bhwo", x, kernel)


def _pointwise_forward(x: Array, kernel: Array) -> tuple[Array, _Pair]:
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_backward(residuals: _Pair, cotangent: Array) -> _Pair:
    x, kernel = residuals
    pixels = lax.dot_general(x, cotangent, (((0, 1, 2), (0, 1, 2)), ((), ())))  # [cin, cout]
    return jnp.einsum("bhwo,io->bhwi", cotangent, kernel), pixels


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def _grouped(window: Window, x: Array, kernel: Array) -> Array:
    """Returns the groups convolved one by one and concatenated.

    Faster than one batched product of patches over the groups. Narrow groups are first joined into
    blocks of up to 16 channels with zeros off the diagonal: at 28x28, 2 groups of 4 channels take
    13.7 ms apart and 4.6 ms joined.
    """
    width = kernel.shape[2]
    joined = max(
        n
        for n in range(1, window.groups + 1)
        if window.groups % n == 0 and (n == 1 or n * width <= 16)
    )
    blocks = window.groups // joined
    if joined > 1:
        kernel = _join_groups(kernel, window.groups, joined)
    pieces = zip(jnp.split(x, blocks, axis=-1), jnp.split(kernel, blocks, axis=-1), strict=True)
    window = window._replace(groups=1)
    return jnp.concatenate([_dense(window, piece, taps) for piece, taps in pieces], axis=-1)


def _join_groups(kernel: Array, groups: int, joined: int) -> Array:
    """Returns the kernel of `groups / joined` groups that computes the same."""
    rows, columns, width, cout = kernel.shape
    each = cout // groups
    kernel = kernel.reshape(rows, columns, 1, width, groups // joined, joined, each)
    diagonal = jnp.eye(joined, dtype=kernel.dtype)[None, None, :, None, None, :, None]
    return (kernel * diagonal).reshape(rows, columns, joined * width, cout)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _spatial(window: Window, x: Array, kernel: Array) -> Array:
    """Returns a dense convolution whose gradients are convolutions in the forward layout.

    XLA rewrites other layouts for Eigen only at the top level of a program; in a branch or a loop they
    fall to plain loops, up to 50 times slower.
    """
    return _native(window, x, kernel)


def _spatial_forward(window: Window, x: Array, kernel: Array) -> tuple[Array, _Pair]:
    return _native(window, x, kernel), (x, kernel)


def _spatial_backward(window: Window, residuals: _Pair, cotangent: Array) -> _Pair:
    x, kernel = residuals
    return (
        _image_gradient(window, x.shape, kernel, cotangent),
        _kernel_gradient(window, x, kernel.shape, cotangent),
    )


_spatial.defvjp(_spatial_forward, _spatial_backward)


def _image_gradient(
    window: Window, shape: tuple[int, ...], kernel: Array, cotangent: Array
) -> Array:
    """Returns the cotangent, spread by the strides, convolved with the turned kernel."""
    pads = []
    for axis in (0, 1):
        reach = (kernel.shape[axis] - 1) * window.dilation[axis]
        spread = (cotangent.shape[axis + 1] - 1) * window.strides[axis] + 1
        before = reach - window.padding[axis][0]
        pads.append((before, shape[axis + 1] + reach - spread - before))
    turned = kernel[::-1, ::-1].swapaxes(2, 3)  # [kh, kw, cout, cin]
    return lax.conv_general_dilated(
        cotangent,
        turned,
        (1, 1),
        pads,
        lhs_dilation=window.strides,
        rhs_dilation=window.dilation,
        dimension_numbers=_LAYOUT,
    )


def _kernel_gradient(window: Window, x: Array, shape: tuple[int, ...], cotangent: Array) -> Array:
    """Returns the images, channels as batch, convolved with the cotangent as the kernel."""
    pads = []
    for axis in (0, 1):
        spread = (cotangent.shape[axis + 1] - 1) * window.strides[axis] + 1
        reach = (shape[axis] - 1) * window.dilation[axis]
        before = window.padding[axis][0]
        after = spread + reach - x.shape[axis + 1] - before
        if after < 0:  # rows at the end that no window reads
            x = lax.slice_in_dim(x, 0, x.shape[axis + 1] + after, axis=axis + 1)
        pads.append((before, max(after, 0)))
    gradient = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        cotangent.transpose(1, 2, 0, 3),
        window.dilation,
        pads,
        rhs_dilation=window.strides,
        dimension_numbers=_LAYOUT,
    )  # [cin, kh, kw, cout]
    return gradient.transpose(1, 2, 0, 3)


def _depthwise(window: Window, x: Array, kernel: Array) -> Array:
    """Returns the sum over kernel taps of shifted images times the tap's weight per channel."""
    rows, columns, _, cout = kernel.shape
    strides = window.strides
    x = jnp.repeat(x, cout // x.shape[-1], axis=-1)  # [b, h, w, cout]
    x = jnp.pad(x, ((0, 0), *window.padding, (0, 0)))
    height, width = (
        (size - (taps - 1) * gap - 1) // step + 1
        for size, taps, gap, step in zip(
            x.shape[1:3], (rows, columns), window.dilation, strides, strict=True
        )
    )

    def product(row: int, column: int) -> Array:
        top, left = row * window.dilation[0], column * window.dilation[1]
        shifted = x[
            :,
            top : top + (height - 1) * strides[0] + 1 : strides[0],
            left : left + (width - 1) * strides[1] + 1 : strides[1],
            :,
        ]
        return shifted * kernel[row, column][None, None]  # [b, h2, w2, cout]

    places = itertools.product(range(rows), range(columns))
    return functools.reduce(operator.add, itertools.starmap(product, places))


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
        pads: Sequence[Sequence[int]] = lax.padtype_to_pads(x[1:3], extent, strides, padding)
    else:
        pads = [tuple(pair) for pair in padding]
        if [len(pair) for pair in pads] != [2, 2] or min(map(min, pads)) < 0:
            raise ValueError(
                f"padding={padding!r}: give ((top, bottom), (left, right)), none negative"
            )
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
      kernel_init: `he_fan_out` unless given.
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
        init = self.kernel_init or he_fan_out(self.groups)
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
