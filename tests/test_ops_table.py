"""docs/ops.md: what each op is in JAX, in TFLite, and who runs it.

`python tests/test_ops_table.py` writes the file anew; the test says when that is due.
"""

import dataclasses
import functools
import importlib.util
import pathlib
import re
import sys

import jax.numpy as jnp
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from attokit import quant
from attokit.export.lowerings.context import Context
from attokit.export.lowerings.table import LOWERINGS
from attokit.export.support import SUPPORT
from attokit.quant.ops.kind import KERNELS
from attokit.quant.ops.spellings import SPELLINGS
from attokit.quant.ops.table import OPS

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from single_op import Case
from traced import normal

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs/ops.md"
_BEGIN, _END = "<!-- table -->", "<!-- end -->"
_COLUMNS = ("android", "micro")
_VELA_INT32 = {"ADD", "MUL", "SUB"}  # what Ethos-U55 computes on int32 too
_NAMES = {code: name for name, code in vars(BuiltinOperator).items() if name.isupper()}


@functools.cache
def _cases() -> dict[str, list[Case]]:
    """Returns the single-op graphs of the export tests, by the kind of op in question."""
    found: dict[str, list[Case]] = {}
    for path in sorted((ROOT / "tests/export/lowerings").glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"cases_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for case in getattr(module, "CASES", {}).values():
            found.setdefault(case.kind, []).append(case)
    return found


@functools.cache
def _traced(case: Case) -> tuple:
    """Returns the graph of a case, its weights, and scales and zero points of no importance."""
    floats = len(case.inputs) - len(case.below)
    inputs = [
        normal(*shape) if i < floats else jnp.zeros(shape, jnp.int32)
        for i, shape in enumerate(case.inputs)
    ]
    variables = tuple(normal(*shape) for shape in case.variables)
    graph, weights = quant.trace(case.function, variables, *inputs)
    ranges = {tensor.range_name for tensor in graph.tensors.values()} - set(graph.fixed_ranges)
    entry = quant.QuantParams(jnp.float32(0.05), jnp.float32(0))
    kernel = dataclasses.replace(entry, bits=case.weight_bits)
    return (
        graph,
        weights,
        dict.fromkeys(ranges | set(graph.constants), entry) | dict.fromkeys(weights, kernel),
    )


def _operators(case: Case, target: str) -> set[tuple[tuple[str, int], ...]]:
    """Returns what a target's file holds for the ops of a kind: (operator, version) per op."""
    graph, weights, qparams = _traced(case)
    context = Context(graph, weights, qparams, target)
    return {
        tuple(
            (_NAMES[operator.code], operator.version)
            for operator in LOWERINGS[op.kind](context, op)
        )
        for op in graph.ops
        if op.kind == case.kind
    }


def _wide_operators(case: Case) -> set[tuple[str, int]]:
    """Returns the operators and versions for a kind on int16; none where the graph has others."""
    graph, weights, qparams = _traced(case)
    try:
        graph = quant.widen(graph)
    except ValueError:
        return set()
    entry = quant.QuantParams(jnp.float32(0.05), jnp.float32(0), 16)
    qparams = qparams | dict.fromkeys(graph.range_bits, entry)
    context = Context(graph, weights, qparams, "android")
    return {
        (_NAMES[operator.code], operator.version)
        for op in graph.ops
        if op.kind == case.kind
        for operator in LOWERINGS[op.kind](context, op)
    }


def _of_int16(kind: str, cases: list[Case]) -> str:
    wide = OPS[kind].wide
    if wide is None:
        return "no"
    whole = [case for case in cases if case.weight_bits == 8]  # kernels of 4 bits take no int16
    operators = sorted({pair for case in whole for pair in _wide_operators(case)})
    assert operators, f"no case of {kind!r} is all int16"
    return _named(operators) + ("" if "micro" in wide.kernels else ", not in Micro")


def _named(operators: list[tuple[str, int]]) -> str:
    return ", ".join(f"{name} v{v} ({SUPPORT[name].runtimes[v]})" for name, v in operators)


def _kind_rows(kind: str, cases: list[Case]) -> list[str]:
    written: dict[str, set] = {target: set() for target in _COLUMNS}
    for case in cases:
        for target in _COLUMNS:
            written[target] |= _operators(case, target)
    operators = sorted({pair for sequence in written["android"] for pair in sequence})
    spellings = ", ".join(f"`{text}`" for text in SPELLINGS[kind])
    bounds = ["exact" if not (b := OPS[kind].bounds.get(k, 0)) else f"≤ {b} LSB" for k in KERNELS]
    litert, quantized = _named(operators), _quantized(kind, cases)
    micro = {pair for sequence in written["micro"] for pair in sequence}
    support = [
        _share(all(SUPPORT[name].micro for name, _ in sequence) for sequence in written["micro"]),
        _share(SUPPORT[name].vela and (quantized or name in _VELA_INT32) for name, _ in micro),
        _share(SUPPORT[name].edge_tpu_takes(v) and quantized for name, v in operators),
    ]
    if not micro:
        support = ["-"] * 3
    if OPS[kind].only_float:
        bounds, support = ["float32"] * len(KERNELS), ["no"] * 3
    litert = litert or "none: it only renames"
    return [kind, spellings, *bounds, litert, *support, _of_int16(kind, cases)]


def _quantized(kind: str, cases: list[Case]) -> bool:
    """Tells whether a kind computes on int8, not on indices or conditions alone."""
    graphs = (_traced(case)[0] for case in cases)
    return any(
        graph.tensors[name].quantized
        for graph in graphs
        for op in graph.ops
        if op.kind == kind
        for name in (*op.inputs, *op.outputs)
        if name in graph.tensors
    )


def _share(answers) -> str:
    answers = list(answers)
    return "yes" if all(answers) else "in part" if any(answers) else "no"


def table() -> str:
    """Returns the table in Markdown."""
    cases = _cases()
    head = ["op", "in JAX", *KERNELS, "LiteRT (first runtime)"]
    head += ["TFLite Micro", "Ethos-U55", "Edge TPU", "int16"]
    rows = [head, ["---"] * len(head)]
    rows += [_kind_rows(kind, cases[kind]) for kind in sorted(OPS) if kind in cases]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _page_with(table_: str, page: str) -> str:
    pattern = re.compile(f"(?<={_BEGIN}\n).*(?={_END})", re.DOTALL)
    assert pattern.search(page), f"docs/ops.md needs {_BEGIN} and {_END}"
    return pattern.sub(lambda _: table_, page)


@pytest.mark.parametrize("kind", sorted(set(OPS) - {"quantize", "dequantize"}))
def test_every_kind_has_a_case(kind):
    assert kind in _cases(), f"no case in tests/export/lowerings has {kind!r} for its kind"


def test_the_page_is_what_the_rows_say():
    page = PAGE.read_text()
    assert page == _page_with(table(), page), "run `python tests/test_ops_table.py`"


if __name__ == "__main__":
    PAGE.write_text(_page_with(table(), PAGE.read_text()))
