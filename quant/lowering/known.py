"""Evaluates, at trace time, what depends on weights alone.

NumPy does the common primitives: running JAX op by op would compile each shape anew.  The rest goes
through JAX.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

Arrays = list[np.ndarray]


def evaluate(eqn: Any, arrays: Arrays) -> Arrays:
    """Returns the outputs of a jaxpr equation whose inputs are all known."""
    function, out = NUMPY.get(eqn.primitive.name), eqn.outvars[0].aval
    narrow = _narrowed(arrays, out.shape) if eqn.primitive.name in _ELEMENTWISE else None
    if narrow is not None:
        return [np.broadcast_to(array, out.shape) for array in _computed(eqn, function, narrow)]
    return _computed(eqn, function, arrays)


def _computed(eqn: Any, function: Callable[..., np.ndarray] | None, arrays: Arrays) -> Arrays:
    out = eqn.outvars[0].aval
    if function is not None and not jax.dtypes.issubdtype(out.dtype, jax.dtypes.prng_key):
        return [np.asarray(function(eqn.params, *arrays), out.dtype)]
    with jax.ensure_compile_time_eval():
        result = eqn.primitive.bind(*map(jax.numpy.asarray, arrays), **eqn.params)
    results = result if eqn.primitive.multiple_results else [result]
    return [held(r) for r in results]


def _narrowed(arrays: Arrays, shape: tuple[int, ...]) -> Arrays | None:
    """Returns arrays with size 1 along the axes that all of them repeat themselves along; None if there are none.

    So the result repeats itself there, too, which says that its entries are one.
    """
    wide = [array for array in arrays if array.ndim]
    if any(array.ndim != len(shape) for array in wide):
        return None
    axes = [
        axis
        for axis, size in enumerate(shape)
        if size > 1 and all(a.shape[axis] == 1 or a.strides[axis] == 0 for a in wide)
    ]
    if not axes:
        return None
    index = tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(len(shape)))
    return [array[index] if array.ndim else array for array in arrays]


def held(array: Any) -> np.ndarray:
    """Returns an array as NumPy holds it; random keys, which it cannot hold, as they are."""
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return array
    return np.asarray(array)


def _elementwise(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda params, *arrays: function(*arrays)


def broadcast_in_dim(params: Mapping[str, Any], array: np.ndarray, *_: Any) -> np.ndarray:
    """Returns a view: a constant of many entries stays one number in memory."""
    shape = [1] * len(params["shape"])
    for axis, target in enumerate(params["broadcast_dimensions"]):
        shape[target] = array.shape[axis]
    return np.broadcast_to(array.reshape(shape), params["shape"])


def tile(params: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
    """Returns copies side by side; of one entry a view, as `broadcast_in_dim`."""
    reps = params["reps"]
    copied = np.tile(array, [1 if n == 1 else r for n, r in zip(array.shape, reps, strict=True)])
    shape = [
        n * r if n == 1 else m for n, r, m in zip(array.shape, reps, copied.shape, strict=True)
    ]
    return np.broadcast_to(copied, shape)


def reshape(params: Mapping[str, Any], array: np.ndarray, *_: Any) -> np.ndarray:
    """Returns the array in another shape, read in the order of axes that the equation may give."""
    order = params["dimensions"]
    return (array if order is None else array.transpose(order)).reshape(params["new_sizes"])


def divide(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the quotient; of integers truncated toward zero, as XLA's is."""
    if first.dtype.kind not in "iu":
        return first / second
    return np.sign(first) * np.sign(second) * (np.abs(first) // np.abs(second))


# Each entry of whose result depends on one entry of every operand, of one rank or numbers.
_ELEMENTWISE = frozenset(
    {
        "abs", "add", "ceil", "convert_element_type", "copy", "cos", "div", "eq", "erf", "exp", "exp2", "expm1", "floor", "ge",
        "gt", "integer_pow", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "pow", "round",
        "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "stop_gradient", "sub", "tanh",
    }
)  # fmt: skip
NUMPY: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "add": _elementwise(np.add),
        "broadcast_in_dim": broadcast_in_dim,
        "convert_element_type": lambda p, x: x.astype(p["new_dtype"]),
        "copy": _elementwise(np.asarray),
        "div": _elementwise(divide),
        "exp": _elementwise(np.exp),
        "eq": _elementwise(np.equal),
        "expand_dims": lambda p, x: np.expand_dims(x, p["dimensions"]),
        "ge": _elementwise(np.greater_equal),
        "gt": _elementwise(np.greater),
        "integer_pow": lambda p, x: x ** p["y"],
        "le": _elementwise(np.less_equal),
        "lt": _elementwise(np.less),
        "max": _elementwise(np.maximum),
        "min": _elementwise(np.minimum),
        "mul": _elementwise(np.multiply),
        "ne": _elementwise(np.not_equal),
        "neg": _elementwise(np.negative),
        "reshape": reshape,
        "rsqrt": _elementwise(lambda x: 1 / np.sqrt(x)),
        "sqrt": _elementwise(np.sqrt),
        "square": _elementwise(np.square),
        "squeeze": lambda p, x: np.squeeze(x, p["dimensions"]),
        "stop_gradient": _elementwise(np.asarray),
        "sub": _elementwise(np.subtract),
        "tile": tile,
        "transpose": lambda p, x: np.transpose(x, p["permutation"]),
    }
)
