"""Functions that a jaxpr shows as one thing, by name and with their settings.

A composite computes what its function does, under `jit`, `vmap`, `grad` and on every platform. What a compiler for
devices needs beside that is its name and its settings, which a nested `jit` does not keep: `quant.trace` makes one op
of it. (`jax.lax.composite` is the same without derivatives and `vmap`.)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

NAME = "attokit_composite"

_composite_p = core.Primitive(NAME)
_composite_p.multiple_results = True


def composite(name: str, function: Callable[..., Any], *operands: Any, **settings: Any) -> Any:
    """Returns `function(*operands, **settings)`.

    An equation of the jaxpr has the parameters `name`, `settings` (pairs), `jaxpr`, the function's, and `batched`:
    None, or which operands have a leading axis that `vmap` added.

    Args:
      name: What the function is called; whoever knows the name relies on its operands and settings.
      function: Of arrays; it must not hold traced values of its surroundings.
      *operands: Pytrees of arrays.
      **settings: Hashable.
    """
    flat, tree = jax.tree.flatten(operands)

    def of_flat(*flat: Any) -> Any:
        return function(*jax.tree.unflatten(tree, flat), **settings)

    jaxpr, shapes = jax.make_jaxpr(of_flat, return_shape=True)(*flat)
    pairs = tuple(sorted(settings.items()))
    results = _composite_p.bind(*flat, name=name, settings=pairs, jaxpr=jaxpr, batched=None)
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def _run(*operands: Any, jaxpr: core.ClosedJaxpr, **_: Any) -> list[Any]:
    return core.jaxpr_as_fun(jaxpr)(*operands)


def _shapes(*_: Any, jaxpr: core.ClosedJaxpr, **__: Any) -> list[Any]:
    return list(jaxpr.out_avals)


def _batch(operands: Any, axes: Any, *, jaxpr: core.ClosedJaxpr, batched: Any, **params: Any):
    """Makes the leading axis of what is mapped that of the results; the name stays for the first such axis."""
    mapped = tuple(axis is not None for axis in axes)
    moved = [
        jnp.moveaxis(x, axis, 0) if own else x
        for x, axis, own in zip(operands, axes, mapped, strict=True)
    ]
    each = jax.vmap(core.jaxpr_as_fun(jaxpr), tuple(0 if own else None for own in mapped))
    if batched is None:
        inner = jax.make_jaxpr(each)(*moved)
        results = _composite_p.bind(*moved, jaxpr=inner, batched=mapped, **params)
    else:
        results = each(*moved)
    return results, [0] * len(results)


def _differentiate(operands: Any, tangents: Any, *, jaxpr: core.ClosedJaxpr, **_: Any):
    whole = [ad.instantiate_zeros(tangent) for tangent in tangents]
    return jax.jvp(core.jaxpr_as_fun(jaxpr), tuple(operands), tuple(whole))


_composite_p.def_impl(_run)
_composite_p.def_abstract_eval(_shapes)
batching.primitive_batchers[_composite_p] = _batch
ad.primitive_jvps[_composite_p] = _differentiate
mlir.register_lowering(_composite_p, mlir.lower_fun(_run, multiple_results=True))
