"""FastGRNN: a recurrent cell whose gate and candidate share one product (Kusupati et al. 2018).

    a  = x W + h U
    z  = gate(a + bias_gate)
    c  = update(a + bias_update)
    h' = z h + (sigmoid(zeta) (1 - z) + sigmoid(nu)) c

Parameters are a mapping: W [k, h], U [h, h], bias_gate and bias_update [h], zeta and nu [] (arrays
with more axes of size 1, as PyTorch stores them, will do).  Without zeta and nu the factors are 1 and
0, which is what large positive zeta and large negative nu come to.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Params = Mapping[str, Array]
Nonlinearity = Literal["sigmoid", "tanh", "relu", "quant_tanh", "quant_sigmoid", "quant_sigmoid4"]

# Lines with bends, for devices where an exponential costs: the same ends as tanh and sigmoid.
_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "sigmoid": jax.nn.sigmoid,
        "tanh": jnp.tanh,
        "relu": jax.nn.relu,
        "quant_tanh": lambda x: jnp.clip(x, -1.0, 1.0),
        "quant_sigmoid": lambda x: jnp.clip((x + 1.0) / 2.0, 0.0, 1.0),
        "quant_sigmoid4": lambda x: jnp.clip((x + 2.0) / 4.0, 0.0, 1.0),
    }
)
_SHAPED = ("W", "U", "bias_gate", "bias_update")
_SCALARS = ("zeta", "nu")


def fastgrnn_step(
    params: Params,
    x: Float[Array, "*b k"],
    state: Float[Array, "*b h"],
    *,
    gate_nonlinearity: Nonlinearity = "sigmoid",
    update_nonlinearity: Nonlinearity = "tanh",
) -> Float[Array, "*b h"]:
    """Returns the state after one more input.

    Raises:
      ValueError: if parameters lack, do not fit together, or a nonlinearity is not known.
    """
    return next_state(
        params,
        project(params, x),
        state,
        gate_nonlinearity=gate_nonlinearity,
        update_nonlinearity=update_nonlinearity,
    )


def project(params: Params, x: Float[Array, "*b k"]) -> Float[Array, "*b h"]:
    """Returns x W + bias_gate: what of a step depends on the input alone.

    Inputs that several sequences share are projected once.

    Raises:
      ValueError: if parameters lack or do not fit to each other and to the inputs.
    """
    _check(params, x.shape[-1])
    return x @ params["W"] + _row(params["bias_gate"], x.ndim)


def next_state(
    params: Params,
    projected: Float[Array, "*b h"],
    state: Float[Array, "*b h"] | None,
    *,
    gate_nonlinearity: Nonlinearity,
    update_nonlinearity: Nonlinearity,
) -> Float[Array, "*b h"]:
    """Returns the state after an input that `project` made; a state of None is zeros, and free."""
    gate, update = function(gate_nonlinearity), function(update_nonlinearity)
    if state is not None:
        projected = projected + state @ params["U"]
    z = gate(projected)
    bias = params["bias_update"] - params["bias_gate"]  # the gate's is in already
    c = update(projected + _row(bias, projected.ndim))
    if "zeta" not in params:
        return c - z * c if state is None else z * (state - c) + c
    # Not z h + (zeta (1 - z) + nu) c: where zeta is 1 and nu is 0, a file so has one product, and no constant.
    zeta, nu = (jax.nn.sigmoid(params[name].reshape(())) for name in _SCALARS)
    if state is None:
        return (zeta + nu) * c - z * (zeta * c)
    return z * (state - zeta * c) + (zeta + nu) * c


def function(name: Nonlinearity) -> Callable[[Array], Array]:
    """Returns a nonlinearity by name.

    Raises:
      ValueError: if it is not known.
    """
    if name not in _FUNCTIONS:
        raise ValueError(f"no nonlinearity {name!r}: choose from {', '.join(_FUNCTIONS)}")
    return _FUNCTIONS[name]


def _row(values: Array, ndim: int) -> Array:
    return values.reshape((1,) * (ndim - 1) + (-1,))


def _check(params: Params, inputs: int) -> None:
    scalars = [name for name in _SCALARS if name in params]
    lacking = [name for name in _SHAPED if name not in params]
    if lacking or len(scalars) == 1:
        lacking += [name for name in _SCALARS if len(scalars) == 1 and name not in params]
        raise ValueError(
            f"a FastGRNN cell lacks {', '.join(lacking)} among {', '.join(sorted(params))}: give "
            "W, U, bias_gate, bias_update and either both or none of zeta and nu"
        )
    hidden = params["U"].shape[-1]
    wanted = {"W": (inputs, hidden), "U": (hidden, hidden)}
    wrong = [
        f"{name} has shape {params[name].shape} and should have {shape}"
        for name, shape in wanted.items()
        if params[name].shape != shape
    ]
    sizes = {"bias_gate": hidden, "bias_update": hidden} | dict.fromkeys(scalars, 1)
    wrong += [
        f"{name} has {params[name].size} entries and should have {size}"
        for name, size in sizes.items()
        if params[name].size != size
    ]
    if wrong:
        raise ValueError(f"a FastGRNN cell of {inputs} inputs does not fit: {'; '.join(wrong)}")
