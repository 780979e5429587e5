"""What a network costs: parameters and multiply-accumulates, counted on the network itself."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.extend import core

# Bilinear resizing and RoIAlign are spelled as products with matrices that are almost empty; every other compiler
# reads a few neighbours of each cell, and no count of multiply-accumulates has them.
_INTERPOLATIONS = ("resize_bilinear", "_resize", "pyramid_roi_align")
_CALLS = ("jit", "pjit")


def count_parameters(variables: Mapping[str, Any]) -> int:
    """Returns how many trained numbers variables hold; running statistics do not count.

    Arrays and shapes from `jax.eval_shape` both do.

    Raises:
      ValueError: if there is no collection "params".
    """
    if "params" not in variables:
        raise ValueError(
            f"no 'params' among {sorted(variables)}: give the variables that model.init returns"
        )
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def count_macs(function: Callable[..., Any], *args: Any) -> int:
    """Returns the multiply-accumulates of all convolutions and matrix products in a function call.

    Nothing runs: the arguments may be shapes. Loops count every turn; where the platform chooses, the
    default counts; elsewhere the most expensive branch does.  Resizing images by interpolation counts
    as nothing.

    Raises:
      ValueError: if a product stands in a loop whose number of turns is not known.
    """
    return _macs(jax.make_jaxpr(function)(*args).jaxpr)


def _macs(jaxpr: core.Jaxpr) -> int:
    return sum(_equation_macs(equation) for equation in jaxpr.eqns)


def _equation_macs(equation: core.JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel, out = _shape(equation.invars[1]), _shape(equation.outvars[0])
        features = kernel[params["dimension_numbers"].rhs_spec[0]]
        # A transposed convolution has zeros between its pixels, which nobody multiplies.
        return math.prod(out) * math.prod(kernel) // features // math.prod(params["lhs_dilation"])
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left, out = _shape(equation.invars[0]), _shape(equation.outvars[0])
        return math.prod(out) * math.prod(left[axis] for axis in contracted)
    if name == "cond":
        costs = [_macs(branch.jaxpr) for branch in params["branches"]]
        return costs[_default_branch(params)] if _is_by_platform(params) else max(costs)
    if name in _CALLS and params.get("name") in _INTERPOLATIONS:
        return 0
    inner = sum(_macs(jaxpr) for jaxpr in _inner_jaxprs(params))
    if name == "while" and inner:
        raise ValueError(
            "a while loop holds multiply-accumulates and its number of turns is not known: "
            "use jax.lax.scan or a fori_loop with fixed bounds"
        )
    return inner * params["length"] if name == "scan" else inner


def _shape(operand: core.Var | core.Literal) -> tuple[int, ...]:
    assert isinstance(operand.aval, jax.core.ShapedArray)  # convolutions and products take arrays
    return operand.aval.shape


def _is_by_platform(params: Mapping[str, Any]) -> bool:
    return params.get("branches_platforms") is not None


def _default_branch(params: Mapping[str, Any]) -> int:
    # jax.lax.platform_dependent marks the branch for every other platform by None.
    return params["branches_platforms"].index(None)


def _inner_jaxprs(params: Mapping[str, Any]) -> Iterator[core.Jaxpr]:
    """Yields the programs inside an equation: of jit, remat, custom derivatives, scan."""
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
