"""Scales that kernels accept: some refuse an output's scale far below their input's.

Scales may be learned, so they are widened where they are read, by the same arithmetic in training and in
the file: an optimizer cannot make a file that no runtime takes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attokit.quant.graph import Graph, LeastScale, Tensor
from attokit.quant.ops import table
from attokit.quant.ops.kind import Op


def least_scales(ops: Iterable[Op], tensors: Mapping[str, Tensor]) -> tuple[LeastScale, ...]:
    """Returns the bounds that kernels set, in execution order; one scale bounds not itself."""
    bounds = (
        LeastScale(
            range_name=tensors[op.outputs[0]].range_name,
            other=tensors[op.inputs[0]].range_name,
            ratio=ratio,
        )
        for op in ops
        if (ratio := table.OPS[op.kind].least_ratio) is not None
        and tensors[op.outputs[0]].quantized
    )
    return tuple(dict.fromkeys(bound for bound in bounds if bound.range_name != bound.other))


def widened(graph: Graph, scale_of: Callable[[str], Any], numpy: Any) -> dict[str, Any]:
    """Returns the scales of the ranges that kernels bound, widened to what they accept.

    Args:
      graph: As traced.
      scale_of: Returns a range's own scale, float32.
      numpy: `numpy` or `jax.numpy`, which give the same.
    """
    names = (name for bound in graph.least_scales for name in (bound.range_name, bound.other))
    found = {name: scale_of(name) for name in names}
    for _ in range(_passes(graph.least_scales)):
        for bound in graph.least_scales:
            least = numpy.float32(bound.ratio) * found[bound.other]
            found[bound.range_name] = numpy.maximum(found[bound.range_name], least)
    return {bound.range_name: found[bound.range_name] for bound in graph.least_scales}


def _passes(bounds: Sequence[LeastScale]) -> int:
    """Returns how often to go through the bounds: again where a later one widens what one read."""
    read: set[str] = set()
    again = 0
    for bound in bounds:
        read.add(bound.other)
        again += bound.range_name in read
    return 1 + again
