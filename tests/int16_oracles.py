"""The arithmetic of TFLite's kernels on int16 activations, op by op, in NumPy's int64 and float64.

Like `integer_oracles`, it is written from the formulas of the kernels and needs no runtime.
"""

import math

import numpy as np
from integer_oracles import (
    BOUNDS,
    MOVEMENTS,
    Oracle,
    average_pool,
    contract,
    f32,
    half_away,
    half_even,
    mean,
    multiply,
    quantize_multiplier,
    resize_bilinear,
)

CONTRACTIONS = ("conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv")


def int16(values):
    return np.clip(values, -32768, 32767)


def rescale_64(accumulators, real):
    """MultiplyByQuantizedMultiplier of an int64: 15 bits of the multiplier, ties upwards."""
    mantissa, exponent = quantize_multiplier(real)
    reduced = np.where(mantissa < 0x7FFF0000, (mantissa + 2**15) >> 16, 0x7FFF)
    return (accumulators * reduced + (np.int64(1) << (14 - exponent))) >> (15 - exponent)


def _ends(start, stop, number):
    step = number((number(stop) - number(start)) / number(512))
    first = (number(start) + np.arange(512).astype(number) * step).astype(number)
    second = (number(start) + np.arange(1, 513).astype(number) * step).astype(number)
    return first, (first + number(step / 2)).astype(number), second


def line_table(function, start, stop, number=np.float64):
    """513 values in units of 1/32768, each less half of what the line to the next is off midway."""
    scaled = lambda x: np.asarray(function(x.astype(np.float64)), number) * number(32768)  # noqa: E731
    first, middle, second = _ends(start, stop, number)
    own = half_away(scaled(first))
    off = half_away((scaled(second) + own.astype(number)) / number(2)) - half_away(scaled(middle))
    last = half_away(scaled(np.asarray([stop], number)))
    return int16(np.concatenate([own - half_away(off / 2), last]))


def on_lines(table, x):
    i = 256 + (x >> 7)
    return table[i] + (((table[i + 1] - table[i]) * (x & 127) + 64) >> 7)


def softmax(x, scale, kernels):
    number = np.float32 if kernels == "micro" else np.float64
    exponential = line_table(np.exp, -10, 0)
    reciprocal = line_table(lambda v: 1 / (1 + v), 0, 1, number)
    real = np.float64(scale) / (10 / 65535)
    e = multiply(x - x.max(-1, keepdims=True), *quantize_multiplier(real)) + 32767
    e = on_lines(exponential, int16(e))
    total = e.sum(-1, keepdims=True)
    bits = np.vectorize(int.bit_length, otypes=[np.int64])(total.astype(object))
    normal = ((total << (31 - bits)) + 2**13) >> 14
    inverse = on_lines(reciprocal, int16(normal - 2**15 - 2**16))
    return (e * inverse + (np.int64(1) << (bits - 2))) >> (bits - 1)


def sigmoids(kind, x, scale):
    """Both read a table of 65536 logistic(i / 24), whose lines are off half as much midway."""
    logistic = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    i = np.arange(256)
    off = logistic((i + 0.5) / 24) - (logistic(i / 24) + logistic((i + 1) / 24)) / 2
    table = np.floor(65536 * (logistic(i / 24) + off / 2) + 0.5).astype(np.int64)
    table[255] = 65535
    shift, multiplier = 0, float(scale) * 4096 * 3
    while multiplier <= 32767 / 2:
        shift, multiplier = shift + 1, multiplier * 2
    argument = (x * int(multiplier) + (1 << shift >> 1)) >> shift
    bits = 9 if kind == "logistic" else 8
    place, between = np.abs(argument) >> bits, np.abs(argument) & ((1 << bits) - 1)
    low = np.minimum(place, 254)
    result = (table[low] << bits) + between * (table[low + 1] - table[low])
    if kind == "logistic":
        result = np.where(place >= 255, 0x7FFF << 10, result)
        return np.where(argument >= 0, result + 512, 2**25 - result + 511) >> 10
    result = np.where(place >= 255, 0xFFFF << 8, result) - 2**23
    return np.where(argument >= 0, result + 128, -result + 127) >> 8


