"""A graph in which the types of ops are an argument, so that one program tries them all."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from attokit.quant.fake_quant import check_kernels
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops.kind import Kernels, Op
from attokit.quant.params import QParams
from attokit.quant.plan import function_tables
from attokit.quant.steps import Steps


class Level(enum.IntEnum):
    """What an op computes on.

    GIVEN: What it has in the graph: in an INT8 graph int8.
    INT16: int16 activations over the same range, and int8 kernels; computed in float, so that the last
      of the 16 bits may differ.
    REAL: float32.
    """

    GIVEN = 0
    INT16 = 1
    REAL = 2


class Trial:
    """A graph with its numbers and inputs, run with whatever types of its ops.

    Attributes:
      graph: Which.
      kernels: Whose rounding.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        qparams: QParams,
        batches: Iterable[Any],
        kernels: Kernels = "reference",
    ):
        """Takes the graph and what it is tried on.

        Raises:
          ValueError: if there is no batch, or one that does not fit the graph.
        """
        check_kernels(kernels)
        self.graph, self.kernels = graph, kernels
        self._batches = [tuple(b) if isinstance(b, tuple | list) else (b,) for b in batches]
        if not self._batches:
            raise ValueError(
                "types are tried on examples, but there is no batch; give a few dozen inputs "
                "(an iterator that was used up is empty: pass a list)"
            )
        for batch in self._batches:
            graph.check_arguments(weights, batch)
        self._numbers = dict(weights), dict(qparams), function_tables(graph, qparams)
        self._jitted = jax.jit(self._run)

    def outputs(
        self, levels: Mapping[int, Level], default: Level, inputs: Level = Level.GIVEN
    ) -> list[list[Any]]:
        """Returns the outputs of every batch, flat, as NumPy arrays.

        Args:
          levels: Of ops, by their position.
          default: Of all others.
          inputs: Of what enters.
        """
        held = [levels.get(i, default) for i in range(len(self.graph.ops))]
        chosen = jnp.asarray([inputs, *held], jnp.int32)
        return [jax.device_get(self._jitted(*self._numbers, chosen, b)) for b in self._batches]

    def _run(
        self,
        weights: Weights,
        qparams: QParams,
        tables: Mapping[str, Any] | None,
        levels: Int32[Array, " n"],
        inputs: tuple[Any, ...],
    ) -> list[Array]:
        graph = self.graph
        steps = Steps(graph, weights, qparams, self.kernels, tables)
        values: dict[str, Array] = {}
        for name, value in zip(graph.inputs, inputs, strict=True):
            given = jnp.asarray(value, graph.carried(name))
            values[name] = jnp.where(levels[0] == Level.GIVEN, steps.rounded(name, given), given)
        for i, op in enumerate(graph.ops):
            read = [values[n] for n in op.inputs if graph.is_activation(n)]
            values.update(
                zip(op.outputs, self._step(steps, i, op, levels[i + 1], read), strict=True)
            )
        return [values[name] for name in graph.outputs]

    def _step(
        self, steps: Steps, index: int, op: Op, level: Array, read: Sequence[Array]
    ) -> tuple[Array, ...]:
        def in_reals(level: Array, *read: Array) -> tuple[Array, ...]:
            outputs = steps.in_reals(index, read, int16=level == Level.INT16)
            kinds = (self.graph.carried(name) for name in op.outputs)
            return tuple(x.astype(kind) for x, kind in zip(outputs, kinds, strict=True))

        def as_given(level: Array, *read: Array) -> tuple[Array, ...]:
            del level
            return steps.in_integers(index, read)

        return jax.lax.cond(level == Level.GIVEN, as_given, in_reals, level, *read)
