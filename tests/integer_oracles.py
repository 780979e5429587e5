"""The integer arithmetic of TFLite's kernels, op by op, in NumPy's int64 and float64.

Written from the formulas of the kernels (LiteRT's reference kernels, TFLite Micro's, XNNPACK's),
not from `attokit.quant`: an oracle that needs no runtime.  `f32` marks every rounding to float32.
"""

import functools
import math

import jax
import numpy as np
from single_op import Case, Drawer

from attokit import quant

f32 = np.float32
BOUNDS = {
    "none": (-math.inf, math.inf),
    "relu": (0, math.inf),
    "relu6": (0, 6),
    "relu_n1_to_1": (-1, 1),
}


def half_away(x):
    x = np.asarray(x, np.float64)
    return (np.trunc(x) + np.sign(x) * (np.abs(x - np.trunc(x)) >= 0.5)).astype(np.int64)


def half_even(x):
    return np.rint(np.asarray(x, np.float64)).astype(np.int64)


@functools.partial(np.vectorize, otypes=[np.int64, np.int64])
def quantize_multiplier(real: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(real)
    mantissa = math.floor(fraction * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, exponent = 2**30, exponent + 1
    return (0, 0) if exponent < -31 else (mantissa, exponent)


def high_product(a, b):
    """SaturatingRoundingDoublingHighMul: truncated, after a nudge away from zero."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    return np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))


def rounding_shift(x, n):
    """RoundingDivideByPOT: ties away from zero."""
    x, n = np.asarray(x, np.int64), np.asarray(n, np.int64)
    mask = (np.int64(1) << n) - 1
    return (x >> n) + ((x & mask) > (mask >> 1) + (x < 0))


def multiply(x, mantissa, exponent):
    """MultiplyByQuantizedMultiplier, built with both roundings."""
    x = np.asarray(x, np.int64) << np.maximum(exponent, 0)
    return rounding_shift(high_product(x, mantissa), np.maximum(-exponent, 0))


def clamp(y, op, scale, zero_point, kernels):
    rounding = half_even if kernels == "xnnpack" else half_away
    low, high = (
        int(bound) * 1000 if math.isinf(bound) else int(rounding(f32(bound) / scale))
        for bound in (max(-1e6, b) if b < 0 else min(1e6, b) for b in BOUNDS[op.activation])
    )
    low, high = max(-128, low + zero_point), min(127, high + zero_point)
    return np.clip(y, low, high)


def contract(op, x, kernel):
    """Sums of products in int64; padding adds nothing."""
    if op.kind == "fully_connected":
        return x @ kernel
    if op.kind == "transpose_conv":
        return transpose_conv(op, x, kernel)
    (kh, kw, cin, cout), (sh, sw), (dh, dw) = kernel.shape, op["strides"], op["dilation"]
    groups, sizes = op["groups"], []
    for axis, k, s, d in ((1, kh, sh, dh), (2, kw, sw, dw)):
        window, n = (k - 1) * d + 1, x.shape[axis]
        out = -(-n // s) if op["padding"] == "SAME" else (n - window) // s + 1
        total = max(0, (out - 1) * s + window - n) if op["padding"] == "SAME" else 0
        sizes.append((out, total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), sizes[0][1:], sizes[1][1:], (0, 0)))
    (oh, *_), (ow, *_) = sizes
    result = np.zeros((x.shape[0], oh, ow, cout), np.int64)
    per_group = cout // groups
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
            taps = x[:, rows, j * dw : j * dw + (ow - 1) * sw + 1 : sw]
            for g in range(groups):
                own = slice(g * per_group, (g + 1) * per_group)
                result[..., own] += taps[..., g * cin : (g + 1) * cin] @ kernel[i, j][:, own]
    return result


def transpose_conv(op, x, kernel):
    """Lays each pixel's multiple of the turned kernel down, and cuts the output out."""
    (sh, sw), (top, left), size = op["strides"], op["offset"], op["size"]
    reach = [max(n, o + w) + 50 for n, o, w in zip(x.shape[1:3], op["offset"], size, strict=True)]
    canvas = np.zeros((x.shape[0], reach[0] * sh, reach[1] * sw, kernel.shape[3]), np.int64)
    kh, kw = kernel.shape[:2]
    for i, j in np.ndindex(*x.shape[1:3]):
        patch = np.einsum("bc,hwco->bhwo", x[:, i, j], kernel[::-1, ::-1])
        canvas[:, i * sh : i * sh + kh, j * sw : j * sw + kw] += patch
    return canvas[:, top : top + size[0], left : left + size[1]]


def batch_matmul(op, kernels, x, y, s, zero_point, so):
    """XNNPACK takes only seconds whose zero point is 0."""
    x = np.swapaxes(x, -1, -2) if op["adj_x"] else x
    y = np.swapaxes(y, -1, -2) if op["adj_y"] else y
    product = f32(s[0] * s[1])
    if kernels == "xnnpack" and zero_point == 0:
        return half_even((x @ y).astype(f32) * f32(product / so))
    return multiply(x @ y, *quantize_multiplier(np.float64(product) / np.float64(so)))


def contraction(op, kernels, x, kernel, bias, si, sk, so):
    accumulator = contract(op, x, kernel) + bias
    if kernels == "xnnpack":
        return half_even(accumulator.astype(f32) * f32(f32(si * sk) / so))
    real = si.astype(np.float64) * sk.astype(np.float64) / np.float64(so)
    if op.kind == "fully_connected" and kernels == "reference":
        return half_away(accumulator.astype(np.float64) * real)
    return multiply(accumulator, *quantize_multiplier(real))


def addition(op, kernels, a, b, s1, s2, so):
    sign = -1 if op.kind == "sub" else 1
    if kernels == "xnnpack":
        r1, r2 = f32(s1 / so), f32(s2 / so)
        shift = 20 - (math.frexp(max(r1, r2))[1] - 1)
        m1, m2 = (half_even(np.ldexp(np.float64(r), shift)) for r in (r1, r2))
        return (a * m1 + sign * b * m2 + (1 << (shift - 1))) >> shift
    twice = 2 * np.float64(max(s1, s2))
    first = multiply(a << 20, *quantize_multiplier(np.float64(s1) / twice))
    second = multiply(b << 20, *quantize_multiplier(np.float64(s2) / twice))
    output = quantize_multiplier(twice / (2**20 * np.float64(so)))
    return multiply(first + sign * second, *output)


def multiplication(kernels, a, b, s1, s2, so):
    single = f32(f32(s1 * s2) / so)
    if kernels == "xnnpack":
        return half_even((a * b).astype(f32) * single)
    double = np.float64(s1) * np.float64(s2) / np.float64(so)
    return multiply(a * b, *quantize_multiplier(double if kernels == "micro" else single))


def average_pool(op, q):
    """On stored integers: the zero point takes part."""
    (kh, kw), (sh, sw) = op["window"], op["strides"]
    height, width = q.shape[1:3]

    def starts(n, k, s):
        if op["padding"] == "VALID":
            return [i * s for i in range((n - k) // s + 1)]
        out = -(-n // s)
        return [i * s - max(0, (out - 1) * s + k - n) // 2 for i in range(out)]

    rows = []
    for top in starts(height, kh, sh):
        row = []
        for left in starts(width, kw, sw):
            cells = q[:, max(top, 0) : top + kh, max(left, 0) : left + kw]
            if op.kind == "max_pool_2d":
                row.append(cells.max((1, 2)))
                continue
            n, total = cells.shape[1] * cells.shape[2], cells.sum((1, 2))
            row.append(np.sign(total) * ((np.abs(total) + n // 2) // n))
        rows.append(np.stack(row, 1))
    return np.stack(rows, 1)


def mean(op, x, si, so):
    count = math.prod(x.shape[axis] for axis in op["axes"])
    mantissa, exponent = quantize_multiplier(np.float64(si) / np.float64(so))
    shift = min(int(math.log2(count)), 32, 31 + int(exponent))
    total = x.sum(op["axes"], keepdims=op["keepdims"])
    return multiply(total, (int(mantissa) << shift) // count, exponent - shift)


def softmax(q, scale):
    """gemmlowp: exponentials in Q0.31, their sum in Q12.19, a reciprocal by Newton's method."""
    mantissa, exponent = quantize_multiplier(min(np.float64(scale) * 2**26, 2**31 - 1))
    d = q - q.max(-1, keepdims=True)
    kept = d >= -math.floor(31 * 2**26 / 2 ** int(exponent))
    e = np.where(kept, _exp_of_negative(high_product(d << exponent, mantissa)), 0)
    total = rounding_shift(e, 12).sum(-1, keepdims=True)
    headroom = np.int64(32) - np.vectorize(int.bit_length, otypes=[np.int64])(total.astype(object))
    inverse = _reciprocal((total << headroom) - 2**31)
    y = rounding_shift(high_product(inverse, e), 12 - headroom + 31 - 8)
    return np.where(kept, y, 0) - 128


def _exp_of_negative(a):
    quarter = (a & (2**24 - 1)) - 2**24
    x = (quarter << 5) + 2**28
    x2 = high_product(x, x)
    x3, x4 = high_product(x2, x), high_product(x2, x2)
    tail = rounding_shift(high_product(rounding_shift(x4, 2) + x3, 715827883) + x2, 1)
    result = 1895147668 + high_product(1895147668, x + tail)
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for bit, factor in enumerate(factors, 24):
        chosen = ((quarter - a) >> bit) & 1 == 1
        result = np.where(chosen, high_product(result, factor), result)
    return np.where(a == 0, 2**31 - 1, result)


def _reciprocal(a):
    half = (a + 2**31 - 1 + 1) // 2
    x = 1515870810 + high_product(half, -1010580540)
    for _ in range(3):
        x = x + (high_product(x, 2**29 - high_product(half, x)) << 2)
    return np.minimum(x << 1, 2**31 - 1)


def resize_bilinear(op, kernels, q):
    """On stored integers; along each axis two neighbours and the weight of the second."""

    def axis(n, m):
        i, corners = np.arange(m), int(op["mode"] == "align_corners" and m > 1)
        half = op["mode"] == "half_pixel"
        if kernels == "xnnpack":
            step = f32(f32(n - corners) / f32(m - corners))
            place = i.astype(f32) * step
            place = place + f32(f32(0.5) * step - f32(0.5)) if half else place
            place = np.clip(place, 0, n - 1)
            low = place.astype(int)
            return low, np.minimum(low + 1, n - 1), half_even((place - low.astype(f32)) * f32(2048))
        rounding = (m - 1) // 2 if corners else m // 2
        step = (1024 * (n - corners) + rounding) // (m - corners)
        place = i * step + (step // 2 - 512 if half else 0)
        low = np.maximum(np.trunc(place / 1024).astype(int), 0)
        high = np.minimum(np.trunc((place + 1023) / 1024).astype(int), n - 1)
        return low, high, place - 1024 * low

    (top, bottom, fy), (left, right, fx) = map(axis, q.shape[1:3], op["size"])
    fy, fx = fy[:, None, None], fx[None, :, None]
    a, b = q[:, top][:, :, left], q[:, top][:, :, right]
    c, d = q[:, bottom][:, :, left], q[:, bottom][:, :, right]
    if kernels == "xnnpack":
        upper, lower = a * 2048 + (b - a) * fx, c * 2048 + (d - c) * fx
        return (upper * 2048 + (lower - upper) * fy + 2**21) >> 22
    total = (a * (1024 - fx) + b * fx) * (1024 - fy) + (c * (1024 - fx) + d * fx) * fy
    return np.trunc((total + np.where(total > 0, 2**19, -(2**19))) / 2**20).astype(np.int64)


def nearest(n, m, mode):
    """Which cell of n RESIZE_NEAREST_NEIGHBOR takes for each of m."""
    corners = int(mode == "align_corners" and m > 1)
    step = f32(f32(n - corners) / f32(m - corners))
    place = (np.arange(m, dtype=f32) + f32(0.5 * (mode == "half_pixel"))) * step
    return np.minimum(half_away(place) if corners else np.floor(place).astype(int), n - 1)


MOVEMENTS = {
    "concatenation": lambda op, *x: np.concatenate(x, op["axis"]),
    "pad": lambda op, x: np.pad(x, op["widths"]),
    "reduce_max": lambda op, x: x.max(op["axes"], keepdims=op["keepdims"]),
    "reduce_min": lambda op, x: x.min(op["axes"], keepdims=op["keepdims"]),
    "reshape": lambda op, x: x.reshape(op["shape"]),
    "resize_nearest_neighbor": lambda op, x: x[
        :,
        nearest(x.shape[1], op["size"][0], op["mode"])[:, None],
        nearest(x.shape[2], op["size"][1], op["mode"]),
    ],
    "slice": lambda op, x: x[
        tuple(
            slice(b, None if n == -1 else b + n)
            for b, n in zip(op["begin"], op["size"], strict=True)
        )
    ],
    "strided_slice": lambda op, x: x[tuple(map(slice, op["begin"], op["end"], op["strides"]))],
    "transpose": lambda op, x: np.transpose(x, op["permutation"]),
}


class Oracle:
    """Computes each op of a graph from the integers of its inputs."""

    def __init__(self, graph, weights, qparams, kernels):
        self.graph, self.weights, self.kernels = graph, weights, kernels
        self.qparams = qparams

    def quantization(self, name):
        key = self.graph.tensors[name].range_name if name in self.graph.tensors else name
        if key in self.graph.fixed_ranges:
            scale, zero_point = self.graph.fixed_ranges[key]
            return f32(scale), zero_point
        entry = self.qparams[key]
        return np.asarray(entry.scale), int(entry.zero_point)

    def array(self, name):
        return np.asarray(self.graph.array(self.weights, name))

    def entering(self, name, values):
        scale, zero_point = self.quantization(name)
        return np.clip(half_away(np.asarray(values) / scale) + zero_point, -128, 127)

    def op(self, op, integers):
        """Returns the stored integers of the op's output, given those of all activations."""
        so, zo = self.quantization(op.outputs[0])
        stored = [integers[n].astype(np.int64) if n in integers else None for n in op.inputs]
        if op.kind in ("average_pool_2d", "max_pool_2d"):
            return clamp(average_pool(op, stored[0]), op, so, zo, self.kernels)
        if op.kind == "resize_bilinear":
            return resize_bilinear(op, self.kernels, stored[0])
        if op.kind in MOVEMENTS:
            zero_points = [self.quantization(n)[1] for n in op.inputs]
            moved = MOVEMENTS[op.kind](op, *(q - zo for q in stored)) + zo
            return moved if {*zero_points} == {zo} else moved + 1000
        s, z = zip(*map(self.quantization, op.inputs[:2]), strict=True)
        if op.kind == "softmax":
            return np.clip(softmax(stored[0], s[0]), -128, 127)
        if op.kind == "batch_matmul":
            x, y = (q - zn for q, zn in zip(stored, z, strict=True))
            y = batch_matmul(op, self.kernels, x, y, s, z[1], so)
        elif op.kind in ("conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv"):
            kernel = np.clip(half_even(self.array(op.inputs[1]) / s[1]), -127, 127)
            bias = [half_even(self.array(n) / (s[0] * s[1])) for n in op.inputs[2:]]
            y = contraction(
                op, self.kernels, stored[0] - z[0], kernel, bias[0] if bias else 0, *s, so
            )
        else:
            x = [
                self.entering(n, self.array(n)) - zn if q is None else q - zn
                for n, q, zn in zip(op.inputs, stored, z, strict=True)
            ]
            y = self._elementwise(op, x, s, so)
        return clamp(y + zo, op, so, zo, self.kernels)

    def _elementwise(self, op, x, s, so):
        if op.kind in ("add", "sub"):
            return addition(op, self.kernels, *x, *s, so)
        if op.kind == "mul":
            return multiplication(self.kernels, *x, *s, so)
        if op.kind == "mean":
            return mean(op, x[0], s[0], so)
        if op.kind == "quantize" and self.kernels == "xnnpack":
            return (x[0] * half_even(f32(256 * f32(s[0] / so))) + 128) >> 8
        single = op.kind == "relu" and self.kernels != "micro"
        real = f32(s[0] / so) if single else np.float64(s[0]) / np.float64(so)
        y = multiply(x[0], *quantize_multiplier(np.float64(real)))
        if op.kind == "relu":
            return np.maximum(y, 0)
        if op.kind == "quantize":
            return y
        low, high = (half_away(f32(b) / so) for b in BOUNDS[op.kind])
        return np.clip(x[0], low, high)


@functools.cache
def _drawer(case: Case) -> Drawer:
    return Drawer(case)


@functools.cache
def compiled(graph: quant.Graph, kernels: quant.Kernels):
    # Compiling is most of the time here, so little of it is asked for.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(quant.fake_quant(graph, kernels).integers, compiler_options=options)


def largest_difference(case: Case, kernels: quant.Kernels, draws: int = 3) -> int:
    """Returns the greatest difference of any op from its oracle over random qparams."""
    drawer, worst = _drawer(case), 0
    for _ in range(draws):
        weights, qparams, inputs = drawer.draw()
        graph, oracle = drawer.graph, Oracle(drawer.graph, weights, qparams, kernels)
        integers = compiled(graph, kernels)(weights, qparams, *inputs)
        integers = {name: np.asarray(value) for name, value in integers.items()}
        for name, value in zip(graph.inputs, inputs, strict=True):
            worst = max(worst, _difference(integers[name], oracle.entering(name, value)))
        for op in graph.ops:
            worst = max(worst, _difference(integers[op.outputs[0]], oracle.op(op, integers)))
    return worst


def _difference(first, second) -> int:
    return int(np.abs(first.astype(np.int64) - second).max(initial=0))


def entries(function, si, zi, so, zo):
    """A table of 256: float32 steps, the inverse of the output's scale, half away from zero."""
    reals = f32(si) * (np.arange(-128, 128) - zi).astype(f32)
    scaled = f32(function(reals)) * (f32(1) / f32(so))
    return np.clip(half_away(scaled) + int(zo), -128, 127)
