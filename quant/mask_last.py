"""Moves masks behind the sums and products that follow them, to the op that ignores what they hide.

softmax(where(seen, x, -1e9) / 8 + bias) is softmax(where(seen, x / 8 + bias, -1.25e8)).  In this order
integers hold both: a mask stands for infinity, and no range has to reach it.  (Rows of which all is
hidden have no meaning; they may come out otherwise.)
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from attokit.quant.lowering.movement import emit_reshape
from attokit.quant.lowering.values import Builder, Known, Node, Symbol, Value, producer

_MASK = -1e4  # what is at or below it hides
_NOTHING = -1e3  # whose exponential is 0 beside all else
_ANY_SUM = -1e8  # to which a sum may add what it will: float32 does not see it
_READERS = ("softmax", "log_softmax", "reduce_max", "arg_max")
_ON_ARRAYS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Masked:
    """A value, taken apart.

    Attributes:
      values: What it is where nothing hides it; may be narrower, as it broadcasts.
      conditions: Each with whether it tells what is seen, or what is hidden.
      hidden: What it is elsewhere.
      exact: Whether it is just that, not that but for something that was added.
    """

    values: Value
    conditions: tuple[tuple[Value, bool], ...]
    hidden: float
    exact: bool = True


def moving_masks() -> Callable[[Node, Builder], Value | None]:
    """Returns the rule, which is to see every node, in execution order."""
    moved: dict[tuple[Value, bool], Symbol] = {}  # what is read twice is computed once

    def move(node: Node, build: Builder) -> Value | None:
        """A mask moves behind the sums and products that are made of what it masks."""
        if node.kind not in _READERS:
            return None
        value, movements = node.inputs[0], []
        while (movement := producer(value, "reshape", "transpose")) is not None:
            movements.append(movement)
            value = movement.inputs[0]
        strict = node.kind not in ("softmax", "arg_max")
        masked = moved.get((value, strict)) or _moved(build, value, strict)
        if masked is None:
            return None
        moved[value, strict] = masked
        for step in reversed(movements):
            masked = build.emit(step.kind, [masked], step.output.shape, **step.attributes)
        shape, result = node.output.shape, node.output.dtype
        return build.emit(node.kind, [masked], shape, result=result, **node.attributes)

    return move


def _moved(build: Builder, value: Value, strict: bool) -> Symbol | None:
    """Returns the same value, masked last.

    Args:
      build: Where to emit.
      value: Which may be masked, and then computed with.
      strict: What is hidden keeps its value, to float32's precision; otherwise its exponential does.
    """
    found = _apart(build, value) if producer(value, *_ON_ARRAYS) is not None else None
    if found is None:
        return None
    limit = _NOTHING if not strict else _MASK if found.exact else _ANY_SUM
    return _joined(build, found, value.shape) if found.hidden <= limit else None


def _apart(build: Builder, value: Value) -> _Masked | None:
    """Returns the parts of a value that is masked, and then added to or multiplied; else None."""
    node = producer(value, "select", "reshape", "broadcast", *_ON_ARRAYS)
    if node is None:
        return None
    if (two := _two_numbers(build, value)) is not None:
        return _of_numbers(*two)
    if node.kind == "select":
        return _choice(node)
    if node.kind == "broadcast":
        return _apart(build, node.inputs[0])
    if node.kind == "reshape":
        return _reshaped(build, node)
    first = _apart(build, node.inputs[0])
    second = _second(build, node)
    if first is not None and second is not None and node.kind != "mul":
        values = _combined(build, node, first.values, second.values)
        hidden, conditions = min(first.hidden, second.hidden), first.conditions + second.conditions
        if values is None:
            return None
        return _Masked(values=values, conditions=conditions, hidden=hidden, exact=False)
    if first is not None:
        return _with(build, node, first, node.inputs[1], (first.values, node.inputs[1]))
    if second is None:
        return None
    return _with(build, node, second, node.inputs[0], (node.inputs[0], second.values))


def _second(build: Builder, node: Node) -> _Masked | None:
    """Returns the parts of a node's second operand; of what is subtracted, as they hide the difference."""
    value = node.inputs[1]
    if node.kind in ("add", "mul"):
        return _apart(build, value)
    two = _two_numbers(build, value) if node.kind == "sub" else None
    found = None if two is None else _of_numbers(two[0], -two[1], -two[2])
    if found is None or two is None:
        return None
    return dataclasses.replace(found, values=Known(np.asarray(min(two[1:]), np.float32)))


def _choice(node: Node) -> _Masked | None:
    """Returns the parts of a choice between values and a mask."""
    condition, chosen, otherwise = node.inputs
    for tells_seen, values, mask in ((True, chosen, otherwise), (False, otherwise, chosen)):
        number = _number(mask)
        if number is not None and number <= _MASK:
            return _Masked(
                values=values, conditions=((condition, tells_seen),), hidden=float(number)
            )
    return None


