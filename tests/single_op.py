"""Graphs of one op with random weights, scales and zero points, and how far runtimes differ.

A case is a small function.  It is traced once and compiled once per kernel set; every draw then
only writes another file and runs it.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attokit import export, quant
from attokit.export import interpreters
from attokit.export.activations import activations
from attokit.export.run import to_file
from attokit.quant.ops import table
from attokit.quant.ops.kind import KERNELS
from attokit.quant.plan import function_tables

# Kernel sets that the default run tries; the slow run tries all of them, in many draws.
_MICRO, _XNNPACK = (pytest.param(k, marks=pytest.mark.slow) for k in ("micro", "xnnpack"))
REFERENCE_FIRST = ["reference", _MICRO, _XNNPACK]
_TARGETS = {"reference": "android", "micro": "micro", "xnnpack": "android"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A function `f(variables, *inputs)` whose graph holds the op in question.

    Attributes:
      kind: The op that must be in the graph.
      function: Of a tuple of variables and of inputs.
      variables: Shapes of the variables.
      inputs: Shapes of the inputs, batch included.
      weight_bits: Of the kernels.
      below: The last inputs are int32, each below one of these.
      wide: Whether activations are int16.
    """

    kind: str
    function: Callable
    variables: tuple[tuple[int, ...], ...] = ()
    inputs: tuple[tuple[int, ...], ...] = ((2, 7, 6, 4),)
    weight_bits: int = 8
    below: tuple[int, ...] = ()
    wide: bool = False


def pairs(cases: Mapping[str, Case]) -> list:
    """Returns every case in every kernel set; by default all in the reference's, in XNNPACK's the first of each kind."""
    kinds: set[str] = set()
    found = []
    for name, case in cases.items():
        for kernels in ("reference", "micro", "xnnpack"):
            first = kernels == "reference" or (kernels == "xnnpack" and case.kind not in kinds)
            found.append(pytest.param(name, kernels, marks=() if first else pytest.mark.slow))
        kinds.add(case.kind)
    return found


_PREPARED: dict[Case, tuple] = {}


def _prepared(case: Case, variables: tuple, inputs: tuple) -> tuple:
    """Returns graph, weights and ranges of a case, made once."""
    if case not in _PREPARED:
        graph, weights = quant.trace(case.function, variables, *inputs)
        graph = quant.widen(graph) if case.wide else graph
        ranges = quant.calibrate(
            graph, weights, [inputs], input_range=None, weight_bits=case.weight_bits
        )
        _PREPARED[case] = graph, weights, ranges
    return _PREPARED[case]


class Drawer:
    """Draws random weights, scales, zero points and inputs for a case.

    Attributes:
      graph: Of the case.
    """

    def __init__(self, case: Case, seed: int = 0):
        self._random = np.random.default_rng(seed)
        self._case = case
        variables = tuple(self._normal(shape) for shape in case.variables)
        self.graph, self.weights, self._ranges = _prepared(case, variables, self._inputs())
        assert case.kind in {op.kind for op in self.graph.ops}

    def _normal(self, shape: tuple[int, ...]) -> jax.Array:
        return jnp.asarray(self._random.normal(size=shape), jnp.float32)

    def draw(self) -> tuple[dict, dict, tuple[jax.Array, ...]]:
        """Returns weights, qparams and inputs; ranges fit only roughly, so that values saturate."""
        weights = {
            name: jnp.asarray(self._random.normal(size=w.shape), jnp.float32)
            for name, w in self.weights.items()
        }
        inputs = self._inputs()
        return weights, {n: self._jitter(n, q) for n, q in self._ranges.items()}, inputs

    def _inputs(self) -> tuple[jax.Array, ...]:
        shapes, below = self._case.inputs, self._case.below
        floats = len(shapes) - len(below)
        indices = zip(shapes[floats:], below, strict=True)
        return (
            *map(self._normal, shapes[:floats]),
            *(jnp.asarray(self._random.integers(n, size=s), jnp.int32) for s, n in indices),
        )

    def _jitter(self, name: str, entry: quant.QuantParams) -> quant.QuantParams:
        factor = np.exp(self._random.uniform(-0.3, 0.6, np.shape(entry.scale)))
        scale = jnp.asarray(np.asarray(entry.scale) * factor, jnp.float32)
        if name not in self.graph.tensors and scale.ndim:  # a kernel's
            return dataclasses.replace(entry, scale=scale)
        if entry.bits == 16:
            return dataclasses.replace(entry, scale=scale)
        shift = self._random.integers(-60, 61)
        zero_point = np.clip(np.asarray(entry.zero_point) + shift, -128, 127)
        return quant.QuantParams(scale, jnp.float32(zero_point))


_INTEGERS: dict[tuple[quant.Graph, str], Callable] = {}


def _integers(graph: quant.Graph, kernels: str, *example: Any) -> Callable:
    """Returns the integer graph; kernel sets whose arithmetic is one share what was compiled."""
    if (graph, kernels) not in _INTEGERS:
        integers = quant.fake_quant(graph, kernels).integers
        traced = jax.make_jaxpr(integers)(*example)
        program = (graph, str(traced), tuple(_constants(traced)))
        _INTEGERS[graph, kernels] = _INTEGERS.setdefault(program, integers)
    return _INTEGERS[graph, kernels]


