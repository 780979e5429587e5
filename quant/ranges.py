"""Which tensors share a scale, and which scales the spec prescribes."""

import dataclasses
import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attokit.quant import params
from attokit.quant.graph import FLOAT, Graph, Tensor, is_quantized
from attokit.quant.least_scales import least_scales
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Side
from attokit.quant.tied_constants import ANYTHING, Claim, claim, claim_of_range, ignored_sides

_EIGHT: Mapping[str, int] = MappingProxyType({})
_SATURATED: Mapping[Side | None, Mapping[str, float]] = MappingProxyType(
    {"below": {"low": 0.0}, "above": {"high": 0.0}}
)
_INPUT = "input"  # the range of what enters is the caller's: no op inside may widen it


class _Groups:
    """Disjoint sets of tensor names, each free, of inputs or with one prescribed range."""

    def __init__(self, inputs: Iterable[str]) -> None:
        self._parent: dict[str, str] = {}
        self.fixed: dict[str, tuple[float, int] | str] = dict.fromkeys(inputs, _INPUT)

    def prescribed(self) -> dict[str, tuple[float, int]]:
        """Returns the prescribed ranges by representative."""
        return {name: found for name, found in self.fixed.items() if not isinstance(found, str)}

    def find(self, name: str) -> str:
        """Returns the representative of a name's set: its earliest member."""
        while (parent := self._parent.setdefault(name, name)) != name:
            self._parent[name] = self._parent.setdefault(parent, parent)
            name = parent
        return name

    def fix(self, name: str, prescribed: tuple[float, int]) -> None:
        """Prescribes the range of a new set."""
        self.fixed[self.find(name)] = prescribed

    def takes(self, name: str, wanted: Claim, bits: int) -> bool:
        """Tells whether a name's set can hold a constant: a free one is widened for it."""
        found = self.fixed.get(self.find(name))
        return found is None or wanted.fits(None if isinstance(found, str) else found, bits)

    def claim(self, name: str, bits: int) -> Claim:
        """Returns what a name's set asks of another that is to hold its values."""
        found = self.fixed.get(self.find(name))
        if found is None:
            return Claim()  # it joins the other
        return ANYTHING if isinstance(found, str) else claim_of_range(found, bits)

    def agree(self, first: str, second: str) -> bool:
        """Tells whether two sets may be one: both free, both inputs' or prescribed alike."""
        return self.fixed.get(self.find(first)) == self.fixed.get(self.find(second))

    def join(self, first: str, second: str) -> None:
        """Makes one set of two."""
        keep, drop = self.find(first), self.find(second)
        if keep == drop:
            return
        self._parent[drop] = keep
        self.fixed.pop(drop, None)


def assign_ranges(
    *,
    inputs: Mapping[str, Any],
    outputs: tuple[str, ...],
    ops: Sequence[Op],
    shapes: Mapping[str, tuple[tuple[int, ...], str]],
    constants: Mapping[str, Any],
    bits: Mapping[str, int] = _EIGHT,
    **rest: Any,
) -> Graph:
    """Returns the graph with a range for every tensor.

    Where an op wants one scale for tensors whose ranges are prescribed differently, or prescribed
    and free (a graph input counts as prescribed: what enters keeps its scale), a QUANTIZE op changes
    the scale of those that disagree with the first free one, or else with the first whose range
    holds what the others hold.  There may be none (a logistic beside a tanh, a tanh beside an image),
    or one that cannot hold a constant (-1 beside an image): then all change to a range of their own.

    Args:
      inputs: Names of the activations that enter, in order.
      outputs: Names of those that leave.
      ops: In execution order.
      shapes: (shape, dtype) of every activation.
      constants: By name.
      bits: Of the activations that have 16, or stay float32 (32), by name; those of an op have the
        same.
      **rest: The graph's other fields.
    """
    shapes, groups, bits = dict(shapes), _Groups(inputs), dict(bits)
    placed: list[Op] = []
    tied_constants: dict[tuple[str, int], str] = {}
    sides = ignored_sides(ops, outputs)
    for op in ops:
        kind = table.OPS[op.kind]
        if FLOAT in (bits.get(name) for name in (*op.inputs, *op.outputs)):
            placed.append(op)  # reals have no range
            continue
        if kind.fixed_range is not None:
            wide = bits.get(op.outputs[0], 8) > 8
            groups.fix(op.outputs[0], params.WIDE_FIXED if wide else kind.fixed_range)
        if kind.tied:
            held = [
                i
                for i, name in enumerate(op.inputs)
                if name not in shapes and _on_a_scale(name, constants)
            ]
            names = [op.inputs[i] for i in held]
            wanted = _wanted(names, constants, kind.ignores, sides.get(op.outputs[0]))
            width = max((bits.get(name, 8) for name in (*op.inputs, *op.outputs)), default=8)
            op, anchor = _tie(op, groups, shapes, placed, wanted, width)
            bits |= {name: width for name in op.inputs if name in shapes}
            tied_constants |= {(op.outputs[0], i): anchor for i in held if anchor}
        placed.append(op)
    tensors = {
        name: Tensor(
            name=name,
            shape=shape,
            dtype=dtype,
            range_name=groups.find(name) if is_quantized(dtype) and bits.get(name) != FLOAT else "",
            bits=bits.get(name, 8) if is_quantized(dtype) else 8,
        )
        for name, (shape, dtype) in shapes.items()
    }
    return Graph(
        inputs=tuple(inputs),
        outputs=outputs,
        ops=tuple(placed),
        tensors=MappingProxyType(tensors),
        constants=constants,
        fixed_ranges=MappingProxyType(groups.prescribed()),
        constant_ranges=MappingProxyType(
            {place: groups.find(anchor) for place, anchor in tied_constants.items()}
        ),
        least_scales=least_scales(placed, tensors),
        **rest,
    )


