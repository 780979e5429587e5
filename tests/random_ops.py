"""A random graph of each kind of op: sizes, strides, paddings, axes, operands and activations.

`KINDS` has a function of a NumPy generator for every kind that runtimes compute on integers.  What it
returns is a `single_op.Case`, whose scales, zero points and values are drawn anew many times.
"""

import functools
import math
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from single_op import Case

from attokit.zoo.convolution import conv
from attokit.zoo.mask_rcnn import select_masks

Random = np.random.Generator

ACTIVATIONS = {
    "none": lambda y: y,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "clip": lambda y: jnp.clip(y, -1, 1),
}
COMPARISONS = {
    "equal": jnp.equal,
    "greater": jnp.greater,
    "greater_equal": jnp.greater_equal,
    "less": jnp.less,
    "less_equal": jnp.less_equal,
    "not_equal": jnp.not_equal,
    "logical_and": lambda x, y: (x > y) & (x < 1),
    "logical_not": lambda x, y: ~(x > y),
    "logical_or": lambda x, y: (x > y) | (x < -1),
}
FUNCTIONS = {
    "elu": jax.nn.elu,
    "exp": jnp.exp,
    "gelu": jax.nn.gelu,
    "mish": jax.nn.mish,
    "reciprocal": lambda x: 1 / (x * x + 1),
    "sin": jnp.sin,
    "softplus": jax.nn.softplus,
    "square_root": lambda x: jnp.sqrt(jnp.abs(x) + jnp.float32(0.1)),
}


def _one(random: Random, *choices):
    return choices[random.integers(len(choices))]


def _shape(random: Random, least: int = 1, most: int = 4, side: int = 7) -> tuple[int, ...]:
    rank = random.integers(least, most + 1)
    return (int(random.integers(1, 4)), *(int(n) for n in random.integers(1, side + 1, rank - 1)))


def _axes(random: Random, rank: int) -> tuple[int, ...]:
    """Returns some axes, but not the batch's."""
    count = random.integers(1, rank)
    return tuple(sorted(int(i) for i in random.choice(np.arange(1, rank), count, replace=False)))


