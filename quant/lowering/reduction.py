"""Sums and maxima over axes and windows; rewriting turns them into means and pools."""

from attokit.quant.lowering.contraction import pad_images, resolve_padding, same_padding
from attokit.quant.lowering.values import Builder, Symbol


def _reduced_shape(value: Symbol, axes) -> tuple[int, ...]:
    return tuple(n for axis, n in enumerate(value.shape) if axis not in axes)


def reduce_sum(build: Builder, params, value: Symbol) -> Symbol:
    """A sum over axes; divided by their size it is a mean."""
    axes = tuple(sorted(params["axes"]))
    return build.emit("sum", [value], _reduced_shape(value, axes), axes=axes)


def reduce_max(build: Builder, params, value: Symbol) -> Symbol:
    """A maximum over axes, which softmax subtracts."""
    axes = tuple(sorted(params["axes"]))
    return build.emit("reduce_max", [value], _reduced_shape(value, axes), axes=axes)


def _window(build: Builder, params, value: Symbol) -> tuple[tuple[int, int], tuple[int, int]]:
    window, strides = params["window_dimensions"], params["window_strides"]
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    outer = [window[0], strides[0], window[-1], strides[-1]]
    if len(value.shape) != 4 or dilated or outer != [1] * 4 or _outer_padding(params):
        raise build.error(
            f"a window reduction with window {window} and strides {strides} on shape {value.shape}",
            "Supported are pools over rows and columns of images [b, h, w, c], not dilated.",
        )
    return tuple(window[1:3]), tuple(strides[1:3])


def _outer_padding(params) -> bool:
    padding = params["padding"]
    return any((*padding[0], *padding[-1]))


def reduce_window_max(build: Builder, params, value: Symbol) -> Symbol:
    """A max pool."""
    window, strides = _window(build, params, value)
    padding = tuple(tuple(pair) for pair in params["padding"][1:3])
    name = "VALID"
    if padding == same_padding(value.shape[1:3], window, strides) and any(map(any, padding)):
        name = "SAME"
    elif any(map(any, padding)):
        node = value.node
        rectified = node is not None and node.kind in ("relu", "relu6")
        if not rectified:
            raise build.error(
                f"a max pool with explicit padding {padding} of values that may be negative",
                'Use padding="SAME", or pool after a relu (then zeros pad as well).',
            )
        value = pad_images(build, value, padding)
    return build.emit(
        "max_pool_2d",
        [value],
        _pooled_shape(value, window, strides, name),
        window=window,
        strides=strides,
        padding=name,
    )


def reduce_window_sum(build: Builder, params, value: Symbol) -> Symbol:
    """A sum over windows; divided by the counts of cells it is an average pool."""
    window, strides = _window(build, params, value)
    padded, name = resolve_padding(build, value, params["padding"][1:3], window, strides)
    return build.emit(
        "window_sum",
        [padded],
        _pooled_shape(padded, window, strides, name),
        window=window,
        strides=strides,
        padding=name,
    )


def _pooled_shape(value: Symbol, window, strides, padding: str) -> tuple[int, ...]:
    sizes = [
        -(-n // s) if padding == "SAME" else (n - w) // s + 1
        for n, w, s in zip(value.shape[1:3], window, strides, strict=True)
    ]
    return (value.shape[0], *sizes, value.shape[3])
