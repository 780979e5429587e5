"""The table of JAX primitives that a graph can hold."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attokit.quant.lowering import (
    contraction,
    elementwise,
    indexing,
    movement,
    pooling,
    products,
    reduction,
    resize,
    scatter,
)

Lowering = Callable[..., Any]

# Each takes (builder, the equation's parameters, *operands) and returns a value or several.
LOWERINGS: Mapping[str, Lowering] = MappingProxyType(
    {name: elementwise.unary(name) for name in elementwise.UNARY}
    | {
        "add": elementwise.add,
        "and": elementwise.logical("logical_and"),
        "argmax": reduction.position("arg_max"),
        "argmin": reduction.position("arg_min"),
        "broadcast_in_dim": movement.broadcast_in_dim,
        "clamp": elementwise.clamp,
        "concatenate": movement.concatenate,
        "conv_general_dilated": contraction.conv_general_dilated,
        "convert_element_type": elementwise.convert_element_type,
        "copy": elementwise.identity,
        "cumlogsumexp": products.refused("cumlogsumexp"),
        "cummax": products.refused("cummax"),
        "cummin": products.refused("cummin"),
        "cumprod": products.refused("cumprod"),
        "cumsum": products.cumsum,
        "div": elementwise.div,
        "dot_general": resize.or_else(products.dot_general),
        "dynamic_slice": indexing.dynamic_slice,
        "dynamic_update_slice": indexing.dynamic_update_slice,
        "eq": elementwise.compare("equal"),
        "expand_dims": movement.expand_dims,
        "gather": indexing.gather,
        "ge": elementwise.compare("greater_equal"),
        "gt": elementwise.compare("greater"),
        "integer_pow": elementwise.integer_pow,
        "le": elementwise.compare("less_equal"),
        "lt": elementwise.compare("less"),
        "max": elementwise.maximum,
        "min": elementwise.minimum,
        "mul": elementwise.mul,
        "name": elementwise.identity,
        "ne": elementwise.compare("not_equal"),
        "neg": elementwise.neg,
        "not": elementwise.logical("logical_not"),
        "optimization_barrier": elementwise.identity,
        "or": elementwise.logical("logical_or"),
        "pad": movement.pad,
        "pow": elementwise.pow_,
        "reduce_and": reduction.reduce_and,
        "reduce_max": reduction.extreme("reduce_max"),
        "reduce_min": reduction.extreme("reduce_min"),
        "reduce_or": reduction.reduce_or,
        "reduce_precision": elementwise.identity,
        "reduce_sum": reduction.reduce_sum,
        "reduce_window_max": pooling.reduce_window_max,
        "reduce_window_min": pooling.reduce_window_min,
        "reduce_window_sum": pooling.reduce_window_sum,
        "rem": elementwise.rem,
        "reshape": movement.reshape,
        "rev": movement.rev,
        "scatter": scatter.scatter,
        "scatter-add": scatter.scatter_add,
        "select_n": elementwise.select_n,
        "sharding_constraint": elementwise.identity,
        "slice": movement.slice_,
        "split": movement.split,
        "square": elementwise.square,
        "squeeze": movement.squeeze,
        "stack": movement.stack,
        "stop_gradient": elementwise.identity,
        "sub": elementwise.sub,
        "tile": movement.tile,
        "transpose": movement.transpose,
        "xor": elementwise.logical("not_equal"),
    }
)
# What to write instead of primitives that no graph op stands for.
CURES: Mapping[str, str] = MappingProxyType(
    {
        "reduce_prod": "Multiply the slices one by one, or take exp(sum(log(x))) of positive values.",
        "reduce_window": "Pools of a sum, a maximum or a minimum are supported; take the power "
        "before the pool and the root after it.",
        "sort": "Return the values and sort them outside of the graph.",
        "top_k": "Return the values and choose outside of the graph; the first is jnp.argmax's.",
    }
)