def _on_a_scale(name: str, constants: Mapping[str, Any]) -> bool:
    """Tells weights and constants that become int8 from indices and conditions."""
    return name not in constants or is_quantized(constants[name].dtype)


def _wanted(
    names: Sequence[str],
    constants: Mapping[str, Any],
    ignored: Side | None,
    hidden: Side | None,
) -> Claim:
    """Returns what an op's constants and weights ask of the range that they share."""
    claims = (claim(constants[n], ignored, hidden) if n in constants else ANYTHING for n in names)
    return functools.reduce(operator.or_, claims, Claim())


def _tie(
    op: Op, groups: _Groups, shapes: dict, placed: list[Op], wanted: Claim, bits: int
) -> tuple[Op, str]:
    """Joins the ranges of an op's inputs and outputs; appends the QUANTIZE ops this takes.

    Args:
      op: Whose tensors share a scale.
      groups: The ranges so far.
      shapes: (shape, dtype) of every activation; grows.
      placed: The ops so far; grows.
      wanted: What the op's constants ask for.
      bits: Of the op's activations.

    Returns:
      The op, and a tensor of the range.
    """
    outputs = [name for name in op.outputs if is_quantized(shapes[name][1])]
    members = [name for name in op.inputs if name in shapes and is_quantized(shapes[name][1])]
    if not (members or outputs):  # it moves indices or conditions
        return op, ""
    anchor, own = _anchor(op, groups, members or outputs, wanted, bits)
    names: list[str] = []
    for name in op.inputs:
        if name in members and (own or not groups.agree(anchor, name)):
            changed = f"{op.outputs[0]}/quantize_{len(names)}"
            anchor, own = (changed, False) if own else (anchor, own)
            shapes[changed] = shapes[name]
            placed.append(Op(kind="quantize", inputs=(name,), outputs=(changed,), source=op.source))
            name = changed
        if name in shapes and is_quantized(shapes[name][1]):
            groups.join(anchor, name)
        names.append(name)
    for name in outputs:
        groups.join(anchor, name)
    return dataclasses.replace(op, inputs=tuple(names)), anchor


def _anchor(
    op: Op, groups: _Groups, members: Sequence[str], wanted: Claim, bits: int
) -> tuple[str, bool]:
    """Returns the tensor whose range the others take, and whether it must begin a new one itself."""
    ignored = table.OPS[op.kind].ignores
    for name in sorted(members, key=lambda member: groups.find(member) in groups.fixed):
        others = (groups.claim(m, bits) for m in members if not groups.agree(m, name))
        claims = (dataclasses.replace(c, **_SATURATED.get(ignored, {})) for c in others)
        if groups.takes(name, functools.reduce(operator.or_, claims, wanted), bits):
            return name, False
    return members[0], True
