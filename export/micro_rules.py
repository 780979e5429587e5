"""What TFLite Micro refuses, operator by operator, as its Python wheel of 2026-10 does."""

from attokit.export.anatomy import OperatorInfo, Subgraph
from attokit.export.problems import Problem, Seen
from attokit.export.support import SUPPORT

_LACKING = Problem(
    "TFLite Micro has no such operator",
    "write an INT8 file with target 'micro', which has tables for functions",
)
_OF_WHOLE_NUMBERS = "compute it of floats, x.astype(jnp.float32), or leave it to the host"
_OF_TENSORFLOW = "Flex"  # how operators that run in TensorFlow itself are called
_UINT8 = Problem(
    "TFLite Micro has it not of uint8", "quantize to int8; only inputs and outputs may be uint8"
)
_MIXED = Problem(
    "TFLite Micro has it not of floats with integer weights", "quantize activations too"
)
_HALVES = Problem(
    "TFLite Micro has it not of float16", "quantize to int8, or keep weights in float32"
)
_TAKES_UINT8 = frozenset({"DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE"})
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def problem_in_micro(graph: Subgraph, operator: OperatorInfo) -> Problem | None:
    """Returns why TFLite Micro refuses an operator, or None if nothing is known against it."""
    seen, kind = Seen(graph, operator), operator.kind
    types = {graph.tensors[i].dtype for i in operator.present}
    row = SUPPORT.get(kind) if operator.outputs else None
    if kind.startswith(_OF_TENSORFLOW):
        return _LACKING
    if row is not None and not row.micro_takes(seen.output.dtype):
        return _LACKING
    if operator.outputs and (problem := lacking_type(kind, seen.output.dtype)) is not None:
        return problem
    if "uint8" in types and kind not in _TAKES_UINT8:
        return _UINT8
    if "float16" in types:
        return _HALVES
    weights = seen.dtype(1)
    if (
        kind in _WEIGHTED
        and "float32" in types
        and weights.startswith("int")
        and weights != "int32"
    ):
        return _MIXED
    return None


def lacking_type(kind: str, dtype: str) -> Problem | None:
    """Returns why TFLite Micro refuses an operator that makes int32 or bool, or None."""
    row = SUPPORT.get(kind)
    if row is None or dtype not in row.micro_lacks:
        return None
    return Problem(f"TFLite Micro has it not of {dtype}", _OF_WHOLE_NUMBERS)


def refused_in_micro(graph: Subgraph) -> str:
    """Returns what TFLite Micro refuses of a file, and the cure; "" if nothing is known against it."""
    kinds: dict[Problem, set[str]] = {}
    for operator in graph.operators:
        if (problem := problem_in_micro(graph, operator)) is not None:
            kinds.setdefault(problem, set()).add(operator.kind)
    return "; ".join(
        f"{', '.join(sorted(names))}: {problem.what} ({problem.cure})"
        for problem, names in kinds.items()
    )