def _two_numbers(build: Builder, value: Value) -> tuple[Value, float, float] | None:
    """Returns a condition and what a value is where it holds and where not, if that is all it is."""
    node = producer(value, "select", "convert", "reshape", *_ON_ARRAYS)
    if node is None:
        return None
    if node.kind == "convert":
        of = node.inputs[0]
        return (of, 1.0, 0.0) if np.dtype(of.dtype) == np.bool_ else None
    if node.kind == "select":
        first, second = (_number(case) for case in node.inputs[1:])
        return None if first is None or second is None else (node.inputs[0], first, second)
    if node.kind == "reshape":
        found = _two_numbers(build, node.inputs[0])
        if found is None or found[0].shape != node.inputs[0].shape:
            return None
        return _reshape(build, found[0], node.output.shape), *found[1:]
    for place in (0, 1):
        number = _number(node.inputs[1 - place])
        found = _two_numbers(build, node.inputs[place]) if number is not None else None
        if found is not None:
            compute = _ON_ARRAYS[node.kind]
            cases = [(x, number)[:: 1 if place == 0 else -1] for x in found[1:]]
            with np.errstate(all="ignore"):
                first, second = (float(compute(*map(np.float32, case))) for case in cases)
            return found[0], first, second
    return None


def _of_numbers(condition: Value, first: float, second: float) -> _Masked | None:
    """Returns the parts of a choice between two numbers, one of which is a mask."""
    seen, hidden = (first, second) if first > second else (second, first)
    if not hidden <= _MASK < seen < -_MASK:
        return None
    values = Known(np.asarray(seen, np.float32))
    return _Masked(values=values, conditions=((condition, first > second),), hidden=hidden)


def _number(value: Value) -> float | None:
    """Returns the number that a constant is, not so a weight's."""
    return value.scalar() if isinstance(value, Known) and value.name is None else None


def _reshape(build: Builder, value: Value, shape: tuple[int, ...]) -> Value:
    if isinstance(value, Known):
        return Known(value.array.reshape(shape), value.name)
    return emit_reshape(build, value, shape)


def _reshaped(build: Builder, node: Node) -> _Masked | None:
    """Returns the parts of something in another shape, if all of them have that which it had."""
    found = _apart(build, node.inputs[0])
    if found is None:
        return None

    def moved(value: Value) -> Value | None:
        if (number := _number(value)) is not None:
            return Known(np.asarray(number, value.dtype))
        return (
            _reshape(build, value, node.output.shape)
            if value.shape == node.inputs[0].shape
            else None
        )

    values = moved(found.values)
    conditions = [(moved(condition), seen) for condition, seen in found.conditions]
    if values is None or any(condition is None for condition, _ in conditions):
        return None
    kept = tuple((condition, seen) for condition, seen in conditions if condition is not None)
    return dataclasses.replace(found, values=values, conditions=kept)


def _with(
    build: Builder, node: Node, found: _Masked, other: Value, operands: tuple[Value, Value]
) -> _Masked | None:
    """Returns the parts of a sum or product of something masked and another value."""
    number = _number(other)
    if node.kind in ("mul", "div") and not (number is not None and 0 < number < np.inf):
        return None  # a factor may be negative, and then shows what was hidden
    if number is None and _reach(other) > -_MASK:
        return None  # a summand may be as large, and then shows it too
    values = _combined(build, node, *operands)
    if values is None:
        return None
    if number is None:
        return dataclasses.replace(found, values=values, exact=False)
    with np.errstate(over="ignore"):  # float32's lowest number, doubled, is infinity
        hidden = float(_ON_ARRAYS[node.kind](np.float32(found.hidden), np.float32(number)))
    return dataclasses.replace(found, values=values, hidden=hidden)


def _reach(value: Value) -> float:
    """Returns the largest magnitude of the constants that a value is made of by arithmetic and choices."""
    reach, waiting, seen = 0.0, [value], set[Value]()
    while waiting:
        part = waiting.pop()
        if isinstance(part, Known):
            reach = max(reach, float(np.abs(part.array).max(initial=0)))
        elif part not in seen:
            seen.add(part)
            node = producer(part, "select", "reshape", "broadcast", *_ON_ARRAYS)
            waiting += [] if node is None else node.inputs
    return reach


def _combined(build: Builder, node: Node, first: Value, second: Value) -> Value | None:
    """Returns what a node makes of other operands; None if they do not fill its shape."""
    if isinstance(first, Known) and isinstance(second, Known):
        array = _ON_ARRAYS[node.kind](first.array, second.array)
        return Known(array.astype(node.output.dtype), first.name or second.name)
    if np.broadcast_shapes(first.shape, second.shape) != node.output.shape:
        return None
    return build.emit(node.kind, [first, second], node.output.shape, **node.attributes)


def _joined(build: Builder, found: _Masked, shape: tuple[int, ...]) -> Symbol | None:
    """Returns the choice between the values and what is hidden."""
    (condition, seen), *others = found.conditions
    for other, also in others:
        condition = _both(build, _negated(build, condition, seen), _negated(build, other, also))
        seen = True
    values, hidden = found.values, Known(np.asarray(found.hidden, np.float32))
    if np.broadcast_shapes(condition.shape, values.shape) != shape:
        return None
    cases = [values, hidden] if seen else [hidden, values]
    return build.emit("select", [condition, *cases], shape)


def _negated(build: Builder, condition: Value, keep: bool) -> Value:
    """Returns a condition, or its contrary."""
    if keep:
        return condition
    if isinstance(condition, Known):
        return Known(~condition.array)
    return build.emit("logical_not", [condition], condition.shape)


def _both(build: Builder, first: Value, second: Value) -> Value:
    if isinstance(first, Known) and isinstance(second, Known):
        return Known(first.array & second.array)
    shape = np.broadcast_shapes(first.shape, second.shape)
    return build.emit("logical_and", [first, second], shape)