def _constants(program: Any) -> Iterator[bytes]:
    """Yields the arrays that a program holds (tables), which its text does not show."""
    yield from (np.asarray(x).tobytes() for x in getattr(program, "consts", ()))
    for equation in program.eqns:
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if hasattr(part, "eqns"):
                    yield from _constants(part)


def in_file(
    graph: quant.Graph, weights: dict, qparams: dict, inputs: tuple, kernels: str
) -> dict[str, np.ndarray]:
    """Returns every activation of the graph's file."""
    target = "micro" if kernels == "micro" else "android"
    data = export.to_tflite(graph, weights, qparams, target=target)
    ports = export.inspect(data).inputs
    given = [to_file(n, t, np.asarray(x)) for (n, t), x in zip(ports.items(), inputs, strict=True)]
    return activations(data, given, kernels).tensors


def differences(
    graph: quant.Graph, weights: dict, qparams: dict, inputs: tuple, kernels: str
) -> dict[str, np.ndarray]:
    """Returns |file - graph| of every activation that an op makes, in units of the integer."""
    found = in_file(graph, weights, qparams, inputs, kernels)
    wanted = _integers(graph, kernels, weights, qparams, *inputs)(weights, qparams, *inputs)
    return {
        name: np.abs(found[name].astype(np.int32) - np.asarray(wanted[name], np.int32))
        for op in graph.ops
        for name in op.outputs
    }


def differing_outputs(case: Case, draws: int, seed: int) -> Counter:
    """Returns how far the outputs are off at most, by kernel set.

    A draw costs a small part of `differences`: one program computes all kernel sets, a file's inputs are
    the graph's integers, its tensors are looked up in the first draw's file, and what is inside is
    not compared.
    """
    drawer, worst = Drawer(case, seed), Counter(dict.fromkeys(KERNELS, 0))
    graph, infos = drawer.graph, {}
    integers, targets = _integers_of_all(graph), set(_TARGETS.values())
    for _ in range(draws):
        weights, qparams, inputs = drawer.draw()
        wanted = integers(weights, qparams, function_tables(graph, qparams), *inputs)
        files = {t: export.to_tflite(graph, weights, qparams, target=t) for t in targets}
        for kernels, values in jax.device_get(wanted).items():
            target = _TARGETS[kernels]
            if target not in infos:
                infos[target] = export.inspect(files[target])
            session = interpreters.session(files[target], infos[target], kernels)
            results = session.invoke([values[name] for name in graph.inputs])
            for name, result in zip(graph.outputs, results, strict=True):
                off = np.abs(result.astype(np.int32) - values[name].astype(np.int32))
                worst[kernels] = max(worst[kernels], int(off.max(initial=0)))
    return worst


def _integers_of_all(graph: quant.Graph) -> Callable:
    """Returns the integer graph of every kernel set, as one program, which shares what is equal."""
    forms = {kernels: quant.fake_quant(graph, kernels) for kernels in KERNELS}
    ends = (*graph.inputs, *graph.outputs)

    @jax.jit
    def integers(weights, qparams, tables, *inputs):
        found = {k: f.integers(weights, qparams, *inputs, tables=tables) for k, f in forms.items()}
        return {k: {name: values[name] for name in ends} for k, values in found.items()}

    return integers


def check_int16(case: Case, kernels: str, draws: int, seed: int = 0) -> None:
    """Checks that a case equals the runtime on int16 too, or is refused by the op's name."""
    wide = dataclasses.replace(case, wide=True, weight_bits=8)
    variables = tuple(jnp.ones(shape) for shape in case.variables)
    floats = len(case.inputs) - len(case.below)
    inputs = [
        jnp.ones(s, jnp.float32 if i < floats else jnp.int32) for i, s in enumerate(case.inputs)
    ]
    graph, _ = quant.trace(case.function, variables, *inputs)
    quantized = [op for op in graph.ops if _is_quantized(graph, op)]
    unable = {op.kind for op in quantized if not table.OPS[op.kind].wide}
    if unable:
        with pytest.raises(ValueError, match=f"no kernel of ({'|'.join(unable)}) for int16 in any"):
            quant.widen(graph)
        return
    lacking = {op.kind for op in quantized if kernels not in table.OPS[op.kind].wide.kernels}
    if lacking:
        drawer = Drawer(wide, seed)
        with pytest.raises(
            ValueError, match=f"no kernel of ({'|'.join(lacking)}) for int16 in .*{kernels}"
        ):
            differences(drawer.graph, *drawer.draw(), kernels)
        return
    assert largest_difference(wide, kernels, draws, seed) == 0


def _is_quantized(graph: quant.Graph, op: quant.Op) -> bool:
    names = (*op.inputs, *op.outputs)
    return any(n in graph.tensors and graph.tensors[n].quantized for n in names)


def largest_difference(case: Case, kernels: str, draws: int, seed: int = 0) -> int:
    """Returns the greatest difference over some draws of a case."""
    drawer, worst = Drawer(case, seed), 0
    for _ in range(draws):
        result = differences(drawer.graph, *drawer.draw(), kernels)
        worst = max(worst, *(int(x.max(initial=0)) for x in result.values()))
    return worst
