"""Convolutions with a known kernel, ordinary and transposed, and the padding that they take."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from attokit.quant.lowering.movement import (
    emit_concatenation,
    emit_pad,
    emit_reshape,
    emit_transpose,
    slice_,
)
from attokit.quant.lowering.values import Builder, Known, Symbol, Value, part_of

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Window:
    """How a 2-D kernel moves over images; rows first.

    Attributes:
      strides: Steps.
      padding: (before, after) per axis.
      dilation: Of the kernel.
      spread: Of the images: more than 1 makes the convolution a transposed one.
      groups: Into which the channels are divided.
    """

    strides: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    spread: Pair
    groups: int


def same_padding(
    sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Returns the (before, after) padding that "SAME" means (the odd one goes after)."""
    rows = []
    for size, window, stride in zip(sizes, windows, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + window - size)
        rows.append((total // 2, total - total // 2))
    return tuple(rows)


def read_padding(
    sizes: Sequence[int],
    windows: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> tuple[Pair, ...]:
    """Returns a padding without what lies behind the last window: with a stride, none may reach it."""
    rows = []
    for size, window, stride, (before, after) in zip(sizes, windows, strides, padding, strict=True):
        count = max(1, (before + size + after - window) // stride + 1)
        reached = (count - 1) * stride + window - before - size
        rows.append((int(before), min(int(after), max(0, reached))))
    return tuple(rows)


def padding_name(
    sizes: Sequence[int],
    windows: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> str | None:
    """Returns the padding of TFLite that pads alike as far as windows read it, or None.

    Args:
      sizes: Of the images, before padding.
      windows: Lengths, dilation included.
      strides: Of the windows.
      padding: As `read_padding` returns it.
    """
    if not any(map(any, padding)):
        return "VALID"
    return "SAME" if tuple(padding) == same_padding(sizes, windows, strides) else None


def pad_images(build: Builder, images: Symbol, padding: Sequence[tuple[int, int]]) -> Symbol:
    """Emits an explicit zero padding of rows and columns; negative numbers cut."""
    return emit_pad(build, images, ((0, 0), *padding, (0, 0)))


def resolve_padding(
    build: Builder,
    images: Symbol,
    padding: Sequence[tuple[int, int]],
    windows: Sequence[int],
    strides: Sequence[int],
) -> tuple[Symbol, str]:
    """Returns images and "SAME" or "VALID" for them, padding explicitly where neither fits."""
    padding = read_padding(images.shape[1:3], windows, strides, padding)
    name = padding_name(images.shape[1:3], windows, strides, padding)
    return (images, name) if name else (pad_images(build, images, padding), "VALID")


def conv_general_dilated(build: Builder, params, images: Value, kernel: Value) -> Symbol:
    """Lowers a 1-D or 2-D convolution in any layout."""
    if not isinstance(images, Symbol) or not isinstance(kernel, Known):
        raise build.error(
            "a convolution whose kernel depends on the inputs",
            "TFLite wants kernels that are constant; make it a weight.",
        )
    if len(images.shape) not in (3, 4):
        raise build.error(
            f"a convolution over {len(images.shape) - 2} axes (images of shape {images.shape})",
            "INT8 kernels have one or two: fold an axis into the batch or into the channels.",
        )
    if params["batch_group_count"] != 1:
        raise build.error(
            f"a convolution with batch_group_count={params['batch_group_count']}",
            "Split the batch and convolve each part, or use feature_group_count.",
        )
    numbers = params["dimension_numbers"]
    images = emit_transpose(build, images, _channels_last(numbers.lhs_spec))
    output, inner, *spatial = numbers.rhs_spec
    order = [*spatial, inner, output]
    if order != sorted(order):  # a kernel that stays as it is stays one weight if used twice
        kernel = Known(np.transpose(kernel.array, order), kernel.name)
    result = _convolve_1d_or_2d(build, params, images, kernel)
    return emit_transpose(build, result, np.argsort(_channels_last(numbers.out_spec)).tolist())


def _channels_last(spec: Sequence[int]) -> list[int]:
    """Returns the order of axes that makes (batch, channels, *spatial) NHWC."""
    batch, channels, *spatial = spec
    return [batch, *spatial, channels]


def _convolve_1d_or_2d(build: Builder, params, images: Symbol, kernel: Known) -> Symbol:
    """Returns the convolution; a signal is an image of one row."""
    signal = len(images.shape) == 3
    if signal:
        images = emit_reshape(build, images, (images.shape[0], 1, *images.shape[1:]))
        kernel = Known(kernel.array[None], kernel.name)

    def rows(name: str, of_one_row: Any) -> tuple[Any, Any]:
        first, second = (of_one_row, *params[name]) if signal else params[name]
        return first, second

    window = _Window(
        strides=rows("window_strides", 1),
        padding=rows("padding", (0, 0)),
        dilation=rows("rhs_dilation", 1),
        spread=rows("lhs_dilation", 1),
        groups=params["feature_group_count"],
    )
    convolve = _transposed_convolution if max(window.spread) > 1 else _convolution
    result = convolve(build, images, kernel, window)
    if signal:
        result = emit_reshape(build, result, (result.shape[0], *result.shape[2:]))
    return result


def _convolution(build: Builder, images: Symbol, kernel: Known, window: _Window) -> Symbol:
    strides, dilation = window.strides, window.dilation
    windows = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    images, padding = resolve_padding(build, images, window.padding, windows, strides)
    sizes = [
        -(-n // s) if padding == "SAME" else (n - w) // s + 1
        for n, w, s in zip(images.shape[1:3], windows, strides, strict=True)
    ]
    depthwise = window.groups == images.shape[3] and window.groups > 1
    return build.emit(
        "depthwise_conv_2d" if depthwise else "conv_2d",
        [images, kernel],
        (images.shape[0], *sizes, kernel.shape[3]),
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=window.groups,
    )


def _transposed_convolution(
    build: Builder, images: Symbol, kernel: Known, window: _Window
) -> Symbol:
    """Returns the convolution of images with zeros between their pixels."""
    if max(*window.strides, *window.dilation) > 1:
        raise build.error(
            f"a transposed convolution with strides {window.strides} "
            f"and a kernel dilated by {window.dilation}",
            "Take every n-th pixel of the result afterwards; write the zeros into the kernel.",
        )
    # A pixel's patch starts at spread * position - offset; TFLite wants offsets >= 0 and patches
    # that reach the end, which pixels of zeros around the images see to.
    offsets, sizes, extra = [], [], []
    for n, k, s, (before, after) in zip(
        images.shape[1:3], kernel.shape[:2], window.spread, window.padding, strict=True
    ):
        offset, size = k - 1 - before, (n - 1) * s + 2 + before + after - k
        in_front = max(0, -(offset // s))
        uncovered = offset + size - ((n - 1) * s + k)  # a bias alone reaches s - 1 of them
        offsets.append(offset + in_front * s)
        sizes.append(size)
        extra.append((in_front, max(0, uncovered // s)))
    if any(map(any, extra)):
        images = pad_images(build, images, extra)

    def part(group: int) -> Symbol:
        entering, leaving = (n // window.groups for n in (images.shape[3], kernel.shape[3]))
        own = slice(group * leaving, (group + 1) * leaving)
        return build.emit(
            "transpose_conv",
            [
                _channels(build, images, group * entering, entering),
                Known(kernel.array[..., own], part_of(kernel.name, group))
                if window.groups > 1
                else kernel,
            ],
            (images.shape[0], *sizes, leaving),
            strides=window.spread,
            offset=tuple(offsets),
            size=tuple(sizes),
        )

    parts = [part(group) for group in range(window.groups)]
    return emit_concatenation(build, parts, 3) if len(parts) > 1 else parts[0]


def _channels(build: Builder, images: Symbol, start: int, count: int) -> Symbol:
    """Returns some of the images' channels."""
    return slice_(
        build,
        {
            "start_indices": (0, 0, 0, start),
            "limit_indices": (*images.shape[:3], start + count),
            "strides": None,
        },
        images,
    )
