"""Arithmetic on single elements."""

import numpy as np

from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer


def stripped(value: Value) -> Value:
    """Returns the value before it was broadcast: graph ops broadcast by themselves."""
    node = producer(value, "broadcast")
    return node.inputs[0] if node is not None else value


def _narrowed(value: Value, other: Value) -> Value:
    """Returns a known array without the repetitions that broadcast it to the other's shape."""
    if not isinstance(value, Known) or value.shape != other.shape:
        return stripped(value)
    repeated = [stride == 0 for stride in value.array.strides]
    index = tuple(slice(0, 1) if again else slice(None) for again in repeated)
    return Known(value.array[index], value.name) if any(repeated) else value


def _binary(kind: str):
    def lower(build: Builder, params, first: Value, second: Value) -> Symbol:
        del params
        shape = np.broadcast_shapes(first.shape, second.shape)
        return build.emit(kind, [_narrowed(first, second), _narrowed(second, first)], shape)

    return lower


add = _binary("add")
sub = _binary("sub")
mul = _binary("mul")


def div(build: Builder, params, first: Value, second: Value) -> Symbol:
    """Division; by something known it is multiplication (rewriting sees the divisor first)."""
    return _binary("div")(build, params, first, second)


def neg(build: Builder, params, value: Symbol) -> Symbol:
    """Multiplication by -1."""
    del params
    return build.emit("mul", [value, Known(np.asarray(-1, np.float32))], value.shape)


def integer_pow(build: Builder, params, value: Symbol) -> Symbol:
    """Repeated multiplication."""
    if params["y"] < 1:
        raise build.error(f"integer_pow with exponent {params['y']}", "Use a positive exponent.")
    result = value
    for _ in range(params["y"] - 1):
        result = build.emit("mul", [result, value], value.shape)
    return result


def square(build: Builder, params, value: Symbol) -> Symbol:
    """Multiplication by itself."""
    del params
    return build.emit("mul", [value, value], value.shape)


def maximum(build: Builder, params, first: Value, second: Value) -> Value:
    """Rectifiers, where one side is a suitable constant."""
    del params
    value, bound = _with_scalar(first, second)
    if bound == -np.inf:
        return value
    if bound == 0:
        return build.emit("relu", [value], value.shape)
    capped = producer(value, "minimum") if bound == -1 else None
    if capped is not None and _bound(capped) == 1:
        return build.emit("relu_n1_to_1", [_variable(capped)], value.shape)
    return build.emit("maximum", [stripped(first), stripped(second)], _shape(first, second))


def minimum(build: Builder, params, first: Value, second: Value) -> Value:
    """The upper half of relu6 and of a clip to [-1, 1]."""
    del params
    value, bound = _with_scalar(first, second)
    if bound == np.inf:
        return value
    if bound == 6 and (rectified := producer(value, "relu")) is not None:
        return build.emit("relu6", [rectified.inputs[0]], value.shape)
    raised = producer(value, "maximum") if bound == 1 else None
    if raised is not None and _bound(raised) == -1:
        return build.emit("relu_n1_to_1", [_variable(raised)], value.shape)
    return build.emit("minimum", [stripped(first), stripped(second)], _shape(first, second))


def _variable(node: Node) -> Symbol:
    """Returns the operand that is not the bound; it may come first or second."""
    return next(value for value in node.inputs if isinstance(value, Symbol))


def clamp(build: Builder, params, low: Value, value: Value, high: Value) -> Value:
    """Clip: maximum with the lower bound, then minimum with the upper."""
    return minimum(build, params, maximum(build, params, value, low), high)


def exp(build: Builder, params, value: Symbol) -> Symbol:
    """The exponential, which rewriting recognizes inside softmax."""
    del params
    return build.emit("exp", [value], value.shape)


def identity(build: Builder, params, value: Symbol) -> Symbol:
    """Nothing at inference."""
    del build, params
    return value


def convert_element_type(build: Builder, params, value: Symbol) -> Symbol:
    """A change between float types, which the graph computes in float32 anyway."""
    if np.dtype(params["new_dtype"]).kind not in "fV" or np.dtype(value.dtype).kind not in "fV":
        raise build.error(
            f"a conversion from {value.dtype} to {np.dtype(params['new_dtype'])}",
            "Give the function float inputs and convert outside of it.",
        )
    return value


def _shape(first: Value, second: Value) -> tuple[int, ...]:
    return np.broadcast_shapes(first.shape, second.shape)


def _with_scalar(first: Value, second: Value) -> tuple[Value, float | None]:
    """Returns the symbolic side and the constant of the other, None if that is not one number."""
    if isinstance(first, Known):
        first, second = second, first
    return first, second.scalar() if isinstance(second, Known) else None


def _bound(node) -> float | None:
    return _with_scalar(node.inputs[0], node.inputs[1])[1]
