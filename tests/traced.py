"""Small networks with random variables, traced, and how far their graphs are from them."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from attokit import quant

# Compiling is most of the time of these tests, so little of it is asked for.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def normal(*shape: int, seed: int = 0) -> jax.Array:
    """Returns float32 standard normal values."""
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), jnp.float32)


def variables_of(model: nn.Module, *inputs: jax.Array) -> Any:
    """Returns random variables of a module; variances are positive."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    values = [normal(*leaf.shape, seed=i) for i, (_, leaf) in enumerate(leaves)]
    positive = [
        jnp.abs(value) + jnp.float32(0.1) if "var" in jax.tree_util.keystr(path) else value
        for (path, _), value in zip(leaves, values, strict=True)
    ]
    return jax.tree.unflatten(tree, positive)


def error(graph: quant.Graph, weights: dict, function: Callable, variables: Any, *inputs) -> float:
    """Returns the largest error of a graph, relative to the function's largest value."""
    want = jit(function)(variables, *inputs)
    got = jit(graph.__call__)(weights, *inputs)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    assert jax.tree.map(np.shape, got) == jax.tree.map(np.shape, want)
    errors = [
        np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max()
        / max(1.0, np.abs(np.asarray(b, np.float64)).max())
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    ]
    return float(max(errors))


def kinds(graph: quant.Graph) -> list[str]:
    """Returns the ops of a graph, with what is fused into them: "conv_2d+relu"."""
    return [
        op.kind if op.activation == "none" else f"{op.kind}+{op.activation}" for op in graph.ops
    ]
