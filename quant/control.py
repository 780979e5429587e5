"""Control flow, followed while tracing: loops are unrolled, choices are taken.

A graph has no loops and no branches, so whatever decides their course must be known: a counter, a
length, a constant.  What is carried may depend on the inputs.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from attokit.quant.lowering import movement
from attokit.quant.lowering.values import Builder, Known, Value, WeightName

# Interprets a closed jaxpr on values.
Run = Callable[[Any, Sequence[Value]], list[Value]]


def cond(build: Builder, run: Run, params: Mapping[str, Any], operands: list[Value]) -> list[Value]:
    """Takes the branch of a known index (`jax.lax.cond` and `switch`)."""
    index, *rest = operands
    branches = params["branches"]
    if not isinstance(index, Known):
        raise build.error(
            f"a choice among {len(branches)} branches by a value that depends on the inputs",
            "A graph always computes the same ops: compute the branches and choose between their "
            "results with jnp.where.",
        )
    return run(branches[min(max(int(index.array), 0), len(branches) - 1)], rest)


def scan(build: Builder, run: Run, params: Mapping[str, Any], operands: list[Value]) -> list[Value]:
    """Unrolls a loop of static length (`scan`, `map`, `fori_loop` with constant bounds)."""
    constants, carried, columns = _parted(operands, *_counts(params))
    steps = range(params["length"])
    rows: dict[int, list[Value]] = {}
    for i in reversed(steps) if params["reverse"] else steps:
        row = [_entry(build, column, i) for column in columns]
        results = run(params["jaxpr"], [*constants, *carried, *row])
        carried, rows[i] = results[: len(carried)], results[len(carried) :]
    stacked = [
        _stacked(build, [rows[i][k] for i in steps], aval)
        for k, aval in enumerate(params["jaxpr"].out_avals[len(carried) :])
    ]
    return [*carried, *stacked]


def _counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """Returns how many operands of a scan are constants and how many are carried."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].unpack()  # from JAX 0.11 on
    return len(constants), len(carried)


def while_(
    build: Builder, run: Run, params: Mapping[str, Any], operands: list[Value]
) -> list[Value]:
    """Unrolls a loop as long as its condition holds, which must be known each time."""
    ours, bodys, carried = _parted(operands, params["cond_nconsts"], params["body_nconsts"])
    while True:
        (condition,) = run(params["cond_jaxpr"], [*ours, *carried])
        if not isinstance(condition, Known):
            raise build.error(
                "a loop whose condition depends on the inputs",
                "A graph always computes the same ops: loop a number of times that is known "
                "(jax.lax.fori_loop, jax.lax.scan) and keep earlier results with jnp.where.",
            )
        if not condition.array.item():
            return carried
        carried = run(params["body_jaxpr"], [*bodys, *carried])


def _parted(
    operands: list[Value], first: int, second: int
) -> tuple[list[Value], list[Value], list[Value]]:
    return operands[:first], operands[first : first + second], operands[first + second :]


def _entry(build: Builder, column: Value, index: int) -> Value:
    """Returns one entry along the first axis; that of a weight is a weight of its own."""
    if isinstance(column, Known):
        made = getattr(column.name, "made", "")
        name = None if column.name is None else WeightName(f"{column.name}/{index}", made)
        return Known(column.array[index], name)
    shape = column.shape
    cut = movement.slice_(
        build,
        {
            "start_indices": (index, *(0 for _ in shape[1:])),
            "limit_indices": (index + 1, *shape[1:]),
            "strides": None,
        },
        column,
    )
    return movement.emit_reshape(build, cut, shape[1:])


def _stacked(build: Builder, rows: list[Value], aval: Any) -> Value:
    """Returns the rows along a new first axis; `aval` is the shape and type of one."""
    arrays = [row.array for row in rows if isinstance(row, Known)]
    if len(arrays) == len(rows):
        return Known(np.stack(arrays) if arrays else np.zeros((0, *aval.shape), aval.dtype))
    return movement.stack(build, {"axis": 0}, *rows)


Control = Callable[[Builder, Run, Mapping[str, Any], list[Value]], list[Value]]
CONTROL: Mapping[str, Control] = MappingProxyType({"cond": cond, "scan": scan, "while": while_})
