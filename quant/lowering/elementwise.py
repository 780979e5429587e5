"""Arithmetic on single elements."""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attokit.quant.graph import is_quantized
from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer, stripped


def _narrowed(value: Value) -> Value:
    """Returns a value before broadcasting, as `stripped` or `Known.narrowed`."""
    if not isinstance(value, Known):
        return stripped(value)
    return value.narrowed(range(len(value.shape)))


def _operands(*values: Value) -> list[Value]:
    """Returns values as they were before broadcasting, if they still broadcast to the same shape.

    Else one of them stays as wide as the result: one that depends on the inputs, if such a one is. Where none is
    that wide, as of [h, 1] and [1, w], those stay without which the result would be smaller.
    """
    shape = _shape(*values)
    narrow = [_narrowed(value) for value in values]
    if _shape(*narrow) == shape:
        return narrow

    def stays_longest(i: int) -> tuple[bool, bool, int]:
        return values[i].shape == shape, isinstance(values[i], Symbol), -i

    found = list(values)
    for i in sorted(range(len(values)), key=stays_longest):
        tried = [*found[:i], narrow[i], *found[i + 1 :]]
        if _shape(*tried) == shape:
            found = tried
    return found


def _binary(kind: str):
    def lower(build: Builder, params, first: Value, second: Value) -> Symbol:
        del params
        return build.emit(kind, _operands(first, second), _shape(first, second))

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
    """A small positive power by multiplication, the others as functions."""
    exponent = params["y"]
    if not 1 <= exponent <= 3:
        return unary("integer_pow")(build, params, value)
    result = value
    for _ in range(exponent - 1):
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
    if bound == 0 and is_quantized(value.dtype):
        return build.emit("relu", [value], value.shape)
    capped = producer(value, "minimum") if bound == -1 and is_quantized(value.dtype) else None
    if capped is not None and _bound(capped) == 1:
        return build.emit("relu_n1_to_1", [_variable(capped)], value.shape)
    return build.emit("maximum", _operands(first, second), _shape(first, second))


def minimum(build: Builder, params, first: Value, second: Value) -> Value:
    """The upper half of relu6 and of a clip to [-1, 1]."""
    del params
    value, bound = _with_scalar(first, second)
    if bound == np.inf:
        return value
    if bound == 6 and (rectified := producer(value, "relu")) is not None:
        return build.emit("relu6", [rectified.inputs[0]], value.shape)
    raised = producer(value, "maximum") if bound == 1 and is_quantized(value.dtype) else None
    if raised is not None and _bound(raised) == -1:
        return build.emit("relu_n1_to_1", [_variable(raised)], value.shape)
    return build.emit("minimum", _operands(first, second), _shape(first, second))


def _variable(node: Node) -> Symbol:
    """Returns the operand that is not the bound; it may come first or second."""
    return next(value for value in node.inputs if isinstance(value, Symbol))


def clamp(build: Builder, params, low: Value, value: Value, high: Value) -> Value:
    """Clip: maximum with the lower bound, then minimum with the upper."""
    return minimum(build, params, maximum(build, params, value, low), high)


def unary(primitive: str):
    """Returns the lowering of a function of one variable; rewriting finds out what it is."""

    def lower(build: Builder, params, value: Symbol) -> Symbol:
        function = functools.partial(_bind, primitive, dict(params))
        attributes = {"name": primitive, "params": dict(params)}
        return build.emit("unary", [value], value.shape, function=function, **attributes)

    return lower


def _bind(primitive: str, params: dict[str, Any], values: Any) -> Any:
    return UNARY[primitive].bind(values, **params)


# JAX's functions of one variable.
UNARY: Mapping[str, Any] = MappingProxyType(
    {
        name: getattr(jax.lax, f"{name}_p")
        for name in (
            "abs",
            "acos",
            "acosh",
            "asin",
            "asinh",
            "atan",
            "atanh",
            "cbrt",
            "ceil",
            "cos",
            "cosh",
            "digamma",
            "erf",
            "erf_inv",
            "erfc",
            "exp",
            "exp2",
            "expm1",
            "floor",
            "integer_pow",
            "is_finite",
            "lgamma",
            "log",
            "log1p",
            "logistic",
            "round",
            "rsqrt",
            "sign",
            "sin",
            "sinh",
            "sqrt",
            "tan",
            "tanh",
        )
    }
)


def pow_(build: Builder, params, base: Value, exponent: Value) -> Symbol:
    """A power whose base or exponent is one number."""
    del params
    known = next((v for v in (base, exponent) if isinstance(v, Known)), None)
    value = exponent if known is base else base
    number = _fixed(build, known, value)
    if number is None:
        raise build.error(
            f"a power of shapes {base.shape} and {exponent.shape} that both vary",
            "Supported are x ** c and c ** x for one number c.",
        )

    def function(values: Any) -> Any:
        return jnp.power(number, values) if known is base else jnp.power(values, number)

    attributes = {"name": "pow", "number": number, "of_base": known is exponent}
    return build.emit("unary", [value], value.shape, function=function, **attributes)


