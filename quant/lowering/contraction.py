"""Convolutions and matrix products with a known kernel."""

from collections.abc import Sequence

import numpy as np

from attokit.quant.lowering.values import Builder, Known, Symbol, Value


def same_padding(
    sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Returns the (before, after) padding that "SAME" means (the odd one goes after)."""
    rows = []
    for size, window, stride in zip(sizes, windows, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + window - size)
        rows.append((total // 2, total - total // 2))
    return tuple(rows)


def pad_images(build: Builder, images: Symbol, padding: Sequence[tuple[int, int]]) -> Symbol:
    """Emits an explicit zero padding of rows and columns."""
    widths = ((0, 0), *padding, (0, 0))
    shape = tuple(n + a + b for n, (a, b) in zip(images.shape, widths, strict=True))
    return build.emit("pad", [images], shape, widths=widths)


def resolve_padding(
    build: Builder,
    images: Symbol,
    padding: Sequence[tuple[int, int]],
    windows: Sequence[int],
    strides: Sequence[int],
) -> tuple[Symbol, str]:
    """Returns images and "SAME" or "VALID" for them, padding explicitly where neither fits."""
    padding = tuple((int(before), int(after)) for before, after in padding)
    if not any(n for pair in padding for n in pair):
        return images, "VALID"
    if padding == same_padding(images.shape[1:3], windows, strides):
        return images, "SAME"
    if any(n < 0 for pair in padding for n in pair):
        raise build.error(f"negative padding {padding}", "Slice the images instead.")
    return pad_images(build, images, padding), "VALID"


def conv_general_dilated(build: Builder, params, images: Value, kernel: Value) -> Symbol:
    """Lowers a 2-D convolution in any layout."""
    if not isinstance(images, Symbol) or not isinstance(kernel, Known):
        raise build.error(
            "a convolution whose kernel depends on the inputs",
            "TFLite wants kernels that are constant; make it a weight.",
        )
    if len(images.shape) != 4 or params["batch_group_count"] != 1:
        raise build.error(
            f"a convolution of rank {len(images.shape)} "
            f"with batch_group_count={params['batch_group_count']}",
            "Supported are 2-D convolutions of images [b, h, w, c].",
        )
    if tuple(params["lhs_dilation"]) != (1, 1):
        raise build.error(
            f"a transposed convolution (lhs_dilation={params['lhs_dilation']})",
            "Supported are ordinary convolutions; resize, then convolve.",
        )
    numbers = params["dimension_numbers"]
    images = _transposed(build, images, [numbers.lhs_spec[i] for i in (0, 2, 3, 1)])
    hwio = [numbers.rhs_spec[i] for i in (2, 3, 1, 0)]
    if hwio != [0, 1, 2, 3]:  # a kernel that stays as it is stays one weight if used twice
        kernel = Known(np.transpose(kernel.array, hwio), kernel.name)
    result = _convolve(build, params, images, kernel)
    nhwc_to_out = np.argsort([numbers.out_spec[i] for i in (0, 2, 3, 1)])
    return _transposed(build, result, nhwc_to_out.tolist())


def _convolve(build: Builder, params, images: Symbol, kernel: Known) -> Symbol:
    strides, dilation = tuple(params["window_strides"]), tuple(params["rhs_dilation"])
    windows = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    groups = params["feature_group_count"]
    images, padding = resolve_padding(build, images, params["padding"], windows, strides)
    sizes = [
        -(-n // s) if padding == "SAME" else (n - w) // s + 1
        for n, w, s in zip(images.shape[1:3], windows, strides, strict=True)
    ]
    depthwise = groups == images.shape[3] and groups > 1
    return build.emit(
        "depthwise_conv_2d" if depthwise else "conv_2d",
        [images, kernel],
        (images.shape[0], *sizes, kernel.shape[3]),
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


def _transposed(build: Builder, value: Symbol, permutation: Sequence[int]) -> Symbol:
    permutation = tuple(int(axis) for axis in permutation)
    if permutation == tuple(range(len(permutation))):
        return value
    shape = tuple(value.shape[axis] for axis in permutation)
    return build.emit("transpose", [value], shape, permutation=permutation)


def dot_general(build: Builder, params, left: Value, right: Value) -> Symbol:
    """Lowers a product with a known matrix to a dense layer over the last axis."""
    ((left_axes, right_axes), (left_batch, right_batch)) = params["dimension_numbers"]
    if isinstance(left, Known) and isinstance(right, Symbol) and len(left.shape) == 2:
        product = _dense(build, right, right_axes, left, left_axes)
        rank = len(product.shape)  # the matrix's axis comes first in JAX's result
        return _transposed(build, product, [rank - 1, *range(rank - 1)])
    if not isinstance(left, Symbol) or not isinstance(right, Known) or left_batch or right_batch:
        raise build.error(
            "a matrix product of two values that both depend on the inputs",
            "Supported are products with a weight matrix.",
        )
    return _dense(build, left, left_axes, right, right_axes)


def _dense(
    build: Builder, values: Symbol, axes: Sequence[int], matrix: Known, matrix_axes: Sequence[int]
) -> Symbol:
    if len(axes) != 1 or len(matrix.shape) != 2 or len(values.shape) < 2:
        raise build.error(
            f"a matrix product of shapes {values.shape} and {matrix.shape} over axes {tuple(axes)}",
            "Reshape so that one axis is contracted with one axis of a [k, n] matrix.",
        )
    rest = [axis for axis in range(len(values.shape)) if axis != axes[0]]
    values = _transposed(build, values, [*rest, axes[0]])
    kernel = matrix if matrix_axes[0] == 0 else Known(matrix.array.T, matrix.name)
    return build.emit("fully_connected", [values, kernel], (*values.shape[:-1], kernel.shape[1]))
