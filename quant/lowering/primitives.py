"""The table of JAX primitives that a graph can hold."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attokit.quant.lowering import contraction, elementwise, movement, products, reduction

Lowering = Callable[..., Any]

# Each takes (builder, the equation's parameters, *operands) and returns a value or several.
LOWERINGS: Mapping[str, Lowering] = MappingProxyType(
    {name: elementwise.unary(name) for name in elementwise.UNARY}
    | {
        "add": elementwise.add,
        "and": elementwise.logical("logical_and"),
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
        "dot_general": products.dot_general,
        "eq": elementwise.compare("equal"),
        "expand_dims": movement.expand_dims,
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
        "reduce_max": reduction.reduce_max,
        "reduce_precision": elementwise.identity,
        "reduce_sum": reduction.reduce_sum,
        "reduce_window_max": reduction.reduce_window_max,
        "reduce_window_sum": reduction.reduce_window_sum,
        "reshape": movement.reshape,
        "select_n": elementwise.select_n,
        "sharding_constraint": elementwise.identity,
        "slice": movement.slice_,
        "split": movement.split,
        "square": elementwise.square,
        "squeeze": movement.squeeze,
        "stack": movement.stack,
        "stop_gradient": elementwise.identity,
        "sub": elementwise.sub,
        "transpose": movement.transpose,
        "xor": elementwise.logical("not_equal"),
    }
)