def rem(build: Builder, params, dividend: Value, divisor: Value) -> Symbol:
    """The remainder by one number (of `jnp.mod`, `jnp.fmod` and %)."""
    del params
    number = _fixed(build, divisor, dividend)
    if number is None or not is_quantized(dividend.dtype):
        raise build.error(
            f"a remainder of {dividend.dtype} of shapes {dividend.shape} and {divisor.shape}",
            "Supported is x % c of floats for one number c.",
        )

    def function(values: Any) -> Any:
        return jax.lax.rem(values, jnp.full_like(values, number))

    attributes = {"name": "rem", "number": number}
    return build.emit("unary", [dividend], dividend.shape, function=function, **attributes)


def identity(build: Builder, params, value: Symbol) -> Symbol:
    """Nothing at inference."""
    del build, params
    return value


def convert_element_type(build: Builder, params, value: Symbol) -> Symbol:
    """A change of type: nothing between floats, which the graph computes in float32 anyway."""
    old, new = np.dtype(value.dtype), np.dtype(params["new_dtype"])
    if (old.kind in "fV" and new.kind in "fV") or old == new:
        return value
    return build.emit("convert", [value], value.shape, result=new, dtype=new)


def compare(kind: str):
    """Returns the lowering of a comparison."""

    def lower(build: Builder, params, first: Value, second: Value) -> Symbol:
        del params
        operands = _operands(first, second)
        return build.emit(kind, operands, _shape(first, second), result=np.bool_)

    return lower


def logical(kind: str):
    """Returns the lowering of a bitwise operation on conditions."""

    def lower(build: Builder, params, *values: Value) -> Symbol:
        del params
        if any(np.dtype(value.dtype) != np.bool_ for value in values):
            raise build.error(
                f"bitwise arithmetic of {values[0].dtype}", "Supported is logic of conditions."
            )
        return build.emit(kind, _operands(*values), _shape(*values), result=np.bool_)

    return lower


def select_n(build: Builder, params, which: Value, *cases: Value) -> Value:
    """A choice between two values by a condition, or among several by an index."""
    del params
    if isinstance(which, Known) and (chosen := which.scalar()) is not None:
        return cases[int(chosen)]
    if all(case is cases[0] for case in cases):
        return cases[0]
    asked = producer(which, "convert")  # a batched `cond` has its condition as a number
    condition = which if asked is None else asked.inputs[0]
    if np.dtype(condition.dtype) == np.bool_:
        return _choice(build, condition, *cases[::-1])
    result = cases[-1]
    for i in reversed(range(len(cases) - 1)):
        index = Known(np.asarray(i, which.dtype))
        at_least = build.emit("less_equal", [stripped(which), index], which.shape, result=np.bool_)
        result = _choice(build, at_least, cases[i], result)
    return result


def _choice(build: Builder, condition: Value, chosen: Value, otherwise: Value) -> Value:
    for value, other in ((chosen, otherwise), (otherwise, chosen)):
        number = value.scalar() if isinstance(value, Known) and value.name is None else None
        if number is not None and number != number:
            return other  # int8 has no NaN: where there is no value, any will do
    return build.emit("select", _operands(condition, chosen, otherwise), chosen.shape)


def _shape(*values: Value) -> tuple[int, ...]:
    return np.broadcast_shapes(*(value.shape for value in values))


def _number(value: Value | None, other: Value) -> float | None:
    """Returns the one number that a constant is, if it leaves the other its shape."""
    if not isinstance(value, Known) or value.name is not None:
        return None
    return value.scalar() if _shape(value, other) == other.shape else None


def _fixed(build: Builder, value: Value | None, other: Value) -> float | None:
    """Returns the one number that a constant or weight is, which a table then holds; None as `_number` does."""
    if isinstance(value, Known) and value.name is not None and _shape(value, other) == other.shape:
        entries = value.entries()
        if not entries.size or (entries != entries.flat[0]).any():
            raise build.error(
                f"a weight of shape {value.shape} as exponent or divisor, {str(value.name)!r}",
                "A table holds one function: make it one number for all, or a constant.",
            )
        number = value.array.flat[0].item()
        build.notes.append(
            (f"weight {str(value.name)!r} fixed at {number:g} in a table", build.source)
        )
        return number
    return _number(value, other)


def _with_scalar(first: Value, second: Value) -> tuple[Value, float | None]:
    """Returns the symbolic side and the constant of the other, None if that is not one number."""
    if isinstance(first, Known):
        first, second = second, first
    return first, _number(second, first)


def _bound(node) -> float | None:
    return _with_scalar(node.inputs[0], node.inputs[1])[1]