def _narrowed(random: Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape that broadcasts to another; often the same."""
    if random.random() < 0.4:
        return shape
    return tuple(1 if random.random() < 0.5 else n for n in shape)


def _activation(random: Random) -> str:
    return _one(random, *ACTIVATIONS)


# Contractions.


def _conv(variables, x, *, after, **form):
    kernel, *bias = variables
    y = conv(x, kernel, **form)
    return ACTIVATIONS[after](y + bias[0].reshape(1, 1, 1, -1) if bias else y)


def _padding(random: Random, window: tuple[int, int], size: tuple[int, int]):
    """Returns a padding with which the window fits."""
    fits = all(n >= k for n, k in zip(size, window, strict=True))
    explicit = tuple((int(random.integers(k)), int(random.integers(k))) for k in window)
    if all(n + sum(p) >= k for n, p, k in zip(size, explicit, window, strict=True)):
        return _one(random, "SAME", explicit, *(("VALID",) if fits else ()))
    return "SAME"


def _convolution(random: Random, kind: str) -> Case:
    size = tuple(int(n) for n in random.integers(2, 9, 2))
    window = tuple(int(n) for n in random.integers(1, 5, 2))
    strides = tuple(int(n) for n in random.integers(1, 4, 2))
    dilation = (1, 1) if max(strides) > 1 else tuple(int(n) for n in random.integers(1, 3, 2))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True))
    if kind == "depthwise_conv_2d":
        groups = int(random.integers(2, 9))
        inner, outer = 1, groups * int(random.integers(1, 4))
    else:
        groups = int(_one(random, 1, 1, 2, 3))
        inner, outer = int(random.integers(2, 20)), groups * int(random.integers(1, 7))
    form = functools.partial(
        _conv,
        after=_activation(random),
        strides=strides,
        padding=_padding(random, reach, size),
        dilation=dilation,
        groups=groups,
    )
    bias = ((outer,),) if random.random() < 0.7 else ()
    return Case(
        kind,
        form,
        ((*window, inner, outer), *bias),
        ((int(random.integers(1, 3)), *size, groups * inner),),
        weight_bits=4 if kind == "conv_2d" and random.random() < 0.2 else 8,
    )


def _dense(variables, x, *, after):
    kernel, *bias = variables
    y = x @ kernel
    return ACTIVATIONS[after](y + bias[0].reshape((1,) * (y.ndim - 1) + (-1,)) if bias else y)


def _fully_connected(random: Random) -> Case:
    inner, outer = int(random.integers(2, 90)), int(random.integers(1, 20))
    return Case(
        "fully_connected",
        functools.partial(_dense, after=_activation(random)),
        ((inner, outer), *(((outer,),) if random.random() < 0.7 else ())),
        ((*_shape(random, 1, 3), inner),),
        weight_bits=_one(random, 8, 8, 8, 4),
    )


def _transposed(variables, x, *, strides, padding, after):
    kernel, *bias = variables
    y = jax.lax.conv_transpose(x, kernel, strides, padding)
    return ACTIVATIONS[after](y + bias[0].reshape(1, 1, 1, -1) if bias else y)


def _transpose_conv(random: Random) -> Case:
    size, window, strides = (tuple(int(n) for n in random.integers(1, 5, 2)) for _ in range(3))
    if max(strides) == 1:
        strides = (2, strides[1])  # else it is a convolution
    inner, outer = int(random.integers(1, 9)), int(random.integers(1, 7))
    return Case(
        "transpose_conv",
        functools.partial(
            _transposed,
            strides=strides,
            padding=_one(random, "SAME", "VALID"),
            after=_one(random, "none", "relu", "relu6"),
        ),
        ((*window, inner, outer), *(((outer,),) if random.random() < 0.7 else ())),
        ((int(random.integers(1, 3)), *size, inner),),
    )


def _product(_, x, y, *, turned: tuple[bool, bool]):
    x, y = (jnp.swapaxes(v, -1, -2) if t else v for v, t in zip((x, y), turned, strict=True))
    return x @ y


def _batch_matmul(random: Random) -> Case:
    turned = tuple(bool(random.integers(2)) for _ in range(2))
    rows, inner, columns = (int(n) for n in random.integers(2, 12, 3))
    leading = _shape(random, 1, 2)
    shapes = (rows, inner), (inner, columns)
    inputs = (
        (*leading, *(shape[::-1] if t else shape)) for shape, t in zip(shapes, turned, strict=True)
    )
    return Case("batch_matmul", functools.partial(_product, turned=turned), (), tuple(inputs))


# Of two operands.


def _two(variables, *values, combine: str, after: str = "none", reverse: bool = False):
    x, y = (*values, *variables)
    return ACTIVATIONS[after](COMBINATIONS[combine](*((y, x) if reverse else (x, y))))


COMBINATIONS: Mapping[str, Callable] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "select": lambda x, y: jnp.where(x > y, x, y),
    **COMPARISONS,
}


def _pair(random: Random, kind: str) -> Case:
    shape = _shape(random, 1, 4)
    other = _narrowed(random, shape)
    arithmetic = kind in ("add", "sub", "mul")
    known = arithmetic and random.random() < 0.3 and math.prod(shape) > 1
    function = functools.partial(
        _two,
        combine=kind,
        after=_activation(random) if arithmetic else "none",
        reverse=bool(random.integers(2)),
    )
    if known:  # a weight, which has no batch
        return Case(kind, function, ((1, *other[1:]),), (shape,))
    return Case(kind, function, (), (shape, other))


# Of one.


def _curve(function: Callable, kind: str, least: int = 1) -> Callable[[Random], Case]:
    return lambda random: Case(kind, function, (), (_shape(random, least, 4, 9),))


def _of(_, x, *, name: str):
    return FUNCTIONS[name](x)


def _leak(_, x, *, slope: float, steep: bool):
    return jnp.where(x > 0, x, slope * x) if steep else jax.nn.leaky_relu(x, abs(slope))


def _leaky_relu(random: Random) -> Case:
    slope = round(float(random.uniform(-0.9, 0.9)), 3) or 0.5
    function = functools.partial(_leak, slope=slope, steep=slope < 0)
    return Case("leaky_relu", function, (), (_shape(random),))


def _lookup(random: Random) -> Case:
    name = _one(random, *FUNCTIONS)
    return Case("lookup", functools.partial(_of, name=name), (), (_shape(random),))


def _prelu(random: Random) -> Case:
    shape = _shape(random, 4, 4)
    slopes = _one(random, (1, 1, 1, shape[3]), (1, 1, 1, 1))
    function = lambda v, x: jnp.where(x >= 0, x, v[0] * x)  # noqa: E731
    return Case("prelu", function, (slopes,), (shape,))


def _share(_, x, *, axis, log: bool):
    return (jax.nn.log_softmax if log else jax.nn.softmax)(x, axis=axis)


def _softmax(random: Random, kind: str) -> Case:
    shape = (*_shape(random, 1, 3), int(random.integers(2, 40)))
    axis = -1 if kind == "log_softmax" or random.random() < 0.7 else _axes(random, len(shape))
    function = functools.partial(_share, axis=axis, log=kind == "log_softmax")
    return Case(kind, function, (), (shape,))


# Reductions.


def _reduced(_, x, *, how: str, axes, keepdims: bool):
    x = x > -1 if how == "all" else x
    return getattr(jnp, how)(x, axes, keepdims=keepdims)


def _reduction(random: Random, kind: str) -> Case:
    shape = _shape(random, 2, 4, 9)
    how = {"reduce_max": "max", "reduce_min": "min", "reduce_all": "all"}.get(kind, "mean")
    function = functools.partial(
        _reduced, how=how, axes=_axes(random, len(shape)), keepdims=bool(random.integers(2))
    )
    return Case(kind, function, (), (shape,))


def _arg(random: Random, kind: str) -> Case:
    shape = _shape(random, 2, 4)
    function = functools.partial(
        _place, most=kind == "arg_max", axis=int(random.integers(1, len(shape)))
    )
    return Case(kind, function, (), (shape,))


def _place(_, x, *, most: bool, axis: int):
    return (jnp.argmax if most else jnp.argmin)(x, axis)


def _pooled(_, x, *, average: bool, window, strides, padding):
    if average:
        return nn.avg_pool(x, window, strides, padding, count_include_pad=False)
    return nn.max_pool(x, window, strides, padding)


def _pool(random: Random, kind: str) -> Case:
    size = tuple(int(n) for n in random.integers(2, 10, 2))
    window = tuple(int(n) for n in random.integers(1, 5, 2))
    window = (2, window[1]) if max(window) == 1 else window
    average = kind == "average_pool_2d"
    padding = _padding(random, window, size)
    if average and not isinstance(padding, str):
        padding = "SAME"  # explicit zeros count, so they are a PAD and no padding
    function = functools.partial(
        _pooled,
        average=average,
        window=window,
        strides=tuple(int(n) for n in random.integers(1, 4, 2)),
        padding=padding,
    )
    inputs = (int(random.integers(1, 3)), *size, int(random.integers(1, 20)))
    return Case(kind, function, (), (inputs,))


def _normalized(_, x):
    return x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True))


# Movements.


def _joined(_, *values, axis: int):
    return jnp.concatenate(values, axis)


def _concatenation(random: Random) -> Case:
    shape = _shape(random, 2, 4)
    axis = int(random.integers(1, len(shape)))
    inputs = tuple(
        (*shape[:axis], int(random.integers(1, 6)), *shape[axis + 1 :])
        for _ in range(random.integers(2, 5))
    )
    return Case("concatenation", functools.partial(_joined, axis=axis), (), inputs)


def _padded(_, x, *, widths, mode: str, value: float = 0.0):
    if mode == "constant":
        return jnp.pad(x, widths, constant_values=value)
    return jnp.pad(x, widths, mode)


def _pad(random: Random, kind: str) -> Case:
    shape = (int(random.integers(1, 3)), *(int(n) for n in random.integers(2, 7, 3)))
    most = [1, *(n - 1 for n in shape[1:])]
    widths = tuple(
        (0, 0) if i == 0 else (int(random.integers(n + 1)), int(random.integers(n + 1)))
        for i, n in enumerate(most)
    )
    if not np.any(widths):
        widths = ((0, 0), (1, 0), (0, 0), (0, 0))
    mode, value = "constant", 0.0
    if kind == "mirror_pad":
        mode = _one(random, "reflect", "symmetric")
    elif kind == "pad_v2":
        value = round(float(random.uniform(0.1, 2)), 3)
    function = functools.partial(_padded, widths=widths, mode=mode, value=value)
    return Case(kind, function, (), (shape,))


def _cut(_, x, *, parts):
    return x[tuple(slice(*part) for part in parts)]


def _slice(random: Random, kind: str) -> Case:
    shape = (int(random.integers(1, 3)), *(int(n) for n in random.integers(2, 9, 3)))
    parts: list[tuple[int, int, int]] = [(0, shape[0], 1)]
    for n in shape[1:]:
        begin = int(random.integers(n - 1))
        step = int(random.integers(1, 4)) if kind == "strided_slice" else 1
        parts.append((begin, int(random.integers(begin + 1, n + 1)), step))
    if kind == "strided_slice":
        parts[1] = (0, shape[1], 2)
    elif parts[1][:2] == (0, shape[1]):
        parts[1] = (1, shape[1], 1)
    return Case(kind, functools.partial(_cut, parts=tuple(parts)), (), (shape,))


def _turned(_, x, *, order):
    return jnp.transpose(x, order)


def _transpose(random: Random) -> Case:
    shape = _shape(random, 2, 5)
    shape = tuple(max(n, 2) for n in shape)  # else it may be a RESHAPE
    order = tuple(int(i) for i in random.permutation(len(shape)))
    order = order if order != tuple(sorted(order)) else order[::-1]
    return Case("transpose", functools.partial(_turned, order=order), (), (shape,))


def _reshaped(_, x, *, shape):
    return x.reshape(shape)


def _reshape(random: Random) -> Case:
    shape = _shape(random, 3, 4)
    shape = tuple(max(n, 2) for n in shape)
    cut = int(random.integers(2, len(shape)))
    new = (shape[0], math.prod(shape[1:cut]), math.prod(shape[cut:]))
    new = (shape[0], -1) if new == shape else new
    return Case("reshape", functools.partial(_reshaped, shape=new), (), (shape,))


def _flipped(_, x, *, axis):
    return jnp.flip(x, axis)


def _reverse(random: Random) -> Case:
    shape = tuple(max(n, 2) for n in _shape(random, 2, 4))
    axis = int(random.integers(1, len(shape)))
    return Case("reverse", functools.partial(_flipped, axis=axis), (), (shape,))


def _taken(_, x, *, axis, indices):
    return jnp.take(x, jnp.asarray(indices), axis)


def _taken_by(_, x, indices):
    return jnp.take(x, indices, 1)


def _gather(random: Random) -> Case:
    shape = tuple(max(n, 3) for n in _shape(random, 2, 4))
    if random.random() < 0.5:
        places = (int(random.integers(2, 6)),)
        return Case("gather", _taken_by, (), (shape, places), below=(shape[1],))
    axis = int(random.integers(1, len(shape)))
    some = (int(i) for i in random.integers(shape[axis], size=2))
    indices = (0, shape[axis] - 1, 0, *some)  # no SLICE
    function = functools.partial(_taken, axis=axis, indices=indices)
    return Case("gather", function, (), (shape,))


def _bounded_index(random: Random) -> Case:
    rows, columns = int(random.integers(2, 9)), int(random.integers(1, 6))
    function = lambda v, i: v[0][i]  # noqa: E731
    beyond = rows + int(random.integers(1, 5))
    return Case(
        "bounded_index", function, ((rows, columns),), (_shape(random, 1, 2),), below=(beyond,)
    )


def _broadcast(_, x, *, shape):
    return jnp.broadcast_to(x, shape)


def _broadcast_to(random: Random) -> Case:
    shape = tuple(max(n, 2) for n in _shape(random, 2, 4))
    axes = _axes(random, len(shape))
    narrow = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return Case("broadcast_to", functools.partial(_broadcast, shape=shape), (), (narrow,))


def _blocks(_, x, *, to_depth: bool):
    b, h, w, c = x.shape
    if to_depth:
        blocks = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(b, h // 2, w // 2, 4 * c)
    blocks = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, 2 * h, 2 * w, c // 4)


def _block(random: Random, kind: str) -> Case:
    b, h, w, c = (int(n) for n in random.integers(2, 6, 4))
    to_depth = kind == "space_to_depth"
    shape = (b, 2 * h, 2 * w, c) if to_depth else (b, h, w, 4 * c)
    return Case(kind, functools.partial(_blocks, to_depth=to_depth), (), (shape,))


def _resized(_, x, *, size, method: str):
    shape = (x.shape[0], *size, x.shape[3])
    return jax.image.resize(x, shape, method, antialias=False)


def _resize(random: Random, kind: str) -> Case:
    old = tuple(int(n) for n in random.integers(2, 8, 2))
    new = tuple(int(n) for n in random.integers(2, 14, 2))
    new = (max(new[0], old[0] + 1), new[1])  # else "nearest" may be a STRIDED_SLICE
    method = "bilinear" if kind == "resize_bilinear" else "nearest"
    shape = (int(random.integers(1, 3)), *old, int(random.integers(1, 9)))
    return Case(kind, functools.partial(_resized, size=new, method=method), (), (shape,))


def _select_masks(random: Random) -> Case:
    boxes, side, classes = (int(n) for n in random.integers(2, 6, 3))
    shape = (1, boxes, side, side, classes)
    function = lambda _, masks, chosen: select_masks(masks, chosen)  # noqa: E731
    return Case("select_masks", function, (), (shape, (1, boxes)), below=(classes,))


def _with_kind(make: Callable[[Random, str], Case], *kinds: str) -> dict[str, Callable]:
    return {kind: functools.partial(make, kind=kind) for kind in kinds}


KINDS: Mapping[str, Callable[[Random], Case]] = {
    **_with_kind(_convolution, "conv_2d", "depthwise_conv_2d"),
    "fully_connected": _fully_connected,
    "transpose_conv": _transpose_conv,
    "batch_matmul": _batch_matmul,
    **_with_kind(_pair, *COMBINATIONS),
    "abs": _curve(lambda _, x: jnp.abs(x), "abs"),
    "hard_swish": _curve(lambda _, x: jax.nn.hard_swish(x), "hard_swish"),
    "logistic": _curve(lambda _, x: jax.nn.sigmoid(x), "logistic"),
    "tanh": _curve(lambda _, x: jnp.tanh(x), "tanh"),
    "relu": _curve(lambda _, x: jax.nn.relu(x), "relu"),
    "relu6": _curve(lambda _, x: jax.nn.relu6(x), "relu6"),
    "relu_n1_to_1": _curve(lambda _, x: jnp.clip(x, -1, 1), "relu_n1_to_1"),
    "leaky_relu": _leaky_relu,
    "lookup": _lookup,
    "prelu": _prelu,
    **_with_kind(_softmax, "softmax", "log_softmax"),
    "l2_normalization": _curve(_normalized, "l2_normalization", 2),
    **_with_kind(_reduction, "mean", "reduce_max", "reduce_min", "reduce_all"),
    **_with_kind(_arg, "arg_max", "arg_min"),
    **_with_kind(_pool, "average_pool_2d", "max_pool_2d"),
    "concatenation": _concatenation,
    **_with_kind(_pad, "pad", "pad_v2", "mirror_pad"),
    **_with_kind(_slice, "slice", "strided_slice"),
    "transpose": _transpose,
    "reshape": _reshape,
    "reverse": _reverse,
    "gather": _gather,
    "bounded_index": _bounded_index,
    "broadcast_to": _broadcast_to,
    **_with_kind(_block, "depth_to_space", "space_to_depth"),
    **_with_kind(_resize, "resize_bilinear", "resize_nearest_neighbor"),
    "select_masks": _select_masks,
}
