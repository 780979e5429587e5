"""What constants ask of the range that they share with activations.

A constant must fit into the range, but for two sorts.  A mask (beyond ±10,000) stands for infinity: it saturates,
and a margin keeps what it hides apart from the rest, unless a maximum reads it.  And a maximum with
a constant ignores it below everything else (a minimum above), so there it may saturate.  What a
maximum over places reads may not: where all places hold one constant, it is the maximum.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attokit.quant import params
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op, Side

MASK = 1e4  # what constants beyond it stand for is infinity
_MARGIN = 6.0  # exp(-6) is below half a unit of a softmax's output


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """What a range must reach.

    Attributes:
      low: Least value to be held, at most 0, which every range holds.
      high: Greatest, at least 0.
      below: By how much the range is to reach below all else.
      above: Likewise.
    """

    low: float = 0.0
    high: float = 0.0
    below: float = 0.0
    above: float = 0.0

    def __or__(self, other: "Claim") -> "Claim":
        """Returns what satisfies both."""
        return Claim(
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            below=max(self.below, other.below),
            above=max(self.above, other.above),
        )

    def fits(self, prescribed: tuple[float, int] | None, bits: int = 8) -> bool:
        """Tells whether a range that nothing may widen holds this, to a step.

        Args:
          prescribed: Its scale and zero point; None if they are not known yet.
          bits: Of its integers.
        """
        if self.below or self.above:
            return False
        if prescribed is None:
            return self.low == self.high == 0
        scale, zero_point = prescribed
        least, greatest = params.limits(bits)
        low, high = scale * (least - zero_point - 1), scale * (greatest - zero_point + 1)
        return low <= self.low and self.high <= high


ANYTHING = Claim(low=-np.inf, high=np.inf)  # a weight may become any number


def claim_of_range(prescribed: tuple[float, int], bits: int) -> Claim:
    """Returns what holds all that a range of given scale and zero point holds."""
    scale, zero_point = prescribed
    least, greatest = params.limits(bits)
    return Claim(low=scale * (least - zero_point), high=scale * (greatest - zero_point))


def claim(values: np.ndarray, ignored: Side | None, hidden: Side | None) -> Claim:
    """Returns what the values of a constant ask for.

    Args:
      values: Real.
      ignored: On which side the op itself lets them saturate without effect.
      hidden: On which side a mask needs no margin (`ignored_sides`).
    """
    values = np.asarray(values, np.float32)
    seen = values[np.abs(values) < MASK]
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    return Claim(
        low=float(seen.min(initial=0)) if ignored != "below" else 0.0,
        high=float(seen.max(initial=0)) if ignored != "above" else 0.0,
        below=_MARGIN if low <= -MASK and hidden != "below" else 0.0,
        above=_MARGIN if high >= MASK and hidden != "above" else 0.0,
    )


def ignored_sides(ops: Sequence[Op], outputs: Sequence[str]) -> Mapping[str, Side]:
    """Returns on which side each op's masks may saturate without a margin, by its first output.

    That is where the op ignores values, or everything that reads its output.
    """
    readers: dict[str, set[Any]] = {name: {None} for name in outputs}
    for op in ops:
        for name in op.inputs:
            readers.setdefault(name, set()).add(table.OPS[op.kind].ignores)
    sides: dict[str, Side] = {}
    for op in ops:
        asked = readers.get(op.outputs[0], {None})
        side = table.OPS[op.kind].ignores or (asked.pop() if len(asked) == 1 else None)
        if side is not None:
            sides[op.outputs[0]] = side
    return sides
