"""Hard swish in three ops that every chip has, for those without an operator for it.

hard_swish(x) = x * (relu6(x + 3) / 6). The division only names the integers of relu6(x + 3) otherwise: both
sides of it have the range of their function, so no integer changes, and the sum and the product are all that
rounds.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from attokit.quant.graph import Graph, Note
from attokit.quant.ops.kind import Op
from attokit.quant.ranges import assign_ranges
from attokit.quant.retyping import real_ops
from attokit.quant.selection import matching

_SHIFT, _SHARE = "hard_swish/3", "hard_swish/sixth"


def open_hard_swish(graph: Graph, patterns: Sequence[str] = ("*",)) -> Graph:
    """Returns a graph in which hard swishes are sums, rectifiers and products: the same float function.

    Calibrate and train the result: it has other scales than the graph that came in.

    Args:
      graph: As traced; before `quant.widen` and `quant.keep_float`.
      patterns: Of the names of what the hard swishes make (as in a shell: "stem*").

    Raises:
      ValueError: if a pattern fits none.
    """
    swishes = {name: op for name, op in real_ops(graph).items() if op.kind == "hard_swish"}
    if not swishes:
        raise ValueError("the graph has no hard_swish: there is nothing to open")
    chosen = matching(swishes, patterns)
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in graph.tensors.items()}
    ops: list[Op] = []
    for op in graph.ops:
        if op.outputs[0] not in chosen:
            ops.append(op)
            continue
        opened = _opened(op)
        shapes |= {name: shapes[op.outputs[0]] for o in opened for name in o.outputs}
        ops += opened
    numbers = {_SHIFT: np.float32(3), _SHARE: np.float32(1 / 6)}
    return assign_ranges(
        inputs=dict.fromkeys(graph.inputs),
        outputs=graph.outputs,
        ops=ops,
        shapes=shapes,
        constants={**graph.constants, **{n: np.reshape(v, 1) for n, v in numbers.items()}},
        bits={tensor.name: tensor.bits for tensor in graph.tensors.values()},
        output_names=graph.output_names,
        weight_shapes=graph.weight_shapes,
        out_tree=graph.out_tree,
        notes=(*graph.notes, Note(f"{len(chosen)} hard swishes opened", "")),
    )


def _opened(op: Op) -> tuple[Op, Op, Op]:
    """Returns the three ops, of which the last makes what the hard swish did."""
    (source,), (output,) = op.inputs, op.outputs
    shifted, gate = f"{output}/shifted", f"{output}/gate"
    like = dataclasses.replace(op, attributes={}, activation="none")
    return (
        dataclasses.replace(
            like, kind="add", inputs=(source, _SHIFT), outputs=(shifted,), activation="relu6"
        ),
        dataclasses.replace(like, kind="mul", inputs=(shifted, _SHARE), outputs=(gate,)),
        dataclasses.replace(like, kind="mul", inputs=(source, gate), outputs=(output,)),
    )
