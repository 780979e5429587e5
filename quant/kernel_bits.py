"""How many bits the integers of each kernel have."""

import difflib
import fnmatch
from collections.abc import Mapping
from typing import Literal

from attokit.quant.graph import Graph
from attokit.quant.ops.kind import Operand

Bits = Literal[4, 8]
_FOUR_BIT_KINDS = frozenset({"conv_2d", "fully_connected"})  # every runtime unpacks their kernels


def bits_of_kernels(graph: Graph, weight_bits: Bits | Mapping[str, Bits]) -> dict[str, int]:
    """Returns the bits of the kernels that patterns name; the others have 8.

    Args:
      graph: As traced.
      weight_bits: Of all kernels that may have so many, or by patterns of names.

    Raises:
      ValueError: if a number is neither 4 nor 8, or a pattern fits no kernel that may have so many.
    """
    users: dict[str, set[str]] = {}
    for op in graph.ops:
        for name, role in zip(op.inputs, graph.operands(op), strict=True):
            if role is Operand.KERNEL:
                users.setdefault(name, set()).add("int16" if graph.is_wide(op) else op.kind)
    able = [name for name, kinds in users.items() if kinds <= _FOUR_BIT_KINDS]
    rules = weight_bits if isinstance(weight_bits, Mapping) else {"*": weight_bits}
    found: dict[str, int] = {}
    for pattern, bits in rules.items():
        fitting = fnmatch.filter(able if bits == 4 else users, pattern)
        if bits not in (4, 8) or not (fitting or (bits == 8 and pattern == "*")):
            near = difflib.get_close_matches(pattern, able, n=5, cutoff=0.3) or able[:5]
            raise ValueError(
                f"weight_bits has {pattern!r}: {bits}; kernels have 8 bits, or 4 where only conv_2d "
                "and fully_connected read them, and a pattern fits one at least. "
                f"Of {len(able)} that may have 4, near are: {', '.join(near) or 'none'}"
            )
        found |= dict.fromkeys(fitting, bits)
    return found
