"""Functions of one variable in float32 files: their steps, one operator or a few each.

An INT8 file looks such functions up in a table and holds no float operator.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator, Tensor
from attokit.export.lowerings.context import Context
from attokit.quant.functions import Composite, Step
from attokit.quant.ops.kind import Op

_CODES = schema.BuiltinOperator
_TYPES = {
    "bool": schema.TensorType.BOOL,
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
}
# Abramowitz and Stegun, 7.1.26: erf to 1.5e-7.
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def float_function(context: Context, op: Op) -> tuple[Operator, ...]:
    """Returns the operators of a `lookup` in float32.

    Raises:
      ValueError: if the function has a step that no operator computes.
    """
    values = context.operand(op, 0)
    steps = _Steps(op, values.shape)
    function = op["function"].real
    if isinstance(function, Composite):
        result = _composed(steps, function, values)
    elif op["name"] in _NAMED:
        result = _NAMED[op["name"]](steps, values)
    else:
        raise steps.refusal(op["name"])
    return (*steps.operators, context.operator(op, *steps.copy(result)))


def inner_function(
    op: Op, function: Composite, values: Tensor, role: str
) -> tuple[tuple[Operator, ...], Tensor]:
    """Returns the operators of a function on the way to an op's output, and what they make.

    Args:
      op: Whose way it is.
      function: Of one variable.
      values: The variable, float32.
      role: What the result is to the op: part of the names of the tensors.

    Raises:
      ValueError: if the function has a step that no operator computes.
    """
    steps = _Steps(op, values.shape, f"{role}_")
    result = _composed(steps, function, values)
    return tuple(steps.operators), result


def _composed(steps: "_Steps", function: Composite, values: Tensor) -> Tensor:
    known: list[Tensor] = [values]
    for step in function.steps:
        known.append(_step(steps, step, known))
    return known[-1]


class _Steps:
    """Collects the operators of one function."""

    def __init__(self, op: Op, shape: tuple[int, ...], prefix: str = ""):
        self.operators: list[Operator] = []
        self._op, self._shape, self._prefix = op, shape, prefix

    def emit(self, code: int, *inputs: Any, options: Any = None, dtype: str = "float32") -> Tensor:
        """Returns what an operator makes of tensors and numbers."""
        name = f"{self._op.outputs[0]}/{self._prefix}step_{len(self.operators)}"
        output = Tensor(name=name, shape=self._shape, dtype=dtype)
        tensors = tuple(
            x if isinstance(x, Tensor) else self._number(x, f"{name}/number_{i}")
            for i, x in enumerate(inputs)
        )
        self.operators.append(
            Operator(code=code, version=1, options=options, inputs=tensors, outputs=(output,))
        )
        return output

    def copy(self, value: Tensor) -> tuple[int, tuple[Tensor, ...], Any, int]:
        """Returns the operator that gives a result its name: the last one, or a sum with 0."""
        if self.operators and self.operators[-1].outputs[0] is value and value.dtype == "float32":
            last = self.operators.pop()
            return last.code, last.inputs, last.options, last.version
        zero = self._number(0.0, f"{self._op.outputs[0]}/zero")
        return _CODES.ADD, (value, zero), schema.AddOptionsT(), 1

    def refusal(self, name: str) -> ValueError:
        """Returns an error that names the function."""
        where = f" at {self._op.source}" if self._op.source else ""
        return ValueError(
            f"a float32 file cannot hold the function {name!r}{where}; "
            "export INT8, where it is a table"
        )

    @staticmethod
    def _number(value: Any, name: str) -> Tensor:
        array = np.asarray(value)
        data = array if array.dtype in (np.bool_, np.int32) else array.astype(np.float32)
        return Tensor(name=name, shape=(), dtype=str(data.dtype), data=data.reshape(()))

    def add(self, x: Any, y: Any) -> Tensor:
        """X + y."""
        return self.emit(_CODES.ADD, x, y, options=schema.AddOptionsT())

    def sub(self, x: Any, y: Any) -> Tensor:
        """X - y."""
        return self.emit(_CODES.SUB, x, y, options=schema.SubOptionsT())

    def mul(self, x: Any, y: Any) -> Tensor:
        """X * y."""
        return self.emit(_CODES.MUL, x, y, options=schema.MulOptionsT())

    def div(self, x: Any, y: Any) -> Tensor:
        """X / y."""
        return self.emit(_CODES.DIV, x, y, options=schema.DivOptionsT())

    def exp(self, x: Any) -> Tensor:
        """E ** x."""
        return self.emit(_CODES.EXP, x, options=schema.ExpOptionsT())

    def one(self, code: int, x: Any) -> Tensor:
        """An operator of one operand without options."""
        return self.emit(code, x)

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        """X where the condition holds, else y; one of them is a tensor."""
        return self.emit(_CODES.SELECT_V2, condition, x, y, options=schema.SelectV2OptionsT())

    def compare(self, kind: str, x: Any, y: Any) -> Tensor:
        """A comparison."""
        code, options = _COMPARISONS[kind]
        return self.emit(code, x, y, options=options(), dtype="bool")

    def magnitude(self, x: Tensor) -> Tensor:
        """|x|."""
        return self.emit(_CODES.ABS, x, options=schema.AbsOptionsT())

    def signed(self, x: Tensor, of_magnitude: Tensor) -> Tensor:
        """A value with the sign of x."""
        negative = self.emit(_CODES.NEG, of_magnitude, options=schema.NegOptionsT())
        return self.where(self.compare("less", x, 0.0), negative, of_magnitude)


def _step(steps: _Steps, step: Step, known: list[Tensor]) -> Tensor:
    """Returns the value of one step of a composite."""
    operands: list[Any] = [known[x] if isinstance(x, int) else x for x in step.operands]
    name = step.attributes["name"] if step.kind == "unary" else step.kind
    if name in _DIRECT:
        code, options = _DIRECT[name]
        dtype = "bool" if name.startswith("logical") else "float32"
        return steps.emit(code, *operands, options=options and options(), dtype=dtype)
    if name in _COMPARISONS:
        return steps.compare(name, *operands)
    if name in _NAMED:
        return _NAMED[name](steps, *operands)
    if name in _WITH_NUMBERS:
        return _WITH_NUMBERS[name](steps, operands[0], step.attributes)
    raise steps.refusal(name)


def _erf(steps: _Steps, x: Tensor) -> Tensor:
    magnitude = steps.magnitude(x)
    t = steps.div(1.0, steps.add(steps.mul(magnitude, 0.3275911), 1.0))
    total: Tensor = steps.mul(t, _ERF[0])
    for coefficient in _ERF[1:]:
        total = steps.mul(steps.add(total, coefficient), t)
    tail = steps.mul(total, steps.exp(steps.mul(steps.mul(magnitude, magnitude), -1.0)))
    return steps.signed(x, steps.sub(1.0, tail))


def _asinh(steps: _Steps, x: Tensor) -> Tensor:
    magnitude = steps.magnitude(x)
    root = steps.one(_CODES.SQRT, steps.add(steps.mul(magnitude, magnitude), 1.0))
    return steps.signed(x, steps.one(_CODES.LOG, steps.add(magnitude, root)))


def _half_sum(steps: _Steps, x: Tensor, sign: float) -> Tensor:
    """(exp(x) + sign * exp(-x)) / 2."""
    other = steps.mul(steps.exp(steps.mul(x, -1.0)), 0.5 * sign)
    return steps.add(steps.mul(steps.exp(x), 0.5), other)


def _cube_root(steps: _Steps, x: Tensor) -> Tensor:
    third = np.float32(1 / 3)
    root = steps.emit(_CODES.POW, steps.magnitude(x), third, options=schema.PowOptionsT())
    return steps.signed(x, root)


def _round(steps: _Steps, x: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """ROUND rounds ties to even; away from zero is done by flooring magnitudes."""
    if int(attributes["params"]["rounding_method"]) == 1:
        return steps.one(_CODES.ROUND, x)
    return steps.signed(x, steps.one(_CODES.FLOOR, steps.add(steps.magnitude(x), 0.5)))


def _integer_power(steps: _Steps, x: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    exponent = attributes["params"]["y"]
    power, result = x, None
    for bit in bin(abs(exponent))[:1:-1]:
        if bit == "1":
            result = power if result is None else steps.mul(result, power)
        power = steps.mul(power, power)
    assert result is not None  # x ** 0 is a constant
    return steps.div(1.0, result) if exponent < 0 else result


def _power(steps: _Steps, x: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    number = attributes["number"]
    if attributes["of_base"] and abs(number) == 0.5:  # TFLite Micro has no POW
        return steps.one(_CODES.SQRT if number > 0 else _CODES.RSQRT, x)
    if attributes["of_base"]:
        return steps.emit(_CODES.POW, x, number, options=schema.PowOptionsT())
    return steps.exp(steps.mul(x, math.log(number))) if number > 0 else steps.mul(x, math.nan)


def _remainder(steps: _Steps, x: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    options = schema.FloorModOptionsT()
    divisor = abs(attributes["number"])
    rest = steps.emit(_CODES.FLOOR_MOD, steps.magnitude(x), divisor, options=options)
    return steps.signed(x, rest)  # as of C, not of Python


def _convert(steps: _Steps, x: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    old, new = x.dtype, str(np.dtype(attributes["dtype"]))
    if new not in _TYPES:
        raise steps.refusal(f"conversion to {new}")
    options = schema.CastOptionsT(inDataType=_TYPES[old], outDataType=_TYPES[new])
    return steps.emit(_CODES.CAST, x, options=options, dtype=new)


def _gelu_tanh(steps: _Steps, x: Tensor) -> Tensor:
    cube = steps.mul(steps.mul(x, x), x)
    inner = steps.mul(steps.add(x, steps.mul(cube, 0.044715)), math.sqrt(2 / math.pi))
    return steps.mul(steps.mul(x, 0.5), steps.add(steps.one(_CODES.TANH, inner), 1.0))


def _gelu(steps: _Steps, x: Tensor) -> Tensor:
    return steps.mul(steps.mul(x, 0.5), steps.add(_erf(steps, steps.mul(x, math.sqrt(0.5))), 1.0))


# One operator each: its code and options.
_DIRECT: Mapping[str, tuple[int, Any]] = MappingProxyType(
    {
        "abs": (_CODES.ABS, schema.AbsOptionsT),
        "add": (_CODES.ADD, schema.AddOptionsT),
        "ceil": (_CODES.CEIL, None),
        "cos": (_CODES.COS, schema.CosOptionsT),
        "exp": (_CODES.EXP, schema.ExpOptionsT),
        "floor": (_CODES.FLOOR, None),
        "log": (_CODES.LOG, None),
        "logical_and": (_CODES.LOGICAL_AND, schema.LogicalAndOptionsT),
        "logical_not": (_CODES.LOGICAL_NOT, schema.LogicalNotOptionsT),
        "logical_or": (_CODES.LOGICAL_OR, schema.LogicalOrOptionsT),
        "logistic": (_CODES.LOGISTIC, None),
        "maximum": (_CODES.MAXIMUM, schema.MaximumMinimumOptionsT),
        "minimum": (_CODES.MINIMUM, schema.MaximumMinimumOptionsT),
        "mul": (_CODES.MUL, schema.MulOptionsT),
        "relu": (_CODES.RELU, None),
        "relu6": (_CODES.RELU6, None),
        "relu_n1_to_1": (_CODES.RELU_N1_TO_1, None),
        "rsqrt": (_CODES.RSQRT, None),
        "select": (_CODES.SELECT_V2, schema.SelectV2OptionsT),
        "sin": (_CODES.SIN, None),
        "sqrt": (_CODES.SQRT, None),
        "sub": (_CODES.SUB, schema.SubOptionsT),
        "tanh": (_CODES.TANH, None),
    }
)
_COMPARISONS: Mapping[str, tuple[int, Any]] = MappingProxyType(
    {
        "equal": (_CODES.EQUAL, schema.EqualOptionsT),
        "greater": (_CODES.GREATER, schema.GreaterOptionsT),
        "greater_equal": (_CODES.GREATER_EQUAL, schema.GreaterEqualOptionsT),
        "less": (_CODES.LESS, schema.LessOptionsT),
        "less_equal": (_CODES.LESS_EQUAL, schema.LessEqualOptionsT),
        "not_equal": (_CODES.NOT_EQUAL, schema.NotEqualOptionsT),
    }
)
_NAMED: Mapping[str, Callable[[_Steps, Tensor], Tensor]] = MappingProxyType(
    {
        "acosh": lambda s, x: s.one(
            _CODES.LOG, s.add(x, s.one(_CODES.SQRT, s.sub(s.mul(x, x), 1.0)))
        ),
        "asinh": _asinh,
        "atan": lambda s, x: s.emit(_CODES.ATAN2, x, s.add(s.mul(x, 0.0), 1.0)),
        "atanh": lambda s, x: s.mul(s.one(_CODES.LOG, s.div(s.add(x, 1.0), s.sub(1.0, x))), 0.5),
        "cbrt": _cube_root,
        "cosh": lambda s, x: _half_sum(s, x, 1.0),
        "erf": _erf,
        "erfc": lambda s, x: s.sub(1.0, _erf(s, x)),
        "exp": _Steps.exp,
        "exp2": lambda s, x: s.exp(s.mul(x, math.log(2))),
        "expm1": lambda s, x: s.sub(s.exp(x), 1.0),
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "is_finite": lambda s, x: s.compare("equal", s.sub(x, x), 0.0),
        "log": lambda s, x: s.one(_CODES.LOG, x),
        "log1p": lambda s, x: s.one(_CODES.LOG, s.add(x, 1.0)),
        "reciprocal": lambda s, x: s.div(1.0, x),
        "sign": lambda s, x: s.where(
            s.compare("equal", x, 0.0), x, s.signed(x, s.add(s.mul(x, 0.0), 1.0))
        ),
        "sinh": lambda s, x: _half_sum(s, x, -1.0),
        "tan": lambda s, x: s.div(
            s.one(_CODES.SIN, x), s.emit(_CODES.COS, x, options=schema.CosOptionsT())
        ),
    }
)
_WITH_NUMBERS: Mapping[str, Callable[[_Steps, Tensor, Mapping[str, Any]], Tensor]] = (
    MappingProxyType(
        {
            "convert": _convert,
            "integer_pow": _integer_power,
            "pow": _power,
            "rem": _remainder,
            "round": _round,
        }
    )
)
