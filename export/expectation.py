"""What every tensor of a file should hold, by the graph."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array

from attokit.export.integers import Ranges
from attokit.quant.fake_quant import fake_quant
from attokit.quant.graph import Graph, Weights
from attokit.quant.ops.kind import Kernels, Op
from attokit.quant.params import QParams
from attokit.quant.plan import function_tables


def end_to_end(
    graph: Graph, weights: Weights, qparams: QParams, kernels: Kernels, inputs: tuple[Array, ...]
) -> dict[str, np.ndarray]:
    """Returns every activation's int8 integers, computed from the inputs alone."""
    return _arrays(fake_quant(graph, kernels).integers(weights, qparams, *inputs))


def op_by_op(
    graph: Graph,
    weights: Weights,
    qparams: QParams,
    kernels: Kernels,
    tensors: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Returns what each op makes of the integers that the file itself gave it.

    So a difference in one op does not show again in all that follow.  An op that reads what the file does
    not have is left out.
    """
    ranges = Ranges(graph, qparams)
    ops = [op for op in graph.ops if all(n in tensors for n in op.inputs if graph.is_activation(n))]
    reals = {
        name: (tensors[name].astype(np.float32) - np.float32(ranges.zero_point(name)))
        * ranges.scale(name)
        if graph.tensors[name].quantized
        else tensors[name]
        for name in {n for op in ops for n in op.inputs if graph.is_activation(n)}
    }
    tables = function_tables(graph, qparams)

    def run(weights: Weights, qparams: QParams, reals: dict[str, Array]) -> dict[str, Array]:
        results: dict[str, Array] = {}
        for op in ops:
            part = alone(graph, op)
            own = {name: weights[name] for name in part.weight_shapes}
            inputs = [reals[name] for name in part.inputs]
            made = fake_quant(part, kernels).integers(own, qparams, *inputs, tables=tables)
            results.update({name: made[name] for name in op.outputs})
        return results

    return _arrays(jax.jit(run)(weights, qparams, reals))


def in_float(graph: Graph, weights: Weights, inputs: tuple[Array, ...]) -> dict[str, np.ndarray]:
    """Returns every activation in float."""
    return _arrays(jax.jit(graph.intermediates)(weights, *inputs))


def alone(graph: Graph, op: Op) -> Graph:
    """Returns the graph of one op; what it reads are its inputs."""
    return dataclasses.replace(
        graph,
        inputs=tuple(dict.fromkeys(n for n in op.inputs if graph.is_activation(n))),
        outputs=op.outputs,
        output_names=op.outputs,
        ops=(op,),
        weight_shapes={n: s for n, s in graph.weight_shapes.items() if n in op.inputs},
        out_tree=jax.tree.structure(list(op.outputs)),
    )


def _arrays(values: Mapping[str, Array]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in values.items()}
