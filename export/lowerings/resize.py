"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR, to a size that is an int32 constant."""

from collections.abc import Callable

from attokit.export.flatbuffer import Operator
from attokit.export.lowerings.context import Context
from attokit.quant.ops.kind import Op

_WIDE = 4  # of int16
_WITH_HALF_PIXELS = 3  # first version that knows them; RESIZE_NEAREST_NEIGHBOR: either flag


def resize(code: int, options: type, corners: int) -> Callable[[Context, Op], tuple[Operator, ...]]:
    """Returns the lowering of a resize.

    Args:
      code: The operator.
      options: Its options class.
      corners: First version for int8 that aligns corners.
    """

    def lower(context: Context, op: Op) -> tuple[Operator, ...]:
        half, aligned = op["mode"] == "half_pixel", op["mode"] == "align_corners"
        version = context.version(op, int8=2)
        version = _WITH_HALF_PIXELS if half else max(version, corners) if aligned else version
        version = _WIDE if context.is_wide(op) else version
        made = options(alignCorners=aligned, halfPixelCenters=half)
        inputs = (context.operand(op, 0), context.numbers(op, "size", op["size"]))
        return (context.operator(op, code, inputs, made, version),)

    return lower
