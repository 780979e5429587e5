"""L2_NORMALIZATION, and what stands for it in float32 where an epsilon counts.

The operator divides by max(norm, 1e-6).  In int8 that is all the same: an epsilon that the graph has is below what
the integers of a row tell.  In float32 rows may be as small as they like, and a layer norm hides them by its epsilon.
"""

import jax.numpy as jnp
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from attokit.export.flatbuffer import Operator
from attokit.export.lowerings.context import Context
from attokit.export.lowerings.float_steps import FloatSteps
from attokit.export.lowerings.functions import inner_function
from attokit.quant.functions import Composite
from attokit.quant.ops.kind import Op

_CODES = schema.BuiltinOperator
_SUMS = np.geomspace(1e-12, 1e12, 97).astype(np.float32)  # from the operator's own least norm on
_CLOSE = 1e-5  # relative, of float32 functions in another order
_LEAST = np.float32(1e-37)  # a sum of squares that is as good as none


def l2_normalization(context: Context, op: Op) -> tuple[Operator, ...]:
    """L2_NORMALIZATION over the last axis, or x * f(sum(x**2)) in steps where f has an epsilon in float32."""
    if context.is_float(op) and not _is_reciprocal_norm(op["function"]):
        return _in_steps(context, op)
    inputs, options = (context.operand(op, 0),), schema.L2NormOptionsT()
    version = context.version(op, int8=2)
    return (context.operator(op, _CODES.L2_NORMALIZATION, inputs, options, version),)


def _is_reciprocal_norm(function: Composite) -> bool:
    """Whether a function of the sum of squares is the operator's wherever that divides by the norm."""
    return np.allclose(_values(function, _SUMS) * np.sqrt(_SUMS), 1, rtol=_CLOSE)


def _in_steps(context: Context, op: Op) -> tuple[Operator, ...]:
    values, function = context.operand(op, 0), op["function"]
    steps = FloatSteps(context, op)
    total = steps.sum_of_rows(steps.mul(values, values))
    if not np.isfinite(_values(function, np.zeros(1, np.float32))).all():
        total = steps.maximum(total, _LEAST)  # a row of zeros stays one
    operators, factor = inner_function(op, function, total, "factor")
    product = context.operator(op, _CODES.MUL, (values, factor), schema.MulOptionsT(), 1)
    return (*steps.operators, *operators, product)


def _values(function: Composite, sums: np.ndarray) -> np.ndarray:
    return np.asarray(function(jnp.asarray(sums)), np.float64)
