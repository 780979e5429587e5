"""What a pass over a graph reached, and what it left alone with the reason."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """Ops by the names of what they make.  `str` of it is a list.

    Attributes:
      reached: In the graph's order.
      left_out: Why the others are as they were.
    """

    reached: tuple[str, ...]
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        """Returns a line for what was reached, and one for each op that was not."""
        names = ", ".join(self.reached) or "none"
        rows = [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        return "\n".join([f"{len(self.reached)} ops: {names}", *rows])