def contraction(op, kernels, x, kernel, bias, si, sk, so):
    accumulator = contract(op, x, kernel) + bias
    real = si.astype(np.float64) * sk.astype(np.float64) / np.float64(so)
    if op.kind == "fully_connected" and kernels != "micro":
        return half_away(accumulator.astype(np.float64) * real)
    return rescale_64(accumulator, real)


def addition(op, a, b, s1, s2, so):
    """As of int8, but with 15 bits of headroom."""
    twice = 2 * np.float64(max(s1, s2))
    first = multiply(a << 15, *quantize_multiplier(np.float64(s1) / twice))
    second = multiply(b << 15, *quantize_multiplier(np.float64(s2) / twice))
    total = first - second if op.kind == "sub" else first + second
    return multiply(total, *quantize_multiplier(twice / (2**15 * np.float64(so))))


class WideOracle(Oracle):
    """Computes each op of a graph on int16 from the integers of its inputs."""

    def entering(self, name, values):
        scale, _ = self.quantization(name)
        return int16(half_away(np.asarray(values) / scale))

    def op(self, op, integers):
        so, _ = self.quantization(op.outputs[0])
        x = [
            integers[n].astype(np.int64)
            if n in integers
            else None
            if op.kind in CONTRACTIONS
            else self.entering(n, self.array(n))
            for n in op.inputs
        ]
        low, high = (
            int16(half_away(f32(b) / so)) if math.isfinite(b) else int(np.sign(b) * 32768)
            for b in BOUNDS[op.kind if op.kind in BOUNDS else op.activation]
        )
        return np.clip(int16(self._made(op, x, so)), low, high)

    def _made(self, op, x, so):
        scales = [self.quantization(n)[0] for n in op.inputs[:2]]
        if op.kind in CONTRACTIONS:
            kernel = np.clip(half_even(self.array(op.inputs[1]) / scales[1]), -127, 127)
            bias = [
                half_even((self.array(n) / (scales[0] * scales[1])).astype(f32))
                for n in op.inputs[2:]
            ]
            return contraction(op, self.kernels, x[0], kernel, bias[0] if bias else 0, *scales, so)
        if op.kind in ("average_pool_2d", "max_pool_2d"):
            return average_pool(op, x[0])
        if op.kind == "resize_bilinear":
            return resize_bilinear(op, "reference", x[0])
        if op.kind in MOVEMENTS:
            return MOVEMENTS[op.kind](op, *x)
        if op.kind in ("logistic", "tanh"):
            return sigmoids(op.kind, x[0], scales[0])
        if op.kind == "softmax":
            return softmax(x[0], scales[0], self.kernels)
        if op.kind in ("relu6", "relu_n1_to_1"):
            return x[0]
        if op.kind == "maximum":
            return np.maximum(*x)
        if op.kind in ("add", "sub"):
            return addition(op, *x, *scales, so)
        if op.kind == "mean":
            return mean(op, x[0], scales[0], so)
        return self._by_a_ratio(op, x, scales, so)

    def _by_a_ratio(self, op, x, scales, so):
        """LiteRT divides and multiplies scales as floats (QUANTIZE excepted), Micro as doubles."""
        number = np.float64 if self.kernels == "micro" or op.kind == "quantize" else f32
        first, so = number(scales[0]), number(so)
        own = quantize_multiplier(np.float64(first / so))
        if op.kind == "batch_matmul":
            left, right = (
                np.swapaxes(v, -1, -2) if op[a] else v
                for v, a in zip(x, ("adj_x", "adj_y"), strict=True)
            )
            real = np.float64(f32(scales[0] * scales[1])) / np.float64(so)
            return rescale_64(left @ right, real)
        if op.kind == "mul":
            real = number(first * number(scales[1])) / so
            return multiply(x[0] * x[1], *quantize_multiplier(np.float64(real)))
        if op.kind == "leaky_relu":
            slope = number(first * number(f32(op["alpha"]))) / so
            below = multiply(x[0], *quantize_multiplier(np.float64(slope)))
            return np.where(x[0] >= 0, multiply(x[0], *own), below)
        assert op.kind in ("relu", "abs", "quantize"), op.kind
        return multiply(np.abs(x[0]) if op.kind == "abs" else x[0], *own)
