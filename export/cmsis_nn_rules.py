"""Which function of CMSIS-NN runs an operator in TFLite Micro on a Cortex-M, and the scratch that it asks for.

Read from the sources, tried on no board. TFLite Micro, `kernels/cmsis_nn`, which decides what goes to its reference
kernels: `conv`, `depthwise_conv`, `fully_connected`, `batch_matmul`, `softmax`, `maximum_minimum`, `pad`, `transpose`
and `transpose_conv` of 2024 and 2025, `add`, `mul` and `pooling` of 2022. CMSIS-NN, by file and revision:
`arm_nnsupportfunctions.h` 22.9.0; `arm_convolve_get_buffer_sizes_s8` 2.3.0, `_s16` 2.0.0; `arm_convolve_wrapper_s4`
1.2.1; `arm_convolve_s4` 1.1.0, `_s8` 3.7.0, `_s16` 4.0.0; `arm_depthwise_conv_wrapper_s8` 2.2.0;
`arm_depthwise_conv_get_buffer_sizes_s8` 1.3.0, `_s4` 1.0.0; `arm_transpose_conv_wrapper_s8` 1.0.0,
`arm_transpose_conv_get_buffer_sizes_s8` 2.1.0; `arm_fully_connected_get_buffer_sizes_s8` 1.1.0;
`arm_avgpool_get_buffer_sizes_s8` and `_s16` 1.0.0. That of `_s4` knows no Helium yet: depthwise convolutions of 4 bits are
taken to ask there for what those of 8 bits ask. Where a size depends on the compiler it is that of GCC: Arm's compiler asks
4 bytes per input channel for 1x1 convolutions on DSP.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from attokit.export.anatomy import OperatorInfo, Subgraph
from attokit.export.cmsis_nn_convolutions import (
    MALFORMED,
    Core,
    Kernel,
    conv_2d,
    depthwise_conv_2d,
    plain,
    transpose_conv,
)
from attokit.export.detection import CUSTOM_CODE, post_process_scratch
from attokit.export.micro_rules import problem_in_micro
from attokit.export.problems import Problem, Seen

_INT32 = 4  # bytes
_RANK = 4  # up to which arm_transpose_s8 goes
# What only moves bytes, which CMSIS-NN would not do faster.
_COPIES = frozenset(
    {
        "CONCATENATION", "DEQUANTIZE", "EXPAND_DIMS", "PACK", "QUANTIZE", "RESHAPE", "SLICE", "SPLIT",
        "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "UNPACK",
    }
)  # fmt: skip
_INSTEAD = {
    "HARD_SWISH": "use relu or relu6, which the convolution before does itself",
    "LEAKY_RELU": "use relu or relu6, which the convolution before does itself",
    "LOGISTIC": "it costs little at the end of a network; inside, use relu or relu6",
    "MEAN": "nn.avg_pool over the whole map is AVERAGE_POOL_2D, which has a kernel",
    "MIRROR_PAD": "pad with zeros",
    "PRELU": "use relu or relu6, which the convolution before does itself",
    "RELU": "put it right behind the convolution, which then does it itself",
    "RELU6": "put it right behind the convolution, which then does it itself",
}
_UNCOUNTED = Problem("its scratch is not counted here", "ask its own function for the size")


def kernel_of(graph: Subgraph, operator: OperatorInfo, core: Core) -> Kernel:
    """Returns what runs an operator on a core."""
    if (refused := problem_in_micro(graph, operator)) is not None:
        return Kernel(speed="unfit", problem=refused)
    rule = _RULES.get(operator.kind)
    if rule is None:
        if operator.kind in _COPIES:
            return Kernel(speed="reference")
        if operator.kind == CUSTOM_CODE:
            problem = Problem(
                "its scratch grows with the boxes that it may answer", "let it answer fewer"
            )
            scratch = post_process_scratch(graph, operator)
            return Kernel(speed="reference", scratch=scratch, problem=problem)
        problem = Problem("CMSIS-NN has no kernel of it", _INSTEAD.get(operator.kind, ""))
        return Kernel(speed="reference", problem=problem)
    if not operator.outputs or min(operator.inputs[:1], default=-1) < 0:
        return MALFORMED
    return rule(Seen(graph, operator), core)


def _named(prefix: str, dtype: str) -> str:
    return f"{prefix}_{'s16' if dtype == 'int16' else 's8'}"


def _elementwise(seen: Seen, core: Core) -> Kernel:
    """Of ADD and MUL, whose kernels take two operands of one shape."""
    del core
    dtype = seen.dtype()
    if dtype not in ("int8", "int16"):
        return plain(seen, dtype)
    shapes = [seen.shape(0), seen.shape(1)]
    first, second = ((1,) * (max(map(len, shapes)) - len(s)) + s for s in shapes)
    if first != second:
        small, large = sorted(shapes, key=math.prod)
        return Kernel(
            speed="reference",
            problem=Problem(
                f"its operands {_sizes(small)} and {_sizes(large)} are not of one shape",
                "a value per channel belongs into the weights before it; of a gate there is no other form",
            ),
        )
    return Kernel(name=_named(f"arm_elementwise_{seen.operator.kind.lower()}", dtype))


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def _pool(seen: Seen, core: Core) -> Kernel:
    dtype, shape = seen.dtype(), seen.shape()
    if len(shape) != 4:
        return MALFORMED
    if dtype not in ("int8", "int16"):
        return plain(seen, dtype)
    average = seen.operator.kind == "AVERAGE_POOL_2D"
    name = _named("arm_avgpool" if average else "arm_max_pool", dtype)
    if shape[0] != 1:
        problem = Problem(
            f"of a batch of {shape[0]} it pools the first image only", "trace with a batch of 1"
        )
        return Kernel(name=name, speed="unfit", problem=problem)
    return Kernel(name=name, scratch=shape[3] * _INT32 if average and core == "dsp" else 0)


def _dense(seen: Seen, core: Core) -> Kernel:
    dtype, kernel, output = seen.dtype(), seen.input(1), seen.output.shape
    if kernel is None or not kernel.shape or not output:
        return MALFORMED
    if dtype not in ("int8", "int16"):
        return plain(seen, dtype)
    per_channel = kernel.scale.size > 1
    if per_channel and (dtype == "int16" or kernel.dtype == "int4"):
        problem = Problem(
            "TFLite Micro refuses a scale per channel here", "quantize it with one scale"
        )
        return Kernel(speed="unfit", problem=problem)
    if dtype == "int16" or kernel.dtype == "int4":
        return Kernel(name=f"arm_fully_connected_{'s16' if dtype == 'int16' else 's4'}")
    scales = output[-1] * _INT32
    if len(output) > 2 and kernel.shape[-1] % 4 == 0:  # a multiplier and a shift per channel
        scratch = 0 if per_channel else 2 * scales
        return Kernel(name="arm_convolve_1x1_s8_fast", scratch=scratch)
    name = f"arm_fully_connected_{'per_channel_' * per_channel}s8"
    return Kernel(name=name, scratch=scales if core == "helium" else 0)


def _products(seen: Seen, core: Core) -> Kernel:
    """Of BATCH_MATMUL."""
    dtype, output = seen.dtype(), seen.output.shape
    if dtype not in ("int8", "int16"):
        return plain(seen, dtype)
    sums = core == "helium" and dtype == "int8" and output
    return Kernel(
        name=_named("arm_batch_matmul", dtype), scratch=output[-1] * _INT32 if sums else 0
    )


def _softmax(seen: Seen, core: Core) -> Kernel:
    del core
    dtype = seen.dtype()
    if dtype not in ("int8", "int16"):
        return plain(seen, dtype)
    widens = dtype == "int8" and seen.output.dtype == "int16"
    return Kernel(name=_named("arm_softmax", dtype) + "_s16" * widens)


def _bytes_only(name: str) -> Callable[[Seen, Core], Kernel]:
    """Returns the rule of a kernel that takes int8 of any shape."""

    def rule(seen: Seen, core: Core) -> Kernel:
        del core
        return Kernel(name=name) if seen.dtype() == "int8" else plain(seen, seen.dtype())

    return rule


def _transpose(seen: Seen, core: Core) -> Kernel:
    rank = len(seen.shape())
    if seen.dtype() == "int8" and rank > _RANK:
        problem = Problem(
            f"it has {rank} axes, the kernel at most {_RANK}", "merge axes that stay neighbours"
        )
        return Kernel(speed="unfit", problem=problem)
    return _bytes_only("arm_transpose_s8")(seen, core)


def _pad(seen: Seen, core: Core) -> Kernel:
    kernel = _bytes_only("arm_pad_s8")(seen, core)
    hint = _without_pad(seen)
    return kernel if hint is None else Kernel(name=kernel.name, speed=kernel.speed, problem=hint)


_WINDOWS: Mapping[str, Callable[[Seen], tuple[int, ...]]] = MappingProxyType(
    {
        "CONV_2D": lambda seen: seen.shape(1)[1:3],
        "DEPTHWISE_CONV_2D": lambda seen: seen.shape(1)[1:3],
        "MAX_POOL_2D": lambda seen: (seen.option("filterHeight"), seen.option("filterWidth")),
    }
)  # whose padding may be another; the kernel's rows and columns of each


def _without_pad(seen: Seen) -> Problem | None:
    """Returns what a PAD costs that a network with SAME padding does not have, or None."""
    graph, made = seen.graph, seen.operator.outputs[0]
    readers = [op for op in graph.operators if made in op.inputs]
    widths, size = seen.numbers(1), seen.shape()[1:3]
    if len(readers) != 1 or readers[0].kind not in _WINDOWS or made in graph.outputs:
        return None
    reader = Seen(graph, readers[0])
    window, out = _WINDOWS[reader.operator.kind](reader), reader.output.shape[1:3]
    if widths is None or widths.shape != (4, 2) or widths[[0, 3]].any():
        return None
    if {len(size), len(window), len(out)} != {2}:
        return None
    strides = reader.option("strideH", 1), reader.option("strideW", 1)
    dilation = reader.option("dilationHFactor", 1), reader.option("dilationWFactor", 1)
    if min(strides) < 1 or any(
        o != math.ceil(n / s) for o, n, s in zip(out, size, strides, strict=True)
    ):
        return None
    totals = [
        max(0, (o - 1) * s + (w - 1) * d + 1 - n)
        for o, s, w, d, n in zip(out, strides, window, dilation, size, strict=True)
    ]
    same = tuple((total // 2, total - total // 2) for total in totals)
    now = tuple((int(before), int(after)) for before, after in widths[1:3])
    other = f"={same} in that {reader.operator.kind}, not {now}, has none: it is SAME"
    alike = f" SAME in that {reader.operator.kind} has none"
    return Problem(
        f"its copy takes {seen.output.size:,} bytes of the arena",
        f"a network with padding{alike if now == same else other}",
    )


def _uncounted(name: str) -> Callable[[Seen, Core], Kernel]:
    def rule(seen: Seen, core: Core) -> Kernel:
        del core
        dtype = seen.dtype()
        if dtype not in ("int8", "int16"):
            return plain(seen, dtype)
        return Kernel(name=_named(name, dtype), problem=_UNCOUNTED)

    return rule


_RULES: Mapping[str, Callable[[Seen, Core], Kernel]] = MappingProxyType(
    {
        "ADD": _elementwise,
        "AVERAGE_POOL_2D": _pool,
        "BATCH_MATMUL": _products,
        "CONV_2D": conv_2d,
        "DEPTHWISE_CONV_2D": depthwise_conv_2d,
        "FULLY_CONNECTED": _dense,
        "MAXIMUM": _bytes_only("arm_maximum_s8"),
        "MAX_POOL_2D": _pool,
        "MINIMUM": _bytes_only("arm_minimum_s8"),
        "MUL": _elementwise,
        "PAD": _pad,
        "PADV2": _pad,
        "SOFTMAX": _softmax,
        "SVDF": _uncounted("arm_svdf"),
        "TRANSPOSE": _transpose,
        "TRANSPOSE_CONV": transpose_conv,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": _uncounted("arm_lstm_unidirectional"),
    }
)
RULED = frozenset(_RULES)
